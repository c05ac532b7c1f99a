"""Asks the server that has a repository. Who we are is told to git by files that nobody else can read.

Git's arguments and environment can be read by others, and what it is told of credentials it offers to the user's
credential helpers for keeping. So user and password are in the file of a credential store that is git's for this
URL alone and for this command, and a bearer token is in a configuration file. Both are in a folder with mode 0700.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import ssl
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from builder.credentials import origin
from builder.errors import ResolveError
from builder.files import scratch_folder
from builder.git.failures import REJECTED, Failure, failure
from builder.git.program import executable, reaching_environment, run
from builder.git.urls import is_web, plain, scheme
from builder.redact import redact, url_secrets, without_userinfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from builder.credentials import Credentials

_ATTEMPTS = 3
_WAIT = 0.5  # seconds before the second attempt; twice that before the third
_STALLED = 60  # seconds without a byte

# Where systems have their CA certificates, besides where Python's OpenSSL looks.
_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)

# What a fetch must not do, whatever the user's configuration says.
_SETTINGS = {
    "core": {"hooksPath": os.devnull, "logAllRefUpdates": "false", "fsmonitor": "false"},
    "credential": {"interactive": "never"},
    # An interrupted fetch must leave nothing half done: a pack is there or is not, loose objects come one by one.
    "fetch": {"unpackLimit": "1", "prune": "false", "pruneTags": "false", "recurseSubmodules": "false"},
    "transfer": {"unpackLimit": "1"},
    "gc": {"auto": "0"},
    "maintenance": {"auto": "false"},
    "submodule": {"recurse": "false"},
}


class RemoteError(Exception):
    """The server did not give what it was asked for."""

    def __init__(self, why: Failure) -> None:
        super().__init__(why.message)
        self.why = why


@dataclass(frozen=True)
class Remote:
    """A repository on a server, or in another folder.

    Attributes:
        url: without credentials.
        secrets: values that must be in no message.
        report: told what takes long.
    """

    url: str
    secrets: tuple[str, ...] = field(repr=False)
    report: Callable[[str], None]
    _known: bool
    _config: Path
    _environment: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """The URL for messages."""
        return redact(self.url, self.secrets)

    def refs(self) -> dict[str, str]:
        """Its branches and tags: hashes by full name. A tag's hash is that of the tag itself.

        Raises:
            RemoteError: it cannot be had.
        """
        lines = self._call("ls-remote", "--heads", "--tags", "--refs", self.url).splitlines()
        return {name: commit for commit, _, name in (line.partition("\t") for line in lines) if name}

    def fetch(self, into: Path, *refspecs: str) -> None:
        """Fetch what refspecs name into a bare repository, whose refs that have gone from there go too.

        Raises:
            RemoteError: it cannot be had.
        """
        self._call(
            f"--git-dir={into}", "fetch", "--quiet", "--force", "--prune", "--no-tags", self.url, *refspecs
        )

    def _call(self, *words: str) -> str:
        command = [executable(), "-c", f"include.path={self._config}", *words]
        for attempt in range(1, _ATTEMPTS + 1):
            done = run(command, dict(self._environment))
            if done.returncode == 0:
                return done.stdout
            why = self._why(done.stderr)
            if not why.passing:
                raise RemoteError(why)
            if attempt < _ATTEMPTS:
                self.report(f"{self.shown} {why.message}; trying again ({attempt + 1} of {_ATTEMPTS})")
                time.sleep(_WAIT * 2 ** (attempt - 1))
        raise RemoteError(replace(why, message=f"{why.message} ({_ATTEMPTS} attempts)"))

    def _why(self, said: str) -> Failure:
        why = failure(said, self.secrets)
        if not why.asking:
            return why
        if origin(why.asking) != origin(self.url):
            place = redact(without_userinfo(why.asking), self.secrets)
            return Failure(
                f"leads to {place}, which asks for credentials of its own",
                "Write the URL that it leads to into the requirement, with the credentials for that host.",
            )
        return REJECTED if self._known else why


@contextlib.contextmanager
def reaching(
    url: str,
    credentials: Credentials,
    *,
    cert: Path | None,
    secrets: tuple[str, ...],
    report: Callable[[str], None],
    named_elsewhere: bool = False,
) -> Iterator[Remote]:
    """A repository that git can be asked about while the block runs.

    Args:
        url: may hold credentials, which count before all others.
        credentials: who we are elsewhere.
        cert: file of CA certificates that count besides the system's, or None. `SSL_CERT_FILE` is heeded.
        secrets: values that must be in no message.
        report: told what takes long.
        named_elsewhere: whether a repository of another origin named this one; then an entry for any host (netrc's
            `default`) does not count.

    Raises:
        ToolError: git is missing.
        DeclarationError: a bearer token's variable is not set.
        ResolveError: a user or password holds a line break.
    """
    clean = plain(url)
    token = credentials.bearer(url) if is_web(url) else None
    login = (
        _login(url, credentials, secrets, named_elsewhere=named_elsewhere)
        if is_web(url) and token is None
        else None
    )
    own = tuple(secret for secret in (token, *_secret_parts(login)) if secret)
    secrets = tuple(dict.fromkeys((*secrets, *own, *url_secrets(url))))
    environment = reaching_environment(secrets)
    with scratch_folder() as scratch:
        config = scratch / "config"
        text = "".join(_section(name, None, values.items()) for name, values in _SETTINGS.items())
        if is_web(url):
            text += _web(clean, token, login, scratch)
            authorities = _authorities(clean, cert, environment)
            if authorities:
                bundle = scratch / "authorities.pem"
                _write(bundle, "\n".join(file.read_text(errors="replace") for file in authorities))
                environment.pop("GIT_SSL_CAINFO", None)
                for place in (None, clean):
                    text += _section("http", place, [("sslCAInfo", str(bundle))])
        _write(config, text)
        # What a URL is rewritten to by the user's `insteadOf` may be ssh or local; what a server redirects to is
        # http or https, and never less than what was asked for.
        allowed = "https:ssh:file" + (":http" if scheme(url) == "http" else "")
        environment["GIT_ALLOW_PROTOCOL"] = allowed
        if scheme(url) == "ssh" and not _has_ssh_command(environment):
            environment["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes -o ConnectTimeout=30"
        yield Remote(clean, secrets, report, bool(token or login), config, environment)


def _web(url: str, token: str | None, login: tuple[str, str] | None, scratch: Path) -> str:
    """The configuration for a repository on a web server.

    A section for the whole URL wins over any that the user's configuration has.
    """
    # A redirect of the first request, sent without user and password, is followed: git then looks for those of the
    # new place. A header would go along.
    follow = "false" if token else "initial"
    common = [
        ("sslVerify", "true"),
        ("followRedirects", follow),
        ("lowSpeedLimit", "1"),
        ("lowSpeedTime", str(_STALLED)),
    ]
    text = _section("http", None, common) + _section("http", url, common)
    if token or login:
        # An empty value takes away what the user's configuration has: the user's helpers would be given our
        # credentials to keep, or to erase if they are wrong.
        text += _section("credential", url, [("helper", "")])
        text += _section("http", url, [("extraHeader", "")])
    if token:
        text += _section("http", url, [("extraHeader", f"Authorization: Bearer {token}")])
    if login:
        store = scratch / "credentials"
        parts = urlsplit(url)
        user, password = (quote(part, safe="") for part in login)
        _write(store, f"{parts.scheme}://{user}:{password}@{parts.netloc}\n")
        text += _section(
            "credential", url, [("username", login[0]), ("helper", f"store --file {shlex.quote(str(store))}")]
        )
    return text


def _login(
    url: str, credentials: Credentials, secrets: tuple[str, ...], *, named_elsewhere: bool
) -> tuple[str, str] | None:
    """User and password for a URL.

    A user alone may be a token, or an account whose password the user's credential helper has.
    """
    found = credentials.find(url, redirected=named_elsewhere)
    if found is None:
        return None
    if any(ord(character) < 0x20 for part in found for character in part):
        raise ResolveError(
            f"the user or the password for {plain(url)} holds a line break or another control character"
        )
    if found[1]:
        return found
    return found[0], _kept_password(plain(url), found[0], secrets) or ""


def _kept_password(url: str, user: str, secrets: tuple[str, ...]) -> str | None:
    """The password that the user's git credential helpers have for an account, without asking anyone."""
    parts = urlsplit(url)
    asked = {"protocol": parts.scheme, "host": parts.netloc, "path": parts.path.lstrip("/"), "username": user}
    # No program is to ask for it: its arguments would name the user, who may be a token.
    environment = reaching_environment((*secrets, user)) | {"GIT_ASKPASS": ""}
    given = "".join(f"{name}={value}\n" for name, value in asked.items()) + "\n"
    done = run(
        [executable(), "-c", "credential.interactive=never", "credential", "fill"], environment, given=given
    )
    answer = dict(line.partition("=")[::2] for line in done.stdout.splitlines())
    return answer.get("password") if done.returncode == 0 and answer.get("username") == user else None


def _secret_parts(login: tuple[str, str] | None) -> tuple[str, ...]:
    """A password, or a user that stands alone: a token."""
    if login is None:
        return ()
    return (login[1],) if login[1] else (login[0],)


def _authorities(url: str, cert: Path | None, environment: Mapping[str, str]) -> list[Path]:
    """Files of CA certificates that git has to be told of; empty where its own will do.

    Those that git would use stay: the user's, or the system's. `SSL_CERT_FILE` replaces the system's, as it does for
    OpenSSL.
    """
    variable = os.environ.get("SSL_CERT_FILE") or ""
    # OpenSSL passes over a file that is not there.
    named = [Path(variable)] if variable and Path(variable).is_file() else []
    named += [cert] if cert else []
    if not named:
        return []
    configured = environment.get("GIT_SSL_CAINFO") or _configured("http.sslCAInfo", environment, url)
    first = [Path(configured)] if configured else []
    if not first and not variable:
        system = (ssl.get_default_verify_paths().cafile, *_AUTHORITIES)
        first = [Path(file) for file in system if file and Path(file).is_file()][:1]
    return list(dict.fromkeys((*first, *named)))


def _has_ssh_command(environment: Mapping[str, str]) -> bool:
    named = any(environment.get(name) for name in ("GIT_SSH", "GIT_SSH_COMMAND"))
    return named or _configured("core.sshCommand", environment) is not None


def _configured(name: str, environment: Mapping[str, str], url: str | None = None) -> str | None:
    """A setting of the user's own configuration; for a URL, where one is given."""
    words = ["--type=path", "--get-urlmatch", name, url] if url else ["--get", name]
    done = run([executable(), "config", *words], dict(environment))
    return done.stdout.rstrip("\n") or None if done.returncode == 0 else None


def _section(name: str, place: str | None, values: Iterable[tuple[str, str]]) -> str:
    """A section of a git configuration file (git-config, "Syntax")."""
    head = f"[{name}]\n" if place is None else f"[{name} {_quoted(place)}]\n"
    return head + "".join(f"\t{key} = {_quoted(value)}\n" for key, value in values)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
