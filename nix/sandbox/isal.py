"""Inflates gzip members by Intel's ISA-L, in half of the time that zlib takes.

The library is Debian's libisal2, called by ctypes, which takes a while to import. What it inflates is what zlib
inflates; where it refuses, or is not one that is known here, its caller takes zlib.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE = 256 * 1024  # plain bytes made at a time: so much stays in a core's own cache while it is copied

# The versions whose structure is known, of bullseye and bookworm, and of trixie and forky.
_KNOWN = ("libisal.so.2.0.30", "libisal.so.2.0.31")

_GZIP = 1  # the mode that reads a member's header, and checks the CRC and the size at its end
_FINISHED = 5  # the state of a stream that is at its end and was given out whole
_TABLES_AT, _BLOCK_STATE_AT, _SIZE = 40, 21160, 87368


class IsalError(Exception):
    """The library is not there, or not one that is known."""


class _State(ctypes.Structure):
    """`struct inflate_state` of igzip_lib.h, what is of no interest here left without names."""

    next_out: int
    avail_out: int
    next_in: bytes | None
    read_in: int
    avail_in: int
    read_in_length: int
    block_state: int
    crc_flag: int

    _fields_ = (
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint32),
        ("total_out", ctypes.c_uint32),
        ("next_in", ctypes.c_char_p),
        ("read_in", ctypes.c_uint64),
        ("avail_in", ctypes.c_uint32),
        ("read_in_length", ctypes.c_int32),
        ("tables", ctypes.c_char * (_BLOCK_STATE_AT - _TABLES_AT)),
        ("block_state", ctypes.c_uint32),
        ("dict_length", ctypes.c_uint32),
        ("bfinal", ctypes.c_uint32),
        ("crc_flag", ctypes.c_uint32),
        ("rest", ctypes.c_char * (_SIZE - _BLOCK_STATE_AT - 16)),
    )


class Isal:
    """The library, loaded.

    Args:
        path: its file.

    Raises:
        IsalError: it is not there, or not one that is known.
    """

    def __init__(self, path: str) -> None:
        name = os.path.basename(os.path.realpath(path))
        if name not in _KNOWN:
            raise IsalError(f"{path} is {name}, and known are {', '.join(_KNOWN)}")
        try:
            library = ctypes.CDLL(path)
            self.start = library.isal_inflate_init
            self.inflate = library.isal_inflate
        except (OSError, AttributeError) as error:
            raise IsalError(str(error)) from None
        self.start.argtypes = self.inflate.argtypes = (ctypes.POINTER(_State),)
        self.start.restype = None

    def inflater(self, size: int) -> Inflater:
        """A decompressor for a gzip member of which so many plain bytes were announced."""
        return Inflater(self, size)


class Inflater:
    """A decompressor that never makes much more than one byte beyond what was announced.

    Args:
        library: the library.
        size: the bytes announced.
    """

    def __init__(self, library: Isal, size: int) -> None:
        self._inflate = library.inflate
        self._size = size
        self._state = _State()
        library.start(self._state)
        self._state.crc_flag = _GZIP
        # A piece is copied out of here, so that nobody else's changes while it waits to be hashed.
        self._room = min(_PIECE, size + 1)
        self._buffer = ctypes.create_string_buffer(self._room)
        self.total = 0

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""
        return self._state.block_state == _FINISHED

    @property
    def unused(self) -> int:
        """How many bytes were fed beyond the member's end."""
        return self._state.avail_in + self._state.read_in_length // 8 if self.eof else 0

    def is_complete(self) -> bool:
        """Whether the member ended and held what was announced."""
        return self.eof and self.total == self._size

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Inflate all of `raw`, unless too much comes out.

        Raises:
            zlib.error: this is no gzip member, or not what its end says.
        """
        state = self._state
        state.next_in = raw
        state.avail_in = len(raw)
        buffer = ctypes.addressof(self._buffer)
        while not self.eof and self.total <= self._size:
            # One byte more than announced is enough to know that there is too much.
            limit = min(self._room, self._size - self.total + 1)
            state.next_out = buffer
            state.avail_out = limit
            code = self._inflate(state)
            if code:
                raise zlib.error(f"isal_inflate says {code}")
            made = limit - state.avail_out
            self.total += made
            if made and self.total <= self._size:
                yield ctypes.string_at(buffer, made)
            if made < limit and not state.avail_in:
                return

    def finish(self) -> Iterator[bytes]:
        """Inflate what a limit held back: nothing, since `feed` goes on until there is room left."""
        return iter(())


def load(path: str) -> Isal | None:
    """Load the library if it is there, is known, and inflates a little that zlib has made."""
    plain = bytes(range(256)) * 4
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    member = compressor.compress(plain) + compressor.flush()
    try:
        inflater = Isal(path).inflater(len(plain))
        if b"".join(inflater.feed(member)) == plain and inflater.is_complete():
            return Isal(path)
    except (IsalError, zlib.error):
        pass
    return None
