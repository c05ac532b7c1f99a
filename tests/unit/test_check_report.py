"""How a check of reproducibility is told to people, scripts and CI."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

from builder.check_report import CheckReport
from builder.file_differences import FileDifference
from builder.outcome import Comparison, Outcome

SAME = Outcome("layer-six", derivation="/six.drv")
OTHER = Outcome("wheel-x", ("/x", "/x.check"), (FileDifference("x.whl!when.py", 7),), derivation="/x.drv")
PUSHED = Comparison("registry", "docker://host/app:1", "sha256:a", "sha256:a", "same")
DIFFERENT = replace(PUSHED, there="sha256:b", state="different", why=("Python: 3.11 here, 3.12 there",))
SILENT = Comparison("cache", "https://cache", "sha256:c", "", "not made", ("it lacks image-app",))


def report(*cases: Outcome | Comparison) -> CheckReport:
    steps = [case for case in cases if isinstance(case, Outcome)]
    return CheckReport("app", "sha256:a", steps, [case for case in cases if isinstance(case, Comparison)])


def test_what_differs_counts_more_than_what_could_not_be_compared() -> None:
    assert report(SAME, PUSHED).exit_code == 0
    assert report(SAME, PUSHED, SILENT).exit_code == 2
    assert report(OTHER, SILENT).exit_code == 1
    assert report(SAME, SILENT, DIFFERENT).exit_code == 1


def test_junit_tells_failures_from_what_could_not_be_compared() -> None:
    suite = ET.fromstring(report(SAME, OTHER, PUSHED, SILENT).junit())
    assert [suite.get(key) for key in ("tests", "failures", "errors")] == ["4", "1", "1"]
    found = {case.get("name"): [child.tag for child in case] for case in suite}
    assert found == {
        "layer-six": [],
        "wheel-x": ["failure"],
        "registry docker://host/app:1": [],
        "cache https://cache": ["error"],
    }
    assert "x.whl!when.py: from byte 7 on" in (suite[1][0].text or "")
    assert "it lacks image-app" in (suite[3][0].text or "")


def test_people_read_what_differs_and_where_it_is_kept() -> None:
    lines = report(SAME, OTHER, DIFFERENT).text().splitlines()
    assert lines[:4] == [
        "wheel-x: not the same",
        "  first  /x",
        "  second /x.check",
        "  x.whl!when.py: from byte 7 on",
    ]
    assert lines[4] == "app: 1 of 2 steps gave the same again; sha256:a"
    assert lines[5:] == [
        "registry docker://host/app:1: not the same",
        "  here   sha256:a",
        "  there  sha256:b",
        "  Python: 3.11 here, 3.12 there",
    ]
