import pytest

from builder.debian.suites import suite_for
from builder.errors import DeclarationError


@pytest.mark.parametrize(
    ("python", "codename"), [("3.9", "bullseye"), ("3.11", "bookworm"), ("3.13", "trixie"), ("3.14", "forky")]
)
def test_each_offered_python_has_its_suite(python, codename):
    assert suite_for(python).codename == codename


def test_a_python_that_no_suite_has_is_refused_with_those_that_are_offered():
    with pytest.raises(
        DeclarationError, match=r"no Debian suite has Python 3\.10; offered are 3\.9, 3\.11, 3\.13"
    ) as e:
        suite_for("3.10")
    assert "[tool.builder.suites]" in e.value.hint
    assert "dated archive" in e.value.hint


def test_a_users_suite_adds_a_python_and_needs_no_other_pocket():
    suite = suite_for("3.12", {"3.12": "trixie"})
    assert [(pocket.name, pocket.required) for pocket in suite.pockets] == [
        ("trixie", True),
        ("trixie-updates", False),
        ("trixie-security", False),
    ]


def test_a_released_suite_is_not_used_without_its_security_pocket():
    security = suite_for("3.11").pockets[-1]
    assert (security.archive, security.name, security.required) == (
        "debian-security",
        "bookworm-security",
        True,
    )


def test_testing_may_lack_one():
    assert not suite_for("3.14").pockets[-1].required
