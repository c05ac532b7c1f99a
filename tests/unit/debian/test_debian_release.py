import os
from datetime import datetime, timezone

import pytest

from builder.debian.mirrors import Mirrors
from builder.debian.release import fetch_release, parse_release, verified_text
from builder.debian.suites import Pocket
from builder.errors import ResolveError, ToolError

POCKET = Pocket("debian", "bookworm", required=True)
TEXT = f"""\
Origin: Debian
Suite: oldstable
Codename: bookworm
Date: Sat, 11 Jul 2026 10:16:37 UTC
Valid-Until: Sat, 18 Jul 2026 10:16:37 UTC
Acquire-By-Hash: yes
MD5Sum:
 {"0" * 32} 1 main/binary-amd64/Packages.xz
SHA256:
 {"a" * 64} 123 main/binary-amd64/Packages.xz
 {"b" * 64}   7 main/binary-arm64/Packages
"""
GOOD = "[GNUPG:] GOODSIG 1234 Somebody"
VALID = "[GNUPG:] VALIDSIG F00D 2026-07-11 1 0 4 0 1 8 01 F00D"


@pytest.fixture
def gpgv(tmp_path, monkeypatch):
    """A gpgv that says what a test wants."""

    def install(*status, code=0):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        lines = "\n".join(status)
        program = folder / "gpgv"
        program.write_text(
            "#!/bin/sh\n"
            'while [ $# -gt 1 ]; do [ "$1" = --output ] && out=$2; shift; done\n'
            f'cp "$1" "$out"\ncat <<"END"\n{lines}\nEND\necho "gpgv: detail" >&2\nexit {code}\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return install


def test_hashes_come_from_the_sha256_section_alone():
    release = parse_release(TEXT, POCKET, origin="x")
    assert release.packages("amd64").sha256 == "a" * 64
    assert release.packages("amd64").size == 123
    assert release.packages("arm64") is None
    assert release.url_path(release.packages("amd64")) == (
        "dists/bookworm/main/binary-amd64/by-hash/SHA256/" + "a" * 64
    )


def test_an_index_is_fetched_by_its_name_where_the_archive_has_no_hashes_for_names():
    release = parse_release(TEXT.replace("Acquire-By-Hash: yes\n", ""), POCKET, origin="x")
    assert release.url_path(release.packages("amd64")) == "dists/bookworm/main/binary-amd64/Packages.xz"


def test_another_suites_release_file_is_refused():
    with pytest.raises(ResolveError, match="is the Release file of bookworm, not of trixie"):
        parse_release(TEXT, Pocket("debian", "trixie", required=True), origin="x")


def test_a_suite_may_be_asked_for_by_its_status():
    assert parse_release(TEXT, Pocket("debian", "oldstable", required=True), origin="x").by_hash


def test_a_release_file_without_a_date_is_refused():
    with pytest.raises(ResolveError, match="no readable Date"):
        parse_release(TEXT.replace("Date: ", "Datum: "), POCKET, origin="x")


def test_a_good_signature_is_enough_beside_one_by_an_unknown_key(gpgv, tmp_path):
    gpgv(GOOD, VALID, "[GNUPG:] ERRSIG 5678 1 8 01 1 9 -", "[GNUPG:] NO_PUBKEY 5678", code=2)
    assert verified_text(b"text\n", tmp_path / "keys", origin="x") == "text\n"


@pytest.mark.parametrize(
    "status",
    [
        [],
        ["[GNUPG:] ERRSIG 5678 1 8 01 1 9 -", "[GNUPG:] NO_PUBKEY 5678"],
        ["[GNUPG:] EXPKEYSIG 1234 Somebody", VALID],
        ["[GNUPG:] REVKEYSIG 1234 Somebody", VALID],
        [GOOD, VALID, "[GNUPG:] BADSIG 5678 Somebody"],
        [GOOD, VALID.replace(" 1 8 01", " 1 2 01")],
    ],
    ids=["unsigned", "unknown key", "expired key", "revoked key", "one is bad", "SHA-1"],
)
def test_anything_less_is_refused(gpgv, tmp_path, status):
    gpgv(*status)
    with pytest.raises(ResolveError, match=r"x is not signed by a key of .*: gpgv: detail"):
        verified_text(b"text\n", tmp_path / "keys", origin="x")


def test_a_missing_gpgv_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="gpgv is not installed"):
        verified_text(b"text\n", tmp_path / "keys", origin="x")


def mirror(tmp_path, text=TEXT):
    folder = tmp_path / "mirror" / "dists" / "bookworm"
    folder.mkdir(parents=True)
    (folder / "InRelease").write_text(text)
    url = (tmp_path / "mirror").as_uri()
    return Mirrors({"debian": url, "debian-security": url}, tmp_path / "keys", "a test")


def test_a_release_from_the_future_is_refused_with_the_clock_named(gpgv, tmp_path):
    gpgv(GOOD, VALID)
    with pytest.raises(ResolveError, match="which has not come yet") as caught:
        fetch_release(
            POCKET, mirror(tmp_path), tmp_path / "cache", now=datetime(2026, 7, 1, tzinfo=timezone.utc)
        )
    assert "clock" in caught.value.hint


def test_a_pocket_that_may_be_missing_is_none_and_one_that_must_not_is_an_error(gpgv, tmp_path):
    gpgv(GOOD, VALID)
    where = mirror(tmp_path)
    assert (
        fetch_release(Pocket("debian", "bookworm-updates", required=False), where, tmp_path / "cache") is None
    )
    with pytest.raises(ResolveError, match="has no suite bookworm-security"):
        fetch_release(
            Pocket("debian-security", "bookworm-security", required=True), where, tmp_path / "cache"
        )
