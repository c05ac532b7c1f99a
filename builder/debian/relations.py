"""Relationships between packages, as fields of a control stanza state them (Debian policy, chapter 7)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from builder.debian.version import Operator, satisfies

# name, an architecture qualifier (`:any`), then `(>= version)`. The qualifier tells a multi-arch system which
# architecture's package will do; a base has one architecture, so it is read and dropped.
_RELATION = re.compile(
    r"\s*(?P<name>[a-z0-9][a-z0-9+.-]*)(?::[a-z0-9-]+)?\s*"
    r"(?:\(\s*(?P<operator><<|<=|>=|>>|=|<|>)\s*(?P<version>[^)\s]+)\s*\))?"
)
# `<` and `>` meant "or equal" in fields written before 1996; policy 7.1 has tools still read them so.
_DEPRECATED = {"<": "<=", ">": ">="}


@dataclass(frozen=True)
class Relation:
    """One package, virtual or real, that a field names.

    Attributes:
        name: the package's name.
        operator, version: the versions that will do; None where any will.
    """

    name: str
    operator: Operator | None = None
    version: str | None = None

    def admits(self, version: str | None) -> bool:
        """Whether that version will do. None, a Provides without a version, does only where any will."""
        if self.operator is None or self.version is None:
            return True
        return version is not None and satisfies(version, self.operator, self.version)

    def __str__(self) -> str:
        return self.name if self.operator is None else f"{self.name} ({self.operator} {self.version})"


Alternatives = tuple[Relation, ...]


@lru_cache(maxsize=4096)
def parse_relations(field: str) -> tuple[Alternatives, ...]:
    """Read a Depends, Conflicts or Provides field.

    Args:
        field: the field's value: alternatives with `|` between them, groups with `,`.

    Returns:
        The groups in order, each the alternatives that satisfy it in order.

    Raises:
        ValueError: the field is not one.
    """
    groups = []
    for group in filter(None, (part.strip() for part in field.split(","))):
        alternatives = []
        for text in group.split("|"):
            match = _RELATION.fullmatch(text.rstrip())
            if match is None:
                raise ValueError(f"not a package relation: {text.strip()!r}")
            operator = match["operator"]
            alternatives.append(
                Relation(
                    match["name"],
                    cast("Operator | None", _DEPRECATED.get(operator, operator)),
                    match["version"],
                )
            )
        groups.append(tuple(alternatives))
    return tuple(groups)
