from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.errors import DeclarationError
from builder.machine_config import MachineConfig, machine_config
from builder.requirements import Step
from builder.settings import Settings
from builder.uvtool import Indexes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def config(home: Path, folder: Path | None = None, **variables: str) -> MachineConfig:
    env = {
        "HOME": str(home),
        "XDG_CONFIG_DIRS": str(home / "xdg"),
        "VIRTUAL_ENV": str(home / "venv"),
        **variables,
    }
    return machine_config(folder or home, env)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_pips_files_override_one_another_in_its_documented_order(home: Path) -> None:
    files = [
        (write(home / "named.conf", "[global]\nindex-url = https://named.example"), "named"),
        (write(home / "xdg/pip/pip.conf", "[global]\nindex-url = https://xdg.example"), "xdg"),
        (write(home / ".pip/pip.conf", "[global]\nindex-url = https://legacy.example"), "legacy"),
        (write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://user.example"), "user"),
        (write(home / "venv/pip.conf", "[global]\nindex-url = https://site.example"), "site"),
    ]
    for file, name in reversed(files):
        assert config(home, PIP_CONFIG_FILE=str(files[0][0])).default_index == f"https://{name}.example"
        file.unlink()


def test_pips_install_section_overrides_global_and_the_environment_overrides_both(home: Path) -> None:
    write(
        home / ".config/pip/pip.conf",
        "[install]\nindex_url = https://i.example\n[global]\nindex-url = https://g.example",
    )
    assert config(home).default_index == "https://i.example"
    assert config(home, PIP_INDEX_URL="https://e.example").default_index == "https://e.example"


def test_the_null_device_as_pips_file_turns_all_its_files_off(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://user.example")
    assert config(home, PIP_CONFIG_FILE="/dev/null") == MachineConfig()


def test_every_kind_of_pips_settings_is_taken(home: Path) -> None:
    write(
        home / ".config/pip/pip.conf",
        """[global]
        extra-index-url =
            https://a.example/simple
            https://b.example/simple
        find-links = wheels https://c.example/page,1
        constraint = c.txt
        cert = /ca.pem
        trusted-host = t.example
        """.replace("\n        ", "\n"),
    )
    found = config(home)
    assert found.extra_indexes == ("https://a.example/simple", "https://b.example/simple")
    assert found.find_links == (f"file://{home}/wheels", "https://c.example/page%2C1")
    assert found.constraints == (home / "c.txt",)
    assert found.cert == Path("/ca.pem")
    assert found.insecure_hosts == ("t.example",)
    assert found.strategy is None


def test_uvs_own_configuration_comes_before_pips_kind_by_kind(home: Path) -> None:
    write(
        home / ".config/pip/pip.conf",
        "[global]\nindex-url = https://p.example\nfind-links = /links\nextra-index-url = https://x.example\n",
    )
    write(home / ".config/uv/uv.toml", '[pip]\nindex-url = "https://uv.example"')
    found = config(home)
    assert found.default_index is None
    assert found.find_links == ("file:///links",)
    assert found.extra_indexes == ("https://x.example",)
    found = config(home, UV_INDEX="named=https://u.example https://v.example", UV_FIND_LINKS="/a,/b")
    assert found.extra_indexes == ("named=https://u.example", "https://v.example")
    assert found.find_links == ("file:///a", "file:///b")


def test_the_projects_uv_table_is_uvs_configuration_too(home: Path, tmp_path: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nindex-url = https://p.example")
    project = write(
        tmp_path / "project/pyproject.toml", '[[tool.uv.index]]\nurl = "https://uv.example"'
    ).parent
    (project / "sub").mkdir()
    assert config(home).default_index == "https://p.example"
    assert config(home, project / "sub").default_index is None
    assert config(home, project / "sub", UV_NO_CONFIG="1").default_index == "https://p.example"


def test_extra_indexes_are_mixed_with_the_default_one_only_when_all_are_folders_here(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nextra-index-url = file:///a/simple file:///b/simple\n")
    assert config(home).strategy == "unsafe-best-match"
    assert config(home, UV_INDEX_STRATEGY="first-index").strategy is None
    write(home / ".config/pip/pip.conf", "[global]\nextra-index-url = file:///a/simple https://b.example\n")
    assert config(home).strategy is None


def test_an_index_from_elsewhere_in_a_step_brings_the_safe_order_back(home: Path) -> None:
    machine = MachineConfig(extra_indexes=("file:///a/simple",), strategy="unsafe-best-match")
    assert Indexes.of(Step(), Settings(), machine).strategy == "unsafe-best-match"
    step = Step(extra_index_urls=("https://x.example/simple",))
    assert Indexes.of(step, Settings(), machine).strategy is None
    assert (
        Indexes.of(step, Settings(index_strategy="unsafe-first-match"), machine).strategy
        == "unsafe-first-match"
    )


def test_a_steps_index_comes_before_the_projects_mirror_and_that_before_the_machines(home: Path) -> None:
    machine = MachineConfig(default_index="https://machine.example", find_links=("file:///m",))
    mirrored = Settings(mirrors={"index": "https://mirror.example"})
    assert Indexes.of(Step(), Settings(), machine).default == "https://machine.example"
    assert Indexes.of(Step(), mirrored, machine).default == "https://mirror.example"
    step = Step(index_url="https://step.example", find_links=("https://s.example/page",))
    assert Indexes.of(step, mirrored, machine).default == "https://step.example"
    assert Indexes.of(step, mirrored, machine).find_links == ("https://s.example/page", "file:///m")


def test_index_urls_reach_uv_without_credentials_which_are_in_a_private_file(tmp_path: Path) -> None:
    step = Step(
        index_url="https://u:canary@d.example/simple",
        extra_index_urls=("named=https://u:canary@e.example/simple", "http://u:open@f.example/simple"),
        find_links=("https://canary@g.example/page", "https://h.example/page?sig=canary"),
    )
    indexes = Indexes.of(step, Settings(), MachineConfig())
    assert "canary" not in " ".join(indexes.arguments())
    env = indexes.environment(tmp_path)
    assert env["UV_DEFAULT_INDEX"] == "https://d.example/simple"
    # uv's file takes no credentials for a host that is reached without encryption.
    assert env["UV_INDEX"] == "named=https://e.example/simple http://u:open@f.example/simple"
    assert env["UV_FIND_LINKS"] == "https://g.example/page"
    assert indexes.lines() == ["--find-links https://h.example/page?sig=canary"]
    assert not [key for key, value in env.items() if "canary" in value]
    file = Path(env["UV_CREDENTIALS_DIR"]) / "credentials.toml"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().count("canary") >= 3


def test_a_broken_configuration_file_is_named(home: Path) -> None:
    path = write(home / ".config/pip/pip.conf", "no section")
    with pytest.raises(DeclarationError, match=str(path)):
        config(home)
    path.unlink()
    path = write(home / ".config/uv/uv.toml", "= broken")
    with pytest.raises(DeclarationError, match=str(path)):
        config(home)


def test_uvs_own_files_say_who_we_are_and_whether_a_keyring_is_asked(home: Path) -> None:
    assert not config(home).keyring
    write(
        home / ".config/uv/uv.toml",
        """
        keyring-provider = "subprocess"
        extra-index-url = ["https://me:pw@a.example/simple"]
        [[index]]
        name = "private"
        url = "https://b.example/simple"
        [pip]
        find-links = ["./folder", "https://c.example/page"]
        """,
    )
    found = config(home)
    assert found.keyring
    assert set(found.logins) == {
        "https://me:pw@a.example/simple",
        "private=https://b.example/simple",
        "https://c.example/page",
    }
    assert not config(home, UV_KEYRING_PROVIDER="disabled").keyring


def test_pips_keyring_counts_where_uv_says_nothing(home: Path) -> None:
    write(home / ".config/pip/pip.conf", "[global]\nkeyring-provider = import\n")
    assert config(home).keyring
    assert not config(home, PIP_KEYRING_PROVIDER="auto").keyring


def test_certificates_are_found_where_pip_finds_them(home: Path) -> None:
    bare = {"PIP_CONFIG_FILE": os.devnull, "REQUESTS_CA_BUNDLE": "/ca/requests"}
    assert config(home, **bare).cert == Path("/ca/requests")
    assert config(home, **bare, PIP_CERT="/ca/pip").cert == Path("/ca/pip")
    assert config(home, **bare, SSL_CERT_FILE="/ca/ssl").cert is None
