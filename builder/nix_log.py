"""Reads Nix's structured log (`--log-format internal-json`) and tells a reporter what is going on.

Each line is `@nix {...}`: an activity starts or stops, has a result (progress, a line of a builder's log), or Nix
says something (`msg`). Numbers of activity and result types are those of Nix's logging.hh.
"""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, Protocol

from builder.errors import BuildError, ResolveError

_FETCH = 101
_BUILDS = 104
_BUILD = 105
_LOG_LINE = 101
_PROGRESS = 105
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_KEPT_LINES = 200
# How this project's scripts, and Python where they fail, begin the line that tells what is wrong.
_ERROR = re.compile(r"error: |[\w.]*(Error|Exception)\b")


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


def readable(store_path: str) -> str:
    """A store path's name, without folder, hash and `.drv`."""
    name = store_path.rsplit("/", 1)[-1].removesuffix(".drv")
    return name.split("-", 1)[-1]


class Log:
    """What Nix said during one build."""

    def __init__(self, reporter: Reporter) -> None:
        self.errors: list[str] = []
        self.built: list[str] = []
        self.fetched: list[str] = []
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
        action = event.get("action")
        if action == "start":
            self._start(event)
        elif action == "stop" and event["id"] in self._active:
            self._active.discard(event["id"])
            self._reporter.finished(event["id"])
        elif action == "result":
            self._result(event)
        elif action == "msg" and event.get("level", 0) == 0:
            self.errors.append(_ANSI.sub("", event.get("raw_msg") or event.get("msg", "")))

    def _start(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        fields = event.get("fields") or []
        if kind == _BUILD and fields:
            self._drv[event["id"]] = fields[0]
            self.built.append(fields[0])
            label = "build"
        elif kind == _FETCH and fields:
            self.fetched.append(fields[0])
            label = "fetch"
        elif kind == _BUILDS:
            self._all_builds = event["id"]
            return
        else:
            return
        self._active.add(event["id"])
        self._reporter.started(label, readable(fields[0]), event["id"])

    def _result(self, event: dict[str, Any]) -> None:
        fields = event.get("fields") or []
        if event.get("type") == _LOG_LINE and event["id"] in self._drv:
            lines = self._lines.setdefault(self._drv[event["id"]], deque(maxlen=_KEPT_LINES))
            lines.append(_ANSI.sub("", str(fields[0])))
        elif event.get("type") == _PROGRESS and len(fields) > 1:
            if event["id"] in self._active:
                self._reporter.progressed(event["id"], int(fields[0]), int(fields[1]))
            elif event["id"] == self._all_builds:
                self._reporter.counted(int(fields[0]), int(fields[1]))

    def failure(self) -> BuildError | ResolveError:
        """The error that explains why the build failed, in as few words as there are."""
        text = "\n".join(self.errors)
        mismatch = re.search(
            r"hash mismatch in fixed-output derivation '([^']+)'.*?specified:\s*(\S+).*?got:\s*(\S+)",
            text,
            re.DOTALL,
        )
        if mismatch:
            return ResolveError(
                f"{readable(mismatch[1])} is not the file that the lock pins: expected {mismatch[2]}, "
                f"got {mismatch[3]}.",
                hint="The file was changed where it is served, or altered on the way. If the change is wanted: "
                "`builder lock --upgrade-package NAME`.",
            )
        if download := _failed_download(text):
            return download
        for drv, lines in self._lines.items():
            # The first wording is that of Nix 2.8 to 2.26 at least, the second that of 2.34.
            if f"builder for '{drv}' failed" in text or f"Cannot build '{drv}'" in text:
                said = [line for line in lines if line.strip()]
                if download := _failed_download("\n".join(said)):
                    return download
                error = next((line for line in reversed(said) if _ERROR.match(line)), None)
                words = error.removeprefix("error: ") if error else "\n".join(said[-20:])
                return BuildError(f"{readable(drv)}: {words}", hint=f"Full log: nix log {drv}")
        return BuildError(text.strip() or "nix build failed and said nothing.")


def _failed_download(text: str) -> ResolveError | None:
    """The error of a download that failed, which Nix itself says or a downloading derivation's log does."""
    found = re.search(r"unable to download '([^']+)': (.*?)(?:\n|$)", text)
    if not found:
        return None
    return ResolveError(
        f"Could not download {found[1]}: {found[2].strip()}.",
        hint="What was fetched so far is kept: run the same command again when the network is back.",
    )
