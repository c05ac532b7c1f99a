"""A package index on this machine: wheels made on the spot, good ones and hostile ones, served well or badly."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import quote, unquote, urlsplit

_DATE = (1980, 1, 2, 0, 0, 0)


def wheel(name, version="1.0", *, requires=(), extras=(), more=(), tags="py3-none-any"):
    """A wheel's bytes.

    Args:
        name: of the project, and of its one module.
        version: of it.
        requires: its `Requires-Dist`.
        extras: its `Provides-Extra`.
        more: entries besides what a wheel must have: a name, or a ZipInfo, and the content.
        tags: what it is for.
    """
    info = f"{name}-{version}.dist-info"
    metadata = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}",
        *(f"Provides-Extra: {extra}" for extra in extras),
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    entries = [
        (f"{name}.py", f"version = {version!r}\n"),
        *more,
        (f"{info}/METADATA", "\n".join(metadata) + "\n"),
        (f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n"),
        (f"{info}/RECORD", f"{info}/RECORD,,\n"),
    ]
    made = BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(_entry(entry), content)
    return made.getvalue()


_SETUPTOOLS = """[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "{version}"
dependencies = {requires}
"""

_OWN_BACKEND = """[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""

# A build backend (PEP 517) in the project itself: it needs no other package.
_BACKEND = """import os
import zipfile

NAME, VERSION, REQUIRES, EXTRAS = {name!r}, {version!r}, {requires!r}, {extras!r}


def build_wheel(folder, config_settings=None, metadata_directory=None):
    filename = f"{{NAME}}-{{VERSION}}-py3-none-any.whl"
    info = f"{{NAME}}-{{VERSION}}.dist-info"
    metadata = [f"Metadata-Version: 2.1", f"Name: {{NAME}}", f"Version: {{VERSION}}"]
    metadata += [f"Provides-Extra: {{extra}}" for extra in EXTRAS]
    metadata += [f"Requires-Dist: {{line}}" for line in REQUIRES]
    with zipfile.ZipFile(os.path.join(folder, filename), "w") as wheel:
        wheel.write(NAME + ".py", NAME + ".py")
        wheel.writestr(info + "/METADATA", "\\n".join(metadata) + "\\n")
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "/RECORD", "")
    return filename
"""

_EXTENSION = """from setuptools import Extension, setup

setup(py_modules=["{name}"], ext_modules=[Extension("_{name}", ["_{name}.c"])])
"""

_C = """#include <Python.h>

static PyObject *answer(PyObject *self, PyObject *arguments) {{ return PyLong_FromLong(42); }}
static PyMethodDef methods[] = {{{{"answer", answer, METH_NOARGS, "42."}}, {{NULL, NULL, 0, NULL}}}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "_{name}", NULL, -1, methods}};

PyMODINIT_FUNC PyInit__{name}(void) {{ return PyModule_Create(&module); }}
"""


def source_files(name, version="1.0", *, backend="own", requires=(), extras=(), more=()):
    """The files of a project: texts by name.

    Args:
        name: of the project, and of its one module; with "c" there is `_NAME` besides, whose answer() is 42.
        version: of it.
        backend: "own": one in the project, which needs nothing; "setuptools"; "c": setuptools and a C extension.
        requires: its dependencies.
        extras: its extras, where the backend is its own.
        more: more files, or others in place of these: names and texts.
    """
    values = {"name": name, "version": version, "requires": list(requires), "extras": list(extras)}
    files = {
        f"{name}.py": f"version = {version!r}\n",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    if backend == "own":
        files |= {"pyproject.toml": _OWN_BACKEND, "backend.py": _BACKEND.format(**values)}
    else:
        files["pyproject.toml"] = _SETUPTOOLS.format(**values | {"requires": json.dumps(values["requires"])})
        if backend == "c":
            files |= {"setup.py": _EXTENSION.format(**values), f"_{name}.c": _C.format(**values)}
    return files | dict(more)


def sdist(name, version="1.0", **project):
    """A source distribution's bytes; see `source_files`."""
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path, text in source_files(name, version, **project).items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size, entry.mtime = len(text.encode()), 315619200
            archive.addfile(entry, BytesIO(text.encode()))
    return made.getvalue()


def _entry(entry):
    if isinstance(entry, zipfile.ZipInfo):
        return entry
    made = zipfile.ZipInfo(entry, _DATE)
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


def symlink(name, target):
    """The entry of a symbolic link."""
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = 3
    entry.external_attr = 0o120777 << 16
    return entry, target


def edited(data, name, **fields):
    """A zip file whose two headers of one entry are overwritten: crc or size, of the content."""
    places = {"crc": (14, 16), "size": (22, 24)}  # in the local header, in the central one
    data = bytearray(data)
    for magic, header, which in ((b"PK\3\4", 30, 0), (b"PK\1\2", 46, 1)):
        at = data.find(magic)
        while data[at + header : at + header + len(name)] != name.encode():
            at = data.find(magic, at + 1)
        for key, value in fields.items():
            place = at + places[key][which]
            data[place : place + 4] = value.to_bytes(4, "little")
    return bytes(data)


@dataclass
class Index:
    """A running server: /simple/NAME/ lists wheels, /files/FILENAME serves them.

    Attributes:
        files: the wheels it has, by file name.
        stop_after: per file name, the bytes after which a connection ends.
        hold: names of files, and of projects for their pages, whose bytes are held back after some, until
            `release` is set.
        down: whether it accepts connections and closes them at once.
        asked: the paths of all requests.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    stop_after: dict[str, int] = field(default_factory=dict)
    hold: set[str] = field(default_factory=set)
    down: bool = False
    asked: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self):
        """Makes this the only index that uv and pip know of."""
        return {
            "UV_DEFAULT_INDEX": f"{self.url}/simple",
            "UV_HTTP_RETRIES": "0",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_FIND_LINKS": "",
            "PIP_EXTRA_INDEX_URL": "",
            "no_proxy": "127.0.0.1",
        }

    def add(self, name, version="1.0", *, data=None, tags="py3-none-any", **more):
        """Put a wheel on it and return its file name."""
        filename = f"{name}-{version}-{tags}.whl"
        self.files[filename] = wheel(name, version, tags=tags, **more) if data is None else data
        return filename

    def requests_of(self, filename):
        return sum(path == f"/files/{quote(filename)}" for path in self.asked)


class _Handler(http.server.BaseHTTPRequestHandler):
    index: Index

    def log_message(self, *args):
        pass

    def do_GET(self):
        index = self.index
        if index.down:
            self.close_connection = True
            return
        path = unquote(urlsplit(self.path).path)
        index.asked.append(path)
        kind, _, name = path.strip("/").partition("/")
        if kind == "files" and name in index.files:
            self.answer(index.files[name], "application/octet-stream", name)
        elif kind == "simple" and (found := self.listed(name)):
            links = "".join(
                f'<a href="/files/{quote(one)}#sha256={hashlib.sha256(data).hexdigest()}">{one}</a>'
                for one, data in found.items()
            )
            self.answer(f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), "text/html", name)
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    do_HEAD = do_GET  # noqa: N815 - the base class's name

    def listed(self, name):
        return {
            one: data
            for one, data in sorted(self.index.files.items())
            if one.split("-")[0].replace("_", "-") == name
        }

    def answer(self, body, kind, name):
        index = self.index
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        with contextlib.suppress(ConnectionError):
            if name in index.hold:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                index.held.set()
                index.release.wait(60)
                body = body[len(body) // 2 :]
            stop = index.stop_after.get(name)
            self.wfile.write(body[:stop])
            self.close_connection = stop is not None


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    # uv opens fifty connections at a time, and several may run: one that is not taken waits for a second or more.
    request_queue_size = 256


@contextlib.contextmanager
def serving(index=None, *, port=0):
    """Run an index on a free port, or on the one given."""
    index = index or Index()
    handler = type("Handler", (_Handler,), {"index": index})
    server = _Server(("127.0.0.1", port), handler)
    index.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield index
    finally:
        index.release.set()
        server.shutdown()
        server.server_close()
        thread.join()
