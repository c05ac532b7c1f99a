"""Compiles a wheel's Python files, batch by batch, always to the same bytes.

bytecode.py starts this in an interpreter of its own, with the hash seed fixed. What marshal writes depends on
which strings and constants the process already shares (cpython issue 129724), that is on everything it did
before. So this process compiles nothing: it forks a child for each batch, and each child is in the same state
at its start. Keep the imports few; they are paid once per wheel.

Arguments: Python version ("3.11"), wheel, job file, output folder, number of children at a time.
The job file holds NUL-separated texts, six for each source: number of its batch, offset and size of its data
in the wheel, size of the source, compression method, path in the image.
Each batch becomes a file named by its number: raw deflate streams, then for each source a row, all
zeros for a source that does not compile. The number is printed when the file is complete.
"""

from __future__ import annotations

import _imp
import gc
import marshal
import os
import sys
import zlib

# Python has it ready; importlib.util, which names it too, takes as long to import as a small wheel to compile.
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False  # typing is slow to import
if TYPE_CHECKING:
    from types import CodeType
    from typing import NoReturn

ROW_FIELDS = 4
"""A row: offset, compressed size, size and CRC-32, each a little-endian number of eight bytes."""

_UNCHECKED_HASH = (1).to_bytes(4, "little")  # flags of PEP 552: hash-based, and the source is not looked at
_STORED = "0"
_LEVEL = 2  # half the time of 6, 7 % larger
_FIELDS = 6

_SORTED_SETS = (3, 11)  # the first version whose marshal sorts the members of a frozenset


class _Source:
    """A source file in the wheel."""

    def __init__(self, fields: list[str]) -> None:
        self.batch = int(fields[0])
        self.offset = int(fields[1])
        self.compressed = int(fields[2])
        self.size = int(fields[3])
        self.stored = fields[4] == _STORED
        self.path = fields[5]

    def read(self, wheel: int) -> bytes:
        raw = os.pread(wheel, self.compressed, self.offset)
        return raw if self.stored else zlib.decompressobj(-15).decompress(raw, self.size + 1)


def main(arguments: list[str]) -> None:
    """Compile every batch of the job."""
    version, wheel_path, job_path, out, cores = arguments
    if version != f"{sys.version_info[0]}.{sys.version_info[1]}":
        sys.exit(f"compile_worker.py: this is Python {sys.version.split()[0]}, and {version} is asked for")
    settle()
    wheel = os.open(wheel_path, os.O_RDONLY)
    with open(job_path, encoding="utf-8", newline="") as file:
        fields = file.read().split("\0")
    batches: dict[int, list[_Source]] = {}
    for at in range(0, len(fields) - 1, _FIELDS):
        source = _Source(fields[at : at + _FIELDS])
        batches.setdefault(source.batch, []).append(source)
    running: dict[int, int] = {}
    for number, sources in batches.items():
        if len(running) >= int(cores):
            _wait(running)
        child = os.fork()
        if child == 0:
            _run(wheel, sources, f"{out}/{number}")
        running[child] = number
    while running:
        _wait(running)


def settle() -> None:
    """Bring the process into a state that does not depend on how it came to be.

    A string is marshalled differently if it is alive elsewhere in the process, or was interned there. That can
    depend on the collector's timing, which decides what garbage of the modules' start is alive; on addresses,
    which decide what attribute names the type cache keeps alive; and, as to one-character strings, of which the
    process has just one each, on whether the modules came compiled or not.
    """
    gc.collect()
    gc.disable()  # compiling leaves no cycles
    clear_type_cache = getattr(sys, "_clear_type_cache", None)  # deprecated where names live forever anyway
    if clear_type_cache is not None:
        clear_type_cache()
    for number in range(256):
        sys.intern(chr(number))


def _wait(running: dict[int, int]) -> None:
    child, status = os.wait()
    number = running.pop(child)
    if status:
        sys.exit(f"compile_worker.py: batch {number} ended with status {status}")
    os.write(1, b"%d\n" % number)


def _run(wheel: int, sources: list[_Source], path: str) -> NoReturn:
    """Compile a batch, in the child."""
    try:
        _compile_batch(wheel, sources, path)
    except BaseException:  # noqa: BLE001 - a fork must not run on into its parent's code
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


def _compile_batch(wheel: int, sources: list[_Source], path: str) -> None:
    rows = []
    offset = 0
    with open(path, "wb") as file:
        for source in sources:
            pyc = compiled(source.read(wheel), source.path)
            if pyc is None:
                rows.append(_row(0, 0, 0, 0))
                continue
            compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15)
            data = compressor.compress(pyc) + compressor.flush()
            file.write(data)
            rows.append(_row(offset, len(data), len(pyc), zlib.crc32(pyc)))
            offset += len(data)
        file.write(b"".join(rows))


def _row(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def compiled(source: bytes, path: str) -> bytes | None:
    """Make the content of a .pyc file (PEP 552); None where there cannot be one, as installers leave it."""
    try:
        code = compile(source, path, "exec", dont_inherit=True)
        if sys.version_info < _SORTED_SETS and _has_unsteady_set(code):
            return None
        marshalled = marshal.dumps(code)
    except Exception:  # noqa: BLE001 - Python 2's syntax, a wrong encoding, deep nesting, ...
        return None
    # What importlib.util.source_hash does.
    digest = _imp.source_hash(int.from_bytes(MAGIC_NUMBER, "little"), source)
    return MAGIC_NUMBER + _UNCHECKED_HASH + digest + marshalled


def _has_unsteady_set(code: CodeType) -> bool:
    """Whether a constant is a frozenset whose order differs from run to run.

    Before 3.11, marshal writes a frozenset in the order of its hash table. The hash of None and Ellipsis was
    their address, which address space randomization changes; a fixed hash seed does not help there.
    """
    waiting: list[object] = list(code.co_consts)
    while waiting:
        constant = waiting.pop()
        if isinstance(constant, type(code)):
            waiting += constant.co_consts
        elif isinstance(constant, tuple):
            waiting += constant
        elif isinstance(constant, frozenset) and any(map(_is_hashed_by_address, constant)):
            return True
    return False


def _is_hashed_by_address(constant: object) -> bool:
    if isinstance(constant, (tuple, frozenset)):
        return any(map(_is_hashed_by_address, constant))
    return constant is None or constant is Ellipsis


if __name__ == "__main__":
    main(sys.argv[1:])
