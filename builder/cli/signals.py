"""Ends a command in order when a signal asks for it: Ctrl-C, `kill`, a closed terminal."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from builder import process

if TYPE_CHECKING:
    from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signalled(KeyboardInterrupt):
    """A signal that ends the command.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def install() -> None:
    """Turn the first such signal into an exception, so that everything unfinished is cleaned up on its way.

    A signal that whoever started this process has it ignore (nohup, a shell's `&`) stays ignored.
    """
    asked = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if asked:
            process.kill_all()
            return
        asked = True
        raise Signalled(number)

    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)
