"""Chooses among the files that uv offers, and turns its explanations into ours."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.errors import ResolveError
from builder.unreachable import explain_unreachable, refused_index
from builder.uvtool import Query, UvError, compile_pins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from builder.models import Wheel
    from builder.question import Question
    from builder.tags import Target
    from builder.uvtool import Candidate, File, Indexes

_WHEELS_REQUIRED = re.compile(r"Wheels are required for `([^`]+)`")
_NO_WHEEL = re.compile(r"([A-Za-z0-9][\w.-]*?)==(\S+?) has no (?:usable )?wheels")
_NO_WHEEL_RANGE = re.compile(r"([A-Za-z0-9][\w.-]*?)[<>=!~]\S* has no (?:usable )?wheels")
_SHOWN_WHEELS = 8


class ConflictError(ResolveError):
    """No set of versions satisfies all requirements."""


def without_wheel(text: str) -> set[str]:
    """The packages of which uv's explanation says that they have no wheel, normalized."""
    found = {
        *_WHEELS_REQUIRED.findall(text),
        *(name for name, _ in _NO_WHEEL.findall(text)),
        *_NO_WHEEL_RANGE.findall(text),
    }
    return {canonicalize_name(name) for name in found}


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


def explain(error: UvError, place: str, question: Question, indexes: Indexes) -> ResolveError:
    """Turn uv's explanation into ours: what it was about before, what to do after."""
    text = error.text
    if "No solution found" not in text:
        known = [requirement for step in question.requirements.steps for requirement in step.requirements]
        return explain_unreachable(text, place, known, indexes)
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
            "(python_version).",
        )
    if "has an invalid package format" in text:
        return ResolveError(
            message,
            hint="What the index serves under that name is no wheel: see what it is, ask for another version, or use "
            "another index.",
        )
    if refused := refused_index(text, indexes):
        return ResolveError(message, hint=refused)
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
