"""Files that are whole or not there, work that is given up at once, programs that end with this one."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import threading
import time

import pytest

from builder import files, process
from builder.files import discard_unfinished, replacing, scratch_folder
from builder.parallel import each


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new/file"
    with replacing(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), ValueError("x"), OSError(errno.ENOSPC, "full")])
def test_a_file_that_is_not_finished_leaves_the_old_one_and_nothing_else(tmp_path, failure):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with replacing(path) as file:
            file.write(b"half")
            raise failure

    with pytest.raises(type(failure)) as caught:
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(path)  # not a name that the user has never heard of


@pytest.fixture
def at_the_end(monkeypatch):
    """What ends a process, which goes on after the test."""
    monkeypatch.setattr(files, "_is_over", threading.Event())
    return discard_unfinished


def test_what_threads_leave_unfinished_is_removed_at_the_end(tmp_path, at_the_end):
    file, folder = replacing(tmp_path / "file"), scratch_folder(tmp_path)
    file.__enter__().write(b"half")
    (folder.__enter__() / "half").write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 2
    at_the_end()
    assert list(tmp_path.iterdir()) == []


def test_a_thread_that_goes_on_at_the_end_leaves_nothing(tmp_path, at_the_end):
    begun, stopped = threading.Event(), threading.Event()

    def go_on():
        with contextlib.suppress(SystemExit):
            with scratch_folder(tmp_path) as folder:
                for number in range(10_000):
                    with contextlib.suppress(OSError):
                        (folder / str(number)).write_bytes(b"")
                    begun.set()
            while True:
                with contextlib.suppress(OSError), scratch_folder(tmp_path), replacing(tmp_path / "file"):
                    pass
        stopped.set()

    threading.Thread(target=go_on, daemon=True).start()
    assert begun.wait(10)
    at_the_end()
    assert [path.name for path in tmp_path.iterdir() if path.name != "file"] == []
    assert stopped.wait(10)
    assert [path.name for path in tmp_path.iterdir() if path.name != "file"] == []


def test_results_come_in_the_order_of_the_items():
    assert each(lambda wait: time.sleep(wait / 100) or wait, [3, 1, 2], workers=3) == [3, 1, 2]


def test_a_failure_is_not_held_up_by_a_call_that_takes_long():
    release = threading.Event()
    begun = []

    def call(item):
        begun.append(item)
        if item == "fails":
            raise ValueError(item)
        release.wait(30)

    try:
        with pytest.raises(ValueError, match="fails"):
            each(call, ["fails", "long", "never begun"], workers=1)
        assert begun == ["fails"]
        with pytest.raises(ValueError, match="fails"):
            each(call, ["fails", "long"], workers=2)
        assert not release.is_set()
    finally:
        release.set()


def interrupted(words, folder):
    """A program that has ended, since what waited for it was interrupted once it said that it was on."""
    with contextlib.suppress(KeyboardInterrupt), process.started(words, cwd=folder) as running:
        assert running.stdout.readline() == "on\n"
        raise KeyboardInterrupt
    return running


def test_a_program_is_told_to_end_when_what_waits_for_it_is_interrupted(tmp_path):
    # It says that it was asked, more than a pipe holds, so that only who reads on sees its end.
    script = "trap 'head -c 200000 /dev/zero; echo asked > told; exit 3' TERM; echo on; while :; do sleep 0.05; done"
    running = interrupted(["sh", "-c", script], tmp_path)
    assert (tmp_path / "told").read_text() == "asked\n"
    assert running.returncode == 3


def test_a_program_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_GRACE", 0.1)
    script = "trap '' TERM; echo on; while :; do :; done"
    assert interrupted(["sh", "-c", script], tmp_path).returncode == -9


def test_what_a_program_waits_for_is_ended_where_it_does_not_listen(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_PATIENCE", 0.1)
    script = "trap '' TERM; echo on; sleep 60; exit 5"
    assert interrupted(["sh", "-c", script], tmp_path).returncode == 5


def test_a_second_request_ends_programs_at_once():
    with process.started(["sleep", "60"]) as running:
        process.kill_all()
    assert running.returncode == -9


def test_what_a_program_prints_is_read_even_if_it_is_not_text():
    done = process.run(["sh", "-c", r"cat; printf '\377' >&2; exit 4"], given="ä")
    assert (done.returncode, done.stdout, done.stderr) == (4, "ä", "\ufffd")
    assert isinstance(done, subprocess.CompletedProcess)
    with pytest.raises(FileNotFoundError):
        process.run([os.fspath("/nowhere/program")])
