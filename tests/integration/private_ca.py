"""A certificate authority for servers on this machine, which nobody trusts who is not told to."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

_EXTENSIONS = """basicConstraints = CA:FALSE
extendedKeyUsage = serverAuth
subjectAltName = {names}
"""


class PrivateCA:
    """Issues certificates.

    Attributes:
        cert: the file of its own certificate (PEM).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cert = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.cert, "-days", "2",
                 "-subj", "/CN=private CA of a test", "-addext", "keyUsage = critical, keyCertSign")  # fmt: skip

    def issue(self, hostnames: list[str]) -> tuple[Path, Path]:
        """A server's certificate and key, for host names and addresses."""
        base = self.folder / "-".join(hostnames)
        cert, key, request, extensions = (
            base.with_name(f"{base.name}.{end}") for end in ("pem", "key", "csr", "ext")
        )
        extensions.write_text(_EXTENSIONS.format(names=", ".join(map(_alternative, hostnames))))
        _openssl("req", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={hostnames[0]}")
        _openssl("x509", "-req", "-in", request, "-CA", self.cert, "-CAkey", self._key, "-CAcreateserial",
                 "-days", "2", "-extfile", extensions, "-out", cert)  # fmt: skip
        return cert, key


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _alternative(host: str) -> str:
    try:
        return f"IP:{ipaddress.ip_address(host)}"
    except ValueError:
        return f"DNS:{host}"


def _openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)
