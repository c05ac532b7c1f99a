"""Reads the OCI layout (image-spec, "Image Layout") that a build made."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        name: the app's name.
        path: the layout's folder in the store.
        digest: of the manifest, `sha256:<hex>`.
        config_digest: of the configuration: what engines call the image's ID.
        size: compressed bytes of config and layers.
        layers: number of layers.
        labels: what the image says of itself; the manifest's annotations are the same.
    """

    name: str
    path: Path
    digest: str
    config_digest: str
    size: int
    layers: int
    labels: Mapping[str, str] = field(default_factory=dict)


def _blob(layout: Path, digest: str) -> Any:  # noqa: ANN401 - whatever JSON the blob holds
    algorithm, value = digest.split(":")
    return json.loads((layout / "blobs" / algorithm / value).read_bytes())


def read_image(name: str, layout: Path) -> Image:
    """Read what an image's index and manifest say.

    Args:
        name: the app's name.
        layout: the folder, whose index has one manifest.
    """
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    manifest = _blob(layout, entry["digest"])
    return Image(
        name=name,
        path=layout,
        digest=entry["digest"],
        config_digest=manifest["config"]["digest"],
        size=manifest["config"]["size"] + sum(layer["size"] for layer in manifest["layers"]),
        layers=len(manifest["layers"]),
        labels=manifest.get("annotations", {}),
    )


def read_config(image: Image) -> dict[str, Any]:
    """The execution parameters in an image's configuration (OCI image-spec, "Image Configuration", `config`)."""
    config: dict[str, Any] = _blob(image.path, image.config_digest).get("config", {})
    return config
