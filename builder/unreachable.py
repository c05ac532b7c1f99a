"""Says what uv could not reach in the words that our own downloads have: for which requirement, and what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from builder.errors import ResolveError
from builder.redact import redact, strip_url
from builder.refusal import explain_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.requirements import Requirement
    from builder.uvtool import Indexes

_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3})([^)]*)\) for url \((\S+?)\)")
_URL = re.compile(r"https?://[^\s`'\")]+")
_RETRIES = re.compile(r"Request failed after (\d+) retr")
_REFUSED_INDEX = re.compile(r"[Aa]n index(?: URL)? \((\S+?)\).*?(401|403)", re.DOTALL)
_SHOWN = 3
_OFFLINE = "Check the network and the proxy settings, then run the command again."
_NO_FILE = (
    "The server sent something else: a page to log in at, or a redirect that leads nowhere. Open the URL in a browser, "
    "and check whether it needs credentials."
)
# What uv's causes are called here, and what to do.
_CAUSES = (
    (
        r"invalid peer certificate: (.+)",
        "the certificate of {url} is not trusted: {0}",
        "Name the file of your CA's certificates in SSL_CERT_FILE, or as pip's `cert`.",
    ),
    (r"(?:dns error|failed to lookup address)", "{url} cannot be reached: its host is not known", _OFFLINE),
    (
        r"tcp connect error[^\n]*\n\W*(?:cause: )?(.+?)(?: \(os error \d+\))?$",
        "{url} cannot be reached: {0}",
        _OFFLINE,
    ),
    (r"(?:operation timed out|timeout)", "{url} did not answer in time", _OFFLINE),
    (r"(?:error reading a body|error decoding response body)", "the connection to {url} was lost", _OFFLINE),
    (
        r"(?:Unsupported `Content-Type`|Failed to extract archive|Invalid zip)",
        "{url} is not what it should be",
        _NO_FILE,
    ),
)


def explain_unreachable(
    text: str, place: str, requirements: Iterable[Requirement], indexes: Indexes
) -> ResolveError:
    """Turn uv's message about a page or a file that it could not have into ours.

    Args:
        text: uv's message, without secrets.
        place: the step, or "".
        requirements: the step's.
        indexes: where uv looked; says which credentials were sent.
    """
    status = _STATUS.search(text)
    found = _URL.search(text)
    url = (status[3] if status else found.group() if found else "").rstrip(".,:;")
    known = tuple(requirements)
    about = _about(url, known)
    place += f"{about.where}: {about.shown}: " if about else ""
    # uv says it without the query, and the query tells whether a URL has expired.
    asked = about.url if about and about.url else url
    message, hint = "", "Check the URL, the network and the credentials, then run the command again."
    if status:
        meaning, hint = explain_status(int(status[1]), asked, scheme=_scheme(asked, indexes))
        message = f"{url} answered {status[1]}{status[2]}" + (f": {meaning}" if meaning else "")
    for pattern, words, advice in () if status or not url else _CAUSES:
        if cause := re.search(pattern, text, re.MULTILINE):
            message, hint = words.format(*cause.groups(), url=url), advice
            break
    if not message:
        message = f"packages could not be looked up: {text}"
    elif retries := _RETRIES.search(text):
        message += f" ({int(retries[1]) + 1} attempts)"
    if about is None and known:
        shown = [requirement.shown for requirement in known[:_SHOWN]]
        message += f"; it was asked for {', '.join(shown)}" + (" and more" if len(known) > _SHOWN else "")
    return ResolveError(redact(f"{place}{message}"), hint=hint)


def refused_index(text: str, indexes: Indexes) -> str | None:
    """What to do about an index that uv could not ask, where its message names one: it then finds no package there."""
    refused = _REFUSED_INDEX.search(text)
    if refused is None:
        return None
    host = urlsplit(refused[1]).netloc.rpartition("@")[2]
    return f"{host}: {explain_status(int(refused[2]), refused[1], scheme=_scheme(refused[1], indexes))[1]}"


def _about(url: str, requirements: Sequence[Requirement]) -> Requirement | None:
    """The requirement that a URL was asked for: one that names it, or the name of the index's page or of the file."""
    bare = strip_url(url) if url else None
    for requirement in requirements:
        if requirement.url and bare == strip_url(requirement.url):
            return requirement
    last = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])
    names = {canonicalize_name(last), canonicalize_name(last.partition("-")[0])}
    return next((requirement for requirement in requirements if requirement.name in names), None)


def _scheme(url: str, indexes: Indexes) -> str | None:
    """The scheme of the credentials that are configured for a URL."""
    known = indexes.credentials.authorization(url) if url else None
    return known.split()[0] if known else None
