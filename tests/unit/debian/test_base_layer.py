import json
import sys
import tarfile

import base_layer
import pytest


def make_root(path, **packages):
    """A root such as unpack_debs.sh makes, with the modes of the Nix store."""
    for name, content in {"usr/bin/tool": "#!/bin/sh\n", "etc/passwd": "root\n"}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(content)
    for name in (
        "tmp",
        "app",
        "home/app",
        "root",
        "var/tmp",
        "usr/lib/x86_64-linux-gnu",
        "var/lib/dpkg/status.d",
    ):
        (path / name).mkdir(parents=True)
    (path / "bin").symlink_to("usr/bin")
    (path / "usr/bin/tool").chmod(0o555)
    (path / "etc/passwd").chmod(0o444)
    for package, version in packages.items():
        (path / "var/lib/dpkg/status.d" / package).write_text(
            f"Package: {package}\nVersion: {version}\nDescription: text\n Version: 9\n"
        )
    return path


def build(tmp_path, root, name="out", **more):
    spec = {"root": str(root), "architecture": "x86_64", "python_version": "3.11", "bytecode": False}
    base_layer.build({**spec, "out": str(tmp_path / name), **more})
    with tarfile.open(tmp_path / name / "blob") as tar:
        members = {
            member.name: (member.type, member.mode, member.uid, member.gid, member.linkname) for member in tar
        }
    described = json.loads((tmp_path / name / "layer.json").read_text())
    return {
        name: member for name, member in members.items() if "stargz" not in name and ".no." not in name
    }, described


@pytest.fixture
def root(tmp_path):
    return make_root(tmp_path / "root", libc6="2.36-9", dash="0.5")


def test_modes_and_owners_are_those_a_system_needs(tmp_path, root):
    members, _ = build(tmp_path, root)
    directory, file, link = tarfile.DIRTYPE, tarfile.REGTYPE, tarfile.SYMTYPE
    assert members["usr/bin/tool"] == (file, 0o755, 0, 0, "")
    assert members["etc/passwd"] == (file, 0o644, 0, 0, "")
    assert members["bin"] == (link, 0o777, 0, 0, "usr/bin")
    assert members["tmp"] == members["var/tmp"] == (directory, 0o1777, 0, 0, "")
    assert members["app"] == members["home/app"] == (directory, 0o755, 1000, 1000, "")
    assert members["root"] == (directory, 0o700, 0, 0, "")
    assert members["home"] == members["usr/bin"] == (directory, 0o755, 0, 0, "")


def test_a_layer_names_its_packages(tmp_path, root):
    _, described = build(tmp_path, root)
    assert described["contents"] == [
        {"name": "dash", "version": "0.5"},
        {"name": "libc6", "version": "2.36-9"},
    ]


def test_every_root_gets_a_library_cache(tmp_path, root):
    (root / "etc/ld.so.cache").write_bytes(b"the root's own")
    members, _ = build(tmp_path, root)
    assert "etc/ld.so.cache" in members
    with tarfile.open(tmp_path / "out" / "blob") as tar:
        assert tar.extractfile("etc/ld.so.cache").read().startswith(b"glibc-ld.so.cache1.1")


def test_upon_another_root_only_what_differs_is_in_the_layer(tmp_path, root):
    above = make_root(tmp_path / "above", libc6="2.36-9", dash="0.5", libgl1="1.6")
    (above / "etc/passwd").chmod(0o644)
    (above / "etc/passwd").write_text("root\nmore\n")
    (above / "bin").unlink()
    (above / "bin").symlink_to("usr/sbin")
    (above / "usr/bin/new").write_text("new")
    members, described = build(tmp_path, above, below=str(root))
    files = {name for name, member in members.items() if member[0] != tarfile.DIRTYPE}
    assert files == {"bin", "etc/passwd", "usr/bin/new", "var/lib/dpkg/status.d/libgl1"}
    assert "tmp" not in members
    assert described["contents"] == [{"name": "libgl1", "version": "1.6"}]


def test_a_folder_of_its_own_mode_keeps_it_where_a_file_is_added_to_it(tmp_path, root):
    above = make_root(tmp_path / "above", libc6="2.36-9", dash="0.5")
    (above / "home/app/.profile").write_text("")
    members, _ = build(tmp_path, above, below=str(root))
    assert members["home/app"][1:4] == (0o755, 1000, 1000)
    assert "app" not in members


def test_a_file_that_became_executable_differs(tmp_path, root):
    above = make_root(tmp_path / "above", libc6="2.36-9", dash="0.5")
    (above / "etc/passwd").chmod(0o555)
    members, _ = build(tmp_path, above, below=str(root))
    assert members["etc/passwd"][1] == 0o755


def test_the_standard_library_is_compiled_for_the_path_it_will_have(tmp_path, root):
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    library = root / "usr/lib" / f"python{version}"
    (library / "test").mkdir(parents=True)
    (library / "module.py").write_text("def f(): raise ValueError\n")
    (library / "broken.py").write_text("print 'Python 2'\n")
    (library / "test" / "data.py").write_text("x = 1\n")
    (library / "alias.py").symlink_to("module.py")
    members, _ = build(tmp_path, root, bytecode=True, python_version=version, python=[sys.executable])
    tag = f"cpython-{version.replace('.', '')}"
    assert [name.rpartition("/")[2] for name in members if name.endswith(".pyc")] == [f"module.{tag}.pyc"]
    with tarfile.open(tmp_path / "out" / "blob") as tar:
        compiled = tar.extractfile(f"usr/lib/python{version}/__pycache__/module.{tag}.pyc").read()
    assert f"/usr/lib/python{version}/module.py".encode() in compiled
    assert compiled[4:8] == b"\1\0\0\0"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["blob", "layer.json"]


def test_the_same_root_gives_the_same_layer_whatever_the_number_of_cores(tmp_path, root):
    digests = {build(tmp_path, root, f"out{cores}", cores=cores)[1]["digest"] for cores in (1, 3)}
    assert len(digests) == 1
