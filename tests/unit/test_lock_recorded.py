"""The digest of an image in its lock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lock_samples import SHA, lock_file, wheel

from builder.errors import LockError
from builder.lock import Origin, Recorded, RecordedLayer, lock_digest, read_lock, write_lock

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = f"sha256:{SHA}"
OTHER = f"sha256:{SHA[::-1]}"
ORIGIN = Origin(lock=DIGEST, code=DIGEST, projects=DIGEST, declaration=DIGEST, builder="1.0", program=DIGEST)
RECORDED = Recorded(digest=OTHER, origin=ORIGIN, layers=(RecordedLayer(digest=DIGEST, holds='six "1"'),))


def test_what_is_recorded_is_read_again_and_is_no_part_of_the_locks_digest(tmp_path: Path) -> None:
    plain = lock_file(wheel("six"))
    content = replace(plain, recorded=RECORDED)
    write_lock(tmp_path / "lock.toml", content)
    assert read_lock(tmp_path / "lock.toml") == content
    assert lock_digest(content) == lock_digest(plain)


def test_a_recorded_digest_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lock.toml"
    write_lock(path, replace(lock_file(), recorded=RECORDED))
    path.write_text(path.read_text().replace(f'digest = "{OTHER}"', 'digest = "sha256:1"'))
    with pytest.raises(LockError, match=r"tool\.builder\.recorded\.digest"):
        read_lock(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, []),
        ({"code": OTHER}, ["the app's own files have changed"]),
        ({"projects": OTHER}, ["a local project has changed"]),
        # The expression has the lock's pins, and is written by builder.
        ({"lock": OTHER, "declaration": OTHER}, ["the lock has changed"]),
        (
            {"builder": "2.0", "program": OTHER, "declaration": OTHER},
            ["builder was 1.0, is 2.0"],
        ),
        ({"program": OTHER}, ["builder has changed, though its version is 1.0 as before"]),
        ({"declaration": OTHER}, ["what the app declares, or a setting, has changed"]),
    ],
)
def test_what_has_changed_since_is_said_in_words(changed: dict[str, str], said: list[str]) -> None:
    assert list(ORIGIN.difference(ORIGIN.model_copy(update=changed))) == said
