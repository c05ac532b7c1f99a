"""Options that several commands share."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from builder.session import Request
from builder.variant import PLATFORMS

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


def _python(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"3\.\d{1,2}", value):
        raise click.BadParameter(f"{value!r} is not a minor version of Python, such as 3.11.")
    return value


def app_request(function: Callable[..., R], *, optional: bool = False) -> Callable[..., R]:
    """Give a command the TARGET argument and the options that say how it is loaded and what it is built for.

    With `optional` the argument may be left out, and then is "".

    The command gets them as one value, a `Request`, before its own options. Stands right below `click.command`.
    """

    @functools.wraps(function)
    def command(
        *,
        target: str,
        platform: str | None,
        python: str | None,
        interpreter: str | None,
        frozen: bool,
        verbose: bool,
        **own: Any,  # noqa: ANN401 - the command's own options
    ) -> R:
        request = Request(
            target=target,
            interpreter=interpreter,
            architecture=PLATFORMS[platform] if platform else None,
            python=python,
            frozen=frozen,
            verbose=verbose,
        )
        return function(request, **own)

    wrapped: Callable[..., R] = command
    for option in (
        click.option(
            "--verbose", "-v", is_flag=True, help="Say each step on standard error, and what builds print."
        ),
        click.option(
            "--frozen", is_flag=True, help="Fail when the lock is missing or out of date; never write it."
        ),
        click.option(
            "--python-interpreter",
            "interpreter",
            metavar="PATH",
            help="Python that runs the app file to read its declaration.",
        ),
        click.option(
            "--python",
            metavar="X.Y",
            callback=_python,
            help="Python of the image. Default: what the app declares.",
        ),
        click.option(
            "--platform",
            type=click.Choice(sorted(PLATFORMS)),
            help="What the image runs on. Default: what the machine type has.",
        ),
        click.argument("target", default="") if optional else click.argument("target"),
    ):
        wrapped = option(wrapped)
    return wrapped


def builders_option(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command the machines that steps are handed to. Stands below `app_request`."""

    @functools.wraps(function)
    def command(request: Request, *, builders: tuple[str, ...], **own: Any) -> R:  # noqa: ANN401
        return function(replace(request, builders=builders), **own)

    return click.option(
        "--builders",
        multiple=True,
        metavar="MACHINE",
        help="A machine to hand builds to: 'ssh-ng://user@host system key jobs', or @FILE. May be repeated. "
        "Default: BUILDER_BUILDERS, or builders in [tool.builder].",
    )(command)


def cache_location(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that name a binary cache. Stands right below `app_request`."""

    @functools.wraps(function)
    def command(request: Request, *, cache: str | None, cache_key: Path | None, **own: Any) -> R:  # noqa: ANN401
        return function(replace(request, cache=cache, cache_key=cache_key), **own)

    wrapped: Callable[..., R] = command
    for option in (
        click.option(
            "--cache-key",
            type=click.Path(path_type=Path),
            help="The key that signs what is pushed. Default: BUILDER_CACHE_KEY, or that of `cache keygen`.",
        ),
        click.option(
            "--cache",
            metavar="URL",
            help="A binary cache, asked before anything is built. Default: BUILDER_CACHE, or cache in [tool.builder].",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def named_cache(function: Callable[..., R]) -> Callable[..., R]:
    """Give a command that is about a cache, and no app, the options that name it: `url` and `key`."""
    key = click.option(
        "--cache-key",
        "key",
        type=click.Path(path_type=Path),
        help="The key that signs what is pushed. Default: BUILDER_CACHE_KEY, or that of `cache keygen`.",
    )
    url = click.option(
        "--cache", "url", metavar="URL", help="The cache. Default: BUILDER_CACHE, or cache in [tool.builder]."
    )
    return url(key(function))


def megabytes(size: int) -> str:
    """Bytes in words."""
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.2f} GB"


def json_option(function: Callable[..., R]) -> Callable[..., R]:
    """Output for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object for scripts.")(
        function
    )
