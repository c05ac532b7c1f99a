import json
import os

import pytest

from builder import nix

DEFAULT = nix.DEFAULT_CACHE


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Give the machine a Nix that knows one command, which prints this configuration."""

    def install(command, **configuration):
        script = tmp_path / "nix"
        text = json.dumps({name: {"value": value} for name, value in configuration.items()})
        script.write_text(
            f'#!/bin/sh\ncase "$*" in *" {command} --json") echo \'{text}\' ;; *) exit 1 ;; esac\n'
        )
        script.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    nix.settings.cache_clear()
    yield install
    nix.settings.cache_clear()


def option(name):
    words = nix.settings()
    return next(value for key, value in zip(words[1::3], words[2::3], strict=True) if key == name)


@pytest.mark.parametrize("command", ["show-config", "config show"])
def test_caches_of_the_user_are_asked_and_the_default_one_is_not(machine, command):
    machine(command, substituters=["https://cache.example.org", DEFAULT + "/", DEFAULT])
    assert option("substituters") == "https://cache.example.org"


def test_a_configuration_that_cannot_be_read_means_no_caches(machine):
    machine("nothing")
    assert option("substituters") == ""


@pytest.mark.parametrize(
    "printed",
    [
        # Nix 2.8
        '[{"path":"/nix/store/a-one","narHash":"sha256-XaiT","narSize":6512},{"path":"/nix/store/b-two","valid":false}]',
        # Nix 2.26 and 2.34
        '{"/nix/store/a-one":{"ca":null,"narHash":"sha256-XaiT","narSize":6512},"/nix/store/b-two":null}',
    ],
)
def test_what_any_nix_says_of_paths_is_read(printed):
    found = nix.read_path_info(printed)
    assert {path: info.nar_hash for path, info in found.items()} == {"/nix/store/a-one": "sha256-XaiT"}
