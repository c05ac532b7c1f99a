"""Requirements that name what a package is built from: a repository, a folder, an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lock_samples import app
from requirement_samples import SHA, only, parse, project, step

from builder.errors import DeclarationError
from builder.requirements import (
    ArchiveSource,
    DirectorySource,
    GitSource,
    declared_url,
    parse_requirements,
    parse_runtime,
)

if TYPE_CHECKING:
    from pathlib import Path

URL = "https://h.example/org/repo.git"


@pytest.mark.parametrize(
    ("word", "name", "revision", "subdirectory"),
    [
        (f"git+{URL}", None, None, None),
        (f"git+{URL}@v1.0.0", None, "v1.0.0", None),
        (f"x@git+{URL}@feature/one", "x", "feature/one", None),
        (f"My.X @ git+{URL}@abc123#subdirectory=python", "my-x", "abc123", "python"),
        (f"git+{URL}@v1#egg=x&subdirectory=./a//b/", "x", "v1", "a/b"),
        (f"git+{URL}@feature%23x", None, "feature#x", None),
        (f"git+{URL}@refs/pull/12/head", None, "refs/pull/12/head", None),
        (f"x @ git+{URL}@v1#egg=X", "x", "v1", None),
    ],
)
def test_a_git_requirement_tells_repository_revision_and_folder(
    tmp_path: Path, word: str, name: str | None, revision: str | None, subdirectory: str | None
) -> None:
    found = only(tmp_path, word)
    assert (found.name, found.line, found.url, found.filename) == (name, "", None, None)
    assert found.source == GitSource(URL, URL, revision, subdirectory)


@pytest.mark.parametrize(
    ("word", "url", "shown"),
    [
        (
            "git+ssh://git@h.example:2222/o/r.git@v1",
            "ssh://git@h.example:2222/o/r.git",
            "ssh://git@h.example:2222/o/r.git",
        ),
        ("git+ssh://me:canary@h.example/o/r", "ssh://me:canary@h.example/o/r", "ssh://me@h.example/o/r"),
        ("git+http://h.example/o/r@v1", "http://h.example/o/r", "http://h.example/o/r"),
        ("git+file:///srv/git/r.git@v1", "file:///srv/git/r.git", "file:///srv/git/r.git"),
        (
            "git+https://${TOKEN}@h.example/o/r.git@v1",
            "https://canary@h.example/o/r.git",
            "https://h.example/o/r.git",
        ),
        (
            "git+https://me@corp:canary@h.example/o/r@v1",
            "https://me@corp:canary@h.example/o/r",
            "https://h.example/o/r",
        ),
        (
            "git+https://me:canary@h.example/o/r@v@1",
            "https://me:canary@h.example/o/r@v",
            "https://h.example/o/r@v",
        ),
    ],
)
def test_a_repositorys_url_is_known_with_credentials_and_without(
    tmp_path: Path, word: str, url: str, shown: str
) -> None:
    requirements = parse(tmp_path, (word,), TOKEN="canary")
    (found,) = requirements.steps[0].requirements
    assert isinstance(found.source, GitSource)
    assert (found.source.url, found.source.shown) == (url, shown)
    assert "canary" not in repr(requirements) + " ".join(requirements.steps[0].canonical())
    assert ("canary" in url) == ("canary" in requirements.secrets)


def test_the_account_of_an_ssh_url_is_no_secret(tmp_path: Path) -> None:
    assert parse(tmp_path, ("git+ssh://deploy@h.example/o/r",)).secrets == ()


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("git+git@h.example:o/r.git@v1", "is no URL", "git+ssh://git@h.example/o/r.git@v1"),
        ("git@h.example:o/r.git", "is no URL", "git+ssh://git@h.example/o/r.git"),
        ("git+ssh://git@h.example:o/r.git", "is no URL", "git+ssh://git@h.example/o/r.git"),
        ("x @ git+git@h.example:o/r", "is no URL", "git+ssh://git@h.example/o/r"),
        ("https://h.example/o/r.git@v1", "without the git\\+", "git+https://host/org/repo.git@REVISION"),
        ("ssh://git@h.example/o/r.git", "without the git\\+", "git+"),
        ("git://h.example/o/r.git", "without the git\\+", "git+"),
        ("git+git://h.example/o/r.git", "is not the URL of a git repository", "https"),
        ("git+https://h.example", "is not the URL of a git repository", ""),
        ("git+https:///o/r.git", "names no host", ""),
        ("git+ssh://-oProxyCommand=x/r.git", "names no host", ""),
        ("git+file://elsewhere.example/r.git", "is not the URL of a git repository", ""),
        ("git+https://h.example:port/r.git", "is no URL", "port"),
        ("hg+https://h.example/r@v1", "only git is supported", ""),
        ("x @ svn+https://h.example/r", "only git is supported", ""),
        ("bzr+https://h.example/r", "only git is supported", ""),
        (f"git+{URL}@", "names the revision ''", "leave the @ out"),
        (f"git+{URL}@-x", "names the revision '-x'", ""),
        (f"git+{URL}@--upload-pack=x", "names the revision '--upload-pack=x'", ""),
        (f"git+{URL}@a..b", "names the revision", ""),
        (f"git+{URL}@a%20b", "names the revision 'a b'", ""),
        (f"git+{URL}@x~1", "names the revision", ""),
        (f"git+{URL}#subdirectory=../x", "no folder inside", ""),
        (f"git+{URL}#subdirectory=/x", "no folder inside", ""),
        (f"git+{URL}#subdirectory=a%5Cb", "no folder inside", ""),
        (f"git+{URL}#egg=not a name", "holds a space", ""),
        (f"git+{URL}#egg=-x", "egg=-x is no package's name", "name @ URL"),
        (f"git+{URL}#branch=x", "'branch' behind the # is not understood", "egg=NAME"),
        (f"git+{URL}#sha256={SHA}", "a repository none", ""),
        (f"x @ git+{URL}#egg=y", "named x before the URL and y behind it", ""),
        (f"git+{URL}#egg=x[a b]", "holds a space", ""),
        (f"git+{URL}#egg=x[a!]", "the extra 'a!'", ""),
    ],
)
def test_a_malformed_git_requirement_is_refused_with_the_right_spelling(
    tmp_path: Path, word: str, message: str, hint: str
) -> None:
    with pytest.raises(DeclarationError, match=rf"^Upscale\.requirements\[0\]: .*{message}") as caught:
        only(tmp_path, word)
    assert hint in caught.value.hint


def test_a_revision_by_variable_decides_the_lock_and_is_not_masked(tmp_path: Path) -> None:
    word = f"git+{URL}@${{COMMIT}}"
    requirements = parse(tmp_path, (word,), COMMIT="0123456789abcdef" * 2)
    assert requirements.secrets == ()
    (one,) = requirements.steps[0].canonical()
    assert "0123456789abcdef" in one
    assert one != step(tmp_path, word, COMMIT="other").canonical()[0]
    unset = parse_requirements(app(tmp_path, (word,)), {}, unset_ok=True).steps[0].requirements[0]
    assert isinstance(unset.source, GitSource)
    assert unset.source.revision == "${COMMIT}"


def test_extras_and_markers_of_a_source_are_kept_apart(tmp_path: Path) -> None:
    found = only(tmp_path, f"x[B, a]@git+{URL}@v1 ; python_version<'3.12'")
    assert (found.extras, found.marker) == (("a", "b"), 'python_version < "3.12"')
    assert only(tmp_path, f"git+{URL}@v1#egg=x[gpu]").extras == ("gpu",)
    with pytest.raises(DeclarationError, match=r"requirements\[0\] does not parse"):
        only(tmp_path, f"git+{URL} ; nonsense")


@pytest.mark.parametrize(
    ("word", "name", "extras"),
    [
        (".", None, ()),
        (".[gpu]", None, ("gpu",)),
        ("./shared[gpu,Test]", None, ("gpu", "test")),
        ("shared/", None, ()),
        ("../{base}/shared", None, ()),
        ("{root}/shared[gpu]", None, ("gpu",)),
        ("file://{root}/shared", None, ()),
        ("file:shared", None, ()),
        ("x @ file://{root}/shared", "x", ()),
        ("x[gpu] @ file://localhost{root}/shared#egg=x", "x", ("gpu",)),
        ("file://{root}#subdirectory=shared", None, ()),
        ("x @ ./shared", "x", ()),
        ("${{FOLDER}}/shared", None, ()),
    ],
)
def test_a_local_project_is_its_folder_with_its_extras(
    tmp_path: Path, word: str, name: str | None, extras: tuple[str, ...]
) -> None:
    folder = project(tmp_path / "shared")
    project(tmp_path)
    found = only(tmp_path, word.format(root=tmp_path, base=tmp_path.name), FOLDER=str(tmp_path))
    assert isinstance(found.source, DirectorySource)
    assert found.source.path == (tmp_path if word.startswith(".") and "shared" not in word else folder)
    assert (found.name, found.extras, found.line) == (name, extras, "")


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = only(tmp_path / "elsewhere", "~/shared") if project(tmp_path / "shared") else None
    assert found is not None
    assert isinstance(found.source, DirectorySource)
    assert found.source.path == tmp_path / "shared"


@pytest.mark.parametrize(
    "words", [("-e", "."), ("--editable=.",), ("-e .",), ("-e.",), ("--editable", ".[gpu]")]
)
def test_an_editable_project_is_installed_like_any_other(tmp_path: Path, words: tuple[str, ...]) -> None:
    project(tmp_path)
    found = only(tmp_path, *words)
    assert isinstance(found.source, DirectorySource)
    assert found.shown == ("." if "gpu" not in words[-1] else ".[gpu]")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (".", "holds neither pyproject.toml nor setup.py"),
        ("./absent[x]", "does not exist: there is no "),
        ("org/name", "does not exist"),
        ("./plain.txt", "neither a wheel .* nor an archive"),
        ("./shared[a b!]", "the extra 'a b!'"),
        ("./shared ; nonsense", "does not parse"),
        ("file://elsewhere.example/shared", "names a host"),
        (f"file://{{root}}/shared#sha256={SHA}", "a folder none"),
        ("~nobody-of-this-name/x", "does not exist"),
    ],
)
def test_what_is_no_local_project_is_refused_with_the_reason(tmp_path: Path, word: str, message: str) -> None:
    project(tmp_path / "shared")
    (tmp_path / "plain.txt").touch()
    with pytest.raises(DeclarationError, match=rf"Upscale\.requirements\[0\].*{message}"):
        only(tmp_path, word.format(root=tmp_path))


def test_a_lock_goes_stale_when_a_local_project_asks_for_something_else(tmp_path: Path) -> None:
    project(tmp_path)
    known = {step(tmp_path, ".").canonical()}
    (tmp_path / "code.py").write_text("changed")
    assert step(tmp_path, ".").canonical() in known
    for name in ("pyproject.toml", "setup.py", "setup.cfg", "requirements-base.txt"):
        (tmp_path / name).write_text("changed")
        found = step(tmp_path, ".").canonical()
        assert found not in known
        known.add(found)


@pytest.mark.parametrize(
    ("word", "name", "filename", "subdirectory"),
    [
        ("https://h.example/some_thing-1.0.tar.gz", "some-thing", "some_thing-1.0.tar.gz", None),
        ("https://h.example/x-1.0%2Bcpu.tar.gz", "x", "x-1.0+cpu.tar.gz", None),
        ("https://h.example/x-1.0.tar.bz2", None, "x-1.0.tar.bz2", None),
        ("https://h.example/x-1.0.tgz", None, "x-1.0.tgz", None),
        ("https://h.example/x-1.0.tar.xz", None, "x-1.0.tar.xz", None),
        ("https://h.example/o/r/archive/refs/tags/name-1.0.tar.gz", None, "name-1.0.tar.gz", None),
        ("x @ https://h.example/o/r/archive/main.zip#subdirectory=py", "x", "main.zip", "py"),
        ("https://h.example/main.zip#egg=My_X", "my-x", "main.zip", None),
    ],
)
def test_an_archive_is_known_by_its_url(
    tmp_path: Path, word: str, name: str | None, filename: str, subdirectory: str | None
) -> None:
    found = only(tmp_path, word)
    assert found.name == name
    assert isinstance(found.source, ArchiveSource)
    assert (found.source.filename, found.source.subdirectory) == (filename, subdirectory)
    assert "#" not in found.source.url


def test_an_archive_is_known_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "my thing-1.0.zip").touch()
    for word in ("./my thing-1.0.zip", "my thing-1.0.zip", (tmp_path / "my thing-1.0.zip").as_uri()):
        found = only(tmp_path, word)
        assert found.source == ArchiveSource((tmp_path / "my thing-1.0.zip").as_uri(), "my thing-1.0.zip")


def test_an_archive_has_the_credentials_and_the_hash_of_its_url(tmp_path: Path) -> None:
    url = "https://me:canary@h.example/thing-1.0.tar.gz?sig=canary2"
    requirements = parse(tmp_path, (f"{url}#sha256={SHA.upper()}&md5={'0' * 32}",))
    (found,) = requirements.steps[0].requirements
    assert found.hashes == (f"md5:{'0' * 32}", f"sha256:{SHA}")
    assert isinstance(found.source, ArchiveSource)
    assert found.source.url == url == declared_url(requirements, "thing-1.0.tar.gz")
    assert set(requirements.secrets) == {"canary", "canary2"}
    assert "canary" not in repr(requirements) + str(requirements.steps[0].canonical())
    assert not requirements.steps[0].require_hashes


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("https://h.example/x-1.0.exe", "neither a wheel"),
        ("https://h.example/tarball/main", "neither a wheel"),
        ("https://h.example/x-1.0.tar.gz#sha256=12", "what follows sha256 is no hash, which has 64"),
        (f"https://h.example/x-1.0.tar.gz#sha256={'g' * 64}", "what follows sha256 is no hash"),
        (f"https://h.example/x-1.0.tar.gz#crc={SHA}", "'crc' behind the # is not understood"),
        ("ftp://h.example/x-1.0.tar.gz", "is not a URL that can be fetched"),
        ("s3://bucket/x-1.0.tar.gz", "is not a URL that can be fetched"),
        ("https:///x-1.0.tar.gz", "is not a URL that can be fetched"),
        ("x @ h.example/x-1.0.tar.gz", "is not a URL that can be fetched"),
        ("https://h.example:99999/x-1.0.tar.gz", "is no URL"),
        ("https://[h.example/x-1.0.tar.gz", "is no URL"),
        ("./absent-1.0.tar.gz", "does not exist"),
    ],
)
def test_a_malformed_archive_is_refused_with_the_reason(tmp_path: Path, word: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"^Upscale\.requirements\[0\]: .*{message}"):
        only(tmp_path, word)


def test_what_a_package_is_built_with_names_neither_variables_nor_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "canary")
    monkeypatch.chdir(project(tmp_path))
    (found,) = parse_runtime(("x @ https://${TOKEN}@h.example/x-1.0-py3-none-any.whl",), "what y needs")
    assert "canary" not in found.line
    for word in (".", "x @ file:///", "./pyproject.toml"):
        with pytest.raises(DeclarationError, match=r"what y needs.* only the app's own requirements"):
            parse_runtime((word,), "what y needs")
