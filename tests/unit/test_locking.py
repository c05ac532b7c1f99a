from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_server import Index, bare_machine, make_wheel, serve
from lock_samples import app, base

from builder.errors import DeclarationError, LockError, ResolveError
from builder.lock import read_lock
from builder.locking import Locked, ensure_lock
from builder.models import Addition
from builder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from builder.models import AppSpec, Base


@pytest.fixture
def bases(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """Debian's part, made up; the list is of the calls."""
    calls: list[dict[str, object]] = []

    def resolve_base(python: str, **arguments: object) -> Base:
        calls.append({"python": python, **arguments})
        return base(python)

    monkeypatch.setattr("builder.debian.resolve_base", resolve_base)
    return calls


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bases: list[dict[str, object]]) -> Index:
    bare_machine(monkeypatch, tmp_path / "home")
    index = serve(tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    for name, version in (
        ("alpha", "1.0"),
        ("alpha", "2.0"),
        ("beta", "1.0"),
        ("fastapi", "1.0"),
        ("uvicorn", "1.0"),
        ("fal", "1.0"),
    ):
        make_wheel(index.files, name, version)
    (tmp_path / "app").mkdir()
    return index


def lock(spec: AppSpec, settings: Settings | None = None, **more: object) -> Locked:
    return ensure_lock(spec, settings or Settings(), cache=spec.root / "cache", **more)  # type: ignore[arg-type]


def of(root: Path, *words: str, **more: object) -> AppSpec:
    return app(root / "app", words, **more)


def pins(locked: Locked) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in locked.lock.wheels}


def test_a_lock_is_written_once_and_then_taken_as_it_is_without_a_network(
    index: Index, tmp_path: Path
) -> None:
    spec = of(tmp_path, "alpha", "beta")
    first = lock(spec)
    assert first.changed
    assert pins(first) == {"alpha": "2.0", "beta": "1.0"}
    index.seen.clear()
    second = lock(spec)
    assert (second.lock, second.path, second.changed) == (first.lock, first.path, False)
    assert index.seen == []


def test_a_changed_declaration_keeps_the_pins_that_fit(
    index: Index, tmp_path: Path, bases: list[dict[str, object]]
) -> None:
    lock(of(tmp_path, "alpha==1.0"))
    changed = lock(of(tmp_path, "alpha", "beta"))
    assert changed.changed
    assert pins(changed) == {"alpha": "1.0", "beta": "1.0"}
    assert [call["keep"] for call in bases] == [None, base()]


def test_upgrades_are_of_everything_or_of_what_is_named(
    index: Index, tmp_path: Path, bases: list[dict[str, object]]
) -> None:
    lock(of(tmp_path, "alpha==1.0"))
    spec = of(tmp_path, "alpha", "beta")
    lock(spec)
    assert not lock(spec, upgrade_packages=("beta",)).changed
    assert pins(lock(spec, upgrade_packages=("Alpha",))) == {"alpha": "2.0", "beta": "1.0"}
    assert pins(lock(spec, upgrade=True)) == {"alpha": "2.0", "beta": "1.0"}
    assert bases[-1]["keep"] is None
    with pytest.raises(LockError, match="has no package gamma"):
        lock(spec, upgrade_packages=("gamma",))


def test_frozen_takes_what_fits_and_refuses_the_rest_with_what_changed(index: Index, tmp_path: Path) -> None:
    spec = of(tmp_path, "alpha==1.0")
    with pytest.raises(LockError, match=r"there is no lock .*--frozen"):
        lock(spec, frozen=True)
    lock(spec)
    assert not lock(spec, frozen=True).changed
    before = lock(spec).path.read_bytes()
    with pytest.raises(LockError) as caught:
        lock(of(tmp_path, "alpha==2.0", python="3.13"), frozen=True)
    text = str(caught.value)
    assert (
        "out of date: Python was 3.11, is 3.13; requirement added: alpha==2.0; requirement removed: alpha==1.0"
        in text
    )
    assert "builder lock" in caught.value.hint
    with pytest.raises(LockError, match="--frozen forbids"):
        lock(spec, frozen=True, upgrade=True)
    assert lock(spec).path.read_bytes() == before


def test_a_failure_leaves_the_present_lock_as_it_is(index: Index, tmp_path: Path) -> None:
    locked = lock(of(tmp_path, "alpha"))
    before = locked.path.read_bytes()
    with pytest.raises(ResolveError):
        lock(of(tmp_path, "alpha", "no-such-thing"))
    assert locked.path.read_bytes() == before
    assert [p.name for p in locked.path.parent.iterdir()] == [locked.path.name]


def test_a_malformed_lock_is_never_overwritten(index: Index, tmp_path: Path) -> None:
    path = lock(of(tmp_path, "alpha")).path
    path.write_text("broken")
    with pytest.raises(LockError, match="not valid TOML"):
        lock(of(tmp_path, "beta"))
    assert path.read_text() == "broken"


def test_the_python_comes_from_the_command_the_app_the_settings_the_lock_or_this_machine(
    index: Index, tmp_path: Path
) -> None:
    settings = Settings(python="3.13")
    assert lock(of(tmp_path, local_python="3.9")).lock.python == "3.9"
    assert lock(of(tmp_path, local_python="3.12")).lock.python == "3.9"
    assert lock(of(tmp_path), settings).lock.python == "3.13"
    assert lock(of(tmp_path, python="3.14"), settings).lock.python == "3.14"
    assert lock(of(tmp_path, python="3.14"), settings, python="3.11").lock.python == "3.11"


def test_the_architecture_comes_from_the_command_or_the_machine_type(index: Index, tmp_path: Path) -> None:
    assert lock(of(tmp_path)).lock.architecture == "x86_64"
    assert lock(of(tmp_path), architecture="aarch64").lock.architecture == "aarch64"
    hopper = of(tmp_path, machine_types=("GPU-GH200",), architecture="aarch64")
    assert lock(hopper, architecture="x86_64").lock.architecture == "x86_64"
    assert lock(hopper).lock.architecture == "aarch64"


def test_a_lock_for_another_platform_is_a_file_of_its_own_and_begins_with_the_same_pins(
    index: Index, tmp_path: Path
) -> None:
    own = lock(of(tmp_path, "alpha<2"))
    lock(of(tmp_path, "alpha"))
    other = lock(of(tmp_path, "alpha"), architecture="aarch64")
    assert own.path.name == "pylock.upscale.toml"
    assert other.path.name == "pylock.upscale-aarch64.toml"
    assert pins(other) == pins(own)
    assert "--platform linux/arm64 --upgrade " in other.path.read_text()
    assert "--platform" not in own.path.read_text()
    assert not lock(of(tmp_path, "alpha")).changed
    assert not lock(of(tmp_path, "alpha"), architecture="aarch64").changed
    assert lock(of(tmp_path, "alpha"), architecture="x86_64").path == own.path


def test_a_server_joins_an_app_with_endpoints_and_the_sdk_a_fal_app(index: Index, tmp_path: Path) -> None:
    assert pins(lock(of(tmp_path, "alpha", endpoints=True))) == {
        "alpha": "2.0",
        "fastapi": "1.0",
        "uvicorn": "1.0",
    }
    assert pins(lock(of(tmp_path, "alpha", kind="fal"))) == {"alpha": "2.0", "fal": "1.0"}
    assert pins(lock(of(tmp_path, "alpha", endpoints=True), runtime=("beta",))) == {
        "alpha": "2.0",
        "beta": "1.0",
    }


def test_a_lock_becomes_portable_without_a_network_and_back_with_one(index: Index, tmp_path: Path) -> None:
    spec = of(tmp_path, "alpha")
    with_urls = lock(spec)
    index.seen.clear()
    portable = lock(spec, Settings(portable=True))
    assert portable.changed
    assert index.seen == []
    assert index.root not in portable.path.read_text()
    assert portable.lock.wheels[0].url is None
    assert not lock(spec, Settings(portable=False), frozen=True).changed
    back = lock(spec)
    assert back.lock == with_urls.lock


def test_a_present_lock_needs_no_secret(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = of(tmp_path, "--find-links", "http://me:${MY_TOKEN}@127.0.0.1:1/page", "alpha")
    with pytest.raises(DeclarationError, match="MY_TOKEN"):
        lock(spec)
    spec = of(tmp_path, f"http://me:${{MY_TOKEN}}@127.0.0.1:{index.port}/files/alpha-1.0-py3-none-any.whl")
    monkeypatch.setenv("MY_TOKEN", "canary-value")
    locked = lock(spec)
    assert "canary" not in locked.path.read_text()
    monkeypatch.delenv("MY_TOKEN")
    assert not lock(spec, frozen=True).changed


def test_mirrors_and_suites_of_the_settings_reach_debians_part(
    index: Index, tmp_path: Path, bases: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEB_TOKEN", "secret")
    settings = Settings(
        mirrors={"debian": "https://${DEB_TOKEN}@deb.example/debian"}, suites={"3.12": "trixie"}
    )
    lock(of(tmp_path, python="3.12", system_packages=("ffmpeg",)), settings)
    (call,) = bases
    assert call["mirrors"] == {"debian": "https://secret@deb.example/debian"}
    assert call["extra_suites"] == {"3.12": "trixie"}
    assert call["system_packages"] == ("ffmpeg",)
    assert "secret" not in (tmp_path / "app/pylock.upscale.toml").read_text()


def test_the_file_says_how_to_refresh_it(index: Index, tmp_path: Path) -> None:
    locked = lock(of(tmp_path, "alpha"))
    assert "builder lock app.py::Upscale --upgrade-package NAME" in locked.path.read_text()
    assert read_lock(locked.path).lock == locked.lock


def test_torch_is_chosen_for_the_machines(index: Index, tmp_path: Path) -> None:
    make_wheel(index.files, "torch", "2.6.0")
    make_wheel(index.files, "torch", "2.8.0")
    with pytest.raises(ResolveError, match=r"torch 2.6.0 has no build with kernels for GPU-B200"):
        lock(of(tmp_path, "torch==2.6.0", machine_types=("GPU-B200",)))
    assert lock(of(tmp_path, "torch", machine_types=("GPU-B200",))).lock.wheels[-1].version == "2.8.0"


GL = Addition(kind="debian", name="libgl1", library="libGL.so.1", package="alpha")
EGL = Addition(kind="debian", name="libegl1", library="libEGL.so.1", package="beta")
CUDNN = Addition(kind="requirement", name="nvidia-cudnn-cu12==9.*", library="libcudnn.so.9", package="beta")


@pytest.fixture
def cudnn(index: Index) -> Index:
    make_wheel(index.files, "nvidia-cudnn-cu12", "9.1")
    make_wheel(index.files, "nvidia-cudnn-cu12", "10.0")
    return index


def test_additions_are_in_the_lock_and_what_they_bring_too(
    cudnn: Index, tmp_path: Path, bases: list[dict[str, object]]
) -> None:
    spec = of(tmp_path, "alpha", "beta", system_packages=("ffmpeg",))
    before = lock(spec)
    locked = lock(spec, additions=(CUDNN, GL, EGL, GL))
    assert locked.changed
    assert locked.lock.additions == (EGL, GL, CUDNN)
    assert pins(locked) == {**pins(before), "nvidia-cudnn-cu12": "9.1"}
    assert bases[-1]["system_packages"] == ("ffmpeg", "libegl1", "libgl1")
    assert bases[-1]["keep"] == before.lock.base
    assert locked.lock.fingerprint == before.lock.fingerprint
    assert read_lock(locked.path).lock == locked.lock
    cudnn.seen.clear()
    assert not lock(spec).changed
    assert not lock(spec, frozen=True).changed
    assert cudnn.seen == []


def test_debian_packages_are_added_without_choosing_anything_else_anew(
    index: Index, tmp_path: Path, bases: list[dict[str, object]]
) -> None:
    spec = of(tmp_path, "alpha", "beta")
    lock(spec)
    make_wheel(index.files, "alpha", "3.0")
    index.seen.clear()
    first = lock(spec, additions=(GL,))
    second = lock(spec, additions=(EGL,))
    assert (first.lock.additions, second.lock.additions) == ((GL,), (EGL, GL))
    assert pins(second) == {"alpha": "2.0", "beta": "1.0"}
    assert index.seen == []
    assert [call["system_packages"] for call in bases] == [(), ("libgl1",), ("libegl1", "libgl1")]


def test_additions_to_a_lock_that_is_to_lose_its_urls_are_in_it(index: Index, tmp_path: Path) -> None:
    spec = of(tmp_path, "alpha")
    lock(spec)
    locked = lock(spec, Settings(portable=True), additions=(GL,))
    assert (locked.lock.portable, locked.lock.additions) == (True, (GL,))
    assert locked.lock.wheels[0].url is None
    back = lock(spec)
    assert (back.lock.portable, back.lock.additions) == (False, (GL,))


def test_additions_stay_while_what_needs_them_does_and_go_with_it(
    cudnn: Index, tmp_path: Path, bases: list[dict[str, object]]
) -> None:
    lock(of(tmp_path, "alpha", "beta"))
    lock(of(tmp_path, "alpha", "beta"), additions=(GL, EGL, CUDNN))
    kept = lock(of(tmp_path, "alpha<2", "beta", "uvicorn"))
    assert kept.lock.additions == (EGL, GL, CUDNN)
    assert pins(kept) == {"alpha": "1.0", "beta": "1.0", "nvidia-cudnn-cu12": "9.1", "uvicorn": "1.0"}
    assert bases[-1]["system_packages"] == ("libegl1", "libgl1")
    without = lock(of(tmp_path, "alpha"))
    assert without.lock.additions == (GL,)
    assert bases[-1]["system_packages"] == ("libgl1",)
    assert lock(of(tmp_path, "uvicorn")).lock.additions == ()
    assert bases[-1]["system_packages"] == ()


def test_upgrades_keep_additions(cudnn: Index, tmp_path: Path) -> None:
    spec = of(tmp_path, "alpha", "beta")
    lock(spec, additions=(GL, CUDNN))
    make_wheel(cudnn.files, "nvidia-cudnn-cu12", "9.2")
    assert pins(lock(spec))["nvidia-cudnn-cu12"] == "9.1"
    upgraded = lock(spec, upgrade=True)
    assert upgraded.lock.additions == (GL, CUDNN)
    assert pins(upgraded)["nvidia-cudnn-cu12"] == "9.2"


def test_an_app_that_wants_no_debian_packages_loses_those_that_were_added(
    index: Index, tmp_path: Path, bases: list[dict[str, object]]
) -> None:
    lock(of(tmp_path, "alpha"), additions=(GL,))
    spec = of(tmp_path, "alpha", system_packages_auto=False)
    with pytest.raises(LockError, match="system_packages_auto was True, is False"):
        lock(spec, frozen=True)
    locked = lock(spec)
    assert locked.lock.additions == ()
    assert bases[-1]["system_packages"] == ()


def test_a_frozen_lock_takes_no_additions(index: Index, tmp_path: Path) -> None:
    spec = of(tmp_path, "alpha")
    before = lock(spec).path.read_bytes()
    with pytest.raises(LockError, match="--frozen forbids"):
        lock(spec, frozen=True, additions=(GL,))
    assert lock(spec).path.read_bytes() == before


def test_an_addition_that_cannot_be_had_leaves_the_lock_as_it_is(index: Index, tmp_path: Path) -> None:
    spec = of(tmp_path, "beta")
    before = lock(spec).path.read_bytes()
    with pytest.raises(ResolveError, match="nvidia-cudnn-cu12"):
        lock(spec, additions=(CUDNN,))
    assert lock(spec).path.read_bytes() == before


def test_the_first_lock_for_another_platform_begins_with_the_same_additions(
    index: Index, tmp_path: Path
) -> None:
    spec = of(tmp_path, "alpha")
    lock(spec, additions=(GL,))
    assert lock(spec, architecture="aarch64").lock.additions == (GL,)


def test_an_app_that_wants_no_debian_packages_keeps_its_parts_of_cuda(cudnn: Index, tmp_path: Path) -> None:
    lock(of(tmp_path, "alpha", "beta"), additions=(GL, CUDNN))
    spec = of(tmp_path, "alpha", "beta", system_packages_auto=False)
    assert lock(spec).lock.additions == (CUDNN,)
    other = CUDNN.model_copy(update={"library": "libcudnn_ops.so.9"})
    assert lock(spec, additions=(other,)).lock.additions == (CUDNN, other)


@pytest.mark.parametrize("change", [{"machine_types": ("GPU-H100",)}, {"cuda": "none"}])
def test_parts_of_cuda_go_where_the_app_is_for_other_machines(
    cudnn: Index, tmp_path: Path, change: dict[str, object]
) -> None:
    lock(of(tmp_path, "alpha", "beta"), additions=(GL, CUDNN))
    changed = lock(of(tmp_path, "alpha", "beta", **change))
    assert changed.lock.additions == (GL,)
    assert pins(changed) == {"alpha": "2.0", "beta": "1.0"}


def test_what_was_added_gives_way_to_what_the_app_asks_for(cudnn: Index, tmp_path: Path) -> None:
    lock(of(tmp_path, "alpha", "beta"), additions=(GL, CUDNN))
    changed = lock(of(tmp_path, "alpha", "beta", "nvidia-cudnn-cu12==10.0"))
    assert changed.lock.additions == (GL,)
    assert pins(changed)["nvidia-cudnn-cu12"] == "10.0"


def test_parts_of_cuda_go_from_the_lock_with_the_package_that_needs_them(
    cudnn: Index, tmp_path: Path
) -> None:
    lock(of(tmp_path, "alpha", "beta"), additions=(GL, CUDNN))
    without = lock(of(tmp_path, "alpha"))
    assert (without.lock.additions, pins(without)) == ((GL,), {"alpha": "2.0"})
