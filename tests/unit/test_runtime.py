from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Running:
    """The runtime as the first process of an image would be, on a port of its own."""

    def __init__(self, folder: Path, app: str, **environment: str) -> None:
        (folder / "app.py").write_text(textwrap.dedent(app))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = folder / "log"
        settings = {"BUILDER_ROOT": str(folder), "BUILDER_APP": "app.py::Up", "PORT": str(self.port)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "builder.runtime"],
                cwd=folder,
                env={**os.environ, **settings, **environment},
                stdout=log,
                stderr=log,
            )

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data,
            {"Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 30
        while text not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def ready(self) -> Running:
        self.wait_for("Uvicorn running")
        return self

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        return self.process.wait(timeout=30)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Running] = []

    def run(app: str, **environment: str) -> Running:
        started.append(Running(tmp_path, app, **environment))
        return started[-1]

    yield run
    for running in started:
        running.process.kill()
        running.process.wait()


SERVED = """
    from __future__ import annotations

    import asyncio
    import threading
    from pydantic import BaseModel
    from builder import App, endpoint

    class In(BaseModel):
        x: int

    class Up(App):
        class Out(BaseModel):
            y: int

        async def setup(self):
            self.loop = asyncio.get_running_loop()
            self.factor = 2

        @endpoint("/")
        def go(self, data: In) -> Out:
            assert threading.current_thread() is not threading.main_thread()
            return self.Out(y=data.x * self.factor)

        @endpoint("/async")
        async def later(self, data: In) -> dict[str, bool]:
            return {"same": asyncio.get_running_loop() is self.loop}

        @endpoint("/fail")
        def fail(self):
            raise ValueError("on purpose")

        async def teardown(self):
            print("torn down")
"""


def test_endpoints_are_served_after_setup_and_stop_cleanly(start: Any) -> None:
    running = start(SERVED).ready()
    assert running.ask("GET", "/health") == (200, {"status": "ok"})
    # Pydantic models are found though annotations are strings, those inside the class too.
    assert running.ask("POST", "/", {"x": 21}) == (200, {"y": 42})
    assert running.ask("POST", "/", {"x": "no"})[0] == 422
    assert running.ask("GET", "/")[0] == 405
    # What an async setup makes belongs to the loop that the endpoints run in.
    assert running.ask("POST", "/async", {"x": 1}) == (200, {"same": True})
    assert running.stop(signal.SIGTERM) == 0
    assert "torn down" in running.log.read_text()


def test_an_interrupt_stops_as_cleanly(start: Any) -> None:
    assert start(SERVED).ready().stop(signal.SIGINT) == 0


def test_a_request_in_flight_is_answered_before_the_end(start: Any) -> None:
    running = start(
        """
        import os, signal, time
        from builder import App, endpoint

        class Up(App):
            @endpoint("/")
            def go(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.5)
                return {"done": True}
        """
    ).ready()
    assert running.ask("POST", "/") == (200, {"done": True})
    assert running.end() == 0


def test_an_app_may_answer_health_itself(start: Any) -> None:
    running = start(
        """
        from builder import App, endpoint

        class Up(App):
            def health(self):
                return {"version": 3}

            @endpoint("/")
            def go(self): ...
        """
    ).ready()
    assert running.ask("GET", "/health") == (200, {"version": 3})


def test_nothing_is_served_before_setup_is_done_and_a_stop_then_is_heard(start: Any) -> None:
    running = start(
        """
        import time
        from builder import App, endpoint

        class Up(App):
            def setup(self):
                print("setting up")
                time.sleep(60)

            @endpoint("/")
            def go(self): ...
        """
    )
    running.wait_for("setting up")
    with pytest.raises(urllib.error.URLError):
        running.ask("GET", "/health")
    assert running.stop() == 0
    assert "stopped before it was ready" in running.log.read_text()


def test_a_setup_that_fails_shows_its_traceback(start: Any) -> None:
    running = start(
        """
        from builder import App, endpoint

        class Up(App):
            async def setup(self):
                raise ValueError("no model")

            @endpoint("/")
            def go(self): ...
        """
    )
    assert running.end() == 1
    shown = running.log.read_text()
    assert 'app.py", line 6, in setup' in shown
    assert shown.endswith("ValueError: no model\n")
    assert "builder/runtime" not in shown


def test_a_synchronous_setup_may_run_a_loop_of_its_own(start: Any) -> None:
    running = start(
        """
        import asyncio
        from builder import App

        class Up(App):
            def setup(self):
                asyncio.run(asyncio.sleep(0))

            def teardown(self):
                asyncio.run(asyncio.sleep(0))
                print("torn down")
        """
    )
    assert running.end() == 0
    assert "torn down" in running.log.read_text()


def test_an_app_without_endpoints_is_set_up_and_that_is_all(start: Any) -> None:
    running = start(
        """
        from builder import App

        class Up(App):
            def setup(self):
                print("set up")
        """
    )
    assert running.end() == 0
    shown = running.log.read_text()
    assert "set up" in shown
    assert "Up has no endpoints: there is nothing to serve" in shown


def test_the_app_file_finds_its_siblings_and_itself(start: Any, tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("import app\nassert app.VALUE == 3\nanswer = 42\n")
    running = start(
        """
        from builder import App
        VALUE = 3
        import shared

        class Up(App):
            def setup(self):
                print("answer", shared.answer)
        """
    )
    assert running.end() == 0
    assert "answer 42" in running.log.read_text()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"BUILDER_APP": "app.py::Nope"}, "the file has no such class"),
        ({"BUILDER_APP": "nope.py::Up"}, "there is no such app under"),
        ({"BUILDER_APP": "app.py"}, "there is no such app under"),
        ({"BUILDER_APP": "app.py::Plain"}, "Plain derives neither from builder.App nor from fal.App"),
        ({"PORT": "http"}, "PORT is 'http', which is not a port number"),
        ({"PORT": "65536"}, "PORT is '65536', which is not a port number"),
    ],
)
def test_an_environment_that_does_not_fit_gives_one_line(
    start: Any, environment: dict[str, str], message: str
) -> None:
    app = "from builder import App\nclass Up(App): ...\nclass Plain: ...\n"
    running = start(app, **environment)
    assert running.end() == 1
    [line] = running.log.read_text().splitlines()
    assert line.startswith("builder: ")
    assert message in line


def test_an_annotation_that_cannot_be_resolved_is_named_before_setup(start: Any) -> None:
    running = start(
        """
        from __future__ import annotations
        from typing import TYPE_CHECKING
        from builder import App, endpoint

        if TYPE_CHECKING:
            from decimal import Decimal

        class Up(App):
            def setup(self):
                print("set up")

            @endpoint("/")
            def go(self, value: Decimal) -> str:
                return str(value)
        """
    )
    assert running.end() == 1
    shown = running.log.read_text()
    assert "Up.go: an annotation cannot be resolved: name 'Decimal' is not defined" in shown
    assert "set up" not in shown


def test_requirements_are_not_looked_for_again_where_they_are_installed(start: Any) -> None:
    app = """
        import os
        import builder

        def wheel():
            return "x @ https://" + os.environ["ONLY_WHERE_IT_IS_LOCKED"] + "@h.example/x-1.0-py3-none-any.whl"

        class Shared(builder.App):
            requirements: list = [wheel()]

        class Up(Shared):
            requirements = ["numpy", wheel()]

            @builder.endpoint("/kind")
            def kind(self, number: int) -> str:
                # A type and not its name: the file's own future statements decide.
                return type(Up.kind.__annotations__["number"]).__name__ + str(len(self.requirements))

        class Other:
            requirements = ("kept",)
        assert Other.requirements == ("kept",)
    """
    running = start(app)
    running.ready()
    assert running.ask("POST", "/kind?number=1") == (200, "type0")
