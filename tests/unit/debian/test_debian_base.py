import hashlib
import io
import lzma
import tarfile

import pytest
from test_debian_deb import ar

from builder.debian import base as module
from builder.debian import mirrors, release, resolve_base
from builder.errors import DeclarationError, ResolveError

NAMES = [
    "base-files",
    "libc6",
    "libc-bin",
    "libstdc++6",
    "libgcc-s1",
    "ca-certificates",
    "tzdata",
    "netbase",
    "dash",
]


def busybox_deb():
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        info = tarfile.TarInfo("./bin/busybox")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"\x7fELF"))
    return ar({"debian-binary": b"2.0\n", "data.tar.xz": lzma.compress(data.getvalue())})


class Archive:
    """A mirror in a folder, unsigned."""

    def __init__(self, root):
        self.root = root
        self.packages = {}

    def add(self, name, version="1", *, pocket="bookworm", **fields):
        self.packages.setdefault(pocket, {})[name] = (version, fields)

    def publish(self, codename="bookworm", date="Sat, 11 Jul 2026 10:16:37 UTC", valid_until=None):
        for pocket in (codename, f"{codename}-updates", f"{codename}-security"):
            archive = self.root / ("debian-security" if pocket.endswith("-security") else "debian")
            listed = []
            for architecture in ("amd64", "arm64"):
                text = "\n\n".join(self.stanzas(archive, pocket, architecture)) + "\n"
                packed = lzma.compress(text.encode())
                path = f"main/binary-{architecture}/Packages.xz"
                file = archive / "dists" / pocket / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(packed)
                listed.append(f" {hashlib.sha256(packed).hexdigest()} {len(packed)} {path}")
            until = f"Valid-Until: {valid_until}\n" if valid_until else ""
            release_text = f"Codename: {pocket}\nDate: {date}\n{until}SHA256:\n" + "\n".join(listed) + "\n"
            (archive / "dists" / pocket / "InRelease").write_text(release_text)

    def stanzas(self, archive, pocket, architecture):
        for name, (version, fields) in self.packages.get(pocket, {}).items():
            content = (
                busybox_deb() if name == "busybox-static" else f"{name} {version} {architecture}".encode()
            )
            path = f"pool/{name}_{version}_{architecture}.deb"
            (archive / "pool").mkdir(parents=True, exist_ok=True)
            (archive / path).write_bytes(content)
            lines = [f"Package: {name}", f"Version: {version}", f"Architecture: {architecture}"]
            lines += [f"{key}: {value}" for key, value in fields.items()]
            sha256 = hashlib.sha256(content).hexdigest()
            yield "\n".join([*lines, f"Filename: {path}", f"SHA256: {sha256}", f"Size: {len(content)}"])


@pytest.fixture
def archive(tmp_path, monkeypatch):
    keyring = tmp_path / "keyring.gpg"
    keyring.write_bytes(b"keys")
    monkeypatch.setattr(mirrors, "_KEYRINGS", (keyring,))
    monkeypatch.setattr(release, "verified_text", lambda signed, *_, **__: signed.decode())
    found = Archive(tmp_path / "mirror")
    for name in NAMES:
        found.add(name, Depends="debconf (>= 0.5)" if name == "tzdata" else "")
    found.add("busybox-static")
    found.add("python3.11", "3.11.2-6", Depends="libpython3.11-stdlib (= 3.11.2-6)")
    found.add("libpython3.11-stdlib", "3.11.2-6")
    found.add("python3.11-venv", "3.11.2-6")
    found.add("python3", "3.11.2-1+b1", Depends="python3.11 (>= 3.11.2-1~)")
    found.add("python3-distutils", "3.11.2-3")
    found.add("python3-gdbm", "3.10.1-1")
    found.add("libisal2", Depends="libc6 (>= 1), libhelp0")
    found.add("libhelp0")
    found.add("libgl1", Depends="libglvnd0, libc6 (>= 1)")
    found.add("libglvnd0")
    found.publish()
    return found


@pytest.fixture
def lock(archive, tmp_path):
    notes = []

    def resolve(python="3.11", **more):
        table = {"debian": (archive.root / "debian").as_uri()}
        return resolve_base(python, mirrors=table, cache=tmp_path / "cache", note=notes.append, **more)

    resolve.notes = notes
    return resolve


def names(debs):
    return [deb.package for deb in debs]


def test_a_base_has_what_every_image_needs_for_both_architectures(lock):
    base = lock()
    assert (base.suite, base.python, base.extra) == ("bookworm", "3.11", ())
    expected = [*NAMES, "busybox-static", "libpython3.11-stdlib", "python3", "python3-distutils"]
    expected += ["python3.11", "python3.11-venv"]
    assert names(base.debs["x86_64"]) == sorted(expected)
    assert {deb.architecture for deb in base.debs["aarch64"]} == {"arm64"}
    assert lock.notes == []


def test_a_part_of_another_python_is_left_out(lock):
    assert "python3-gdbm" not in names(lock().debs["x86_64"])


def test_busybox_is_pinned_by_the_program_in_it_too(lock):
    busybox = lock().busybox
    assert busybox["x86_64"].architecture == "amd64"
    # The same program in both packages: the folder that Nix knows is the same.
    assert busybox["x86_64"].nar_sha256 == busybox["aarch64"].nar_sha256 != busybox["x86_64"].sha256


def test_tools_are_pinned_for_both_architectures_with_what_the_base_has_not(lock):
    base = lock()
    assert {name: names(debs) for name, debs in base.tools.items()} == {
        "x86_64": ["libhelp0", "libisal2"],
        "aarch64": ["libhelp0", "libisal2"],
    }
    assert {deb.architecture for deb in base.tools["aarch64"]} == {"arm64"}


def test_a_suite_without_a_tool_has_a_base_without_it(archive, lock):
    del archive.packages["bookworm"]["libisal2"]
    archive.publish()
    old = lock()
    assert old.tools == {"x86_64": (), "aarch64": ()}
    assert lock(keep=old) == old


def test_a_base_from_before_there_were_tools_gets_them_and_stays_as_it_is(archive, lock):
    old = lock(system_packages=["libgl1"])
    archive.add("libc6", "2")
    archive.publish()
    for more in ([], ["libgl1"]):
        new = lock(keep=old.model_copy(update={"tools": {}}), system_packages=more)
        assert new == old.model_copy(update={"extra": old.extra if more else ()})
    assert lock.notes == []


def test_a_base_that_is_too_old_for_a_tool_is_updated_and_said_so(archive, lock):
    old = lock().model_copy(update={"tools": {}})
    archive.add("libc6", "2")
    archive.add("libhelp0", Depends="libc6 (>= 2)")
    archive.publish()
    new = lock(keep=old)
    assert next(deb.version for deb in new.debs["x86_64"] if deb.package == "libc6") == "2"
    assert names(new.tools["x86_64"]) == ["libhelp0", "libisal2"]
    assert lock.notes == [
        "the base is updated: libhelp0 1 needs libc6 (>= 2), newer than the one in the lock"
    ]


def test_system_packages_come_with_their_dependencies_for_the_target_alone(lock):
    base = lock(system_packages=["libgl1", "dash", "libgl1"], target="aarch64")
    assert names(base.extra) == ["libgl1", "libglvnd0"]
    assert {deb.architecture for deb in base.extra} == {"arm64"}


def test_the_security_pocket_replaces_what_is_older(archive, lock):
    archive.add("libc6", "1+deb12u1", pocket="bookworm-security")
    archive.publish()
    libc = next(deb for deb in lock().debs["x86_64"] if deb.package == "libc6")
    assert (libc.version, libc.archive) == ("1+deb12u1", "debian-security")


def test_a_kept_base_stays_when_the_suite_goes_on(archive, lock):
    old = lock()
    archive.add("libc6", "2")
    archive.publish()
    assert lock(keep=old) == old
    extended = lock(keep=old, system_packages=["libgl1"])
    assert (extended.debs, names(extended.extra)) == (old.debs, ["libgl1", "libglvnd0"])
    assert lock().debs != old.debs


def test_a_kept_base_needs_no_mirror_at_all(lock, tmp_path):
    old = lock(system_packages=["libgl1"])
    again = resolve_base("3.11", mirrors={"debian": "file:///nowhere"}, cache=tmp_path / "none", keep=old)
    assert again.debs == old.debs
    assert again.extra == ()


def test_kept_system_packages_stay_while_others_are_added(archive, lock):
    old = lock(system_packages=["libgl1"])
    archive.add("libglvnd0", "2")
    archive.add("ffmpeg", Depends="libglvnd0")
    archive.publish()
    more = lock(keep=old, system_packages=["libgl1", "ffmpeg"])
    assert {deb.package: deb.version for deb in more.extra} == {
        "ffmpeg": "1",
        "libgl1": "1",
        "libglvnd0": "1",
    }


def test_a_kept_system_package_that_is_too_old_for_a_new_one_is_updated(archive, lock):
    old = lock(system_packages=["libgl1"])
    archive.add("libglvnd0", "2")
    archive.add("ffmpeg", Depends="libglvnd0 (>= 2)")
    archive.publish()
    more = lock(keep=old, system_packages=["libgl1", "ffmpeg"])
    assert {deb.package: deb.version for deb in more.extra} == {
        "ffmpeg": "1",
        "libgl1": "1",
        "libglvnd0": "2",
    }


def test_a_base_that_is_too_old_for_a_new_package_is_updated_and_said_so(archive, lock):
    old = lock()
    archive.add("libc6", "2")
    archive.add("ffmpeg", Depends="libc6 (>= 2)")
    archive.publish()
    new = lock(keep=old, system_packages=["ffmpeg"])
    assert next(deb.version for deb in new.debs["x86_64"] if deb.package == "libc6") == "2"
    assert names(new.extra) == ["ffmpeg"]
    assert lock.notes == ["the base is updated: ffmpeg 1 needs libc6 (>= 2), newer than the one in the lock"]


def test_pins_of_the_other_architecture_are_no_pins(lock):
    old = lock(system_packages=["libgl1"], target="x86_64")
    new = lock(keep=old, system_packages=["libgl1"], target="aarch64")
    assert {deb.architecture for deb in new.extra} == {"arm64"}


def test_a_system_package_that_does_not_exist_is_named_with_suite_and_neighbours(lock):
    with pytest.raises(ResolveError, match="Debian bookworm has no package libgl2") as caught:
        lock(system_packages=["libgl2"])
    assert "libgl1" in caught.value.hint


@pytest.mark.parametrize("name", ["libgl1=1.0", "libgl1:amd64", "LibGL1", "-y", "a b"])
def test_a_system_package_is_a_bare_name(lock, name):
    with pytest.raises(DeclarationError, match=r"system_packages\[1\]"):
        lock(system_packages=["libgl1", name])


def test_a_suite_without_the_python_is_refused(lock):
    with pytest.raises(ResolveError, match=r"Debian bookworm has no package python3\.12"):
        lock("3.12", extra_suites={"3.12": "bookworm"})


def test_an_index_past_its_date_is_used_and_said_so(archive, lock):
    archive.publish(date="Sat, 11 Jul 2020 10:16:37 UTC", valid_until="Sat, 18 Jul 2020 10:16:37 UTC")
    assert lock().suite == "bookworm"
    (note,) = lock.notes
    assert "out of date" in note
    assert "2020-07-11" in note


def test_a_changed_index_is_refused(archive, lock):
    path = archive.root / "debian" / "dists" / "bookworm" / "main" / "binary-amd64" / "Packages.xz"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(ResolveError, match="is not the file that Debian's signed index names"):
        lock()


def test_a_security_pocket_whose_files_are_gone_is_left_out_after_support_has_ended(
    archive, lock, monkeypatch
):
    monkeypatch.setitem(module.suite_for.__globals__["SUITES"], "3.11", ended_bookworm())
    archive.add("libc6", "1+deb12u1", pocket="bookworm-security")
    archive.publish()
    (archive.root / "debian-security" / "pool" / "libc6_1+deb12u1_arm64.deb").unlink()
    base = lock()
    versions = {
        architecture: next(deb.version for deb in debs if deb.package == "libc6")
        for architecture, debs in base.debs.items()
    }
    assert versions == {"x86_64": "1+deb12u1", "aarch64": "1"}
    (note,) = lock.notes
    assert note.startswith("bookworm-security is left out for aarch64")


def ended_bookworm():
    from builder.debian.suites import Suite

    return Suite("bookworm", "ended")
