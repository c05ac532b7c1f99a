"""The rendered expression as a file beside the lock, for a flake: it says itself which files the image holds.

`builder build` copies the app's files as they are now and gives them to the expression. A flake has no such step, so
the file that is written lists them, by name. A file that is added to the app or taken away makes it stale, as a change
of the lock does; a change of what is in a file does not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder import code
from builder.errors import DeclarationError, LockError
from builder.files import scratch_folder
from builder.flake import repository_of
from builder.new_files import write_new

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from builder.local.masking import Masker
    from builder.local.tree import Tree
    from builder.models import AppSpec, Lock
    from builder.settings import Settings


@dataclass(frozen=True)
class FileList:
    """Files as the Nix library's `files` takes them, see nix/files.nix.

    Attributes:
        name: what the folder that they make is called.
        above: the folders from the written file's up to the one that has all of them.
        folder: the folder's path below that; "" for itself.
        names: of those that are at the same place in the folder, sorted.
        placed: place -> name in the folder, of the others.
        links: place -> what the symbolic link there says, where the folder has no such link.
    """

    name: str
    above: int
    folder: str
    names: tuple[str, ...]
    placed: Mapping[str, str]
    links: Mapping[str, str]


def expression_path(lock: Path) -> Path:
    """The file beside a lock: `image.<app>.nix` beside `pylock.<app>.toml`."""
    return lock.with_name("image." + lock.name.removeprefix("pylock.").removesuffix(".toml") + ".nix")


def expression_text(spec: AppSpec, lock: Lock, lock_digest: str, settings: Settings, masker: Masker) -> str:
    """What is to be in the file.

    Args:
        spec: the app.
        lock: its lock.
        lock_digest: the lock's digest, as `sha256:<hex>`.
        settings: the project's.
        masker: knows the secrets that no copy of a file holds.

    Raises:
        DeclarationError: a file lies outside of the repository, or would have to be changed on its way into the image.
    """
    from builder.project_tree import project_files
    from builder.render import render

    shipped = code.Shipped.of(spec.model_dump())
    app = _listed("app", code.gather(shipped).tree, shipped.context, spec.root, masker)
    projects = {}
    for built in lock.built:
        if built.source.kind == "directory":
            folder = (spec.root / (built.source.path or ".")).resolve()
            found = _listed("source", project_files(folder), folder, spec.root, masker)
            if found.placed or found.links:
                first = next(iter([*found.placed, *found.links]))
                raise DeclarationError(
                    f"{built.name}: {folder / first} is a link to a file that does not come along under its own name; "
                    "a flake cannot put a copy in its place",
                    hint="Put a copy there, or do not let git ignore what the link leads to.",
                )
            projects[built.name] = found
    return render(spec, lock, lock_digest, bytecode=settings.bytecode, files=app, project_files=projects)


def write_expression(path: Path, text: str) -> bool:
    """Write the file, and say whether anything in it is new."""
    if _content(path) == text:
        return False
    write_new({path: text}, force=True)
    return True


def check_expression(path: Path, text: str, target: str) -> None:
    """See that the file is what would be written.

    Raises:
        LockError: it is missing, or says something else.
    """
    found = _content(path)
    if found == text:
        return
    what = "is missing" if found is None else "is out of date" + _first_change(found, text)
    raise LockError(f"{path} {what}", hint=f"builder render --write {target}")


def _content(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


def _first_change(found: str, text: str) -> str:
    old, new = found.splitlines(), text.splitlines()
    for number, (was, wanted) in enumerate(zip(old, new, strict=False), 1):
        if was != wanted:
            return f": line {number} says {was.strip()!r}, and would say {wanted.strip()!r}"
    return f": it has {len(old)} lines, and would have {len(new)}"


def _listed(name: str, tree: Tree, context: Path, root: Path, masker: Masker) -> FileList:
    with scratch_folder() as scratch:
        masked = tree.copy_to(scratch, masker)
    if masked:
        raise DeclarationError(
            f"{masked[0]} has a credential of the app's requirements in it, which a flake would put into the store as "
            "it is",
            hint="Write ${NAME} in its place: it is replaced from the environment when the app is locked.",
        )
    real = {place: path.resolve() for place, path in tree.files.items()}
    base = context
    while not all(path.is_relative_to(base) for path in real.values()):
        base = base.parent
    _require_inside(base, root.resolve())
    sources = {place: path.relative_to(base).as_posix() for place, path in real.items()}
    same_links = {
        place
        for place, said in tree.links.items()
        if (base / place).is_symlink() and os.readlink(base / place) == said  # noqa: PTH115 - as it is written
    }
    names = {place for place, source in sources.items() if place == source} | same_links
    up = 0
    top = root.resolve()
    while not base.is_relative_to(top):
        up, top = up + 1, top.parent
    folder = base.relative_to(top).as_posix()
    return FileList(
        name=name,
        above=up,
        folder="" if folder == "." else folder,
        names=tuple(sorted(names)),
        placed={place: source for place, source in sorted(sources.items()) if place != source},
        links={place: said for place, said in sorted(tree.links.items()) if place not in same_links},
    )


def _require_inside(base: Path, root: Path) -> None:
    # A flake has the files of its git repository; without one, those of its folder.
    repository = repository_of(root)
    top = repository or root
    if not base.is_relative_to(top):
        raise DeclarationError(
            f"the app has files in {base}, and a flake in {root} can read no more than {top}",
            hint="Move them into the repository."
            if repository
            else "Make one git repository of both: git init.",
        )
