from __future__ import annotations

from typing import TYPE_CHECKING

from builder.local_index import Link, links_page, read_local_index

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, project: str, page: str) -> None:
    (root / project).mkdir(parents=True)
    (root / project / "index.html").write_text(page)


def test_every_link_of_every_project_is_read_with_what_stands_beside_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        "alpha",
        '<a href="../../files/alpha-1.0%2Bcpu-py3-none-any.whl#sha256=00" data-requires-python="&gt;=3.9">x</a>'
        '<a href="alpha-2.0-py3-none-any.whl" data-yanked="broken &amp; sad">y</a>',
    )
    write(
        tmp_path,
        "beta",
        '<A HREF="https://h.example/beta-1.0-py3-none-any.whl" data-yanked>z</A><a>no link</a>',
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "index.html").write_text('<a href="alpha/">alpha</a>')
    root = tmp_path.as_uri()
    assert read_local_index(root) == (
        Link(
            "alpha-1.0+cpu-py3-none-any.whl",
            f"{tmp_path.parent.as_uri()}/files/alpha-1.0%2Bcpu-py3-none-any.whl#sha256=00",
            ">=3.9",
        ),
        Link("alpha-2.0-py3-none-any.whl", f"{root}/alpha/alpha-2.0-py3-none-any.whl", "", "broken & sad"),
        Link("beta-1.0-py3-none-any.whl", "https://h.example/beta-1.0-py3-none-any.whl", "", ""),
    )


def test_a_page_of_links_says_what_the_index_said(tmp_path: Path) -> None:
    links = (
        Link(
            "alpha-1.0-py3-none-any.whl",
            "https://h.example/alpha-1.0-py3-none-any.whl?a=1&b=2#sha256=00",
            ">=3.9",
        ),
        Link("beta-1.0-py3-none-any.whl", "https://h.example/beta-1.0-py3-none-any.whl", "", '"quoted"'),
    )
    write(tmp_path / "again", "all", links_page(links))
    assert read_local_index((tmp_path / "again").as_uri()) == links


def test_what_is_no_folder_is_left_to_uv(tmp_path: Path) -> None:
    assert read_local_index((tmp_path / "absent").as_uri()) is None
