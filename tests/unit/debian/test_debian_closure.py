import sqlite3

import pytest

from builder.debian.closure import Closure, HeldBackError, nearest_names
from builder.debian.index import Index, build_database, read_stanza
from builder.errors import ResolveError


def stanza(name, version="1", **fields):
    lines = [f"Package: {name}", f"Version: {version}", "Architecture: amd64"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in fields.items()]
    lines += [f"Filename: pool/{name}_{version}.deb", f"SHA256: {'0' * 64}", "Size: 1"]
    return "\n".join(lines)


@pytest.fixture
def index(tmp_path):
    opened = []

    def make(*pockets):
        databases = []
        for number, stanzas in enumerate(pockets):
            path = tmp_path / f"{number}.sqlite"
            build_database(("\n\n".join(stanzas) + "\n").encode(), path)
            databases.append(("debian" if number == 0 else "debian-security", path))
        opened.append(Index(databases))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def close(index, *names, **more):
    closure = Closure(index, suite="bookworm", **more)
    closure.add(names)
    return [package.name for package in closure.packages()]


def test_a_closure_follows_depends_and_pre_depends(index):
    found = index(
        [
            stanza("app", Depends="lib (>= 1)", Pre_Depends="libc"),
            stanza("lib", Depends="libc, app"),
            stanza("libc"),
            stanza("other"),
        ]
    )
    assert close(found, "app") == ["app", "lib", "libc"]


def test_recommends_and_suggests_are_not_followed(index):
    found = index([stanza("app", Recommends="x", Suggests="y"), stanza("x"), stanza("y")])
    assert close(found, "app") == ["app"]


def test_the_highest_version_of_all_pockets_is_taken_with_its_archive(index):
    found = index([stanza("libc", "2.36-9"), stanza("b")], [stanza("libc", "2.36-9+deb12u1")])
    package = found.best("libc")
    assert (package.version, package.archive) == ("2.36-9+deb12u1", "debian-security")
    assert package.deb().path == "pool/libc_2.36-9+deb12u1.deb"


def test_the_first_alternative_that_can_be_had_is_taken(index):
    found = index(
        [
            stanza("app", Depends="gone | old (>= 2) | new | newer"),
            stanza("old"),
            stanza("new"),
            stanza("newer"),
        ]
    )
    assert close(found, "app") == ["app", "new"]


def test_an_alternative_that_is_there_already_is_preferred(index):
    found = index([stanza("app", Depends="first | second"), stanza("first"), stanza("second")])
    assert close(found, "app", "second") == ["app", "second"]


def test_a_virtual_package_is_met_by_a_provider_with_the_version_asked_for(index):
    found = index(
        [
            stanza("app", Depends="virtual (>= 2)"),
            stanza("a", Provides="virtual"),
            stanza("b", Provides="virtual (= 1)"),
            stanza("c", Provides="virtual (= 2), more"),
        ]
    )
    assert close(found, "app") == ["app", "c"]


def test_of_several_providers_the_one_of_highest_priority_is_taken(index):
    found = index(
        [
            stanza("app", Depends="awk"),
            stanza("gawk", Provides="awk", Priority="optional"),
            stanza("mawk", Provides="awk", Priority="required"),
            stanza("original-awk", Provides="awk"),
        ]
    )
    assert close(found, "app") == ["app", "mawk"]


def test_an_architecture_qualifier_does_not_matter(index):
    assert close(index([stanza("app", Depends="python3:any"), stanza("python3")]), "app") == [
        "app",
        "python3",
    ]


def test_stopped_packages_count_as_there(index):
    found = index(
        [
            stanza("app", Depends="debconf (>= 0.5) | debconf-2.0, ca-certificates"),
            stanza("ca-certificates", Depends="openssl"),
            stanza("tool", Depends="openssl"),
            stanza("debconf"),
            stanza("openssl"),
        ]
    )
    stop = {"*": ("debconf",), "ca-certificates": ("openssl",)}
    assert close(found, "app", stop=stop) == ["app", "ca-certificates"]
    assert close(found, "tool", stop=stop) == ["openssl", "tool"]
    assert close(found, "debconf", stop=stop) == ["debconf"]


def test_a_dependency_that_nobody_has_is_reported_with_who_wants_it(index):
    with pytest.raises(
        ResolveError, match=r"bookworm: app 1 depends on lib \(>= 2\) \| x, which cannot be had"
    ):
        close(index([stanza("app", Depends="lib (>= 2) | x"), stanza("lib")]), "app")


def test_an_unknown_package_is_reported_with_the_nearest_names(index):
    with pytest.raises(ResolveError, match="bookworm has no package libgl") as caught:
        close(index([stanza("libgl1"), stanza("libgl1-mesa-dri"), stanza("zsh")]), "libgl")
    assert caught.value.hint.startswith("nearest are libgl1")
    assert "zsh" not in caught.value.hint


def test_a_virtual_package_by_name_needs_one_provider(index):
    found = index([stanza("a", Provides="v, w"), stanza("b", Provides="v")])
    assert close(found, "w") == ["a"]
    with pytest.raises(ResolveError, match="v is a virtual package") as caught:
        close(found, "v")
    assert caught.value.hint.endswith("a, b")


def test_packages_that_exclude_each_other_are_reported(index):
    found = index(
        [
            stanza("a", Conflicts="b (<< 2), virtual"),
            stanza("b", "1"),
            stanza("c", Provides="virtual"),
            stanza("d", Conflicts="own", Provides="own"),
            stanza("e", Breaks="b (<< 1)"),
        ]
    )
    with pytest.raises(ResolveError, match="a and b cannot be in one image"):
        close(found, "a", "b")
    with pytest.raises(ResolveError, match="a and c cannot be in one image"):
        close(found, "a", "c")
    assert close(found, "b", "d", "e") == ["b", "d", "e"]


def test_a_default_gives_way_to_what_was_asked_for_and_provides_it(index):
    found = index(
        [
            stanza("cargo", Depends="rustc"),
            stanza("cargo-web", Provides="cargo", Conflicts="cargo", Depends="rustc-web"),
            stanza("rustc"),
            stanza("rustc-web", Provides="rustc (= 1)", Conflicts="rustc"),
            stanza("other"),
        ]
    )

    def chosen(*names):
        closure = Closure(found, suite="bookworm")
        closure.add(names, defaults=["cargo", "rustc"])
        return [package.name for package in closure.packages()]

    assert chosen("other") == ["cargo", "other", "rustc"]
    assert chosen("cargo-web", "rustc-web") == ["cargo-web", "rustc-web"]
    assert chosen("rustc-web") == ["cargo", "rustc-web"]


def fixed(name, version, provides=""):
    return {name: read_stanza(stanza(name, version, Provides=provides).encode(), "debian")}


def test_fixed_packages_are_used_and_not_given_out(index):
    found = index([stanza("app", Depends="libc (>= 2), virtual"), stanza("libc", "3")])
    assert close(found, "app", fixed=fixed("libc", "2", "virtual")) == ["app"]


def test_a_fixed_package_that_is_too_old_is_told_apart(index):
    found = index([stanza("app", Depends="libc (>= 3)"), stanza("libc", "3")])
    with pytest.raises(HeldBackError, match=r"app 1 needs libc \(>= 3\)"):
        close(found, "app", fixed=fixed("libc", "2"))


def test_a_folded_field_is_read_whole(index):
    package = read_stanza(stanza("app", Depends="a,\n b").encode(), "debian")
    assert [str(relation) for (relation,) in package.requirements] == ["a", "b"]


def test_a_stanza_without_a_hash_is_refused():
    with pytest.raises(ResolveError, match="no readable field 'SHA256' for app"):
        read_stanza(b"Package: app\nVersion: 1\nArchitecture: all\nFilename: x", "debian")


def test_an_interrupted_database_is_not_left_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("builder.debian.index._stanzas", fail)
    # SQLite has an error of its own for that; it is told like any other full disk.
    with pytest.raises(OSError, match="No space left") as caught:
        build_database(b"", tmp_path / "x.sqlite")
    assert caught.value.filename == str(tmp_path / "x.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_nearest_names_put_what_is_written_alike_first():
    names = ["libglib2.0-0", "libgl1", "libegl1", "python3-libgl1x"]
    assert nearest_names("libg1", names)[0] == "libgl1"
    assert nearest_names("qqq", names) == []
