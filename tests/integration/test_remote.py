"""Builds that are handed to other machines: three hosts, each with a network, a store and servers of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import hosts
import pytest
from conftest import BUILDER
from stores import steps

if TYPE_CHECKING:
    from pathlib import Path

# Each takes a few seconds to compile, and no two the same time.
REQUIREMENTS = [
    "networkx==3.6",
    "numpy==2.3.5",
    "pillow==12.3.0",
    "scipy==1.16.3",
    "sympy==1.14.0",
    "setuptools==80.9.0",
]
PORT = 8080
# A host that is gone is found out in seconds here, not in half a minute.
SSH = {"NIX_SSHOPTS": "-o ServerAliveInterval=1 -o ServerAliveCountMax=4 -o ConnectTimeout=3"}


@dataclass
class Site:
    """Hosts, the client among them, and an app that the client has never built."""

    switch: hosts.Host
    client: hosts.Host
    builders: tuple[hosts.Host, ...]
    key: Path
    project: Path
    env: dict[str, str]

    def start(self, *words):
        """Run the command on the client."""
        return subprocess.Popen(
            [*self.client.wrapper, BUILDER, "build", "app.py", "--frozen", "--json", *words],
            cwd=self.project,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def words(self):
        return [word for host in self.builders for word in ("--builders", host.as_builder(self.key))]

    def asked(self):
        """Who has asked the cache for what: addresses and paths."""
        lines = [line.split() for line in self.switch.said().splitlines()]
        return [(words[0], words[6]) for words in lines if len(words) > 6 and words[5] == '"GET']


@pytest.fixture(scope="module")
def built(session_project):
    """A project, and its image as this machine builds it alone."""
    project = session_project("remote")
    project.app(REQUIREMENTS)
    return project, project.build()


@contextlib.contextmanager
def site(built, folder):
    project, image = built
    made = steps(image["path"])
    with hosts.running(folder, ["switch", "client", "one", "two"]) as (switch, client, *builders):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        # A cache with what every image starts from; of the hosts only the builders know of it.
        keys = ["team", folder / "secret", folder / "public"]
        subprocess.run(["nix-store", "--generate-binary-cache-key", *keys], check=True)
        rootfs = next(step.out for step in made if step.name.startswith("rootfs-"))
        cache = f"file://{folder}/cache?compression=none&secret-key={folder}/secret"
        nix = ["nix", "--extra-experimental-features", "nix-command"]
        subprocess.run([*nix, "copy", "--to", cache, rootfs], check=True, capture_output=True)
        switch.serve_files(folder / "cache", PORT)
        for host in builders:
            host.configure(
                f"substituters = http://{switch.address}:{PORT}",
                f"trusted-public-keys = {(folder / 'public').read_text()}",
            )
            host.serve_ssh((folder / "key.pub").read_text())
        # The client has what is downloaded, and nothing that is built.
        downloads = [str(step.out) for step in made if step.is_download]
        with subprocess.Popen(["nix-store", "--export", *downloads], stdout=subprocess.PIPE) as export:
            importing = [*client.wrapper, "nix-store", "--import"]
            subprocess.run(importing, stdin=export.stdout, check=True, stdout=subprocess.DEVNULL)
        copy = folder / "project"
        copy.mkdir()
        for name in ("app.py", "pylock.app.toml"):
            (copy / name).write_bytes((project.folder / name).read_bytes())
        env = project.environment(
            {
                **SSH,
                "HOME": str(folder),
                "XDG_CACHE_HOME": str(folder / "xdg"),
                "NIX_CONF_DIR": str(client.folder / "conf"),
            }
        )
        yield Site(switch, client, tuple(builders), folder / "key", copy, env)


def test_a_cold_build_uses_all_machines_and_ends_right_where_one_is_lost_in_the_middle(built, tmp_path):
    with site(built, tmp_path) as place:
        one, two = place.builders
        said, handed = [], 0
        with place.start(*place.words, "-v") as running:
            for line in running.stderr:
                said.append(line)
                handed += "build layer-" in line and line.endswith(f" on {two.address}\n")
                if handed == 2 and two.processes:
                    # The first is done, the second is in the making.
                    time.sleep(0.3)
                    two.cut_off()
            out = running.stdout.read()
        assert running.returncode == 0, "".join(said)
        assert json.loads(out)["digest"] == built[1]["digest"]
        assert (
            f"ssh-ng://root@{two.address} was lost in the middle of a build. It goes on with the others"
            in "".join(said)
        )
        for host in (one, two):
            # Each has built layers by itself, and nothing that takes longer to send than to make.
            made = host.made_here()
            assert made
            assert {name.partition("-")[0] for name in made} == {"layer"}
        # What the builders need and their cache has they had from there; the client never asked it.
        sources = {address for address, path in place.asked() if ".nar" in path}
        assert sources == {one.address, two.address}
        # Now that it is known to be gone, nothing waits for it.
        app = place.project / "app.py"
        app.write_text(app.read_text() + "\n# changed\n")
        with place.start(*place.words) as changed:
            out, said = changed.communicate(timeout=60)
        assert json.loads(out)["built"] == 2, said
        assert f"{two.address} is not of use, and is built without" in said
