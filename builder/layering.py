"""Which packages share a layer.

A layer is what registries, caches and runtimes store and transfer, so a large wheel has one of its own, which every
app with that wheel shares. Small ones are put together, since a runtime looks every file up through all layers
(overlayfs stops at 127). A wheel's place depends on its name alone: adding or removing one changes one layer.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.models import Built, Wheel

# Bytes of a wheel from which on it has a layer of its own.
LARGE = 5_000_000
# Layers that small wheels are spread over.
SHARED = 8
# An image's limit of layers, less the base, the app's own Debian packages, the CUDA toolkit and where it is found, the
# runtime and the app's code.
LIMIT = 64 - 6


def _bucket(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % SHARED


def group(packages: Sequence[Wheel | Built]) -> tuple[tuple[str, ...], ...]:
    """Put packages into layers.

    Args:
        packages: with the sizes of their wheels in bytes; one of unknown size counts as small.

    Returns:
        names of packages, a tuple for each layer: own layers first, the largest lowest; then shared ones; then those of
        local projects, which change as often as the app's own code.
    """
    local = sorted(package.name for package in packages if package.filename is None)
    pinned = [package for package in packages if package.filename is not None]
    by_size = sorted(pinned, key=lambda package: (-(package.size or 0), package.name))
    large = [package for package in by_size if (package.size or 0) >= LARGE]
    own = large[: max(LIMIT - SHARED - len(local), 0)]
    alone = {package.name for package in own}
    shared: dict[int, list[str]] = {}
    for package in sorted(pinned, key=lambda package: package.name):
        if package.name not in alone:
            shared.setdefault(_bucket(package.name), []).append(package.name)
    return (
        *((package.name,) for package in own),
        *(tuple(shared[bucket]) for bucket in sorted(shared)),
        *((name,) for name in local),
    )
