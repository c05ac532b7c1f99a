"""What a lock is made for: a Python version, an architecture and a glibc, and the wheels that fit them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.models import Architecture, Base

# The glibc versions that uv has a platform name for (`uv pip compile --help`); a newer system is given the
# newest.
_UV_GLIBC = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
# The names that PEP 513, 571 and 599 gave before PEP 600 put the glibc version into the tag.
_LEGACY = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
# The oldest glibc of each architecture's manylinux platforms.
_OLDEST = {"x86_64": 5, "aarch64": 17}


@dataclass(frozen=True)
class Target:
    """The system that wheels are chosen for.

    Attributes:
        python: "3.11".
        python_full: the interpreter's own version, "3.11.2"; markers and Requires-Python are judged by it.
        architecture: the machine's.
        glibc: version of the C library, (2, 36).
        suite: name of the Debian suite, for messages.
    """

    python: str
    python_full: str
    architecture: Architecture
    glibc: tuple[int, int]
    suite: str

    @classmethod
    def of_base(cls, base: Base, architecture: Architecture) -> Target:
        """The target that a pinned Debian base makes: its packages' versions tell glibc and Python."""
        versions = {deb.package: deb.version for deb in base.debs[architecture]}
        return cls(
            python=base.python,
            python_full=_python_version(versions, base.python),
            architecture=architecture,
            glibc=_glibc_version(versions["libc6"]),
            suite=base.suite,
        )

    @property
    def uv_platform(self) -> str:
        """What uv calls the platform: `x86_64-manylinux_2_36`."""
        minor = max((known for known in _UV_GLIBC if known <= self.glibc[1]), default=_UV_GLIBC[0])
        return f"{self.architecture}-manylinux_2_{minor}"

    @property
    def environment(self) -> str:
        """A marker (PEP 508) that is true on the target."""
        return (
            "implementation_name == 'cpython' and sys_platform == 'linux' "
            f"and platform_machine == '{self.architecture}'"
        )

    def marker_environment(self) -> dict[str, str]:
        """What markers (PEP 508) are evaluated with."""
        return {
            "implementation_name": "cpython",
            "implementation_version": self.python_full,
            "os_name": "posix",
            "platform_machine": self.architecture,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": self.python_full,
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }

    def __str__(self) -> str:
        glibc = ".".join(map(str, self.glibc))
        return f"Python {self.python} on linux {self.architecture} (Debian {self.suite}, glibc {glibc})"

    def platforms(self) -> Iterator[str]:
        """Platform tags from the best fit to the worst (PEP 600 and its predecessors)."""
        for minor in range(self.glibc[1], _OLDEST[self.architecture] - 1, -1):
            yield f"manylinux_2_{minor}_{self.architecture}"
            if minor in _LEGACY:
                yield f"{_LEGACY[minor]}_{self.architecture}"
        yield f"linux_{self.architecture}"

    def rank(self, filename: str) -> tuple[int, tuple[int, str]] | None:
        """How well a wheel fits, smaller is better; None when it does not fit at all.

        Raises:
            packaging.utils.InvalidWheelFilename: the name is not a wheel's.
        """
        _, _, build, tags = parse_wheel_filename(filename)
        ranks = _ranks(self)
        fitting = [ranks[tag] for tag in tags if tag in ranks]
        if not fitting:
            return None
        # Of two wheels with equal tags the higher build number wins (binary distribution format).
        number, text = build or (-1, "")
        return min(fitting), (-number, text)


@lru_cache(maxsize=8)
def _ranks(target: Target) -> dict[Tag, int]:
    major, minor = (int(part) for part in target.python.split("."))
    platforms = list(target.platforms())
    ranks: dict[Tag, int] = {}
    for tag in cpython_tags((major, minor), platforms=platforms):
        ranks.setdefault(tag, len(ranks))
    for tag in compatible_tags((major, minor), f"cp{major}{minor}", platforms):
        ranks.setdefault(tag, len(ranks))
    return ranks


def _glibc_version(version: str) -> tuple[int, int]:
    match = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    if match is None:
        msg = f"libc6 has the version {version!r}, which names no glibc release"
        raise ValueError(msg)
    return int(match.group(1)), int(match.group(2))


def _python_version(versions: dict[str, str], python: str) -> str:
    for package in (f"libpython{python}-minimal", f"python{python}-minimal", f"python{python}"):
        match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", versions.get(package, ""))
        if match is not None and match.group(1).startswith(python + "."):
            return match.group(1)
    return f"{python}.0"
