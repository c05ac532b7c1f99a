from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from lock_samples import SHA, app, deb, lock_file, wheel
from packaging.pylock import Pylock, is_valid_pylock_path

from builder.errors import LockError
from builder.lock import Declared, LockFile, declared, dumps, lock_digest, lock_path, read_lock, write_lock
from builder.models import Addition
from builder.requirements import parse_requirements
from builder.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

WHEELS = (
    wheel("alpha"),
    wheel("beta", url="https://h.example/beta-1.0%2Bcpu-py3-none-any.whl", version="1.0+cpu"),
    wheel("delta", url="https://h.example/get/7", size=None),
    wheel("direct", direct=True),
    wheel("nowhere", url=None),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pylock.upscale.toml"


def test_a_lock_is_read_as_it_was_written(path: Path) -> None:
    content = lock_file(*WHEELS)
    assert write_lock(path, content)
    assert read_lock(path) == content


def test_a_lock_without_packages_is_one_too(path: Path) -> None:
    write_lock(path, lock_file())
    assert read_lock(path) == lock_file()


def test_a_lock_is_valid_by_the_standard(path: Path) -> None:
    write_lock(path, lock_file(*WHEELS))
    pylock = Pylock.from_dict(tomllib.loads(path.read_text()))
    pylock.validate()
    assert is_valid_pylock_path(path)
    assert pylock.created_by == "builder"
    assert str(pylock.requires_python) == "==3.11.*"
    alpha, _, delta, direct, nowhere = pylock.packages
    assert alpha.wheels is not None
    assert alpha.wheels[0].name is None
    assert delta.wheels is not None
    assert delta.wheels[0].name == "delta-1.0-py3-none-any.whl"
    assert direct.archive is not None
    assert direct.is_direct
    assert nowhere.wheels is not None
    assert nowhere.wheels[0].path == "nowhere-1.0-py3-none-any.whl"


def test_a_portable_lock_names_files_and_no_places(path: Path) -> None:
    content = lock_file(*WHEELS, portable=True)
    write_lock(path, content)
    assert "h.example" not in path.read_text()
    assert "files.example.org" not in path.read_text()
    found = read_lock(path).lock
    assert found.portable
    assert {wheel.url for wheel in found.wheels} == {None}
    assert [wheel.filename for wheel in found.wheels] == [wheel.filename for wheel in WHEELS]


def test_equal_locks_are_equal_texts_whatever_the_order_of_wheels() -> None:
    assert dumps(lock_file(*WHEELS)) == dumps(lock_file(*WHEELS[::-1]))


def test_each_deb_has_a_line_of_its_own() -> None:
    lines = [line for line in dumps(lock_file()).splitlines() if "package = " in line]
    assert len(lines) == 2 * 3 + 2 + 1


ADDITIONS = (
    Addition(kind="debian", name="libgl1", library="libGL.so.1", package="opencv-python"),
    Addition(
        kind="requirement", name="cuda-toolkit[cudart]==12.8.*", library="libcudart.so.12", package="alpha"
    ),
)


def with_additions(*additions: Addition) -> LockFile:
    content = lock_file(*WHEELS)
    return LockFile(content.lock.model_copy(update={"additions": additions}), content.declared)


def test_tools_are_read_as_they_were_written_and_a_lock_without_is_one_too(path: Path) -> None:
    content = lock_file(*WHEELS)
    assert "tools" not in dumps(content)
    tools = {"x86_64": (deb("libisal2", "2.30.0-5"),), "aarch64": ()}
    base = content.lock.base.model_copy(update={"tools": tools})
    found = LockFile(content.lock.model_copy(update={"base": base}), content.declared)
    write_lock(path, found)
    assert read_lock(path) == found


def test_additions_are_read_as_they_were_written(path: Path) -> None:
    content = with_additions(*ADDITIONS)
    write_lock(path, content)
    assert read_lock(path) == content
    lines = path.read_text().splitlines()
    debian = '{ kind = "debian", name = "libgl1", library = "libGL.so.1", package = "opencv-python" }'
    cudart = 'name = "cuda-toolkit[cudart]==12.8.*", library = "libcudart.so.12", package = "alpha"'
    assert [f"  {debian},", f'  {{ kind = "requirement", {cudart} }},'] == [
        line for line in lines if line.startswith("  { kind = ")
    ]
    Pylock.from_dict(tomllib.loads(path.read_text())).validate()


def test_a_lock_without_additions_says_nothing_of_them() -> None:
    assert "additions" not in dumps(lock_file(*WHEELS))


def test_the_digest_tells_additions() -> None:
    digests = {lock_digest(with_additions(*some)) for some in ((), ADDITIONS[:1], ADDITIONS[1:], ADDITIONS)}
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "debian"', 'kind = "rpm"', r"tool\.builder\.additions\[0\]\.kind: "),
        (', package = "alpha" }', " }", r"tool\.builder\.additions\[1\]\.package: field required"),
        ("additions = [", "additions = 3\nother = [", r"tool\.builder\.additions: "),
    ],
)
def test_edited_additions_are_refused_with_the_place(path: Path, old: str, new: str, message: str) -> None:
    write_lock(path, with_additions(*ADDITIONS))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(LockError, match=message):
        read_lock(path)


def test_an_unchanged_lock_is_not_written_again(path: Path) -> None:
    write_lock(path, lock_file(*WHEELS))
    before = path.stat()
    assert not write_lock(path, lock_file(*WHEELS))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert write_lock(path, lock_file())
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_locks_digest_tells_its_pins_and_not_where_they_were_found() -> None:
    digest = lock_digest(lock_file(wheel("alpha")))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert (
        lock_digest(lock_file(wheel("alpha", url="https://mirror.example/alpha-1.0-py3-none-any.whl")))
        == digest
    )
    assert lock_digest(lock_file(wheel("alpha", url=None), portable=True)) == digest
    assert lock_digest(lock_file(wheel("alpha", "1.1"))) != digest


def test_a_folder_that_cannot_be_written_is_an_error_of_the_lock(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LockError, match=r"file/pylock\.x\.toml cannot be written"):
        write_lock(tmp_path / "file/pylock.x.toml", lock_file())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('created-by = "builder"', "created-by = ", r"not valid TOML.*line 9"),
        ("[[packages]]\n", "<<<<<<< ours\n[[packages]]\n", "not valid TOML"),
        ("format = 3", "format = 4", r"tool\.builder\.format: a newer version of builder \(0\.1\.0\)"),
        ("format = 3\n", "", r"tool\.builder\.format: is missing"),
        ('lock-version = "1.0"', 'lock-version = "2.0"', "lock-version: .*2.0 is not supported"),
        ('version = "1.0"\nwheels', "wheels", r"packages\[0\]\.version: is missing"),
        (f'sha256 = "{SHA}"', f'sha256 = "{SHA.upper()}"', r"packages\[0\]\.wheels\[0\]\.hashes\.sha256: "),
        (f'sha256 = "{SHA}"', f'md5 = "{SHA}"', r"packages\[0\]\.wheels\[0\]\.hashes\.sha256: "),
        (
            f'hashes = {{ sha256 = "{SHA}" }}',
            "hashes = {}",
            r"packages\[0\]\.wheels\[0\]\.hashes: At least one hash",
        ),
        ('name = "alpha"', 'name = "Alpha"', r"packages\[0\]\.name: .*not normalized"),
        ('name = "alpha"', 'name = "omega"', r"packages\[0\].*not consistent"),
        (
            'name = "beta"',
            'name = "beta"\nsdist = { path = "beta-1.0.tar.gz", hashes = { sha256 = "0" } }',
            r"packages\[1\]",
        ),
        ('path = "nowhere', 'path = "../nowhere', r"packages\[4\]\.wheels\[0\]\.path.*bare file name"),
        (
            "/direct-1.0-py3-none-any.whl",
            "/direct-1.1-py3-none-any.whl",
            r"packages\[3\]\.archive: .*is not direct 1\.0",
        ),
        (
            "/direct-1.0-py3-none-any.whl",
            "/direct.zip",
            r"packages\[3\]\.tool\.builder: is missing",
        ),
        (
            "/direct-1.0-py3-none-any.whl",
            "/direct-1.0-${x}-none-any.whl",
            r"packages\[3\]\.archive: .*is not the name",
        ),
        ('suite = "bookworm"', 'suite = "book worm"', r"tool\.builder\.base\.suite: "),
        ('package = "libc6"', 'package = "libc7"', r"tool\.builder\.base\.debs\.x86_64: libc6 is missing"),
        (
            'python = "3.11"\narchitecture = "x86_64"',
            'python = "3.11"\narchitecture = "arm"',
            r"tool\.builder\.declared\.architecture: ",
        ),
        ("machine-types", "machine-type", r"tool\.builder\.declared\.machine-type"),
        ("fingerprint = ", "fingerprints = ", r"tool\.builder\.fingerprint: "),
        ("[tool.builder", "[tool.other", r"it has no \[tool\.builder\]: builder made it"),
    ],
)
def test_an_edited_lock_is_refused_with_its_file_and_the_place(
    path: Path, old: str, new: str, message: str
) -> None:
    write_lock(path, lock_file(*WHEELS))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(LockError, match=message) as caught:
        read_lock(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_package_that_is_there_twice_is_refused(path: Path) -> None:
    write_lock(path, lock_file(wheel("alpha"), wheel("alpha")))
    with pytest.raises(LockError, match=r"packages\[1\]: alpha is there twice"):
        read_lock(path)


def test_a_lock_of_another_tool_is_left_alone(path: Path) -> None:
    path.write_text('lock-version = "1.0"\ncreated-by = "uv"\npackages = []\n')
    with pytest.raises(LockError, match=r"no \[tool\.builder\]: uv made it") as caught:
        read_lock(path)
    assert "Move it away" in caught.value.hint


def test_a_lock_with_conflict_markers_says_what_to_do(path: Path) -> None:
    path.write_text("<<<<<<< HEAD\n")
    with pytest.raises(LockError) as caught:
        read_lock(path)
    assert "merge" in caught.value.hint


def test_a_missing_lock_says_how_to_write_one(path: Path) -> None:
    with pytest.raises(LockError, match="there is no lock") as caught:
        read_lock(path)
    assert "builder lock" in caught.value.hint


def describe(
    root: Path, *steps: tuple[str, ...], settings: Settings | None = None, **more: object
) -> Declared:
    spec = app(root, *steps, **more)
    return declared(
        spec,
        parse_requirements(spec, {}),
        settings or Settings(),
        runtime=(),
        python="3.11",
        architecture="x86_64",
    )


def test_the_fingerprint_is_of_what_decides_the_lock(tmp_path: Path) -> None:
    plain = describe(tmp_path, ("numpy", "torch==1"))
    same = [
        describe(tmp_path, ("Torch == 1", "numpy")),
        describe(tmp_path, ("numpy", "torch==1"), endpoints=True, labels={"keep_alive": "3"}, secrets=("X",)),
        describe(tmp_path, ("numpy", "torch==1"), settings=Settings(portable=True, bytecode=False)),
        describe(tmp_path, ("numpy", "torch==1"), settings=Settings(mirrors={"index": "https://m.example"})),
    ]
    assert {value.fingerprint() for value in same} == {plain.fingerprint()}
    other = [
        describe(tmp_path, ("numpy", "torch==2")),
        describe(tmp_path, ("numpy",), ("torch==1",)),
        describe(tmp_path, ("numpy", "torch==1"), machine_types=("L",)),
        describe(tmp_path, ("numpy", "torch==1"), system_packages=("ffmpeg",)),
        describe(tmp_path, ("numpy", "torch==1"), system_packages_auto=False),
        describe(tmp_path, ("numpy", "torch==1"), settings=Settings(index_strategy="unsafe-best-match")),
        describe(tmp_path, ("numpy", "torch==1"), settings=Settings(suites={"3.11": "sid"})),
        plain.model_copy(update={"python": "3.13"}),
        plain.model_copy(update={"architecture": "aarch64"}),
        plain.model_copy(update={"runtime": ("fastapi",)}),
    ]
    assert len({value.fingerprint() for value in [plain, *other]}) == len(other) + 1


def test_a_new_token_is_no_new_declaration(tmp_path: Path) -> None:
    one, two = (
        describe(tmp_path, ("--extra-index-url", f"https://me:{token}@h.example/simple", "x"))
        for token in ("aaaa", "bbbb")
    )
    assert one == two
    assert "aaaa" not in one.model_dump_json()


def test_a_difference_is_told_in_words(tmp_path: Path) -> None:
    old = describe(tmp_path, ("numpy", "torch==1"), machine_types=("S",))
    new = describe(
        tmp_path, ("numpy", "torch==2"), machine_types=("GPU-H100", "L"), system_packages=("ffmpeg",)
    )
    assert list(old.difference(new)) == [
        "machine types was S, is GPU-H100, L",
        "requirement added: torch==2",
        "requirement removed: torch==1",
        "system package added: ffmpeg",
    ]
    assert list(
        old.difference(describe(tmp_path, ("numpy", "torch==1"), machine_types=("S",), cuda="devel"))
    ) == ["CUDA was runtime, is devel"]
    assert list(describe(tmp_path, ("a", "b")).difference(describe(tmp_path, ("a",), ("b",)))) == [
        "requirements are in other install steps"
    ]


def test_the_lock_lies_in_the_apps_root(tmp_path: Path) -> None:
    assert lock_path(app(tmp_path)) == tmp_path / "pylock.upscale.toml"
    assert isinstance(lock_file(), LockFile)
