"""Apps whose wheels come from servers that ask who we are, in every way that one can say it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tarfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
import servers as real

NAME = "credwheel"


@pytest.fixture(scope="module")
def published(servers):
    """A wheel that every server has."""
    return servers.publish(NAME)


@dataclass
class Way:
    """One way to say who we are.

    Attributes:
        requirements: the app's.
        env: variables the user has set.
        files: files of the project, by name.
        secrets: what must show nowhere.
    """

    requirements: list[str]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def _private_ca(servers, wheel, folder):
    return Way(["--index-url", servers.open.url, NAME])


def _private_ca_of_pip(servers, wheel, folder):
    env = {"SSL_CERT_FILE": "", "PIP_CERT": str(servers.bundle), "NIX_SSL_CERT_FILE": ""}
    return Way(["--index-url", servers.open.url, NAME], env)


def _index_without_hashes(servers, wheel, folder):
    return Way(["--index-url", servers.open.plain, NAME])


def _find_links(servers, wheel, folder):
    return Way(["--find-links", servers.open.links, "--no-index", NAME])


def _find_links_listing(servers, wheel, folder):
    return Way(["-f", servers.open.listing, "--no-index", NAME])


def _local_folder(servers, wheel, folder):
    return Way(["--find-links", str(servers.wheels), "--no-index", NAME])


def _basic_in_url(servers, wheel, folder):
    place = servers.basic
    return Way(["--index-url", place.with_login(place.url), NAME], secrets=(place.password,))


def _basic_in_find_links(servers, wheel, folder):
    place = servers.basic
    return Way(["--find-links", place.with_login(place.links), "--no-index", NAME], secrets=(place.password,))


def _basic_in_wheel_url(servers, wheel, folder):
    place = servers.basic
    return Way([f"{NAME} @ {place.with_login(place.file(wheel))}"], secrets=(place.password,))


def _basic_by_variable(servers, wheel, folder):
    place = servers.basic
    # The values stand in a URL, so their owner has percent-encoded them.
    encoded = place.with_login("https://x").removeprefix("https://").removesuffix("@x")
    user, _, password = encoded.partition(":")
    url = place.with_text(place.url, "${INDEX_USER}:${INDEX_PASSWORD}")
    env = {"INDEX_USER": user, "INDEX_PASSWORD": password}
    return Way(["--extra-index-url", url, NAME], env | {"UV_DEFAULT_INDEX": servers.odd("status-404").url},
               secrets=(place.password, password))  # fmt: skip


def _netrc(servers, wheel, folder):
    place = servers.basic
    file = folder / "netrc"
    file.write_text(f'machine 127.0.0.1\nlogin {place.user}\npassword "{place.password}"\n')
    file.chmod(0o600)
    return Way(["--index-url", place.url, NAME], {"NETRC": str(file)}, secrets=(place.password,))


def _keyring(servers, wheel, folder):
    place = servers.basic
    program = folder / "bin" / "keyring"
    program.parent.mkdir(parents=True)
    secret = folder / "secret"
    secret.write_text(place.password)
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "get {place.host} {place.user}" ] && cat {secret}\n')
    program.chmod(0o755)
    env = {"UV_KEYRING_PROVIDER": "subprocess", "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return Way(["--index-url", place.with_text(place.url, place.user), NAME], env, secrets=(place.password,))


def _named_index(servers, wheel, folder):
    place = servers.basic
    env = {
        "UV_INDEX": f"private-one={place.url}",
        "UV_INDEX_PRIVATE_ONE_USERNAME": place.user,
        "UV_INDEX_PRIVATE_ONE_PASSWORD": place.password,
        "UV_DEFAULT_INDEX": servers.odd("status-404").url,
    }
    return Way([NAME], env, secrets=(place.password,))


def _index_of_the_project(servers, wheel, folder):
    place = servers.basic
    env = {
        "UV_INDEX_PRIVATE_USERNAME": place.user,
        "UV_INDEX_PRIVATE_PASSWORD": place.password,
        "UV_DEFAULT_INDEX": "",
    }
    project = f'[[tool.uv.index]]\nname = "private"\nurl = "{place.url}"\ndefault = true\n'
    return Way([NAME], env, {"pyproject.toml": project}, secrets=(place.password,))


def _uv_login(servers, wheel, folder):
    place = servers.basic
    store = folder / "store"
    subprocess.run(
        ["uv", "auth", "login", place.root, "--username", place.user, "--password", "-"],
        input=place.password, text=True, check=True, capture_output=True,
        env={**_PATH, "UV_CREDENTIALS_DIR": str(store)},
    )  # fmt: skip
    return Way(
        ["--index-url", place.url, NAME], {"UV_CREDENTIALS_DIR": str(store)}, secrets=(place.password,)
    )


def _bearer(servers, wheel, folder):
    place = servers.bearer
    project = f'[tool.builder.tokens]\n"{place.root}" = "${{INDEX_TOKEN}}"\n'
    return Way(["--index-url", place.url, NAME], {"INDEX_TOKEN": place.token}, {"pyproject.toml": project},
               (place.token,))  # fmt: skip


def _bearer_without_hashes(servers, wheel, folder):
    way = _bearer(servers, wheel, folder)
    return Way(["-f", servers.bearer.links, "--no-index", NAME], way.env, way.files, way.secrets)


def _bearer_wheel_url(servers, wheel, folder):
    way = _bearer(servers, wheel, folder)
    return Way([servers.bearer.file(wheel)], way.env, way.files, way.secrets)


def _bearer_beside_netrc(servers, wheel, folder):
    way = _bearer(servers, wheel, folder)
    file = folder / "netrc"
    file.write_text("machine 127.0.0.1 login someone password else\n")
    return Way(way.requirements, way.env | {"NETRC": str(file)}, way.files, way.secrets)


def _signed_url(servers, wheel, folder):
    url = servers.signed(wheel)
    return Way([f"{NAME}@{url}"], secrets=(url.partition("Signature=")[2],))


def _signed_page(servers, wheel, folder):
    url = servers.sign("/signed-pages/links/")
    return Way(["--find-links", url, "--no-index", NAME], secrets=(url.partition("Signature=")[2],))


WAYS = [
    _private_ca, _private_ca_of_pip, _index_without_hashes, _find_links, _find_links_listing, _local_folder,
    _basic_in_url, _basic_in_find_links, _basic_in_wheel_url, _basic_by_variable, _netrc, _keyring, _named_index,
    _index_of_the_project, _uv_login, _bearer, _bearer_without_hashes, _bearer_wheel_url, _bearer_beside_netrc,
    _signed_url, _signed_page,
]  # fmt: skip
_PATH = {"PATH": f"{real.SCRIPTS}:/usr/bin:/bin", "HOME": "/nowhere"}


def name_of(way):
    return way.__name__.strip("_")


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


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_a_wheel_is_had_from_there_and_built_into_the_image(project, servers, published, tmp_path, way):
    way = way(servers, published, tmp_path)
    env = write(project, way, servers)
    done = project.run("build", "app.py", "--json", env=env)
    built = json.loads(done.out)
    lock = (project.folder / "pylock.app.toml").read_text()
    assert servers.sha256(published) in lock
    assert NAME in contents(built["path"])
    without_leak(project, way, done.out, done.err)


def _wrong_basic(servers, wheel, folder):
    place = servers.basic
    return Way(
        ["--index-url", place.with_login(place.url, password="canary-wrong"), NAME], secrets=("canary-wrong",)
    )


def _wrong_basic_in_wheel_url(servers, wheel, folder):
    place = servers.basic
    url = place.with_login(place.file(wheel), password="canary-wrong")
    return Way([f"{NAME} @ {url}"], secrets=("canary-wrong",))


def _wrong_bearer(servers, wheel, folder):
    way = _bearer(servers, wheel, folder)
    return Way(way.requirements, {"INDEX_TOKEN": "canary-wrong"}, way.files, ("canary-wrong",))


def _wrong_bearer_in_links(servers, wheel, folder):
    way = _bearer_without_hashes(servers, wheel, folder)
    return Way(way.requirements, {"INDEX_TOKEN": "canary-wrong"}, way.files, ("canary-wrong",))


def _none(servers, wheel, folder):
    return Way(["--index-url", servers.basic.url, NAME])


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


@pytest.mark.parametrize(("way", "hint"), REFUSED, ids=[name_of(way) for way, _ in REFUSED])
def test_who_is_refused_is_told_where_and_what_to_do(project, servers, published, tmp_path, way, hint):
    way = way(servers, published, tmp_path)
    env = write(project, way, servers)
    done = project.run("build", "app.py", env=env, check=False)
    assert done.code == 4, done.err
    assert NAME in done.err
    assert "127.0.0.1" in done.err
    assert "401" in done.err
    (hinted,) = [line for line in done.err.splitlines() if line.startswith("hint: ")]
    assert hint in hinted
    assert not (project.folder / "pylock.app.toml").exists()
    without_leak(project, way, done.out, done.err)


def test_a_variable_that_is_not_set_is_named(project, servers, published):
    place = servers.bearer
    project.write("pyproject.toml", f'[tool.builder.tokens]\n"{place.root}" = "${{INDEX_TOKEN_9}}"\n')
    project.app(["--index-url", place.url, NAME])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 3
    assert "INDEX_TOKEN_9" in done.err
    project.app(["--index-url", servers.basic.with_text(servers.basic.url, "${INDEX_PASSWORD_9}"), NAME])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 3
    assert "App.requirements[0]" in done.err
    assert "INDEX_PASSWORD_9" in done.err


def test_a_token_written_into_the_settings_is_refused(project, servers):
    project.write("pyproject.toml", f'[tool.builder.tokens]\n"{servers.bearer.root}" = "canary-literal"\n')
    project.app([NAME])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 3
    assert "must be the name of an environment variable" in done.err
    assert "canary" not in done.err


def test_a_redirect_to_another_host_is_followed_without_credentials(project, servers, published, tmp_path):
    way = _bearer(servers, published, tmp_path)
    url = servers.bearer.file(published).replace("/files/", "/away/")
    env = write(project, Way([url], way.env, way.files), servers)
    project.build(env=env)
    there = [
        asked for asked in servers.asked() if asked.host.startswith("localhost") and published in asked.path
    ]
    assert there
    assert all(asked.authorization is None for asked in there)


def test_an_expired_url_says_so_and_which_file_is_wanted(project, servers):
    wheel = servers.publish("expiredwheel")
    project.app([servers.signed(wheel, seconds=2)])
    env = {**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}
    project.run("lock", "app.py", env=env)
    time.sleep(2.5)
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
    project.app([f"{NAME} @ {servers.signed(published, seconds=-60)}"])
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 4
    assert "App.requirements[0]" in done.err
    assert "the signed URL has expired" in done.err
    assert "Get a new URL" in done.err


def test_no_process_that_is_started_is_told_a_secret_by_argument_or_environment(project, servers, published):
    place = servers.basic
    page = servers.sign("/signed-pages/links/")
    project.app(["--index-url", place.with_login(place.url), "--find-links", page, NAME])
    secrets = [place.password, quote(place.password, safe=""), page.partition("Signature=")[2]]
    seen: set[str] = set()
    with watched_processes(seen):
        project.run(
            "build", "app.py", env={**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}
        )
    assert any("uv" in text and "compile" in text for text in seen)
    assert [text for text in seen if any(secret in text for secret in secrets)] == []


@contextlib.contextmanager
def watched_processes(seen):
    """Note the arguments and the environment of every process that there is meanwhile."""
    done = threading.Event()

    def watch():
        while not done.is_set():
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    seen.update(
                        (folder / name).read_text(errors="replace") for name in ("cmdline", "environ")
                    )
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def contents(image):
    """The names of all files of an image."""
    blobs = Path(image) / "blobs" / "sha256"
    index = json.loads((Path(image) / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_text())
    names = []
    for layer in manifest["layers"][1:]:
        with tarfile.open(blobs / layer["digest"].removeprefix("sha256:")) as archive:
            names += archive.getnames()
    return " ".join(names)
