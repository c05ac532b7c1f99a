import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.models import AppSpec, Base, Built, Busybox, Crate, Deb, Endpoint, Lock, Source, Wheel
from builder.render import nix_string, nix_value, render

HASH = "0123456789abcdef" * 4


def deb(package, architecture="amd64", kind=Deb, **more):
    return kind(
        package=package,
        version="1.0",
        architecture=architecture,
        archive="debian",
        path=f"pool/main/{package}_1.0_{architecture}.deb",
        sha256=HASH,
        size=10,
        **more,
    )


def make_lock(**changes):
    base = Base(
        suite="bookworm",
        python="3.11",
        debs={"x86_64": (deb("libc6"),), "aarch64": (deb("libc6", "arm64"),)},
        busybox={"x86_64": deb("busybox-static", kind=Busybox, nar_sha256=HASH)},
    )
    wheels = (
        Wheel(name="six", version="1.17.0", filename="six-1.17.0-py2.py3-none-any.whl", sha256=HASH, size=5),
    )
    return Lock(
        **{
            "name": "app",
            "python": "3.11",
            "architecture": "x86_64",
            "machine_types": ("S",),
            "wheels": wheels,
            "base": base,
            "fingerprint": HASH,
            "tool_version": "0.1",
            **changes,
        }
    )


def make_spec(**changes):
    folder = Path("/project")
    return AppSpec(
        **{
            "name": "app",
            "class_name": "App",
            "file": folder / "app.py",
            "root": folder,
            "local_python": "3.11",
            "requirements_context_dir": folder,
            **changes,
        }
    )


def literal(text):
    """What a Nix string literal without interpolation stands for (Nix manual, "String literals")."""
    assert text[0] == text[-1] == '"'
    body = text[1:-1]
    assert not re.search(r'(?<!\\)(?:\\\\)*"', body)
    assert not re.search(r"(?<!\\)(?:\\\\)*\$\{", body)
    names = {"n": "\n", "r": "\r", "t": "\t"}
    return re.sub(r"\\(.)", lambda match: names.get(match[1], match[1]), body, flags=re.DOTALL)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_text_comes_back_from_its_nix_string(text):
    assert literal(nix_string(text)) == text


@pytest.mark.parametrize("text", ["${builtins.abort 1}", '"; evil = "', "a\nb", "\\${x}", "$${x}", "''${x}"])
def test_text_that_looks_like_nix_code_stays_text(text):
    assert literal(nix_string(text)) == text


def test_a_nul_character_is_refused():
    with pytest.raises(ValueError, match="NUL"):
        nix_string("a\0b")


def test_values_are_written_as_nix_writes_them():
    assert (
        nix_value({"a b": [1, True, None, "x"], "e": {}})
        == '{\n  "a b" = [\n    1\n    true\n    null\n    "x"\n  ];\n  "e" = { };\n}'
    )


def test_every_pin_is_in_the_expression():
    text = render(make_spec(), make_lock(), "sha256:feed")
    assert 'filename = "six-1.17.0-py2.py3-none-any.whl";' in text
    assert text.count(f'sha256 = "{HASH}"') == 4
    assert '"builder.lock.digest" = "sha256:feed";' in text


def test_tools_are_in_the_expression_for_the_machine_that_builds():
    lock = make_lock()
    assert "tools" not in render(make_spec(), lock, f"sha256:{HASH}")
    tools = {"x86_64": (deb("libisal2"),), "aarch64": ()}
    base = lock.base.model_copy(update={"tools": tools})
    text = render(make_spec(), lock.model_copy(update={"base": base}), f"sha256:{HASH}")
    assert re.search(
        r'tools = \{\s+"aarch64" = \[\s+\];\s+"x86_64" = \[\s+\(builder\.deb .*libisal2_1\.0_amd64', text
    )


def test_what_a_lock_or_app_holds_cannot_become_code():
    evil = '"; evil = builtins.readFile /etc/passwd; x = "${toString 1}'
    wheel = Wheel(name=evil, version=evil, filename=evil, sha256=HASH, size=5, url=evil)
    text = render(make_spec(labels={"x": evil}, class_name=evil), make_lock(wheels=(wheel,)), evil)
    assert "evil" not in re.sub(r'"(?:[^"\\]|\\.)*"', '""', text, flags=re.DOTALL)


def test_a_url_is_left_out_where_the_lock_has_none():
    assert "url =" not in render(make_spec(), make_lock(), "sha256:feed")


def test_a_package_that_is_built_has_its_crates_in_the_expression():
    source = Source(kind="archive", filename="rusty-1.0.tar.gz", sha256=HASH)
    crates = (Crate(name="libc", version="0.2.1", sha256=HASH[::-1]),)
    built = Built(name="rusty", version="1.0", source=source, compiled=True, crates=crates)
    text = render(make_spec(), make_lock(built=(built,)), "sha256:feed")
    assert f'(builder.crate {{ name = "libc"; version = "0.2.1"; sha256 = "{HASH[::-1]}"; }})' in text
    bare = built.model_copy(update={"crates": ()})
    assert "crate" not in render(make_spec(), make_lock(built=(bare,)), "sha256:feed")


def test_an_app_with_endpoints_exposes_its_port():
    text = render(make_spec(endpoints=(Endpoint(method="hi", path="/"),)), make_lock(), "sha256:feed")
    assert '"8080/tcp"' in text
