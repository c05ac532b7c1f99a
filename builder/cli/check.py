"""`builder check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options
from builder.errors import BuilderError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.binary_cache import BinaryCache
    from builder.check_report import CheckReport
    from builder.outcome import Comparison, Outcome
    from builder.progress import Display
    from builder.session import Request, Traced


@click.command()
@options.app_request
@click.option("--cache", metavar="URL", help="Compare with what this binary cache has, too.")
@click.option(
    "--registry",
    metavar="REFERENCE",
    help="Compare with what a registry has, too: docker://host/repository:tag.",
)
@click.option(
    "--junit", type=click.Path(path_type=Path), help="Write the outcome as JUnit's XML to this file."
)
@options.json_option
def check(
    request: Request, cache: str | None, registry: str | None, junit: Path | None, as_json: bool
) -> int:
    """Prove that TARGET's image can be made again: build every step a second time, and compare.

    The digest that the lock has recorded (`builder lock --record-digest`) is compared, too. The exit code is 1 where
    something is not the same, and 2 where the check could not be made.
    """
    from builder.check_report import NOT_CHECKED
    from builder.files import replacing
    from builder.progress import Display

    try:
        with Display(verbose=request.verbose) as display:
            report = _report(request, cache, registry, display)
    except BuilderError as error:
        error.exit_code = NOT_CHECKED
        raise
    if junit is not None:
        with replacing(junit) as file:
            file.write(report.junit())
    click.echo(json.dumps(report.body()) if as_json else report.text())
    return report.exit_code


def _report(request: Request, cache: str | None, registry: str | None, display: Display) -> CheckReport:
    from builder import reproduce
    from builder.binary_cache import BinaryCache, check_url
    from builder.check_report import CheckReport
    from builder.registry import check_reference

    # What cannot be compared with is told before anything is built.
    found = BinaryCache(check_url(cache, Path.cwd())) if cache else None
    reference = check_reference(registry) if registry else None
    done: list[Outcome] = []

    def report(outcome: Outcome) -> None:
        done.append(outcome)
        display.stage(f"Built again: {len(done)} steps")

    traced = session.trace(request, display=display)
    if traced.recorded is None:
        display.note(
            f"{traced.locked.path.name} has no digest recorded; `builder lock --record-digest` does that"
        )
    folder = session.cache_folder() / "check" / traced.image.name
    display.stage("Building every step again")
    steps = reproduce.rebuild(traced.derivation, report, folder=folder)
    display.stage("Comparing")
    comparisons = list(_comparisons(traced, found, reference, folder))
    return CheckReport(traced.image.name, traced.image.digest, steps, comparisons)


def _comparisons(
    traced: Traced, cache: BinaryCache | None, reference: str | None, folder: Path
) -> Iterator[Comparison]:
    from builder import elsewhere
    from builder.record import compare_recorded

    if traced.recorded is not None:
        yield compare_recorded(traced.image, traced.origin, traced.recorded, traced.locked.path)
    if cache is not None:
        yield elsewhere.compare_cached(traced.image, cache, folder / "cache")
    if reference is not None:
        architecture = traced.locked.lock.architecture
        yield elsewhere.compare_pushed(traced.image, reference, architecture, folder / "registry")
