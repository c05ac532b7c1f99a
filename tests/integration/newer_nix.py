"""A newer Nix than the machine's: that of a Debian suite, unpacked into a root of its own and run in it.

Its packages are resolved and verified by this project's own means. The root is entered with `pivot_root`, not `chroot`:
Nix's sandbox makes namespaces, which a chroot forbids.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from builder.debian import fetch_deb, find_mirrors, resolve_base

COMMANDS = ("nix", "nix-store", "nix-instantiate", "nix-hash")
# Everything of the machine but its own system is there: stores, projects and temporary files keep their paths.
ENTER = """#!/bin/sh
exec unshare -m -p --fork sh -c '
set -e
root=$0; where=$1; shift
mount --make-rprivate /
mount --rbind "$root" "$root"
for folder in /*; do
  case $folder in /usr|/bin|/sbin|/lib*|/etc|/var|/proc) continue ;; esac
  [ -d "$folder" ] && [ ! -L "$folder" ] || continue
  mkdir -p "$root$folder"
  mount --rbind "$folder" "$root$folder"
done
mount -t proc proc "$root/proc"
cd "$root"
pivot_root . old
cd "$where"
busybox umount -l /old
exec "$@"
' '@ROOT@' "$PWD" '/usr/bin/@COMMAND@' "$@"
"""


def install(folder: Path, cache: Path, python: str) -> Path:
    """Make the root and commands that run in it.

    Args:
        folder: an empty one, for the root.
        cache: this program's cache folder, for Debian's indexes and packages.
        python: names the suite by its Python: "3.13" for trixie, with Nix 2.26, "3.14" for forky, with 2.34.

    Returns:
        a folder with the commands, for PATH.
    """
    root, commands = folder / "root", folder / "bin"
    for name in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "proc", "old", "etc"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    base = resolve_base(python, mirrors={}, cache=cache, system_packages=["nix-bin", "bash"])
    for deb in (*base.debs["x86_64"], *base.extra):
        package = fetch_deb(deb, find_mirrors({}), cache / "debs")
        files = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True
        ).stdout
        subprocess.run(["tar", "-x", "-C", root, "--keep-directory-symlink"], input=files, check=True)
    for name in ("resolv.conf", "passwd", "group", "hosts", "nsswitch.conf"):
        (root / "etc" / name).write_bytes(Path("/etc", name).read_bytes())
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        (root / "etc/ssl/certs").mkdir(parents=True, exist_ok=True)
        (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(certificates.read_bytes())
    # Nix 2.34 refuses to build below a folder that everybody may write, such as a test's state in /tmp.
    (root / "var/build").mkdir(parents=True)
    (root / "etc/nix").mkdir(exist_ok=True)
    (root / "etc/nix/nix.conf").write_text("build-dir = /var/build\n")
    commands.mkdir()
    for name in COMMANDS:
        script = commands / name
        script.write_text(ENTER.replace("@ROOT@", str(root)).replace("@COMMAND@", name))
        script.chmod(0o755)
    return commands
