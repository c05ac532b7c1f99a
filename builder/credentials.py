"""Finds the user name and password for a URL, where uv and pip find them."""

from __future__ import annotations

import netrc
import os
import re
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from builder.redact import userinfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL: what credentials belong to (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


@dataclass(frozen=True)
class Credentials:
    """Where credentials are looked for.

    Attributes:
        urls: index and find-links URLs; one that holds a user speaks for every URL of its origin.
        netrc_file: a .netrc file, or None.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    netrc_file: Path | None = None

    @classmethod
    def of(cls, urls: Iterable[str], environ: Mapping[str, str] | None = None) -> Credentials:
        """Gather what the environment and the given URLs say.

        An index of the form `NAME=URL` (uv's) has its user and password in `UV_INDEX_<NAME>_USERNAME` and
        `UV_INDEX_<NAME>_PASSWORD`.
        """
        env = os.environ if environ is None else environ
        plain = []
        for url in urls:
            named = re.match(r"([A-Za-z0-9_.-]+)=(?=[a-z]+://)", url)
            bare = url[named.end() :] if named else url
            if named:
                key = re.sub(r"[^A-Z0-9]", "_", named.group(1).upper())
                user, password = env.get(f"UV_INDEX_{key}_USERNAME"), env.get(f"UV_INDEX_{key}_PASSWORD")
                if user or password:
                    bare = with_userinfo(bare, user or "", password or "")
            plain.append(bare)
        file = Path(env.get("NETRC") or Path(env.get("HOME") or Path.home()) / ".netrc")
        return cls(tuple(plain), file if file.is_file() else None)

    def find(self, url: str) -> tuple[str, str] | None:
        """User name and password for a URL, or None.

        Its own come first, then those of the configured URL of the same origin that shares the longest path
        with it, then netrc's.
        """
        own = userinfo(url)
        if own is not None:
            return own
        same = [
            known for known in self.urls if "@" in urlsplit(known).netloc and origin(known) == origin(url)
        ]
        if same:
            return userinfo(max(same, key=lambda known: _shared(known, url)))
        host = urlsplit(url).hostname
        if self.netrc_file is None or not host:
            return None
        try:
            entry = netrc.netrc(str(self.netrc_file)).authenticators(host)
        except (OSError, netrc.NetrcParseError):
            return None
        return (entry[0], entry[2] or "") if entry else None

    def embed(self, url: str) -> str:
        """The URL with what `find` has for it written into it, for a program that is told nothing else."""
        found = self.find(url)
        return with_userinfo(url, *found) if found else url


NOBODY = Credentials()


def _shared(one: str, other: str) -> int:
    """How many leading parts of their paths two URLs have in common."""
    pairs = zip(urlsplit(one).path.split("/"), urlsplit(other).path.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def with_userinfo(url: str, user: str, password: str) -> str:
    """The URL with a user and a password, percent-encoded (RFC 3986)."""
    parts = urlsplit(url)
    info = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
    return urlunsplit(parts._replace(netloc=f"{info}@{parts.netloc.rpartition('@')[2]}"))
