from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_server import Index, bare_machine, make_wheel, serve, sha256
from lock_samples import SHA, TARGET, app, wheel

from builder.errors import ResolveError, ToolError
from builder.requirements import parse_requirements, parse_runtime
from builder.resolve import Keep, Question, Resolution, choose, resolve
from builder.settings import Settings
from builder.uvtool import Candidate, File

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """An index that is the machine's default one, with a few packages."""
    bare_machine(monkeypatch, tmp_path / "home")
    index = serve(tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.simple)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    for name, version, requires in (
        ("alpha", "1.0", ("beta",)),
        ("alpha", "2.0", ("beta>=2",)),
        ("beta", "1.0", ()),
        ("beta", "2.0", ()),
        ("beta", "3.0", ()),
    ):
        make_wheel(index.files, name, version, requires=requires)
    return index


def run(
    root: Path, *steps: tuple[str, ...], keep: Keep | None = None, runtime: tuple[str, ...] = ()
) -> Resolution:
    requirements = parse_requirements(app(root, *steps))
    return resolve(Question(requirements, TARGET, Settings(), root, parse_runtime(runtime)), keep)


def versions(resolution: Resolution) -> dict[str, str]:
    return {wheel.name: wheel.version for wheel in resolution.wheels}


def test_each_package_gets_one_wheel_with_its_hash_and_place(index: Index, tmp_path: Path) -> None:
    found = run(tmp_path, ("alpha",))
    assert [wheel.name for wheel in found.wheels] == ["alpha", "beta"]
    (alpha, _) = found.wheels
    assert alpha.filename == "alpha-2.0-py3-none-any.whl"
    assert alpha.sha256 == sha256(index.files / alpha.filename)
    assert alpha.url == f"{index.root}/files/{alpha.filename}"
    assert not alpha.direct


def test_nothing_asked_for_needs_no_index(tmp_path: Path) -> None:
    assert run(tmp_path) == Resolution(())


def test_the_hosts_platform_and_python_decide_nothing(index: Index, tmp_path: Path) -> None:
    make_wheel(
        index.files,
        "gamma",
        "1.0",
        tags="cp311-cp311-manylinux_2_36_x86_64",
        requires=('beta==1.0; python_full_version=="3.11.2"',),
    )
    make_wheel(index.files, "gamma", "1.0", tags="cp311-cp311-manylinux_2_17_x86_64")
    make_wheel(index.files, "gamma", "1.0", tags="cp311-cp311-manylinux_2_37_x86_64")
    make_wheel(index.files, "gamma", "1.0", tags="py3-none-any")
    found = run(tmp_path, ("gamma", "beta==2.0; platform_machine=='aarch64'"))
    assert versions(found) == {"beta": "1.0", "gamma": "1.0"}
    assert found.wheels[1].filename == "gamma-1.0-cp311-cp311-manylinux_2_36_x86_64.whl"


def test_pins_stay_where_they_fit(index: Index, tmp_path: Path) -> None:
    old = run(tmp_path, ("alpha==1.0", "beta==2.0"))
    kept = run(tmp_path, ("alpha",), keep=Keep(old.wheels))
    assert kept == old
    assert versions(run(tmp_path, ("alpha>=2",), keep=Keep(old.wheels))) == {"alpha": "2.0", "beta": "2.0"}


def test_an_upgrade_of_one_package_leaves_the_others(index: Index, tmp_path: Path) -> None:
    old = run(tmp_path, ("alpha==1.0", "beta==2.0"))
    assert versions(run(tmp_path, ("alpha",), keep=Keep(old.wheels, ("beta",)))) == {
        "alpha": "1.0",
        "beta": "3.0",
    }
    everything = run(tmp_path, ("alpha",), keep=Keep(old.wheels, upgrade_all=True))
    assert versions(everything) == {"alpha": "2.0", "beta": "3.0"}


def test_a_pinned_file_stays_when_a_better_one_of_its_version_appears(index: Index, tmp_path: Path) -> None:
    old = run(tmp_path, ("beta==1.0",))
    make_wheel(index.files, "beta", "1.0", tags="cp311-cp311-manylinux_2_17_x86_64")
    assert run(tmp_path, ("beta==1.0",), keep=Keep(old.wheels)) == old
    (new,) = run(tmp_path, ("beta==1.0",), keep=Keep(old.wheels, ("beta",))).wheels
    assert new.filename == "beta-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"


def test_a_kept_pin_keeps_its_url_whichever_mirror_answers(index: Index, tmp_path: Path) -> None:
    (old,) = run(tmp_path, ("beta==1.0",)).wheels
    elsewhere = old.model_copy(update={"url": "https://files.example.org/" + old.filename, "size": 7})
    assert run(tmp_path, ("beta",), keep=Keep((elsewhere,))).wheels == (elsewhere,)


def test_steps_without_options_are_solved_together(index: Index, tmp_path: Path) -> None:
    found = run(tmp_path, ("beta",), ("alpha==1.0", "beta<3"))
    assert versions(found) == {"alpha": "1.0", "beta": "2.0"}
    assert found.notes == ()


def test_steps_that_contradict_are_solved_in_order_and_say_what_they_replace(
    index: Index, tmp_path: Path
) -> None:
    found = run(tmp_path, ("alpha==2.0", "beta==2.0"), ("beta==3.0",))
    assert versions(found) == {"alpha": "2.0", "beta": "3.0"}
    assert found.notes == ("step 2 replaces beta 2.0 by 3.0",)


def test_a_later_step_keeps_what_an_earlier_one_took_from_another_index(index: Index, tmp_path: Path) -> None:
    other = serve(tmp_path / "other")
    make_wheel(other.files, "beta", "2.0+cu129")
    found = run(tmp_path, ("--index-url", other.simple, "beta"), ("alpha",))
    assert versions(found) == {"alpha": "2.0", "beta": "2.0+cu129"}
    assert found.wheels[1].url == f"{other.root}/files/beta-2.0%2Bcu129-py3-none-any.whl"
    assert found.notes == ()


def test_what_this_program_adds_changes_nothing_that_the_app_names(index: Index, tmp_path: Path) -> None:
    other = serve(tmp_path / "other")
    make_wheel(other.files, "beta", "1.0")
    step = ("--index-url", other.simple, "beta")
    assert versions(run(tmp_path, step, runtime=("alpha",))) == {"alpha": "1.0", "beta": "1.0"}


def test_an_extra_index_is_asked_first_and_its_name_is_not_looked_up_elsewhere(
    index: Index, tmp_path: Path
) -> None:
    other = serve(tmp_path / "other")
    make_wheel(other.files, "beta", "0.5")
    assert versions(run(tmp_path, ("--extra-index-url", other.simple, "beta"))) == {"beta": "0.5"}


def test_find_links_folders_and_prereleases_are_heeded(index: Index, tmp_path: Path) -> None:
    make_wheel(tmp_path / "my, wheels", "beta", "4.0rc1")
    assert versions(run(tmp_path, ("--find-links", "my, wheels", "beta"))) == {"beta": "3.0"}
    found = run(tmp_path, ("--find-links", "my, wheels", "--pre", "beta"))
    assert versions(found) == {"beta": "4.0rc1"}
    (beta,) = found.wheels
    assert beta.url is not None
    assert beta.url.startswith("file://")
    assert beta.size == (tmp_path / "my, wheels" / beta.filename).stat().st_size


def test_a_local_folder_of_one_platforms_files_hides_nothing_of_the_index(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = tmp_path / "local"
    for name, tags in (("beta", "cp312-cp312-win_amd64"), ("alpha", "py3-none-any")):
        path = make_wheel(local / "files", name, "9.0" if name == "alpha" else "3.0", tags=tags)
        (local / "simple" / name).mkdir(parents=True)
        (local / "simple" / name / "index.html").write_text(
            f'<a href="../../files/{path.name}">{path.name}</a>'
        )
    monkeypatch.setenv("UV_INDEX", (local / "simple").as_uri())
    found = run(tmp_path, ("alpha", "beta"))
    assert versions(found) == {"alpha": "9.0", "beta": "3.0"}
    assert [(wheel.url or "").partition("://")[0] for wheel in found.wheels] == ["file", "http"]


def test_of_one_file_here_and_on_the_index_the_lock_names_the_index(index: Index, tmp_path: Path) -> None:
    (beta,) = run(tmp_path, ("--find-links", str(index.files), "beta")).wheels
    assert beta.url == f"{index.root}/files/{beta.filename}"


def test_an_index_with_a_login_is_used_and_the_login_goes_nowhere(index: Index, tmp_path: Path) -> None:
    private = serve(tmp_path / "private")
    private.user, private.password = "me", "can@ry"
    make_wheel(private.files, "delta", "1.0", requires=("beta",))
    found = run(tmp_path, ("--extra-index-url", private.with_login("/simple"), "delta"), ("alpha",))
    assert versions(found) == {"alpha": "2.0", "beta": "3.0", "delta": "1.0"}
    assert "can" + "@ry" not in repr(found)
    assert "can%40ry" not in repr(found)
    assert found.wheels[2].url == f"{private.root}/files/delta-1.0-py3-none-any.whl"


def test_a_wheel_named_by_url_is_marked_and_stripped_of_its_signature(index: Index, tmp_path: Path) -> None:
    url = f"{index.root}/files/beta-1.0-py3-none-any.whl"
    (beta,) = run(tmp_path, (url + "?X-Signature=canary",)).wheels
    assert beta.direct
    assert beta.url == url
    assert beta.sha256 == sha256(index.files / beta.filename)


def test_a_wheel_named_by_path_is_hashed(index: Index, tmp_path: Path) -> None:
    path = make_wheel(tmp_path, "zeta", "1.0", requires=("beta",))
    found = run(tmp_path, ("./zeta-1.0-py3-none-any.whl",))
    assert versions(found) == {"beta": "3.0", "zeta": "1.0"}
    assert found.wheels[1].sha256 == sha256(path)
    assert found.wheels[1].direct


def test_an_index_without_hashes_is_made_up_for(index: Index, tmp_path: Path) -> None:
    index.hashes = False
    (beta,) = run(tmp_path, ("beta==1.0",)).wheels
    assert beta.sha256 == sha256(index.files / beta.filename)


@pytest.mark.parametrize("columns", [None, "20"])
def test_versions_in_conflict_are_explained_in_uvs_words(
    index: Index, tmp_path: Path, columns: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(ResolveError) as caught:
        run(tmp_path, ("alpha==2.0", "beta<2"))
    text = str(caught.value)
    assert "no solution for Python 3.11 on linux x86_64 (Debian bookworm, glibc 2.36)" in text
    assert "you require beta>=2.\nAnd because you require beta<2" in text
    assert "\x1b" not in text
    assert "Loosen" in caught.value.hint


def test_a_package_that_does_not_exist_is_named(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ResolveError, match="no-such-thing was not found") as caught:
        run(tmp_path, ("no-such-thing",))
    assert "--extra-index-url" in caught.value.hint


def test_a_package_without_a_fitting_wheel_is_named_with_the_wheels_it_has(
    index: Index, tmp_path: Path
) -> None:
    make_wheel(index.files, "gamma", "1.0", tags="cp310-cp310-manylinux_2_17_x86_64")
    make_wheel(index.files, "gamma", "1.0", tags="cp310-cp310-win_amd64")
    with pytest.raises(ResolveError) as caught:
        run(tmp_path, ("gamma==1.0",))
    assert "gamma 1.0 has these wheels: gamma-1.0-cp310-cp310-manylinux_2_17_x86_64.whl" in str(caught.value)
    assert "Python 3.11 on linux x86_64" in str(caught.value)
    assert "python_version" in caught.value.hint


def test_an_index_that_cannot_be_reached_is_told_without_its_login(index: Index, tmp_path: Path) -> None:
    with pytest.raises(ResolveError) as caught:
        run(tmp_path, ("--index-url", "http://me:canary@127.0.0.1:1/simple", "beta"))
    assert "127.0.0.1:1/simple" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_no_file_of_the_candidate_fitting_is_an_error_that_lists_them() -> None:
    files = (
        File("x-1-cp312-cp312-win32.whl", "https://h.example/x", SHA),
        File("not a wheel", "https://h.example/y", SHA),
    )
    with pytest.raises(ResolveError, match=r"x 1 has no wheel for Python 3\.11.*x-1-cp312-cp312-win32\.whl"):
        choose(Candidate("x", "1", files), TARGET)


def test_a_kept_wheel_that_no_longer_fits_is_not_chosen() -> None:
    files = (
        File("x-1-cp312-cp312-win32.whl", "https://h.example/x", SHA),
        File("x-1-py3-none-any.whl", "https://h.example/y", "1" * 64),
    )
    assert choose(Candidate("x", "1", files), TARGET, wheel("x")).filename == "x-1-py3-none-any.whl"


def test_a_missing_uv_is_said_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("uv.find_uv_bin", none)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="uv is missing") as caught:
        run(tmp_path, ("beta",))
    assert "pip install uv" in caught.value.hint
