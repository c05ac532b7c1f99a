"""Turns what Nix says when it fails into the one message that its user needs."""

from __future__ import annotations

import base64
import binascii
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import BuilderError, BuildError, MachineError, ResolveError, ToolError, disk_full
from builder.store import STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# How this project's scripts, and Python where they fail, begin the line that tells what is wrong.
_ERROR = re.compile(r"error: |[\w.]*(Error|Exception)\b")
_WHEEL = re.compile(r"(?P<name>[^-\s/]+)-[^\s/]+\.whl: ")
_LINK = re.compile(r"creating symlink from '(?P<path>[^']+?)(\.tmp-[0-9-]+)?' to '[^']*': (?P<reason>.+)")
# What the system says, and what the database that Nix keeps says.
_NO_SPACE = re.compile(r"no space left on device|database or disk is full", re.IGNORECASE)
_KEPT = "What was finished is kept: run the same command again"
_SHOWN_LINES = 20
# Answers of a server that has not, or does not give, what another one may (RFC 9110).
_NOT_THERE = re.compile(r"HTTP error (401|403|404|410|451)\b")


class PinnedFileError(ResolveError):
    """A file that the lock pins could not be downloaded, or what came is another file.

    Attributes:
        name: the file's store name.
        problem: what is wrong, without the file's name.
        answered: whether the server answered, and not with the file; otherwise it could not be reached, or broke off.
        url: where it was had from, or "" where Nix does not say.
    """

    def __init__(self, name: str, problem: str, *, hint: str, answered: bool, url: str = "") -> None:
        super().__init__(name, hint=hint)
        self.name = name
        self.problem = problem
        self.answered = answered
        self.url = url

    def __str__(self) -> str:
        """The message."""
        source = f" from {self.url}" if self.url else ""
        return f"{self.name}{source}: {self.problem}."


def readable(store_path: str) -> str:
    """A store path's name, without folder, hash and `.drv`."""
    name = store_path.rsplit("/", 1)[-1].removesuffix(".drv")
    return name.split("-", 1)[-1]


def refusal(text: str) -> BuilderError | None:
    """The error where Nix cannot work at all: no daemon, no permission, a full disk.

    Args:
        text: what Nix wrote.
    """
    lowered = text.lower()
    last = text.strip().rpartition("\n")[2]
    if (
        "daemon-socket" in lowered
        or "cannot connect to daemon" in lowered
        or "cannot connect to socket" in lowered
    ):
        return ToolError(
            f"Nix could not reach its daemon: {last}",
            hint="Start it (systemctl start nix-daemon, or `sudo nix-daemon &`); on Debian and Ubuntu the user must "
            "be in the group nix-users (sudo usermod -aG nix-users $USER, then log in again).",
        )
    if link := _LINK.search(text):
        if _NO_SPACE.search(text):
            return disk_full(link["path"])
        return MachineError(
            f"{link['path']} cannot be written: {link['reason']}.",
            hint="The image is there. --out-link PATH puts the link to it elsewhere, --no-link makes none.",
        )
    if _NO_SPACE.search(text):
        return _disk_full(text)
    if "permission denied" in lowered and "/nix" in lowered:
        return ToolError(
            f"Nix may not write its store: {last}",
            hint="Run the Nix daemon, or run builder as the user who owns /nix.",
        )
    return None


def _disk_full(text: str) -> BuilderError:
    line = next(line for line in text.splitlines() if _NO_SPACE.search(line))
    path = re.search(r"""['"](/[^'"]+)['"]""", line)
    # Where Nix keeps its database says nothing to those who need room.
    if path and not path[1].endswith("/db.sqlite"):
        return disk_full(path[1])
    # Nix does not say which: those that it writes to, with what is left now that it has taken back what was unfinished.
    free = {
        folder: shutil.disk_usage(folder).free
        for folder in dict.fromkeys((STORE, tempfile.gettempdir(), str(Path.cwd())))
        if Path(folder).is_dir()
    }
    return disk_full(free=free)


def explain(text: str, logs: Mapping[str, Iterable[str]]) -> BuilderError:
    """The error that explains why a build failed, in as few words as there are.

    Args:
        text: what Nix said.
        logs: by derivation, the last lines of its builder, for those that were started.
    """
    if refused := refusal(text):
        return refused
    if mismatch := _mismatch(text):
        return mismatch
    for drv, lines in logs.items():
        if f"'{drv}'" in text:
            return _failed_step(drv, [line for line in lines if line.strip()], text)
    if download := _download(text, ""):
        return download
    return BuildError(text.strip() or "nix build failed and said nothing.")


def _failed_step(drv: str, said: list[str], text: str) -> BuilderError:
    log = "\n".join(said)
    if _NO_SPACE.search(log):
        return _disk_full(log)
    if download := _download(log, readable(drv)):
        return download
    killed = re.search(rf"'{re.escape(drv)}'[^']*failed due to signal (\d+) \(([^)]*)\)", text)
    if killed:
        memory = "Memory may have run out: the kernel's log (dmesg) tells. " if killed[1] == "9" else ""
        return BuildError(
            f"{readable(drv)}: the step was ended by signal {killed[1]} ({killed[2]}).",
            hint=f"{memory}{_KEPT}.",
        )
    error = next((line for line in reversed(said) if _ERROR.match(line)), None)
    words = error.removeprefix("error: ") if error else "\n".join(said[-_SHOWN_LINES:])
    wheel = _WHEEL.match(words)
    if wheel:
        return BuildError(
            words,
            hint="This is the file that the lock pins: it was published like that. Ask for another version of "
            f"{wheel['name'].replace('_', '-')}, and tell its maintainers.",
        )
    return BuildError(
        f"{readable(drv)}: {words or text.strip()}", hint=f"Full log: nix-store --read-log {drv}"
    )


def _mismatch(text: str) -> PinnedFileError | None:
    found = re.search(
        r"hash mismatch in fixed-output derivation '([^']+)'.*?specified:\s*(\S+).*?got:\s*(\S+)",
        text,
        re.DOTALL,
    )
    if not found:
        return None
    return PinnedFileError(
        readable(found[1]),
        f"this is not the file that the lock pins: expected sha256 {_hex(found[2])}, got {_hex(found[3])}",
        hint="The file was changed where it is served, or on the way.",
        answered=True,
    )


def _hex(digest: str) -> str:
    """A hash the way locks have it; Nix prints the SRI form, `sha256-<base64>`."""
    try:
        return base64.b64decode(digest.removeprefix("sha256-"), validate=True).hex()
    except binascii.Error:
        return digest


def _download(text: str, name: str) -> PinnedFileError | None:
    """The error of a download that failed, which Nix itself says or a downloading derivation's log does."""
    found = re.search(r"unable to download '([^']+)': (.*?)(?:\n|$)", text)
    if not found:
        return None
    reason = found[2].strip()
    # "HTTP error 200 ('OK') (curl error: Transferred a partial file)" says what went wrong in its last part only.
    reason = re.sub(r"^HTTP error 2\d\d(?: \('[^']*'\))? \(curl error: (.*)\)$", r"\1", reason)
    gone = _NOT_THERE.search(reason) is not None
    return PinnedFileError(
        name or found[1].rpartition("/")[2],
        f"it could not be downloaded: {reason}",
        url=found[1],
        hint="The server does not have it any more." if gone else f"{_KEPT} when the network is back.",
        answered=gone,
    )
