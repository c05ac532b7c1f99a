from __future__ import annotations

import pytest

from builder.errors import ResolveError
from builder.git import urls


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "kind"),
        [
            ("https://host/a.git", "https"),
            ("HTTPS://host/a.git", "https"),
            ("ssh://git@host/a.git", "ssh"),
            ("git@host:org/a.git", "ssh"),
            ("host:org/a.git", "ssh"),
            ("file:///a.git", "file"),
            ("/folder/a.git", "file"),
            ("/folder/a:b.git", "file"),
            ("../a.git", "file"),
            ("ext::sh -c id", "ext"),
            ("git://host/a.git", "git"),
        ],
    )
    def test_the_scheme_is_known_by_the_beginning(self, url, kind):
        assert urls.scheme(url) == kind

    @pytest.mark.parametrize(
        ("url", "plain"),
        [
            ("https://token@host/a.git", "https://host/a.git"),
            ("https://user:pass@host:8443/a.git#subdirectory=x", "https://host:8443/a.git"),
            ("https://host/a/", "https://host/a"),
            ("ssh://git:pass@host/a.git", "ssh://git@host/a.git"),
            ("git@host:org/a.git", "git@host:org/a.git"),
            ("file:///a.git", "file:///a.git"),
        ],
    )
    def test_what_git_is_told_has_no_secret(self, url, plain):
        assert urls.plain(url) == plain

    @pytest.mark.parametrize(
        ("url", "relative", "expected"),
        [
            ("https://host/org/a.git", "../b.git", "https://host/org/b.git"),
            ("https://host/org/a.git", "../../else/b.git", "https://host/else/b.git"),
            ("https://host/org/a.git", "./b.git", "https://host/org/a.git/b.git"),
            ("git@host:org/a.git", "../b.git", "git@host:org/b.git"),
            ("git@host:/srv/a.git", "../b.git", "git@host:/srv/b.git"),
            ("ssh://git@host:22/org/a.git", "../b.git", "ssh://git@host:22/org/b.git"),
            ("/srv/a.git", "../b.git", "/srv/b.git"),
            ("file:///srv/a.git", "../b.git", "file:///srv/b.git"),
            ("https://host/org/a.git", "../../../b.git", None),
            ("https://host/a.git", "../", None),
        ],
    )
    def test_a_relative_url_stays_on_the_host(self, url, relative, expected):
        assert urls.joined(url, relative) == expected

    @pytest.mark.parametrize(
        "url",
        [
            "ext::sh -c id",
            "git://host/a.git",
            "ftp://host/a.git",
            "-upload-pack=x",
            "--upload-pack=x:y",
            "relative/folder",
            "https:///a.git",
            "https://[bad/a.git",
            "https://host:port/a.git",
            "https://host/a\n.git",
        ],
    )
    def test_what_cannot_be_fetched_safely_is_refused_with_its_place(self, url):
        with pytest.raises(ResolveError, match=r"app.py:3: App.requirements\[0\]"):
            urls.check(url, (), "app.py:3: App.requirements[0]")

    @pytest.mark.parametrize(
        "url", ["https://host/canary-secret/a.git", "https://host/a.git?t=canary-secret"]
    )
    def test_a_secret_that_git_would_show_is_refused_and_not_shown(self, url):
        with pytest.raises(ResolveError) as caught:
            urls.check(url, ("canary-secret",), "here")
        assert "list of processes" in str(caught.value)
        assert "canary-secret" not in f"{caught.value} {caught.value.hint}"

    def test_a_secret_in_front_of_the_host_is_fine(self):
        urls.check("https://canary-secret@host/a.git", ("canary-secret",), "here")

    @pytest.mark.parametrize("within", ["https://host/a.git", "git@host:a.git", "ssh://host/a.git"])
    @pytest.mark.parametrize("url", ["/etc/secret.git", "file:///etc/secret.git"])
    def test_a_submodule_does_not_read_local_files(self, url, within):
        with pytest.raises(ResolveError, match="is not local"):
            urls.check(url, (), "here", within=within)

    def test_a_local_repository_may_have_local_submodules(self):
        urls.check("/srv/b.git", (), "here", within="file:///srv/a.git")
