"""What imports of modules come to, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import import_probe
import pytest
from elf_factory import elf


@pytest.fixture
def probe(tmp_path):
    """Imports modules whose sources are given, in the order of their names; below each those that are told."""
    (tmp_path / "site").mkdir()
    site = (tmp_path / "site").resolve()

    def run(modules, below=None, *, cores=2, seconds=60):
        for name, source in modules.items():
            path = site / f"{name.replace('.', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(source))
        wanted = {
            "modules": [
                {"name": name, "folder": str(site / name), "below": (below or {}).get(name, [])}
                for name in dict.fromkeys(name.partition(".")[0] for name in modules)
            ],
            "cores": cores,
            "seconds": seconds,
        }
        (tmp_path / "wanted.json").write_text(json.dumps(wanted))
        found = tmp_path / "found.json"
        done = subprocess.run(
            [sys.executable, import_probe.__file__, str(tmp_path / "wanted.json"), str(found)],
            env={**os.environ, "PYTHONPATH": str(site)},
            check=True,
            capture_output=True,
        )
        assert (done.stdout, done.stderr) == (b"", b"")
        return json.loads(found.read_text())

    run.site = site
    return run


def only(results):
    [result] = results
    return result


def attempted(result, folder):
    """What was to be loaded of a folder: ctypes has libraries of its own."""
    return [path for path in result["attempted"] if path.startswith(f"{folder}/")]


def test_a_module_that_can_be_imported(probe):
    result = only(probe({"good": "import json"}))
    assert (result["module"], result["below"], result["error"], result["code"]) == ("good", False, None, 0)
    assert any("/ld-" in path or "/libc" in path for path in result["mapped"])


def test_an_error_is_told_with_those_that_it_came_from(probe):
    source = """
        try:
            try:
                import nowhere
            except ImportError as error:
                raise OSError("libGL.so.1: cannot open") from error
        except OSError:
            raise RuntimeError("no such thing")
    """
    result = only(probe({"bad": source}))
    assert result["error"] == (
        "RuntimeError: no such thing; OSError: libGL.so.1: cannot open; "
        "ModuleNotFoundError: No module named 'nowhere'"
    )
    assert result["code"] == 0


def test_errors_that_came_from_each_other_are_told_without_end(probe):
    source = """
        one, other = ValueError("one"), ValueError("other")
        one.__cause__, other.__cause__ = other, one
        raise one
    """
    assert only(probe({"bad": source}))["error"].startswith("ValueError: one; ValueError: other; ")


def test_a_module_that_is_not_there(probe):
    (probe.site / "gone").mkdir()
    result = only(probe({"bad": "import gone.part"}))
    assert result["error"] == "ModuleNotFoundError: No module named 'gone.part'"


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import sys; sys.exit('no GPU')", "SystemExit: no GPU"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt: "),
        ("class Odd(BaseException): pass\nraise Odd('x')", "Odd: x"),
    ],
)
def test_whatever_a_module_raises_is_its_error(probe, source, error):
    result = only(probe({"bad": source}))
    assert (result["error"], result["code"]) == (error, 0)


def test_a_long_error_is_cut_off(probe):
    assert len(only(probe({"bad": "raise ValueError('x' * 100_000)"}))["error"]) == 4000


def test_a_module_that_takes_too_long_is_given_up(probe):
    start = time.monotonic()
    result = only(probe({"slow": "import time; time.sleep(60)"}, seconds=1))
    assert (result["code"], result["error"], result["mapped"]) == (None, None, None)
    assert time.monotonic() - start < 30


def test_a_module_that_ends_its_process_is_told_by_the_code(probe):
    crash = f"import os; os.kill(os.getpid(), {signal.SIGKILL.value})"
    killed, left = probe({"killed": crash, "left": "import os; os._exit(3)"})
    assert (killed["code"], killed["error"], killed["mapped"]) == (-signal.SIGKILL, None, None)
    assert (left["code"], left["error"]) == (3, None)


def test_what_a_module_prints_and_reads_is_nobody_s(probe):
    source = """
        import os, sys
        print("out"); print("err", file=sys.stderr); os.write(1, b"raw")
        raise ValueError(repr(sys.stdin.read()))
    """
    assert only(probe({"loud": source}))["error"] == "ValueError: ''"


def test_threads_and_exits_of_a_module_are_not_waited_for(probe):
    source = """
        import atexit, threading, time
        threading.Thread(target=time.sleep, args=(60,)).start()
        atexit.register(time.sleep, 60)
    """
    start = time.monotonic()
    assert only(probe({"busy": source}))["code"] == 0
    assert time.monotonic() - start < 30


def test_one_module_is_not_seen_by_the_next(probe):
    one, two = probe({"one": "import sys; sys.modules['two'] = 1", "two": "raise ValueError('2')"}, cores=1)
    assert (one["error"], two["error"]) == (None, "ValueError: 2")


def test_a_library_that_is_missing_was_to_be_loaded_and_is_not_there(probe):
    path = probe.site / "libgone.so"
    result = only(probe({"bad": f"import ctypes; ctypes.CDLL({str(path)!r})"}))
    assert attempted(result, probe.site) == [str(path)]
    assert str(path) not in result["mapped"]
    assert "libgone.so" in result["error"]


def test_a_library_that_lacks_another_was_to_be_loaded_and_is_not_there(probe):
    path = probe.site / "libdemo.so"
    path.write_bytes(elf(("libnothing-has-it.so.1",), "libdemo.so"))
    result = only(probe({"bad": f"import ctypes; ctypes.CDLL({str(path)!r})"}))
    assert attempted(result, probe.site) == [str(path)]
    assert str(path) not in result["mapped"]
    assert "libnothing-has-it.so.1" in result["error"]


def test_a_library_that_is_loaded_is_there_whatever_path_it_was_loaded_by(probe):
    path = probe.site / "libdemo.so"
    path.write_bytes(elf(soname="libdemo.so", symbols=("demo",)))
    (probe.site / "link.so").symlink_to("libdemo.so")
    result = only(probe({"good": f"import ctypes; ctypes.CDLL({str(probe.site / 'link.so')!r}).demo"}))
    assert result["error"] is None
    assert attempted(result, probe.site) == [str(path)]
    assert str(path) in result["mapped"]


def test_an_extension_module_that_lacks_a_library_was_to_be_loaded(probe):
    path = probe.site / "native.abi3.so"
    path.write_bytes(elf(("libnothing-has-it.so.1",), symbols=("PyInit_native",)))
    result = only(probe({"bad": "import native"}))
    assert attempted(result, probe.site) == [str(path)]
    assert result["error"].startswith("ImportError: libnothing-has-it.so.1: cannot open shared object")


def test_attempts_that_a_module_swallows_are_told_too(probe):
    source = "import ctypes\ntry: ctypes.CDLL('/nowhere/libx.so')\nexcept OSError: pass\nctypes.CDLL(None)"
    result = only(probe({"good": source}))
    assert (result["error"], attempted(result, "/nowhere")) == (None, ["/nowhere/libx.so"])
    assert "" not in result["attempted"]


def test_what_is_below_a_module_is_tried_where_none_of_its_libraries_was_loaded(probe):
    modules = {"top.__init__": "", "top.part": "raise OSError('libGL.so.1')"}
    results = probe(modules, {"top": ["top.part", "top.gone"]})
    assert [(one["module"], one["below"], one["error"]) for one in results] == [
        ("top", False, None),
        ("top.part", True, "OSError: libGL.so.1"),
        ("top.gone", True, "ModuleNotFoundError: No module named 'top.gone'"),
    ]


@pytest.mark.parametrize(
    ("source", "error", "code"),
    [
        ("raise OSError('x')", "OSError: x", 0),
        ("import os; os._exit(1)", None, 1),
        ("import ctypes, pathlib; ctypes.CDLL(str(pathlib.Path(__file__).with_name('libtop.so')))", None, 0),
    ],
)
def test_what_is_below_a_module_is_not_tried_where_that_says_enough(probe, source, error, code):
    (probe.site / "top").mkdir()
    (probe.site / "top/libtop.so").write_bytes(elf(soname="libtop.so", symbols=("top",)))
    results = probe({"top.__init__": source, "top.part": ""}, {"top": ["top.part"]})
    assert [(one["module"], one["error"], one["code"]) for one in results] == [("top", error, code)]


def test_a_library_of_a_folder_of_the_same_beginning_is_another_s(probe):
    (probe.site / "topper").mkdir()
    path = probe.site / "topper/libtop.so"
    path.write_bytes(elf(soname="libtop.so", symbols=("top",)))
    modules = {"top.__init__": f"import ctypes; ctypes.CDLL({str(path)!r})", "top.part": ""}
    top, part = probe(modules, {"top": ["top.part"]})
    assert str(path) in top["mapped"]
    assert (part["module"], part["below"]) == ("top.part", True)


def test_modules_are_imported_side_by_side_and_told_in_order(probe):
    meet = "import pathlib, time\n(here := pathlib.Path(__file__)).with_suffix('.seen').touch()\n"
    meet += "while not here.with_name('{}.seen').exists(): time.sleep(0.01)"
    results = probe({"one": meet.format("two"), "two": meet.format("one")}, cores=2, seconds=30)
    assert [(one["module"], one["code"]) for one in results] == [("one", 0), ("two", 0)]


def test_a_kernel_that_does_not_tell_what_is_loaded_is_no_failure(monkeypatch, tmp_path):
    ended = threading.Event()

    def no_maps(self, *_, **__):
        raise PermissionError

    monkeypatch.setattr(import_probe.Path, "read_text", no_maps)
    monkeypatch.setattr(import_probe.sys, "addaudithook", lambda _: None)
    monkeypatch.setattr(import_probe.os, "_exit", lambda _: ended.set())
    import_probe.import_one("json", str(tmp_path / "found"))
    monkeypatch.undo()
    assert ended.is_set()
    assert json.loads((tmp_path / "found").read_text()) == {"error": None, "attempted": [], "mapped": None}
