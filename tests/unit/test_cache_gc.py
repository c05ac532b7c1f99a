"""What stays in a binary cache, and in which order the rest goes."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from builder.binary_cache import MARKS
from builder.cache_files import Entry, Folder
from builder.cache_gc import collect, parse_narinfo
from builder.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

NOW, DAY = float(int(time.time())), 86400.0


@dataclass
class Cache:
    """A cache in a folder, whose files have the ages that a test wants."""

    folder: Path
    size: int = 100

    def put(self, name: str, data: bytes, days: float) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (NOW - days * DAY,) * 2)

    def path(self, name: str, *references: str, days: float, nar: str | None = None) -> None:
        """A path that was pushed some days ago."""
        content = f"nar/{nar or name}.nar"
        text = f"StorePath: /nix/store/{name}\nURL: {content}\nCompression: none\nFileSize: {self.size}\n"
        text += f"NarSize: {self.size}\nReferences: {' '.join(references)}\nSig: team-1:abc=\n"
        self.put(content, bytes(self.size), days)
        self.put(f"{name}.narinfo", text.encode(), days)

    def mark(self, image: str, *paths: str, days: float) -> None:
        self.put(MARKS + image, "".join(f"/nix/store/{path}\n" for path in (image, *paths)).encode(), days)

    def names(self) -> set[str]:
        return {entry.name for entry in Folder(self.folder).entries()}

    def paths(self) -> set[str]:
        return {name.removesuffix(".narinfo") for name in self.names() if name.endswith(".narinfo")}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    cache = Cache(tmp_path / "cache")
    cache.put("nix-cache-info", b"StoreDir: /nix/store\n", 100)
    cache.path("base", days=90)
    cache.path("old-layer", days=60)
    cache.path("old-image", "base", "old-layer", days=60)
    cache.path("image", "base", days=3)
    return cache


def test_what_was_pushed_lately_stays_with_all_it_refers_to_and_the_rest_goes(cache: Cache) -> None:
    outcome = collect(Folder(cache.folder), older_than=30 * DAY, now=NOW)
    assert cache.paths() == {"base", "image"}
    assert set(outcome.removed) == {"old-image", "old-layer"}
    assert outcome.kept == 2
    assert outcome.freed > 2 * cache.size
    assert cache.names() == {
        "nix-cache-info",
        "base.narinfo",
        "image.narinfo",
        "nar/base.nar",
        "nar/image.nar",
    }
    assert collect(Folder(cache.folder), older_than=30 * DAY, now=NOW).removed == ()


def test_an_image_that_was_pushed_again_stays_although_nothing_of_it_was_sent(cache: Cache) -> None:
    cache.mark("old-image", "base", "old-layer", days=1)
    assert collect(Folder(cache.folder), older_than=30 * DAY, now=NOW).removed == ()


def test_what_a_mark_names_besides_the_image_stays_as_long_as_it(cache: Cache) -> None:
    cache.path("wheel", days=60)
    cache.mark("old-image", "wheel", days=40)
    assert collect(Folder(cache.folder), older_than=50 * DAY, now=NOW).removed == ()
    assert collect(Folder(cache.folder), older_than=30 * DAY, now=NOW, keep=["old-image"]).removed == ()
    assert "wheel" in collect(Folder(cache.folder), older_than=30 * DAY, now=NOW).removed
    assert MARKS + "old-image" not in cache.names()


def test_a_dry_run_says_the_same_and_removes_nothing(cache: Cache) -> None:
    cache.put("nar/orphan.nar", b"12345", 9)
    before = cache.names()
    told = collect(Folder(cache.folder), older_than=30 * DAY, now=NOW, dry_run=True)
    assert cache.names() == before
    assert collect(Folder(cache.folder), older_than=30 * DAY, now=NOW) == told


def test_what_was_never_finished_goes_unless_it_may_be_in_the_making(cache: Cache) -> None:
    for name in ("nar/orphan.nar", "nar/half.nar.tmp.12", "builder-roots/.partial-0a"):
        cache.put(name, b"12345", 2)
    cache.put("nar/new.nar", b"12345", 0.5 / 24)
    cache.put("nar/new.nar.tmp.3", b"12345", 0.5 / 24)
    collect(Folder(cache.folder), older_than=900 * DAY, now=NOW)
    assert {name for name in cache.names() if "image" not in name and "base" not in name} == {
        "nix-cache-info",
        "nar/new.nar",
        "nar/new.nar.tmp.3",
        "old-layer.narinfo",
        "nar/old-layer.nar",
    }


def test_a_path_whose_content_is_not_all_there_goes_so_that_the_next_push_sends_it(cache: Cache) -> None:
    cache.put("nar/base.nar", b"half", 90)
    assert collect(Folder(cache.folder), older_than=900 * DAY, now=NOW).removed == ("base",)


def test_content_that_two_paths_share_stays_as_long_as_one_of_them(cache: Cache) -> None:
    cache.path("twin", days=60, nar="image")
    cache.put("nar/image.nar", bytes(cache.size), 60)
    assert "twin" in collect(Folder(cache.folder), older_than=30 * DAY, now=NOW).removed
    assert "nar/image.nar" in cache.names()


class Watched(Folder):
    """A folder in which something else happens when a file is removed: a stop, or a push."""

    def __init__(self, path: Path, *, stop_after: int = 1000, pushed: str = "") -> None:
        super().__init__(path)
        object.__setattr__(self, "removed", [])
        object.__setattr__(self, "stop_after", stop_after)
        object.__setattr__(self, "pushed", pushed)

    def remove(self, name: str) -> None:
        if len(self.removed) == self.stop_after:
            raise BuildError("stopped")
        self.removed.append(name)
        super().remove(name)
        if self.pushed:
            self.write(MARKS + self.pushed, f"/nix/store/{self.pushed}\n/nix/store/old-layer\n".encode())


def test_what_a_push_needs_that_comes_in_between_stays(cache: Cache) -> None:
    files = Watched(cache.folder, pushed="new-image")
    collect(files, older_than=30 * DAY, now=NOW)
    assert "old-image" not in cache.paths()
    assert "old-layer" in cache.paths()
    assert "nar/old-layer.nar" in cache.names()


@pytest.mark.parametrize("after", range(6))
def test_a_stop_at_any_point_leaves_no_description_of_what_is_not_there(cache: Cache, after: int) -> None:
    try:
        collect(Watched(cache.folder, stop_after=after), older_than=30 * DAY, now=NOW)
    except BuildError:
        assert after < 4
    for file in cache.folder.glob("*.narinfo"):
        info = parse_narinfo(file.name, file.read_text())
        assert info is not None
        assert (cache.folder / info.nar).stat().st_size == info.size
        assert set(info.references) <= cache.paths()
    collect(Folder(cache.folder), older_than=30 * DAY, now=NOW)
    assert cache.paths() == {"base", "image"}
    assert "nar/old-layer.nar" not in cache.names()


def test_what_is_no_description_is_left_alone() -> None:
    assert parse_narinfo("a.narinfo", "StorePath: /nix/store/a\n") is None
    assert parse_narinfo("a.narinfo", "<html>") is None


def test_files_are_listed_with_their_size_and_time(cache: Cache) -> None:
    found = {entry.name: entry for entry in Folder(cache.folder).entries("nar/")}
    assert found["nar/base.nar"] == Entry("nar/base.nar", 100, NOW - 90 * DAY)
    assert set(found) == {f"nar/{name}.nar" for name in ("base", "old-layer", "old-image", "image")}
    assert replace(found["nar/base.nar"], size=1) != found["nar/base.nar"]
