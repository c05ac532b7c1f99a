"""Runs other programs so that none outlives this one, however this one is ended.

On a terminal Ctrl-C reaches the whole process group. A supervisor's signal reaches this process alone, and then what it
has started has to be told.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Seconds that a program has for leaving things in order. Nix ends its builders and gives its locks back.
_GRACE = 15.0
# Seconds after which it is asked again, and after which what it waits for is ended in its place.
_AGAIN = 0.2
_PATIENCE = 1.0

_running: set[subprocess.Popen[str]] = set()


@contextlib.contextmanager
def started(
    words: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = subprocess.PIPE,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Start a program whose output is read, as UTF-8; it has ended when the block has.

    Args:
        words: the program and its arguments.
        stdin: as `subprocess` has it.
        stdout: as `subprocess` has it; a file's for what is not text.
        stderr: as `subprocess` has it; None shows the user what the program says there.
        cwd: its working directory.
        env: its whole environment; None for this process's.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        words,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        encoding="utf-8",
        errors="replace",
    )
    _running.add(process)
    try:
        with process:
            try:
                yield process
            except BaseException:
                _stop(process)
                raise
    finally:
        _running.discard(process)


def run(
    words: Sequence[str],
    *,
    given: str | None = None,
    stderr: int | None = subprocess.PIPE,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed.

    Args:
        words: the program and its arguments.
        given: its standard input; None for this process's.
        stderr: as `started` has it.
        cwd: its working directory.
        env: its whole environment; None for this process's.

    Raises:
        OSError: it cannot be started.
    """
    stdin = None if given is None else subprocess.PIPE
    with started(words, stdin=stdin, stderr=stderr, cwd=cwd, env=env) as process:
        out, err = process.communicate(given)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    asked = time.monotonic()
    while time.monotonic() < asked + _GRACE:
        process.terminate()
        # Not `wait`: a program that still has something to say must not stand still for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_AGAIN)
            return
        if time.monotonic() > asked + _PATIENCE:
            # Nix 2.8 sometimes loses the signal, if that comes while it starts a builder, and waits for the builder.
            # To kill Nix itself would leave the builder behind.
            for child in _children(process.pid):
                with contextlib.suppress(OSError):
                    os.kill(child, signal.SIGKILL)
    process.kill()


def _children(parent: int) -> list[int]:
    """The processes that a process has started, where the system tells (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            # proc(5): PID (NAME) STATE PARENT ...; a name may hold anything.
            if int(stat.read_text(errors="replace").rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def kill_all() -> None:
    """End at once what is still being waited for; for a user who has asked twice."""
    for process in list(_running):
        process.kill()
