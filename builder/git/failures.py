"""What went wrong, from what git says in English (`LC_ALL=C`)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from builder.redact import redact

_OFFLINE = "Check the network and the proxy settings, then run the command again."
_CREDENTIALS = (
    "Write them into the requirement, as git+https://${TOKEN}@host/..., or into ~/.netrc, or set up a git credential "
    "helper."
)
_WHERE = "Check the URL. A server may also say this of a private repository to those who may not read it."


@dataclass(frozen=True)
class Failure:
    """Why git could not do what it was asked.

    Attributes:
        message: what is wrong, to stand after the repository's URL.
        hint: what to do, or "".
        passing: whether another attempt may not meet it.
        no_such: whether the server is fine and does not have, or does not give, the object or ref.
        understood: whether this is known at all, and not just repeated.
        asking: the URL of the server that asks for credentials, where none were given to it.
    """

    message: str
    hint: str = ""
    passing: bool = False
    no_such: bool = False
    understood: bool = True
    asking: str = ""


_ASKING = Failure("answered 401: it asks for credentials, and none are known for it", _CREDENTIALS)
REJECTED = Failure(
    "answered 401: it did not accept the credentials", "Check that the token is right and has not expired."
)

# The first that is found counts.
_KNOWN: tuple[tuple[str, Failure], ...] = (
    (
        r"not our ref|unadvertised object|couldn't find remote ref|could not find remote ref|no such ref",
        Failure("does not have what was asked for", no_such=True),
    ),
    (
        r"Authentication failed|returned error: 401|HTTP Basic: Access denied",
        Failure(
            "answered 401: it did not accept the credentials",
            "Check that the token is right and has not expired.",
        ),
    ),
    (
        r"could not read (?:Username|Password) for '(?P<code>[^']*)'",
        _ASKING,
    ),
    (
        r"returned error: 403",
        Failure("answered 403: it refuses access", "The token may lack the right to read this repository."),
    ),
    (
        r"repository '.*' not found|returned error: 404|Repository not found",
        Failure("was not found (404)", _WHERE),
    ),
    (
        r"returned error: (?P<code>408|425|429|5\d\d)",
        Failure("answered {code}", "The server has a problem; try again later.", passing=True),
    ),
    (
        r"returned error: 30\d|unable to update url base from redirection",
        Failure(
            "redirects elsewhere, and a token must not follow it there",
            "Write the URL that it redirects to into the requirement.",
        ),
    ),
    (r"returned error: (?P<code>\d+)", Failure("answered {code}")),
    (
        r"Protocol \"?http\"? (?:not supported|is not|disabled)|transport 'http' not allowed",
        Failure("redirects to a URL without encryption", "Write the URL that it redirects to, with https."),
    ),
    (
        r"transport '(?P<code>[\w+.-]+)' not allowed",
        Failure(
            "leads to the transport '{code}', which is not allowed",
            "Repositories are fetched over https, http, ssh, or from a local folder.",
        ),
    ),
    (
        r"does not match target host name|no alternative certificate subject name|certificate subject name",
        Failure("has a certificate for another host", "Check the host name in the URL."),
    ),
    (
        r"server certificate verification failed|SSL certificate problem|SSL certificate verification",
        Failure(
            "has a certificate that is not trusted",
            "Name the file of your CA's certificates in SSL_CERT_FILE, or as git's http.sslCAInfo.",
        ),
    ),
    (
        r"[Cc]ould not resolve host(?:name)?",
        Failure("cannot be reached: its host name is not known", _OFFLINE, passing=True),
    ),
    (
        r"Host key verification failed",
        Failure(
            "has an ssh host key that is not known",
            "Connect once with ssh to accept it, or add it to known_hosts.",
        ),
    ),
    (
        r"Permission denied \(|Permission denied, please try again|Too many authentication failures",
        Failure("refuses the ssh key", "Check `ssh-add -l`: a key with a passphrase has to be in the agent."),
    ),
    (
        r"dubious ownership",
        Failure(
            "belongs to another user", "If you trust it: git config --global --add safe.directory FOLDER"
        ),
    ),
    (
        r"No space left on device|Disk quota exceeded",
        Failure("cannot be stored: the disk is full", "Make room."),
    ),
    (
        r"not valid: is this a git repository|does not appear to be a git repository|not a git repository",
        Failure("is no git repository", _WHERE),
    ),
    (
        r"(?P<code>Connection refused|Connection timed out|Connection reset|Network is unreachable|No route to host)",
        Failure("cannot be reached: {code}", _OFFLINE, passing=True),
    ),
    (
        r"Operation too slow|timed out",
        Failure("cannot be reached: no answer in time", _OFFLINE, passing=True),
    ),
    (
        r"Failed to connect|Couldn't connect",
        Failure("cannot be reached: no connection", _OFFLINE, passing=True),
    ),
    (
        (
            r"early EOF|RPC failed|hung up|Empty reply from server|transfer closed|"
            r"unexpected disconnect|unexpected eof|Could not read from remote|"
            r"TLS connection was non-properly terminated|Recv failure|GnuTLS recv"
        ),
        Failure("was lost while it answered", _OFFLINE, passing=True),
    ),
)


def failure(said: str, secrets: tuple[str, ...]) -> Failure:
    """Understand what git said.

    Args:
        said: its standard error.
        secrets: values that must not be shown.
    """
    for pattern, known in _KNOWN:
        match = re.search(pattern, said)
        if match:
            code = match.groupdict().get("code") or ""
            return replace(
                known, message=known.message.format(code=code), asking=code if known is _ASKING else ""
            )
    lines = [line.strip() for line in redact(said, secrets).splitlines() if line.strip()]
    telling = [line for line in lines if re.match(r"fatal:|error:|remote:", line)] or lines
    return Failure("failed: " + ("; ".join(telling[:4]) or "git said nothing"), understood=False)
