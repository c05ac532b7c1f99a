"""An image in a registry is the one that was built, and what the registry has is not sent again."""

from __future__ import annotations

import json
import subprocess

import pytest
import registry_server


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registry_server.running(tmp_path_factory.mktemp("registry")) as server:
        yield server


def blobs(manifest):
    return {manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}


def test_after_one_small_change_only_what_is_new_is_sent(project, registry, tmp_path):
    env = registry.environment(tmp_path)
    project.app(["humanize==4.14.0"])
    references = [f"docker://{registry.host}/team/app:{tag}" for tag in ("1.0", "latest")]
    done = project.run("push", "app.py", *references, "--json", env=env)
    pushed = json.loads(done.out)
    assert pushed["digest"] == project.build()["digest"]
    first = registry.manifest("team/app:1.0", env)
    assert registry.manifest(f"team/app@{pushed['digest']}", env) == first
    assert registry.manifest("team/app:latest", env) == first
    assert registry.blobs_sent(0) == blobs(first)
    project.app(["humanize==4.14.0", "tomli==2.2.1"])
    start = registry.log.stat().st_size
    second = json.loads(project.run("push", "app.py", references[0], "--json", env=env).out)
    new = registry.manifest("team/app:1.0", env)
    assert second["digest"] != pushed["digest"]
    # The layer that tomli came into, the code, which says so, and the configuration.
    assert registry.blobs_sent(start) == blobs(new) - blobs(first)
    assert len(registry.blobs_sent(start)) == 3
    # Another repository of the registry has the layers mounted; the configuration, of a kilobyte or two, is sent.
    start = registry.log.stat().st_size
    project.run("push", "app.py", f"{registry.host}/team/sister:1.0", env=env)
    assert registry.blobs_sent(start) <= {new["config"]["digest"]}
    assert registry.manifest("team/sister:1.0", env) == new


def test_a_build_can_push_what_it_has_built(project, registry, tmp_path):
    env = registry.environment(tmp_path)
    project.app(["humanize==4.14.0"])
    built = project.build("app.py", "--push", f"docker://{registry.host}/team/built:2", env=env)
    assert registry.manifest(f"team/built@{built['digest']}", env) == registry.manifest("team/built:2", env)


def test_an_image_is_loaded_into_the_engine_of_this_machine(project):
    project.app(["humanize==4.14.0"])
    loaded = json.loads(project.run("load", "app.py", "--json").out)
    assert loaded["engine"] == "podman"
    words = ["podman", "image", "inspect", "--format", "{{.Digest}}", loaded["image"]]
    done = subprocess.run(words, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == loaded["digest"]


def test_who_may_not_push_is_told_to_log_in_and_no_password_is_shown(project, registry, tmp_path):
    project.app([])
    env = registry.environment(tmp_path, "canary-wrong")
    done = project.run("push", "app.py", f"{registry.host}/team/app:1.0", env=env, check=False)
    assert done.code == 6
    assert f"podman login {registry.host}" in done.err
    assert "canary" not in done.err + done.out


def test_a_registry_whose_authority_is_not_known_is_not_talked_to(project, registry, tmp_path):
    project.app([])
    env = {**registry.environment(tmp_path), "SSL_CERT_FILE": ""}
    done = project.run("push", "app.py", f"{registry.host}/team/app:1.0", env=env, check=False)
    assert done.code == 6
    assert f"/etc/containers/certs.d/{registry.host}/ca.crt" in done.err


@pytest.mark.parametrize("reference", ["docker://", "app", "host/Team/app", "docker://host/app@sha256:00"])
def test_what_is_no_reference_is_refused_before_anything_is_built(project, reference):
    project.app([])
    done = project.run("push", "app.py", reference, check=False)
    assert done.code == 3
    assert "names no image in a registry" in done.err
    assert not (project.folder / "pylock.app.toml").exists()
