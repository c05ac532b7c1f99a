"""What derivations are built from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from builder.derivations import Graph

if TYPE_CHECKING:
    from pathlib import Path


def derivation(folder: Path, name: str, *inputs: str) -> str:
    """Write a derivation as Nix does: its environment names paths too, and those are no inputs."""
    built_from = ",".join(f'("{one}",["out"])' for one in inputs)
    path = folder / f"{name}.drv"
    path.write_text(
        f'Derive([("out","/nix/store/{name}","","")],[{built_from}],["/nix/store/source.drv"],"x86_64-linux","/bin/sh",'
        f'["-c","true"],[("name","{name}"),("spec","{{\\"a\\":\\"/nix/store/other.drv\\"}}")])'
    )
    return str(path)


def test_the_closure_is_all_that_a_derivation_is_built_from(tmp_path: Path) -> None:
    wheel = derivation(tmp_path, "wheel")
    layer = derivation(tmp_path, "layer", wheel)
    links = derivation(tmp_path, "links", layer)
    image = derivation(tmp_path, "image", links, layer)
    other = derivation(tmp_path, "other", layer)
    graph = Graph()
    assert graph.closure(image) == {image, links, layer, wheel}
    assert graph.closure(other) == {other, layer, wheel}
    assert graph.closure(wheel) == {wheel}


def test_of_a_derivation_that_is_gone_only_itself_is_known(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.drv")
    assert Graph().closure(gone) == {gone}
