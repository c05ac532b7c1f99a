"""Runs Nix as it is found, so that its user sets nothing.

Any Nix from 2.8 on will do, with or without a daemon. What this program needs is given as settings on the command
line; the machine's nix.conf stays as it is.
"""

from __future__ import annotations

import functools
import grp
import json
import os
import platform
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builder import process, store
from builder.errors import BuildError, ToolError
from builder.files import scratch_folder
from builder.nix_failure import refusal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from builder.models import Architecture
    from builder.nix_log import Log

DEFAULT_CACHE = "https://cache.nixos.org"
_MACHINES: tuple[Architecture, ...] = ("x86_64", "aarch64")
# Nix passes what it downloads on in pieces of up to 1 MB. The C library would ask the kernel for each, and give it back
# (mallopt(3)): a twentieth of the time of copying from a fast cache. Other C libraries do not know these.
_LARGE_PIECES = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
_INSTALL_HINT = (
    "Debian and Ubuntu: apt-get install nix-bin. Other systems: https://nixos.org/download. "
    "Any version from 2.8 on will do; builder needs no configuration of it."
)


@dataclass(frozen=True)
class Added:
    """A path to be in the store.

    Attributes:
        path: the file or folder on disk.
        name: its store name.
        digest: sha256 in hex, of the bytes (flat) or of the NAR (recursive).
        recursive: whether it is known by its NAR.
    """

    path: Path
    name: str
    digest: str
    recursive: bool

    @property
    def store_path(self) -> str:
        """Where it is, or will be, in the store."""
        name = store.recursive_path if self.recursive else store.flat_path
        return name(self.name, self.digest)


def build_machine() -> Architecture:
    """The architecture of the machine that builds.

    Raises:
        ToolError: there is no toolchain for it.
    """
    machine = platform.machine()
    for known in _MACHINES:
        if machine == known:
            return known
    raise ToolError(
        f"This machine is {machine}; images are built on {' and '.join(_MACHINES)}.",
        hint="Build on such a machine, or name one in `builders` of nix.conf.",
    )


def _executable(name: str) -> str:
    found = shutil.which(name)
    if found:
        return found
    # Installers of Nix put it there, and a shell that was started before does not have it on its PATH yet.
    for folder in (
        Path.home() / ".nix-profile/bin",
        Path("/nix/var/nix/profiles/default/bin"),
        Path("/run/current-system/sw/bin"),
    ):
        if (folder / name).exists():
            return str(folder / name)
    raise ToolError(f"{name} was not found: Nix is not installed, or not on PATH.", hint=_INSTALL_HINT)


def require() -> None:
    """See that Nix is there, before time is spent on what it is needed for.

    Raises:
        ToolError: it is missing.
    """
    _executable("nix")


def _has_build_users() -> bool:
    try:
        return bool(grp.getgrnam("nixbld").gr_mem)
    except KeyError:
        return False


@functools.cache
def settings() -> tuple[str, ...]:
    """Nix settings for every call, as `--option` words.

    Raises:
        ToolError: Nix is missing or this user may not use it.
    """
    wanted = {
        "extra-experimental-features": "nix-command",
        # Debian's nix.conf turns the sandbox off; where the kernel allows none, Nix goes on without by itself.
        "sandbox": "true",
        "max-jobs": "auto",
        "cores": "0",
        "connect-timeout": "10",
        "download-attempts": "3",
        # Nothing of ours is in the default cache: asking it only costs time, much where it cannot be reached.
        "substituters": " ".join(_substituters()),
    }
    if os.getuid() == 0 and not _has_build_users():
        wanted["build-users-group"] = ""
    return tuple(word for name, value in wanted.items() for word in ("--option", name, value))


def _substituters() -> list[str]:
    return [url for url in configured("substituters") or () if url.rstrip("/") != DEFAULT_CACHE]


def configured(name: str) -> Any:  # noqa: ANN401 - as Nix's JSON has it
    """What the machine's configuration of Nix says; None where that cannot be read.

    Raises:
        ToolError: Nix is missing.
    """
    # Nix 2.8 has the first command only; newer ones call it a deprecated alias of the second.
    for command in (["show-config"], ["config", "show"]):
        shown = process.run(
            [_executable("nix"), "--extra-experimental-features", "nix-command", *command, "--json"]
        )
        try:
            return json.loads(shown.stdout)[name]["value"]
        except (ValueError, KeyError, TypeError):
            continue
    return None


def run(command: str, *words: str, given: str | None = None) -> str:
    """Run one of Nix's commands and return what it prints; `given` is its standard input.

    Raises:
        ToolError: it is missing, or this user may not use the store.
        BuildError: it failed.
    """
    done = process.run([_executable(command), *settings(), *words], given=given)
    if done.returncode:
        raise refusal(done.stderr) or BuildError(f"{command} failed: {done.stderr.strip()}")
    return done.stdout


def missing(paths: Iterable[Added], there: Collection[str] = ()) -> list[Added]:
    """Those of some paths that the store does not have, nor a binary cache: `there` are the paths of what that has.

    A step that broke off may have left a path half-written: that is not one that the store has, although a file of
    that name is there.

    Raises:
        ToolError, BuildError: see `run`.
    """
    wanted = list(paths)
    here = [added.store_path for added in wanted if Path(added.store_path).exists()]
    unfinished = (
        set(run("nix-store", "--check-validity", "--print-invalid", *here).split()) if here else set()
    )
    finished = set(here) - unfinished
    return [added for added in wanted if added.store_path not in finished and added.store_path not in there]


def add(paths: Iterable[Added]) -> None:
    """Put files and folders that the store does not have yet into it, by their hashes.

    Raises:
        BuildError: a path's content is not what its digest says.
    """
    wanted = missing(paths)
    for recursive in (False, True):
        batch = [added for added in wanted if added.recursive is recursive]
        if not batch:
            continue
        # The store takes a path's name from the file's, so each is given its name in a folder of its own.
        with scratch_folder() as scratch:
            named = []
            for place, added in enumerate(batch):
                folder = scratch / str(place)
                folder.mkdir()
                named.append(_named(added, folder / added.name))
            mode = ["--recursive", "sha256"] if recursive else ["sha256"]
            printed = run("nix-store", "--add-fixed", *mode, *map(str, named)).split()
        for added, path in zip(batch, printed, strict=True):
            if path != added.store_path:
                raise BuildError(
                    f"{added.path} is not the file that was expected: its sha256 is not {added.digest}."
                )


def _named(added: Added, name: Path) -> Path:
    if added.path.name == added.name:
        return added.path
    if added.path.is_dir():
        shutil.copytree(added.path, name, symlinks=True)
    else:
        try:
            os.link(added.path.resolve(), name)
        except OSError:
            shutil.copy2(added.path, name)
    return name


def keep(path: Path, out_link: Path) -> None:
    """Link to a store path, so that garbage collection leaves it.

    Raises:
        ToolError, BuildError: see `run`.
    """
    if not (out_link.is_symlink() and out_link.readlink() == path):
        run("nix-store", "--realise", str(path), "--add-root", str(out_link), "--indirect")


def pure_path(added: Added) -> str:
    """A Nix expression for a path of the store that evaluates pure: by name and hash."""
    return (
        f"(builtins.path {{ path = {added.store_path}; name = {json.dumps(added.name)}; "
        f"recursive = {'true' if added.recursive else 'false'}; sha256 = {json.dumps(added.digest)}; }})"
    )


def would_build(expression: str) -> list[str]:
    """The derivations that building an expression would build, in Nix's order; none is built.

    Raises:
        BuildError: the expression does not evaluate.
    """
    words = ["build", "--pure-eval", "--dry-run", "--no-link", "--expr", expression]
    done = process.run([_executable("nix"), *settings(), *words])
    if done.returncode:
        raise refusal(done.stderr) or BuildError(done.stderr.strip())
    return [line.strip() for line in done.stderr.splitlines() if line.strip().endswith(".drv")]


def build(
    expression: str,
    *,
    log: Log,
    out_link: Path | None = None,
    flags: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> str:
    """Build an expression's derivation.

    Args:
        expression: evaluated pure.
        log: receives what Nix does, and knows at the end what went wrong.
        out_link: a link to the result, which keeps it from garbage collection.
        flags: further words for `nix build`.
        environment: added to Nix's own.

    Returns:
        the store path of `out`.

    Raises:
        PinnedFileError: a file could not be had, or is another one.
        BuildError: with the failing derivation's own last words.
        MachineError: the disk is full.
        ToolError: Nix is missing, or this user may not use the store.
    """
    words = [
        "--pure-eval",
        "--json",
        *(["--out-link", str(out_link)] if out_link else ["--no-link"]),
        *flags,
        "--expr",
        expression,
    ]
    printed = _logged("nix", ("build",), words, log=log, environment=environment)
    return str(json.loads(printed)[0]["outputs"]["out"])


def out_path(expression: str) -> str:
    """The store path that building an expression gives; nothing is built.

    Raises:
        BuildError: the expression does not evaluate.
    """
    return run("nix", "eval", "--pure-eval", "--raw", "--expr", f"({expression}).outPath")


def derivation(expression: str) -> str:
    """The path of an expression's derivation, which is in the store then.

    Raises:
        BuildError: the expression does not evaluate.
    """
    return run("nix", "eval", "--pure-eval", "--raw", "--expr", f"({expression}).drvPath")


def is_valid(path: str) -> bool:
    """Whether the store has a path, whole."""
    return process.run([_executable("nix-store"), "--check-validity", path]).returncode == 0


def has_own_store() -> bool:
    """Whether Nix writes the store as this user; otherwise a daemon does, with its own keys and configuration."""
    # As Nix itself decides.
    return os.access(os.environ.get("NIX_STATE_DIR") or "/nix/var/nix", os.W_OK)


def ping(store_url: str, environment: Mapping[str, str]) -> None:
    """See that another store answers.

    Args:
        store_url: its URL.
        environment: added to Nix's own.

    Raises:
        BuildError: it does not.
    """
    words = [_executable("nix"), *settings(), "store", "ping", "--store", store_url]
    done = process.run(words, env={**os.environ, **environment})
    if done.returncode:
        raise BuildError(done.stderr.strip().partition("\n")[0] or f"nix ended with {done.returncode}")


def evaluate(expression: str) -> Any:  # noqa: ANN401 - whatever the expression is
    """An expression's value, from JSON; the derivations that it names are in the store then.

    Raises:
        BuildError: the expression does not evaluate.
    """
    return json.loads(run("nix", "eval", "--pure-eval", "--json", "--expr", expression))


def realise(
    paths: Iterable[str],
    *,
    log: Log,
    flags: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """Build derivations, or have store paths from caches, all in one run; one that fails does not end the others.

    Args:
        paths: derivations or their outputs.
        log: receives what Nix does, and knows at the end what went wrong.
        flags: further words for Nix.
        environment: added to Nix's own.

    Raises:
        BuilderError: one of them failed; see `build`.
    """
    words = ["--realise", "--keep-going", *flags, *paths]
    _logged("nix-store", (), words, log=log, environment=environment)


def valid(paths: Iterable[str]) -> set[str]:
    """Those of some paths that the store has, whole."""
    wanted = set(paths)
    invalid = run("nix-store", "--check-validity", "--print-invalid", *sorted(wanted)) if wanted else ""
    return wanted.difference(invalid.split())


def copy(words: Iterable[str], *, log: Log, environment: Mapping[str, str] | None = None) -> None:
    """Copy store paths, with all that they refer to, from or to another store.

    Args:
        words: for `nix copy`: the store, and the paths.
        log: receives what Nix does.
        environment: added to Nix's own.

    Raises:
        BuildError: a path is not there, or lacks a signature; or the store cannot be reached or written.
    """
    _logged("nix", ("copy",), words, log=log, environment={**_LARGE_PIECES, **(environment or {})})


def unpack(store_url: str, path: str, target: Path) -> None:
    """Have what another store has at a path, as files outside of any store.

    Args:
        store_url: the other store.
        path: the path.
        target: where to put it; nothing is there yet.

    Raises:
        BuildError: it cannot be had.
    """
    with tempfile.TemporaryFile() as nar:
        words = [_executable("nix"), *settings(), "store", "dump-path", "--store", store_url, path]
        with process.started(words, stdout=nar.fileno()) as dumped:
            _, said = dumped.communicate()
        if dumped.returncode:
            raise BuildError(f"{path} cannot be had: {said.strip()}")
        nar.seek(0)
        with process.started(
            [_executable("nix-store"), "--restore", str(target)], stdin=nar.fileno()
        ) as restored:
            _, said = restored.communicate()
        if restored.returncode:
            raise BuildError(f"{path} cannot be unpacked: {said.strip()}")


@dataclass(frozen=True)
class PathInfo:
    """What a store knows of a path.

    Attributes:
        nar_hash: the hash of its NAR, in this Nix's own notation.
        size: bytes of its NAR.
        references: the paths it refers to, itself perhaps among them.
        keys: names of the keys that it is signed with.
    """

    nar_hash: str
    size: int
    references: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def path_info(paths: Iterable[str], *words: str) -> dict[str, PathInfo]:
    """What a store knows of those of some paths that it has.

    Args:
        paths: the paths.
        words: for `nix path-info`: another store than this machine's, or `--recursive` for all they refer to.

    Raises:
        BuildError: the store cannot be reached.
    """
    wanted = list(paths)
    if not wanted:
        return {}
    return read_path_info(run("nix", "path-info", "--json", *words, *wanted))


def read_path_info(text: str) -> dict[str, PathInfo]:
    """What `nix path-info --json` prints, by path; those that are there."""
    said = json.loads(text)
    # By path since 2.19; before, each entry says its own.
    entries = said.items() if isinstance(said, dict) else ((entry["path"], entry) for entry in said)
    return {
        path: PathInfo(
            str(entry["narHash"]),
            int(entry.get("narSize", 0)),
            tuple(entry.get("references", ())),
            tuple(signature.partition(":")[0] for signature in entry.get("signatures", ())),
        )
        for path, entry in entries
        if entry and "narHash" in entry
    }


def requisites(path: str, *words: str) -> list[str]:
    """A path of this machine's store and all that it needs. `words` are for `nix-store --query --requisites`."""
    return run("nix-store", "--query", "--requisites", *words, path).split()


def _logged(
    program: str,
    command: Iterable[str],
    words: Iterable[str],
    *,
    log: Log,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command of Nix's that takes long, and return what it prints."""
    head = [_executable(program), *command, *settings(), "--log-format", "internal-json", "-v"]
    with process.started([*head, *words], env={**os.environ, **(environment or {})}) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        for line in running.stderr:
            log.line(line.rstrip("\n"))
        printed = running.stdout.read()
    if running.returncode:
        raise log.failure()
    return printed


def untrusted(paths: Iterable[str], *words: str) -> set[str]:
    """Those of some paths that have no signature by a key that is trusted. `words` are for `nix store verify`."""
    wanted = list(paths)
    if not wanted:
        return set()
    command = ["store", "verify", "--no-contents", "--sigs-needed", "1", *words]
    said = process.run([_executable("nix"), *settings(), *command, *wanted]).stderr
    return set(re.findall(r"path '([^']+)' is untrusted", said))
