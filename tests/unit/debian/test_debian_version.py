import itertools
import random

import pytest

from builder.debian.version import satisfies, version_key

# Each list in ascending order. From Debian policy 5.6.12 and from what archives have held.
ASCENDING = [
    ["~~", "~~a", "~", "0", "a"],
    ["1.0~rc1-1", "1.0-1~bpo11+1", "1.0-1", "1.0-1+b1", "1.0-1+deb12u1", "1.0-1.1", "1.0-2", "1.0+dfsg-1"],
    ["2.9", "2.10", "10.0", "1:0.1", "2:0"],
    ["1.0a", "1.0b", "1.0+", "1.0.", "1.0.0.1"],
    ["3.11.2-6", "3.11.2-6+deb12u2", "3.11.2-6+deb12u10", "3.13.5-2"],
    ["0.3.21+ds-4", "0.3.29+ds-3", "0.3.29+ds-3.1"],
    ["1-2-1", "1-2-2", "1-3-1"],
]


@pytest.mark.parametrize("versions", ASCENDING)
def test_versions_sort_as_the_policy_says(versions):
    shuffled = versions[:]
    random.Random(0).shuffle(shuffled)
    assert sorted(shuffled, key=version_key) == versions
    for low, high in itertools.combinations(versions, 2):
        assert version_key(low) < version_key(high)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.01", "1.1"), ("1.a", "1.a0"), ("1.00-01", "1.0-1")],
)
def test_versions_that_only_look_different_are_equal(one, other):
    assert version_key(one) == version_key(other)


@pytest.mark.parametrize(
    ("version", "operator", "wanted", "expected"),
    [
        ("2.36-9", ">=", "2.36", True),
        ("2.36-9", "<<", "2.37", True),
        ("2.36-9", "=", "2.36-9", True),
        ("2.36-9+deb12u1", "=", "2.36-9", False),
        ("2.36-9", ">>", "2.36-9", False),
        ("2.36-9", "<=", "2.36-9", True),
        ("2.36~rc1", ">=", "2.36", False),
    ],
)
def test_a_versioned_relation_holds_or_not(version, operator, wanted, expected):
    assert satisfies(version, operator, wanted) is expected
