"""Makes the virtual environment of a build: its requirements, installed from their wheels.

The same `wheel` module that says what an image's layer holds says what is installed here, so a wheel that no image
could have cannot be a build requirement either.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from unpack_source import SourceError
from wheel import Wheel, WheelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MAX_UNPACKED = 64 * 1024**3
# The name sorts before any other: it counts from the first line of a project's code on.
_SORTED = "_sorted_listings"
# File systems list a folder in an order of their own, which differs from machine to machine (ext4 has a random number
# for each), and projects compile and link what they find in that order.
_SORTED_CODE = """\
import os


class _Sorted:
    def __init__(self, entries):
        self._entries = iter(entries)

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._entries = iter(())


def _sort(list_folder, scan_folder):
    def listdir(path="."):
        return sorted(list_folder(path))

    def scandir(path="."):
        with scan_folder(path) as entries:
            return _Sorted(sorted(entries, key=lambda entry: entry.name))

    return listdir, scandir


os.listdir, os.scandir = _sort(os.listdir, os.scandir)
"""


def install(requires: Iterable[Mapping[str, str]], folder: Path, python_version: str, root: str) -> None:
    """Make a virtual environment.

    Args:
        requires: the wheels: `path`, and the `filename` that a store path may not have.
        folder: the folder to make.
        python_version: "3.11".
        root: where the environment will be when it is used.

    Raises:
        SourceError: a wheel breaks the specification.
        OSError: something cannot be read or written.
    """
    site_packages = folder / f"lib/python{python_version}/site-packages"
    site_packages.mkdir(parents=True)
    (folder / "lib64").symlink_to("lib")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(f"/usr/bin/python{python_version}")
    for name in ("python3", f"python{python_version}"):
        (folder / "bin" / name).symlink_to("python")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = false\n")
    (site_packages / f"{_SORTED}.py").write_text(_SORTED_CODE)
    (site_packages / f"{_SORTED}.pth").write_text(f"import {_SORTED}\n")
    for required in requires:
        try:
            _install(Path(required["path"]), required["filename"], folder, python_version, root)
        except WheelError as error:
            raise SourceError(f"its build requirement {error}") from None


def _install(path: Path, filename: str, folder: Path, python_version: str, root: str) -> None:
    with path.open("rb", buffering=0) as file:
        wheel = Wheel(file.fileno(), filename, python_version, root, _MAX_UNPACKED)
        wrappers = wheel.wrappers()
        wheel.drop(set(wrappers))
        written = {}
        for placed in wheel.files:
            content = wheel.read(placed.entry)
            if placed.is_script:
                written[placed.path] = wheel.script(content)
            _write(folder / placed.path, written.get(placed.path, content), placed.mode)
        added = {**wrappers, **wheel.metadata_files(None, requested=False)}
        # Some projects find their own files by it (importlib.metadata.files).
        added[f"{wheel.site_packages}/{wheel.dist_info}/RECORD"] = wheel.installed_record(
            {**written, **added}
        )
        for name, content in added.items():
            _write(folder / name, content, 0o755 if name in wrappers else 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two wheels may have the same file: the later one counts, and is not written into a link of the earlier one.
    path.unlink(missing_ok=True)
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
        file.write(content)
