"""Why a library most likely lacks something."""

from __future__ import annotations

import pytest
from link_reason import reason
from links import Unmet

TORCH = {
    "name": "torch",
    "version": "2.13.0+cpu",
    "libraries": [{"path": f"torch/lib/{name}"} for name in ("libtorch.so", "libtorch_cpu.so", "libc10.so")],
}


def unmet(package, kind, *names, provider="", needs=()):
    return Unmet(
        package["name"],
        package["version"],
        "/opt/venv/x.so",
        kind,
        names,
        provider,
        frozenset(),
        frozenset(needs),
    )


def why(package, kind, *names, beside=(), **more):
    packages = {one["name"]: one for one in (package, *beside)}
    return reason(unmet(package, kind, *names, **more), packages)


def built_for(version, requires=()):
    return {"name": "flash-attn", "version": version, "requires": list(requires)}


@pytest.mark.parametrize("soname", ["libtorch_cuda.so", "libc10_cuda.so"])
def test_a_package_built_for_torch_with_cuda_beside_one_without(soname):
    torchvision = {"name": "torchvision", "version": "0.28.0", "requires": ["numpy", "torch==2.13.0"]}
    assert why(torchvision, "library", soname, beside=[TORCH], needs=["torch"]) == (
        "torchvision 0.28.0 was built for another build of torch 2.13.0 with CUDA; the lock has torch 2.13.0+cpu"
    )


@pytest.mark.parametrize(
    ("version", "release"),
    [
        ("2.7.0.post1+cu12torch2.5cxx11abiFALSE", "2.5"),
        ("2.8.3+cu12torch2.8cxx11abiTRUE", "2.8"),
        ("2.1.2+pt25cu124", "2.5"),
        ("1.0+pt210cu128", "2.10"),
    ],
)
def test_a_version_may_say_which_torch_it_was_built_for(version, release):
    torch = {**TORCH, "version": "2.6.0"}
    assert why(built_for(version), "symbol", "_ZN3c10foo", beside=[torch], needs=["torch"]) == (
        f"flash-attn {version} was built for torch {release}; the lock has torch 2.6.0"
    )


@pytest.mark.parametrize(
    ("version", "requires"), [("2.7.0", ["torch"]), ("2.7.0", ["torch>=2"]), ("2.7.0", []), ("1.0+cu124", [])]
)
def test_where_nothing_says_which_it_is_another(version, requires):
    package = built_for(version, requires)
    assert why(package, "symbol", "_ZN3c10foo", beside=[TORCH], needs=["torch"]) == (
        f"flash-attn {version} was built for another torch; the lock has torch 2.13.0+cpu"
    )


@pytest.mark.parametrize(
    ("requirement", "release"),
    [
        ("Torch (==2.12.1) ; python_version == '3.11'", "2.12.1"),
        ("torch == 2.12", "2.12"),
        ("torch == 2.12.*", "2.12"),
    ],
)
def test_a_pinned_requirement_says_what_a_package_was_built_for(requirement, release):
    assert why(built_for("1.0", [requirement]), "symbol", "_ZN3c10foo", beside=[TORCH], needs=["torch"]) == (
        f"flash-attn 1.0 was built for torch {release}; the lock has torch 2.13.0+cpu"
    )


def test_a_package_built_for_another_build_of_the_same_release():
    package = built_for("1.0", ["torch==2.13.0"])
    assert why(package, "symbol", "_ZN3c10foo", beside=[TORCH], needs=["torch"]) == (
        "flash-attn 1.0 was built for another build of torch 2.13.0; the lock has torch 2.13.0+cpu"
    )


def test_a_marker_is_not_taken_for_the_pin():
    text = why(
        built_for("1.0", ["torch ; '3.11' == python_version"]),
        "symbol",
        "_ZN3c10foo",
        beside=[TORCH],
        needs=["torch"],
    )
    assert text == "flash-attn 1.0 was built for another torch; the lock has torch 2.13.0+cpu"


def test_symbols_are_those_of_a_package_whose_libraries_are_needed():
    other = {"name": "other", "version": "3.0"}
    package = {"name": "demo", "version": "1.0", "requires": ["torch", "other==2.0"]}
    assert why(package, "symbol", "thing", beside=[TORCH, other], needs=["other"]) == (
        "demo 1.0 was built for other 2.0; the lock has other 3.0"
    )
    assert why(package, "symbol", "thing", beside=[TORCH, other]) is None


def test_nvidia_s_parts_and_the_package_itself_are_not_blamed_for_symbols():
    part = {"name": "nvidia-cublas", "version": "13.0"}
    package = {"name": "demo", "version": "1.0", "requires": ["demo", "nvidia-cublas==12.0"]}
    assert why(package, "symbol", "thing", beside=[part], needs=["nvidia-cublas"]) is None


@pytest.mark.parametrize(
    ("soname", "runtime", "said"),
    [
        ("libcudart.so.12", None, "it was built for CUDA 12; the lock has no CUDA"),
        (
            "libcublas.so.12",
            ("nvidia-cuda-runtime", "13.0.48"),
            "it was built for CUDA 12; the lock has CUDA 13.0.48",
        ),
        (
            "libcudart.so.11.0",
            ("nvidia-cuda-runtime-cu12", "12.8.90"),
            "it was built for CUDA 11; the lock has CUDA 12.8.90",
        ),
        (
            "libnvJitLink.so.13",
            ("nvidia-cuda-nvrtc", "12.8.90"),
            "it was built for CUDA 13; the lock has no CUDA",
        ),
    ],
)
def test_a_package_built_for_another_cuda(soname, runtime, said):
    package = {"name": "demo", "version": "1.0"}
    beside = [] if runtime is None else [{"name": runtime[0], "version": runtime[1]}]
    assert why(package, "library", soname, beside=beside) == said


@pytest.mark.parametrize("soname", ["libGL.so.1", "libtorchaudio.so", "libcudnn.so.9"])
def test_of_a_library_of_nobody_there_is_nothing_to_say(soname):
    package = {"name": "demo", "version": "1.0", "requires": ["torch==2.13.0"]}
    assert why(package, "library", soname, beside=[TORCH]) is None


def test_a_version_of_symbols_is_of_what_the_image_has():
    package = {"name": "demo", "version": "1.0"}
    assert why(package, "version", "GLIBC_2.38", provider="libc.so.6") == (
        "the image's libc.so.6 is older than what this was built with"
    )
