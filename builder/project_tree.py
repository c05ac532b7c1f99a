"""The source of a local project: what of its folder is copied for a build."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from builder.local.credential_files import credential_warning
from builder.local.masking import masked_warning
from builder.local.rules import NEVER, Rules
from builder.local.tree import Part, Tree
from builder.local.walk import walk

if TYPE_CHECKING:
    from pathlib import Path

    from builder.local.masking import Masker

# What builds and tools have left there, even if the project has no .gitignore. Names that a package may have as well
# (build, dist) are not among them.
_LEFT_BEHIND = r"|.*\.pyc|.*\.egg-info|\.venv|venv|node_modules|\.DS_Store"
_RULES = Rules(never=re.compile(NEVER + _LEFT_BEHIND, re.DOTALL))


def stage_project(folder: Path, target: Path, masker: Masker) -> tuple[str, ...]:
    """Copy a local project's source.

    Left out are what `.gitignore` files name, up to the root of the project's repository; what git, Python and this
    program have made; and what looks like a credential. Executable bits are kept, symbolic links as `Tree.of` has it.

    Args:
        folder: the project's.
        target: where the copy goes: an empty folder, or none yet.
        masker: masks secrets in the copies.

    Returns:
        warnings about what was left out or masked.

    Raises:
        DeclarationError: a link leads nowhere or out of the project, something is not a file, or a secret cannot be
            masked.
        OSError: something cannot be read.
    """
    tree = project_files(folder)
    target.mkdir(parents=True, exist_ok=True)
    masked = tree.copy_to(target, masker)
    warnings = [credential_warning(tree.credentials)] if tree.credentials else []
    warnings += [masked_warning(masked)] if masked else []
    return tuple(f"{folder}: {warning}" for warning in warnings)


def project_digest(folder: Path) -> str:
    """A sha256 in hex over all that `stage_project` would copy; it raises the same."""
    return project_files(folder).digest()


def project_files(folder: Path) -> Tree:
    """What `stage_project` would copy; it raises the same."""
    root = folder.resolve()
    where = f"the local project {folder}"
    found = walk(root, "", _RULES.around(root, root), where=where)
    return Tree.of(
        [Part(where, root, found)],
        linked_folder_hint="Take the link out, or do not let git ignore the folder.",
    )
