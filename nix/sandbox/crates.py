"""Gives cargo the crates of a build, from which it cannot reach a registry.

Cargo takes a folder of unpacked crates in a registry's place ("Source Replacement" in the Cargo book; the folder is a
"directory source"). What such a folder holds is the pinned crates; where nothing is pinned, the crates that Debian's
librust-*-dev packages have in the root, which are laid out like that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from unpack_source import SourceError, unpack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_DEBIAN = "usr/share/cargo/registry"
_CONFIG = """\
[source.crates-io]
replace-with = "pinned"

[source.pinned]
directory = "{folder}"

[net]
offline = true
"""


def provide(crates: Sequence[Mapping[str, str]], build: Path, root: Path, room: str) -> None:
    """Write cargo's configuration, and the folder that it names.

    Args:
        crates: each with `path`, `name`, `version` and `sha256`.
        build: the room's folder /build; its `home` is the home of the build's user.
        root: the root file system of the build.
        room: what `build` is called in the room.

    Raises:
        SourceError: a crate cannot be unpacked.
        OSError: something cannot be read or written.
    """
    if crates:
        folder = f"{room}/crates"
        (build / "crates").mkdir()
        for crate in crates:
            _unpack(crate, build / "crates")
    elif (root / _DEBIAN).is_dir():
        folder = f"/{_DEBIAN}"
    else:
        return
    configuration = build / "home/.cargo"
    configuration.mkdir()
    (configuration / "config.toml").write_text(_CONFIG.format(folder=folder))


def _unpack(crate: Mapping[str, str], folder: Path) -> None:
    target = folder / f"{crate['name']}-{crate['version']}"
    try:
        unpack(Path(crate["path"]), target)
    except SourceError as error:
        raise SourceError(f"the crate {crate['name']} {crate['version']}: {error}") from None
    # Nix has checked the archive; cargo compares its hash with that of Cargo.lock, and is told of no single files.
    checksum = {"files": {}, "package": crate["sha256"]}
    (target / ".cargo-checksum.json").write_text(json.dumps(checksum))
