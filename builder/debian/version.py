"""Debian version numbers (Debian policy, section 5.6.12)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

Operator = Literal["<<", "<=", "=", ">=", ">>"]

# A part is read as runs of "not a digit" and "digits" in turn; the last, empty match ends it.
_RUNS = re.compile(r"(\D*)(\d*)")

_Part = tuple[tuple[tuple[int, ...], int], ...]
VersionKey = tuple[int, _Part, _Part]


def _order(character: str) -> int:
    """A tilde sorts before the end of the part (0), letters before everything else."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _part(text: str) -> _Part:
    return tuple(
        ((*map(_order, other), 0), int(digits) if digits else 0) for other, digits in _RUNS.findall(text)
    )


@lru_cache(maxsize=8192)
def version_key(version: str) -> VersionKey:
    """A key that sorts as Debian versions do: `[epoch:]upstream[-revision]`.

    Args:
        version: for example `1:3.2~rc1-4+deb12u2`. An absent epoch or revision counts as 0.
    """
    epoch, colon, rest = version.strip().partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version.strip()
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch), _part(upstream), _part(revision or "0")


def satisfies(version: str, operator: Operator, wanted: str) -> bool:
    """Whether `version OPERATOR wanted` holds, with the operators of a Depends field (policy 7.1)."""
    left, right = version_key(version), version_key(wanted)
    if operator == "=":
        return left == right
    if operator == ">=":
        return left >= right
    if operator == "<=":
        return left <= right
    return left > right if operator == ">>" else left < right
