"""Which Debian package has a shared library, by its soname."""

from __future__ import annotations

import re

_SONAME = re.compile(r"(?P<name>lib[\w.+-]+?)(?:-(?P<inside>\d[\w.]*))?\.so(?:\.(?P<version>\d[\w.]*))?")

# Libraries that lie in the package of another one.
_TOGETHER = {
    "libgio-2.0.so.0": "libglib2.0-0",
    "libgmodule-2.0.so.0": "libglib2.0-0",
    "libgobject-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
}


def likely_package(soname: str) -> str | None:
    """The name that the package of a shared library has by Debian's policy (section 8.1).

    It is a convention, which some packages break: what is in the package proves it.

    Args:
        soname: "libGL.so.1", "libglib-2.0.so.0", "libfoo-1.2.so".

    Returns:
        "libgl1", "libglib2.0-0", "libfoo1.2"; None for what is no such name.
    """
    if soname in _TOGETHER:
        return _TOGETHER[soname]
    match = _SONAME.fullmatch(soname)
    if match is None:
        return None
    name = (match["name"] + (match["inside"] or "")).lower().replace("_", "-")
    version = (match["version"] or "").lower()
    # A hyphen keeps apart digits that would run together.
    return f"{name}-{version}" if version and name[-1].isdigit() else f"{name}{version}"
