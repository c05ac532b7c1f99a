"""Find the app in the image: BUILDER_APP says the file under /app and its class."""

from __future__ import annotations

import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


class MisconfiguredError(Exception):
    """The image or its environment does not fit the app; the message is all there is to say."""


def import_app(reference: str, *, root: str) -> type:
    """Import an app's class.

    The file's folder becomes the working directory; it and `root` are put on sys.path.

    Args:
        reference: `app.py::Class`, the file relative to `root`.
        root: the folder of the app's code.

    Raises:
        MisconfiguredError: there is no such file or class.
    """
    path, _, class_name = reference.partition("::")
    file = Path(root, path)
    if not class_name or not file.is_file():
        raise MisconfiguredError(f"BUILDER_APP is {reference!r}: there is no such app under {root}")
    os.chdir(file.parent)
    for folder in (root, str(file.parent)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
    # The name it has for what imports it, unless a module of the standard library has that.
    taken = file.stem in sys.modules or file.stem in getattr(sys, "stdlib_module_names", ())
    name = f"app_{file.stem}" if taken or not file.stem.isidentifier() else file.stem
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        raise MisconfiguredError(f"BUILDER_APP is {reference!r}: the file has no such class")
    return cls
