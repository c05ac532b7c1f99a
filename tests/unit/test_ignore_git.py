import pytest

from builder.local.gitignore import GitIgnore
from builder.local.rules import Rules
from builder.local.walk import walk


def write(folder, *names, **ignored):
    """Make files; `ignored` are the lines of .gitignore files, by folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    for name, lines in ignored.items():
        path = folder / ("" if name == "top" else name) / ".gitignore"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


def kept(folder, top=None):
    found = walk(folder, "", Rules().around(folder, top or folder), where="here")
    return sorted(name for name in found.files if not name.endswith(".gitignore"))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ["a.log", "build/x.py", "src/a.log", "src/build/x.py", "src/x.py"]),
        (["*.log"], ["build/x.py", "src/build/x.py", "src/x.py"]),
        (["/a.log"], ["build/x.py", "src/a.log", "src/build/x.py", "src/x.py"]),
        (["build/"], ["a.log", "src/a.log", "src/x.py"]),
        (["/build"], ["a.log", "src/a.log", "src/build/x.py", "src/x.py"]),
        (["*.log", "!/src/a.log"], ["build/x.py", "src/a.log", "src/build/x.py", "src/x.py"]),
        (["src/**/x.py"], ["a.log", "build/x.py", "src/a.log"]),
        (["*", "!*/", "!*.py"], ["build/x.py", "src/build/x.py", "src/x.py"]),
        (["src/*", "!src/build"], ["a.log", "build/x.py", "src/build/x.py"]),
        (
            ["# *.log", "", "\\#x", "[", "a.lo\\"],
            ["a.log", "build/x.py", "src/a.log", "src/build/x.py", "src/x.py"],
        ),
        (["*.log\r", "\ufeff"], ["build/x.py", "src/build/x.py", "src/x.py"]),
    ],
)
def test_patterns_mean_what_they_mean_to_git(tmp_path, lines, expected):
    write(tmp_path, "a.log", "build/x.py", "src/a.log", "src/build/x.py", "src/x.py", top=lines)
    assert kept(tmp_path) == expected


def test_nothing_in_an_ignored_folder_is_taken_in_again(tmp_path):
    write(tmp_path, "out/keep.txt", top=["out/", "!out/keep.txt"])
    assert kept(tmp_path) == []


def test_a_folder_that_is_taken_in_again_takes_in_nothing_in_it(tmp_path):
    write(tmp_path, "a/build/x", "a/y", top=["build/", "!a"])
    assert kept(tmp_path) == ["a/y"]


def test_a_deeper_file_overrules_those_above(tmp_path):
    write(tmp_path, "a.txt", "sub/a.txt", "sub/b.txt", top=["*.txt"], sub=["!a.txt"])
    assert kept(tmp_path) == ["sub/a.txt"]


def test_rules_above_count_up_to_the_root_of_the_repository_and_no_further(tmp_path):
    write(tmp_path, "repo/src/a.log", "repo/src/b.tmp", "repo/src/c.py", top=["*.py"], repo=["*.log"])
    (tmp_path / "repo/.git").mkdir()
    assert kept(tmp_path / "repo/src") == ["b.tmp", "c.py"]


def test_without_a_repository_rules_count_up_to_the_top_that_is_given(tmp_path):
    write(tmp_path, "app/src/a.log", "app/src/b.tmp", "app/src/c.py", top=["*.py"], app=["*.log"])
    assert kept(tmp_path / "app/src", tmp_path / "app") == ["b.tmp", "c.py"]


def test_a_repository_in_a_repository_has_its_own_rules(tmp_path):
    write(tmp_path, "sub/a.log", "sub/b.tmp", top=["*.log"], sub=["*.tmp"])
    (tmp_path / "sub/.git").write_text("gitdir: ../.git/modules/sub\n")
    assert kept(tmp_path) == ["sub/a.log"]


def test_a_folder_that_is_ignored_itself_is_free_of_the_rules_above_it(tmp_path):
    write(tmp_path, "weights/a.bin", "weights/b.tmp", top=["weights/", "*.bin"], weights=["*.tmp"])
    assert kept(tmp_path / "weights", tmp_path) == ["weights/a.bin"[8:]]


def test_a_link_is_no_folder_to_git(tmp_path):
    write(tmp_path, "real/a", top=["data/"])
    (tmp_path / "data").symlink_to("real")
    assert (
        not GitIgnore().inside(str(tmp_path), (".gitignore",)).ignores(str(tmp_path / "data"), folder=False)
    )


def test_a_rules_file_that_is_a_link_is_not_followed(tmp_path):
    write(tmp_path, "a.log")
    (tmp_path / "rules").write_text("*.log\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    assert kept(tmp_path) == ["a.log", "rules"]
