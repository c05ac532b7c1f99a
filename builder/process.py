"""Runs other programs so that none outlives this one, however this one is ended.

On a terminal Ctrl-C reaches the whole process group. A supervisor's signal reaches this process alone, and then what it
has started has to be told.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

# Seconds that a program has for leaving things in order. Nix ends its builders and gives its locks back.
_GRACE = 15.0
_AGAIN = 0.2

_running: set[subprocess.Popen[str]] = set()


@contextlib.contextmanager
def started(
    words: Sequence[str],
    *,
    stdin: int | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Start a program whose output is read, as UTF-8; it has ended when the block has.

    Args:
        words: the program and its arguments.
        stdin: as `subprocess` has it.
        cwd: its working directory.
        env: its whole environment; None for this process's.

    Raises:
        OSError: it cannot be started.
    """
    process = subprocess.Popen(
        words,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return what it printed.

    Args:
        words: the program and its arguments.
        given: its standard input; None for this process's.
        cwd: its working directory.
        env: its whole environment; None for this process's.

    Raises:
        OSError: it cannot be started.
    """
    stdin = None if given is None else subprocess.PIPE
    with started(words, stdin=stdin, cwd=cwd, env=env) as process:
        out, err = process.communicate(given)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        return
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        # Again and again: Nix may miss a signal while it is about to wait for a builder, until that has ended.
        process.terminate()
        # Not `wait`: a program that still has something to say must not stand still for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_AGAIN)
            return
    process.kill()


def kill_all() -> None:
    """End at once what is still being waited for; for a user who has asked twice."""
    for process in list(_running):
        process.kill()
