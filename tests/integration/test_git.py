from __future__ import annotations

import base64
import fcntl
import os
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from git_server import BEARER, SOME_USER, TOKEN, GitServer, run_git

from builder import git
from builder.credentials import NOBODY, Credentials
from builder.errors import ResolveError
from builder.store import nar_sha256

WHERE = "app.py:3: App.requirements[0]: pkg"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A user without configuration, and a folder for temporary files that can be looked into."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in list(os.environ):
        if name.startswith(("GIT_", "SSL_CERT", "SSH_")) and name != "GIT_EXEC_PATH":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / ".config"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return folder


@dataclass
class Fetched:
    """What a checkout was; `files` has contents by path, links as what they lead to."""

    commit: str
    version: str | None
    nar_sha256: str
    files: dict[str, str]
    executable: set[str]


@dataclass
class Fetcher:
    """Checks out with a cache of its own."""

    server: GitServer
    cache: Path
    reports: list[str] = field(default_factory=list)

    def __call__(self, url, *, credentials=NOBODY, cert=True, secrets=(), cache=None, **more):
        with git.checkout(
            url,
            cache=cache or self.cache,
            credentials=credentials,
            cert=self.server.cert if cert is True else cert,
            secrets=secrets,
            report=self.reports.append,
            where=WHERE,
            **more,
        ) as checkout:
            paths = [path for path in checkout.tree.rglob("*") if path.is_symlink() or not path.is_dir()]
            assert checkout.nar_sha256 == nar_sha256(checkout.tree)
            assert not any(path.name == ".git" for path in checkout.tree.rglob("*"))
            return Fetched(
                checkout.commit,
                checkout.version,
                checkout.nar_sha256,
                {
                    path.relative_to(checkout.tree).as_posix(): (
                        f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes().decode()
                    )
                    for path in paths
                },
                {path.name for path in paths if os.access(path, os.X_OK) and not path.is_symlink()},
            )

    def failing(self, url, **more):
        with pytest.raises(ResolveError) as caught:
            self(url, **more)
        text = f"{caught.value} {caught.value.hint}"
        assert str(caught.value).startswith(f"{WHERE}: ")
        assert TOKEN not in text
        assert BEARER not in text
        return text


@pytest.fixture
def fetch(git_server, tmp_path):
    return Fetcher(git_server, tmp_path / "cache")


@pytest.fixture
def repository(git_server, request):
    """A new repository with two commits on `main`, the first tagged, and one on `dev`."""
    repository = git_server.repository(f"{request.node.name.partition('[')[0]}-{time.monotonic_ns()}")
    repository.commit(
        {"a.txt": "one\n", "run.sh": "#!/bin/sh\n", "link": Path("a.txt")}, tag="v1.0", annotated=True
    )
    repository.commit({"folder/b.txt": "two\n"})
    repository.commit({"c.txt": "three\n"}, branch="dev")
    run_git(repository.work, "checkout", "-q", "main")
    return repository


def head(repository, revision):
    return run_git(repository.work, "rev-parse", f"{revision}^{{commit}}")


def mirror_of(fetch):
    """The one repository in a cache."""
    (mirror,) = (path for path in (fetch.cache / "git").iterdir() if path.is_dir())
    return mirror


class TestRevisions:
    def test_the_default_branch(self, fetch, git_server, repository):
        found = fetch(git_server.url(repository))
        assert found.commit == head(repository, "main")
        assert found.version == f"1.1.dev1+g{found.commit[:7]}"
        assert found.files == {
            "a.txt": "one\n",
            "folder/b.txt": "two\n",
            "link": "-> a.txt",
            "run.sh": "#!/bin/sh\n",
        }
        assert found.executable == {"run.sh"}

    @pytest.mark.parametrize(
        ("revision", "expected"),
        [("dev", "dev"), ("v1.0", "v1.0"), ("refs/heads/dev", "dev"), ("HEAD", "main")],
    )
    def test_by_name(self, fetch, git_server, repository, revision, expected):
        assert fetch(git_server.url(repository), revision=revision).commit == head(repository, expected)

    def test_an_annotated_tag_is_its_commit(self, fetch, git_server, repository):
        found = fetch(git_server.url(repository), revision="v1.0")
        tag = run_git(repository.work, "rev-parse", "v1.0")
        assert found.commit != tag
        assert found.version == "1.0"
        assert fetch(git_server.url(repository), revision=tag).commit == found.commit

    def test_by_hash(self, fetch, git_server, repository):
        commit = head(repository, "v1.0")
        assert fetch(git_server.url(repository), revision=commit).commit == commit

    def test_by_short_hash(self, fetch, git_server, repository):
        commit = head(repository, "v1.0")
        assert fetch(git_server.url(repository), revision=commit[:7]).commit == commit

    def test_by_the_ref_of_a_pull_request(self, fetch, git_server, repository):
        run_git(repository.bare, "update-ref", "refs/pull/1/head", head(repository, "dev"))
        found = fetch(git_server.url(repository), revision="refs/pull/1/head")
        assert found.commit == head(repository, "dev")

    def test_a_branch_comes_before_a_tag_of_its_name(self, fetch, git_server, repository):
        run_git(repository.bare, "update-ref", "refs/tags/dev", head(repository, "v1.0"))
        assert fetch(git_server.url(repository), revision="dev").commit == head(repository, "dev")

    def test_a_hash_that_the_server_does_not_give_is_found_on_its_branch(self, fetch, git_server, repository):
        commit = head(repository, "main")
        repository.commit({"d.txt": "four\n"})
        found = fetch(git_server.url(repository, "old"), revision=commit)
        assert found.commit == commit

    def test_a_moved_branch_keeps_the_locked_commit(self, fetch, git_server, repository, tmp_path):
        url, locked = git_server.url(repository), head(repository, "dev")
        fetch(url, revision="dev")
        repository.commit({"c.txt": "moved\n"}, branch="dev")
        for cache in (None, tmp_path / "another machine"):
            found = fetch(url, revision="dev", commit=locked, cache=cache)
            assert found.commit == locked
            assert found.files["c.txt"] == "three\n"
        assert fetch(url, revision="dev").commit == head(repository, "dev") != locked

    def test_a_rewritten_branch_has_not_the_locked_commit_any_more(
        self, fetch, git_server, repository, tmp_path
    ):
        url, locked = git_server.url(repository), head(repository, "dev")
        fetch(url, revision="dev")
        repository.forget("refs/heads/dev")
        assert fetch(url, revision="dev", commit=locked).commit == locked
        text = fetch.failing(url, revision="dev", commit=locked, cache=tmp_path / "another machine")
        assert f"does not have the commit {locked} (from dev) any more" in text
        assert "--upgrade-package" in text

    def test_what_is_not_there_is_told_with_what_is_near(self, fetch, git_server, repository):
        url = git_server.url(repository)
        assert "Did you mean v1.0?" in fetch.failing(url, revision="1.0")
        assert "Did you mean main?" in fetch.failing(url, revision="mian")
        assert "has no commit ffff" in fetch.failing(url, revision="f" * 40)
        assert "no branch, tag or commit 'abcdef0'" in fetch.failing(url, revision="abcdef0")
        assert "no branch, tag or commit 'a:b'" in fetch.failing(url, revision="a:b")
        assert "no branch, tag or commit 'refs/pull/9/head'" in fetch.failing(
            url, revision="refs/pull/9/head"
        )

    def test_a_short_hash_of_several_commits(self, fetch, git_server):
        repository = git_server.repository(f"many-{time.monotonic_ns()}")
        parent = repository.commit({"a": "1"})
        tree, short = run_git(repository.work, "write-tree"), {}
        for number in range(2000):
            commit = run_git(repository.bare, "commit-tree", "-p", parent, "-m", str(number), tree)
            if commit[:4] in short:
                break
            short[commit[:4]] = commit
        for name, one in (("one", short[commit[:4]]), ("two", commit)):
            run_git(repository.bare, "update-ref", f"refs/heads/{name}", one)
        text = fetch.failing(git_server.url(repository), revision=commit[:4])
        assert f"{commit[:4]} stands for several commits" in text
        assert commit in text

    def test_an_empty_repository(self, fetch, git_server):
        empty = git_server.repository(f"empty-{time.monotonic_ns()}")
        assert "has no default branch" in fetch.failing(git_server.url(empty))

    def test_a_repository_without_tags_has_the_version_of_a_first_release_to_come(self, fetch, git_server):
        untagged = git_server.repository(f"untagged-{time.monotonic_ns()}")
        untagged.commit({"a": "1"})
        commit = untagged.commit({"a": "2"})
        assert fetch(git_server.url(untagged)).version == f"0.1.dev2+g{commit[:7]}"

    def test_a_new_tag_is_seen(self, fetch, git_server, repository):
        url = git_server.url(repository)
        fetch(url)
        run_git(repository.bare, "update-ref", "refs/tags/v2.0", head(repository, "main"))
        assert fetch(url).version == "2.0"

    def test_local_repositories(self, fetch, repository):
        for url in (str(repository.bare), f"file://{repository.bare}"):
            assert fetch(url, revision="dev").commit == head(repository, "dev")

    def test_a_repository_over_ssh_by_the_users_own_command(self, fetch, repository, tmp_path, monkeypatch):
        ssh = tmp_path / "my-ssh"
        ssh.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/asked\neval "exec ${{*#* }}"\n')
        ssh.chmod(0o755)
        monkeypatch.setenv("GIT_SSH_COMMAND", str(ssh))
        found = fetch(f"someone@localhost:{repository.bare}", revision="dev")
        assert found.commit == head(repository, "dev")
        assert "someone@localhost" in (tmp_path / "asked").read_text()


class TestCache:
    def test_a_commit_that_is_there_needs_no_network(self, fetch, git_server, repository):
        url, commit = git_server.url(repository), head(repository, "main")
        first = fetch(url)
        before = len(git_server.asked())
        assert fetch(url, revision="main", commit=commit) == first
        assert fetch(url, revision=commit) == first
        assert len(git_server.asked()) == before

    def test_a_second_fetch_brings_only_what_is_new(self, fetch, git_server, repository):
        fetch(git_server.url(repository))
        packs = list(fetch.cache.rglob("*.pack"))
        commit = repository.commit({"big.txt": "x" * 1000})
        assert fetch(git_server.url(repository)).commit == commit
        new = set(fetch.cache.rglob("*.pack")) - set(packs)
        assert len(new) == 1
        kinds = run_git(fetch.cache, "verify-pack", "-v", new.pop()).split()
        assert (kinds.count("commit"), kinds.count("blob")) == (1, 1)

    def test_several_at_once_do_not_disturb_each_other(self, fetch, git_server, repository):
        revisions = ["main", "dev", "v1.0", None] * 2
        with ThreadPoolExecutor(len(revisions)) as pool:
            found = list(pool.map(lambda name: fetch(git_server.url(repository), revision=name), revisions))
        assert [one.commit for one in found] == [head(repository, name or "main") for name in revisions]

    def test_one_waits_for_another_that_fetches_into_the_same_copy(self, fetch, git_server, repository):
        fetch(git_server.url(repository))
        mirror = mirror_of(fetch)
        commit = repository.commit({"d.txt": "four\n"})
        with mirror.with_name(f"{mirror.name}.lock").open("w") as file, ThreadPoolExecutor(1) as pool:
            fcntl.flock(file, fcntl.LOCK_EX)
            before = len(git_server.asked())
            second = pool.submit(fetch, git_server.url(repository))
            deadline = time.monotonic() + 30
            while not fetch.reports[-1].startswith("Waiting for another process"):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert len(git_server.asked()) == before
            fcntl.flock(file, fcntl.LOCK_UN)
            assert second.result().commit == commit

    def test_what_a_killed_process_left_behind_does_not_matter(self, fetch, git_server, repository):
        fetch(git_server.url(repository))
        mirror = mirror_of(fetch)
        leftovers = [
            mirror / "packed-refs.lock",
            mirror / "config.lock",
            mirror / "objects/pack/tmp_pack_Ab12Cd",
        ]
        leftovers += [
            path.with_name(f"{path.name}.lock") for path in (mirror / "refs").rglob("*") if path.is_file()
        ]
        for leftover in leftovers:
            leftover.write_text("half")
        commit = repository.commit({"d.txt": "four\n"})
        assert fetch(git_server.url(repository)).commit == commit
        assert not any(leftover.exists() for leftover in leftovers)

    def test_a_damaged_copy_is_told_with_its_folder(self, fetch, git_server, repository):
        commit = fetch(git_server.url(repository)).commit
        mirror = mirror_of(fetch)
        tree = run_git(mirror, "rev-parse", f"{commit}:folder")
        (pack,) = mirror.rglob("*.pack")
        loose = pack.rename(fetch.cache / "pack")
        with loose.open("rb") as objects:
            subprocess.run(["git", f"--git-dir={mirror}", "unpack-objects", "-q"], stdin=objects, check=True)
        (mirror / "objects" / tree[:2] / tree[2:]).unlink()
        text = fetch.failing(git_server.url(repository), commit=commit)
        assert str(mirror) in text
        assert tree in text
        assert "Remove that folder" in text

    def test_nobody_else_may_read_it(self, fetch, git_server, repository):
        fetch(git_server.url(repository))
        mirror = mirror_of(fetch)
        assert mirror.stat().st_mode & 0o077 == 0


FILES = {
    ".gitattributes": "*.crlf text eol=crlf\n*.id ident\n*.filtered filter=mine\n*.lfs filter=lfs\n",
    "a.crlf": "one\ntwo\n",
    "a.id": "$Id$\n",
    "a.filtered": "plain\n",
    "a.lfs": "version https://git-lfs.github.com/spec/v1\n",
    "a.auto": "one\ntwo\n",
    "binary": "a\r\nb\n",
    "run": "#!/bin/sh\n",
    "export": "$Format:%H$\n",
    "link": Path("a.auto"),
    "dangling": Path("../nowhere"),
}
CONFIG = """
[core]
    autocrlf = true
    eol = crlf
    symlinks = false
    fileMode = false
    attributesFile = {home}/attributes
    hooksPath = {home}/hooks
[filter "mine"]
    smudge = sed s/plain/changed/
    required = true
[filter "lfs"]
    smudge = false
    process = false
    required = true
[fetch]
    prune = true
[transfer]
    hideRefs = refs/fetched
"""


class TestSameTree:
    def test_whatever_the_users_configuration_and_umask_are(self, fetch, git_server, home, tmp_path):
        repository = git_server.repository(f"same-{time.monotonic_ns()}")
        repository.commit(FILES)
        url = git_server.url(repository)
        first = fetch(url)
        assert first.files["a.crlf"] == "one\r\ntwo\r\n"
        assert first.files["a.auto"] == "one\ntwo\n"
        assert first.files["a.filtered"] == "plain\n"
        assert first.files["export"] == "$Format:%H$\n"
        assert first.files["a.id"].startswith("$Id: ")
        assert first.executable == {"run"}
        (home / ".gitconfig").write_text(CONFIG.format(home=home))
        (home / "attributes").write_text("* text eol=crlf\n* filter=mine\n")
        (home / "hooks").mkdir()
        for hook in ("post-checkout", "reference-transaction", "post-index-change"):
            (home / "hooks" / hook).write_text(f"#!/bin/sh\ntouch {home}/hook-ran\n")
            (home / "hooks" / hook).chmod(0o755)
        for number, umask in enumerate((0o000, 0o077, 0o027)):
            before = os.umask(umask)
            try:
                assert fetch(url, cache=tmp_path / f"cache {number}") == first
            finally:
                os.umask(before)
        assert not (home / "hook-ran").exists()

    def test_file_names_may_be_any_bytes(self, fetch, git_server):
        repository = git_server.repository(f"bytes-{time.monotonic_ns()}")
        name = os.fsdecode(b"caf\xe9.txt")
        repository.commit({name: "one\n", "link": Path(name)})
        assert name in fetch(git_server.url(repository)).files

    def test_variables_of_git_do_not_matter(self, fetch, git_server, repository, monkeypatch, tmp_path):
        first = fetch(git_server.url(repository))
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"):
            monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
        assert fetch(git_server.url(repository), cache=tmp_path / "other") == first


class TestCredentials:
    @pytest.mark.parametrize(("user", "password"), [(TOKEN, ""), (SOME_USER, TOKEN)])
    def test_a_token_in_the_url(self, fetch, git_server, repository, user, password):
        found = fetch(git_server.url(repository, "private", user=user, password=password))
        assert found.commit == head(repository, "main")

    def test_a_token_from_netrc(self, fetch, git_server, repository, tmp_path):
        netrc = tmp_path / "netrc"
        netrc.write_text(f"machine 127.0.0.1 login {SOME_USER} password {TOKEN}\n")
        credentials = Credentials(netrc_file=netrc)
        assert fetch(git_server.url(repository, "private"), credentials=credentials).files

    def test_a_bearer_token(self, fetch, git_server, repository):
        url = git_server.url(repository, "bearer")
        assert fetch(url, credentials=self.bearer(git_server)).files
        wrong = Credentials.of([], {"MY": "wrong"}, tokens={f"https://{git_server.host}/": "${MY}"})
        text = fetch.failing(url, credentials=wrong, cache=fetch.cache / "other")
        assert "did not accept the credentials" in text

    def test_a_token_from_the_users_own_credential_helper(self, fetch, git_server, repository, home):
        (home / ".git-credentials").write_text(f"https://{SOME_USER}:{TOKEN}@{git_server.host}\n")
        (home / ".gitconfig").write_text("[credential]\n  helper = store\n")
        assert fetch(git_server.url(repository, "private")).files
        named = git_server.url(repository, "private", user=SOME_USER)
        assert fetch(named, cache=fetch.cache / "other").files

    def test_the_users_credential_helper_is_neither_given_our_token_nor_told_to_forget_its_own(
        self, fetch, git_server, repository, home
    ):
        kept = f"https://somebody:else@{git_server.host}\n"
        (home / ".git-credentials").write_text(kept)
        (home / ".gitconfig").write_text(
            f'[credential]\n  helper = store\n[credential "https://{git_server.host}"]\n  username = somebody\n'
        )
        for user, password in ((SOME_USER, TOKEN), (TOKEN, "")):
            fetch(
                git_server.url(repository, "private", user=user, password=password), cache=fetch.cache / user
            )
        fetch.failing(git_server.url(repository, "private", user="somebody", password="wrong"))
        assert (home / ".git-credentials").read_text() == kept

    @pytest.mark.parametrize(
        "login", [{"user": "wrong-token"}, {"user": SOME_USER, "password": "wrong-token"}]
    )
    def test_a_wrong_token(self, fetch, git_server, repository, login):
        text = fetch.failing(git_server.url(repository, "private", **login))
        assert "answered 401: it did not accept the credentials" in text
        assert "wrong-token" not in text
        assert not [report for report in fetch.reports if "trying again" in report]

    def test_no_token(self, fetch, git_server, repository):
        text = fetch.failing(git_server.url(repository, "private"))
        assert "answered 401: it asks for credentials, and none are known" in text
        assert "git+https://${TOKEN}@host" in text

    def test_a_bearer_token_does_not_follow_a_redirect(self, fetch, git_server, repository):
        text = fetch.failing(git_server.url(repository, "moved-bearer"), credentials=self.bearer(git_server))
        assert "redirects elsewhere" in text
        assert not self.given(git_server, repository)

    @pytest.mark.parametrize("login", [{"user": TOKEN}, {"user": SOME_USER, "password": TOKEN}])
    @pytest.mark.parametrize("place", ["trap", "moved-private"])
    def test_a_token_does_not_follow_a_redirect(self, fetch, git_server, repository, place, login):
        fetch.failing(git_server.url(repository, place, **login))
        assert not self.given(git_server, repository)

    def test_a_redirect_without_credentials_is_followed(self, fetch, git_server, repository):
        assert fetch(git_server.url(repository, "moved")).files

    def test_a_redirect_to_a_url_without_encryption_is_refused(self, fetch, git_server, repository):
        assert "without encryption" in fetch.failing(git_server.url(repository, "downgrade"))

    def test_nothing_of_a_token_is_seen_or_left(self, fetch, git_server, repository, tmp_path, monkeypatch):
        monkeypatch.setenv("MY_TOKEN", TOKEN)
        monkeypatch.setenv("MY_INDEX", f"https://{TOKEN}@localhost/simple")
        with Watch() as watch:
            fetch(git_server.url(repository, "slow", user=SOME_USER, password=TOKEN), revision="dev")
        assert any("git-remote-https" in command for command in watch.seen)
        seen = "\n".join(watch.seen)
        encoded = base64.b64encode(f"{SOME_USER}:{TOKEN}".encode()).decode()
        for secret in (TOKEN, encoded):
            assert secret not in seen
            for path in [*fetch.cache.rglob("*"), *(tmp_path / "home").rglob("*")]:
                assert path.is_dir() or secret.encode() not in path.read_bytes()
        assert list((tmp_path / "temporary").iterdir()) == []
        assert TOKEN not in "\n".join(fetch.reports)

    def test_nothing_of_a_bearer_token_is_seen(self, fetch, git_server, repository, monkeypatch):
        monkeypatch.setenv("MY", BEARER)
        with Watch() as watch:
            fetch(git_server.url(repository, "slow-bearer"), credentials=self.bearer(git_server))
        assert any("git-remote-https" in command for command in watch.seen)
        assert BEARER not in "\n".join(watch.seen)

    @staticmethod
    def bearer(server):
        return Credentials.of([], {"MY": BEARER}, tokens={f"https://{server.host}/": "${MY}"})

    @staticmethod
    def given(server, repository):
        """The requests for a repository to the other server that had an `Authorization` header."""
        port = server.other.rpartition(":")[2]
        asked = [one for one in server.asked() if one[0] == port and repository.name in one[1]]
        return [path for _, path, authorization in asked if authorization]


class TestTrust:
    def test_a_private_ca_is_trusted_by_cert(self, fetch, git_server, repository):
        assert fetch(git_server.url(repository)).files
        text = fetch.failing(git_server.url(repository), cert=None, revision="dev")
        assert "certificate that is not trusted" in text
        assert "SSL_CERT_FILE" in text

    def test_a_private_ca_is_trusted_by_ssl_cert_file(self, fetch, git_server, repository, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(git_server.cert))
        assert fetch(git_server.url(repository), cert=None).files

    def test_a_private_ca_is_trusted_by_gits_own_setting(self, fetch, git_server, repository, home, tmp_path):
        (home / ".gitconfig").write_text(
            f'[http "https://{git_server.host}/"]\n  sslCAInfo = {git_server.cert}\n'
        )
        assert fetch(git_server.url(repository), cert=None).files
        another = tmp_path / "another.pem"
        another.write_text("")
        assert fetch(git_server.url(repository), cert=another, cache=fetch.cache / "other").files

    def test_certificates_are_checked_whatever_git_is_configured_for(
        self, fetch, git_server, repository, home, monkeypatch
    ):
        url = git_server.url(repository)
        (home / ".gitconfig").write_text(
            f'[http]\n  sslVerify = false\n[http "https://{git_server.host}/"]\n  sslVerify = false\n'
        )
        monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
        assert "certificate that is not trusted" in fetch.failing(url, cert=None)

    def test_a_url_that_the_user_has_git_rewrite(self, fetch, git_server, repository, home):
        (home / ".gitconfig").write_text(
            f'[url "https://{git_server.host}/open/"]\n  insteadOf = https://localhost/nowhere/\n'
        )
        assert fetch(f"https://localhost/nowhere/{repository.name}").files


class TestFailures:
    def test_a_passing_failure_is_tried_again_and_shown(self, fetch, git_server, repository):
        assert fetch(git_server.url(repository, "flaky")).files
        assert [report for report in fetch.reports if "503; trying again (2 of 3)" in report]

    def test_attempts_are_bounded(self, fetch, git_server, repository):
        text = fetch.failing(git_server.url(repository, "broken"))
        assert "answered 503 (3 attempts)" in text
        assert len([report for report in fetch.reports if "trying again" in report]) == 2
        assert (
            len([path for _, path, _ in git_server.asked() if path.startswith(f"/broken/{repository.name}")])
            == 3
        )

    def test_a_host_that_cannot_be_reached(self, fetch, repository):
        text = fetch.failing(f"https://127.0.0.1:1/{repository.name}")
        assert "cannot be reached" in text
        assert "Check the network" in text

    @pytest.mark.parametrize(
        ("place", "message"), [("forbidden", "answered 403"), ("missing", "not found (404)")]
    )
    def test_a_refusal_is_not_tried_again(self, fetch, git_server, repository, place, message):
        assert message in fetch.failing(git_server.url(repository, place))
        assert not [report for report in fetch.reports if "trying again" in report]

    def test_a_refusal_for_a_locked_commit_is_not_tried_again(self, fetch, git_server, repository):
        commit = head(repository, "main")
        assert "answered 401" in fetch.failing(git_server.url(repository, "private"), commit=commit)
        asked = [path for _, path, _ in git_server.asked() if path.startswith(f"/private/{repository.name}")]
        assert len(asked) == 1

    def test_what_is_no_repository(self, fetch, tmp_path):
        (tmp_path / "plain").mkdir()
        assert "is no git repository" in fetch.failing(str(tmp_path / "plain"))


class TestSubmodules:
    def test_they_are_in_place_with_their_own_and_relative_urls_count(self, fetch, git_server):
        inner, middle, outer = self.three(git_server)
        deep = inner.commit({"deep.txt": "deep\n"})
        inner.commit({"deep.txt": "newer\n"})
        mid = middle.commit({"mid.txt": "mid\n"}, submodules={"libs/inner": (f"../{inner.name}", deep)})
        outer.commit(
            {"top.txt": "top\n"}, submodules={"third party/middle": (git_server.url(middle, "private"), mid)}
        )
        found = fetch(git_server.url(outer, "private", user=TOKEN))
        assert found.files["third party/middle/mid.txt"] == "mid\n"
        assert found.files["third party/middle/libs/inner/deep.txt"] == "deep\n"
        before = len(git_server.asked())
        assert fetch(git_server.url(outer, "private"), commit=found.commit) == found
        assert len(git_server.asked()) == before

    def test_one_on_another_host_is_not_given_the_token(self, fetch, git_server):
        inner, _, outer = self.three(git_server)
        commit = inner.commit({"a": "b"})
        url = git_server.url(inner, "private", host=git_server.other)
        outer.commit({}, submodules={"sub": (url, commit)})
        text = fetch.failing(git_server.url(outer, "private", user=TOKEN))
        assert "submodule sub" in text
        assert "none are known" in text
        assert not TestCredentials.given(git_server, inner)

    def test_one_on_another_host_is_not_given_the_entry_for_any_host(self, fetch, git_server, tmp_path):
        inner, _, outer = self.three(git_server)
        commit = inner.commit({"a": "b"})
        outer.commit(
            {}, submodules={"sub": (git_server.url(inner, "private", host=git_server.other), commit)}
        )
        netrc = tmp_path / "netrc"
        netrc.write_text(f"default login {SOME_USER} password {TOKEN}\n")
        fetch.failing(git_server.url(outer, "private"), credentials=Credentials(netrc_file=netrc))
        assert not TestCredentials.given(git_server, inner)

    def test_one_that_names_a_local_repository_is_refused(self, fetch, git_server):
        inner, _, outer = self.three(git_server)
        commit = inner.commit({"a": "b"})
        outer.commit({}, submodules={"sub": (f"file://{inner.bare}", commit)})
        assert "is the local path" in fetch.failing(git_server.url(outer))
        assert fetch(f"file://{outer.bare}").files["sub/a"] == "b"

    @pytest.mark.parametrize("url", ["ext::touch /tmp/harm", "--upload-pack=touch", "../../../../x"])
    def test_one_with_a_url_that_would_do_harm_is_refused(self, fetch, git_server, url):
        inner, _, outer = self.three(git_server)
        outer.commit({}, submodules={"sub": (url, inner.commit({"a": "b"}))})
        assert "submodule sub" in fetch.failing(git_server.url(outer))

    def test_one_without_a_url_is_told(self, fetch, git_server):
        inner, _, outer = self.three(git_server)
        outer.commit({}, submodules={"sub": (None, inner.commit({"a": "b"}))})
        assert "has no URL for it" in fetch.failing(git_server.url(outer))

    def test_one_whose_commit_is_gone_is_told(self, fetch, git_server):
        inner, _, outer = self.three(git_server)
        inner.commit({"a": "b"})
        outer.commit({}, submodules={"sub": (f"../{inner.name}", "1" * 40)})
        text = fetch.failing(git_server.url(outer))
        assert "submodule sub" in text
        assert "does not have the commit 1111" in text

    @staticmethod
    def three(server):
        return [server.repository(f"{name}-{time.monotonic_ns()}") for name in ("inner", "middle", "outer")]


class Watch:
    """Looks at the arguments and the environment of all programs that are started, again and again."""

    def __init__(self):
        self.seen = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._before = {path.name for path in Path("/proc").glob("[0-9]*")}
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()

    def _look(self):
        while not self._ended.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                if folder.name in self._before:
                    continue
                try:
                    command = (folder / "cmdline").read_bytes().decode(errors="replace")
                    environment = (folder / "environ").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                # The server's own programs are told what the client sent.
                if "SCRIPT_FILENAME" not in environment:
                    self.seen.add(f"{command} {environment}")
