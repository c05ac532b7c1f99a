"""Which of the needs that nothing meets fail an image; what imports come to is made up here."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import build_room
import link_check
import link_report
import pytest
import wheel_layer
from elf_factory import elf
from unpack_source import SourceError
from wheel_factory import METADATA, MINOR, SITE, make_wheel

ARCHITECTURE = platform.machine()
EXTENSION = f"cpython-{MINOR.replace('.', '')}-{ARCHITECTURE}-linux-gnu.so"
NO_GL = "libGL.so.1: cannot open shared object file: No such file or directory"


def path_of(library):
    return f"/{SITE}/{library}"


def result(module, error=None, *, below=False, attempted=(), mapped=(), code=0):
    """What came of an import; libraries are those below site-packages."""
    return {
        "module": module,
        "below": below,
        "error": error,
        "code": code,
        "attempted": [path_of(library) for library in attempted],
        "mapped": None if mapped is None else [path_of(library) for library in mapped],
    }


class Check:
    """Packages in a root that has next to nothing, and imports that come to what they are made to.

    Attributes:
        results: what imports come to, or the error that they cannot be tried.
        asked: names of the modules that were to be imported, each with those below it; None where none was.
        unpacked: the packages that were unpacked for that.
    """

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self.layers = []
        self.results = []
        self.asked = None
        self.unpacked = None
        for name in ("root", "wheels", "layers"):
            (folder / name).mkdir()
        self.really_import = link_check._import
        monkeypatch.setattr(link_check, "_import", self.imported)

    def imported(self, spec, candidates, layers):
        modules = [module for candidate in candidates for module in candidate.modules]
        assert all(module["folder"] == path_of(module["name"]) for module in modules)
        self.asked = {module["name"]: module["below"] for module in modules}
        self.unpacked = [layer.name for layer in layers]
        if isinstance(self.results, Exception):
            raise self.results
        return self.results

    def package(self, name, files, *, version="1.0", requires=()):
        wheel = make_wheel(
            self.folder / "wheels",
            files,
            name=name.replace("-", "_"),
            version=version,
            metadata=METADATA.replace("1.0", version)
            + "".join(f"Requires-Dist: {one}\n" for one in requires),
        )
        out = self.folder / "layers" / name
        wheel_layer.build(
            {
                "wheel": str(wheel),
                "filename": wheel.name,
                "python_version": MINOR,
                "bytecode": False,
                "out": str(out),
            }
        )
        self.layers.append(str(out))

    def run(self, *results, architecture=ARCHITECTURE):
        if results:
            self.results = list(results)
        out = self.folder / "out"
        link_check.build(
            {
                "layers": self.layers,
                "root": str(self.folder / "root"),
                "python_version": MINOR,
                "architecture": architecture,
                "cores": 1,
                "out": str(out),
            }
        )
        return json.loads((out / "report.json").read_text())


@pytest.fixture
def check(tmp_path, monkeypatch):
    return Check(tmp_path, monkeypatch)


@pytest.fixture
def rooms(tmp_path, monkeypatch):
    """Instead of running the program in a room, the room is kept, and what the program is to write is nothing."""
    kept = []

    def run(room, command, environment, folder, say):
        kept.append(room)
        assert command[0] == "/opt/venv/bin/python"
        assert command[1].startswith("/build/")
        assert (room.build / command[1][len("/build/") :]).is_file()
        assert environment["PATH"].startswith("/opt/venv/bin:")
        say(b"a line of its own\n")
        if kept[1:]:
            return 7
        wanted = json.loads((room.build / command[2][len("/build/") :]).read_text())
        results = [result(module["name"], f"ImportError: {NO_GL}") for module in wanted["modules"]]
        (room.build / command[3][len("/build/") :]).write_text(json.dumps(results))
        return 0

    monkeypatch.setattr(build_room, "run", run)
    monkeypatch.chdir(tmp_path)
    return kept


def told(report):
    return {
        key: [(one["library"], one["name"]) for one in report[key]]
        for key in ("failures", "wanted", "optional")
        if report[key]
    }


def opencv(check):
    check.package(
        "opencv-python", {"cv2/__init__.py": "", "cv2/cv2.abi3.so": elf(("libGL.so.1",))}, version="4.12"
    )


def test_an_image_whose_libraries_lack_nothing_needs_no_import(check):
    check.package("demo", {"demo/__init__.py": "", "demo/_c.abi3.so": elf()})
    assert check.run() == {"failures": [], "wanted": [], "optional": [], "complaint": None}
    assert check.asked is None


def test_a_package_that_cannot_be_imported_fails_the_image(check):
    opencv(check)
    report = check.run(result("cv2", f"ImportError: {NO_GL}; OSError: x", attempted=["cv2/cv2.abi3.so"]))
    assert report["failures"] == [
        {
            "package": "opencv-python",
            "version": "4.12",
            "library": "cv2/cv2.abi3.so",
            "kind": "library",
            "name": "libGL.so.1",
            "more": 0,
            "provider": "",
            "module": "cv2",
            "error": f"ImportError: {NO_GL}",
            "reason": None,
        }
    ]
    assert (report["wanted"], report["optional"]) == ([], [])
    assert report["complaint"] == (
        "cv2 cannot be imported: cv2/cv2.abi3.so of opencv-python 4.12 needs libGL.so.1; "
        "nothing in the image has it"
    )


@pytest.mark.parametrize("mapped", [(), None])
def test_an_error_that_names_what_is_missing_is_enough(check, mapped):
    opencv(check)
    assert told(check.run(result("cv2", f"ImportError: {NO_GL}", mapped=mapped))) == {
        "failures": [("cv2/cv2.abi3.so", "libGL.so.1")]
    }


@pytest.mark.parametrize(
    "error",
    ["OSError: libGL.so.10 is missing", "OSError: xlibGL.so.1", "OSError: libGLxso.1", "OSError: libGL"],
)
def test_an_error_that_names_something_like_it_is_not(check, error):
    opencv(check)
    assert told(check.run(result("cv2", error))) == {"optional": [("cv2/cv2.abi3.so", "libGL.so.1")]}


def test_a_library_that_no_import_loads_is_optional(check):
    library = f"numba/np/ufunc/tbbpool.{EXTENSION}"
    check.package("numba", {"numba/__init__.py": "", library: elf(("libtbb.so.12",))})
    report = check.run(result("numba"))
    assert told(report) == {"optional": [(library, "libtbb.so.12")]}
    assert report["complaint"] is None
    assert {"module", "error", "reason"}.isdisjoint(report["optional"][0])
    assert check.asked == {"numba": []}


def test_a_library_whose_loading_a_package_survives_is_optional(check):
    opencv(check)
    assert told(check.run(result("cv2", attempted=["cv2/cv2.abi3.so"]))) == {
        "optional": [("cv2/cv2.abi3.so", "libGL.so.1")]
    }


def test_modules_that_apps_import_below_one_that_loads_nothing_are_wanted(check):
    check.package(
        "PyQt6",
        {
            "PyQt6/__init__.py": "",
            "PyQt6/QtGui.abi3.so": elf(("libQt6Gui.so.6",), runpath="$ORIGIN/Qt6/lib"),
            "PyQt6/QtCore.abi3.so": elf(),
            "PyQt6/_hidden.abi3.so": elf(("libGL.so.1",)),
            "PyQt6/Qt6/lib/libQt6Gui.so.6": elf(("libGL.so.1",)),
            "PyQt6/Qt6/plugins/libplugin.so": elf(("libplugin.so.1",)),
        },
    )
    report = check.run(
        result("PyQt6"),
        result("PyQt6.QtGui", f"ImportError: {NO_GL}", below=True, attempted=["PyQt6/QtGui.abi3.so"]),
    )
    assert check.asked == {"PyQt6": ["PyQt6.QtGui"]}
    assert told(report) == {
        "wanted": [("PyQt6/Qt6/lib/libQt6Gui.so.6", "libGL.so.1")],
        "optional": [
            ("PyQt6/Qt6/plugins/libplugin.so", "libplugin.so.1"),
            ("PyQt6/_hidden.abi3.so", "libGL.so.1"),
        ],
    }
    assert report["wanted"][0]["module"] == "PyQt6.QtGui"
    assert report["complaint"] is None


def test_a_package_for_another_build_of_torch_fails_with_the_reason_though_its_error_says_none(check):
    check.package(
        "torch",
        {"torch/__init__.py": "", "torch/lib/libtorch.so": elf(), "torch/lib/libc10.so": elf()},
        version="2.13.0+cpu",
    )
    check.package(
        "torchvision",
        {
            "torchvision/__init__.py": "",
            "torchvision/_C.so": elf(("libc10.so", "libtorch_cuda.so")),
            "torchvision/image.so": elf(("libtorch_cuda.so",)),
        },
        version="0.28.0",
        requires=["numpy", "torch==2.13.0"],
    )
    error = "RuntimeError: operator torchvision::nms does not exist"
    report = check.run(
        result("torchvision", error, attempted=["torchvision/_C.so"], mapped=["torch/lib/libtorch.so"])
    )
    assert told(report) == {
        "failures": [("torchvision/_C.so", "libtorch_cuda.so")],
        "optional": [("torchvision/image.so", "libtorch_cuda.so")],
    }
    [failure] = report["failures"]
    assert (failure["error"], failure["reason"]) == (
        error,
        "torchvision 0.28.0 was built for another build of torch 2.13.0 with CUDA; the lock has torch 2.13.0+cpu",
    )
    assert failure["reason"] in report["complaint"]
    assert check.unpacked == ["torch", "torchvision"]


def test_an_import_that_fails_for_another_reason_fails_no_image(check):
    opencv(check)
    report = check.run(
        result("cv2", "ModuleNotFoundError: No module named 'numpy'", attempted=["cv2/_other.so"], mapped=[])
    )
    assert told(report) == {"optional": [("cv2/cv2.abi3.so", "libGL.so.1")]}


def test_an_import_that_fails_after_the_library_was_loaded_fails_no_image(check):
    opencv(check)
    library = "cv2/cv2.abi3.so"
    report = check.run(result("cv2", "RuntimeError: no GPU", attempted=[library], mapped=[library]))
    assert told(report) == {"optional": [(library, "libGL.so.1")]}


@pytest.mark.parametrize("code", [None, -11])
def test_an_import_that_hangs_or_crashes_says_nothing(check, code):
    opencv(check)
    assert told(check.run(result("cv2", code=code, mapped=None))) == {
        "optional": [("cv2/cv2.abi3.so", "libGL.so.1")]
    }


def test_an_import_in_another_package_fails_over_it_too(check):
    check.package("base", {"base/__init__.py": "", "base/libbase.so": elf(("libGL.so.1",))})
    check.package(
        "user", {"user/__init__.py": "", "user/_u.abi3.so": elf(("libbase.so",))}, requires=["base"]
    )
    report = check.run(
        result("base"), result("user", "OSError: no", attempted=["user/_u.abi3.so"], mapped=[])
    )
    assert list(check.asked) == ["base", "user"]
    assert told(report) == {"failures": [("base/libbase.so", "libGL.so.1")]}
    assert report["failures"][0]["module"] == "user"


def test_where_no_load_was_heard_of_all_that_the_error_is_about_fail(check):
    check.package(
        "demo", {"demo/__init__.py": "", **{f"demo/_{one}.abi3.so": elf(("libGL.so.1",)) for one in "ab"}}
    )
    assert told(check.run(result("demo", f"ImportError: {NO_GL}"))) == {
        "failures": [("demo/_a.abi3.so", "libGL.so.1"), ("demo/_b.abi3.so", "libGL.so.1")]
    }


def test_a_top_level_module_that_fails_counts_for_more_than_one_below(check):
    check.package("demo", {"demo/__init__.py": "", "demo/part.abi3.so": elf(("libGL.so.1",))})
    error = f"ImportError: {NO_GL}"
    library = ["demo/part.abi3.so"]
    report = check.run(
        result("demo", error, attempted=library), result("demo.part", error, below=True, attempted=library)
    )
    assert told(report) == {"failures": [("demo/part.abi3.so", "libGL.so.1")]}


def test_versions_and_symbols_are_told_with_what_belongs_to_them(check):
    check.package(
        "demo",
        {
            "demo/__init__.py": "",
            "demo/_c.abi3.so": elf(
                ("libz.so",), needs={"libz.so": ("Z_2",)}, undefined=("one", "two", "three")
            ),
            "demo/libz.so": elf(versions=("libz.so", "Z_1")),
        },
    )
    report = check.run(result("demo", "ImportError: undefined symbol: two", attempted=["demo/_c.abi3.so"]))
    assert [(one["kind"], one["name"], one["more"], one["provider"]) for one in report["failures"]] == [
        ("symbol", "one", 2, ""),
        ("version", "Z_2", 0, "libz.so"),
    ]
    assert report["complaint"] == (
        "demo cannot be imported: demo/_c.abi3.so of demo 1.0 needs the symbol one and 2 more, Z_2 of libz.so; "
        "the image's libz.so is older than what this was built with"
    )


def test_a_symbol_is_named_where_any_of_those_that_are_missing_is(check):
    check.package("demo", {"demo/__init__.py": "", "demo/_c.abi3.so": elf(undefined=("one", "two"))})
    assert told(check.run(result("demo", "ImportError: undefined symbol: two"))) == {
        "failures": [("demo/_c.abi3.so", "one")]
    }


def test_an_image_for_another_machine_is_not_tried(check, capfd):
    opencv(check)
    other = {"x86_64": "aarch64", "aarch64": "x86_64"}[ARCHITECTURE]
    assert told(check.run(architecture=other)) == {"optional": [("cv2/cv2.abi3.so", "libGL.so.1")]}
    assert check.asked is None
    assert "another architecture" in capfd.readouterr().err


def test_where_there_can_be_no_room_nothing_fails(check, capfd):
    opencv(check)
    check.results = SourceError("no namespaces")
    assert told(check.run()) == {"optional": [("cv2/cv2.abi3.so", "libGL.so.1")]}
    assert "imports cannot be tried: no namespaces" in capfd.readouterr().err


def test_imports_find_the_packages_in_the_image_s_environment_which_stays_as_it_is(
    check, rooms, monkeypatch, capfd
):
    venv = check.folder / "root/opt/venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(f"/usr/bin/python{MINOR}")
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    for folder in (venv / "bin", venv, venv.parent):
        folder.chmod(0o555)
    opencv(check)
    script = {
        "demo.py": "",
        "_demo.abi3.so": elf(("libGL.so.1",)),
        "demo-1.0.data/scripts/demo": "#!/bin/sh\n",
    }
    check.package("demo", script)
    check.package("fine", {"fine.py": ""})
    monkeypatch.setattr(link_check, "_import", check.really_import)
    try:
        report = check.run()
    finally:
        for folder in (venv.parent, venv, venv / "bin"):
            folder.chmod(0o755)
    assert len(report["failures"]) == 2
    [room] = rooms
    opt = room.instead["opt"]
    assert (room.root, list(room.instead)) == (check.folder / "root", ["opt"])
    assert (opt / "venv/bin/python").readlink() == Path(f"/usr/bin/python{MINOR}")
    assert (opt / "venv/pyvenv.cfg").is_file()
    site = opt.parent / SITE
    assert (site / "cv2/cv2.abi3.so").read_bytes() == elf(("libGL.so.1",))
    assert (site / "demo.py").is_file()
    assert not (site / "fine.py").exists()
    assert os.access(opt / "venv/bin/demo", os.X_OK)
    assert not (opt.parent / "stargz.index.json").exists()
    assert sorted(path.name for path in venv.iterdir()) == ["bin", "pyvenv.cfg"]
    assert "a line of its own" in capfd.readouterr().err


def test_where_the_program_that_imports_says_nothing_its_code_is_told(check, rooms, monkeypatch, capfd):
    (check.folder / "root/opt").mkdir()
    opencv(check)
    monkeypatch.setattr(link_check, "_import", check.really_import)
    rooms.append(None)
    assert told(check.run()) == {"optional": [("cv2/cv2.abi3.so", "libGL.so.1")]}
    assert "the program that imports ended with code 7" in capfd.readouterr().err


def test_only_packages_in_question_are_imported_with_what_they_require(check):
    opencv(check)
    check.package("fine", {"fine/__init__.py": "", "fine/_f.abi3.so": elf()}, requires=["opencv-python"])
    check.package("beside", {"beside.py": ""}, requires=["deep"])
    check.package("deep", {"deep.py": ""})
    check.package("demo", {"demo.py": "", "_demo.abi3.so": elf(("libEGL.so.1",))}, requires=["beside"])
    check.run(result("cv2"))
    assert list(check.asked) == ["demo", "cv2"]
    assert check.unpacked == ["beside", "deep", "demo", "opencv-python"]


def test_parts_of_cuda_are_not_imported(check):
    library = "nvidia/cublas/lib/libcublas.so.12"
    check.package("nvidia-cublas-cu12", {"nvidia/__init__.py": "", library: elf(("libcufile.so.0",))})
    assert told(check.run()) == {"optional": [(library, "libcufile.so.0")]}
    assert check.asked is None


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        (["demo/__init__.py", f"demo/core.{EXTENSION}"], {"demo": ["demo.core"]}),
        (["demo/__init__.py", "demo/core.so"], {"demo": ["demo.core"]}),
        (["demo/__init__.py", "demo/_core.abi3.so"], {"demo": []}),
        (["demo/__init__.py", "demo/sub/core.abi3.so"], {"demo": []}),
        (["demo/__init__.py", "demo.libs/libx-1234.so.1"], {"demo": []}),
        (["demo/sub/part.py", "demo/sub/core.abi3.so"], {"demo": []}),
        ([f"demo.{EXTENSION}"], {"demo": []}),
        (["demo.py", f"_demo.{EXTENSION}"], {"demo": []}),
        ([f"_demo.{EXTENSION}"], {"_demo": []}),
        (["one.py", "two/__init__.py", "three.abi3.so"], {"one": [], "three": [], "two": []}),
        (["demo.py", "tests/__init__.py", "examples/x.py", "docs/conf.abi3.so"], {"demo": []}),
        (["demo.data/data/lib/libx.so", "demo/data.txt"], None),
    ],
)
def test_what_is_imported_of_a_package_is_what_apps_import(check, files, asked):
    content = {path: elf(("libGL.so.1",)) if ".so" in path else "" for path in files}
    check.package(
        "demo", {path.replace("demo.data/", "demo-1.0.data/"): data for path, data in content.items()}
    )
    check.run()
    assert check.asked == asked


def failure(library, name, **more):
    values = {"package": "demo", "version": "1.0", "kind": "library", "more": 0, "provider": ""}
    return {**values, "library": library, "name": name, "module": "demo", "reason": None, **more}


def test_a_long_error_is_cut_off(check):
    opencv(check)
    report = check.run(result("cv2", f"ImportError: {NO_GL} {'x' * 1000}"))
    assert len(report["failures"][0]["error"]) == 400


def test_many_needs_of_a_library_are_told_in_one_line():
    text = link_report.complaint([failure("demo/_c.so", f"lib{number}.so") for number in range(7)])
    assert text == (
        "demo cannot be imported: demo/_c.so of demo 1.0 needs lib0.so, lib1.so, lib2.so, lib3.so, lib4.so and 2 more; "
        "nothing in the image has it"
    )


def test_many_libraries_are_told_up_to_a_number():
    text = link_report.complaint([failure(f"demo/{number}.so", "libGL.so.1") for number in range(9)])
    assert text is not None
    lines = text.splitlines()
    assert len(lines) == 7
    assert lines[-1] == "and 3 more libraries lack something"


def test_the_first_reason_of_a_library_is_the_one_that_is_told():
    text = link_report.complaint(
        [
            failure("demo/_c.so", "liba.so"),
            failure("demo/_c.so", "libb.so", reason="it was built for CUDA 12"),
        ]
    )
    assert text == (
        "demo cannot be imported: demo/_c.so of demo 1.0 needs liba.so, libb.so; it was built for CUDA 12"
    )


def test_without_failures_there_is_nothing_to_complain_of():
    assert link_report.complaint([]) is None


def test_an_image_says_what_parts_of_its_packages_lack():
    needs = [failure("demo/a.so", "libGL.so.1"), failure("demo/b.so", "libGL.so.1")]
    needs.append(failure("alpha.so", "libz.so", package="alpha", version="2.0"))
    assert link_report.labels(needs) == {
        "builder.link.optional": "alpha 2.0: libz.so for alpha.so; demo 1.0: libGL.so.1 for demo/a.so and 1 more"
    }
    assert link_report.labels([]) == {}
