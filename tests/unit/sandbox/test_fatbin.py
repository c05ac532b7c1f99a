"""CUDA kernels in libraries, found by their headers as the bytes pass by."""

from __future__ import annotations

import random
import struct

import pytest
from fatbin import Kernels, compiles_for, runs_on
from gzip_members import LayerError
from hypothesis import given
from hypothesis import strategies as st
from kernel_check import check

PTX, CUBIN, OTHER = 1, 2, 8


def entry(kind: int, capability: int, payload: bytes = b"x" * 40, header: int = 64) -> bytes:
    head = struct.pack("<HHIQ12xI", kind, 0x101, header, len(payload), capability)
    return head.ljust(header, b"\0") + payload


def container(*entries: bytes, version: int = 1, header: int = 16) -> bytes:
    payload = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, version, header, len(payload)) + payload


def read(data: bytes, *cuts: int) -> tuple[set[int], set[int]]:
    kernels = Kernels()
    file = kernels.file()
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        file.update(data[start:end])
    return kernels.cubins, kernels.ptx


LIBRARY = b"".join(
    [
        b"\x7fELF" + b"code" * 50,
        container(entry(CUBIN, 80), entry(CUBIN, 90, b"\x50\xed\x55\xba" * 9), entry(PTX, 90, header=72)),
        bytes(24),
        container(entry(OTHER, 70), entry(CUBIN, 120)) + b"\0" * 5,
        # What only looks like one: another version, a size that no entry has, an entry larger than its container.
        container(entry(CUBIN, 50), version=2),
        container(entry(CUBIN, 51), header=24),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 100) + entry(CUBIN, 52, b"y" * 200),
        struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 8),
        container(entry(CUBIN, 75)),
        b"the end \x50\xed\x55",
    ]
)
FOUND = ({75, 80, 90, 120}, {90})


def test_kernels_are_told_by_kind() -> None:
    assert read(LIBRARY) == FOUND


@given(cuts=st.lists(st.integers(0, len(LIBRARY)), max_size=6))
def test_it_does_not_matter_how_the_bytes_come(cuts: list[int]) -> None:
    assert read(LIBRARY, *sorted(cuts)) == FOUND


@pytest.mark.parametrize("size", [1, 2, 3, 5, 15, 16, 17, 33])
def test_pieces_may_be_of_any_size(size: int) -> None:
    assert read(LIBRARY, *range(size, len(LIBRARY), size)) == FOUND


def test_only_libraries_are_looked_at() -> None:
    assert read(b"PK\3\4" + LIBRARY[4:]) == (set(), set())
    assert read(b"\x7fE") == (set(), set())


def test_files_add_up_and_a_broken_one_changes_nothing_for_others() -> None:
    kernels = Kernels()
    kernels.file().update(LIBRARY[:300])
    kernels.file().update(b"\x7fELF" + container(entry(CUBIN, 103)))
    assert 103 in kernels.cubins


def test_whatever_the_bytes_are_it_ends() -> None:
    chance = random.Random(1)
    for _ in range(200):
        data = bytearray(LIBRARY)
        for _ in range(30):
            data[chance.randrange(4, len(data))] = chance.randrange(256)
        read(bytes(data), 100, 101, 400)


@pytest.mark.parametrize(
    ("cubin", "capability", "runs"),
    [(90, 90, True), (80, 86, True), (86, 80, False), (80, 90, False), (100, 103, True), (120, 100, False)],
)
def test_machine_code_runs_on_its_major_version_from_its_minor_on(
    cubin: int, capability: int, runs: bool
) -> None:
    assert runs_on(cubin, capability) is runs
    assert compiles_for(cubin, capability) is (cubin <= capability)


def package(name: str, cubins: list[int], ptx: list[int] | None = None) -> dict[str, object]:
    return {"name": name, "version": "1.0", "kernels": {"cubins": cubins, "ptx": ptx or []}}


H100 = {"name": "GPU-H100", "capability": "9.0"}
V100 = {"name": "GPU-V100", "capability": "7.0"}
L4 = {"name": "GPU-L4", "capability": "8.9"}


def test_what_packages_have_is_a_label() -> None:
    packages = [package("torch", [75, 80, 90]), {"name": "numpy", "version": "2"}, package("a", [80], [80])]
    assert check(packages, [L4]) == {
        "builder.cuda.kernels": "a 1.0: 8.0, 8.0 (PTX); torch 1.0: 7.5, 8.0, 9.0",
    }
    assert check(packages, []) == {}


def test_kernels_that_a_driver_has_to_compile_are_told() -> None:
    assert (
        check([package("a", [75], [75, 80])], [H100, L4])["builder.cuda.by-ptx"]
        == "a 1.0 on GPU-H100; a 1.0 on GPU-L4"
    )


def test_a_package_without_a_kernel_for_a_machine_is_refused() -> None:
    with pytest.raises(LayerError) as caught:
        check([package("torch", [75, 80, 90], [90])], [H100, V100])
    assert str(caught.value).startswith(
        "torch 1.0 has no CUDA kernels for GPU-V100 (compute capability 7.0); it has them for 7.5, 8.0, 9.0, 9.0 (PTX)."
    )


def test_parts_of_cuda_itself_are_not_judged() -> None:
    assert check([package("nvidia-cufile", [75], [])], [H100]) == {}
