"""What options make of a step."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from packaging.utils import canonicalize_name

from builder.errors import DeclarationError
from builder.machine_config import as_url
from builder.pip_words import SCHEME, find_path, is_folder
from builder.requirements.forms import shown_path
from builder.requirements.urls import split_url
from builder.settings import IndexStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.pip_words import Word
    from builder.requirements.forms import Place
    from builder.requirements.model import Step

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_FLAGS: dict[str, Callable[[Step], Step]] = {
    "--pre": lambda step: replace(step, pre=True),
    "--no-deps": lambda step: replace(step, no_deps=True),
    "--no-index": lambda step: replace(step, no_index=True),
    "--no-build-isolation": lambda step: replace(step, no_build_isolation=True),
    "--require-hashes": lambda step: replace(step, require_hashes=True),
}


def with_option(step: Step, word: Word, place: Place) -> Step:
    """The step with an option that holds for all of it.

    Args:
        step: as the options before it made it.
        word: the option; none of those that stand for requirements or belong to one.
        place: what its variables and its paths mean.

    Raises:
        DeclarationError: its value is malformed.
    """
    option = word.option or ""
    if option in _FLAGS:
        return replace(_FLAGS[option](step), shown=(*step.shown, option))
    value = place.variables.expand(word.value, word.where)
    shown = place.variables.show(word.value)
    if option in ("--index-url", "--extra-index-url", "--find-links"):
        url, shown = _location(value, shown, word, place)
        step = _with_url(step, option, url)
    elif option == "--index-strategy":
        step = replace(step, index_strategy=_strategy(value, word))
    else:
        step = _with_formats(step, word, value)
    return replace(step, shown=(*step.shown, f"{option}={shown}"))


def _with_url(step: Step, option: str, url: str) -> Step:
    if option == "--index-url":
        return replace(step, index_url=url)
    if option == "--extra-index-url":
        return replace(step, extra_index_urls=(*step.extra_index_urls, url))
    return replace(step, find_links=(*step.find_links, url))


def _location(value: str, shown: str, word: Word, place: Place) -> tuple[str, str]:
    """An index's or a page's URL, and how it is shown."""
    if re.search(r"\s", value) and SCHEME.match(value):
        raise DeclarationError(
            f"{word.where}: {word.option} names {shown!r}, which holds a space",
            hint="Write it as %20 in a URL.",
        )
    if SCHEME.match(value):
        split_url(value, shown, word.where)
        return (as_url(value, place.base) if word.option == "--find-links" else value), shown
    path = find_path(value, place.folders)
    if not is_folder(path):
        raise DeclarationError(
            f"{word.where}: {word.option} names {shown!r}, which is neither a URL nor a folder in {place.folders[0]}",
            hint="Write https://host/path, or the path of a folder.",
        )
    return as_url(str(path), place.base), shown if place.folders[0] == place.base else shown_path(
        path, place.base
    )


def _strategy(value: str, word: Word) -> IndexStrategy:
    known: dict[str, IndexStrategy] = {name: name for name in get_args(IndexStrategy)}
    if value not in known:
        raise DeclarationError(
            f"{word.where}: --index-strategy is one of {', '.join(known)}, not {value!r}",
            hint="first-index, the default, takes a package from the first index that has it.",
        )
    return known[value]


def _with_formats(step: Step, word: Word, value: str) -> Step:
    """--no-binary and --only-binary: a later one overrides an earlier one name by name, as in pip."""
    forced = word.option == "--no-binary"
    names, others = (step.no_binary, step.only_binary) if forced else (step.only_binary, step.no_binary)
    for text in value.split(","):
        name = text.strip()
        if name == ":all:":
            names, others = (":all:",), ()
        elif name == ":none:":
            names = ()
        elif _NAME.fullmatch(name):
            name = canonicalize_name(name)
            names = (*(known for known in names if known != name), name)
            others = tuple(known for known in others if known != name)
        else:
            raise DeclarationError(
                f"{word.where}: {word.option} takes names separated by commas, :all: or :none:, not {name!r}",
                hint=f"For instance: {word.option}=numpy,scipy",
            )
    return replace(step, no_binary=names if forced else others, only_binary=others if forced else names)
