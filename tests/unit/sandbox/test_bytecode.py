from __future__ import annotations

import importlib.util
import json
import marshal
import os
import subprocess
import sys
from pathlib import Path

import bytecode
import compile_worker
import pytest
import wheel_layer
from wheel_factory import MINOR, SITE, make_wheel, read_layer

SCRIPT = Path(wheel_layer.__file__)
TAG = sys.implementation.cache_tag
SOURCES = {
    "demo/__init__.py": "'''doc'''\nx = {'a', 'b', 'c'}\ny = 'q' in {'a', 'b', 'c', 'd'}\n",
    "demo/sub/mod.py": "def f(a, *, b=1):\n    return [a for _ in range(b)]\n",
    "demo/latin.py": b"# -*- coding: latin-1 -*-\ns = '\xe9'\n",
    "demo/empty.py": "",
}


def spec_for(tmp_path, wheel, **more):
    spec = {
        "wheel": str(wheel),
        "filename": wheel.name,
        "python_version": MINOR,
        "python": [sys.executable],
        "bytecode": True,
        "cores": 2,
        "out": str(tmp_path / "out"),
    }
    return spec | more


def build(tmp_path, files, **more):
    wheel = make_wheel(tmp_path, files)
    wheel_layer.build(spec_for(tmp_path, wheel, **more))
    return read_layer(tmp_path / "out")


def pycs(layer):
    return {name: data for name, data in layer.files().items() if name.endswith(".pyc")}


def cached(path):
    return importlib.util.cache_from_source(path)


def test_every_source_has_bytecode_that_python_accepts_without_looking_at_the_source(tmp_path):
    found = pycs(build(tmp_path, SOURCES))
    assert set(found) == {cached(name) for name in SOURCES}
    for name, source in SOURCES.items():
        data = source if isinstance(source, bytes) else source.encode()
        pyc = found[cached(name)]
        assert pyc[:4] == importlib.util.MAGIC_NUMBER
        assert pyc[4:8] == b"\1\0\0\0"  # PEP 552: hash-based, not checked
        assert pyc[8:16] == importlib.util.source_hash(data)
        path = f"/{SITE}/{name}"
        code = marshal.loads(pyc[16:])
        assert code == compile(data, path, "exec", dont_inherit=True)
        assert code.co_filename == path


def test_files_that_do_not_compile_are_left_alone(tmp_path, capfd):
    bad = {
        "demo/two.py": "print 'python 2'\n",
        "demo/encoding.py": b"s = '\xff'\n",
        "demo/unknown.py": "# coding: no-such-thing\n",
        "demo/nul.py": "a = 1\0\n",
        "demo/deep.py": "(" * 5000 + ")" * 5000,
        "demo/warns.py": "x = '\\d' is '\\d'\n",
        "demo/text.txt": "x = 1\n",
        "demo/__pycache__/odd.py": "x = 1\n",
        "demo/.py": "x = 1\n",
        "demo-1.0.data/scripts/tool.py": "x = 1\n",
        "demo-1.0.data/data/share/example.py": "x = 1\n",
    }
    assert set(pycs(build(tmp_path, bad))) == {cached("demo/warns.py")}
    assert capfd.readouterr() == ("", "")


def test_sources_of_every_scheme_that_land_in_site_packages_are_compiled(tmp_path):
    files = {
        "demo-1.0.data/purelib/pure.py": "x = 1\n",
        f"demo-1.0.data/data/lib/python{MINOR}/site-packages/data.py": "x = 1\n",
    }
    assert set(pycs(build(tmp_path, files))) == {cached("pure.py"), cached("data.py")}


def test_bytecode_that_a_wheel_brings_is_replaced_and_no_longer_recorded(tmp_path):
    files = {"demo/a.py": "x = 1\n", cached("demo/a.py"): b"stale", cached("demo/b.py"): b"kept"}
    layer = build(tmp_path, files)
    assert pycs(layer)[cached("demo/a.py")][:4] == importlib.util.MAGIC_NUMBER
    assert pycs(layer)[cached("demo/b.py")] == b"kept"
    record = layer.files()["demo-1.0.dist-info/RECORD"].decode()
    assert cached("demo/b.py") in record
    assert cached("demo/a.py") not in record


def test_bytecode_of_the_wheel_is_kept_where_none_is_made(tmp_path):
    files = {"demo/a.py": "x = 1\n", cached("demo/a.py"): b"stale"}
    assert pycs(build(tmp_path, files, bytecode=False)) == {cached("demo/a.py"): b"stale"}


def test_the_bytes_do_not_depend_on_hash_seed_cores_environment_or_folder(tmp_path, monkeypatch):
    """Sets in the sources are what a hash seed shows in, names shared by files what a process's past shows in."""
    monkeypatch.setattr(bytecode, "_MIN_BATCH", 1)
    files = {
        f"demo/m{number}.py": (
            f"def f{number % 3}(self, *args):\n    return 'x{number % 5}' in {{'a', 'b', 'x1', '*'}}\n"
        )
        for number in range(12)
    }
    wheel = make_wheel(tmp_path, files)
    digests = set()
    for cores, seed, cache in ((1, "0", None), (4, "17", None), (2, "random", str(tmp_path / "cache"))):
        out = tmp_path / f"out-{cores}"
        spec = tmp_path / "spec.json"
        spec.write_text(json.dumps(spec_for(tmp_path, wheel, cores=cores, out=str(out))))
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        if cache is not None:
            environment["PYTHONPYCACHEPREFIX"] = cache
        subprocess.run([sys.executable, "-B", str(SCRIPT), str(spec)], check=True, env=environment)
        digests.add(read_layer(out).facts["digest"])
    assert len(digests) == 1


def test_batches_depend_on_sizes_and_paths_only():
    def source(path, size):
        entry = bytecode.ZipEntry(path, 8, 0, 1, size, 0, 0)
        return bytecode.Source(entry, path)

    sources = [source(f"{number:03}", 100_000) for number in range(30)]
    batches = bytecode._batches(sources)
    assert batches == bytecode._batches(sources[::-1])
    assert [one.path for batch in batches for one in batch] == sorted(one.path for one in sources)
    assert {len(batch) for batch in batches} == {4, 2}
    assert bytecode._batches([]) == []


def test_an_interpreter_of_another_version_is_refused(tmp_path):
    wheel = make_wheel(tmp_path, SOURCES)
    with pytest.raises(bytecode.CompileError, match="ended with status 1"):
        wheel_layer.build(spec_for(tmp_path, wheel, python_version="3.1"))
    assert not (tmp_path / "out" / "blob.part").exists()


def test_an_interpreter_that_is_not_there_is_an_error(tmp_path):
    wheel = make_wheel(tmp_path, SOURCES)
    with pytest.raises(bytecode.CompileError, match="cannot be started"):
        wheel_layer.build(spec_for(tmp_path, wheel, python=[str(tmp_path / "none")]))


def test_a_set_that_no_seed_makes_steady_is_noticed():
    def constants(text):
        return compile(text, "x", "exec")

    assert compile_worker._has_unsteady_set(constants("x in {1, None}"))
    assert compile_worker._has_unsteady_set(constants("def f():\n  return x in {..., 1}"))
    assert compile_worker._has_unsteady_set(constants("x in {(1, (None,)), 2}"))
    assert not compile_worker._has_unsteady_set(
        constants("x in {1, 'a', b'b', 2.0, (1, 'c')}\ny = (None, ...)")
    )
