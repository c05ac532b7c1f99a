"""Holds files against the hashes that requirements ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.errors import ResolveError
from builder.fetch import digests
from builder.uvtool import File

if TYPE_CHECKING:
    from builder.fetch import Session
    from builder.models import PinnedFile


def has_hash(file: File, hashes: tuple[str, ...], session: Session) -> bool:
    """Whether a file has one of the hashes that are asked for, each as `algorithm:hex`."""
    if file.sha256 is not None and f"sha256:{file.sha256}" in hashes:
        return True
    others = {value.partition(":")[0] for value in hashes} - (
        {"sha256"} if file.sha256 is not None else set()
    )
    if not others:
        return False
    return bool(digests(file.url, others, session) & set(hashes))


def check_hashes(archive: PinnedFile | None, hashes: tuple[str, ...], session: Session, place: str) -> None:
    """See that an archive has one of the hashes that are asked for; all is well where none is.

    Args:
        archive: the archive, or None for what is none.
        hashes: each as `algorithm:hex`.
        session: how to reach servers.
        place: what an error begins with.

    Raises:
        ResolveError: it has another.
        FetchError: it cannot be fetched to compute a hash that nobody said.
    """
    if archive is None or not hashes:
        return
    file = File(archive.filename, archive.url or "", archive.sha256, archive.size)
    if not has_hash(file, hashes, session):
        raise ResolveError(
            f"{place}{archive.name} {archive.version}: {archive.filename} has the sha256 {archive.sha256}; asked for "
            f"is {', '.join(hashes)}",
            hint="If the file was replaced on purpose, write its new hash; otherwise find out who replaced it.",
        )
