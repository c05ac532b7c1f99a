"""Runs uv's resolver. uv speaks every dialect of package index and knows every way to log in to one."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from builder import process, uv_credentials
from builder.credentials import NOBODY, Credentials
from builder.errors import ResolveError, ToolError
from builder.files import scratch_folder
from builder.local_index import Link, links_page, local_path, read_local_index
from builder.machine_config import is_local, without_name
from builder.redact import redact, url_secrets
from builder.settings import expand, mirror_logins

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from builder.machine_config import MachineConfig
    from builder.models import Wheel
    from builder.requirements import Step
    from builder.settings import IndexStrategy, Settings
    from builder.tags import Target

# Seconds.
_LONGEST_BUILD = 24 * 60 * 60
_WITH_QUERY = re.compile(r"://[^\s?#]*\?\S")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

# Variables that would make uv do something else than it is told here, or that are merged into what it is
# told.
_OWN_VARIABLES = (
    "UV_CONSTRAINT",
    "UV_CUSTOM_COMPILE_COMMAND",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_INDEX_URL",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_WORKING_DIR",
)


@dataclass(frozen=True)
class File:
    """A wheel as an index lists it.

    Attributes:
        filename: its file name.
        url: where it is; may hold credentials.
        sha256: hex digest, or None where nobody said.
        size: bytes, where the index said.
    """

    filename: str
    url: str = field(repr=False)
    sha256: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Candidate:
    """A package that uv chose, with the wheels it may be installed from.

    Attributes:
        name: normalized project name.
        version: PEP 440 version.
        files: wheels of that version that fit the target, as uv sees it.
        direct: True when a requirement names the file itself.
    """

    name: str
    version: str
    files: tuple[File, ...]
    direct: bool = False


@dataclass(frozen=True)
class Indexes:
    """Where packages are looked for: a step's options over the project's settings over the machine's.

    Attributes:
        default: URL that replaces the default index, or None for uv's own choice.
        extra: further indexes, first ones first.
        find_links: pages and folders of files, as URLs.
        links: single files, among them those of extra indexes that are folders of this machine.
        constraints: constraint files.
        strategy: uv's --index-strategy, or None for uv's own choice.
        insecure_hosts: hosts whose certificates are not checked.
        cert: file of CA certificates, or None for uv's own choice.
        source_index: URL of an index that comes before all others and may take minutes to answer, or None; see
            `builder.source_index`.
        none: look on no index, only at find-links and single files.
        credentials: who we are there.
    """

    default: str | None = field(default=None, repr=False)
    extra: tuple[str, ...] = field(default=(), repr=False)
    find_links: tuple[str, ...] = field(default=(), repr=False)
    links: tuple[Link, ...] = field(default=(), repr=False)
    constraints: tuple[Path, ...] = ()
    strategy: IndexStrategy | None = None
    insecure_hosts: tuple[str, ...] = ()
    cert: Path | None = None
    source_index: str | None = field(default=None, repr=False)
    none: bool = False
    credentials: Credentials = NOBODY

    @classmethod
    def of(cls, step: Step, settings: Settings, machine: MachineConfig) -> Indexes:
        """Combine what is said in three places, as pip combines its command line with its configuration."""
        mirror = settings.mirrors.get("index")
        extra: list[str] = []
        links: list[Link] = []
        for url in (*step.extra_index_urls, *machine.extra_indexes):
            local = read_local_index(without_name(url)) if is_local(url) else None
            if local is None:
                extra.append(url)
            else:
                links += local
        strategy = step.index_strategy or settings.index_strategy
        if strategy is None and extra and all(is_local(url) for url in extra):
            # The machine may mix its own folders with the default index; an index from elsewhere changes that.
            strategy = machine.strategy
        default = (
            step.index_url
            or (expand(mirror, "tool.builder.mirrors.index") if mirror else None)
            or machine.default_index
        )
        find_links = (*step.find_links, *machine.find_links)
        return cls(
            default=default,
            extra=tuple(extra),
            find_links=find_links,
            links=tuple(links),
            constraints=machine.constraints,
            strategy=strategy,
            insecure_hosts=machine.insecure_hosts,
            cert=machine.cert,
            none=step.no_index,
            credentials=Credentials.of(
                (*((default,) if default else ()), *extra, *find_links, *mirror_logins(settings)),
                machine=machine,
                tokens=settings.tokens,
            ),
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """Every URL in here."""
        return (*((self.default,) if self.default else ()), *self.extra, *self.find_links)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What is secret in the URLs, and the tokens that are not in them."""
        return (*(secret for url in self.urls for secret in url_secrets(url)), *self.credentials.secrets)

    def environment(self, scratch: Path) -> dict[str, str]:
        """Variables for one run of uv; URLs are among them, and what is secret is in files of `scratch`.

        Arguments could be read by any user of the machine in its list of processes, and the environment by every
        process that uv starts.

        Args:
            scratch: a private folder that outlives the run.
        """
        env = {key: value for key, value in os.environ.items() if key not in _OWN_VARIABLES}
        # What it says is read by its words. With COLUMNS set, it would break lines between them.
        env["UV_NO_WRAP"] = "1"
        bare = self.credentials.bare
        if self.default:
            env["UV_DEFAULT_INDEX"] = bare(self.default)
        if self.extra:
            env["UV_INDEX"] = " ".join(map(bare, self.extra))
        if pages := [bare(url) for url in self.find_links if not urlsplit(url).query]:
            env["UV_FIND_LINKS"] = ",".join(pages)
        if self.cert:
            env["SSL_CERT_FILE"] = str(self.cert)
        if self.credentials.keyring:
            env["UV_KEYRING_PROVIDER"] = "subprocess"
        return env | uv_credentials.environment(self.credentials.entries(), env, scratch)

    def lines(self) -> list[str]:
        """Lines for uv's standard input, among the requirements: pages of links whose query may be a secret."""
        return [f"--find-links {url}" for url in self.find_links if urlsplit(url).query]

    def arguments(self) -> list[str]:
        """Arguments for uv: what is no URL."""
        arguments = []
        for file in self.constraints:
            arguments += ["--constraints", str(file)]
        for host in self.insecure_hosts:
            arguments += ["--allow-insecure-host", host]
        if self.strategy:
            arguments += ["--index-strategy", self.strategy]
        if self.none:
            arguments.append("--no-index")
        return arguments


class UvError(ResolveError):
    """uv found no solution, or could not look for one.

    Attributes:
        text: uv's explanation, without color and credentials.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


@dataclass(frozen=True)
class Query:
    """What uv is asked.

    Attributes:
        lines: requirements, one a line; may hold credentials.
        constraints: more constraints, as lines.
        preferences: wheels whose versions are kept where they fit.
        upgrade: names whose preference does not count, and whose cached index pages are read anew.
        upgrade_all: the same for all names.
        deps: whether dependencies are followed.
        pre: whether pre-releases are wanted.
        universal: list every platform's wheels instead of the target's.
        secrets: values to take out of uv's messages.
    """

    lines: tuple[str, ...] = field(repr=False)
    constraints: tuple[str, ...] = field(default=(), repr=False)
    preferences: tuple[Wheel, ...] = ()
    upgrade: tuple[str, ...] = ()
    upgrade_all: bool = False
    deps: bool = True
    pre: bool = False
    universal: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)


def find_uv() -> str:
    """The uv executable: the one installed with this package, otherwise the one on PATH.

    Raises:
        ToolError: there is none.
    """
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = shutil.which("uv")
    if found is None:
        raise ToolError(
            "uv is missing, which chooses the packages", hint="Install it: python3 -m pip install uv"
        )
    return found


def compile_pins(query: Query, target: Target, indexes: Indexes, folder: Path) -> tuple[Candidate, ...]:
    """Ask uv for versions and wheels.

    The answer depends on the target alone: uv's own interpreter, and the system it runs on, decide nothing.
    Packages are never built, so nothing of theirs is executed.

    Args:
        query: what is asked.
        target: what the wheels are for.
        indexes: where to look.
        folder: where uv runs: uv.toml and `[tool.uv]` there are heeded.

    Raises:
        UvError: no solution, or an index or a file that cannot be read.
        ToolError: uv is missing or does not do what is expected of it.
    """
    with scratch_folder() as scratch:
        output = scratch / "pylock.toml"
        if query.preferences:
            output.write_text(_preferences(query.preferences), "utf-8")
        command = [find_uv(), "pip", "compile", "-", "--output-file", str(output), "--format", "pylock.toml"]
        command += [
            "--python",
            sys.executable,
            "--no-python-downloads",
            "--python-version",
            target.python_full,
        ]
        command += ["--universal"] if query.universal else ["--python-platform", target.uv_platform]
        command += [
            "--only-binary",
            ":all:",
            "--color",
            "never",
            "--no-progress",
            "--quiet",
            *indexes.arguments(),
        ]
        if query.constraints:
            constraints = scratch / "constraints.txt"
            constraints.write_text("\n".join(query.constraints) + "\n", "utf-8")
            command += ["--constraints", str(constraints)]
        env = indexes.environment(scratch)
        if indexes.source_index:
            env |= _for_source_index(indexes.source_index, env)
        if indexes.links:
            page = scratch / "links.html"
            page.write_text(links_page(indexes.links), "utf-8")
            env["UV_FIND_LINKS"] = ",".join(filter(None, (env.get("UV_FIND_LINKS"), page.as_uri())))
        given = "\n".join((*indexes.lines(), *query.lines)) + "\n"
        # uv's cache would keep the query of a URL, which may be a signature.
        command += ["--no-cache"] if _WITH_QUERY.search(given) else []
        for name in query.upgrade:
            command += ["--upgrade-package", name]
        command += ["--upgrade"] if query.upgrade_all else []
        command += [] if query.deps else ["--no-deps"]
        command += ["--prerelease", "allow"] if query.pre else []
        try:
            run = process.run(command, given=given, env=env, cwd=folder)
        except OSError as error:
            raise ToolError(f"uv could not be started: {error}") from error
        if run.returncode != 0:
            text = _ANSI.sub("", run.stderr).replace(str(scratch), "").strip()
            raise UvError(redact(text.removeprefix("error: "), (*query.secrets, *indexes.secrets)))
        try:
            document = tomllib.loads(output.read_text("utf-8"))
            return tuple(_candidate(package, folder) for package in document.get("packages", ()))
        except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
            raise ToolError(f"uv wrote a lock that is not understood: {error!r}") from error


def _for_source_index(url: str, env: Mapping[str, str]) -> dict[str, str]:
    """Variables that put an index of this process before all others, and make uv wait as long as builds take."""
    direct = ",".join(filter(None, (env.get("NO_PROXY") or env.get("no_proxy"), "127.0.0.1")))
    return {
        "UV_INDEX": f"{url} {env.get('UV_INDEX', '')}".strip(),
        "UV_HTTP_TIMEOUT": str(_LONGEST_BUILD),
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def default_index(indexes: Indexes, folder: Path) -> str | None:
    """The URL of the index that uv asks last, wherever it is configured.

    Args:
        indexes: where to look; its own default counts first.
        folder: where uv runs.

    Returns:
        The URL, credentials included; None where uv is told to use no index.

    Raises:
        UvError, ToolError: see `compile_pins`.
    """
    if indexes.default:
        return without_name(indexes.default)
    command = [
        find_uv(),
        "pip",
        "compile",
        "-",
        "--emit-index-url",
        "--no-header",
        "--quiet",
        "--color",
        "never",
    ]
    command += ["--python", sys.executable, "--no-python-downloads"]
    with scratch_folder() as scratch:
        run = process.run(command, given="", env=indexes.environment(scratch), cwd=folder)
    if run.returncode != 0:
        raise UvError(redact(_ANSI.sub("", run.stderr).strip(), indexes.secrets))
    found = re.search(r"(?m)^--index-url (\S+)$", run.stdout)
    return found.group(1) if found else None


def _preferences(wheels: Sequence[Wheel]) -> str:
    """A lock that holds nothing but versions: uv keeps those of its output file's present content."""
    lines = ['lock-version = "1.0"', 'created-by = "builder"']
    for wheel in wheels:
        lines += [
            "[[packages]]",
            f'name = "{wheel.name}"',
            f'version = "{wheel.version}"',
            f'wheels = [{{ path = "{wheel.filename}", hashes = {{ sha256 = "{wheel.sha256}" }} }}]',
        ]
    return "\n".join(lines) + "\n"


def _candidate(package: dict[str, Any], folder: Path) -> Candidate:
    direct = "archive" in package
    entries = [package["archive"]] if direct else package.get("wheels", [])
    return Candidate(
        name=package["name"],
        version=package["version"],
        files=tuple(_file(entry, folder) for entry in entries),
        direct=direct,
    )


def _file(entry: dict[str, Any], folder: Path) -> File:
    # uv names local files by path: from its output file's folder or absolute.
    url = entry.get("url") or "file://" + quote(str(folder / entry["path"]))
    sha256 = entry.get("hashes", {}).get("sha256")
    size = entry.get("size")
    if size is None and url.startswith("file:"):
        try:
            size = local_path(url).stat().st_size
        except OSError:
            size = None
    return File(
        filename=entry.get("name") or unquote(urlsplit(url).path.rpartition("/")[2]),
        url=url,
        sha256=sha256.lower() if isinstance(sha256, str) else None,
        size=size,
    )
