"""Runs git in two ways.

What asks a server has the user's configuration: credential helpers, proxies, `insteadOf`, ssh. What reads our own
copies has none at all, so that no setting of this machine can change a file.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from builder import process
from builder.errors import ToolError, disk_full

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable

# Of git's variables, those that say how to reach a server. Others name a repository or change what git says.
_REACHING = ("GIT_ASKPASS", "GIT_CONFIG", "GIT_EXEC_PATH", "GIT_HTTP_", "GIT_PROXY_", "GIT_SSH", "GIT_SSL_")
_NEVER = {"GIT_SSL_NO_VERIFY"}
_NEEDED = {"HOME", "PATH"}
# What git needs to start.
_LOCAL = ("GIT_EXEC_PATH", "LD_LIBRARY_PATH", "PATH", "TMPDIR")
_TELLING = 8  # characters

# What decides a file's bytes, whatever git's defaults are on this system.
_FILES = {
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.eol": "lf",
    "core.fileMode": "true",
    "core.hooksPath": os.devnull,
    "core.ignoreCase": "false",
    "core.precomposeUnicode": "false",
    "core.symlinks": "true",
}

# What the server says of its own disk begins with "remote:".
_DISK_FULL = re.compile(r"(?m)^(?!remote:).*(?:No space left on device|Disk quota exceeded)")


class LocalError(Exception):
    """Git could not read our copy of a repository; the text is what it said."""


def executable() -> str:
    """The path of git.

    Raises:
        ToolError: there is none.
    """
    found = shutil.which("git")
    if found is None:
        raise ToolError(
            "git is missing, and a requirement names a git repository",
            hint="Install it (Debian and Ubuntu: apt-get install git), then run the command again.",
        )
    return found


def reaching_environment(secrets: Iterable[str]) -> dict[str, str]:
    """The environment for what asks a server: the user's, without any variable that holds a secret of ours."""
    known = tuple(secrets)
    kept = {
        name: value
        for name, value in os.environ.items()
        if (not name.startswith("GIT_") or name.startswith(_REACHING))
        and name not in _NEVER
        and (name in _NEEDED or not _holds_secret(value, known))
    }
    # GCM_INTERACTIVE is Git Credential Manager's: it would open a window.
    return {**kept, "LC_ALL": "C", "LANGUAGE": "", "GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never"}


def _holds_secret(value: str, secrets: Iterable[str]) -> bool:
    # A short password may be part of any word.
    return any(
        secret and (value == secret or (len(secret) >= _TELLING and secret in value)) for secret in secrets
    )


def local(repository: Path, *words: str, index: Path | None = None, tree: Path | None = None) -> str:
    """Read or change our copy of a repository, without network and without anyone's configuration.

    Args:
        repository: a bare repository.
        words: git's command and its arguments.
        index: an index file for it to use.
        tree: the work tree.

    Returns:
        what it printed.

    Raises:
        LocalError: git failed.
        ToolError: git is missing.
    """
    # A home without a .gitconfig: GIT_CONFIG_GLOBAL would do, but is not known before git 2.32.
    nowhere = str(repository / "no-home")
    environment = {name: os.environ[name] for name in _LOCAL if name in os.environ} | {
        "LC_ALL": "C",
        "LANGUAGE": "",
        "HOME": nowhere,
        "XDG_CONFIG_HOME": nowhere,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if index:
        environment["GIT_INDEX_FILE"] = str(index)
    if tree:
        environment["GIT_WORK_TREE"] = str(tree)
    options = [word for name, value in _FILES.items() for word in ("-c", f"{name}={value}")]
    done = run([executable(), *options, f"--git-dir={repository}", *words], environment, cwd=tree)
    if done.returncode:
        raise LocalError(done.stderr.strip())
    return done.stdout


def run(
    words: list[str], environment: dict[str, str], *, given: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run git to its end.

    Raises:
        ToolError: it cannot be started.
        MachineError: the disk is full.
    """
    try:
        # Not in the user's folder, whose own repository would have a say.
        done = process.run(words, given=given, env=environment, cwd=cwd or Path("/"))
    except OSError as error:
        raise ToolError(f"git cannot be started: {error.strerror}") from error
    if done.returncode and _DISK_FULL.search(done.stderr):
        raise disk_full()
    return done
