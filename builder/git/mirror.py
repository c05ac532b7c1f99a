"""Our copies of repositories: bare, whole histories, one for each URL, shared by all apps of a user."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from builder.errors import ResolveError
from builder.files import scratch_folder
from builder.git.program import LocalError, local
from builder.git.remote import RemoteError
from builder.git.versions import described_version, untagged_version
from builder.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from builder.git.remote import Remote

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT_HASH = re.compile(r"[0-9a-f]{4,}")
_SHA256_LENGTH = 64
# git-check-ref-format
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^-|/$|\.lock$")
_TAGS = "+refs/tags/*:refs/tags/*"
_ALL = ("+refs/heads/*:refs/heads/*", _TAGS)


class _NotThereError(Exception):
    """The repository has no such commit, branch or tag; `names` are those that it has."""

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.names = names


@dataclass(frozen=True)
class Mirror:
    """Our copy of a repository.

    Attributes:
        path: where it is; it need not exist yet.
    """

    path: Path

    @classmethod
    def of(cls, url: str, cache: Path) -> Mirror:
        """The copy for a URL without credentials, in this program's cache folder."""
        name = re.sub(r"[^\w.-]", "-", url.rstrip("/").rpartition("/")[2].removesuffix(".git"))
        return cls(cache / "git" / f"{name[:40]}-{hashlib.sha256(url.encode()).hexdigest()[:16]}")

    def commit(self, revision: str) -> str | None:
        """The full hash of a commit that is here, by its hash, or by that of a tag; None when it is not here."""
        if not self.path.is_dir():
            return None
        try:
            return self.read("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").strip()
        except LocalError:
            return None

    def read(self, *words: str) -> str:
        """What git prints of it. Raises LocalError when it fails."""
        return local(self.path, *words)

    def kept(self, revision: str | None, commit: str | None) -> str | None:
        """The full hash of what is wanted, where that is certain and here without asking anyone; see `obtain`."""
        pinned = _pinned(revision, commit)
        return self.commit(pinned) if pinned else None

    def obtain(self, remote: Remote, revision: str | None, commit: str | None, where: str) -> str:
        """Make sure that a commit is here.

        A branch comes before a tag of the same name, as pip has it.

        Args:
            remote: where the repository is.
            revision: branch, tag, hash, short hash or ref (`refs/pull/1/head`); None for the default branch.
            commit: the full hash that the revision was resolved to before, which then counts.
            where: what an error begins with.

        Returns:
            its full hash.

        Raises:
            ResolveError: the repository cannot be reached, or has no such commit.
            MachineError: the disk is full.
        """
        pinned = _pinned(revision, commit)
        try:
            with self._locked(remote):
                remote.report(f"Fetching {remote.shown}")
                if pinned:
                    return self._by_hash(remote, pinned, revision)
                return self._by_name(remote, revision, where)
        except RemoteError as error:
            raise ResolveError(
                f"{where}: the git repository {remote.shown} {error.why.message}", hint=error.why.hint
            ) from error
        except LocalError as error:
            raise damaged(self, str(error), where) from error
        except _NotThereError as error:
            raise _not_there(remote, revision, commit, error.names, where) from error

    def version(self, commit: str) -> str | None:
        """The version of a commit by the tags that are here; see `builder.git.versions`."""
        try:
            described = self.read(
                "describe", "--tags", "--long", "--abbrev=40", "--match", "*[0-9]*", commit
            ).strip()
        except LocalError:
            return untagged_version(int(self.read("rev-list", "--count", commit)), commit)
        return described_version(described, commit)

    def _by_hash(self, remote: Remote, wanted: str, revision: str | None) -> str:
        # Another process may have fetched it while this one waited.
        there = self.commit(wanted)
        if there:
            return there
        self._make(wanted)
        try:
            remote.fetch(self.path, f"+{wanted}:{_own_ref(wanted)}", _TAGS)
        except RemoteError as error:
            if error.why.understood and not error.why.no_such:
                raise
            # Not every server gives a commit that no branch or tag is at.
            remote.fetch(self.path, *_ALL)
            if revision and revision.startswith("refs/") and not self.commit(wanted):
                self._fetched(remote, revision, {})
        found = self.commit(wanted)
        if not found:
            raise _NotThereError
        return found

    def _by_name(self, remote: Remote, revision: str | None, where: str) -> str:
        if revision is None or revision == "HEAD":
            return self._fetched(remote, "HEAD", remote.refs())
        if _NO_REF.search(revision):
            raise _NotThereError
        refs = remote.refs()
        if revision.startswith("refs/"):
            return self._fetched(remote, revision, refs)
        candidates = (f"refs/heads/{revision}", f"refs/tags/{revision}", f"refs/{revision}")
        name = next((name for name in candidates if name in refs), None)
        if name:
            return self._fetched(remote, name, refs)
        if _SHORT_HASH.fullmatch(revision) and refs:
            self._make(next(iter(refs.values())))
            remote.fetch(self.path, *_ALL)
            found = self._by_short_hash(revision, remote, where)
            if found:
                return found
        raise _NotThereError(_short_names(refs))

    def _fetched(self, remote: Remote, name: str, refs: dict[str, str]) -> str:
        self._make(next(iter(refs.values()), ""))
        try:
            remote.fetch(self.path, f"+{name}:{_own_ref(name)}", _TAGS)
        except RemoteError as error:
            if error.why.no_such:
                raise _NotThereError(_short_names(refs)) from error
            raise
        found = self.commit(_own_ref(name))
        if not found:
            raise _NotThereError(_short_names(refs))
        return found

    def _by_short_hash(self, revision: str, remote: Remote, where: str) -> str | None:
        candidates = self.read("rev-parse", f"--disambiguate={revision}").split()
        found = sorted({commit for name in candidates if (commit := self.commit(name))})
        if len(found) > 1:
            raise ResolveError(
                f"{where}: the short hash {revision} stands for several commits of {remote.shown}: "
                f"{', '.join(found[:5])}",
                hint="Write more of the hash.",
            )
        return found[0] if found else None

    def _make(self, some_hash: str) -> None:
        """Create it, empty, for hashes like the given one."""
        if self.path.is_dir():
            return
        with scratch_folder(self.path.parent) as scratch:
            words = ["--object-format=sha256"] if len(some_hash) == _SHA256_LENGTH else []
            local(scratch / "new", "init", "--bare", "--quiet", "--template=", *words)
            # Only its user may read it: the repository may be private.
            (scratch / "new").chmod(0o700)
            (scratch / "new").rename(self.path)

    @contextlib.contextmanager
    def _locked(self, remote: Remote) -> Iterator[None]:
        """Only one process fetches into a copy at a time. Reading needs no lock: nothing is ever removed."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remote.report(f"Waiting for another process that fetches {remote.shown}")
                fcntl.flock(file, fcntl.LOCK_EX)
            self._tidy()
            yield

    def _tidy(self) -> None:
        """Remove what a process that was killed has left behind, which git would stumble over or keep for ever."""
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for leftover in self.path.glob(pattern):
                with contextlib.suppress(OSError):
                    leftover.unlink()


def _pinned(revision: str | None, commit: str | None) -> str | None:
    """The full hash that is wanted, where one is."""
    return commit or (revision if revision and _HASH.fullmatch(revision) else None)


def damaged(mirror: Mirror, said: str, where: str) -> ResolveError:
    """The error for a copy that git cannot read."""
    return ResolveError(
        f"{where}: the copy of its git repository in {mirror.path} cannot be read: {said}",
        hint="Remove that folder and run the command again: it is fetched anew.",
    )


def _own_ref(name: str) -> str:
    """Where a ref of the server is kept here: a name that no other can stand in the way of."""
    return f"refs/fetched/{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _short_names(refs: dict[str, str]) -> tuple[str, ...]:
    return tuple(name.split("/", 2)[2] for name in refs)


def _not_there(
    remote: Remote, revision: str | None, commit: str | None, names: tuple[str, ...], where: str
) -> ResolveError:
    repository = f"the git repository {remote.shown}"
    if commit:
        asked = f" (from {redact(revision, remote.secrets)})" if revision and revision != commit else ""
        return ResolveError(
            f"{where}: {repository} does not have the commit {commit}{asked} any more",
            hint="Its branch may have been rewritten. Lock it anew: builder lock --upgrade-package NAME",
        )
    if revision is None:
        return ResolveError(f"{where}: {repository} has no default branch: it is empty, or its HEAD leads nowhere",
                            hint="Name a branch, tag or commit: git+URL@NAME")  # fmt: skip
    shown = redact(revision, remote.secrets)
    if _HASH.fullmatch(revision):
        return ResolveError(
            f"{where}: {repository} has no commit {shown}",
            hint="Check the hash: it must be on a branch or tag of this repository, not of a fork of it.",
        )
    near = difflib.get_close_matches(revision, sorted(set(names)), n=3, cutoff=0.5)
    if near:
        hint = f"Did you mean {', '.join(near)}?"
    elif names:
        few = sorted(set(names))
        hint = f"It has {', '.join(few[:8])}" + (f" and {len(few) - 8} more." if len(few) > 8 else ".")
    else:
        hint = "Name a branch, tag or commit: git+URL@NAME"
    return ResolveError(f"{where}: {repository} has no branch, tag or commit {shown!r}", hint=hint)
