"""A binary cache: what is built on one machine is had from there on others (Nix manual, "Binary cache").

Nix's own protocol, signatures and stores do the work. What is pushed is an image's closure: its layers, which images
share. Blobs are compressed already, so Nix compresses nothing again. Whatever comes from a cache must be signed with a
key that is trusted here; what is not is built on this machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from builder import nix
from builder.errors import BuildError, DeclarationError, ToolError
from builder.files import replacing
from builder.redact import redact

if TYPE_CHECKING:
    from builder.nix_log import Log
    from builder.settings import Settings

_SCHEMES = ("file", "http", "https", "s3", "ssh", "ssh-ng")
# Stores that keep NARs as files, and sign what they are given.
_OF_FILES = ("file", "http", "https", "s3")
_URL_VARIABLE, _KEY_VARIABLE = "BUILDER_CACHE", "BUILDER_CACHE_KEY"


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

    def writable_url(self) -> str:
        """The URL that Nix writes to.

        Raises:
            ToolError: there is no key to sign with.
        """
        if self.secret_key is None:
            raise ToolError(
                f"there is no key to sign with what goes to {self.shown}",
                hint=f"`builder cache keygen NAME` makes one; --cache-key FILE or {_KEY_VARIABLE} names another.",
            )
        more = (
            {"compression": "none", "secret-key": str(self.secret_key.absolute())} if self.is_of_files else {}
        )
        parts = urlsplit(self.url)
        return urlunsplit(
            parts._replace(query=urlencode({**more, **dict(parse_qsl(parts.query))}, safe="/:"))
        )


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
    if "@" in parts.netloc and parts.scheme in ("http", "https"):
        raise DeclarationError(
            f"{redact(url)!r} has credentials in it",
            hint="Nix reads them from its netrc-file, by default /etc/nix/netrc.",
        )
    return url


def own_key() -> Path:
    """Where this user's key is, unless another is named (XDG base directory specification)."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "builder" / "cache.key"


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
        BuildError: the cache has not all of it, or cannot be reached; or a signature by a trusted key is lacking.
    """
    nix.copy(["--from", cache.url, *_trust(cache), path], log=log)


def push(cache: BinaryCache, *paths: str, log: Log) -> None:
    """Copy paths and all that they refer to into a cache, signed; what is there already is not sent.

    Raises:
        BuildError: the cache cannot be reached or written.
        ToolError: there is no key.
    """
    url = cache.writable_url()
    if not cache.is_of_files:
        # Such a store keeps the signatures that paths have.
        nix.run("nix", "store", "sign", "--recursive", "--key-file", str(cache.secret_key), *paths)
    nix.copy(["--to", url, *paths], log=log)


def build_flags(*caches: BinaryCache) -> tuple[str, ...]:
    """Words for Nix, by which it asks caches for each step before it builds it; none without a cache."""
    if not caches:
        return ()
    urls = " ".join(cache.url for cache in caches)
    return ("--option", "extra-substituters", urls, *_trust(*caches), "--option", "fallback", "true")


def _trust(*caches: BinaryCache) -> tuple[str, ...]:
    words = ["--option", "stalled-download-timeout", "20", "--option", "narinfo-cache-negative-ttl", "0"]
    if keys := dict.fromkeys(key for cache in caches for key in cache.public_keys):
        words += ["--option", "extra-trusted-public-keys", " ".join(keys)]
    return tuple(words)
