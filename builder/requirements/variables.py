"""Replaces `${NAME}` in requirements, and keeps account of what is secret in the result."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from builder.errors import DeclarationError
from builder.redact import MASK, redact, url_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_CREDENTIAL_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|PWD|AUTH|CRED|SIG|PAT(?:_|$)")
_LONG_VALUE = 20
_LOGIN = re.compile(r"(?:^|(?<=[\s@+'\"])|(?<=[^/]/))[^\s/@:'\"]+:[^\s/@:]+@(?=\S)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
# What tells apart the images that are built from a URL, and is no place for a credential: a git revision, and
# the fragment.
_REVISION = re.compile(r"git\+[^:/?#\s]+://[^/?#\s]*/[^?#\s]*@(?P<told>[^@?#\s]*)")
_FRAGMENT = re.compile(r"://[^#\s]*#(?P<told>\S*)")
# Where credentials stand. They decide nothing of a lock, so their variables are shown and not their values.
_USER = re.compile(r"://(?P<told>[^/?#\s]*)@")
_QUERY = re.compile(r"://[^?#\s]*\?(?P<told>[^#\s]*)")


class Variables:
    """The environment as requirements see it.

    Args:
        env: the environment; None leaves `${NAME}` as it is everywhere, for words that the user did not write.
        unset_ok: leave `${NAME}` in a URL as it is where NAME is not set.

    Attributes:
        secrets: values that must appear in no file and no message, as they are met.
    """

    def __init__(self, env: Mapping[str, str] | None, *, unset_ok: bool = False) -> None:
        self._env = env
        self._unset_ok = unset_ok
        self.secrets: list[str] = []

    def expand(self, text: str, where: str) -> str:
        """Replace `${NAME}`, and remember what is secret in the result.

        Raises:
            DeclarationError: a variable is not set, or the result holds a URL that does not parse.
        """
        expanded = text if self._env is None else self._replaced(text, where)
        for url in _URL.findall(expanded):
            try:
                secrets = url_secrets(url)
                # The user that an ssh URL names is an account, and nothing secret.
                account = "ssh" in urlsplit(url).scheme and not urlsplit(url).password
            except ValueError:
                # Its message may quote a password.
                raise DeclarationError(
                    f"{where}: {self.show(text)!r} is no URL", hint="Write https://host/path."
                ) from None
            self.secrets += () if account else secrets
        return expanded

    def show(self, text: str) -> str:
        """The text for messages and locks: credentials masked, other variables replaced.

        Args:
            text: as written; `expand` has been called with it.
        """
        hidden = [span for pattern in (_USER, _QUERY) for span in _spans(pattern, text)]

        def value(match: re.Match[str]) -> str:
            found = None if self._env is None else self._env.get(match.group(1))
            if found is None or found in self.secrets or _within(match, hidden):
                return match.group()
            return found

        return self.mask(_REFERENCE.sub(value, text))

    def mask(self, text: str) -> str:
        """Any text, credentials masked, also those of what is nearly a URL."""
        return _LOGIN.sub(f"{MASK}@", redact(text, self.secrets))

    def _replaced(self, text: str, where: str) -> str:
        env = self._env or {}
        plain = [span for pattern in (_REVISION, _FRAGMENT) for span in _spans(pattern, text)]

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            found = env.get(name)
            if found is None and self._unset_ok and "://" in text:
                return match.group()
            if found is None:
                raise DeclarationError(
                    f"{where}: {self.mask(text)!r} names the environment variable {name}, which is not set",
                    hint=f"Set it where you lock: export {name}=...",
                )
            # In a URL a value may be a credential wherever it stands, even as a part of the path. A version
            # number is not one, and masking it everywhere would spoil messages and locks.
            named = _CREDENTIAL_NAME.search(name) is not None and "://" in text + found
            long = len(found) >= _LONG_VALUE and "://" in text and not _within(match, plain)
            if found and (named or long):
                self.secrets.append(found)
            return found

        return _REFERENCE.sub(value, text)


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    return (match.span("told") for match in pattern.finditer(text))


def _within(match: re.Match[str], spans: list[tuple[int, int]]) -> bool:
    return any(start <= match.start() and match.end() <= end for start, end in spans)
