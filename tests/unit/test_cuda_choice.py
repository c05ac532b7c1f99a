"""Which CUDA build of which release of torch each machine type gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from builder.cuda import NoBuildError, choose_build, fitting_releases, releases
from builder.machines import find_machines, known_machines

if TYPE_CHECKING:
    from pathlib import Path

    from builder.machines import Machine

RELEASES = ["2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "2.15"]
# By the GPU's compute capability; "-" where there is none.
TABLE = {
    None: "cpu cpu cpu cpu cpu cpu cpu cpu cpu cpu cpu cpu",
    "7.0": "cu121 cu124 cu124 cu126 cu128 cu128 cu128 cu126 cu126 cu126 cu126 -",
    "7.5": "cu121 cu124 cu124 cu126 cu128 cu128 cu128 cu129 cu126 cu126 cu126 cu130",
    "8.0": "cu121 cu124 cu124 cu126 cu128 cu128 cu128 cu129 cu126 cu126 cu126 cu130",
    "8.6": "cu121 cu124 cu124 cu126 cu128 cu128 cu128 cu129 cu126 cu126 cu126 cu130",
    "8.9": "cu121 cu124 cu124 cu126 cu128 cu128 cu128 cu129 cu126 cu126 cu126 cu130",
    "9.0": "cu121 cu124 cu124 cu126 cu128 cu128 cu128 cu129 cu126 cu126 cu126 cu130",
    "10.0": "- - - cu128 cu128 cu128 cu128 cu129 cu130 cu130 cu130 cu130",
    "10.3": "- - - cu128 cu128 cu130 cu130 cu130 cu130 cu130 cu130 cu130",
    "12.0": "- - - cu128 cu128 cu128 cu128 cu129 cu130 cu130 cu130 cu130",
}


def machines(root: Path, *names: str) -> tuple[Machine, ...]:
    return find_machines(names, root)


def chosen(found: tuple[Machine, ...], torch: str) -> str:
    try:
        build = choose_build(found, torch)
    except NoBuildError:
        return "-"
    assert build is not None
    return build.backend


def test_every_machine_type_has_a_build_of_every_release_or_none(tmp_path: Path) -> None:
    known = known_machines(tmp_path)
    assert len(known) > 25
    assert {machine.capability for machine in known.values()} == set(TABLE)
    for machine in known.values():
        row = " ".join(chosen((machine,), f"{release}.1") for release in RELEASES)
        assert row == TABLE[machine.capability], machine.name


def test_the_table_of_releases_has_no_gap() -> None:
    assert list(releases())[-len(RELEASES) :] == RELEASES


def test_nothing_is_said_of_a_release_that_is_not_known(tmp_path: Path) -> None:
    assert choose_build(machines(tmp_path, "GPU-H100"), "9.9.1") is None
    assert choose_build(machines(tmp_path, "L"), "9.9.1") is not None


LISTS = [
    (["GPU-H100", "GPU-A100"], "2.14", "cu126"),
    (["GPU-H100", "V100"], "2.14", "cu126"),
    (["GPU-H100", "V100"], "2.9", "cu128"),
    (["GPU-RTX5090", "GPU-A6000", "GPU-A100"], "2.8", "cu128"),
    (["GPU-B200", "GPU-H100"], "2.14", "cu130"),
    (["GPU-B200", "GPU-B300"], "2.9", "cu130"),
    (["GPU-H100", "L"], "2.14", "cu126"),
    (["S", "L"], "2.14", "cpu"),
    (["GPU-GH200", "GPU-GB200"], "2.11", "cu129"),
    (["GPU-T4", "GPU-V100", "GPU-L4"], "2.7", "cu126"),
]


@pytest.mark.parametrize(("names", "torch", "backend"), LISTS)
def test_a_list_of_types_gets_one_build_for_all(
    tmp_path: Path, names: list[str], torch: str, backend: str
) -> None:
    assert chosen(machines(tmp_path, *names), torch) == backend


@pytest.mark.parametrize(
    ("names", "torch", "said"),
    [
        (
            ["GPU-B200"],
            "2.6.0",
            "torch 2.6.0 has no build with kernels for GPU-B200 (compute capability 10.0); it has cu118, cu124, cu126",
        ),
        (
            ["GPU-H100", "V100"],
            "2.15.0",
            "torch 2.15.0 has no build with kernels for GPU-V100 (compute capability 7.0); it has cu130, cu132",
        ),
        (
            ["GPU-A100", "GPU-V100", "GPU-B200"],
            "2.14.1",
            "no build of torch 2.14.1 has kernels for both GPU-V100 and GPU-B200; it has cu126, cu130, cu132",
        ),
    ],
)
def test_where_there_is_none_the_types_that_exclude_it_are_named(
    tmp_path: Path, names: list[str], torch: str, said: str
) -> None:
    with pytest.raises(NoBuildError) as caught:
        choose_build(machines(tmp_path, *names), torch)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("names", "torch", "driver"),
    [
        (["GPU-H100"], "2.4", "525.60.13"),
        (["GPU-H100"], "2.14", "525.60.13"),
        (["GPU-H100"], "2.15", "580"),
        (["GPU-B200"], "2.9", "570"),
        (["GPU-B200", "GPU-T4"], "2.14", "580"),
    ],
)
def test_the_smallest_driver_is_that_of_the_cuda_and_of_the_gpus(
    tmp_path: Path, names: list[str], torch: str, driver: str
) -> None:
    build = choose_build(machines(tmp_path, *names), torch)
    assert build is not None
    assert build.driver == driver


def test_the_releases_for_some_types_are_those_with_a_build_for_all(tmp_path: Path) -> None:
    assert fitting_releases(machines(tmp_path, "GPU-B200"))[0] == "2.7"
    assert fitting_releases(machines(tmp_path, "V100", "GPU-B200")) == ("2.8", "2.9", "2.10")
