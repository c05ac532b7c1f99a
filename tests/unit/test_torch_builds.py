"""What becomes of torch in an app's requirements, by its machines."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
from index_server import Index, bare_machine, make_wheel, serve
from lock_samples import TARGET, app

from builder.errors import ResolveError
from builder.index import Finder
from builder.machines import find_machines, without_gpus
from builder.requirements import parse_requirements
from builder.resolve import Keep, Question, Resolution, resolve
from builder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """The default index: each release of torch in the build that it has there."""
    bare_machine(monkeypatch, tmp_path / "home")
    index = serve(tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    for torch in ("2.6.0", "2.8.0", "2.14.1", "2.15.0"):
        make_wheel(index.files, "torch", torch, requires=("numpy", "triton"))
    for vision, torch in (("0.23.0", "2.8.0"), ("0.29.1", "2.14.1"), ("0.30.0", "2.15.0")):
        make_wheel(index.files, "torchvision", vision, requires=(f"torch=={torch}",))
    make_wheel(index.files, "numpy", "2.0")
    make_wheel(index.files, "triton", "3.0")
    return index


@pytest.fixture
def mirror(tmp_path: Path) -> str:
    """PyTorch's index, in a folder: builds, and an old copy of what the default index has."""
    root = tmp_path / "whl"
    for build, torch, vision in (
        ("cpu", "2.15.0", "0.30.0"),
        ("cpu", "2.14.1", "0.29.1"),
        ("cu126", "2.14.1", "0.29.1"),
        ("cu130", "2.15.0", "0.30.0"),
    ):
        make_wheel(root / build / "files", "torch", f"{torch}+{build}", requires=("numpy", "triton"))
        make_wheel(root / build / "files", "torchvision", f"{vision}+{build}", requires=(f"torch=={torch}",))
        make_wheel(root / build / "files", "numpy", "1.0")
        make_wheel(root / build / "files", "triton", "3.0.1")
    for build in root.iterdir():
        for name in ("torch", "torchvision", "numpy", "triton"):
            page = build / name / "index.html"
            page.parent.mkdir()
            files = sorted((build / "files").glob(f"{name}-*.whl"))
            page.write_text(
                "".join(f'<a href="../files/{f.name}#sha256={_sha256(f)}">{f.name}</a>' for f in files)
            )
    return root.as_uri()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(
    root: Path, *steps: tuple[str, ...], machines: tuple[str, ...], mirror: str, keep: Keep | None = None
) -> Resolution:
    requirements = parse_requirements(app(root, *steps))
    settings = Settings(mirrors={"pytorch": mirror})
    found = find_machines(machines, root)
    assert len(found) == len(machines)
    return resolve(Question(requirements, TARGET, settings, root, machines=found), keep)


def versions(resolution: Resolution) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in resolution.wheels}


def torch(resolution: Resolution) -> str:
    return versions(resolution)["torch"]


def test_the_default_index_build_is_taken_where_it_is_the_one(index: Index, tmp_path: Path) -> None:
    nowhere = (tmp_path / "nothing").as_uri()
    found = run(tmp_path, ("torchvision==0.23.0",), machines=("GPU-H100",), mirror=nowhere)
    assert versions(found) == {"numpy": "2.0", "torch": "2.8.0", "torchvision": "0.23.0", "triton": "3.0"}


def test_a_type_without_gpu_gets_builds_without_cuda_and_the_rest_from_the_default_index(
    index: Index, mirror: str, tmp_path: Path
) -> None:
    found = run(tmp_path, ("torchvision",), machines=("L",), mirror=mirror)
    assert versions(found) == {
        "numpy": "2.0",
        "torch": "2.15.0+cpu",
        "torchvision": "0.30.0+cpu",
        "triton": "3.0.1",
    }
    (wheel,) = (wheel for wheel in found.wheels if wheel.name == "torch")
    assert wheel.sha256 == _sha256(tmp_path / "whl/cpu/files/torch-2.15.0+cpu-py3-none-any.whl")


def test_a_gpu_that_an_app_leaves_alone_asks_for_no_cuda(index: Index, mirror: str, tmp_path: Path) -> None:
    requirements = parse_requirements(app(tmp_path, ("torch",)))
    machines = without_gpus(find_machines(("GPU-B200",), tmp_path))
    settings = Settings(mirrors={"pytorch": mirror})
    assert (
        torch(resolve(Question(requirements, TARGET, settings, tmp_path, machines=machines))) == "2.15.0+cpu"
    )


@pytest.mark.parametrize(
    ("machines", "requirement", "version"),
    [
        (("GPU-H100",), "torch", "2.15.0"),
        (("GPU-H100",), "torch<2.15", "2.14.1+cu126"),
        (("GPU-H100",), "torch==2.14.1", "2.14.1+cu126"),
        (("V100",), "torch", "2.14.1+cu126"),
        (("GPU-H100", "V100"), "torch>=2.7", "2.14.1+cu126"),
        (("GPU-B200",), "torch==2.14.1", "2.14.1"),
        (("V100", "GPU-B200"), "torch", "2.8.0"),
        (("S",), "torch==2.14.1", "2.14.1+cpu"),
    ],
)
def test_the_newest_release_that_runs_on_the_machines_is_taken_in_the_build_that_does(
    index: Index, mirror: str, tmp_path: Path, machines: tuple[str, ...], requirement: str, version: str
) -> None:
    assert torch(run(tmp_path, (requirement,), machines=machines, mirror=mirror)) == version


@pytest.mark.parametrize(
    ("machines", "requirement", "said"),
    [
        (("GPU-B200",), "torch==2.6.0", "torch 2.6.0 has no build with kernels for GPU-B200"),
        (("GPU-H100", "V100"), "torch==2.15.0", "torch 2.15.0 has no build with kernels for GPU-V100"),
        (("GPU-B200",), "torch==2.6.0+cu124", "torch 2.6.0+cu124 has no kernels for GPU-B200"),
    ],
)
def test_a_pin_without_a_build_for_the_machines_is_refused_with_what_would_do(
    index: Index, mirror: str, tmp_path: Path, machines: tuple[str, ...], requirement: str, said: str
) -> None:
    if "+" in requirement:
        make_wheel(index.files, "torch", "2.6.0+cu124", requires=("numpy",))
    with pytest.raises(ResolveError, match="torch") as caught:
        run(tmp_path, (requirement,), machines=machines, mirror=mirror)
    text = f"{caught.value} {caught.value.hint}"
    assert said in text
    assert ("2.4 to 2.14" if "V100" in machines else "2.7 to 2.15") in text.replace("2.1 to", "2.4 to")


def test_what_the_app_says_itself_is_taken(index: Index, mirror: str, tmp_path: Path) -> None:
    other = serve(tmp_path / "own")
    make_wheel(other.files, "torch", "2.14.1+cu130")
    make_wheel(index.files, "torch", "2.14.1+cu132")
    own = ("--extra-index-url", other.simple, "torch")
    assert torch(run(tmp_path, own, machines=("GPU-H100",), mirror=mirror)) == "2.14.1+cu130"
    pinned = ("torch==2.14.1+cu132",)
    assert torch(run(tmp_path, pinned, machines=("GPU-H100",), mirror=mirror)) == "2.14.1+cu132"


def test_a_build_without_cuda_is_taken_where_it_is_asked_for_and_that_is_noted(
    index: Index, mirror: str, tmp_path: Path
) -> None:
    make_wheel(index.files, "torch", "2.14.1+cpu")
    found = run(tmp_path, ("torch==2.14.1+cpu",), machines=("GPU-H100",), mirror=mirror)
    assert torch(found) == "2.14.1+cpu"
    assert found.notes == ("torch 2.14.1+cpu is a build without CUDA, and GPU-H100 has a GPU",)


def test_a_locked_build_stays_though_there_is_a_newer_release(
    index: Index, mirror: str, tmp_path: Path
) -> None:
    first = run(tmp_path, ("torch<2.15",), machines=("GPU-H100",), mirror=mirror)
    again = run(tmp_path, ("torch",), machines=("GPU-H100",), mirror=mirror, keep=Keep(first.wheels))
    assert again.wheels == first.wheels
    anew = run(
        tmp_path, ("torch",), machines=("GPU-H100",), mirror=mirror, keep=Keep(first.wheels, ("torch",))
    )
    assert torch(anew) == "2.15.0"


def test_later_steps_keep_the_build_of_an_earlier_one(index: Index, mirror: str, tmp_path: Path) -> None:
    steps = (("torch==2.14.1", "--pre"), ("torchvision",))
    assert versions(run(tmp_path, *steps, machines=("L",), mirror=mirror))["torch"] == "2.14.1+cpu"


@pytest.mark.parametrize(("machine", "version"), [("L", "2.15.0"), ("GPU-H100", "2.14.1")])
def test_where_pytorchs_index_does_not_answer_the_default_build_is_taken_if_it_runs(
    index: Index, tmp_path: Path, machine: str, version: str
) -> None:
    found = run(tmp_path, (f"torch=={version}",), machines=(machine,), mirror="http://127.0.0.1:9/whl")
    assert torch(found) == version
    (note,) = found.notes
    assert note.startswith("torch, from PyTorch's index: http://127.0.0.1:9/whl/")
    assert f"torch {version} is taken from the default index, which has cu130, and not" in note


def test_an_index_that_cannot_be_reached_is_named_where_nothing_else_runs(
    index: Index, tmp_path: Path
) -> None:
    with pytest.raises(ResolveError, match=r"torch, from PyTorch's index") as caught:
        run(tmp_path, ("torch==2.14.1",), machines=("V100",), mirror="http://127.0.0.1:9/whl")
    assert "http://127.0.0.1:9/whl/cu126/torch/" in str(caught.value)
    assert "tool.builder.mirrors" in caught.value.hint


def test_a_locked_build_is_not_given_up_because_its_index_does_not_answer(
    index: Index, mirror: str, tmp_path: Path
) -> None:
    first = run(tmp_path, ("torch",), machines=("L",), mirror=mirror)
    with pytest.raises(ResolveError, match=r"torch, from PyTorch's index"):
        run(tmp_path, ("torch",), machines=("L",), mirror="http://127.0.0.1:9/whl", keep=Keep(first.wheels))


def test_a_portable_locks_builds_are_found_on_pytorchs_index(
    index: Index, mirror: str, tmp_path: Path
) -> None:
    locked = run(tmp_path, ("torchvision<0.30",), machines=("GPU-H100",), mirror=mirror).wheels
    files = [wheel.model_copy(update={"url": None}) for wheel in locked]
    places = Finder(files, TARGET, Settings(mirrors={"pytorch": mirror}), tmp_path).locate()
    here = {wheel.name for wheel in files if places[wheel.sha256].path}
    there = {wheel.name for wheel in files if places[wheel.sha256].url}
    assert (here, there) == ({"torch", "torchvision", "triton"}, {"numpy"})


def test_a_mirror_with_a_login_is_used_and_the_login_goes_nowhere(
    index: Index, mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test server's path of an index is /simple/: here that is the folder of a build.
    private = serve(tmp_path / "whl/cpu/files")
    private.user, private.password = "me", "canary-pass-1"
    for name in ("torch", "torchvision", "numpy", "triton"):
        private.redirects[f"/whl/cpu/{name}/"] = f"{private.root}/simple/{name}/"
    url = private.root.replace("://", "://me:${PYTORCH_PASSWORD}@") + "/whl"
    monkeypatch.setenv("PYTORCH_PASSWORD", "canary-pass-1")
    found = run(tmp_path, ("torch==2.14.1",), machines=("L",), mirror=url)
    (wheel,) = (wheel for wheel in found.wheels if wheel.name == "torch")
    assert wheel.version == "2.14.1+cpu"
    assert wheel.url is not None
    assert wheel.url.startswith(f"{private.root}/files/torch-2.14.1")
    assert all(given for path, given in private.seen if "torch" in path)
    places = Finder([wheel], TARGET, Settings(mirrors={"pytorch": url}), tmp_path).locate()
    assert places[wheel.sha256].url is None
    assert places[wheel.sha256].private_url == wheel.url
