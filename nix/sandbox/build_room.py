"""Runs a program in a root file system of its own, from which it sees neither the machine nor a network.

Nix's own sandbox may be off, and even where it is on, a build there could write into its other inputs' places and would
find no /usr. So a build is shut in once more, by Linux namespaces (namespaces(7)), which need no privilege:

    user       the build is user 1000 of 1000 and has no capability
    mount      its root is the Debian root, read-only; only /build, /tmp and /dev/shm can be written
    network    only a loopback interface
    pid        whatever it leaves running ends with it
    ipc, uts   nothing is shared; the machine is called "localhost"
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from unpack_source import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

#: The user and the group that a build is.
USER = 1000

# sched.h, sys/mount.h, sys/prctl.h and linux/if.h.
_NEW_NAMESPACES = {
    "CLONE_NEWUSER": 0x10000000,
    "CLONE_NEWNS": 0x00020000,
    "CLONE_NEWNET": 0x40000000,
    "CLONE_NEWPID": 0x20000000,
    "CLONE_NEWIPC": 0x08000000,
    "CLONE_NEWUTS": 0x04000000,
}
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 32, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
# pivot_root(2) has no function in the C library.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
# What the root has and a build gets its own of.
_OWN = {"proc", "sys", "dev", "tmp", "build"}
_FORBIDDEN = (
    "this machine allows no user namespaces, which a build from source is shut in with ({reason}). Allow them: in a "
    "container by --security-opt seccomp=unconfined, on the machine by `sysctl -w user.max_user_namespaces=10000`, "
    "`sysctl -w kernel.unprivileged_userns_clone=1` or `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, "
    "whichever of them exists there"
)


class Room(NamedTuple):
    """What a program sees.

    Attributes:
        root: folder with the root file system; it is read-only.
        build: folder that is /build.
        fixed: names in `build` that are read-only.
        tmp: folder that is /tmp.
        mount_point: an empty folder.
        instead: folders that are, read-only, in the place of the root's own of these names.
    """

    root: Path
    build: Path
    fixed: tuple[str, ...]
    tmp: Path
    mount_point: Path
    instead: Mapping[str, Path] = MappingProxyType({})


def run(
    room: Room,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    say: Callable[[bytes], None],
) -> int:
    """Run a program to its end, and end what it has started.

    Args:
        room: what it sees.
        command: the program's path in the room, and its arguments.
        environment: all of its environment.
        folder: where it starts, in the room.
        say: is given what it writes, a line at a time.

    Returns:
        its exit code; 128 and more where a signal ended it.

    Raises:
        SourceError: the kernel allows no such room.
    """
    said, words = os.pipe()
    told, problem = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        os.close(told)
        _forked(problem, lambda: _keeper(room, command, environment, folder, words, problem))
    os.close(words)
    os.close(problem)
    with os.fdopen(said, "rb") as lines, os.fdopen(told, "rb") as problems:
        for line in lines:
            say(line)
        failure = problems.read().decode("utf-8", "replace")
    code = _exit_code(os.waitpid(child, 0)[1])
    if failure:
        raise SourceError(failure)
    return code


def _keeper(
    room: Room,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    words: int,
    problem: int,
) -> int:
    """Go into the namespaces, start their first process and wait for it."""
    user, group = os.geteuid(), os.getegid()
    everything = 0
    for flag in _NEW_NAMESPACES.values():
        everything |= flag
    try:
        _call("unshare", everything)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{USER} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{USER} {group} 1")
    except OSError as error:
        raise SourceError(_FORBIDDEN.format(reason=error.strerror)) from None
    _end_with_parent()
    first = os.fork()
    if first == 0:
        _forked(problem, lambda: _first(room, command, environment, folder, words, problem))
    os.close(words)
    os.close(problem)
    return _exit_code(os.waitpid(first, 0)[1])


def _first(
    room: Room,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    words: int,
    problem: int,
) -> int:
    """Make the room, start the program in it, and wait until it has ended; the kernel then ends the rest."""
    _end_with_parent()
    try:
        _furnish(room)
    except PermissionError as error:
        raise SourceError(_FORBIDDEN.format(reason=error)) from None
    socket.sethostname("localhost")
    _raise_loopback()
    program = os.fork()
    if program == 0:
        _forked(problem, lambda: _become(command, environment, folder, words))
    os.close(words)
    os.close(problem)
    while True:
        ended, status = os.wait()
        if ended == program:
            return _exit_code(status)


def _furnish(room: Room) -> None:
    """Make the room's tree of mounts, and make it the root."""
    _mount(None, Path("/"), flags=_MS_REC | _MS_PRIVATE)
    top = room.mount_point
    _mount("tmpfs", top, kind="tmpfs", flags=_MS_NOSUID | _MS_NODEV, data="mode=0755")
    for entry in sorted(os.scandir(room.root), key=lambda entry: entry.name):
        place = top / entry.name
        if entry.name in _OWN:
            continue
        if entry.is_symlink():
            place.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            place.mkdir()
            _bind(room.instead.get(entry.name) or Path(entry.path), place, read_only=True)
    for name in _OWN:
        (top / name).mkdir()
    _bind(room.build, top / "build")
    for name in room.fixed:
        _bind(room.build / name, top / "build" / name, read_only=True)
    _bind(room.tmp, top / "tmp")
    _add_devices(top / "dev")
    _add_proc(top / "proc")
    os.chdir(top)
    _call("syscall", _PIVOT_ROOT[os.uname().machine], b".", b".")
    # The old root is now mounted upon the new one (pivot_root(2), "pivot_root(".", ".")").
    _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    _restrict(Path("/"))


def _add_proc(folder: Path) -> None:
    try:
        _mount("proc", folder, kind="proc", flags=_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    except PermissionError:
        # In a container that hides parts of /proc the kernel gives no whole one. The container's own would show the
        # other processes in it: then there is none.
        return
    # A build has no use for namespaces, which much of the kernel's code is open to attack through.
    (folder / "sys/user/max_user_namespaces").write_text("0")
    # Where Nix builds as root, the room's user is root outside, to whom /proc/sys would be open.
    _restrict(folder)


def _add_devices(folder: Path) -> None:
    for name in _DEVICES:
        (folder / name).touch()
        _bind(Path("/dev") / name, folder / name)
    for name, target in _LINKS.items():
        (folder / name).symlink_to(target)
    (folder / "shm").mkdir()
    _mount("tmpfs", folder / "shm", kind="tmpfs", flags=_MS_NOSUID | _MS_NODEV, data="mode=1777")


def _bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    _mount(str(source), target, flags=_MS_BIND | _MS_REC)
    if read_only:
        _restrict(target)


def _restrict(target: Path) -> None:
    # What the mount below forbids must be said again: a user namespace may not allow it.
    kept = os.statvfs(target).f_flag & (_MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _mount(None, target, flags=_MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def _raise_loopback() -> None:
    """Bring up the loopback interface: programs that talk to themselves find it, as everywhere."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _become(command: Sequence[str], environment: Mapping[str, str], folder: str, words: int) -> NoReturn:
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(words, 1)
    os.dup2(words, 2)
    # Also a descriptor of the machine's would be a way out.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.umask(0o022)
    os.chdir(folder)
    for name in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(name, signal.SIG_DFL)
    os.execve(command[0], list(command), dict(environment))  # noqa: S606 - there is no shell


def _forked(problem: int, work: Callable[[], int]) -> NoReturn:
    """Do a child's work, and end it whatever happens: what its parent would do next is not its to do."""
    code = 1
    try:
        code = work()
    except SourceError as error:
        os.write(problem, str(error).encode())
    except OSError as error:
        os.write(problem, f"the room that a build is shut in cannot be made: {error}".encode())
    finally:
        os._exit(code)


def _end_with_parent() -> None:
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL.value, 0, 0, 0)


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _mount(source: str | None, target: Path, *, kind: str | None = None, flags: int, data: str = "") -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, str(target), kind)]
    try:
        _call("mount", *words, ctypes.c_ulong(flags), data.encode() or None)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(target)) from None


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library.

    Raises:
        OSError: it failed.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments):
        code = ctypes.get_errno() or errno.EINVAL
        raise OSError(code, os.strerror(code))
