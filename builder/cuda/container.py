"""What an image says of the GPUs it is for: to NVIDIA's container toolkit by its environment, to people by labels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from packaging.version import Version

from builder.cuda.choice import cuda_of, newest_cuda, smallest_driver

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from builder.machines import Machine
    from builder.models import Built, Cuda, Lock, Wheel

_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?|cuda-toolkit")


class Said(NamedTuple):
    """Variables, `NAME=value`, and labels."""

    env: list[str]
    labels: dict[str, str]


def cuda_of_packages(packages: Iterable[Wheel | Built]) -> str | None:
    """The CUDA that packages are of: "12.8"; None where they have none.

    The runtime's own package says it, or the one that pins parts of the toolkit; before torch had these, its local
    version did.
    """
    known = tuple(packages)
    for package in known:
        if _RUNTIME.fullmatch(package.name):
            version = Version(package.version)
            return f"{version.major}.{version.minor}"
    for package in known:
        if package.name == "torch":
            return cuda_of(Version(package.version).local or "")
    return None


def locked_cuda(lock: Lock) -> str | None:
    """The CUDA that an image has; see `cuda_of_packages`."""
    return cuda_of_packages(lock.packages)


def describe(lock: Lock, machines: Sequence[Machine], cuda: Cuda = "runtime") -> Said:
    """What an image says (NVIDIA Container Toolkit, "Environment variables").

    Args:
        lock: what is in it.
        machines: what it is for; where none has a GPU it says nothing.
        cuda: what of CUDA the app asks for; an image without needs a GPU's driver to be there, and not which.
    """
    gpus = [machine for machine in machines if machine.capability]
    if not gpus:
        return Said([], {})
    env = ["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"]
    capabilities = sorted({machine.capability or "" for machine in gpus}, key=Version)
    labels = {"builder.cuda.capabilities": ",".join(capabilities)}
    if cuda == "none":
        return Said(env, {})
    version = locked_cuda(lock)
    if version is not None:
        labels["builder.cuda"] = version
        driver = smallest_driver(version, gpus)
        if driver is not None:
            # The newest CUDA that this driver knows: asking for the image's own would refuse drivers that run it.
            env.append(f"NVIDIA_REQUIRE_CUDA=cuda>={newest_cuda(driver)}")
            labels["builder.cuda.driver"] = driver
    return Said(env, labels)
