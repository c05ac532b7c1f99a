"""Reads and writes locks: `pylock.<app>.toml`, a standard lock file (PEP 751).

The standard part is what uv and pip install from: one wheel or one source for each package, since a lock is for one
Python on one platform. `[tool.builder]` has what the standard has no place for: the pinned Debian base, how packages
are built from source, the declaration the lock was made for, and the digest of the image where that is recorded.
"""

from builder.lock.declared import Declared, declared
from builder.lock.file import FORMAT, LockFile, lock_path
from builder.lock.read import read_lock
from builder.lock.recorded import Origin, Recorded, RecordedLayer
from builder.lock.write import dumps, lock_digest, write_lock

__all__ = [
    "FORMAT",
    "Declared",
    "LockFile",
    "Origin",
    "Recorded",
    "RecordedLayer",
    "declared",
    "dumps",
    "lock_digest",
    "lock_path",
    "read_lock",
    "write_lock",
]
