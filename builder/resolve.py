"""Chooses one wheel for each package that an app needs."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from builder.credentials import Credentials
from builder.errors import ResolveError
from builder.fetch import Session, hash_of
from builder.local_index import Link
from builder.machine_config import machine_config
from builder.models import Wheel
from builder.redact import redact, strip_url
from builder.requirements import Step
from builder.uvtool import Candidate, File, Indexes, Query, UvError, compile_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from builder.machine_config import MachineConfig
    from builder.requirements import Requirement, Requirements
    from builder.settings import Settings
    from builder.tags import Target

_NO_WHEEL = re.compile(r"([A-Za-z0-9][\w.-]*?)==(\S+?) has no (?:usable )?wheels")
_SHOWN_WHEELS = 8


@dataclass(frozen=True)
class Keep:
    """What of an earlier resolution stays.

    Attributes:
        wheels: the earlier choice; each version stays where it fits the requirements.
        upgrade: names chosen anew, normalized.
        upgrade_all: choose all anew.
    """

    wheels: tuple[Wheel, ...] = ()
    upgrade: tuple[str, ...] = ()
    upgrade_all: bool = False

    @property
    def effective(self) -> tuple[Wheel, ...]:
        """The wheels that count."""
        return (
            ()
            if self.upgrade_all
            else tuple(wheel for wheel in self.wheels if wheel.name not in self.upgrade)
        )


@dataclass(frozen=True)
class Resolution:
    """The result.

    Attributes:
        wheels: one per package, sorted by name; their URLs carry no credentials.
        notes: what the user should be told: a later step that replaced an earlier step's choice.
    """

    wheels: tuple[Wheel, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What is to be resolved, and where.

    Attributes:
        requirements: the app's.
        target: what for.
        settings: the project's.
        folder: where uv runs.
        runtime: requirements this program adds by itself.
        torch_backend: uv's --torch-backend. None leaves PyTorch to the indexes and find-links that are
            configured.
    """

    requirements: Requirements
    target: Target
    settings: Settings
    folder: Path
    runtime: tuple[Requirement, ...] = ()
    torch_backend: str | None = None


def resolve(
    question: Question, keep: Keep | None = None, report: Callable[[str], None] | None = None
) -> Resolution:
    """Choose versions and wheels.

    Steps that only list packages are solved together, so that one set of versions satisfies all. Where a step
    has options of its own (another index), or no such set exists, they are solved in order, as pip would
    install them: a later step keeps what earlier ones chose where it can, and replaces it where it must.

    Args:
        question: what is to be resolved.
        keep: what of an earlier resolution stays.
        report: told what goes on.

    Raises:
        ResolveError: there is no solution (uv's explanation is in the message), no wheel fits, or an index or
            a file cannot be reached.
        ToolError: uv is missing.
    """
    solver = _Solver(question, keep or Keep(), report or (lambda _: None))
    steps = question.requirements.steps
    if not steps and not question.runtime:
        return Resolution(())
    if len(steps) <= 1 and not any(step.index_url for step in steps):
        solver.solve(steps[0] if steps else Step(), also=question.runtime)
    elif any(step.has_options for step in steps):
        solver.in_order()
    else:
        joined = Step(tuple(requirement for step in steps for requirement in step.requirements))
        try:
            solver.solve(joined, also=question.runtime)
        except ConflictError:
            solver.in_order()
    return Resolution(tuple(solver.chosen[name] for name in sorted(solver.chosen)), tuple(solver.notes))


class ConflictError(ResolveError):
    """No set of versions satisfies all requirements."""


class _Solver:
    """Solves step after step; `chosen` is the state that the steps share."""

    def __init__(self, question: Question, keep: Keep, report: Callable[[str], None]) -> None:
        self.question = question
        self.keep = keep
        self.report = report
        self.machine: MachineConfig = machine_config(question.folder)
        self.chosen: dict[str, Wheel] = {}
        self.files: dict[str, str] = {}
        self.notes: list[str] = []

    def in_order(self) -> None:
        steps = self.question.requirements.steps
        for number, step in enumerate(steps, 1):
            before = dict(self.chosen)
            self.solve(step, place=f"step {number} of {len(steps)}: " if len(steps) > 1 else "")
            for name, wheel in sorted(self.chosen.items()):
                old = before.get(name)
                if old is not None and old.version != wheel.version:
                    self.notes.append(f"step {number} replaces {name} {old.version} by {wheel.version}")
        if self.question.runtime:
            # What the app names itself is not changed for what is added to it.
            named = {requirement.name for step in steps for requirement in step.requirements}
            pins = tuple(f"{name}=={self.chosen[name].version}" for name in sorted(named & set(self.chosen)))
            self.solve(Step(), also=self.question.runtime, constraints=pins)

    def solve(
        self,
        step: Step,
        *,
        also: Sequence[Requirement] = (),
        constraints: tuple[str, ...] = (),
        place: str = "",
    ) -> None:
        wanted = (*step.requirements, *also)
        if not wanted:
            return
        question = self.question
        self.report(f"{place}Choosing versions for {len(wanted)} requirements, {question.target}")
        kept = {wheel.name: wheel for wheel in self.keep.effective} | self.chosen
        indexes = Indexes.of(step, question.settings, self.machine)
        query = Query(
            # Sorted: uv's answer may depend on the order, ours must not.
            lines=tuple(sorted({requirement.line for requirement in wanted})),
            constraints=constraints,
            preferences=tuple(kept[name] for name in sorted(kept)),
            upgrade=tuple(name for name in self.keep.upgrade if name not in self.chosen),
            upgrade_all=self.keep.upgrade_all and not self.chosen,
            pre=step.pre,
            torch_backend=question.torch_backend,
            secrets=question.requirements.secrets,
        )
        session = Session(
            Credentials.of(indexes.urls), cert=indexes.cert, insecure_hosts=indexes.insecure_hosts
        )
        earlier = tuple(
            Link(self.chosen[name].filename, f"{url}#sha256={self.chosen[name].sha256}")
            for name, url in sorted(self.files.items())
        )
        indexes = replace(indexes, links=(*indexes.links, *earlier))
        try:
            candidates = compile_pins(query, question.target, indexes, question.folder)
        except UvError as error:
            raise _explain(error, place, question, indexes) from error
        for candidate in candidates:
            file = choose(candidate, question.target, kept.get(candidate.name))
            self.chosen[candidate.name] = self._pin(candidate, file, kept.get(candidate.name), session)
            # With its credentials: the next step may be given other indexes.
            self.files[candidate.name] = session.credentials.embed(file.url).partition("#")[0]

    def _pin(self, candidate: Candidate, file: File, kept: Wheel | None, session: Session) -> Wheel:
        sha256, size = file.sha256, file.size
        if sha256 is None:
            self.report(f"Fetching {file.filename}, whose index gives no sha256")
            sha256, size = hash_of(file.url, session)
        url = strip_url(file.url, self.question.requirements.secrets)
        if kept is not None and (kept.filename, kept.sha256) == (file.filename, sha256):
            # The same file: its URL is a hint, and a lock should not change with whose mirror answered.
            url, size = kept.url or url, kept.size if kept.size is not None else size
        return Wheel(
            name=candidate.name,
            version=candidate.version,
            filename=file.filename,
            sha256=sha256,
            size=size,
            url=url,
            direct=candidate.direct,
        )


def choose(candidate: Candidate, target: Target, kept: Wheel | None = None) -> File:
    """The wheel to install: the one that was pinned before, otherwise the one whose tags fit best.

    Raises:
        ResolveError: none fits.
    """
    ranked = []
    for file in candidate.files:
        try:
            rank = target.rank(file.filename)
        except InvalidWheelFilename:
            continue
        if rank is not None:
            # Pinned ones before all others. Of one file in two places, the place that others can reach as well.
            pinned = kept is not None and file.sha256 == kept.sha256
            ranked.append((not pinned, rank, file.filename, file.url.startswith("file:"), file))
    if not ranked:
        raise ResolveError(
            f"{candidate.name} {candidate.version} has no wheel for {target}; it has: "
            + _some(file.filename for file in candidate.files),
            hint="Ask for a version that has one, or for another Python (python_version).",
        )
    return min(ranked, key=lambda entry: entry[:-1])[-1]


def _some(filenames: Iterable[str]) -> str:
    names = sorted(set(filenames))
    more = f" and {len(names) - _SHOWN_WHEELS} more" if len(names) > _SHOWN_WHEELS else ""
    return (", ".join(names[:_SHOWN_WHEELS]) + more) if names else "none"


def _explain(error: UvError, place: str, question: Question, indexes: Indexes) -> ResolveError:
    """Turn uv's explanation into ours: what it was about before, what to do after."""
    text = error.text
    if "No solution found" not in text:
        hint = "Check the URL, the network and the credentials, then run the command again."
        return ResolveError(redact(f"{place}packages could not be looked up: {text}"), hint=hint)
    # Kept word for word, but for the indentation and for advice to leave out an option that is ours.
    explanation = re.sub(r"(?m)^ {1,9}", "", text.partition("\n")[2]).removeprefix("cause: ")
    explanation = re.sub(r"(?m)^hint: Wheels are required for .*$", "", explanation)
    # Its hints are part of the explanation; ours, after the message, says what to do.
    explanation = re.sub(r"\n{2,}", "\n", re.sub(r"(?m)^hint: ", "", explanation)).strip()
    message = f"{place}the requirements have no solution for {question.target}:\n{explanation}"
    missing = dict.fromkeys(re.findall(r"Wheels are required for `([^`]+)`", text), "") | dict(
        _NO_WHEEL.findall(text)
    )
    if missing:
        offered = [_offered(name, version, question, indexes) for name, version in missing.items()]
        message += "\n" + "\n".join(offered)
        return ResolveError(
            message,
            hint="Ask for a version that has a wheel for this Python and platform, or for another Python "
            "(python_version). Building from source is not supported yet.",
        )
    if "has an invalid package format" in text:
        return ResolveError(
            message,
            hint="What the index serves under that name is no wheel: see what it is, ask for another version, or use "
            "another index.",
        )
    if "was not found in the package registry" in text:
        return ResolveError(
            message,
            hint="Check the name. A package of another index needs that index: --extra-index-url, URL.",
        )
    return ConflictError(message, hint="Loosen or remove one of the requirements named above.")


def _offered(name: str, version: str, question: Question, indexes: Indexes) -> str:
    """A sentence about the wheels that there are."""
    line = f"{name}=={version}" if version else name
    for python in dict.fromkeys(("3.9", question.target.python)):
        try:
            target = replace(question.target, python=python, python_full=f"{python}.0")
            query = Query(lines=(line,), deps=False, universal=True, secrets=question.requirements.secrets)
            found = compile_pins(query, target, indexes, question.folder)
        except ResolveError:
            continue
        names = [file.filename for candidate in found for file in candidate.files if candidate.name == name]
        arch = question.target.architecture
        near = [n for n in names if ("linux" in n and arch in n) or n.endswith("-any.whl")] or names
        if near:
            versions = {str(parse_wheel_filename(n)[1]) for n in near}
            return f"{name} {', '.join(sorted(versions))} has these wheels: {_some(near)}"
    return f"{name}{' ' + version if version else ''} has no wheels at all, as far as the indexes tell."
