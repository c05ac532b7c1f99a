"""Chooses one wheel for each package that an app needs, or the source that one is built from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from builder import cuda
from builder.credentials import origin
from builder.errors import ResolveError
from builder.explain import ConflictError, choose
from builder.fetch import Session, fetching_for, hash_of
from builder.hashes import check_hashes, has_hash
from builder.local_index import Link
from builder.machine_config import machine_config
from builder.models import Wheel
from builder.packages import Packages, as_wheel
from builder.question import Keep, Question, Sources
from builder.redact import strip_url
from builder.requirements import Step, parse_runtime
from builder.torch_builds import choose_torch
from builder.uvtool import Candidate, File, Indexes, Query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.machine_config import MachineConfig
    from builder.models import Built
    from builder.requirements import Requirement
    from builder.source_build import Made

__all__ = ["ConflictError", "Keep", "Question", "Resolution", "Sources", "choose", "resolve"]


@dataclass(frozen=True)
class Resolution:
    """The result.

    Attributes:
        wheels: one per package that is installed from a wheel, sorted by name; their URLs carry no credentials.
        built: the packages that are built, sorted by name.
        notes: what the user should be told: a later step that replaced an earlier step's choice.
        toolkit: the version of the CUDA toolkit ("12.8"); None where none is asked for.
    """

    wheels: tuple[Wheel, ...]
    built: tuple[Built, ...] = ()
    notes: tuple[str, ...] = ()
    toolkit: str | None = None


def resolve(
    question: Question,
    keep: Keep | None = None,
    report: Callable[[str], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> Resolution:
    """Choose versions and wheels.

    Steps that only list packages are solved together, so that one set of versions satisfies all. Where a step
    has options of its own (another index), or no such set exists, they are solved in order, as pip would
    install them: a later step keeps what earlier ones chose where it can, and replaces it where it must.

    Args:
        question: what is to be resolved.
        keep: what of an earlier resolution stays.
        report: told what goes on.
        note: told of attempts that failed and are made again.

    Raises:
        ResolveError: there is no solution (uv's explanation is in the message), no wheel fits, or an index or
            a file cannot be reached.
        ToolError: uv is missing.
    """
    solver = _Solver(question, keep or Keep(), report or (lambda _: None), note)
    steps = question.requirements.steps
    if not steps and not question.runtime and not question.devel:
        return Resolution(())
    if len(steps) <= 1 and not any(step.index_url or step.require_hashes for step in steps):
        solver.solve(steps[0] if steps else Step(), also=question.runtime)
    elif any(step.has_options for step in steps):
        solver.in_order()
    else:
        joined = Step(tuple(requirement for step in steps for requirement in step.requirements))
        try:
            solver.solve(joined, also=question.runtime)
        except ConflictError:
            solver.in_order()
    toolkit = solver.add_toolkit() if question.devel else None
    built = tuple(solver.made[name].built for name in sorted(solver.made))
    if question.sources:
        built = question.sources.builder.finish(built)
    return Resolution(
        tuple(solver.chosen[name] for name in sorted(solver.chosen)),
        built,
        tuple(dict.fromkeys(solver.notes)),
        toolkit,
    )


class _Solver:
    """Solves step after step; `chosen` and `made` are the state that the steps share."""

    def __init__(
        self,
        question: Question,
        keep: Keep,
        report: Callable[[str], None],
        note: Callable[[str], None] | None,
    ) -> None:
        self.question = question
        self.keep = keep
        self.report = report
        self.note = note
        self.machine: MachineConfig = machine_config(question.folder)
        self.chosen: dict[str, Wheel] = {}
        self.made: dict[str, Made] = {}
        self.files: dict[str, str] = {}
        self.notes: list[str] = []
        # What an error begins with: the step that is solved now.
        self.place = ""

    def versions(self) -> dict[str, str]:
        """The version that is chosen of each package so far."""
        return {name: wheel.version for name, wheel in self.chosen.items()} | {
            name: made.built.version for name, made in self.made.items()
        }

    def in_order(self) -> None:
        steps = self.question.requirements.steps
        for number, step in enumerate(steps, 1):
            before = self.versions()
            place = f"step {number} of {len(steps)}: " if len(steps) > 1 else ""
            pins = tuple(f"{name}=={version}" for name, version in sorted(before.items()))
            try:
                self.solve(step, place=place, constraints=pins)
            except ConflictError:
                if not pins:
                    raise
                self.solve(step, place=place)
            for name, version in sorted(self.versions().items()):
                if before.get(name, version) != version:
                    self.notes.append(f"step {number} replaces {name} {before[name]} by {version}")
        if self.question.runtime:
            # What the app names itself is not changed for what is added to it.
            named = {requirement.name for step in steps for requirement in step.requirements}
            pins = tuple(
                f"{name}=={version}" for name, version in sorted(self.versions().items()) if name in named
            )
            self.solve(Step(), also=self.question.runtime, constraints=pins)

    def add_toolkit(self) -> str:
        """Add the parts of the CUDA toolkit that are packages, of the CUDA that what is chosen brings.

        Nothing that is chosen changes: a library that a framework has pinned is the toolkit's too.

        Returns:
            the CUDA's version.

        Raises:
            ResolveError: there is no such toolkit, or the app's own packages exclude its parts.
        """
        place = 'cuda = "devel": '
        chosen: list[Wheel | Built] = [*self.chosen.values(), *(made.built for made in self.made.values())]
        try:
            version = cuda.cuda_of_packages(chosen) or cuda.default_cuda(self.question.machines)
            cuda.check_toolkit(version, self.question.machines)
        except cuda.ToolkitError as error:
            raise ResolveError(
                f"{place}{error}",
                hint="The toolkit is of the CUDA that the app's packages are for: ask for other ones, or for other "
                "machine types.",
            ) from error
        pins = tuple(f"{name}=={pinned}" for name, pinned in sorted(self.versions().items()))
        parts = parse_runtime(cuda.toolkit_packages(version), f"{place}CUDA {version}")
        self.solve(Step(), also=parts, constraints=pins, place=f"{place}CUDA {version}: ")
        return version

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
        self.place = place
        self.report(f"{place}Choosing versions for {len(wanted)} requirements, {question.target}")
        indexes = Indexes.of(step, question.settings, self.machine)
        self._note_strategy(indexes)
        session = Session(
            indexes.credentials,
            cert=indexes.cert,
            insecure_hosts=indexes.insecure_hosts,
            report=self.note,
        )
        packages = Packages(
            question,
            step,
            replace(indexes, links=(*indexes.links, *self.earlier_files())),
            session,
            place,
            made=self.made,
            kept=self.keep.effective.built,
            build_requires=partial(self.build_requires, step),
            note=self.notes.append,
        )
        kept = self.keep.effective
        preferences = {
            wheel.name: wheel for wheel in (*kept.wheels, *map(as_wheel, kept.built))
        } | self.chosen
        preferences |= {name: as_wheel(made.built) for name, made in self.made.items()}
        lines = [line for line in map(packages.line, wanted) if line is not None]
        query = Query(
            # Sorted: uv's answer may depend on the order, ours must not.
            lines=tuple(sorted(set(lines))),
            constraints=(*constraints, *(constraint.line for constraint in step.constraints)),
            preferences=tuple(preferences[name] for name in sorted(preferences)),
            upgrade=tuple(name for name in self.keep.upgrade if name not in self.versions()),
            upgrade_all=self.keep.upgrade_all and not self.versions(),
            deps=not step.no_deps,
            pre=step.pre,
            secrets=question.requirements.secrets,
        )

        def ask(more: tuple[str, ...], torch_index: str | None) -> tuple[Candidate, ...]:
            asked = replace(query, constraints=(*query.constraints, *more))
            return packages.choose(asked, torch_index)

        candidates = choose_torch(
            ask,
            question,
            step,
            place,
            self.notes.append,
            kept=preferences["torch"].version if "torch" in preferences else None,
            earlier=self.versions().get("torch"),
        )
        if step.require_hashes:
            self._check_all_hashed(candidates, step)
        for candidate in candidates:
            made = packages.built(candidate)
            if made is not None:
                hashes = step.hashes(candidate.name)
                check_hashes(made.built.archive, hashes, session, step.place(candidate.name))
                self.chosen.pop(candidate.name, None)
                self.made[candidate.name] = made
                self.files[candidate.name] = made.wheel.as_uri()
                continue
            earlier = preferences.get(candidate.name)
            file = self._file(candidate, earlier, step, session)
            self.made.pop(candidate.name, None)
            self.chosen[candidate.name] = self._pin(candidate, file, earlier, session, step)
            # With its credentials: the next step may be given other indexes.
            self.files[candidate.name] = session.credentials.embed(file.url).partition("#")[0]

    def build_requires(self, step: Step, package: str, lines: Sequence[str]) -> tuple[Wheel, ...]:
        """The wheels that a package is built with: chosen for themselves, since nothing else sees them."""
        if step.no_build_isolation:
            return tuple(self.chosen[name] for name in sorted(self.chosen))
        kept = next((built.requires for built in self.keep.effective.built if built.name == package), ())
        nested = _Solver(replace(self.question, sources=None), Keep(kept), self.report, self.note)
        own = Step(
            index_url=step.index_url,
            extra_index_urls=step.extra_index_urls,
            find_links=step.find_links,
            index_strategy=step.index_strategy,
            no_index=step.no_index,
        )
        place = f"what {package} is built with: "
        nested.solve(own, also=parse_runtime(lines, place.rstrip(": ")), place=place)
        return tuple(nested.chosen[name] for name in sorted(nested.chosen))

    def earlier_files(self) -> tuple[Link, ...]:
        """What earlier steps chose, as files that a later step may choose again."""
        return tuple(
            Link(self.chosen[name].filename, f"{url}#sha256={self.chosen[name].sha256}")
            if name in self.chosen
            else Link(self.made[name].wheel.name, url)
            for name, url in sorted(self.files.items())
        )

    def _note_strategy(self, indexes: Indexes) -> None:
        chosen = indexes.strategy if indexes.strategy != self.machine.strategy else None
        if chosen in ("unsafe-first-match", "unsafe-best-match") and indexes.extra:
            self.notes.append(
                f"index strategy {chosen}: whoever may publish on any of the indexes can replace a package of another "
                "(dependency confusion); first-index, the default, takes a package from the first index that has it"
            )

    def _check_all_hashed(self, candidates: Sequence[Candidate], step: Step) -> None:
        """See that there is a hash for each package that the step installs, dependencies among them."""
        there = self.versions()
        missing = [
            f"{candidate.name}=={candidate.version}"
            for candidate in candidates
            if not step.hashes(candidate.name) and there.get(candidate.name) != candidate.version
        ]
        if missing:
            raise ResolveError(
                f"{self.place}this step requires hashes, and its requirements depend on what has none: "
                f"{', '.join(missing)}",
                hint="Write these with their hashes too; `uv pip compile --generate-hashes` and `pip-compile "
                "--generate-hashes` do. The lock has the hashes of all files in any case.",
            )

    def _file(self, candidate: Candidate, earlier: Wheel | None, step: Step, session: Session) -> File:
        hashes = step.hashes(candidate.name)
        if not hashes:
            return choose(candidate, self.question.target, earlier)
        fitting = tuple(file for file in candidate.files if has_hash(file, hashes, session))
        if not fitting:
            there = ", ".join(f"{file.filename} (sha256 {file.sha256})" for file in candidate.files)
            raise ResolveError(
                f"{step.place(candidate.name)}{candidate.name} {candidate.version}: no file has a hash that is asked "
                f"for, {', '.join(hashes)}; there is {there}",
                hint="If the file was replaced on purpose, write its new hash; otherwise find out who replaced it.",
            )
        return choose(replace(candidate, files=fitting), self.question.target, earlier)

    def _pin(
        self, candidate: Candidate, file: File, kept: Wheel | None, session: Session, step: Step
    ) -> Wheel:
        sha256, size = file.sha256, file.size
        if sha256 is None:
            self.report(f"Fetching {file.filename}, whose index gives no sha256")
            with fetching_for(f"{self.place}{candidate.name} {candidate.version}"):
                sha256, size = hash_of(file.url, session)
        url = strip_url(file.url, self.question.requirements.secrets)
        if kept is not None and (kept.filename, kept.sha256) == (file.filename, sha256):
            # The same file: its URL is a hint, and a lock should not change with whose index answered.
            url, size = kept.url or url, kept.size if kept.size is not None else size
        if "index" in self.question.settings.mirrors and not candidate.direct:
            # A mirror that the settings name stands in for another index: a lock does not say which one it was.
            own = {origin(known) for known in step.urls}
            url = url if url is not None and origin(url) in own else None
        return Wheel(
            name=candidate.name,
            version=candidate.version,
            filename=file.filename,
            sha256=sha256,
            size=size,
            url=url,
            direct=candidate.direct,
        )
