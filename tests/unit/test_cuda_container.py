"""What an image says of the GPUs it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lock_samples import app, lock_file, wheel

from builder.cuda import describe
from builder.machines import find_machines
from builder.render import image_config

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("machines", "package", "require", "driver", "cuda"),
    [
        (("GPU-H100",), ("nvidia-cuda-runtime-cu12", "12.8.90"), "cuda>=12.0", "525.60.13", "12.8"),
        (("GPU-H100", "GPU-B200"), ("nvidia-cuda-runtime-cu12", "12.8.90"), "cuda>=12.8", "570", "12.8"),
        (("GPU-H100",), ("nvidia-cuda-runtime", "13.0.48"), "cuda>=13.0", "580", "13.0"),
        (("GPU-T4",), ("nvidia-cuda-runtime-cu11", "11.8.89"), "cuda>=11.0", "450.80.2", "11.8"),
        (("GPU-T4",), ("torch", "2.4.0+cu121"), "cuda>=12.0", "525.60.13", "12.1"),
    ],
)
def test_nvidias_toolkit_is_told_the_oldest_driver_that_will_do(
    tmp_path: Path, machines: tuple[str, ...], package: tuple[str, str], require: str, driver: str, cuda: str
) -> None:
    said = describe(lock_file(wheel(*package)).lock, find_machines(machines, tmp_path))
    assert said.env == [
        "NVIDIA_VISIBLE_DEVICES=all",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        f"NVIDIA_REQUIRE_CUDA={require}",
    ]
    assert (said.labels["builder.cuda.driver"], said.labels["builder.cuda"]) == (driver, cuda)


def test_capabilities_are_in_order_each_once(tmp_path: Path) -> None:
    said = describe(lock_file().lock, find_machines(("GPU-B200", "GPU-A100", "GPU-A30", "L"), tmp_path))
    assert said.labels == {"builder.cuda.capabilities": "8.0,10.0"}
    assert len(said.env) == 2


def test_an_image_for_types_without_gpu_says_nothing(tmp_path: Path) -> None:
    said = describe(lock_file(wheel("torch", "2.4.0+cu121")).lock, find_machines(("L",), tmp_path))
    assert said == ([], {})


def test_it_is_in_the_images_configuration(tmp_path: Path) -> None:
    locked = lock_file(wheel("nvidia-cuda-runtime-cu12", "12.8.90")).lock
    config = image_config(app(tmp_path, machine_types=("GPU-H100",)), locked, "sha256:0")
    assert "NVIDIA_REQUIRE_CUDA=cuda>=12.0" in config["env"]
    assert config["labels"]["builder.cuda.driver"] == "525.60.13"
