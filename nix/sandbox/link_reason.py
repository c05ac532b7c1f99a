"""Says why a library of a package most likely lacks something.

Nearly always the package was built for another release, or another build, of a package that it requires: then the two
versions are what its user has to look at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import links

if TYPE_CHECKING:
    from collections.abc import Mapping

    from links import Unmet

# CUDA's own libraries whose version is CUDA's.
_CUDA = re.compile(r"lib(?:cudart|cublas|cublasLt|nvrtc|nvJitLink)\.so\.(?P<major>\d+)")
_CUDA_RUNTIME = re.compile(r"nvidia-cuda-runtime(?:-cu\d+)?")
_PINNED = re.compile(r"==\s*(?P<version>[\w.+!*]+)")
# Builds for PyTorch say in their version which: "2.7.0.post1+cu12torch2.5cxx11abiFALSE", "2.1.2+pt25cu124".
_IN_VERSION = re.compile(r"torch(?P<dotted>\d+\.\d+)|pt(?P<major>\d)(?P<minor>\d+)", re.IGNORECASE)
_EXTRA = re.compile(r"\bextra\s*==")
_TORCH = "torch"


def reason(one: Unmet, packages: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The likely reason, or None where there is nothing to say.

    Args:
        one: what is not met.
        packages: the image's, by name.
    """
    if one.kind == "version":
        return f"the image's {one.provider} is older than what this was built with"
    other = _belongs_to(one, packages)
    if other is not None:
        return _other_build(one, packages[one.package], packages[other])
    if found := _CUDA.match(one.names[0]):
        runtime = next((name for name in packages if _CUDA_RUNTIME.fullmatch(name)), None)
        there = f"the lock has CUDA {packages[runtime]['version']}" if runtime else "the lock has no CUDA"
        return f"it was built for CUDA {found['major']}; {there}"
    return None


def _belongs_to(one: Unmet, packages: Mapping[str, Mapping[str, Any]]) -> str | None:
    """The package that should have what is missing."""
    required = [links.normalized(text) for text in _requires(packages[one.package])]
    # flash-attn and its kin do not always say so.
    known = [name for name in dict.fromkeys((*required, *sorted(one.needs), _TORCH)) if name in packages]
    known = [name for name in known if name != one.package and not name.startswith("nvidia-")]
    if one.kind == "symbol":
        return next((name for name in known if name in one.needs), None)
    stem = _stem(one.names[0])
    for name in known:
        stems = {_stem(library["path"].rpartition("/")[2]) for library in packages[name].get("libraries", ())}
        if any(stem.startswith(f"{other}_") for other in stems):
            return name
    return None


def _requires(package: Mapping[str, Any]) -> list[str]:
    """What a package requires in any case."""
    return [text for text in package.get("requires", ()) if not _EXTRA.search(text.partition(";")[2])]


def _stem(name: str) -> str:
    return name.partition(".so")[0]


def _other_build(one: Unmet, package: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    title = f"{one.package} {one.version}"
    there = f"the lock has {other['name']} {other['version']}"
    built_for = _built_for(package, other["name"])
    if built_for is None:
        return f"{title} was built for another {other['name']}; {there}"
    if other["version"].partition("+")[0] == built_for:
        with_cuda = " with CUDA" if "_cuda" in one.names[0] else ""
        return f"{title} was built for another build of {other['name']} {built_for}{with_cuda}; {there}"
    return f"{title} was built for {other['name']} {built_for}; {there}"


def _built_for(package: Mapping[str, Any], other: str) -> str | None:
    """The release of another package that a package says it was built for."""
    if other == _TORCH and (found := _IN_VERSION.search(package["version"])):
        return found["dotted"] or f"{found['major']}.{found['minor']}"
    for text in _requires(package):
        if links.normalized(text) == other and (pinned := _PINNED.search(text.partition(";")[0])):
            return pinned["version"].removesuffix(".*")
    return None
