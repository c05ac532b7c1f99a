"""The app's own files, which become /app: the app file, what `app_files` names, and its local modules.

Names are those that files have in `app_files_context_dir`. There the app file's folder is the working directory,
and it and /app are on sys.path (`builder.runtime.appfile`).
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builder.errors import DeclarationError
from builder.local.credential_files import credential_warning
from builder.local.dockerignore import DockerIgnore
from builder.local.masking import masked_warning
from builder.local.modules import Import
from builder.local.rules import Rules
from builder.local.tree import Part, Tree
from builder.local.walk import Found, require_utf8, walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from builder.local.masking import Masker

# What keeps a folder in a repository that has nothing else there.
_PLACEHOLDERS = (".gitkeep", ".gitignore", ".keep")
_RUNTIME = ("builder.py", "builder/__init__.py")


@dataclass(frozen=True)
class Shipped:
    """What an app says of the files it needs; see `builder.models.AppSpec` for the attributes."""

    class_name: str
    file: Path
    app_files: tuple[str, ...] = ()
    app_files_ignore: tuple[str, ...] = ()
    app_files_context_dir: Path | None = None
    local_python_modules: tuple[str, ...] = ()
    local_modules: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @staticmethod
    def of(fields: Mapping[str, Any]) -> Shipped:
        """Take it out of a declaration, as `builder.load.declare` returns it."""
        return Shipped(**{name: fields[name] for name in Shipped.__dataclass_fields__ if name in fields})

    @property
    def context(self) -> Path:
        """The folder that names in `app_files` are relative to, without symbolic links."""
        return (self.app_files_context_dir or self.file.parent).resolve()


@dataclass(frozen=True)
class Code:
    """The app's own files.

    Attributes:
        tree: the content of /app.
        warnings: what was left out that may be missed.
    """

    tree: Tree
    warnings: tuple[str, ...]


def place(file: Path, context: Path | None) -> str:
    """Where the app file is in the image, relative to /app.

    As on the platform that apps were written for: where it is in `app_files_context_dir`, so that its relative paths
    and imports lead to what they lead to here. An app file outside of that folder is at the top.

    Args:
        file: the app file, absolute.
        context: `app_files_context_dir`, or None for the app file's folder.
    """
    folder = file.parent.resolve()
    if context is None or not folder.is_relative_to(context.resolve()):
        return file.name
    return (folder.relative_to(context.resolve()) / file.name).as_posix()


def gather(shipped: Shipped) -> Code:
    """Find every file that goes into /app.

    Raises:
        DeclarationError: a file or module is missing or lies outside of its folder, a link leads nowhere, something
            cannot be held by an image.
        OSError: something cannot be read.
    """
    context = shipped.context
    rules = Rules(
        docker=DockerIgnore.read(context),
        context=context,
        patterns=tuple(_patterns(shipped.app_files_ignore)),
    )
    at = place(shipped.file, shipped.app_files_context_dir)
    # The app file comes along whatever it looks like and whatever rule is for it: it is what is run.
    own = Part(shipped.class_name, context, Found(files={at: shipped.file}))
    named = [
        _named(context, name, rules, where=f"{shipped.class_name}.app_files[{index}]")
        for index, name in enumerate(shipped.app_files)
    ]
    importable = Import(shipped.local_modules, shipped.file.parent.resolve(), posixpath.dirname(at))
    modules = [
        part
        for index, name in enumerate(shipped.local_python_modules)
        for part in importable.parts(name, rules, where=f"{shipped.class_name}.local_python_modules[{index}]")
    ]
    tree = Tree.of(
        [own, *named, *modules],
        linked_folder_hint="Name that folder in app_files too: then the link stays one.",
    )
    for name in _RUNTIME:
        if name in tree.files:
            raise DeclarationError(
                f"{shipped.class_name}: {tree.files[name]} would be /app/{name}, and hide the module that an image "
                "starts with",
                hint="Rename it: no other module can be called builder there.",
            )
    warnings = [*_emptied(named), *_without_sources(modules)]
    if tree.credentials:
        warnings.append(credential_warning(tree.credentials))
    return Code(tree, tuple(warnings))


def stage(shipped: Shipped, folder: Path, masker: Masker) -> tuple[str, ...]:
    """Copy the app's files into an empty folder, executable bits kept.

    Args:
        shipped: the files.
        folder: the folder.
        masker: masks secrets in the copies.

    Returns:
        warnings about what was left out or masked.

    Raises:
        DeclarationError, OSError: see `gather`.
    """
    code = gather(shipped)
    masked = code.tree.copy_to(folder, masker)
    return (*code.warnings, *((masked_warning(masked),) if masked else ()))


def _patterns(texts: tuple[str, ...]) -> Iterator[re.Pattern[str]]:
    # They are known to be well-formed: `builder.declaration` has compiled them.
    return (re.compile(text) for text in texts)


def _named(context: Path, name: str, rules: Rules, *, where: str) -> Part:
    """What an item of `app_files` asks for.

    A file comes along although git or Docker ignores it, and a folder although they ignore it as a whole: somebody
    wrote its name down, and such files (weights, generated code) are ignored for being no source, not for being
    unwanted. `app_files_ignore` counts even so, being written in the same place and for this alone, and so does
    what looks like a credential: nobody names `.env` to publish it.
    """
    path = _inside(context, name, where)
    target = path.resolve()
    shown = posixpath.normpath(name)
    require_utf8(shown, str(path), where)
    if target.is_dir():
        found = walk(target, "" if shown == "." else shown, rules.around(target, context), where=where)
        return Part(where, context, found)
    if not target.is_file():
        raise DeclarationError(f"{where}: {path} is neither a file nor a folder")
    found = Found()
    link = path.is_symlink()
    if rules.matches(shown, link=link):
        found.ignored.append(shown)
    elif link:
        found.links[shown] = path
    else:
        found.add_file(shown, target)
    return Part(where, context, found)


def _inside(context: Path, name: str, where: str) -> Path:
    """The path of a name that is relative to a folder, and lies in it."""
    outside = DeclarationError(
        f"{where}: {name!r} lies outside {context}",
        hint="Names are relative to app_files_context_dir, by default the app file's folder. Choose a folder there "
        "that has all of the app's files.",
    )
    normal = posixpath.normpath(name)
    if posixpath.isabs(name) or normal == ".." or normal.startswith("../"):
        raise outside
    path = context / normal
    if not path.exists():
        if path.is_symlink():
            raise DeclarationError(f"{where}: {path} is a link to {path.readlink()}, which leads nowhere")
        hint = "Patterns are not expanded: name the folder." if set(name) & set("*?[") else ""
        raise DeclarationError(f"{where}: {path} does not exist", hint=hint)
    if not path.resolve().is_relative_to(context):
        raise outside
    return path


def _emptied(named: list[Part]) -> Iterator[str]:
    """Warnings about folders that rules have left nothing of."""
    for part in named:
        kept = [*part.found.files, *part.found.links]
        if part.found.ignored and all(posixpath.basename(name) in _PLACEHOLDERS for name in kept):
            yield (
                f"{part.where}: .gitignore, .dockerignore or app_files_ignore leaves out all that is there: "
                f"{_some(part.found.ignored)}. A file that is named itself comes along although git ignores it."
            )


def _without_sources(modules: list[Part]) -> Iterator[str]:
    """Warnings about modules that rules leave out of packages, which will then not be found."""
    for part in modules:
        missing = [name for name in part.found.ignored if name.endswith(".py")]
        if missing:
            yield (
                f"{part.where}: .gitignore or .dockerignore leaves out {_some(missing)}. What is named in app_files "
                "comes along all the same."
            )


def _some(names: list[str]) -> str:
    shown = sorted(names)[:3]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more
