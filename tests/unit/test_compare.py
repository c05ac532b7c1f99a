"""What is said to be different between two locks, or two images."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest
from lock_samples import lock_file, wheel

from builder.cli import run
from builder.compare import Change, Item, compare, read_side
from builder.errors import DeclarationError
from builder.lock import write_lock

if TYPE_CHECKING:
    from pathlib import Path


def lock(folder: Path, name: str, *packages: tuple[str, str]) -> str:
    path = folder / name
    write_lock(path, lock_file(*(wheel(*package) for package in packages)))
    return str(path)


def image(folder: Path, name: str, layers: dict[str, str], **labels: str) -> str:
    """An OCI layout with layers of these contents, each with what made it."""
    path = folder / name
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return f"sha256:{digest}"

    config = {
        "config": {"Labels": {key.replace("_", "."): value for key, value in labels.items()}},
        "history": [{"created_by": f"builder: {made}"} for made in layers.values()],
    }
    manifest = {
        "config": {"digest": blob(json.dumps(config).encode())},
        "layers": [{"digest": blob(content.encode()), "size": len(content)} for content in layers],
    }
    index = {"manifests": [{"digest": blob(json.dumps(manifest).encode())}]}
    (path / "index.json").write_text(json.dumps(index))
    return str(path)


def test_packages_that_came_went_and_changed_are_told(tmp_path: Path) -> None:
    before = lock(tmp_path, "a.toml", ("numpy", "1.26.4"), ("six", "1.16.0"), ("tqdm", "4.0"))
    after = lock(tmp_path, "b.toml", ("numpy", "2.0.0"), ("tomli", "2.2.1"), ("tqdm", "4.0"))
    found = compare(read_side(before), read_side(after))
    size = wheel("numpy", "1.26.4").size
    assert found.changes["packages"] == (
        Change("numpy", Item("1.26.4", size), Item("2.0.0", size)),
        Change("six", Item("1.16.0", size), None),
        Change("tomli", None, Item("2.2.1", size)),
    )
    assert found.changes["Debian packages"] == ()
    assert found.same["packages"] == 1
    assert not found.is_empty


def test_a_lock_differs_in_nothing_from_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lock(tmp_path, "a.toml", ("numpy", "1.26.4"))
    assert compare(read_side(path), read_side(path)).is_empty
    assert run(["diff", path, path]) == 0
    assert capsys.readouterr().out == "nothing is different\n"


def test_images_are_compared_by_layers_and_by_what_they_say(tmp_path: Path) -> None:
    before = image(tmp_path, "a", {"base": "libc6 2", "old": "numpy 1"}, builder_python="3.11")
    after = image(tmp_path, "b", {"base": "libc6 2", "newer": "numpy 2"}, builder_python="3.12")
    found = compare(read_side(before), read_side(after))
    assert found.facts == {"Python": ("3.11", "3.12")}
    assert {change.before or change.after for change in found.changes["layers"]} == {
        Item("numpy 1", 3),
        Item("numpy 2", 5),
    }
    assert (found.same["layers"], found.before.size, found.after.size) == (1, 7, 9)


def test_what_is_printed_is_for_people_or_for_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = image(tmp_path, "a", {"base": "libc6 2"}, builder_python="3.11")
    after = image(tmp_path, "b", {"base": "libc6 2", "new": "six 1.16"}, builder_python="3.11")
    assert run(["diff", before, after]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "layers: 1 different, 1 the same"
    assert lines[1].startswith("  + sha256:")
    assert lines[1].endswith(" six 1.16 (0.0 MB)")
    assert lines[2] == "size: 0.0 MB -> 0.0 MB (+0.0 MB)"
    assert run(["diff", before, after, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["same"], body["size"]) == (False, {"before": 4, "after": 7})
    assert body["changes"]["layers"][0]["after"] == {"version": "six 1.16", "size": 3}


def test_markdown_has_tables_in_which_nothing_but_text_is_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = image(tmp_path, "a", {"base": "libc6 2"}, builder_python="@me <b>`x`|")
    after = image(tmp_path, "b", {"base": "libc6 2", "new": "six 1.16"}, builder_python="3.11")
    assert run(["diff", before, after, "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["| | before | after |", "|---|---|---|", "| `Python` | `@me <b>'x'/` | `3.11` |"]
    assert "**layers**: 1 different, 1 the same" in lines
    assert lines[-3].endswith("` |  | `six 1.16` | +0.0 MB |")
    assert lines[-1] == "**size**: 0.0 MB -> 0.0 MB (+0.0 MB)"
    assert run(["diff", before, before, "--markdown"]) == 0
    assert capsys.readouterr().out == "The images are the same.\n"


def test_a_lock_is_not_compared_with_an_image(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"is a lock, and .* is not"):
        compare(read_side(lock(tmp_path, "a.toml")), read_side(image(tmp_path, "b", {})))


@pytest.mark.parametrize("name", ["nothing", "."])
def test_what_is_neither_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DeclarationError, match="is neither a lock nor an image"):
        read_side(str(tmp_path / name))


def test_a_layout_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = image(tmp_path, "a", {"base": "libc6 2"})
    for blob in (tmp_path / "a/blobs/sha256").iterdir():
        blob.write_text("{")
    with pytest.raises(DeclarationError, match="is no OCI layout that can be read"):
        read_side(path)
