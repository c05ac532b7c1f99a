"""URLs in requirements, and what stands behind their `#`: hashes, `egg` and `subdirectory`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from builder.errors import DeclarationError

if TYPE_CHECKING:
    from urllib.parse import SplitResult

# Hexadecimal digits by algorithm. Old pages of links have those that nobody should use any more.
_DIGITS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
#: The algorithms that pip's --hash takes.
STRONG = ("sha256", "sha384", "sha512")
_EGG = re.compile(r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[(?P<extras>[^\]]*)\])?")
_HASH_HINT = "Copy the whole hash, or leave it out: the lock then pins the file that is there."


@dataclass(frozen=True)
class Fragment:
    """What a fragment says.

    Attributes:
        name: normalized, from `egg`, or None.
        extras: as written behind that name, or "".
        subdirectory: the project's folder, or None.
        hashes: as `algorithm:hex`.
    """

    name: str | None = None
    extras: str = ""
    subdirectory: str | None = None
    hashes: tuple[str, ...] = ()


def split_url(url: str, shown: str, where: str) -> SplitResult:
    """The parts of a URL, each of which can be asked for.

    Args:
        url: the URL.
        shown: the requirement or the option's value, for messages.
        where: its place.

    Raises:
        DeclarationError: it does not parse; what of it could be a credential is not in the message.
    """
    try:
        parts = urlsplit(url)
        valid = parts.port is None or parts.port > 0
    except ValueError:
        valid = False
    if not valid:
        raise DeclarationError(
            f"{where}: {shown!r} is no URL",
            hint="A host may be followed by a colon and a port's number. In a user name or a password special "
            "characters are percent-encoded: : as %3A, / as %2F, @ as %40.",
        )
    return parts


def read_fragment(text: str, shown: str, where: str) -> Fragment:
    """Read a URL's fragment.

    Args:
        text: without the `#`; `&` separates its parts.
        shown: the requirement, for messages.
        where: its place.

    Raises:
        DeclarationError: a part of it is unknown or malformed.
    """
    name, extras, subdirectory, hashes = None, "", None, []
    for part in filter(None, text.split("&")):
        key, _, value = part.partition("=")
        value = unquote(value)
        if key in _DIGITS:
            hashes.append(checked_hash(key, value, shown, where))
        elif key == "subdirectory":
            subdirectory = _subdirectory(value, shown, where)
        elif key == "egg" and (egg := _EGG.fullmatch(value)):
            name, extras = canonicalize_name(egg["name"]), egg["extras"] or ""
        elif key == "egg":
            raise DeclarationError(
                f"{where}: {shown!r}: egg={value} is no package's name",
                hint="Write the name before the URL: name @ URL",
            )
        else:
            raise DeclarationError(
                f"{where}: {shown!r}: {key!r} behind the # is not understood",
                hint=f"There may stand egg=NAME, subdirectory=FOLDER, and a hash: {', '.join(_DIGITS)}.",
            )
    return Fragment(name, extras, subdirectory, tuple(sorted(set(hashes))))


def checked_hash(algorithm: str, digest: str, shown: str, where: str) -> str:
    """A hash as `algorithm:hex`, in lower case.

    Raises:
        DeclarationError: it is none of that algorithm.
    """
    digits = _DIGITS[algorithm]
    if not re.fullmatch(rf"[0-9a-fA-F]{{{digits}}}", digest):
        raise DeclarationError(
            f"{where}: {shown!r}: what follows {algorithm} is no hash, which has {digits} hexadecimal digits",
            hint=_HASH_HINT,
        )
    return f"{algorithm}:{digest.lower()}"


def option_hash(value: str, where: str) -> str:
    """The value of a `--hash` option, checked.

    Raises:
        DeclarationError: it is no hash, or one of an algorithm that is too weak (pip: "Hash-checking Mode").
    """
    algorithm, colon, digest = value.partition(":")
    if not colon or algorithm not in STRONG:
        raise DeclarationError(
            f"{where}: --hash is an algorithm and a hash, as in sha256:1b0e..., not {value!r}",
            hint=f"The algorithm is one of {', '.join(STRONG)}.",
        )
    return checked_hash(algorithm, digest, f"--hash={value}", where)


def _subdirectory(text: str, shown: str, where: str) -> str:
    parts = text.split("/")
    if not text or text.startswith("/") or ".." in parts or re.search(r"[\x00-\x1f\\]", text):
        raise DeclarationError(
            f"{where}: {shown!r}: the subdirectory {text!r} is no folder inside of the source",
            hint="Name it relative to the source's top folder: #subdirectory=python/package",
        )
    return "/".join(part for part in parts if part not in ("", ".")) or "."
