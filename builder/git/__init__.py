"""Git requirements: the files of a commit, fetched with git, the same on every machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builder.credentials import origin
from builder.errors import ResolveError
from builder.files import scratch_folder
from builder.git.mirror import Mirror, damaged
from builder.git.program import LocalError
from builder.git.remote import reaching
from builder.git.tree import place_of, submodules, write_tree
from builder.git.urls import check, is_web, joined, plain
from builder.git.versions import version_variables
from builder.redact import redact, without_userinfo
from builder.store import nar_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from builder.credentials import Credentials
    from builder.git.tree import Submodule

__all__ = ["Checkout", "checkout", "version_variables"]


@dataclass(frozen=True)
class Checkout:
    """A commit's files.

    Attributes:
        tree: the folder they are in, submodules in place, no `.git` anywhere.
        nar_sha256: hex digest of its NAR.
        commit: the full hash.
        version: what setuptools-scm would make of the repository's tags (PEP 440); None where the nearest is no
            version.
    """

    tree: Path
    nar_sha256: str
    commit: str
    version: str | None


@contextlib.contextmanager
def checkout(
    url: str,
    *,
    revision: str | None = None,
    commit: str | None = None,
    cache: Path,
    credentials: Credentials,
    cert: Path | None,
    secrets: tuple[str, ...],
    report: Callable[[str], None],
    where: str,
) -> Iterator[Checkout]:
    """Fetch a commit, and have its files in a folder while the block runs.

    The histories that have been fetched are kept in the cache folder. A commit that is there, with those of its
    submodules, needs no network.

    Args:
        url: of the repository (https, http, ssh, `user@host:path`, file or a path); may hold credentials, which count
            for submodules of the same origin too.
        revision: branch, tag, hash, short hash or ref (`refs/pull/1/head`); None for the default branch.
        commit: the full hash that the revision was resolved to before, which then counts.
        cache: this program's cache folder.
        credentials: who we are, besides what the URL says; the user's git credential helpers come after it.
        cert: file of CA certificates beside the system's, or None. `SSL_CERT_FILE` is heeded in any case.
        secrets: values that must be in no message.
        report: told what takes long, and of repeated attempts.
        where: what an error begins with: the requirement and its place.

    Raises:
        ResolveError: the repository cannot be reached, has no such commit, or is malformed.
        DeclarationError: a bearer token is in a variable that is not set.
        ToolError: git is missing.
    """
    source = _Source(cache, credentials, cert, secrets, report)
    with scratch_folder(cache / "git") as scratch:
        tree = scratch / "tree"
        tree.mkdir()
        found, version = source.place(url, revision, commit, tree, where)
        yield Checkout(tree, nar_sha256(tree), found, version)


@dataclass(frozen=True)
class _Source:
    """How repositories are fetched; see `checkout` for the attributes."""

    cache: Path
    credentials: Credentials
    cert: Path | None
    secrets: tuple[str, ...]
    report: Callable[[str], None]

    def place(
        self,
        url: str,
        revision: str | None,
        commit: str | None,
        tree: Path,
        where: str,
        within: str | None = None,
    ) -> tuple[str, str | None]:
        """Put a commit's files into an empty folder, submodules in place; return its hash and version."""
        check(url, self.secrets, where, within=within)
        mirror = Mirror.of(plain(url), self.cache)
        found = mirror.kept(revision, commit)
        if found is None:
            with reaching(
                url,
                self.credentials,
                cert=self.cert,
                secrets=self.secrets,
                report=self.report,
                named_elsewhere=within is not None and origin(url) != origin(within),
            ) as remote:
                found = mirror.obtain(remote, revision, commit, where)
        try:
            with scratch_folder(self.cache / "git") as scratch:
                write_tree(mirror, found, tree, scratch / "index")
            inner = submodules(mirror, found)
            version = mirror.version(found)
        except LocalError as error:
            raise damaged(mirror, str(error), where) from error
        # Submodules on the same host have the same credentials.
        known = replace(self, credentials=replace(self.credentials, urls=(*self.credentials.urls, url)))
        for submodule in inner:
            known._submodule(submodule, url, tree, where)
        return found, version

    def _submodule(self, submodule: Submodule, url: str, tree: Path, where: str) -> None:
        where = f"{where}: submodule {submodule.path}"
        written = submodule.url
        if not written:
            raise ResolveError(
                f"{where}: the repository's .gitmodules has no URL for it",
                hint="The repository is incomplete; git could not fetch it either.",
            )
        if written.startswith(("./", "../")):
            found = joined(plain(url), written)
            if found is None:
                raise ResolveError(
                    f"{where}: its URL {redact(written, self.secrets)!r} leads out of {plain(url)}"
                )
            written = found
        elif is_web(written) and self.credentials.authorization(without_userinfo(written)) is not None:
            # What is configured for a host counts before what a repository has in it.
            written = without_userinfo(written)
        self.place(written, None, submodule.commit, place_of(submodule, tree, where), where, within=url)
