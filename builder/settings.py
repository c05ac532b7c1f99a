"""The project's settings: the table `[tool.builder]` of pyproject.toml."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from builder.errors import DeclarationError
from builder.redact import is_reference, redact

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

_PUBLIC_KEY = re.compile(r"[\w.-]+:[A-Za-z0-9+/]{43}=")
IndexStrategy = Literal["first-index", "unsafe-first-match", "unsafe-best-match"]
MirrorKey = Literal["debian", "debian-security", "debian-keyring", "index", "crates", "pytorch", "cuda"]


class Settings(BaseModel):
    """`[tool.builder]`, with dashes for underscores. Every key is optional.

    Attributes:
        mirrors: where to fetch from in place of what a lock or the machine's configuration names: `debian`
            and `debian-security` (folders with `dists` and `pool`), `debian-keyring` (a path), `index` (a
            package index, PEP 503 or 691, that stands in for the default one), `crates` (a registry of Rust crates;
            see `builder.crates`), `pytorch` (PyTorch's index, with a folder for each build), `cuda` (the folder of
            NVIDIA's redistributables). `${NAME}` in a URL is replaced from the environment when it is used.
        suites: Debian suites by Python version, for mirrors that offer more than Debian's own.
        portable: leave URLs out of locks.
        bytecode: compile .pyc files into the image.
        python: Python version of apps that declare none ("3.11").
        index_strategy: uv's; None leaves the choice to the machine's configuration.
        cache: URL of a binary cache, or the path of a folder that is one; see `builder.binary_cache`.
        cache_keys: public keys whose signatures are trusted there, each `name:base64`.
        builders: machines that builds are handed to, in Nix's own words; see `builder.remote`.
        tokens: bearer tokens by URL, each a `${NAME}` that is read from the environment when it is needed. A URL
            stands for all that is below it.
        apps: targets by name; builder.target reads them.
        machines: machine types by name; builder.machines reads them.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
    )

    mirrors: dict[MirrorKey, str] = Field(default_factory=dict)
    suites: dict[str, str] = Field(default_factory=dict)
    portable: bool = False
    bytecode: bool = True
    python: str | None = Field(default=None, pattern=r"^3\.\d{1,2}$")
    index_strategy: IndexStrategy | None = None
    cache: str | None = None
    cache_keys: tuple[str, ...] = ()
    builders: tuple[str, ...] = ()
    tokens: dict[str, str] = Field(default_factory=dict, repr=False)
    apps: dict[str, Any] = Field(default_factory=dict, repr=False)
    machines: dict[str, Any] = Field(default_factory=dict, repr=False)

    @field_validator("python", mode="before")
    @classmethod
    def _python_is_text(cls, value: object) -> object:
        if isinstance(value, float | int):
            # 3.10 without quotes is the number 3.1: there is no telling what was meant.
            msg = 'must be a string, as in "3.11"'
            raise ValueError(msg)
        return value

    @field_validator("builders", mode="before")
    @classmethod
    def _builders_are_a_list(cls, value: object) -> object:
        # Nix has them in one string.
        return [value] if isinstance(value, str) else value

    @field_validator("cache_keys")
    @classmethod
    def _cache_keys_are_public(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for key in value:
            if not _PUBLIC_KEY.fullmatch(key):
                msg = (
                    f"{key[:40]!r} is no public key of a binary cache, which is name:base64 and 32 bytes long"
                )
                raise ValueError(msg)
        return value

    @field_validator("tokens")
    @classmethod
    def _tokens_are_elsewhere(cls, value: dict[str, str]) -> dict[str, str]:
        for url, token in value.items():
            parts = urlsplit(url)
            local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1")
            if (parts.scheme != "https" and not local) or not parts.hostname:
                msg = (
                    f"{redact(url)!r} is not an https URL: a token is only sent over an encrypted connection"
                )
                raise ValueError(msg)
            if "@" in parts.netloc or parts.query or parts.fragment:
                msg = f"{redact(url)!r} must be a URL without a user, a query and a fragment"
                raise ValueError(msg)
            if not is_reference(token):
                msg = (
                    f'the token for {url} must be the name of an environment variable, as in "${{INDEX_TOKEN}}": '
                    "one that is written here is in the repository, for everyone who can read that"
                )
                raise ValueError(msg)
        return value


def read_settings(root: Path) -> Settings:
    """Read `[tool.builder]` of the pyproject.toml in a folder.

    Args:
        root: the folder; without a pyproject.toml, or without the table in it, all settings have their
            defaults.

    Raises:
        DeclarationError: the file is not TOML, or the table holds a key or a value that is none of ours.
    """
    path = root / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise DeclarationError(f"{path} is not valid TOML: {error}") from error
    table = document.get("tool", {})
    table = table.get("builder", {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise DeclarationError(f"{path}: tool.builder is not a table")
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        raise DeclarationError(
            f"{path}: "
            + "; ".join(_explain(item["loc"], item["type"], item["msg"]) for item in error.errors())
        ) from error


def pytorch_mirror(settings: Settings) -> str | None:
    """What stands in for PyTorch's index, or None.

    Raises:
        DeclarationError: it names a variable that is not set.
    """
    mirror = settings.mirrors.get("pytorch")
    return expand(mirror, "tool.builder.mirrors.pytorch") if mirror else None


def cuda_mirror(settings: Settings) -> str | None:
    """What stands in for the folder of NVIDIA's redistributables, or None.

    Raises:
        DeclarationError: it names a variable that is not set.
    """
    mirror = settings.mirrors.get("cuda")
    return expand(mirror, "tool.builder.mirrors.cuda") if mirror else None


def expanded_mirrors(settings: Settings) -> dict[str, str]:
    """The table `[tool.builder.mirrors]`, its variables replaced.

    Raises:
        DeclarationError: it names a variable that is not set.
    """
    return {key: expand(url, f"tool.builder.mirrors.{key}") for key, url in settings.mirrors.items()}


def mirror_logins(settings: Settings) -> tuple[str, ...]:
    """The mirrors that are URLs of packages' indexes, for what they say of who we are there.

    One that names a variable which is not set says nothing here; `expand` tells that, where the mirror is needed.
    """
    found = []
    for key, url in settings.mirrors.items():
        if key in ("index", "pytorch"):
            with contextlib.suppress(DeclarationError):
                found.append(expand(url, f"tool.builder.mirrors.{key}"))
    return tuple(found)


def expand(text: str, where: str) -> str:
    """Replace `${NAME}` from the environment.

    Raises:
        DeclarationError: the variable is not set; `where` says who names it.
    """

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match.group(1))
        if found is None:
            raise DeclarationError(
                f"{where} names the environment variable {match.group(1)}, which is not set"
            )
        return found

    return re.sub(r"\$\{([A-Z0-9_]+)\}", value, text)


def _explain(where: tuple[int | str, ...], kind: str, message: str) -> str:
    places = [str(part) for part in where if part != "[key]"]
    key = ".".join(["tool.builder", *places])
    unknown_mirror = places[0] == "mirrors" and kind == "literal_error"
    if kind != "extra_forbidden" and not unknown_mirror:
        return f"{key}: {message.removeprefix('Value error, ')}"
    known = (
        get_args(MirrorKey)
        if unknown_mirror
        else sorted(name.replace("_", "-") for name in Settings.model_fields)
    )
    close = get_close_matches(places[-1], known, n=1)
    return f"{key} is no setting" + (
        f" (did you mean {close[0]}?)" if close else f" (there are: {', '.join(known)})"
    )
