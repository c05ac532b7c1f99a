"""One small app for each form of a requirement that apps are written with, and for each option of pip's.

What is installed is asked in the container. Wherever another file could have been taken, one lies beside it: another
version, the same version from elsewhere, a dependency that is not wanted. The servers are real (`servers`,
`git_server`); every package, repository and folder has a name of its own, so nothing of it is in the Nix store and
the servers have to be asked.
"""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import git_server as real_git
import pytest
from misbehaving import Asked
from small_index import source_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Done, Project
    from git_server import GitServer
    from servers import Servers

# Imports each module by its name, and tells its version; None of one that is not installed.
_IMPORT = """
import importlib, importlib.util, json, sys

found = {}
for name in sys.argv[1:]:
    module = importlib.import_module(name) if importlib.util.find_spec(name) else None
    assert module is None or "site-packages" in module.__file__, module.__file__
    found[name] = module and module.version
print(json.dumps(found))
"""
# The Python that neither most apps here nor the one that runs the tests have.
_OTHER_PYTHON = "3.11" if sys.version_info[:2] == (3, 13) else "3.13"


@dataclass
class App:
    """An app, and what it has to come to.

    Attributes:
        requirements: as its author writes them; None where the app file is written already.
        modules: versions by module, None for one that must not be installed.
        env: variables the author has set.
        python: the image's.
        local: whether no server has to be asked.
        secrets: what must be neither in the output nor in the lock.
        known: whether a request says who asks; one for each module's file has to.
    """

    requirements: list | None
    modules: dict[str, str | None]
    env: dict[str, str] = field(default_factory=dict)
    python: str = "3.11"
    local: bool = False
    secrets: tuple[str, ...] = ()
    known: Callable[[Asked], bool] | None = None


@dataclass
class Author:
    """Writes one app, and publishes what it needs under names that hold `token`.

    Attributes:
        project: the folder of the app.
        servers: its files are those of the default index.
        git: the git server.
        env: variables for the command.
    """

    project: Project
    token: str
    _servers: Servers
    git: GitServer
    bundle: Path

    def __post_init__(self):
        self.servers = self.shelf("main")
        self.env = {**self.servers.environment, "SSL_CERT_FILE": str(self.bundle)}

    def shelf(self, folder):
        """The same servers, with files and indexes of their own below a folder."""
        folder = f"{self.token}/{folder}"

        def below(place):
            return replace(place, root=f"{place.root}/{quote(folder)}")

        return replace(
            self._servers,
            wheels=self._servers.wheels.parent / folder / "files",
            open=below(self._servers.open),
            basic=below(self._servers.basic),
            bearer=below(self._servers.bearer),
        )

    def name(self, word):
        return word + self.token

    def wheel(self, word, *versions, at=None, **about):
        """Publish wheels of a package, by default on the default index, and return its name."""
        for version in versions or ("1.0",):
            (at or self.servers).publish(self.name(word), version, **about)
        return self.name(word)

    def folder(self, path, word, version="1.0", **about):
        """Write a local project."""
        for name, text in source_files(self.name(word), version, **about).items():
            self.project.write(f"{path}/{name}", text)
        return self.name(word)

    def repository(self, word, place="open"):
        """A repository: its package's name, its URL, and a commit; its tag v1.0 and its newest commit are others."""
        name = self.name(word)
        made = self.git.repository(name)
        made.commit(source_files(name, "1.0"), tag="v1.0")
        commit = made.commit(source_files(name, "1.5"))
        made.commit(source_files(name, "2.0"))
        return name, self.git.url(made, place), commit

    def asked(self):
        """What the servers were asked for of this app's."""
        git = (Asked(port, path, given or None) for port, path, given in self.git.asked())
        requests = (*self._servers.asked(), *self._servers.state.asked, *git)
        return [one for one in requests if self.token in one.path]

    def lock(self):
        return (self.project.folder / "pylock.app.toml").read_text()


@pytest.fixture(scope="module")
def bundle(servers, git_server, tmp_path_factory):
    """The certificates of both private CAs and of the system."""
    file = tmp_path_factory.mktemp("bundle") / "bundle.pem"
    file.write_bytes(servers.bundle.read_bytes() + git_server.cert.read_bytes())
    return file


@pytest.fixture
def author(project, servers, git_server, bundle):
    return Author(project, secrets.token_hex(4), servers, git_server, bundle)


def imported(author: Author, app: App) -> Done:
    """Build an app and import its modules in the container, all by the command."""
    if app.requirements is not None:
        author.project.app(app.requirements, python=app.python)
    command = ["python", "-c", _IMPORT, *app.modules]
    done = author.project.run("run", "app.py", "--", *command, env=author.env | app.env)
    assert json.loads(done.out) == app.modules
    assert bool(author.asked()) != app.local
    return done


FORMS: list = []
OPTIONS: list = []
PRIVATE: list = []


def listed(entries, label):
    def add(write):
        entries.append(pytest.param(write, id=label))
        return write

    return add


# The rows of the table.


@listed(FORMS, "pin, range, none")
def pins(author):
    pinned = author.wheel("pinned", "1.0", "2.0")
    ranged = author.wheel("ranged", "1.0", "1.9", "2.0")
    free = author.wheel("free", "1.0", "2.0")
    return App([f"{pinned}==1.0", f"{ranged}>=1.1,<2", free], {pinned: "1.0", ranged: "1.9", free: "2.0"})


@listed(FORMS, "extras")
def extras(author):
    torch, flax = author.wheel("torch"), author.wheel("flax")
    requires = [f"{torch}; extra == 'torch'", f"{flax}; extra == 'flax'"]
    name = author.wheel("diffusers", "0.32.2", extras=["torch", "flax"], requires=requires)
    return App([f"{name}[torch]==0.32.2"], {name: "0.32.2", torch: "1.0", flax: None})


@listed(FORMS, "marker")
def marker(author):
    linux, windows = author.wheel("triton", "3.2.0"), author.wheel("winapi")
    requirements = [f"{linux}==3.2.0; sys_platform == 'linux'", f"{windows}; sys_platform == 'win32'"]
    return App(requirements, {linux: "3.2.0", windows: None})


@listed(FORMS, "local version")
def local_version(author):
    name = author.wheel("torch", "2.6.0", "2.6.0+cu124", "2.6.0+cu126")
    return App([f"{name}==2.6.0+cu124"], {name: "2.6.0+cu124"})


@listed(FORMS, "wheel URL")
def wheel_url(author):
    name = author.name("mypackage")
    file = author.servers.publish(name, tags="cp311-cp311-linux_x86_64")
    author.wheel("mypackage", "2.0")
    return App([author.servers.open.file(file)], {name: "1.0"})


@listed(FORMS, "name @ URL")
def named_url(author):
    first, second = author.wheel("first", "1.0", "2.0"), author.wheel("second", "1.0", "2.0")
    urls = [author.servers.open.file(f"{name}-1.0-py3-none-any.whl") for name in (first, second)]
    return App([f"{first}@{urls[0]}", f"{second} @ {urls[1]}"], {first: "1.0", second: "1.0"})


@listed(FORMS, "URL with escapes")
def escapes(author):
    name = author.name("torch_scatter")
    shelf = author.shelf("torch-2.5.0+cu124")
    file = shelf.publish(name, "2.1.2+pt25cu124", tags="cp311-cp311-linux_x86_64")
    url = shelf.open.file(file)
    assert "/torch-2.5.0%2Bcu124/" in url
    assert url.endswith(f"/{name}-2.1.2%2Bpt25cu124-cp311-cp311-linux_x86_64.whl")
    return App([url], {name: "2.1.2+pt25cu124"})


def with_extra_index(author, *words):
    """A package whose version on an extra index comes before the newer one of the default index."""
    extra = author.shelf("whl/cu124")
    name = author.wheel("torch", "2.6.0+cu124", at=extra)
    author.wheel("torch", "2.7.0")
    other = author.wheel("numpy")
    values = {"torch": name, "numpy": other, "url": extra.open.url}
    return App([word.format(**values) for word in words], {name: "2.6.0+cu124", other: "1.0"})


@listed(FORMS, "extra index before the packages")
def extra_index_before(author):
    return with_extra_index(author, "--extra-index-url", "{url}", "{torch}", "{numpy}")


@listed(FORMS, "extra index after the packages")
def extra_index_after(author):
    return with_extra_index(author, "{torch}", "{numpy}", "--extra-index-url", "{url}")


@listed(FORMS, "several indexes")
def several_indexes(author):
    one, two = author.shelf("whl/one"), author.shelf("whl/two")
    both = author.wheel("both", "1.0", at=one)
    author.wheel("both", "2.0", at=two)
    second = author.wheel("second", at=two)
    third = author.wheel("third")
    options = ["--extra-index-url", one.open.url, "--extra-index-url", two.open.url]
    return App([*options, both, second, third], {both: "1.0", second: "1.0", third: "1.0"})


@listed(FORMS, "index inside one step of several")
def index_in_a_step(author):
    shelf = author.shelf("whl/cu129")
    torch = author.wheel("torch", "2.8.0", at=shelf)
    author.wheel("torch", "2.9.0")
    other = author.wheel("numpy", "1.0")
    author.wheel("numpy", "2.0", at=shelf)
    return App([["--index-url", shelf.open.url, torch], [other]], {torch: "2.8.0", other: "1.0"})


def with_links(author, *words, **values):
    """A package that only find-links have in its newest version, and one of the default index."""
    release = author.shelf("release/v1.0.0")
    name, other = author.wheel("kernels", "2.0", at=release), author.wheel("other")
    author.wheel("kernels", "1.0")
    values = {"url": release.open.links, "kernels": name, "other": other} | values
    app = App([word.format(**values) for word in words], {name: "2.0", other: "1.0"})
    return app, release


@listed(FORMS, "find-links page")
def find_links(author):
    return with_links(author, "--find-links", "{url}", "{kernels}", "{other}")[0]


@listed(FORMS, "-f")
def find_links_short(author):
    return with_links(author, "{kernels}", "{other}", "-f", "{url}")[0]


@listed(FORMS, "find-links in a local folder")
def find_links_folder(author):
    app, release = with_links(author, "--find-links", "./wheels", "{kernels}", "{other}")
    shutil.copytree(release.wheels, author.project.folder / "wheels")
    return app


@listed(FORMS, "--pre")
def pre_releases(author):
    early, settled = author.wheel("early", "1.0", "2.0rc1"), author.wheel("settled", "1.0", "2.0rc1")
    return App([[early, "--pre"], [settled]], {early: "2.0rc1", settled: "1.0"})


@listed(FORMS, "git with commit, with tag")
def git_revisions(author):
    first, by_commit, commit = author.repository("first")
    second, by_tag, _ = author.repository("second")
    return App([f"git+{by_commit}@{commit}", f"git+{by_tag}@v1.0"], {first: "1.5", second: "1.0"})


@listed(FORMS, "name @ git+")
def git_named(author):
    name, url, _ = author.repository("named")
    author.wheel("named", "3.0")
    return App([f"{name} @ git+{url}"], {name: "2.0"})


@listed(FORMS, "local project .")
def local_project(author):
    name = author.folder(".", "here")
    return App(["."], {name: "1.0"}, local=True)


def optional(author):
    """What a local project with an extra depends on."""
    always, more, other = author.wheel("always"), author.wheel("more"), author.wheel("unwanted")
    requires = [always, f"{more}; extra == 'extra'", f"{other}; extra == 'other'"]
    about = {"requires": requires, "extras": ["extra", "other"]}
    return about, {always: "1.0", more: "1.0", other: None}


@listed(FORMS, "local project .[extra]")
def local_project_with_extra(author):
    about, modules = optional(author)
    return App([".[extra]"], modules | {author.folder(".", "here", **about): "1.0"})


@listed(FORMS, "local project ../shared[extra]")
def shared_project_with_extra(author):
    about, modules = optional(author)
    return App(["../shared[extra]"], modules | {author.folder("../shared", "shared", **about): "1.0"})


@listed(FORMS, "helper function")
def helper_function(author):
    torch, other = author.wheel("torch", "2.5.0", "2.6.0"), author.wheel("mypackage", "1.0", "1.1")
    author.project.write("PACKAGE_VERSION", "1.0\n")
    author.project.write(
        "app.py",
        f"""from pathlib import Path

import builder


def get_package_wheel():
    version = Path(__file__).with_name("PACKAGE_VERSION").read_text().strip()
    return f"{author.servers.open.listing}{other}-{{version}}-py3-none-any.whl"


class App(builder.App):
    python_version = "3.11"
    requirements = ["{torch}==2.5.0", get_package_wheel()]
""",
    )
    return App(None, {torch: "2.5.0", other: "1.0"})


@listed(FORMS, "steps")
def steps(author):
    shelf = author.shelf("whl/cu129")
    first, second = author.wheel("setuptools"), author.wheel("wheel")
    torch = author.wheel("torch", "2.8.0", at=shelf)
    author.wheel("torch", "2.9.0")
    # It is content with what an earlier step has chosen.
    numpy = author.wheel("numpy", "1.26.4", "2.0.0", requires=[f"{torch}>=2"])
    requirements = [[first, second], ["--index-url", shelf.open.url, f"{torch}==2.8.0"], [f"{numpy}==1.26.4"]]
    return App(requirements, {first: "1.0", second: "1.0", torch: "2.8.0", numpy: "1.26.4"})


# Options of pip's.


def requirements_file(author, option):
    extra = author.shelf("whl/file")
    torch = author.wheel("torch", "1.0", at=extra)
    author.wheel("torch", "2.0")
    linux, windows, own = author.wheel("linux", "1.0", "2.0"), author.wheel("windows"), author.wheel("own")
    author.project.write(
        "needs/requirements.txt",
        f"# The GPU's\n--extra-index-url {extra.open.url}\n{torch}\n-r more.txt\n",
    )
    author.project.write(
        "needs/more.txt", f'{linux} \\\n  <2 ; sys_platform == "linux"\n{windows} ; os_name == "nt"  # no\n'
    )
    return App(
        [option, "needs/requirements.txt", own], {torch: "1.0", linux: "1.0", windows: None, own: "1.0"}
    )


@listed(OPTIONS, "-r FILE")
def requirements_file_short(author):
    return requirements_file(author, "-r")


@listed(OPTIONS, "--requirement FILE")
def requirements_file_long(author):
    return requirements_file(author, "--requirement")


def constraints_file(author, option):
    asked, unasked = author.wheel("dependency", "1.0", "2.0"), author.wheel("unasked")
    name = author.wheel("package", requires=[asked])
    author.project.write("constraints.txt", f"{asked}<2\n{unasked}==1.0\n")
    return App([name, option, "constraints.txt"], {name: "1.0", asked: "1.0", unasked: None})


@listed(OPTIONS, "-c FILE")
def constraints_file_short(author):
    return constraints_file(author, "-c")


@listed(OPTIONS, "--constraint FILE")
def constraints_file_long(author):
    return constraints_file(author, "--constraint")


def from_either(author, word):
    """A package of which there is both a wheel and an archive, which says so."""
    name = author.wheel(word)
    author.servers.publish_sdist(name, more=[(f"{name}.py", "version = '1.0, built'\n")])
    return name


@listed(OPTIONS, "--no-binary NAME")
def no_binary(author):
    built, taken = from_either(author, "built"), from_either(author, "taken")
    return App([built, taken, "--no-binary", built], {built: "1.0, built", taken: "1.0"})


@listed(OPTIONS, "--no-binary :all:, --only-binary NAME")
def no_binary_but(author):
    built, taken = from_either(author, "built"), from_either(author, "taken")
    options = ["--no-binary", ":all:", "--only-binary", taken]
    return App([*options, built, taken], {built: "1.0, built", taken: "1.0"})


@listed(OPTIONS, "--no-deps")
def no_deps(author):
    unwanted, wanted = author.wheel("unwanted"), author.wheel("wanted")
    alone, whole = author.wheel("alone", requires=[unwanted]), author.wheel("whole", requires=[wanted])
    return App([[alone, "--no-deps"], [whole]], {alone: "1.0", unwanted: None, whole: "1.0", wanted: "1.0"})


def two_files(author, word):
    """A package of one version with two files, and the hash of the one that would not be taken for its tags."""
    name = author.name(word)
    tags = {"py3-none-any": "any", "cp311-cp311-linux_x86_64": "tagged"}
    files = [
        author.servers.publish(name, tags=tag, more=[(f"{name}_file.py", f"version = {kind!r}\n")])
        for tag, kind in tags.items()
    ]
    return name, author.servers.sha256(files[0])


@listed(OPTIONS, "hashes")
def hashes(author):
    first, first_hash = two_files(author, "first")
    second, second_hash = two_files(author, "second")
    third, _ = two_files(author, "third")
    requirements = [
        [f"{first}==1.0 --hash=sha256:{first_hash}", f"{second}==1.0", f"--hash=sha256:{second_hash}"],
        [third],
    ]
    files = {f"{first}_file": "any", f"{second}_file": "any", f"{third}_file": "tagged"}
    return App(requirements, files)


@listed(OPTIONS, "--require-hashes")
def require_hashes(author):
    dependency, dependency_hash = two_files(author, "dependency")
    name = author.wheel("package", requires=[dependency])
    sha256 = author.servers.sha256(f"{name}-1.0-py3-none-any.whl")
    author.project.write(
        "requirements.txt",
        f"--require-hashes\n{name}==1.0 \\\n    --hash=sha256:{sha256}\n"
        f"{dependency}==1.0 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{dependency_hash}\n",
    )
    return App(["-r", "requirements.txt"], {name: "1.0", f"{dependency}_file": "any"})


@listed(OPTIONS, "--opt=value")
def one_word(author):
    indexed = with_extra_index(author, "{torch}", "{numpy}", "--extra-index-url={url}")
    linked = with_links(author, "{kernels}", "{other}", "--find-links={url}")[0]
    pinned = author.wheel("pinned", "1.0", "2.0")
    author.project.write("constraints.txt", f"{pinned}==1.0\n")
    step = [pinned, "--constraint=constraints.txt"]
    return App(
        [indexed.requirements, linked.requirements, step], indexed.modules | linked.modules | {pinned: "1.0"}
    )


@listed(OPTIONS, "markers of the target, not of this machine")
def target_markers(author):
    major = _OTHER_PYTHON.partition(".")[2]
    here, there = author.wheel("here"), author.wheel("there")
    inner, outer = author.wheel("inner"), author.wheel("outer")
    own = f"python_full_version >= '{_OTHER_PYTHON}' and python_version < '3.{int(major) + 1}'"
    name = author.wheel(
        "package", requires=[f"{inner}; {own}", f"{outer}; python_version != '{_OTHER_PYTHON}'"]
    )
    requirements = [
        name,
        f"{there}; {own} and platform_machine == 'x86_64' and implementation_name == 'cpython'",
        f"{here}; python_version != '{_OTHER_PYTHON}' or sys_platform == 'darwin'",
    ]
    modules = {name: "1.0", there: "1.0", inner: "1.0", here: None, outer: None}
    return App(requirements, modules, python=_OTHER_PYTHON)


@listed(OPTIONS, "--index-strategy first-index")
def first_index(author):
    # The option comes before the settings.
    author.project.write("pyproject.toml", '[tool.builder]\nindex-strategy = "unsafe-best-match"\n')
    return with_extra_index(
        author, "--extra-index-url", "{url}", "--index-strategy", "first-index", "{torch}", "{numpy}"
    )


@listed(OPTIONS, "--index-strategy unsafe-first-match")
def first_match(author):
    extra = author.shelf("whl/cu124")
    name, other = author.wheel("torch", "1.0", at=extra), author.wheel("numpy", "1.0", at=extra)
    author.wheel("torch", "2.0")
    author.wheel("numpy", "2.0")
    options = ["--extra-index-url", extra.open.url, "--index-strategy", "unsafe-first-match"]
    return App([f"{name}>=2", other, *options], {name: "2.0", other: "1.0"})


@listed(OPTIONS, "--no-index")
def no_index(author):
    release, elsewhere = author.shelf("release"), author.shelf("elsewhere")
    taken, built = author.wheel("taken", at=release), author.name("built")
    release.publish_sdist(built)
    # Neither the default index nor one that uv is configured for is asked.
    for shelf in (author.servers, elsewhere):
        shelf.publish(taken, "2.0")
        shelf.publish(built, "2.0")
    author.project.write("pyproject.toml", f'[[tool.uv.index]]\nurl = "{elsewhere.open.url}"\n')
    return App(["--no-index", "--find-links", release.open.links, taken, built], {taken: "1.0", built: "1.0"})


@listed(OPTIONS, "-e")
def editable(author):
    local = author.folder("library", "library")
    name, url, _ = author.repository("cloned")
    return App(["-e", "./library", "-e", f"git+{url}@v1.0#egg={name}"], {local: "1.0", name: "1.0"})


@listed(OPTIONS, "--no-build-isolation")
def no_build_isolation(author):
    name, tool = author.name("package"), author.name("tool")
    backend = source_files(name)["backend.py"]
    author.wheel("tool", more=[(f"{tool}_backend.py", backend)])
    system = f'[build-system]\nrequires = []\nbuild-backend = "{tool}_backend"\n'
    author.servers.publish_sdist(name, more=[("pyproject.toml", system)])
    return App([[tool], ["--no-build-isolation", name]], {name: "1.0", tool: "1.0"})


# What only those get who may.


def basic(user, password=""):
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def behind_login(author, *words, **more):
    place = author.servers.basic
    name = author.wheel("private")
    values = {"index": place.with_login(place.url), "links": place.with_login(place.links), "name": name}
    header = basic(place.user, place.password)
    known = (place.password, quote(place.password, safe=""), header)
    # The default index has nothing.
    env = {"UV_DEFAULT_INDEX": author.servers.odd("status-404").url}
    requirements = [word.format(**values) for word in words]
    return App(
        requirements, {name: "1.0"}, env, secrets=known, known=lambda one: one.authorization == header, **more
    )


@listed(PRIVATE, "private index with user:password@")
def private_index(author):
    return behind_login(author, "--extra-index-url", "{index}", "{name}")


@listed(PRIVATE, "private find-links page with user:password@")
def private_links(author):
    return behind_login(author, "{name}", "--find-links={links}", "--no-index")


@listed(PRIVATE, "index with a bearer token")
def bearer_index(author):
    place = author.servers.bearer
    name = author.wheel("private")
    header = f"Bearer {place.token}"
    author.project.write("pyproject.toml", f'[tool.builder.tokens]\n"{place.origin}" = "${{INDEX_TOKEN}}"\n')
    env = {"INDEX_TOKEN": place.token}
    return App(["--index-url", place.url, name], {name: "1.0"}, env, secrets=(place.token,),
               known=lambda one: one.authorization == header)  # fmt: skip


def private_repository(author, user, **env):
    name, url, _ = author.repository("private", "private")
    url = url.replace("://", f"://{user}@")
    header = basic(real_git.TOKEN)
    return App([f"git+{url}@v1.0"], {name: "1.0"}, env, secrets=(real_git.TOKEN, header),
               known=lambda one: one.authorization == header)  # fmt: skip


@listed(PRIVATE, "private git with ${GITHUB_TOKEN}@")
def private_git(author):
    return private_repository(author, "${GITHUB_TOKEN}", GITHUB_TOKEN=real_git.TOKEN)


@listed(PRIVATE, "private git with the token in the string")
def private_git_literal(author):
    return private_repository(author, real_git.TOKEN)


@listed(PRIVATE, "pre-signed URL")
def signed(author):
    name = author.wheel("private")
    url = author.servers.sign(f"/signed/{author.token}/main/files/{name}-1.0-py3-none-any.whl")
    signature = url.partition("&Signature=")[2]
    return App([url], {name: "1.0"}, secrets=(signature,), known=lambda one: signature in one.path)


@pytest.mark.parametrize("write", FORMS)
def test_a_requirement_of_every_form_is_built_and_imported(author, write):
    imported(author, write(author))


@pytest.mark.parametrize("write", OPTIONS)
def test_an_option_decides_what_is_installed(author, write):
    imported(author, write(author))


@pytest.mark.parametrize("write", PRIVATE)
def test_who_may_gets_what_is_private_and_no_secret_shows(author, write):
    app = write(author)
    done = imported(author, app)
    for name in app.modules:
        files = [one for one in author.asked() if name in one.path and one.path.rpartition("/")[2]]
        assert any(map(app.known, files)), name
    for secret in app.secrets:
        assert secret not in done.out + done.err + author.lock()
    assert author.token in author.lock()


# What is said.


def refused(author, requirements, code):
    author.project.app(requirements)
    done = author.project.run("lock", "app.py", env=author.env, check=False)
    assert done.code == code, done.err
    assert not (author.project.folder / "pylock.app.toml").exists()
    return done.err


@pytest.mark.parametrize(
    ("requirements", "message"),
    [
        (["pillow", "--target=/x", "numpy"], "App.requirements[1]: the option '--target=/x' is not supported"),
        ([["pillow"], ["numpy", "-t", "/x"]], "App.requirements[1][1]: the option '-t' is not supported"),
        (["--extra-index", "https://x"], "[0]: the option '--extra-index' is not supported; did you mean --extra-i"),
    ],
)  # fmt: skip
def test_an_option_that_is_not_supported_is_an_error_with_its_place_in_the_list(
    author, requirements, message
):
    assert message in refused(author, requirements, 3)
    assert author.asked() == []


def test_an_option_that_is_not_supported_in_a_file_is_an_error_with_its_line(author):
    author.project.write("requirements.txt", "pillow\n--target /x\n")
    text = refused(author, ["-r", "requirements.txt"], 3)
    assert "App.requirements[0]: requirements.txt line 2: the option '--target' is not supported" in text


def test_a_later_step_that_replaces_what_an_earlier_one_chose_says_so(author):
    name = author.wheel("torch", "2.5.0", "2.6.0")
    kept = author.wheel("numpy", "1.0", "2.0")
    app = App([[f"{name}==2.5.0", f"{kept}<2"], [f"{name}==2.6.0", kept]], {name: "2.6.0", kept: "1.0"})
    done = imported(author, app)
    assert f"step 2 replaces {name} 2.5.0 by 2.6.0" in done.err
    assert f"replaces {kept}" not in done.err


def test_the_best_match_of_all_indexes_is_taken_with_a_warning_about_dependency_confusion(author):
    app = with_extra_index(
        author, "--extra-index-url", "{url}", "{torch}", "{numpy}", "--index-strategy", "unsafe-best-match"
    )
    (torch, _), (other, _) = app.modules.items()
    done = imported(author, replace(app, modules={torch: "2.7.0", other: "1.0"}))
    assert "index strategy unsafe-best-match: whoever may publish on any of the indexes" in done.err
    assert "dependency confusion" in done.err


def test_what_has_no_wheel_is_not_built_where_only_binary_forbids_it(author):
    name = author.name("archived")
    author.servers.publish_sdist(name)
    assert f"{name} 1.0 has no wheels at all" in refused(author, ["--only-binary", ":all:", name], 4)
    done = imported(author, App([["--only-binary", "another", name]], {name: "1.0"}))
    assert f"{name} 1.0 has no wheel for" in done.err


def test_what_no_binary_names_is_refused_where_only_a_wheel_is_found(author):
    extra = author.shelf("whl/cu124")
    name = author.wheel("package", at=extra)
    author.servers.publish_sdist(name)
    text = refused(author, ["--extra-index-url", extra.open.url, "--no-binary", name, name], 4)
    assert f"{name} is to be built from source (--no-binary), but no archive of it is found" in text
    assert extra.open.file(f"{name}-1.0-py3-none-any.whl") in text


def test_a_file_with_another_hash_than_the_one_asked_for_is_refused(author):
    name = author.wheel("replaced")
    text = refused(author, [f"{name}==1.0 --hash=sha256:{'0' * 64}"], 4)
    assert f"{name} 1.0: no file has a hash that is asked for, sha256:{'0' * 64}" in text
    assert author.servers.sha256(f"{name}-1.0-py3-none-any.whl") in text


def test_where_hashes_are_required_all_need_one_dependencies_too(author):
    dependency = author.wheel("dependency")
    name = author.wheel("package", requires=[dependency])
    pin = f"{name}==1.0 --hash=sha256:{author.servers.sha256(f'{name}-1.0-py3-none-any.whl')}"
    text = refused(author, [pin, f"{dependency}==1.0"], 3)
    assert f"App.requirements[1]: '{dependency}==1.0' has no hash" in text
    text = refused(author, [pin], 4)
    assert (
        f"this step requires hashes, and its requirements depend on what has none: {dependency}==1.0" in text
    )
