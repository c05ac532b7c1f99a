from __future__ import annotations

import pytest

from builder.git import version_variables
from builder.git.versions import described_version, untagged_version

COMMIT = "abcdef0123456789abcdef0123456789abcdef01"


class TestVersions:
    @pytest.mark.parametrize(
        ("described", "version"),
        [
            ("v1.2.3-0-gabcdef0", "1.2.3"),
            ("1.2.3-0-gabcdef0", "1.2.3"),
            ("my-name-1.2.3-0-gabcdef0", "1.2.3"),
            ("v1.2-rc1-0-gabcdef0", "1.2rc1"),
            ("1.0+cu121-0-gabcdef0", "1.0+cu121"),
            ("1.0+cu121-2-gabcdef0", "1.1.dev2+cu121.gabcdef0"),
            ("v1.2.3-4-gabcdef0", "1.2.4.dev4+gabcdef0"),
            ("my-name-1.2.3-4-gabcdef0", "1.2.4.dev4+gabcdef0"),
            ("v2-1-gabcdef0", "3.dev1+gabcdef0"),
            ("1.2.3rc1-2-gabcdef0", "1.2.3rc2.dev2+gabcdef0"),
            ("1.2.3.post9-2-gabcdef0", "1.2.3.post10.dev2+gabcdef0"),
            ("1.2.3.dev0-2-gabcdef0", "1.2.3.dev2+gabcdef0"),
        ],
    )
    def test_a_tag_and_the_distance_from_it_give_the_version_of_setuptools_scm(self, described, version):
        assert described_version(described, COMMIT) == version

    @pytest.mark.parametrize("tag", ["release-of-2024x", "nightly", "a/b1"])
    def test_a_tag_that_is_no_version_gives_none(self, tag):
        assert described_version(f"{tag}-3-gabcdef0", COMMIT) is None

    def test_a_repository_without_tags_is_before_its_first_release(self):
        assert untagged_version(12, COMMIT) == "0.1.dev12+gabcdef0"

    def test_each_backend_is_told_the_version_by_its_own_variable(self):
        assert version_variables("1.2") == {
            "SETUPTOOLS_SCM_PRETEND_VERSION": "1.2",
            "PDM_BUILD_SCM_VERSION": "1.2",
            "POETRY_DYNAMIC_VERSIONING_BYPASS": "1.2",
            "UV_DYNAMIC_VERSIONING_BYPASS": "1.2",
            "PBR_VERSION": "1.2",
        }
