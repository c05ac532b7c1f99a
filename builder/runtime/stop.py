"""SIGTERM and SIGINT as the first process of a container gets them.

The kernel delivers to that process only signals it has a handler for, so there is one from the start.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Stopped(KeyboardInterrupt):
    """The container was asked to stop: passes `except Exception` and asyncio, as KeyboardInterrupt does."""


class Stop:
    """Hears that the container is to stop.

    Attributes:
        asked: how many times it was told so.
        handler: is called each time; while there is none, `Stopped` is raised wherever the main thread is.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.handler: Callable[[], None] | None = None

    def listen(self) -> None:
        """Handle the signals from now on; in the main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.asked += 1
        if self.handler is None:
            raise Stopped
        self.handler()
