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
    packages,
    releases,
    runs_on,
)
from builder.cuda.container import describe, locked_cuda

__all__ = [
    "Build",
    "NoBuildError",
    "builds_of",
    "choose_build",
    "cuda_of",
    "default_build",
    "describe",
    "fitting_releases",
    "index_of",
    "locked_cuda",
    "packages",
    "releases",
    "runs_on",
]
