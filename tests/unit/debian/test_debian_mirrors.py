import pytest

from builder.debian import mirrors as module
from builder.debian.mirrors import find_mirrors, redact
from builder.errors import DeclarationError, ToolError


@pytest.fixture
def keyring(tmp_path, monkeypatch):
    path = tmp_path / "keyring.gpg"
    path.write_bytes(b"keys")
    monkeypatch.setattr(module, "_KEYRINGS", (path,))
    return path


@pytest.fixture
def apt(tmp_path):
    folder = tmp_path / "apt"
    (folder / "sources.list.d").mkdir(parents=True)
    return folder


def test_configured_mirrors_come_before_the_machines(keyring, apt):
    (apt / "sources.list").write_text("deb http://apt.example.org/debian bookworm main\n")
    found = find_mirrors(
        {"debian": "https://m.example.org/debian/", "index": "https://i.example.org"}, apt=apt
    )
    assert found.urls == {
        "debian": "https://m.example.org/debian",
        "debian-security": "https://m.example.org/debian-security",
    }
    assert found.url("debian", "dists/sid/InRelease") == "https://m.example.org/debian/dists/sid/InRelease"


def test_the_security_archive_of_a_dated_mirror_has_the_same_date(keyring, apt):
    found = find_mirrors({"debian": "https://m.example.org/archive/debian/20240901T000000Z"}, apt=apt)
    assert found.urls["debian-security"] == "https://m.example.org/archive/debian-security/20240901T000000Z"


def test_one_line_sources_are_read_with_their_options(keyring, apt):
    (apt / "sources.list").write_text(
        "# deb http://no.example.org/debian bookworm main\n"
        "deb-src http://src.example.org/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
        "http://a.example.org/some/proxy bookworm main contrib # ours\n"
    )
    (apt / "sources.list.d" / "security.list").write_text(
        "deb http://a.example.org/debian-security bookworm-security main\n"
    )
    assert find_mirrors({}, apt=apt).urls == {
        "debian": "http://a.example.org/some/proxy",
        "debian-security": "http://a.example.org/debian-security",
    }


def test_deb822_sources_are_read_and_disabled_ones_are_not(keyring, apt):
    (apt / "sources.list.d" / "off.sources").write_text(
        "Enabled: no\nTypes: deb\nURIs: http://off.example.org/debian\nSuites: bookworm\nComponents: main\n"
    )
    (apt / "sources.list.d" / "on.sources").write_text(
        "Types: deb deb-src\n"
        "# a comment\n"
        "URIs: http://on.example.org/debian/\n"
        "Suites: trixie\n trixie-updates\n"
        "Components: main\n"
        "\n"
        "Types: deb\nURIs: http://on.example.org/debian-security\nSuites: trixie-security\nComponents: main\n"
    )
    assert find_mirrors({}, apt=apt).urls == {
        "debian": "http://on.example.org/debian",
        "debian-security": "http://on.example.org/debian-security",
    }


def test_a_third_partys_repository_is_not_taken_for_debian(keyring, apt):
    (apt / "sources.list").write_text(
        "deb https://other.example.org/ bookworm main\n"
        "deb https://docker.example.org/linux/debian bookworm stable\n"
        "deb http://real.example.org/debian bookworm main\n"
    )
    assert find_mirrors({}, apt=apt).urls["debian"] == "http://real.example.org/debian"


def test_ubuntus_sources_are_not_debians(keyring, apt):
    (apt / "sources.list").write_text("deb http://u.example.org/ubuntu jammy main\n")
    with pytest.raises(ToolError, match="no mirror of Debian is known") as caught:
        find_mirrors({}, apt=apt)
    assert "[tool.builder.mirrors]" in caught.value.hint


def test_without_apt_the_error_says_what_to_configure(keyring, tmp_path):
    with pytest.raises(ToolError) as caught:
        find_mirrors({}, apt=tmp_path / "none")
    assert 'debian = "' in caught.value.hint


def test_a_mirror_that_is_no_url_is_refused(keyring, apt):
    with pytest.raises(DeclarationError, match=r"mirrors\] debian: 'mirror/debian' is not a URL"):
        find_mirrors({"debian": "mirror/debian"}, apt=apt)


def test_a_missing_keyring_names_the_package_to_install(monkeypatch, tmp_path, apt):
    monkeypatch.setattr(module, "_KEYRINGS", (tmp_path / "none.gpg",))
    with pytest.raises(ToolError) as caught:
        find_mirrors({"debian": "https://m.example.org/debian"}, apt=apt)
    assert "debian-archive-keyring" in caught.value.hint


def test_a_configured_keyring_must_exist(tmp_path, apt):
    with pytest.raises(DeclarationError, match="debian-keyring: there is no file"):
        find_mirrors({"debian-keyring": str(tmp_path / "none")}, apt=apt)


def test_credentials_are_neither_in_repr_nor_in_a_redacted_url(keyring, apt):
    found = find_mirrors({"debian": "https://user:secret@m.example.org/debian?token=secret"}, apt=apt)
    assert "secret" not in repr(found)
    assert redact(found.urls["debian"]) == "https://m.example.org/debian"
