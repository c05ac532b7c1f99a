"""`builder cache`."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from builder import session
from builder.cli import options
from builder.errors import BuildError, ToolError

if TYPE_CHECKING:
    from builder.binary_cache import BinaryCache
    from builder.cache_info import CacheInfo, Part
    from builder.progress import Display
    from builder.session import Loaded, Request

_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


@click.group()
def cache() -> None:
    """Share what is built by a binary cache, as Nix has it: a folder, a web server, S3 or a machine with ssh."""


@cache.command()
@click.argument("name")
@click.option("--file", type=click.Path(path_type=Path), help="Where to put it. Default: the user's own key.")
@options.json_option
def keygen(name: str, file: Path | None, as_json: bool) -> None:
    """Make a key, called NAME, that signs what is pushed, and print its public part."""
    from builder.binary_cache import make_key, own_key

    path = file or own_key()
    public = make_key(name, path)
    if as_json:
        click.echo(json.dumps({"file": str(path), "public_key": public}))
        return
    click.echo(f"{path}: the key; keep it secret")
    click.echo("Those who are to trust what it signs write in pyproject.toml:")
    click.echo(f"  [tool.builder]\n  cache-keys = [{json.dumps(public)}]")


@cache.command()
@options.app_request
@options.cache_location
@click.option(
    "--sources",
    is_flag=True,
    help="Also what the image is built from: wheels, archives, commits, Debian's packages, the tools that build.",
)
def push(request: Request, sources: bool) -> None:
    """Build TARGET's image and copy it, with its layers, into the cache."""
    from builder import binary_cache, build
    from builder.load import declare
    from builder.nix_log import Log
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        fields = declare(request.target, interpreter=request.interpreter)
        app = session.loaded(fields)
        found = _required(session.cache_of(app, request))
        found.require_key()
        built = session.build_app(
            request, out_link=None, link=False, display=display, fields=fields, fill=False
        )
        more: list[str] = []
        if sources:
            locked = session.lock_app(app, replace(request, frozen=True), display=display)
            with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
                more = build.source_paths(plan, app.settings, cache=session.cache_folder(), display=display)
        display.stage(f"Copying to {found.shown}")
        binary_cache.push(found, str(built.image.path), log=Log(display), sources=more)
    what = f" with {len(more)} files that it is built from" if sources else ""
    click.echo(f"{built.image.name}: {built.image.digest} is in {found.shown}{what}")


@cache.command()
@options.app_request
@options.cache_location
def pull(request: Request) -> None:
    """Have TARGET's image from the cache, and build nothing."""
    from builder import build
    from builder.progress import Display

    with Display(verbose=request.verbose) as display:
        app = session.load_app(request)
        found = _required(session.cache_of(app, request))
        locked = session.lock_app(app, replace(request, frozen=True), display=display)
        with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
            image = build.from_cache(plan, found, Path(f"result-{app.spec.name}"), display)
    if image is None:
        raise BuildError(
            f"{found.shown} has no image of {app.spec.name} as it is now.",
            hint="`builder build` builds it; `builder cache push` puts it there.",
        )
    click.echo(f"{image.name}: {image.digest}")


@cache.command()
@click.argument("target", required=False)
@options.named_cache
@options.json_option
def info(target: str | None, url: str | None, key: Path | None, as_json: bool) -> None:
    """Say what the cache is, and which parts of TARGET's image it has."""
    from builder import cache_info
    from builder.progress import Display

    with Display() as display:
        if target:
            request = session.Request(target, frozen=True, cache=url, cache_key=key)
            app = session.load_app(request)
            found = _required(session.cache_of(app, request))
        else:
            found = _cache_here(url, key)
        display.stage(f"Asking {found.shown}")
        told = cache_info.describe(found)
        paths = _image_paths(app, request, display) if target else []
        parts = cache_info.parts(found, paths) if not told.problem else []
    if as_json:
        image = {"image": [asdict(part) for part in parts]} if target else {}
        click.echo(json.dumps({**asdict(told), **image}))
        return
    for line in (*_told(told), *map(_part, parts)):
        click.echo(line)


@cache.command()
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    required=True,
    help="What was not pushed for so long goes: 12h, 30d, 8w.",
)
@click.option(
    "--keep",
    metavar="TARGET",
    multiple=True,
    help="An app whose image stays, as its lock has it; may be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would go.")
@options.named_cache
@options.json_option
def gc(
    age: str, keep: tuple[str, ...], dry_run: bool, url: str | None, key: Path | None, as_json: bool
) -> None:
    """Remove from the cache what was not pushed for a while, and what only that needed.

    A folder and S3 can be listed. For a web server or a machine with ssh run this on the machine itself.
    """
    from builder import cache_gc
    from builder.cache_files import WebServer, files_of
    from builder.progress import Display

    seconds = _seconds(age)
    with Display() as display:
        found = _cache_here(url, key)
        files = files_of(found.url)
        if files is None or isinstance(files, WebServer):
            raise ToolError(
                f"the files of {found.shown} cannot be listed from here",
                hint="Run `builder cache gc --cache FOLDER` on the machine that has them."
                if files
                else "It is a machine's store: run `nix-collect-garbage` there.",
            )
        kept = []
        for target in keep:
            request = session.Request(target, frozen=True)
            kept += _image_paths(session.load_app(request), request, display)
        display.stage(f"Looking through {found.shown}")
        outcome = cache_gc.collect(
            files,
            older_than=seconds,
            now=time.time(),
            keep=[Path(path).name for path in kept],
            dry_run=dry_run,
            counted=display.counted,
        )
    if as_json:
        click.echo(json.dumps({"cache": found.shown, "dry_run": dry_run, **asdict(outcome)}))
        return
    would = "would be " if dry_run else ""
    click.echo(
        f"{found.shown}: {len(outcome.removed)} paths {would}removed, {options.megabytes(outcome.freed)} {would}freed; "
        f"{outcome.kept} paths stay, {options.megabytes(outcome.kept_size)}"
    )


def _seconds(age: str) -> float:
    if not re.fullmatch(r"\d+[hdw]", age):
        raise click.BadParameter(f"{age!r} is no age, such as 12h, 30d or 8w.", param_hint="--older-than")
    return float(age[:-1]) * _SECONDS[age[-1]]


def _required(found: BinaryCache | None) -> BinaryCache:
    if found is None:
        raise ToolError(
            "no cache is named", hint="Name one: --cache URL, BUILDER_CACHE, or cache in [tool.builder]."
        )
    return found


def _cache_here(url: str | None, key: Path | None) -> BinaryCache:
    """The cache that is named, or that the project which this folder is in has."""
    from builder.binary_cache import find_cache
    from builder.settings import read_settings

    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").exists()), here)
    return _required(find_cache(read_settings(root), root, url=url, secret_key=key))


def _image_paths(app: Loaded, request: Request, display: Display) -> list[str]:
    """Where the image and its layers are, or will be, in the store; nothing is built."""
    from builder import build

    locked = session.lock_app(app, request, display=display)
    with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
        image, derivation = build.image_path(plan)
    return [image, *build.layer_paths(derivation)]


def _told(told: CacheInfo) -> list[str]:
    writable = {True: "yes", False: "no", None: "only a push can tell"}[told.writable]
    priority = "" if told.priority is None else f", priority {told.priority}"
    return [
        click.style(told.url, bold=True),
        f"  usable    {(told.problem and f'no: {told.problem}') or 'yes'}",
        f"  store     {told.store or 'not said: nothing was pushed yet'}{priority}",
        f"  writable  {writable if told.signs else 'no: there is no key here to sign with'}",
        f"  trusted   {', '.join(told.keys) or 'no key but those of nix.conf'}",
    ]


def _part(part: Part) -> str:
    if part.size is None:
        return f"{'-':>10}  {part.name}  not there"
    by = f"signed by {', '.join(part.keys)}" if part.keys else "not signed"
    return (
        f"{options.megabytes(part.size):>10}  {part.name}  {by}{'' if part.trusted else ', not trusted here'}"
    )
