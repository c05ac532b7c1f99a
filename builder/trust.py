"""Tells whether Nix would trust a server whose certificate this process trusts.

Users name a private CA to pip, uv or OpenSSL, and Nix reads none of that; its daemon has an environment of its own.
What comes from a server that only this process trusts has to be fetched here.
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# Where Nix looks when no variable names a file (its manual, `ssl-cert-file`).
_DEFAULTS = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt",
)
_TIMEOUT = 10.0  # seconds


def trusted_by_nix(url: str, cert: Path | None) -> bool:
    """Whether Nix can be expected to accept the certificate of a URL's server.

    The server is asked only where this process has other certificates than Nix has, and once.

    Args:
        url: what is to be fetched; may hold credentials, which are not sent.
        cert: file of certificates that this process was told of, beside the system's.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return True
    theirs = _nix_certificates(os.environ)
    ours = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or _DEFAULTS[0]
    if theirs is None or (cert is None and theirs == Path(ours).resolve()):
        return True
    return _accepts(f"https://{parts.netloc.rpartition('@')[2]}/", theirs)


def _nix_certificates(env: Mapping[str, str]) -> Path | None:
    """The file of certificates that Nix uses, as far as can be known from here."""
    has_daemon = os.geteuid() != 0 or env.get("NIX_REMOTE", "") not in {"", "auto", "local"}
    named = [] if has_daemon else [env.get("NIX_SSL_CERT_FILE"), env.get("SSL_CERT_FILE")]
    for file in (*named, *_DEFAULTS):
        if file and Path(file).is_file():
            return Path(file).resolve()
    return None


@lru_cache(maxsize=64)
def _accepts(url: str, certificates: Path) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=str(certificates))
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))
        opener.open(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT).close()  # noqa: S310 - it is https
    except urllib.error.URLError as error:
        return not isinstance(error.reason, ssl.SSLCertVerificationError)
    except (OSError, ValueError):
        # What else is wrong with it, Nix will say.
        return True
    return True
