"""Servers that ask who we are, and are not told, told wrong, or told once too late."""

from __future__ import annotations

import secrets
import time

import pytest
import ways
from ways import Way, project_of


@pytest.fixture
def published(servers):
    """A wheel that every server has, and no store yet."""
    return servers.publish(f"credwheel{secrets.token_hex(4)}")


def write(project, way, servers):
    project.app(way.requirements)
    for name, text in way.files.items():
        project.write(name, text)
    # A cache of uv's own: what one test may see, another has to ask for.
    return {**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv"), **way.env}


def without_leak(project, way, *texts):
    lock = project.folder / "pylock.app.toml"
    for text in (*texts, lock.read_text() if lock.exists() else ""):
        for secret in way.secrets:
            assert secret not in text


def _wrong_basic(servers, wheel, folder):
    place = servers.basic
    return Way(
        ["--index-url", place.with_login(place.url, password="canary-wrong"), project_of(wheel)],
        secrets=("canary-wrong",),
    )


def _wrong_basic_in_wheel_url(servers, wheel, folder):
    place = servers.basic
    url = place.with_login(place.file(wheel), password="canary-wrong")
    return Way([f"{project_of(wheel)} @ {url}"], secrets=("canary-wrong",))


def _wrong_bearer(servers, wheel, folder):
    way = ways.bearer(servers, wheel, folder)
    return Way(way.requirements, {"INDEX_TOKEN": "canary-wrong"}, way.files, ("canary-wrong",))


def _wrong_bearer_in_links(servers, wheel, folder):
    way = ways.bearer_without_hashes(servers, wheel, folder)
    return Way(way.requirements, {"INDEX_TOKEN": "canary-wrong"}, way.files, ("canary-wrong",))


def _none(servers, wheel, folder):
    return Way(["--index-url", servers.basic.url, project_of(wheel)])


def _none_for_a_wheel_url(servers, wheel, folder):
    return Way([servers.bearer.file(wheel)])


REFUSED = [
    (_wrong_basic, "The user name and password that are configured for this host were not accepted"),
    (
        _wrong_basic_in_wheel_url,
        "The user name and password that are configured for this host were not accepted",
    ),
    (_wrong_bearer, "The bearer token that is configured for this URL was not accepted"),
    (_wrong_bearer_in_links, "The bearer token that is configured for this URL was not accepted"),
    (_none, "It may need credentials"),
    (_none_for_a_wheel_url, "It may need credentials"),
]


@pytest.mark.parametrize(("way", "hint"), REFUSED, ids=[way.__name__ for way, _ in REFUSED])
def test_who_is_refused_is_told_where_and_what_to_do(project, servers, published, tmp_path, way, hint):
    way = way(servers, published, tmp_path)
    env = write(project, way, servers)
    done = project.run("build", "app.py", env=env, check=False)
    assert done.code == 4, done.err
    assert project_of(published) in done.err
    assert "127.0.0.1" in done.err
    assert "401" in done.err
    (hinted,) = [line for line in done.err.splitlines() if line.startswith("hint: ")]
    assert hint in hinted
    assert not (project.folder / "pylock.app.toml").exists()
    without_leak(project, way, done.out, done.err)


def test_a_variable_that_is_not_set_is_named(project, servers, published):
    place = servers.bearer
    project.write("pyproject.toml", f'[tool.builder.tokens]\n"{place.root}" = "${{INDEX_TOKEN_9}}"\n')
    project.app(["--index-url", place.url, project_of(published)])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 3
    assert "INDEX_TOKEN_9" in done.err
    project.app(
        [
            "--index-url",
            servers.basic.with_text(servers.basic.url, "${INDEX_PASSWORD_9}"),
            project_of(published),
        ]
    )
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 3
    assert "App.requirements[0]" in done.err
    assert "INDEX_PASSWORD_9" in done.err


def test_a_token_written_into_the_settings_is_refused(project, servers):
    project.write("pyproject.toml", f'[tool.builder.tokens]\n"{servers.bearer.root}" = "canary-literal"\n')
    project.app(["anything"])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 3
    assert "must be the name of an environment variable" in done.err
    assert "canary" not in done.err


def test_a_redirect_to_another_host_is_followed_without_credentials(project, servers, published, tmp_path):
    way = ways.bearer(servers, published, tmp_path)
    url = servers.bearer.file(published).replace("/files/", "/away/")
    env = write(project, Way([url], way.env, way.files), servers)
    project.build(env=env)
    there = [
        asked for asked in servers.asked() if asked.host.startswith("localhost") and published in asked.path
    ]
    assert there
    assert all(asked.authorization is None for asked in there)


def test_an_expired_url_says_so_and_which_file_is_wanted(project, servers):
    wheel = servers.publish(f"expiredwheel{secrets.token_hex(4)}")
    # Long enough for a lock that has Debian's indexes to fetch.
    expires = time.time() + 10
    project.app([servers.signed(wheel, seconds=10)])
    env = {**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}
    project.run("lock", "app.py", env=env)
    time.sleep(max(0.0, expires + 0.5 - time.time()))
    env["UV_DEFAULT_INDEX"] = servers.odd("status-404").url
    done = project.run("build", "app.py", env=env, check=False)
    assert done.code == 4
    assert "the signed URL has expired" in done.err
    assert f"{wheel} with sha256 {servers.sha256(wheel)}" in done.err
    assert "beside the lock" in done.err
    assert "Signature" not in done.err
    # The same file from anywhere will do.
    (project.folder / wheel).write_bytes((servers.wheels / wheel).read_bytes())
    first = project.build(env=env)
    # What is in the store is not asked for again.
    (project.folder / wheel).unlink()
    text = (project.folder / "app.py").read_text()
    project.write("app.py", text.replace("    pass", "    value = 1"))
    assert project.build(env=env)["digest"] != first["digest"]


def test_an_expired_url_that_is_locked_anew_says_so(project, servers, published):
    project.app([f"{project_of(published)} @ {servers.signed(published, seconds=-60)}"])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 4
    assert "App.requirements[0]" in done.err
    assert "the signed URL has expired" in done.err
    assert "Get a new URL" in done.err
