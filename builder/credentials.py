"""Finds who we are at a URL, where uv and pip find it, and where `[tool.builder.tokens]` says."""

from __future__ import annotations

import base64
import netrc
import os
import re
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from builder import keyring
from builder.errors import DeclarationError
from builder.machine_config import without_name
from builder.redact import is_reference, userinfo, without_userinfo
from builder.uv_credentials import Entry, netrc_file, read_entries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from builder.machine_config import MachineConfig

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of a URL: what credentials belong to (RFC 6454)."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


@dataclass(frozen=True)
class Token:
    """A bearer token (RFC 6750) as the settings name it.

    Attributes:
        prefix: the URL it is for, with all that is below.
        variable: the environment variable that holds it.
        value: what it holds; None when it is not set, which matters only when the token is needed.
    """

    prefix: str
    variable: str
    value: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Credentials:
    """Where credentials are looked for.

    Attributes:
        urls: index and find-links URLs; one that holds a user speaks for every URL of its origin.
        netrc_file: a .netrc file, or None.
        tokens: bearer tokens; the longest prefix counts.
        stored: what `uv auth login` has stored.
        keyring: whether the password of a user that stands alone in a URL is asked of the `keyring` command.
            Where it is not, such a user is a token.
    """

    urls: tuple[str, ...] = field(default=(), repr=False)
    netrc_file: Path | None = None
    tokens: tuple[Token, ...] = ()
    stored: tuple[Entry, ...] = ()
    keyring: bool = False

    @classmethod
    def of(
        cls,
        urls: Iterable[str],
        environ: Mapping[str, str] | None = None,
        *,
        machine: MachineConfig | None = None,
        tokens: Mapping[str, str] | None = None,
    ) -> Credentials:
        """Gather what the environment, the machine's configuration, the settings and the given URLs say.

        Args:
            urls: index and find-links URLs. One of the form `NAME=URL` (uv's) has its user and password in
                `UV_INDEX_<NAME>_USERNAME` and `UV_INDEX_<NAME>_PASSWORD`.
            environ: the environment, by default this process's.
            machine: whose indexes count after the given ones.
            tokens: the setting `tokens`: `${NAME}` by URL.
        """
        env = os.environ if environ is None else environ
        known = [*urls, *((*machine.urls, *machine.logins) if machine else ())]
        file = netrc_file(env)
        return cls(
            urls=tuple(dict.fromkeys(_with_variables(url, env) for url in known)),
            netrc_file=file if file.is_file() else None,
            tokens=tuple(
                Token(prefix, reference[2:-1], env.get(reference[2:-1]) or None)
                for prefix, reference in (tokens or {}).items()
            ),
            stored=read_entries(env),
            keyring=machine is not None and machine.keyring,
        )

    def authorization(self, url: str, *, redirected: bool = False) -> str | None:
        """The `Authorization` header (RFC 9110, section 11.6.2) for a URL, or None.

        Args:
            url: the URL; a user in it counts before everything else.
            redirected: whether another origin sent us there: then an entry for any host (netrc's `default`)
                does not count, since it was not meant for this one.

        Raises:
            DeclarationError: it needs a token whose variable is not set.
        """
        token = self.bearer(url)
        if token is not None:
            return f"Bearer {token}"
        login = self.find(url, redirected=redirected)
        if login is None:
            return None
        return "Basic " + base64.b64encode(":".join(login).encode()).decode()

    def bearer(self, url: str) -> str | None:
        """The bearer token for a URL: what the settings name, otherwise what uv has stored.

        Raises:
            DeclarationError: it is in a variable that is not set.
        """
        if "@" in urlsplit(url).netloc:
            return None
        token = max(
            (token for token in self.tokens if is_below(url, token.prefix)),
            key=lambda token: len(token.prefix),
            default=None,
        )
        if token is not None:
            if token.value is None:
                raise DeclarationError(
                    f"tool.builder.tokens: the token for {token.prefix} is in the environment variable "
                    f"{token.variable}, which is not set",
                    hint=f"Set it where you run builder: export {token.variable}=...",
                )
            return token.value
        stored = self._stored(url)
        return stored.token if stored else None

    def find(self, url: str, *, redirected: bool = False) -> tuple[str, str] | None:
        """User name and password for a URL, or None.

        Its own come first, then those of the configured URL of the same origin that shares the longest path
        with it, then netrc's, then what uv has stored. See `authorization` for the arguments.
        """
        own = userinfo(url)
        if own is not None:
            return self._completed(url, *own)
        same = [
            known for known in self.urls if "@" in urlsplit(known).netloc and origin(known) == origin(url)
        ]
        if same:
            nearest = max(same, key=lambda known: _shared(known, url))
            found = userinfo(nearest)
            return self._completed(nearest, *found) if found else None
        found = self._netrc(url, default=not redirected)
        stored = self._stored(url)
        if found is None and stored is not None and stored.user is not None:
            found = stored.user, stored.password or ""
        return found

    def embed(self, url: str) -> str:
        """The URL with what `find` has for it written into it, for a program that is told nothing else.

        A bearer token cannot stand in a URL, so a URL that needs one stays as it is.
        """
        found = None if self.bearer(url) is not None else self.find(url)
        return with_userinfo(url, *found) if found else url

    def entries(self) -> tuple[Entry, ...]:
        """What uv has to be told: the tokens, and who the configured URLs say we are.

        A URL's user counts for all of its origin that no other user is nearer to, since an index's files lie
        beside it and not below it.
        """
        exact: dict[str, tuple[str, str]] = {}
        below: dict[str, set[tuple[str, str]]] = {}
        for url in self.urls:
            login = self.find(url) if _names_user(url) else None
            if login is not None:
                here, *above = _above(url)
                exact.setdefault(here, login)
                for place in above:
                    below.setdefault(place, set()).add(login)
        shared = {place: next(iter(logins)) for place, logins in below.items() if len(logins) == 1}
        tokens = {token.prefix.rstrip("/"): token.value for token in self.tokens if token.value is not None}
        entries = [Entry(place, token=value) for place, value in tokens.items()]
        entries += [
            Entry(place, user, password)
            for place, (user, password) in (shared | exact).items()
            if place not in tokens
        ]
        return tuple(entry for entry in entries if entry.is_storable)

    def bare(self, url: str) -> str:
        """A configured URL as uv is told it: without the user and password that `entries` has for it."""
        bare = without_name(url)
        login = self.find(bare) if _names_user(bare) else None
        if login is None or Entry(_above(bare)[0], *login) not in self.entries():
            return url
        return url[: -len(bare)] + without_userinfo(bare)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The tokens and stored passwords: what must be in no message, besides what URLs hold."""
        values = [token.value for token in self.tokens]
        values += [secret for entry in self.stored for secret in (entry.password, entry.token)]
        return tuple(value for value in values if value)

    def _completed(self, url: str, user: str, password: str) -> tuple[str, str]:
        """A user with the password that the keyring has, where the URL gives none."""
        if not password and user and self.keyring:
            password = keyring.password(url, user) or ""
        return user, password

    def _netrc(self, url: str, *, default: bool) -> tuple[str, str] | None:
        host = urlsplit(url).hostname
        if self.netrc_file is None or not host:
            return None
        try:
            entries = netrc.netrc(str(self.netrc_file))
        except (OSError, netrc.NetrcParseError):
            return None
        entry = entries.authenticators(host) if default else entries.hosts.get(host)
        return (entry[0], entry[2] or "") if entry else None

    def _stored(self, url: str) -> Entry | None:
        return max(
            (entry for entry in self.stored if is_below(url, entry.service)),
            key=lambda entry: len(entry.service.rstrip("/")),
            default=None,
        )


NOBODY = Credentials()


def is_below(url: str, prefix: str) -> bool:
    """Whether a URL has the origin of another and a path that begins with the other's, in whole parts."""
    path = urlsplit(prefix).path.rstrip("/")
    return origin(url) == origin(prefix) and (urlsplit(url).path + "/").startswith(path + "/")


def _names_user(url: str) -> bool:
    """Whether a URL holds a user, and not one in a variable that is not set."""
    info = urlsplit(without_name(url)).netloc.rpartition("@")[0]
    return (
        bool(info) and not is_reference(info.partition(":")[0]) and not is_reference(info.partition(":")[2])
    )


def _with_variables(url: str, env: Mapping[str, str]) -> str:
    """An index's URL with the user and password that uv's variables give for its name."""
    bare = without_name(url)
    if bare == url:
        return url
    key = re.sub(r"[^A-Z0-9]", "_", url.partition("=")[0].upper())
    user, password = env.get(f"UV_INDEX_{key}_USERNAME"), env.get(f"UV_INDEX_{key}_PASSWORD")
    return with_userinfo(bare, user or "", password or "") if user or password else bare


def _above(url: str) -> list[str]:
    """A URL without user, query and final slash, and the URLs above it."""
    parts = urlsplit(without_userinfo(url))
    path = parts.path.rstrip("/").split("/")
    return [
        urlunsplit((parts.scheme, parts.netloc, "/".join(path[:end]), "", ""))
        for end in range(len(path), 0, -1)
    ]


def _shared(one: str, other: str) -> int:
    """How many leading parts of their paths two URLs have in common."""
    pairs = zip(urlsplit(one).path.split("/"), urlsplit(other).path.split("/"), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def with_userinfo(url: str, user: str, password: str) -> str:
    """The URL with a user and a password, percent-encoded (RFC 3986)."""
    parts = urlsplit(url)
    info = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
    return urlunsplit(parts._replace(netloc=f"{info}@{parts.netloc.rpartition('@')[2]}"))
