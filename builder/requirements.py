"""Requirements as an app declares them: install steps of pip's command-line words, parsed.

A step is what one `pip install` would be given: requirement specifiers (PEP 508), wheels by URL or path, and
options, in any order; an option holds for the whole step it stands in. A word that is not understood is an
error with its place in the declaration; none is ever left out silently.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as Specifier
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from builder.errors import DeclarationError
from builder.machine_config import as_url
from builder.redact import redact, url_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from builder.models import AppSpec

_REFERENCE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_CREDENTIAL_NAME = re.compile(r"TOKEN|KEY|SECRET|PASS|PWD|AUTH|CRED|SIG|PAT(?:_|$)")
_LONG_VALUE = 20
_VCS = re.compile(r"(?:git|hg|svn|bzr)\+")
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:")


@dataclass(frozen=True)
class Requirement:
    """One package asked for.

    Attributes:
        name: normalized project name (PEP 503).
        line: what a resolver is given, with environment variables replaced: it may hold credentials.
        shown: as written, credentials masked: for messages and locks.
        where: its place, "Upscale.requirements[2]".
        url: for a wheel named by URL or path, that URL with its credentials; else None.
        filename: for such a wheel, its file name.
    """

    name: str
    line: str = field(repr=False)
    shown: str
    where: str
    url: str | None = field(default=None, repr=False)
    filename: str | None = None


@dataclass(frozen=True)
class Step:
    """One install step.

    Attributes:
        requirements: in the order they stand.
        index_url: URL that replaces the default index; URLs here may hold credentials.
        extra_index_urls: further indexes, in order.
        find_links: pages or folders of files, as URLs.
        pre: whether pre-releases are wanted.
        only_binary: names for which wheels are insisted on, or ":all:"; no wheel is built from source yet, so
            this asks for what happens anyway.
        shown: the options as written, credentials masked, as `--option=value`.
    """

    requirements: tuple[Requirement, ...] = ()
    index_url: str | None = field(default=None, repr=False)
    extra_index_urls: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    pre: bool = False
    only_binary: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()

    @property
    def has_options(self) -> bool:
        """Whether anything in it changes where or what the step's packages are looked for."""
        return self.index_url is not None or bool(self.extra_index_urls or self.find_links or self.pre)

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL its options name."""
        return (*((self.index_url,) if self.index_url else ()), *self.extra_index_urls, *self.find_links)

    def canonical(self) -> tuple[str, ...]:
        """The step as text without secrets, the same whatever the order of its requirements."""
        return (*self.shown, *sorted({requirement.shown for requirement in self.requirements}))


@dataclass(frozen=True)
class Requirements:
    """All steps of an app.

    Attributes:
        steps: in order; empty ones are left out.
        secrets: values that must appear in no file and no message.
    """

    steps: tuple[Step, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)


def parse_requirements(
    spec: AppSpec, environ: Mapping[str, str] | None = None, *, unset_ok: bool = False
) -> Requirements:
    """Parse an app's requirements.

    `${NAME}` is replaced from the environment (upper-case names, as in pip's requirements files).

    Args:
        spec: the app; local paths are relative to its `requirements_context_dir`.
        environ: the environment, by default this process's.
        unset_ok: leave `${NAME}` in a URL as it is where NAME is not set. The result then serves to compare
            and to show, not to fetch: a machine that only builds what is locked need not have the secrets.

    Raises:
        DeclarationError: a word that does not parse, is not supported, or names a variable that is not set.
            The message holds the word with credentials masked, and its place.
    """
    env = os.environ if environ is None else environ
    nested = len(spec.requirements) > 1
    secrets: list[str] = []
    steps = []
    for number, words in enumerate(spec.requirements):
        place = spec.requirements_place or f"{spec.class_name}.requirements"
        place += f"[{number}]" if nested else ""
        parser = _StepParser(place, spec.requirements_context_dir, env, unset_ok=unset_ok)
        steps.append(parser.parse(words))
        secrets += parser.secrets
    return Requirements(
        tuple(step for step in steps if step.requirements or step.shown), tuple(dict.fromkeys(secrets))
    )


def parse_runtime(words: Sequence[str]) -> tuple[Requirement, ...]:
    """Parse requirements that this program adds by itself (a server for apps with endpoints)."""
    return tuple(_specifier(word, word, "the program's own requirement") for word in words)


class _StepParser:
    """Walks over one step's words, an option's value being the next word."""

    def __init__(self, place: str, folder: Path, env: Mapping[str, str], *, unset_ok: bool) -> None:
        self.unset_ok = unset_ok
        self.place = place
        self.folder = folder
        self.env = env
        self.secrets: list[str] = []
        self.step = Step()
        self.options: dict[str, Callable[[str, str], None]] = {
            "--index-url": self._index_url,
            "--extra-index-url": self._extra_index_url,
            "--find-links": self._find_links,
            "--only-binary": self._only_binary,
            "--no-binary": self._no_binary,
        }

    def parse(self, words: Sequence[str]) -> Step:
        position = 0
        while position < len(words):
            word, where = words[position], f"{self.place}[{position}]"
            position += 1
            if not word.strip():
                raise DeclarationError(f"{where} is empty", hint="Remove it, or write a requirement there.")
            if not word.startswith("-"):
                self._requirement(word.strip(), where)
                continue
            option, value = _split_option(word.strip())
            if option == "--pre" and value is None:
                self.step = replace(self.step, pre=True, shown=(*self.step.shown, "--pre"))
                continue
            if option not in self.options:
                raise DeclarationError(
                    f"{where}: the option {redact(word, self.secrets)!r} is not supported",
                    hint="Supported: --index-url, --extra-index-url, --find-links, --pre and --only-binary. "
                    "An option and its value are two items of the list, or one with `=` between them.",
                )
            if value is None:
                if position == len(words):
                    raise DeclarationError(
                        f"{where}: {option} needs a value", hint="Write it as the next item."
                    )
                value = words[position]
                position += 1
            written = value.strip()
            self.options[option](self._expand(written, where), where)
            self.step = replace(
                self.step, shown=(*self.step.shown, f"{option}={redact(written, self.secrets)}")
            )
        return self.step

    def _expand(self, text: str, where: str) -> str:
        """Replace `${NAME}`, and remember what is secret in the result."""

        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            found = self.env.get(name)
            if found is None and self.unset_ok and "://" in text:
                return match.group()
            if found is None:
                raise DeclarationError(
                    f"{where}: {redact(text)!r} names the environment variable {name}, which is not set",
                    hint=f"Set it where you lock: export {name}=...",
                )
            # In a URL a value may be a credential wherever it stands, even as a part of the path. A version
            # number is not one, and masking it everywhere would spoil messages and locks.
            if "://" in text and (_CREDENTIAL_NAME.search(name) or len(found) >= _LONG_VALUE):
                self.secrets.append(found)
            return found

        expanded = _REFERENCE.sub(value, text)
        for url in re.findall(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", expanded):
            self.secrets += url_secrets(url)
        return expanded

    def _url(self, value: str, where: str, option: str) -> str:
        if _HAS_SCHEME.match(value):
            return value
        path = self.folder / Path(value).expanduser()
        if not path.is_dir():
            raise DeclarationError(
                f"{where}: {option} names {value!r}, which is neither a URL nor a folder in {self.folder}",
            )
        return as_url(str(path), self.folder)

    def _index_url(self, value: str, where: str) -> None:
        self.step = replace(self.step, index_url=self._url(value, where, "--index-url"))

    def _extra_index_url(self, value: str, where: str) -> None:
        urls = (*self.step.extra_index_urls, self._url(value, where, "--extra-index-url"))
        self.step = replace(self.step, extra_index_urls=urls)

    def _find_links(self, value: str, where: str) -> None:
        url = as_url(self._url(value, where, "--find-links"), self.folder)
        self.step = replace(self.step, find_links=(*self.step.find_links, url))

    def _only_binary(self, value: str, where: str) -> None:
        if ":none:" in value:
            self._no_binary(":all:", where)
        self.step = replace(self.step, only_binary=(*self.step.only_binary, *value.split(",")))

    def _no_binary(self, value: str, where: str) -> None:
        if value != ":none:":
            raise DeclarationError(
                f"{where}: this asks for a build from source, which is not supported yet",
                hint="Take the option out: packages are installed from wheels.",
            )

    def _requirement(self, word: str, where: str) -> None:
        shown = redact(word, self.secrets)
        name_at = re.match(r"\s*[A-Za-z0-9][A-Za-z0-9._-]*\s*(?:\[[^\]]*\])?\s*@\s*", word)
        target = word[name_at.end() :] if name_at else word
        if _VCS.match(target):
            raise DeclarationError(
                f"{where}: {shown!r} is a version control requirement, which is not supported yet",
                hint="Name a released version, or the URL of a wheel.",
            )
        expanded = self._expand(word, where)
        shown = redact(word, self.secrets)
        if name_at is None and _HAS_SCHEME.match(word):
            self._add(_wheel_url(expanded, shown, where))
        elif name_at is None and self._is_path(expanded):
            self._add(self._wheel_path(expanded, shown, where))
        else:
            self._add(_specifier(expanded, shown, where))

    def _is_path(self, word: str) -> bool:
        plain = word.partition(" ;")[0].strip()
        if "://" in plain:
            return False
        return plain.startswith((".", "/", "~")) or plain.endswith(".whl") or "/" in plain.partition("[")[0]

    def _wheel_path(self, word: str, shown: str, where: str) -> Requirement:
        text, semicolon, marker = word.partition(" ;")
        path = self.folder / Path(text.strip()).expanduser()
        if path.suffix != ".whl":
            raise DeclarationError(
                f"{where}: {shown!r} is a local project or file, and only wheels are supported yet",
                hint="Build a wheel of it and name that.",
            )
        if not path.is_file():
            raise DeclarationError(f"{where}: {shown!r} does not exist: there is no {path}")
        url = "file://" + quote(str(path.resolve()))
        return _wheel_url(url + (f" ; {marker.strip()}" if semicolon else ""), shown, where)

    def _add(self, requirement: Requirement) -> None:
        self.step = replace(self.step, requirements=(*self.step.requirements, requirement))


def _split_option(word: str) -> tuple[str, str | None]:
    short = {"-i": "--index-url", "-f": "--find-links"}
    if word[:2] in short:
        # pip takes a short option's value glued to it as well.
        return short[word[:2]], word[2:].lstrip("=") or None
    option, equals, value = word.partition("=")
    return option, value if equals else None


def _specifier(text: str, shown: str, where: str) -> Requirement:
    try:
        parsed = Specifier(text)
    except InvalidRequirement as error:
        # packaging's message quotes the requirement, so it can hold what is masked in `shown`.
        message = str(error).splitlines()[0].replace(text, shown)
        raise DeclarationError(
            f"{where} does not parse: {shown!r}: {redact(message)}",
            hint="Write it as in name, name==1.2, name[extra]>=1,<2 or name @ https://host/x.whl (PEP 508).",
        ) from error
    if parsed.url is not None:
        return _direct(parsed, parsed.url, shown, where)
    name = canonicalize_name(parsed.name)
    parsed.name = name
    return Requirement(name=name, line=str(parsed), shown=str(parsed), where=where)


def _wheel_url(text: str, shown: str, where: str) -> Requirement:
    """A URL that stands alone; a marker follows it after a space and a semicolon."""
    url, semicolon, marker_text = text.partition(" ;")
    url = url.strip()
    if re.search(r"\s", url):
        raise DeclarationError(f"{where}: {shown!r} holds a space", hint="Write it as %20 in a URL.")
    parsed = Specifier(_wheel_name(url, shown, where)[0])
    if semicolon:
        try:
            parsed.marker = Marker(marker_text.strip())
        except InvalidMarker as error:
            raise DeclarationError(
                f"{where} does not parse: {shown!r}: {str(error).splitlines()[0]}"
            ) from error
    return _direct(parsed, url, shown, where)


def _direct(parsed: Specifier, url: str, shown: str, where: str) -> Requirement:
    name, filename = _wheel_name(url, shown, where)
    if name != canonicalize_name(parsed.name):
        raise DeclarationError(
            f"{where}: {shown!r} asks for {parsed.name}, but the file is a wheel of {name}",
            hint="Name the package that the wheel holds, or the wheel of the package.",
        )
    parsed.name = name
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    return Requirement(
        name=name,
        line=f"{name}{extras} @ {url}{marker}",
        shown=shown,
        where=where,
        url=url,
        filename=filename,
    )


def _wheel_name(url: str, shown: str, where: str) -> tuple[str, str]:
    filename = unquote(urlsplit(url).path.rpartition("/")[2])
    if not filename.endswith(".whl"):
        raise DeclarationError(
            f"{where}: {shown!r} is not the URL of a wheel (its file name ends in .whl)",
            hint="Other files are not supported yet: name a released version, or the URL of a wheel.",
        )
    try:
        return parse_wheel_filename(filename)[0], filename
    except InvalidWheelFilename as error:
        raise DeclarationError(f"{where}: {shown!r}: {error}") from error


def declared_url(requirements: Requirements, filename: str) -> str | None:
    """The URL an app gives for a wheel, with the credentials that a lock's lacks; None when it gives none."""
    for step in requirements.steps:
        for requirement in step.requirements:
            if requirement.filename == filename:
                return requirement.url
    return None
