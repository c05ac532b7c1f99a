"""The life of a `builder.App`: setup, serve, teardown."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import inspect
import time
import typing
from typing import TYPE_CHECKING, Any

from builder.app import ENDPOINT_MARK
from builder.runtime.appfile import MisconfiguredError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fastapi import FastAPI

    from builder.app import App
    from builder.runtime.stop import Stop


def run(cls: type[App], *, port: int, stop: Stop) -> int:
    """Set the app up, serve its endpoints until told to stop, tear it down.

    What is synchronous runs before the event loop starts and after it ends, so that it may start one of its
    own; what is `async` runs in the loop that serves the endpoints.

    Returns:
        The exit code, 0.

    Raises:
        MisconfiguredError: the endpoints cannot be served.
        Exception: what the app's own methods raise.
    """
    from builder.runtime.main import say

    app = cls()
    methods = endpoints(cls)
    # Before a setup that may take minutes: what is wrong with the endpoints shows at once.
    site = build(app, methods) if methods else None
    began = time.monotonic()
    pending = app.setup()

    async def live() -> None:
        if inspect.isawaitable(pending):
            await pending
        say(f"setup took {time.monotonic() - began:.1f} s")
        try:
            if site is None:
                say(f"{cls.__name__} has no endpoints: there is nothing to serve")
            else:
                await _serve(site, port=port, stop=stop)
        finally:
            if inspect.iscoroutinefunction(app.teardown):
                await app.teardown()

    asyncio.run(live())
    if not inspect.iscoroutinefunction(app.teardown):
        app.teardown()
    return 0


def endpoints(cls: type) -> dict[str, str]:
    """The URL paths of a class's endpoints by method name, in the order they are written."""
    found = {}
    for owner in reversed(cls.__mro__):
        for name in vars(owner):
            path = getattr(getattr(cls, name, None), ENDPOINT_MARK, None)
            if path is not None:
                found[name] = path
    return found


def build(app: App, methods: dict[str, str]) -> FastAPI:
    """Make the ASGI application: a POST route for each endpoint, and `GET /health`.

    Inputs and outputs are FastAPI's matter, which reads the annotations and runs synchronous methods in
    threads.

    Raises:
        MisconfiguredError: FastAPI is not installed, or an annotation names what is not there.
    """
    try:
        import fastapi
        import uvicorn  # noqa: F401 - served by it later
    except ImportError as error:
        raise MisconfiguredError(f"endpoints need fastapi and uvicorn: {error}") from error
    site = fastapi.FastAPI(title=type(app).__name__)
    for name, path in methods.items():
        method = getattr(app, name)
        _resolve_annotations(type(app), method)
        site.add_api_route(path, method, methods=["POST"], name=name)
    own_health = getattr(app, "health", None)
    if callable(own_health) and not hasattr(own_health, ENDPOINT_MARK):
        _resolve_annotations(type(app), own_health)
        health = own_health
    else:
        health = _health
    site.add_api_route("/health", health, methods=["GET"], name="health")
    return site


async def _health() -> dict[str, str]:
    return {"status": "ok"}


def _resolve_annotations(cls: type, method: Callable[..., Any]) -> None:
    """Give a method a signature with types in place of the strings of `from __future__ import annotations`.

    FastAPI resolves strings in the module's namespace only; a model that is written inside the class is in
    that of the class.
    """
    function = inspect.unwrap(getattr(method, "__func__", method))
    if not inspect.isfunction(function):
        return
    nested = {
        name: value
        for owner in reversed(cls.__mro__)
        for name, value in vars(owner).items()
        if isinstance(value, type) and not hasattr(builtins, name)
    }
    where = f"{cls.__name__}.{function.__name__}"
    try:
        hints = typing.get_type_hints(
            function, globalns={**nested, **function.__globals__}, include_extras=True
        )
    except NameError as error:
        raise MisconfiguredError(
            f"{where}: an annotation cannot be resolved: {error}. An endpoint's types are needed at run "
            "time: import them at the top of the file, outside of `if TYPE_CHECKING`."
        ) from error
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=hints.get(name, parameter.annotation))
        for name, parameter in signature.parameters.items()
    ]
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=parameters, return_annotation=hints.get("return", signature.return_annotation)
    )


async def _serve(site: FastAPI, *, port: int, stop: Stop) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Leaves signals to `stop`: uvicorn would raise them again at its end, against the exit code."""

        def install_signal_handlers(self) -> None:  # uvicorn before 0.29
            pass

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    # A container has a network of its own; what is reachable from outside is said when it is run.
    config = uvicorn.Config(site, host="0.0.0.0", port=port, lifespan="off")  # noqa: S104
    server = Server(config)

    def end() -> None:
        # Requests that are being answered are waited for; being told a second time ends them.
        server.force_exit = server.should_exit
        server.should_exit = True

    stop.handler = end
    await server.serve()
