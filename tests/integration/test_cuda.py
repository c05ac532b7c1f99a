"""CUDA packages for the machines that an app names: real PyTorch, and packages made of headers alone."""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
import struct
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from small_index import serving

from builder import build, session, store
from builder.errors import BuildError
from builder.progress import Display

STORE = Path(store.STORE)
# Machines that the default index's build of the newest torch runs on, whatever else this machine can reach.
MACHINES = ["GPU-H100", "GPU-B200"]


@pytest.fixture(scope="module")
def torch(session_project):
    project = session_project("torch")
    project.app(["torch==2.14.1"], machine_type=MACHINES)
    built = project.build()
    yield project, built
    # The engine's copy takes as much of the disk as the image in the store.
    subprocess.run(["podman", "rmi", "--force", built["image_id"]], capture_output=True, check=False)


def test_torch_for_cuda_is_imported_in_the_container_and_says_its_cuda(torch):
    project, built = torch
    code = "import json, torch; print(json.dumps([torch.version.cuda, torch.cuda.get_arch_list()]))"
    done = project.run("run", "app.py", "--", "python", "-c", code)
    cuda, _ = json.loads(done.out.splitlines()[-1])
    assert built["labels"]["builder.cuda"] == cuda


def test_the_kernels_of_torch_are_told_without_a_gpu(torch):
    _, built = torch
    title, _, kernels = built["labels"]["builder.cuda.kernels"].partition(": ")
    assert title == "torch 2.14.1"
    assert {"7.5", "8.0", "8.6", "9.0", "10.0", "12.0"} <= set(kernels.split(", "))
    assert built["labels"]["builder.cuda.capabilities"] == "9.0,10.0"


def test_the_container_toolkit_is_told_which_driver_will_do(torch):
    project, built = torch
    code = "import os; print(os.environ['NVIDIA_REQUIRE_CUDA'], os.environ['NVIDIA_VISIBLE_DEVICES'])"
    assert project.run("run", "app.py", "--", "python", "-c", code).out.split() == ["cuda>=13.0", "all"]
    assert built["labels"]["builder.cuda.driver"] == "580"


def test_no_library_of_the_driver_is_in_the_image(torch):
    project, _ = torch
    names = (
        "libcuda.so.1 libnvidia-ml.so.1 libnvidia-ptxjitcompiler.so.1 libnvcuvid.so.1 libnvidia-encode.so.1"
    )
    code = (
        f"import pathlib; names = {names.split()!r}\n"
        "print([str(path) for root in ('/usr', '/opt') for name in names for path in pathlib.Path(root).rglob(name)])"
    )
    assert project.run("run", "app.py", "--", "python", "-c", code).out.splitlines()[-1] == "[]"


def seconds(action):
    """How long it takes, at best: what else the machine does is not what is measured."""
    times = []
    for _ in range(3):
        started = time.monotonic()
        action()
        times.append(time.monotonic() - started)
    return min(times)


def test_machines_without_a_common_build_are_refused_at_once_by_what_is_known_of_builds(torch):
    project, _ = torch
    # The app names the file itself, so no other build is looked for.
    [wheel] = [path for path in STORE.glob("*-torch-2.14.1-*.whl") if path.stat().st_size > 1e8][:1]
    link = project.folder / "wheels" / wheel.name.partition("-")[2]
    link.parent.mkdir()
    link.symlink_to(wheel)
    own = ["--find-links", "wheels", "torch==2.14.1"]
    project.app(own, machine_type=["GPU-H100", "V100"], name="both.py", class_name="Both")
    project.app(own, machine_type="GPU-H100", name="one.py", class_name="One")

    def locked():
        project.run("lock", "one.py", "--upgrade")

    def refused():
        done = project.run("build", "both.py", check=False)
        assert done.code == 4
        assert "torch 2.14.1 with CUDA 13.0 has no kernels for GPU-V100 (compute capability 7.0)" in done.err
        assert not (project.folder / "pylock.both.toml").exists()

    # Before that it has to be known what torch there is: the time to lock it is not counted.
    assert seconds(refused) - seconds(locked) < 2


def test_machines_without_kernels_are_refused_at_once_by_what_is_in_the_libraries(torch, monkeypatch):
    project, _ = torch
    monkeypatch.setenv("XDG_CACHE_HOME", project.env["XDG_CACHE_HOME"])
    request = session.Request(str(project.folder / "app.py"), frozen=True)
    with Display(enabled=False) as display:
        app = session.load_app(request)
        locked = session.lock_app(app, request, display=display)
        with build.plan(app.spec, locked.lock, locked.digest, app.settings, note=display.note) as plan:
            # The lock is one that the table has let pass; the image is asked for another GPU than that.
            assert plan.expression.count('"9.0"') == 1
            other = dataclasses.replace(plan, expression=plan.expression.replace('"9.0"', '"7.0"'))

            def refused():
                with pytest.raises(
                    BuildError, match=r"torch 2\.14\.1 has no CUDA kernels for GPU-H100 \(compute cap"
                ):
                    build.build(
                        other, app.settings, cache=session.cache_folder(), out_link=None, display=display
                    )

            assert seconds(refused) < 2


def test_a_plan_says_what_it_takes_before_anything_is_fetched(project):
    project.app(["torch==2.8.0"], machine_type=["GPU-H100", "GPU-A100"])
    before = set(STORE.iterdir())
    plan = json.loads(project.run("plan", "app.py", "--json").out)
    assert [path for path in set(STORE.iterdir()) - before if "torch" in path.name] == []
    assert (plan["cuda"], plan["driver"], plan["capabilities"]) == ("12.8", "525.60.13", ["8.0", "9.0"])
    assert {"torch", "nvidia-cublas-cu12"} <= {package["name"] for package in plan["packages"]}
    assert plan["size"] > 2e9
    shown = project.run("plan", "app.py").out
    assert "cu128 is the one for GPU-H100, GPU-A100" in shown
    assert "torch 2.14 is the last release with builds for CUDA 12" in shown


def test_a_pin_without_a_build_for_the_machine_is_refused_while_locking(project):
    project.app(["torch==2.6.0"], machine_type="GPU-B200")
    done = project.run("lock", "app.py", check=False)
    assert done.code == 4
    assert "torch 2.6.0 has no build with kernels for GPU-B200 (compute capability 10.0)" in done.err
    assert "Releases that do: 2.7 to 2.15" in done.err
    assert not list(project.folder.glob("pylock*"))


@pytest.fixture
def pytorch(servers):
    """An index like PyTorch's, on a server with TLS: a folder for each build, which all packages' pages lie in."""
    release = f"2.14.{int(secrets.token_hex(3), 16)}"
    folder = servers.wheels.parent / "whl"
    for backend in ("cpu", "cu126"):
        file = servers.publish("torch", f"{release}+{backend}", requires=["torchdep"])
        page = folder / backend / "torch" / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'<a href="../../../files/{quote(file)}#sha256={servers.sha256(file)}">{file}</a>')
    # The default index has a build of its own; builds of the other index are not on it.
    servers.publish("torch", release, requires=["torchdep"])
    servers.publish("torchdep")
    shutil.rmtree(servers.wheels.parent / "simple" / "torch")
    own = servers.wheels.parent / "simple/torch/index.html"
    own.parent.mkdir()
    plain = f"torch-{release}-py3-none-any.whl"
    own.write_text(f'<a href="../../files/{plain}#sha256={servers.sha256(plain)}">{plain}</a>')
    return release


@pytest.mark.parametrize(("machine", "build"), [("L", "cpu"), ("GPU-H100", "cu126"), ("GPU-B200", None)])
def test_the_build_comes_from_pytorchs_index_or_a_mirror_of_it(project, servers, pytorch, machine, build):
    project.write("pyproject.toml", f'[tool.builder.mirrors]\npytorch = "{servers.open.root}/whl"\n')
    project.app([f"torch=={pytorch}"], machine_type=machine)
    env = {**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}
    code = "import torch, torchdep; print(torch.version)"
    version = project.run("run", "app.py", "--", "python", "-c", code, env=env).out.strip()
    assert version == (f"{pytorch}+{build}" if build else pytorch)


def test_an_app_that_wants_no_cuda_gets_the_build_without_it(project, servers, pytorch):
    project.write("pyproject.toml", f'[tool.builder.mirrors]\npytorch = "{servers.open.root}/whl"\n')
    project.app([f"torch=={pytorch}"], machine_type="GPU-H100", cuda="none")
    env = {**servers.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}
    project.run("lock", "app.py", env=env)
    assert f'version = "{pytorch}+cpu"' in (project.folder / "pylock.app.toml").read_text()


def test_pytorchs_index_that_cannot_be_reached_is_named_with_what_to_do(project, servers, pytorch):
    project.write("pyproject.toml", '[tool.builder.mirrors]\npytorch = "https://127.0.0.1:1/whl"\n')
    project.app([f"torch=={pytorch}"], machine_type="V100")
    done = project.run("lock", "app.py", env=servers.environment, check=False)
    assert done.code == 4
    assert "torch, from PyTorch's index: https://127.0.0.1:1/whl/cu126/torch/ cannot be reached" in done.err
    assert "A mirror of that index is named by pytorch in [tool.builder.mirrors]" in done.err


@pytest.fixture
def index():
    with serving() as index:
        yield index


def library(*kernels):
    """A library that is nothing but headers of kernels: pairs of kind (1 PTX, 2 machine code) and capability."""
    entries = b"".join(
        struct.pack("<HHIQ12xI", kind, 0x101, 64, 8, capability).ljust(64, b"\0") + bytes(8)
        for kind, capability in kernels
    )
    return b"\x7fELF" + bytes(60) + struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


def kernel_app(project, index, machines, *kernels):
    name = f"kernels{secrets.token_hex(4)}"
    index.add(name, more=[(f"{name}_native.so", library(*kernels))])
    project.env |= {**index.environment, "UV_CACHE_DIR": str(project.folder.parent / "uv")}
    project.app([name], machine_type=machines)
    return name


def test_a_package_without_kernels_for_a_machine_is_refused_with_those_it_has(project, index):
    name = kernel_app(project, index, ["GPU-H100", "V100"], (2, 75), (2, 90))
    done = project.run("build", "app.py", check=False)
    assert done.code == 6
    assert (
        f"{name} 1.0 has no CUDA kernels for GPU-V100 (compute capability 7.0); it has them for 7.5, 9.0."
        in done.err
    )
    assert "Traceback" not in done.err
    assert not list(project.folder.glob("result*"))


def test_kernels_that_a_driver_must_compile_are_a_note(project, index):
    name = kernel_app(project, index, ["GPU-B200"], (2, 80), (1, 80))
    done = project.run("build", "app.py", "--json")
    assert f"note: only by PTX: {name} 1.0 on GPU-B200." in done.err
    assert json.loads(done.out)["labels"]["builder.cuda.by-ptx"] == f"{name} 1.0 on GPU-B200"


def test_a_machine_without_gpu_asks_for_no_kernels(project, index):
    kernel_app(project, index, ["L"], (2, 90))
    assert not any(label.startswith("builder.cuda") for label in project.build()["labels"])


def test_a_machine_that_is_not_known_is_named_with_the_nearest(project):
    project.app(["six"], machine_type=["GPU-H100", "GPU-H1000"])
    done = project.run("build", "app.py", check=False)
    assert done.code == 3
    assert "App.machine_type: there is no machine type 'GPU-H1000'. Did you mean GPU-H100" in done.err
