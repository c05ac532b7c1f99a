"""Reads one requirement, in whichever form it is written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Specifier
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from builder.errors import DeclarationError
from builder.pip_words import SCHEME, direct, find_path, is_archive, is_file, is_folder
from builder.requirement_files import local_part
from builder.requirements.local import read_project
from builder.requirements.model import ArchiveSource, Requirement
from builder.requirements.urls import Fragment, read_fragment, split_url
from builder.requirements.vcs import is_repository, read_git

if TYPE_CHECKING:
    from builder.pip_words import Direct
    from builder.requirements.model import DirectorySource, GitSource
    from builder.requirements.variables import Variables

_FORMS = "Write it as in name, name==1.2, name[extra]>=1,<2 or name @ https://host/x.whl (PEP 508)."
_EXTRA = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Place:
    """Where requirements are read.

    Attributes:
        variables: the environment.
        folders: what a path may be relative to, see `builder.pip_words.find_path`; empty where none may stand.
        base: the folder that paths are shown relative to.
    """

    variables: Variables
    folders: tuple[Path, ...] = ()
    base: Path = Path()


def read_requirement(written: str, where: str, place: Place) -> Requirement:
    """Read a requirement.

    Args:
        written: the requirement, without the options behind it.
        where: its place, for messages.
        place: what its variables and its paths mean.

    Raises:
        DeclarationError: it is malformed, of a form that is not supported, or names what is not there.
    """
    text = place.variables.expand(written, where).strip()
    found = direct(text)
    if found is None:
        return _specifier(text, written, where, place)
    read = _Direct(found, place.variables.show(written.strip()), where, place)
    return read.path() if found.is_path else read.url()


def _specifier(text: str, written: str, where: str, place: Place) -> Requirement:
    shown = place.variables.show(written.strip())
    try:
        parsed = Specifier(text)
    except InvalidRequirement as error:
        # packaging's message quotes the requirement, so it can hold what is masked in `shown`.
        message = place.variables.mask(str(error).splitlines()[0].replace(text, shown))
        one = re.match(r"\s*[\w.-]+\s*(?:\[[^\]]*\])?\s*=(?!=)", text)
        raise DeclarationError(
            f"{where} does not parse: {shown!r}: {message}",
            hint="An exact version has two =: name==1.2" if one else _FORMS,
        ) from error
    name = canonicalize_name(parsed.name)
    parsed.name = name
    return Requirement(
        name=name,
        line=str(parsed),
        shown=str(parsed),
        where=where,
        extras=tuple(sorted(map(canonicalize_name, parsed.extras))),
        marker=str(parsed.marker) if parsed.marker else None,
    )


class _Direct:
    """A requirement that names a URL or a path; the methods read it."""

    def __init__(self, found: Direct, shown: str, where: str, place: Place) -> None:
        self.found = found
        self.shown = shown
        self.where = where
        self.place = place
        self.name = canonicalize_name(found.name) if found.name else None
        self.marker = self._marker(found.marker)

    def url(self) -> Requirement:
        """It names a URL."""
        target, _, fragment = self.found.target.partition("#")
        if re.search(r"\s", self.found.target):
            raise self._error(
                "holds a space", "Write it as %20 in a URL. A marker has a space before its semicolon."
            )
        if self.found.name and not SCHEME.match(target):
            # What looks like a name and a URL can be the account@host:path that ssh takes.
            target = f"{self.found.name}@{target}"
        if is_repository(target):
            return self._git(target, fragment)
        if target.startswith("file:"):
            return self._file_url(target, fragment)
        parts = split_url(target, self.shown, self.where)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._error(
                "is not a URL that can be fetched",
                "Write https://host/file.whl, git+https://host/repo.git or a path.",
            )
        return self._file(target, self._fragment(fragment))

    def path(self) -> Requirement:
        """It names a path."""
        return self._local(self.found.target, Fragment())

    def _error(self, message: str, hint: str = "") -> DeclarationError:
        return DeclarationError(
            f"{self.where}: {self.shown!r} {self.place.variables.mask(message)}",
            hint=self.place.variables.mask(hint),
        )

    def _git(self, target: str, fragment: str) -> Requirement:
        said = self._fragment(fragment)
        if said.hashes:
            raise self._error(
                "has a hash, and a repository none", "A commit says what is in it: name one behind the @."
            )
        return self._built(read_git(target, said.subdirectory, self.shown, self.where), said)

    def _file_url(self, target: str, fragment: str) -> Requirement:
        if target.startswith("file://") and urlsplit(target).netloc not in ("", "localhost"):
            raise self._error("names a host, and files are this machine's", "Write file:///folder/file")
        return self._local(local_part(target), self._fragment(fragment))

    def _local(self, text: str, said: Fragment) -> Requirement:
        if not self.place.folders:
            raise self._error("is a file or a folder, which only the app's own requirements may name")
        path = find_path(text, self.place.folders)
        self.shown = self._shown_path(path)
        if is_folder(path):
            if said.hashes:
                raise self._error("has a hash, and a folder none", "Leave the hash out.")
            folder = path / said.subdirectory if said.subdirectory else path
            return self._built(read_project(folder, self.shown, self.where), said)
        if not is_file(path):
            raise self._error(
                f"does not exist: there is no {path}",
                f"Paths are relative to {self.place.folders[0]}."
                + ("" if len(self.place.folders) > 1 else " requirements_context_dir names another folder."),
            )
        return self._file("file://" + quote(str(path)), said)

    def _file(self, url: str, said: Fragment) -> Requirement:
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        if "${" in filename:
            raise self._error(
                "names an environment variable that is not set", "Set it: the file's name is needed."
            )
        if filename.endswith(".whl"):
            return self._wheel(url, filename, said)
        if not is_archive(filename):
            raise self._error(
                "is neither a wheel (.whl) nor an archive (.tar.gz, .tgz, .tar.bz2, .tar.xz, .zip)",
                "A git repository is written git+https://host/org/repo.git@REVISION.",
            )
        return self._built(ArchiveSource(url, filename, said.subdirectory), said, _told(url, filename))

    def _wheel(self, url: str, filename: str, said: Fragment) -> Requirement:
        try:
            name = parse_wheel_filename(filename)[0]
        except InvalidWheelFilename as error:
            raise self._error(
                f"names no wheel: {error}", "Wheels are called name-version-python-abi-platform.whl."
            ) from error
        asked = self._named(said) or name
        if name != asked:
            raise self._error(
                f"asks for {asked}, but the file is a wheel of {name}",
                "Name the package that the wheel holds, or the wheel of the package.",
            )
        if said.subdirectory:
            raise self._error("names a subdirectory, and a wheel has none", "Leave it out.")
        extras = self._extras(said)
        brackets = f"[{','.join(extras)}]" if extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return Requirement(
            name=name,
            line=f"{name}{brackets} @ {url}{marker}",
            shown=self.shown,
            where=self.where,
            url=url,
            filename=filename,
            extras=extras,
            marker=self.marker,
            hashes=said.hashes,
        )

    def _built(
        self, source: GitSource | DirectorySource | ArchiveSource, said: Fragment, told: str | None = None
    ) -> Requirement:
        return Requirement(
            name=self._named(said) or told,
            line="",
            shown=self.shown,
            where=self.where,
            source=source,
            extras=self._extras(said),
            marker=self.marker,
            hashes=said.hashes,
        )

    def _fragment(self, text: str) -> Fragment:
        return read_fragment(text, self.shown, self.where)

    def _named(self, said: Fragment) -> str | None:
        """The name that stands before the URL, or behind it."""
        if self.name and said.name and self.name != said.name:
            raise self._error(
                f"is named {self.name} before the URL and {said.name} behind it", "Write one name."
            )
        return self.name or said.name

    def _extras(self, said: Fragment) -> tuple[str, ...]:
        written = [extra.strip() for extra in f"{self.found.extras},{said.extras}".split(",")]
        extras = [extra for extra in written if extra]
        if wrong := [extra for extra in extras if not _EXTRA.fullmatch(extra)]:
            raise self._error(
                f"asks for the extra {wrong[0]!r}, which is no name", "Extras are written [one,two]."
            )
        return tuple(sorted(set(map(canonicalize_name, extras))))

    def _marker(self, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            return str(Marker(text))
        except InvalidMarker as error:
            message = self.place.variables.mask(str(error).splitlines()[0])
            raise DeclarationError(
                f"{self.where} does not parse: {self.shown!r}: {message}",
                hint="Behind the semicolon stands a marker, as in: ; python_version < '3.12'",
            ) from error

    def _shown_path(self, path: Path) -> str:
        """The requirement with its path relative to where the list's paths are; a file's own may lie elsewhere."""
        if not self.place.folders or self.place.folders[0] == self.place.base:
            return self.shown
        found = self.found
        before = f"{found.name} @ " if found.name else ""
        extras = f"[{found.extras}]" if found.extras else ""
        marker = f" ; {self.marker}" if self.marker else ""
        return f"{before}{shown_path(path, self.place.base)}{extras}{marker}"


def shown_path(path: Path, base: Path) -> str:
    """A path as it is the same on every machine that has the project."""
    text = Path(os.path.relpath(path, base)).as_posix()
    return text if text.startswith(".") else f"./{text}"


def _told(url: str, filename: str) -> str | None:
    """The project that an sdist's name tells; an archive that a forge makes is named after its repository."""
    if not filename.endswith(".tar.gz") or re.search(r"/(?:archive|tarball|zipball)/", urlsplit(url).path):
        return None
    try:
        return parse_sdist_filename(filename)[0]
    except InvalidSdistFilename:
        return None
