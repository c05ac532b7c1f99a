"""Machines that builds are handed to, by Nix's own means (Nix manual, "Remote builds"): over ssh, by its build hook.

What a machine is to build from is copied there, or had by it from its own caches; what it has built is copied back. One
that cannot be reached is left out. One that is lost in the middle of a step fails that step: then the build is run
again without it, and everything that was finished stays.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from builder import nix, parallel
from builder.errors import BuilderError, BuildError, DeclarationError
from builder.nix_log import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from builder.progress import Display
    from builder.settings import Settings

R = TypeVar("R")

_VARIABLE = "BUILDER_BUILDERS"
_SCHEMES = ("ssh-ng", "ssh")
_FIELDS = ("URL", "system", "key", "jobs", "speed", "features", "mandatory features", "host key")
# What words after the URL look like, and what is said of one that does not.
_FORMS = {
    "system": (re.compile(r"\w+-[a-z0-9]+(,\w+-[a-z0-9]+)*"), "is none, such as x86_64-linux"),
    "jobs": (re.compile(r"[1-9]\d*"), "are not a number of builds at a time"),
    "speed": (re.compile(r"\d+(\.\d+)?"), "is not a number"),
    "host key": (
        re.compile(r"([A-Za-z0-9+/]{4})*[A-Za-z0-9+/]{2,4}={0,2}"),
        "is not base64 of a public key's line",
    ),
}
_ANY = re.compile(r"\S+")
_HINT = 'A machine is "ssh-ng://user@host system key jobs speed", as in "ssh-ng://nix@big x86_64-linux ~/.ssh/id 8".'
# A host that is switched off answers nothing at all: without these ssh waits for it for hours.
_SSH_OPTIONS = {"BatchMode": "yes", "ConnectTimeout": 10, "ServerAliveInterval": 10, "ServerAliveCountMax": 3}


@dataclass(frozen=True)
class Machine:
    """A machine that builds.

    Attributes:
        url: `ssh-ng://user@host`, as Nix names it in what it says.
        words: all that is known of it, one to eight words as `builders` of nix.conf has them.
    """

    url: str
    words: tuple[str, ...]

    @property
    def store_url(self) -> str:
        """The URL of its store, with the key that opens it and the one that it is known by."""
        given = {"ssh-key": self._word(2), "base64-ssh-public-host-key": self._word(7)}
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in given.items() if value)
        return f"{self.url}?{query}" if query else self.url

    def _word(self, place: int) -> str | None:
        word = self.words[place] if place < len(self.words) else "-"
        return None if word == "-" else word


def find_builders(settings: Settings, root: Path, *, named: Sequence[str] = ()) -> tuple[Machine, ...]:
    """The machines that are configured: by option, by environment variable or in the project's settings, in that order.

    Args:
        settings: the project's.
        root: its folder, which a file of machines in the settings is relative to.
        named: what the command line says.

    Raises:
        DeclarationError: a machine is not written as Nix has it, or its key is missing.
    """
    if named:
        return read_machines(named, Path.cwd(), where="--builders")
    if variable := os.environ.get(_VARIABLE):
        return read_machines([variable], Path.cwd(), where=_VARIABLE)
    return read_machines(settings.builders, root, where="tool.builder.builders")


def read_machines(texts: Iterable[str], base: Path, *, where: str) -> tuple[Machine, ...]:
    """Read machines in Nix's words: one a line, or `;` between them; `@FILE` stands for what is in a file.

    Args:
        texts: what is written.
        base: the folder that FILE is relative to.
        where: what an error begins with.

    Raises:
        DeclarationError: a machine is not written as Nix has it, or its key or the file is missing.
    """
    found: dict[str, Machine] = {}
    for line in (line for text in texts for line in re.split(r"[;\n]", text)):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0].startswith("@"):
            path = base / Path(words[0][1:]).expanduser()
            try:
                content = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise DeclarationError(f"{where}: {path} cannot be read: {error}") from error
            for machine in read_machines([content], path.parent, where=str(path)):
                found[machine.url] = machine
        else:
            machine = _machine(words, where)
            found[machine.url] = machine
    return tuple(found.values())


def _machine(words: list[str], where: str) -> Machine:
    url, *rest = words
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise DeclarationError(f"{where}: {url!r} is not the URL of a machine", hint=_HINT)
    if parts.password is not None:
        raise DeclarationError(
            f"{where}: the URL of {parts.hostname} has a password in it",
            hint="Name a file with a key instead.",
        )
    if len(words) > len(_FIELDS):
        raise DeclarationError(
            f"{where}: {url} has {len(words)} words; a machine has at most {len(_FIELDS)}: {', '.join(_FIELDS)}"
        )
    for name, word in zip(_FIELDS[1:], rest, strict=False):
        form, complaint = _FORMS.get(name, (_ANY, ""))
        if word != "-" and not form.fullmatch(word):
            raise DeclarationError(f"{where}: {url}: the {name} {word!r} {complaint}", hint=_HINT)
    if len(rest) > 1 and rest[1] != "-":
        key = Path(rest[1]).expanduser().absolute()
        rest[1] = str(key)
        # A daemon's keys are not for its users to see.
        if nix.has_own_store() and not key.exists():
            raise DeclarationError(f"{where}: {url}: there is no key {key}", hint=_HINT)
    return Machine(url, (url, *rest))


def flags(machines: Sequence[Machine]) -> tuple[str, ...]:
    """Words for Nix, by which it hands steps to machines; none where there are no machines."""
    if not machines:
        return ()
    lines = " ; ".join(" ".join(machine.words) for machine in machines)
    return ("--option", "builders", lines, "--option", "builders-use-substitutes", "true")


def environment() -> dict[str, str]:
    """Variables for Nix, by which its ssh finds out that a host is gone. The user's own options have the first word."""
    own = [f"-o {name}={value}" for name, value in _SSH_OPTIONS.items()]
    return {"NIX_SSHOPTS": " ".join([os.environ.get("NIX_SSHOPTS", ""), *own]).strip()}


def build_with(
    machines: Sequence[Machine],
    attempt: Callable[[Log, tuple[str, ...], dict[str, str]], R],
    *,
    display: Display,
    log_of: Callable[[], Log] | None = None,
) -> R:
    """Build with the help of machines, and with fewer where one is lost; at last with none.

    Args:
        machines: the machines; with none, this is one attempt.
        attempt: builds; it gets what Nix says is told to, words for Nix, and variables.
        display: shows what goes on; told of machines that are lost.
        log_of: makes what Nix says an attempt's own; None for a plain `Log`.

    Raises:
        BuilderError: what the attempt raises, where that was no loss of a machine.
    """
    left = _answering(machines, display)
    while True:
        log = log_of() if log_of else Log(display)
        try:
            return attempt(log, flags(left), environment() if left else {})
        except BuilderError:
            lost = [machine for machine in left if machine.url in log.lost]
            if not lost:
                raise
            left = [machine for machine in left if machine not in lost]
            names = " and ".join(machine.url for machine in lost)
            instead = "with the others" if left else "here"
            display.note(f"{names} was lost in the middle of a build. It goes on {instead}.")


def _answering(machines: Sequence[Machine], display: Display) -> list[Machine]:
    """Those that can be reached. Nix would try the others anew for each step, and wait each time."""
    if not machines or not nix.has_own_store():
        # A daemon reaches them by its own keys.
        return list(machines)
    display.stage("Asking the machines that build")
    refusals = parallel.each(_refusal, machines, workers=len(machines))
    for machine, refusal in zip(machines, refusals, strict=True):
        if refusal is not None:
            display.note(f"{machine.url} is not of use, and is built without: {refusal}")
    return [machine for machine, refusal in zip(machines, refusals, strict=True) if refusal is None]


def _refusal(machine: Machine) -> str | None:
    """What is wrong with a machine; None where it answers."""
    try:
        nix.ping(machine.store_url, environment())
    except BuildError as error:
        return str(error)
    return None
