from __future__ import annotations

import pytest

from builder.debian.sonames import likely_package, likely_packages


@pytest.mark.parametrize(
    ("soname", "package"),
    [
        ("libGL.so.1", "libgl1"),
        ("libglib-2.0.so.0", "libglib2.0-0"),
        ("libgthread-2.0.so.0", "libglib2.0-0"),
        ("libX11.so.6", "libx11-6"),
        ("libodbc.so.2", "libodbc2"),
        ("libsndfile.so.1", "libsndfile1"),
        ("libxcb.so.1", "libxcb1"),
        ("libSM.so.6", "libsm6"),
        ("libtbb.so.12", "libtbb12"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libfoo-1.2.so", "libfoo1.2"),
        ("libxcb-icccm.so.4", "libxcb-icccm4"),
        ("libcrypto.so.3", "libssl3"),
        ("not a library", None),
    ],
)
def test_a_package_is_named_after_its_library(soname: str, package: str | None) -> None:
    assert likely_package(soname) == package


@pytest.mark.parametrize(
    ("soname", "packages"),
    [
        ("libGL.so.1", ("libgl1", "libgl1t64", "libgl1v5")),
        ("libcrypto.so.3", ("libssl3", "libssl3t64", "libssl3v5")),
        (
            "libgtk-3.so.0",
            (
                "libgtk3-0",
                "libgtk-3-0",
                "libgtk3-0t64",
                "libgtk-3-0t64",
                "libgtk3-0v5",
                "libgtk-3-0v5",
            ),
        ),
        ("libfoo-1.2.so", ("libfoo1.2", "libfoo1.2t64", "libfoo1.2v5")),
        ("not a library", ()),
    ],
)
def test_a_name_has_forms(soname: str, packages: tuple[str, ...]) -> None:
    assert likely_packages(soname) == packages
