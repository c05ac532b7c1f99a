"""Machines in network namespaces of their own: each with a store, a configuration of Nix, and an sshd where it builds.

Nothing of it is in the machine's own network: the switch that connects the hosts has a namespace too. A host's servers
have namespaces of their own for mounts and processes, so that one signal to the first of them is a host's sudden end.
"""

from __future__ import annotations

import base64
import contextlib
import grp
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = "/nix/var/nix/userpool"
# A block of addresses that documentation may use and nobody has (RFC 5737).
_NETWORK = "192.0.2"
_SSHD = """
ListenAddress {address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
SetEnv NIX_CONF_DIR={folder}/conf XDG_CACHE_HOME={folder}/cache PATH={path}
"""


def _run(*words: object, **more: object) -> str:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return str(done.stdout)


@dataclass
class Host:
    """A machine.

    Attributes:
        name: of its network namespace.
        address: its IPv4 address.
        folder: what is its own: `nix`, which is /nix there, `conf`, keys.
        processes: what runs on it until it ends.
    """

    name: str
    address: str
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def store(self) -> Path:
        return self.folder / "nix/store"

    @property
    def wrapper(self) -> tuple[str, ...]:
        """What begins a command that runs here."""
        # Nix ends all processes of a build user when it takes one: all stores have to know who is free.
        users = f"mkdir -p {USERS} {self.folder}{USERS} && mount --bind {USERS} {self.folder}{USERS}"
        script = f'{users} && mount --rbind {self.folder}/nix /nix && mkdir -p /run/sshd && exec "$@"'
        return ("ip", "netns", "exec", self.name, "unshare", "-m", "sh", "-c", script, "sh")

    def configure(self, *lines: str) -> None:
        """Write its nix.conf: what a machine that builds has, and more lines."""
        try:
            users = "nixbld" if grp.getgrnam("nixbld").gr_mem else ""
        except KeyError:
            users = ""
        own = ["experimental-features = nix-command", "sandbox = true", f"build-users-group = {users}"]
        (self.folder / "conf").mkdir(exist_ok=True)
        (self.folder / "conf/nix.conf").write_text("\n".join([*own, *lines, ""]))

    def shell(self, *words: object) -> str:
        """Run a command here, and return what it prints."""
        return _run(*self.wrapper, *words, env={**os.environ, "NIX_CONF_DIR": str(self.folder / "conf")})

    def start(self, *words: object) -> None:
        """Run a program here until the host ends."""
        # The first process of a namespace takes all others with it.
        room = ("unshare", "-p", "--fork", "--kill-child", "--mount-proc")
        with (self.folder / "said").open("ab") as said:
            program = [*self.wrapper, *room, *map(str, words)]
            self.processes.append(subprocess.Popen(program, stdout=said, stderr=said))

    def serve_ssh(self, public_key: str) -> None:
        """Let the owner of a key in, as root."""
        folder = self.folder
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "host_key")
        (folder / "authorized_keys").write_text(public_key)
        text = _SSHD.format(address=self.address, folder=folder, path=os.environ["PATH"])
        (folder / "sshd_config").write_text(text)
        self.start("/usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config")
        self._wait_for("Server listening")

    def serve_files(self, folder: Path, port: int) -> None:
        """Serve a folder by HTTP."""
        words = ["-m", "http.server", port, "--bind", self.address, "--directory", folder]
        self.start(sys.executable, "-u", *words)
        self._wait_for("Serving HTTP")

    def _wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 10
        while text not in (said := self.said()):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def said(self) -> str:
        """What its servers have said."""
        return (self.folder / "said").read_text()

    def made_here(self) -> set[str]:
        """The names of what was built in its store, rather than copied there."""
        listed = json.loads(self.shell("nix", "path-info", "--all", "--json"))
        # Nix before 2.19 has a list.
        infos = listed.values() if isinstance(listed, dict) else listed
        paths = [info["path"] for info in infos if info.get("ultimate") and not info["path"].endswith(".drv")]
        return {path.partition("-")[2] for path in paths}

    def as_builder(self, key: Path, jobs: int = 1) -> str:
        """This host in the words of Nix's `builders`."""
        own = base64.b64encode((self.folder / "host_key.pub").read_bytes().strip()).decode()
        return f"ssh-ng://root@{self.address} x86_64-linux {key} {jobs} 1 - - {own}"

    def cut_off(self) -> None:
        """Pull the plug: no packet comes or goes any more, and everything that ran is gone."""
        _run("ip", "-n", self.name, "link", "set", "eth0", "down")
        self.end()

    def end(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.processes.clear()


@contextlib.contextmanager
def running(folder: Path, names: list[str]) -> Iterator[list[Host]]:
    """Hosts on one network; the first name is the switch's, on which servers for all of them can run."""
    prefix = f"builder-{os.getpid()}"
    hosts = []
    for number, name in enumerate(names, 1):
        for made in ("nix/store", "nix/var"):
            (folder / name / made).mkdir(parents=True)
        hosts.append(Host(f"{prefix}-{name}", f"{_NETWORK}.{number}", folder / name))
        hosts[-1].configure("substituters =")
    switch, *others = hosts
    try:
        for host in hosts:
            _run("ip", "netns", "add", host.name)
            _run("ip", "-n", host.name, "link", "set", "lo", "up")
        _run("ip", "-n", switch.name, "link", "add", "eth0", "type", "bridge")
        for number, host in enumerate(others):
            peer = ("peer", "name", "eth0", "netns", host.name)
            _run("ip", "-n", switch.name, "link", "add", f"port{number}", "type", "veth", *peer)
            _run("ip", "-n", switch.name, "link", "set", f"port{number}", "master", "eth0", "up")
        for host in hosts:
            _run("ip", "-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            _run("ip", "-n", host.name, "link", "set", "eth0", "up")
        yield hosts
    finally:
        for host in hosts:
            host.end()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)
