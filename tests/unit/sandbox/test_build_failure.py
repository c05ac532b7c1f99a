"""What a user reads of a build from source that failed."""

import pytest
from build_failure import explain


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            [
                "src/a.c:12:5: warning: unused variable",
                "src/a.c:20:9: error: unknown type name 'foo_t'",
                "src/a.c:21:9: error: another",
                "error: command '/usr/bin/gcc' failed with exit code 1",
            ],
            "src/a.c:20:9: error: unknown type name 'foo_t'",
        ),
        (
            [
                "error[E0412]: cannot find type `c_uint` in this scope",
                "error: could not compile `x` due to previous error",
                "error: `cargo rustc` failed with code 101",
            ],
            "error[E0412]: cannot find type `c_uint` in this scope",
        ),
        (["  File 'setup.py'", "ValueError: no such thing"], "ValueError: no such thing"),
        (["one", "two"], "two"),
        ([], "its build ended with code 1 and said nothing"),
        (["x.c:1:10: fatal error: zlib.h: No such file or directory"], "the header zlib.h is missing; "),
        (["error: linker `cc` not found"], "the program cc is missing; "),
    ],
)
def test_the_first_thing_that_is_wrong_is_told(lines, said):
    assert explain(lines, 1).startswith(said)


def test_what_a_signal_ended_is_told_as_such():
    assert "memory may have run out" in explain(["x.c:1:1: error: y"], 137)
