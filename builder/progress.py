"""Shows long work on a terminal; says nothing elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from builder.redact import redact

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress, TaskID


class Display:
    """A live display of what is being resolved, fetched and built, and how much is left.

    It is the reporter of `builder.nix_log`. Without a terminal it stays silent, so that logs and scripts see only
    results.

    Args:
        enabled: whether to show it; None for where standard error is a terminal.
        verbose: write lines in its place: each step, and what builds print.
    """

    def __init__(self, *, enabled: bool | None = None, verbose: bool = False) -> None:
        self.verbose = verbose
        self.enabled = not verbose and (sys.stderr.isatty() if enabled is None else enabled)
        self._progress: Progress | None = None
        self._stage: TaskID | None = None
        self._tasks: dict[int, TaskID] = {}
        self._noted: set[str] = set()

    def __enter__(self) -> Display:  # noqa: PYI034 - Self is in the standard library from 3.11 on
        if self.enabled:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[amount]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def stage(self, text: str) -> None:
        """Say which step has begun."""
        self._write(text)
        if self._progress:
            if self._stage is not None:
                self._progress.remove_task(self._stage)
            self._stage = self._progress.add_task(f"[bold]{text}", total=None, amount="")

    def note(self, text: str) -> None:
        """Tell the user something worth knowing although nothing failed; said with and without a terminal."""
        # An app that is locked again within a run would have the same said again.
        if text not in self._noted:
            self._noted.add(text)
            print(f"note: {text}", file=sys.stderr)

    def counted(self, done: int, expected: int) -> None:
        """So many steps of the stage are done, of those that are known of now."""
        if self._progress and self._stage is not None and expected:
            self._progress.update(self._stage, total=expected, completed=done, amount=f"{done} of {expected}")

    def started(self, kind: str, name: str, key: int) -> None:
        """Work on one thing begins; `kind` is "fetch" or "build"."""
        self._write(f"{kind} {name}")
        if self._progress:
            self._tasks[key] = self._progress.add_task(f"  {kind} {name}", total=None, amount="")

    def progressed(self, key: int, done: int, expected: int) -> None:
        """So many bytes of a fetch are here; `expected` is 0 where the server did not say."""
        if self._progress and key in self._tasks:
            amount = f"{done / 1e6:.1f} MB" + (f" of {expected / 1e6:.1f}" if expected else "")
            self._progress.update(self._tasks[key], completed=done, total=expected or None, amount=amount)

    def finished(self, key: int) -> None:
        """Work on one thing has ended."""
        if self._progress and key in self._tasks:
            self._progress.remove_task(self._tasks.pop(key))

    def said(self, name: str, line: str) -> None:
        """A build has printed a line."""
        self._write(f"{name}> {line}")

    def _write(self, text: str) -> None:
        if self.verbose:
            # In one piece, since threads may write at the same time.
            print(f"{redact(text)}\n", end="", file=sys.stderr, flush=True)
