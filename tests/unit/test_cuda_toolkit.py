"""The CUDA toolkit of an app that asks for it: its version, its parts, its compiler, and what an image says of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from index_server import bare_machine, make_wheel, serve
from lock_samples import SHA, TARGET, app, base, lock_file, wheel

from builder.cuda import (
    ToolkitError,
    check_toolkit,
    default_cuda,
    describe,
    hides_functions,
    host_compiler,
    nvcc_flags,
    parts_of,
    toolkit_packages,
)
from builder.cuda.redist import find_archives
from builder.errors import LockError, ResolveError
from builder.fetch import FetchError, Session
from builder.lock import LockFile, lock_digest, read_lock, write_lock
from builder.machines import find_machines
from builder.models import CudaArchive, Lock, Toolkit
from builder.question import Question
from builder.render import image_config, render
from builder.requirements import parse_requirements
from builder.resolve import Resolution, resolve
from builder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from builder.machines import Machine

ARCHIVE = CudaArchive(
    component="cuda_nvcc",
    version="12.4.131",
    path="cuda_nvcc/linux-x86_64/cuda_nvcc-linux-x86_64-12.4.131-archive.tar.xz",
    sha256=SHA,
    size=70_000_000,
)
TOOLKIT = Toolkit(version="12.4", compiler="g++", archives=(ARCHIVE,))


def machines(root: Path, *names: str) -> tuple[Machine, ...]:
    return find_machines(names, root)


@pytest.mark.parametrize(
    ("names", "cuda"),
    [
        (("GPU-H100",), "13.0"),
        (("GPU-B300",), "13.0"),
        (("GPU-GB200",), "13.0"),
        (("V100",), "12.6"),
        (("V100", "GPU-B200"), "12.8"),
        (("GPU-H100", "L"), "13.0"),
    ],
)
def test_without_a_framework_the_machines_decide(tmp_path: Path, names: tuple[str, ...], cuda: str) -> None:
    assert default_cuda(machines(tmp_path, *names)) == cuda
    check_toolkit(cuda, machines(tmp_path, *names))


@pytest.mark.parametrize(
    ("cuda", "names", "said"),
    [
        (
            "12.4",
            ("GPU-H100", "GPU-B200"),
            "makes no code for GPU-B200 .compute capability 10.0.: the first that does is 12.8",
        ),
        (
            "13.0",
            ("V100",),
            "makes no code for GPU-V100 .compute capability 7.0.: the last that does is 12.9",
        ),
        ("12.7", ("GPU-H100",), "the toolkit of CUDA 12.7 is not known; there are 12.0, .*12.9, 13.*"),
        ("11.8", ("GPU-H100",), "the toolkit of CUDA 11.8 is not known"),
    ],
)
def test_a_toolkit_that_cannot_be_is_refused_with_what_could(
    tmp_path: Path, cuda: str, names: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ToolkitError, match=said):
        check_toolkit(cuda, machines(tmp_path, *names))


def test_parts_are_of_the_frameworks_cuda() -> None:
    assert "nvidia-cuda-nvcc==13.0.*" in toolkit_packages("13.0")
    assert toolkit_packages("12.8") == ("nvidia-cuda-runtime-cu12==12.8.*",)


@pytest.mark.parametrize(
    ("cuda", "suite", "compiler"),
    [
        ("12.4", "bookworm", "g++"),
        ("12.3", "trixie", "g++-12"),
        ("12.4", "trixie", "g++-13"),
        ("12.8", "trixie", "g++"),
        ("13.0", "forky", "g++-15"),
        ("13.5", "forky", "g++"),
        ("12.4", "of-ones-own", "g++"),
    ],
)
def test_the_compiler_is_the_suites_newest_that_nvcc_takes(cuda: str, suite: str, compiler: str) -> None:
    assert host_compiler(cuda, suite) == compiler


@pytest.mark.parametrize(
    ("cuda", "glibc", "hidden"),
    [
        ("12.9", (2, 36), False),
        ("12.9", (2, 41), True),
        ("13.0", (2, 41), False),
        ("13.1", (2, 43), True),
        ("13.2", (2, 43), False),
    ],
)
def test_functions_that_the_headers_do_not_know_are_hidden(
    cuda: str, glibc: tuple[int, int], *, hidden: bool
) -> None:
    assert hides_functions(cuda, glibc) is hidden


def test_nvcc_is_told_of_an_older_compiler_and_of_headers() -> None:
    assert nvcc_flags(TOOLKIT, (2, 36)) == ""
    older = TOOLKIT.model_copy(update={"compiler": "g++-13"})
    assert nvcc_flags(older, (2, 41)) == "-I/usr/local/cuda/glibc -ccbin /usr/bin/g++-13"


def test_parts_of_cuda_are_told_from_what_is_only_called_like_them() -> None:
    runtime = wheel(
        "nvidia-cuda-runtime", filename="nvidia_cuda_runtime-1.0-py3-none-manylinux_2_17_x86_64.whl"
    )
    assert parts_of([runtime, wheel("nvidia-ml-py"), wheel("torch")]) == ("nvidia-cuda-runtime",)


def manifest(folder: Path, **changes: Any) -> Settings:
    entry = {"relative_path": ARCHIVE.path, "sha256": SHA, "md5": "0", "size": "70000000"}
    parts: dict[str, Any] = {
        name: {"version": "12.4.131", "linux-x86_64": entry}
        for name in ("cuda_cccl", "cuda_cudart", "cuda_nvcc")
    }
    (folder / "redistrib_12.4.1.json").write_text(json.dumps({"release_label": "12.4.1", **parts, **changes}))
    return Settings(mirrors={"cuda": folder.as_uri() + "/"})


def test_the_archives_are_those_of_the_manifest(tmp_path: Path) -> None:
    found = find_archives("12.4", "x86_64", manifest(tmp_path), Session())
    assert [archive.component for archive in found] == ["cuda_cccl", "cuda_cudart", "cuda_nvcc"]
    assert found[2] == ARCHIVE


def test_cuda_13_needs_no_archive_and_no_server() -> None:
    settings = Settings(mirrors={"cuda": "http://127.0.0.1:1"})
    assert find_archives("13.0", "x86_64", settings, Session()) == ()


def test_a_manifest_without_the_machines_processor_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResolveError, match=r"redistrib_12\.4\.1\.json has no linux-sbsa") as caught:
        find_archives("12.4", "aarch64", manifest(tmp_path), Session())
    assert "named by cuda in [tool.builder.mirrors]" in caught.value.hint


@pytest.mark.parametrize(
    "part",
    [
        {"version": "12", "linux-x86_64": {"relative_path": "../up.tar.xz", "sha256": SHA, "size": "1"}},
        {"version": "12", "linux-x86_64": {"relative_path": "a.tar.xz", "sha256": "short", "size": "1"}},
        {"version": "12", "linux-x86_64": {"relative_path": "a.tar.xz", "sha256": SHA, "size": "big"}},
        "none",
    ],
)
def test_what_is_no_manifest_is_not_believed(tmp_path: Path, part: object) -> None:
    with pytest.raises(ResolveError, match="is no manifest of redistributables"):
        find_archives("12.4", "x86_64", manifest(tmp_path, cuda_nvcc=part), Session())


def test_a_manifest_that_cannot_be_had_is_named_with_the_mirror_and_what_needs_none(tmp_path: Path) -> None:
    with pytest.raises(
        FetchError, match=r"list of CUDA 12\.8.s archives: .*redistrib_12\.8\.2\.json"
    ) as caught:
        find_archives("12.8", "x86_64", manifest(tmp_path), Session())
    assert "The toolkit of CUDA 13 needs none" in caught.value.hint


def with_toolkit(toolkit: Toolkit | None = TOOLKIT) -> LockFile:
    content = lock_file(wheel("alpha"))
    return LockFile(content.lock.model_copy(update={"cuda": toolkit}), content.declared)


def test_a_lock_has_the_toolkit(tmp_path: Path) -> None:
    path = tmp_path / "pylock.upscale.toml"
    for content in (with_toolkit(), with_toolkit(Toolkit(version="13.0", compiler="g++-15"))):
        write_lock(path, content)
        assert read_lock(path) == content
    assert lock_digest(with_toolkit()) != lock_digest(with_toolkit(None))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ('version = "12.4"', 'version = "new"', r"tool\.builder\.cuda\.version"),
        ('compiler = "g++"', 'compiler = "sh -c x"', r"tool\.builder\.cuda\.compiler"),
        ('path = "cuda_nvcc/', 'path = "../', r"tool\.builder\.cuda\.archives\[0\]\.path"),
    ],
)
def test_an_edited_toolkit_is_refused_with_its_place(tmp_path: Path, old: str, new: str, place: str) -> None:
    path = tmp_path / "pylock.upscale.toml"
    write_lock(path, with_toolkit())
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    with pytest.raises(LockError, match=place):
        read_lock(path)


def gpu_lock(**changes: object) -> Lock:
    return lock_file(wheel("nvidia-cuda-runtime-cu12", "12.4.127")).lock.model_copy(update=changes)


def test_compilers_find_the_toolkit_by_the_usual_variables(tmp_path: Path) -> None:
    spec = app(tmp_path, machine_types=("GPU-H100",), cuda="devel")
    config = image_config(spec, gpu_lock(cuda=TOOLKIT), "sha256:0")
    assert {"CUDA_HOME=/usr/local/cuda", "CUDA_PATH=/usr/local/cuda"} <= set(config["env"])
    assert config["env"][0].startswith("PATH=/opt/venv/bin:/usr/local/cuda/bin:")
    plain = image_config(app(tmp_path, machine_types=("GPU-H100",)), gpu_lock(), "sha256:0")
    assert not [entry for entry in plain["env"] if "/usr/local/cuda" in entry]


def test_the_expression_names_each_archive_and_each_part(tmp_path: Path) -> None:
    spec = app(tmp_path, machine_types=("GPU-H100",), cuda="devel")
    part = wheel(
        "nvidia-cuda-runtime-cu12", filename="nvidia_cuda_runtime_cu12-1.0-py3-none-manylinux_2_17_x86_64.whl"
    )
    text = render(spec, gpu_lock(cuda=TOOLKIT, wheels=(part,)), "sha256:0")
    assert f'path = "{ARCHIVE.path}"; sha256 = "{SHA}"; }})' in text
    assert 'parts = [\n      "nvidia-cuda-runtime-cu12"\n    ];' in text
    assert "cuda = {" not in render(app(tmp_path), lock_file(wheel("alpha")).lock, "sha256:0")


def test_an_app_without_cuda_may_have_the_gpu_and_asks_for_no_driver(tmp_path: Path) -> None:
    said = describe(gpu_lock(), machines(tmp_path, "GPU-H100"), "none")
    assert said == (["NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"], {})
    spec = app(tmp_path, machine_types=("GPU-H100",), cuda="none")
    assert image_config(spec, gpu_lock(), "sha256:0")["gpus"] == []


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with the parts of two releases of CUDA 13, and a framework that pins an older one's runtime."""
    bare_machine(monkeypatch, tmp_path / "home")
    served = serve(tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", served.simple)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    for version in ("13.0.48", "13.0.96", "13.2.5"):
        for requirement in toolkit_packages("13.0"):
            name = requirement.partition("==")[0]
            requires = ("nvidia-cuda-runtime", "nvidia-nvvm") if name == "nvidia-cuda-nvcc" else ()
            make_wheel(served.files, name, version, requires=requires)
    make_wheel(served.files, "framework", "1.0", requires=("nvidia-cuda-runtime==13.0.48",))
    make_wheel(served.files, "old", "1.0", requires=("nvidia-cuda-runtime-cu11",))
    make_wheel(served.files, "nvidia-cuda-runtime-cu11", "11.8.1")


def solve(root: Path, *words: str, names: tuple[str, ...] = ("GPU-B300",)) -> Resolution:
    requirements = parse_requirements(app(root, *((words,) if words else ())))
    question = Question(requirements, TARGET, Settings(), root, machines=machines(root, *names), devel=True)
    return resolve(question)


@pytest.mark.usefixtures("index")
def test_a_toolkit_changes_nothing_that_a_framework_has_pinned(tmp_path: Path) -> None:
    found = solve(tmp_path, "framework")
    versions = {one.name: one.version for one in found.wheels}
    assert found.toolkit == "13.0"
    assert versions["nvidia-cuda-runtime"] == "13.0.48"
    assert versions["nvidia-cuda-nvcc"] == "13.0.96"


@pytest.mark.usefixtures("index")
def test_a_toolkit_is_there_without_any_requirement(tmp_path: Path) -> None:
    found = solve(tmp_path)
    assert {one.name for one in found.wheels} == {one.partition("==")[0] for one in toolkit_packages("13.0")}
    assert {one.version for one in found.wheels} == {"13.0.96"}


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("old",), 'cuda = "devel": the toolkit of CUDA 11.8 is not known'),
        (
            ("framework", "nvidia-cuda-nvcc==13.2.5"),
            'cuda = "devel": CUDA 13.0: the requirements have no solution',
        ),
    ],
)
def test_packages_that_exclude_a_toolkit_are_told(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ResolveError) as caught:
        solve(tmp_path, *words)
    assert said in str(caught.value)


def test_a_base_that_is_no_debian_of_ours_has_its_own_compiler() -> None:
    assert host_compiler("12.4", base().suite) == "g++"
