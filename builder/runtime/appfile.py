"""Find the app in the image: BUILDER_APP says the file under /app and its class."""

from __future__ import annotations

import ast
import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType


class MisconfiguredError(Exception):
    """The image or its environment does not fit the app; the message is all there is to say."""


class _Loader(SourceFileLoader):
    """Loads the app file without what only matters where it is locked.

    Requirements may come from a function that looks at the author's own machine: at environment variables, files,
    a server. In the image they are installed, and what the function looks for is not there.
    """

    def __init__(self, name: str, path: str, class_name: str) -> None:
        super().__init__(name, path)
        self._class_name = class_name

    def get_code(self, fullname: str) -> CodeType:
        """Compile the file; bytecode that lies about is of the file as it stands, and is not used."""
        path = self.get_filename(fullname)
        tree = _without_requirements(self.get_data(path), path, self._class_name)
        return compile(tree, path, "exec", dont_inherit=True)


def _without_requirements(source: bytes, path: str, class_name: str) -> ast.Module:
    tree = ast.parse(source, path)
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    wanted = {class_name}
    # Also of the classes that it derives from, as far as they are in the file.
    for node in reversed(classes):
        if node.name in wanted:
            wanted |= {base.id for base in node.bases if isinstance(base, ast.Name)}
    for node in classes:
        for statement in node.body if node.name in wanted else ():
            if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or statement.value is None:
                continue
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if any(isinstance(target, ast.Name) and target.id == "requirements" for target in targets):
                statement.value = ast.copy_location(ast.List(elts=[], ctx=ast.Load()), statement)
    return tree


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
    spec = spec_from_file_location(name, file, loader=_Loader(name, str(file), class_name))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    cls = getattr(module, class_name, None)
    if not isinstance(cls, type):
        raise MisconfiguredError(f"BUILDER_APP is {reference!r}: the file has no such class")
    return cls
