"""Finds out which GPUs a library has kernels for, from its bytes as they pass by.

nvcc puts the kernels of a library into its ELF sections `.nv_fatbin` and `__nv_relfatbin` as a row of containers, each
of which is a row of entries. The headers are readable though payloads may be compressed, so neither a GPU nor CUDA
is needed. NVIDIA documents no format; what is read here is:

    container   magic 0xBA55ED50 (u32), version 1 (u16), header size 16 (u16), payload size (u64), then the payload
    entry       kind (u16: 1 PTX, 2 cubin), version (u16), header size (u32), payload size (u64), ...;
                the compute capability at offset 28 (u32): 90 is sm_90

Nothing is kept of what passes but the few bytes that a header may be split over, so the cost is that of a search.
"""

from __future__ import annotations

import struct

# Parts of CUDA itself have kernels for what each of their functions is made for, and choose among them: they are not
# held against machines, and so need not be searched.
CUDA_PARTS = "nvidia-"
_ELF = b"\x7fELF"
_MAGIC = struct.pack("<I", 0xBA55ED50)
_CONTAINER = struct.Struct("<IHHQ")
_ENTRY = struct.Struct("<HHIQ12xI")
_PTX, _CUBIN = 1, 2
_VERSION = 1
_LARGEST_HEADER = 1 << 16


class Kernels:
    """What was found in some files.

    Attributes:
        cubins: compute capabilities that there is machine code for, as numbers: 90 for 9.0.
        ptx: those that there is PTX for, which a driver compiles for newer GPUs when it loads it.
    """

    def __init__(self) -> None:
        self.cubins: set[int] = set()
        self.ptx: set[int] = set()

    def file(self) -> Reader:
        """What is given the bytes of a file."""
        return Reader(self)


class Reader:
    """Takes a file's bytes, piece by piece, as a hash object does."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._is_elf: bool | None = None
        self._kept = b""
        # Bytes until the next header; negative where there is none to expect, and one is searched for.
        self._skip = -1
        self._left = 0

    def update(self, piece: bytes) -> None:
        """Take the next piece."""
        if self._is_elf is False:
            return
        if self._skip >= len(piece):
            # All of it is in a payload, and nothing was kept to come before it.
            self._skip -= len(piece)
            return
        if self._is_elf and self._skip < 0 and not self._left and len(piece) > _CONTAINER.size:
            # The most of what passes holds no header: it is searched where it is.
            seam = self._kept + bytes(piece[: len(_MAGIC)])
            if _MAGIC not in seam and _MAGIC not in piece:
                self._kept = bytes(piece[1 - len(_MAGIC) :])
                return
        data = self._kept + bytes(piece) if self._kept else bytes(piece)
        if self._is_elf is None:
            if len(data) < len(_ELF):
                self._kept = data
                return
            self._is_elf = data.startswith(_ELF)
            if not self._is_elf:
                return
        self._kept = data[self._read(data) :]

    def _read(self, data: bytes) -> int:
        """Read the headers in some bytes; return where those begin that must be kept for the next piece."""
        at = 0
        while True:
            if self._skip > 0:
                # A payload, which may be longer than what is here.
                step = min(self._skip, len(data) - at)
                at += step
                self._skip -= step
                if self._skip:
                    return len(data)
            if self._left:
                if len(data) - at < _ENTRY.size:
                    return at
                self._entry(data, at)
                continue
            found = data.find(_MAGIC, at)
            if found < 0:
                return max(at, len(data) - len(_MAGIC) + 1)
            if len(data) - found < _CONTAINER.size:
                return found
            _, version, header, size = _CONTAINER.unpack_from(data, found)
            at = found + len(_MAGIC)
            if version == _VERSION and header == _CONTAINER.size and size >= _ENTRY.size:
                at = found + _CONTAINER.size
                self._left = size
            self._skip = -1

    def _entry(self, data: bytes, at: int) -> None:
        kind, _, header, size, capability = _ENTRY.unpack_from(data, at)
        whole = header + size
        if not _ENTRY.size <= header <= _LARGEST_HEADER or whole > self._left:
            # No entry, so those bytes were no container: the search goes on right here.
            self._left = 0
            self._skip = -1
            return
        if kind == _CUBIN:
            self._kernels.cubins.add(capability)
        elif kind == _PTX:
            self._kernels.ptx.add(capability)
        self._left -= whole
        if self._left < _ENTRY.size:
            whole += self._left
            self._left = 0
        self._skip = whole


def runs_on(cubin: int, capability: int) -> bool:
    """Whether machine code for X.y runs on a GPU of a capability: of the same X, and of that y or a higher one."""
    return cubin // 10 == capability // 10 and cubin <= capability


def compiles_for(ptx: int, capability: int) -> bool:
    """Whether a driver can compile PTX for a GPU of a capability: one that is as new or newer."""
    return ptx <= capability
