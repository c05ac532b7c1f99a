"""An image's digest in its lock: what is recorded of an image, and what has become of that since."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from builder.compare import read_side
from builder.lock import Origin, Recorded, RecordedLayer
from builder.outcome import Comparison, Part
from builder.version import version

if TYPE_CHECKING:
    from pathlib import Path

    from builder.build import Plan
    from builder.layout import Image

_ANEW = "where that was meant, `builder lock TARGET --record-digest` records the image as it is now"
_ELSEWHERE = (
    "nothing that decides the image has changed: the machine or the time it was built on has come into it"
)


def origin(plan: Plan, lock_digest: str) -> Origin:
    """What decides an image, each part by a hash.

    Args:
        plan: what is built.
        lock_digest: see `builder.lock.lock_digest`.
    """
    return Origin(
        lock=lock_digest,
        code=f"sha256:{plan.code.digest}",
        projects=_hash(sorted((name, project.digest) for name, project in plan.projects.items())),
        declaration=_hash(plan.expression),
        builder=version(),
        program=_hash([plan.library.digest, plan.runtime.digest]),
    )


def record(image: Image, made_from: Origin) -> Recorded:
    """What is to be recorded of an image."""
    layers = read_side(str(image.path)).groups["layers"]
    return Recorded(
        digest=image.digest,
        origin=made_from,
        layers=tuple(RecordedLayer(digest=digest, holds=layer.version) for digest, layer in layers.items()),
    )


def compare_recorded(image: Image, made_from: Origin, recorded: Recorded, lock: Path) -> Comparison:
    """Hold an image against the one that its lock has recorded.

    Args:
        image: as it was built now.
        made_from: what it was built from.
        recorded: what the lock has.
        lock: the lock's path.
    """
    if recorded.digest == image.digest:
        return Comparison("recorded", str(lock), image.digest, recorded.digest, "same")
    changed = tuple(recorded.origin.difference(made_from))
    why = (*changed, _ANEW) if changed else (_ELSEWHERE,)
    now = record(image, made_from).layers
    here, there = ({layer.digest: layer.holds for layer in layers} for layers in (now, recorded.layers))
    parts = (
        *(
            Part(f"layer {holds}", (digest, "not recorded"))
            for digest, holds in here.items()
            if digest not in there
        ),
        *(
            Part(f"layer {holds}", ("not here", digest))
            for digest, holds in there.items()
            if digest not in here
        ),
    )
    return Comparison("recorded", str(lock), image.digest, recorded.digest, "different", why, parts)


def _hash(value: object) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(value).encode()).hexdigest()
