from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from builder import trust

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Servers that were asked, none of whose certificates is accepted."""
    found: list[str] = []

    def accepts(url: str, certificates: Path) -> bool:
        found.append(url)
        return False

    monkeypatch.setattr(trust, "_accepts", accepts)
    return found


def test_a_server_is_asked_only_where_nix_has_other_certificates(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "own.pem"
    own.touch()
    other = tmp_path / "other.pem"
    other.touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("NIX_REMOTE", raising=False)
    monkeypatch.setenv("NIX_SSL_CERT_FILE", str(own))
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    assert trust.trusted_by_nix("https://h.example/x", None)
    assert trust.trusted_by_nix("http://h.example/x", other)
    assert asked == []
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert not trust.trusted_by_nix("https://me:canary@h.example:8443/x?sig=canary", None)
    assert asked == ["https://h.example:8443/"]


def test_a_daemon_has_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    own.touch()
    default = tmp_path / "default.pem"
    default.touch()
    monkeypatch.setattr(trust, "_DEFAULTS", (str(default),))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert trust._nix_certificates({"SSL_CERT_FILE": str(own)}) == default
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert trust._nix_certificates({"SSL_CERT_FILE": str(own)}) == own
    assert trust._nix_certificates({"SSL_CERT_FILE": str(own), "NIX_REMOTE": "daemon"}) == default
