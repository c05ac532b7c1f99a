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
    "libcrypto.so.3": "libssl3",
    "libcrypto.so.1.1": "libssl1.1",
}
# What Debian puts behind the name of a library whose interface changed under the same soname: with 64-bit times
# (trixie), and with the strings of C++11.
_CHANGES = ("", "t64", "v5")


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


def likely_packages(soname: str) -> tuple[str, ...]:
    """All names that the package of a shared library may have by Debian's policy, the likeliest first.

    A version inside the name is written with and without a hyphen before it (libgtk-3-0, libglib2.0-0), and a suffix
    tells a changed interface (libglib2.0-0t64).

    Args:
        soname: see `likely_package`.

    Returns:
        Names without repetition; none for what is no such name.
    """
    likely = likely_package(soname)
    if likely is None:
        return ()
    stems = [likely]
    match = _SONAME.fullmatch(soname)
    if soname not in _TOGETHER and match is not None and match["inside"] and match["version"]:
        stems.append(f"{match['name']}-{match['inside']}-{match['version']}".lower().replace("_", "-"))
    return tuple(f"{stem}{change}" for change in _CHANGES for stem in stems)
