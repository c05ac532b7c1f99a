import io
import lzma
import tarfile

import pytest

from builder.debian.deb import busybox_nar_sha256, data_tar, extract_busybox, members
from builder.errors import ResolveError


def ar(files):
    data = b"!<arch>\n"
    for name, content in files.items():
        data += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        data += b"\n" * (len(content) % 2)
    return data


def tar(**files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return data.getvalue()


def test_members_of_odd_length_are_padded():
    assert members(ar({"debian-binary": b"2.0\n", "odd": b"123", "last/": b"x"})) == {
        "debian-binary": b"2.0\n",
        "odd": b"123",
        "last": b"x",
    }


@pytest.mark.parametrize("data", [b"PK\x03\x04", ar({"a": b"1234"})[:-2], ar({"a": b"1234"})[:40]])
def test_what_is_no_whole_ar_archive_is_refused(data):
    with pytest.raises(ValueError, match=r"not an ar archive|is cut off|malformed ar header"):
        members(data)


def test_a_compression_that_is_not_in_the_standard_library_is_refused_by_name():
    with pytest.raises(ValueError, match=r"data\.tar\.zst cannot be opened"):
        data_tar(ar({"data.tar.zst": b""}))


@pytest.mark.parametrize("path", ["./bin/busybox", "./usr/bin/busybox", "usr/bin/busybox"])
def test_busybox_is_found_before_and_after_the_merged_usr(tmp_path, path):
    deb = tmp_path / "busybox.deb"
    deb.write_bytes(
        ar({"data.tar.xz": lzma.compress(tar(**{"./usr/share/doc/busybox": b"no", path: b"program"}))})
    )
    folder = extract_busybox(deb, tmp_path / "out")
    assert [file.name for file in folder.iterdir()] == ["busybox"]
    assert (folder / "busybox").read_bytes() == b"program"
    assert (folder / "busybox").stat().st_mode & 0o777 == 0o555


def test_a_package_without_busybox_is_refused(tmp_path):
    deb = tmp_path / "other.deb"
    deb.write_bytes(ar({"data.tar.xz": lzma.compress(tar(a=b"1"))}))
    with pytest.raises(ResolveError, match="bin/busybox"):
        extract_busybox(deb, tmp_path / "out")


def test_the_nar_hash_is_nixs():
    # nix-hash --type sha256 of a folder with an executable file `busybox` that holds "program\n".
    assert (
        busybox_nar_sha256(b"program\n") == "0bb97e80b241db58891b3a1e2ae99adb668db6ca3d353d9062ae95961ece3c06"
    )
