"""Measures single steps outside Nix: what compiling costs at least, and how much memory a layer takes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
import zipfile
from pathlib import Path

from builder import resources

MIB = 1 << 20


def image_python(store: Path) -> list[str]:
    """How to start the Python that makes layers, out of a store that has built an image."""
    root = next(path for path in store.glob("*-rootfs-python3.11-*") if path.is_dir())
    machine = root.name.rpartition("-")[2]
    libraries = root / f"usr/lib/{machine}-linux-gnu"
    loader = next(libraries.glob("ld-linux-*"))
    return [str(loader), "--library-path", str(libraries), str(root / "usr/bin/python3.11")]


def image_tools(store: Path) -> dict[str, str]:
    """What the step of a layer has in its environment besides, out of such a store: where ISA-L is."""
    return {"isal": str(next(store.glob("*-tools/usr/lib/*/libisal.so.2")))}


def compile_seconds(python: list[str], wheels: list[Path], folder: Path) -> float:
    """Seconds that `compileall -j2` takes for the sources of some wheels: the floor of any build with bytecode."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".py")])
    started = time.monotonic()
    # Some files are not meant to compile, for which it ends with 1: they are part of the work.
    subprocess.run([*python, "-m", "compileall", "-q", "-j2", str(folder)], check=False, capture_output=True)
    return time.monotonic() - started


def make_wheel(path: Path, size: int) -> None:
    """Write a wheel of about `size` bytes that holds one large library, as CUDA's wheels do."""
    name, version = path.name.split("-")[:2]
    noise = random.Random(0)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(zipfile.ZipInfo(f"{name}/lib.so"), "w", force_zip64=True) as library:
            while archive.fp.tell() < size:  # type: ignore[union-attr]
                library.write(noise.randbytes(MIB) + bytes(3 * MIB))
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n")
        rows = [f"{name}/lib.so,,", f"{info}/METADATA,,", f"{info}/WHEEL,,", f"{info}/RECORD,,"]
        archive.writestr(f"{info}/RECORD", "\n".join(rows) + "\n")


def specification(
    folder: Path, wheel: Path, python: list[str], *, filename: str, bytecode: bool = True
) -> Path:
    """Write what the step of a wheel's layer is told, as Nix would; the layer goes into the folder as well."""
    spec = {
        "wheel": str(wheel),
        "filename": filename,
        "python_version": "3.11",
        "python": python,
        "bytecode": bytecode,
        "cores": 2,
        "out": str(folder / "layer"),
    }
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return path


def peak_memory(store: Path, wheel: Path, folder: Path) -> int:
    """Bytes of memory that the step of a wheel's layer takes at most, all of its processes together."""
    python = image_python(store)
    script = resources.nix_library() / "sandbox/main.py"
    spec = specification(folder, wheel, python, filename=wheel.name)
    environment = {**os.environ, **image_tools(store), "specPath": str(spec)}
    peak = 0
    with subprocess.Popen([*python, "-B", str(script), "wheel_layer"], env=environment) as step:
        ended = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not ended.wait(0.01):
                peak = max(peak, sum(_resident(pid) for pid in _family(step.pid)))

        watcher = threading.Thread(target=watch)
        watcher.start()
        code = step.wait()
        ended.set()
        watcher.join()
    if code:
        raise RuntimeError(f"the layer step ended with {code}")
    return peak


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]
