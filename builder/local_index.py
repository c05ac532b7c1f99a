"""Reads package indexes that are folders of this machine (PEP 503: a folder per project, an index.html in each).

uv looks for a version on the first index that has it. A local folder mostly holds one platform's files of a version, so
as an index it would hide the other platforms' that the default index has. As a page of links its files stand beside
the index's own, and uv chooses among all of them, which is what pip does with an extra index. Nobody from outside can
put a file into a folder of this machine, so this opens no way for dependency confusion.
"""

from __future__ import annotations

import html
import os
from dataclasses import dataclass
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

# A folder with more projects is a mirror of a whole index: complete by itself, and too much to read for one lock.
_MOST_PROJECTS = 20_000


@dataclass(frozen=True)
class Link:
    """A file that an index or a page of links names.

    Attributes:
        filename: the file's name.
        url: where it is; its fragment may hold a hash (PEP 503).
        requires_python: the versions of Python it is for, or "".
        yanked: why it should no longer be chosen (PEP 592), or None.
    """

    filename: str
    url: str
    requires_python: str = ""
    yanked: str | None = None


def local_path(url: str) -> Path:
    """The path of a file URL."""
    return Path(unquote(urlsplit(url).path))


@lru_cache(maxsize=16)
def read_local_index(url: str) -> tuple[Link, ...] | None:
    """All links of an index that is a folder of this machine.

    Args:
        url: its file URL.

    Returns:
        The links, or None when it is no such folder, or too large to be read.
    """
    root = local_path(url)
    links: list[Link] = []
    try:
        with os.scandir(root) as entries:
            projects = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return None
    if len(projects) > _MOST_PROJECTS:
        return None
    for project in projects:
        page = root / project / "index.html"
        try:
            links += parse_page(page.as_uri(), page.read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            continue
    return tuple(links)


def parse_page(base: str, text: str) -> list[Link]:
    """The links of an HTML page: a project's on an index (PEP 503), or one of find-links.

    Args:
        base: the page's URL, which links are relative to.
        text: the page.
    """
    parser = _Page(base)
    parser.feed(text)
    return parser.links


class _Page(HTMLParser):
    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.links: list[Link] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if tag == "a" and href:
            url = urljoin(self.base, href)
            yanked = values.get("data-yanked") or "" if "data-yanked" in values else None
            name = unquote(urlsplit(url).path.rpartition("/")[2])
            self.links.append(Link(name, url, values.get("data-requires-python") or "", yanked))


def links_page(links: Iterable[Link]) -> str:
    """A page of links, as find-links takes one."""
    lines = ["<!DOCTYPE html><html><body>"]
    for link in links:
        attributes = f'href="{html.escape(link.url)}"'
        if link.requires_python:
            attributes += f' data-requires-python="{html.escape(link.requires_python)}"'
        if link.yanked is not None:
            attributes += f' data-yanked="{html.escape(link.yanked)}"'
        lines.append(f"<a {attributes}>{html.escape(link.filename)}</a>")
    return "\n".join([*lines, "</body></html>", ""])
