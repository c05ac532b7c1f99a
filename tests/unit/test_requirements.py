from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_server import make_wheel
from lock_samples import app
from requirement_samples import SHA, lines, parse, step

from builder.errors import DeclarationError
from builder.requirements import declared_url, parse_requirements, parse_runtime

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("torch==2.4.0", "torch==2.4.0"),
        ("transformers >=4.47.2, <4.52.0", "transformers<4.52.0,>=4.47.2"),
        ("Opencv_Python", "opencv-python"),
        ("diffusers[torch]==0.32.2", "diffusers[torch]==0.32.2"),
        ("triton==3.2.0; sys_platform == 'linux'", 'triton==3.2.0; sys_platform == "linux"'),
        ("torch==2.6.0+cu124", "torch==2.6.0+cu124"),
        (
            "https://host.example/w/my_package-1.0.0-cp311-cp311-linux_x86_64.whl",
            "my-package @ https://host.example/w/my_package-1.0.0-cp311-cp311-linux_x86_64.whl",
        ),
        (
            "my.package[x]@https://host.example/my_package-1.0-py3-none-any.whl",
            "my-package[x] @ https://host.example/my_package-1.0-py3-none-any.whl",
        ),
        (
            "https://h.example/t%2Bcu/scatter-2.1.2%2Bpt25-cp311-cp311-linux_x86_64.whl ; os_name=='posix'",
            'scatter @ https://h.example/t%2Bcu/scatter-2.1.2%2Bpt25-cp311-cp311-linux_x86_64.whl ; os_name == "posix"',
        ),
        (
            "x @ https://host.example/x-1.0-py3-none-any.whl; os_name=='posix'",
            'x @ https://host.example/x-1.0-py3-none-any.whl ; os_name == "posix"',
        ),
        (
            f"https://host.example/x-1.0-py3-none-any.whl#sha256={SHA}&egg=x[b,A]",
            "x[a,b] @ https://host.example/x-1.0-py3-none-any.whl",
        ),
    ],
)
def test_every_form_of_a_requirement_becomes_a_line_for_the_resolver(
    tmp_path: Path, word: str, line: str
) -> None:
    assert lines(step(tmp_path, word)) == [line]


def test_a_wheel_named_by_path_is_looked_for_in_the_context_folder(tmp_path: Path) -> None:
    path = make_wheel(tmp_path / "wheels dir", "tiny", "1.0")
    (requirement,) = step(tmp_path, "./wheels dir/tiny-1.0-py3-none-any.whl").requirements
    assert requirement.url == "file://" + str(path).replace(" ", "%20")
    assert requirement.filename == path.name
    with pytest.raises(DeclarationError, match=r"Upscale\.requirements\[0\].*does not exist"):
        parse(tmp_path, ("./absent-1.0-py3-none-any.whl",))


def test_steps_stay_apart_and_empty_ones_vanish(tmp_path: Path) -> None:
    requirements = parse(tmp_path, ("setuptools", "wheel"), (), ("numpy",))
    assert [lines(found) for found in requirements.steps] == [["setuptools", "wheel"], ["numpy"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("numpy", "numpy=1.0"), r"Upscale\.requirements\[1\] does not parse: 'numpy=1.0'"),
        (("numpy", ""), r"requirements\[1\] is empty"),
        (("numpy\nscipy",), r"requirements\[0\] holds more than one line"),
        (("x- @ https://host.example/x.whl",), r"requirements\[0\] does not parse"),
        (("numpy ; python_version < nonsense",), r"requirements\[0\] does not parse"),
        (("numpy  # the fast one",), r"requirements\[0\] does not parse"),
        (("https://host.example/x-1.0-py3-none-any.whl#sha256=12",), "what follows sha256 is no hash"),
        (("https://host.example/x-1.0-py3-none-any.whl#subdirectory=x",), "and a wheel has none"),
        (("https://host.example/x-1.0-py3-none-any.whl#egg=y",), "asks for y, but the file is a wheel of x"),
        (("https://host.example/x-1.0.whl",), "Invalid wheel filename"),
        (
            ("numpy @ https://host.example/idna-3.0-py3-none-any.whl",),
            "asks for numpy, but the file is a wheel of idna",
        ),
        (("https://host.example/a b-1-py3-none-any.whl",), "holds a space"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_place(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        parse(tmp_path, words)


def test_a_version_with_one_equals_sign_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        step(tmp_path, "numpy[x]=1.0")
    assert "name==1.2" in caught.value.hint


def test_extras_markers_and_hashes_are_told(tmp_path: Path) -> None:
    url = "https://host.example/x-1.0-py3-none-any.whl"
    found = step(tmp_path, "A[Two,one]>1 ; os_name=='x'", f"{url}#sha256={SHA.upper()} ; os_name=='x'")
    first, second = found.requirements
    assert (first.extras, first.marker, first.hashes) == (("one", "two"), 'os_name == "x"', ())
    assert (second.extras, second.marker, second.hashes) == ((), 'os_name == "x"', (f"sha256:{SHA}",))
    assert second.url == url
    assert not found.require_hashes
    assert step(tmp_path, url).canonical() != step(tmp_path, f"{url}#sha256={SHA}").canonical()


def test_a_place_has_the_step_when_there_are_several(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"Upscale\.requirements\[1\]\[0\] does not parse"):
        parse(tmp_path, ("numpy",), ("!",))


def test_variables_are_replaced_and_a_missing_one_is_named(tmp_path: Path) -> None:
    word = "https://${TOKEN}@host.example/x-1.0-py3-none-any.whl"
    requirements = parse(tmp_path, (word, "numpy==${NUMPY}"), TOKEN="canary-value", NUMPY="2.0")
    first, second = requirements.steps[0].requirements
    assert first.line == "x @ https://canary-value@host.example/x-1.0-py3-none-any.whl"
    assert first.shown == word
    assert second.shown == "numpy==2.0"
    assert requirements.secrets == ("canary-value",)
    with pytest.raises(
        DeclarationError, match=r"requirements\[0\].*variable TOKEN, which is not set"
    ) as caught:
        parse(tmp_path, (word,))
    assert "export TOKEN=" in caught.value.hint


def test_what_a_variable_names_decides_the_lock_unless_it_is_a_credential(tmp_path: Path) -> None:
    word = "https://${USER}:${TOKEN}@host.example/${FOLDER}/x-${VERSION}-py3-none-any.whl"
    env = {"USER": "me", "TOKEN": "canary", "FOLDER": "new", "VERSION": "1.0"}
    (one,) = step(tmp_path, word, **env).canonical()
    assert one == "https://${USER}:${TOKEN}@host.example/new/x-1.0-py3-none-any.whl"
    assert step(tmp_path, word, **{**env, "USER": "you", "TOKEN": "other"}).canonical() == (one,)
    assert step(tmp_path, word, **{**env, "VERSION": "2.0"}).canonical() != (one,)


def test_a_variable_may_hold_a_whole_requirement(tmp_path: Path) -> None:
    url = "https://me:canary@host.example/x-1.0-py3-none-any.whl?sig=canary2"
    requirements = parse(tmp_path, ("${WHEEL}",), WHEEL=url)
    (found,) = requirements.steps[0].requirements
    assert (found.name, found.url) == ("x", url)
    assert found.shown == "https://***@host.example/x-1.0-py3-none-any.whl?***"
    assert set(requirements.secrets) == {"canary", "canary2"}


def test_a_wheel_whose_name_has_an_unset_variable_is_an_error_in_any_case(tmp_path: Path) -> None:
    spec = app(tmp_path, ("https://host.example/x-${VERSION}-py3-none-any.whl",))
    with pytest.raises(DeclarationError, match="variable that is not set"):
        parse_requirements(spec, {}, unset_ok=True)


def test_a_variable_that_is_not_set_does_not_matter_where_nothing_is_fetched(tmp_path: Path) -> None:
    spec = app(tmp_path, ("https://${TOKEN}@host.example/x-1.0-py3-none-any.whl",))
    without = parse_requirements(spec, {}, unset_ok=True).steps[0].canonical()
    assert without == parse_requirements(spec, {"TOKEN": "canary-value"}).steps[0].canonical()
    with pytest.raises(DeclarationError, match="NUMPY"):
        parse_requirements(app(tmp_path, ("numpy==${NUMPY}",)), {}, unset_ok=True)


@pytest.mark.parametrize(
    "words",
    [
        ("--extra-index-url", "https://me:canary@host.example/simple"),
        ("-i", "https://canary@host.example/simple", "x"),
        ("https://host.example/x-1.0-py3-none-any.whl?X-Signature=canary",),
        ("https://host.example/${MY_TOKEN}/x-1.0-py3-none-any.whl",),
        ("--find-links=https://me:${MY_TOKEN}@host.example/page",),
    ],
)
def test_credentials_are_used_and_never_shown(tmp_path: Path, words: tuple[str, ...]) -> None:
    requirements = parse(tmp_path, words, MY_TOKEN="canary")
    (found,) = requirements.steps
    assert "canary" in " ".join([*found.urls, *lines(found)])
    assert "canary" not in " ".join(found.canonical()) + repr(requirements)
    assert "canary" in requirements.secrets


@pytest.mark.parametrize(
    "word",
    [
        "x y @ https://me:canary@host.example/x-1.0-py3-none-any.whl",
        "https://me:canary@host.example/x.exe",
        "git+https://canary@host.example/r.git@-x",
        "git+canary@host.example:o/r.git",
        "git+ssh://me:canary@host.example:o/r.git",
        "me:canary@host.example/x.whl",
        "x @ me:canary@host.example/x.whl",
        "https://me:can/canary@host.example/x.whl",
        "https://me:canary@host.example:port/x.whl",
        "https://me:canary@[host.example/x.whl",
        "https://me:canary@host.example/x-1.0.tar.gz#sha256=1",
        "--index-url=https://me:canary@host.example:port/",
        "--pre=https://me:canary@host.example/",
        "-r https://me:canary@host.example/requirements.txt",
        "-e https://me:canary@host.example/x-1.0.tar.gz",
        "--unknown=https://me:canary@host.example/",
        "me @ https://me:canary@host.example/x-1.0-py3-none-any.whl ; nonsense",
    ],
)
def test_an_error_about_a_url_masks_its_credentials(tmp_path: Path, word: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse(tmp_path, (word,))
    assert "canary" not in str(caught.value) + caught.value.hint
    assert "host.example" in str(caught.value)


def test_an_error_about_another_word_of_an_item_shows_no_credentials(tmp_path: Path) -> None:
    for item in ("--find-links https://me:canary@host.example/ x", "x -f 'https://me:canary@host.example/ x"):
        with pytest.raises(DeclarationError) as caught:
            parse(tmp_path, (item,))
        assert "canary" not in str(caught.value) + caught.value.hint


def test_the_order_of_requirements_does_not_matter_and_that_of_options_does(tmp_path: Path) -> None:
    one = step(tmp_path, "numpy", "Torch==1", "numpy").canonical()
    assert one == step(tmp_path, "torch==1", "numpy").canonical()
    two = ("--extra-index-url=https://a.example", "--extra-index-url=https://b.example")
    assert step(tmp_path, *two).canonical() != step(tmp_path, *two[::-1]).canonical()


def test_the_url_an_app_gives_for_a_wheel_is_found_by_its_file_name(tmp_path: Path) -> None:
    url = "https://me:canary@host.example/x-1.0%2Bcpu-py3-none-any.whl"
    assert declared_url(parse(tmp_path, (url, "numpy")), "x-1.0+cpu-py3-none-any.whl") == url
    assert declared_url(parse(tmp_path, (url,)), "y-1.0-py3-none-any.whl") is None


def test_requirements_of_this_program_are_parsed_like_any_others() -> None:
    assert [requirement.line for requirement in parse_runtime(("FastAPI", "uvicorn>=0.30"))] == [
        "fastapi",
        "uvicorn>=0.30",
    ]
