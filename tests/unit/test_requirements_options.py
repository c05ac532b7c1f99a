from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from requirement_samples import SHA, lines, parse, step

from builder.errors import DeclarationError
from builder.requirements import Step

if TYPE_CHECKING:
    from pathlib import Path


def test_options_hold_for_their_step_in_every_spelling(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "more wheels").mkdir()
    found = step(
        tmp_path,
        "torch",
        "--extra-index-url",
        "https://a.example/simple",
        "--extra-index-url=https://b.example/simple",
        "-i",
        "https://c.example/simple",
        "-fhttps://d.example/page",
        "--find-links",
        "wheels",
        "--find-links=./more wheels",
        "-f 'more wheels'",
        "--pre",
        "--only-binary",
        ":all:",
        "--no-binary=:none:",
        "numpy",
    )
    assert lines(found) == ["torch", "numpy"]
    assert found.extra_index_urls == ("https://a.example/simple", "https://b.example/simple")
    assert found.index_url == "https://c.example/simple"
    assert found.find_links == (
        "https://d.example/page",
        f"file://{tmp_path}/wheels",
        f"file://{tmp_path}/more%20wheels",
        f"file://{tmp_path}/more%20wheels",
    )
    assert found.pre
    assert found.has_options
    assert "--extra-index-url=https://b.example/simple" in found.shown


@pytest.mark.parametrize(
    "words",
    [
        ("torch", "--index-url", "https://a.example", "--extra-index-url", "https://b.example"),
        ("--index-url https://a.example", "torch", "--extra-index-url=https://b.example"),
        ("torch --index-url https://a.example --extra-index-url=https://b.example",),
        ("--index-url https://a.example --extra-index-url https://b.example", "torch"),
        ("torch --index-url", "https://a.example", "--extra-index-url https://b.example"),
        ("torch \\\n --index-url https://a.example \\\n --extra-index-url https://b.example",),
        ("-ihttps://a.example", "torch", "--extra-index-url", "https://b.example"),
    ],
)
def test_an_item_may_be_a_word_or_a_line_of_a_requirements_file(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    found = step(tmp_path, *words)
    assert lines(found) == ["torch"]
    assert (found.index_url, found.extra_index_urls) == ("https://a.example", ("https://b.example",))
    assert found.shown == ("--index-url=https://a.example", "--extra-index-url=https://b.example")


def test_flags_hold_for_their_step_only(tmp_path: Path) -> None:
    flags = ("--pre", "--no-deps", "--no-index", "--no-build-isolation")
    first, second = parse(tmp_path, ("a", *flags), ("b",)).steps
    assert (first.pre, first.no_deps, first.no_index, first.no_build_isolation) == (True,) * 4
    assert first.shown == flags
    assert second == Step(requirements=second.requirements)
    assert step(tmp_path, "a", "--no-dependencies").no_deps


@pytest.mark.parametrize(
    ("words", "no_binary", "only_binary"),
    [
        (("--no-binary", "Num_Py,scipy"), ("num-py", "scipy"), ()),
        (("--no-binary=:all:", "--only-binary", "Num_Py,x", "--no-binary=x"), (":all:", "x"), ("num-py",)),
        (("--no-binary=x", "--no-binary=:none:"), (), ()),
        (("--no-binary=x", "--only-binary=:all:"), (), (":all:",)),
        (("--only-binary=:all:", "--no-binary=x"), ("x",), (":all:",)),
        (("--only-binary=x", "--no-binary=:all:,:none:,y"), ("y",), ()),
    ],
)
def test_later_options_about_wheels_override_earlier_ones(
    tmp_path: Path, words: tuple[str, ...], no_binary: tuple[str, ...], only_binary: tuple[str, ...]
) -> None:
    found = step(tmp_path, *words, "a")
    assert (found.no_binary, found.only_binary) == (no_binary, only_binary)


def test_the_index_strategy_is_one_of_uvs(tmp_path: Path) -> None:
    assert step(tmp_path, "a", "--index-strategy", "unsafe-best-match").index_strategy == "unsafe-best-match"
    with pytest.raises(DeclarationError, match=r"is one of first-index, .*, not 'any'"):
        step(tmp_path, "a", "--index-strategy=any")


def test_what_has_no_effect_here_is_accepted_and_decides_nothing(tmp_path: Path) -> None:
    words = (
        "--prefer-binary --no-cache-dir",
        "--upgrade",
        "-U",
        "-qq",
        "-qUv",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar",
        "off",
        "--progress-bar=off",
        "--use-pep517",
    )
    found = step(tmp_path, *words, "a")
    assert found.canonical() == ("a",)
    assert not found.has_options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--pre torch",), r"'torch' stands behind an option that does not take it"),
        (("--index-url https://a.example torch",), r"'torch' stands behind an option"),
        (("torch", "--index-url"), r"requirements\[1\]: --index-url needs a value"),
        (("--index-url", "--pre"), r"requirements\[0\]: --index-url needs a value"),
        (("--index-url=", "x"), r"requirements\[0\]: --index-url needs a value"),
        (("--index-url", ""), r"requirements\[0\]: --index-url needs a value"),
        (("x", "-r"), r"requirements\[1\]: --requirement needs a value"),
        (("--pre=yes",), r"--pre takes no value, and has 'yes'"),
        (("--find-links", "absent"), r"names 'absent', which is neither a URL nor a folder"),
        (("--index-url", "https://a.example/a b"), "holds a space"),
        (("--index-url=https://a.example:port/",), "is no URL"),
        (("--no-binary", "a b"), "takes names separated by commas.*not 'a b'"),
        (("--no-binary=a,,b",), "takes names separated by commas.*not ''"),
        (("-f 'a",), "does not parse.*No closing quotation"),
        (("-",), "option '-' is not supported"),
        (("--",), "option '--' is not supported"),
        (("-x",), "option '-x' is not supported"),
        (("-qx",), "option '-qx' is not supported"),
        (
            ("a", "--extra-index", "https://a.example"),
            r"\[1\]: the option .* did you mean --extra-index-url\?",
        ),
        (("--requirements=x",), r"did you mean --requirement\?"),
        (("torch --unknown=1",), "the option '--unknown=1' is not supported"),
        (("--trusted-host", "a.example"), "certificates are always checked"),
        (("--user",), "the option '--user' is not supported"),
        (("-e", "numpy"), "--editable names 'numpy', and takes a local project or a git repository"),
        (("-e", "https://a.example/x-1.0.tar.gz"), "--editable names"),
    ],
)
def test_an_option_that_is_not_understood_is_refused_with_its_index(
    tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DeclarationError, match=message):
        step(tmp_path, *words)


def test_an_unknown_option_is_answered_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError) as caught:
        step(tmp_path, "--target=x")
    for option in ("--index-url", "--requirement", "--constraint", "--hash", "--no-deps", "--index-strategy"):
        assert option in caught.value.hint
    with pytest.raises(DeclarationError) as caught:
        step(tmp_path, "--trusted-host=a.example")
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_hash_belongs_to_the_requirement_before_it(tmp_path: Path) -> None:
    other = "b2" * 48
    for words in (
        ("a==1", f"--hash=sha256:{SHA}", "--hash", f"sha384:{other}"),
        (f"a==1 --hash=sha256:{SHA.upper()} --hash sha384:{other}",),
    ):
        found = step(tmp_path, *words)
        assert found.requirements[0].hashes == (f"sha256:{SHA}", f"sha384:{other}")
        assert found.hashes("a") == found.requirements[0].hashes
        assert found.require_hashes
        assert found.has_options
        assert found.canonical() == (f"a==1 --hash=sha256:{SHA} --hash=sha384:{other}",)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (f"--hash=sha256:{SHA}", "a==1"),
            r"^Upscale\.requirements\[0\]: --hash=sha256:\w+ belongs to no requirement",
        ),
        (("a==1", "--hash=sha256:00"), r"^Upscale\.requirements\[1\]: .* is no hash, which has 64"),
        (("a==1", f"--hash={SHA}"), r"^Upscale\.requirements\[1\]: --hash is an algorithm and a hash"),
        (
            ("a==1", f"--hash=md5:{'0' * 32}"),
            r"^Upscale\.requirements\[1\]: --hash is an algorithm and a hash",
        ),
        (("a==1", f"--hash=sha256:{SHA}", "b==1"), r"^Upscale\.requirements\[2\]: 'b==1' has no hash"),
        (("--require-hashes", "b==1"), r"^Upscale\.requirements\[1\]: 'b==1' has no hash"),
        (("a", f"--hash=sha256:{SHA}"), r"^Upscale\.requirements\[0\]: 'a' has a hash and no exact version"),
        (("a==1.*", f"--hash=sha256:{SHA}"), r"has a hash and no exact version"),
        (("a>=1", f"--hash=sha256:{SHA}"), r"has a hash and no exact version"),
        (
            ("git+https://h.example/r.git", f"--hash=sha256:{SHA}"),
            r"^Upscale\.requirements\[1\]: .* has a hash, and is no file",
        ),
        (
            ("git+https://h.example/r.git", "--require-hashes"),
            r"^Upscale\.requirements\[0\]: .* is no file that could have a hash",
        ),
        (("https://h.example/x-1.0-py3-none-any.whl", "--require-hashes"), "has no hash"),
    ],
)
def test_hashes_are_required_of_all_or_none(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        step(tmp_path, *words)


def test_a_url_may_say_the_hash_that_is_required(tmp_path: Path) -> None:
    wheel = "https://h.example/x-1.0-py3-none-any.whl"
    found = step(tmp_path, "--require-hashes", f"{wheel}#sha256={SHA}", "a===1", f"--hash=sha256:{SHA}")
    assert found.require_hashes
    archive = step(tmp_path, "https://h.example/main.zip", f"--hash=sha256:{SHA}").requirements[0]
    assert archive.hashes == (f"sha256:{SHA}",)
