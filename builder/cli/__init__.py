"""The command line. One module per command family; each is imported when its command is run."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from signal import SIGINT
from typing import TYPE_CHECKING

import click

from builder.cli.signals import Signalled, install
from builder.errors import BuilderError, of_the_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

# Command -> the module that holds it, under the same name.
_COMMANDS = {
    "build": "build",
    "cache": "cache",
    "check": "check",
    "diff": "diff",
    "init": "init",
    "load": "load",
    "lock": "lock",
    "machines": "machines",
    "plan": "plan",
    "push": "push",
    "render": "render",
    "run": "run",
}
_WITH_JSON = ("build", "cache", "check", "diff", "load", "lock", "machines", "plan", "push")
_SIGNALLED = 128  # what a shell adds to the number of the signal that ended a command
_DEBUG = "BUILDER_DEBUG"
_BUG_HINT = f"That is a bug. Run it again with {_DEBUG}=1 and report what it prints."


class _Group(click.Group):
    """A group whose commands are imported when they are asked for, since start-up time is felt at every call."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"builder.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command


def _version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        from builder.version import version

        click.echo(f"builder {version()}")
        context.exit()


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True, help="Print the version."
)
def cli() -> None:
    """Turn a Python app's requirements and machine type into a reproducible OCI image.

    TARGET is app.py::Class, app.py where it holds one app, or the name of an app in pyproject.toml.
    """


def _wants_json(arguments: Sequence[str]) -> bool:
    """Whether a script waits for a JSON object; asked of the words, since they may be what is wrong."""
    own = list(arguments)[: arguments.index("--")] if "--" in arguments else list(arguments)
    return "--json" in own and next((word for word in own if word in _COMMANDS), "") in _WITH_JSON


def _print_error(kind: str, message: str, hint: str = "") -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody reads it; the exit code says the same
        click.echo(json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}))


def _report(kind: str, message: str, hint: str, *, as_json: bool) -> None:
    if as_json:
        _print_error(kind, message, hint)
    click.echo(f"{click.style('error', fg='red', bold=True)}: {message}", err=True)
    if hint:
        click.echo(f"{click.style('hint', fg='cyan')}: {hint}", err=True)


def _interrupted(signal: int, *, as_json: bool) -> int:
    message = "Interrupted. What was finished is kept: the next run continues from there."
    if as_json:
        _print_error("Interrupted", message)
    click.echo(message, err=True)
    return _SIGNALLED + signal


def run(arguments: Sequence[str]) -> int:
    """Run a command line. It answers signals from here on.

    Args:
        arguments: without the program's name.

    Returns:
        the exit code: 0 done, 2 wrong usage, 128 and the signal's number when one ended it (130 for Ctrl-C), the rest
        as `builder.errors` has them.
    """
    as_json = _wants_json(arguments)
    install()
    try:
        done = cli.main(args=list(arguments), prog_name="builder", standalone_mode=False)
    except BuilderError as error:
        _report(type(error).__name__, str(error), error.hint, as_json=as_json)
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        # Click turns the one into the other.
        cause = error.__cause__ or error
        return _interrupted(cause.number if isinstance(cause, Signalled) else SIGINT, as_json=as_json)
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        if as_json:
            _print_error("UsageError", error.format_message())
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone (`builder render | head`): nothing is left to say, not even at exit.
        sys.stdout = None
        return 1
    except OSError as error:
        refusal = of_the_machine(error)
        _report(type(refusal).__name__, str(refusal), refusal.hint, as_json=as_json)
        return refusal.exit_code
    except Exception as error:  # whatever it is, users of this program are not its debuggers
        if os.environ.get(_DEBUG):
            raise
        _report("BuilderBug", f"builder itself failed: {_where(error)}", _BUG_HINT, as_json=as_json)
        return 1
    return done if isinstance(done, int) else 0


def _where(error: BaseException) -> str:
    """An exception in a line: what it says and the place in this program that it came through last."""
    import traceback

    frames = [
        f"{frame.filename.rpartition('/builder/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/builder/" in frame.filename and "/site-packages/" not in frame.filename
    ]
    said = str(error).strip().partition("\n")[0]
    name = type(error).__name__
    return (f"{name}: {said}" if said else name) + (f" ({frames[-1]})" if frames else "")
