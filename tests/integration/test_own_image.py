"""An image of this project's own command."""

from __future__ import annotations

import subprocess
from pathlib import Path

from conftest import Project

from builder.container import Engine

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples/builder-cli/app.py"


def test_the_command_renders_in_its_own_image_what_it_renders_outside(project, tmp_path):
    example = EXAMPLE.read_text()
    assert '["../.."]' in example
    project.write("app.py", example.replace('["../.."]', f"[{str(CHECKOUT)!r}]"))
    image = project.build()

    other = Project(tmp_path / "other", project.env)
    other.app(["markupsafe==3.0.3"])
    outside = other.run("render", "app.py").out
    # The image's user is another one.
    (other.folder / "pylock.app.toml").chmod(0o644)

    engine = Engine.find()
    run = [
        *engine.command,
        "run",
        "--rm",
        *engine.limits,
        "--network=none",
        "--volume",
        f"{other.folder}:/work:ro",
    ]
    named = f"oci:{image['path']}:latest"
    inside = subprocess.run(
        [*run, "--workdir=/work", "--entrypoint=builder", named, "render", "--frozen", "app.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert inside.stdout == outside
    nix = subprocess.run(
        [*run, "--entrypoint=nix", named, "--version"], capture_output=True, text=True, check=True
    )
    assert nix.stdout.startswith("nix (Nix) 2.")
