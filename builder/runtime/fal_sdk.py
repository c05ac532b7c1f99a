"""The life of a `fal.App`: its own SDK sets it up and serves it, as `fal run --local` would."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from typing import TYPE_CHECKING, Any

from builder.runtime.appfile import MisconfiguredError

if TYPE_CHECKING:
    from builder.runtime.stop import Stop


def run(cls: type, *, port: int, stop: Stop) -> int:
    """Serve a fal app until told to stop.

    The SDK's server calls `setup` and `teardown`, answers `GET /health`, and has metrics on a port of its
    own. It contacts nothing and needs no credentials.

    Returns:
        0 when it was told to stop; 1 when it ended by itself, which it does when `setup` has failed.

    Raises:
        MisconfiguredError: the class is not a fal app.
    """
    base = getattr(sys.modules.get("fal"), "App", None)
    if base is None or not issubclass(cls, base):
        raise MisconfiguredError(f"{cls.__name__} derives neither from builder.App nor from fal.App")
    # The SDK refuses to make an instance outside of its platform unless told that this is meant.
    app: Any = cls(_allow_init=True)
    reference: Any = sys.modules.get("fal.ref")
    if hasattr(reference, "set_current_app"):
        reference.set_current_app(app)
    wanted = {"port": port, "metrics_port": _metrics_port(cls)}
    known = inspect.signature(app.serve).parameters
    arguments = {name: value for name, value in wanted.items() if name in known and value is not None}
    # uvicorn handles the signals while it serves and raises them again when it has ended.
    stop.handler = lambda: None
    # A failed start is an exit of uvicorn's own, or an ordinary return in its older versions.
    with contextlib.suppress(SystemExit):
        asyncio.run(app.serve(**arguments))
    return 0 if stop.asked else 1


def _metrics_port(cls: Any) -> int | None:  # noqa: ANN401 - a class of fal's
    port: int | None = getattr(cls, "metrics_port", None)
    return port if port is not None else getattr(cls, "host_kwargs", {}).get("metrics_port")
