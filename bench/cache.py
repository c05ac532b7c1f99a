"""Measures how fast an image comes from a binary cache, against curl for the same bytes in the same run.

The image is torch for the CPU. One store fills a cache; then its image is removed from the store and had back, from
nginx with TLS and from the folder itself. Here nginx works on the same cores, so it is had once more through a
network of 1 Gbit/s, as from another machine (by root alone, who may make one). What counts is the time of copying:
`builder cache pull`, less what the same command takes where the image is there already (to start, load the app and
evaluate it), which is told beside it and does not grow with the image. curl writes the same files one after another,
from the same nginx. What it takes to read them as file:// URLs, without TLS and a server, is told as well: Nix hashes
all it copies, and curl nothing. All are the best of a few runs in turn.

Usage: cache.py [--quick] [FILE]    --quick takes a small image; FILE gets the result as Markdown
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ours import BUILDER, Ours, machine, report, run, timed

from builder.cache_gc import parse_narinfo

# The servers of the tests.
sys.path.insert(0, str(Path(__file__).parent.parent / "tests/integration"))

import nginx
from private_ca import PrivateCA

if TYPE_CHECKING:
    from collections.abc import Iterator

# Our speed, as a ratio to the peer's.
GOAL = 0.7
ROUNDS = 5
LINK = "1gbit"
_CLONE_NEWNET = 0x40000000  # sched.h
HTTP = """
    access_log off;
    sendfile on;
    server {{ listen 127.0.0.1:{port} ssl; root {root}; }}
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


@dataclass(frozen=True)
class Row:
    """One way to have the image; times in seconds.

    Attributes:
        name: the way.
        whole: the command, from its start to its end.
        fixed: the same command where the image is there.
        peer: what curl takes for the same bytes.
    """

    name: str
    whole: float
    fixed: float
    peer: float

    @property
    def ratio(self) -> float:
        return self.peer / max(self.whole - self.fixed, 0.001)


def measure(folder: Path, *, quick: bool) -> tuple[list[Row], str]:
    """Fill a cache, and have the image from it in both ways, in turn with the peers."""
    ours = Ours(folder / "ours")
    ours.env["XDG_CONFIG_HOME"] = str(folder / "conf")
    ours.declare(["numpy"] if quick else ["torch==2.13.0"])
    ours.build()
    cache, target = folder / "cache", folder / "peer"
    run(BUILDER, "cache", "keygen", "bench", env=ours.env)
    run(BUILDER, "cache", "push", ours.app, "--cache", cache, cwd=ours.folder, env=ours.env)
    found = [parse_narinfo(path.name, path.read_text()) for path in cache.glob("*.narinfo")]
    infos = [info for info in found if info]
    paths = [str(ours.store / info.path) for info in infos]
    nars = [cache / info.nar for info in infos]
    size = sum(info.size for info in infos)
    times: dict[str, list[tuple[float, float, float]]] = {}
    plain: list[float] = []
    own_network = os.geteuid() == 0
    if own_network:
        leave_network()
    with served(cache, folder / "web") as (url, cert):
        env = {**ours.env, "NIX_SSL_CERT_FILE": str(cert)}

        def forget() -> None:
            for link in ours.folder.glob("result-*"):
                link.unlink()
            there = [path for path in paths if Path(path).exists()]
            run("nix-store", "--delete", "--ignore-liveness", *there, env=ours.env)
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            run("sync")

        def pull(place: str) -> None:
            run(BUILDER, "cache", "pull", ours.app, "--cache", place, cwd=ours.folder, env=env)

        def curl(place: str) -> None:
            words = [word for nar in nars for word in ("-o", target / nar.name, f"{place}/nar/{nar.name}")]
            run("curl", "--silent", "--fail", "--cacert", cert, *words)

        def compare(name: str, place: str) -> None:
            forget()
            theirs = timed(lambda: curl(url))
            shutil.rmtree(target)
            target.mkdir()
            plain.append(timed(lambda: curl(f"file://{cache}")))
            whole = timed(lambda: pull(place))
            times.setdefault(name, []).append((whole, timed(lambda: pull(place)), theirs))

        for _ in range(ROUNDS):
            compare("https, nginx", url)
            compare("file", f"file://{cache}")
        if own_network:
            shape = f"qdisc add dev lo root tbf rate {LINK} burst 1mb latency 50ms"
            run("tc", *shape.split())
            for _ in range(ROUNDS):
                compare(f"https, nginx, {LINK}", url)
    rows = [Row(name, *map(min, zip(*some, strict=True))) for name, some in times.items()]
    what = (
        f"{len(infos)} paths, {size / 1e6:.0f} MB; curl of the same files by file:// takes {min(plain):.2f} s"
    )
    return rows, what


def table(rows: list[Row]) -> str:
    """The result as Markdown."""
    lines = [
        "| from | copying | whole command | curl, https | speed, as a ratio | goal | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        verdict = "met" if row.ratio >= GOAL else "missed"
        times = f"{row.whole - row.fixed:.2f} s | {row.whole:.2f} s | {row.peer:.2f} s"
        lines.append(f"| {row.name} | {times} | {row.ratio:.2f} | {GOAL} | {verdict} |")
    return "\n".join(lines)


def main(words: list[str]) -> int:
    """Measure, and print; the exit code is 1 where the goal was missed."""
    quick = "--quick" in words
    with tempfile.TemporaryDirectory(prefix="cache-") as scratch:
        rows, what = measure(Path(scratch), quick=quick)
    report(f"{machine()}\n{what}\n\n{table(rows)}", words)
    return 0 if quick or all(row.ratio >= GOAL for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
