"""Which wheels share a layer.

A layer is what registries, caches and runtimes store and transfer, so a large wheel has one of its own, which every
app with that wheel shares. Small ones are put together, since a runtime looks every file up through all layers
(overlayfs stops at 127). A wheel's place depends on its name alone: adding or removing one changes one layer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.models import Wheel

# Bytes of a wheel from which on it has a layer of its own.
LARGE = 5_000_000
# Layers that small wheels are spread over.
SHARED = 8
# An image's limit of layers, less the base, the app's own Debian packages, the runtime and the app's code.
LIMIT = 64 - 4


def _bucket(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % SHARED


def group(wheels: Sequence[Wheel]) -> tuple[tuple[str, ...], ...]:
    """Put wheels into layers.

    Args:
        wheels: with their sizes in bytes; one of unknown size counts as small.

    Returns:
        names of wheels, a tuple for each layer: own layers first, the largest lowest; then shared ones.
    """
    by_size = sorted(wheels, key=lambda wheel: (-(wheel.size or 0), wheel.name))
    own = [wheel for wheel in by_size if (wheel.size or 0) >= LARGE][: LIMIT - SHARED]
    alone = {wheel.name for wheel in own}
    shared: dict[int, list[str]] = {}
    for wheel in sorted(wheels, key=lambda wheel: wheel.name):
        if wheel.name not in alone:
            shared.setdefault(_bucket(wheel.name), []).append(wheel.name)
    return (*((wheel.name,) for wheel in own), *(tuple(shared[bucket]) for bucket in sorted(shared)))
