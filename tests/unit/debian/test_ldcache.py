import struct

import pytest
from ldcache import ld_cache, library_folders, read_soname, resolve

X86_64, AARCH64 = 62, 183


def elf(soname, machine=X86_64, kind=3):
    """A shared library with nothing but a dynamic section, mapped 4096 bytes above its place in the file."""
    strings = b"\0" + soname.encode() + b"\0"
    headers, dynamic_at = 64, 64 + 2 * 56
    tags = [(5, 4096 + dynamic_at + 48), (14, 1), (0, 0)] if soname else [(0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in tags)
    size = dynamic_at + len(dynamic) + len(strings)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0, headers, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 4096, 4096, size, size, 4096)
    table = struct.pack("<IIQQQQQQ", 2, 6, dynamic_at, 4096 + dynamic_at, 0, len(dynamic), len(dynamic), 8)
    return head + load + table + dynamic + strings


def entries(cache):
    """What a cache lists, as the loader reads it."""
    magic, count, _, endian = struct.unpack_from("<20sIIB", cache)
    assert (magic, endian) == (b"glibc-ld.so.cache1.1", 2)
    found = []
    for number in range(count):
        flags, key, value, _, _ = struct.unpack_from("<iIIIQ", cache, 48 + 24 * number)
        text = [cache[start : cache.index(b"\0", start)].decode() for start in (key, value)]
        found.append((*text, flags))
    return found


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "usr" / "lib" / "x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (tmp_path / "lib").symlink_to("usr/lib")
    return tmp_path


def add(root, name, content, folder="usr/lib/x86_64-linux-gnu"):
    path = root / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        path.symlink_to(content)
    else:
        path.write_bytes(content)


def test_libraries_that_are_in_no_folder_of_the_root_come_before_its_own(root):
    add(root, "libz.so.1", elf("libz.so.1"))
    more = {"libz.so.1": "/opt/libz.so.1", "libcudart.so.13": "/opt/libcudart.so.13"}
    assert entries(ld_cache(root, "x86_64", more)) == [
        ("libz.so.1", "/opt/libz.so.1", 0x303),
        ("libcudart.so.13", "/opt/libcudart.so.13", 0x303),
    ]


def test_a_library_is_listed_once_by_its_soname(root):
    add(root, "libz.so.1.2.13", elf("libz.so.1"))
    add(root, "libz.so.1", "libz.so.1.2.13")
    add(root, "libplain.so.3", elf(""))
    assert entries(ld_cache(root, "x86_64")) == [
        ("libz.so.1", "/lib/x86_64-linux-gnu/libz.so.1", 0x303),
        ("libplain.so.3", "/lib/x86_64-linux-gnu/libplain.so.3", 0x303),
    ]


def test_a_development_link_is_listed_by_its_own_name(root):
    add(root, "libz.so.1", elf("libz.so.1"))
    add(root, "libz.so", "libz.so.1")
    assert [entry[0] for entry in entries(ld_cache(root, "x86_64"))] == ["libz.so.1", "libz.so"]


def test_what_is_no_library_of_the_machine_is_left_out(root):
    add(root, "libarm.so.1", elf("libarm.so.1", AARCH64))
    add(root, "libscript.so", b"INPUT(-lncurses)")
    add(root, "libshort.so", b"\x7fELF")
    add(root, "libprogram.so", elf("x", kind=2))
    add(root, "libgone.so.1", "nowhere")
    add(root, "readme.so.txt", elf("readme.so"))
    assert entries(ld_cache(root, "x86_64")) == []


def test_names_are_in_the_loaders_order_with_numbers_as_numbers(root):
    for name in ("libdb-5.3.so", "libdb-5.10.so", "libda.so.1", "libdb.so.9", "libdb.so.10"):
        add(root, name, elf(name))
    listed = [entry[0] for entry in entries(ld_cache(root, "x86_64"))]
    assert listed == ["libdb.so.10", "libdb.so.9", "libdb-5.10.so", "libdb-5.3.so", "libda.so.1"]


def test_configured_folders_come_first_and_links_stay_inside_the_root(root):
    add(root, "liba.so.1", elf("liba.so.1"))
    add(root, "liba.so.1", elf("liba.so.1"), "opt/lib")
    add(root, "libb.so.1", "/opt/lib/liba.so.1", "opt/more")
    (root / "etc" / "ld.so.conf.d").mkdir(parents=True)
    (root / "etc" / "ld.so.conf").write_text("include /etc/ld.so.conf.d/*.conf\n# none\n")
    (root / "etc" / "ld.so.conf.d" / "a.conf").write_text("/opt/lib/\n")
    assert library_folders(root, "x86_64")[0] == "/opt/lib"
    assert entries(ld_cache(root, "x86_64")) == [("liba.so.1", "/opt/lib/liba.so.1", 0x303)]
    assert resolve(root, "/opt/more/libb.so.1") == root / "opt/lib/liba.so.1"


def test_a_link_that_leads_around_in_a_circle_leads_nowhere(root):
    add(root, "a", "b")
    add(root, "b", "a")
    assert resolve(root, "/usr/lib/x86_64-linux-gnu/a") is None
    assert resolve(root, "/../../usr/lib") == root / "usr/lib"


def test_another_machine_has_its_own_flags(tmp_path):
    add(tmp_path, "libc.so.6", elf("libc.so.6", AARCH64), "usr/lib/aarch64-linux-gnu")
    assert entries(ld_cache(tmp_path, "aarch64")) == [
        ("libc.so.6", "/usr/lib/aarch64-linux-gnu/libc.so.6", 0x0A03)
    ]
    assert read_soname(tmp_path / "usr/lib/aarch64-linux-gnu/libc.so.6", X86_64) is None
