r"""Writes a container layer as an eStargz blob, in one pass and in bounded memory.

The blob is a row of gzip members. Unpacked as a whole it is a tar like any other, so every OCI tool reads it.
Each file's content stands in members of its own, and a table of contents (TOC) at the end says where, so that
containerd's stargz-snapshotter can fetch and verify single files. The format is docs/estargz.md of
containerd/stargz-snapshotter.

Since a gzip member is a deflate stream with a small frame around it, a deflate stream out of a zip can be put
into a layer as it is (`LayerWriter.add_spliced`). It is inflated once all the same, for the digests and to
prove that what the zip says of it is true.

    with LayerWriter(f"{out}/blob") as layer:
        layer.add_directory("etc")
        layer.add_file("etc/hostname", b"app\n")
        layer.add_symlink("bin", "usr/bin")
    write_layer_json(out, layer.info, [])

Names are relative, with neither a leading "./" nor a leading or trailing "/". Directories that lead to an
entry are added by themselves, once each (0755, root). Every entry's time is tar_headers.MTIME.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import threading
import zlib
from collections import deque
from contextlib import suppress
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from gzip_members import (
    PIECE,
    READ,
    Chunk,
    Deflated,
    LayerError,
    Member,
    RangeReader,
    compress,
    compress_headers,
    inflate,
    inflate_member,
    inflate_small,
)
from tar_headers import DIRECTORY, FILE, HARDLINK, SYMLINK, Owner, tar_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future
    from os import PathLike
    from types import TracebackType

    StrPath = str | PathLike[str]

__all__ = [
    "Chunk",
    "Deflated",
    "FileEntry",
    "LayerError",
    "LayerInfo",
    "LayerWriter",
    "RangeReader",
    "write_layer_json",
]

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
TOC_NAME = "stargz.index.json"
LANDMARK = ".no.prefetch.landmark"

_RESERVED = (TOC_NAME, LANDMARK, ".prefetch.landmark")
_MODTIME = "1980-01-02T00:00:00Z"
_FOOTER_SIZE = 51

_SMALL = (
    64 * 1024
)  # a file up to this size is hashed on the spot: another thread would cost more than it saves
_POOLED = 16 * 1024 * 1024  # a file up to this size may be held in memory while a thread compresses it
_POOLED_AT_ONCE = 48 * 1024 * 1024
_PENDING = 4096

# What no layer can carry safely. `.wh.` marks a deletion in an OCI layer, wherever in it the name stands.
_BAD_NAME = re.compile(r"^$|^/|/$|//|(?:^|/)\.{1,2}(?:/|$)|(?:^|/)\.wh\.|[\0\ud800-\udfff]")
_BAD_TARGET = re.compile("^$|[\0\ud800-\udfff]")


class LayerInfo(NamedTuple):
    """What is known of a finished layer.

    Attributes:
        digest: `sha256:...` of the blob.
        size: bytes of the blob.
        diff_id: `sha256:...` of the tar inside.
        toc_digest: `sha256:...` of the TOC's JSON.
        uncompressed_size: bytes of the tar inside.
        files: files and links; directories and the format's own entries do not count.
    """

    digest: str
    size: int
    diff_id: str
    toc_digest: str
    uncompressed_size: int
    files: int


class FileEntry:
    """A regular file in the layer, as the `add_...` functions return it.

    Attributes:
        name: full name in the layer.
        size: bytes.
        owner: mode and owner.
        digest: sha256 of the content: hex, or a hash object that a thread may still be feeding.
        chunks: of each chunk the offset in the blob, that in the file, the size, and the digest likewise.
    """

    __slots__ = ("chunks", "digest", "name", "owner", "size")

    def __init__(self, name: str, size: int, owner: Owner) -> None:
        self.name = name
        self.size = size
        self.owner = owner
        self.digest: Any = None
        self.chunks: list[tuple[int, int, int, Any]] = []

    def hexdigest(self) -> str:
        """The content's sha256; right only after `LayerWriter.sync` or `close`."""
        return _hex(self.digest)


class LayerWriter:
    """Writes one layer. As a context manager it closes on leaving, or removes the file after an error.

    Args:
        path: the blob. Written under a temporary name beside it, renamed when it is complete.
        chunk_size: files larger than this (bytes) are compressed in chunks of this size, which a lazy pull
            can fetch one by one. None keeps every file in one piece and compresses nothing spliced again.
        level: zlib level of `add_file`, 0 to 9.
        threads: how many files `add_file` may compress at a time; the blob does not depend on it.

    Raises:
        OSError: the file cannot be created.

    Attributes:
        info: what `close` returned.
    """

    def __init__(
        self, path: StrPath, *, chunk_size: int | None = None, level: int = 6, threads: int = 1
    ) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ValueError("chunk_size must be at least 1")
        self.info: LayerInfo | None = None
        self._chunk_size = chunk_size
        self._level = level
        self._names: dict[str, Owner | None] = {}  # an Owner for directories, None for all else
        self._toc: list[FileEntry | str] = []
        self._files = 0
        self._head: list[bytes] = []  # tar bytes that go into the next member of headers
        self._pool = None
        if threads > 1:
            from concurrent.futures import ThreadPoolExecutor  # takes 10 ms to import

            self._pool = ThreadPoolExecutor(threads)
        self._pending: deque[tuple[Callable[..., None], Future[Member] | None, int]] = deque()
        self._pending_bytes = 0
        self._output = _Output(os.fspath(path))
        self._put_member(FileEntry(LANDMARK, 1, Owner(0o644, 0, 0)), b"\x0f", compress(b"\x0f", 6))

    def __enter__(self) -> LayerWriter:  # noqa: PYI034 - Self is in the standard library from 3.11 on
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def add_directory(self, name: str, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Add a directory; adding it again with the same mode and owner does nothing.

        Args:
            name: its name, without a trailing "/".
            mode: permission bits.
            uid: owner.
            gid: group.

        Raises:
            LayerError: the name is bad or taken, if only by a directory with another mode or owner: one that
                is not 0755 and root's must be added before what is in it.
        """
        owner = Owner(mode, uid, gid)
        if name in self._names:
            if self._names[name] == owner:
                return
            raise LayerError(f"{name!r} is in the layer already, with another type, mode or owner")
        self._claim(name)
        self._names[name] = owner
        self._later(lambda: self._put_special(name + "/", "dir", DIRECTORY, "", owner))

    def add_file(
        self, name: str, source: bytes | StrPath, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> FileEntry:
        """Compress a regular file into the layer.

        Args:
            name: its name.
            source: the content, or the file that holds it.
            mode: permission bits.
            uid: owner.
            gid: group.

        Raises:
            LayerError: the name is bad or taken, or the file changed while it was read.
            OSError: the file cannot be read, or the layer not be written.
        """
        if isinstance(source, bytes):
            data = source
        else:
            size = os.stat(source).st_size
            if size > _POOLED:
                return self.add_stream(name, _pieces_of(source), size, mode=mode, uid=uid, gid=gid)
            with open(source, "rb") as file:
                data = file.read()
        if self._is_chunked(len(data)):
            return self.add_stream(name, [data], len(data), mode=mode, uid=uid, gid=gid)
        entry = self._new_file(name, len(data), Owner(mode, uid, gid))
        if self._pool is None or not data:
            member = compress(data, self._level)
            self._later(lambda: self._put_member(entry, data, member))
        else:
            future = self._pool.submit(compress, data, self._level)
            self._later(lambda member: self._put_member(entry, data, member), future, len(data))
        return entry

    def add_stream(
        self,
        name: str,
        pieces: Iterable[bytes],
        size: int,
        *,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
        level: int | None = None,
        also: Sequence[Any] = (),
    ) -> FileEntry:
        """Compress a regular file into the layer, given piece by piece.

        Args:
            name: its name.
            pieces: the content in order.
            size: bytes of the content, which a tar header needs beforehand.
            mode: permission bits.
            uid: owner.
            gid: group.
            level: zlib level, by default the writer's; 0 stores.
            also: further hash objects to feed with the content; they are right after `sync`.

        Raises:
            LayerError: the name is bad or taken, or the content has another size.
            OSError: the layer cannot be written.
        """
        entry = self._new_file(name, size, Owner(mode, uid, gid))
        self._drain()
        self._put_stream(entry, pieces, self._level if level is None else level, also)
        return entry

    def add_spliced(
        self, name: str, part: Deflated, mode: int = 0o644, *, also: Sequence[Any] = ()
    ) -> FileEntry:
        """Add a regular file of root's whose content is deflated already, without deflating it again.

        It is inflated once for the digests, exactly as a reader of the layer will do it: as a gzip member
        whose trailer is made of the given CRC and size. It is never inflated beyond the given size.

        Args:
            name: its name.
            part: the deflate stream and what is said of it.
            mode: permission bits.
            also: further hash objects to feed with the content; they are right after `sync`.

        Raises:
            LayerError: the name is bad or taken; the stream is damaged, ends early or late, or has another
                size or CRC than was said.
            OSError: the stream cannot be read, or the layer not be written.
        """
        size = part.size
        entry = self._new_file(name, size, Owner(mode, 0, 0))
        self._drain()
        if self._is_chunked(size):
            self._put_stream(entry, inflate(part, None), self._level, also)
        elif size <= _SMALL and part.compressed <= READ:
            member, data = inflate_small(part)
            for other in also:
                other.update(data)
            self._put_member(entry, data, Member(member, hashlib.sha256(data).hexdigest()))
        else:
            self._put_pieces(entry, inflate(part, self._output.blob), also)
        return entry

    def add_members(
        self, name: str, source: RangeReader, chunks: Sequence[Chunk], digest: str, owner: Owner
    ) -> FileEntry:
        """Add a regular file out of another eStargz blob, without deflating it again.

        Args:
            name: its name.
            source: the other blob.
            chunks: the file's chunks in order, as the other TOC tells them; none for an empty file.
            digest: `sha256:...` of the content. It is believed; the members' sizes and CRCs are checked.
            owner: mode and owner.

        Raises:
            LayerError: the name is bad or taken, or the blob has something else at a chunk's offset.
            OSError: the blob cannot be read, or the layer not be written.
        """
        entry = self._new_file(name, sum(chunk.size for chunk in chunks), owner)
        self._drain()
        entry.digest = digest.partition(":")[2]
        self._start_payload(entry)
        position = 0
        for chunk in chunks:
            entry.chunks.append((self._output.offset, position, chunk.size, chunk.digest.partition(":")[2]))
            for data in inflate_member(source, chunk, self._output.blob):
                self._output.tar(data)
            position += chunk.size
        self._pad(entry.size)
        return entry

    def add_symlink(self, name: str, target: str, uid: int = 0, gid: int = 0) -> None:
        """Add a symbolic link (mode 0777).

        Args:
            name: its name.
            target: what it points to, any path.
            uid: owner.
            gid: group.

        Raises:
            LayerError: the name is bad or taken, or the target is empty, has a NUL or is not Unicode.
        """
        if _BAD_TARGET.search(target):
            raise LayerError(f"the link {name!r} has a target that a layer cannot hold: {target!r}")
        self._claim(name)
        self._files += 1
        self._later(lambda: self._put_special(name, "symlink", SYMLINK, target, Owner(0o777, uid, gid)))

    def add_hardlink(self, name: str, target: str) -> None:
        """Add another name for a regular file or symbolic link that is in this layer already.

        Args:
            name: the new name.
            target: the other's name in the layer.

        Raises:
            LayerError: the name is bad or taken, or the target is not a file of this layer.
        """
        if target not in self._names or self._names[target] is not None:
            raise LayerError(f"the hard link {name!r} points to {target!r}, which is no file in the layer")
        self._claim(name)
        self._files += 1
        self._later(lambda: self._put_special(name, "hardlink", HARDLINK, target, Owner(0o644, 0, 0)))

    def sync(self) -> None:
        """Wait until all that was added is hashed and written, so that `FileEntry.hexdigest` is right.

        Raises:
            OSError: the layer cannot be written.
        """
        self._drain()
        self._output.sync()

    def close(self) -> LayerInfo:
        """Write the table of contents and the footer, and put the blob in its place.

        Returns:
            What is known of the layer; also the attribute `info`.

        Raises:
            OSError: the blob cannot be written; nothing is left of it.
        """
        if self.info is not None:
            return self.info
        try:
            self.sync()
            self._flush_head()
            toc_offset = self._output.offset
            lines = [entry if isinstance(entry, str) else _toc_file(entry) for entry in self._toc]
            toc = ('{"version":1,"entries":[\n' + ",\n".join(lines) + "\n]}").encode("ascii")
            header = tar_header(TOC_NAME, FILE, len(toc), "", Owner(0o444, 0, 0))
            tail = b"".join([header, toc, bytes(-len(toc) % 512 + 1024)])
            self._output.tar(tail)
            self._output.blob(compress(tail, 6).data)
            self._output.blob(_footer(toc_offset))
            output = self._output.close()
        except BaseException:
            self.abort()
            raise
        if self._pool is not None:
            self._pool.shutdown()
        self.info = LayerInfo(
            digest=output.digest,
            size=output.size,
            diff_id=output.diff_id,
            toc_digest="sha256:" + hashlib.sha256(toc).hexdigest(),
            uncompressed_size=output.uncompressed_size,
            files=self._files,
        )
        return self.info

    def abort(self) -> None:
        """Give up: stop the threads and remove what was written."""
        self._pending.clear()
        if self._pool is not None:
            self._pool.shutdown()
        self._output.abort()

    # Names

    def _claim(self, name: str) -> None:
        """Take a name for a new entry and add the directories that lead to it."""
        if _BAD_NAME.search(name) or name in _RESERVED:
            raise LayerError(f"a layer cannot hold an entry named {name!r}")
        if name in self._names:
            raise LayerError(f"two entries are named {name!r}")
        parent = name.rpartition("/")[0]
        if parent and self._names.get(parent) is None:
            if parent in self._names:
                raise LayerError(f"{name!r} is inside {parent!r}, which is not a directory")
            self.add_directory(parent)
        self._names[name] = None

    def _new_file(self, name: str, size: int, owner: Owner) -> FileEntry:
        self._claim(name)
        self._files += 1
        return FileEntry(name, size, owner)

    def _is_chunked(self, size: int) -> bool:
        return self._chunk_size is not None and size > self._chunk_size

    # Entries are written in the order they were added, also while threads are still compressing some of them.

    def _later(self, write: Callable[..., None], future: Future[Member] | None = None, size: int = 0) -> None:
        """Write now, or after everything that is still waiting for a thread."""
        if future is None and not self._pending:
            write()
            return
        self._pending.append((write, future, size))
        self._pending_bytes += size
        while self._pending_bytes > _POOLED_AT_ONCE or len(self._pending) > _PENDING:
            self._write_first_pending()

    def _write_first_pending(self) -> None:
        write, future, size = self._pending.popleft()
        self._pending_bytes -= size
        if future is None:
            write()
        else:
            write(future.result())

    def _drain(self) -> None:
        while self._pending:
            self._write_first_pending()

    # What one entry consists of

    def _put_special(self, name: str, kind: str, flag: bytes, target: str, owner: Owner) -> None:
        """Write an entry without content."""
        self._head.append(tar_header(name, flag, 0, target, owner))
        link = f',"linkName":{quote(target)}' if target else ""
        self._toc.append(f'{{"name":{quote(name)},"type":"{kind}",{_toc_owner(owner)}{link}}}')

    def _put_member(self, entry: FileEntry, data: bytes, member: Member) -> None:
        """Write a file whose member is made."""
        offset = self._start_payload(entry)
        entry.digest = member.digest
        if data:
            self._output.tar(data)
            self._output.blob(member.data)
            entry.chunks.append((offset, 0, entry.size, member.digest))
            self._pad(entry.size)

    def _put_stream(self, entry: FileEntry, pieces: Iterable[bytes], level: int, also: Sequence[Any]) -> None:
        """Compress and write a file, in chunks if it is larger than `chunk_size`."""
        if not self._is_chunked(entry.size):
            self._put_pieces(entry, self._compressing(pieces, level), also)
            return
        assert self._chunk_size is not None
        self._start_payload(entry)
        digest = hashlib.sha256()
        position = 0
        for chunk in _rechunk(pieces, self._chunk_size):
            member = compress(chunk, level)
            entry.chunks.append((self._output.offset, position, len(chunk), member.digest))
            self._output.blob(member.data)
            self._output.tar(chunk, (digest.update, *(other.update for other in also)))
            position += len(chunk)
        self._end_payload(entry, position, digest)

    def _compressing(self, pieces: Iterable[bytes], level: int) -> Iterator[bytes]:
        """Pass pieces on and write them, compressed, as one gzip member."""
        compressor = None
        for piece in pieces:
            if not piece:
                continue
            if compressor is None:
                compressor = zlib.compressobj(level, zlib.DEFLATED, 31)
            self._output.blob(compressor.compress(piece))
            yield piece
        if compressor is not None:
            self._output.blob(compressor.flush())

    def _put_pieces(self, entry: FileEntry, pieces: Iterable[bytes], also: Sequence[Any]) -> None:
        """Write a file whose one member is written while its pieces are made."""
        offset = self._start_payload(entry)
        digest = hashlib.sha256()
        consumers = (digest.update, *(other.update for other in also))
        position = 0
        for piece in pieces:
            position += len(piece)
            if position > entry.size:
                break
            self._output.tar(piece, consumers)
        if entry.size:
            entry.chunks.append((offset, 0, entry.size, digest))
        self._end_payload(entry, position, digest)

    def _start_payload(self, entry: FileEntry) -> int:
        """Write a file's tar header; content, if any, begins at the offset in the blob that is returned."""
        self._toc.append(entry)
        self._head.append(tar_header(entry.name, FILE, entry.size, "", entry.owner))
        if entry.size:
            self._flush_head()
        return self._output.offset

    def _end_payload(self, entry: FileEntry, size: int, digest: Any) -> None:  # noqa: ANN401 - a hash object
        if size != entry.size:
            raise LayerError(f"{entry.name!r} should have {entry.size} bytes and has at least {size}")
        entry.digest = digest
        self._pad(size)

    def _pad(self, size: int) -> None:
        if size % 512:
            self._head.append(bytes(-size % 512))

    def _flush_head(self) -> None:
        """Write the headers that have gathered as a gzip member."""
        if self._head:
            data = b"".join(self._head)
            self._head.clear()
            self._output.tar(data)
            self._output.blob(compress_headers(data))


def write_layer_json(
    out: StrPath,
    info: LayerInfo,
    contents: Sequence[dict[str, str]],
    **facts: Any,  # noqa: ANN401 - whatever JSON can hold
) -> None:
    """Write what is known of a layer beside its blob, as `layer.json`.

    Args:
        out: the layer's folder.
        info: what `LayerWriter.close` returned.
        contents: what the layer holds, in order, each with at least "name" and "version".
        facts: further keys.
    """
    text = json.dumps(
        {
            "mediaType": MEDIA_TYPE,
            "digest": info.digest,
            "size": info.size,
            "diff_id": info.diff_id,
            "annotations": {
                "containerd.io/snapshot/stargz/toc.digest": info.toc_digest,
                "io.containers.estargz.uncompressed-size": str(info.uncompressed_size),
            },
            "uncompressed_size": info.uncompressed_size,
            "files": info.files,
            "contents": list(contents),
            **facts,
        },
        indent=1,
    )
    path = os.path.join(out, "layer.json")
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(text + "\n")
    os.replace(path + ".part", path)


class _OutputInfo(NamedTuple):
    digest: str
    size: int
    diff_id: str
    uncompressed_size: int


class _Output:
    """The two streams of a layer, blob and tar: gathers small pieces, and hashes and writes in a thread.

    Args:
        path: the blob.
    """

    def __init__(self, path: str) -> None:
        self.offset = 0
        """Bytes of the blob so far, what is still buffered included."""
        self._path = path
        self._temporary = path + ".part"
        self._file = open(self._temporary, "wb", buffering=0)  # noqa: SIM115 - closed by close and abort
        self._worker = _Worker()
        self._blob_hash = hashlib.sha256()
        self._blob_pieces: list[bytes] = []
        self._blob_gathered = 0
        self._tar_hash = hashlib.sha256()
        self._tar_pieces: list[bytes] = []
        self._tar_gathered = 0
        self._tar_size = 0

    def blob(self, data: bytes) -> None:
        """Append to the blob."""
        size = len(data)
        self.offset += size
        self._blob_gathered += size
        self._blob_pieces.append(data)
        if self._blob_gathered >= PIECE:
            self._flush_blob()

    def tar(self, data: bytes, consumers: tuple[Callable[[bytes], object], ...] = ()) -> None:
        """Append to the tar that the blob inflates to, and hand the data to further consumers."""
        size = len(data)
        self._tar_size += size
        if consumers or size > _SMALL:
            self._flush_tar()
            self._worker.put(data, (self._tar_hash.update, *consumers))
            return
        self._tar_gathered += size
        self._tar_pieces.append(data)
        if self._tar_gathered >= PIECE:
            self._flush_tar()

    def sync(self) -> None:
        """Wait until everything is hashed and written."""
        self._flush_tar()
        self._flush_blob()
        self._worker.wait()

    def close(self) -> _OutputInfo:
        """Finish the file and put it in its place."""
        self.sync()
        self._worker.stop()
        self._file.close()
        os.replace(self._temporary, self._path)
        return _OutputInfo(
            "sha256:" + self._blob_hash.hexdigest(),
            self.offset,
            "sha256:" + self._tar_hash.hexdigest(),
            self._tar_size,
        )

    def abort(self) -> None:
        """Remove the file."""
        self._worker.abort()
        self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self._temporary)

    def _flush_blob(self) -> None:
        if self._blob_pieces:
            self._worker.put(b"".join(self._blob_pieces), (self._blob_hash.update, self._write))
            self._blob_pieces.clear()
            self._blob_gathered = 0

    def _flush_tar(self) -> None:
        if self._tar_pieces:
            self._worker.put(b"".join(self._tar_pieces), (self._tar_hash.update,))
            self._tar_pieces.clear()
            self._tar_gathered = 0

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


class _Worker(threading.Thread):
    """Hands data to consumers in order, in a thread: zlib, hashlib and write let others run."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        # The bound keeps memory small when inflating is faster than hashing and writing.
        self._queue: queue.Queue[tuple[bytes, tuple[Callable[[bytes], object], ...]] | None] = queue.Queue(12)
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        while True:
            item = self._queue.get()
            try:
                if item is None:
                    return
                if self._error is None:
                    data, consumers = item
                    for consume in consumers:
                        consume(data)
            except BaseException as error:  # noqa: BLE001 - raised in the thread that called
                self._error = error
            finally:
                self._queue.task_done()

    def put(self, data: bytes, consumers: tuple[Callable[[bytes], object], ...]) -> None:
        if self._error is not None:
            raise self._error
        self._queue.put((data, consumers))

    def wait(self) -> None:
        self._queue.join()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self._queue.put(None)
        self.join()

    def abort(self) -> None:
        if self.is_alive():
            self._error = self._error or LayerError("the layer was given up")
            self.stop()


def _hex(digest: Any) -> str:  # noqa: ANN401 - a string or any of hashlib's objects
    return digest if isinstance(digest, str) else cast("str", digest.hexdigest())


def _toc_owner(owner: Owner) -> str:
    ids = (f',"uid":{owner.uid}' if owner.uid else "") + (f',"gid":{owner.gid}' if owner.gid else "")
    return f'"modtime":"{_MODTIME}","mode":{owner.mode}{ids}'


def _toc_file(entry: FileEntry) -> str:
    """One file's TOC entries: the file with its first chunk, then its further chunks."""
    name = quote(entry.name)
    line = f'{{"name":{name},"type":"reg",{_toc_owner(entry.owner)},"digest":"sha256:{_hex(entry.digest)}"'
    if not entry.chunks:
        return line + "}"
    offset, _, size, digest = entry.chunks[0]
    sized = f',"chunkSize":{size}' if len(entry.chunks) > 1 else ""
    line += f',"size":{entry.size},"offset":{offset}{sized},"chunkDigest":"sha256:{_hex(digest)}"}}'
    lines = [line]
    for offset, position, size, digest in entry.chunks[1:]:
        place = f'"offset":{offset},"chunkOffset":{position},"chunkSize":{size}'
        lines.append(f'{{"name":{name},"type":"chunk",{place},"chunkDigest":"sha256:{_hex(digest)}"}}')
    return ",\n".join(lines)


def _footer(toc_offset: int) -> bytes:
    """The last 51 bytes: an empty gzip member whose extra field says where the TOC's member begins."""
    extra = b"SG\x16\x00%016xSTARGZ" % toc_offset
    footer = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x1a\x00" + extra + b"\x01\x00\x00\xff\xff" + bytes(8)
    assert len(footer) == _FOOTER_SIZE
    return footer


def _pieces_of(path: StrPath) -> Iterator[bytes]:
    with open(path, "rb", buffering=0) as file:
        while True:
            piece = file.read(PIECE)
            if not piece:
                return
            yield piece


def _rechunk(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Cut a row of pieces anew: into pieces of exactly `size`, and what is left."""
    parts: list[bytes] = []
    have = 0
    for piece in pieces:
        view = memoryview(piece)
        while view:
            part = bytes(view[: size - have])
            view = view[len(part) :]
            parts.append(part)
            have += len(part)
            if have == size:
                yield b"".join(parts)
                parts, have = [], 0
    if have:
        yield b"".join(parts)
