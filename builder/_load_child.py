"""Run an app file and report what its class declares; runs in the user's interpreter, Python 3.8 and up.

Called by `builder.load` as `python _load_child.py FD TIMEOUT FILE CLASS [MODULE...]`, by its path, in an
interpreter that need not have this package. CLASS is empty where FILE is to have one app; the MODULEs are local
ones to look for. What is written to the file descriptor FD: the line "started", then one JSON
object with what was declared or what went wrong; faulthandler's text in its place when FILE takes longer than
TIMEOUT seconds. Anything the app file prints goes where the parent has pointed standard output.
"""

from __future__ import annotations

import sys

# A script's folder is the first place imports look at. Here that is this package's own, whose modules (app,
# load, target, ...) must not stand in the way of the user's, nor of the standard library's for the imports
# below.
_PACKAGE = __file__.rpartition("/")[0]
if sys.path and sys.path[0] == _PACKAGE:
    del sys.path[0]

import json  # noqa: E402 - now, since the user's folder may have a file of that name too
import os  # noqa: E402
from importlib.machinery import ModuleSpec, SourceFileLoader  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any, NoReturn

OLDEST = (3, 8)


class _Finder:
    """Finds the two modules of this package that an app may import, whatever else is installed."""

    modules = {"builder": "__init__.py", "builder.app": "app.py"}  # noqa: RUF012 - typing is not imported here

    @classmethod
    def find_spec(cls, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Part of the import protocol (importlib.abc.MetaPathFinder)."""
        if name not in cls.modules:
            return None
        file = os.path.join(_PACKAGE, cls.modules[name])  # noqa: PTH118 - pathlib is slow to import
        spec = ModuleSpec(name, SourceFileLoader(name, file), origin=file, is_package=name == "builder")
        # An empty search path: `import builder.models` must fail here, as it would in the image.
        spec.has_location = True
        return spec


class _Failure(Exception):  # noqa: N818 - not an error of this program
    """Carries what is reported instead of a declaration."""

    def __init__(self, kind: str, **details: object) -> None:
        super().__init__(kind)
        self.report = {"failure": kind, **details}


def main(arguments: Sequence[str]) -> NoReturn:
    """Load the file, write the report, and end without waiting for what the file has started."""
    fd, timeout, file = int(arguments[0]), float(arguments[1]), arguments[2]
    class_name = arguments[3] or None
    # What the file starts must not inherit it.
    os.set_inheritable(fd, False)  # noqa: FBT003 - takes no keywords
    # From here on it is the file's doing if nothing else is written.
    os.write(fd, b"started\n")
    report: dict[str, Any]
    try:
        if sys.version_info < OLDEST:
            raise _Failure("old")
        import faulthandler

        # Says where the file hangs even when the interpreter itself is stuck.
        faulthandler.dump_traceback_later(timeout, exit=True, file=fd)
        module = _run(file)
        report = _declaration(_choose(module, class_name))
        report["modules"] = _module_places([*_named_modules(report), *arguments[4:]])
        faulthandler.cancel_dump_traceback_later()
    except _Failure as failure:
        report = failure.report
    report["python"] = f"{sys.version_info[0]}.{sys.version_info[1]}"
    report["executable"] = sys.executable
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib is slow to import
            stream.flush()
        except Exception:  # noqa: BLE001, S110 - closed or replaced by the app file
            pass
    with open(fd, "w", encoding="utf-8") as out:
        json.dump(report, out)
    os._exit(0)


def _run(file: str) -> ModuleType:
    """Execute the app file as a module of its own name."""
    folder, _, base = file.rpartition("/")
    name = base[: -len(".py")]
    # A file named like a module of the standard library must not replace it.
    if not name.isidentifier() or name in sys.modules or name in getattr(sys, "stdlib_module_names", ()):
        name = "app_" + "".join(char if char.isalnum() else "_" for char in name)
    sys.meta_path.insert(0, _Finder)
    sys.path.insert(0, folder)
    # Last, as fal has it: files that import from where the command is run.
    sys.path.append(os.getcwd())  # noqa: PTH109 - pathlib is slow to import
    sys.argv = [file]
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)
    module = type(sys)(name)
    module.__file__ = file
    module.__spec__ = ModuleSpec(name, SourceFileLoader(name, file), origin=file)
    module.__loader__ = module.__spec__.loader
    module.__package__ = ""
    sys.modules[name] = module
    try:
        with open(file, "rb") as source:  # noqa: PTH123
            code = compile(source.read(), file, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102 - running the user's file is what this script is for
    except BaseException as error:  # noqa: BLE001 - whatever ends the file is reported
        raise _failure(error, file) from None
    return module


def _failure(error: BaseException, file: str) -> _Failure:
    if isinstance(error, KeyboardInterrupt):
        return _Failure("interrupted")
    # The standard library's, whatever the user's folder has.
    sys.path = [folder for folder in sys.path if folder != file.rpartition("/")[0]]
    import traceback

    # The frames before the app file's first are this script's.
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != file:
        frames = frames.tb_next
    shown = "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    # Where control left the app file for the last time.
    line = None
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == file:
            line = frames.tb_lineno
        frames = frames.tb_next
    details = {"traceback": shown, "line": line}
    if isinstance(error, SystemExit):
        return _Failure("exit", code=None if error.code is None else str(error.code), **details)
    if isinstance(error, SyntaxError):
        return _Failure("syntax", **details)
    if isinstance(error, ModuleNotFoundError) and error.name:
        return _Failure("missing", module=error.name, **details)
    return _Failure("exception", **details)


def _bases() -> dict[str, type]:
    """The App classes that the file may have derived from, by kind."""
    bases = {}
    for kind in ("builder", "fal"):
        base = getattr(sys.modules.get(kind), "App", None)
        if isinstance(base, type):
            bases[kind] = base
    return bases


def _choose(module: ModuleType, class_name: str | None) -> type:
    bases = tuple(_bases().values())
    apps = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, bases) and value not in bases
    }
    own = {name: value for name, value in apps.items() if value.__module__ == module.__name__}
    if class_name is not None:
        chosen = getattr(module, class_name, None)
        if isinstance(chosen, type) and issubclass(chosen, bases) and chosen not in bases:
            return chosen
        what = None if chosen is None else "class" if isinstance(chosen, type) else type(chosen).__name__
        raise _Failure("class", apps=list(own), imported=[n for n in apps if n not in own], found=what)
    # A class that is bound to two names is one app; a private one is a base of others.
    public = {value: name for name, value in reversed(list(own.items())) if not name.startswith("_")}
    if len(public) == 1:
        return next(iter(public))
    if public:
        raise _Failure("several", apps=[name for name, value in own.items() if public.get(value) == name])
    raise _Failure("none", private=list(own), imported=[name for name in apps if name not in own])


def _declaration(cls: type) -> dict[str, Any]:
    # The finder above gives this module, not an installed one.
    from builder.app import BUILD_SETTINGS, PLATFORM_SETTINGS

    kind, base = next((kind, base) for kind, base in _bases().items() if issubclass(cls, base))
    names = (*BUILD_SETTINGS, *PLATFORM_SETTINGS)
    if kind == "fal":
        settings = _fal_settings(cls, base, names)
        app_name = getattr(cls, "app_name", None)
    else:
        settings = {name: getattr(cls, name) for name in names if _sets(cls, base, name)}
        app_name = cls.app_name  # type: ignore[attr-defined]
    return {
        "class": cls.__name__,
        "kind": kind,
        "app_name": _plain(app_name),
        "settings": {name: _plain(settings[name]) for name in BUILD_SETTINGS if name in settings},
        "labels": {name: _plain(settings[name]) for name in PLATFORM_SETTINGS if name in settings},
        "endpoints": _endpoints(cls),
        "container": kind == "fal" and _is_container(cls),
        "owners": _owners(cls),
    }


def _named_modules(report: dict[str, Any]) -> list[str]:
    names = report["settings"].get("local_python_modules")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _module_places(names: Sequence[str]) -> list[list[Any]]:
    """Where modules and the packages they are in would be imported from; none is imported for it.

    Returns:
        For each that is found its name and its file, or its folders where it is a package; [] for a part of Python.
    """
    places: dict[str, list[str]] = {}
    for name in names:
        search = None
        words = name.split(".")
        for depth in range(1, len(words) + 1):
            spec = _find_spec(".".join(words[:depth]), search)
            if spec is None:
                break
            places[".".join(words[:depth])] = _spec_places(spec)
            search = spec.submodule_search_locations
            if search is None:
                break
    return [[name, found] for name, found in places.items()]


def _find_spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    # As an import asks; `importlib.util.find_spec` would import the packages that the module is in.
    for finder in sys.meta_path:
        spec = finder.find_spec(name, search, None) if hasattr(finder, "find_spec") else None
        if spec is not None:
            return spec
    return None


def _spec_places(spec: ModuleSpec) -> list[str]:
    standard_library = os.path.dirname(os.__file__)  # noqa: PTH120 - pathlib is slow to import
    file = spec.origin if spec.has_location else None
    package = spec.submodule_search_locations
    if file is None:
        return [os.path.abspath(folder) for folder in package or ()]  # noqa: PTH100
    file = os.path.abspath(file)  # noqa: PTH100
    if file.startswith(standard_library + "/") and "/site-packages/" not in file:
        return []
    return [file if package is None else os.path.dirname(file)]  # noqa: PTH120


def _sets(cls: type, base: type, name: str) -> bool:
    """Whether the class, or one between it and App, has the attribute."""
    return any(name in vars(owner) for owner in cls.__mro__ if owner is not base and owner is not object)


def _fal_settings(cls: type, base: type, names: Sequence[str]) -> dict[str, Any]:
    """What a fal app sets: attributes stand in the class, class keywords in `host_kwargs`.

    The SDK copies attributes into `host_kwargs` when the class is made, so what is there and is not fal's own
    default came from the class or one it derives from.
    """
    given: dict[str, Any] = getattr(cls, "host_kwargs", {})
    default: dict[str, Any] = getattr(base, "host_kwargs", {})
    found = {name: getattr(cls, name) for name in names if _sets(cls, base, name)}
    for name in names:
        if name in given and given[name] != default.get(name, getattr(base, name, None)):
            found[name] = given[name]
    return found


def _is_container(cls: type) -> bool:
    return (
        getattr(cls, "image", None) is not None or getattr(cls, "host_kwargs", {}).get("kind") == "container"
    )


def _endpoints(cls: type) -> list[list[Any]]:
    """Methods and URL paths, in the order they are written; what derives comes after what it derives from."""
    from builder.app import ENDPOINT_MARK

    found: dict[str, Any] = {}
    for owner in reversed(cls.__mro__):
        for name in vars(owner):
            method = getattr(cls, name, None)
            path = getattr(method, ENDPOINT_MARK, None)
            if path is None:
                path = getattr(getattr(method, "route_signature", None), "path", None)
            if path is not None:
                found[name] = _plain(path)
    return [[name, path] for name, path in found.items()]


def _owners(cls: type) -> list[str]:
    """The classes whose attributes count, nearest first: where an error's line is looked for."""
    return [owner.__name__ for owner in cls.__mro__ if owner.__module__ == cls.__module__]


def _plain(value: object) -> object:
    """The value in JSON's types; what has none is told by its text alone."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's own __repr__
        text = type(value).__name__
    return {"opaque": text}


if __name__ == "__main__":
    main(sys.argv[1:])
