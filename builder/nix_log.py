"""Reads Nix's structured log (`--log-format internal-json`) and tells a reporter what is going on.

Each line is `@nix {...}`: an activity starts or stops, has a result (progress, a line of a builder's log), or Nix
says something (`msg`). Numbers of activity and result types are those of Nix's logging.hh.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from builder.nix_failure import explain, readable

if TYPE_CHECKING:
    from builder.errors import BuilderError

FETCH = 101
_BUILDS = 104
_BUILD = 105
_LOG_LINE = 101
_PROGRESS = 105
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# In the words of Nix up to 2.29, and of later ones.
_FAILED = re.compile(
    r"(?:builder for|build of|in fixed-output derivation) '([^']+\.drv)'"
    r"|Cannot build '([^']+\.drv)'\.\s*Reason: (?!\d+ dependenc)"
)
_KEPT_LINES = 200


class Reporter(Protocol):
    """Shows long work to whoever waits for it."""

    def counted(self, done: int, expected: int) -> None:
        """So many steps are done of those that the work has, as far as is known now."""

    def started(self, kind: str, name: str, key: int) -> None:
        """Work on one thing begins; `kind` is "fetch" or "build"."""

    def progressed(self, key: int, done: int, expected: int) -> None:
        """So many bytes of a fetch are here; `expected` is 0 where the server did not say."""

    def finished(self, key: int) -> None:
        """Work on one thing has ended."""

    def said(self, name: str, line: str) -> None:
        """A build, by its derivation's name, has printed a line."""


class Log:
    """What Nix said during one build.

    Attributes:
        errors: what it said that is wrong.
        built: the derivations it began to build.
        fetched: the URLs it began to fetch.
        is_distrusted: whether its daemon does not let this user say which caches and keys count.
    """

    def __init__(self, reporter: Reporter) -> None:
        self.errors: list[str] = []
        self.built: list[str] = []
        self.fetched: list[str] = []
        self._machines: dict[str, str] = {}
        self.is_distrusted = False
        self._reporter = reporter
        self._lines: dict[str, deque[str]] = {}
        self._drv: dict[int, str] = {}
        self._active: set[int] = set()
        self._all_builds: int | None = None

    def line(self, text: str) -> None:
        """Take one line of Nix's standard error."""
        if not text.startswith("@nix "):
            if text.strip():
                self.errors.append(_ANSI.sub("", text))
            return
        try:
            event = json.loads(text[5:])
        except ValueError:
            return
        self._event(event)

    def _event(self, event: dict[str, Any]) -> None:
        action = event.get("action")
        if action == "start":
            self._start(event)
        elif action == "stop" and event["id"] in self._active:
            self._active.discard(event["id"])
            self._reporter.finished(event["id"])
        elif action == "result":
            self._result(event)
        elif action == "msg":
            self._say(event.get("level", 0), _ANSI.sub("", event.get("raw_msg") or event.get("msg", "")))

    def _say(self, level: int, text: str) -> None:
        if level == 0:
            self.errors.append(text)
        # What a daemon says to those whom it does not trust, as a warning.
        self.is_distrusted |= "not a trusted user" in text or "untrusted substituter" in text

    def _start(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        fields = event.get("fields") or []
        if kind == _BUILDS:
            self._all_builds = event["id"]
        if kind not in (_BUILD, FETCH) or not fields:
            return
        name = readable(fields[0])
        if kind == _BUILD:
            self._drv[event["id"]] = fields[0]
            if fields[0] in self._machines:
                return  # what the machine says that it was handed to
            self.built.append(fields[0])
            # The second field is that machine, "" for this one.
            if machine := fields[1] if len(fields) > 1 else "":
                self._machines[fields[0]] = machine
                name = f"{name} on {urlsplit(machine).hostname or machine}"
        else:
            self.fetched.append(fields[0])
        self._active.add(event["id"])
        self._reporter.started("build" if kind == _BUILD else "fetch", name, event["id"])

    def _result(self, event: dict[str, Any]) -> None:
        fields = event.get("fields") or []
        if event.get("type") == _LOG_LINE and event["id"] in self._drv:
            drv, text = self._drv[event["id"]], _ANSI.sub("", str(fields[0]))
            self._lines.setdefault(drv, deque(maxlen=_KEPT_LINES)).append(text)
            self._reporter.said(readable(drv), text)
        elif event.get("type") == _PROGRESS and len(fields) > 1:
            if event["id"] in self._active:
                self._reporter.progressed(event["id"], int(fields[0]), int(fields[1]))
            elif event["id"] == self._all_builds:
                self._reporter.counted(int(fields[0]), int(fields[1]))

    @property
    def failed(self) -> list[str]:
        """The derivations that failed by themselves, not for want of another one."""
        found = _FAILED.findall("\n".join(self.errors))
        return list(dict.fromkeys(older or newer for older, newer in found))

    @property
    def lost(self) -> set[str]:
        """The machines that steps were handed to and that broke off, rather than answer that a step failed."""
        text = "\n".join(self.errors)
        return {
            machine
            for drv in self.failed
            if (machine := self._machines.get(drv)) and f"build of '{drv}' on '{machine}' failed" not in text
        }

    def failure_of(self, drv: str) -> BuilderError:
        """The error that explains why one derivation failed."""
        said = [error for error in self.errors if f"'{drv}'" in error]
        return explain("\n".join(said or self.errors), {drv: self._lines.get(drv, ())})

    def failure(self) -> BuilderError:
        """The error that explains why the build failed; see `builder.nix_failure.explain`."""
        logs = {drv: self._lines.get(drv, ()) for drv in self._drv.values()}
        return explain("\n".join(self.errors), logs)
