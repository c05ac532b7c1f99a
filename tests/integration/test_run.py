"""The whole path: an app file becomes a container that answers."""

from __future__ import annotations

import contextlib
import signal
import subprocess

import pytest
from conftest import BUILDER, free_port, get_json

SERVICE = """
    def setup(self):
        import numpy

        self.numpy = numpy
        print("setup is done", flush=True)

    @builder.endpoint("/sum")
    def total(self, numbers: list[float]) -> dict:
        return {"sum": float(self.numpy.sum(numbers)), "numpy": self.numpy.__version__}

    def teardown(self):
        print("teardown is done", flush=True)
"""


@contextlib.contextmanager
def running(project, *words):
    process = subprocess.Popen(
        [BUILDER, "run", *words],
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def service(session_project):
    project = session_project("service")
    project.app(["numpy==2.3.5"], body=SERVICE, class_name="Service")
    project.build()
    return project


def test_endpoints_answer_from_the_container_once_setup_is_done(service):
    port = free_port()
    with running(service, "app.py", "--port", str(port)) as process:
        assert get_json(f"http://127.0.0.1:{port}/health", attempts=300) == {"status": "ok"}
        answer = get_json(f"http://127.0.0.1:{port}/sum", [1, 2, 3.5])
        assert answer == {"sum": 6.5, "numpy": "2.3.5"}
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert "setup is done" in out
    assert "teardown is done" in out
    assert process.returncode == 0


def test_a_command_runs_instead_of_the_app(service):
    done = service.run(
        "run",
        "app.py",
        "--",
        "python",
        "-c",
        "import numpy, os; print(numpy.__version__, os.getuid(), os.getcwd())",
    )
    assert done.out.split() == ["2.3.5", "1000", "/app"]


def test_the_commands_exit_code_is_ours(service):
    assert service.run("run", "app.py", "--", "python", "-c", "raise SystemExit(42)", check=False).code == 42


def test_a_failing_setup_shows_its_traceback_and_fails(project):
    project.app([], body='    def setup(self):\n        raise RuntimeError("no weights here")\n')
    done = project.run("run", "app.py", check=False)
    assert done.code == 1
    assert "RuntimeError: no weights here" in done.out + done.err


def test_secrets_reach_the_running_app_and_only_that(project):
    project.app(
        [],
        secrets=["MY_TOKEN"],
        body='    def setup(self):\n        import os\n        print("token", os.environ["MY_TOKEN"])\n',
    )
    canary = "canary-5f2b7c"
    done = project.run("run", "app.py", env={"MY_TOKEN": canary})
    assert f"token {canary}" in done.out
    image = project.build()["path"]
    found = subprocess.run(
        ["grep", "-rl", canary, image, str(project.folder)], capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
