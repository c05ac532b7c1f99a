"""NVIDIA's redistributables as a mirror would serve them: a manifest and its archives, made of a real CUDA 12.4.

NVIDIA's own server is not asked. The compiler is that of Debian's package nvidia-cuda-toolkit (non-free), the same
12.4.131 as NVIDIA's archive; headers and libcudart are those of NVIDIA's wheels. They are put where NVIDIA's archives
have them, under a manifest of the form that NVIDIA publishes. The static libcudart and libcudadevrt are in neither, and
so missing here: what is compiled is linked with libcudart.so.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import lzma
import shutil
import subprocess
import sys
import threading
import urllib.request
import zipfile

from builder.debian import find_mirrors

_COMPONENTS = {"cuda_cccl": "12.4.127", "cuda_cudart": "12.4.127", "cuda_nvcc": "12.4.131"}
_LIBCUDART = "libcudart.so.12.4.127"
# As in NVIDIA's archives; Debian has its own, for its own folders.
_PROFILE = """
TOP              = $(_HERE_)/..

NVVMIR_LIBRARY_DIR = $(TOP)/$(_NVVM_BRANCH_)/libdevice

LD_LIBRARY_PATH += $(TOP)/lib:
PATH            += $(TOP)/$(_NVVM_BRANCH_)/bin:$(_HERE_):

INCLUDES        +=  "-I$(TOP)/$(_TARGET_DIR_)/include" $(_SPACE_)

LIBRARIES        =+ $(_SPACE_) "-L$(TOP)/$(_TARGET_DIR_)/lib$(_TARGET_SIZE_)"
"""
_PROGRAMS = ("__nvcc_device_query", "bin2c", "cudafe++", "fatbinary", "nvlink", "ptxas")


@contextlib.contextmanager
def serving(folder):
    """Serve a folder; gives its URL and the paths that are asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def make(folder):
    """Make the folder of redistributables, with a manifest for 12.4.1."""
    scratch = folder / "scratch"
    root = _unpacked_debs(scratch)
    wheels = _unpacked_wheels(scratch)
    parts = {
        name: scratch / f"{name}-linux-x86_64-{version}-archive" for name, version in _COMPONENTS.items()
    }
    _nvcc(parts["cuda_nvcc"], root, wheels / "nvidia/cuda_nvcc")
    _cudart(parts["cuda_cudart"], wheels / "nvidia/cuda_runtime")
    shutil.copytree(wheels / "nvidia/cuda_cccl/include", parts["cuda_cccl"] / "include")
    manifest = {"release_date": "2024-04-15", "release_label": "12.4.1", "release_product": "cuda"}
    for name, part in parts.items():
        (part / "LICENSE").write_text("End User License Agreement\n")
        path = f"{name}/linux-x86_64/{part.name}.tar.xz"
        archive = folder / path
        archive.parent.mkdir(parents=True)
        subprocess.run(
            ["tar", "--create", "--file", archive, "--use-compress-program=xz -0 -T2", part.name],
            cwd=scratch,
            check=True,
        )
        manifest[name] = {
            "name": name,
            "license": "CUDA Toolkit",
            "version": _COMPONENTS[name],
            "linux-x86_64": {
                "relative_path": path,
                "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
                "size": str(archive.stat().st_size),
            },
        }
    (folder / "redistrib_12.4.1.json").write_text(json.dumps(manifest, indent=4))
    shutil.rmtree(scratch)


def _unpacked_debs(scratch):
    """The files of Debian's packages of CUDA 12.4."""
    mirror = find_mirrors({}).urls["debian"]
    with urllib.request.urlopen(f"{mirror}/dists/trixie/non-free/binary-amd64/Packages.xz") as response:
        index = lzma.decompress(response.read()).decode()
    root = scratch / "root"
    root.mkdir(parents=True)
    for name in ("nvidia-cuda-toolkit", "libnvvm4"):
        [stanza] = [one for one in index.split("\n\n") if one.startswith(f"Package: {name}\n")]
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        with urllib.request.urlopen(f"{mirror}/{fields['Filename']}") as response:
            data = response.read()
        assert hashlib.sha256(data).hexdigest() == fields["SHA256"]
        deb = scratch / "package.deb"
        deb.write_bytes(data)
        subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)
    return root


def _unpacked_wheels(scratch):
    """The files of NVIDIA's wheels of CUDA 12.4."""
    wheels = [
        "nvidia-cuda-nvcc-cu12==12.4.131",
        "nvidia-cuda-runtime-cu12==12.4.127",
        "nvidia-cuda-cccl-cu12==12.4.*",
    ]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            scratch,
            *wheels,
        ],
        check=True,
    )
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch / "wheels")
    return scratch / "wheels"


def _nvcc(part, root, wheel):
    own = root / "usr/lib/nvidia-cuda-toolkit"
    (part / "bin").mkdir(parents=True)
    (part / "nvvm/bin").mkdir(parents=True)
    for program in _PROGRAMS:
        shutil.copy2(root / "usr/bin" / program, part / "bin")
    shutil.copy2(own / "bin/nvcc", part / "bin")
    (part / "bin/nvcc.profile").write_text(_PROFILE)
    shutil.copytree(own / "bin/crt", part / "bin/crt")
    shutil.copy2(own / "bin/cicc", part / "nvvm/bin")
    shutil.copytree(own / "libdevice", part / "nvvm/libdevice")
    (part / "nvvm/lib64").mkdir()
    shutil.copy2(root / "usr/lib/x86_64-linux-gnu/libnvvm.so.4.0.0", part / "nvvm/lib64")
    (part / "nvvm/lib64/libnvvm.so.4").symlink_to("libnvvm.so.4.0.0")
    (part / "nvvm/lib64/libnvvm.so").symlink_to("libnvvm.so.4")
    shutil.copytree(wheel / "include", part / "include")


def _cudart(part, wheel):
    shutil.copytree(wheel / "include", part / "include")
    (part / "lib").mkdir()
    shutil.copy2(wheel / "lib/libcudart.so.12", part / "lib" / _LIBCUDART)
    (part / "lib/libcudart.so.12").symlink_to(_LIBCUDART)
    (part / "lib/libcudart.so").symlink_to("libcudart.so.12")
