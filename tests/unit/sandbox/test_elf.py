"""What libraries need and offer, read as they pass by."""

from __future__ import annotations

import ctypes
import itertools
import json
import struct
import sys
from pathlib import Path

import pytest
from elf import Library, Reader, from_json, numbers, symbol_number, to_json
from elf_factory import ORDER, Symbol, elf
from hypothesis import given
from hypothesis import strategies as st

ORDERS = list(itertools.permutations(ORDER))
OFFERED = ("alpha", "beta", "gamma", "delta", "epsilon")
FULL = {
    "needed": ("libGL.so.1", "libc.so.6"),
    "soname": "libme.so.2",
    "undefined": (
        "wanted",
        Symbol("asked_weakly", weak=True),
        Symbol("printf", version="GLIBC_2.2.5"),
        "wanted_too",
    ),
    "symbols": OFFERED,
    "needs": {"libc.so.6": ("GLIBC_2.2.5", "GLIBC_2.34"), "libGL.so.1": ("GL_1",)},
    "optional": ("GLIBC_2.34",),
    "versions": ("libme.so.2", "ME_1.0"),
}
SAID = Library(
    "libme.so.2",
    ("libGL.so.1", "libc.so.6"),
    versions_needed={"libc.so.6": ("GLIBC_2.2.5",), "libGL.so.1": ("GL_1",)},
    versions=("libme.so.2", "ME_1.0"),
    undefined=("wanted", "wanted_too"),
)


def read(data: bytes, *cuts: int) -> Library | None:
    reader = Reader()
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        reader.update(data[start:end])
    return reader.library


def offered(library: Library | None) -> set[int]:
    assert library is not None
    return set(numbers(library.symbols))


def of(*names: str) -> set[int]:
    return {symbol_number(name.encode()) for name in names}


@pytest.mark.parametrize("hashed", ["gnu", "sysv"])
@pytest.mark.parametrize("apart", [True, False])
@given(order=st.sampled_from(ORDERS), cuts=st.lists(st.integers(0, 1400), max_size=5))
def test_it_matters_neither_how_the_bytes_come_nor_in_which_order_the_tables_are(
    hashed: str, apart: bool, order: tuple[str, ...], cuts: list[int]
) -> None:
    data = elf(**FULL, hashed=hashed, order=order, apart=apart)
    found = read(data, *sorted(min(cut, len(data)) for cut in cuts))
    assert found is not None
    assert found._replace(symbols=b"") == SAID
    assert offered(found) == of(*OFFERED)


def test_bytes_may_come_one_by_one() -> None:
    data = elf(**FULL)
    assert read(data, *range(1, len(data))) == read(data)


def test_what_follows_the_tables_is_not_waited_for() -> None:
    reader = Reader()
    reader.update(elf(("libc.so.6",)))
    found = reader.library
    reader.update(bytes(1000))
    assert found == reader.library == Library(None, ("libc.so.6",))


@pytest.mark.parametrize("key", ["rpath", "runpath"])
def test_folders_to_look_in_are_read(key: str) -> None:
    found = read(elf(("libb.so",), **{key: "$ORIGIN/../lib:/opt/x"}))
    assert found == Library(None, ("libb.so",), **{key: "$ORIGIN/../lib:/opt/x"})


def test_a_library_may_have_no_name_and_no_symbols() -> None:
    assert read(elf(("libc.so.6",))) == Library(None, ("libc.so.6",))


def test_a_program_is_read_as_well() -> None:
    found = read(elf(("libc.so.6",), symbols=("Py_Main",), kind=2))
    assert found is not None
    assert found.needed == ("libc.so.6",)
    assert offered(found) == of("Py_Main")


@pytest.mark.parametrize("hashed", ["gnu", "sysv"])
def test_symbols_count_as_needed_where_they_are_neither_weak_nor_of_a_version(hashed: str) -> None:
    wanted = ("plain", Symbol("weak", weak=True), Symbol("versioned", version="V1"))
    found = read(elf(("libx.so",), undefined=wanted, needs={"libx.so": ("V1",)}, hashed=hashed))
    assert found is not None
    assert found.undefined == ("plain",)


@pytest.mark.parametrize("hashed", ["gnu", "sysv"])
def test_what_a_library_needs_is_not_what_it_offers(hashed: str) -> None:
    found = read(elf(undefined=("theirs",), symbols=("mine",), hashed=hashed))
    assert found is not None
    assert (found.undefined, offered(found)) == (("theirs",), of("mine"))


@given(
    names=st.lists(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1), unique=True),
    hashed=st.sampled_from(["gnu", "sysv"]),
)
def test_all_symbols_that_a_library_offers_are_told(names: list[str], hashed: str) -> None:
    assert offered(read(elf(symbols=tuple(names), hashed=hashed))) == of(*names)


def test_versions_that_may_be_missing_are_left_out() -> None:
    needs = {"liba.so": ("A_1", "A_2"), "libb.so": ("B_1",)}
    found = read(elf(tuple(needs), needs=needs, optional=("A_1", "B_1")))
    assert found is not None
    assert found.versions_needed == {"liba.so": ("A_2",), "libb.so": ()}


# The values are those of the function's published descriptions.
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", 0x00001505),
        ("printf", 0x156B2BB8),
        ("exit", 0x7C967E3F),
        ("syscall", 0xBAC212A0),
        ("flapenguin.me", 0x8AE9F18E),
    ],
)
def test_symbols_have_the_numbers_that_linkers_give_them_but_for_the_last_bit(name: str, value: int) -> None:
    assert symbol_number(name.encode()) == value | 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK",
        b"\x7fELF" + bytes(200),
        b"\x7fELF\x01" + elf(("libc.so.6",))[5:],
        b"\x7fELF\x02\x02" + elf(("libc.so.6",))[6:],
        elf(("libc.so.6",), kind=1),
        elf(("libc.so.6",))[:250],
        elf(("libc.so.6",))[:64] + b"\xff" * 400,
    ],
)
def test_what_is_no_library_is_none(data: bytes) -> None:
    assert read(data) is None


@given(size=st.integers(0, 2000))
def test_of_a_file_that_is_cut_off_nothing_wrong_is_told(size: int) -> None:
    data = elf(**FULL)
    assert read(data[:size]) in (None, read(data))


def test_a_library_can_be_kept_as_json() -> None:
    library = read(elf(**FULL, rpath="/a", runpath="/b"))
    assert library is not None
    kept = json.loads(json.dumps(to_json(library, "lib/demo/me.so")))
    assert kept["path"] == "lib/demo/me.so"
    assert from_json(kept) == library


def test_what_a_library_has_not_is_left_out_of_its_json() -> None:
    assert to_json(Library(None, ("libc.so.6",)), "x.so") == {"path": "x.so", "needed": ("libc.so.6",)}
    assert from_json({"path": "x.so"}) == Library(None, ())


def test_the_numbers_are_in_the_same_order_of_bytes_on_every_machine() -> None:
    assert list(numbers(struct.pack("<II", 0x156B2BB8, 0x7C967E3F))) == [0x156B2BB9, 0x7C967E3F]


def mapped() -> list[Path]:
    """The libraries of the process that runs the tests, and its program."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    paths = {Path(line.split(None, 5)[5]) for line in lines if len(line.split(None, 5)) == 6}
    return sorted({path for path in paths if ".so" in path.name} | {Path(sys.executable).resolve()})


def test_the_libraries_of_a_process_have_what_the_loader_found_in_them() -> None:
    found = {path: read(path.read_bytes()) for path in mapped()}
    assert len(found) >= 3
    assert None not in found.values()
    names = {path.name for path in found} | {library.soname for library in found.values() if library}
    program = found[Path(sys.executable).resolve()]
    assert program is not None
    assert program.needed
    for library in found.values():
        assert library is not None
        assert names.issuperset(library.needed)
    # What the loader finds in all of them is in one, and what it does not find is in none.
    there = set().union(*(offered(library) for library in found.values()))
    process = ctypes.CDLL(None)
    for name in ("Py_Initialize", "PyList_New", "malloc", "printf", "dlopen", "Py_NoSuchThing", "no_such"):
        assert (symbol_number(name.encode()) in there) == hasattr(process, name)
    for library in found.values():
        assert library is not None
        for other in found.values():
            wanted = library.versions_needed.get(other.soname or "", ()) if other else ()
            assert set(wanted) <= set(other.versions)
        assert all(
            symbol_number(name.encode()) in there for name in library.undefined if hasattr(process, name)
        )


@pytest.mark.parametrize("hashed", ["gnu", "sysv"])
def test_what_is_read_is_what_this_machine_s_loader_finds(tmp_path: Path, hashed: str) -> None:
    path = tmp_path / "libme.so"
    path.write_bytes(elf(symbols=OFFERED, hashed=hashed))
    loaded = ctypes.CDLL(str(path))
    found = offered(read(path.read_bytes()))
    for name in (*OFFERED, "zeta"):
        assert (symbol_number(name.encode()) in found) == hasattr(loaded, name)


@given(
    place=st.integers(0, 2000),
    value=st.binary(min_size=1, max_size=8),
    order=st.sampled_from(ORDERS),
    hashed=st.sampled_from(["gnu", "sysv"]),
)
def test_a_damaged_library_is_read_or_is_none(
    place: int, value: bytes, order: tuple[str, ...], hashed: str
) -> None:
    data = bytearray(elf(**FULL, order=order, hashed=hashed))
    place %= len(data)
    data[place : place + len(value)] = value
    read(bytes(data), 70, 380)


def test_a_table_of_symbols_that_names_none_of_them_is_damaged() -> None:
    data = elf(symbols=OFFERED)
    # The filter is all ones, and what follows it is where the first chain begins.
    bucket = data.index(b"\xff" * 8) + 8
    damaged = bytearray(data)
    damaged[bucket : bucket + 4] = struct.pack("<I", 1 << 20)
    assert read(bytes(damaged)) is None


def test_what_a_library_needs_that_offers_nothing_is_told_whichever_linker_made_it() -> None:
    wanted = ("plain", Symbol("versioned", version="V1"))
    data = elf(("libx.so",), undefined=wanted, needs={"libx.so": ("V1",)})
    # Of no symbols, GNU ld says that they begin with the first.
    of_ld = data.replace(struct.pack("<IIII", 1, 3, 1, 6), struct.pack("<IIII", 1, 1, 1, 0), 1)
    assert of_ld != data
    for made in (data, of_ld):
        found = read(made)
        assert found is not None
        assert found.undefined == ("plain",)
