"""Which CUDA an image has: chosen for its machines and the releases that it pins."""

from builder.cuda.choice import Build, NoBuildError, choose_build, default_build, fitting_releases, releases

__all__ = ["Build", "NoBuildError", "choose_build", "default_build", "fitting_releases", "releases"]
