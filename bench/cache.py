"""Measures how fast an image comes from a binary cache, against curl for the same bytes in the same run.

The image is torch for the CPU. One store fills a cache; then its image is removed from the store and had back, from
nginx with TLS and from the folder itself. Here nginx works on the same cores, so it is had once more through a
network of 1 Gbit/s, as from another machine (by root alone, who may make one). What counts is the time of copying:
what the command of Nix's takes, from its start to its end, that `builder cache pull` runs for it. The time of the whole
is told beside it: what is not copying does not grow with the image. curl writes the same files one after another,
from the same nginx. What it takes to read them as file:// URLs, without TLS and a server, is told as well: Nix hashes
all it copies, and curl nothing. All are medians of some runs in turn, before each of which the disk has nothing to
write.

Usage: cache.py [--quick] [FILE]    --quick takes a small image; FILE gets the result as Markdown
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from ours import BUILDER, Ours, machine, report, run, timed

from builder.cache_gc import parse_narinfo

# The servers of the tests.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/integration"))

import nginx
from private_ca import PrivateCA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Our speed, as a ratio to the peer's.
GOAL = 0.7
ROUNDS = 9
LINK = "1gbit"
_CLONE_NEWNET = 0x40000000  # sched.h
HTTP = """
    access_log off;
    sendfile on;
    server {{ listen 127.0.0.1:{port} ssl; root {root}; }}
"""
# Nix, but for the time that it takes to copy.
CLOCK = """#!/bin/sh
[ "$1" = copy ] || exec {nix} "$@"
started=$(date +%s%N)
{nix} "$@"
ended=$?
echo $(($(date +%s%N) - started)) >> {log}
exit $ended
"""


@contextmanager
def served(root: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Nginx with TLS for a folder: its URL, and the certificate to trust."""
    authority = PrivateCA(folder / "ca")
    cert, key = authority.issue(["localhost"])
    [port] = nginx.free_ports(1)
    with nginx.serving(folder, HTTP.format(port=port, root=root), cert=cert, key=key, port=port):
        yield f"https://localhost:{port}", authority.cert


def leave_network() -> None:
    """Give this process and its children a network that they have to themselves (network_namespaces(7))."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "no network of its own")
    run("ip", "link", "set", "lo", "up")


def clocked(folder: Path, log: Path) -> str:
    """PATH for commands whose Nix writes down how long it copies."""
    clock = folder / "nix"
    folder.mkdir()
    clock.write_text(CLOCK.format(nix=shutil.which("nix"), log=log))
    clock.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


class Run(NamedTuple):
    """What one run took, in seconds.

    Attributes:
        peer: curl, for the same bytes.
        whole: our command, from its start to its end.
        copying: the command of Nix's in it.
    """

    peer: float
    whole: float
    copying: float

    @property
    def ratio(self) -> float:
        return self.peer / self.copying


class Pulls:
    """An image in a cache, to be had from it again and again."""

    def __init__(self, folder: Path, requirement: str) -> None:
        self.ours = Ours(folder / "ours")
        self.ours.env["XDG_CONFIG_HOME"] = str(folder / "conf")
        self.ours.declare([requirement])
        self.ours.build()
        self.cache, self.peer, self.log = folder / "cache", folder / "peer", folder / "copied"
        run(BUILDER, "cache", "keygen", "bench", env=self.ours.env)
        self.builder("push", str(self.cache))
        found = [parse_narinfo(path.name, path.read_text()) for path in self.cache.glob("*.narinfo")]
        self.infos = [info for info in found if info]
        self.ours.env["PATH"] = clocked(folder / "clock", self.log)

    @property
    def size(self) -> int:
        return sum(info.size for info in self.infos)

    def builder(self, command: str, place: str) -> None:
        run(
            BUILDER,
            "cache",
            command,
            self.ours.app,
            "--cache",
            place,
            cwd=self.ours.folder,
            env=self.ours.env,
        )

    def forget(self) -> None:
        """Remove the image from the store."""
        for link in self.ours.folder.glob("result-*"):
            link.unlink()
        paths = [path for info in self.infos if (path := self.ours.store / info.path).exists()]
        run("nix-store", "--delete", "--ignore-liveness", *paths, env=self.ours.env)

    def settled(self, action: Callable[[], object]) -> float:
        """Time an action while the disk has nothing of an earlier one to write."""
        shutil.rmtree(self.peer, ignore_errors=True)
        self.peer.mkdir()
        run("sync")
        return timed(action)

    def curl(self, place: str, *words: str | Path) -> float:
        """Time curl for the same files."""
        nars = [info.nar for info in self.infos]
        files = [word for nar in nars for word in ("-o", self.peer / Path(nar).name, f"{place}/{nar}")]
        return self.settled(lambda: run("curl", "--silent", "--fail", *words, *files))

    def compare(self, place: str, url: str, cert: Path) -> Run:
        """Time curl from a URL, and having the image from a place."""
        self.forget()
        peer = self.curl(url, "--cacert", cert)
        self.log.write_text("")
        whole = self.settled(lambda: self.builder("pull", place))
        [copying] = self.log.read_text().split()
        return Run(peer, whole, int(copying) / 1e9)


def measure(folder: Path, *, quick: bool) -> tuple[dict[str, list[Run]], str]:
    """Fill a cache, and have the image from it in each way, in turn with the peer."""
    pulls = Pulls(folder, "numpy" if quick else "torch==2.13.0")
    own_network = os.geteuid() == 0
    if own_network:
        leave_network()
    with served(pulls.cache, folder / "web") as (url, cert):
        pulls.ours.env["NIX_SSL_CERT_FILE"] = str(cert)
        files = f"file://{pulls.cache}"
        runs: dict[str, list[Run]] = {"https, nginx": [], "file": []}
        for _ in range(ROUNDS):
            for name, place in zip(runs, (url, files), strict=True):
                runs[name].append(pulls.compare(place, url, cert))
        plain = median(pulls.curl(files) for _ in range(ROUNDS))
        if own_network:
            shape = f"qdisc add dev lo root tbf rate {LINK} burst 1mb latency 50ms"
            run("tc", *shape.split())
            runs[f"https, nginx, {LINK}"] = [pulls.compare(url, url, cert) for _ in range(ROUNDS)]
    size = f"{len(pulls.infos)} paths, {pulls.size / 1e6:.0f} MB"
    return runs, f"{size}; curl of the same files by file:// takes {plain:.2f} s"


def ratio(runs: list[Run]) -> float:
    """Our speed, as a ratio to that of curl just before: the machine's own changes from minute to minute."""
    return median(run.ratio for run in runs)


def table(ways: dict[str, list[Run]]) -> str:
    """The result as Markdown."""
    lines = [
        "| from | copying | whole command | curl, https | speed, as a ratio | of all runs | goal | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in ways.items():
        peer, whole, copying = map(median, zip(*runs, strict=True))
        ratios = [run.ratio for run in runs]
        verdict = "met" if ratio(runs) >= GOAL else "missed"
        lines.append(
            f"| {name} | {copying:.2f} s | {whole:.2f} s | {peer:.2f} s | {ratio(runs):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} | {GOAL} | {verdict} |"
        )
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Measure, and print; the exit code is 1 where the goal was missed."""
    quick = "--quick" in words
    with tempfile.TemporaryDirectory(prefix="cache-") as scratch:
        ways, what = measure(Path(scratch), quick=quick)
    report(f"{machine()}\n{what}\n\n{table(ways)}", words)
    return 0 if quick or all(ratio(runs) >= GOAL for runs in ways.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
