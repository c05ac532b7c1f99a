"""A build that finds what its lock should have besides: it is added, and the image is built again."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from builder import additions, build, nix, session
from builder.errors import ResolveError
from builder.layout import Image
from builder.links import LinkError, Need, Report
from builder.models import Addition
from builder.progress import Display
from builder.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GL = Addition(kind="debian", name="libgl1", library="libGL.so.1", package="opencv-python")
GL_TOO = GL.model_copy(update={"package": "vtk"})
EGL = Addition(kind="debian", name="libegl1", library="libEGL.so.1", package="opencv-python")
CUDART = Addition(
    kind="requirement", name="cuda-toolkit[cudart]==12.8.*", library="libcudart.so.12", package="cupy"
)
LACKS = Report(
    failures=(),
    wanted=(Need(package="a", version="1", library="a.so", name="b.so"),),
    optional=(),
    complaint=None,
)
FAILURE = LinkError("cv2 cannot be imported", (Need(package="a", version="1", library="a.so", name="b.so"),))


class Notes(Display):
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(enabled=False)
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


class World:
    """All that a build needs, made up.

    Attributes:
        outcomes: what builds come to, in order: a report, None where nothing is lacking, or an error.
        found: what is found to add, in order, by either way; an error is raised.
        refused: names of additions that no index has.
        builds: the additions in the lock of each build.
        asked: by which way additions were looked for, and whether for a frozen lock.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = root / "pylock.app.toml"
        self.outcomes: list[Report | Exception | None] = []
        self.found: list[tuple[Addition, ...] | Exception] = []
        self.refused: set[str] = set()
        self.builds: list[tuple[Addition, ...]] = []
        self.asked: list[tuple[str, bool]] = []
        self.locked: tuple[Addition, ...] = ()
        self.display = Notes()

    def lock_app(self, *_: object, additions: tuple[Addition, ...] = (), **__: object) -> session.Locked:
        if self.refused.intersection(addition.name for addition in additions):
            raise ResolveError("no index has it")
        self.locked = (*self.locked, *additions)
        self.lock.write_text(repr(self.locked))
        lock: Any = SimpleNamespace(additions=self.locked)
        return session.Locked(lock, self.lock, f"sha256:{len(self.locked)}", changed=True)

    @contextlib.contextmanager
    def plan(self, spec: object, lock: Any, *_: object, **__: object) -> Iterator[object]:
        yield lock

    def build(self, plan: Any, *_: object, **__: object) -> build.Result:
        self.builds.append(plan.additions)
        assert len(self.builds) < 10
        outcome = self.outcomes[len(self.builds) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return build.Result(self.image(len(self.builds)), 2, outcome)

    def image(self, number: int) -> Image:
        path = self.root / f"image-{number}"
        path.mkdir(exist_ok=True)
        (path / "index.json").write_text("{}")
        return Image("app", path, f"sha256:{number}", "sha256:0", 3, 4)

    def find(self, way: str, frozen: bool) -> tuple[Addition, ...]:
        self.asked.append((way, frozen))
        found = self.found[len(self.asked) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    def run(self, **request: object) -> session.Built:
        return session.build_app(
            session.Request("app.py", **request),  # type: ignore[arg-type]
            out_link=None,
            link=False,
            display=self.display,
        )


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    world = World(tmp_path)
    (tmp_path / "app.py").write_text("")
    fields = {
        "name": "app",
        "class_name": "App",
        "file": tmp_path / "app.py",
        "root": tmp_path,
        "endpoints": (),
        "kind": "builder",
        "architecture": "x86_64",
    }
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BUILDER_CACHE", raising=False)
    monkeypatch.setattr(session, "declare", lambda *_, **__: fields)
    monkeypatch.setattr(
        session,
        "loaded",
        lambda _: SimpleNamespace(spec=SimpleNamespace(root=tmp_path), settings=Settings()),
    )
    monkeypatch.setattr(session, "lock_app", world.lock_app)
    monkeypatch.setattr(nix, "require", lambda: None)
    monkeypatch.setattr(build, "plan", world.plan)
    monkeypatch.setattr(build, "build", world.build)
    monkeypatch.setattr(
        additions, "for_imports", lambda *_, frozen, **__: world.find("for imports", frozen=frozen)
    )
    monkeypatch.setattr(additions, "cuda_parts", lambda *_: world.find("for a GPU", frozen=False))
    monkeypatch.setattr(additions, "for_parts", lambda *_, **__: world.find("for parts", frozen=False))
    return world


def test_an_image_that_lacks_nothing_is_built_once(world: World) -> None:
    world.outcomes = [None]
    built = world.run()
    assert (built.image, built.steps, world.asked) == (world.image(1), 2, [])


def test_what_an_import_lacks_is_added_and_the_image_built_again(world: World) -> None:
    world.outcomes = [FAILURE, None]
    world.found = [(GL, GL_TOO, EGL)]
    built = world.run()
    assert world.builds == [(), (GL, GL_TOO, EGL)]
    assert world.asked == [("for imports", False)]
    assert (built.image, built.lock_digest) == (world.image(2), "sha256:3")
    assert world.display.said == [
        "added to pylock.app.toml: libegl1 (libEGL.so.1 for opencv-python), libgl1 (libGL.so.1 for opencv-python)"
    ]


def test_what_is_added_may_need_more(world: World) -> None:
    world.outcomes = [FAILURE, FAILURE, LACKS, LACKS]
    world.found = [(GL,), (EGL,), (CUDART,), ()]
    built = world.run()
    assert world.builds == [(), (GL,), (GL, EGL), (GL, EGL, CUDART)]
    assert built.image == world.image(4)
    assert built.steps == 4
    assert len(world.display.said) == 3


def test_an_image_that_should_have_more_is_built_again_with_it(world: World) -> None:
    world.outcomes = [LACKS, None]
    world.found = [(CUDART,)]
    built = world.run()
    assert world.builds == [(), (CUDART,)]
    assert (built.image, built.steps, built.lock_digest) == (world.image(2), 4, "sha256:1")
    assert world.display.said == [
        "added to pylock.app.toml: cuda-toolkit[cudart]==12.8.* (libcudart.so.12 for cupy)"
    ]


def test_what_an_image_lacks_and_nothing_brings_is_left(world: World) -> None:
    world.outcomes = [LACKS]
    world.found = [()]
    assert world.run().image == world.image(1)
    assert world.display.said == []


def test_the_image_stays_where_what_it_should_have_besides_cannot_be_had(world: World) -> None:
    world.outcomes = [LACKS]
    world.found = [(CUDART,)]
    world.refused = {CUDART.name}
    built = world.run()
    assert (built.image, built.lock_digest) == (world.image(1), "sha256:0")
    assert world.display.said == [
        "cuda-toolkit[cudart]==12.8.* (libcudart.so.12 for cupy) cannot be added: no index has it"
    ]
    assert world.run().image == world.image(1)
    assert world.builds == [()]


def test_what_an_import_lacks_must_be_had(world: World) -> None:
    world.outcomes = [FAILURE]
    world.found = [(GL,)]
    world.refused = {"libgl1"}
    with pytest.raises(ResolveError, match="no index has it"):
        world.run()


def test_a_failure_that_nothing_mends_is_the_build_s(world: World) -> None:
    world.outcomes = [FAILURE]
    world.found = [FAILURE]
    with pytest.raises(LinkError, match="cv2 cannot be imported"):
        world.run()
    assert world.builds == [()]


def test_a_frozen_lock_is_built_as_it_is_and_told_what_it_should_have(world: World) -> None:
    world.outcomes = [LACKS]
    world.found = [(CUDART,)]
    assert world.run(frozen=True).image == world.image(1)
    assert (world.builds, world.locked) == ([()], ())
    # Debian is not asked: it may be that no network is to be had.
    assert world.asked == [("for a GPU", False)]
    [said] = world.display.said
    assert said.startswith("pylock.app.toml lacks ")
    assert said.endswith(": cuda-toolkit[cudart]==12.8.* (libcudart.so.12 for cupy)")


def test_of_a_frozen_lock_that_has_all_that_could_be_added_nothing_is_told(world: World) -> None:
    world.locked = (CUDART,)
    world.outcomes = [LACKS]
    world.found = [(CUDART,)]
    assert world.run(frozen=True).image == world.image(1)
    assert world.display.said == []


def test_a_frozen_lock_that_fails_is_told_as_such(world: World) -> None:
    world.outcomes = [FAILURE]
    world.found = [FAILURE]
    with pytest.raises(LinkError):
        world.run(frozen=True)
    assert world.asked == [("for imports", True)]


def test_an_image_with_additions_is_remembered(world: World) -> None:
    world.outcomes = [FAILURE, LACKS, None]
    world.found = [(GL,), (EGL,)]
    first = world.run()
    again = world.run()
    assert (again.image, again.lock_digest, again.steps) == (first.image, first.lock_digest, 0)
    assert len(world.builds) == 3
