"""The settings of an app, checked: from what a class or a table holds to the values of an AppSpec."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from builder.errors import DeclarationError
from builder.redact import redact

Where = Callable[[str], str]
"""Tells where a setting is written, for the beginning of an error."""

# What `builder.models.Cuda` has, which takes long to import.
CUDA = ("none", "runtime", "devel")

_VERSION = re.compile(r"\d+\.\d+")
_PYTHON = re.compile(r"3\.\d{1,2}")
_DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class Opaque:
    """A value that has no JSON form, such as a path or a set: only good for being named in an error."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        """The value as the app's own interpreter shows it."""
        return self.text


def read_attributes(raw: Mapping[str, Any], *, base: Path, where: Where) -> dict[str, Any]:
    """Check settings and give them the names and types of AppSpec's fields.

    Args:
        raw: settings by the names of `builder.app.BUILD_SETTINGS`: lists, strings, numbers, None, `Opaque`.
        base: what relative folders are relative to: that of the app file or of pyproject.toml.
        where: what an error about a setting begins with, such as `app.py:12: Upscale.requirements`.

    Returns:
        Fields of AppSpec, only those that `raw` has.

    Raises:
        DeclarationError: a value is not what its setting takes; names the setting and the index.
    """
    return {_FIELDS[key][0]: _FIELDS[key][1](value, where(key), base) for key, value in raw.items()}


def label(value: object) -> str | None:
    """A platform setting as text: `"true"`, `"300"`, `"us-east,us-west"`; None where it has no plain form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, float)):
        return str(value)
    if isinstance(value, list):
        parts = [label(item) for item in value]
        if all(part is not None for part in parts):
            return ",".join(part for part in parts if part is not None)
    return None


def _shown(value: object) -> str:
    text = redact(repr(value))
    # As much as fits a line beside the rest of the message.
    return text if len(text) <= 60 else text[:57] + "..."


def _strings(value: object, where: str, _base: Path) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise DeclarationError(f"{where} must be a list of strings, not {_shown(value)}")
    for index, item in enumerate(value):
        _string(item, f"{where}[{index}]")
    return tuple(value)


def _string(item: object, where: str) -> None:
    if not isinstance(item, str):
        raise DeclarationError(f"{where} must be a string, not {_shown(item)}")
    if not item.strip():
        raise DeclarationError(f"{where} is empty")


def _optional_strings(value: object, where: str, base: Path) -> tuple[str, ...]:
    return () if value is None else _strings(value, where, base)


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[object, str, Path], tuple[str, ...]]:
    def read(value: object, where: str, base: Path) -> tuple[str, ...]:
        items = _optional_strings(value, where, base)
        for index, item in enumerate(items):
            if not pattern.fullmatch(item):
                raise DeclarationError(f"{where}[{index}]: {item!r} is not {what}")
        return items

    return read


def _requirements(value: object, where: str, base: Path) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list):
        hint = f"Write [{_shown(value)}]." if isinstance(value, str) else ""
        raise DeclarationError(
            f"{where} must be a list of strings, or a list of lists of strings, not {_shown(value)}",
            hint=hint,
        )
    lists = [index for index, item in enumerate(value) if isinstance(item, list)]
    others = [index for index, item in enumerate(value) if not isinstance(item, list)]
    if lists and others:
        raise DeclarationError(
            f"{where} mixes install steps and requirements: [{lists[0]}] is a list, "
            f"[{others[0]}] is {_shown(value[others[0]])}",
            hint="Either every item is a string, or every item is a list of strings.",
        )
    if lists:
        steps = (_strings(step, f"{where}[{index}]", base) for index, step in enumerate(value))
        return tuple(step for step in steps if step)
    words = _strings(value, where, base)
    return (words,) if words else ()


def _machine_types(value: object, where: str, base: Path) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise DeclarationError(f"{where} must be a string or a list of strings, not {_shown(value)}")
    if not value:
        raise DeclarationError(f"{where} is empty", hint='Name a machine type, such as "S" or "GPU-H100".')
    return _strings(value, where, base)


def _num_gpus(value: object, where: str, _base: Path) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise DeclarationError(f"{where} must be a number of GPUs, not {_shown(value)}")


def _flag(value: object, where: str, _base: Path) -> bool:
    if not isinstance(value, bool):
        raise DeclarationError(f"{where} must be True or False, not {_shown(value)}")
    return value


def _cuda(value: object, where: str, _base: Path) -> str | None:
    if value is None or value in CUDA:
        return value if isinstance(value, str) else None
    choices = ", ".join(f'"{choice}"' for choice in CUDA)
    hint = (
        "The CUDA version follows from the packages and the machines." if _VERSION.search(str(value)) else ""
    )
    raise DeclarationError(f"{where} must be one of {choices}, not {_shown(value)}", hint=hint)


def _python(value: object, where: str, _base: Path) -> str | None:
    if value is None or (isinstance(value, str) and _PYTHON.fullmatch(value)):
        return value
    if isinstance(value, str) and re.fullmatch(r"3\.\d{1,2}\.\w+", value):
        minor = value.rpartition(".")[0]
        raise DeclarationError(
            f"{where} names a patch release, {value!r}; only the minor version can be chosen",
            hint=f'Write "{minor}": the Debian suite that has it decides the rest.',
        )
    raise DeclarationError(f'{where} must be a string like "3.11", not {_shown(value)}')


def _folder(value: object, where: str, base: Path) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise DeclarationError(f"{where} must be a string, not {_shown(value)}")
    folder = (base / Path(value).expanduser()).resolve()
    if not folder.is_dir():
        raise DeclarationError(f"{where}: there is no folder {folder}")
    return folder


def _patterns(value: object, where: str, base: Path) -> tuple[str, ...]:
    items = _optional_strings(value, where, base)
    for index, item in enumerate(items):
        try:
            re.compile(item)
        except re.error as error:
            raise DeclarationError(
                f"{where}[{index}]: {item!r} is not a regular expression: {error}"
            ) from None
    return items


_FIELDS: dict[str, tuple[str, Callable[[object, str, Path], Any]]] = {
    "requirements": ("requirements", _requirements),
    "requirements_context_dir": ("requirements_context_dir", _folder),
    "machine_type": ("machine_types", _machine_types),
    "num_gpus": ("num_gpus", _num_gpus),
    "cuda": ("cuda", _cuda),
    "local_python_modules": (
        "local_python_modules",
        _matching(_MODULE, "the name of a module, as in an import"),
    ),
    "app_files": ("app_files", _optional_strings),
    "app_files_ignore": ("app_files_ignore", _patterns),
    "app_files_context_dir": ("app_files_context_dir", _folder),
    "python_version": ("python", _python),
    "system_packages": ("system_packages", _matching(_DEBIAN_NAME, "the name of a Debian package")),
    "system_packages_auto": ("system_packages_auto", _flag),
    "build_packages": ("build_packages", _matching(_DEBIAN_NAME, "the name of a Debian package")),
    "secrets": ("secrets", _matching(_VARIABLE, "the name of an environment variable")),
}
