"""`builder build --all`."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.cli.build import summary
from builder.errors import BuilderError

if TYPE_CHECKING:
    from builder.many import Outcome
    from builder.progress import Display
    from builder.session import Request

_NAME = "{name}"


def build_all(request: Request, *, link: bool, references: tuple[str, ...], as_json: bool) -> None:
    """Build every app of a folder, and end with the exit code of the first that failed.

    Args:
        request: what was asked for; its target is the folder, "" for this one.
        link: whether to put links to the images here.
        references: where to push each image, with `{name}` for its name.
        as_json: print a list for scripts.
    """
    from builder import many
    from builder.progress import Display

    _check(references)
    started = time.monotonic()
    with Display(verbose=request.verbose) as display:
        outcomes = many.build_all(Path(request.target or "."), request, link=link, display=display)
        outcomes = [_pushed(outcome, references, display) for outcome in outcomes]
    if as_json:
        click.echo(json.dumps([_as_json(outcome) for outcome in outcomes]))
    else:
        _show(outcomes, time.monotonic() - started)
    failures = [outcome.error for outcome in outcomes if outcome.error]
    if failures:
        raise click.exceptions.Exit(failures[0].exit_code)


def _check(references: tuple[str, ...]) -> None:
    """See before anything is built that each app would have a reference of its own, and that it is one."""
    for reference in references:
        if _NAME not in reference:
            raise click.UsageError(
                f"--push {reference}: with --all a reference has {_NAME} in it, which stands for an app's name: "
                f"docker://registry.example.org/team/{_NAME}:1.0"
            )
    if references:
        from builder.registry import check_reference

        for reference in references:
            check_reference(reference.replace(_NAME, "app"))


def _pushed(outcome: Outcome, references: tuple[str, ...], display: Display) -> Outcome:
    if outcome.built is None or not references:
        return outcome
    from builder import registry

    image = outcome.built.image
    try:
        registry.push(
            image,
            [registry.check_reference(reference.replace(_NAME, image.name)) for reference in references],
            display.stage,
        )
    except BuilderError as error:
        return replace(outcome, built=None, error=error)
    return outcome


def _as_json(outcome: Outcome) -> dict[str, Any]:
    """An app in what `--json` prints: as for one app, or with an `error`; keys are added over time, never changed."""
    if outcome.built is not None:
        return {"target": outcome.target, **summary(outcome.built)}
    assert outcome.error is not None
    error = {
        "kind": type(outcome.error).__name__,
        "message": str(outcome.error),
        "hint": outcome.error.hint,
    }
    return {"target": outcome.target, "name": outcome.name, "error": error}


def _show(outcomes: list[Outcome], seconds: float) -> None:
    width = max(len(outcome.name or outcome.target) for outcome in outcomes)
    for outcome in outcomes:
        if outcome.built is not None:
            image = outcome.built.image
            state = "built" if outcome.built.steps else "unchanged"
            name = click.style(image.name.ljust(width), bold=True)
            click.echo(f"{name}  {image.digest}  {image.size / 1e6:.1f} MB  {state}")
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        name = outcome.name or outcome.target
        click.echo(f"{click.style('error', fg='red', bold=True)}: {name}: {outcome.error}", err=True)
        if outcome.error and outcome.error.hint:
            click.echo(f"{click.style('hint', fg='cyan')}: {outcome.error.hint}", err=True)
    new = sum(1 for outcome in outcomes if outcome.built and outcome.built.steps)
    unchanged = len(outcomes) - new - len(failed)
    click.echo(f"{new} built, {unchanged} unchanged, {len(failed)} failed, in {seconds:.1f} s")
