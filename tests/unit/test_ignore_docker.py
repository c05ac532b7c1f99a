import pytest

from builder.errors import DeclarationError
from builder.local.dockerignore import DockerIgnore
from builder.local.rules import Rules
from builder.local.walk import walk

FILES = ("README.md", "a.log", "docs/README.md", "docs/deep/a.log", "src/temp1", "src/x.py", "x[1].txt")


@pytest.fixture
def context(tmp_path):
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return tmp_path


def left_out(context, *lines):
    (context / ".dockerignore").write_text("\n".join(lines))
    rules = Rules(docker=DockerIgnore.read(context), context=context)
    return sorted(set(FILES) - set(walk(context, "", rules, where="here").files))


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["*.log"], ["a.log"]),
        (["*/*.md"], ["docs/README.md"]),
        (["*/temp?"], ["src/temp1"]),
        (["**/*.log"], ["a.log", "docs/deep/a.log"]),
        (["**"], list(FILES)),
        (["docs"], ["docs/README.md", "docs/deep/a.log"]),
        (["/docs/", "!docs/README.md"], ["docs/deep/a.log"]),
        (["docs/**"], ["docs/README.md", "docs/deep/a.log"]),
        (["*.md", "!README.md"], []),
        (["!README.md", "*.md"], ["README.md"]),
        (["*", "!src"], ["README.md", "a.log", "docs/README.md", "docs/deep/a.log", "x[1].txt"]),
        (["# a.log", " a.log ", "", "."], ["a.log"]),
        (["./src/../a.log"], ["a.log"]),
        (["../a.log"], []),
        (["[a-c].log"], ["a.log"]),
        (["[^a-c].log"], []),
        (["x\\[1\\].txt"], ["x[1].txt"]),
        (["x[[]1].txt"], ["x[1].txt"]),
        (["deep", "temp1"], []),
        (["\ufeffa.log"], ["a.log"]),
    ],
)
def test_patterns_mean_what_they_mean_to_docker(context, lines, expected):
    assert left_out(context, *lines) == sorted(expected)


@pytest.mark.parametrize("line", ["!", "[a", "a\\", "[]a]", "[z-a]"])
def test_a_pattern_that_docker_refuses_is_refused_with_its_line(context, line):
    with pytest.raises(DeclarationError, match=r"\.dockerignore:2: "):
        left_out(context, "*.log", line)


def test_a_folder_that_is_left_out_itself_is_free_of_the_rules(context):
    (context / ".dockerignore").write_text("docs\n**/*.log\n")
    rules = Rules(docker=DockerIgnore.read(context), context=context).around(context / "docs", context)
    found = walk(context / "docs", "docs", rules, where="here")
    assert sorted(found.files) == ["docs/README.md", "docs/deep/a.log"]
