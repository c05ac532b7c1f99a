"""Writes an OCI layout (image-spec 1.1) of an image from its layers' folders.

Blobs of layers are symbolic links to the layers' own store paths; config and manifest are written here. Nothing of a
layer is read but its `layer.json`.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
from typing import Any

import kernel_check
import link_report
from gzip_members import LayerError

CREATED = "1980-01-02T00:00:00Z"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def _encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _describe(layer: dict[str, Any]) -> str:
    contents = [f"{entry['name']} {entry['version']}".strip() for entry in layer["contents"]]
    shown = ", ".join(contents[:8])
    return shown + (f" and {len(contents) - 8} more" if len(contents) > 8 else "")


def _config(spec: dict[str, Any], layers: list[dict[str, Any]], labels: dict[str, str]) -> dict[str, Any]:
    wanted = spec["config"]
    config = {
        "User": wanted["user"],
        "Env": wanted["env"],
        "Entrypoint": wanted["entrypoint"],
        "WorkingDir": "/app",
        "Labels": labels,
        "StopSignal": "SIGTERM",
    }
    if wanted["ports"]:
        config["ExposedPorts"] = {port: {} for port in wanted["ports"]}
    return {
        "created": CREATED,
        "architecture": spec["architecture"],
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for layer in layers]},
        "history": [{"created": CREATED, "created_by": "builder: " + _describe(layer)} for layer in layers],
    }


class _Layout:
    """An OCI layout being written."""

    def __init__(self, out: str) -> None:
        self.root = pathlib.Path(out)
        self.blobs = self.root / "blobs" / "sha256"
        self.blobs.mkdir(parents=True)

    def link(self, layer: dict[str, Any], blob: str) -> dict[str, Any]:
        """Link a layer's blob; two equal layers are one blob."""
        name = self.blobs / layer["digest"].split(":")[1]
        if not name.is_symlink():
            name.symlink_to(blob)
        return {key: layer[key] for key in ("mediaType", "digest", "size", "annotations")}

    def write(self, media_type: str, value: object) -> dict[str, Any]:
        """Write a JSON blob and return its descriptor."""
        data = _encode(value)
        digest = hashlib.sha256(data).hexdigest()
        (self.blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}


def build(spec: dict[str, Any]) -> None:
    """Write the layout.

    Args:
        spec: `layers` (folders, lowest first), `architecture` (GOARCH), `reference` (the tag in the index),
            `links` (the folder with the report of `link_check`), `config` (`user`, `env`, `entrypoint`, `labels`,
            `ports`, `gpus`), `out`.

    Raises:
        LayerError: a package has no CUDA kernels for one of the GPUs, or cannot be imported.
    """
    layout = _Layout(spec["out"])
    layers = [json.loads(pathlib.Path(folder, "layer.json").read_text()) for folder in spec["layers"]]
    packages = [package for layer in layers for package in layer["contents"]]
    links = json.loads(pathlib.Path(spec["links"], "report.json").read_text())
    if links["complaint"]:
        raise LayerError(links["complaint"])
    labels = {
        **spec["config"]["labels"],
        **kernel_check.check(packages, spec["config"]["gpus"]),
        **link_report.labels(links["wanted"] + links["optional"]),
    }
    descriptors = [
        layout.link(layer, folder + "/blob")
        for layer, folder in zip(layers, spec["layers"])  # noqa: B905 - 3.9
    ]
    manifest = layout.write(
        _MANIFEST,
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": layout.write(_CONFIG, _config(spec, layers, labels)),
            "layers": descriptors,
            "annotations": labels,
        },
    )
    manifest["platform"] = {"architecture": spec["architecture"], "os": "linux"}
    manifest["annotations"] = {"org.opencontainers.image.ref.name": spec["reference"]}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [manifest]}
    (layout.root / "index.json").write_bytes(_encode(index))
    (layout.root / "oci-layout").write_bytes(_encode({"imageLayoutVersion": "1.0.0"}))
