"""Libraries' packages, found in the index of the machine's own mirror of Debian."""

from __future__ import annotations

import time

import pytest

from builder.debian.contents import find_packages

PACKAGES = {
    "libGL.so.1": "libgl1",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libcrypto.so.3": "libssl3",
    "libodbc.so.2": "libodbc2",
    "libpq.so.5": "libpq5",
}
# Packages whose names say nothing of the library, or that maintainer scripts link to where the loader looks.
UNLIKE = {"libz.so.1": "zlib1g", "libOpenCL.so.1": "ocl-icd-libopencl1", "libblas.so.3": "libblas3"}


@pytest.mark.parametrize("target", ["x86_64", "aarch64"])
def test_the_index_says_which_package_has_a_library(cache, target):
    notes = []
    found = find_packages(
        [*PACKAGES, *UNLIKE, "libnothing.so.9"],
        python="3.11",
        mirrors={},
        cache=cache / "builder",
        target=target,
        note=notes.append,
    )
    assert (found, notes) == ({**PACKAGES, **UNLIKE}, [])


def test_packages_renamed_for_64_bit_times_are_found(cache):
    # Some mirrors lag behind the signed list with trixie's index of files. These packages are found by name too.
    found = find_packages([*PACKAGES, "libnothing.so.9"], python="3.13", mirrors={}, cache=cache / "builder")
    renamed = {"libglib2.0-0": "libglib2.0-0t64", "libssl3": "libssl3t64"}
    assert found == {soname: renamed.get(name, name) for soname, name in PACKAGES.items()}


def test_a_second_lookup_takes_a_fraction_of_a_second(tmp_path):
    def timed(soname):
        begin = time.monotonic()
        found = find_packages([soname], python="3.11", mirrors={}, cache=tmp_path)
        return found, time.monotonic() - begin

    first, took = timed("libGL.so.1")
    second, takes = timed("libpq.so.5")
    print(f"first {took:.2f} s, second {takes:.3f} s")
    assert (first, second) == ({"libGL.so.1": "libgl1"}, {"libpq.so.5": "libpq5"})
    assert takes < took / 2
