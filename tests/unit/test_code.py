import os
import socket

import pytest

from builder import code
from builder.errors import DeclarationError
from builder.local.masking import Masker

NO_SECRETS = Masker(())


@pytest.fixture
def folder(tmp_path):
    """The app's, below another."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "app.py").write_text("")
    return folder


def shipped(folder, **more):
    return code.Shipped(class_name="App", file=folder / "app.py", **more)


def write(folder, *names, text=""):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder, *app_files, **more):
    """What is in /app, besides the app file."""
    tree = code.gather(shipped(folder, app_files=app_files, **more)).tree
    return sorted({*tree.files, *tree.links} - {"app.py"})


def refused(folder, *app_files, **more):
    with pytest.raises(DeclarationError) as raised:
        code.gather(shipped(folder, app_files=app_files, **more))
    return raised.value


def test_the_app_file_is_shipped_by_itself(folder):
    write(folder, "other.py")
    assert list(code.gather(shipped(folder)).tree.files) == ["app.py"]


def test_named_files_and_folders_come_along_under_their_own_paths(folder):
    write(folder, "data/deep/a.txt", "data/b.txt", "one.txt", "two.txt")
    assert names(folder, "./data/", "one.txt") == ["data/b.txt", "data/deep/a.txt", "one.txt"]
    assert names(folder, "data/deep/../b.txt") == ["data/b.txt"]
    assert names(folder, ".") == ["data/b.txt", "data/deep/a.txt", "one.txt", "two.txt"]


def test_names_are_relative_to_the_context_folder(folder):
    write(folder, "own.txt")
    write(folder.parent, "shared/a.txt", "b.txt")
    tree = code.gather(
        shipped(folder, app_files=("shared", "project/own.txt"), app_files_context_dir=folder.parent)
    ).tree
    assert sorted(tree.files) == ["project/app.py", "project/own.txt", "shared/a.txt"]


def test_an_app_file_outside_of_the_context_folder_is_at_the_top(folder):
    write(folder, "assets/a.txt")
    assert names(folder, "a.txt", app_files_context_dir=folder / "assets") == ["a.txt"]
    assert code.place(folder / "app.py", folder / "assets") == "app.py"
    assert code.place(folder / "app.py", folder.parent) == "project/app.py"
    assert code.place(folder / "app.py", None) == "app.py"


def test_patterns_are_searched_in_the_paths_of_files_named_or_not(folder):
    write(folder, "data/a.log", "data/a.txt", "data/tmp/b.txt", "c.log")
    assert names(folder, "data", "c.log", app_files_ignore=(r"\.log$", "tmp/")) == ["data/a.txt"]
    assert names(folder, "data", app_files_ignore=("^a.txt$", "^data$")) == [
        "data/a.log",
        "data/a.txt",
        "data/tmp/b.txt",
    ]


def test_what_no_app_means_stays_behind_whatever_the_patterns(folder):
    write(
        folder, "a/__pycache__/x.pyc", "a/.git/config", "a/x.py", "pylock.app.toml", ".#app.py", "old/x.pyc"
    )
    write(folder, "env/pyvenv.cfg", "env/lib/x.py")
    (folder / "result-app").symlink_to("/nix/store/00000000000000000000000000000000-image-app")
    (folder / "mine").symlink_to("/nix/store/00000000000000000000000000000000-image-app")
    assert names(folder, ".") == ["a/x.py", "old/x.pyc"]
    # By name it comes along.
    assert names(folder, "pylock.app.toml") == ["pylock.app.toml"]


def test_ignored_files_of_a_folder_stay_behind_and_named_ones_come_along(folder):
    write(folder, "data/a.txt", "data/a.tmp", "data/b.log", "weights/w.bin", "gen.py")
    (folder / ".gitignore").write_text("*.tmp\nweights/\ngen.py\n")
    (folder / ".dockerignore").write_text("**/*.log\n")
    assert names(folder, "data") == ["data/a.txt"]
    assert names(folder, "data/a.tmp", "data/b.log", "weights", "gen.py") == [
        "data/a.tmp",
        "data/b.log",
        "gen.py",
        "weights/w.bin",
    ]


def test_a_folder_of_which_nothing_is_left_is_told(folder):
    write(folder, "data/a.bin", "data/.gitkeep", "more/x")
    (folder / ".gitignore").write_text("data/*\n!data/.gitkeep\n")
    told = code.gather(shipped(folder, app_files=("more", "data"))).warnings
    assert len(told) == 1
    assert told[0].startswith("App.app_files[1]: ")
    assert "data/a.bin" in told[0]


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "data/../../secret", "..", "link/secret"])
def test_a_path_that_leaves_the_context_folder_is_refused_with_its_index(folder, name):
    write(folder, "data/x")
    write(folder.parent, "secret")
    (folder / "link").symlink_to("..")
    assert "App.app_files[1]: " in str(refused(folder, "data", name))
    assert "lies outside" in str(refused(folder, "data", name))


def test_a_missing_file_is_refused_with_its_index(folder):
    assert "App.app_files[0]: " in str(refused(folder, "gone.txt"))
    assert "does not exist" in str(refused(folder, "gone.txt"))
    assert "Patterns are not expanded" in refused(folder, "*.txt").hint


def test_staging_keeps_content_and_executable_bits(folder, tmp_path):
    write(folder, "run.sh", text="#!/bin/sh\n")
    (folder / "run.sh").chmod(0o754)
    target = tmp_path / "stage"
    target.mkdir()
    code.stage(shipped(folder, app_files=("run.sh",)), target, NO_SECRETS)
    assert (target / "run.sh").read_text() == "#!/bin/sh\n"
    assert (target / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (target / "app.py").stat().st_mode & 0o777 == 0o644


def test_links_to_what_comes_along_stay_links(folder, tmp_path):
    write(folder, "data/blobs/1", text="x")
    (folder / "data/one").symlink_to(folder / "data/blobs/1")
    (folder / "data/all").symlink_to("blobs")
    (folder / "data/again").symlink_to("one")
    (folder / "data/up").symlink_to(".")
    target = tmp_path / "stage"
    target.mkdir()
    code.stage(shipped(folder, app_files=("data",)), target, NO_SECRETS)
    links = {path.name: str(path.readlink()) for path in (target / "data").iterdir() if path.is_symlink()}
    assert links == {"one": "blobs/1", "all": "blobs", "again": "blobs/1", "up": "."}
    assert (target / "data/again").read_text() == "x"


def test_a_link_to_another_file_of_the_context_becomes_its_copy(folder, tmp_path):
    write(folder, "conf/prod.yaml", text="x")
    write(folder, "data/a")
    (folder / "data/conf.yaml").symlink_to("../conf/prod.yaml")
    (folder / "current").symlink_to("conf/prod.yaml")
    target = tmp_path / "stage"
    target.mkdir()
    code.stage(shipped(folder, app_files=("data", "current")), target, NO_SECRETS)
    for name in ("data/conf.yaml", "current"):
        assert (target / name).read_text() == "x"
        assert not (target / name).is_symlink()


def test_a_folder_that_is_named_by_a_link_has_the_links_name(folder):
    write(folder, "big/v2/a.bin")
    (folder / "weights").symlink_to("big/v2")
    assert names(folder, "weights") == ["weights/a.bin"]


def test_an_app_file_that_is_a_link_comes_along_with_its_content(folder, tmp_path):
    write(folder, "impl.py", text="x")
    (folder / "app.py").unlink()
    (folder / "app.py").symlink_to("impl.py")
    target = tmp_path / "stage"
    target.mkdir()
    code.stage(shipped(folder, app_files=(".",)), target, NO_SECRETS)
    assert (target / "app.py").read_text() == "x"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("../../outside", "lies outside"),
        ("/etc/hostname", "lies outside"),
        ("nowhere", "leads nowhere"),
        ("circle", "leads nowhere"),
        ("../other", "does not come along"),
    ],
)
def test_a_link_that_cannot_come_along_is_refused_by_name(folder, target, said):
    write(folder.parent, "outside")
    write(folder, "data/a", "other/b")
    (folder / "data/circle").symlink_to(target)
    assert "App.app_files[0]: " in str(refused(folder, "data"))
    assert "data/circle" in str(refused(folder, "data"))
    assert said in str(refused(folder, "data"))
    # What is left out need not be right.
    assert names(folder, "data", app_files_ignore=("circle",)) == ["data/a"]


def test_a_named_link_that_leads_nowhere_or_out_is_refused(folder):
    (folder / "weights").symlink_to("/nowhere/weights")
    assert "leads nowhere" in str(refused(folder, "weights"))
    (folder / "etc").symlink_to("/etc")
    assert "lies outside" in str(refused(folder, "etc"))


def test_a_pipe_or_socket_is_refused_by_name(folder):
    write(folder, "data/a")
    os.mkfifo(folder / "data/pipe")
    assert "data/pipe is neither a file nor a folder nor a link" in str(refused(folder, "data"))
    assert "is neither" in str(refused(folder, "data/pipe"))
    (folder / "data/pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "data/s"))
    assert "data/s is neither" in str(refused(folder, "data"))


def test_a_name_that_is_not_utf8_is_refused(folder):
    write(folder, "data/a")
    with open(os.fsencode(folder) + b"/data/\xff.txt", "w"):  # noqa: PTH123 - a Path cannot hold the name
        pass
    assert r"data/\xff.txt is not UTF-8" in str(refused(folder, "data"))
    assert names(folder, "data", app_files_ignore=(r"\.txt$",)) == ["data/a"]


def test_a_file_that_hides_what_images_start_with_is_refused(folder):
    write(folder, "builder/__init__.py")
    assert "hide the module" in str(refused(folder, "builder"))


def test_ten_thousand_files_take_about_a_second(folder):
    for number in range(100):
        (folder / f"data/{number}").mkdir(parents=True)
        for file in range(100):
            (folder / f"data/{number}/{file}.txt").touch()
    (folder / ".gitignore").write_text("\n".join(f"*.{ending}" for ending in ("log", "tmp", "bak", "o")))
    (folder / ".dockerignore").write_text("**/*.log\n!**/keep.log\n")
    before = os.times()
    assert len(names(folder, "data", app_files_ignore=(r"\.pyc$", r"__pycache__/"))) == 10_000
    after = os.times()
    # Of the processor, since other tests may have the machine; generous, but nothing quadratic passes.
    assert after.user + after.system - before.user - before.system < 5


CREDENTIALS = [
    ".env",
    ".env.production",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".git-credentials",
    ".aws/credentials",
    ".docker/config.json",
    "id_rsa",
    "id_ed25519",
    "credentials.json",
    "service-account-prod.json",
    "service_account.json",
    "store.p12",
    "store.PFX",
    "vault.kdbx",
    "server.pem",
    "server.key",
]
HARMLESS = [
    ".env.example",
    ".env.sample",
    ".env.template",
    ".environment",
    "config/credentials",
    "config.json",
    "id_mapping.json",
    "id_rsa.pub",
    "identity",
    "monkey",
]


@pytest.mark.parametrize("name", CREDENTIALS)
def test_what_looks_like_a_credential_is_left_out_and_told_named_or_not(folder, name):
    write(folder, f"conf/{name}", "conf/a.txt", text="x")
    for app_files in (("conf",), ("conf/a.txt", f"conf/{name}")):
        gathered = code.gather(shipped(folder, app_files=app_files))
        assert sorted(gathered.tree.files) == ["app.py", "conf/a.txt"]
        assert len(gathered.warnings) == 1
        assert gathered.warnings[0].startswith(f"conf/{name} looks like a credential")
        assert "secrets = [...]" in gathered.warnings[0]


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_has_a_similar_name_comes_along(folder, name):
    write(folder, f"conf/{name}", text="x")
    assert names(folder, "conf") == [f"conf/{name}"]


PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"
PUBLIC = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_keys_that_are_named_freely_are_known_by_what_is_in_them(folder):
    write(folder, "conf/id_work", "conf/chain.pem", "conf/signing.key", text=PUBLIC * 20_000 + PRIVATE)
    write(folder, "conf/cacert.pem", "conf/public.key", "conf/id_public", text=PUBLIC)
    gathered = code.gather(shipped(folder, app_files=("conf",)))
    assert gathered.tree.credentials == ("conf/chain.pem", "conf/id_work", "conf/signing.key")
    assert gathered.warnings[0].startswith("conf/chain.pem, conf/id_work, conf/signing.key look like")


def test_a_link_with_the_name_or_the_content_of_a_credential_is_left_out(folder):
    write(folder, ".env", "settings", text="x")
    write(folder, "conf/a")
    (folder / "conf/innocent").symlink_to("../.env")
    (folder / "conf/.netrc").symlink_to("../settings")
    gathered = code.gather(shipped(folder, app_files=("conf",)))
    assert sorted(gathered.tree.files) == ["app.py", "conf/a"]
    assert gathered.tree.credentials == ("conf/.netrc", "conf/innocent")


def test_ignored_credentials_are_not_told(folder):
    write(folder, "conf/.env", "conf/a")
    (folder / ".gitignore").write_text(".env\n")
    assert code.gather(shipped(folder, app_files=("conf",))).warnings == ()
