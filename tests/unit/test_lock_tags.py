from __future__ import annotations

import pytest
from lock_samples import TARGET, base

from builder.tags import Target


def rank(filename: str, target: Target = TARGET) -> tuple[int, tuple[int, str]]:
    found = target.rank(filename)
    assert found is not None
    return found


def test_a_target_is_read_from_the_versions_of_the_bases_packages() -> None:
    target = Target.of_base(base(), "aarch64")
    assert target == Target("3.11", "3.11.2", "aarch64", (2, 36), "bookworm")
    assert str(target) == "Python 3.11 on linux aarch64 (Debian bookworm, glibc 2.36)"


@pytest.mark.parametrize(
    ("minor", "name"), [(31, "31"), (36, "36"), (41, "40"), (42, "40"), (30, "28"), (12, "17")]
)
def test_uv_is_given_the_newest_platform_it_knows_that_is_not_newer(minor: int, name: str) -> None:
    assert Target("3.9", "3.9.2", "x86_64", (2, minor), "x").uv_platform == f"x86_64-manylinux_2_{name}"


def test_wheels_rank_from_the_most_specific_to_the_most_general() -> None:
    names = [
        "x-1-cp311-cp311-manylinux_2_36_x86_64.whl",
        "x-1-cp311-cp311-manylinux_2_28_x86_64.manylinux_2_27_x86_64.whl",
        "x-1-cp311-cp311-manylinux2014_x86_64.whl",
        "x-1-cp311-cp311-manylinux1_x86_64.whl",
        "x-1-cp311-cp311-linux_x86_64.whl",
        "x-1-cp311-abi3-manylinux2014_x86_64.whl",
        "x-1-cp38-abi3-manylinux2014_x86_64.whl",
        "x-1-py3-none-manylinux2014_x86_64.whl",
        "x-1-py3-none-any.whl",
    ]
    assert sorted(set(names), key=rank) == names


@pytest.mark.parametrize(
    "name",
    [
        "x-1-cp311-cp311-manylinux_2_37_x86_64.whl",
        "x-1-cp311-cp311-manylinux_2_28_aarch64.whl",
        "x-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "x-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "x-1-cp312-abi3-manylinux_2_28_x86_64.whl",
        "x-1-cp311-cp311t-manylinux_2_28_x86_64.whl",
        "x-1-py2-none-any.whl",
        "x-1-cp311-cp311-win_amd64.whl",
    ],
)
def test_what_the_target_cannot_run_has_no_rank(name: str) -> None:
    assert TARGET.rank(name) is None


def test_of_equal_tags_the_higher_build_number_is_better() -> None:
    assert rank("x-1-10-py3-none-any.whl") < rank("x-1-9-py3-none-any.whl") < rank("x-1-py3-none-any.whl")
