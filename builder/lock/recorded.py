"""The digest of an image as it was once built, and what had gone into it: `[tool.builder.recorded]` of a lock.

It stands in the lock's file and is no part of the lock: `builder.lock.lock_digest`, which the image is labelled with,
leaves it out. Otherwise the image's digest would have to be known before the image is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from builder.models import Model

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIGEST = r"^sha256:[0-9a-f]{64}$"


class Origin(Model):
    """What decides an image, each part by a hash.

    Attributes:
        lock: the lock's digest.
        code: of the app's own files.
        projects: of local projects among the requirements.
        declaration: of what the image says of itself beside its lock: endpoints, labels, settings.
        builder: this program's version.
        program: of its Nix library and of what it has in the image.
    """

    lock: str = Field(pattern=_DIGEST)
    code: str = Field(pattern=_DIGEST)
    projects: str = Field(pattern=_DIGEST)
    declaration: str = Field(pattern=_DIGEST)
    builder: str
    program: str = Field(pattern=_DIGEST)

    def difference(self, now: Origin) -> Iterator[str]:
        """What is different now, a phrase each; nothing where the image should be the same."""
        if self.lock != now.lock:
            yield "the lock has changed"
        if self.code != now.code:
            yield "the app's own files have changed"
        if self.projects != now.projects:
            yield "a local project has changed"
        if self.builder != now.builder:
            yield f"builder was {self.builder}, is {now.builder}"
        elif self.program != now.program:
            yield f"builder has changed, though its version is {now.builder} as before"
        # The declaration's hash is one of the expression, which has the lock's pins in it and is written by builder.
        known = self.lock != now.lock or self.builder != now.builder or self.program != now.program
        if self.declaration != now.declaration and not known:
            yield "what the app declares, or a setting, has changed"


class RecordedLayer(Model):
    """A layer.

    Attributes:
        digest: the blob's.
        holds: what it is made of, as the image's history says it.
    """

    digest: str = Field(pattern=_DIGEST)
    holds: str


class Recorded(Model):
    """An image as it was built once.

    Attributes:
        digest: the manifest's, which covers configuration and layers, the app's code among them.
        origin: what decided it.
        layers: lowest first.
    """

    digest: str = Field(pattern=_DIGEST)
    origin: Origin
    layers: tuple[RecordedLayer, ...] = ()
