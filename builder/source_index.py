"""An index that offers archives as if they were wheels already, for as long as uv looks for versions.

uv would have to run a package's own code to learn what an archive depends on. Here it is told that there is a wheel,
and only when it asks for that wheel's metadata is one made, in a Nix build. So uv alone decides which versions those
are, and nothing of a package runs on the machine itself.

The index speaks JSON (PEP 691) and serves metadata beside the files (PEP 658). It listens on the loopback interface,
below a path that nobody can guess, since the URLs in it may carry credentials.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from packaging.specifiers import InvalidSpecifier, SpecifierSet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from builder.simple_index import Listed
    from builder.tags import Target

# Of two archives of a version the first kind is taken: the one that the specification of sdists has.
_KINDS = (".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")


@dataclass(frozen=True)
class Offer:
    """A file as this index lists it.

    Attributes:
        filename: the wheel's name, invented for an archive.
        url: where it is; of an invented wheel the path below this index's root, whose port changes.
        sha256: hex digest; of an invented wheel a number that stands for the archive.
        listed: what is behind it.
    """

    filename: str
    url: str
    sha256: str | None
    listed: Listed

    @property
    def is_built(self) -> bool:
        """Whether it is an archive."""
        return not self.listed.is_wheel


class SourceIndex:
    """The index.

    Args:
        target: what wheels have to fit.
        listing: the files of a project, by its normalized name.
        metadata: the core metadata of the wheel that an archive becomes; may take minutes.
        offered: whether a project is offered at all; what is not, uv looks for elsewhere.
        forced: whether a project's wheels are left out.
        only: whether uv is to find nothing on any other index, whatever it is configured for.
    """

    def __init__(
        self,
        target: Target,
        *,
        listing: Callable[[str], tuple[Listed, ...]],
        metadata: Callable[[str, Listed], bytes],
        offered: Callable[[str], bool],
        forced: Callable[[str], bool],
        only: bool = False,
    ) -> None:
        self._target = target
        self._listing = listing
        self._metadata = metadata
        self._offered = offered
        self._forced = forced
        self._only = only
        self._secret = secrets.token_urlsafe(24)
        self._root = ""
        self._offers: dict[str, dict[str, Offer]] = {}
        self._lock = threading.RLock()
        # What went wrong while uv waited; it is what the user is told, and not that this index had no answer.
        self.failure: BaseException | None = None

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve until the block ends; yields the index's URL."""
        handler = type("Handler", (_Handler,), {"index": self})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        self._root = f"http://127.0.0.1:{server.server_address[1]}/{self._secret}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"{self._root}/simple"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def find(self, name: str, url: str) -> Listed | None:
        """The archive behind a URL that uv was told; None for anything else."""
        filename = unquote(urlsplit(url).path.rpartition("/")[2])
        offer = self._offers.get(name, {}).get(filename)
        # By the secret and not by the port: uv may have been asked again, by another server, since it said this URL.
        own = urlsplit(url).path.startswith(f"/{self._secret}/")
        return offer.listed if offer is not None and offer.is_built and own else None

    def answer(self, path: str) -> tuple[bytes, str] | None:
        """What is at a path of the server: its content and media type; None where there is nothing."""
        parts = unquote(path).strip("/").split("/")
        if parts[0] != self._secret:
            return None
        try:
            if parts[1:2] == ["simple"] and len(parts) == 3:
                return self._page(parts[2])
            if parts[1:2] == ["files"] and len(parts) == 4 and parts[3].endswith(".metadata"):
                offer = self._offers.get(parts[2], {}).get(parts[3].removesuffix(".metadata"))
                # One build at a time: each uses all cores, and uv may ask for two of one package.
                with self._lock:
                    return (self._metadata(parts[2], offer.listed), "text/plain") if offer else None
        except BaseException as error:  # noqa: BLE001 - of whatever kind, it belongs to the thread that waits for uv
            self.failure = self.failure or error
        return None

    def _page(self, name: str) -> tuple[bytes, str] | None:
        with self._lock:
            if name not in self._offers and self._offered(name):
                offers: dict[str, Offer] = {}
                for offer in self._choose(name):
                    offers.setdefault(offer.filename, offer)
                self._offers[name] = offers
        files = [_entry(offer, self._root) for offer in self._offers.get(name, {}).values()]
        if not files and not self._only:
            return None
        # uv asks no further index for a project that has a page, even an empty one.
        page = {"meta": {"api-version": "1.0"}, "name": name, "files": files}
        return json.dumps(page).encode(), "application/vnd.pypi.simple.v1+json"

    def _choose(self, name: str) -> Iterator[Offer]:
        """The wheels that fit, and an archive for each version that has none of them."""
        files = [file for file in self._listing(name) if self._admits(file)]
        with_wheel = set()
        for file in files:
            if file.is_wheel and not self._forced(name) and self._target.rank(file.filename) is not None:
                with_wheel.add(file.version)
                yield Offer(file.filename, file.url, file.sha256, file)
        archives: dict[str, Listed] = {}
        for file in sorted(files, key=lambda file: _kind(file.filename)):
            if not file.is_wheel and file.version not in with_wheel:
                archives.setdefault(file.version, file)
        for version, file in archives.items():
            filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
            number = hashlib.sha256(f"{file.filename} {file.sha256 or file.url}".encode()).hexdigest()
            yield Offer(filename, f"files/{name}/{quote(filename)}", number, file)

    def _admits(self, file: Listed) -> bool:
        try:
            return SpecifierSet(file.requires_python).contains(self._target.python_full, prereleases=True)
        except InvalidSpecifier:
            return True


def _kind(filename: str) -> int:
    return next((place for place, end in enumerate(_KINDS) if filename.endswith(end)), len(_KINDS))


def _entry(offer: Offer, root: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": offer.filename,
        "url": f"{root}/{offer.url}" if offer.is_built else offer.url,
        "hashes": {"sha256": offer.sha256} if offer.sha256 else {},
        "core-metadata": offer.is_built,
        "yanked": offer.listed.yanked if offer.listed.yanked is not None else False,
    }
    if offer.listed.requires_python:
        entry["requires-python"] = offer.listed.requires_python
    return entry


class _Handler(http.server.BaseHTTPRequestHandler):
    index: SourceIndex

    def log_message(self, *_: object) -> None:
        """Say nothing: the paths hold the secret."""

    def do_GET(self) -> None:
        found = self.index.answer(urlsplit(self.path).path)
        body, kind = found or (b"", "text/plain")
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the base class's name
