from __future__ import annotations

import csv
import hashlib
import io
import json
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
import wheel_layer
from gzip_members import LayerError
from wheel import WheelError
from wheel_factory import METADATA, MINOR, SITE, WHEEL, make_wheel, read_layer, record_hash

SCRIPT = Path(wheel_layer.__file__)


def build(tmp_path, wheel, **spec):
    out = tmp_path / "out"
    wheel_layer.build(
        {
            "wheel": str(wheel),
            "filename": wheel.name,
            "python_version": MINOR,
            "bytecode": False,
            "out": str(out),
        }
        | spec
    )
    return read_layer(out)


def record_of(layer):
    text = layer.files()["demo-1.0.dist-info/RECORD"].decode()
    return {row[0]: tuple(row[1:]) for row in csv.reader(io.StringIO(text))}


def test_files_are_installed_byte_for_byte_with_what_an_installer_adds(tmp_path):
    wheel = make_wheel(tmp_path, {"demo/__init__.py": "x = 1\n", "demo/data.bin": bytes(100_000)})
    layer = build(tmp_path, wheel)
    assert set(layer.files()) == {
        "demo/__init__.py",
        "demo/data.bin",
        "demo-1.0.dist-info/METADATA",
        "demo-1.0.dist-info/WHEEL",
        "demo-1.0.dist-info/INSTALLER",
        "demo-1.0.dist-info/RECORD",
    }
    assert layer.files()["demo/data.bin"] == bytes(100_000)
    assert layer.files()["demo-1.0.dist-info/INSTALLER"] == b"builder"
    assert record_of(layer) == {
        name: ("", "") if name.endswith("RECORD") else (record_hash(data), str(len(data)))
        for name, data in layer.files().items()
    }
    assert layer.facts["contents"] == [{"name": "demo", "version": "1.0"}]
    assert layer.facts["files"] == 6


def test_each_scheme_has_its_place(tmp_path):
    data = "demo-1.0.data"
    files = {
        f"{data}/purelib/demo/pure.py": "1",
        f"{data}/platlib/demo/plat.py": "2",
        f"{data}/headers/sub/demo.h": "3",
        f"{data}/scripts/tool": "#!/bin/sh\n",
        f"{data}/data/share/demo.txt": "5",
        f"{data}/data/lib/libdemo.so": "7",
        f"{data}/data/lib64/python{MINOR}/site-packages/demo/linked.py": "6",
    }
    layer = build(tmp_path, make_wheel(tmp_path, files))
    places = {name[len("opt/venv/") :]: entry.data for name, entry in layer.entries.items()}
    site = f"lib/python{MINOR}/site-packages"
    assert places[f"{site}/demo/pure.py"] == b"1"
    assert places[f"{site}/demo/plat.py"] == b"2"
    assert places[f"include/site/python{MINOR}/demo/sub/demo.h"] == b"3"
    assert places["bin/tool"] == b"#!/bin/sh\n"
    assert places["share/demo.txt"] == b"5"
    assert places[f"{site}/demo/linked.py"] == b"6"
    recorded = record_of(layer)
    assert recorded["../../../share/demo.txt"] == (record_hash(b"5"), "1")
    assert {"demo/pure.py", "../../../bin/tool", "../../libdemo.so", "demo/linked.py"} <= set(recorded)
    assert not any(".data" in name for name in recorded)


def test_what_data_has_replaces_what_the_root_has(tmp_path):
    files = {"demo/__init__.py": "root", "demo-1.0.data/purelib/demo/__init__.py": "data"}
    layer = build(tmp_path, make_wheel(tmp_path, files))
    assert layer.files()["demo/__init__.py"] == b"data"
    assert record_of(layer)["demo/__init__.py"] == (record_hash(b"data"), "4")


@pytest.mark.parametrize(
    ("script", "installed"),
    [
        (b"#!python\nprint(1)\n", b"#!/opt/venv/bin/python\nprint(1)\n"),
        (b"#!pythonw\r\nprint(1)\r\n", b"#!/opt/venv/bin/python\nprint(1)\r\n"),
        (b"#!python -u\nprint(1)\n", b"#!/opt/venv/bin/python\nprint(1)\n"),
        (b"#!python", b"#!/opt/venv/bin/python\n"),
        (b"#!/usr/bin/env python\n", b"#!/usr/bin/env python\n"),
        (b"\x7fELF" + bytes(200_000), b"\x7fELF" + bytes(200_000)),
        (b"", b""),
    ],
)
def test_a_script_of_python_gets_the_image_s_python_and_every_script_is_executable(
    tmp_path, script, installed
):
    layer = build(tmp_path, make_wheel(tmp_path, {"demo-1.0.data/scripts/tool": script}))
    entry = layer.entries["opt/venv/bin/tool"]
    assert (entry.data, entry.mode) == (installed, 0o755)
    assert record_of(layer)["../../../bin/tool"] == (record_hash(installed), str(len(installed)))


def test_entry_points_become_scripts(tmp_path):
    points = """\
[console_scripts]
demo = demo.cli:main
Demo.Class=demo : App.run [extra]

[gui_scripts]
demo-gui = demo:gui

[other]
x = not a script
"""
    layer = build(tmp_path, make_wheel(tmp_path, {"demo-1.0.dist-info/entry_points.txt": points}))
    scripts = {name: entry for name, entry in layer.entries.items() if name.startswith("opt/venv/bin/")}
    assert sorted(scripts) == ["opt/venv/bin/Demo.Class", "opt/venv/bin/demo", "opt/venv/bin/demo-gui"]
    assert {entry.mode for entry in scripts.values()} == {0o755}
    assert scripts["opt/venv/bin/Demo.Class"].data.decode() == (
        "#!/opt/venv/bin/python\n"
        "# -*- coding: utf-8 -*-\n"
        "import sys\n"
        "from demo import App\n"
        'if __name__ == "__main__":\n'
        '    if sys.argv[0].endswith("-script.pyw"):\n'
        "        sys.argv[0] = sys.argv[0][:-11]\n"
        '    elif sys.argv[0].endswith(".exe"):\n'
        "        sys.argv[0] = sys.argv[0][:-4]\n"
        "    sys.exit(App.run())\n"
    )
    assert "../../../bin/demo-gui" in record_of(layer)


def test_an_entry_point_wins_over_a_script_of_its_name(tmp_path):
    files = {
        "demo-1.0.data/scripts/demo": "#!/bin/sh\n",
        "demo-1.0.dist-info/entry_points.txt": "[console_scripts]\ndemo = demo:main\n",
    }
    layer = build(tmp_path, make_wheel(tmp_path, files))
    assert b"from demo import main" in layer.entries["opt/venv/bin/demo"].data


def test_pip_s_scripts_carry_the_image_s_version(tmp_path):
    points = "[console_scripts]\npip = pip:main\npip3 = pip:main\npip3.7 = pip:main\n"
    wheel = make_wheel(tmp_path, {"pip-1.0.dist-info/entry_points.txt": points}, name="pip")
    scripts = {name for name in build(tmp_path, wheel).entries if name.startswith("opt/venv/bin/")}
    assert scripts == {"opt/venv/bin/pip", "opt/venv/bin/pip3", f"opt/venv/bin/pip{MINOR}"}


@pytest.mark.parametrize(
    ("mode", "installed"),
    [
        (0o100644, 0o644),
        (0o100755, 0o755),
        (0o100744, 0o755),
        (0o755, 0o755),
        (0o104755, 0o755),
        (0o100600, 0o644),
        (0, 0o644),
    ],
)
def test_an_executable_bit_makes_a_file_executable_and_other_bits_do_nothing(tmp_path, mode, installed):
    layer = build(tmp_path, make_wheel(tmp_path, {"demo/x": "1"}, modes={"demo/x": mode}))
    assert layer.entries[f"{SITE}/demo/x"].mode == installed


def test_direct_url_and_requested_are_written_when_asked_for(tmp_path):
    direct = {"url": "https://example.org/demo.whl", "archive_info": {}}
    layer = build(tmp_path, make_wheel(tmp_path, {}), direct_url=direct, requested=True)
    assert json.loads(layer.files()["demo-1.0.dist-info/direct_url.json"]) == direct
    assert layer.files()["demo-1.0.dist-info/REQUESTED"] == b""
    assert {"demo-1.0.dist-info/direct_url.json", "demo-1.0.dist-info/REQUESTED"} <= set(record_of(layer))


def test_an_installer_s_files_in_a_wheel_are_not_kept(tmp_path):
    layer = build(tmp_path, make_wheel(tmp_path, {"demo-1.0.dist-info/INSTALLER": "someone"}))
    assert layer.files()["demo-1.0.dist-info/INSTALLER"] == b"builder"


def test_a_file_that_record_forgot_is_installed_and_recorded_without_hash(tmp_path):
    wheel = make_wheel(
        tmp_path, {"demo/forgotten": "12"}, rows={"demo/forgotten": "", "x": "demo/ghost,sha256=AAAA,1"}
    )
    layer = build(tmp_path, wheel)
    assert layer.files()["demo/forgotten"] == b"12"
    assert record_of(layer)["demo/forgotten"] == ("", "2")
    assert "demo/ghost" not in record_of(layer)


def test_names_with_commas_and_quotes_survive_record(tmp_path):
    wheel = make_wheel(tmp_path, {"demo/a,b.txt": "1", "demo/c d.txt": "2"})
    assert {"demo/a,b.txt", "demo/c d.txt"} <= set(record_of(build(tmp_path, wheel)))


@pytest.mark.parametrize("algorithm", ["sha384", "sha512", "blake2b"])
def test_stronger_hashes_are_checked_too(tmp_path, algorithm):
    good, bad = record_hash(b"1", algorithm), record_hash(b"2", algorithm)
    layer = build(tmp_path, make_wheel(tmp_path, {"demo/x": "1"}, rows={"demo/x": f"demo/x,{good},1"}))
    assert record_of(layer)["demo/x"] == (good, "1")
    with pytest.raises(WheelError, match=f"its {algorithm} is"):
        build(tmp_path, make_wheel(tmp_path, {"demo/x": "1"}, rows={"demo/x": f"demo/x,{bad},1"}))


def test_a_hash_in_hex_is_understood(tmp_path):
    good, bad = hashlib.sha256(b"1").hexdigest(), hashlib.sha256(b"2").hexdigest()
    layer = build(tmp_path, make_wheel(tmp_path, {"demo/x": "1"}, rows={"demo/x": f"demo/x,sha256={good},1"}))
    assert record_of(layer)["demo/x"] == (f"sha256={good}", "1")
    with pytest.raises(WheelError, match="its sha256 is"):
        build(tmp_path, make_wheel(tmp_path, {"demo/x": "1"}, rows={"demo/x": f"demo/x,sha256={bad},1"}))


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_the_wheel_s_compression_does_not_matter(tmp_path, method):
    files = {"demo/a": "", "demo/b": bytes(300_000), "demo/c.py": "x = 1\n"}
    wheel = make_wheel(tmp_path, files, method=method)
    layer = build(tmp_path, wheel, bytecode=True)
    assert layer.files()["demo/b"] == bytes(300_000)
    stored = (tmp_path / "out" / "blob").stat().st_size > 300_000
    assert stored == (method == zipfile.ZIP_STORED)


def test_the_layer_depends_on_the_wheel_alone(tmp_path):
    wheel = make_wheel(tmp_path, {f"demo/m{number}.py": f"x = {number}\n" for number in range(50)})
    digests = {build(tmp_path, wheel, bytecode=True, cores=cores).facts["digest"] for cores in (1, 3)}
    elsewhere = tmp_path / "store-path"
    wheel.rename(elsewhere)
    digests.add(build(tmp_path, elsewhere, bytecode=True, filename=wheel.name).facts["digest"])
    assert len(digests) == 1


def test_a_wheel_is_cut_into_chunks_where_that_is_asked_for(tmp_path):
    wheel = make_wheel(tmp_path, {"demo/big": bytes(5000)})
    layer = build(tmp_path, wheel, chunk_size=2000)
    assert layer.files()["demo/big"] == bytes(5000)
    assert layer.facts["digest"] != build(tmp_path, wheel).facts["digest"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("../evil", "leads out"),
        ("demo/../../evil", "leads out"),
        ("/etc/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("demo\\evil", "backslash"),
        ("demo//evil", "simplest form"),
        ("./evil", "simplest form"),
        ("demo/.wh.evil", "cannot hold"),
        ("demo/" + "x" * 256, "longer than 255"),
        ("demo-1.0.data/bad/x", "no scheme 'bad'"),
        ("demo-1.0.data/x", "no scheme 'x'"),
        ("demo-1.0.data/scripts/sub/x", "cannot be in folders"),
        ("demo-1.0.data/scripts/python", "environment's own"),
        (f"demo-1.0.data/data/bin/python{MINOR}", "environment's own"),
        ("demo-1.0.data/data/pyvenv.cfg", "environment's own"),
        ("demo-1.0.data/data/lib64", "environment's own"),
        ("demo-1.0.data/data/lib", "environment's own"),
        ("demo/__init__.py/x", "not a directory"),
    ],
)
def test_a_path_that_would_do_damage_is_refused(tmp_path, name, problem):
    wheel = make_wheel(tmp_path, {"demo/__init__.py": "", name: "evil"})
    with pytest.raises(WheelError, match=problem) as caught:
        build(tmp_path, wheel)
    assert str(caught.value).startswith(f"demo-1.0-py3-none-any.whl: {name!r}: ")
    assert not (tmp_path / "out" / "blob").exists()
    assert not (tmp_path / "out" / "blob.part").exists()


def test_a_nul_in_a_name_is_refused(tmp_path):
    path = make_wheel(tmp_path, {"demo/nul": "1"})
    path.write_bytes(path.read_bytes().replace(b"demo/nul", b"demo/n\0l"))
    with pytest.raises(WheelError, match="NUL"):
        build(tmp_path, path)


def test_a_symbolic_link_is_refused(tmp_path):
    wheel = make_wheel(tmp_path, {"demo/link": "/etc/passwd"}, modes={"demo/link": 0o120777})
    with pytest.raises(WheelError, match="'demo/link': it is a symbolic link"):
        build(tmp_path, wheel)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"record": None}, "no demo-1.0.dist-info/RECORD"),
        ({"wheel": None}, "no demo-1.0.dist-info/WHEEL"),
        ({"metadata": None}, "no demo-1.0.dist-info/METADATA"),
        ({"wheel": WHEEL.replace("1.0", "2.0")}, "Wheel-Version is '2.0'"),
        ({"wheel": "Generator: x\n"}, "Wheel-Version is ''"),
        ({"metadata": METADATA.replace("demo", "other")}, "the project's name there is 'other'"),
        ({"metadata": METADATA.replace("Version: 1.0", "Version: 1.1")}, "version there is '1.1'"),
        ({"filename": "other-1.0-py3-none-any.whl"}, "not the name and version of the wheel"),
        ({"filename": "demo-2.0-py3-none-any.whl"}, "not the name and version of the wheel"),
        ({"filename": "demo.zip"}, "not a wheel's file name"),
        ({"files": {"other-1.0.dist-info/METADATA": ""}}, "2 .dist-info folders"),
        ({"rows": {"demo/x": "demo/x,sha256=AAAA,1"}}, "'demo/x': its sha256 is"),
        ({"rows": {"demo/x": f"demo/x,{record_hash(b'1', 'md5')},1"}}, "weaker than sha256: md5"),
        ({"rows": {"demo/x": "demo/x,nonsense,1"}}, "cannot be read: 'nonsense'"),
        ({"rows": {"demo/x": "demo/x,nonsense=AAAA,1"}}, "cannot be read: 'nonsense=AAAA'"),
        ({"rows": {"more": "demo/x,sha256=AAAA,1"}}, "two different hashes"),
        ({"files": {"demo-1.0.dist-info/entry_points.txt": "nonsense"}}, "cannot be parsed"),
        ({"files": {"demo-1.0.dist-info/entry_points.txt": b"\xff"}}, "not UTF-8"),
        (
            {"files": {"demo-1.0.dist-info/entry_points.txt": "[console_scripts]\nx = demo\n"}},
            "no module and",
        ),
        (
            {"files": {"demo-1.0.dist-info/entry_points.txt": "[console_scripts]\nx = os;evil():main\n"}},
            "no module and function",
        ),
        (
            {"files": {"demo-1.0.dist-info/entry_points.txt": "[console_scripts]\n../x = demo:main\n"}},
            "cannot be called '../x'",
        ),
        (
            {"files": {"demo-1.0.dist-info/entry_points.txt": "[console_scripts]\npython3 = demo:main\n"}},
            "cannot be called 'python3'",
        ),
    ],
)
def test_a_wheel_that_breaks_the_specification_is_refused(tmp_path, changes, problem):
    arguments = {"files": {}} | changes
    arguments["files"] = {"demo/x": "1"} | arguments["files"]
    wheel = make_wheel(tmp_path, **arguments)
    with pytest.raises(WheelError, match=problem) as caught:
        build(tmp_path, wheel)
    assert str(caught.value).startswith(f"{wheel.name}: ")


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("Demo-1.0-py3-none-any.whl", "1.0"),
        ("demo-1.0.0-1-py3-none-any.whl", "1.0"),
        ("demo-1.0+cpu-py3-none-any.whl", "1.0"),
    ],
)
def test_spellings_of_name_and_version_may_differ(tmp_path, filename, version):
    layer = build(tmp_path, make_wheel(tmp_path, {}, filename=filename))
    assert layer.facts["contents"] == [{"name": "demo", "version": filename.split("-")[1]}]


def test_a_damaged_file_is_refused_even_if_it_is_not_installed(tmp_path):
    wheel = make_wheel(tmp_path, {"demo-1.0.dist-info/INSTALLER": "someone"}, method=zipfile.ZIP_STORED)
    wheel.write_bytes(wheel.read_bytes().replace(b"someone", b"sameone"))
    with pytest.raises(WheelError, match=r"'demo-1.0.dist-info/INSTALLER': its CRC-32 is"):
        build(tmp_path, wheel)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_crc_is_refused(tmp_path, method):
    wheel = make_wheel(tmp_path, {"demo/x": b"data" * 50}, method=method)
    crc = zlib.crc32(b"data" * 50).to_bytes(4, "little")
    wheel.write_bytes(wheel.read_bytes().replace(crc, b"1234"))
    with pytest.raises(WheelError, match="'demo/x': its CRC-32 is"):
        build(tmp_path, wheel)


def test_a_wheel_that_unpacks_to_more_than_allowed_is_refused(tmp_path):
    wheel = make_wheel(tmp_path, {"demo/x": bytes(1_000_000)})
    with pytest.raises(WheelError, match=r"unpacks to .* and 500000 are allowed"):
        build(tmp_path, wheel, max_unpacked=500_000)


def test_an_error_is_one_line_and_a_status_on_the_command_line(tmp_path):
    wheel = make_wheel(tmp_path, {"../evil": "x"})
    spec = tmp_path / "spec.json"
    spec.write_text(
        json.dumps(
            {"wheel": str(wheel), "filename": wheel.name, "python_version": MINOR, "out": str(tmp_path / "o")}
        )
    )
    ended = subprocess.run(
        [sys.executable, "-B", str(SCRIPT), str(spec)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr == f"error: {wheel.name}: '../evil': its path leads out of the wheel\n"


def test_a_file_that_is_no_zip_is_refused(tmp_path):
    wheel = tmp_path / "demo-1.0-py3-none-any.whl"
    wheel.write_bytes(b"<html>not found</html>")
    with pytest.raises(LayerError, match=r"demo-1.0-py3-none-any.whl: it is not a zip file"):
        build(tmp_path, wheel)
