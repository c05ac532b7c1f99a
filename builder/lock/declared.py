"""What a lock is made for: the part of a declaration that decides it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from builder.models import Architecture, Cuda, Model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from builder.models import AppSpec
    from builder.requirements import Requirement, Requirements
    from builder.settings import Settings


class Declared(Model):
    """What decides a lock, as text that can be compared, shown and committed: credentials are masked.

    The app's code, its endpoints and labels are no part of it, and no mirror is: those change nothing in a
    lock.

    Attributes:
        python: "3.11".
        suite: the Debian suite that the settings name for this Python, or None.
        architecture: the target's.
        machine_types: as declared.
        cuda: what of CUDA the image has.
        requirements: per step, options first, requirements sorted.
        runtime: what this program adds.
        system_packages, build_packages: sorted.
        system_packages_auto: whether what libraries lack is added.
        index_strategy: the settings', or None.
    """

    python: str
    suite: str | None = None
    architecture: Architecture
    machine_types: tuple[str, ...]
    cuda: Cuda = "runtime"
    requirements: tuple[tuple[str, ...], ...] = ()
    runtime: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    system_packages_auto: bool = True
    build_packages: tuple[str, ...] = ()
    index_strategy: str | None = None

    def fingerprint(self) -> str:
        """sha256 hex of all of it."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def difference(self, other: Declared) -> Iterator[str]:
        """What is different in `other`, a phrase each."""
        for field, name in (
            ("python", "Python"),
            ("suite", "Debian suite"),
            ("architecture", "architecture"),
            ("machine_types", "machine types"),
            ("system_packages_auto", "system_packages_auto"),
            ("cuda", "CUDA"),
            ("index_strategy", "index strategy"),
        ):
            before, after = getattr(self, field), getattr(other, field)
            if before != after:
                yield f"{name} was {_words(before)}, is {_words(after)}"
        for field, name in (
            ("requirements", "requirement"),
            ("system_packages", "system package"),
            ("build_packages", "build package"),
            ("runtime", "runtime requirement"),
        ):
            before, after = set(_flat(getattr(self, field))), set(_flat(getattr(other, field)))
            yield from (f"{name} added: {item}" for item in sorted(after - before))
            yield from (f"{name} removed: {item}" for item in sorted(before - after))
        if self.requirements != other.requirements and _flat(self.requirements) == _flat(other.requirements):
            yield "requirements are in other install steps"


def declared(
    spec: AppSpec,
    requirements: Requirements,
    settings: Settings,
    *,
    runtime: Iterable[Requirement],
    python: str,
    architecture: Architecture,
) -> Declared:
    """Gather what decides a lock."""
    return Declared(
        python=python,
        suite=settings.suites.get(python),
        architecture=architecture,
        machine_types=spec.machine_types,
        cuda=spec.cuda,
        requirements=tuple(step.canonical() for step in requirements.steps),
        runtime=tuple(sorted(requirement.shown for requirement in runtime)),
        system_packages=tuple(sorted(set(spec.system_packages))),
        system_packages_auto=spec.system_packages_auto,
        build_packages=tuple(sorted(set(spec.build_packages))),
        index_strategy=settings.index_strategy,
    )


def _flat(value: tuple[Any, ...]) -> list[str]:
    return sorted(item for part in value for item in (part if isinstance(part, tuple) else (part,)))


def _words(value: object) -> str:
    if value is None:
        return "not set"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
