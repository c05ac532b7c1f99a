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
    "--flake",
    is_flag=True,
    help="Write flake.nix, and for each app its lock and image.<app>.nix; see docs/flake.md.",
)
@click.option(
    "--input",
    "reference",
    metavar="URL",
    help="The flake of builder that flake.nix has for an input. Default: where this builder was installed from.",
)
@click.option(
    "--ci", "forge", type=click.Choice(["github", "gitlab"]), help="Write a workflow for this forge."
)
@click.option(
    "--install",
    metavar="REQUIREMENT",
    help="What the workflow has pip install. Default: what this builder was installed from.",
)
@click.option("--force", is_flag=True, help="Write files that are there anew.")
@click.option("--verbose", "-v", is_flag=True, help="Say each step on standard error.")
def init(
    targets: tuple[str, ...],
    flake: bool,
    reference: str | None,
    forge: Forge | None,
    install: str | None,
    force: bool,
    verbose: bool,
) -> None:
    """Write files that a repository of apps has use for. TARGETs are all its apps, where none are named."""
    from builder.new_files import require_new, write_new

    files: dict[Path, str] = {}
    told: list[str] = []
    if forge is not None:
        _workflow(forge, targets, install, files, told)
    if flake:
        _flake(reference, files, told)
    if not files:
        raise click.UsageError("Say what to write: --flake, --ci github or --ci gitlab.")
    require_new(files, force=force)
    expressions = _expressions(targets, told, verbose=verbose) if flake else []
    write_new(files, force=force)
    for path in (*files, *expressions):
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


def _flake(reference: str | None, files: dict[Path, str], told: list[str]) -> None:
    """Add a flake to the files that are to be written, and what there is to say of it."""
    from builder.debian import find_mirrors
    from builder.flake import flake_text, repository_of
    from builder.installed_from import check_reference, flake_reference
    from builder.settings import expanded_mirrors, read_settings

    folder = Path.cwd()
    chosen = check_reference(reference) if reference else flake_reference()
    mirrors = find_mirrors(expanded_mirrors(read_settings(folder)))
    files[Path("flake.nix")] = flake_text(chosen, mirrors.urls)
    told.append(f"has {chosen} for builder" + ("" if reference else "; --input names another"))
    if repository_of(folder):
        told.append("A flake has the files that git knows: git add --all")


def _expressions(targets: tuple[str, ...], told: list[str], *, verbose: bool) -> list[Path]:
    """Write the expressions that a flake builds apps from; return those that are new."""
    from builder.cli.render import expression_of
    from builder.expression_file import write_expression
    from builder.progress import Display
    from builder.repository import find_apps
    from builder.session import Request

    with Display(verbose=verbose) as display:
        made = dict(
            expression_of(Request(target=target, verbose=verbose), display)
            for target in targets or find_apps(Path.cwd())
        )
    name = next(iter(made)).name.removeprefix("image.").removesuffix(".nix")
    told.append(f"Then: nix build .#{name}")
    return [path for path, text in made.items() if write_expression(path, text)]
