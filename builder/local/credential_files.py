"""Files that look like credentials: their place is not an image, which is copied to places that nobody thinks of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Names of files that programs keep logins, tokens and private keys in.
_NAMES = frozenset(
    [
        ".dockercfg",
        ".env",
        ".envrc",
        ".git-credentials",
        ".htpasswd",
        ".netrc",
        ".npmrc",
        ".pgpass",
        ".pypirc",
        ".vault-token",
        "_netrc",
        "application_default_credentials.json",
        "credentials.json",
        "kaggle.json",
        # What ssh-keygen calls private keys, for each of its algorithms; the public ones end in .pub.
        "id_dsa",
        "id_ecdsa",
        "id_ecdsa_sk",
        "id_ed25519",
        "id_ed25519_sk",
        "id_rsa",
    ]
)

# Files whose names say little without the folder's.
_IN_FOLDERS = frozenset(
    [
        (".aws", "credentials"),
        (".docker", "config.json"),
        (".kube", "config"),
        (".streamlit", "secrets.toml"),
        ("huggingface", "token"),
    ]
)

# Key stores, and what Google's cloud calls the files that it lets one download.
_PATTERN = re.compile(
    r".*\.(?:p12|pfx|kdbx|jks|keystore|ppk)|service[-_]account.*\.json|client_secret.*\.json", re.DOTALL
)
_ENVIRONMENT = re.compile(r"\.env\..*", re.DOTALL)
_PATTERNS_OF_ENVIRONMENTS = (".dist", ".example", ".sample", ".template")

_CHUNK = 1 << 20
_SHOWN = 10
# RFC 7468, "Textual Encodings of PKIX, PKCS, and CMS Structures".
_BEGIN = b"-----BEGIN "
_PRIVATE = b"PRIVATE KEY"


def looks_like_credential(path: Path) -> bool:
    """Whether a file is one that programs keep credentials in.

    Names decide. Where harmless files have them too, what is in the file does: certificates and public keys (`*.pem`,
    `*.key`), such as the list of authorities that packages bring (`cacert.pem`), are none; a private key is one.

    Args:
        path: a file, of which the last two names count.

    Raises:
        OSError: it cannot be read.
    """
    name = path.name.lower()
    if name in _NAMES or (path.parent.name.lower(), name) in _IN_FOLDERS or _PATTERN.fullmatch(name):
        return True
    if _ENVIRONMENT.fullmatch(name):
        return not name.endswith(_PATTERNS_OF_ENVIRONMENTS)
    if name.endswith((".pem", ".key")):
        return _contains(path, _PRIVATE) or not _contains(path, _BEGIN)
    # Such as id_work, a key that somebody has named; id_mapping.json is not.
    return name.startswith("id_") and not name.endswith(".pub") and _contains(path, _PRIVATE)


def _contains(path: Path, text: bytes) -> bool:
    end = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if text in end + chunk:
                return True
            end = chunk[-len(text) :]
    return False


def credential_warning(names: Sequence[str]) -> str:
    """What the user is told of files that were left out for what they look like.

    Args:
        names: the files, one at least.
    """
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    what = "looks like a credential and is" if len(names) == 1 else "look like credentials and are"
    return (
        f"{shown} {what} left out. An app gets credentials when it runs, from the environment variables that it names "
        "in secrets = [...]; a file that is none needs another name."
    )
