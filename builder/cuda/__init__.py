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
from builder.cuda.container import describe, locked_cuda
from builder.cuda.parts import Part, part_of, requirements

__all__ = [
    "Build",
    "NoBuildError",
    "Part",
    "builds_of",
    "choose_build",
    "cuda_of",
    "default_build",
    "describe",
    "fitting_releases",
    "index_of",
    "locked_cuda",
    "newest_of",
    "packages",
    "part_of",
    "releases",
    "requirements",
    "runs_on",
]
