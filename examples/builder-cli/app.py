"""This project's own command, with Nix in it: for a CI that runs in containers.

`builder run examples/builder-cli/app.py -- builder --help`, or with a repository mounted:
`podman run --rm -v .:/work -w /work --entrypoint builder IMAGE render app.py`.
"""

from __future__ import annotations

from builder import App


class BuilderCLI(App):
    python_version = "3.11"
    requirements = ["../.."]
    system_packages = ["nix-bin", "gpgv", "debian-archive-keyring", "git"]
