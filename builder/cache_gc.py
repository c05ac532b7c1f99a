"""Makes room in a binary cache: what nobody has pushed for a while goes, with what only that needed.

What is kept is what a kept path refers to, however old. Kept are paths that were put there lately, and those of marks
that were made lately: each push marks what its image needs, what was there already included, before it asks for any of
it (`builder.binary_cache.push`). So an image that is pushed every week stays although its layers were sent once.

Nothing is needed but that files can be listed and removed, and nothing is locked. A push in the meantime is safe: marks
are looked at again before each path goes. A stop in the middle is harmless: the description of a path goes before the
path, and what refers to a path before that path; what has no description any more goes with the next run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from builder.binary_cache import MARKS
from builder.parallel import each

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from builder.cache_files import Entry, Listable

# Seconds that a file is left in any case: it may be half of what is being pushed.
GRACE = 3600.0
_INFO = ".narinfo"
# What a file is called before it is whole: by Nix, and by this program.
_UNFINISHED = (".tmp", ".partial-")
_WORKERS = 16


@dataclass(frozen=True)
class Narinfo:
    """What a cache says of a path.

    Attributes:
        name: the file that says so.
        path: the path, without its folder.
        nar: the file with its content.
        size: that file's bytes.
        references: the paths it refers to, without their folder.
    """

    name: str
    path: str
    nar: str
    size: int
    references: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What was done, or would be.

    Attributes:
        removed: paths that went, without their folder.
        freed: bytes of all files that went.
        kept: the number of paths that stay.
        kept_size: their bytes.
    """

    removed: tuple[str, ...] = ()
    freed: int = 0
    kept: int = 0
    kept_size: int = 0


def parse_narinfo(name: str, text: str) -> Narinfo | None:
    """Read a `.narinfo` file (Nix manual, "Binary cache"); None where it is none, or broken."""
    fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
    try:
        return Narinfo(
            name,
            fields["StorePath"].rpartition("/")[2],
            fields["URL"],
            int(fields.get("FileSize") or fields["NarSize"]),
            tuple(fields.get("References", "").split()),
        )
    except (KeyError, ValueError):
        return None


@dataclass
class _Cache:
    """What there is: files by name, descriptions by path, and what each mark keeps."""

    files: Listable
    limit: float
    grace: float
    keep: frozenset[str]
    entries: dict[str, Entry]
    infos: dict[str, Narinfo]
    marks: dict[str, tuple[float, frozenset[str]]] = field(default_factory=dict)

    def read_marks(self) -> bool:
        """Read the marks; return whether there are others than before."""
        found = {entry.name: entry for entry in self.files.entries(MARKS)}
        new = [entry for name, entry in found.items() if self.marks.get(name, (None,))[0] != entry.time]
        for entry, text in zip(new, self._texts(entry.name for entry in new), strict=True):
            paths = (line.rpartition("/")[2] for line in text.splitlines())
            self.marks[entry.name] = entry.time, frozenset(paths)
        return bool(new)

    def _texts(self, names: Iterable[str]) -> list[str]:
        return [
            (data or b"").decode("utf-8", "replace")
            for data in each(self.files.read, names, workers=_WORKERS)
        ]

    def kept(self) -> set[str]:
        """The paths that stay: the roots, and all that they refer to."""
        waiting = [path for path, info in self.infos.items() if self.entries[info.name].time > self.limit]
        waiting += self.keep
        for name, (time, paths) in self.marks.items():
            if time > self.limit or name.removeprefix(MARKS) in self.keep:
                waiting += paths
        kept: set[str] = set()
        while waiting:
            path = waiting.pop()
            if path in self.infos and path not in kept:
                kept.add(path)
                waiting += self.infos[path].references
        return kept

    def is_whole(self, info: Narinfo) -> bool:
        """Whether a path's content is there. What was put there lately may have been listed too early."""
        there = self.entries.get(info.nar)
        return (there is not None and there.size == info.size) or self.entries[info.name].time > self.grace


def collect(
    files: Listable,
    *,
    older_than: float,
    now: float,
    keep: Collection[str] = (),
    dry_run: bool = False,
    counted: Callable[[int, int], None] = lambda _done, _all: None,
) -> Outcome:
    """Remove what is not to be kept.

    Args:
        files: the cache's.
        older_than: seconds since a path was pushed last; an hour at least counts.
        now: the time, in seconds since 1970.
        keep: paths that stay in any case, without their folder, with all that was marked for them.
        dry_run: remove nothing.
        counted: told how many files have gone, of how many.

    Raises:
        BuildError: the cache cannot be reached, listed or written.
    """
    cache = _read(files, limit=now - max(older_than, GRACE), grace=now - GRACE, keep=frozenset(keep))
    kept = cache.kept()
    doomed = [
        info for info in _referrers_first(cache.infos) if info.path not in kept or not cache.is_whole(info)
    ]
    removed: list[Narinfo] = []
    freed = 0
    for place, info in enumerate(doomed):
        if not dry_run:
            if cache.read_marks():
                kept = cache.kept()
            if info.path in kept and cache.is_whole(info):
                continue
            files.remove(info.name)
            counted(place + 1, len(doomed))
        removed.append(info)
        freed += cache.entries[info.name].size
    left = {info.path: info for info in cache.infos.values() if info not in removed}
    rest = list(_rest(cache, left.values()))
    for place, entry in enumerate(rest):
        if not dry_run:
            files.remove(entry.name)
            counted(place + 1, len(rest))
        freed += entry.size
    return Outcome(
        tuple(info.path for info in removed),
        freed,
        len(left),
        sum(info.size for info in left.values()),
    )


def _read(files: Listable, *, limit: float, grace: float, keep: frozenset[str]) -> _Cache:
    entries = {entry.name: entry for entry in files.entries()}
    cache = _Cache(files, limit, grace, keep, entries, {})
    names = [name for name in entries if name.endswith(_INFO) and "/" not in name]
    for name, text in zip(names, cache._texts(names), strict=True):
        if info := parse_narinfo(name, text):
            cache.infos[info.path] = info
    cache.read_marks()
    return cache


def _referrers_first(infos: Mapping[str, Narinfo]) -> list[Narinfo]:
    """Each path after all that refer to it."""
    order: list[Narinfo] = []
    seen: set[str] = set()

    def visit(path: str) -> None:
        if path in seen or path not in infos:
            return
        seen.add(path)
        for reference in infos[path].references:
            visit(reference)
        order.append(infos[path])

    for path in infos:
        visit(path)
    return order[::-1]


def _rest(cache: _Cache, left: Iterable[Narinfo]) -> Iterator[Entry]:
    """Files that nothing needs any more: content without a description, what was never finished, and old marks."""
    needed = {info.nar for info in left}
    for entry in cache.entries.values():
        if entry.time > cache.grace:
            continue
        base = entry.name.rpartition("/")[2]
        is_content = entry.name.startswith("nar/") and entry.name not in needed
        if is_content or any(mark in base for mark in _UNFINISHED):
            yield entry
    for name, (time, _) in cache.marks.items():
        if time <= cache.limit and name.removeprefix(MARKS) not in cache.keep and name in cache.entries:
            yield cache.entries[name]
