"""Every way to say who we are to a server, each as an app whose one package is there.

A way is a function of the servers, of the file that they have, and of a folder for what the user keeps at home.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

import servers as real
from git_server import BEARER, SOME_USER, TOKEN
from small_index import source_files


def project_of(filename):
    """The name of the project that a wheel or an sdist is of."""
    return filename.split("-")[0]


@dataclass
class Way:
    """One way to say who we are.

    Attributes:
        requirements: the app's.
        env: variables the user has set.
        files: files of the project, by name.
        secrets: what must show nowhere.
    """

    requirements: list[str]
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()


def private_ca(servers, wheel, folder):
    return Way(["--index-url", servers.open.url, project_of(wheel)])


def private_ca_of_pip(servers, wheel, folder):
    env = {"SSL_CERT_FILE": "", "PIP_CERT": str(servers.bundle), "NIX_SSL_CERT_FILE": ""}
    return Way(["--index-url", servers.open.url, project_of(wheel)], env)


def index_without_hashes(servers, wheel, folder):
    return Way(["--index-url", servers.open.plain, project_of(wheel)])


def find_links(servers, wheel, folder):
    return Way(["--find-links", servers.open.links, "--no-index", project_of(wheel)])


def find_links_listing(servers, wheel, folder):
    return Way(["-f", servers.open.listing, "--no-index", project_of(wheel)])


def local_folder(servers, wheel, folder):
    return Way(["--find-links", str(servers.wheels), "--no-index", project_of(wheel)])


def basic_in_url(servers, wheel, folder):
    place = servers.basic
    return Way(["--index-url", place.with_login(place.url), project_of(wheel)], secrets=(place.password,))


def basic_in_find_links(servers, wheel, folder):
    place = servers.basic
    return Way(
        ["--find-links", place.with_login(place.links), "--no-index", project_of(wheel)],
        secrets=(place.password,),
    )


def basic_in_wheel_url(servers, wheel, folder):
    place = servers.basic
    return Way([f"{project_of(wheel)} @ {place.with_login(place.file(wheel))}"], secrets=(place.password,))


def basic_by_variable(servers, wheel, folder):
    place = servers.basic
    # The values stand in a URL, so their owner has percent-encoded them.
    encoded = place.with_login("https://x").removeprefix("https://").removesuffix("@x")
    user, _, password = encoded.partition(":")
    url = place.with_text(place.url, "${INDEX_USER}:${INDEX_PASSWORD}")
    env = {"INDEX_USER": user, "INDEX_PASSWORD": password}
    return Way(["--extra-index-url", url, project_of(wheel)], env | {"UV_DEFAULT_INDEX": servers.odd("status-404").url},
               secrets=(place.password, password))  # fmt: skip


def netrc(servers, wheel, folder):
    place = servers.basic
    file = folder / "netrc"
    file.write_text(f'machine 127.0.0.1\nlogin {place.user}\npassword "{place.password}"\n')
    file.chmod(0o600)
    return Way(["--index-url", place.url, project_of(wheel)], {"NETRC": str(file)}, secrets=(place.password,))


def keyring(servers, wheel, folder):
    place = servers.basic
    program = folder / "bin" / "keyring"
    program.parent.mkdir(parents=True)
    secret = folder / "secret"
    secret.write_text(place.password)
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $3" = "get {place.host} {place.user}" ] && cat {secret}\n')
    program.chmod(0o755)
    env = {"UV_KEYRING_PROVIDER": "subprocess", "PATH": f"{program.parent}:{os.environ['PATH']}"}
    return Way(
        ["--index-url", place.with_text(place.url, place.user), project_of(wheel)],
        env,
        secrets=(place.password,),
    )


def named_index(servers, wheel, folder):
    place = servers.basic
    env = {
        "UV_INDEX": f"private-one={place.url}",
        "UV_INDEX_PRIVATE_ONE_USERNAME": place.user,
        "UV_INDEX_PRIVATE_ONE_PASSWORD": place.password,
        "UV_DEFAULT_INDEX": servers.odd("status-404").url,
    }
    return Way([project_of(wheel)], env, secrets=(place.password,))


def index_of_the_project(servers, wheel, folder):
    place = servers.basic
    env = {
        "UV_INDEX_PRIVATE_USERNAME": place.user,
        "UV_INDEX_PRIVATE_PASSWORD": place.password,
        "UV_DEFAULT_INDEX": "",
    }
    project = f'[[tool.uv.index]]\nname = "private"\nurl = "{place.url}"\ndefault = true\n'
    return Way([project_of(wheel)], env, {"pyproject.toml": project}, secrets=(place.password,))


def uv_login(servers, wheel, folder):
    place = servers.basic
    store = folder / "store"
    subprocess.run(
        ["uv", "auth", "login", place.root, "--username", place.user, "--password", "-"],
        input=place.password, text=True, check=True, capture_output=True,
        env={**PATH, "UV_CREDENTIALS_DIR": str(store)},
    )  # fmt: skip
    return Way(
        ["--index-url", place.url, project_of(wheel)],
        {"UV_CREDENTIALS_DIR": str(store)},
        secrets=(place.password,),
    )


def bearer(servers, wheel, folder):
    place = servers.bearer
    project = f'[tool.builder.tokens]\n"{place.root}" = "${{INDEX_TOKEN}}"\n'
    return Way(["--index-url", place.url, project_of(wheel)], {"INDEX_TOKEN": place.token}, {"pyproject.toml": project},
               (place.token,))  # fmt: skip


def bearer_without_hashes(servers, wheel, folder):
    way = bearer(servers, wheel, folder)
    return Way(["-f", servers.bearer.links, "--no-index", project_of(wheel)], way.env, way.files, way.secrets)


def bearer_wheel_url(servers, wheel, folder):
    way = bearer(servers, wheel, folder)
    return Way([servers.bearer.file(wheel)], way.env, way.files, way.secrets)


def bearer_beside_netrc(servers, wheel, folder):
    way = bearer(servers, wheel, folder)
    file = folder / "netrc"
    file.write_text("machine 127.0.0.1 login someone password else\n")
    return Way(way.requirements, way.env | {"NETRC": str(file)}, way.files, way.secrets)


def signed_url(servers, wheel, folder):
    url = servers.signed(wheel)
    return Way([f"{project_of(wheel)}@{url}"], secrets=(url.partition("Signature=")[2],))


def signed_page(servers, wheel, folder):
    url = servers.sign("/signed-pages/links/")
    return Way(
        ["--find-links", url, "--no-index", project_of(wheel)], secrets=(url.partition("Signature=")[2],)
    )


def requirements_file(servers, wheel, folder):
    place = servers.basic
    text = f"--index-url {place.with_login(place.url)}\n{project_of(wheel)}\n"
    return Way(["-r", "requirements.txt"], files={"requirements.txt": text}, secrets=(place.password,))


def sdist_in_index(servers, wheel, folder):
    place = servers.basic
    name = f"{project_of(wheel)}src"
    servers.publish_sdist(name)
    return Way(["--index-url", place.with_login(place.url), name], secrets=(place.password,))


def sdist_url(servers, wheel, folder):
    sdist = servers.publish_sdist(f"{project_of(wheel)}src")
    url = servers.signed(sdist)
    return Way([f"{project_of(sdist)} @ {url}"], secrets=(url.partition("Signature=")[2],))


def sdist_url_with_bearer(servers, wheel, folder):
    way = bearer(servers, wheel, folder)
    sdist = servers.publish_sdist(f"{project_of(wheel)}src")
    return Way([servers.bearer.file(sdist)], way.env, way.files, way.secrets)


def local_project(servers, wheel, folder):
    """A project that says where its own packages come from, and is required itself."""
    place = servers.basic
    index = f'[[tool.uv.index]]\nname = "private"\nurl = "{place.with_login(place.url)}"\ndefault = true\n'
    files = dict(source_files(f"{project_of(wheel)}local", requires=[project_of(wheel)]))
    files["pyproject.toml"] += index
    return Way(["."], {"UV_DEFAULT_INDEX": ""}, files, (place.password,))


WAYS = [
    private_ca, private_ca_of_pip, index_without_hashes, find_links, find_links_listing, local_folder,
    basic_in_url, basic_in_find_links, basic_in_wheel_url, basic_by_variable, netrc, keyring, named_index,
    index_of_the_project, uv_login, bearer, bearer_without_hashes, bearer_wheel_url, bearer_beside_netrc,
    signed_url, signed_page, requirements_file, sdist_in_index, sdist_url, sdist_url_with_bearer, local_project,
]  # fmt: skip


def git_token_in_url(git_server, repository):
    return Way([f"git+{git_server.url(repository, 'private', user=TOKEN)}@v1"], secrets=(TOKEN,))


def git_token_by_variable(git_server, repository):
    url = git_server.url(repository, "private").replace("://", "://${GIT_TOKEN}@")
    return Way([f"git+{url}@v1"], {"GIT_TOKEN": TOKEN}, secrets=(TOKEN,))


def git_user_and_token(git_server, repository):
    url = git_server.url(repository, "private", user=SOME_USER, password=TOKEN)
    return Way([f"git+{url}"], secrets=(TOKEN,))


def git_bearer(git_server, repository):
    url = git_server.url(repository, "bearer")
    project = f'[tool.builder.tokens]\n"{url.rpartition("/")[0]}" = "${{GIT_BEARER}}"\n'
    return Way([f"git+{url}@v1"], {"GIT_BEARER": BEARER}, {"pyproject.toml": project}, (BEARER,))


GIT_WAYS = [git_token_in_url, git_token_by_variable, git_user_and_token, git_bearer]
PATH = {"PATH": f"{real.SCRIPTS}:/usr/bin:/bin", "HOME": "/nowhere"}
