"""`builder init`."""

from __future__ import annotations

from pathlib import Path

import click

from builder.session import Request


@click.command()
@click.argument("targets", nargs=-1)
@click.option("--flake", is_flag=True, help="Write flake.nix, and image.<app>.nix for each app.")
@click.option(
    "--input",
    "reference",
    metavar="URL",
    help="The flake of builder that it has for an input. Default: where this builder was installed from.",
)
@click.option("--force", is_flag=True, help="Replace files that are there already.")
@click.option("--verbose", "-v", is_flag=True, help="Say each step on standard error.")
def init(targets: tuple[str, ...], flake: bool, reference: str | None, force: bool, verbose: bool) -> None:
    """Write what a repository needs besides its apps.

    TARGETS are its apps; by default those that pyproject.toml names, or that are found in its Python files.
    """
    if not flake:
        raise click.UsageError("Say what to write: --flake.")
    _flake(Path.cwd(), targets, reference, force=force, verbose=verbose)


def _flake(
    folder: Path, targets: tuple[str, ...], reference: str | None, *, force: bool, verbose: bool
) -> None:
    from builder.cli.render import expression_of
    from builder.debian import find_mirrors
    from builder.expression_file import write_expression
    from builder.flake import check_input, flake_text, own_input, repository_of, require_new, write_flake
    from builder.progress import Display
    from builder.repository import find_apps
    from builder.settings import expanded_mirrors, read_settings

    chosen = check_input(reference) if reference else own_input()
    if not force:
        require_new(folder)
    wanted = targets or tuple(find_apps(folder))
    mirrors = find_mirrors(expanded_mirrors(read_settings(folder)))
    with Display(verbose=verbose) as display:
        expressions = dict(
            expression_of(Request(target=target, verbose=verbose), display) for target in wanted
        )
    for path, text in expressions.items():
        state = "written" if write_expression(path, text) else "up to date"
        click.echo(f"{path.relative_to(folder) if path.is_relative_to(folder) else path}: {state}")
    write_flake(folder, flake_text(chosen, mirrors.urls))
    click.echo(f"flake.nix: written, with {chosen} for builder")
    name = next(iter(expressions)).name.removeprefix("image.").removesuffix(".nix")
    if repository_of(folder):
        click.echo("A flake has the files that git knows: git add --all")
    click.echo(f"Then: nix build .#{name}")
