"""What a binary cache is, to whom it can be of use, and which parts of an image it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import nix, store
from builder.binary_cache import reached
from builder.cache_files import INFO, files_of
from builder.errors import BuilderError
from builder.nix_failure import readable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.binary_cache import BinaryCache


@dataclass(frozen=True)
class CacheInfo:
    """A cache, as it is found.

    Attributes:
        url: fit to be shown.
        problem: why it cannot be used; "" where it can.
        store: the store folder it is for; "" where it does not say.
        priority: Nix asks caches with a lower number first; None where it does not say.
        writable: whether it takes what is pushed; None where only a push can tell.
        keys: names of the keys that are trusted, besides those of Nix's own configuration.
        signs: whether there is a key here to sign with.
    """

    url: str
    problem: str
    store: str
    priority: int | None
    writable: bool | None
    keys: tuple[str, ...]
    signs: bool


@dataclass(frozen=True)
class Part:
    """An image or a layer of it, in a cache.

    Attributes:
        name: as the store has it, without its hash.
        path: where it is in the store.
        size: bytes; None where the cache has not got it.
        keys: names of the keys that have signed it.
        trusted: whether a signature is by a key that is trusted here.
    """

    name: str
    path: str
    size: int | None
    keys: tuple[str, ...]
    trusted: bool


def describe(cache: BinaryCache) -> CacheInfo:
    """Ask a cache what it is. A cache that cannot be asked is described as well."""
    said: dict[str, str] = {}
    problem, writable = "", None
    try:
        files = files_of(cache.url)
        if files is None:
            with reached(cache):
                nix.run("nix", "store", "ping", "--store", cache.nix_url)
            said = {"StoreDir": store.STORE}
        else:
            text = (files.read(INFO) or b"").decode("utf-8", "replace")
            said = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            # Who cannot sign does not push, and need not try.
            writable = files.is_writable() if cache.secret_key else False
    except BuilderError as error:
        problem = str(error)
    own, priority = said.get("StoreDir", ""), said.get("Priority", "")
    if own and own != store.STORE:
        problem = f"it is for the store {own}, and this machine's is {store.STORE}"
    return CacheInfo(
        url=cache.shown,
        problem=problem,
        store=own,
        priority=int(priority) if priority.isdigit() else None,
        writable=writable,
        keys=tuple(key.partition(":")[0] for key in cache.public_keys),
        signs=cache.secret_key is not None,
    )


def parts(cache: BinaryCache, paths: Iterable[str]) -> list[Part]:
    """Which of an image's paths a cache has.

    Raises:
        BuildError: it cannot be asked.
    """
    wanted = list(paths)
    with reached(cache):
        where = ("--store", cache.nix_url)
        found = nix.path_info(wanted, *where, *cache.asking)
        distrusted = nix.untrusted(found, *where, *cache.asking)
    return [
        Part(
            name=readable(path),
            path=path,
            size=found[path].size if path in found else None,
            keys=found[path].keys if path in found else (),
            trusted=path in found and path not in distrusted,
        )
        for path in wanted
    ]
