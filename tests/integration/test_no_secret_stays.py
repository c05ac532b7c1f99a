"""Each way to say who we are gives an app its package, and nothing that is written or started holds the secret."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import re
import secrets
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from git_server import BEARER, TOKEN
from leaks import Search, spellings, watched_processes
from small_index import source_files
from ways import GIT_WAYS, WAYS, Way

from builder import store

STORE = Path(store.STORE)
LOGS = Path("/nix/var/log/nix/drvs")
RUN_TIME = "canary-run-time-4c1e"
LEFT = "canary-left-behind-8d02"


@dataclass
class Tried:
    """An app that was built in one way.

    Attributes:
        way: the way.
        module: what its package is called.
        project: its folder.
        own: files of the user's that hold the secret.
        built: what `builder build --json` said.
        said: everything that commands have printed.
    """

    way: Way
    module: str
    project: object
    own: set[Path]
    built: dict
    said: list[str]


def attempt(session_project, name, module, way, environment, temporary):
    """Write the app, and run every command there is, also in ways that fail, as loudly as can be."""
    project = session_project(name)
    project.env |= {
        **environment,
        "UV_CACHE_DIR": str(project.folder / "uv"),
        "TMPDIR": str(temporary),
        "BUILDER_DEBUG": "1",
        "MY_SECRET": RUN_TIME,
        **way.env,
    }
    own = {project.app(way.requirements, secrets=["MY_SECRET"], app_files=["notes"])}
    own |= {project.write(path, text) for path, text in way.files.items()}
    own |= {project.write("notes/.env", f"KEY={LEFT}\n"), project.write("notes/id_ed25519", LEFT)}
    project.write("notes/kept.txt", "kept\n")
    done = [project.run("build", "app.py", "--json", "--verbose")]
    built = json.loads(done[0].out)
    done.append(project.run("render", "app.py"))
    done.append(project.run("lock", "app.py", "--upgrade", "--verbose"))
    # A name that no index has: the message tells where it was looked for.
    own.add(project.app([*way.requirements, f"{module}-absent==1.0"], name="absent.py", class_name="Absent"))
    done.append(project.run("lock", "absent.py", "--verbose", check=False))
    assert done[-1].code == 4, done[-1].err
    # A lock that promises other bytes: each file is fetched anew, and refused.
    lock = (project.folder / "pylock.app.toml").read_text()
    own.add(project.app(way.requirements, name="other.py", class_name="Other"))
    project.run("lock", "other.py")
    lock = (project.folder / "pylock.other.toml").read_text()
    pin = re.compile(rf'(name = "{module}.*?sha256 = ")[0-9a-f]{{64}}', re.DOTALL)
    wrong = pin.sub(rf"\g<1>{secrets.token_hex(32)}", lock, count=1)
    project.write("pylock.other.toml", wrong)
    done.append(project.run("build", "other.py", "--frozen", "--verbose", check=False))
    return Tried(way, module, project, own, built, [text for one in done for text in (one.out, one.err)])


@pytest.fixture(scope="module")
def tried(servers, git_server, session_project, cache, tmp_path_factory):
    """Every way tried, and all that there was to see of it."""
    temporary = tmp_path_factory.mktemp("temporary")
    bundle = tmp_path_factory.mktemp("bundle") / "ca.pem"
    bundle.write_bytes(servers.bundle.read_bytes() + git_server.cert.read_bytes())
    before = set(STORE.iterdir())
    logs_before = set(LOGS.rglob("*"))
    everything = {}
    processes = set()
    with watched_processes(processes):
        for way in WAYS:
            module = f"canary{secrets.token_hex(4)}"
            wheel = servers.publish(module)
            made = way(servers, wheel, tmp_path_factory.mktemp("home"))
            everything[way.__name__] = attempt(
                session_project, way.__name__, module, made, servers.environment, temporary
            )
        for way in GIT_WAYS:
            module = f"canary{secrets.token_hex(4)}"
            repository = git_server.repository(module)
            repository.commit(source_files(module), tag="v1")
            environment = {**servers.environment, "SSL_CERT_FILE": str(bundle)}
            everything[way.__name__] = attempt(
                session_project, way.__name__, module, way(git_server, repository), environment, temporary
            )
    return {
        "apps": everything,
        "processes": processes,
        "store": sorted(set(STORE.iterdir()) - before),
        "logs": sorted(path for path in set(LOGS.rglob("*")) - logs_before if path.is_file()),
        "temporary": temporary,
        "cache": cache,
        "bundle": bundle,
    }


@pytest.fixture(scope="module")
def search(tried):
    """Makes a search for every secret of every way."""
    wanted = {secret for app in tried["apps"].values() for secret in app.way.secrets}
    return lambda: Search({*wanted, RUN_TIME, LEFT, TOKEN, BEARER})


NAMES = [way.__name__ for way in (*WAYS, *GIT_WAYS)]


@pytest.mark.parametrize("name", NAMES)
def test_a_package_is_had_in_this_way_and_is_in_the_image(tried, name):
    app = tried["apps"][name]
    assert any(app.module in entry for entry in entries(app.built["path"]))


def entries(image):
    """The names of all files above an image's base."""
    for layer in layers(image)[1:]:
        with tarfile.open(layer) as archive:
            yield from archive.getnames()


def layers(image):
    """The blobs of an image's layers, lowest first."""
    blobs = Path(image) / "blobs" / "sha256"
    index = json.loads((Path(image) / "index.json").read_text())
    manifest = json.loads((blobs / index["manifests"][0]["digest"].removeprefix("sha256:")).read_text())
    return [blobs / layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]


def test_no_output_at_its_most_verbose_nor_any_error_message_holds_a_secret(tried, search):
    found = search()
    for name, app in tried["apps"].items():
        for number, text in enumerate(app.said):
            found.text(f"{name}: output {number}", text)
    assert found.found == []
    errors = [text for app in tried["apps"].values() for text in app.said if "error: " in text]
    assert len(errors) >= len(NAMES)


def test_no_lock_nor_anything_else_in_the_projects_holds_a_secret(tried, search):
    found = search()
    for app in tried["apps"].values():
        assert (app.project.folder / "pylock.app.toml").is_file()
        found.folder(app.project.folder, without=app.own)
    assert found.found == []


def test_no_path_that_came_into_the_store_holds_a_secret(tried, search):
    found = search()
    names = [path.name for path in tried["store"]]
    for what in ("-image.nix", "-app", ".drv", "-source", ".whl", ".tar.gz"):
        assert any(name.endswith(what) for name in names), what
    for path in tried["store"]:
        found.folder(path)
    assert found.found == []


def test_an_app_file_that_holds_a_secret_says_so_by_three_stars_in_the_image(tried):
    written = 0
    for app in tried["apps"].values():
        text = (app.project.folder / "app.py").read_bytes()
        if any(form in text for secret in app.way.secrets for form in spellings(secret)):
            written += 1
            assert b"***" in shipped(app.built["path"])
    assert written > 5


def shipped(image):
    """The app file of an image."""
    with tarfile.open(layers(image)[-1]) as archive:
        return archive.extractfile("app/app.py").read()


def test_no_log_of_a_build_holds_a_secret(tried, search):
    found = search()
    assert tried["logs"]
    for path in tried["logs"]:
        import bz2

        found.text(str(path), bz2.decompress(path.read_bytes()).decode(errors="replace"))
    assert found.found == []


def test_no_cache_nor_temporary_folder_holds_a_secret(tried, search):
    found = search()
    found.folder(tried["cache"])
    found.folder(tried["temporary"])
    assert found.found == []
    assert found.files


def test_no_binary_cache_holds_a_secret(tried, search, tmp_path):
    images = [app.built["path"] for app in tried["apps"].values()]
    deriver = subprocess.run(
        ["nix-store", "--query", "--deriver", *images], capture_output=True, text=True, check=True
    ).stdout.split()
    flags = ["--extra-experimental-features", "nix-command", "--option", "substituters", ""]
    subprocess.run(
        ["nix", *flags, "copy", "--to", f"file://{tmp_path}/binary-cache?compression=xz", *images, *deriver],
        check=True,
    )
    found = search()
    found.folder(tmp_path / "binary-cache")
    assert found.files > len(images)
    assert found.found == []


def test_no_image_that_was_run_holds_a_secret_and_the_app_gets_its_own(tried, search):
    app = tried["apps"]["basic_in_url"]
    code = "import os; value = os.environ['MY_SECRET']; print(value[::-1])"
    done = app.project.run("run", "app.py", "--", "python", "-c", code)
    assert done.out.strip() == RUN_TIME[::-1]
    found = search()
    inspected = subprocess.run(
        ["podman", "image", "inspect", app.built["image_id"]], capture_output=True, text=True, check=True
    ).stdout
    found.text("podman image inspect", inspected)
    found.text("podman history", subprocess.run(
        ["podman", "history", "--no-trunc", "--format", "json", app.built["image_id"]],
        capture_output=True, text=True, check=True).stdout)  # fmt: skip
    assert found.found == []


def test_no_argument_of_any_process_holds_a_secret_nor_the_environment_of_a_build(tried, search):
    found = search()
    processes = tried["processes"]
    for arguments, environment in processes:
        found.text(f"arguments: {arguments}", arguments)
        if "/main.py\n" in arguments:
            found.text(f"environment of {arguments}", environment)
    assert found.found == []
    for program in (
        "uv\npip\ncompile",
        "nix\nbuild",
        "/main.py\nbuild_wheel",
        "/main.py\nwheel_layer",
        "git",
    ):
        assert any(program in arguments for arguments, _ in processes), program


def test_what_stands_in_a_url_is_told_to_no_process_by_its_environment(tried):
    """A variable that the user has set is in every process's; what is written in the app's file is in none."""
    for name in ("basic_in_url", "basic_in_find_links", "signed_page", "git_user_and_token"):
        app = tried["apps"][name]
        wanted = {form.decode() for secret in app.way.secrets for form in spellings(secret)}
        folder = str(app.project.folder)
        own = [environment for _, environment in tried["processes"] if folder in environment]
        assert own
        assert [text for text in own if any(form in text for form in wanted)] == []


def _packed(kind, text):
    made = io.BytesIO()
    if kind == "gzip members":
        return gzip.compress(b"first") + gzip.compress(text)
    if kind == "xz":
        return lzma.compress(text)
    if kind == "base64":
        import base64

        return base64.b64encode(b"user:" + text)
    if kind == "zip in gzip":
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", text)
        return gzip.compress(made.getvalue())
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        entry = tarfile.TarInfo("a")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    return made.getvalue()


@pytest.mark.parametrize("kind", ["gzip members", "xz", "zip in gzip", "tar.gz", "base64"])
@pytest.mark.parametrize("before", range(3))
def test_the_search_finds_a_secret_however_it_is_packed(tmp_path, kind, before):
    file = tmp_path / "file"
    file.write_bytes(_packed(kind, b"x" * before + RUN_TIME.encode() + b"y" * 5))
    search = Search([RUN_TIME])
    search.folder(tmp_path)
    assert search.found
    assert all(name.startswith(str(file)) for name in search.found)
    other = Search([LEFT])
    other.folder(tmp_path)
    assert other.found == []
