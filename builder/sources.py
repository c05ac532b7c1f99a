"""Makes sure that Nix can have every file a lock pins.

Public files Nix fetches itself, by URL and hash. What it cannot have that way is put into the store here: files of
this machine, files behind credentials, and the busybox that opens the first package.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import nix, store
from builder.crates import supply_crates
from builder.cuda.redist import supply_archives
from builder.debian import build_tools, extract_busybox, fetch_deb, find_mirrors
from builder.debian import redact as without_credentials
from builder.errors import BuilderError, NowhereError
from builder.fetch import FetchError
from builder.files import scratch_folder
from builder.nix import build_machine
from builder.settings import expanded_mirrors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from builder.debian import Mirrors
    from builder.index import Finder
    from builder.index import Source as Place
    from builder.models import AppSpec, Architecture, Base, Deb, Lock, PinnedFile
    from builder.progress import Display
    from builder.settings import Settings


@dataclass(frozen=True)
class Supply:
    """Where Nix gets what the store does not have.

    Attributes:
        mirrors: Debian's archives, by name, and `cuda`, NVIDIA's redistributables; without credentials.
        urls: URLs of files by sha256, where the lock's own will not do.
    """

    mirrors: dict[str, str]
    urls: dict[str, str]


def deb_file(deb: Deb, path: Path | None = None) -> nix.Added:
    """A Debian package as a path of the store; `path` is where it lies on disk, for adding it."""
    name = store.store_name(deb.path.rsplit("/", 1)[-1])
    return nix.Added(path=path or Path(name), name=name, digest=deb.sha256, recursive=False)


def package_file(file: PinnedFile, path: Path | None = None) -> nix.Added:
    """A wheel or an archive as a path of the store; `path` is where it lies on disk, for adding it."""
    name = store.store_name(file.filename)
    return nix.Added(path=path or Path(name), name=name, digest=file.sha256, recursive=False)


def pinned(lock: Lock) -> list[nix.Added]:
    """Everything that a lock pins for its image and for building it, as paths of the store."""
    from builder.crates import crate_file
    from builder.cuda.redist import archive_file
    from builder.trees import commit_tree

    commits = (built.source.sha256 for built in lock.built if built.source.kind == "git")
    return [
        *_base_files(lock.base, lock.architecture),
        *map(package_file, lock.files),
        *map(commit_tree, filter(None, commits)),
        *(crate_file(crate) for built in lock.built for crate in built.crates),
        *map(archive_file, lock.cuda.archives if lock.cuda else ()),
    ]


def _busybox(base: Base) -> nix.Added:
    digest = base.busybox[build_machine()].nar_sha256
    return nix.Added(path=Path("busybox"), name="busybox", digest=digest, recursive=True)


def _base_files(base: Base, architecture: Architecture) -> dict[nix.Added, Deb | None]:
    """Busybox, which stands first, and the packages that are needed here for an architecture's images."""
    debs = (deb for name in {architecture, build_machine()} for deb in base.debs[name])
    packages = (*base.extra, *base.build, *build_tools(base, build_machine()), *debs)
    return {_busybox(base): None, **{deb_file(deb): deb for deb in packages}}


def supply_base(
    base: Base,
    architecture: Architecture,
    settings: Settings,
    *,
    cache: Path,
    display: Display,
    there: Collection[str] = (),
) -> dict[str, str]:
    """Put busybox into the store, and packages whose mirror wants credentials, which Nix is never given.

    Args:
        base: the pinned packages.
        architecture: the image's.
        settings: the project's.
        cache: this program's cache folder.
        display: shows what goes on.
        there: paths that a binary cache has.

    Returns:
        the mirrors, by archive. Where the store has all packages, none needs to be known.

    Raises:
        ResolveError: a package could not be had, or is not the one that is pinned.
        ToolError: no Debian mirror is known.
    """
    wanted = _busybox(base)
    files = _base_files(base, architecture)
    missing = nix.missing(files, there)
    if not missing:
        return known_mirrors(settings)
    mirrors = find_mirrors(expanded_mirrors(settings))
    if wanted in missing:
        with scratch_folder() as scratch:
            deb_of_it = fetch_deb(base.busybox[build_machine()], mirrors, cache / "debs")
            folder = extract_busybox(deb_of_it, scratch / "busybox")
            nix.add([replace(wanted, path=folder)])
    for deb in filter(None, (files[added] for added in missing)):
        url = mirrors.urls[deb.archive]
        if without_credentials(url) != url:
            display.stage(f"Fetching {deb.package}")
            nix.add([deb_file(deb, fetch_deb(deb, mirrors, cache / "debs"))])
    return _public(mirrors)


def known_mirrors(settings: Settings) -> dict[str, str]:
    """The mirrors of a machine that needs nothing from them: by archive, without credentials; none where none is known.

    They decide nothing that is built, but the derivations of packages name them: the same ones in each build, so that
    the store has these once.
    """
    with suppress(BuilderError):
        return _public(find_mirrors(expanded_mirrors(settings)))
    return {}


def _public(mirrors: Mirrors) -> dict[str, str]:
    return {name: without_credentials(url) for name, url in mirrors.urls.items()}


def supply_files(
    files: Iterable[PinnedFile],
    find: Callable[[], Finder],
    *,
    gone: Collection[str] = (),
    there: Collection[str] = (),
    display: Display,
) -> dict[str, str]:
    """Put files of packages into the store that Nix cannot fetch.

    Args:
        files: what is wanted.
        find: makes what finds them; called when something is missing.
        gone: sha256 of files whose URLs were tried and do not serve them.
        there: paths that a binary cache has.
        display: shows what goes on.

    Returns:
        where the others are: URLs by sha256, where that is not the one the file has itself.

    Raises:
        ResolveError: a file could not be had, or is not the one that is pinned.
    """
    paths = {package_file(file): file for file in files}
    missing = {paths[added].sha256: paths[added] for added in nix.missing(paths, there)}
    if not missing:
        return {}
    finder = find()
    urls = {}
    local = []
    refused: dict[str, FetchError] = {}
    places = finder.locate(missing, gone)
    while places:
        failed = []
        for sha256, source in places.items():
            file = missing[sha256]
            if source.path:
                local.append(package_file(file, source.path))
            elif source.url:
                if source.url != file.url:
                    urls[sha256] = source.url
            else:
                display.stage(f"Fetching {file.filename}")
                try:
                    with scratch_folder() as scratch:
                        nix.add([package_file(file, finder.download(file, source, scratch))])
                except FetchError as error:
                    if sha256 in refused:
                        raise
                    refused[sha256] = error
                    failed.append(sha256)
        places = _elsewhere(finder, failed, gone, refused)
    if local:
        display.stage(f"Copying {len(local)} local files to the store")
        nix.add(local)
    return urls


def _elsewhere(
    finder: Finder, wanted: Collection[str], gone: Collection[str], refused: Mapping[str, FetchError]
) -> dict[str, Place]:
    """Other places of files that could not be had where they were looked for. Raises what was said there if none."""
    if not wanted:
        return {}
    try:
        return finder.locate(wanted, {*gone, *wanted})
    except NowhereError:
        raise next(refused[sha256] for sha256 in wanted) from None


def supply(
    lock: Lock,
    spec: AppSpec,
    settings: Settings,
    *,
    cache: Path,
    display: Display,
    gone: tuple[str, ...] = (),
    there: Collection[str] = (),
) -> Supply:
    """Put into the store what Nix cannot fetch, and say where it finds the rest.

    Args:
        lock: what is pinned.
        spec: the app, whose requirements may name credentials by variable.
        settings: the project's.
        cache: this program's cache folder.
        display: shows what goes on.
        gone: sha256 of files whose URLs were tried and do not serve them.
        there: paths that a binary cache has, where Nix finds them itself.

    Raises:
        ResolveError: a file could not be had, or is not the one that is pinned.
        ToolError: no Debian mirror is known.
    """
    from builder.trees import supply_commits

    def find() -> Finder:
        from builder.index import Finder
        from builder.requirements import parse_requirements
        from builder.tags import Target

        requirements = parse_requirements(spec, unset_ok=True)
        target = Target.of_base(lock.base, lock.architecture)
        return Finder(lock.files, target, settings, spec.root, requirements, display.stage, display.note)

    places = supply_base(lock.base, lock.architecture, settings, cache=cache, display=display, there=there)
    urls = supply_files(lock.files, find, gone=gone, there=there, display=display)
    supply_commits(lock, spec, cache=cache, display=display, there=there)
    crates = {f"{built.name} {built.version}": built.crates for built in lock.built}
    supply_crates(crates, lambda: find().session, settings, display=display, there=there)
    redistributables = supply_archives(
        lock.cuda, lambda: find().session, settings, display=display, there=there
    )
    return Supply(mirrors={**places, **redistributables}, urls=urls)
