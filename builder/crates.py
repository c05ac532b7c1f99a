"""Puts Rust crates into the store, which are what cargo finds in a build without network.

No host name is written in this module: where crates come from is configured, for this program or for this machine's
cargo. Whoever serves them, a crate is the one whose sha256 a package's Cargo.lock has.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builder import nix, store
from builder.errors import DeclarationError, ResolveError
from builder.fetch import FetchError, download, read_text
from builder.files import scratch_folder
from builder.parallel import each
from builder.redact import redact_url
from builder.settings import expand

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from builder.fetch import Session
    from builder.models import Crate
    from builder.progress import Display
    from builder.settings import Settings

_KEY = "tool.builder.mirrors.crates"
_SPARSE = "sparse+"
_PUBLIC = "crates-io"  # what cargo's configuration calls Rust's public registry
_WORKERS = 8
_HINT = (
    'Write into pyproject.toml:  [tool.builder.mirrors]  crates = "sparse+URL of the registry\'s sparse index"  or '
    f"configure this machine's cargo for it: a [source.{_PUBLIC}] with replace-with."
)


@dataclass(frozen=True)
class Registry:
    """Where crates are fetched from.

    Attributes:
        url: of a sparse index, `sparse+https://...`; or the template of crates' URLs, as an index has it.
        named: where that is written, for messages.
    """

    url: str = field(repr=False)
    named: str


def find_registry(settings: Settings, environ: Mapping[str, str] | None = None) -> Registry | None:
    """Where crates are fetched from: by the settings, or else by the configuration of this machine's cargo.

    Of that, its home's file counts ("Configuration" and "Source Replacement" in the Cargo book): what stands in
    for Rust's public registry there, under `[source.NAME]` or `[registries.NAME]`.

    Args:
        settings: the project's.
        environ: the environment, by default this process's.

    Raises:
        DeclarationError: what is configured is not understood.
    """
    if "crates" in settings.mirrors:
        registry = Registry(expand(settings.mirrors["crates"], _KEY), _KEY)
        if urlsplit(registry.url.removeprefix(_SPARSE)).scheme not in ("http", "https", "file"):
            raise DeclarationError(
                f"{_KEY}: {redact_url(registry.url)!r} is no URL",
                hint='Give that of a sparse index, as in "sparse+https://host/index/".',
            )
        return registry
    path = _configuration(os.environ if environ is None else environ)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeclarationError(f"cargo's configuration {path} cannot be read: {error}") from error
    name, seen = _PUBLIC, {""}
    while name not in seen:
        seen.add(name)
        name = _text(table, "source", name, "replace-with") or name
    url = _text(table, "source", name, "registry") or _text(table, "registries", name, "index")
    if url is None:
        return None
    if not url.startswith(_SPARSE):
        raise DeclarationError(
            f"cargo's configuration {path}: {redact_url(url)}, which [source.{_PUBLIC}] leads to, is no sparse index "
            f"({_SPARSE}https://...); no other kind is read here",
            hint=_HINT,
        )
    return Registry(url, f"cargo's configuration {path}")


def crate_url(template: str, crate: Crate) -> str:
    """A crate's URL by a registry's template (`dl`: "Registry Index" in the Cargo book)."""
    name = crate.name
    prefix = {1: "1", 2: "2", 3: f"3/{name[0]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")
    values = {
        "{crate}": name,
        "{version}": crate.version,
        "{prefix}": prefix,
        "{lowerprefix}": prefix.lower(),
        "{sha256-checksum}": crate.sha256,
    }
    if not any(marker in template for marker in values):
        template = template.rstrip("/") + "/{crate}/{version}/download"
    for marker, value in values.items():
        template = template.replace(marker, value)
    return template


def supply_crates(
    wanted: Mapping[str, Iterable[Crate]],
    session: Callable[[], Session],
    settings: Settings,
    *,
    display: Display,
    there: Collection[str] = (),
) -> None:
    """Fetch the crates that the store does not have, and add them to it.

    Args:
        wanted: crates by the package that is built with them, as messages name it.
        session: makes what servers are reached with; called when something is missing.
        settings: the project's.
        display: shows what goes on.
        there: paths that a binary cache has.

    Raises:
        ResolveError: no registry is known, it has not got a crate, or has another one under its name.
        DeclarationError: what is configured is not understood.
    """
    packages = {crate_file(crate): (crate, package) for package, crates in wanted.items() for crate in crates}
    missing = [packages[added] for added in nix.missing(packages, there)]
    if not missing:
        return
    registry = find_registry(settings)
    if registry is None:
        package = missing[0][1]
        number = sum(other == package for _, other in missing)
        raise ResolveError(
            f"{package}: its Cargo.lock names {number} Rust {'crate' if number == 1 else 'crates'} that must be "
            f"fetched, and no registry is known: neither {_KEY} nor {_configuration(os.environ)} names one",
            hint=_HINT,
        )
    known, plain = session(), registry.url.removeprefix(_SPARSE)
    # Who we are at an index we are at its crates too, where they are on the same server.
    urls = (plain, *known.credentials.urls)
    known = replace(known, credentials=replace(known.credentials, urls=urls))
    template = plain if plain == registry.url else _template(plain, registry, known)
    display.stage(f"Fetching {len(missing)} Rust {'crate' if len(missing) == 1 else 'crates'}")
    done = itertools.count(1)

    def supply_one(item: tuple[Crate, str]) -> None:
        _supply(*item, template, registry, known)
        display.counted(next(done), len(missing))

    each(supply_one, missing, workers=_WORKERS)


def _supply(crate: Crate, package: str, template: str, registry: Registry, session: Session) -> None:
    with scratch_folder() as scratch:
        try:
            path = download(
                crate_url(template, crate),
                sha256=crate.sha256,
                size=None,
                folder=scratch,
                session=session,
                filename=crate.filename,
            )
        except FetchError as error:
            raise FetchError(
                f"{package}: {error}",
                hint=f"{registry.named} says where crates are fetched from: check that, the network and the "
                "credentials. Only the crate whose sha256 is in the package's Cargo.lock will do.",
                status=error.status,
            ) from error
        nix.add([crate_file(crate, path)])


def _template(index: str, registry: Registry, session: Session) -> str:
    """The template of crates' URLs that a sparse index gives."""
    url = f"{index.rstrip('/')}/config.json"
    try:
        template: Any = json.loads(read_text(url, session, accept="application/json")[0])["dl"]
    except FetchError as error:
        raise FetchError(f"{registry.named}: {error}", hint=error.hint, status=error.status) from error
    except (ValueError, KeyError, TypeError):
        template = None
    if not isinstance(template, str):
        raise ResolveError(
            f"{registry.named}: {redact_url(index)} is no index of crates: its config.json has no `dl`",
            hint="Give the folder that has the index's config.json.",
        )
    return template


def crate_file(crate: Crate, path: Path | None = None) -> nix.Added:
    """A crate as a path of the store; `path` is where it lies on disk, for adding it."""
    name = store.store_name(crate.filename)
    return nix.Added(path=path or Path(name), name=name, digest=crate.sha256, recursive=False)


def _configuration(environ: Mapping[str, str]) -> Path:
    """The configuration file of cargo's home; of its two names the older one counts first."""
    home = Path(environ.get("CARGO_HOME") or Path(environ.get("HOME") or Path.home()) / ".cargo")
    return home / "config" if (home / "config").is_file() else home / "config.toml"


def _text(table: Any, *keys: str) -> str | None:  # noqa: ANN401 - whatever TOML held
    for key in keys:
        table = table.get(key) if isinstance(table, dict) else None
    return table if isinstance(table, str) else None
