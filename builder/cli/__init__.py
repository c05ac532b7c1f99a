"""The command line. One module per command family; each is imported when its command is run."""

from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING

import click

from builder.errors import BuilderError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Command -> the module that holds it, under the same name.
_COMMANDS = {"build": "build", "lock": "lock", "render": "render", "run": "run"}
_INTERRUPTED = 130


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


def _report(error: BuilderError, *, as_json: bool) -> None:
    if as_json:
        body = {"error": {"kind": type(error).__name__, "message": str(error), "hint": error.hint}}
        click.echo(json.dumps(body))
    click.echo(f"{click.style('error', fg='red', bold=True)}: {error}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint', fg='cyan')}: {error.hint}", err=True)


def run(arguments: Sequence[str]) -> int:
    """Run a command line.

    Args:
        arguments: without the program's name.

    Returns:
        the exit code: 0 done, 2 wrong usage, 130 interrupted, the rest as `builder.errors` has them.
    """
    try:
        done = cli.main(args=list(arguments), prog_name="builder", standalone_mode=False)
    except BuilderError as error:
        _report(error, as_json="--json" in arguments)
        return error.exit_code
    except click.exceptions.Abort:
        click.echo("Interrupted. What was finished is kept: the next run continues from there.", err=True)
        return _INTERRUPTED
    except KeyboardInterrupt:
        click.echo("Interrupted. What was finished is kept: the next run continues from there.", err=True)
        return _INTERRUPTED
    except click.exceptions.Exit as ending:
        return ending.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone (`builder render | head`): nothing is left to say, not even at exit.
        sys.stdout = None
        return 1
    except OSError as error:
        click.echo(f"{click.style('error', fg='red', bold=True)}: {error}", err=True)
        return 1
    return done if isinstance(done, int) else 0
