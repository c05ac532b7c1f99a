from __future__ import annotations

import random

import merge_layer
import pytest
import wheel_layer
from estargz import LayerError, LayerWriter, write_layer_json
from toc_reader import read_toc
from wheel_factory import MINOR, SITE, make_wheel, read_layer

NOISE = random.Random(1).randbytes(200_000)


def layer_of(tmp_path, name, files, **spec):
    wheel = make_wheel(tmp_path, files, name=name)
    out = tmp_path / f"layer-{name}"
    wheel_layer.build(
        {
            "wheel": str(wheel),
            "filename": wheel.name,
            "python_version": MINOR,
            "bytecode": False,
            "out": str(out),
        }
        | spec
    )
    return out


def merge(tmp_path, layers, name="merged"):
    merge_layer.build({"layers": [str(layer) for layer in layers], "out": str(tmp_path / name)})
    return read_layer(tmp_path / name)


@pytest.fixture
def layers(tmp_path):
    return [
        layer_of(tmp_path, "one", {"one/a.py": "1", "one/noise": NOISE, "one/empty": "", "both.txt": "one"}),
        layer_of(tmp_path, "two", {"two/ü.py": "2", "both.txt": "two", "one/extra.py": "3"}, bytecode=True),
        layer_of(tmp_path, "three", {"three/noise": NOISE[::-1]}, chunk_size=70_000),
    ]


def test_the_files_of_all_layers_are_there(tmp_path, layers):
    merged = merge(tmp_path, layers)
    expected = {}
    for layer in layers:
        expected |= read_layer(layer).entries
    assert merged.entries == expected
    assert [package["name"] for package in merged.facts["contents"]] == ["one", "two", "three"]
    assert merged.facts["files"] == len(expected)


def test_of_a_path_that_two_layers_have_the_last_counts(tmp_path, layers):
    assert merge(tmp_path, layers).entries[f"{SITE}/both.txt"].data == b"two"
    assert merge(tmp_path, layers[::-1]).entries[f"{SITE}/both.txt"].data == b"one"


def test_each_path_is_in_the_table_of_contents_once(tmp_path, layers):
    merge(tmp_path, layers)
    with (tmp_path / "merged" / "blob").open("rb") as file:
        entries = read_toc(file.fileno())
    names = [entry.name for entry in entries]
    assert len(names) == len(set(names))
    for number, name in enumerate(names):
        parent = name.rpartition("/")[0]
        assert not parent or parent in names[:number]


def test_contents_are_copied_without_compressing_them_again(tmp_path, layers):
    merge(tmp_path, layers)
    blobs = {}
    for folder in (*layers, tmp_path / "merged"):
        data = (folder / "blob").read_bytes()
        with (folder / "blob").open("rb") as file:
            blobs[folder.name] = {
                entry.name: [(chunk.size, data[chunk.offset : chunk.offset + 100]) for chunk in entry.chunks]
                for entry in read_toc(file.fileno())
                if entry.kind == "reg" and entry.chunks
            }
    name = f"{SITE}/three/noise"
    assert len(blobs["merged"][name]) == 3
    assert blobs["merged"][name] == blobs["layer-three"][name]
    assert blobs["merged"][f"{SITE}/one/noise"] == blobs["layer-one"][f"{SITE}/one/noise"]


def test_merging_is_repeatable_and_can_be_repeated_on_its_result(tmp_path, layers):
    digest = merge(tmp_path, layers).facts["digest"]
    assert merge(tmp_path, layers, "again").facts["digest"] == digest
    assert merge(tmp_path, [tmp_path / "merged"], "of-one").facts["digest"] == digest


def test_a_path_that_is_a_folder_in_one_wheel_and_a_file_in_another_is_refused(tmp_path):
    layers = [layer_of(tmp_path, "one", {"x": ""}), layer_of(tmp_path, "two", {"x/y": ""})]
    with pytest.raises(LayerError, match=f"{SITE}/x is a folder in only one of one and two"):
        merge(tmp_path, layers)


def test_links_and_owners_survive(tmp_path):
    with LayerWriter(tmp_path / "blob") as layer:
        layer.add_directory("app", 0o700)
        layer.add_symlink("app/link", "elsewhere")
        layer.add_file("app/tool", b"x", 0o755)
    write_layer_json(tmp_path, layer.info, [{"name": "app", "version": ""}])
    merged = merge(tmp_path, [tmp_path])
    assert merged.entries["app/link"].link == "elsewhere"
    assert merged.entries["app/tool"].mode == 0o755
    with (tmp_path / "merged" / "blob").open("rb") as file:
        assert read_toc(file.fileno())[0].owner == (0o700, 0, 0)


def test_a_damaged_layer_is_refused_by_name(tmp_path, layers):
    blob = layers[0] / "blob"
    blob.write_bytes(blob.read_bytes().replace(NOISE[:50], NOISE[50:100]))
    with pytest.raises(LayerError, match="damaged"):
        merge(tmp_path, layers)
    blob.write_bytes(b"")
    with pytest.raises(LayerError, match=r"the layer of one: .* no footer"):
        merge(tmp_path, layers)
    assert not list((tmp_path / "merged").iterdir())
