"""Asks the `keyring` command for passwords, as uv and pip do where they are configured to."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit

from builder import process
from builder.redact import without_userinfo


@lru_cache(maxsize=64)
def password(url: str, user: str) -> str | None:
    """The password that the keyring has for a user of a URL, or of its host.

    The command may ask a person or a server, so each question is put once. What it says on standard error (a page to
    log in at) reaches the user.

    Args:
        url: an index's URL; what it says of users is not passed on.
        user: the user's name.

    Returns:
        The password; None when there is none, or no such command.
    """
    bare = without_userinfo(url)
    for service in (bare, urlsplit(bare).netloc):
        try:
            run = process.run(["keyring", "get", service, user], given="", stderr=None)
        except OSError:
            return None
        found = run.stdout.rstrip("\r\n")
        if run.returncode == 0 and found:
            return found
    return None
