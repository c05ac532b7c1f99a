"""Reads an app's install steps, and the requirements and constraints files that they name."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.pip_words import file_words, find_path, list_words
from builder.requirement_files import local_part
from builder.requirements.forms import Place, read_requirement, shown_path
from builder.requirements.hash_checking import check_all_hashed
from builder.requirements.model import DirectorySource, GitSource, Requirement, Requirements, Step
from builder.requirements.options import with_option
from builder.requirements.urls import option_hash
from builder.requirements.variables import Variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from builder.models import AppSpec
    from builder.pip_words import Word


def parse_requirements(
    spec: AppSpec, environ: Mapping[str, str] | None = None, *, unset_ok: bool = False
) -> Requirements:
    """Parse an app's requirements.

    `${NAME}` is replaced from the environment (upper-case names, as in pip's requirements files).

    Args:
        spec: the app; local paths are relative to its `requirements_context_dir`, those in a file to the file.
        environ: the environment, by default this process's.
        unset_ok: leave `${NAME}` in a URL as it is where NAME is not set. The result then serves to compare
            and to show, not to fetch: a machine that only builds what is locked need not have the secrets.

    Raises:
        DeclarationError: a word that does not parse, is not supported, or names a variable, a file or a folder
            that is not there. The message holds the word with credentials masked, and its place.
    """
    variables = Variables(os.environ if environ is None else environ, unset_ok=unset_ok)
    nested = len(spec.requirements) > 1
    steps = []
    for number, words in enumerate(spec.requirements):
        place = spec.requirements_place or f"{spec.class_name}.requirements"
        place += f"[{number}]" if nested else ""
        steps.append(_StepReader(variables, spec.requirements_context_dir).read(words, place))
    return Requirements(
        tuple(step for step in steps if step.requirements or step.has_options),
        tuple(dict.fromkeys(variables.secrets)),
    )


def parse_runtime(
    words: Sequence[str], where: str = "the program's own requirement"
) -> tuple[Requirement, ...]:
    """Parse requirements that the app's author did not write: neither variables nor local paths stand in them.

    Args:
        words: requirements (PEP 508).
        where: what an error begins with.

    Raises:
        DeclarationError: one does not parse, or names a path.
    """
    place = Place(Variables(None))
    return tuple(read_requirement(word, where, place) for word in words)


class _StepReader:
    """Gathers what the words of one step say."""

    def __init__(self, variables: Variables, base: Path) -> None:
        self.variables = variables
        self.base = base.absolute()
        self.step = Step()
        self.requirements: list[Requirement] = []
        self.constraints: list[Requirement] = []
        self.hashed = False

    def read(self, items: Sequence[str], place: str) -> Step:
        """Read a list of words."""
        self._walk(
            list_words(items, place), Place(self.variables, (self.base,), self.base), self.requirements, ()
        )
        step = replace(
            self.step,
            requirements=tuple(self.requirements),
            constraints=tuple(self.constraints),
            require_hashes=self.step.require_hashes or self.hashed,
        )
        if step.require_hashes:
            check_all_hashed(step)
        return step

    def _walk(
        self, words: Iterator[Word], place: Place, into: list[Requirement], files: tuple[Path, ...]
    ) -> None:
        """Read words of a list or a file.

        Args:
            words: in order.
            place: what variables and paths in them mean.
            into: the step's requirements, or its constraints.
            files: those that are being read, each named by the one before it.
        """
        own = False
        for word in words:
            if word.option is None:
                into.append(self._requirement(word, place, into))
                own = True
            elif word.option == "--editable":
                into.append(self._editable(word, place, into))
                own = True
            elif word.option == "--hash":
                if not own:
                    raise DeclarationError(
                        f"{word.where}: --hash={word.value} belongs to no requirement",
                        hint="It stands directly behind the requirement whose file it is for.",
                    )
                into[-1] = _with_hash(into[-1], word)
                self.hashed = True
            elif word.option in ("--requirement", "--constraint"):
                self._file(word, place, files, of_constraints=into is self.constraints)
                own = False
            elif not word.without_effect:
                self.step = with_option(self.step, word, place)

    def _file(self, word: Word, place: Place, files: tuple[Path, ...], *, of_constraints: bool) -> None:
        """Read the file that --requirement or --constraint names."""
        shown = self.variables.show(word.value)
        text = self.variables.expand(word.value, word.where)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) and not text.startswith("file:"):
            raise DeclarationError(
                f"{word.where}: {word.option} names {shown!r}, and files are read from this machine only",
                hint="Save it beside the app file and name that: what it says then changes when you change it.",
            )
        if of_constraints and word.option == "--requirement":
            raise DeclarationError(
                f"{word.where}: a constraints file names the requirements file {shown!r}",
                hint="Name it in the app's requirements: '-r' and the file are two items.",
            )
        path = find_path(local_part(text), place.folders[:1])
        if path in files:
            raise DeclarationError(
                f"{word.where}: {path} is read already: it names itself, directly or by another file",
                hint="Take the line out.",
            )
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise DeclarationError(
                f"{word.where}: {word.option} names {shown!r}, and {path} cannot be read: {reason}",
                hint=f"Paths are relative to {place.folders[0]}.",
            ) from error
        name = shown if place.folders[0] == self.base else shown_path(path, self.base).removeprefix("./")
        inner = Place(self.variables, (path.parent, self.base), self.base)
        into = self.constraints if word.option == "--constraint" else self.requirements
        self._walk(file_words(content, f"{word.where}: {name}"), inner, into, (*files, path))

    def _requirement(self, word: Word, place: Place, into: list[Requirement]) -> Requirement:
        requirement = read_requirement(word.value, word.where, place)
        if into is self.constraints:
            _check_constraint(requirement)
        return requirement

    def _editable(self, word: Word, place: Place, into: list[Requirement]) -> Requirement:
        """An image holds a copy: what --editable asks for is installed as it would be without."""
        requirement = self._requirement(word, place, into)
        if into is self.constraints or not isinstance(requirement.source, DirectorySource | GitSource):
            raise DeclarationError(
                f"{word.where}: --editable names {requirement.shown!r}, and takes a local project or a git repository",
                hint="Leave --editable out.",
            )
        return requirement


def _with_hash(requirement: Requirement, word: Word) -> Requirement:
    value = option_hash(word.value, word.where)
    if isinstance(requirement.source, DirectorySource | GitSource):
        raise DeclarationError(
            f"{word.where}: {requirement.shown!r} has a hash, and is no file",
            hint="A commit says what is in it; of a folder, the files are taken as they are.",
        )
    return replace(requirement, hashes=tuple(sorted({*requirement.hashes, value})))


def _check_constraint(requirement: Requirement) -> None:
    """See that a constraint is one (pip: "Constraints Files")."""
    if requirement.source is not None:
        raise DeclarationError(
            f"{requirement.where}: the constraint {requirement.shown!r} names a source",
            hint="A constraint is a name with a version, or the URL of a wheel. Put it among the requirements.",
        )
    if requirement.extras:
        raise DeclarationError(
            f"{requirement.where}: the constraint {requirement.shown!r} has extras",
            hint="Extras are asked for by requirements; a constraint only says which version.",
        )
