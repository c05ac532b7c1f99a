"""Inflates and hashes wheels, once each: what no build of their layers can do without.

Usage: floor.py PROCESSES WHEEL...    prints as JSON the seconds, those of one core that all
processes took together, and the bytes that were hashed

Runs by the image's Python, so that zlib and OpenSSL are those that make layers. The wheels are divided among processes
as Nix divides them among its jobs, whole; the largest go first, which is the best order.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import struct
import sys
import time
import zipfile
import zlib

_READ = 256 * 1024
_PIECE = 1024 * 1024
_LOCAL_HEADER = struct.Struct("<26xHH")


def _hash(path: str) -> int:
    """Inflate and hash each file of a wheel; return the bytes."""
    total = 0
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:  # noqa: PTH123 - quicker than pathlib
        for entry in archive.infolist():
            header = os.pread(file.fileno(), _LOCAL_HEADER.size, entry.header_offset)
            at = entry.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
            end = at + entry.compress_size
            is_deflated = entry.compress_type == zipfile.ZIP_DEFLATED
            inflater = zlib.decompressobj(-15)
            digest = hashlib.sha256()
            while at < end:
                raw = os.pread(file.fileno(), min(_READ, end - at), at)
                at += len(raw)
                while raw:
                    data = inflater.decompress(raw, _PIECE) if is_deflated else raw
                    raw = inflater.unconsumed_tail
                    digest.update(data)
                    total += len(data)
            if is_deflated:
                data = inflater.flush()
                digest.update(data)
                total += len(data)
    return total


def main(words: list[str]) -> None:
    processes, *wheels = words
    wheels.sort(key=os.path.getsize, reverse=True)
    with multiprocessing.Pool(int(processes)) as pool:
        started = time.monotonic()
        size = sum(pool.imap_unordered(_hash, wheels))
        seconds = time.monotonic() - started
        pool.close()
        pool.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"seconds": seconds, "work": used.ru_utime + used.ru_stime, "size": size}))


if __name__ == "__main__":
    main(sys.argv[1:])
