"""Has a wheel's Python files compiled, by the image's own Python, while the wheel is being spliced.

The files are divided into batches by a rule that knows nothing but the wheel: sorted by path, and a new batch
whenever one is large enough. compile_worker.py compiles each in a process that did nothing before, so the
result does not depend on the number of cores, on the order batches happen to run in, or on any hash seed.

Most wheels are small, and starting Python is half of what their layers take. So modules that are slow to import
(subprocess, tempfile, shutil, pathlib) are not, and the few things that they would do are done by `os`.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from compile_worker import ROW_FIELDS
from gzip_members import Deflated, LayerError, RangeReader
from zip_index import DEFLATED, STORED, ZipEntry, ZipIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType

# A batch is full at an eighth of the wheel's source, within these bounds, in bytes. A child costs about 10 ms,
# most of it for memory pages it has to copy; 2 MB of source take 0.3 s.
_MIN_BATCH, _MAX_BATCH = 256 * 1024, 2 * 1024 * 1024
_STACK = 8 * 1024 * 1024  # how deep a nesting compiles depends on the stack from Python 3.14 on

_ROW = struct.Struct(f"<{ROW_FIELDS}Q")
_ENVIRONMENT = (
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONPYCACHEPREFIX",
)  # says where Python is, not what it does


class CompileError(LayerError):
    """The interpreter that compiles could not be run, or crashed."""


class Source(NamedTuple):
    """A Python file to compile.

    Attributes:
        entry: the wheel's entry.
        path: the path it will have in the image, absolute; tracebacks show it.
    """

    entry: ZipEntry
    path: str


def is_compiled(entry: ZipEntry, path: str) -> bool:
    """Whether a file is one that installers compile (and that the worker can read, as it can nearly all)."""
    folder, _, name = path.rpartition("/")
    is_source = name.endswith(".py") and name != ".py" and not folder.endswith("/__pycache__")
    return is_source and entry.method in {STORED, DEFLATED}


def cache_path(path: str, python_version: str) -> str:
    """Say where the bytecode of a source file belongs (PEP 3147)."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/__pycache__/{name[:-3]}.cpython-{python_version.replace('.', '')}.pyc"


class Compiler:
    """Compiles in the background. Use it as a context manager: leaving it ends the processes.

    Args:
        wheel: the wheel's path.
        index: its entries.
        sources: what to compile.
        python: how to start the image's Python: a program and its first arguments.
        python_version: its version, "3.11".
        cores: how many processes may compile at a time.

    Raises:
        CompileError: the interpreter cannot be started.
    """

    def __init__(
        self,
        wheel: str,
        index: ZipIndex,
        sources: Sequence[Source],
        *,
        python: Sequence[str],
        python_version: str,
        cores: int,
    ) -> None:
        self._batches = _batches(sources)
        self._folder = _new_folder()
        self._done: set[int] = set()
        job = f"{self._folder}/job"
        with open(job, "w", encoding="utf-8", newline="") as file:
            file.write(_job(index, self._batches))
        # A clean environment: what the interpreter would take from it could change what it compiles.
        keep = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        _limit_stack()
        command = [
            *python,
            "-s",
            "-S",
            "-B",
            "-W",
            "ignore",
            os.path.join(os.path.dirname(__file__), "compile_worker.py"),
        ]
        try:
            self._process = _Process(
                [*command, python_version, wheel, job, self._folder, str(max(1, cores))],
                {**keep, "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"},
            )
        except OSError as error:
            _remove_folder(self._folder)
            raise CompileError(f"the image's Python cannot be started: {error}") from None

    def __enter__(self) -> Compiler:  # noqa: PYI034 - Self is in the standard library from 3.11 on
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.end()
        _remove_folder(self._folder)

    def results(self) -> Iterator[tuple[Source, Deflated]]:
        """Give out what compiled, in the order of the sources' paths, as soon as it is there.

        A result is to be used before the next is asked for: its file is closed then.

        Raises:
            CompileError: the interpreter failed.
        """
        for number, sources in enumerate(self._batches):
            self._wait_for(number)
            path = f"{self._folder}/{number}"
            with open(path, "rb", buffering=0) as file:
                size_of_rows = _ROW.size * len(sources)
                end = os.fstat(file.fileno()).st_size - size_of_rows
                rows = _ROW.iter_unpack(os.pread(file.fileno(), size_of_rows, end))
                reader = RangeReader(file.fileno())
                for source, (offset, compressed, size, crc) in zip(sources, rows):  # noqa: B905 - new in 3.10
                    if size:
                        yield source, Deflated(reader, offset, compressed, size, crc)
            os.unlink(path)

    def _wait_for(self, number: int) -> None:
        while number not in self._done:
            line = self._process.said.readline()
            if not line:
                raise CompileError(
                    f"compiling ended with status {self._process.wait()}; its message is above"
                )
            self._done.add(int(line))


class _Process:
    """A program in a session of its own, whose output is read.

    Attributes:
        said: what it writes.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        reading, writing = os.pipe()
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
        ]
        self.said = os.fdopen(reading, "rb")
        self._code: int | None = None
        try:
            self._pid = os.posix_spawn(
                command[0], list(command), environment, file_actions=actions, setsid=True
            )
        except OSError:
            self.said.close()
            raise
        finally:
            os.close(writing)

    def wait(self, options: int = 0) -> int | None:
        """Its exit code, negative where a signal ended it; None where it runs on and the options say not to wait."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, options)
            if pid:
                self._code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self._code

    def end(self) -> None:
        """End it, and what it has started, if it runs on."""
        if self.wait(os.WNOHANG) is None:
            os.killpg(self._pid, signal.SIGKILL)
            self.wait()
        self.said.close()


def _new_folder() -> str:
    """Make a folder for temporary files that only this user may enter."""
    parent = os.environ.get("TMPDIR") or "/tmp"  # noqa: S108 - it is made under a name that is nobody's
    for number in count():
        folder = f"{parent}/bytecode-{os.getpid()}-{number}"
        with suppress(FileExistsError):
            os.mkdir(folder, mode=0o700)
            return folder
    raise AssertionError


def _remove_folder(folder: str) -> None:
    """Remove a folder that has no folders in it."""
    with suppress(OSError):
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


def _batches(sources: Sequence[Source]) -> list[list[Source]]:
    batches: list[list[Source]] = []
    total = sum(source.entry.size for source in sources)
    limit = min(_MAX_BATCH, max(_MIN_BATCH, total // 8))
    full = True
    size = 0
    for source in sorted(sources, key=lambda source: source.path):
        if full:
            batches.append([])
            size = 0
        batches[-1].append(source)
        size += source.entry.size
        full = size >= limit
    return batches


def _job(index: ZipIndex, batches: list[list[Source]]) -> str:
    fields: list[object] = []
    for number, sources in enumerate(batches):
        for source in sources:
            entry = source.entry
            offset = index.data_offset(entry)
            fields += [number, offset, entry.compressed, entry.size, entry.method, source.path]
    return "".join(f"{field}\0" for field in fields)


def _limit_stack() -> None:
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    soft = _STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard)
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
