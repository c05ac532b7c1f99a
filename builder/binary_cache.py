"""A binary cache: what is built on one machine is had from there on others (Nix manual, "Binary cache").

Nix's own protocol, signatures and stores do the work. What is pushed is an image's closure: its layers, which images
share; and on request what it is built from. Blobs are compressed already, so Nix compresses nothing again. Whatever
comes from a cache must be signed with a key that is trusted here; what is not is built on this machine.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from builder import nix
from builder.cache_files import WebServer, files_of
from builder.errors import BuilderError, BuildError, DeclarationError, ToolError
from builder.files import replacing, scratch_folder
from builder.nix_failure import PinnedFileError
from builder.nix_log import FETCH, Log, Reporter
from builder.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from builder.settings import Settings

_SCHEMES = ("file", "http", "https", "s3", "ssh", "ssh-ng")
# Stores that keep NARs as files, and sign what they are given.
_OF_FILES = ("file", "http", "https", "s3")
_URL_VARIABLE, _KEY_VARIABLE = "BUILDER_CACHE", "BUILDER_CACHE_KEY"
# Where marks are, in a cache: a file for each image that was pushed, with the paths that are to be kept for it.
MARKS = "builder-roots/"
# A cache that gives less than so many bytes a second, over so many seconds, is slower than building.
_SLOWEST, _PATIENCE = 16_000, 20.0
_NO_CONNECTION = re.compile(
    r"cannot (open )?connect|failed to start SSH|Connection (refused|closed|timed out)", re.IGNORECASE
)
# What a cache had once it may have no more: what Nix remembers of it, for a month, is not gone by.
_FRESH = (
    *("--option", "narinfo-cache-positive-ttl", "0"),
    *("--option", "narinfo-cache-negative-ttl", "0"),
)
# What Nix 2.8 sends a second time is empty, and the server waits for the rest of it.
_ONCE = ("--option", "download-attempts", "1")
# A cache is for saving time.
_IMPATIENT = (
    *("--option", "connect-timeout", "5"),
    *("--option", "stalled-download-timeout", "10"),
    *("--option", "download-attempts", "2"),
)


class UnreachableError(BuildError):
    """A cache does not answer, breaks off or is too slow to be of use."""


@dataclass(frozen=True)
class BinaryCache:
    """A cache that is asked before anything is built.

    Attributes:
        url: where it is.
        public_keys: keys whose signatures are trusted, as `name:base64`.
        secret_key: the file with the key that signs what is pushed; None where nothing is.
    """

    url: str
    public_keys: tuple[str, ...] = ()
    secret_key: Path | None = None

    @property
    def shown(self) -> str:
        """The URL for messages."""
        return redact(self.url)

    @property
    def is_of_files(self) -> bool:
        """Whether the store is one of files, which signs what it is given."""
        return urlsplit(self.url).scheme in _OF_FILES

    @property
    def nix_url(self) -> str:
        """The URL that Nix is given."""
        parts = urlsplit(self.url)
        if parts.scheme == "s3":
            from builder import s3, s3_gateway

            more = [(key, value) for key, value in parse_qsl(parts.query) if key not in s3.WORDS]
            return s3_gateway.url_of(s3.Bucket.of(self.url)) + (f"?{urlencode(more)}" if more else "")
        if parts.scheme.startswith("ssh") and "NIX_SSHOPTS" not in os.environ:
            # A machine that does not answer is not waited for, nor a question that nobody sees.
            asks = "" if sys.stdin.isatty() else " -o BatchMode=yes"
            os.environ["NIX_SSHOPTS"] = f"-o ConnectTimeout=10{asks}"
        return self.url

    def writable_url(self) -> str:
        """The URL that Nix writes to.

        Raises:
            ToolError: there is no key to sign with.
        """
        self.require_key()
        if not self.is_of_files:
            return self.nix_url
        more = {"compression": "none", "secret-key": str(Path(self.secret_key or "").absolute())}
        parts = urlsplit(self.nix_url)
        return urlunsplit(
            parts._replace(query=urlencode({**more, **dict(parse_qsl(parts.query))}, safe="/:"))
        )

    @property
    def trust(self) -> tuple[str, ...]:
        """Words for commands of Nix, by which they trust its keys."""
        if not self.public_keys:
            return ()
        return ("--option", "extra-trusted-public-keys", " ".join(self.public_keys))

    @property
    def asking(self) -> tuple[str, ...]:
        """Words for commands of Nix that ask nothing but it."""
        return (*_FRESH, *_IMPATIENT, *self.trust)

    def require_key(self) -> None:
        """See that there is a key to sign with, before time is spent on what it is needed for.

        Raises:
            ToolError: there is none.
        """
        if self.secret_key is None:
            raise ToolError(
                f"there is no key to sign with what goes to {self.shown}",
                hint=f"`builder cache keygen NAME` makes one; --cache-key FILE or {_KEY_VARIABLE} names another.",
            )

    @property
    def instruction(self) -> str:
        """What is to be done where Nix's daemon does not trust the user."""
        lines = [f"extra-trusted-public-keys = {' '.join(self.public_keys)}"] if self.public_keys else []
        if urlsplit(self.url).scheme != "s3":
            lines.append(f"extra-trusted-substituters = {self.url}")
        return (
            "the Nix daemon of this machine does not trust this user, so it takes from a cache only what keys of its "
            f"own have signed. To use {self.shown}, let its administrator add to /etc/nix/nix.conf:\n"
            + "".join(f"  {line}\n" for line in lines)
            + f"or, to let this user name caches and keys: extra-trusted-users = {_user()}\n"
            "and restart it: systemctl restart nix-daemon"
        )


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


class PacedLog(Log):
    """What Nix says, which breaks off where caches give so little that to build is quicker.

    Nix's own patience ends only where nothing comes at all.

    Raises:
        UnreachableError: from `line`.
    """

    def __init__(self, reporter: Reporter, *caches: BinaryCache, clock: Any = time.monotonic) -> None:  # noqa: ANN401
        super().__init__(reporter)
        self._names = " and ".join(cache.shown for cache in caches)
        self._urls = tuple(cache.nix_url.partition("?")[0] for cache in caches)
        self._clock = clock
        self._bytes: dict[int, int] = {}
        self._running: set[int] = set()
        self._since = (0.0, 0)

    def line(self, text: str) -> None:
        """Take one line of Nix's standard error."""
        super().line(text)
        if not self._running:
            return
        now, (then, before) = self._clock(), self._since
        if now - then >= _PATIENCE:
            done = sum(self._bytes.values())
            if done - before < _SLOWEST * (now - then):
                raise UnreachableError(
                    f"{self._names} is too slow: {(done - before) / 1000:.0f} kB in {now - then:.0f} seconds"
                )
            self._since = (now, done)

    def _event(self, event: dict[str, Any]) -> None:
        super()._event(event)
        action, key, fields = event.get("action"), event.get("id", 0), event.get("fields") or [""]
        if action == "start" and event.get("type") == FETCH:
            if str(fields[0]).startswith(self._urls):
                if not self._running:
                    self._since = (self._clock(), sum(self._bytes.values()))
                self._running.add(key)
        elif action == "stop":
            self._running.discard(key)
        elif action == "result" and key in self._running and len(fields) > 1:
            self._bytes[key] = int(fields[0])


def find_cache(
    settings: Settings, root: Path, *, url: str | None = None, secret_key: Path | None = None
) -> BinaryCache | None:
    """The cache that is configured: by option, by environment variable or in the project's settings, in that order.

    Args:
        settings: the project's.
        root: its folder, which a path in the settings is relative to.
        url: what the command line says.
        secret_key: the key's file that the command line names.

    Raises:
        DeclarationError: its URL is of a kind that Nix does not know.
        ToolError: the key's file cannot be read, or holds no key.
    """
    own_url = url or os.environ.get(_URL_VARIABLE)
    if not own_url and not settings.cache:
        return None
    checked = check_url(own_url, Path.cwd()) if own_url else check_url(settings.cache or "", root)
    named = secret_key or (Path(value) if (value := os.environ.get(_KEY_VARIABLE)) else None)
    key = named or (own if (own := own_key()).exists() else None)
    trusted = dict.fromkeys(settings.cache_keys)
    if key is not None:
        # What this user has signed is trusted here.
        trusted[public_key(key)] = None
    return BinaryCache(checked, tuple(trusted), key)


def check_url(url: str, base: Path) -> str:
    """A cache's URL.

    Args:
        url: the URL, or the path of a folder.
        base: what such a path is relative to.

    Raises:
        DeclarationError: it is of a kind that Nix does not know.
    """
    if "://" not in url:
        return f"file://{(base / Path(url).expanduser()).absolute()}"
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise DeclarationError(
            f"{redact(url)!r} is no URL of a binary cache",
            hint=f"It begins with {', '.join(_SCHEMES)} or is a path.",
        )
    if "@" in parts.netloc and parts.scheme in ("http", "https", "s3"):
        place = "the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        raise DeclarationError(
            f"{redact(url)!r} has credentials in it",
            hint="They are read from "
            + (place if parts.scheme == "s3" else "Nix's netrc-file, by default /etc/nix/netrc")
            + ".",
        )
    return url


def own_key() -> Path:
    """Where this user's key is, unless another is named (XDG base directory specification)."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "builder" / "cache.key"


@functools.cache  # many apps have one key, and Nix is asked for its public part
def public_key(secret: Path) -> str:
    """The public part of a key.

    Raises:
        ToolError: the file cannot be read, or holds no key.
    """
    try:
        text = secret.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ToolError(f"the key {secret} cannot be read: {error}") from error
    try:
        found = nix.run("nix", "key", "convert-secret-to-public", given=text).strip()
    except BuildError as error:
        raise ToolError(
            f"{secret} holds no key for signing", hint="`builder cache keygen NAME` makes one."
        ) from error
    return found


def make_key(name: str, path: Path) -> str:
    """Make a key, in a file that only this user can read, and return its public part.

    Args:
        name: what the key is called in signatures, such as "team-1".
        path: the file; what is there stays.

    Raises:
        DeclarationError: the name has other characters than letters, digits, `.`, `_` and `-`.
        ToolError: there is a file already.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise DeclarationError(
            f"{name!r} is no name for a key", hint="Take letters, digits and hyphens: team-1."
        )
    if path.exists():
        raise ToolError(
            f"{path} is there already", hint="--cache-key FILE names another; keys are not overwritten."
        )
    text = nix.run("nix", "key", "generate-secret", "--key-name", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text.strip().encode() + b"\n")
    return public_key(path)


def pull(cache: BinaryCache, path: str, *, log: Log) -> None:
    """Copy a path and all that it refers to from a cache into the store.

    Raises:
        UnreachableError: the cache cannot be reached, breaks off or is too slow.
        BuildError: it has not all of it, or a signature by a trusted key is lacking.
    """
    with reached(cache):
        # The second option is of no use here, but that a daemon says whether it lets this user give it.
        named = ("--option", "extra-substituters", cache.nix_url)
        words = ["--from", cache.nix_url, *named, *_IMPATIENT, *cache.trust, path]
        # Nix asks for each path up to three times. So it may remember what it was told, but in this run only.
        with scratch_folder() as memory:
            nix.copy(words, log=log, environment={"XDG_CACHE_HOME": str(memory)})


def push(cache: BinaryCache, *paths: str, log: Log, sources: Sequence[str] = ()) -> None:
    """Copy paths and all that they refer to into a cache, signed; what is there already is not sent.

    What is to be kept there is marked first, so that `builder cache gc` leaves it from that moment on.

    Args:
        cache: the cache.
        paths: those of images.
        log: receives what Nix does.
        sources: further paths, which are kept as long as the images are.

    Raises:
        UnreachableError: the cache cannot be reached, or breaks off.
        BuildError: it cannot be written.
        MachineError: it is a folder, and its disk is full.
        ToolError: there is no key.
    """
    url = cache.writable_url()
    with reached(cache):
        if not cache.is_of_files:
            # Such a store keeps the signatures that paths have.
            key = ("--recursive", "--key-file", str(cache.secret_key))
            nix.run("nix", "store", "sign", *key, *paths, *sources)
        for path in paths:
            _mark(cache, path, sources)
        nix.copy(["--to", url, *_FRESH, *_ONCE, *paths, *sources], log=log)


def _mark(cache: BinaryCache, path: str, sources: Sequence[str]) -> None:
    files = files_of(cache.url)
    if files is None:
        return
    wanted = [*dict.fromkeys((path, *nix.requisites(path))), *sources]
    try:
        files.write(f"{MARKS}{Path(path).name}", "".join(f"{one}\n" for one in wanted).encode())
    except BuildError:
        # A web server may take Nix's own files and no others. There the time of these counts.
        if not isinstance(files, WebServer):
            raise


def offered(files: Iterable[str], *caches: BinaryCache) -> frozenset[str]:
    """Those of some pinned files, by their paths in the store, that caches have; none of one that cannot be asked."""
    wanted = sorted(files)
    # Whatever was pushed with its sources has this one: a cache without is asked once and not for each file.
    busybox = [path for path in wanted if path.endswith("-busybox")]
    found: set[str] = set()
    for cache in caches if wanted else ():
        with contextlib.suppress(BuilderError):
            asking = ("--store", cache.nix_url, *cache.asking)
            if not busybox or nix.path_info(busybox, *asking):
                found |= nix.path_info(wanted, *asking).keys()
    return frozenset(found)


def build_flags(*caches: BinaryCache) -> tuple[str, ...]:
    """Words for Nix, by which it asks caches for each step before it builds it; none without a cache."""
    if not caches:
        return ()
    patience = ("--option", "stalled-download-timeout", "20")
    keys = dict.fromkeys(key for cache in caches for key in cache.public_keys)
    trust = ("--option", "extra-trusted-public-keys", " ".join(keys)) if keys else ()
    urls = " ".join(cache.nix_url for cache in caches)
    own = ("--option", "extra-substituters", urls, *_FRESH, *patience, *trust)
    # Without a network Nix asks no cache, unless it is told to: one may be on this machine.
    return (*own, "--option", "fallback", "true", "--option", "substitute", "true")


@contextlib.contextmanager
def reached(cache: BinaryCache) -> Iterator[None]:
    """Let errors of Nix be about the cache, by the URL that its user knows."""
    try:
        yield
    except PinnedFileError as error:
        raise UnreachableError(f"{cache.shown} cannot be reached: {error.problem}") from error
    except UnreachableError:
        raise
    except BuildError as error:
        said = str(error).replace(cache.nix_url, cache.shown)
        if cache.is_of_files:
            raise BuildError(said, hint=error.hint) from error
        if _NO_CONNECTION.search(said):
            raise UnreachableError(f"{cache.shown} cannot be reached: {said}") from error
        hint = error.hint
        if "lacks a" in said:
            hint = f"The nix.conf of one that takes a path must have, as trusted-public-keys: {cache.public_keys[0]}"
        raise BuildError(said, hint=hint) from error
