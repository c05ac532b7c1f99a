from __future__ import annotations

import hashlib
import json
import random
import subprocess
import tarfile
import zlib
from typing import TYPE_CHECKING

import pytest
from estargz import Deflated, LayerError, LayerWriter, RangeReader, write_layer_json
from tar_headers import MTIME, Owner, tar_header
from toc_reader import read_toc

if TYPE_CHECKING:
    from pathlib import Path

NOISE = random.Random(0).randbytes(300_000)


def members(blob: bytes) -> dict[int, bytes]:
    """The plain content of every gzip member, by its offset."""
    found = {}
    offset = 0
    while offset < len(blob):
        inflater = zlib.decompressobj(31)
        found[offset] = inflater.decompress(blob[offset:])
        assert inflater.eof
        offset = len(blob) - len(inflater.unused_data)
    return found


def toc_of(blob: bytes) -> bytes:
    tar = members(blob)[int(blob[-35:-19], 16)]
    return tar[512 : 512 + int(tar[124:135], 8)]


def deflated(tmp_path: Path, data: bytes, **changes: int) -> Deflated:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    raw = compressor.compress(data) + compressor.flush()
    path = tmp_path / "raw"
    path.write_bytes(b"before" + raw + b"after")
    fields = {"compressed": len(raw), "size": len(data), "crc": zlib.crc32(data)} | changes
    file = path.open("rb")
    part = Deflated(RangeReader(file.fileno()), 6, **fields)
    OPEN_FILES.append(file)
    return part


OPEN_FILES = []


@pytest.fixture(autouse=True)
def _close_files():
    yield
    while OPEN_FILES:
        OPEN_FILES.pop().close()


@pytest.fixture
def sample(tmp_path):
    with LayerWriter(tmp_path / "blob") as layer:
        layer.add_directory("home/app", 0o700, 1000, 1000)
        layer.add_file("etc/hostname", b"app\n")
        layer.add_file("etc/empty", b"")
        layer.add_file("bin/su", b"#!", 0o4755)
        layer.add_symlink("lib64", "lib")
        layer.add_hardlink("etc/name", "etc/hostname")
        layer.add_file("noise", NOISE, uid=5, gid=6)
    return layer


def test_a_layer_is_a_tar_that_tarfile_reads(tmp_path, sample):
    with tarfile.open(tmp_path / "blob") as tar:
        found = {member.name: member for member in tar}
        assert tar.extractfile("noise").read() == NOISE
        assert tar.extractfile("etc/hostname").read() == b"app\n"
    assert list(found) == [
        ".no.prefetch.landmark",
        "home",
        "home/app",
        "etc",
        "etc/hostname",
        "etc/empty",
        "bin",
        "bin/su",
        "lib64",
        "etc/name",
        "noise",
        "stargz.index.json",
    ]
    assert {member.mtime for member in found.values()} == {MTIME}
    assert (found["home/app"].mode, found["home/app"].uid, found["home/app"].gid) == (0o700, 1000, 1000)
    assert (found["home"].mode, found["home"].uid) == (0o755, 0)
    assert found["bin/su"].mode == 0o4755
    assert found["lib64"].linkname == "lib"
    assert found["etc/name"].islnk()
    assert found["etc/name"].linkname == "etc/hostname"


def test_a_layer_is_read_by_gnu_tar_and_gzip(tmp_path, sample):
    subprocess.run(["gzip", "-t"], input=(tmp_path / "blob").read_bytes(), check=True)
    listed = subprocess.run(
        ["tar", "-tzf", str(tmp_path / "blob")], capture_output=True, text=True, check=True
    )
    assert listed.stderr == ""
    assert "home/app/\n" in listed.stdout


def test_the_digests_are_those_of_blob_and_tar(tmp_path, sample):
    blob = (tmp_path / "blob").read_bytes()
    plain = b"".join(members(blob).values())
    toc = toc_of(blob)
    assert sample.info.digest == "sha256:" + hashlib.sha256(blob).hexdigest()
    assert sample.info.size == len(blob)
    assert sample.info.diff_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert sample.info.uncompressed_size == len(plain)
    assert sample.info.toc_digest == "sha256:" + hashlib.sha256(toc).hexdigest()
    assert sample.info.files == 6


def test_each_file_begins_a_gzip_member_at_the_offset_in_the_table_of_contents(tmp_path, sample):
    blob = (tmp_path / "blob").read_bytes()
    found = members(blob)
    entries = json.loads(toc_of(blob))["entries"]
    content = {".no.prefetch.landmark": b"\x0f", "etc/hostname": b"app\n", "bin/su": b"#!", "noise": NOISE}
    for entry in entries:
        if entry["type"] == "reg" and entry.get("size"):
            data = content.pop(entry["name"])
            assert found[entry["offset"]] == data
            assert entry["digest"] == entry["chunkDigest"] == "sha256:" + hashlib.sha256(data).hexdigest()
    assert content == {}
    assert [(entry["name"], entry["type"]) for entry in entries if entry["type"] != "reg"] == [
        ("home/", "dir"),
        ("home/app/", "dir"),
        ("etc/", "dir"),
        ("bin/", "dir"),
        ("lib64", "symlink"),
        ("etc/name", "hardlink"),
    ]


def test_the_footer_is_an_empty_gzip_member_of_51_bytes_with_the_offset_of_the_table(tmp_path, sample):
    blob = (tmp_path / "blob").read_bytes()
    footer = blob[-51:]
    assert footer[:12] == bytes.fromhex("1f8b08040000000000ff1a00")
    assert footer[12:16] == b"SG\x16\x00"
    assert footer[32:] == b"STARGZ" + bytes.fromhex("010000ffff") + bytes(8)
    assert members(blob)[int(footer[16:32], 16)][:17] == b"stargz.index.json"
    assert zlib.decompressobj(31).decompress(footer) == b""


def test_the_end_of_the_archive_comes_after_the_table_of_contents_only(tmp_path, sample):
    found = members((tmp_path / "blob").read_bytes())
    *rest, table, footer = found.values()
    assert table.endswith(bytes(1024))
    assert footer == b""
    assert not any(part.endswith(bytes(1024)) for part in rest)


def test_a_large_file_is_cut_into_chunks_where_that_is_asked_for(tmp_path):
    with LayerWriter(tmp_path / "blob", chunk_size=100_000) as layer:
        layer.add_spliced("spliced", deflated(tmp_path, NOISE[:250_000]))
        layer.add_file("given", NOISE)
        layer.add_file("small", NOISE[:100_000])
    blob = (tmp_path / "blob").read_bytes()
    found = members(blob)
    entries = json.loads(toc_of(blob))["entries"][1:]
    assert [(entry["name"], entry["type"], entry.get("chunkSize", 0)) for entry in entries] == [
        ("spliced", "reg", 100_000),
        ("spliced", "chunk", 100_000),
        ("spliced", "chunk", 50_000),
        ("given", "reg", 100_000),
        ("given", "chunk", 100_000),
        ("given", "chunk", 100_000),
        ("small", "reg", 0),
    ]
    for entry in entries:
        start = entry.get("chunkOffset", 0)
        data = NOISE[start : start + (entry.get("chunkSize") or 100_000)]
        assert found[entry["offset"]] == data
        assert entry["chunkDigest"] == "sha256:" + hashlib.sha256(data).hexdigest()
    assert entries[0]["digest"] == "sha256:" + hashlib.sha256(NOISE[:250_000]).hexdigest()
    with tarfile.open(tmp_path / "blob") as tar:
        assert tar.extractfile("given").read() == NOISE


@pytest.mark.parametrize("size", [0, 1, 1000, 65_536, 65_537, 300_000])
def test_a_spliced_stream_is_in_the_blob_byte_for_byte(tmp_path, size):
    part = deflated(tmp_path, NOISE[:size])
    with LayerWriter(tmp_path / "blob") as layer:
        entry = layer.add_spliced("file", part)
    blob = (tmp_path / "blob").read_bytes()
    assert size == 0 or part.source.read(part.offset, part.compressed) in blob
    assert entry.hexdigest() == hashlib.sha256(NOISE[:size]).hexdigest()
    with tarfile.open(tmp_path / "blob") as tar:
        assert tar.extractfile("file").read() == NOISE[:size]


@pytest.mark.parametrize("size", [1000, 300_000])
@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda data: {"crc": 1}, "CRC-32 is [0-9a-f]{8} and it declares 00000001"),
        (lambda data: {"size": len(data) - 1}, "inflates to more than the"),
        (lambda data: {"size": len(data) + 1}, "and declares"),
        (lambda data: {"compressed": 90}, "end too early"),
        (lambda data: {"compressed": 10**6}, "cut off|more after the end"),
    ],
)
def test_a_stream_that_is_not_as_described_is_refused(tmp_path, size, change, problem):
    data = NOISE[:size]
    part = deflated(tmp_path, data, **change(data))
    with pytest.raises(LayerError, match=problem), LayerWriter(tmp_path / "blob") as layer:
        layer.add_spliced("file", part)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_data_after_the_end_of_a_stream_are_refused(tmp_path):
    for data in (b"short", NOISE):
        part = deflated(tmp_path, data)
        with pytest.raises(LayerError, match="more after the end"), LayerWriter(tmp_path / "blob") as layer:
            layer.add_spliced("file", part._replace(compressed=part.compressed + 5))


def test_a_stream_that_inflates_without_end_is_stopped_at_the_declared_size(tmp_path):
    part = deflated(tmp_path, bytes(50_000_000), size=1000)
    with pytest.raises(LayerError, match="more than the 1000 bytes"), LayerWriter(tmp_path / "blob") as layer:
        layer.add_spliced("file", part)
    with (
        pytest.raises(LayerError, match="more than the 70000 bytes"),
        LayerWriter(tmp_path / "blob") as layer,
    ):
        layer.add_spliced("file", part._replace(size=70_000))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "./a",
        "a/.wh.b",
        ".wh..wh..opq",
        "a\0b",
        "\ud800",
        "stargz.index.json",
        ".prefetch.landmark",
    ],
)
def test_a_name_that_a_layer_cannot_hold_is_refused(tmp_path, name):
    with LayerWriter(tmp_path / "blob") as layer:
        for add in (layer.add_file, layer.add_symlink):
            with pytest.raises(LayerError, match="cannot hold"):
                add(name, b"x" if add == layer.add_file else "x")
        with pytest.raises(LayerError, match="cannot hold"):
            layer.add_directory(name)


def test_a_name_is_taken_once(tmp_path):
    with LayerWriter(tmp_path / "blob") as layer:
        layer.add_file("a/b", b"")
        layer.add_directory("a")
        for add in (
            lambda: layer.add_file("a/b", b""),
            lambda: layer.add_file("a", b""),
            lambda: layer.add_file("a/b/c", b""),
            lambda: layer.add_directory("a", 0o700),
            lambda: layer.add_directory("a/b"),
            lambda: layer.add_hardlink("x", "a"),
            lambda: layer.add_hardlink("x", "none"),
            lambda: layer.add_symlink("x", ""),
        ):
            with pytest.raises(LayerError):
                add()
    assert layer.info.files == 1


@pytest.mark.parametrize(
    "name",
    [
        "a" * 100,
        "a" * 101,
        "d" * 60 + "/" + "f" * 60,
        "d" * 150 + "/" + "f" * 100,
        "d" * 200 + "/" + "f" * 200,
        "ünï/cödé",
        "ü" * 200,
        "new\nline",
        "d" * 98 + "/fff",
    ],
)
def test_long_and_foreign_names_survive(tmp_path, name):
    with LayerWriter(tmp_path / "blob") as layer:
        layer.add_directory(name + "-d")
        layer.add_file(name, b"x")
        layer.add_symlink(name + "-l", name * 2)
    with tarfile.open(tmp_path / "blob") as tar:
        found = {member.name: member for member in tar}
    assert found[name + "-d"].isdir()
    assert found[name].isreg()
    assert found[name + "-l"].linkname == name * 2
    with (tmp_path / "blob").open("rb") as file:
        assert [entry.name for entry in read_toc(file.fileno())][-2:] == [name, name + "-l"]


def test_numbers_too_large_for_octal_fields_survive():
    header = tar_header("big", b"0", 2**35, "", Owner(0o644, 3_000_000, 4_000_000))
    member = tarfile.TarInfo.frombuf(header[-512:], "utf-8", "strict")
    assert (member.size, member.uid, member.gid) == (0, 0, 0)
    assert b"size=34359738368\n" in header
    assert b"uid=3000000\n" in header
    assert b"gid=4000000\n" in header


def test_threads_do_not_change_the_blob(tmp_path):
    infos = []
    for threads in (1, 4):
        with LayerWriter(tmp_path / f"blob{threads}", threads=threads) as layer:
            for number in range(200):
                layer.add_file(f"d{number % 7}/f{number}", NOISE[: number * 100])
                layer.add_symlink(f"l{number}", "x")
        infos.append(layer.info)
    assert infos[0] == infos[1]


def test_an_error_leaves_no_file(tmp_path):
    layer = LayerWriter(tmp_path / "blob")
    layer.add_file("a", NOISE)
    with pytest.raises(LayerError), layer:
        layer.add_file("a", NOISE)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    layer = LayerWriter(tmp_path / "blob")

    def write(data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layer._output, "_write", write)
    layer.add_file("a", NOISE)
    with pytest.raises(OSError, match="No space left"):
        layer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_stream_of_another_size_than_announced_is_refused(tmp_path):
    for size in (2, 4):
        with (
            pytest.raises(LayerError, match=f"should have {size} bytes"),
            LayerWriter(tmp_path / "b") as layer,
        ):
            layer.add_stream("a", [b"xyz"], size)


def test_layer_json_says_what_an_image_needs(tmp_path, sample):
    write_layer_json(tmp_path, sample.info, [{"name": "demo", "version": "1"}], sonames=["libx.so"])
    facts = json.loads((tmp_path / "layer.json").read_text())
    assert facts == {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": sample.info.digest,
        "size": sample.info.size,
        "diff_id": sample.info.diff_id,
        "annotations": {
            "containerd.io/snapshot/stargz/toc.digest": sample.info.toc_digest,
            "io.containers.estargz.uncompressed-size": str(sample.info.uncompressed_size),
        },
        "uncompressed_size": sample.info.uncompressed_size,
        "files": 6,
        "contents": [{"name": "demo", "version": "1"}],
        "sonames": ["libx.so"],
    }


def test_a_blob_without_the_footer_is_no_layer(tmp_path):
    (tmp_path / "blob").write_bytes(b"x" * 100)
    with (tmp_path / "blob").open("rb") as file, pytest.raises(LayerError, match="footer"):
        read_toc(file.fileno())
