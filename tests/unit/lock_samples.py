"""Values that tests of locks share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.lock import Declared, LockFile
from builder.models import AppSpec, Base, Busybox, Deb, Endpoint, Lock, Wheel
from builder.tags import Target

if TYPE_CHECKING:
    from pathlib import Path

SHA = "0123456789abcdef" * 4
TARGET = Target(python="3.11", python_full="3.11.2", architecture="x86_64", glibc=(2, 36), suite="bookworm")


def deb(package: str, version: str, architecture: str = "amd64", kind: type[Deb] = Deb, **more: str) -> Deb:
    return kind.model_validate(
        {
            "package": package,
            "version": version,
            "architecture": architecture,
            "archive": "debian",
            "path": f"pool/main/{package[0]}/{package}/{package}_{version}_{architecture}.deb",
            "sha256": SHA,
            "size": 1234,
            **more,
        }
    )


def base(python: str = "3.11") -> Base:
    def of(architecture: str) -> tuple[Deb, ...]:
        return (
            deb("libc6", "2.36-9+deb12u10", architecture),
            deb(f"libpython{python}-minimal", f"{python}.2-6+deb12u6", architecture),
            deb("tzdata", "2025b-0+deb12u1", "all"),
        )

    def busybox(architecture: str) -> Busybox:
        found = deb("busybox-static", "1:1.35.0-4+b4", architecture, Busybox, nar_sha256=SHA)
        assert isinstance(found, Busybox)
        return found

    return Base(
        suite="bookworm",
        python=python,
        debs={"x86_64": of("amd64"), "aarch64": of("arm64")},
        busybox={"x86_64": busybox("amd64"), "aarch64": busybox("arm64")},
        extra=(deb("libgl1", "1.6.0-1"),),
    )


def wheel(name: str, version: str = "1.0", **more: object) -> Wheel:
    filename = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    values = {"url": f"https://files.example.org/{filename}", "size": 10, **more}
    return Wheel.model_validate(
        {"name": name, "version": version, "filename": filename, "sha256": SHA, **values}
    )


def lock_file(*wheels: Wheel, portable: bool = False) -> LockFile:
    described = Declared(
        python="3.11",
        architecture="x86_64",
        machine_types=("GPU-H100", "GPU-A100"),
        requirements=(("--extra-index-url=https://${TOKEN}@example.org/simple", 'quoted "\\" word\x7f'),),
        system_packages=("libgl1",),
    )
    lock = Lock(
        name="upscale",
        python="3.11",
        architecture="x86_64",
        machine_types=("GPU-H100", "GPU-A100"),
        wheels=wheels,
        base=base(),
        fingerprint=described.fingerprint(),
        tool_version="0.1.0",
        portable=portable,
    )
    return LockFile(lock, described)


def app(root: Path, *steps: tuple[str, ...], endpoints: bool = False, **more: object) -> AppSpec:
    values: dict[str, object] = {
        "name": "upscale",
        "class_name": "Upscale",
        "file": root / "app.py",
        "root": root,
        "local_python": "3.11",
        "requirements": steps,
        "requirements_context_dir": root,
        "endpoints": (Endpoint(method="run", path="/"),) if endpoints else (),
        **more,
    }
    return AppSpec.model_validate(values)
