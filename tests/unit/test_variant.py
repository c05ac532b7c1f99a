import pytest

from builder.variant import variant


@pytest.mark.parametrize(
    ("declared", "asked", "name"),
    [
        ("x86_64", None, "app"),
        ("x86_64", "x86_64", "app"),
        ("x86_64", "aarch64", "app-aarch64"),
        ("aarch64", None, "app"),
        ("aarch64", "aarch64", "app"),
        ("aarch64", "x86_64", "app-x86_64"),
    ],
)
def test_files_for_another_platform_have_names_of_their_own(declared, asked, name):
    assert variant("app", declared, asked) == name
