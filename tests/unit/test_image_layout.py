import hashlib
import json

import image
import pytest
from gzip_members import LayerError

from builder.layout import read_image


@pytest.fixture
def layers(tmp_path):
    folders = []
    for content in (b"one", b"two"):
        folder = tmp_path / content.decode()
        folder.mkdir()
        (folder / "blob").write_bytes(content)
        facts = {
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "diff_id": "sha256:" + hashlib.sha256(content * 2).hexdigest(),
            "annotations": {"containerd.io/snapshot/stargz/toc.digest": "sha256:0"},
            "contents": [{"name": f"n{index}", "version": "1"} for index in range(10)],
        }
        (folder / "layer.json").write_text(json.dumps(facts))
        folders.append(str(folder))
    return folders


REPORT = {"failures": [], "wanted": [], "optional": [], "complaint": None}


def spec(layers, out, report=REPORT, **config):
    links = out.with_name("links")
    links.mkdir()
    (links / "report.json").write_text(json.dumps(report))
    return {
        "links": str(links),
        "layers": layers,
        "architecture": "arm64",
        "reference": "latest",
        "out": str(out),
        "config": {
            "user": "1000:1000",
            "env": ["A=b"],
            "entrypoint": ["/bin/true"],
            "labels": {"l": "v"},
            "ports": ["8080/tcp"],
            "gpus": [],
            **config,
        },
    }


def test_the_layout_is_read_back_as_it_was_written(layers, tmp_path):
    image.build(spec(layers, tmp_path / "out"))
    read = read_image("app", tmp_path / "out")
    assert read.layers == 2
    config = json.loads((tmp_path / "out/blobs" / read.config_digest.replace(":", "/")).read_text())
    assert config["architecture"] == "arm64"
    assert config["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert len(config["rootfs"]["diff_ids"]) == len(config["history"]) == 2
    assert read.size == 6 + (tmp_path / "out/blobs" / read.config_digest.replace(":", "/")).stat().st_size


def test_blobs_are_links_to_the_layers(layers, tmp_path):
    image.build(spec(layers, tmp_path / "out"))
    digest = hashlib.sha256(b"one").hexdigest()
    assert str((tmp_path / "out/blobs/sha256" / digest).readlink()) == layers[0] + "/blob"


def test_two_equal_layers_are_one_blob_and_two_entries(layers, tmp_path):
    image.build(spec([layers[0], layers[0]], tmp_path / "out"))
    assert read_image("app", tmp_path / "out").layers == 2


def test_a_layer_of_many_packages_is_described_in_short(layers, tmp_path):
    image.build(spec(layers, tmp_path / "out"))
    read = read_image("app", tmp_path / "out")
    config = json.loads((tmp_path / "out/blobs" / read.config_digest.replace(":", "/")).read_text())
    assert config["history"][0]["created_by"].endswith("n7 1 and 2 more")


def test_an_app_that_serves_nothing_exposes_nothing(layers, tmp_path):
    image.build(spec(layers, tmp_path / "out", ports=[]))
    read = read_image("app", tmp_path / "out")
    config = json.loads((tmp_path / "out/blobs" / read.config_digest.replace(":", "/")).read_text())
    assert "ExposedPorts" not in config["config"]


def test_packages_that_cannot_be_imported_make_no_image(layers, tmp_path):
    report = {**REPORT, "complaint": "cv2 cannot be imported: it needs libGL.so.1"}
    with pytest.raises(LayerError, match=r"^cv2 cannot be imported: it needs libGL.so.1$"):
        image.build(spec(layers, tmp_path / "out", report))


def test_what_parts_of_packages_lack_is_a_label(layers, tmp_path):
    need = {"package": "numba", "version": "1", "kind": "library", "name": "libtbb.so.12"}
    optional = [{**need, "library": "numba/tbbpool.so"}, {**need, "library": "numba/tbbother.so"}]
    image.build(spec(layers, tmp_path / "out", {**REPORT, "optional": optional}))
    labels = read_image("app", tmp_path / "out").labels
    assert labels["builder.link.optional"] == "numba 1: libtbb.so.12 for numba/tbbpool.so and 1 more"
