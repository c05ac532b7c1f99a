"""One install step's packages: how uv is told of them, and what its answer stands for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from builder import cuda
from builder.errors import ResolveError
from builder.explain import explain, without_wheel
from builder.fetch import FetchError
from builder.models import Wheel
from builder.redact import strip_url
from builder.requirements import check_wheel_fits
from builder.simple_index import list_project, read_page
from builder.source_index import SourceIndex
from builder.uvtool import Indexes, UvError, compile_pins, default_index

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.fetch import Session
    from builder.models import Built
    from builder.question import Question, Sources
    from builder.requirements import Requirement, Step
    from builder.simple_index import Listed
    from builder.source_build import Fetched, Made
    from builder.uvtool import Candidate, Query


class Packages:
    """One step's packages.

    Args:
        question: what is to be resolved.
        step: the step.
        indexes: where its packages are looked for, files of earlier steps among them.
        session: how to reach servers.
        place: what an error begins with.
        made: what earlier steps have built, by name.
        kept: what an earlier lock has built.
        build_requires: chooses the wheels that a package, by its name, needs for its build.
        note: told what the user should know.
    """

    def __init__(
        self,
        question: Question,
        step: Step,
        indexes: Indexes,
        session: Session,
        place: str,
        *,
        made: Mapping[str, Made],
        kept: Sequence[Built],
        build_requires: Callable[[str, Sequence[str]], tuple[Wheel, ...]],
        note: Callable[[str], None],
    ) -> None:
        self._question = question
        self._step = step
        self._indexes = indexes
        self._session = session
        self._place = place
        self._build_requires = build_requires
        self._note = note
        self._by_url = {one.wheel.as_uri(): one for one in made.values()}
        # Packages of an index that are built since they have no wheel that fits.
        self._wheelless = {one.name for one in kept if not one.source.direct}
        self._wheelless |= {name for name, one in made.items() if not one.built.source.direct}
        # PyTorch's index that its packages are taken from, or None for wherever they are found.
        self._torch_index: str | None = None
        self._index = SourceIndex(
            question.target,
            listing=self._listing,
            metadata=lambda name, listed: self._make_listed(name, listed).metadata,
            offered=lambda name: name in self._wheelless or self._forced(name) or self._of_torch(name),
            forced=self._forced,
            only=indexes.none,
        )

    def line(self, requirement: Requirement) -> str | None:
        """A requirement as uv is given it; None where its marker leaves it out."""
        target = self._question.target
        if requirement.source is None:
            if requirement.url is not None:
                check_wheel_fits(requirement, target)
            return requirement.line
        if requirement.marker and not Marker(requirement.marker).evaluate(target.marker_environment()):
            return None
        made = self._make(self._sources(requirement.where).fetcher.required(requirement, self._session))
        if requirement.name not in (None, made.built.name):
            raise ResolveError(
                f"{requirement.where}: {requirement.shown!r} asks for {requirement.name}, but that is a project named "
                f"{made.built.name}",
                hint=f"Name it {made.built.name}.",
            )
        self._by_url[made.wheel.as_uri()] = made
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        return f"{made.built.name}{extras} @ {made.wheel.as_uri()}"

    def choose(self, query: Query, torch_index: str | None = None) -> tuple[Candidate, ...]:
        """Ask uv, and again as long as its answer is that a package has no wheel.

        Args:
            query: what is asked.
            torch_index: URL of the index that PyTorch's packages are taken from, and only those; None for wherever
                they are found.

        Raises:
            ResolveError, BuildError: there is no solution, or a build failed.
        """
        question = self._question
        self._torch_index = torch_index
        self._index.failure = None
        with self._index.serving() as url:
            while True:
                indexes = self._indexes
                if self._wheelless or self._step.no_binary or torch_index:
                    indexes = replace(self._without_forced(indexes), source_index=url)
                    if indexes.none:
                        # What is built comes from that index, so uv has to look on one; it leads to no other.
                        indexes = replace(indexes, none=False, default=url, extra=(), strategy="first-index")
                try:
                    found = compile_pins(query, question.target, indexes, question.folder)
                except UvError as error:
                    if self._index.failure is not None:
                        raise self._index.failure from None
                    more = without_wheel(error.text) - self._wheelless
                    more = {name for name in more if self._may_build(name)}
                    if not more or question.sources is None:
                        raise explain(
                            _without_own(error, url), self._place, question, self._indexes
                        ) from error
                    self._wheelless |= more
                    continue
                if torch_index and self._index.failure is not None:
                    # uv has passed over the index that did not answer, and taken another build.
                    raise self._index.failure
                for candidate in found:
                    if (
                        self._forced(candidate.name)
                        and self.built(candidate) is None
                        and not candidate.direct
                    ):
                        secrets = question.requirements.secrets
                        wheels = [strip_url(file.url, secrets) or file.filename for file in candidate.files]
                        raise ResolveError(
                            f"{self._place}{candidate.name} is to be built from source (--no-binary), but no archive "
                            f"of it is found, only {', '.join(wheels)}",
                            hint="A package is taken from the first index that has it: name the one that has the "
                            "archive first. Or take the option out of the requirements.",
                        )
                return found

    def built(self, candidate: Candidate) -> Made | None:
        """The package that was built for a candidate; None when it is a wheel of an index."""
        for file in candidate.files:
            made = self._by_url.get(file.url)
            if made is not None:
                return made
            listed = self._index.find(candidate.name, file.url)
            if listed is not None:
                made = self._make_listed(candidate.name, listed)
                if not self._forced(candidate.name):
                    self._note(
                        f"{candidate.name} {candidate.version} has no wheel for {self._question.target} and is built "
                        "from source"
                    )
                return made
        return None

    def _forced(self, name: str) -> bool:
        return _names(self._step.no_binary, name) and name not in self._step.only_binary

    def _may_build(self, name: str) -> bool:
        return not _names(self._step.only_binary, name) or name in self._step.no_binary

    def _sources(self, where: str) -> Sources:
        if self._question.sources is None:
            raise ResolveError(
                f"{where}: what a package is built with has to have wheels",
                hint="Name a version of it that has one in the package's build-system.requires.",
            )
        return self._question.sources

    def _of_torch(self, name: str) -> bool:
        return self._torch_index is not None and name in cuda.packages()

    def _listing(self, name: str) -> tuple[Listed, ...]:
        if self._of_torch(name):
            if self._index.failure is not None:
                # That index has failed already; each further name would be waited for as long.
                raise self._index.failure
            own = Indexes(cert=self._indexes.cert, insecure_hosts=self._indexes.insecure_hosts)
            try:
                return list_project(name, own, self._torch_index, self._session)
            except FetchError as error:
                raise FetchError(
                    f"{self._place}{name}, from PyTorch's index: {error}",
                    hint=f"{error.hint} A mirror of that index is named by pytorch in [tool.builder.mirrors].",
                    status=error.status,
                    is_unreachable=error.is_unreachable,
                ) from error
        default = None if self._indexes.none else default_index(self._indexes, self._question.folder)
        return list_project(name, self._indexes, default, self._session)

    def _make_listed(self, name: str, listed: Listed) -> Made:
        return self._make(self._sources(name).fetcher.listed(name, listed, self._session))

    def _make(self, fetched: Fetched) -> Made:
        return self._sources(fetched.where).builder.make(
            fetched, lambda lines: self._build_requires(fetched.name, lines)
        )

    def _without_forced(self, indexes: Indexes) -> Indexes:
        """The indexes, whose loose files hold no wheel of what is to be built from source."""
        if not self._step.no_binary:
            return indexes
        links = [*indexes.links]
        for url in indexes.find_links:
            links += read_page(url, self._session)
        kept = tuple(
            link
            for link in links
            if not link.filename.endswith(".whl")
            or link.url in self._by_url
            or not self._forced(canonicalize_name(link.filename.partition("-")[0]))
        )
        return replace(indexes, find_links=(), links=kept)


def _without_own(error: UvError, url: str) -> UvError:
    """What uv explains, without hints about the index that only it was told of."""
    lines = error.text.splitlines()
    return UvError("\n".join(line for line in lines if url not in line or "hint: " not in line))


def _names(option: tuple[str, ...], name: str) -> bool:
    """Whether an option's list of names (pip's --no-binary, --only-binary) holds one."""
    return name in option or ":all:" in option


def as_wheel(built: Built) -> Wheel:
    """A built package as a preference: what counts is its version."""
    filename = built.filename or f"{built.name.replace('-', '_')}-{built.version}-py3-none-any.whl"
    return Wheel(
        name=built.name,
        version=built.version,
        filename=filename,
        sha256=built.sha256 or "0" * 64,
        size=built.size,
    )
