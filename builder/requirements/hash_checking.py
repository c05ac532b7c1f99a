"""pip's hash-checking mode: when one requirement of a step has a hash, all need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.requirements import Requirement as Specifier

from builder.errors import DeclarationError
from builder.requirements.model import DirectorySource, GitSource

if TYPE_CHECKING:
    from builder.requirements.model import Requirement, Step


def check_all_hashed(step: Step) -> None:
    """See that each requirement of a step has a hash and, where an index has the file, an exact version.

    As in pip, a constraint's hash and version count too. What the requirements depend on is not known here.

    Raises:
        DeclarationError: one lacks it; the message names it.
    """
    for requirement in step.requirements:
        start = f"{requirement.where}: {requirement.shown!r}"
        if isinstance(requirement.source, DirectorySource | GitSource):
            raise DeclarationError(
                f"{start} is no file that could have a hash, and this step requires hashes",
                hint="Put it into an install step of its own.",
            )
        if not requirement.hashes and not (requirement.name and step.hashes(requirement.name)):
            raise DeclarationError(
                f"{start} has no hash; when one requirement of a step has one, all need one (--require-hashes)",
                hint="`uv pip compile --generate-hashes` and `pip-compile --generate-hashes` write all of them. The "
                "lock has the hashes of all files in any case.",
            )
        same = [constraint for constraint in step.constraints if constraint.name == requirement.name]
        if requirement.line and not any(map(_is_exact, [requirement, *same])):
            raise DeclarationError(
                f"{start} has a hash and no exact version", hint="Pin it: name==1.2 --hash=sha256:..."
            )


def _is_exact(requirement: Requirement) -> bool:
    """Whether it allows one file or one version only."""
    if requirement.url is not None:
        return True
    return any(
        part.operator == "===" or (part.operator == "==" and not part.version.endswith(".*"))
        for part in Specifier(requirement.line).specifier
    )
