"""`builder init`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from builder.workflows import Forge


@click.command()
@click.argument("targets", nargs=-1, metavar="[TARGET]...")
@click.option(
    "--ci", "forge", type=click.Choice(["github", "gitlab"]), help="Write a workflow for this forge."
)
@click.option(
    "--install",
    metavar="REQUIREMENT",
    help="What the workflow has pip install. Default: what this builder was installed from.",
)
@click.option("--force", is_flag=True, help="Write files that are there anew.")
def init(targets: tuple[str, ...], forge: Forge | None, install: str | None, force: bool) -> None:
    """Write files that a repository of apps has use for. TARGETs are all its apps, where none are named."""
    from builder.new_files import write_new

    files: dict[Path, str] = {}
    told: list[str] = []
    if forge is not None:
        _workflow(forge, targets, install, files, told)
    if not files:
        raise click.UsageError("Say what to write: --ci github or --ci gitlab.")
    write_new(files, force=force)
    for path in files:
        click.echo(f"{path}: written")
    for line in told:
        click.echo(f"  {line}")


def _workflow(
    forge: Forge, targets: tuple[str, ...], install: str | None, files: dict[Path, str], told: list[str]
) -> None:
    """Add a forge's workflow to the files that are to be written, and what there is to say of it."""
    from builder.app_search import find_apps
    from builder.installed_from import requirement
    from builder.workflows import FILES, default_branch, require_top, workflow

    folder = Path.cwd()
    require_top(folder)
    apps = find_apps(folder, targets)
    wanted = install or requirement()
    files[FILES[forge]] = workflow(forge, apps, requirement=wanted, branch=default_branch(folder))
    told += [
        f"builds {', '.join(app.target for app in apps)}",
        f"has pip install {wanted}" + ("" if install else "; --install names another"),
        "Commit it with the apps' locks. The settings it has use for are at its top.",
    ]
