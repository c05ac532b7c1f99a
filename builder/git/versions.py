"""The version that a commit's project has by the repository's tags, and how build backends are told of it.

In a build there is no `.git`. setuptools-scm and its kin would find no tags there, so they are told what they would
have made of them (setuptools-scm: "Default versioning scheme", `guess-next-dev` with the commit as local part).
"""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

# `git describe --long`: TAG-DISTANCE-gHASH.
_DESCRIBED = re.compile(r"(?P<tag>.+)-(?P<distance>\d+)-g[0-9a-f]+")
# A project's name may stand before the version: name-1.2.3.
_TAG = re.compile(r"(?:[\w-]+-)?(?P<version>[vV]?\d.*)")
_SHORT = 7

# Each is read by the project it is named after; hatch-vcs and flit-scm ask setuptools-scm.
_VARIABLES = (
    "SETUPTOOLS_SCM_PRETEND_VERSION",
    "PDM_BUILD_SCM_VERSION",
    "POETRY_DYNAMIC_VERSIONING_BYPASS",
    "UV_DYNAMIC_VERSIONING_BYPASS",
    "PBR_VERSION",
)


def version_variables(version: str) -> dict[str, str]:
    """The environment variables that tell build backends a version which they cannot read from git.

    Args:
        version: PEP 440 version.
    """
    return dict.fromkeys(_VARIABLES, version)


def described_version(described: str, commit: str) -> str | None:
    """The version of a commit that has a tag, or comes after one.

    Args:
        described: what `git describe --tags --long` says: `v1.2.3-4-gabcdef0`.
        commit: the full hash.

    Returns:
        `1.2.3` on the tag itself, `1.2.4.dev4+gabcdef0` four commits after it; None where the tag is no version
        (PEP 440).
    """
    match = _DESCRIBED.fullmatch(described)
    tag = _TAG.fullmatch(match["tag"]) if match else None
    if not match or not tag:
        return None
    try:
        version = Version(tag["version"])
        if match["distance"] == "0":
            return str(version)
        local = f"{version.local}." if version.local else ""
        return str(Version(f"{_following(version)}.dev{match['distance']}+{local}g{commit[:_SHORT]}"))
    except InvalidVersion:
        return None


def untagged_version(count: int, commit: str) -> str:
    """The version of a commit with no tag before it, which is that of a first release to come.

    Args:
        count: how many commits led to it, itself included.
        commit: the full hash.
    """
    return f"0.1.dev{count}+g{commit[:_SHORT]}"


def _following(version: Version) -> str:
    """The version that development after this one leads to: its last number is one higher."""
    public = version.public
    if version.dev is not None:
        return public.rpartition(".dev")[0]
    head, number = re.fullmatch(r"(.*?)(\d+)", public).groups()  # type: ignore[union-attr] # it ends with a number
    return f"{head}{int(number) + 1}"
