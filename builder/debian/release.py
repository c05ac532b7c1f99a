"""Release files: the signed table of contents of a suite, and what may be believed because of it.

The chain is: Debian's archive keyring signs InRelease, InRelease has the hash of each Packages index, an
index has the hash of each package. Nothing is parsed before the link above it has been checked.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from builder.debian.fetch import MissingFileError, fetch_current
from builder.debian.mirrors import Mirrors, redact
from builder.errors import ResolveError, ToolError
from builder.files import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.debian.suites import Pocket

# OpenPGP's ids (RFC 4880, section 9.4) of hashes for which a second text with the same signature can be made.
_WEAK_HASHES = frozenset({"1", "2", "3"})  # MD5, SHA-1, RIPEMD-160
_CLOCK_SKEW = timedelta(days=1)
_SHA256_LINE = re.compile(r"^ ([0-9a-f]{64}) +(\d+) (\S+)$")


@dataclass(frozen=True)
class IndexFile:
    """A file that a Release file lists.

    Attributes:
        path: below the pocket's folder.
        sha256: lowercase hex digest.
        size: bytes.
    """

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """A verified Release file.

    Attributes:
        pocket: which one.
        date: when it was made.
        valid_until: when it should have been replaced, where it says so.
        by_hash: whether indexes can be fetched under their hash, which a mirror being updated cannot get
            wrong.
        files: what it lists with sha256, by path.
    """

    pocket: Pocket
    date: datetime
    valid_until: datetime | None
    by_hash: bool
    files: Mapping[str, IndexFile]

    def packages(self, architecture: str) -> IndexFile | None:
        """The index of component main for a Debian architecture; None where the pocket has none."""
        return self.files.get(f"main/binary-{architecture}/Packages.xz")

    def url_path(self, file: IndexFile) -> str:
        """Where a listed file is, below the archive's folder."""
        path = file.path
        if self.by_hash:
            path = f"{path.rpartition('/')[0]}/by-hash/SHA256/{file.sha256}"
        return f"dists/{self.pocket.name}/{path}"


def fetch_release(
    pocket: Pocket, mirrors: Mirrors, cache: Path, *, now: datetime | None = None
) -> Release | None:
    """Fetch a pocket's InRelease file and verify it.

    Args:
        pocket: which one.
        mirrors: where the archives are, and the keyring.
        cache: folder for the file.
        now: the present, for tests.

    Returns:
        The release; None for a pocket that may be missing and is.

    Raises:
        ResolveError: it could not be fetched, is not signed by Debian, or is another pocket's.
        ToolError: gpgv is not installed.
    """
    url = mirrors.url(pocket.archive, f"dists/{pocket.name}/InRelease")
    try:
        signed = fetch_current(url, cache)
    except MissingFileError as error:
        if not pocket.required:
            return None
        raise ResolveError(
            f"{error}: the mirror of {pocket.archive} has no suite {pocket.name}",
            hint=f"{mirrors.source} names the mirror; one that has the suite can be set in [tool.builder.mirrors]. "
            "Suites that are no longer supported move to Debian's archive of old releases",
        ) from error
    text = verified_text(signed, mirrors.keyring, origin=redact(url))
    release = parse_release(text, pocket, origin=redact(url))
    # Not what apt's Max-FutureTime is for (10 s): a laptop's clock is minutes off, a container's never a day.
    if release.date > (now or datetime.now(timezone.utc)) + _CLOCK_SKEW:
        raise ResolveError(
            f"{redact(url)} is dated {release.date:%Y-%m-%d}, which has not come yet",
            hint="set this machine's clock",
        )
    return release


def verified_text(signed: bytes, keyring: Path, *, origin: str) -> str:
    """The part of a clear-signed file that the signature covers (RFC 4880, section 7).

    Args:
        signed: the file.
        keyring: keys, one of which must have signed it. Signatures by keys it does not have are no harm: a
            suite is signed by the next release's key too, years before a keyring has that.
        origin: what to call the file in errors.

    Raises:
        ResolveError: no good signature, or a bad one.
        ToolError: gpgv is not installed or cannot read the keyring.
    """
    with scratch_folder() as folder:
        source, text = folder / "InRelease", folder / "Release"
        source.write_bytes(signed)
        command = [
            "gpgv",
            "--status-fd",
            "1",
            "--keyring",
            str(keyring.resolve()),
            "--output",
            str(text),
            str(source),
        ]
        try:
            # A home of its own: gpgv looks for keyrings and options there.
            done = subprocess.run(
                [*command[:1], "--homedir", str(folder), *command[1:]],
                capture_output=True,
                text=True,
                check=False,
            )
        except FileNotFoundError:
            raise ToolError(
                "gpgv is not installed: it verifies Debian's package index",
                hint="install the package gpgv (Debian, Ubuntu) or gnupg2 (Fedora), then run the command again",
            ) from None
        # The exit status is no answer: it is 2 as soon as one of several signatures is by an unknown key.
        words = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("[GNUPG:] ")]
        keywords = [line[0] for line in words if line]
        weak = any(
            line[0] == "VALIDSIG" and len(line) > 8 and line[8] in _WEAK_HASHES for line in words if line
        )
        if (
            "GOODSIG" not in keywords
            or "VALIDSIG" not in keywords
            or "BADSIG" in keywords
            or weak
            or not text.exists()
        ):
            detail = next(
                (line for line in reversed(done.stderr.splitlines()) if line.strip()), "no signature found"
            )
            raise ResolveError(
                f"{origin} is not signed by a key of {keyring}: {detail.replace(str(source), origin)}",
                hint="either the keyring is older than the suite (upgrade debian-archive-keyring), or the mirror is "
                "not one of Debian",
            )
        return text.read_text(encoding="utf-8")


def parse_release(text: str, pocket: Pocket, *, origin: str) -> Release:
    """Read a Release file whose signature has been checked.

    Raises:
        ResolveError: it is another suite's, or a field it needs is missing.
    """
    fields: dict[str, str] = {}
    files: dict[str, IndexFile] = {}
    section = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            section, _, value = line.partition(":")
            fields[section] = value.strip()
        elif section == "SHA256" and (match := _SHA256_LINE.match(line)):
            files[match[3]] = IndexFile(path=match[3], sha256=match[1], size=int(match[2]))
    # A mirror could answer with another suite's file, whose signature is as good.
    names = {fields.get("Codename"), fields.get("Suite")}
    if pocket.name not in names:
        raise ResolveError(
            f"{origin} is the Release file of {fields.get('Codename') or 'an unnamed suite'}, not of {pocket.name}",
            hint="the mirror mixes suites up: set another one in [tool.builder.mirrors]",
        )
    try:
        date = _date(fields["Date"])
        valid_until = _date(fields["Valid-Until"]) if "Valid-Until" in fields else None
    except (KeyError, ValueError) as error:
        raise ResolveError(f"{origin} has no readable Date field: {error}") from None
    return Release(
        pocket=pocket,
        date=date,
        valid_until=valid_until,
        by_hash=fields.get("Acquire-By-Hash") == "yes",
        files=files,
    )


def _date(value: str) -> datetime:
    date = parsedate_to_datetime(value)
    return date.replace(tzinfo=timezone.utc) if date.tzinfo is None else date
