"""Dependency closure: the packages that a set of packages needs to work.

This is not a full solver. Debian keeps each suite installable with the highest version of every package, so
the first alternative that can be had is right, as it is for apt; what still goes wrong (a conflict, a version
nobody has) is reported, not searched around.
"""

from __future__ import annotations

from collections import deque
from difflib import get_close_matches
from typing import TYPE_CHECKING

from builder.errors import ResolveError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from builder.debian.index import Index, Package
    from builder.debian.relations import Alternatives, Relation


class HeldBackError(ResolveError):
    """A package that is already fixed is too old for what was asked."""


class Closure:
    """A growing set of packages, closed under dependencies."""

    def __init__(
        self,
        index: Index,
        *,
        suite: str,
        stop: Mapping[str, Collection[str]] | None = None,
        fixed: Mapping[str, Package] | None = None,
    ) -> None:
        """Start a set.

        Args:
            index: what can be had.
            suite: the suite's name, for messages.
            stop: packages not added as a dependency, by the name of the package that depends on them, "*" for
                any other's: a group of alternatives that names one of them counts as met.
            fixed: packages that are there already, at the versions they have.
        """
        self._index = index
        self._suite = suite
        self._stop = {dependent: frozenset(names) for dependent, names in (stop or {}).items()}
        self._fixed = dict(fixed or {})
        self._chosen: dict[str, Package] = {}
        self._provided: dict[str, list[Package]] = {}
        for package in self._fixed.values():
            self._note_provided(package)

    def add(self, names: Iterable[str], *, defaults: Iterable[str] = ()) -> None:
        """Add packages by name with all they depend on.

        Args:
            names: what is asked for.
            defaults: added too, but for those that one of `names` provides, as cargo-web does cargo.

        Raises:
            HeldBackError: a fixed package is too old for one of them.
            ResolveError: there is no such package, or a dependency cannot be met.
        """
        queue: deque[Package] = deque()
        # What was asked for comes first, so that alternatives are settled by it and not by their order.
        for name in names:
            self._take(self._named(name), queue)
        for name in defaults:
            if name not in self._provided:
                self._take(self._named(name), queue)
        while queue:
            package = queue.popleft()
            for group in package.requirements:
                self._meet(group, package, queue)

    def packages(self) -> list[Package]:
        """The set, fixed packages left out, by name.

        Raises:
            ResolveError: two of them exclude each other.
        """
        self._check_conflicts()
        return sorted(self._chosen.values(), key=lambda package: package.name)

    def _take(self, package: Package, queue: deque[Package]) -> None:
        if package.name in self._chosen or package.name in self._fixed:
            return
        self._chosen[package.name] = package
        self._note_provided(package)
        queue.append(package)

    def _note_provided(self, package: Package) -> None:
        for name in package.provided_names():
            self._provided.setdefault(name, []).append(package)

    def _present(self, relation: Relation) -> bool:
        own = self._chosen.get(relation.name) or self._fixed.get(relation.name)
        candidates = [own] if own else []
        candidates += self._provided.get(relation.name, [])
        return any(package.fulfils(relation) for package in candidates)

    def _meet(self, group: Alternatives, dependent: Package, queue: deque[Package]) -> None:
        stop = self._stop.get("*", frozenset()) | self._stop.get(dependent.name, frozenset())
        if any(relation.name in stop for relation in group) or any(map(self._present, group)):
            return
        held: Relation | None = None
        for relation in group:
            own = self._index.best(relation.name)
            for package in [*([own] if own else []), *self._index.providers(relation.name)]:
                if not package.fulfils(relation):
                    continue
                if package.name in self._fixed:
                    held = held or relation
                    continue
                self._take(package, queue)
                return
        wanted = " | ".join(map(str, group))
        if held is not None:
            raise HeldBackError(
                f"{dependent.name} {dependent.version} needs {wanted}, newer than the one in the lock"
            )
        raise ResolveError(
            f"Debian {self._suite}: {dependent.name} {dependent.version} depends on {wanted}, which cannot be had",
            hint="the mirror's indexes do not fit together, as when it is being updated: try again later",
        )

    def _named(self, name: str) -> Package:
        package = self._chosen.get(name) or self._fixed.get(name) or self._index.best(name)
        if package is not None:
            return package
        providers = self._index.providers(name)
        if len(providers) == 1:
            return providers[0]
        if providers:
            choices = ", ".join(provider.name for provider in providers)
            raise ResolveError(
                f"Debian {self._suite}: {name} is a virtual package",
                hint=f"name one that provides it: {choices}",
            )
        near = nearest_names(name, set(self._index.names()))
        raise ResolveError(
            f"Debian {self._suite} has no package {name}",
            hint=f"nearest are {', '.join(near)}" if near else "no package has a name like it",
        )

    def _check_conflicts(self) -> None:
        everything = {**self._fixed, **self._chosen}
        for package in self._chosen.values():
            for relation in package.excluded:
                own = everything.get(relation.name)
                others = [own] if own else []
                # A version in a conflict is compared with real packages only (policy 7.4 and 7.5).
                others += self._provided.get(relation.name, []) if relation.operator is None else []
                for other in others:
                    if other.name != package.name and other.fulfils(relation):
                        raise ResolveError(
                            f"Debian {self._suite}: {package.name} and {other.name} cannot be in one image: "
                            f"{package.name} {package.version} excludes {relation}",
                            hint="leave one of them, or what depends on it, out of system_packages and build_packages",
                        )


def nearest_names(name: str, names: Collection[str], *, count: int = 4) -> list[str]:
    """Names that the user may have meant, best first."""
    holding = sorted((other for other in names if name in other), key=lambda other: (len(other), other))
    # difflib compares slowly: 64,000 names take a second, those that begin alike a tenth of it.
    alike = get_close_matches(
        name, sorted(other for other in names if other[:2] == name[:2]), n=count, cutoff=0.75
    )
    return list(dict.fromkeys([*alike, *holding]))[:count]
