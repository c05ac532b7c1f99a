"""fal apps with the real SDK: loaded with the one that uv provides, served by the one that is installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
import uv

from builder.load import load
from builder.models import AppSpec, Endpoint
from builder.runtime_files import image_modules, runtime_requirements

if TYPE_CHECKING:
    from pathlib import Path

APP = """
    from __future__ import annotations

    import fal
    from pydantic import BaseModel

    class Input(BaseModel):
        x: int

    class Output(BaseModel):
        y: int

    class MyDoubler(fal.App, python_version="3.11", keep_alive=300):
        requirements = [["setuptools"], ["--extra-index-url", "https://example.org/simple", "numpy==1.26.4"]]
        machine_type = ["GPU-H100", "GPU-A100"]
        num_gpus = 2
        local_python_modules = ["shared"]
        app_files = ["weights"]
        secrets = ["HF_TOKEN"]
        startup_timeout = 900
        # Not the default: other servers of this machine may have that.
        metrics_port = METRICS_PORT

        def setup(self) -> None:
            SETUP

        @fal.endpoint("/")
        def double(self, data: Input) -> Output:
            return Output(y=data.x * self.factor)

        @fal.endpoint("/later")
        async def later(self, data: Input) -> Output:
            return Output(y=data.x + self.factor)

        def teardown(self) -> None:
            print("torn down")
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write(folder: Path, setup: str = "self.factor = 2") -> None:
    text = APP.replace("METRICS_PORT", str(free_port())).replace("SETUP", setup)
    (folder / "app.py").write_text(textwrap.dedent(text))


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has no packages."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([uv.find_uv_bin(), "venv", "-q", "--clear", "-p", sys.executable, home], check=True)
    return home / "bin/python"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, bare: Path) -> Path:
    """An interpreter that has what the image of a fal app has."""
    folder = tmp_path_factory.mktemp("image")
    write(folder)
    required = runtime_requirements(load("app.py", interpreter=str(bare), cwd=folder))
    home = folder / "venv"
    subprocess.run([uv.find_uv_bin(), "venv", "-q", "-p", sys.executable, home], check=True)
    subprocess.run(
        [uv.find_uv_bin(), "pip", "install", "-q", "-p", home / "bin/python", *required], check=True
    )
    [site] = home.glob("lib/python3.*/site-packages")
    for name, file in image_modules().items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, site / name)
    return home / "bin/python"


def test_a_fal_app_is_read_with_the_sdk_that_uv_provides(tmp_path: Path, bare: Path) -> None:
    write(tmp_path)
    assert subprocess.run([bare, "-c", "import fal"], capture_output=True, check=False).returncode != 0
    spec = load("app.py", interpreter=str(bare), cwd=tmp_path)
    assert spec == AppSpec(
        name="my-doubler",
        class_name="MyDoubler",
        file=tmp_path / "app.py",
        root=tmp_path,
        kind="fal",
        python="3.11",
        local_python=f"3.{sys.version_info[1]}",
        requirements=(
            ("setuptools",),
            ("--extra-index-url", "https://example.org/simple", "numpy==1.26.4"),
        ),
        requirements_place=spec.requirements_place,
        requirements_context_dir=tmp_path,
        machine_types=("GPU-H100", "GPU-A100"),
        num_gpus=2,
        local_python_modules=("shared",),
        app_files=("weights",),
        app_files_ignore=(r"\.pyc$", r"__pycache__/", r"\.git/", r"\.DS_Store$"),
        secrets=("HF_TOKEN",),
        endpoints=(Endpoint(method="double", path="/"), Endpoint(method="later", path="/later")),
        labels={
            "keep_alive": "300",
            "metrics_port": spec.labels["metrics_port"],
            "startup_timeout": "900",
        },
    )


def test_a_fal_app_is_read_alike_with_the_sdk_of_the_users_environment(
    tmp_path: Path, bare: Path, image: Path
) -> None:
    write(tmp_path)
    found = load("app.py", interpreter=str(image), cwd=tmp_path)
    assert found == load("app.py", interpreter=str(bare), cwd=tmp_path)


Start = Callable[[], tuple["subprocess.Popen[bytes]", int]]


@pytest.fixture
def start(tmp_path: Path, image: Path) -> Iterator[Start]:
    """Starts the runtime without a home, so without credentials of the platform."""
    started = []

    def run() -> tuple[subprocess.Popen[bytes], int]:
        port = free_port()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
        environment = {
            **kept,
            "HOME": str(tmp_path / "nobody"),
            "BUILDER_ROOT": str(tmp_path),
            "BUILDER_APP": "app.py::MyDoubler",
            "PORT": str(port),
        }
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(
                [image, "-m", "builder.runtime"], cwd=tmp_path, env=environment, stdout=log, stderr=log
            )
        started.append(process)
        return process, port

    yield run
    for process in started:
        process.kill()
        process.wait()


def ask(port: int, path: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while not answers(port):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def answers(port: int) -> bool:
    try:
        ask(port, "/health")
    except (urllib.error.URLError, ConnectionError):
        return False
    return True


def test_a_fal_app_is_served_by_its_own_sdk_and_stops_cleanly(tmp_path: Path, start: Start) -> None:
    write(tmp_path)
    process, port = start()
    wait_until_ready(process, port, tmp_path / "log")
    assert ask(port, "/", {"x": 21}) == {"y": 42}
    assert ask(port, "/later", {"x": 1}) == {"y": 3}
    process.terminate()
    assert process.wait(timeout=30) == 0
    assert "torn down" in (tmp_path / "log").read_text()


def test_a_fal_app_whose_setup_fails_ends_with_an_error(tmp_path: Path, start: Start) -> None:
    write(tmp_path, setup='raise ValueError("no model")')
    process, _ = start()
    assert process.wait(timeout=60) == 1
    assert "ValueError: no model" in (tmp_path / "log").read_text()
