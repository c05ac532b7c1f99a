from __future__ import annotations

import pytest
from packaging.version import Version
from pep440 import is_same, normalize

SPELLINGS = [
    "1", "1.0", "1.0.0", "v1.0", "01.0", "1!1.0", "1.0a1", "1.0-alpha.1", "1.0ALPHA", "1.0b2", "1.0_beta_2", "1.0c3",
    "1.0rc3", "1.0-preview3", "1.0.post4", "1.0-4", "1.0rev4", "1.0.dev5", "1.0dev", "1.0a1.post2.dev3", "2024.01.02",
    "1.0+cpu", "1.0+CPU", "1.0+ab-c_1", "1.0+ab.c.01", "0", "0.0", "1.10", "1.1",
]  # fmt: skip


def test_versions_are_equal_exactly_when_packaging_says_so():
    for one in SPELLINGS:
        for other in SPELLINGS:
            assert (normalize(one) == normalize(other)) == (Version(one) == Version(other)), (one, other)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2.0+cpu", "2.0", True),
        ("2.0", "2.0.0+cpu", True),
        ("2.0+cpu", "2.0+cu126", False),
        ("2.0", "2.1", False),
        ("not a version", "Not A Version", True),
    ],
)
def test_a_missing_local_part_is_let_pass(one, other, same):
    assert is_same(one, other) is same
