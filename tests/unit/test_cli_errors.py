"""How a command ends: one message, the exit code, and for scripts one JSON document."""

from __future__ import annotations

import errno
import json
import os
import signal
import time

import click
import pytest

from builder import cli
from builder.errors import BuildError, DeclarationError


@pytest.fixture(autouse=True)
def _signals():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def ending(monkeypatch, capsys):
    """Run a command whose work ends with an exception; returns exit code, standard output and standard error."""

    def run(failure, *words):
        @click.command()
        @click.argument("words", nargs=-1, type=click.UNPROCESSED)
        @click.option("--json", "as_json", is_flag=True)
        def command(**_):
            if callable(failure):
                failure()
            raise failure

        monkeypatch.setattr(cli._Group, "get_command", lambda *_: command)
        code = cli.run(words)
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_an_error_is_its_message_and_its_hint(ending):
    code, out, err = ending(DeclarationError("app.py is wrong", hint="Right it."), "build")
    assert (code, out, err) == (3, "", "error: app.py is wrong\nhint: Right it.\n")


def test_scripts_get_one_json_object_on_standard_output(ending):
    code, out, err = ending(BuildError("it broke", hint="Mend it."), "build", "--json")
    assert code == 6
    assert json.loads(out) == {"error": {"kind": "BuildError", "message": "it broke", "hint": "Mend it."}}
    assert "it broke" in err


def test_words_after_two_dashes_are_not_ours(ending):
    _, out, _ = ending(BuildError("it broke"), "run", "app.py", "--", "program", "--json")
    assert out == ""


def test_a_full_disk_is_told_with_the_file(ending):
    code, out, err = ending(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/y"), "lock", "--json")
    assert code == 8
    assert json.loads(out)["error"]["kind"] == "MachineError"
    assert "error: The disk is full: /x/y could not be written." in err


def test_what_the_system_refuses_is_told_without_a_number(ending):
    code, _, err = ending(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x/y"), "lock")
    assert (code, err) == (8, "error: /x/y: Permission denied\n")


def test_a_bug_is_one_line_that_says_so(ending, monkeypatch):
    monkeypatch.delenv("BUILDER_DEBUG", raising=False)
    code, out, err = ending(KeyError("here"), "build", "--json")
    assert code == 1
    assert json.loads(out)["error"]["kind"] == "BuilderBug"
    assert "builder itself failed: KeyError: 'here'" in err
    assert "BUILDER_DEBUG=1" in err
    assert "Traceback" not in err


def test_a_bug_shows_its_traceback_to_who_asks(ending, monkeypatch):
    monkeypatch.setenv("BUILDER_DEBUG", "1")
    with pytest.raises(KeyError):
        ending(KeyError("here"), "build")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_with_its_number(ending, number):
    def work():
        os.kill(os.getpid(), number)
        time.sleep(5)

    code, out, err = ending(work, "build", "--json")
    assert code == 128 + number
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    assert "the next run continues from there" in err


def test_a_second_signal_does_not_stop_the_cleaning_up(ending, tmp_path):
    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            (tmp_path / "cleaned").touch()

    assert ending(work, "build")[0] == 128 + signal.SIGTERM
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("words", [["build", "--json", "--nonsense"], ["lock", "--json"]])
def test_wrong_usage_is_told_to_scripts_too(words, capsys):
    assert cli.run(words) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["kind"] == "UsageError"
    assert "Usage: builder" in err
