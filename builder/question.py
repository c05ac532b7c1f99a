"""What is asked of a resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from builder.machines import Machine
    from builder.models import Built, Wheel
    from builder.requirements import Requirement, Requirements
    from builder.settings import Settings
    from builder.source_build import SourceBuilder
    from builder.source_fetch import SourceFetcher
    from builder.tags import Target


@dataclass(frozen=True)
class Keep:
    """What of an earlier resolution stays.

    Attributes:
        wheels: the earlier choice; each version stays where it fits the requirements.
        upgrade: names chosen anew, normalized.
        upgrade_all: choose all anew.
        built: the earlier choice of what is built from source.
    """

    wheels: tuple[Wheel, ...] = ()
    upgrade: tuple[str, ...] = ()
    upgrade_all: bool = False
    built: tuple[Built, ...] = ()

    @property
    def effective(self) -> Keep:
        """What of it counts."""
        if self.upgrade_all:
            return Keep()
        return Keep(
            tuple(wheel for wheel in self.wheels if wheel.name not in self.upgrade),
            built=tuple(built for built in self.built if built.name not in self.upgrade),
        )


@dataclass(frozen=True)
class Question:
    """What is to be resolved, and where.

    Attributes:
        requirements: the app's.
        target: what for.
        settings: the project's.
        folder: where uv runs.
        runtime: requirements this program adds by itself.
        machines: what the app runs on, which the CUDA build of PyTorch is chosen for; none leaves it as it is found.
        devel: whether the image has the CUDA toolkit with its compiler.
        sources: fetches and builds what has no wheel; None where nothing is to be built.
    """

    requirements: Requirements
    target: Target
    settings: Settings
    folder: Path
    runtime: tuple[Requirement, ...] = ()
    machines: tuple[Machine, ...] = ()
    devel: bool = False
    sources: Sources | None = None


@dataclass(frozen=True)
class Sources:
    """What a resolution builds packages with.

    Attributes:
        fetcher: brings sources into the store.
        builder: builds them into wheels.
    """

    fetcher: SourceFetcher
    builder: SourceBuilder
