"""A cache in a bucket and one on a machine with ssh are of use as a folder is, and who may not use one is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cache_hosts import Host
from conftest import free_port

KEY, SECRET = "AKIACANARY0000000000", "canary/secret+of/the/bucket"


class S3Server:
    """moto, which checks signatures as botocore makes them: a user may do all in S3, and others nothing."""

    def __init__(self, folder):
        self.port = free_port()
        self.log = folder / "s3.log"
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        env = {**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "4"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, stdout=log, stderr=log, env=env)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.env = self._user()

    def _user(self):
        import boto3
        from botocore.exceptions import EndpointConnectionError

        def client(service):
            words = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
            return boto3.client(service, endpoint_url=self.endpoint, region_name="us-east-1", **words)

        iam = client("iam")
        deadline = time.monotonic() + 30
        while True:
            try:
                iam.create_user(UserName="builder")
                break
            except EndpointConnectionError:
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)
        key = iam.create_access_key(UserName="builder")["AccessKey"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
        }
        iam.put_user_policy(UserName="builder", PolicyName="all", PolicyDocument=json.dumps(policy))
        client("s3").create_bucket(Bucket="images")
        return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    def url(self, prefix=""):
        return f"s3://images{prefix}?endpoint=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def names(self):
        import boto3

        words = {
            "aws_access_key_id": self.env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.env["AWS_SECRET_ACCESS_KEY"],
        }
        s3 = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", **words)
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket="images", PaginationConfig={"PageSize": 5}
        )
        return [item["Key"] for page in pages for item in page.get("Contents", ())]


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.process.terminate()
    server.process.wait()


def test_a_bucket_takes_what_is_pushed_and_gives_it_to_another_host(first_host, second_host, s3):
    host, built, public = first_host
    said = []

    def run(who, *words, **more):
        done = who.run(*words, env={**s3.env, **more.pop("env", {})}, **more)
        said.append(done.out + done.err)
        return done

    run(host, "cache", "push", "app.py", "--cache", s3.url(), "--verbose")
    names = s3.names()
    assert (
        sum(name.endswith(".nar") for name in names) == sum(name.endswith(".narinfo") for name in names) > 3
    )
    other, _ = second_host
    found = json.loads(run(other, "cache", "info", "app.py", "--cache", s3.url(), "--json").out)
    assert found["problem"] == ""
    assert {part["name"].partition("-")[0] for part in found["image"]} == {"image", "layer"}
    assert all(part["trusted"] and part["keys"] == [public.partition(":")[0]] for part in found["image"])
    had = json.loads(run(other, "build", "app.py", "--cache", s3.url(), "--json", "--verbose").out)
    assert (had["digest"], had["built"]) == (built["digest"], 0)
    checked = json.loads(run(host, "check", "app.py", "--cache", s3.url(), "--json").out)
    assert [compared["state"] for compared in checked["comparisons"]] == ["same"]
    # Nothing of it is old enough to go; below another prefix there is nothing.
    kept = json.loads(run(host, "cache", "gc", "--older-than", "1d", "--cache", s3.url(), "--json").out)
    assert (kept["removed"], kept["kept"]) == ([], len(found["image"]))
    lacking = run(other, "cache", "info", "app.py", "--cache", s3.url("/other"), "--json")
    assert {part["size"] for part in json.loads(lacking.out)["image"]} == {None}
    for secret in s3.env.values():
        assert secret not in "".join(said)


def test_a_bucket_that_refuses_is_told_and_the_image_built_here(third_host, s3):
    host, built = third_host
    env = {**s3.env, "AWS_SECRET_ACCESS_KEY": SECRET}
    host.run("cache", "keygen", "me")
    done = host.run("build", "app.py", "--cache", s3.url(), "--json", env=env, timeout=300)
    had = json.loads(done.out)
    assert (had["digest"], had["built"] >= 3) == (built["digest"], True)
    assert "s3://images" in done.err
    assert "HTTP error 403" in done.err
    assert SECRET not in done.out + done.err
    pushed = host.run("cache", "push", "app.py", "--cache", s3.url(), env=env, check=False)
    assert pushed.code == 6
    assert "SignatureDoesNotMatch" in pushed.err
    assert "127.0.0.1" not in pushed.err


@pytest.fixture
def sshd(second_host, tmp_path):
    """The second host's ssh server; also the environment of who may log in there."""
    host, _ = second_host
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name]
        subprocess.run(words, check=True)
    port = free_port()
    text = f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {tmp_path}/host
        PidFile none
        AuthorizedKeysFile {tmp_path}/user.pub
        PermitUserEnvironment yes
        StrictModes no
        PermitRootLogin prohibit-password
        PasswordAuthentication no
    """
    (tmp_path / "sshd_config").write_text(text)
    public = (tmp_path / "host.pub").read_text()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {public}")
    Path("/run/sshd").mkdir(exist_ok=True)
    log = (tmp_path / "sshd.log").open("wb")
    process = subprocess.Popen(
        [*host.wrapper, "/usr/sbin/sshd", "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=log
    )
    options = f"-p {port} -i {tmp_path}/user -o UserKnownHostsFile={tmp_path}/known -o BatchMode=yes"
    yield {"NIX_SSHOPTS": options}
    process.terminate()
    process.wait()
    log.close()


@pytest.mark.parametrize("scheme", ["ssh", "ssh-ng"])
def test_a_machine_with_ssh_takes_what_is_pushed_and_gives_it_to_another(
    first_host, second_host, sshd, scheme, tmp_path
):
    host, built, public = first_host
    url = f"{scheme}://root@127.0.0.1"
    if scheme == "ssh-ng":
        # That machine's own configuration says which keys count there.
        refused = host.run("cache", "push", "app.py", "--cache", url, env=sshd, check=False)
        assert refused.code == 6
        assert f"trusted-public-keys: {public}" in refused.err
        keys = tmp_path / "user.pub"
        keys.write_text(f'environment="NIX_CONFIG=extra-trusted-public-keys = {public}" {keys.read_text()}')
    host.run("cache", "push", "app.py", "--cache", url, env=sshd)
    # What was pushed is in that machine's own store, signed, and nothing is built there any more.
    machine, _ = second_host
    had = json.loads(machine.run("build", "app.py", "--json").out)
    assert (had["digest"], had["built"]) == (built["digest"], 0)
    other = Host(tmp_path / "other", machine.project)
    found = json.loads(other.run("cache", "info", "app.py", "--cache", url, "--json", env=sshd).out)
    assert all(part["trusted"] and part["keys"] == [public.partition(":")[0]] for part in found["image"])
    done = other.run("build", "app.py", "--cache", url, "--json", env=sshd)
    had = json.loads(done.out)
    assert (had["digest"], had["built"], done.err) == (built["digest"], 0, "")


def test_a_machine_that_cannot_be_reached_by_ssh_delays_a_build_by_seconds(third_host):
    host, built = third_host
    env = {"NIX_SSHOPTS": "-p 9 -o BatchMode=yes"}
    done = host.run("build", "app.py", "--cache", "ssh://127.0.0.1", "--json", env=env, timeout=120)
    assert json.loads(done.out)["digest"] == built["digest"]
    assert "ssh://127.0.0.1 cannot be reached" in done.err
