"""What is built in one store is had by another from a binary cache, or built there where it cannot be trusted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cache_hosts import REQUIREMENTS, narinfos, replace


def test_what_one_store_has_built_another_has_from_the_cache(second_host):
    host, built = second_host
    had, said = host.build()
    assert (had["digest"], had["built"], said) == (built["digest"], 0, "")
    # Nothing is there but the image and what it is made of: no wheel, no Debian package, no tools.
    names = {path.name[33:] for path in (host.store / "store").iterdir() if path.suffix != ".drv"}
    assert not any(name.endswith((".whl", ".deb")) or name.startswith("rootfs") for name in names)


def test_what_is_pushed_is_not_compressed_again_and_signed(first_host):
    host, _, public = first_host
    for narinfo in narinfos(host):
        fields = dict(line.split(": ", 1) for line in narinfo.read_text().splitlines() if ": " in line)
        assert fields["Compression"] == "none"
        assert fields["Sig"].startswith(f"{public.partition(':')[0]}:")
    assert "image-app" in "".join(path.read_text() for path in narinfos(host))


def test_a_second_push_sends_nothing(first_host):
    host, _, _ = first_host
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
def test_what_cannot_be_trusted_is_refused_with_a_note_and_built_here(third_host, damage):
    host, built = third_host
    damage(host)
    had, said = host.build(timeout=300)
    assert had["digest"] == built["digest"]
    assert had["built"] >= 3
    assert "is not of use, so what it may have is built here" in said


def test_a_cache_whose_key_is_not_trusted_is_not_used(third_host):
    host, built = third_host
    host.project.write("pyproject.toml", "")
    had, said = host.build(timeout=300)
    assert (had["digest"], had["built"] >= 3) == (built["digest"], True)
    assert "signature" in said


def test_a_cache_that_cannot_be_reached_delays_a_build_by_seconds(third_host):
    host, built = third_host
    done = host.run("build", "app.py", "--cache", "http://127.0.0.1:9/", "--json", timeout=120)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "http://127.0.0.1:9/ cannot be reached: it could not be downloaded" in done.err


def test_a_web_server_takes_what_is_pushed_and_gives_it_to_another_host(
    first_host, second_host, cache_server
):
    host, built, _ = first_host
    env = {"NIX_SSL_CERT_FILE": str(cache_server.authority.cert)}
    other, _ = second_host
    lacking = other.run("cache", "pull", "app.py", "--cache", cache_server.url("cache"), env=env, check=False)
    assert lacking.code == 6
    host.run("cache", "push", "app.py", "--cache", cache_server.url("cache"), env=env)
    put = [name for method, name, _ in cache_server.asked() if method == "PUT"]
    assert sum(name.endswith(".nar") for name in put) == len(narinfos(host))
    # That it was not there a moment ago is not remembered, and each description is asked for once.
    before = len(cache_server.asked())
    done = other.run("build", "app.py", "--cache", cache_server.url("cache"), "--json", env=env)
    had = json.loads(done.out)
    assert (had["digest"], had["built"], done.err) == (built["digest"], 0, "")
    got = [name for method, name, _ in cache_server.asked()[before:] if method == "GET"]
    assert sorted(name for name in got if name.endswith(".narinfo")) == sorted(
        f"/cache/{path.name}" for path in narinfos(host)
    )
    # What is there is not sent again.
    before = len(cache_server.asked())
    host.run("cache", "push", "app.py", "--cache", cache_server.url("cache"), env=env)
    put = {name for method, name, _ in cache_server.asked()[before:] if method == "PUT"}
    assert put == {"/cache/builder-roots/" + Path(built["path"]).name}


def test_a_web_server_that_is_not_who_it_should_be_is_told_nothing_and_asked_no_more(
    third_host, cache_server
):
    host, built = third_host
    done = host.run("build", "app.py", "--cache", cache_server.url("cache"), "--json", timeout=300)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "cannot be reached" in done.err
    assert cache_server.asked() == []


def test_a_cache_that_answers_with_errors_is_told_and_the_image_built_here(third_host, cache_server):
    host, built = third_host
    env = {"NIX_SSL_CERT_FILE": str(cache_server.authority.cert)}
    done = host.run("build", "app.py", "--cache", cache_server.url("broken"), "--json", env=env, timeout=300)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "HTTP error 500" in done.err
    assert len(cache_server.asked()) < 20


def test_a_cache_that_cannot_be_filled_is_a_note(third_host):
    host, _ = third_host
    host.run("cache", "keygen", "me")
    done = host.run("build", "app.py", "--cache", "/proc/no-folder", "--json")
    assert json.loads(done.out)["built"] >= 3
    assert "file:///proc/no-folder could not be filled" in done.err


def test_pull_has_the_image_or_says_that_the_cache_lacks_it(second_host):
    host, built = second_host
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
