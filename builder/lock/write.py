"""Writes a lock as text that people can read and compare."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from packaging.utils import InvalidSdistFilename, parse_sdist_filename

from builder.errors import LockError, is_disk_full
from builder.files import replacing
from builder.lock.file import FORMAT, LockFile
from builder.models import Built

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from builder.lock.declared import Declared
    from builder.lock.recorded import Recorded
    from builder.models import Addition, Deb, PinnedFile, Toolkit, Wheel


def write_lock(path: Path, content: LockFile, *, target: str = "TARGET") -> bool:
    """Write a lock, all of it or nothing; return whether the file has changed.

    Args:
        path: where.
        content: what.
        target: what the command line calls the app, for the comment at the top.
    """
    text = dumps(content, target=target)
    with contextlib.suppress(OSError):
        if path.read_bytes() == text.encode():
            return False
    try:
        with replacing(path) as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
    except OSError as error:
        if is_disk_full(error):
            raise
        raise LockError(f"{path} cannot be written: {error.strerror}") from error
    return True


def lock_digest(content: LockFile) -> str:
    """A lock's digest, `sha256:<hex>`, of its text without URLs and without the image that is recorded.

    URLs say where files were found once. An image is labelled with this digest, and must not differ with whose mirror
    answered; nor can it be labelled with its own digest.
    """
    portable = content.lock.model_copy(update={"portable": True})
    text = dumps(LockFile(portable, content.declared))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def dumps(content: LockFile, *, target: str = "TARGET") -> str:
    """A lock as text, the same for the same lock; one pin a line, so that a diff of two can be read."""
    from builder.tags import Target

    lock = content.lock
    lines = [
        f"# What the image of {lock.name} is made of, each file by its sha256: a standard lock (PEP 751).",
        "# Made by builder; commit it, and leave the editing to these:",
        f"#   builder lock {target}                          after a change; keeps every pin that still fits",
        f"#   builder lock {target} --upgrade                for newer versions of everything",
        f"#   builder lock {target} --upgrade-package NAME   for a newer version of one package",
    ]
    if lock.portable:
        lines += [
            "# It names no place to get files from (portable = true): builder finds them by name and hash",
            "# on the indexes that uv and pip have been given; uv and pip need the wheels to lie beside it.",
        ]
    marker = Target.of_base(lock.base, lock.architecture).environment
    lines += [
        'lock-version = "1.0"',
        f"environments = [{_string(marker)}]",
        f"requires-python = {_string(f'=={lock.python}.*')}",
        'created-by = "builder"',
    ]
    if not lock.wheels and not lock.built:
        lines.append("packages = []")
    packages: list[Wheel | Built] = [*lock.wheels, *lock.built]
    for package in sorted(packages, key=lambda package: package.name):
        lines += [
            "",
            "[[packages]]",
            f"name = {_string(package.name)}",
            f"version = {_string(package.version)}",
        ]
        if isinstance(package, Built):
            lines += _built(package, portable=lock.portable)
        else:
            lines.append(_wheel(package, portable=lock.portable))
    lines += [
        "",
        "[tool.builder]",
        f"format = {FORMAT}",
        f"tool-version = {_string(lock.tool_version)}",
        f"name = {_string(lock.name)}",
        f"portable = {_value(lock.portable)}",
        f"fingerprint = {_string(lock.fingerprint)}",
        *_additions(lock.additions),
        "",
        "# The declaration this lock was made for, credentials masked.",
        "[tool.builder.declared]",
        *_declared(content.declared),
        "",
        *(_cuda(lock.cuda) if lock.cuda else ()),
        "# Debian packages, in the order they are unpacked. Those of both architectures: an image of",
        "# either is built on machines of either.",
        "[tool.builder.base]",
        f"suite = {_string(lock.base.suite)}",
        f"python = {_string(lock.base.python)}",
        *_debs("extra", lock.base.extra),
        *(_debs("build", lock.base.build) if lock.base.build else ()),
        "",
        "[tool.builder.base.busybox]",
        *(f"{name} = {_inline(_deb(deb))}" for name, deb in sorted(lock.base.busybox.items())),
        "",
        "[tool.builder.base.debs]",
    ]
    for name, debs in sorted(lock.base.debs.items()):
        lines += _debs(name, debs)
    if lock.base.tools:
        lines += ["", "# What the machine that builds uses, and no image has.", "[tool.builder.base.tools]"]
        for name, debs in sorted(lock.base.tools.items()):
            lines += _debs(name, debs)
    if content.recorded is not None:
        lines += _recorded(content.recorded)
    return "\n".join(lines) + "\n"


def _additions(additions: Iterable[Addition]) -> list[str]:
    entries = [f"  {_inline(addition.model_dump())}," for addition in additions]
    if not entries:
        return []
    return [
        "# What was added because a package needs the library.",
        "additions = [",
        *entries,
        "]",
    ]


def _wheel(wheel: Wheel, *, portable: bool) -> str:
    entry = _inline(_file(wheel, portable=portable))
    return f"archive = {entry}" if wheel.direct else f"wheels = [{entry}]"


def _file(file: PinnedFile, *, portable: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if file.url is None or portable:
        entry["path"] = file.filename
    else:
        # The standard takes the name from the URL's last part where the two agree.
        if not file.direct and unquote(urlsplit(file.url).path.rpartition("/")[2]) != file.filename:
            entry["name"] = file.filename
        entry["url"] = file.url
    if file.size is not None:
        entry["size"] = file.size
    entry["hashes"] = {"sha256": file.sha256}
    return entry


def _built(built: Built, *, portable: bool) -> Iterator[str]:
    """A package that is built: its source in the standard's words, then how it is built in ours."""
    source = built.source
    yield f"{_source_key(built)} = {_inline(_source(built, portable=portable))}"
    ours: dict[str, Any] = {"compiled": built.compiled}
    if source.kind == "git":
        ours["tree-sha256"] = source.sha256
    if source.kind == "archive" and _source_key(built) == "archive":
        # What an index has under a name that is no sdist's, and the name of what a URL does not name.
        ours |= {"filename": source.filename, "direct": source.direct}
    if built.filename is not None:
        ours["wheel"] = {"name": built.filename, "size": built.size, "hashes": {"sha256": built.sha256}}
    yield "[packages.tool.builder]"
    for key, value in ours.items():
        yield f"{key} = {_value(value)}"
    if built.variables:
        yield f"variables = {_inline(dict(sorted(built.variables.items())))}"
    yield "requires = ["
    for wheel in sorted(built.requires, key=lambda wheel: wheel.name):
        entry = {"name": wheel.name, "version": wheel.version, "wheel": _file(wheel, portable=portable)}
        yield f"    {_inline(entry)},"
    yield "]"
    if built.crates:
        yield "crates = ["
        yield from (f"    {_inline(crate.model_dump())}," for crate in built.crates)
        yield "]"


def _source_key(built: Built) -> str:
    source = built.source
    if source.kind == "git":
        return "vcs"
    if source.kind == "directory":
        return "directory"
    try:
        # The standard has a place for sdists of an index, whose names say project and version.
        named = parse_sdist_filename(source.filename or "")
    except InvalidSdistFilename:
        return "archive"
    fits = (named[0], str(named[1])) == (built.name, built.version)
    return "sdist" if fits and not source.direct and not source.subdirectory else "archive"


def _source(built: Built, *, portable: bool) -> dict[str, Any]:
    source = built.source
    place = {"subdirectory": source.subdirectory} if source.subdirectory else {}
    if source.kind == "directory":
        return {"path": source.path, "editable": False, **place}
    if source.kind == "git":
        asked = {"requested-revision": source.revision} if source.revision else {}
        return {"type": "git", "url": source.url, **asked, "commit-id": source.commit, **place}
    assert built.archive is not None
    return {**_file(built.archive, portable=portable), **place}


def _declared(value: Declared) -> Iterator[str]:
    for key, item in value.model_dump(exclude={"requirements"}, exclude_none=True).items():
        yield f"{key.replace('_', '-')} = {_value(item)}"
    yield "requirements = ["
    for step in value.requirements:
        yield "    ["
        yield from (f"        {_string(word)}," for word in step)
        yield "    ],"
    yield "]"


def _cuda(toolkit: Toolkit) -> Iterator[str]:
    yield "# The CUDA toolkit. Its archives are NVIDIA's redistributables; its packages are above."
    yield "[tool.builder.cuda]"
    yield f"version = {_string(toolkit.version)}"
    yield f"compiler = {_string(toolkit.compiler)}"
    yield "archives = ["
    yield from (f"    {_inline(archive.model_dump())}," for archive in toolkit.archives)
    yield "]"
    yield ""


def _recorded(recorded: Recorded) -> Iterator[str]:
    yield ""
    yield "# The image as it was when it was recorded, and what had gone into it; no part of the lock's digest."
    yield "[tool.builder.recorded]"
    yield f"digest = {_string(recorded.digest)}"
    yield "layers = ["
    yield from (f"    {_inline(layer.model_dump())}," for layer in recorded.layers)
    yield "]"
    yield ""
    yield "[tool.builder.recorded.origin]"
    for key, value in recorded.origin.model_dump().items():
        yield f"{key} = {_string(value)}"


def _debs(key: str, debs: Iterable[Deb]) -> Iterator[str]:
    yield f"{key} = ["
    yield from (f"    {_inline(_deb(deb))}," for deb in debs)
    yield "]"


def _deb(deb: Deb) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in deb.model_dump().items()}


def _inline(table: Mapping[str, Any]) -> str:
    return "{ " + ", ".join(f"{key} = {_value(value)}" for key, value in table.items()) + " }"


def _value(value: Any) -> str:  # noqa: ANN401 - any value that TOML has
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, dict):
        return _inline(value)
    return "[" + ", ".join(_value(item) for item in value) + "]"


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for U+007F, which only TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
