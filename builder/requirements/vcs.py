"""Requirements that name a repository: `git+https://host/org/repo.git@revision` (pip: "VCS Support")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlunsplit

from builder.errors import DeclarationError
from builder.redact import MASK
from builder.requirements.model import GitSource
from builder.requirements.urls import split_url

if TYPE_CHECKING:
    from urllib.parse import SplitResult

_TRANSPORTS = ("https", "http", "ssh", "file")
_FORM = "git+https://host/org/repo.git@REVISION"
# user@host:path, with or without what people put before it. A port is no path.
_SCP_LIKE = re.compile(
    r"(?:git\+)?(?:ssh://)?(?P<user>[^\s/@:]+)@(?P<host>[A-Za-z0-9][\w.-]*):(?!\d+(?:/|$))/*(?P<path>[^\s/@]+(?:/\S*|(?<=\.git)@\S*)?)"
)
# What git allows in the name of a ref (git-check-ref-format) and nobody writes is left out.
_REVISION = re.compile(r"[\w][\w./+#=,@-]*")


def is_repository(target: str) -> bool:
    """Whether a URL is one of a repository, or is meant to be."""
    scheme = target.partition("://")[0].lower()
    return bool(
        re.match(r"(?:git|hg|svn|bzr)\+", target)
        or scheme in ("git", "ssh")
        or _SCP_LIKE.fullmatch(target)
        or (scheme in ("http", "https") and re.search(r"\.git(?:@[^/]*)?/?$", target.partition("#")[0]))
    )


def read_git(target: str, subdirectory: str | None, shown: str, where: str) -> GitSource:
    """Read a repository's URL.

    Args:
        target: the URL with its `git+`, without fragment.
        subdirectory: the project's folder in it.
        shown: the requirement, for messages.
        where: its place.

    Raises:
        DeclarationError: it is no git repository's, or malformed.
    """
    if scp := _SCP_LIKE.fullmatch(target):
        # Only this account is certain to be no token.
        user = scp["user"] if scp["user"] == "git" else MASK
        raise DeclarationError(
            f"{where}: {shown.replace(scp['user'] + '@', user + '@')!r} is no URL",
            hint=f"Write git+ssh://{user}@{scp['host']}/{scp['path']}",
        )
    if re.match(r"(?:hg|svn|bzr)\+", target):
        raise DeclarationError(
            f"{where}: {shown!r}: of version control systems only git is supported",
            hint="Name a released version, or the URL of a wheel or of an archive.",
        )
    if not target.startswith("git+"):
        raise DeclarationError(
            f"{where}: {shown!r} is the URL of a repository, without the git+ that says so",
            hint=f"Write git+ before it: {_FORM}",
        )
    parts = split_url(target.removeprefix("git+"), shown, where)
    path, at, revision = parts.path.rpartition("@")
    if not at:
        path = parts.path
    _check(parts, path, shown, where)
    return GitSource(
        url=urlunsplit(parts._replace(path=path, fragment="")),
        shown=urlunsplit((parts.scheme, _account(parts), path, "", "")),
        revision=_checked_revision(unquote(revision), shown, where) if at else None,
        subdirectory=subdirectory,
    )


def _check(parts: SplitResult, path: str, shown: str, where: str) -> None:
    host = parts.netloc.rpartition("@")[2]
    local = parts.scheme == "file"
    if parts.scheme not in _TRANSPORTS or not path.strip("/") or (local and host not in ("", "localhost")):
        raise DeclarationError(
            f"{where}: {shown!r} is not the URL of a git repository",
            hint=f"Write {_FORM}; besides https there are {', '.join(_TRANSPORTS[1:])}.",
        )
    # git would take what begins with a dash for an option of ssh.
    if not local and (not host or host.startswith("-") or parts.netloc.startswith("-")):
        raise DeclarationError(f"{where}: {shown!r} names no host", hint=f"Write {_FORM}")


def _account(parts: SplitResult) -> str:
    """Host and port; of an ssh URL the user too, without whom the host says nothing."""
    user, at, host = parts.netloc.rpartition("@")
    return f"{user.partition(':')[0]}@{host}" if at and parts.scheme == "ssh" else host


def _checked_revision(revision: str, shown: str, where: str) -> str:
    # A variable that is not set may stand for any.
    named = re.sub(r"\$\{[A-Z0-9_]+\}", "x", revision)
    if (
        not _REVISION.fullmatch(named)
        or ".." in named
        or "@{" in named
        or named.endswith(("/", ".", ".lock"))
    ):
        raise DeclarationError(
            f"{where}: {shown!r} names the revision {revision!r}, which is none of git's",
            hint="Behind the @ stands a branch, a tag or a commit; leave the @ out for the default branch.",
        )
    return revision
