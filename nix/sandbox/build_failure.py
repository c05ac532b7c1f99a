"""Says why a build failed, in the one line that its user needs, and what to do about it.

What a build prints is for its project's developers. The causes that are told apart here are those that the author of an
app can do something about: mostly a Debian package to name in `build_packages`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Debian packages with what builds ask for, by how it begins: a header's path.
_HEADERS = {
    "Eigen/": "libeigen3-dev",
    "alsa/": "libasound2-dev",
    "boost/": "libboost-dev",
    "bzlib.h": "libbz2-dev",
    "curl/": "libcurl4-openssl-dev",
    "expat.h": "libexpat1-dev",
    "ffi.h": "libffi-dev",
    "fftw3.h": "libfftw3-dev",
    "ft2build.h": "libfreetype-dev",
    "gmp.h": "libgmp-dev",
    "hdf5.h": "libhdf5-dev",
    "jpeglib.h": "libjpeg-dev",
    "lame/": "libmp3lame-dev",
    "ldap.h": "libldap-dev",
    "leveldb/": "libleveldb-dev",
    "libavcodec/": "libavcodec-dev",
    "libavformat/": "libavformat-dev",
    "libpq-fe.h": "libpq-dev",
    "libxml/": "libxml2-dev",
    "libxslt/": "libxslt1-dev",
    "lzma.h": "liblzma-dev",
    "mpfr.h": "libmpfr-dev",
    "mysql.h": "default-libmysqlclient-dev",
    "netcdf.h": "libnetcdf-dev",
    "numa.h": "libnuma-dev",
    "openssl/": "libssl-dev",
    "png.h": "libpng-dev",
    "portaudio.h": "portaudio19-dev",
    "pulse/": "libpulse-dev",
    "samplerate.h": "libsamplerate0-dev",
    "security/pam_": "libpam0g-dev",
    "snappy": "libsnappy-dev",
    "sndfile.h": "libsndfile1-dev",
    "sodium.h": "libsodium-dev",
    "sox.h": "libsox-dev",
    "sqlite3.h": "libsqlite3-dev",
    "systemd/": "libsystemd-dev",
    "tiff.h": "libtiff-dev",
    "usb.h": "libusb-1.0-0-dev",
    "uv.h": "libuv1-dev",
    "xxhash.h": "libxxhash-dev",
    "yaml.h": "libyaml-dev",
    "zlib.h": "zlib1g-dev",
    "zmq.h": "libzmq3-dev",
    "zstd.h": "libzstd-dev",
}
# By a program's name; where it is the package's too it is not here.
_PROGRAMS = {
    "aclocal": "automake",
    "autoreconf": "autoconf",
    "c++": "g++",
    "cc": "gcc",
    "clang++": "clang",
    "gfortran": "gfortran",
    "glibtoolize": "libtool",
    "libtoolize": "libtool",
    "llvm-config": "llvm-dev",
    "msgfmt": "gettext",
    "mysql_config": "default-libmysqlclient-dev",
    "ninja": "ninja-build",
    "nvcc": "nvidia-cuda-toolkit",
    "pg_config": "libpq-dev",
    "protoc": "protobuf-compiler",
    "qmake": "qtbase5-dev-tools",
    "x86_64-linux-gnu-g++": "g++",
    "x86_64-linux-gnu-gcc": "gcc",
    "aarch64-linux-gnu-g++": "g++",
    "aarch64-linux-gnu-gcc": "gcc",
    "xml2-config": "libxml2-dev",
    "xslt-config": "libxslt1-dev",
}
_NETWORK = "|".join(  # noqa: FLY002 - a line for each program's way of saying it
    (
        r"Temporary failure in name resolution",
        r"Name or service not known",
        r"Network is unreachable",
        r"getaddrinfo failed",
        r"EAI_AGAIN|ENOTFOUND",
        r"failed to lookup address information",
        r"[Cc]ould(?: not|n't) resolve host",
        r"Could not connect to server",
    )
)
_ERROR = re.compile(r"\b[Ee]rror\b|\bERROR\b|\w(?:Error|Exception)\b")
# How gcc and rustc begin the first thing that is wrong; what fails for it says so at the end.
_COMPILER = re.compile(r"^(?:\S+:\d+(?::\d+)?: (?:fatal )?error: |error\[E\d+\]: )")
_KILLED = 128 + 9
_LONGEST = 300
# A cause is told by a line; its explanation is of the line's match.
_Explain = Callable[["re.Match[str]"], str]


def explain(lines: Sequence[str], code: int) -> str:
    """Say why a build failed.

    Args:
        lines: what it printed, the last of it.
        code: its exit code; 128 and the signal's number where a signal ended it.

    Returns:
        one line without a full stop.
    """
    said = [line.strip() for line in lines if line.strip()]
    if code == _KILLED:
        return "it was ended by signal 9; memory may have run out, and the kernel's log (dmesg) tells"
    # One cause leads to others (a program that is missing, then a step that failed): the table's order counts first.
    for pattern, explained in _CAUSES:
        for line in said:
            match = pattern.search(line)
            if match:
                return explained(match)
    errors = [line for line in said if _ERROR.search(line)]
    words = next((line for line in said if _COMPILER.match(line)), None)
    words = words or (errors or said or [f"its build ended with code {code} and said nothing"])[-1]
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."


def _network(match: re.Match[str]) -> str:
    return (
        f"it tries to use the network, and a build has none ({match.string.strip()[:_LONGEST]}); what it downloads "
        "must come with its source, as a build requirement, or as a Debian package in build_packages"
    )


def _header(match: re.Match[str]) -> str:
    header = match[1]
    package = next((package for start, package in _HEADERS.items() if header.startswith(start)), None)
    return f"the header {header} is missing; {_add(package)}"


def _program(match: re.Match[str]) -> str:
    return _missing(match[1].rpartition("/")[2])


def _missing(program: str) -> str:
    return f"the program {program} is missing; {_add(_PROGRAMS.get(program, program))}"


def _library(match: re.Match[str]) -> str:
    return f"the library {match[1]} is missing; {_add(None)}"


def _module(match: re.Match[str]) -> str:
    return (
        f"it imports {match[1]}, which its pyproject.toml does not list as a build requirement; another version of it "
        "may do so, or have a wheel"
    )


def _crate(match: re.Match[str]) -> str:
    return (
        f"cargo has not got the crate {match[1]}, or not in the version it asks for; a crate is had from the package's "
        "own source (vendored), by its checksum in Cargo.lock as that was when the package was locked, or from a "
        "librust-...-dev package in build_packages, in place of the others"
    )


def _version(_: re.Match[str]) -> str:
    return (
        "its version is that of a git tag, and a build has only the files; its sdist has the version in it, so name a "
        "released version"
    )


def _read_only(match: re.Match[str]) -> str:
    return (
        f"it writes where a build may not ({match.string.strip()[:_LONGEST]}); only its own folder and /tmp can be "
        "written"
    )


def _add(package: str | None) -> str:
    if package:
        return f'add the Debian package to the app: build_packages = ["{package}"]'
    return "add the Debian package that has it to the app's build_packages"


_CAUSES: tuple[tuple[re.Pattern[str], _Explain], ...] = tuple(
    (re.compile(pattern), explained)
    for pattern, explained in (
        (r"fatal error: ([^:\s]+\.(?:h|hh|hpp|hxx)): No such file", _header),
        (r"fatal error: ([A-Z][\w/]+): No such file", _header),
        (r"command '([^']+)' failed: No such file", _program),
        (r"No such file or directory: '([\w.+-]+)'$", _program),
        (r"(?:sh|bash|dash)(?:: line)?:? \d+: ([\w.+-]+): (?:command )?not found", _program),
        (r"(?:make|ninja).*: ([\w.+-]+): (?:No such file or directory|not found)$", _program),
        (r"linker `([^`]+)` not found", _program),
        (r"(pg_config|mysql_config|pkg-config|llvm-config) (?:executable )?not found", _program),
        (r"[Cc]argo, the Rust package manager, is not installed", lambda _: _missing("cargo")),
        (r"can't find Rust compiler|[Rr]ust compiler.* not found", lambda _: _missing("rustc")),
        (r"Unknown compiler\(s\): \[\['?([\w.+-]+)'?", _program),
        (r"No CMAKE_(?:C|CXX)_COMPILER could be found", lambda _: _missing("g++")),
        (r"No package '([^']+)' found", _library),
        (r"Package '?([^\s',]+)'?,? (?:required by .* not found|was not found in the pkg-config)", _library),
        (r'Dependency "?([^"\s]+)"? not found', _library),
        (r"cannot find -l([\w.+-]+)", _library),
        (r"Could NOT find ([\w.+-]+) ", _library),
        (r"no matching package named `([^`]+)` found", _crate),
        (r"failed to get `([^`]+)` as a dependency", _crate),
        (r"failed to select a version for the requirement `([^`\s]+)", _crate),
        (
            r"unable to detect version for|setuptools-scm was unable|versioneer.*(?:no suitable tags)",
            _version,
        ),
        (_NETWORK, _network),
        (r"ModuleNotFoundError: No module named '([^']+)'", _module),
        (r"Read-only file system", _read_only),
    )
)
