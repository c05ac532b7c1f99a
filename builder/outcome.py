"""What a check of reproducibility came to, for each step that was built again and each place that was compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from builder.file_differences import FileDifference

State = Literal["same", "different", "not made"]


@dataclass(frozen=True)
class Part:
    """A step's result or a layer, held against what should be the same.

    Attributes:
        name: its name.
        results: the two that differ, by path; both are kept. None where there is no difference.
        files: the first few files that differ.
        report: path of what diffoscope says of them; None where it is not installed.
    """

    name: str
    results: tuple[str, str] | None = None
    files: tuple[FileDifference, ...] = ()
    report: str | None = None

    @property
    def state(self) -> State:
        """Whether the two are the same."""
        return "same" if self.results is None else "different"

    def describe(self) -> str:
        """What differs, for people."""
        if self.results is None:
            return f"{self.name}: the same"
        lines = [f"{self.name}: not the same", f"  first  {self.results[0]}", f"  second {self.results[1]}"]
        lines += [f"  {file.describe()}" for file in self.files]
        if self.report:
            lines.append(f"  diffoscope says more in {self.report}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Outcome(Part):
    """What the second build of a step came to.

    Attributes:
        derivation: the step's derivation.
    """

    derivation: str = ""


@dataclass(frozen=True)
class Comparison:
    """What another place has of the image, held against the one that was built here.

    Attributes:
        kind: what the other place is.
        place: the lock's path, the cache's URL or the reference.
        here, there: the digest of each manifest, or in a cache the hash of the image's folder; "" where there is none.
        state: "not made" where the place has no image, or does not answer.
        why: what is known of the reasons, a phrase each.
        parts: the layers that differ.
    """

    kind: Literal["recorded", "cache", "registry"]
    place: str
    here: str
    there: str
    state: State
    why: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()

    @property
    def name(self) -> str:
        """What is compared, for people and for JUnit."""
        return {"recorded": "digest recorded in", "cache": "cache", "registry": "registry"}[
            self.kind
        ] + f" {self.place}"

    def because(self, reason: str) -> Comparison:
        """The same, with a reason."""
        return replace(self, why=(*self.why, reason))

    def describe(self) -> str:
        """The outcome, for people."""
        if self.state == "same":
            return f"{self.name}: the same, {self.there}"
        if self.state == "not made":
            return "\n".join([f"{self.name}: could not be compared", *(f"  {phrase}" for phrase in self.why)])
        lines = [f"{self.name}: not the same", f"  here   {self.here}", f"  there  {self.there}"]
        lines += [f"  {phrase}" for phrase in self.why]
        lines += [f"  {line}" for part in self.parts for line in part.describe().splitlines()]
        return "\n".join(lines)
