"""Takes the build of PyTorch that an app's machines can run, where the app does not say which itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from packaging.version import Version

from builder import cuda
from builder.errors import ResolveError
from builder.explain import ConflictError
from builder.fetch import FetchError
from builder.settings import pytorch_mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from builder.machines import Machine
    from builder.models import Lock
    from builder.question import Question
    from builder.requirements import Step
    from builder.uvtool import Candidate

    # Asks for versions, given more constraints and the index that PyTorch's packages are taken from.
    Ask = Callable[[tuple[str, ...], str | None], tuple[Candidate, ...]]


def choose_torch(
    ask: Ask,
    question: Question,
    step: Step,
    place: str,
    note: Callable[[str], None],
    *,
    kept: str | None = None,
    earlier: str | None = None,
) -> tuple[Candidate, ...]:
    """Ask for versions, and again with PyTorch's own index where another build than the one found is to be taken.

    What the app itself says counts: an index or find-links in the step, a URL, a local version (`+cu128`). So does a
    file of this machine, which somebody has put there. It is checked, and not replaced.

    Args:
        ask: asks uv.
        question: what is resolved, with the app's machines.
        step: the step.
        place: what an error begins with.
        note: told what the user should know.
        kept: the version of torch that an earlier lock has, which stays where it fits.
        earlier: the version that an earlier step has chosen.

    Returns:
        uv's choice.

    Raises:
        ResolveError: no build of a release that the requirements allow runs on all machines.
        FetchError: PyTorch's index does not give what it should. Where nobody answers there, and the lock has nothing
            from there yet, the default index's build is taken if it runs on the machines.
    """
    found = ask((), None)
    torch = _torch(found)
    if torch is None or torch.version == earlier or not question.machines:
        return found
    if kept is not None and Version(kept).public != Version(torch.version).public:
        # The build that the lock has is on an index that was not asked; its release is on this one too.
        with contextlib.suppress(ConflictError):
            found = ask((f"torch=={Version(kept).public}",), None)
            torch = _torch(found) or torch
    if _is_own(torch, step):
        _check(torch, question.machines, place, note)
        return found
    constraints: tuple[str, ...] = ()
    try:
        build = cuda.choose_build(question.machines, torch.version)
    except cuda.NoBuildError as error:
        torch, constraints = _older(ask, question.machines, place, error)
        build = cuda.choose_build(question.machines, torch.version)
    if build is None:
        note(
            f"nothing is known here of torch {torch.version}: it is taken as it is, whatever its CUDA runs on"
        )
        return found
    if build.is_default and question.target.architecture == "x86_64":
        return ask(constraints, None) if constraints else found
    index = cuda.index_of(build.backend, pytorch_mirror(question.settings))
    try:
        return ask((f"torch=={Version(torch.version).public}",), index)
    except FetchError as error:
        default = cuda.default_build(torch.version)
        if not error.is_unreachable or (kept and Version(kept).local) or not _does(default, torch, question):
            raise
        instead = f"which has {default}, and not {build.backend}"
        note(f"{error}; torch {torch.version} is taken from the default index, {instead}")
        return ask(constraints, None) if constraints else found


def _does(build: str | None, torch: Candidate, question: Question) -> bool:
    """Whether the default index's build runs on all machines, though another would be better."""
    gpus = [machine for machine in question.machines if machine.capability]
    return (
        build is not None
        and question.target.architecture == "x86_64"
        and all(cuda.runs_on(build, torch.version, gpu) for gpu in gpus)
    )


def _older(
    ask: Ask, machines: Sequence[Machine], place: str, error: cuda.NoBuildError
) -> tuple[Candidate, tuple[str, ...]]:
    """The newest release that the requirements allow and that has a build for the machines."""
    fitting = cuda.fitting_releases(machines)
    does = f"Releases that do: {_spans(fitting)}." if fitting else "No release does."
    refused = ResolveError(f"{place}{error}", hint=f"{does} Ask for one of them, or for other machine types.")
    known = cuda.releases()
    excluded = [f"torch!={release}.*" for release in known if release not in fitting]
    newest = Version(known[-1])
    constraints = (*excluded, f"torch<{newest.major}.{newest.minor + 1}")
    try:
        torch = _torch(ask(constraints, None))
    except ConflictError:
        torch = None
    if torch is None:
        raise refused from error
    return torch, constraints


def _torch(candidates: Sequence[Candidate]) -> Candidate | None:
    return next((candidate for candidate in candidates if candidate.name == "torch"), None)


def _is_own(torch: Candidate, step: Step) -> bool:
    return bool(
        torch.direct
        or Version(torch.version).local
        or step.urls
        or any(file.url.startswith("file:") for file in torch.files)
    )


def _check(torch: Candidate, machines: Sequence[Machine], place: str, note: Callable[[str], None]) -> None:
    """See that a build that the app has chosen itself runs on its machines, as far as its version tells."""
    local = Version(torch.version).local or ""
    gpus = [machine for machine in machines if machine.capability]
    if gpus and local == "cpu":
        note(f"torch {torch.version} is a build without CUDA, and {gpus[0].name} has a GPU")
    if cuda.cuda_of(local) is None:
        return
    for gpu in gpus:
        if not cuda.runs_on(local, torch.version, gpu):
            fitting = cuda.fitting_releases(machines)
            raise ResolveError(
                f"{place}torch {torch.version} has no kernels for {gpu.name} (compute capability {gpu.capability})",
                hint="Leave the build (+cu...) and its index out: the one that fits is then chosen. Releases that have "
                f"one: {_spans(fitting)}.",
            )


def check_locked(lock: Lock, machines: Sequence[Machine]) -> None:
    """See that a locked PyTorch runs on an app's machines, as far as its CUDA tells; its kernels tell when it is built.

    Raises:
        ResolveError: it has none for a machine.
    """
    torch = next((package for package in lock.packages if package.name == "torch"), None)
    version = cuda.locked_cuda(lock)
    if torch is None or version is None:
        return
    build = f"cu{version.replace('.', '')}"
    for machine in machines:
        if machine.capability and not cuda.runs_on(build, torch.version, machine):
            fitting = cuda.fitting_releases(machines)
            does = (
                f"Releases that have builds for all: {_spans(fitting)}."
                if fitting
                else "No release has one for all."
            )
            raise ResolveError(
                f"torch {torch.version} with CUDA {version} has no kernels for {machine.name} (compute capability "
                f"{machine.capability})",
                hint=f"{does} Where the app or this machine's pip configuration names files of torch, name others, or "
                "none: the build that fits is then chosen.",
            )


def _spans(releases: Sequence[str]) -> str:
    """Releases in words: "2.7 to 2.14"."""
    known = cuda.releases()
    spans: list[list[str]] = []
    for release in releases:
        if spans and known.index(release) == known.index(spans[-1][-1]) + 1:
            spans[-1].append(release)
        else:
            spans.append([release])
    return ", ".join(span[0] if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans)
