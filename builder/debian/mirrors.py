"""Where Debian's archives are to be had: configured, or the machine's own apt sources.

No host name is written in this module. A machine that runs Debian, be it behind a proxy or a mirror of its
owner, has said already where it gets Debian from; any other has to be told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

from builder.errors import DeclarationError, ToolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Archive = Literal["debian", "debian-security"]

ARCHIVES: tuple[Archive, ...] = ("debian", "debian-security")
KEYRING_KEY = "debian-keyring"
_TABLE = "[tool.builder.mirrors]"
_HINT = (
    f'write into pyproject.toml:  {_TABLE}  debian = "URL of a mirror\'s debian folder"  '
    'debian-security = "URL of its debian-security folder"'
)
# debian-archive-keyring puts its file there, on Debian, Ubuntu and Fedora alike; it is called .pgp since
# Debian 13.
_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)

# What apt sources may call a Debian release. Other systems' code names (jammy) must not be taken for
# Debian's.
_CODENAMES = frozenset(
    [
        "buster",
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "duke",
        "sid",
        "oldoldstable",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ]
)
# An archive's folder by convention: .../debian, .../debian-security, or a dated state of it
# (.../debian/20250520T000000Z).
_FOLDER = re.compile(r"/(debian|debian-security)(/\d{8}T\d{6}Z)?/?$")


@dataclass(frozen=True)
class Mirrors:
    """The URLs of Debian's archives.

    Attributes:
        urls: per archive the folder that has `dists` and `pool`, without a slash at its end. May contain
            credentials: use `redact` before showing one. Left out of repr for that reason.
        keyring: file of the keys that Release files must be signed with.
        source: where the URLs were read, for error messages.
    """

    urls: Mapping[Archive, str] = field(repr=False)
    keyring: Path
    source: str

    def url(self, archive: Archive, path: str) -> str:
        """The URL of a file in an archive. May contain credentials."""
        return f"{self.urls[archive]}/{path}"


def redact(url: str) -> str:
    """The URL without user, password, query and fragment: fit for a message or a lock."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def find_mirrors(config: Mapping[str, str], *, apt: Path = Path("/etc/apt")) -> Mirrors:
    """Where to get Debian from.

    Args:
        config: the table `[tool.builder.mirrors]`: `debian`, `debian-security` (by default the folder of that
            name beside `debian`) and `debian-keyring` (a path). Other keys are for others.
        apt: apt's configuration folder, used where the table names no mirror.

    Raises:
        DeclarationError: a configured URL is none.
        ToolError: neither names a mirror, or Debian's keyring is not there.
    """
    keyring = _keyring(config)
    configured = {archive: config[archive] for archive in ARCHIVES if archive in config}
    for key, url in configured.items():
        if urlsplit(url).scheme not in ("http", "https", "file"):
            raise DeclarationError(
                f"{_TABLE} {key}: {redact(url)!r} is not a URL",
                hint="give the http, https or file URL of the archive's folder, the one that has dists and pool",
            )
    found = _from_apt(apt)
    source = _TABLE if configured else str(apt)
    # Half a table: what it lacks lies beside what it has, and comes from the machine only where nothing is
    # configured.
    if "debian" not in configured and "debian-security" in configured:
        configured = {**found, **configured}
    urls = {key: url.rstrip("/") for key, url in (configured or found).items()}
    if "debian" not in urls:
        raise ToolError(
            f"no mirror of Debian is known: neither {_TABLE} nor the apt sources in {apt} name one",
            hint=_HINT,
        )
    if "debian-security" not in urls:
        urls["debian-security"] = _sibling(urls["debian"])
    return Mirrors(urls=urls, keyring=keyring, source=source)


def _keyring(config: Mapping[str, str]) -> Path:
    if KEYRING_KEY in config:
        path = Path(config[KEYRING_KEY]).expanduser()
        if not path.is_file():
            raise DeclarationError(f"{_TABLE} {KEYRING_KEY}: there is no file {path}")
        return path
    for path in _KEYRINGS:
        if path.is_file():
            return path
    raise ToolError(
        "Debian's archive keyring is not installed, so a package index cannot be verified",
        hint="install the package debian-archive-keyring (Debian, Ubuntu) or debian-keyring (Fedora), "
        f'or write {KEYRING_KEY} = "PATH of a copy" into {_TABLE}',
    )


def _sibling(url: str) -> str:
    """The security archive of a mirror, which has it beside the main one by convention."""
    match = _FOLDER.search(url)
    if match is None or match[1] != "debian":
        return f"{url}-security"
    return f"{url[: match.start(1)]}debian-security{match[2] or ''}"


@dataclass(frozen=True)
class _Entry:
    """One line of a sources list, or one combination of a deb822 stanza's."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str


def _from_apt(apt: Path) -> dict[Archive, str]:
    """The archives' URLs in apt's sources. The first entry that fits best is taken."""
    best: dict[Archive, tuple[int, str]] = {}
    for entry in _entries(apt):
        codename, _, pocket = entry.suite.replace("/updates", "-security").partition("-")
        if codename not in _CODENAMES or "main" not in entry.components:
            continue
        if urlsplit(entry.uri).scheme not in ("http", "https", "file"):
            continue
        archive: Archive = "debian-security" if pocket == "security" else "debian"
        # Others offer a suite "bookworm" with a component "main" too. Debian's is told by its folder's name,
        # or by the key that signs it; an entry with neither is no more than a guess, which the signature
        # would refuse.
        folder = _FOLDER.search(urlsplit(entry.uri).path)
        points = 2 * (folder is not None and folder[1] == archive) + ("debian-archive" in entry.signed_by)
        if points and (archive not in best or points > best[archive][0]):
            best[archive] = (points, entry.uri)
    return {archive: uri for archive, (_, uri) in best.items()}


def _entries(apt: Path) -> Iterator[_Entry]:
    parts = apt / "sources.list.d"
    for path in [apt / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        yield from _deb822(text) if path.suffix == ".sources" else _one_line(text)


def _one_line(text: str) -> Iterator[_Entry]:
    """Entries of the one-line style: `deb [option=value ...] uri suite component ...` (sources.list(5))."""
    line_format = re.compile(
        r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>.*)"
    )
    for line in text.splitlines():
        match = line_format.fullmatch(line.partition("#")[0].strip())
        if match:
            yield _Entry(
                match["uri"], match["suite"], tuple(match["components"].split()), match["options"] or ""
            )


def _deb822(text: str) -> Iterator[_Entry]:
    """Entries of the deb822 style: stanzas of fields whose values are lists (sources.list(5))."""
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        fields = _fields(stanza.splitlines())
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in (
            "no",
            "false",
            "0",
        ):
            continue
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                components = tuple(fields.get("components", "").split())
                yield _Entry(uri, suite, components, fields.get("signed-by", ""))


def _fields(lines: Iterable[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if line[:1].isspace():
            if name:
                fields[name] += "\n" + line.strip()
            continue
        key, colon, value = line.partition(":")
        if colon:
            name = key.strip().lower()
            fields[name] = value.strip()
    return fields
