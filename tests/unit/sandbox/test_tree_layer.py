from __future__ import annotations

import os
import tarfile

import pytest
import tree_layer
from estargz import LayerError


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    (root / "package" / "empty").mkdir(parents=True)
    (root / "app.py").write_text("x = 1\n")
    (root / "package" / "run").write_text("#!/bin/sh\n")
    (root / "package" / "run").chmod(0o555)
    (root / "package" / "locked").write_text("")
    (root / "package" / "locked").chmod(0o400)
    (root / "link").symlink_to("package/run")
    return root


def build(root, out, **spec):
    tree_layer.build({"root": str(root), "prefix": "app", "out": str(out)} | spec)
    with tarfile.open(out / "blob") as tar:
        return {
            member.name: member
            for member in tar
            if member.name not in {".no.prefetch.landmark", "stargz.index.json"}
        }


def test_a_folder_becomes_a_layer_in_sorted_order(tmp_path, root):
    found = build(root, tmp_path / "out", uid=1000, gid=1000)
    assert {name: (member.mode, member.type) for name, member in found.items()} == {
        "app": (0o755, tarfile.DIRTYPE),
        "app/app.py": (0o644, tarfile.REGTYPE),
        "app/link": (0o777, tarfile.SYMTYPE),
        "app/package": (0o755, tarfile.DIRTYPE),
        "app/package/empty": (0o755, tarfile.DIRTYPE),
        "app/package/locked": (0o644, tarfile.REGTYPE),
        "app/package/run": (0o755, tarfile.REGTYPE),
    }
    assert list(found) == sorted(found)
    assert {(member.uid, member.gid) for member in found.values()} == {(1000, 1000)}
    assert found["app/link"].linkname == "package/run"


def test_folders_above_the_prefix_are_root_s(tmp_path, root):
    found = build(root, tmp_path / "out", prefix="srv/app", uid=7)
    assert found["srv"].uid == 0
    assert found["srv/app"].uid == 7


def test_without_a_prefix_the_content_is_at_the_root(tmp_path, root):
    assert "app.py" in build(root, tmp_path / "out", prefix="")


def test_times_and_the_order_of_creation_do_not_matter(tmp_path, root):
    build(root, tmp_path / "out1")
    os.utime(root / "app.py", (1, 1))
    (root / "package" / "run").rename(root / "package" / "x")
    (root / "package" / "x").rename(root / "package" / "run")
    build(root, tmp_path / "out2", cores=3)
    assert (tmp_path / "out1" / "blob").read_bytes() == (tmp_path / "out2" / "blob").read_bytes()


def test_what_is_no_file_is_refused(tmp_path, root):
    os.mkfifo(root / "pipe")
    with pytest.raises(LayerError, match="pipe is neither a file"):
        build(root, tmp_path / "out")


def test_a_name_that_is_not_utf_8_is_refused(tmp_path, root):
    (root / os.fsdecode(b"\xff")).write_text("")
    with pytest.raises(LayerError, match="cannot hold"):
        build(root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
