"""Makes a virtual environment (PEP 405) that runs where it lies in the store, out of the layers of an image's packages.

The specification, a JSON object:
    layers: the folders of the layers, lowest first.
    root: the image's root file system, which has the Python.
    argv: what starts that Python on this machine: its loader, told where the libraries are.
    python_version: "3.11".
    shell: path of a static busybox, which runs the command `python`.
    out: the folder that becomes the environment.

The kernel would start a program of the root by this machine's loader and libraries. So `python` is a script that starts
it by its own; what Python starts in its turn is started the same way, since `sys.executable` is that script.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

from gzip_members import LayerError

# Where packages are in an image.
_VENV = "opt/venv/"
_SHEBANG = b"#!/" + _VENV.encode() + b"bin/python"


def build(spec: dict[str, Any]) -> None:
    """Make the environment.

    Args:
        spec: see above.

    Raises:
        LayerError: a layer cannot be unpacked.
        OSError: something cannot be read or written.
    """
    out = Path(spec["out"])
    version = spec["python_version"]
    scripts, packages = out / "bin", out / "lib" / f"python{version}" / "site-packages"
    for folder in (scripts, packages):
        folder.mkdir(parents=True)
    for layer in spec["layers"]:
        _unpack(Path(layer, "blob"), out)
    python = scripts / "python"
    for script in scripts.iterdir():
        _retarget(script, python)
    program = scripts / f".python{version}"
    program.symlink_to(f"{spec['root']}/usr/bin/python{version}")
    words = " ".join([*spec["argv"][:-1], str(program)])
    for name in ("python", "python3", f"python{version}"):
        (scripts / name).unlink(missing_ok=True)
        (scripts / name).write_text(f'#!{spec["shell"]} sh\nexec {words} "$@"\n')
        (scripts / name).chmod(0o755)
    (out / "pyvenv.cfg").write_text(
        f"home = {spec['root']}/usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
    )
    (packages / "_builder_environment.pth").write_text(f"import sys; sys.executable = {str(python)!r}\n")


def _unpack(blob: Path, out: Path) -> None:
    try:
        with tarfile.open(blob, "r:gz") as archive:
            for member in archive:
                if not member.name.startswith(_VENV):
                    continue
                member.name = member.name[len(_VENV) :]
                # The layers are this program's own work, and nothing in them leads out of a folder.
                archive.extract(member, out, set_attrs=member.isreg(), numeric_owner=True)
    except tarfile.TarError as error:
        raise LayerError(f"{blob} cannot be unpacked: {error}") from error


def _retarget(script: Path, python: Path) -> None:
    """Let a console script be run by the environment's Python."""
    if script.is_symlink() or not script.is_file():
        return
    first, newline, rest = script.read_bytes().partition(b"\n")
    if first.startswith(_SHEBANG):
        mode = script.stat().st_mode
        script.unlink()
        script.write_bytes(b"#!" + os.fsencode(python) + newline + rest)
        script.chmod(mode)


if __name__ == "__main__":
    try:
        build(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except (LayerError, OSError) as failure:
        sys.exit(f"error: {failure}")
