"""`cuda = "devel"`: a compiler in the image, of the CUDA of the app's packages; and libraries that are found."""

from __future__ import annotations

import json
import re
import secrets
import subprocess

import pytest
import redistributables

from builder import nix
from builder.cuda import default_cuda, toolkit_packages
from builder.cuda.toolkit import toolkit_archives
from builder.library import stage_library
from builder.machines import find_machines, known_machines

# Prints the runtime's version, which it asks the library for: no GPU is needed.
PROGRAM = """
#include <cstdio>
#include <cuda_fp16.h>
__global__ void twice(__half *x) { x[threadIdx.x] = __hadd(x[threadIdx.x], x[threadIdx.x]); }
int main() { int version = 0; cudaRuntimeGetVersion(&version); std::printf("%d\\n", version); }
"""
PTX = ".version {ptx}\n.target sm_{sm}\n.address_size 64\n.visible .entry nothing() {{ ret; }}\n"


def devel(project, **attributes):
    project.write("program.cu", PROGRAM)
    for capability in attributes.pop("capabilities"):
        project.write(f"k{capability}.ptx", PTX.format(sm=capability, ptx=attributes["ptx"]))
    del attributes["ptx"]
    files = sorted(path.name for path in project.folder.iterdir() if path.suffix in {".cu", ".ptx"})
    project.app(attributes.pop("requirements", []), cuda="devel", app_files=files, **attributes)
    return project


def inside(project, script, env=None):
    """What a script prints in the app's container."""
    return project.run("run", "app.py", "--", "sh", "-euc", script, env=env).out


def as_number(cuda):
    """A version as cudaRuntimeGetVersion tells it: 12040 for 12.4."""
    major, minor = cuda.split(".")
    return str(int(major) * 1000 + int(minor) * 10)


def assemble(capabilities):
    """Assembles a PTX file for each capability, and prints the first bytes of what comes out."""
    return "; ".join(
        f"ptxas -arch=sm_{one} /app/k{one}.ptx -o /tmp/{one}.cubin; head -c 4 /tmp/{one}.cubin"
        for one in capabilities
    )


@pytest.fixture(scope="module")
def cuda_13(session_project):
    """A class whose CUDA is 13, and no package that would say another."""
    capabilities = ["75", "90", "100", "103", "120"]
    project = devel(session_project("devel13"), machine_type="GPU-B300", capabilities=capabilities, ptx="8.8")
    return project, project.build(), capabilities


def test_the_toolkit_of_a_cuda_13_class_is_packages_of_one_cuda(cuda_13):
    project, built, _ = cuda_13
    version = default_cuda(find_machines(["GPU-B300"], project.folder))
    assert built["labels"]["builder.cuda"] == version
    lock = (project.folder / "pylock.app.toml").read_text()
    found = dict(re.findall(r'name = "(nvidia-[\w-]+)"\nversion = "([\d.]+)"', lock))
    assert {"nvidia-cuda-nvcc", "nvidia-nvvm", "nvidia-cuda-runtime"} <= set(found)
    assert all(other.startswith(f"{version}.") for other in found.values())


def test_nvcc_of_cuda_13_answers_compiles_links_and_its_ptxas_assembles(cuda_13):
    project, built, capabilities = cuda_13
    script = "; ".join(
        [
            "nvcc --version",
            "cd /tmp",
            "nvcc -arch=sm_103 /app/program.cu -o static",
            "./static",
            "nvcc -arch=sm_103 -cudart shared /app/program.cu -o shared",
            "./shared",
            assemble(capabilities),
        ]
    )
    out = inside(project, script)
    assert f"release {built['labels']['builder.cuda']}" in out
    assert out.splitlines()[-3:-1] == [as_number(built["labels"]["builder.cuda"])] * 2
    assert out.count("\x7fELF") == len(capabilities)


def test_a_library_is_in_the_image_once(cuda_13):
    project, _, _ = cuda_13
    found = inside(
        project,
        "find /opt /usr -name 'libcudart.so*' -type f; echo; readlink -f /usr/local/cuda/lib64/libcudart.so",
    )
    [file, _, linked] = found.split("\n")[:3]
    assert file == linked


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    folder = tmp_path_factory.mktemp("redistributables")
    redistributables.make(folder)
    with redistributables.serving(folder) as (url, asked):
        yield url, asked


@pytest.fixture(scope="module")
def cuda_12(session_project, mirror):
    """CUDA 12.4 by a package of the app; Debian's own g++ is too new for it there."""
    project = devel(
        session_project("devel12"),
        machine_type=["GPU-H100", "GPU-L4"],
        requirements=["nvidia-cuda-runtime-cu12==12.4.127"],
        python="3.13",
        capabilities=["89", "90"],
        ptx="8.4",
    )
    project.write("pyproject.toml", f'[tool.builder.mirrors]\ncuda = "{mirror[0]}"\n')
    return project, project.build()


def test_the_compiler_of_cuda_12_comes_from_the_redistributables(cuda_12, mirror):
    project, built = cuda_12
    assert built["labels"]["builder.cuda"] == "12.4"
    script = "; ".join(
        [
            "nvcc --version",
            "cd /tmp",
            "nvcc -arch=sm_90 -c /app/program.cu -o program.o",
            "$NVCC_HOST program.o -L$CUDA_HOME/lib64 -lcudart -o program",
            "./program",
            assemble(["89", "90"]),
        ]
    ).replace("$NVCC_HOST", "g++-13")
    out = inside(project, script)
    assert "release 12.4, V12.4.131" in out
    assert out.splitlines()[-2] == as_number("12.4")
    assert out.count("\x7fELF") == 2


def test_what_a_package_has_is_not_taken_from_an_archive(cuda_12):
    project, _ = cuda_12
    found = inside(project, "find /opt /usr -name 'libcudart.so*' -type f")
    assert found.split() == ["/opt/venv/lib/python3.13/site-packages/nvidia/cuda_runtime/lib/libcudart.so.12"]
    header = inside(project, "readlink /usr/local/cuda/include/cuda_runtime.h")
    assert "site-packages/nvidia/cuda_runtime/include/cuda_runtime.h" in header


def test_the_archives_are_pinned_and_a_second_lock_asks_for_no_manifest(cuda_12, mirror):
    project, _ = cuda_12
    lock = (project.folder / "pylock.app.toml").read_text()
    assert 'component = "cuda_nvcc", version = "12.4.131"' in lock
    assert mirror[0] not in lock
    mirror[1].clear()
    project.write("app.py", (project.folder / "app.py").read_text().replace("12.4.127", "12.4.*"))
    assert json.loads(project.run("lock", "app.py", "--json").out)["changed"]
    assert not mirror[1]


def test_a_manifest_that_cannot_be_had_is_named_with_what_to_do(project):
    project.write("pyproject.toml", '[tool.builder.mirrors]\ncuda = "http://127.0.0.1:1/redist"\n')
    project.app([], machine_type="V100", cuda="devel")
    done = project.run("lock", "app.py", check=False)
    assert done.code == 4
    assert "http://127.0.0.1:1/redist/redistrib_12.6.3.json cannot be reached" in done.err
    assert "named by cuda in [tool.builder.mirrors]. The toolkit of CUDA 13 needs none" in done.err


def test_an_archive_that_cannot_be_had_is_named_with_what_to_do(project, tmp_path):
    parts = {}
    for name in ("cuda_cccl", "cuda_cudart", "cuda_nvcc"):
        path = f"{name}/{name}-linux-x86_64-12.4.1-archive.tar.xz"
        pinned = {"relative_path": path, "sha256": secrets.token_hex(32), "size": "10"}
        parts[name] = {"version": "12.4.1", "linux-x86_64": pinned}
    (tmp_path / "redistrib_12.4.1.json").write_text(json.dumps(parts))
    project.app(["nvidia-cuda-runtime-cu12==12.4.127"], machine_type="GPU-H100", cuda="devel")
    with redistributables.serving(tmp_path) as (url, _):
        project.write("pyproject.toml", f'[tool.builder.mirrors]\ncuda = "{url}"\n')
        project.run("lock", "app.py")
        done = project.run("build", "app.py", check=False)
    assert done.code == 4
    assert "-linux-x86_64-12.4.1-archive.tar.xz" in done.err
    assert "named by cuda in [tool.builder.mirrors]" in done.err
    assert "Traceback" not in done.err


def test_libraries_of_packages_are_found_without_being_told_where(project):
    project.app(["nvidia-cuda-runtime==13.0.*", "nvidia-cuda-nvrtc==13.0.*"], machine_type="GPU-B300")
    code = (
        "import ctypes, ctypes.util; version = ctypes.c_int(); "
        "ctypes.CDLL('libcudart.so.13').cudaRuntimeGetVersion(ctypes.byref(version)); "
        "ctypes.CDLL('libnvrtc.so.13'); print(version.value, ctypes.util.find_library('cudart'))"
    )
    done = project.run("run", "app.py", "--", "python", "-c", code)
    assert done.out.split() == [as_number("13.0"), "libcudart.so.13"]
    # NVIDIA's container toolkit runs ldconfig when a container starts.
    script = "ldconfig -C /tmp/cache -X && ldconfig -C /tmp/cache -p"
    assert "libcudart.so.13 " in inside(project, script)
    assert "CUDA_HOME" not in inside(project, "env")


def test_an_app_that_wants_no_cuda_has_no_layer_and_asks_for_no_driver(project):
    project.app(["six"], machine_type="GPU-B300", cuda="none")
    project.build()
    env = inside(project, "env; ls /etc/ld.so.conf.d")
    assert "NVIDIA_VISIBLE_DEVICES=all" in env
    assert "NVIDIA_REQUIRE_CUDA" not in env
    assert "builder-cuda" not in env


def test_nix_and_the_command_agree_on_the_toolkit_of_each_class(project):
    library = project.folder / "nix"
    library.mkdir()
    stage_library(library)
    expression = (
        f'let library = import {library} {{ system = "{nix.build_machine()}-linux"; }}; '
        "in builtins.mapAttrs (_: toolkit: { inherit (toolkit) cuda packages archives; }) library.toolkits"
    )
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--expr", expression]
    toolkits = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    machines = [machine for machine in known_machines(project.folder).values() if machine.gpu]
    assert set(toolkits) == {machine.gpu for machine in machines}
    for machine in machines:
        cuda = default_cuda([machine])
        assert toolkits[machine.gpu] == {
            "cuda": cuda,
            "packages": list(toolkit_packages(cuda)),
            "archives": list(toolkit_archives(cuda)),
        }
