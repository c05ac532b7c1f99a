"""NVIDIA's packages of CUDA's libraries, by soname."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement

from builder.cuda import Part, part_of, requirements


@pytest.mark.parametrize(
    ("soname", "extra", "majors"),
    [
        ("libcudart.so.12", "cudart", (12,)),
        ("libcudart.so.13", "cudart", (13,)),
        ("libcudart.so.11.0", "cudart", (11,)),
        ("libcublasLt.so.12", "cublas", (12,)),
        ("libnvJitLink.so.13", "nvjitlink", (13,)),
        ("libcufft.so.11", "cufft", (12,)),
        ("libcufft.so.12", "cufft", (13,)),
        ("libcufft.so.10", "cufft", ()),
        ("libcurand.so.10", "curand", (12, 13)),
        ("libcusparse.so.12", "cusparse", (12, 13)),
        ("libcufile.so.0", "cufile", (12, 13)),
        ("libnvrtc.so.11.2", "nvrtc", (11,)),
    ],
)
def test_a_library_of_the_toolkit_belongs_to_a_part_and_to_versions_of_cuda(
    soname: str, extra: str, majors: tuple[int, ...]
) -> None:
    assert part_of(soname) == Part(soname, extra, "", majors, 0)


@pytest.mark.parametrize(
    ("soname", "project", "release"),
    [
        ("libcudnn.so.9", "nvidia-cudnn", 9),
        ("libcudnn.so.8", "nvidia-cudnn", 8),
        ("libnccl.so.2", "nvidia-nccl", 2),
    ],
)
def test_a_library_beside_the_toolkit_has_a_package_of_its_own(
    soname: str, project: str, release: int
) -> None:
    assert part_of(soname) == Part(soname, "", project, (12, 13), release)


@pytest.mark.parametrize(
    "soname",
    ["libGL.so.1", "libcudart.so", "libcudart.so.x", "libcudart.so.12x", "cudart.so.12", "libcuda.so.1", ""],
)
def test_what_is_none_of_cuda_s_belongs_to_no_part(soname: str) -> None:
    assert part_of(soname) is None


@pytest.mark.parametrize(
    ("soname", "cuda", "requirement"),
    [
        ("libcudart.so.12", "12.6", "cuda-toolkit[cudart]==12.6.*"),
        ("libcusparse.so.12", "12.8", "cuda-toolkit[cusparse]==12.8.*"),
        ("libcusparse.so.12", "13.0", "cuda-toolkit[cusparse]==13.0.*"),
        ("libcudnn.so.9", "12.6", "nvidia-cudnn-cu12==9.*"),
        ("libcudnn.so.9", "13.0", "nvidia-cudnn-cu13==9.*"),
        ("libnccl.so.2", "13.0", "nvidia-nccl-cu13==2.*"),
        ("libcudart.so.12", "13.0", None),
        ("libcufft.so.11", "13.0", None),
        ("libcudnn.so.9", "11.8", None),
        ("libcudart.so.11.0", "12.6", None),
    ],
)
def test_a_requirement_brings_a_part_in_the_image_s_cuda_where_that_has_it(
    soname: str, cuda: str, requirement: str | None
) -> None:
    part = part_of(soname)
    assert part is not None
    found = list(requirements([part], cuda))
    assert found == ([(part, requirement)] if requirement else [])
    assert all(str(Requirement(text)) == text for _, text in found)
