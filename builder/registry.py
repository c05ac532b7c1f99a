"""Pushes an image to registries (OCI distribution-spec), by skopeo.

skopeo reads the usual files of podman and docker for credentials, asks a registry for each blob before it sends it, and
has the registry mount what another repository of it has. The layout is copied as it is: the digest in the registry is
the one that was built.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from builder import process
from builder.errors import BuildError, DeclarationError, ToolError
from builder.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.layout import Image

_SCHEME = "docker://"
_KEPT = "What was sent is kept there: the next push goes on from it."
# distribution-spec, "Pulling manifests": a name, and a tag or none.
_REFERENCE = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+(?::\d+)?|\[[0-9a-fA-F:]+\](?::\d+)?)/"
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w][\w.-]{0,127})?"
)


def check_reference(text: str) -> str:
    """A reference to an image in a registry, without `docker://`.

    Args:
        text: `host/repository` or `host/repository:tag`, `docker://` before it or not.

    Raises:
        DeclarationError: it is none, or names a digest, which follows from the image and is not to be chosen.
    """
    reference = text.removeprefix(_SCHEME)
    if not _REFERENCE.fullmatch(reference):
        raise DeclarationError(
            f"{redact(text)!r} names no image in a registry",
            hint="Write docker://host/repository:tag, all of the repository in lower case.",
        )
    return reference


def skopeo() -> str:
    """The path of skopeo.

    Raises:
        ToolError: it is missing.
    """
    program = shutil.which("skopeo")
    if program is None:
        raise ToolError(
            "skopeo was not found", hint="Install it: `apt-get install skopeo`, or `dnf install skopeo`."
        )
    return program


def inspect_raw(reference: str, *, config: bool = False) -> str:
    """The manifest that a registry has of an image, or its index, or its configuration: as it is there.

    Args:
        reference: see `check_reference`.
        config: the configuration.

    Raises:
        BuildError: the registry refuses, has no such image or cannot be reached.
        ToolError: skopeo is missing.
    """
    words = ["--config", "--raw"] if config else ["--raw"]
    done = process.run([skopeo(), "inspect", *words, f"{_SCHEME}{reference}"])
    if done.returncode:
        raise _failure(reference, done.stderr, hint="")
    return done.stdout


def push(image: Image, references: Sequence[str], report: Callable[[str], None]) -> None:
    """Copy an image to registries, one after another; what a registry has is not sent.

    Args:
        image: the image.
        references: see `check_reference`.
        report: told which one it goes to.

    Raises:
        BuildError: a registry refuses, or cannot be reached, or has another digest than what was built.
        ToolError: skopeo is missing.
    """
    program = skopeo()
    for reference in references:
        report(f"Pushing to {reference}")
        with tempfile.TemporaryDirectory(prefix="builder-push-") as scratch:
            digest = Path(scratch) / "digest"
            words = [
                program,
                "copy",
                "--preserve-digests",
                "--digestfile",
                str(digest),
                *([] if sys.stderr.isatty() else ["--quiet"]),
                f"oci:{image.path}:latest",
                f"{_SCHEME}{reference}",
            ]
            # Its progress, in bytes, is for the terminal; what it says when it fails is the error's.
            done = process.run(words)
            if done.returncode:
                raise _failure(reference, done.stderr, hint=_KEPT)
            found = digest.read_text("utf-8").strip()
        if found != image.digest:
            raise BuildError(f"{reference} has {found}, and not {image.digest}, which was built.")


def _failure(reference: str, said: str, *, hint: str) -> BuildError:
    """The error that skopeo's last line comes to; `hint` is for when nothing more is known."""
    last = redact(said.strip().rpartition("\n")[2])
    found = re.search(r'msg="(?P<text>(?:[^"\\]|\\.)*)"', last)
    text = found["text"].replace('\\"', '"') if found else last
    host = reference.partition("/")[0]
    if "unauthorized" in text or "authentication required" in text or "denied" in text:
        hint = f"Log in: `podman login {host}` or `docker login {host}`."
    elif "x509" in text or "certificate" in text:
        hint = f"Put the certificate of its authority into /etc/containers/certs.d/{host}/ca.crt."
    return BuildError(f"{reference}: {text}", hint=hint)
