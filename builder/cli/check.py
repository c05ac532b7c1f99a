"""`builder check`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options
from builder.errors import BuilderError

if TYPE_CHECKING:
    from builder.reproduce import Outcome
    from builder.session import Request

_DIFFERENT, _NOT_CHECKED = 1, 2


@click.command()
@options.app_request
@click.option(
    "--junit", type=click.Path(path_type=Path), help="Write the outcome as JUnit's XML to this file."
)
@options.json_option
def check(request: Request, junit: Path | None, as_json: bool) -> int:
    """Prove that TARGET's image can be made again: build every step a second time, and compare.

    The exit code is 1 where a step gave something else, and 2 where the check could not be made.
    """
    from builder import reproduce
    from builder.files import replacing
    from builder.progress import Display

    done: list[Outcome] = []
    try:
        with Display(verbose=request.verbose) as display:

            def report(outcome: Outcome) -> None:
                done.append(outcome)
                display.stage(f"Built again: {len(done)} steps")

            built, derivation = session.derivation_of(request, display=display)
            display.stage("Building every step again")
            outcomes = reproduce.rebuild(derivation, report)
    except BuilderError as error:
        error.exit_code = _NOT_CHECKED
        raise
    different = [outcome for outcome in outcomes if not outcome.is_same]
    if junit is not None:
        with replacing(junit) as file:
            file.write(reproduce.junit(built.name, outcomes))
    if as_json:
        body = {
            "name": built.name,
            "digest": built.digest,
            "steps": len(outcomes),
            "different": [asdict(outcome) for outcome in different],
        }
        click.echo(json.dumps(body))
    else:
        for outcome in different:
            click.echo(outcome.describe())
        same = len(outcomes) - len(different)
        click.echo(f"{built.name}: {same} of {len(outcomes)} steps gave the same again; {built.digest}")
    return _DIFFERENT if different else 0
