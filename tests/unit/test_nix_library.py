"""What the Nix library says of the scripts that it runs."""

import ast
import re

import pytest

from builder import resources
from builder.library import stage_library

SANDBOX = resources.nix_library() / "sandbox"
TOOLCHAIN = (resources.nix_library() / "toolchain.nix").read_text()
MODULES = {path.stem for path in SANDBOX.glob("*.py")}
SCRIPTS = [
    name
    for name in sorted(MODULES)
    if re.search(r"^def build\(", (SANDBOX / f"{name}.py").read_text(), re.MULTILINE)
]


def imported(name, seen=frozenset()):
    """The modules beside it that a module imports, directly or not."""
    found = set(seen)
    for node in ast.walk(ast.parse((SANDBOX / f"{name}.py").read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        for other in names:
            if other in MODULES and other not in found:
                found |= {other} | imported(other, frozenset(found | {other}))
    return found


def listed(name, seen=()):
    """The words of a list in toolchain.nix, with the lists that it is put together of."""
    match = re.search(rf"^\s*{name} =(.*?);", TOOLCHAIN, re.MULTILINE | re.DOTALL)
    assert match, f"toolchain.nix has no list {name}"
    words = set(re.findall(r'"(\w+)"', match[1]))
    for other in re.findall(r"\b(layer|compiler)\b", re.sub(r'"[^"]*"', "", match[1])):
        words |= listed(other)
    return words


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_given_what_it_imports_and_nothing_else(script):
    always = listed("always")
    assert listed(script) | always == imported(script) | always


def test_a_staged_library_has_the_tables_that_it_reads(tmp_path):
    stage_library(tmp_path)
    read = re.findall(r'read "([\w/]+)"', (tmp_path / "default.nix").read_text())
    assert read
    for name in read:
        assert (tmp_path / "data" / f"{name}.toml").read_bytes() == resources.data(
            f"{name}.toml"
        ).read_bytes()


def test_what_runs_every_script_has_all_it_imports():
    always = listed("always")
    assert always == {"main", "warm_cache"} | imported("main") | imported("warm_cache")
