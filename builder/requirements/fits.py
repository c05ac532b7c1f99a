"""Says why a wheel that a requirement names by URL or path cannot be installed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

from builder.errors import ResolveError

if TYPE_CHECKING:
    from collections.abc import Collection

    from packaging.tags import Tag

    from builder.requirements.model import Requirement
    from builder.tags import Target

_SYSTEMS = {"win": "Windows", "macosx": "macOS", "ios": "iOS", "android": "Android"}
_LEGACY_GLIBC = {"manylinux2014": (2, 17), "manylinux2010": (2, 12), "manylinux1": (2, 5)}


def check_wheel_fits(requirement: Requirement, target: Target) -> None:
    """See that a wheel named by URL or path can be installed on the target.

    What is no such wheel, or is left out by its marker, is not looked at.

    Args:
        requirement: what the app asks for.
        target: the system the app is built for.

    Raises:
        ResolveError: the wheel is for another Python, another platform, or a newer glibc; the message says
            which, and where it was written.
    """
    if requirement.filename is None or requirement.source is not None:
        return
    if requirement.marker and not Marker(requirement.marker).evaluate(target.marker_environment()):
        return
    if target.rank(requirement.filename) is not None:
        return
    tags = parse_wheel_filename(requirement.filename)[3]
    reason, hint = _why(tags, target)
    raise ResolveError(
        f"{requirement.where}: the wheel {requirement.filename} {reason}; the app runs on {target}", hint=hint
    )


def _why(tags: Collection[Tag], target: Target) -> tuple[str, str]:
    """What keeps a wheel from fitting, and what to do."""
    tag = f"cp{target.python.replace('.', '')}"
    other = f"Name the wheel for Python {target.python} ({tag}) on linux {target.architecture}"
    platforms = {found.platform for found in tags}
    fitting = {*target.platforms(), "any"}
    if not platforms & fitting:
        glibc = [version for name in platforms if (version := _glibc(name, target.architecture))]
        if glibc:
            needed, has = (".".join(map(str, version)) for version in (min(glibc), target.glibc))
            return (
                f"needs glibc {needed}, and Debian {target.suite} has {has}",
                "Name a wheel for an older glibc, or choose a newer python_version: its Debian has a newer glibc.",
            )
        return f"is for {' and '.join(sorted({_system(name) for name in platforms}))}", f"{other}."
    pythons = sorted({_python(found) for found in tags if found.platform in fitting})
    return (
        f"is for {' and '.join(pythons)}, not for Python {target.python}",
        f"{other}, or set python_version to what the wheel is for.",
    )


def _glibc(platform: str, architecture: str) -> tuple[int, int] | None:
    """The glibc that a platform tag of this architecture asks for."""
    name = platform.removesuffix(f"_{architecture}")
    if name == platform:
        return None
    if name in _LEGACY_GLIBC:
        return _LEGACY_GLIBC[name]
    match = re.fullmatch(r"manylinux_(\d+)_(\d+)", name)
    return (int(match.group(1)), int(match.group(2))) if match else None


def _system(platform: str) -> str:
    """A platform tag in words."""
    for prefix, name in _SYSTEMS.items():
        if platform.startswith(prefix):
            return f"{name} ({platform})"
    if platform.startswith("musllinux"):
        return f"musl libc, as in Alpine Linux ({platform})"
    return f"another platform ({platform})"


def _python(tag: Tag) -> str:
    """The Python that a tag is for, in words."""
    match = re.fullmatch(r"(cp|pp|py|graalpy)(\d)(\d*)(?:_\d+)?", tag.interpreter)
    if match is None:
        return tag.interpreter
    kind, major, minor = match.groups()
    version = f"{major}.{minor}" if minor else major
    name = {"cp": "CPython", "pp": "PyPy", "py": "Python", "graalpy": "GraalPy"}[kind]
    if tag.abi == "abi3":
        version += " and later"
    elif re.fullmatch(r"cp\d+t", tag.abi):
        version += " without the global interpreter lock"
    return f"{name} {version} ({tag.interpreter}-{tag.abi})"
