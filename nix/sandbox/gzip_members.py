"""Gzip members (RFC 1952) made of deflate streams that exist already, and what they inflate to.

Every function that inflates does so in bounded memory, stops at the size that was announced and proves that
the stream is what was said of it. What is inflated is the very member that goes into the layer, frame
and trailer included, so a layer that could be written is one that can be read.
"""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import isal

PIECE = 1024 * 1024
"""Plain bytes made at a time."""

READ = 256 * 1024
"""Compressed bytes taken at a time."""

# Bytes that zlib inflates in one process before ISA-L is loaded, which takes the 3 ms that it saves on these.
_PATIENCE = 4 * 1024 * 1024

_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"


class LayerError(Exception):
    """An entry that no layer can hold: a bad or repeated name, data that are not as described."""


class RangeReader:
    """Reads ranges of an open file, neighbouring small ones with one system call for many.

    Args:
        fd: the file's descriptor, which stays the caller's to close.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = 0
        self._window = b""

    def read(self, offset: int, size: int) -> bytes:
        """Read `size` bytes at `offset`; fewer only where the file ends.

        Raises:
            OSError: the file cannot be read.
        """
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._window):
            if size >= READ:
                return os.pread(self._fd, size, offset)
            self._window = os.pread(self._fd, READ, offset)
            self._start = offset
            begin = 0
        return self._window[begin : begin + size]


class Deflated(NamedTuple):
    """A raw deflate stream (RFC 1951) in a file, with what its zip says of it.

    Attributes:
        source: the file.
        offset: where the stream begins.
        compressed: bytes of the stream.
        size: bytes it inflates to.
        crc: CRC-32 of these.
    """

    source: RangeReader
    offset: int
    compressed: int
    size: int
    crc: int


class Chunk(NamedTuple):
    """Where a chunk of a file is in a finished eStargz blob.

    Attributes:
        offset: of its gzip header in the blob.
        end: an offset in the blob that its member does not reach beyond.
        size: plain bytes.
        digest: `sha256:...` of these.
    """

    offset: int
    end: int
    size: int
    digest: str


class Member(NamedTuple):
    """A whole file or chunk as one gzip member, and the hex sha256 of its plain content."""

    data: bytes
    digest: str


def compress(data: bytes, level: int) -> Member:
    """Make a gzip member of a whole file or chunk, at a zlib level from 0 to 9."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
    return Member(compressor.compress(data) + compressor.flush(), hashlib.sha256(data).hexdigest())


def compress_headers(data: bytes) -> bytes:
    """Make a gzip member of a tar header or two.

    Setting up zlib is what costs time on so little data, so its tables are small.
    """
    compressor = zlib.compressobj(1, zlib.DEFLATED, 26, 3)
    return compressor.compress(data) + compressor.flush()


def inflate_small(part: Deflated) -> tuple[bytes, bytes]:
    """Return a deflate stream's gzip member and what it inflates to, both whole.

    Raises:
        LayerError: the stream is not as described.
    """
    raw = part.source.read(part.offset, part.compressed)
    member = b"%b%b%b" % (_HEADER, raw, struct.pack("<II", part.crc, part.size))
    inflater = zlib.decompressobj(31)
    try:
        data = inflater.decompress(member, part.size + 1)
    except zlib.error:
        raise LayerError(_explain(part)) from None
    if len(raw) != part.compressed or len(data) != part.size or not inflater.eof or inflater.unused_data:
        raise LayerError(_explain(part))
    return member, data


def inflate(part: Deflated, write: Callable[[bytes], None] | None) -> Iterator[bytes]:
    """Inflate a deflate stream, in pieces, while passing its gzip member on to `write`.

    Raises:
        LayerError: the stream is not as described. Pieces were given out by then, never more than announced.
    """
    done = _Done()
    quick = _quick.inflater(part.size)
    if quick is not None:
        try:
            yield from _inflated(part, quick, write, done)
        except zlib.error:
            pass  # zlib has the last word, and the words for what is wrong: it goes on from here
        else:
            return
    try:
        yield from _inflated(part, _Inflater(part.size), write, done)
    except zlib.error:
        raise LayerError(_explain(part)) from None


class _Done:
    """How far a member is, so that one inflater can take over from another.

    Attributes:
        passed: pieces of the member that were passed on.
        given: plain bytes that were given out.
    """

    def __init__(self) -> None:
        self.passed = 0
        self.given = 0


def _inflated(
    part: Deflated, inflater: _Inflater | isal.Inflater, write: Callable[[bytes], None] | None, done: _Done
) -> Iterator[bytes]:
    """Inflate a stream from its beginning, and pass on and give out what is not done yet.

    Raises:
        LayerError: the file is cut off.
        zlib.error: the stream is not as described.
    """
    size = 0
    for data in _through(part, inflater, write, done):
        size += len(data)
        if size > done.given:
            rest = data[done.given - size :]
            done.given = size
            yield rest
    if not inflater.is_complete() or inflater.unused:
        raise zlib.error


def _through(
    part: Deflated, inflater: _Inflater | isal.Inflater, write: Callable[[bytes], None] | None, done: _Done
) -> Iterator[bytes]:
    for number, raw in enumerate(_framed(part), 1):
        if number > done.passed:
            done.passed = number
            if write is not None:
                write(raw)
        if inflater.eof:
            raise zlib.error
        yield from inflater.feed(raw)
    yield from inflater.finish()


class _Quick:
    """Gives out inflaters of ISA-L once enough was inflated for it to pay, where the build has it."""

    def __init__(self) -> None:
        self._inflated = 0
        self._library: isal.Isal | None = None
        self._is_tried = False

    def inflater(self, size: int) -> isal.Inflater | None:
        """An inflater for a member of so many plain bytes; None where zlib is to be used."""
        self._inflated += size
        if self._inflated < _PATIENCE:
            return None
        if not self._is_tried:
            self._is_tried = True
            self._library = self._load()
        return self._library.inflater(size) if self._library is not None else None

    def _load(self) -> isal.Isal | None:
        path = os.environ.get("isal")
        if not path:
            return None
        try:
            import isal  # takes 2 ms, for ctypes
        except ImportError:  # a Python without ctypes
            return None
        return isal.load(path)


_quick = _Quick()


def inflate_member(source: RangeReader, chunk: Chunk, write: Callable[[bytes], None]) -> Iterator[bytes]:
    """Inflate the gzip member at a chunk's offset, in pieces, while passing the member on to `write`.

    Raises:
        LayerError: there is no member of the chunk's size.
    """
    inflater = _Inflater(chunk.size)
    try:
        for raw in _raw(source, chunk.offset, chunk.end):
            yield from inflater.feed(raw)
            write(raw[: len(raw) - len(inflater.unused)])
            if inflater.eof or inflater.is_beyond():
                break
        yield from inflater.finish()
    except zlib.error as error:
        raise LayerError(f"the gzip member at offset {chunk.offset} is damaged: {error}") from None
    if not inflater.is_complete():
        raise LayerError(f"the gzip member at offset {chunk.offset} does not hold {chunk.size} bytes")


class _Inflater:
    """A decompressor that never makes much more than one byte beyond what was announced.

    Args:
        size: the bytes announced.
        wbits: zlib's window bits; 31 is a gzip member, -15 a bare deflate stream.
    """

    def __init__(self, size: int, wbits: int = 31) -> None:
        self._size = size
        self._zlib = zlib.decompressobj(wbits)
        self.total = 0

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""
        return self._zlib.eof

    @property
    def unused(self) -> bytes:
        """What was fed beyond the member's end."""
        return self._zlib.unused_data

    def is_beyond(self) -> bool:
        """Whether more came out than was announced."""
        return self.total > self._size

    def is_complete(self) -> bool:
        """Whether the member ended and held what was announced."""
        return self._zlib.eof and self.total == self._size

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """Inflate all of `raw`, unless too much comes out."""
        while raw and not self._zlib.eof and self.total <= self._size:
            data = self._zlib.decompress(raw, self._limit())
            raw = self._zlib.unconsumed_tail
            self.total += len(data)
            if data and self.total <= self._size:
                yield data

    def finish(self) -> Iterator[bytes]:
        """Inflate what a limit held back."""
        while not self._zlib.eof and self.total <= self._size:
            data = self._zlib.decompress(b"", self._limit())
            self.total += len(data)
            if not data:
                return
            if self.total <= self._size:
                yield data

    def _limit(self) -> int:
        # One byte more than announced is enough to know that there is too much.
        return min(PIECE, self._size - self.total + 1)


def _framed(part: Deflated) -> Iterator[bytes]:
    yield _HEADER
    yield from _raw(part.source, part.offset, part.offset + part.compressed)
    yield struct.pack("<II", part.crc, part.size & 0xFFFFFFFF)


def _raw(source: RangeReader, start: int, end: int) -> Iterator[bytes]:
    while start < end:
        raw = source.read(start, min(READ, end - start))
        if not raw:
            raise LayerError("the file that holds it is cut off")
        start += len(raw)
        yield raw


def _explain(part: Deflated) -> str:
    """Say why a deflate stream was refused. Runs only then, so the usual path need not tell faults apart."""
    inflater = _Inflater(part.size, -15)
    crc = 0
    try:
        for raw in _raw(part.source, part.offset, part.offset + part.compressed):
            for data in inflater.feed(raw):
                crc = zlib.crc32(data, crc)
        for data in inflater.finish():
            crc = zlib.crc32(data, crc)
    except zlib.error:
        return "its compressed data are damaged"
    except LayerError as error:
        return str(error)
    if inflater.is_beyond():
        return f"it inflates to more than the {part.size} bytes it declares"
    if not inflater.eof:
        return "its compressed data end too early"
    if inflater.total < part.size:
        return f"it inflates to {inflater.total} bytes and declares {part.size}"
    if crc != part.crc:
        return f"its CRC-32 is {crc:08x} and it declares {part.crc:08x}"
    return "there is more after the end of its compressed data"
