"""What this machine says about package indexes: pip's configuration, and whether uv has one of its own.

uv reads its own configuration (uv.toml, `[tool.uv]`, `UV_*`) by itself and does not read pip's. Users have
set up pip: a company's mirror stands in pip.conf. So pip's settings are read here, from the files and in the
order that pip's documentation gives ("Configuration"), and handed to uv where uv has no setting of its own.
No pip is needed for that.
"""

from __future__ import annotations

import configparser
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from builder.errors import DeclarationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from builder.settings import IndexStrategy


@dataclass(frozen=True)
class MachineConfig:
    """Index settings that hold for every app on this machine. URLs may carry credentials.

    Attributes:
        default_index: URL of the index that replaces uv's default one.
        extra_indexes: URLs of further indexes, first ones first; uv's `NAME=URL` form occurs.
        find_links: URLs of pages or folders of files; local folders are file URLs.
        constraints: constraint files.
        cert: file of CA certificates.
        insecure_hosts: hosts whose certificates are not checked (pip's `trusted-host`).
        strategy: what to tell uv about the order of indexes; None where uv itself is configured.
        logins: URLs of uv's own files, which uv reads there by itself, in its form `NAME=URL`: they only say who we
            are.
        keyring: whether passwords are asked of the `keyring` command.
    """

    default_index: str | None = None
    extra_indexes: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    constraints: tuple[Path, ...] = ()
    cert: Path | None = None
    insecure_hosts: tuple[str, ...] = ()
    strategy: IndexStrategy | None = field(default=None)
    logins: tuple[str, ...] = field(default=(), repr=False)
    keyring: bool = False

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL that uv is told."""
        return (*((self.default_index,) if self.default_index else ()), *self.extra_indexes, *self.find_links)


def machine_config(folder: Path, environ: Mapping[str, str] | None = None) -> MachineConfig:
    """Read what uv and pip are configured with.

    Of each kind of setting, `UV_*` variables count first; where uv has the kind in its own files, it reads it
    there and nothing is said here; otherwise pip's setting is taken. The result and uv's own files together
    are what a uv started in `folder` should see.

    Args:
        folder: where uv will be started: `[tool.uv]` and uv.toml there and above are uv's own configuration.
        environ: the environment, by default this process's.

    Raises:
        DeclarationError: a configuration file that cannot be read.
    """
    env = os.environ if environ is None else environ
    tables = _uv_tables(folder, env)
    own = {key for table in tables for key in table}
    pip = _pip_config(env)

    default = env.get("UV_DEFAULT_INDEX") or env.get("UV_INDEX_URL") or None
    extra = tuple((env.get("UV_INDEX") or env.get("UV_EXTRA_INDEX_URL") or "").split())
    links = tuple(part.strip() for part in env.get("UV_FIND_LINKS", "").split(",") if part.strip())
    strategy: IndexStrategy | None = None
    if default is None and not own & {"index", "index-url", "default-index"}:
        default = next(iter(pip.get("index-url", ())), None)
    if not extra and not own & {"index", "extra-index-url"}:
        extra = pip.get("extra-index-url", ())
        # pip looks at all of its indexes alike, which lets a stranger's package on a public index pass for a
        # private one. uv's default stops at the first index that has the name. But an index that is a folder
        # of this machine is no stranger's, and it usually holds a part of what the public one has: stopping
        # there finds too little. (Most such folders do not get that far: builder.local_index reads them.)
        if extra and all(is_local(url) for url in extra):
            strategy = "unsafe-best-match"
    if not links and "find-links" not in own:
        links = pip.get("find-links", ())
    constraints = env.get("UV_CONSTRAINT", "").split()
    if not constraints:
        constraints = list(pip.get("constraint", ()))
    cert = None
    if not (env.get("SSL_CERT_FILE") or env.get("SSL_CERT_DIR")):
        # pip's own setting, and those of the library that it fetches with.
        places = (*pip.get("cert", ()), env.get("REQUESTS_CA_BUNDLE"), env.get("CURL_CA_BUNDLE"))
        cert = next((place for place in places if place), None)
    return MachineConfig(
        default_index=default,
        extra_indexes=extra,
        find_links=tuple(as_url(link, folder) for link in links),
        constraints=tuple(folder / file for file in constraints),
        cert=Path(cert) if cert else None,
        insecure_hosts=() if env.get("UV_INSECURE_HOST") else pip.get("trusted-host", ()),
        strategy=None if env.get("UV_INDEX_STRATEGY") or "index-strategy" in own else strategy,
        logins=tuple(url for table in tables for url in _uv_urls(table)),
        keyring=_asks_keyring(env, tables, pip),
    )


def is_local(url: str) -> bool:
    """Whether an index or a page of links is a folder of this machine."""
    url = without_name(url)
    return url.startswith("file:") or "://" not in url


def as_url(location: str, folder: Path) -> str:
    """A URL for a find-links location: pip and uv take a local path there as well.

    uv's variable separates locations by commas, so those are percent-encoded.
    """
    if "://" in location:
        return location.replace(",", "%2C")
    path = Path(location.removeprefix("file:")).expanduser()
    return "file://" + quote(str(folder / path))


def without_name(url: str) -> str:
    """An index's URL without the name that uv lets stand before it (`NAME=URL`)."""
    name, equals, rest = url.partition("=")
    return rest if equals and "/" not in name and ":" not in name else url


def _asks_keyring(
    env: Mapping[str, str], tables: list[dict[str, Any]], pip: Mapping[str, tuple[str, ...]]
) -> bool:
    """Whether uv, or else pip, is configured to ask the `keyring` command.

    pip may also import the library of that name (`import`): the command asks the same keyrings.
    """
    own = [env["UV_KEYRING_PROVIDER"]] if env.get("UV_KEYRING_PROVIDER") else []
    own += [table["keyring-provider"] for table in tables if "keyring-provider" in table]
    if own:
        return bool(own[0] == "subprocess")
    return pip.get("keyring-provider", ("",))[0] in {"subprocess", "import"}


def _uv_tables(folder: Path, env: Mapping[str, str]) -> list[dict[str, Any]]:
    """What uv's own configuration files set for `uv pip`; those that count first come first."""
    tables: list[dict[str, Any]] = []
    for path in _uv_files(folder, env):
        table = _toml(path)
        if path.name == "pyproject.toml":
            tool = table.get("tool")
            table = tool.get("uv", {}) if isinstance(tool, dict) else {}
        if isinstance(table, dict):
            tables += [pip] if isinstance(pip := table.get("pip"), dict) else []
            tables.append(table)
    return tables


def _uv_urls(table: Mapping[str, Any]) -> Iterator[str]:
    """The URLs of indexes and pages of links that one of uv's tables names."""
    indexes = table.get("index")
    for index in indexes if isinstance(indexes, list) else []:
        if isinstance(index, dict) and isinstance(index.get("url"), str):
            yield f"{index['name']}={index['url']}" if isinstance(index.get("name"), str) else index["url"]
    for key in ("index-url", "extra-index-url", "find-links"):
        value = table.get(key)
        for url in value if isinstance(value, list) else [value]:
            if isinstance(url, str) and "://" in url:
                yield url


def _uv_files(folder: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """The files uv reads (see "Configuration files" in its documentation): project, user, system."""
    if env.get("UV_NO_CONFIG", "").lower() in {"1", "true", "yes", "on"}:
        return
    if env.get("UV_CONFIG_FILE"):
        yield Path(env["UV_CONFIG_FILE"])
        return
    for place in (folder, *folder.parents):
        if (place / "uv.toml").is_file():
            yield place / "uv.toml"
            break
        if (place / "pyproject.toml").is_file():
            tool = _toml(place / "pyproject.toml").get("tool")
            if isinstance(tool, dict) and "uv" in tool:
                yield place / "pyproject.toml"
                break
    user = Path(env.get("XDG_CONFIG_HOME") or _home(env) / ".config") / "uv" / "uv.toml"
    if user.is_file():
        yield user
    for base in (*(env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"), "/etc"):
        if base and (system := Path(base) / "uv" / "uv.toml").is_file():
            yield system
            return


def _toml(path: Path) -> dict[str, Any]:
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DeclarationError(f"{path} cannot be read: {error}") from error
    return table


def _home(env: Mapping[str, str]) -> Path:
    return Path(env.get("HOME") or Path.home())


def _pip_files(env: Mapping[str, str]) -> Iterator[Path]:
    """The configuration files of pip, the ones that override others last."""
    named = env.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    if named:
        yield Path(named)
    for base in reversed((env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")):
        if base:
            yield Path(base) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield _home(env) / ".pip" / "pip.conf"
    yield Path(env.get("XDG_CONFIG_HOME") or _home(env) / ".config") / "pip" / "pip.conf"
    yield Path(env.get("VIRTUAL_ENV") or sys.prefix) / "pip.conf"


_LISTS = frozenset({"extra-index-url", "find-links", "constraint", "trusted-host"})
_SINGLE = frozenset({"index-url", "cert", "keyring-provider"})


def _pip_config(env: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """What holds for `pip install`: `[global]`, over it `[install]`, over that the `PIP_*` variables."""
    layers: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for path in _pip_files(env):
        parser = configparser.RawConfigParser(delimiters=("=", ":"))
        try:
            parser.read_string(path.read_text("utf-8"), str(path))
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            raise DeclarationError(f"pip's configuration {path} cannot be read: {error}") from error
        for section, layer in layers.items():
            if parser.has_section(section):
                layer.update({_option(key): value for key, value in parser.items(section)})
    variables = {
        _option(key[4:]): value
        for key, value in env.items()
        if key.startswith("PIP_") and key == key.upper() and value
    }
    merged = {**layers["global"], **layers["install"], **variables}
    result: dict[str, tuple[str, ...]] = {}
    for key, value in merged.items():
        if key in _LISTS:
            result[key] = tuple(value.split())
        elif key in _SINGLE and value.strip():
            result[key] = (value.strip(),)
    return result


def _option(key: str) -> str:
    return key.lower().removeprefix("--").replace("_", "-")
