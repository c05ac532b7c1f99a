"""Holds the CUDA kernels of an image's packages against the GPUs that it is for.

A kernel that is not there fails on the first call, on a machine that is paid for by then. What is in the libraries is
known from `fatbin`; a package that has no kernels is no fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fatbin import CUDA_PARTS, compiles_for, runs_on
from gzip_members import LayerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def check(packages: Iterable[Mapping[str, Any]], gpus: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Check all packages.

    Args:
        packages: each with `name` and `version`, and where it has any `kernels`: `cubins` and `ptx`, lists of numbers.
        gpus: machine types that have one: `name` and `capability` ("9.0").

    Returns:
        labels: `builder.cuda.kernels`, what each package has kernels for, and `builder.cuda.by-ptx`, which of them a
        driver has to compile first, and for what; none where there is nothing to say.

    Raises:
        LayerError: a package has no kernel that runs on a machine.
    """
    if not gpus:
        return {}
    found, compiled = [], []
    for package in packages:
        kernels = package.get("kernels")
        if kernels is None or package["name"].startswith(CUDA_PARTS):
            continue
        title = f"{package['name']} {package['version']}"
        found.append(f"{title}: {_listed(kernels)}")
        for gpu in gpus:
            capability = _number(gpu["capability"])
            if any(runs_on(cubin, capability) for cubin in kernels["cubins"]):
                continue
            if not any(compiles_for(ptx, capability) for ptx in kernels["ptx"]):
                raise LayerError(
                    f"{title} has no CUDA kernels for {gpu['name']} (compute capability {gpu['capability']}); it has "
                    f"them for {_listed(kernels)}. Ask for another release or build of it, or for other machine types"
                )
            compiled.append(f"{title} on {gpu['name']}")
    labels = {
        "builder.cuda.kernels": "; ".join(sorted(found)),
        "builder.cuda.by-ptx": "; ".join(sorted(compiled)),
    }
    return {name: text for name, text in labels.items() if text}


def _listed(kernels: Mapping[str, Sequence[int]]) -> str:
    ptx = [f"{_text(number)} (PTX)" for number in kernels["ptx"]]
    return ", ".join([*map(_text, kernels["cubins"]), *ptx])


def _number(capability: str) -> int:
    major, _, minor = capability.partition(".")
    return int(major) * 10 + int(minor)


def _text(number: int) -> str:
    return f"{number // 10}.{number % 10}"
