"""The URLs that git takes: `https://host/path`, `ssh://user@host/path`, `user@host:path`, `file:///path`, a path."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from builder.errors import ResolveError
from builder.redact import redact, redact_url, without_userinfo

_SCP_LIKE = re.compile(r"(?:[\w.+-]+@)?(?:\[[^\]]+\]|[\w.-]+):(?!//).+")
_WEB = ("http", "https")
_TELLING = 8  # characters; a shorter secret may be part of any word


def scheme(url: str) -> str:
    """How a repository is reached: "https", "http", "ssh", "file", or whatever else the URL begins with."""
    found, separator, _ = url.partition("://")
    if separator:
        return {"git+ssh": "ssh", "ssh+git": "ssh"}.get(found.lower(), found.lower())
    helper = re.match(r"([\w.+-]+)::", url)
    if helper:
        return helper.group(1)
    return "ssh" if _SCP_LIKE.fullmatch(url) and not url.startswith(("/", ".")) else "file"


def is_web(url: str) -> bool:
    """Whether it is an http or https URL."""
    return scheme(url) in _WEB


def plain(url: str) -> str:
    """The URL as it may be told to git, which shows it to everyone: without password, token and fragment.

    The user of an ssh URL stays; that is an account, and nothing secret.
    """
    if is_web(url):
        return urlunsplit(urlsplit(without_userinfo(url))._replace(fragment="")).rstrip("/")
    if "://" not in url or scheme(url) != "ssh":
        return url.partition("#")[0]
    parts = urlsplit(url)
    account, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=account.partition(":")[0] + at + host, fragment=""))


def check(url: str, secrets: tuple[str, ...], where: str, *, within: str | None = None) -> None:
    """Refuse a URL that cannot be fetched safely.

    Args:
        url: of a repository.
        secrets: values that must be seen by nobody.
        where: what an error begins with.
        within: the repository whose submodule it is, if it is one.

    Raises:
        ResolveError: its transport is unsafe, or a secret stands where it cannot be hidden.
    """
    kind = scheme(url)
    local = kind == "file"
    known = kind in (*_WEB, "ssh") or url.startswith(("file:///", "/"))
    if not known or url.startswith("-") or re.search(r"[\x00-\x1f]", url):
        raise ResolveError(
            f"{where}: {redact(redact_url(url), secrets)} is no URL that a repository is fetched from",
            hint="Repositories are fetched over https, http, ssh, or from a local folder.",
        )
    if local and within is not None and scheme(within) != "file":
        raise ResolveError(
            f"{where}: a submodule's URL is the local path {redact(url, secrets)}, and the repository is not local",
            hint="A repository from elsewhere must not read this machine's files.",
        )
    if "://" in url and not local and not _has_host(url):
        raise ResolveError(f"{where}: {redact(redact_url(url), secrets)} names no host, or no port as one")
    path = _split(plain(url))[2]
    if not local and ("?" in url or any(len(secret) >= _TELLING and secret in path for secret in secrets)):
        raise ResolveError(
            f"{where}: the URL of the git repository has a secret in its path or query, where git would show it in "
            "the machine's list of processes",
            hint="Put it in front of the host, as git+https://${TOKEN}@host/...; what is no secret can be written "
            "without ${...}.",
        )


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def joined(url: str, relative: str) -> str | None:
    """A submodule's URL that is relative to its superproject's (gitsubmodules: `./` and `../`).

    Returns:
        the URL; None when it would lead above the host or the root folder.
    """
    head, separator, path = _split(url)
    parts = [part for part in path.split("/") if part]
    for step in relative.split("/"):
        if step == "..":
            if not parts:
                return None
            parts.pop()
        elif step not in ("", "."):
            parts.append(step)
    return head + separator + "/".join(parts) if parts else None


def _split(url: str) -> tuple[str, str, str]:
    """What stays of a URL however many `../` there are; what separates; the path."""
    if "://" in url:
        kind, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        return f"{kind}://{host}", slash or "/", path
    if scheme(url) == "ssh":
        host, colon, path = url.partition(":")
        return host, colon + ("/" if path.startswith("/") else ""), path.lstrip("/")
    return "", "/" if url.startswith("/") else "", url.lstrip("/")
