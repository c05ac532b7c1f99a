"""Finds the archives of NVIDIA's redistributables that a CUDA 12 toolkit is made of, and has Nix find them.

A manifest is a JSON object: by component its version, and by platform the archive's `relative_path`, `sha256` and
`size`. It is fetched when a lock is made; the lock then has what it says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from builder import nix, store
from builder.cuda.toolkit import manifest_of, redist_url, toolkit_archives
from builder.errors import ResolveError
from builder.fetch import FetchError, download, public_url, read_text
from builder.files import scratch_folder
from builder.models import CudaArchive
from builder.redact import redact_url
from builder.settings import cuda_mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from builder.fetch import Session
    from builder.models import Architecture, Toolkit
    from builder.progress import Display
    from builder.settings import Settings

# NVIDIA's names: servers of this architecture, and not its embedded boards.
_PLATFORMS: dict[Architecture, str] = {"x86_64": "linux-x86_64", "aarch64": "linux-sbsa"}
INSTEAD = (
    "A mirror of NVIDIA's redistributables is named by cuda in [tool.builder.mirrors]. The toolkit of CUDA 13 needs "
    "none: its compiler comes as packages."
)


def find_archives(
    cuda: str, architecture: Architecture, settings: Settings, session: Session
) -> tuple[CudaArchive, ...]:
    """The archives of a CUDA's toolkit, as its manifest has them; none where its compiler comes as packages.

    Args:
        cuda: "12.8".
        architecture: the image's.
        settings: the project's, which may name a mirror.
        session: how to reach servers.

    Raises:
        FetchError: the manifest cannot be had.
        ResolveError: it is malformed, or lacks an archive.
    """
    components = toolkit_archives(cuda)
    if not components:
        return ()
    url = f"{redist_url(cuda_mirror(settings))}/{manifest_of(cuda)}"
    try:
        text, _, _ = read_text(url, session, accept="application/json, */*")
    except FetchError as error:
        raise FetchError(
            f'cuda = "devel": the list of CUDA {cuda}\'s archives: {error}',
            hint=f"{error.hint} {INSTEAD}".lstrip(),
            status=error.status,
            is_unreachable=error.is_unreachable,
        ) from error
    shown, platform = redact_url(url), _PLATFORMS[architecture]
    try:
        manifest = json.loads(text)
        return tuple(
            CudaArchive(
                component=name,
                version=manifest[name]["version"],
                path=manifest[name][platform]["relative_path"],
                sha256=manifest[name][platform]["sha256"],
                size=int(manifest[name][platform]["size"]),
            )
            for name in components
        )
    except KeyError as error:
        missing = f"{shown} has no {error.args[0]}; the toolkit needs {', '.join(components)} for {platform}"
        raise ResolveError(f'cuda = "devel": {missing}', hint=INSTEAD) from error
    except (ValueError, TypeError, ValidationError) as error:
        raise ResolveError(
            f'cuda = "devel": {shown} is no manifest of redistributables', hint=INSTEAD
        ) from error


def archive_file(archive: CudaArchive, path: Path | None = None) -> nix.Added:
    """An archive as a path of the store; `path` is where it lies on disk, for adding it."""
    name = store.store_name(archive.filename)
    return nix.Added(path=path or Path(name), name=name, digest=archive.sha256, recursive=False)


def supply_archives(
    toolkit: Toolkit | None,
    session: Callable[[], Session],
    settings: Settings,
    *,
    display: Display,
    there: Collection[str] = (),
) -> dict[str, str]:
    """Put a toolkit's archives into the store where Nix may not fetch them itself.

    Args:
        toolkit: the image's, or None.
        session: makes what servers are reached with; called when something is missing.
        settings: the project's, which may name a mirror.
        display: shows what goes on.
        there: paths that a binary cache has.

    Returns:
        where Nix fetches the others: the folder's URL under `cuda`; none where the store has all.

    Raises:
        FetchError: an archive could not be had, or is not the one that is pinned.
    """
    archives = {archive_file(archive): archive for archive in (toolkit.archives if toolkit else ())}
    missing = [archives[added] for added in nix.missing(archives, there)] if archives else []
    if not missing:
        return {}
    folder = redist_url(cuda_mirror(settings))
    known = session()
    if public := public_url(folder, known):
        return {"cuda": public}
    for archive in missing:
        display.stage(f"Fetching {archive.filename}")
        with scratch_folder() as scratch:
            url = f"{folder}/{archive.path}"
            path = download(url, sha256=archive.sha256, size=archive.size, folder=scratch, session=known)
            nix.add([archive_file(archive, path)])
    return {}
