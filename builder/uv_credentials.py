"""The file in which uv keeps credentials (`uv auth login`): read, and written for one run of uv.

It is the one way to tell uv of a bearer token, and it keeps user names and passwords out of uv's arguments and
environment. uv 0.9 and later read `credentials.toml` of the folder that UV_CREDENTIALS_DIR names: an array of tables
`credential` with `service` (a URL; it speaks for every URL of its origin below its path, the longest path first), and
either `username` and `password` or `scheme = "bearer"` and `token`.
"""

from __future__ import annotations

import netrc
import os
import sys
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_FILE = "credentials.toml"
# The hosts that uv lets a credential without encryption belong to.
_LOCAL_HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class Entry:
    """Who we are at a URL and below it.

    Attributes:
        service: the URL, without credentials.
        user, password: for basic authentication (RFC 7617); a user without a password may be a token.
        token: for bearer authentication (RFC 6750); then there is no user.
    """

    service: str
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @property
    def is_storable(self) -> bool:
        """Whether uv takes it from its file: it wants encryption, but for this machine itself."""
        parts = urlsplit(self.service)
        return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL_HOSTS)

    def table(self) -> dict[str, str]:
        """The entry as it stands in the file."""
        if self.token is not None:
            return {"service": self.service, "scheme": "bearer", "token": self.token}
        return {
            "service": self.service,
            "scheme": "basic",
            "username": self.user or "",
            "password": self.password or "",
        }


def read_entries(env: Mapping[str, str]) -> tuple[Entry, ...]:
    """What the user has stored with `uv auth login` and has not expired; nothing where no such file is."""
    entries = []
    for table in _tables(_folder(env) / _FILE):
        values = {key: value for key, value in table.items() if isinstance(value, str)}
        if "service" in values and not _is_expired(values.get("expires-at", "")):
            entries.append(
                Entry(values["service"], values.get("username"), values.get("password"), values.get("token"))
            )
    return tuple(entries)


def environment(entries: Iterable[Entry], env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write entries where one run of uv finds them, beside the user's own.

    Args:
        entries: the entries; they count before the user's own for the same URL.
        env: uv's environment.
        folder: a private folder that outlives the run.

    Returns:
        The variables that make uv find them; none when there are no entries.
    """
    own = list(entries)
    if not own:
        return {}
    services = {_key(entry.service) for entry in own}
    kept = [
        table for table in _tables(_folder(env) / _FILE) if _key(str(table.get("service"))) not in services
    ]
    private = folder / "credentials"
    private.mkdir(mode=0o700)
    # Imported here: an unchanged app needs none of this, and its build should start quickly.
    import tomli_w

    _write(private / _FILE, tomli_w.dumps({"credential": [*kept, *(entry.table() for entry in own)]}))
    variables = {"UV_CREDENTIALS_DIR": str(private)}
    hosts = {urlsplit(entry.service).hostname or "" for entry in own}
    others = _netrc_without(hosts, env)
    if others is not None:
        _write(private / "netrc", others)
        variables["NETRC"] = str(private / "netrc")
    return variables


def netrc_file(env: Mapping[str, str]) -> Path:
    """Where the user's netrc is, if there is one."""
    return Path(env.get("NETRC") or _home(env) / ".netrc")


def _netrc_without(hosts: set[str], env: Mapping[str, str]) -> str | None:
    """The user's netrc without some hosts, which uv would believe first; None when it says nothing of them.

    An entry for any host (`default`) goes too: it would count for those hosts.
    """
    try:
        known = netrc.netrc(str(netrc_file(env))).hosts
    except (OSError, netrc.NetrcParseError):
        return None
    if not {*hosts, "default"} & set(known):
        return None
    return "".join(
        f"machine {host}\nlogin {_quoted(login)}\npassword {_quoted(password or '')}\n"
        for host, (login, _, password) in known.items()
        if host not in hosts and host != "default"
    )


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _tables(path: Path) -> list[dict[str, Any]]:
    """The tables of a credentials file; none where it is not there or not understood, which uv says itself."""
    try:
        found = tomllib.loads(path.read_text("utf-8")).get("credential", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return []
    return [table for table in found if isinstance(table, dict)] if isinstance(found, list) else []


def _folder(env: Mapping[str, str]) -> Path:
    if env.get("UV_CREDENTIALS_DIR"):
        return Path(env["UV_CREDENTIALS_DIR"])
    return Path(env.get("XDG_DATA_HOME") or _home(env) / ".local" / "share") / "uv" / "credentials"


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _key(service: str) -> str:
    return service.rstrip("/")


def _is_expired(when: str) -> bool:
    if not when:
        return False
    try:
        moment = datetime.fromisoformat(when.replace("Z", "+00:00"))
    except ValueError:
        return False
    return moment.replace(tzinfo=moment.tzinfo or timezone.utc) <= datetime.now(timezone.utc)
