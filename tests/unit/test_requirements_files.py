"""Requirements and constraints files, and what is read of them before anything is resolved."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_server import make_wheel
from lock_samples import app
from pip._internal.network.session import PipSession
from pip._internal.req.req_file import parse_requirements as pips_own
from requirement_samples import SHA, lines, only, parse, project, step

from builder.errors import DeclarationError
from builder.pip_words import file_words
from builder.requirement_files import read_files
from builder.requirements import DirectorySource, declared_url, parse_requirements

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, *text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", "utf-8")
    return path


@pytest.mark.parametrize(
    "words",
    [
        ("-r", "requirements.txt"),
        ("-rrequirements.txt",),
        ("-r requirements.txt",),
        ("--requirement", "./requirements.txt"),
        ("--requirement=requirements.txt",),
        ("-r", "file:requirements.txt"),
        ("-r", "${NAME}.txt"),
    ],
)
def test_a_requirements_file_stands_for_what_it_holds(tmp_path: Path, words: tuple[str, ...]) -> None:
    write(
        tmp_path / "requirements.txt",
        "# what the model needs",
        "",
        "torch==2.4.0  # the newest that works",
        "   diffusers[torch] >= 0.30, \\",
        "      < 0.40  \\",
        "  # a comment ends what is continued \\",
        "numpy; python_version < '3.12'",
        "--extra-index-url https://a.example/simple --pre",
        "-f 'https://b.example/a%20page'",
        "scipy",
        "https://c.example/x-1.0-py3-none-any.whl#egg=x",
    )
    found = step(tmp_path, "pillow", *words, NAME="requirements")
    assert lines(found) == [
        "pillow",
        "torch==2.4.0",
        "diffusers[torch]<0.40,>=0.30",
        'numpy; python_version < "3.12"',
        "scipy",
        "x @ https://c.example/x-1.0-py3-none-any.whl",
    ]
    assert found.extra_index_urls == ("https://a.example/simple",)
    assert found.find_links == ("https://b.example/a%20page",)
    assert found.pre
    assert re.fullmatch(
        r"Upscale\.requirements\[1\]: (\./|file:)?requirements\.txt line 3", found.requirements[1].where
    )


def test_what_a_file_holds_decides_the_lock_and_its_name_does_not(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "torch", "--pre")
    write(tmp_path / "b.txt", "--pre", "torch")
    same = step(tmp_path, "torch", "--pre").canonical()
    assert step(tmp_path, "-r", "a.txt").canonical() == step(tmp_path, "-r", "b.txt").canonical() == same
    write(tmp_path / "a.txt", "torch==2", "--pre")
    assert step(tmp_path, "-r", "a.txt").canonical() != same


def test_files_name_files_relative_to_themselves(tmp_path: Path) -> None:
    write(tmp_path / "reqs/all.txt", "-r base.txt", "-c../limits.txt", "torch")
    write(tmp_path / "reqs/base.txt", "numpy")
    write(tmp_path / "limits.txt", "numpy<2", "-c more.txt")
    write(tmp_path / "more.txt", "torch<3")
    found = step(tmp_path, "-r", "reqs/all.txt")
    assert lines(found) == ["numpy", "torch"]
    assert [constraint.line for constraint in found.constraints] == ["numpy<2", "torch<3"]
    assert [one.where for one in (*found.requirements, *found.constraints)] == [
        "Upscale.requirements[0]: reqs/all.txt line 1: reqs/base.txt line 1",
        "Upscale.requirements[0]: reqs/all.txt line 3",
        "Upscale.requirements[0]: reqs/all.txt line 2: limits.txt line 1",
        "Upscale.requirements[0]: reqs/all.txt line 2: limits.txt line 2: more.txt line 1",
    ]


def test_paths_in_a_file_are_relative_to_it_or_as_pip_has_them(tmp_path: Path) -> None:
    project(tmp_path)
    project(tmp_path / "reqs/near")
    project(tmp_path / "near")
    project(tmp_path / "far")
    (tmp_path / "reqs/wheels").mkdir()
    write(tmp_path / "reqs/base.txt", "-e .", "./near[x] ; os_name == 'posix'", "y @ ./far", "-f wheels")
    found = step(tmp_path, "-r", "reqs/base.txt")
    sources = [requirement.source for requirement in found.requirements]
    assert [source.path for source in sources if isinstance(source, DirectorySource)] == [
        tmp_path,
        tmp_path / "reqs/near",
        tmp_path / "far",
    ]
    assert [requirement.shown for requirement in found.requirements] == [
        ".",
        './reqs/near[x] ; os_name == "posix"',
        "y @ ./far",
    ]
    assert found.find_links == (f"file://{tmp_path}/reqs/wheels",)
    assert found.shown == ("--find-links=./reqs/wheels",)


def test_two_files_may_include_a_third(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.txt", "-r c.txt")
    write(tmp_path / "c.txt", "torch")
    assert step(tmp_path, "-r", "a.txt", "-r", "b.txt").canonical() == ("torch",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("numpy\n\n\nnumpy=1.0", r"requirements.txt line 4 does not parse: 'numpy=1.0'"),
        ("numpy \\\n ; nonsense", r"requirements.txt line 1 does not parse"),
        ("--unknown", r"requirements.txt line 1: the option '--unknown' is not supported"),
        ("a\n--index-url", r"requirements.txt line 2: --index-url needs a value"),
        ("a\n--index-url\nhttps://a.example", r"requirements.txt line 2: --index-url needs a value"),
        ("-f 'a", r"requirements.txt line 1 does not parse: .*No closing quotation"),
        ("-r requirements.txt", r"line 1: .*requirements.txt is read already"),
        ("-c requirements.txt", r"line 1: .*requirements.txt is read already"),
        (
            "-r other.txt",
            r"line 1: --requirement names 'other.txt', and .*other.txt cannot be read: No such file",
        ),
        ("-r .", r"line 1: --requirement names '.', and .* cannot be read: Is a directory"),
        ("-r https://a.example/x.txt", r"files are read from this machine only"),
        ("-r https://${A_TOKEN}@a.example/x.txt", r"variable A_TOKEN, which is not set"),
        (
            "numpy==${VERSION}",
            r"requirements.txt line 1: 'numpy==\$\{VERSION\}' names the .* variable VERSION",
        ),
        ("--hash=sha256:00", r"line 1: --hash=sha256:00 belongs to no requirement"),
        ("a\n-c limits.txt\n--hash=sha256:00", r"line 3: --hash=sha256:00 belongs to no requirement"),
        ("git+git@h.example:o/r.git", r"requirements.txt line 1: .* is no URL"),
        ("./absent", r"requirements.txt line 1: './absent' does not exist"),
    ],
)
def test_an_error_in_a_file_names_the_file_and_the_line(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path / "requirements.txt", content)
    write(tmp_path / "limits.txt", "a<2")
    spec = app(
        tmp_path, ("x", "-r", "requirements.txt"), requirements_place="app.py:12: Upscale.requirements"
    )
    with pytest.raises(DeclarationError, match=message) as caught:
        parse_requirements(spec, {})
    assert str(caught.value).startswith("app.py:12: Upscale.requirements[1]: requirements.txt line ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("numpy[x]<2", "the constraint 'numpy\\[x\\]<2' has extras"),
        ("-e .", "the constraint '.' names a source"),
        (".", "the constraint '.' names a source"),
        ("x @ git+https://a.example/r.git", "names a source"),
        ("x @ https://a.example/x-1.0.tar.gz", "names a source"),
        ("-r other.txt", "a constraints file names the requirements file 'other.txt'"),
        ("-c limits.txt", "is read already"),
    ],
)
def test_what_is_no_constraint_is_refused(tmp_path: Path, content: str, message: str) -> None:
    project(tmp_path)
    write(tmp_path / "limits.txt", content)
    with pytest.raises(
        DeclarationError, match=rf"^Upscale\.requirements\[0\]: limits.txt line 1: .*{message}"
    ):
        step(tmp_path, "-c", "limits.txt", "numpy")


def test_constraints_decide_the_lock_and_ask_for_nothing(tmp_path: Path) -> None:
    url = "https://me:canary@a.example/x-1.0-py3-none-any.whl"
    write(tmp_path / "limits.txt", "numpy<2 ; python_version < '3.13'", f"x @ {url}")
    requirements = parse(tmp_path, ("numpy", "--constraint=limits.txt"))
    (found,) = requirements.steps
    assert lines(found) == ["numpy"]
    assert [one.line for one in found.constraints] == ['numpy<2; python_version < "3.13"', f"x @ {url}"]
    assert found.canonical() == (
        'constraint: numpy<2; python_version < "3.13"',
        "constraint: x @ https://***@a.example/x-1.0-py3-none-any.whl",
        "numpy",
    )
    assert found.has_options
    assert declared_url(requirements, "x-1.0-py3-none-any.whl") == url
    write(tmp_path / "limits.txt", f"x @ {url}", "numpy<2 ; python_version < '3.13'")
    assert step(tmp_path, "numpy", "-c", "limits.txt").canonical() == found.canonical()


def test_hashes_of_files_count_for_all(tmp_path: Path) -> None:
    write(tmp_path / "limits.txt", f"numpy==2 --hash=sha256:{SHA}", f"torch==2 --hash=sha256:{'0' * 64}")
    found = step(tmp_path, "numpy", "-c", "limits.txt")
    assert found.require_hashes
    assert found.hashes("numpy") == (f"sha256:{SHA}",)
    assert found.hashes("torch") == (f"sha256:{'0' * 64}",)
    write(tmp_path / "requirements.txt", "numpy==2 \\", f"   --hash=sha256:{'1' * 64} \\", "   # why", "a==1")
    with pytest.raises(DeclarationError, match=r"requirements.txt line 4: 'a==1' has no hash"):
        step(tmp_path, "-r", "requirements.txt", "-c", "limits.txt")
    write(tmp_path / "requirements.txt", "numpy==2", f"  --hash=sha256:{'1' * 64}")
    found = step(tmp_path, "-r", "requirements.txt", "-c", "limits.txt")
    assert found.hashes("numpy") == (f"sha256:{'1' * 64}",)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffnumpy  # \u00e9".encode(),
        "\ufeffnumpy  # \u00e9".encode("utf-16-le"),
        "\ufeffnumpy  # \u00e9".encode("utf-16-be"),
        "\ufeffnumpy  # \u00e9".encode("utf-32-le"),
        "# -*- coding: latin-1 -*-\nnumpy # \u00e9".encode("latin-1"),
        "numpy\r\n# \u00e9\r\n".encode(),
    ],
)
def test_a_file_may_have_another_encoding_if_it_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "requirements.txt").write_bytes(content)
    assert lines(step(tmp_path, "-r", "requirements.txt")) == ["numpy"]


@pytest.mark.parametrize("content", [b"numpy # \xe9", b"# coding: nonsense\nnumpy", b"# coding: rot13\na"])
def test_a_file_that_cannot_be_decoded_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "requirements.txt").write_bytes(content)
    with pytest.raises(DeclarationError, match=r"requirements\[0\]: requirements.txt cannot be read"):
        step(tmp_path, "-r", "requirements.txt")


_names = st.from_regex(r"[a-z][a-z0-9]{0,4}", fullmatch=True)
_spaces = st.sampled_from(["", " ", "  ", "\t"])
_comments = st.sampled_from(["", " # why", "  #", "\t# a\\", " # -r x"])
_ends = st.sampled_from(["\n", "\r\n", "\n\n", "\n   \n"])
_lines = st.one_of(
    st.builds("{}{}".format, _spaces, _names),
    st.builds("{}=={}".format, _names, st.sampled_from(["1.0", "2"])),
    st.builds("{} \\\n  >=1,\\\n<2".format, _names),
    st.builds("{} \\\n # ends".format, _names),
    st.builds("{}#not-a-comment".format, st.just("https://h.example/x-1.0-py3-none-any.whl")),
    st.builds("#{}".format, _names),
    st.builds("# {} \\".format, _names),
    st.builds("{}==1 --hash=sha256:{} \\\n   --hash=sha256:{}".format, _names, st.just(SHA), st.just(SHA)),
    st.builds("{}; python_version < '3.12'".format, _names),
)


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.tuples(_lines, _comments, _ends), max_size=8))
def test_a_file_is_read_as_pip_reads_it(
    parts: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "as-pip.txt"
    path.write_bytes("".join(map("".join, parts)).encode())
    pips = [found.requirement for found in pips_own(str(path), session=PipSession())]
    ours = [word.value for word in file_words(path.read_bytes(), "x") if word.option is None]
    assert ours == [requirement.strip() for requirement in pips]


@settings(max_examples=500, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=80),
        st.lists(
            st.sampled_from(
                [
                    "-r",
                    "-c",
                    " ",
                    "\n",
                    "\\\n",
                    "--hash=",
                    "a==1",
                    "[",
                    "]",
                    ";",
                    "@",
                    "git+",
                    "https://",
                    "file:",
                    "#",
                    "'",
                    "${A}",
                    "~",
                    "/",
                    ".",
                    "--pre",
                    "=",
                    ":",
                    "x-1-py3-none-any.whl",
                    ".zip",
                    "\x00",
                    "%",
                ]
            ),
            max_size=12,
        ).map(lambda parts: "".join(parts).encode()),
    )
)
def test_whatever_is_in_a_file_the_answer_is_requirements_or_an_error_about_them(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp()
    (root / "requirements.txt").write_bytes(content)
    words = ("-r", "requirements.txt")
    files, _ = read_files([words, (content.decode("utf-8", "replace"),)], root, {})
    assert root.resolve() / "requirements.txt" in files
    for items in (words, (content.decode("utf-8", "replace"),)):
        with contextlib.suppress(DeclarationError):
            parse_requirements(app(root, items), {})


def test_the_files_that_decide_an_apps_requirements_are_told(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels", "tiny", "1.0")
    (tmp_path / "reqs").mkdir()
    (tmp_path / "a-1.0.tar.gz").touch()
    project(tmp_path / "shared")
    project(tmp_path / "reqs/near")
    write(
        tmp_path / "reqs/base.txt", "-e ./near", "-c limits.txt", "-r base.txt", "y @ ./absent", "!", "numpy"
    )
    write(tmp_path / "reqs/limits.txt", "numpy<2")
    steps = [
        ["torch", "-r", "reqs/base.txt", "./shared[x]", "x @ " + (tmp_path / "shared").as_uri()],
        ["./wheels/tiny-1.0-py3-none-any.whl ; os_name == 'x'", "--find-links", "wheels", "${A}-1.0.tar.gz"],
        ["git+https://h.example/r.git", "https://h.example/x.whl", "/absent", "", "shared/"],
    ]
    files, projects = read_files(steps, tmp_path, {"A": "a"})
    assert files == (
        tmp_path / "reqs/base.txt",
        tmp_path / "reqs/limits.txt",
        wheel,
        tmp_path / "a-1.0.tar.gz",
    )
    assert projects == (tmp_path / "reqs/near", tmp_path / "shared")


def test_what_is_told_of_malformed_words_is_what_stands_before_them(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "-r b.txt", "--unknown", "-r c.txt")
    write(tmp_path / "b.txt", "\x00", "-r")
    write(tmp_path / "c.txt", "")
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\x00")
    files, projects = read_files([["-r", "a.txt", "-r", "d.txt", "--unknown", "-r", "c.txt"]], tmp_path, {})
    assert (files, projects) == ((tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "d.txt"), ())


def test_it_is_told_without_loading_anything_but_words() -> None:
    script = (
        "import sys, builder.requirement_files\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('packaging', 'pydantic', 'rich')))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_a_wheel_in_a_requirements_file_is_shown_by_its_place_in_the_project(tmp_path: Path) -> None:
    make_wheel(tmp_path / "reqs/wheels", "tiny", "1.0")
    write(tmp_path / "reqs/base.txt", "wheels/tiny-1.0-py3-none-any.whl[x]")
    found = only(tmp_path, "-r", "reqs/base.txt")
    assert found.shown == "./reqs/wheels/tiny-1.0-py3-none-any.whl[x]"
    assert found.line == f"tiny[x] @ file://{tmp_path}/reqs/wheels/tiny-1.0-py3-none-any.whl"
