import gzip
import hashlib
import io

import pytest
from test_debian_base import Archive

from builder.debian import mirrors, release
from builder.debian.contents import Owner, choose, find_packages, read_owners, write_table
from builder.debian.index import Index, build_database
from builder.debian.suites import SUITES, Suite
from builder.errors import ResolveError

CONTENTS = """\
usr/bin/python3.11                                      python/python3.11-minimal
usr/lib/x86_64-linux-gnu/libGL.so                       libs/libgl-dev
usr/lib/x86_64-linux-gnu/libGL.so.1                     libs/libgl1
usr/lib/x86_64-linux-gnu/libglib-2.0.so.0               libs/libglib2.0-0t64
usr/lib/x86_64-linux-gnu/libgone.so.1                   libs/libgone1
lib/x86_64-linux-gnu/libpq.so.5                         libs/libpq5-compat,libs/libpq5
"""


class Mirror(Archive):
    """A mirror that has an index of files too, for amd64."""

    contents = CONTENTS
    by_hash = False

    def publish(self, codename="bookworm", **more):
        super().publish(codename, **more)
        if self.contents is None:
            return
        packed = gzip.compress(self.contents.encode(), mtime=0)
        pocket = self.root / "debian" / "dists" / codename
        digest = hashlib.sha256(packed).hexdigest()
        self.file = pocket / "main" / ("by-hash/SHA256/" + digest if self.by_hash else "Contents-amd64.gz")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(packed)
        signed = pocket / "InRelease"
        text = signed.read_text() + f" {digest} {len(packed)} main/Contents-amd64.gz\n"
        signed.write_text(("Acquire-By-Hash: yes\n" if self.by_hash else "") + text)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"keys")
    monkeypatch.setattr(mirrors, "_KEYRINGS", (keyring,))
    monkeypatch.setattr(release, "verified_text", lambda signed, *_, **__: signed.decode())
    found = Mirror(tmp_path / "mirror")
    for name in ("libgl1", "libgl-dev", "libglib2.0-0t64", "libpq5", "libpq5-compat", "libxcb-cursor0"):
        found.add(name)
    found.publish()
    return found


@pytest.fixture
def find(mirror, tmp_path):
    notes = []

    def find_in(*sonames, python="3.11", **more):
        table = {"debian": (mirror.root / "debian").as_uri()}
        return find_packages(
            sonames, python=python, mirrors=table, cache=tmp_path / "cache", note=notes.append, **more
        )

    find_in.notes = notes
    return find_in


def table_of(contents, tmp_path, target="x86_64"):
    path = tmp_path / "table"
    with path.open("wb") as file:
        write_table(io.BytesIO(gzip.compress(contents)), file, target)
    return path


def index_of(tmp_path, **packages):
    """An index of packages, each with its Depends; `_` stands for a hyphen."""
    stanzas = [
        f"Package: {name.replace('_', '-')}\nVersion: 1\nArchitecture: amd64\nDepends: {depends}\n"
        f"Filename: pool/x.deb\nSHA256: {'0' * 64}\nSize: 1"
        for name, depends in packages.items()
    ]
    build_database("\n\n".join(stanzas).encode(), tmp_path / "index")
    return Index([("debian", tmp_path / "index")])


def test_the_package_that_has_a_library_is_found_in_the_order_asked_for(find):
    found = find("libpq.so.5", "libGL.so.1", "libnothing.so.9", "libglib-2.0.so.0", "libGL.so.1")
    assert list(found.items()) == [
        ("libpq.so.5", "libpq5"),
        ("libGL.so.1", "libgl1"),
        ("libglib-2.0.so.0", "libglib2.0-0t64"),
    ]
    assert find.notes == []


def test_a_name_that_fits_is_no_proof(find):
    # libxcb-cursor0 exists, and by the index it has no such file.
    assert find("libxcb-cursor.so.0") == {}


def test_a_package_that_cannot_be_had_is_not_named(find):
    assert find("libgone.so.1") == {}


def test_nothing_is_asked_for_nothing(tmp_path):
    assert find_packages([], python="3.11", mirrors={"debian": "file:///nowhere"}, cache=tmp_path) == {}


def test_the_index_is_fetched_once(mirror, find):
    first = find("libGL.so.1")
    mirror.file.unlink()
    assert find("libGL.so.1", "libpq.so.5") == {**first, "libpq.so.5": "libpq5"}
    assert find.notes == []


def test_a_new_index_replaces_the_old_one(mirror, find, tmp_path):
    find("libGL.so.1")
    mirror.contents = CONTENTS.replace("libs/libgl1", "libs/libgl-dev")
    mirror.publish()
    assert find("libGL.so.1") == {"libGL.so.1": "libgl-dev"}
    assert len(list((tmp_path / "cache" / "debian").glob("contents-*"))) == 1


def test_an_index_that_is_not_the_signed_one_is_refused_and_leaves_nothing(mirror, find, tmp_path):
    data = bytearray(mirror.file.read_bytes())
    data[-20] ^= 1
    mirror.file.write_bytes(data)
    with pytest.raises(ResolveError, match="is not the file that Debian's signed index names"):
        find("libGL.so.1")
    assert list((tmp_path / "cache" / "debian").glob("contents-*")) == []


@pytest.mark.parametrize("missing", ["unlisted", "gone"])
def test_without_an_index_names_have_to_do_and_it_is_said_once(mirror, find, missing):
    if missing == "unlisted":
        mirror.contents = None
        mirror.publish()
    else:
        mirror.file.unlink()
    found = find("libxcb-cursor.so.0", "libglib-2.0.so.0", "libnothing.so.9", "not a library")
    assert found == {"libxcb-cursor.so.0": "libxcb-cursor0", "libglib-2.0.so.0": "libglib2.0-0t64"}
    (note,) = find.notes
    assert "bookworm" in note
    assert "[tool.builder.mirrors]" in note


def test_the_index_is_fetched_under_its_hash_where_the_archive_has_hashes_for_names(mirror, find):
    mirror.file.unlink()
    mirror.by_hash = True
    mirror.publish()
    packages = mirror.root / "debian" / "dists" / "bookworm" / "main" / "binary-amd64" / "Packages.xz"
    hashed = packages.parent / "by-hash" / "SHA256" / hashlib.sha256(packages.read_bytes()).hexdigest()
    hashed.parent.mkdir(parents=True)
    packages.rename(hashed)
    assert find("libGL.so.1") == {"libGL.so.1": "libgl1"}
    assert find.notes == []


def test_an_ended_suite_needs_no_security_archive(mirror, find, monkeypatch):
    monkeypatch.setitem(SUITES, "3.11", Suite("bookworm", "ended"))
    for file in (mirror.root / "debian-security" / "dists").rglob("InRelease"):
        file.unlink()
    assert find("libGL.so.1") == {"libGL.so.1": "libgl1"}


def test_an_architecture_that_the_mirror_lacks_is_an_error(mirror, find):
    signed = mirror.root / "debian" / "dists" / "bookworm" / "InRelease"
    lines = [line for line in signed.read_text().splitlines() if "binary-arm64" not in line]
    signed.write_text("\n".join(lines) + "\n")
    with pytest.raises(ResolveError, match="Debian bookworm has no packages for arm64"):
        find("libGL.so.1", target="aarch64")


def test_the_table_has_libraries_where_the_loader_looks_and_nothing_else(tmp_path):
    contents = b"""\
This file maps each file in the archive to the package that has it.

FILE                                                    LOCATION
bin/lib.so.1                                            libs/no
etc/lib/libno.so.1                                      libs/no
lib/libold.so.1                                         libs/old
lib/x86_64-linux-gnu/libz.so.1                          libs/zlib1g
usr/lib/aarch64-linux-gnu/libarm.so.1                   libs/arm
usr/lib/i386-linux-gnu/libc.so.6                        libs/no
usr/lib/libplain.so                                     plain
usr/lib/libx86.so.1 \t libs/tabs
usr/lib/x86_64-linux-gnu/blas/libblas.so.3              libs/libblas3
usr/lib/x86_64-linux-gnu/caca/libplugin.so.1            libs/no
usr/lib/x86_64-linux-gnu/libm.a                         libdevel/no
usr/lib/x86_64-linux-gnu/libm.sources                   libdevel/no
usr/lib/x86_64-linux-gnu/libempty.so.1                  libs/
usr/lib/x86_64-linux-gnu/libnone.so.1
usr/lib/x86_64-linux-gnu/libhalf.so.1                   libs/half,
usr/lib/x86_64-linux-gnu/libtwo words.so.1              non-free/libs/two,contrib/main/one
usr/lib/x86_64-linux-gnu/libz.so.1                      libs/zlib1g,oldlibs/zlib-old
usr/lib/x86_64-linux-gnu/plugin.so                      libs/no
usr/share/x/usr/lib/libno.so.1                          libs/no
usr/lib/x86_64-linux-gnu/liblast.so.1                   libs/last"""
    assert table_of(contents, tmp_path).read_text().splitlines() == [
        "libblas.so.3 libs/libblas3",
        "liblast.so.1 libs/last",
        "libold.so.1 libs/old",
        "libplain.so plain",
        "libtwo words.so.1 contrib/main/one,non-free/libs/two",
        "libx86.so.1 libs/tabs",
        "libz.so.1 libs/zlib1g,oldlibs/zlib-old",
    ]
    arm = table_of(contents, tmp_path, target="aarch64").read_text()
    assert "libarm.so.1 libs/arm" in arm
    assert "libz" not in arm


def test_a_line_that_lies_in_two_pieces_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("builder.debian.contents._CHUNK", 7)
    names = [f"libnumber{number}.so.1" for number in range(20)]
    contents = "".join(f"usr/lib/{name} libs/a\n" for name in names)
    assert table_of(contents.encode(), tmp_path).read_text() == "".join(
        f"{n} libs/a\n" for n in sorted(names)
    )


def test_packages_are_read_with_their_sections(tmp_path):
    table = tmp_path / "table"
    table.write_text("libtwo words.so.1 contrib/main/one,two\nlibz.so.1 libs/zlib1g\n")
    assert read_owners(table, ["libtwo words.so.1", "libz.so.1", "libz.so", "libtwo"]) == {
        "libtwo words.so.1": [Owner("one", "main"), Owner("two", "")],
        "libz.so.1": [Owner("zlib1g", "libs")],
    }


@pytest.mark.parametrize(
    ("owners", "package"),
    [
        (["libs/liba2", "oldlibs/libfoo1"], "libfoo1"),  # the policy's name before all else
        (["libs/liba2", "libs/libfoo1t64"], "libfoo1t64"),
        (["oldlibs/aaa", "libs/many"], "many"),  # then what is for programs
        (["libs/many", "libs/little"], "little"),  # then what needs least
        (["libs/zz", "libs/zzz"], "zz"),  # then the shorter name
        (["libs/zz", "libs/yy"], "yy"),  # then the first
        (["libs/no", "debug/many"], "many"),  # one that exists
        (["libs/no"], None),
        ([], None),
    ],
)
def test_where_several_have_a_library_one_is_preferred(tmp_path, owners, package):
    index = index_of(
        tmp_path,
        libfoo1="a, b",
        libfoo1t64="a",
        liba2="",
        aaa="",
        many="a, b",
        little="",
        zz="",
        yy="",
        zzz="",
    )
    found = [Owner(name, section) for section, name in (owner.split("/") for owner in owners)]
    assert choose("libfoo.so.1", found, index) == package
    assert choose("libfoo.so.1", reversed(found), index) == package
    index.close()
