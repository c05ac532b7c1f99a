"""A TARGET as typed: `app.py::Class`, `app.py`, or a name from pyproject.toml; found, not yet loaded."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from builder.app import BUILD_SETTINGS, PLATFORM_SETTINGS
from builder.errors import DeclarationError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")

# Keys of [tool.fal.apps.<name>] that say the app is something this project does not build.
_FAL_UNSUPPORTED = {
    "image": "brings a container image of its own",
    "python_entry_point": "names a module in place of a file; give it a ref",
}


@dataclass(frozen=True)
class Target:
    """Where an app is written.

    Attributes:
        file: the app file, absolute.
        class_name: the class that was named, or None when the file's only app is meant.
        root: the folder that locks are written to.
        name: the app's name, where pyproject.toml gives it.
        table: which tool's table of pyproject.toml the target came from, or None.
        pyproject: that pyproject.toml.
        settings: the settings of that table, unchecked; whether they override those of the class is told by
            `table`: builder's do, fal's fill in what the class leaves out, as fal has it.
        labels: other keys of a fal table.
    """

    file: Path
    class_name: str | None
    root: Path
    name: str | None = None
    table: Literal["builder", "fal"] | None = None
    pyproject: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """The target in its longest form, for messages."""
        return f"{self.file.name}::{self.class_name}" if self.class_name else self.file.name


def find_target(target: str, *, cwd: Path | None = None) -> Target:
    """Find the file (and class) that a target means.

    Args:
        target: `path/app.py::Class`, `path/app.py`, or a name from `[tool.builder.apps]` or `[tool.fal.apps]`
            of the nearest pyproject.toml, from `cwd` upwards, that has one of them.
        cwd: what relative paths are relative to; default is the working directory.

    Raises:
        DeclarationError: there is no such file or name, or pyproject.toml is wrong.
    """
    cwd = (cwd or Path.cwd()).absolute()
    path, separator, class_name = target.partition("::")
    if separator or path.endswith(".py"):
        if separator and not class_name.isidentifier():
            raise DeclarationError(
                f"{target}: {class_name!r} is not a class name", hint="A target is app.py::Class."
            )
        file = _app_file(cwd / path, shown=path)
        return Target(file=file, class_name=class_name or None, root=file.parent)
    if "/" in target or ((cwd / target).exists() and not _is_name(target, cwd)):
        hint = "A target is app.py::Class, app.py, or a name from pyproject.toml."
        if (cwd / target / "app.py").is_file():
            hint += f" Did you mean {target.rstrip('/')}/app.py?"
        kind = "a folder, not a Python file" if (cwd / target).is_dir() else "not a Python file"
        raise DeclarationError(f"{target} is {kind}", hint=hint)
    return _named_target(target, cwd)


def named_apps(folder: Path) -> list[str]:
    """The names of the apps in the pyproject.toml of a folder, of either tool.

    Raises:
        DeclarationError: that file is wrong.
    """
    tables = _tables_of(folder / "pyproject.toml")
    return [] if tables is None else list(dict.fromkeys([*tables[0], *tables[1]]))


def app_name(text: str, *, where: str) -> str:
    """Turn a class name or a free name into an app's name, matching `[a-z0-9][a-z0-9_-]*`.

    PEP 751 forbids a dot in the middle of a lock's name, image names have no capitals.

    Args:
        text: such as `ONNXModel`, which becomes `onnx-model`.
        where: what the name was written as, for the error.

    Raises:
        DeclarationError: nothing is left of the name.
    """
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", text)
    name = re.sub(r"[^a-z0-9_-]+", "-", parted.lower()).strip("-_")
    if not name:
        raise DeclarationError(
            f"{where}: no app name can be made of {text!r}",
            hint='Set app_name = "..." with letters a to z, digits, "-" or "_".',
        )
    return name


def near(name: str, names: list[str]) -> str:
    """` Did you mean X?` when one of the names is close, otherwise nothing."""
    from difflib import get_close_matches

    lowered = {known.lower(): known for known in names}
    matches = get_close_matches(name.lower(), lowered, 1)
    return f" Did you mean {lowered[matches[0]]}?" if matches else ""


def _app_file(path: Path, *, shown: str) -> Path:
    if path.is_dir():
        raise DeclarationError(f"{shown} is a folder, not a Python file")
    if path.suffix != ".py":
        raise DeclarationError(f"{shown} is not a Python file", hint="An app file's name ends in .py.")
    if not path.exists():
        others = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        raise DeclarationError(f"there is no file {shown}", hint=near(path.name, others).strip())
    # Not resolved further: an app file may be a link whose siblings stand beside the link.
    return path.parent.resolve() / path.name


def _named_target(name: str, cwd: Path) -> Target:
    tables = _find_tables(cwd)
    if tables is None:
        raise DeclarationError(
            f"{name} is not a Python file, and no pyproject.toml from {cwd} upwards has an app of that name",
            hint="A target is app.py::Class, app.py, or a name from [tool.builder.apps] in pyproject.toml.",
        )
    pyproject, builder_apps, fal_apps = tables
    if name in builder_apps:
        return _builder_target(name, builder_apps[name], pyproject)
    if name in fal_apps:
        return _fal_target(name, fal_apps[name], pyproject)
    names = [*builder_apps, *(other for other in fal_apps if other not in builder_apps)]
    raise DeclarationError(
        f"{pyproject} has no app {name}",
        hint=f"It has: {', '.join(names)}.{near(name, names)}",
    )


def _is_name(name: str, cwd: Path) -> bool:
    tables = _find_tables(cwd)
    return tables is not None and (name in tables[1] or name in tables[2])


def _find_tables(cwd: Path) -> tuple[Path, dict[str, Any], dict[str, Any]] | None:
    """The nearest pyproject.toml that names apps, with its apps of both tools."""
    for folder in (cwd, *cwd.parents):
        pyproject = folder / "pyproject.toml"
        if tables := _tables_of(pyproject):
            return pyproject, *tables
    return None


def _tables_of(pyproject: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The apps of both tools that a pyproject.toml names; None where it names none, or is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        data = tomllib.loads(pyproject.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{pyproject} is not valid TOML: {error}") from error
    tool = data.get("tool", {})
    found = []
    for owner in ("builder", "fal"):
        apps = tool.get(owner, {}).get("apps", {})
        if not isinstance(apps, dict) or not all(isinstance(app, dict) for app in apps.values()):
            raise DeclarationError(f"{pyproject}: [tool.{owner}.apps] must hold a table for each app")
        found.append(apps)
    return (found[0], found[1]) if found[0] or found[1] else None


def _builder_target(name: str, table: dict[str, Any], pyproject: Path) -> Target:
    where = f"{pyproject}: [tool.builder.apps.{name}]"
    if not _NAME.fullmatch(name):
        raise DeclarationError(
            f"{where}: {name!r} cannot be an app's name",
            hint='A name has the letters a to z, digits, "-" and "_", and begins with a letter or digit.',
        )
    known = ("ref", *BUILD_SETTINGS, *PLATFORM_SETTINGS)
    unknown = [key for key in table if key not in known]
    if unknown:
        hints = "".join(near(key, list(known)) for key in unknown).strip()
        raise DeclarationError(f"{where}: unknown key {', '.join(unknown)}", hint=hints)
    file, class_name = _ref(table, where, pyproject)
    settings = {key: value for key, value in table.items() if key != "ref"}
    return Target(file, class_name, pyproject.parent, name, "builder", pyproject, settings)


def _fal_target(name: str, table: dict[str, Any], pyproject: Path) -> Target:
    where = f"{pyproject}: [tool.fal.apps.{name}]"
    for key, what in _FAL_UNSUPPORTED.items():
        if key in table:
            raise DeclarationError(f"{where}: {key}: an app that {what} cannot be built")
    file, class_name = _ref(table, where, pyproject)
    settings = {key: value for key, value in table.items() if key in BUILD_SETTINGS}
    labels = {
        key: value for key, value in table.items() if key not in BUILD_SETTINGS and key not in ("ref", "name")
    }
    written = table.get("name", name)
    if not isinstance(written, str):
        raise DeclarationError(f"{where}: name must be a string, not {written!r}")
    # fal takes names that an image or a lock cannot have; its users' files are built unchanged.
    own_name = app_name(written, where=where)
    return Target(file, class_name, pyproject.parent, own_name, "fal", pyproject, settings, labels)


def _ref(table: dict[str, Any], where: str, pyproject: Path) -> tuple[Path, str | None]:
    ref = table.get("ref")
    example = 'ref = "app.py::Class"'
    if ref is None:
        raise DeclarationError(f"{where}: ref is missing", hint=f"Say where the app is: {example}")
    if not isinstance(ref, str):
        raise DeclarationError(f"{where}: ref must be a string like {example}, not {ref!r}")
    path, separator, class_name = ref.partition("::")
    if separator and not class_name.isidentifier():
        raise DeclarationError(f"{where}: ref: {class_name!r} is not a class name", hint=f"Write {example}.")
    try:
        return _app_file(pyproject.parent / path, shown=path), class_name or None
    except DeclarationError as error:
        raise DeclarationError(f"{where}: ref: {error}", hint=error.hint) from None
