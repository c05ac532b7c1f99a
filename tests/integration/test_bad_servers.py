"""Servers that fail, in each way that servers do: what is tried again, what is said, and what to do about it."""

from __future__ import annotations

import re
import secrets

import pytest

NAME = "badwheel"


@pytest.fixture(scope="module")
def published(servers):
    return servers.publish(NAME)


@pytest.fixture
def env(servers, project):
    return {**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}


def failing(project, requirements, env, *, command="lock", code=4):
    """Run a command that fails, and return its message and its hint; None is either of the requirements' codes."""
    if requirements:
        project.app(requirements)
    done = project.run(command, "app.py", env=env, check=False)
    assert done.code in ({3, 4} if code is None else {code}), done.err
    assert "Traceback" not in done.err
    message, _, hint = done.err.partition("hint: ")
    assert hint, done.err
    return message, hint


# What is wrong with an index's pages; what the message says; what the hint says.
PAGES = [
    ("status-401", "401 Unauthorized", "may need credentials"),
    ("status-403", "403 Forbidden", "may need credentials"),
    ("status-404", "was not found in the package registry", "Check the name"),
    ("status-500", "answered 500 Internal Server Error (3 attempts)", "The server has a problem"),
    ("status-503", "answered 503 Service Unavailable (3 attempts)", "The server has a problem"),
    ("half", "the connection to https://127.0.0.1", "Check the network"),
    ("loop", "is not what it should be", "redirect that leads nowhere"),
]


@pytest.mark.parametrize(("behaviour", "said", "hint"), PAGES, ids=[page[0] for page in PAGES])
def test_a_failing_index_is_named_with_the_requirement_and_what_to_do(
    project, servers, published, env, behaviour, said, hint
):
    url = servers.odd(behaviour).url
    retries = {"UV_HTTP_RETRIES": "2" if behaviour.startswith("status-5") else "0"}
    message, advice = failing(project, [["--index-url", url, NAME], ["--no-index", NAME]], env | retries)
    assert message.startswith("error: step 1 of 2: ")
    assert NAME in message
    assert said in message
    assert hint in advice


FILES = [
    ("status-401", "answered 401 Unauthorized", "may need credentials"),
    ("status-403", "answered 403 Forbidden", "may need credentials"),
    ("status-404", "answered 404 Not Found", "Check the URL"),
    ("status-410", "answered 410 Gone", "Check the URL"),
    ("status-500", "answered 500 Internal Server Error", "The server has a problem"),
    ("half", "the connection to https://127.0.0.1", "Check the network"),
    ("loop", "is not what it should be", "redirect that leads nowhere"),
    ("page", "is not what it should be", "a page to log in at"),
]


@pytest.mark.parametrize(("behaviour", "said", "hint"), FILES, ids=[file[0] for file in FILES])
def test_a_wheel_that_cannot_be_had_is_named_with_its_requirement(
    project, servers, published, env, behaviour, said, hint
):
    url = servers.odd(behaviour).file(published)
    message, advice = failing(project, [f"{NAME} @ {url}"], env)
    assert re.match(r"error: app\.py:\d+: App\.requirements\[0\]: ", message)
    assert url in message
    assert said in message
    assert hint in advice


def test_a_server_that_nobody_answers_at_is_named(project, published, env):
    message, hint = failing(project, [f"{NAME} @ https://127.0.0.1:1/{published}"], env)
    assert "App.requirements[0]" in message
    assert "https://127.0.0.1:1/badwheel-1.0-py3-none-any.whl cannot be reached: " in message
    assert "Check the network" in hint
    message, hint = failing(project, ["--index-url", "https://nowhere.invalid/simple", NAME], env)
    assert "https://nowhere.invalid/simple/badwheel/ cannot be reached: its host is not known" in message
    assert "Check the network" in hint


def test_a_certificate_that_nobody_vouches_for_is_named(project, servers, published, env):
    env["SSL_CERT_FILE"] = "/etc/ssl/certs/ca-certificates.crt"
    message, hint = failing(project, ["--index-url", servers.open.url, NAME], env)
    assert "the certificate of https://127.0.0.1" in message
    assert "is not trusted" in message
    assert "SSL_CERT_FILE" in hint


# How a file behaves, seen by our own download; how often it is asked for.
ATTEMPTS = [
    ("500-once", ["answered 500 Internal Server Error; attempt 2 of 4 in 0.5 s"]),
    ("503-twice", ["answered 503 Service Unavailable; attempt 2 of 4 in 1 s", "attempt 3 of 4 in 1 s"]),
    ("half-once", ["was lost after", "attempt 2 of 4 in 0.5 s"]),
]


@pytest.mark.parametrize(("behaviour", "told"), ATTEMPTS, ids=[attempt[0] for attempt in ATTEMPTS])
def test_what_passes_is_tried_again_and_that_is_shown(project, servers, published, env, behaviour, told):
    place = servers.odd(f"{behaviour}-files")
    locked(project, servers, published, env, place)
    done = project.run("build", "app.py", env=env)
    for words in told:
        assert words in done.err
    assert "note: " in done.err


def locked(project, servers, published, env, place):
    """A lock of a wheel that is then only at another place, where its bytes are not Nix's to fetch."""
    # A name of this run alone: what an earlier one has left in the store needs no server.
    name = f"badwheel{secrets.token_hex(4)}"
    wheel = servers.publish(name)
    project.app([name])
    project.run("lock", "app.py", env=env)
    lock = project.folder / "pylock.app.toml"
    lock.write_text(lock.read_text().replace(servers.open.file(wheel), place.file(wheel)))
    env["UV_DEFAULT_INDEX"] = servers.odd("status-404").url
    return wheel


def test_a_file_that_is_gone_is_found_on_an_index(project, servers, published, env):
    wheel = locked(project, servers, published, env, servers.odd("status-404-files"))
    env["UV_DEFAULT_INDEX"] = servers.basic.with_login(servers.basic.plain)
    before = len(servers.state.asked)
    project.run("build", "app.py", env=env)
    assert any(wheel in asked.path for asked in servers.state.asked[before:])


def test_attempts_end(project, servers, published, env):
    wheel = locked(project, servers, published, env, servers.odd("status-503-files"))
    message, hint = failing(project, None, env, command="build")
    assert message.count("; attempt ") == 3
    assert "error: app.py:5: App.requirements[0]: badwheel" in message
    assert "answered 503 Service Unavailable (4 attempts)" in message
    assert f"{wheel} with sha256 {servers.sha256(wheel)}" in message
    assert "of that hash from anywhere will do" in hint


FINAL = [
    ("status-403", "answered 403 Forbidden"),
    ("status-404", "answered 404 Not Found"),
    ("wrong", "hash mismatch"),
    ("loop", "redirects more than 10 times"),
    ("downgrade", "without encryption"),
    ("page", "answered with a web page"),
    ("half", "was lost after"),
]


@pytest.mark.parametrize(("behaviour", "said"), FINAL, ids=[final[0] for final in FINAL])
def test_a_locked_file_that_cannot_be_had_is_named_with_what_to_do(
    project, servers, published, env, behaviour, said
):
    wheel = locked(project, servers, published, env, servers.odd(f"{behaviour}-files"))
    message, _ = failing(project, None, env, command="build")
    assert re.search(r"(?m)^error: app\.py:\d+: App\.requirements\[0\]: badwheel", message)
    assert said in message
    assert wheel in message


def test_a_slow_server_is_waited_for(project, servers, published, env):
    wheel = servers.publish(f"slowwheel{secrets.token_hex(4)}")
    project.app([servers.odd("slow-files").file(wheel)])
    project.build(env=env)


# Requirements that nothing can be made of, each a function of the servers: the words, what is said, what to do.
MALFORMED = {
    "a broken URL": lambda servers, wheel: (
        f"https://127.0.0.1:port/{wheel}",
        "is no URL",
        "a port's number",
    ),
    "a URL of nothing that can be installed": lambda servers, wheel: (
        servers.open.url,
        "is neither a wheel (.whl) nor an archive",
        "git+https://",
    ),
    "a wheel of another project": lambda servers, wheel: (
        f"other @ {servers.open.file(wheel)}",
        f"asks for other, but the file is a wheel of {NAME}",
        "Name the package that the wheel holds",
    ),
    "another platform": lambda servers, wheel: (
        servers.open.file(f"{NAME}-1.0-cp311-cp311-win_amd64.whl"),
        "is for Windows (win_amd64); the app runs on",
        "Name the wheel for Python 3.11 (cp311) on linux x86_64",
    ),
    "another Python": lambda servers, wheel: (
        servers.open.file(f"{NAME}-1.0-cp39-cp39-manylinux_2_17_x86_64.whl"),
        "is for CPython 3.9 (cp39-cp39), not for Python 3.11",
        "set python_version",
    ),
    "a newer glibc": lambda servers, wheel: (
        servers.open.file(f"{NAME}-1.0-cp311-cp311-manylinux_2_99_x86_64.whl"),
        "needs glibc 2.99",
        "older glibc",
    ),
    "a hash that is none": lambda servers, wheel: (
        f"{servers.open.file(wheel)}#sha256=abc",
        "what follows sha256 is no hash",
        "Copy the whole hash",
    ),
    "a wrong hash of a wheel": lambda servers, wheel: (
        f"{servers.open.file(wheel)}#sha256={'0' * 64}",
        f"sha256:{'0' * 64}",
        "write its new hash",
    ),
    "a wrong hash of an archive": lambda servers, wheel: (
        f"{servers.open.file(servers.publish_sdist('badsdist'))}#sha256={'0' * 64}",
        f"expected sha256 {'0' * 64}, got {servers.sha256('badsdist-1.0.tar.gz')}",
        "on purpose",
    ),
    "an archive that is none": lambda servers, wheel: (
        servers.open.file(servers.publish_file("badarchive-1.0.tar.gz", b"no archive")),
        "it is no archive that can be read",
        "See what the URL serves",
    ),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_malformed_is_named_with_its_place_and_what_to_do(project, servers, published, env, kind):
    word, said, hint = MALFORMED[kind](servers, published)
    message, advice = failing(project, [[NAME], ["--pre", word]], env, code=None)
    assert re.search(r"(?m)^error: app\.py:\d+: App\.requirements\[1\]\[1\]", message), message
    assert said in message
    assert hint in advice


def test_a_repository_without_the_commit_is_named_with_what_was_looked_for(project, git_server, env):
    repository = git_server.repository(f"nocommit{secrets.token_hex(4)}")
    repository.commit({"a.txt": "one\n"}, tag="v1.0")
    env["SSL_CERT_FILE"] = str(git_server.cert)
    url = git_server.url(repository)
    for revision in ("v9.9", "0" * 40):
        message, hint = failing(project, [f"x @ git+{url}@{revision}"], env)
        assert re.search(r"(?m)^error: app\.py:\d+: App\.requirements\[0\]: ", message)
        assert revision in message
        assert hint.strip()
