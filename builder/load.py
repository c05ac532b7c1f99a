"""Load a target: run the app file in a child process and read what its class declares.

The child is `_load_child.py`, run by an interpreter that has what the app file imports; see
`find_interpreter`. It is a process of its own so that neither the file's imports, nor its output, nor its end
are this program's.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.app import BUILD_SETTINGS, PLATFORM_SETTINGS, App
from builder.declaration import Opaque, label, read_attributes
from builder.errors import DeclarationError, ToolError
from builder.machines import check_machines
from builder.process import run as run_program
from builder.redact import redact
from builder.target import Target, app_name, find_target, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from builder.models import AppSpec

_START = 10.0  # seconds until the child runs the app file
_CHILD = Path(__file__).with_name("_load_child.py")


def load(
    target: str,
    *,
    interpreter: str | None = None,
    cwd: Path | None = None,
    timeout: float = 120.0,
) -> AppSpec:
    """Load an app's declaration; see `declare` for the arguments and errors."""
    fields = declare(target, interpreter=interpreter, cwd=cwd, timeout=timeout)
    from builder.models import AppSpec

    return AppSpec(**fields)


def declare(
    target: str,
    *,
    interpreter: str | None = None,
    cwd: Path | None = None,
    timeout: float = 120.0,
) -> dict[str, Any]:
    """Load an app's declaration as plain values: the fields of an AppSpec.

    The app file is executed, all of its top level, with its folder on sys.path; what it prints goes to this
    process's standard error.

    Args:
        target: `app.py::Class`, `app.py`, or a name from pyproject.toml.
        interpreter: path or name of the Python (3.8 or newer) to run the file with; see `find_interpreter`.
        cwd: what relative paths are relative to; default is the working directory.
        timeout: seconds that the file may take.

    Raises:
        DeclarationError: there is no such app, or it cannot be loaded, or declares what cannot be built.
        ToolError: the interpreter, or uv where it is needed, cannot be had.
    """
    cwd = (cwd or Path.cwd()).absolute()
    found = find_target(target, cwd=cwd)
    python = find_interpreter(found, interpreter, cwd=cwd)
    report = _run([python], found, cwd=cwd, timeout=timeout)
    if report is not None and report.get("failure") == "missing" and report["module"] == "fal":
        report = _run_with_fal(python, found, cwd=cwd, timeout=timeout)
    if report is None:
        raise ToolError(
            f"{python} could not run the app file",
            hint="Choose a Python 3.8 or newer with --python-interpreter.",
        )
    if "failure" in report:
        raise _failure(found, report)
    return _fields(found, report)


def find_interpreter(target: Target, interpreter: str | None, *, cwd: Path) -> str:
    """Choose the Python that runs the app file.

    In this order: the one asked for; that of an active environment (`VIRTUAL_ENV`, then `CONDA_PREFIX`); that
    of the nearest `.venv` in the app file's folder or one above it; the one this program runs on. The first
    three are where the project's own packages are; the last is right for files that import nothing else.

    Raises:
        ToolError: the one asked for is not there.
    """
    if interpreter is not None:
        # A name is looked for on PATH; a relative path is relative to cwd.
        path = shutil.which(interpreter if os.sep not in interpreter else str(cwd / interpreter))
        if path is None:
            raise ToolError(
                f"there is no Python interpreter {interpreter}",
                hint="--python-interpreter takes the path of a Python, or its name on PATH.",
            )
        return path
    homes = [Path(os.environ[name]) for name in ("VIRTUAL_ENV", "CONDA_PREFIX") if os.environ.get(name)]
    homes += [folder / ".venv" for folder in target.file.parents]
    for home in homes:
        python = home / "bin" / "python"
        if os.access(python, os.X_OK):
            return str(python)
    return sys.executable


def _run_with_fal(python: str, target: Target, *, cwd: Path, timeout: float) -> dict[str, Any]:
    """Run the child with the fal SDK that uv provides, on top of what the interpreter has.

    What uv has in its cache is taken as it is: that takes no network and a fraction of the time.
    """
    command = [_find_uv(), "run", "--no-project", "--python", python, "--with", "fal"]
    offline = [*command, "-qq", "--offline", "--", "python"]
    report = _run(offline, target, cwd=cwd, timeout=timeout)
    if report is None:
        # A run of its own, whose output is uv's alone, and whose time is not the app file's.
        provided = run_program([*command, "--quiet", "--no-progress", "--", "python", "-c", ""], cwd=cwd)
        if provided.returncode == 0:
            report = _run(offline, target, cwd=cwd, timeout=timeout)
    if report is None:
        said = redact(provided.stderr.strip().removeprefix("error: "))
        raise ToolError(
            f"{target.file.name} imports fal, which {python} does not have and uv could not provide:\n{said}",
            hint="Install fal where the app is developed, or check the network and run the command again.",
        )
    return report


def _find_uv() -> str:
    try:
        import uv

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv")
        if path is None:
            raise ToolError("uv is not installed", hint="Install it with pip: pip install uv") from None
        return path


def _run(command: list[str], target: Target, *, cwd: Path, timeout: float) -> dict[str, Any] | None:
    """Run the child and read its report.

    Args:
        command: the interpreter, with what starts it.
        target: what the child loads.
        cwd: its working directory.
        timeout: seconds for the app file.

    Returns:
        The report, or None when the command ended before it ran the file.

    Raises:
        DeclarationError: the app file ended the process, or did not end itself.
    """
    # A file, not a pipe: it is complete when the child has ended, whatever the app file has started
    # meanwhile.
    with tempfile.TemporaryFile() as result:
        arguments = [
            str(_CHILD),
            str(result.fileno()),
            str(timeout),
            str(target.file),
            target.class_name or "",
        ]
        # Those that the class names are found as well.
        modules = target.settings.get("local_python_modules")
        arguments += [name for name in modules if isinstance(name, str)] if isinstance(modules, list) else []
        try:
            process = subprocess.Popen(
                [*command, *arguments],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=2,
                pass_fds=[result.fileno()],
                # A group of its own, so that all of it can be ended.
                start_new_session=True,
            )
        except OSError as error:
            raise ToolError(f"{command[0]} could not be started: {error.strerror}") from error
        # The child watches its time itself; this is for one that has switched that off, or stands still
        # before.
        timer = threading.Timer(timeout + _START, _kill, [process])
        timer.daemon = True
        timer.start()
        try:
            code = process.wait()
        finally:
            timer.cancel()
            _kill(process)
        result.seek(0)
        started, _, written = result.read().decode(errors="replace").partition("\n")
    if not started:
        return None
    if written.startswith("{"):
        report = json.loads(written, object_hook=_decode)
        assert isinstance(report, dict)
        return report
    raise _death(target, code, written, timeout)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the child and what it has started, unless it has ended by itself."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _decode(found: dict[str, Any]) -> object:
    return Opaque(found["opaque"]) if "opaque" in found else found


def _death(target: Target, code: int, written: str, timeout: float) -> DeclarationError:
    """The error for an app file that ended the child, by what the child left."""
    name = target.file.name
    if written.startswith("Timeout") or code == -signal.SIGKILL:
        stack = re.findall(r'File "(.*)", line (\d+)', written)
        line = next((f" at line {line}" for file, line in stack if file == str(target.file)), "")
        return DeclarationError(
            f"{name} was still running after {timeout:g} seconds{line}",
            hint="Loading a file runs all of its top level: move long work into setup().",
        )
    # A shell's way to tell a signal is also that of `uv run`.
    number = -code if code < 0 else code - 128
    if number in set(signal.Signals):
        how = f"crashed the interpreter while it was loaded ({signal.Signals(number).name})"
    else:
        how = f"ended the interpreter while it was loaded (exit code {code})"
    return DeclarationError(f"{name} {how}", hint="Loading a file runs all of its top level.")


def _failure(target: Target, report: dict[str, Any]) -> BaseException:
    """The error for what the child has reported instead of a declaration."""
    name = target.file.name
    match report["failure"]:
        case "interrupted":
            return KeyboardInterrupt()
        case "old":
            return ToolError(
                f"{report['executable']} is Python {report['python']}",
                hint="Choose a Python 3.8 or newer with --python-interpreter.",
            )
        case "class" | "several" | "none":
            return _no_app(target, report)
    ran_by = f"It was run by Python {report['python']}, {report['executable']}."
    shown = f"{name} could not be loaded\n\n{report['traceback']}"
    match report["failure"]:
        case "exit":
            at = f"line {report['line']}" if report["line"] else "its top level"
            code = f" with {report['code']}" if report["code"] is not None else ""
            return DeclarationError(
                f"{name} exits{code} while it is loaded, at {at}",
                hint="Loading a file runs all of its top level; a script's part stands under "
                'if __name__ == "__main__".',
            )
        case "missing":
            return DeclarationError(
                shown,
                hint=f"{ran_by} Import what only the image has inside the methods that use it, or choose an "
                f"interpreter that has {report['module']} with --python-interpreter.",
            )
        case "syntax":
            return DeclarationError(shown, hint=ran_by)
    return DeclarationError(shown)


def _no_app(target: Target, report: dict[str, Any]) -> DeclarationError:
    """The error for a file without the app that was asked for, with those it has."""
    name, apps, imported = target.file.name, report.get("apps", []), report.get("imported", [])
    listed = f"It has {', '.join(apps)}." if apps else ""
    if report["failure"] == "several":
        choices = " or ".join(f"{name}::{app}" for app in apps)
        return DeclarationError(
            f"{name} has {len(apps)} apps: {', '.join(apps)}", hint=f"Name one: {choices}."
        )
    if report["failure"] == "none":
        others = [*report["private"], *imported]
        hint = f"It has {', '.join(others)}, which must be named: {name}::{others[0]}." if others else ""
        return DeclarationError(
            f"{name} has no app", hint=hint or "An app is a class that derives from builder.App (or fal.App)."
        )
    wanted = target.class_name or ""
    if report["found"] == "class":
        return DeclarationError(
            f"{name}: {wanted} does not derive from builder.App (or fal.App)", hint=listed or ""
        )
    what = f"{name}: {wanted} is not a class" if report["found"] else f"{name} has no class {wanted}"
    return DeclarationError(what, hint=(listed + near(wanted, [*apps, *imported])).strip())


def _fields(target: Target, report: dict[str, Any]) -> dict[str, Any]:
    file, cls = target.file, report["class"]
    if report["container"]:
        raise DeclarationError(
            f"{_place(target, report, 'image')} brings a container image of its own: that is not built"
        )
    declared = read_attributes(
        report["settings"], base=file.parent, where=lambda key: _place(target, report, key)
    )
    labels = {**target.labels, **report["labels"]}
    places: dict[str, str] = {}
    if target.table:
        where = f"{target.pyproject}: [tool.{target.table}.apps.{target.name}]"
        written = {key: value for key, value in target.settings.items() if key in BUILD_SETTINGS}
        platform = {key: value for key, value in target.settings.items() if key in PLATFORM_SETTINGS}
        table = read_attributes(written, base=target.root, where=lambda key: f"{where} {key}")
        ours = target.table == "builder"
        for key in ("requirements", "machine_type", "num_gpus", "cuda"):
            if key in written and (ours or key not in report["settings"]):
                places[key] = f"{where} {key}"
        # fal's tables fill in what the class leaves out; ours have the last word.
        declared = {**declared, **table} if ours else {**table, **declared}
        labels |= platform

    def place(key: str) -> str:
        return places.get(key) or _place(target, report, key)

    machines = check_machines(
        declared.get("machine_types", ("S",)),
        declared.get("num_gpus"),
        cuda=declared.get("cuda"),
        root=target.root,
        where=place,
    )
    shown = {key: text for key, value in labels.items() if (text := label(value)) is not None}
    return {
        "name": target.name or _name(target, report),
        "class_name": cls,
        "file": file,
        "root": target.root,
        "kind": report["kind"],
        "local_python": report["python"],
        "endpoints": tuple(
            {"method": method, "path": path} for method, path in _endpoints(target, report["endpoints"], cls)
        ),
        "labels": dict(sorted(shown.items())),
        "requirements_place": place("requirements"),
        "architecture": machines[0].architecture,
        "cuda": "runtime" if any(machine.gpu for machine in machines) else "none",
        "requirements_context_dir": file.parent,
        "app_files_ignore": tuple(App.app_files_ignore),
        "local_modules": {name: tuple(map(Path, places)) for name, places in report["modules"]},
        **{key: value for key, value in declared.items() if value is not None},
    }


def _name(target: Target, report: dict[str, Any]) -> str:
    written = report["app_name"]
    if written is None:
        return app_name(report["class"], where=f"{target.file.name}: class {report['class']}")
    where = _place(target, report, "app_name")
    if not isinstance(written, str):
        raise DeclarationError(f"{where} must be a string, not {written!r}")
    return app_name(written, where=where)


def _endpoints(target: Target, found: list[list[Any]], cls: str) -> list[list[str]]:
    methods: dict[str, str] = {}
    for method, path in found:
        where = f"{target.file.name}: {cls}.{method}"
        if not isinstance(path, str) or not path.startswith("/"):
            raise DeclarationError(f"{where}: an endpoint's path begins with a slash, not {path!r}")
        if path in methods:
            raise DeclarationError(f"{where}: the path {path} is already that of {methods[path]}")
        methods[path] = method
    return found


def _place(target: Target, report: dict[str, Any], key: str) -> str:
    """Where an attribute is written, for an error: `app.py:12: Upscale.requirements`.

    The file is read again for the line, since a class does not remember where its attributes were set.
    """
    place = f"{report['class']}.{key}"
    try:
        tree = ast.parse(target.file.read_bytes())
    except (OSError, SyntaxError, ValueError):  # changed meanwhile, or of another Python's syntax
        return f"{target.file.name}: {place}"
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for name in report["owners"]:
        for line in _lines(classes.get(name), key):
            return f"{target.file.name}:{line}: {place}"
    return f"{target.file.name}: {place}"


def _lines(node: ast.ClassDef | None, key: str) -> Iterator[int]:
    """Lines of a class that set an attribute, the last one first."""
    if node is None:
        return
    for keyword in node.keywords:
        if keyword.arg == key:
            yield keyword.value.lineno
    for statement in reversed(node.body):
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        if any(isinstance(written, ast.Name) and written.id == key for written in targets):
            yield statement.lineno
