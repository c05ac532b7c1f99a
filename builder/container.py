"""Runs an image with podman or docker."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder import process as programs
from builder.errors import BuildError, ToolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from builder.layout import Image


@dataclass(frozen=True)
class Engine:
    """What runs containers here.

    Attributes:
        kind: whose command line it speaks.
        command: the program and the options it needs on this machine.
        limits: options for `run` that this machine needs.
    """

    kind: Literal["podman", "docker"]
    command: tuple[str, ...]
    limits: tuple[str, ...] = ()

    @staticmethod
    def find() -> Engine:
        """Podman where it is installed, otherwise docker.

        Raises:
            ToolError: there is neither.
        """
        podman = shutil.which("podman")
        if podman:
            return Engine("podman", (podman, *_podman_runtime(podman)), _podman_limits())
        docker = shutil.which("docker")
        if docker:
            return Engine("docker", (docker,))
        raise ToolError(
            "Neither podman nor docker was found, so the image cannot be run here.",
            hint="Debian and Ubuntu: apt-get install podman runc.",
        )

    def load(self, image: Image) -> str:
        """Make the image known to the engine, unless it is, and return the ID to run it by."""
        known = subprocess.run(
            [*self.command, "image", "inspect", image.config_digest], capture_output=True, check=False
        )
        if known.returncode == 0:
            return image.config_digest
        if self.kind == "podman":
            words = [*self.command, "pull", "--quiet", f"oci:{image.path}:latest"]
            done = programs.run(words)
        else:
            done = self._docker_load(image)
        if done.returncode:
            raise BuildError(f"{self.kind} could not load the image: {done.stderr.strip()}")
        return image.config_digest if self.kind == "podman" else f"{image.name}:latest"

    def _docker_load(self, image: Image) -> subprocess.CompletedProcess[str]:
        skopeo = shutil.which("skopeo")
        if skopeo:
            words = [skopeo, "copy", f"oci:{image.path}:latest", f"docker-daemon:{image.name}:latest"]
            return programs.run(words)
        # An OCI layout as a tar file is what docker 25 and newer load; the links to layers are followed.
        with subprocess.Popen(
            [*self.command, "load", "--quiet"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=False
        ) as loading:
            assert loading.stdin is not None
            assert loading.stderr is not None
            with tarfile.open(fileobj=loading.stdin, mode="w|", dereference=True) as archive:
                archive.add(image.path, arcname=".")
            loading.stdin.close()
            error = loading.stderr.read().decode(errors="replace")
        return subprocess.CompletedProcess(loading.args, loading.returncode, "", error)

    def run(
        self, reference: str, *, command: Sequence[str], port: int | None, secrets: Sequence[str], tty: bool
    ) -> int:
        """Run the image in the foreground until it ends or the user stops it.

        Args:
            reference: what `load` returned.
            command: runs instead of the app when not empty.
            port: the port of this machine that reaches the container's 8080; None for none.
            secrets: environment variables passed on from this process, by name.
            tty: whether to give the container a terminal.

        Returns:
            the container's exit code.
        """
        words = [*self.command, "run", "--rm", "--interactive", *self.limits]
        if tty:
            words.append("--tty")
        if port is not None:
            words += ["--publish", f"127.0.0.1:{port}:8080"]
        for name in secrets:
            words += ["--env", name]  # the value goes from environment to environment, past the process list
        if command:
            words += ["--entrypoint", json.dumps([command[0]]) if self.kind == "podman" else command[0]]
        words += [reference, *command[1:]]
        with subprocess.Popen(words) as process:
            # A signal goes to the container, which ends in its own time. A terminal's Ctrl-C reaches the engine
            # without our help, and a second one would mean "now".
            def forward(number: int, _: object) -> None:
                if number != signal.SIGINT or not sys.stdin.isatty():
                    process.terminate()

            kept = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                return process.wait()
            finally:
                for number, handler in kept.items():
                    signal.signal(number, handler)


def _podman_runtime(podman: str) -> tuple[str, ...]:
    """Options that choose a runtime which works here: crun refuses hybrid cgroups, runc takes them."""
    runc = shutil.which("runc")
    if not runc:
        return ()
    shown = subprocess.run([podman, "info", "--format", "json"], capture_output=True, text=True, check=False)
    try:
        host = json.loads(shown.stdout)["host"]
    except (ValueError, KeyError):
        return ()
    if host["ociRuntime"]["name"] == "crun" and host["cgroupVersion"] == "v1":
        return ("--runtime", runc)
    return ()


def _podman_limits() -> tuple[str, ...]:
    """Limits that a process without CAP_SYS_RESOURCE may set.

    Podman's defaults for root may lie above what the machine allows, and then no container starts. Its own limit of
    processes is 32768 from its start on.
    """
    words = []
    for name, number, most in (
        ("nofile", resource.RLIMIT_NOFILE, 1 << 20),
        ("nproc", resource.RLIMIT_NPROC, 1 << 15),
    ):
        allowed = [most if value == resource.RLIM_INFINITY else value for value in resource.getrlimit(number)]
        soft, hard = (min(value, most) for value in allowed)
        words += ["--ulimit", f"{name}={soft}:{hard}"]
    return tuple(words)
