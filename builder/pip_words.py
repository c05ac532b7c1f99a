"""The syntax of pip's words: command-line words in a list, lines of a requirements file, and what a word is made of.

Nothing here says what a word means. Only the standard library is used: an unchanged app is recognised by its words
without loading anything else (`builder.requirement_files`).

References: pip's documentation, "Requirements File Format" and "pip install"; PEP 508; the version specifiers
specification, "Direct references".
"""

from __future__ import annotations

import codecs
import re
import shlex
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from builder.errors import DeclarationError
from builder.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_WITH_VALUE = (
    "--index-url",
    "--extra-index-url",
    "--find-links",
    "--index-strategy",
    "--requirement",
    "--constraint",
    "--editable",
    "--hash",
    "--no-binary",
    "--only-binary",
)
_FLAGS = ("--pre", "--no-deps", "--no-index", "--no-build-isolation", "--require-hashes")
# What is so in any case, or concerns an environment that has something installed, or what pip prints.
_WITHOUT_EFFECT = (
    "--break-system-packages",
    "--disable-pip-version-check",
    "--force-reinstall",
    "--ignore-installed",
    "--no-cache-dir",
    "--no-color",
    "--no-input",
    "--no-python-version-warning",
    "--no-warn-conflicts",
    "--no-warn-script-location",
    "--prefer-binary",
    "--quiet",
    "--upgrade",
    "--use-pep517",
    "--verbose",
)
_VALUE_WITHOUT_EFFECT = ("--progress-bar", "--retries", "--root-user-action", "--timeout")
_OTHER_NAMES = {
    "-c": "--constraint",
    "-e": "--editable",
    "-f": "--find-links",
    "-i": "--index-url",
    "-r": "--requirement",
    "-I": "--ignore-installed",
    "-U": "--upgrade",
    "-q": "--quiet",
    "-v": "--verbose",
    "--no-dependencies": "--no-deps",
}
_TAKES_VALUE = frozenset((*_WITH_VALUE, *_VALUE_WITHOUT_EFFECT))
_TAKES_NONE = frozenset((*_FLAGS, *_WITHOUT_EFFECT))
#: The options that decide anything, for messages.
SUPPORTED = (*_WITH_VALUE, *_FLAGS)

# Where options begin behind a requirement.
_OPTIONS = re.compile(r"\s(?=--[a-z]|-[cefiIqrUv](?:\s|$))")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED_ENCODING = re.compile(rb"[ \t]*#.*?coding[:=][ \t]*([-_.a-zA-Z0-9]+)")

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_NAME_AT = re.compile(rf"(?P<name>{_NAME})\s*(?:\[(?P<extras>[^\]]*)\])?\s*@\s*(?=\S)")
_PATH_STARTS = (".", "/", "~")
_ARCHIVE = re.compile(r"\.(?:tar\.(?:gz|bz2|xz)|tgz|zip)", re.IGNORECASE)
#: What begins a URL, or is meant to.
SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://|file:|(?:git|hg|svn|bzr)\+)")


@dataclass(frozen=True)
class Word:
    """A requirement or an option.

    Attributes:
        where: its place, "Upscale.requirements[2]".
        option: the option's long name; None for a requirement.
        value: the option's value, "" where it takes none; or the requirement, as written.
    """

    where: str
    option: str | None
    value: str

    @property
    def without_effect(self) -> bool:
        """Whether it is an option that changes nothing here."""
        return self.option in _WITHOUT_EFFECT or self.option in _VALUE_WITHOUT_EFFECT


@dataclass(frozen=True)
class Direct:
    """A requirement that says where its package is.

    Attributes:
        name: as written before `@`, or None.
        extras: as written between brackets, or "".
        target: a URL or a path.
        is_path: whether it is a path.
        marker: as written, or None.
    """

    name: str | None
    extras: str
    target: str
    is_path: bool
    marker: str | None


def list_words(items: Sequence[str], place: str) -> Iterator[Word]:
    """Read the items of a list, each a word of pip's command line.

    An option's value is the next item, or stands behind `=`. An item may also be what would be a line of a
    requirements file: an option and its value, or a requirement and its options.

    Args:
        items: as written.
        place: of the list, for `Word.where`.

    Raises:
        DeclarationError: an item is empty or malformed, or an option is unknown or lacks its value. Words before
            it have been yielded.
    """
    position = 0
    while position < len(items):
        where = f"{place}[{position}]"
        item = re.sub(r"\\\r?\n", " ", items[position]).strip()
        position += 1
        if not item:
            raise DeclarationError(f"{where} is empty", hint="Remove it, or write a requirement there.")
        if "\n" in item:
            raise DeclarationError(
                f"{where} holds more than one line: {redact(item)!r}",
                hint="Make each line an item of its own, or write them to a file: '-r', 'requirements.txt'.",
            )
        requirement, rest = _split(item)
        if requirement:
            yield Word(where, None, requirement)
        # A value in a list needs no quotes, whatever it holds.
        whole = rest.startswith("--") and "=" in rest.split()[0] and not _OPTIONS.search(rest)
        words = [rest] if whole else _shell_words(rest, where)
        if words and _needs_value(words[-1]) and position < len(items):
            words.append(items[position].strip())
            position += 1
        yield from _options(words, where)


def file_words(content: bytes, place: str) -> Iterator[Word]:
    """Read a requirements file.

    Args:
        content: of the file: UTF-8, or what its byte order mark or a PEP 263 comment says.
        place: of the file, for `Word.where`.

    Raises:
        DeclarationError: see `list_words`; or the file cannot be decoded.
    """
    for number, line in _lines(_decoded(content, place)):
        where = f"{place} line {number}"
        requirement, rest = _split(line)
        if requirement:
            yield Word(where, None, requirement)
        yield from _options(_shell_words(rest, where), where)


def direct(text: str) -> Direct | None:
    """Take a requirement apart that names a URL or a path; None for one of another kind.

    Args:
        text: without the options behind it; environment variables replaced.
    """
    text = text.strip()
    name_at = _NAME_AT.match(text)
    rest = text[name_at.end() :] if name_at else text
    plain = rest.partition(";")[0].rstrip()
    if SCHEME.match(rest) or (name_at and not plain.startswith(_PATH_STARTS)):
        # A URL may hold a semicolon; the marker's has a space beside it (PEP 508).
        target, separator, marker = _parted(rest, r"\s+;\s*|;\s+")
        is_path = False
    elif _is_path(plain):
        target, separator, marker = _parted(rest, r"\s*;\s*")
        is_path = True
    else:
        return None
    target, extras = _extras_apart(target) if is_path else (target, "")
    if name_at and name_at["extras"]:
        extras = name_at["extras"]
    return Direct(
        name_at["name"] if name_at else None, extras, target, is_path, marker if separator else None
    )


def _is_path(text: str) -> bool:
    path = _extras_apart(text)[0]
    return "://" not in path and (path.startswith(_PATH_STARTS) or "/" in path or _is_file_name(path))


def _is_file_name(filename: str) -> bool:
    return filename.endswith(".whl") or is_archive(filename)


def is_archive(filename: str) -> bool:
    """Whether a file's name is one of an archive that a package can be built from."""
    return any(match.end() == len(filename) for match in _ARCHIVE.finditer(filename))


def is_project(folder: Path) -> bool:
    """Whether a folder holds a Python project (PEP 517, "Source trees")."""
    return any(is_file(folder / name) for name in ("pyproject.toml", "setup.py"))


def is_file(path: Path) -> bool:
    """Whether there is such a file; a path that no file can have, or that may not be looked at, is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """The same for a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def find_path(text: str, folders: Sequence[Path]) -> Path:
    """The file or folder that a path means.

    Args:
        text: as written; `~` is expanded.
        folders: what it may be relative to: the folder of a requirements file comes before that which pip would
            be started in, since pip takes the latter.

    Returns:
        the first that is a file or a Python project; where none is, the first that exists, or else the first.
    """
    paths = [folder / _expanded(text) for folder in folders]
    fitting = [path for path in paths if is_file(path) or is_project(path)]
    found = [*fitting, *filter(is_folder, paths), *paths][0]
    try:
        return found.resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, a null byte
        return found


def _expanded(text: str) -> Path:
    from pathlib import Path

    try:
        return Path(text).expanduser()
    except (RuntimeError, ValueError):  # there is no such user, or no home
        return Path(text)


def _parted(text: str, separator: str) -> tuple[str, bool, str]:
    parts = re.split(separator, text, maxsplit=1)
    return parts[0].strip(), len(parts) > 1, parts[1].strip() if len(parts) > 1 else ""


def _extras_apart(path: str) -> tuple[str, str]:
    match = re.fullmatch(r"([^\[\]]+?)\s*\[([^\[\]]*)\]", path)
    return (match.group(1), match.group(2)) if match else (path, "")


def _split(text: str) -> tuple[str, str]:
    """A requirement, and the options behind it."""
    if text.startswith("-"):
        return "", text
    match = _OPTIONS.search(text)
    return (text[: match.start()].strip(), text[match.end() :]) if match else (text, "")


def _shell_words(text: str, where: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise DeclarationError(
            f"{where} does not parse: {redact(text)!r}: {error}", hint="Close the quotation mark."
        ) from error


def _needs_value(word: str) -> bool:
    return _OTHER_NAMES.get(word, word) in _TAKES_VALUE


def _options(words: Sequence[str], where: str) -> Iterator[Word]:
    rest = iter(words)
    for word in rest:
        for option, given in _named(word, where):
            value = given
            if option in _TAKES_NONE:
                if value is not None:
                    raise DeclarationError(f"{where}: {option} takes no value, and has {redact(value)!r}")
                yield Word(where, option, "")
                continue
            if value is None:
                value = next(rest, "")
                value = "" if value.startswith("-") else value
            if not value:
                raise DeclarationError(f"{where}: {option} needs a value", hint="Write it as the next item.")
            yield Word(where, option, value)


def _named(word: str, where: str) -> Iterator[tuple[str, str | None]]:
    """The options of a word, by their long names: `-qq` are two."""
    if not word.startswith("-"):
        raise DeclarationError(
            f"{where}: {redact(word)!r} stands behind an option that does not take it",
            hint="Make it an item of the list, or a line of the file, of its own.",
        )
    if word.startswith("--"):
        option, equals, value = word.partition("=")
        option = _OTHER_NAMES.get(option, option)
        if option not in _TAKES_VALUE and option not in _TAKES_NONE:
            raise _unknown(option, word, where)
        yield option, value.strip() if equals else None
        return
    for position, letter in enumerate(word[1:], 1):
        name = _OTHER_NAMES.get(f"-{letter}")
        if name is None:
            raise _unknown(word, word, where)
        if name in _TAKES_VALUE:
            # pip takes a short option's value glued to it as well.
            yield name, word[position + 1 :].removeprefix("=") or None
            return
        yield name, None
    if word == "-":
        raise _unknown(word, word, where)


def _unknown(option: str, word: str, where: str) -> DeclarationError:
    if option == "--trusted-host":
        return DeclarationError(
            f"{where}: the option '--trusted-host' is not supported: certificates are always checked",
            hint="Name the certificate authority of the index: export SSL_CERT_FILE=/path/to/ca.pem",
        )
    close = get_close_matches(option, SUPPORTED, n=1)
    return DeclarationError(
        f"{where}: the option {redact(word)!r} is not supported"
        + (f"; did you mean {close[0]}?" if close else ""),
        hint=f"Supported: {', '.join(SUPPORTED)}. "
        "An option and its value are two items of the list, or one with `=` between them.",
    )


def _decoded(content: bytes, place: str) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _decode(content[len(mark) :], encoding, place)
    for line in content.split(b"\n")[:2]:
        if declared := _DECLARED_ENCODING.match(line):
            return _decode(content, declared.group(1).decode("ascii"), place)
    return _decode(content, "utf-8", place)


def _decode(content: bytes, encoding: str, place: str) -> str:
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise DeclarationError(
            f"{place} cannot be read: {error}",
            hint="Save it as UTF-8, or say its encoding in the first line: # -*- coding: latin-1 -*-",
        ) from error


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers: continued ones joined under the first one's, without comments and empty ones."""
    first, pending = 0, ""
    for number, line in enumerate((*text.splitlines(), ""), 1):
        first = first or number
        is_comment = re.match(r"\s*#", line) is not None
        if line.endswith("\\") and not is_comment:
            pending += line[:-1]
            continue
        # A comment ends what was continued before it.
        joined = re.sub(r"(?:^|\s+)#.*$", "", pending + (f" {line}" if is_comment else line)).strip()
        if joined:
            yield first, joined
        first, pending = 0, ""
