"""Which CUDA an image has: chosen for its machines and the releases that it pins."""

from builder.cuda.choice import (
    Build,
    NoBuildError,
    builds_of,
    choose_build,
    cuda_of,
    default_build,
    fitting_releases,
    index_of,
    newest_of,
    packages,
    releases,
    runs_on,
)
from builder.cuda.container import cuda_of_packages, describe, locked_cuda
from builder.cuda.parts import Part, part_of, requirements
from builder.cuda.toolkit import (
    HOME,
    ToolkitError,
    check_toolkit,
    default_cuda,
    hides_functions,
    host_compiler,
    nvcc_flags,
    parts_of,
    toolkit_packages,
)

__all__ = [
    "HOME",
    "Build",
    "NoBuildError",
    "Part",
    "ToolkitError",
    "builds_of",
    "check_toolkit",
    "choose_build",
    "cuda_of",
    "cuda_of_packages",
    "default_build",
    "default_cuda",
    "describe",
    "fitting_releases",
    "hides_functions",
    "host_compiler",
    "index_of",
    "locked_cuda",
    "newest_of",
    "nvcc_flags",
    "packages",
    "part_of",
    "parts_of",
    "releases",
    "requirements",
    "runs_on",
    "toolkit_packages",
]
