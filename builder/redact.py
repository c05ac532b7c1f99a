"""Take credentials out of URLs and of text that is shown or written.

Two different jobs. `strip_url` makes the URL that a lock may hold: what is left still names the file, and
nothing in it is secret. `redact` makes text fit to be shown: it keeps the text's shape and puts `***` where
something was.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

MASK = "***"

#: Values shorter than this are too likely to be part of an ordinary word to be replaced wherever they occur;
#: inside a URL they are masked by their place whatever their length.
SHORTEST_SECRET = 4

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>`]+")
_REFERENCE = re.compile(r"\$\{[A-Z0-9_]+\}")
_HEADER = re.compile(
    r"""(authorization["']?\s*[:=]\s*["']?(?:(?:basic|bearer|token)\s+)?)[^\s"',;]+""", re.IGNORECASE
)
_TRAILING = "),.;:"


def strip_url(url: str, secrets: Iterable[str] = ()) -> str | None:
    """Reduce a URL to what may be written down: scheme, host, port and path.

    User name and password go, and so do the query (pre-signed URLs carry their secret there; a URL in a lock
    is a hint, so one that does not work without its query costs a look-up and nothing else) and the fragment.

    Args:
        url: any URL; file URLs are left as they are but for query and fragment.
        secrets: values that must not remain. One that stands in the path cannot be taken out of it.

    Returns:
        The URL, or None when a secret would remain in it.
    """
    parts = urlsplit(url)
    stripped = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    for secret in secrets:
        if secret and (secret in stripped or quote(secret, safe="") in stripped):
            return None
    return stripped


def is_reference(text: str) -> bool:
    """Whether a text is `${NAME}`, which stands for an environment variable's value."""
    return _REFERENCE.fullmatch(text) is not None


def userinfo(url: str) -> tuple[str, str] | None:
    """User name and password of a URL, percent-decoded; None when it names no user."""
    info, at, _ = urlsplit(url).netloc.rpartition("@")
    if not at:
        return None
    user, _, password = info.partition(":")
    return unquote(user), unquote(password)


def without_userinfo(url: str) -> str:
    """The URL without a user and a password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def url_secrets(url: str) -> tuple[str, ...]:
    """The secret values a URL carries, as written and percent-decoded.

    They are its password, or its user name where that stands alone (a token), and the values in its query.
    """
    found: list[str] = []
    info = urlsplit(url).netloc.rpartition("@")[0]
    if info:
        decoded = userinfo(url)
        assert decoded is not None
        user, colon, password = info.partition(":")
        found += [password, decoded[1]] if colon and password else [user, decoded[0]]
    found += [value for _, value in parse_qsl(urlsplit(url).query)]
    real = (value for value in found if len(value) >= SHORTEST_SECRET and not is_reference(value))
    return tuple(dict.fromkeys(real))


def _mask_userinfo(info: str) -> str:
    """Keep `${NAME}` references, which are not secrets themselves, and a user name that stands before one."""
    user, colon, password = info.partition(":")
    if colon and is_reference(password):
        return info
    if not colon and is_reference(user):
        return info
    return MASK


def redact_url(url: str) -> str:
    """Mask user, password and query of a URL for showing; the fragment (usually a hash) stays."""
    scheme, sep, rest = url.partition("://")
    if not sep:
        return url
    # By hand instead of urlsplit: text that is shown may hold URLs that do not parse, and those must not leak
    # either.
    end = re.search(r"[/?#]", rest)
    netloc, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    info, at, host = netloc.rpartition("@")
    if at:
        netloc = f"{_mask_userinfo(info)}@{host}"
    else:
        # A password with a raw slash in it puts the "@" into what looks like the path.
        first, at, host = tail.partition("@")
        if at and ":" in netloc and not re.fullmatch(r"[^:]*:\d*", netloc) and "?" not in first:
            netloc, tail = f"{MASK}@{host.partition('/')[0]}", "/" + host.partition("/")[2]
    head, question, query = tail.partition("?")
    if question:
        _, hash_sign, fragment = query.partition("#")
        tail = f"{head}?{MASK}{hash_sign}{fragment}"
    return f"{scheme}://{netloc}{tail}"


def spellings(secret: str) -> set[str]:
    """A secret as it is, and as programs percent-encode it."""
    encoded = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return {
        secret,
        *encoded,
        *(re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), one) for one in encoded),
    }


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Make text fit to be shown: every URL in it masked, every known secret value replaced.

    What stands behind `Authorization:` is masked too.

    Args:
        text: anything: an error message, a program's output, a requirement.
        secrets: values known to be secret, found wherever they stand, percent-encoded too. Those shorter than
            four characters are only masked where a URL's structure gives them away.
    """

    def mask(match: re.Match[str]) -> str:
        url = match.group()
        core = url.rstrip(_TRAILING)
        return redact_url(core) + url[len(core) :]

    text = _HEADER.sub(rf"\g<1>{MASK}", _URL.sub(mask, text))
    known = {form for secret in secrets if len(secret) >= SHORTEST_SECRET for form in spellings(secret)}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text
