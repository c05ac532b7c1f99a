"""`builder plan`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.forecast import Forecast, Package
    from builder.session import Request

_SHOWN = 12


@click.command()
@options.app_request
@options.json_option
def plan(request: Request, as_json: bool) -> None:
    """Say what TARGET's image will be made of, and what is to be fetched for it; locks where that is needed."""
    from builder import nix
    from builder.forecast import forecast
    from builder.progress import Display

    nix.require()
    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        locked = session.lock_app(app, request, display=display)
        found = forecast(app.spec, locked.lock)
    if as_json:
        click.echo(json.dumps({**asdict(found), "size": found.size}))
        return
    click.echo(f"{click.style(found.name, bold=True)}: {', '.join(found.machine_types)}")
    for name, text in _lines(found):
        click.echo(f"  {name:<9} {text}")
    for warning in found.warnings:
        click.echo(f"  {'ending':<9} {warning}")


def _lines(found: Forecast) -> Iterator[tuple[str, str]]:
    yield "python", f"{found.python} on Debian {found.suite}, {found.architecture}"
    if found.cuda:
        yield "CUDA", found.cuda + (f": {found.why}" if found.why else "")
    if found.toolkit:
        more = f" and {options.megabytes(found.toolkit_size)} of archives" if found.toolkit_size else ""
        yield "toolkit", f"{found.toolkit}: nvcc, ptxas, headers; from packages{more}"
    if found.capabilities:
        yield "GPUs", f"compute capability {', '.join(found.capabilities)}"
    if found.driver:
        yield "driver", f"{found.driver} or newer"
    built = sum(package.is_built for package in found.packages)
    from_source = f", {built} built from source" if built else ""
    yield (
        "packages",
        f"{len(found.packages)}, {options.megabytes(found.size)}{from_source}; {found.debian_packages} of Debian",
    )
    yield "layers", str(found.layers)
    more = f" and {', '.join(found.unknown)}, whose size no index says" if found.unknown else ""
    yield (
        "download",
        (options.megabytes(found.download) + more)
        if found.download or more
        else "nothing: all is in the store",
    )
    largest = sorted(found.packages, key=lambda package: -(package.size or 0))[:_SHOWN]
    for package in largest:
        yield "", _package(package)
    if len(found.packages) > len(largest):
        yield "", f"and {len(found.packages) - len(largest)} smaller ones"


def _package(package: Package) -> str:
    size = "?" if package.size is None else options.megabytes(package.size)
    state = "" if package.is_here else "  to fetch"
    return f"{size:>10}  {package.name} {package.version}{state}"
