"""What is different between two locks, or two images: for people who review a change."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder.errors import DeclarationError
from builder.lock import read_lock
from builder.registry import inspect_raw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.models import Deb, Lock

_REFERENCE = "docker://"
_LABELS = {
    "builder.python": "Python",
    "org.opencontainers.image.base.name": "base",
    "builder.machine-types": "machine types",
    "builder.cuda": "CUDA",
    "builder.cuda.driver": "smallest driver",
    "builder.lock.digest": "lock",
}


@dataclass(frozen=True)
class Item:
    """A package or a layer.

    Attributes:
        version: a package's version; what a layer holds.
        size: bytes; None where it is not known.
    """

    version: str
    size: int | None = None


@dataclass(frozen=True)
class Side:
    """One of two things that are compared.

    Attributes:
        title: what it was called.
        kind: "lock" or "image".
        facts: what it says of itself, by name.
        groups: by what they are ("packages", "Debian packages", "layers") items by name.
    """

    title: str
    kind: str
    facts: Mapping[str, str]
    groups: Mapping[str, Mapping[str, Item]]

    @property
    def size(self) -> int | None:
        """Bytes of all layers, where these are known."""
        layers = self.groups.get("layers")
        return None if layers is None else sum(layer.size or 0 for layer in layers.values())


@dataclass(frozen=True)
class Change:
    """An item that only one side has, or that is different.

    Attributes:
        name: its name.
        before, after: what each side has; None for nothing.
    """

    name: str
    before: Item | None
    after: Item | None


@dataclass(frozen=True)
class Difference:
    """What is different.

    Attributes:
        before, after: the two sides.
        facts: by name what each side says; "" for nothing.
        changes: by group, sorted by name.
        same: by group the number of items that are the same.
    """

    before: Side
    after: Side
    facts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    changes: Mapping[str, tuple[Change, ...]] = field(default_factory=dict)
    same: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is different."""
        return not self.facts and not any(self.changes.values())


def read_side(text: str) -> Side:
    """Read what is to be compared.

    Args:
        text: path of a lock; of an OCI layout, such as a link `result-<app>`; or `docker://host/repository:tag`.

    Raises:
        BuildError: a registry does not give the image.
        DeclarationError: it is none of these.
        LockError: the lock is malformed.
        ToolError: skopeo is missing.
    """
    if text.startswith(_REFERENCE):
        return _of_registry(text)
    path = Path(text)
    if (path / "index.json").exists():
        return _of_layout(text, path)
    if path.is_file():
        return _of_lock(text, read_lock(path).lock)
    raise DeclarationError(
        f"{text!r} is neither a lock nor an image",
        hint="Name a file pylock.<app>.toml, a link result-<app>, or docker://host/repository:tag.",
    )


def compare(before: Side, after: Side) -> Difference:
    """Find what is different.

    Raises:
        DeclarationError: one is a lock and the other an image.
    """
    if before.kind != after.kind:
        raise DeclarationError(
            f"{before.title} is a{'n' if before.kind == 'image' else ''} {before.kind}, and {after.title} is not",
            hint="Compare two locks, or two images.",
        )
    facts = {
        name: (before.facts.get(name, ""), after.facts.get(name, ""))
        for name in dict.fromkeys((*before.facts, *after.facts))
        if before.facts.get(name) != after.facts.get(name)
    }
    changes, same = {}, {}
    for group in dict.fromkeys((*before.groups, *after.groups)):
        old, new = before.groups.get(group, {}), after.groups.get(group, {})
        names = sorted({*old, *new})
        changes[group] = tuple(
            Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)
        )
        same[group] = sum(old.get(name) == new.get(name) for name in names)
    return Difference(before, after, facts, changes, same)


def _of_lock(title: str, lock: Lock) -> Side:
    facts = {
        "Python": lock.python,
        "Debian": lock.base.suite,
        "architecture": lock.architecture,
        "machine types": ", ".join(lock.machine_types),
    }
    packages = {package.name: Item(package.version, package.size) for package in lock.packages}
    debs = _debs((*lock.base.debs.get(lock.architecture, ()), *lock.base.extra))
    return Side(title, "lock", facts, {"packages": packages, "Debian packages": debs})


def _debs(debs: tuple[Deb, ...]) -> dict[str, Item]:
    return {deb.package: Item(deb.version, deb.size) for deb in debs}


def _of_layout(title: str, path: Path) -> Side:
    def blob(digest: str) -> Any:  # noqa: ANN401 - whatever JSON the blob holds
        return json.loads((path / "blobs" / digest.replace(":", "/")).read_bytes())

    try:
        manifest = blob(json.loads((path / "index.json").read_bytes())["manifests"][0]["digest"])
        return _of_image(title, manifest, blob(manifest["config"]["digest"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DeclarationError(f"{title} is no OCI layout that can be read: {error}") from error


def _of_registry(reference: str) -> Side:
    bare = reference.removeprefix(_REFERENCE)
    found = [json.loads(inspect_raw(bare, config=config)) for config in (False, True)]
    return _of_image(reference, *found)


def _of_image(title: str, manifest: Mapping[str, Any], config: Mapping[str, Any]) -> Side:
    labels = config.get("config", {}).get("Labels") or {}
    facts = {shown: labels[label] for label, shown in _LABELS.items() if label in labels}
    history = [
        entry.get("created_by", "") for entry in config.get("history", ()) if not entry.get("empty_layer")
    ]
    layers = {
        layer["digest"]: Item(
            history[number].removeprefix("builder: ") if number < len(history) else "", layer["size"]
        )
        for number, layer in enumerate(manifest["layers"])
    }
    return Side(title, "image", facts, {"layers": layers})
