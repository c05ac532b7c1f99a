"""Reads what package indexes and pages of links list of one project (PEP 503, 691, 700; find-links).

uv resolves, and tells the files of the version it chose. What it does not tell is which versions have an archive to
build from, where none of them has a wheel: that is read here, of the few packages that need it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from builder.fetch import FetchError, read_text
from builder.local_index import Link, local_path, parse_page
from builder.machine_config import is_local, without_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.fetch import Session
    from builder.uvtool import Indexes

_ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5, application/vnd.pypi.simple.v1+html;q=0.5"
_ARCHIVES = (".tar.gz", ".tgz", ".zip", ".tar.bz2", ".tar.xz")


@dataclass(frozen=True)
class Listed:
    """A file that an index lists.

    Attributes:
        version: PEP 440 version of the project.
        filename: its name.
        url: where it is, credentials included.
        sha256: hex digest, where the index said.
        requires_python: the versions of Python it is for, or "".
        yanked: why it should no longer be chosen (PEP 592), or None.
    """

    version: str
    filename: str
    url: str = field(repr=False)
    sha256: str | None = None
    requires_python: str = ""
    yanked: str | None = None

    @property
    def is_wheel(self) -> bool:
        """Whether it is one."""
        return self.filename.endswith(".whl")


def list_project(name: str, indexes: Indexes, default: str | None, session: Session) -> tuple[Listed, ...]:
    """All files of a project: those of the first index that has it, and those of all pages of links.

    Of all indexes, where uv is told to take the best match of all.

    Args:
        name: normalized.
        indexes: where to look.
        default: URL of the index that is asked last, or None for none.
        session: how to reach servers.

    Raises:
        FetchError: an index cannot be reached, or refuses. One that does not know the project is passed over.
    """
    found: list[Listed] = []
    for url in () if indexes.none else (*indexes.extra, *((default,) if default else ())):
        links = _project_page(session.credentials.embed(without_name(url)), name, session)
        if links:
            found += _of_project(links, name, session)
            if indexes.strategy != "unsafe-best-match":
                break
    found += _of_project(indexes.links, name, session)
    for url in indexes.find_links:
        found += _of_project(read_page(url, session), name, session)
    return tuple(found)


def _project_page(index: str, name: str, session: Session) -> list[Link]:
    url = f"{index.rstrip('/')}/{name}/"
    if is_local(url):
        page = local_path(url) / "index.html"
        return parse_page(page.as_uri(), page.read_text("utf-8")) if page.is_file() else []
    try:
        text, kind, final = read_text(url, session, accept=_ACCEPT)
    except FetchError as error:
        if error.status == 404:
            return []
        raise
    return _from_json(json.loads(text), final) if kind.endswith("json") else parse_page(final, text)


def _from_json(page: dict[str, Any], base: str) -> list[Link]:
    links = []
    for file in page.get("files", ()):
        url = urljoin(base, file["url"])
        sha256 = file.get("hashes", {}).get("sha256")
        yanked = file.get("yanked", False)
        links.append(
            Link(
                file["filename"],
                f"{url}#sha256={sha256}" if sha256 else url,
                file.get("requires-python") or "",
                None if yanked is False else "" if yanked is True else str(yanked),
            )
        )
    return links


def read_page(url: str, session: Session) -> Iterable[Link]:
    """The files of a find-links location: a page, or a folder of this machine.

    Raises:
        FetchError: it cannot be reached, or refuses.
    """
    if not is_local(url):
        text, _, final = read_text(session.credentials.embed(url), session, accept="text/html")
        return parse_page(final, text)
    place = local_path(url)
    if place.is_dir():
        return [Link(path.name, path.as_uri()) for path in sorted(place.iterdir()) if path.is_file()]
    return parse_page(place.as_uri(), place.read_text("utf-8"))


def _of_project(links: Iterable[Link], name: str, session: Session) -> Iterator[Listed]:
    for link in links:
        version = file_version(link.filename, name)
        if version is None:
            continue
        url, _, fragment = link.url.partition("#")
        algorithm, _, digest = fragment.partition("=")
        yield Listed(
            version=version,
            filename=link.filename,
            url=session.credentials.embed(url),
            sha256=digest.lower() if algorithm == "sha256" else None,
            requires_python=link.requires_python,
            yanked=link.yanked,
        )


def file_version(filename: str, name: str) -> str | None:
    """The version that a wheel's or an archive's name says; None when it is no file of that project.

    Old archives are not named as the specification of sdists has it: `My.Project-1.0.tar.bz2`, `my-project-1.0-1.zip`.

    Args:
        filename: the file's name.
        name: of the project, normalized.
    """
    try:
        if filename.endswith(".whl"):
            found, version, _, _ = parse_wheel_filename(filename)
            return str(version) if found == name else None
        found, version = parse_sdist_filename(filename)
        if found == name:
            return str(version)
    except (InvalidWheelFilename, InvalidSdistFilename):
        if filename.endswith(".whl"):
            return None
    stem = next((filename[: -len(end)] for end in _ARCHIVES if filename.endswith(end)), None)
    if stem is None:
        return None
    for place in (at for at, character in enumerate(stem) if character == "-"):
        if canonicalize_name(stem[:place]) == name:
            try:
                return str(Version(stem[place + 1 :]))
            except InvalidVersion:
                continue
    return None
