import pytest

from builder import memory
from builder.layout import Image


@pytest.fixture
def fields(tmp_path):
    file = tmp_path / "app.py"
    file.write_text("a")
    (tmp_path / "pylock.app.toml").write_text("lock")
    return {"name": "app", "class_name": "App", "file": file, "root": tmp_path, "requirements": (("six",),)}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image"
    path.mkdir()
    (path / "index.json").write_text("{}")
    return Image(name="app", path=path, digest="sha256:1", config_digest="sha256:2", size=3, layers=4)


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "pylock.app.toml"


def test_the_same_app_has_the_same_key(fields, lock):
    assert memory.key(fields, lock, ("3.11", None)) == memory.key(dict(fields), lock, ("3.11", None))


def test_a_changed_file_lock_setting_option_or_store_has_another_key(fields, lock, tmp_path, monkeypatch):
    keys = [memory.key(fields, lock, ())]
    (tmp_path / "app.py").write_text("b")
    keys.append(memory.key(fields, lock, ()))
    (tmp_path / "app.py").chmod(0o755)
    keys.append(memory.key(fields, lock, ()))
    lock.write_text("another")
    keys.append(memory.key(fields, lock, ()))
    (tmp_path / "pyproject.toml").write_text("[tool.builder]\nbytecode = false\n")
    keys.append(memory.key(fields, lock, ()))
    keys.append(memory.key(fields, lock, ("3.13",)))
    keys.append(memory.key({**fields, "requirements": (("toolz",),)}, lock, ()))
    monkeypatch.setattr("builder.store.STORE", "/other/store")
    keys.append(memory.key(fields, lock, ()))
    assert len(set(keys)) == len(keys)


def test_what_was_kept_is_recalled(image, tmp_path):
    memory.Memory(tmp_path / "cache", "k").keep(image, "sha256:lock")
    assert memory.Memory(tmp_path / "cache", "k").recall() == (image, "sha256:lock")


def test_an_image_that_has_left_the_store_is_not_recalled(image, tmp_path):
    kept = memory.Memory(tmp_path / "cache", "k")
    kept.keep(image, "sha256:lock")
    (image.path / "index.json").unlink()
    assert kept.recall() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"lock_digest": "x"}'])
def test_a_damaged_memory_is_no_memory(text, image, tmp_path):
    kept = memory.Memory(tmp_path / "cache", "k")
    kept.keep(image, "sha256:lock")
    next((tmp_path / "cache/built").iterdir()).write_text(text)
    assert kept.recall() is None
