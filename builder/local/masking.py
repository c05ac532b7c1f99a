"""Takes credentials out of the copies of files that come along.

App files are written with credentials in their requirements, and an app file is in its image. There a requirement has
no use any more: the copy says `***` in the credential's place.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.redact import MASK, SHORTEST_SECRET, spellings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_CHUNK = 1 << 20
# A file above this is no source: it is looked through, and not rewritten.
_LARGEST = 64 << 20
# What is shorter, or an ordinary word, stands in a file for many reasons: it is masked within URLs alone.
_SHORTEST = 8
_WORD = re.compile(r"[a-z_.-]+|[A-Z][a-z]+|\d+")
# What may stand in a URL before a credential.
_IN_URL = rb"(://[^\s'\"<>`\\]*?)"


class Masker:
    """Masks some secrets.

    Args:
        secrets: the values; they are found percent-encoded as well (RFC 3986).
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        plain = {form for secret in known if _is_rare(secret) for form in spellings(secret)}
        in_urls = {form for secret in known for form in spellings(secret)} - plain
        self._plain = [form.encode() for form in sorted(plain, key=len, reverse=True)]
        self._in_urls = [
            re.compile(_IN_URL + re.escape(form.encode())) for form in sorted(in_urls, key=len, reverse=True)
        ]

    def __bool__(self) -> bool:
        return bool(self._plain or self._in_urls)

    def copy(self, source: Path, target: Path) -> bool:
        """Copy a file, masked; return whether anything in it was.

        Raises:
            DeclarationError: it holds a secret and is no text.
            OSError: it cannot be read, or the copy not written.
        """
        size = source.stat().st_size
        if size > _LARGEST:
            if self._is_in(source):
                raise _held(source)
            return False
        content = source.read_bytes()
        masked = self._masked(content)
        if masked == content:
            return False
        try:
            content.decode("utf-8")
        except UnicodeDecodeError:
            raise _held(source) from None
        target.write_bytes(masked)
        return True

    def _masked(self, content: bytes) -> bytes:
        mask = MASK.encode()
        for secret in self._plain:
            content = content.replace(secret, mask)
        for pattern in self._in_urls:
            while (masked := pattern.sub(rb"\1" + mask, content)) != content:
                content = masked
        return content

    def _is_in(self, path: Path) -> bool:
        longest = max(map(len, self._plain), default=0)
        end = b""
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                seen = end + chunk
                if any(secret in seen for secret in self._plain):
                    return True
                end = seen[-longest:] if longest else b""
        return False


def _is_rare(secret: str) -> bool:
    return len(secret) >= _SHORTEST and not _WORD.fullmatch(secret)


def _held(path: Path) -> DeclarationError:
    return DeclarationError(
        f"{path} would come along, and holds a credential of the app's requirements",
        hint="Take it out, or leave the file out by app_files_ignore.",
    )


def masked_warning(names: Iterable[str]) -> str:
    """What the user is told of files that were masked."""
    shown = ", ".join(sorted(names))
    return (
        f"{shown}: a credential of the app's requirements is written there; what comes along says {MASK} in its place. "
        "Write ${NAME} instead: it is replaced from the environment when the app is locked."
    )
