"""What tools that nobody here wrote read out of an image."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry
from referencing.jsonschema import DRAFT4

from builder.lock import lock_digest, read_lock

HERE = Path(__file__).parent
SCHEMAS = Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema")
# More wheels of many kinds make more layers of each kind: own, shared, with scripts, data and namespaces.
REQUIREMENTS = [
    "numpy==2.3.5",
    "pillow==12.0.0",
    "ruff==0.14.5",
    "jupyterlab-widgets==3.0.15",
    "zope-interface",
    "six",
]


@pytest.fixture(scope="module")
def image(session_project):
    project = session_project("readers")
    project.app(REQUIREMENTS)
    return project.build()


@pytest.fixture(scope="module")
def layout(image):
    return Layout(Path(image["path"]))


class Layout:
    def __init__(self, path):
        self.path = path
        self.index = json.loads((path / "index.json").read_text())
        self.manifest_descriptor = self.index["manifests"][0]
        self.manifest = self.read(self.manifest_descriptor)
        self.config = self.read(self.manifest["config"])

    def blob(self, descriptor):
        return self.path / "blobs" / descriptor["digest"].replace(":", "/")

    def read(self, descriptor):
        return json.loads(self.blob(descriptor).read_text())


def output(*words, **more):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{words}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_blob_has_the_digest_and_size_that_it_is_named_by(layout):
    for descriptor in (layout.manifest_descriptor, layout.manifest["config"], *layout.manifest["layers"]):
        data = layout.blob(descriptor).read_bytes()
        assert "sha256:" + hashlib.sha256(data).hexdigest() == descriptor["digest"]
        assert len(data) == descriptor["size"]


def test_every_layer_unpacks_to_its_diff_id(layout):
    for descriptor, diff_id in zip(
        layout.manifest["layers"], layout.config["rootfs"]["diff_ids"], strict=True
    ):
        digest = hashlib.sha256()
        with gzip.open(layout.blob(descriptor)) as tar:
            while data := tar.read(1 << 20):
                digest.update(data)
        assert "sha256:" + digest.hexdigest() == diff_id


def test_index_manifest_and_config_pass_the_image_specs_schemas(layout):
    def retrieve(uri):
        # Schemas name each other by file name, relative to ids on the web: the files are Debian's.
        return DRAFT4.create_resource(json.loads((SCHEMAS / uri.rpartition("/")[2]).read_text()))

    registry = Registry(retrieve=retrieve)
    for name, value in (
        ("image-index-schema.json", layout.index),
        ("image-manifest-schema.json", layout.manifest),
        ("config-schema.json", layout.config),
        ("image-layout-schema.json", json.loads((layout.path / "oci-layout").read_text())),
    ):
        schema = json.loads((SCHEMAS / name).read_text())
        jsonschema.Draft4Validator(schema, registry=registry).validate(value)


def test_skopeo_podman_and_umoci_agree_on_every_digest_and_diff_id(image, layout, tmp_path):
    reference = f"oci:{layout.path}:latest"
    inspected = json.loads(output("skopeo", "inspect", reference))
    assert inspected["Digest"] == image["digest"]
    assert inspected["Layers"] == [layer["digest"] for layer in layout.manifest["layers"]]
    config = json.loads(output("skopeo", "inspect", "--config", reference))
    assert config["rootfs"]["diff_ids"] == layout.config["rootfs"]["diff_ids"]

    output("podman", "pull", "--quiet", reference)
    known = json.loads(output("podman", "image", "inspect", image["image_id"]))[0]
    assert known["RootFS"]["Layers"] == layout.config["rootfs"]["diff_ids"]
    assert known["Digest"] == image["digest"]

    # umoci checks each layer's diff_id while it unpacks; it wants a layout that it may write beside.
    copy = tmp_path / "oci"
    output("skopeo", "copy", reference, f"oci:{copy}:latest")
    listed = json.loads(output("umoci", "stat", "--image", f"{copy}:latest", "--json"))
    layers = [entry["layer"]["digest"] for entry in listed["history"] if entry.get("layer")]
    assert layers == [layer["digest"] for layer in layout.manifest["layers"]]
    output("umoci", "unpack", "--image", f"{copy}:latest", tmp_path / "bundle")
    assert (tmp_path / "bundle/rootfs/app/app.py").exists()


def test_containerds_own_library_opens_every_layer_and_verifies_every_chunk(layout, tmp_path):
    program = tmp_path / "verify"
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": "/usr/share/gocode",
        "GOCACHE": str(tmp_path / "gocache"),
        "GOFLAGS": "",
    }
    output("go", "build", "-o", program, HERE / "estargz_verify/main.go", env=environment)
    folders = [layout.blob(layer).resolve().parent for layer in layout.manifest["layers"]]
    lines = output(program, *folders).splitlines()
    assert len(lines) == len(layout.manifest["layers"])


def test_the_config_says_how_the_app_runs(layout):
    config = layout.config["config"]
    assert config["User"] == "1000:1000"
    assert config["WorkingDir"] == "/app"
    assert config["Entrypoint"] == ["/opt/venv/bin/python", "-m", "builder.runtime"]
    assert "BUILDER_APP=app.py::App" in config["Env"]
    assert next(entry for entry in config["Env"] if entry.startswith("PATH=")).startswith(
        "PATH=/opt/venv/bin:"
    )


def test_the_labels_name_the_lock_that_the_image_was_made_of(image, layout):
    # Of the lock without URLs: whoever served the files, the image is the same.
    digest = lock_digest(read_lock(Path(image["lock"])))
    assert image["lock_digest"] == digest
    assert layout.config["config"]["Labels"]["builder.lock.digest"] == digest
    assert layout.manifest["annotations"]["builder.lock.digest"] == digest
