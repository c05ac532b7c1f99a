import contextlib
from types import SimpleNamespace

from builder import build, nix, session
from builder.layout import Image
from builder.progress import Display
from builder.settings import Settings


def test_code_that_is_edited_during_a_build_is_not_taken_for_what_was_built(tmp_path, monkeypatch):
    app = tmp_path / "app.py"
    app.write_text("first")
    lock = tmp_path / "pylock.app.toml"
    fields = {
        "name": "app",
        "class_name": "App",
        "file": app,
        "root": tmp_path,
        "endpoints": (),
        "kind": "builder",
        "architecture": "x86_64",
    }
    image = Image("app", tmp_path / "image", "sha256:1", "sha256:2", 3, 4)
    image.path.mkdir()
    (image.path / "index.json").write_text("{}")
    builds = []

    @contextlib.contextmanager
    def plan(*_, **__):
        yield app.read_text()

    def run(staged, *_, **__):
        builds.append(staged)
        if len(builds) == 1:
            app.write_text("second")
        return build.Result(image, 1)

    def locked(*_, **__):
        lock.write_text("lock")
        return session.Locked(None, lock, "sha256:lock", changed=False)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BUILDER_CACHE", raising=False)
    monkeypatch.setattr(session, "declare", lambda *_, **__: fields)
    monkeypatch.setattr(
        session,
        "loaded",
        lambda _: SimpleNamespace(spec=SimpleNamespace(root=tmp_path), settings=Settings()),
    )
    monkeypatch.setattr(session, "lock_app", locked)
    monkeypatch.setattr(nix, "require", lambda: None)
    monkeypatch.setattr(build, "plan", plan)
    monkeypatch.setattr(build, "build", run)
    for _ in range(3):
        session.build_app(
            session.Request("app.py"), out_link=None, link=False, display=Display(enabled=False)
        )
    assert builds == ["first", "second"]
