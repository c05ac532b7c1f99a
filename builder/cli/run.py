"""`builder run`."""

from __future__ import annotations

import sys

import click

from builder.cli import options


@click.command(context_settings={"ignore_unknown_options": False})
@options.target_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@options.app_options
@options.frozen_option
@click.option("--port", default=8080, show_default=True, help="Port of this machine that reaches the app.")
def run(
    target: str,
    command: tuple[str, ...],
    platform: str | None,
    python: str | None,
    interpreter: str | None,
    frozen: bool,
    port: int,
) -> int:
    """Build TARGET's image and run it here with podman or docker; after `--`, a COMMAND to run instead of the app."""
    from builder import build as stage
    from builder.container import Engine
    from builder.progress import Display
    from builder.session import cache_folder, load_app, lock_app

    engine = Engine.find()
    with Display() as display:
        app = load_app(target, interpreter=interpreter)
        locked = lock_app(
            app, architecture=options.architecture(platform), python=python, frozen=frozen, display=display
        )
        with stage.plan(app.spec, locked.lock, locked.digest, app.settings) as plan:
            result = stage.build(plan, app.settings, cache=cache_folder(), out_link=None, display=display)
        display.stage("Loading the image")
        reference = engine.load(result.image)
    return engine.run(
        reference,
        command=command,
        port=port if plan.serves and not command else None,
        secrets=app.spec.secrets,
        tty=sys.stdin.isatty() and sys.stdout.isatty(),
    )
