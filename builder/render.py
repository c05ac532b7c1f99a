"""Renders a lock as a Nix expression.

The expression is text for people first: each pin on a line of its own, in the lock's order. Whatever goes into it
goes through `nix_value`, so no name, path or URL can become code.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import jinja2

from builder import cuda, layering, resources
from builder.code import place
from builder.machines import find_machines
from builder.models import Built, Source
from builder.tags import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.expression_file import FileList
    from builder.models import AppSpec, Lock, Wheel

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def nix_string(text: str) -> str:
    """Quote text as a Nix string literal (Nix manual, "String literals").

    Raises:
        ValueError: for a NUL character, which no Nix string can hold.
    """
    if "\0" in text:
        raise ValueError(f"a Nix string cannot hold a NUL character: {text!r}")
    quoted = "".join(_ESCAPES.get(character, character) for character in text)
    return '"' + quoted.replace("${", "\\${") + '"'


def nix_value(value: Any, indent: int = 0) -> str:  # noqa: ANN401 - any value that JSON could hold
    """Write a value as a Nix expression, one item to a line from the second level on.

    Args:
        value: None, bool, int, str, or lists and string-keyed mappings of such.
        indent: spaces before the lines that follow the first.
    """
    inner = " " * (indent + 2)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return nix_string(value)
    if isinstance(value, dict):
        lines = [f"{inner}{nix_string(key)} = {nix_value(item, indent + 2)};" for key, item in value.items()]
        brackets = "{}"
    else:
        lines = [f"{inner}{nix_value(item, indent + 2)}" for item in value]
        brackets = "[]"
    if not lines:
        return f"{brackets[0]} {brackets[1]}"
    return "\n".join([brackets[0], *lines, " " * indent + brackets[1]])


def image_config(spec: AppSpec, lock: Lock, lock_digest: str) -> dict[str, Any]:
    """The image's configuration (OCI image-spec, "Image Configuration").

    Args:
        spec: the app.
        lock: its lock.
        lock_digest: the lock's digest, as `sha256:<hex>`.
    """
    app = f"{place(spec.file, spec.app_files_context_dir)}::{spec.class_name}"
    labels = {
        "org.opencontainers.image.title": spec.name,
        "org.opencontainers.image.created": "1980-01-02T00:00:00Z",
        "org.opencontainers.image.base.name": f"debian:{lock.base.suite}",
        "builder.version": lock.tool_version,
        "builder.app": app,
        "builder.lock.digest": lock_digest,
        "builder.python": lock.python,
        "builder.machine-types": ",".join(lock.machine_types),
        **{f"builder.app.{key}": value for key, value in sorted(spec.labels.items())},
    }
    machines = find_machines(lock.machine_types, spec.root)
    gpu = cuda.describe(lock, machines, spec.cuda)
    labels |= gpu.labels
    devel = _toolkit_variables(lock)
    folder = f"{cuda.HOME}/bin:" if lock.cuda else ""
    if spec.secrets:
        labels["builder.secrets"] = ",".join(spec.secrets)
    return {
        "user": "1000:1000",
        "env": [
            f"PATH=/opt/venv/bin:{folder}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG=C.UTF-8",
            "HOME=/home/app",
            "VIRTUAL_ENV=/opt/venv",
            "PYTHONUNBUFFERED=1",
            f"BUILDER_APP={app}",
            *devel,
            *gpu.env,
        ],
        "entrypoint": ["/opt/venv/bin/python", "-m", "builder.runtime"],
        "ports": ["8080/tcp"] if spec.endpoints or spec.kind == "fal" else [],
        "labels": labels,
        "gpus": [
            {"name": machine.name, "capability": machine.capability}
            for machine in machines
            if machine.capability and spec.cuda != "none"
        ],
    }


def _toolkit_variables(lock: Lock) -> list[str]:
    """What compilers and build systems find the CUDA toolkit by."""
    if lock.cuda is None:
        return []
    flags = cuda.nvcc_flags(lock.cuda, _glibc(lock))
    more = [f"NVCC_PREPEND_FLAGS={flags}"] if flags else []
    return [f"CUDA_HOME={cuda.HOME}", f"CUDA_PATH={cuda.HOME}", *more]


def _glibc(lock: Lock) -> tuple[int, int]:
    return Target.of_base(lock.base, lock.architecture).glibc


def direct_url(package: Wheel | Built) -> dict[str, Any] | None:
    """What direct_url.json says of a package that does not come from an index (PEP 610).

    A path of the machine that locks means nothing in an image, and a portable lock has no URLs.

    Args:
        package: a locked package.

    Returns:
        the file's content, or None where the package has none.
    """
    source = package.source if isinstance(package, Built) else package
    if not source.direct or source.url is None or urlsplit(source.url).scheme in {"", "file"}:
        return None
    if isinstance(source, Source) and source.kind == "git":
        info = {"vcs": "git", "commit_id": source.commit}
        if source.revision:
            info["requested_revision"] = source.revision
        content: dict[str, Any] = {"url": source.url, "vcs_info": info}
    else:
        content = {"url": source.url, "archive_info": {"hashes": {"sha256": source.sha256}}}
    if isinstance(source, Source) and source.subdirectory:
        content["subdirectory"] = source.subdirectory
    return content


@functools.cache
def template(name: str) -> jinja2.Template:
    """A template of Nix text, with the filter `nix` that every value goes through."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.templates()),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - the output is Nix: every value is quoted by the `nix` filter
    )
    environment.filters["nix"] = nix_value
    return environment.get_template(name)


def render(
    spec: AppSpec,
    lock: Lock,
    lock_digest: str,
    *,
    bytecode: bool = True,
    files: FileList | None = None,
    project_files: Mapping[str, FileList] | None = None,
) -> str:
    """Render the expression of an app's image.

    Args:
        spec: the app.
        lock: its lock.
        lock_digest: the lock's digest, as `sha256:<hex>`.
        bytecode: whether the image holds .pyc files.
        files: the app's own; None where whoever calls the expression has a folder of them.
        project_files: those of local projects, by package, where `files` is given.

    Returns:
        Nix text: a function of the library (`builder`), the folder of the app's code (`code`) and those of local
        projects (`projects`, by package); the last two have defaults where `files` is given.
    """
    return template("image.nix.j2").render(
        spec=spec,
        lock=lock,
        groups=layering.group([*lock.wheels, *lock.built]),
        direct_url=direct_url,
        cuda_parts=cuda.parts_of(lock.packages),
        hides_functions=lock.cuda is not None and cuda.hides_functions(lock.cuda.version, _glibc(lock)),
        config=image_config(spec, lock, lock_digest),
        bytecode=bytecode,
        files=files,
        project_files=project_files or {},
    )
