import pytest

from builder.variant import declared_architecture, variant


@pytest.mark.parametrize(
    ("machines", "architecture"),
    [((), "x86_64"), (("S",), "x86_64"), (("GPU-H100", "GPU-A100"), "x86_64"), (("GPU-GH200",), "aarch64")],
)
def test_the_machine_type_says_the_architecture(machines, architecture):
    assert declared_architecture(machines) == architecture


@pytest.mark.parametrize(
    ("machines", "asked", "name"),
    [
        (("S",), None, "app"),
        (("S",), "x86_64", "app"),
        (("S",), "aarch64", "app-aarch64"),
        (("GPU-GH200",), None, "app"),
        (("GPU-GH200",), "aarch64", "app"),
        (("GPU-GH200",), "x86_64", "app-x86_64"),
    ],
)
def test_files_for_another_platform_have_names_of_their_own(machines, asked, name):
    assert variant("app", machines, asked) == name
