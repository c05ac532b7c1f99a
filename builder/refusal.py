"""What to do when a server refuses a file: the words for its status (RFC 9110, section 15)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# What the parameters of signed URLs are called: S3's and Google's, CloudFront's, Azure's, and common ones.
_SIGNATURE = re.compile(r"sig|signature|hmac|policy|token|.*-signature|.*-token|.*[-_]sig|sas")
_UNTIL = ("expires", "exp", "expiry", "se", "expires_at")


def is_signed(url: str) -> bool:
    """Whether a URL's query holds a signature or a time at which it ends."""
    return any(map(_SIGNATURE.fullmatch, _parameters(url))) or expiry(url) is not None


def expiry(url: str) -> datetime | None:
    """The moment at which a pre-signed URL stops to work, in UTC, where its query says so.

    Known are Unix times (S3's older signatures, CloudFront, Google), a date and seconds from it (`X-Amz-Date` and
    `X-Amz-Expires`, `X-Goog-Date` and `X-Goog-Expires`), and ISO 8601 times (`se`, of Azure).
    """
    parameters = _parameters(url)
    for vendor in ("amz", "goog"):
        date, seconds = parameters.get(f"x-{vendor}-date", ""), parameters.get(f"x-{vendor}-expires", "")
        if re.fullmatch(r"\d{8}T\d{6}Z", date) and re.fullmatch(r"\d{1,9}", seconds):
            begin = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            return begin + timedelta(seconds=int(seconds))
    for key in _UNTIL:
        value = parameters.get(key, "")
        if re.fullmatch(r"\d{9,11}", value):
            return datetime.fromtimestamp(int(value), timezone.utc)
        if re.match(r"\d{4}-\d\d-\d\d", value):
            try:
                moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
            except ValueError:
                continue
            return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    return None


def explain_status(status: int, url: str, *, scheme: str | None = None) -> tuple[str, str]:
    """What a refusal means, and what to do about it.

    Args:
        status: the server's answer.
        url: what was asked for, with its query.
        scheme: the scheme of the credentials that were sent, "Basic" or "Bearer"; None for none.

    Returns:
        Words for the message, "" where the status says it all, and the hint.
    """
    if status in (400, 401, 403) and is_signed(url):
        until = expiry(url)
        if until is not None and until <= datetime.now(timezone.utc):
            meaning = f"the signed URL has expired, at {until:%Y-%m-%d %H:%M:%S} UTC"
        else:
            meaning = "the signed URL was refused; it may have expired"
        return meaning, "Get a new URL from where it came from."
    if status in (401, 403, 407):
        return "", _AFTER_LOGIN[
            scheme
        ] if status != 407 else "Set user and password of the proxy in https_proxy."
    if status in (404, 410):
        hint = "Check the URL."
        if scheme is None:
            hint += " Some servers also say this to those who have not logged in."
        return "", hint
    if status == 429:
        return "", "The server limits how often it is asked: wait, then run the command again."
    if status >= 500:
        return "", "The server has a problem: run the command again later, or use a mirror."
    return "", "Check the URL."


_AFTER_LOGIN: Mapping[str | None, str] = {
    None: "It may need credentials: write them into the URL, as ${NAME}, or into ~/.netrc; a bearer token is named in "
    "[tool.builder.tokens].",
    "Basic": "The user name and password that are configured for this host were not accepted: check them.",
    "Bearer": "The bearer token that is configured for this URL was not accepted: it may have expired.",
}


def _parameters(url: str) -> dict[str, str]:
    return {key.lower(): value for key, value in parse_qsl(urlsplit(url).query)}
