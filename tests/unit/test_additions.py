"""What is added to a lock for libraries that packages need: Debian packages, and parts of CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lock_samples import app, lock_file, wheel

from builder import additions
from builder.errors import ResolveError, ToolError
from builder.links import LinkError, Need, Report
from builder.models import Addition
from builder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from builder.models import AppSpec, Lock

GL = Addition(kind="debian", name="libgl1", library="libGL.so.1", package="opencv-python")
CPU, H100, B200, V100 = ("L",), ("GPU-H100",), ("GPU-B200",), ("GPU-V100",)
TORCH_12 = ("nvidia-cuda-runtime-cu12", "12.8.90")
TORCH_13 = ("nvidia-cuda-runtime", "13.0.48")


def need(name: str, package: str = "opencv-python", library: str = "cv2/cv2.abi3.so", **more: object) -> Need:
    return Need.model_validate(
        {"package": package, "version": "1.0", "library": library, "name": name, **more}
    )


def locked(
    *packages: tuple[str, str], machines: tuple[str, ...] = H100, added: tuple[Addition, ...] = ()
) -> Lock:
    content = lock_file(*(wheel(name, version) for name, version in packages))
    return content.lock.model_copy(update={"machine_types": machines, "additions": added})


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Debian, with two libraries; the list is of what it was asked for."""
    calls: list[dict[str, object]] = []
    known = {"libGL.so.1": "libgl1", "libEGL.so.1": "libegl1", "libcudnn.so.9": "never-this"}

    def find_packages(sonames: object, **arguments: object) -> dict[str, str]:
        wanted = list(sonames)  # type: ignore[call-overload]
        calls.append({"sonames": wanted, **arguments})
        return {soname: known[soname] for soname in wanted if soname in known}

    monkeypatch.setattr(additions, "find_packages", find_packages)
    return calls


class Finder:
    """An app, and what is found for it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = Settings()
        self.said: list[str] = []

    def spec(self, **more: object) -> AppSpec:
        return app(self.root, **more)

    def for_imports(
        self, *needs: Need, lock: Lock | None = None, frozen: bool = False, **more: object
    ) -> tuple[Addition, ...]:
        return additions.for_imports(
            LinkError("cv2 cannot be imported", needs),
            self.spec(**more),
            lock or locked(),
            self.settings,
            cache=self.root / "cache",
            frozen=frozen,
            note=lambda _: None,
        )

    def refused(self, *needs: Need, **more: object) -> str:
        """The hint of the failure, which is the one that there was."""
        with pytest.raises(LinkError, match=r"^cv2 cannot be imported$") as caught:
            self.for_imports(*needs, **more)  # type: ignore[arg-type]
        assert caught.value.needs == needs
        return caught.value.hint

    def for_parts(
        self,
        *,
        wanted: tuple[Need, ...] = (),
        optional: tuple[Need, ...] = (),
        lock: Lock | None = None,
        **more: object,
    ) -> tuple[Addition, ...]:
        return additions.for_parts(
            Report(failures=(), wanted=wanted, optional=optional, complaint=None),
            self.spec(**more),
            lock or locked(),
            self.settings,
            cache=self.root / "cache",
            note=self.said.append,
        )

    def cuda(self, *needs: Need, lock: Lock | None = None, **more: object) -> list[str]:
        found = additions.cuda_parts(needs, self.spec(**more), lock or locked())
        assert {one.kind for one in found} <= {"requirement"}
        return [one.name for one in found]


@pytest.fixture
def here(tmp_path: Path, debian: list[dict[str, object]]) -> Finder:
    return Finder(tmp_path)


def of_cuda(*names: str, package: str = "cupy", library: str = "cupy/_c.so") -> tuple[Need, ...]:
    return tuple(need(name, package, library) for name in names)


def test_the_debian_package_of_a_missing_library_is_added(here: Finder) -> None:
    assert here.for_imports(need("libGL.so.1")) == (GL,)


def test_each_package_that_needs_a_library_is_a_reason_for_it(here: Finder) -> None:
    other = need("libGL.so.1", "vtk", "vtk/a.so")
    more = need("libGL.so.1", "vtk", "vtk/b.so")
    assert here.for_imports(need("libGL.so.1"), other, more) == (
        GL,
        GL.model_copy(update={"package": "vtk"}),
    )


def test_debian_is_asked_for_the_image_s_suite_on_the_configured_mirror(
    here: Finder, debian: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEB_TOKEN", "secret")
    here.settings = Settings(
        mirrors={"debian": "https://${DEB_TOKEN}@deb.example/debian"}, suites={"3.11": "sid"}
    )
    lock = locked().model_copy(update={"architecture": "aarch64"})
    here.for_imports(need("libGL.so.1"), need("libEGL.so.1"), need("libGL.so.1", "vtk"), lock=lock)
    [call] = debian
    assert call["sonames"] == ["libGL.so.1", "libEGL.so.1"]
    assert call["mirrors"] == {"debian": "https://secret@deb.example/debian"}
    assert (call["python"], call["target"]) == ("3.11", "aarch64")
    assert (call["extra_suites"], call["cache"]) == ({"3.11": "sid"}, here.root / "cache")


def test_where_one_library_is_in_no_package_none_is_added(here: Finder) -> None:
    hint = here.refused(need("libGL.so.1"), need("libodd.so.1"), need("libno.so.2"))
    assert hint == "No package of Debian bookworm has libno.so.2, libodd.so.1."


@pytest.mark.parametrize(
    "beyond",
    [
        need("one_symbol", kind="symbol"),
        need("GLIBC_2.38", kind="version", provider="libc.so.6", reason="the image's libc.so.6 is older"),
        need("libtorch_cuda.so", reason="it was built for another build of torch"),
        need("libcudart.so.13", reason="it was built for CUDA 13; the lock has CUDA 12.8.90"),
    ],
)
def test_what_no_package_mends_is_raised_without_asking_debian(
    here: Finder, debian: list[dict[str, object]], beyond: Need
) -> None:
    assert here.refused(need("libGL.so.1"), beyond, lock=locked(TORCH_12)) == ""
    assert debian == []


def test_a_frozen_lock_gets_nothing(here: Finder) -> None:
    hint = here.refused(need("libGL.so.1"), frozen=True)
    assert "without --frozen" in hint
    assert "commit the lock" in hint


def test_an_app_that_wants_nothing_added_is_told_what_to_write(here: Finder) -> None:
    hint = here.refused(
        need("libGL.so.1"), need("libEGL.so.1"), system_packages=("ffmpeg",), system_packages_auto=False
    )
    assert hint == (
        'Debian has it: system_packages = ["ffmpeg", "libegl1", "libgl1"], '
        "or leave out system_packages_auto = False."
    )


def test_what_was_added_before_is_not_added_again_but_told(here: Finder) -> None:
    assert "libGL.so.1" in here.refused(need("libGL.so.1"), lock=locked(added=(GL,)))


def test_a_part_of_cuda_is_added_for_an_import_whatever_the_app_says_of_debian(
    here: Finder, debian: list[dict[str, object]]
) -> None:
    needs = of_cuda("libcufft.so.11")
    assert here.for_imports(*needs, lock=locked(TORCH_12), system_packages_auto=False) == (
        Addition(
            kind="requirement", name="cuda-toolkit[cufft]==12.8.*", library="libcufft.so.11", package="cupy"
        ),
    )
    assert [call["sonames"] for call in debian] == [[]]


def test_debian_is_not_asked_for_parts_of_cuda(here: Finder, debian: list[dict[str, object]]) -> None:
    assert here.refused(need("libcudnn.so.9"), lock=locked(machines=CPU)).endswith("has libcudnn.so.9.")
    assert [call["sonames"] for call in debian] == [[]]


def test_an_image_that_did_not_fail_gets_what_apps_may_import(here: Finder) -> None:
    optional = need("libEGL.so.1")
    assert here.for_parts(wanted=(need("libGL.so.1"),), optional=(optional,)) == (GL,)


def test_of_what_apps_may_import_only_libraries_can_be_added(
    here: Finder, debian: list[dict[str, object]]
) -> None:
    assert here.for_parts(wanted=(need("a_symbol", kind="symbol"), need("libodd.so.1"))) == ()
    assert [call["sonames"] for call in debian] == [["libodd.so.1"]]


def test_an_image_that_did_not_fail_gets_no_debian_package_that_the_app_does_not_want(
    here: Finder, debian: list[dict[str, object]]
) -> None:
    needs = (need("libGL.so.1"), *of_cuda("libcudart.so.12"))
    found = here.for_parts(wanted=needs, lock=locked(TORCH_12), system_packages_auto=False)
    assert [one.name for one in found] == ["cuda-toolkit[cudart]==12.8.*"]
    assert debian == []


@pytest.mark.parametrize("error", [ResolveError("no mirror answers"), ToolError("there is no gpgv")])
def test_an_image_that_did_not_fail_does_not_fail_where_debian_cannot_be_asked(
    here: Finder, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def find_packages(*_: object, **__: object) -> dict[str, str]:
        raise error

    monkeypatch.setattr(additions, "find_packages", find_packages)
    needs = (need("libGL.so.1"), *of_cuda("libcudart.so.12"))
    assert [one.kind for one in here.for_parts(wanted=needs, lock=locked(TORCH_12))] == ["requirement"]
    assert here.said == [f"Debian was not asked for what parts of packages lack: {error}"]


def test_an_image_that_did_not_fail_gets_nothing_twice(here: Finder) -> None:
    wanted = (need("libGL.so.1"), need("libEGL.so.1"))
    [added] = here.for_parts(wanted=wanted, lock=locked(added=(GL,)))
    assert added.name == "libegl1"
    assert here.for_parts(wanted=wanted, lock=locked(added=(GL, added))) == ()


def test_parts_of_cuda_are_added_for_what_no_import_loads_and_once_for_each_need(here: Finder) -> None:
    needs = of_cuda("libcudart.so.12", "libcudart.so.12", "libcublas.so.12")
    assert [
        (one.name, one.library, one.package) for one in here.for_parts(optional=needs, lock=locked(TORCH_12))
    ] == [
        ("cuda-toolkit[cudart]==12.8.*", "libcudart.so.12", "cupy"),
        ("cuda-toolkit[cublas]==12.8.*", "libcublas.so.12", "cupy"),
    ]


def test_only_images_for_gpus_get_parts_of_cuda(here: Finder) -> None:
    needs = of_cuda("libcudart.so.12")
    assert here.cuda(*needs, lock=locked(TORCH_12, machines=CPU)) == []
    assert here.cuda(*needs, lock=locked(TORCH_12, machines=(*CPU, *H100))) == [
        "cuda-toolkit[cudart]==12.8.*"
    ]


def test_an_app_that_wants_no_cuda_gets_none_of_its_parts(here: Finder) -> None:
    assert here.cuda(*of_cuda("libcudart.so.12"), lock=locked(TORCH_12), cuda="none") == []


def test_libraries_for_another_cuda_than_the_image_s_are_left_alone(here: Finder) -> None:
    needs = (
        *of_cuda("libcudart.so.11.0", library="cupy/cuda11.so"),
        *of_cuda("libcudart.so.12", "libcufft.so.11", library="cupy/cuda12.so"),
        *of_cuda("libcudart.so.13", "libcufft.so.12", library="cupy/cuda13.so"),
    )
    assert here.cuda(*needs, lock=locked(TORCH_12)) == [
        "cuda-toolkit[cudart]==12.8.*",
        "cuda-toolkit[cufft]==12.8.*",
    ]
    assert here.cuda(*needs, lock=locked(TORCH_13)) == [
        "cuda-toolkit[cudart]==13.0.*",
        "cuda-toolkit[cufft]==13.0.*",
    ]


def test_a_library_that_lacks_only_cudnn_or_nccl_is_left_alone(here: Finder) -> None:
    needs = of_cuda("libcudnn.so.9", "libnccl.so.2")
    assert here.cuda(*needs, lock=locked(TORCH_12)) == []


def test_a_library_that_lacks_the_toolkit_too_gets_cudnn(here: Finder) -> None:
    with_both = of_cuda("libcudnn.so.9", "libcublas.so.12")
    alone = of_cuda("libnccl.so.2", library="cupy/nccl.so")
    assert here.cuda(*with_both, *alone, lock=locked(TORCH_12)) == [
        "nvidia-cudnn-cu12==9.*",
        "cuda-toolkit[cublas]==12.8.*",
    ]


def test_what_nvidia_s_own_parts_lack_is_left_alone(here: Finder) -> None:
    needs = of_cuda("libcublas.so.12", package="nvidia-cudnn-cu12")
    assert here.cuda(*needs, lock=locked(TORCH_12)) == []


def test_what_is_none_of_cuda_s_is_left_to_debian(here: Finder) -> None:
    assert here.cuda(need("libGL.so.1"), lock=locked(TORCH_12)) == []


@pytest.mark.parametrize(
    ("sonames", "machines", "cuda"),
    [
        # Of both kinds as many: the older.
        (("libcudart.so.12", "libcudart.so.13"), H100, "12.6"),
        (("libcudart.so.12", "libcudart.so.13", "libcublas.so.13"), H100, "13.0"),
        (("libcusparse.so.12",), H100, "12.6"),
        (("libcudart.so.11.0", "libcudart.so.12"), H100, "12.6"),
        # Blackwell has no kernels before 12.8, Volta none after 12.
        (("libcudart.so.12",), B200, "12.9"),
        (("libcudart.so.13",), B200, "13.0"),
        (("libcudart.so.12",), V100, "12.6"),
        (("libcudart.so.13",), V100, None),
        (("libcudart.so.13", "libcublas.so.13", "libcudart.so.12"), V100, "12.6"),
        (("libcudart.so.12",), (*V100, *B200), "12.8"),
    ],
)
def test_a_lock_without_cuda_gets_the_one_that_most_ask_for_and_the_machines_run(
    here: Finder, sonames: tuple[str, ...], machines: tuple[str, ...], cuda: str | None
) -> None:
    found = here.cuda(*of_cuda(*sonames), lock=locked(machines=machines))
    assert {name.partition("==")[2] for name in found} == ({f"{cuda}.*"} if cuda else set())


def test_cuda_is_asked_for_by_libraries_of_the_toolkit_alone(here: Finder) -> None:
    assert here.cuda(*of_cuda("libcudnn.so.9")) == []


def test_an_import_that_lacks_cuda_in_a_lock_without_any_gets_it_where_there_are_gpus(here: Finder) -> None:
    lacking = need("libcudart.so.12", "cupy", reason="it was built for CUDA 12; the lock has no CUDA")
    [added] = here.for_imports(lacking)
    assert added.name == "cuda-toolkit[cudart]==12.6.*"
    assert here.refused(lacking, lock=locked(machines=CPU)) == ""
