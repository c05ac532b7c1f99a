"""What is built in one store is had by another from a binary cache, or built there where it cannot be trusted."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import cache_server
import pytest
from conftest import Project

# humanize has a layer with bytecode; the base is the largest layer.
REQUIREMENTS = ["humanize==4.14.0"]
USERS = "/nix/var/nix/userpool"
WORDS = ("--cache", "cache", "--json")


class Host:
    """A machine with a store, a configuration and a cache folder of its own; it has the project's files in common."""

    def __init__(self, folder, project):
        self.store = folder / "nix"
        for name in ("nix/store", "nix/var", "home"):
            (folder / name).mkdir(parents=True)
        env = {"HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "conf")}
        self.project = Project(
            project.folder, {**project.env, **env, "XDG_CACHE_HOME": str(folder / "cache")}
        )

    def shell(self, *words):
        """Run a command that is no part of this project."""
        subprocess.run([*self.wrapper, *words], check=True, capture_output=True)

    @property
    def wrapper(self):
        # Nix ends all processes of a build user when it takes one: both stores have to know who is free.
        users = f"mkdir -p {USERS} {self.store}/var/nix/userpool && mount --bind {USERS} {self.store}/var/nix/userpool"
        script = f'{users} && mount --rbind {self.store} /nix && exec "$@"'
        return ("unshare", "-m", "sh", "-c", script, "sh")

    def run(self, *words, **more):
        return self.project.run(*words, wrapper=self.wrapper, **more)

    def build(self, *words, **more):
        done = self.run("build", "app.py", *WORDS, *words, **more)
        return json.loads(done.out), done.err


@pytest.fixture(scope="module")
def first(session_project, tmp_path_factory):
    """A host that has built the app and pushed it; also what was built, and the public key."""
    project = session_project("cached")
    project.app(REQUIREMENTS)
    host = Host(tmp_path_factory.mktemp("first"), project)
    public = json.loads(host.run("cache", "keygen", "team-1", "--json").out)["public_key"]
    built, said = host.build()
    assert built["built"] > 5
    assert said == ""
    host.run("cache", "push", "app.py", "--cache", "cache")
    return host, built, public


@pytest.fixture
def second(first, tmp_path):
    """Another host, with an empty store, that trusts what the first one has signed; and a copy of the cache."""
    host, built, public = first
    project = Project(tmp_path / "project", {})
    project.folder.mkdir()
    for name in ("app.py", "pylock.app.toml"):
        project.write(name, (host.project.folder / name).read_text())
    copy = project.folder / "cache"
    for path in (host.project.folder / "cache").rglob("*"):
        target = copy / path.relative_to(host.project.folder / "cache")
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
    project.write("pyproject.toml", f'[tool.builder]\ncache-keys = ["{public}"]\n')
    return Host(tmp_path, project), built


@pytest.fixture(scope="module")
def seed(first, tmp_path_factory):
    """A store that has what every image starts from, and nothing of this one's own."""
    host, _, _ = first
    folder = tmp_path_factory.mktemp("seed")
    subprocess.run(["cp", "-al", host.store / "store", folder / "store"], check=True)
    subprocess.run(["cp", "-a", host.store / "var", folder / "var"], check=True)
    seeded = Host(folder / "host", host.project)
    seeded.store = folder
    own = re.compile(r"[0-9a-z]{32}-(image-|links|layer-(humanize|small-wheels|app|runtime)).*(?<!\.drv)")
    paths = [f"/nix/store/{path.name}" for path in (folder / "store").iterdir() if own.fullmatch(path.name)]
    seeded.shell("nix-store", "--delete", "--ignore-liveness", *paths)
    return folder


@pytest.fixture
def third(second, seed):
    """Like the second host, but that it need not build what every image starts from."""
    host, built = second
    for name, words in (("store", "-al"), ("var", "-a")):
        shutil.rmtree(host.store / name)
        subprocess.run(["cp", words, seed / name, host.store / name], check=True)
    return host, built


def replace(path, text):
    """Write a file anew: the one that is there is linked to the first host's."""
    path.unlink()
    path.write_bytes(text)


def narinfos(host):
    return sorted((host.project.folder / "cache").glob("*.narinfo"))


def test_what_one_store_has_built_another_has_from_the_cache(second):
    host, built = second
    had, said = host.build()
    assert (had["digest"], had["built"], said) == (built["digest"], 0, "")
    # Nothing is there but the image and what it is made of: no wheel, no Debian package, no tools.
    names = {path.name[33:] for path in (host.store / "store").iterdir() if path.suffix != ".drv"}
    assert not any(name.endswith((".whl", ".deb")) or name.startswith("rootfs") for name in names)


def test_what_is_pushed_is_not_compressed_again_and_signed(first):
    host, _, public = first
    for narinfo in narinfos(host):
        fields = dict(line.split(": ", 1) for line in narinfo.read_text().splitlines() if ": " in line)
        assert fields["Compression"] == "none"
        assert fields["Sig"].startswith(f"{public.partition(':')[0]}:")
    assert "image-app" in "".join(path.read_text() for path in narinfos(host))


def test_a_second_push_sends_nothing(first):
    host, _, _ = first
    nars = host.project.folder / "cache/nar"
    before = {path.name: path.stat().st_mtime_ns for path in nars.iterdir()}
    host.run("cache", "push", "app.py", "--cache", "cache")
    assert {path.name: path.stat().st_mtime_ns for path in nars.iterdir()} == before


def no_signature(host):
    for path in narinfos(host):
        replace(path, re.sub(rb"(?m)^Sig: .*\n", b"", path.read_bytes()))


def altered_nar(host):
    for path in (host.project.folder / "cache/nar").iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        replace(path, bytes(data))


def altered_narinfo(host):
    for path in narinfos(host):
        replace(path, re.sub(rb"(?m)^(NarHash: sha256:).", rb"\g<1>0", path.read_bytes()))


@pytest.mark.parametrize("damage", [no_signature, altered_nar, altered_narinfo])
def test_what_cannot_be_trusted_is_refused_with_a_note_and_built_here(third, damage):
    host, built = third
    damage(host)
    had, said = host.build(timeout=300)
    assert had["digest"] == built["digest"]
    assert had["built"] >= 3
    assert "is not of use, so what it may have is built here" in said


def test_a_cache_whose_key_is_not_trusted_is_not_used(third):
    host, built = third
    host.project.write("pyproject.toml", "")
    had, said = host.build(timeout=300)
    assert (had["digest"], had["built"] >= 3) == (built["digest"], True)
    assert "signature" in said


def test_a_cache_that_cannot_be_reached_delays_a_build_by_seconds(third):
    host, built = third
    done = host.run("build", "app.py", "--cache", "http://127.0.0.1:9/", "--json", timeout=120)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "http://127.0.0.1:9/ cannot be reached: it could not be downloaded" in done.err


@pytest.fixture
def web(tmp_path_factory):
    with cache_server.running(tmp_path_factory.mktemp("web")) as server:
        yield server


def test_a_web_server_takes_what_is_pushed_and_gives_it_to_another_host(first, second, web):
    host, built, _ = first
    env = {"NIX_SSL_CERT_FILE": str(web.authority.cert)}
    host.run("cache", "push", "app.py", "--cache", web.url("cache"), env=env)
    put = [name for method, name, _ in web.asked() if method == "PUT"]
    assert sum(name.endswith(".nar") for name in put) == len(narinfos(host))
    other, _ = second
    done = other.run("build", "app.py", "--cache", web.url("cache"), "--json", env=env)
    had = json.loads(done.out)
    assert (had["digest"], had["built"], done.err) == (built["digest"], 0, "")
    # What is there is not sent again.
    before = len(web.asked())
    host.run("cache", "push", "app.py", "--cache", web.url("cache"), env=env)
    assert "PUT" not in {method for method, _, _ in web.asked()[before:]}


def test_a_web_server_that_is_not_who_it_should_be_is_told_nothing_and_asked_no_more(third, web):
    host, built = third
    done = host.run("build", "app.py", "--cache", web.url("cache"), "--json", timeout=300)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "cannot be reached" in done.err
    assert web.asked() == []


def test_a_cache_that_answers_with_errors_is_told_and_the_image_built_here(third, web):
    host, built = third
    env = {"NIX_SSL_CERT_FILE": str(web.authority.cert)}
    done = host.run("build", "app.py", "--cache", web.url("broken"), "--json", env=env, timeout=300)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "HTTP error 500" in done.err
    assert len(web.asked()) < 20


def test_a_cache_that_cannot_be_filled_is_a_note(third):
    host, _ = third
    host.run("cache", "keygen", "me")
    done = host.run("build", "app.py", "--cache", "/proc/no-folder", "--json")
    assert json.loads(done.out)["built"] >= 3
    assert "file:///proc/no-folder could not be filled" in done.err


def test_pull_has_the_image_or_says_that_the_cache_lacks_it(second):
    host, built = second
    done = host.run("cache", "pull", "app.py", "--cache", "cache")
    assert built["digest"] in done.out
    host.project.app(REQUIREMENTS, body="    changed = 1")
    refused = host.run("cache", "pull", "app.py", "--cache", "cache", check=False)
    assert refused.code == 6
    assert "has no image of app as it is now" in refused.err


def test_a_key_is_never_overwritten_and_only_its_user_can_read_it(project):
    env = {"XDG_CONFIG_HOME": str(project.folder / "conf")}
    project.run("cache", "keygen", "team-1", env=env)
    file = project.folder / "conf/builder/cache.key"
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    again = project.run("cache", "keygen", "team-2", env=env, check=False)
    assert again.code == 7
    assert "is there already" in again.err
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cache", "gopher://host/"], "is no URL of a binary cache"),
        (["--cache", "https://me:hush@host/"], "has credentials in it"),
        (["--cache", "cache", "--cache-key", "none"], "the key none cannot be read"),
        (["--cache", "cache", "--cache-key", "app.py"], "holds no key for signing"),
    ],
)
def test_a_cache_that_cannot_be_one_is_refused_before_anything_is_built(project, words, said):
    project.app([])
    done = project.run("build", "app.py", *words, check=False)
    assert done.code in {3, 7}
    assert said in done.err
    assert "hush" not in done.err
