"""Holds an image that was built here against what a binary cache or a registry has of it.

Where these differ, the layers in question are fetched and kept, so that the file and the byte can be told.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from builder import nix, process
from builder.binary_cache import reached
from builder.compare import compare, read_side
from builder.errors import BuildError
from builder.file_differences import SHOWN, differences, in_layers
from builder.nix_failure import readable
from builder.outcome import Comparison, Part
from builder.redact import redact
from builder.registry import inspect_raw, skopeo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.binary_cache import BinaryCache
    from builder.compare import Change
    from builder.layout import Image
    from builder.models import Architecture

# This project's names of processors -> the OCI image specification's.
_PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64"}


def compare_cached(image: Image, cache: BinaryCache, folder: Path) -> Comparison:
    """Hold an image, and each layer of it, against what a binary cache has at the same paths.

    Args:
        image: as it was built here.
        cache: the cache.
        folder: where to keep what differs; what is there is replaced.
    """
    own = str(image.path)
    paths = nix.requisites(own)
    here = _nar_hashes(paths)
    outcome = Comparison("cache", cache.shown, here[own], "", "not made")
    try:
        with reached(cache):
            there = _nar_hashes(paths, "--store", cache.nix_url, *cache.asking)
        if lacking := [readable(path) for path in paths if path not in there]:
            return outcome.because(
                f"it lacks {', '.join(lacking)}: the image as it is now was not pushed there"
            )
        different = [path for path in paths if there[path] != here[path]]
        if not different:
            return Comparison("cache", cache.shown, here[own], there[own], "same")
        outcome = Comparison("cache", cache.shown, here[own], there[own], "different")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        parts = tuple(_cached(path, cache, folder / readable(path)) for path in different)
    except BuildError as error:
        return outcome.because(redact(str(error)))
    return Comparison("cache", cache.shown, here[own], there[own], "different", parts=parts)


def compare_pushed(image: Image, reference: str, architecture: Architecture, folder: Path) -> Comparison:
    """Hold an image against the one that a registry has.

    Args:
        image: as it was built here.
        reference: `host/repository:tag`; see `builder.registry.check_reference`.
        architecture: the image's, which is picked where the reference is to an index of several.
        folder: where to keep what differs; what is there is replaced.

    Raises:
        ToolError: skopeo is missing.
    """
    shown = f"docker://{reference}"
    outcome = Comparison("registry", shown, image.digest, "", "not made")
    try:
        there = _pushed_digest(reference, architecture)
        if there == image.digest:
            return Comparison("registry", shown, image.digest, there, "same")
        outcome = Comparison("registry", shown, image.digest, there, "different")
        shutil.rmtree(folder, ignore_errors=True)
        _fetch(f"{_repository(reference)}@{there}", image.path, folder)
    except BuildError as error:
        return outcome.because(redact(str(error)))
    found = compare(read_side(str(image.path)), read_side(str(folder)))
    why = tuple(
        f"{name}: {old or 'none'} here, {new or 'none'} there" for name, (old, new) in found.facts.items()
    )
    parts = tuple(_layers(found.changes["layers"], image.path, folder))
    return Comparison("registry", shown, image.digest, there, "different", why, parts)


def _nar_hashes(paths: list[str], *words: str) -> dict[str, str]:
    return {path: info.nar_hash for path, info in nix.path_info(paths, *words).items()}


def _cached(path: str, cache: BinaryCache, kept: Path) -> Part:
    with reached(cache):
        nix.unpack(cache.nix_url, path, kept)
    files = tuple(islice(differences(Path(path), kept), SHOWN))
    return Part(readable(path), (path, str(kept)), files)


def _repository(reference: str) -> str:
    """A reference without its tag; the colon of a port is no tag's."""
    folder, slash, name = reference.rpartition("/")
    return folder + slash + name.partition(":")[0]


def _pushed_digest(reference: str, architecture: Architecture) -> str:
    """The digest of the manifest that a registry has under a tag, for an architecture."""
    raw = inspect_raw(reference)
    document = json.loads(raw)
    if "manifests" not in document:
        return "sha256:" + hashlib.sha256(raw.encode()).hexdigest()
    wanted = {"os": "linux", "architecture": _PROCESSORS[architecture]}
    for entry in document["manifests"]:
        if wanted.items() <= entry.get("platform", {}).items():
            return str(entry["digest"])
    raise BuildError(f"{reference} is an index that has no image for linux/{wanted['architecture']}")


def _fetch(reference: str, layout: Path, folder: Path) -> None:
    """Make an OCI layout of an image in a registry; what another layout has of it is not fetched."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (layout / "blobs/sha256").iterdir():
        (blobs / blob.name).symlink_to(blob.resolve())
    done = process.run(
        [skopeo(), "copy", "--quiet", "--preserve-digests", f"docker://{reference}", f"oci:{folder}:latest"]
    )
    if done.returncode:
        raise BuildError(f"{reference} cannot be fetched: {done.stderr.strip().rpartition(chr(10))[2]}")


def _layers(changes: tuple[Change, ...], here: Path, there: Path) -> Iterator[Part]:
    """Layers that differ: those that hold the same packages are looked into, others are only on one side."""
    gone = {change.before.version: change.name for change in changes if change.before is not None}
    new = {change.after.version: change.name for change in changes if change.after is not None}
    for holds in sorted({*gone, *new}):
        name = f"layer {holds}"
        if holds in gone and holds in new:
            one, other = _blob(here, gone[holds]), _blob(there, new[holds])
            yield Part(name, (str(one), str(other)), tuple(in_layers(one, other)))
        elif holds in gone:
            yield Part(name, (str(_blob(here, gone[holds])), "not there"))
        else:
            yield Part(name, ("not here", str(_blob(there, new[holds]))))


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")
