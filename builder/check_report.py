"""What a check of reproducibility says: to scripts as JSON, to CI as JUnit's XML, and by its exit code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.outcome import Comparison, Outcome, Part

DIFFERENT, NOT_CHECKED = 1, 2
"""Exit codes: something is not the same; something could not be compared."""


@dataclass(frozen=True)
class CheckReport:
    """All of a check.

    Attributes:
        name: the app's name.
        digest: of the image that was built.
        steps: what was built again.
        comparisons: what it was compared with besides.
    """

    name: str
    digest: str
    steps: Sequence[Outcome]
    comparisons: Sequence[Comparison]

    @property
    def exit_code(self) -> int:
        """0 where all is the same; what differs counts more than what could not be compared."""
        states = {case.state for case in self._cases()}
        return DIFFERENT if "different" in states else NOT_CHECKED if "not made" in states else 0

    def body(self) -> dict[str, Any]:
        """What `--json` prints; keys are added over time, never changed."""
        return {
            "name": self.name,
            "digest": self.digest,
            "steps": len(self.steps),
            "different": [asdict(step) for step in self._different()],
            "comparisons": [asdict(comparison) for comparison in self.comparisons],
        }

    def text(self) -> str:
        """The same for people."""
        different = self._different()
        same = len(self.steps) - len(different)
        return "\n".join(
            [
                *(step.describe() for step in different),
                f"{self.name}: {same} of {len(self.steps)} steps gave the same again; {self.digest}",
                *(comparison.describe() for comparison in self.comparisons),
            ]
        )

    def junit(self) -> bytes:
        """The same as JUnit's XML: a test case for each step and each comparison."""
        cases = self._cases()
        suite = ET.Element(
            "testsuite",
            name=f"builder check {self.name}",
            tests=str(len(cases)),
            failures=str(sum(case.state == "different" for case in cases)),
            errors=str(sum(case.state == "not made" for case in cases)),
        )
        for case in cases:
            element = ET.SubElement(suite, "testcase", classname=self.name, name=case.name)
            if case.state == "different":
                ET.SubElement(element, "failure", message="it is not the same").text = case.describe()
            elif case.state == "not made":
                ET.SubElement(element, "error", message="it could not be compared").text = case.describe()
        text: bytes = ET.tostring(suite, encoding="utf-8", xml_declaration=True)
        return text

    def _cases(self) -> list[Part | Comparison]:
        return [*self.steps, *self.comparisons]

    def _different(self) -> list[Outcome]:
        return [step for step in self.steps if step.state == "different"]
