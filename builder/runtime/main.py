"""Start the app, whichever kind it is, and end with the right exit code."""

from __future__ import annotations

import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from builder.app import App
from builder.runtime.appfile import MisconfiguredError, import_app
from builder.runtime.stop import Stop, Stopped

if TYPE_CHECKING:
    from types import TracebackType

_HERE = str(Path(__file__).parent)


def main() -> int:
    """Run the app that the environment names.

    Environment:
        BUILDER_APP: `app.py::Class`.
        BUILDER_ROOT: the folder of the app's code; default is /app.
        PORT: the port that endpoints are served on; default is 8080.

    Returns:
        0 after a stop that was asked for, or when there was nothing to serve; 1 when the app failed.
    """
    stop = Stop()
    stop.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    try:
        cls = import_app(os.environ.get("BUILDER_APP", ""), root=os.environ.get("BUILDER_ROOT", "/app"))
        port = _port(os.environ.get("PORT", "8080"))
        if issubclass(cls, App):
            from builder.runtime.serve import run

            return run(cls, port=port, stop=stop)
        from builder.runtime.fal_sdk import run as run_fal

        return run_fal(cls, port=port, stop=stop)
    except Stopped:
        say("stopped before it was ready")
        return 0
    except MisconfiguredError as error:
        say(str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - whatever the app raises ends it
        traceback.print_exception(type(error), error, _own_frames(error))
        return 1


def say(message: str) -> None:
    """A line of this program's own in the log."""
    print(f"builder: {message}", file=sys.stderr, flush=True)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise MisconfiguredError(f"PORT is {text!r}, which is not a port number")
    return int(text)


def _own_frames(error: Exception) -> TracebackType | None:
    """The traceback from where this package calls the app; all of it when the app is not in it."""
    frames = error.__traceback__
    own = None
    while frames is not None:
        if frames.tb_frame.f_code.co_filename.startswith(_HERE):
            own = frames.tb_next
        frames = frames.tb_next
    return own or error.__traceback__
