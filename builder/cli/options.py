"""Options that several commands share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from builder.models import Architecture

F = TypeVar("F", bound="Callable[..., Any]")

# The OCI image specification's names of platforms -> this project's names of architectures.
_PLATFORMS: dict[str, Architecture] = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}


def _python(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"3\.\d{1,2}", value):
        raise click.BadParameter(f"{value!r} is not a minor version of Python, such as 3.11.")
    return value


def target_argument(function: F) -> F:
    """The app to work on."""
    return click.argument("target")(function)


def app_options(function: F) -> F:
    """How the app is loaded, and what it is built for."""
    for option in (
        click.option(
            "--platform",
            type=click.Choice(sorted(_PLATFORMS)),
            help="What the image runs on. Default: what the machine type has, or the lock.",
        ),
        click.option(
            "--python",
            metavar="X.Y",
            callback=_python,
            help="Python of the image. Default: what the app declares.",
        ),
        click.option(
            "--python-interpreter",
            "interpreter",
            metavar="PATH",
            help="Python that runs the app file to read its declaration.",
        ),
    ):
        function = option(function)
    return function


def frozen_option(function: F) -> F:
    """Whether the lock may be written."""
    return click.option(
        "--frozen", is_flag=True, help="Fail when the lock is missing or out of date; never write it."
    )(function)


def json_option(function: F) -> F:
    """Output for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object for scripts.")(
        function
    )


def architecture(platform: str | None) -> Architecture | None:
    """The architecture of a `--platform`."""
    return _PLATFORMS[platform] if platform else None
