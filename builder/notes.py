"""What several things that are worked on at a time have to tell their user."""

from __future__ import annotations

import threading

from builder.progress import Display

_SHOWN = 3


class Notes:
    """What several apps have to tell; what they tell alike is told once."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, text: str) -> None:
        """Keep what one of them has to tell; any thread may."""
        with self._lock:
            names = self._names.setdefault(text, [])
            if name not in names:
                names.append(name)

    def tell(self, display: Display) -> None:
        """Tell all that was kept, and forget it."""
        for text, names in self._names.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            display.note(f"{', '.join(sorted(names)[:_SHOWN])}{more}: {text}")
        self._names.clear()


class Part(Display):
    """The display of one of them: nothing is drawn, lines begin with its name, and notes are kept.

    Args:
        name: what it is called.
        notes: where they are kept.
        verbose: as `Display` has it.
    """

    def __init__(self, name: str, notes: Notes, *, verbose: bool) -> None:
        super().__init__(enabled=False, verbose=verbose)
        self._name = name
        self._notes = notes

    def note(self, text: str) -> None:
        """Keep what the user should know."""
        self._notes.add(self._name, text)

    def _write(self, text: str) -> None:
        super()._write(f"{self._name}: {text}")
