from __future__ import annotations

import pytest

from builder.errors import ResolveError, ToolError
from builder.git.failures import failure
from builder.git.program import executable, reaching_environment
from builder.git.tree import Submodule, place_of

COMMIT = "abcdef0123456789abcdef0123456789abcdef01"


class TestFailures:
    @pytest.mark.parametrize(
        ("said", "message", "passing"),
        [
            ("fatal: Authentication failed for 'https://h/a.git/'", "answered 401", False),
            (
                "fatal: unable to access 'https://h/': The requested URL returned error: 403",
                "answered 403",
                False,
            ),
            ("fatal: repository 'https://h/a.git/' not found", "(404)", False),
            (
                "fatal: unable to access 'https://h/': The requested URL returned error: 502",
                "answered 502",
                True,
            ),
            ("fatal: unable to access 'https://h/': Could not resolve host: h", "host name", True),
            ("fatal: unable to access 'https://h/': Failed to connect to h port 443", "no connection", True),
            (
                "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
                "certificate that is not trusted",
                False,
            ),
            (
                "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none",
                "certificate that is not trusted",
                False,
            ),
            (
                "fatal: SSL: certificate subject name (x) does not match target host name 'h'",
                "another host",
                False,
            ),
            ("git@h: Permission denied (publickey).\nfatal: Could not read from remote", "ssh key", False),
            (
                "Host key verification failed.\nfatal: Could not read from remote repository.",
                "host key",
                False,
            ),
            ("error: RPC failed; curl 92\nfatal: early EOF", "lost", True),
            ("fatal: 'x' does not appear to be a git repository", "no git repository", False),
        ],
    )
    def test_what_git_says_is_told_in_one_phrase(self, said, message, passing):
        found = failure(said, ())
        assert message in found.message
        assert found.passing is passing

    def test_what_is_not_known_is_shown_without_secrets(self):
        found = failure(
            "hint: x\nfatal: odd thing canary-secret at https://user:pw12@h/a\n", ("canary-secret",)
        )
        assert found.message == "failed: fatal: odd thing *** at https://***@h/a"
        assert not found.passing


class TestProgram:
    def test_without_git_the_hint_says_how_to_install_it(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ToolError, match="git is missing") as caught:
            executable()
        assert "apt-get install git" in caught.value.hint

    def test_variables_that_hold_a_secret_are_not_passed_on(self, monkeypatch):
        monkeypatch.setenv("MY_TOKEN", "canary-secret")
        monkeypatch.setenv("MY_INDEX", "https://canary-secret@host/simple")
        monkeypatch.setenv("GIT_DIR", "/somewhere")
        monkeypatch.setenv("GIT_TRACE_CURL", "1")
        monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
        monkeypatch.setenv("GIT_SSH_COMMAND", "ssh -v")
        environment = reaching_environment(["canary-secret"])
        names = {"MY_TOKEN", "MY_INDEX", "GIT_DIR", "GIT_TRACE_CURL", "GIT_SSL_NO_VERIFY"}
        assert not names & set(environment)
        assert environment["GIT_SSH_COMMAND"] == "ssh -v"
        assert environment["GIT_TERMINAL_PROMPT"] == "0"

    def test_a_short_password_does_not_take_the_path_away(self, monkeypatch):
        monkeypatch.setenv("SOMEWHERE", "/usr/bin")
        environment = reaching_environment(["usr", ""])
        assert environment["SOMEWHERE"] == "/usr/bin"
        assert "PATH" in environment


class TestSubmodulePlace:
    def test_it_is_an_empty_folder_of_the_tree(self, tmp_path):
        (tmp_path / "libs" / "sub").mkdir(parents=True)
        assert place_of(Submodule("libs/sub", COMMIT, None), tmp_path, "here") == tmp_path / "libs" / "sub"

    def test_a_link_out_of_the_tree_is_refused(self, tmp_path):
        tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
        tree.mkdir()
        (elsewhere / "sub").mkdir(parents=True)
        (tree / "libs").symlink_to(elsewhere)
        with pytest.raises(ResolveError, match="no folder of its own"):
            place_of(Submodule("libs/sub", COMMIT, None), tree, "here")
