"""What is in a binary cache: told, made less, and enough to build again where servers have gone."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from cache_hosts import REQUIREMENTS, narinfos

from builder.cache_gc import parse_narinfo


@pytest.mark.parametrize("what", ["app.py", "--all"])
def test_what_was_pushed_with_its_sources_builds_the_image_again_without_any_network(
    first_host, second_host, what
):
    host, built, _ = first_host
    done = host.run("cache", "push", "app.py", "--sources", "--cache", "sources")
    assert "files that it is built from" in done.out
    folder = host.project.folder / "sources"
    names = {}
    for path in folder.glob("*.narinfo"):
        info = parse_narinfo(path.name, path.read_text())
        names[info.path[33:]] = path
    assert {"busybox", "humanize-4.14.0-py3-none-any.whl"} <= set(names)
    assert sum(name.endswith(".deb") for name in names) > 20
    # The image has gone from the cache, and so has every step to it: what is left comes from elsewhere.
    for name, path in names.items():
        if name.startswith(("image-", "layer-")):
            path.unlink()
    other, _ = second_host
    shutil.rmtree(other.project.folder / "cache")
    shutil.copytree(folder, other.project.folder / "cache")
    alone = (*other.wrapper, "unshare", "-n")
    words = ("build", what, "--cache", "cache", "--json", "--frozen")
    found = json.loads(other.project.run(*words, wrapper=alone, timeout=600).out)
    [again] = found if what == "--all" else [found]
    assert again["digest"] == built["digest"]
    assert again["built"] > 5
    # Without these nothing can be built: it was the cache that had them.
    other.shell("nix-store", "--delete", "--ignore-liveness", again["path"])
    for path in (other.project.folder / "cache").glob("*.narinfo"):
        path.unlink()
    other.run("build", "app.py", "--no-link", "--json", "--frozen")


def test_a_cache_is_described_with_the_parts_of_an_image_that_it_has(second_host, first_host):
    host, _ = second_host
    _, built, public = first_host
    told = json.loads(host.run("cache", "info", "app.py", "--cache", "cache", "--json").out)
    assert (told["problem"], told["store"], told["writable"], told["signs"]) == (
        "",
        "/nix/store",
        False,
        False,
    )
    assert told["keys"] == [public.partition(":")[0]]
    assert {part["path"] for part in told["image"]} >= {built["path"]}
    assert len(told["image"]) == built["layers"] + 1
    assert all(part["trusted"] and part["size"] for part in told["image"])
    lost = next(path for path in narinfos(host) if "layer-humanize" in path.read_text().splitlines()[0])
    lost.unlink()
    host.project.write("pyproject.toml", "")
    text = host.run("cache", "info", "app.py", "--cache", "cache").out
    assert "layer-humanize-4.14.0  not there" in text
    assert "signed by team-1, not trusted here" in text
    host.run("cache", "keygen", "me")
    told = json.loads(host.run("cache", "info", "--cache", "cache", "--json").out)
    assert (told["writable"], "image" in told) == (True, False)


def test_a_web_server_is_described_whether_it_takes_what_is_pushed(second_host, cache_server):
    host, _ = second_host
    host.run("cache", "keygen", "me")
    env = {"NIX_SSL_CERT_FILE": str(cache_server.authority.cert)}

    def told(name, **more):
        url = name if "://" in name else cache_server.url(name)
        return json.loads(host.run("cache", "info", "--cache", url, "--json", env={**env, **more}).out)

    assert (told("cache")["problem"], told("cache")["writable"]) == ("", True)
    assert "HTTP error 500" in told("broken")["problem"]
    assert "cannot be reached" in told("http://127.0.0.1:9/")["problem"]
    assert (
        "cannot be reached"
        in told("cache", NIX_SSL_CERT_FILE="/etc/ssl/certs/ca-certificates.crt")["problem"]
    )


def age(folder, days):
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2)


def test_what_was_not_pushed_for_a_while_goes_and_what_is_kept_is_of_use(first_host, second_host):
    host, built, _ = first_host
    folder = host.project.folder / "crowded"
    host.run("cache", "push", "app.py", "--cache", "crowded")
    before = {path.name for path in folder.rglob("*")}
    source = host.project.folder / "app.py"
    text = source.read_text()
    try:
        host.project.app(REQUIREMENTS, body="    changed = 1")
        changed = json.loads(host.run("build", "app.py", "--json", "--no-link").out)
        host.run("cache", "push", "app.py", "--cache", "crowded")
    finally:
        source.write_text(text)
    age(folder, 40)
    # Sent long ago, and pushed again now: it stays, and what only the other image needs goes.
    host.run("cache", "push", "app.py", "--cache", "crowded")
    words = ("cache", "gc", "--older-than", "30d", "--cache", "crowded", "--json")
    dry = json.loads(host.run(*words, "--dry-run").out)
    told = json.loads(host.run(*words).out)
    assert {**dry, "dry_run": False} == told
    assert {path[33:] for path in told["removed"]} == {"image-app", "layer-app"}
    assert changed["path"].rpartition("/")[2] in told["removed"]
    assert told["kept"] == built["layers"] + 1
    assert {path.name for path in folder.rglob("*")} == before
    other, _ = second_host
    pulled = other.run("cache", "pull", "app.py", "--cache", folder)
    assert built["digest"] in pulled.out
    # An old one stays where it is asked for by its app, and otherwise goes as well.
    age(folder, 40)
    assert json.loads(host.run(*words, "--keep", "app.py").out)["removed"] == []
    assert json.loads(host.run(*words).out)["kept"] == 0
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {"nix-cache-info"}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--older-than", "30d", "--cache", "https://localhost:9/"], 7, "cannot be listed from here"),
        (["--older-than", "30d", "--cache", "ssh://localhost"], 7, "nix-collect-garbage"),
        (["--older-than", "30d"], 7, "no cache is named"),
        (["--older-than", "30", "--cache", "cache"], 2, "is no age"),
    ],
)
def test_what_cannot_be_made_less_is_refused_with_what_can(project, words, code, says):
    done = project.run("cache", "gc", *words, check=False)
    assert done.code == code
    assert says in done.err
