"""Makes sure that Nix can have every file a lock pins.

Public files Nix fetches itself, by URL and hash. What it cannot have that way is put into the store here: files of
this machine, files behind credentials, and the busybox that opens the first package.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import nix, store
from builder.debian import extract_busybox, fetch_deb, find_mirrors
from builder.debian import redact as without_credentials
from builder.files import scratch_folder
from builder.nix import build_machine
from builder.settings import expand

if TYPE_CHECKING:
    from builder.models import AppSpec, Deb, Lock, Wheel
    from builder.progress import Display
    from builder.settings import Settings


@dataclass(frozen=True)
class Supply:
    """Where Nix gets what the store does not have.

    Attributes:
        mirrors: Debian's archives, by name; without credentials.
        urls: URLs of wheels by sha256, where the lock's own will not do.
    """

    mirrors: dict[str, str]
    urls: dict[str, str]


def _deb_file(deb: Deb, path: Path | None = None) -> nix.Added:
    name = store.store_name(deb.path.rsplit("/", 1)[-1])
    return nix.Added(path=path or Path(name), name=name, digest=deb.sha256, recursive=False)


def _wheel_file(wheel: Wheel, path: Path | None = None) -> nix.Added:
    name = store.store_name(wheel.filename)
    return nix.Added(path=path or Path(name), name=name, digest=wheel.sha256, recursive=False)


def _supply_base(lock: Lock, settings: Settings, cache: Path, display: Display) -> dict[str, str]:
    """Put busybox into the store, and packages whose mirror wants credentials, which Nix is never given.

    Returns:
        the mirrors, by archive; none when the store has all packages, so that no machine needs one for nothing.
    """
    here = build_machine()
    busybox = lock.base.busybox[here]
    wanted = nix.Added(path=Path("busybox"), name="busybox", digest=busybox.nar_sha256, recursive=True)
    debs = [*lock.base.extra, *(deb for name in {lock.architecture, here} for deb in lock.base.debs[name])]
    files = {_deb_file(deb): deb for deb in debs}
    missing = nix.missing([wanted, *files])
    if not missing:
        return {}
    configured: dict[str, str] = {
        key: expand(url, f"tool.builder.mirrors.{key}") for key, url in settings.mirrors.items()
    }
    mirrors = find_mirrors(configured)
    if wanted in missing:
        with scratch_folder() as scratch:
            folder = extract_busybox(fetch_deb(busybox, mirrors, cache / "debs"), scratch / "busybox")
            nix.add([replace(wanted, path=folder)])
    for deb in (files[added] for added in missing if added != wanted):
        url = mirrors.urls[deb.archive]
        if without_credentials(url) != url:
            display.stage(f"Fetching {deb.package}")
            nix.add([_deb_file(deb, fetch_deb(deb, mirrors, cache / "debs"))])
    return {name: without_credentials(url) for name, url in mirrors.urls.items()}


def _supply_wheels(
    lock: Lock, spec: AppSpec, settings: Settings, *, gone: tuple[str, ...], display: Display
) -> dict[str, str]:
    files = {_wheel_file(wheel): wheel for wheel in lock.wheels}
    missing = {files[added].sha256: files[added] for added in nix.missing(files)}
    if not missing:
        return {}
    from builder.index import Finder
    from builder.requirements import parse_requirements

    requirements = parse_requirements(spec, unset_ok=True)
    finder = Finder(lock, settings, spec.root, requirements, display.stage)
    urls = {}
    local = []
    for sha256, source in finder.locate(missing, gone).items():
        wheel = missing[sha256]
        if source.path:
            local.append(_wheel_file(wheel, source.path))
        elif source.url:
            if source.url != wheel.url:
                urls[sha256] = source.url
        else:
            display.stage(f"Fetching {wheel.filename}")
            with scratch_folder() as scratch:
                path = finder.download(wheel, source, scratch)
                nix.add([_wheel_file(wheel, path)])
    if local:
        display.stage(f"Copying {len(local)} local wheels to the store")
        nix.add(local)
    return urls


def supply(
    lock: Lock,
    spec: AppSpec,
    settings: Settings,
    *,
    cache: Path,
    display: Display,
    gone: tuple[str, ...] = (),
) -> Supply:
    """Put into the store what Nix cannot fetch, and say where it finds the rest.

    Args:
        lock: what is pinned.
        spec: the app, whose requirements may name credentials by variable.
        settings: the project's.
        cache: this program's cache folder.
        display: shows what goes on.
        gone: sha256 of wheels whose URLs were tried and do not serve them.

    Raises:
        ResolveError: a file could not be had, or is not the one that is pinned.
        ToolError: no Debian mirror is known.
    """
    places = _supply_base(lock, settings, cache, display)
    urls = _supply_wheels(lock, spec, settings, gone=gone, display=display)
    return Supply(mirrors=places, urls=urls)
