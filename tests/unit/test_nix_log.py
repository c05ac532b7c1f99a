import base64
import json

import pytest

from builder.errors import BuildError, MachineError, ResolveError
from builder.nix_failure import PinnedFileError, readable
from builder.nix_log import Log


class Recorder:
    def __init__(self):
        self.seen = []

    def counted(self, done, expected):
        self.seen.append(("counted", done, expected))

    def started(self, kind, name, key):
        self.seen.append(("started", kind, name))

    def progressed(self, key, done, expected):
        self.seen.append(("progressed", done, expected))

    def finished(self, key):
        self.seen.append(("finished", key))

    def said(self, name, line):
        self.seen.append(("said", name, line))


def feed(*events):
    reporter = Recorder()
    log = Log(reporter)
    for event in events:
        log.line("@nix " + json.dumps(event) if isinstance(event, dict) else event)
    return log, reporter.seen


SRI = "sha256-" + base64.b64encode(b"\1" * 32).decode()
DRV = "/nix/store/abc-layer-numpy-2.0.drv"
START = {"action": "start", "type": 105, "id": 7, "fields": [DRV, "", 1, 1], "text": "building"}


def test_builds_are_reported_from_start_to_stop():
    log, seen = feed(START, {"action": "stop", "id": 7})
    assert seen == [("started", "build", "layer-numpy-2.0"), ("finished", 7)]
    assert log.built == [DRV]


def test_what_a_build_prints_is_passed_on_with_its_name():
    _, seen = feed(START, {"action": "result", "type": 101, "id": 7, "fields": ["\x1b[1mcompiling\x1b[0m"]})
    assert seen[1:] == [("said", "layer-numpy-2.0", "compiling")]


def test_the_number_of_steps_left_comes_from_nix():
    _, seen = feed(
        {"action": "start", "type": 104, "id": 1},
        {"action": "result", "type": 105, "id": 1, "fields": [3, 9, 2, 0]},
    )
    assert seen == [("counted", 3, 9)]


def test_a_builders_own_error_is_what_the_user_reads():
    log, _ = feed(
        START,
        {"action": "result", "type": 101, "id": 7, "fields": ["Traceback (most recent call last):"]},
        {
            "action": "result",
            "type": 101,
            "id": 7,
            "fields": ["wheel.WheelError: numpy-2.0.whl: a/b has a wrong CRC"],
        },
        {
            "action": "msg",
            "level": 0,
            "raw_msg": f"builder for '\x1b[35;1m{DRV}\x1b[0m' failed with exit code 1",
        },
    )
    error = log.failure()
    assert isinstance(error, BuildError)
    assert str(error) == "layer-numpy-2.0: wheel.WheelError: numpy-2.0.whl: a/b has a wrong CRC"
    assert DRV in error.hint


def test_a_hash_mismatch_names_the_file_and_both_hashes():
    log, _ = feed(
        {
            "action": "msg",
            "level": 0,
            "msg": "\x1b[31;1merror:\x1b[0m hash mismatch in fixed-output derivation "
            f"'/nix/store/abc-six-1.whl.drv':\n         specified: {SRI}\n            got:    sha256-odd",
        }
    )
    error = log.failure()
    assert isinstance(error, PinnedFileError)
    assert error.name == "six-1.whl"
    assert error.answered
    # As locks write it; what does not parse stays as Nix wrote it.
    assert f"expected sha256 {'01' * 32}, got sha256-odd" in str(error)


def test_a_failed_download_names_the_url_and_says_that_work_is_kept():
    log, _ = feed(
        "error: unable to download 'https://host.example.org/six-1.whl': Could not resolve host (6)"
    )
    error = log.failure()
    assert isinstance(error, ResolveError)
    assert "https://host.example.org/six-1.whl" in str(error)
    assert "kept" in error.hint


def test_newer_nix_words_a_failed_build_otherwise():
    log, _ = feed(
        START,
        {"action": "result", "type": 101, "id": 7, "fields": ["error: numpy-2.0.whl: a/b has a wrong CRC"]},
        {
            "action": "msg",
            "level": 0,
            "raw_msg": f"Cannot build '{DRV}'.\nReason: builder failed with exit code 1.",
        },
        {
            "action": "msg",
            "level": 0,
            "raw_msg": "Cannot build '/nix/store/abc-image.drv'.\nReason: 1 dependency failed.",
        },
    )
    error = log.failure()
    assert str(error) == "numpy-2.0.whl: a/b has a wrong CRC"
    assert "another version of numpy" in error.hint


@pytest.mark.parametrize(
    "lines",
    [
        [
            "error: unable to download 'https://host.example.org/x': HTTP error 404 ('Not Found')",
            "",
            "<html>",
        ],
        [
            "error:",
            "  … writing file '/nix/store/x'",
            "  error: unable to download 'https://host.example.org/x': HTTP error 404",
        ],
    ],
    ids=["Nix 2.8", "Nix 2.26"],
)
def test_a_download_that_failed_as_a_build_is_told_as_a_download(lines):
    log, _ = feed(
        START,
        *({"action": "result", "type": 101, "id": 7, "fields": [line]} for line in lines),
        {"action": "msg", "level": 0, "raw_msg": f"builder for '{DRV}' failed with exit code 1"},
    )
    error = log.failure()
    assert isinstance(error, PinnedFileError)
    assert error.answered
    where = "layer-numpy-2.0 from https://host.example.org/x: it could not be downloaded: HTTP error 404"
    assert str(error).startswith(where)
    assert "html" not in str(error)


def test_a_download_that_broke_off_is_told_in_curls_words():
    words = "HTTP error 200 ('OK') (curl error: Transferred a partial file)"
    log, _ = feed(f"error: unable to download 'https://host.example.org/six-1.whl': {words}")
    error = log.failure()
    assert isinstance(error, PinnedFileError)
    assert not error.answered
    assert str(error).endswith("it could not be downloaded: Transferred a partial file.")


@pytest.mark.parametrize(
    "wording", ["builder for '{}' failed due to {}", "Cannot build '{}'.\nReason: builder failed due to {}."]
)
def test_a_step_that_was_killed_is_told_with_the_likely_cause(wording):
    log, _ = feed(START, {"action": "msg", "level": 0, "raw_msg": wording.format(DRV, "signal 9 (Killed)")})
    error = log.failure()
    assert isinstance(error, BuildError)
    assert "signal 9" in str(error)
    assert "emory" in error.hint


@pytest.mark.parametrize("place", ["nix", "builder"])
def test_a_full_disk_is_told_as_such_wherever_it_was_met(place):
    said = "error: [Errno 28] No space left on device: '/nix/store/abc-layer/blob'"
    line = {"action": "result", "type": 101, "id": 7, "fields": [said]}
    failed = f"builder for '{DRV}' failed with exit code 1"
    log, _ = feed(START, *([line, failed] if place == "builder" else [said]))
    error = log.failure()
    assert isinstance(error, MachineError)
    assert str(error) == "The disk is full: /nix/store/abc-layer/blob could not be written."


def test_a_line_that_is_not_structured_is_kept_as_an_error():
    log, _ = feed("error: \x1b[1mundefined variable\x1b[0m")
    assert str(log.failure()) == "error: undefined variable"


def test_a_store_path_reads_without_its_hash():
    assert readable("/nix/store/abc-six-1.16-py3.whl.drv") == "six-1.16-py3.whl"


def test_a_full_database_is_a_full_disk_whose_room_is_told():
    log, _ = feed("error: executing SQLite query: database or disk is full (in '/nix/var/nix/db/db.sqlite')")
    error = log.failure()
    assert str(error) == "The disk is full."
    assert "Free are" in error.hint


OTHER = "/nix/store/def-layer-scipy-2.0.drv"


def started(drv, machine, number):
    return {"action": "start", "id": number, "type": 105, "fields": [drv, machine, 1, 1]}


def said(text):
    return {"action": "msg", "level": 0, "msg": f"\x1b[31;1merror:\x1b[0m {text}"}


def test_a_step_that_is_handed_to_a_machine_is_counted_once_and_shown_with_it():
    # The machine itself says that it builds.
    log, seen = feed(started(DRV, "ssh-ng://nix@big", 1), started(DRV, "", 2), started(OTHER, "", 3))
    assert log.built == [DRV, OTHER]
    assert seen == [("started", "build", "layer-numpy-2.0 on big"), ("started", "build", "layer-scipy-2.0")]


def test_a_machine_that_breaks_off_is_lost_and_one_that_says_no_is_not():
    log, _ = feed(
        started(DRV, "ssh-ng://a", 1),
        started(OTHER, "ssh-ng://b", 2),
        said("unexpected end-of-file"),
        said(f"builder for '{DRV}' failed with exit code 1"),
        said(f"build of '{OTHER}' on 'ssh-ng://b' failed: builder for '{OTHER}' failed with exit code 2"),
        said("2 dependencies of derivation '/nix/store/xyz-image-app.drv' failed to build"),
    )
    assert log.lost == {"ssh-ng://a"}
    assert log.failed == [DRV, OTHER]


@pytest.mark.parametrize(
    ("text", "failed"),
    [
        (f"builder for '{DRV}' failed with exit code 1", [DRV]),
        (f"hash mismatch in fixed-output derivation '{DRV}':\n  specified: a\n  got: b", [DRV]),
        (f"1 dependencies of derivation '{DRV}' failed to build", []),
        # Nix 2.30 and later.
        (f"Cannot build '{DRV}'.\n       Reason: builder failed with exit code 1.", [DRV]),
        (f"Cannot build '{DRV}'.\n       Reason: 1 dependency failed.", []),
        (f"Cannot build '{DRV}'.\n       Reason: 2 dependencies failed.", []),
    ],
)
def test_what_failed_by_itself_is_told_from_what_failed_for_want_of_that(text, failed):
    assert feed(said(text))[0].failed == failed


def test_each_of_several_failures_has_its_own_explanation():
    log, _ = feed(
        started(DRV, "", 1),
        started(OTHER, "", 2),
        {"action": "result", "id": 1, "type": 101, "fields": ["error: numpy is broken"]},
        {"action": "result", "id": 2, "type": 101, "fields": ["error: scipy is broken"]},
        said(f"builder for '{DRV}' failed with exit code 1"),
        said(f"builder for '{OTHER}' failed with exit code 1"),
    )
    assert "numpy is broken" in str(log.failure_of(DRV))
    assert "scipy is broken" in str(log.failure_of(OTHER))
