"""What `builder plan` says before anything is fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lock_samples import SHA, app, deb, lock_file, wheel

from builder import nix
from builder.cli.plan import _lines
from builder.forecast import Forecast, forecast
from builder.models import CudaArchive, Toolkit

if TYPE_CHECKING:
    from pathlib import Path

    from builder.models import Lock, Wheel


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what the store has: nothing, until a test says something."""
    there: list[str] = []
    monkeypatch.setattr(
        nix,
        "missing",
        lambda wanted: [added for added in wanted if not any(name in added.name for name in there)],
    )
    return there


def locked(*wheels: Wheel, machines: tuple[str, ...] = ("GPU-H100",)) -> Lock:
    return lock_file(*wheels).lock.model_copy(update={"machine_types": machines})


def of(tmp_path: Path, *wheels: Wheel, machines: tuple[str, ...] = ("GPU-H100",)) -> Forecast:
    return forecast(app(tmp_path, machine_types=machines), locked(*wheels, machines=machines))


def sized(name: str, version: str, size: int | None, number: int) -> Wheel:
    return wheel(name, version, size=size, sha256=f"{number:064x}")


def test_what_is_here_is_not_fetched(tmp_path: Path, store: list[str]) -> None:
    store += ["numpy", ".deb"]
    found = of(tmp_path, sized("numpy", "2.0", 10_000, 1), sized("torch", "2.8.0", 800_000, 2))
    assert found.size == 810_000
    assert found.download == 800_000
    assert [(package.name, package.is_here) for package in found.packages] == [
        ("numpy", True),
        ("torch", False),
    ]
    store += ["torch"]
    assert (
        dict(_lines(of(tmp_path, sized("torch", "2.8.0", 1, 2))))["download"]
        == "nothing: all is in the store"
    )


def test_a_size_that_nobody_says_is_told_by_name(tmp_path: Path, store: list[str]) -> None:
    store += [".deb"]
    found = of(tmp_path, sized("mystery", "1.0", None, 1))
    assert found.unknown == ("mystery",)
    assert "and mystery, whose size no index says" in dict(_lines(found))["download"]


def test_debian_packages_count_as_well(tmp_path: Path, store: list[str]) -> None:
    assert SHA
    found = of(tmp_path)
    assert found.download == found.debian_packages * 1234 == 4 * 1234


def test_what_only_the_build_uses_is_fetched_and_is_no_part_of_the_image(
    tmp_path: Path, store: list[str]
) -> None:
    lock = locked()
    debs = (deb("libisal2", "2.30.0-5", size=106_000),)
    base = lock.base.model_copy(update={"tools": {"x86_64": debs, "aarch64": debs}})
    found = forecast(app(tmp_path, machine_types=("GPU-H100",)), lock.model_copy(update={"base": base}))
    assert found.download == found.debian_packages * 1234 + 106_000
    assert found.debian_packages == 4


def test_cuda_is_told_with_its_reason_and_the_driver(tmp_path: Path, store: list[str]) -> None:
    runtime = sized("nvidia-cuda-runtime-cu12", "12.8.90", 5, 1)
    found = of(tmp_path, runtime, sized("torch", "2.8.0", 5, 2), machines=("GPU-H100", "GPU-B200"))
    lines = dict(_lines(found))
    assert lines["CUDA"] == (
        "12.8: torch 2.8.0 has builds cu126, cu128, cu129; cu128 is the one for GPU-H100, GPU-B200"
    )
    assert lines["driver"] == "570 or newer"
    assert lines["GPUs"] == "compute capability 9.0, 10.0"


def test_a_toolkit_is_told_with_the_size_of_its_archives(tmp_path: Path, store: list[str]) -> None:
    store += [".whl", ".deb"]
    archive = CudaArchive(
        component="cuda_nvcc", version="12.4.131", path="a/nvcc.tar.xz", sha256=SHA, size=70_000_000
    )
    runtime = sized("nvidia-cuda-runtime-cu12", "12.4.127", 5, 1)
    lock = locked(runtime).model_copy(
        update={"cuda": Toolkit(version="12.4", compiler="g++", archives=(archive,))}
    )
    found = forecast(app(tmp_path, machine_types=("GPU-H100",), cuda="devel"), lock)
    assert (
        dict(_lines(found))["toolkit"] == "12.4: nvcc, ptxas, headers; from packages and 70.0 MB of archives"
    )
    assert found.download == 70_000_000
    assert found.layers == forecast(app(tmp_path, machine_types=("GPU-H100",)), locked(runtime)).layers + 2


def test_a_build_that_the_app_chose_is_told_as_that(tmp_path: Path, store: list[str]) -> None:
    runtime = sized("nvidia-cuda-runtime-cu12", "12.6.77", 5, 1)
    found = of(tmp_path, runtime, sized("torch", "2.8.0+cu126", 5, 2))
    assert found.why == "the app or this machine's own index chooses it"


@pytest.mark.parametrize(
    ("machines", "cuda", "torch", "warnings"),
    [
        (("L",), "12.8.90", "2.9.1", []),
        (("GPU-H100",), "13.0.96", "2.14.1", []),
        (
            ("GPU-H100",),
            "12.6.77",
            "2.14.1+cu126",
            ["torch 2.14 is the last release with builds for CUDA 12"],
        ),
        (
            ("V100",),
            "12.8.90",
            "2.9.1",
            ["GPU-V100: driver branch 580 is the last one for the V100", "torch 2.14 is the last release"],
        ),
    ],
)
def test_what_is_ending_is_told(
    tmp_path: Path, store: list[str], machines: tuple[str, ...], cuda: str, torch: str, warnings: list[str]
) -> None:
    name = "nvidia-cuda-runtime" if cuda.startswith("13") else "nvidia-cuda-runtime-cu12"
    found = of(tmp_path, sized(name, cuda, 5, 1), sized("torch", torch, 5, 2), machines=machines)
    assert len(found.warnings) == len(warnings)
    assert all(said.startswith(start) for said, start in zip(found.warnings, warnings, strict=True))
