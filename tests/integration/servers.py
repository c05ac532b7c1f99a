"""Real servers on this machine: nginx with TLS from a private CA, and one that misbehaves.

All serve the same files (`Servers.publish`): wheels in /files/, an index of them (PEP 503) in /simple/, one without
hashes in /plain/, and a page of links in /links/.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import os
import sysconfig
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import nginx
from misbehaving import Asked, State, misbehaving, signed_query
from packaging.utils import canonicalize_name
from private_ca import PrivateCA
from small_index import sdist, wheel

SCRIPTS = sysconfig.get_path("scripts")
USER = "reader"
# With characters that mean something in a URL.
PASSWORD = "canary/basic@pass%word 1"
TOKEN = "canary-bearer-token-7f3a"

_CONFIGURATION = """
    types {{ text/html html; }}
    default_type application/octet-stream;
    log_format asked escape=json '["$host","$server_port","$request_uri","$http_authorization"]';
    access_log {folder}/access.log asked;
    root {root};
    index index.html;
    map $http_authorization $has_token {{
        default no;
        "Bearer {token}" yes;
    }}
    server {{
        listen 127.0.0.1:{open_port} ssl;
        location /files/ {{ autoindex on; }}
    }}
    server {{
        listen 127.0.0.1:{basic_port} ssl;
        auth_basic "wheels";
        auth_basic_user_file {folder}/passwords;
        location /files/ {{ autoindex on; }}
        location ~ ^/away/(.*)$ {{ return 302 https://localhost:{open_port}/files/$1; }}
    }}
    server {{
        listen 127.0.0.1:{bearer_port} ssl;
        location ~ ^/away/(.*)$ {{ return 302 https://localhost:{open_port}/files/$1; }}
        location / {{
            if ($has_token = no) {{
                add_header WWW-Authenticate 'Bearer realm="wheels"' always;
                return 401;
            }}
        }}
    }}
"""


@dataclass(frozen=True)
class Place:
    """Where files are served; its URLs hold no credentials.

    Attributes:
        root: scheme, host, port and the path's beginning.
        user, password, token: what is asked for there, or "".
    """

    root: str
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    @property
    def url(self):
        """The index."""
        return f"{self.root}/simple"

    @property
    def plain(self):
        """The index whose pages give no hashes."""
        return f"{self.root}/plain"

    @property
    def links(self):
        """The page of links, without hashes."""
        return f"{self.root}/links/"

    @property
    def listing(self):
        """nginx's own listing of the folder with the files."""
        return f"{self.root}/files/"

    @property
    def origin(self):
        return "/".join(self.root.split("/")[:3])

    @property
    def host(self):
        """Host and port."""
        return self.root.split("/")[2]

    def file(self, filename):
        return f"{self.root}/files/{quote(filename)}"

    def with_login(self, url, user="", password=""):
        """A URL of this place with user and password in it, by default the right ones."""
        scheme, rest = url.split("://")
        user, password = (quote(part, safe="") for part in (user or self.user, password or self.password))
        return f"{scheme}://{user}:{password}@{rest}"

    def with_text(self, url, text):
        """A URL of this place with a text before the host: `${USER}:${PASSWORD}`."""
        return url.replace("://", f"://{text}@", 1)


@dataclass
class Servers:
    """The running servers.

    Attributes:
        ca: who issued their certificates.
        bundle: a file with that CA's certificate and the system's.
        wheels: the local folder of all files that are served.
        open, basic, bearer: nginx: for everyone, with user and password, with a token.
        state: of the server that misbehaves.
    """

    ca: PrivateCA
    bundle: Path
    wheels: Path
    open: Place
    basic: Place
    bearer: Place
    state: State
    _access_log: Path

    @property
    def environment(self):
        """Variables: trust the CA, ask the open index and no other, know nothing else."""
        return {
            "SSL_CERT_FILE": str(self.bundle),
            "SSL_CERT_DIR": "",
            "UV_DEFAULT_INDEX": self.open.url,
            "UV_HTTP_RETRIES": "0",
            "UV_HTTP_TIMEOUT": "10",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_CERT": "",
            "PIP_FIND_LINKS": "",
            "PIP_EXTRA_INDEX_URL": "",
            "no_proxy": "127.0.0.1,localhost",
            "NO_PROXY": "127.0.0.1,localhost",
        }

    def odd(self, behaviour):
        """The server that misbehaves; see `misbehaving`."""
        return Place(f"https://127.0.0.1:{self.state.port}/{behaviour}")

    def signed(self, filename, *, seconds=3600):
        """A pre-signed URL of a file, which expires in some seconds; in the past, if they are negative."""
        return self.sign(f"/signed/files/{filename}", seconds=seconds)

    def sign(self, path, *, seconds=3600):
        return f"https://127.0.0.1:{self.state.port}{quote(path)}?" + signed_query(
            path, expires=int(time.time()) + seconds
        )

    def publish(self, name, version="1.0", *, data=None, tags="py3-none-any", **more):
        """Put a wheel on all servers and return its file name; see `small_index.wheel`."""
        filename = f"{name}-{version}-{tags}.whl"
        return self.publish_file(filename, wheel(name, version, tags=tags, **more) if data is None else data)

    def publish_sdist(self, name, version="1.0", **more):
        """Put a source distribution on all servers and return its file name; see `small_index.sdist`."""
        return self.publish_file(f"{name}-{version}.tar.gz", sdist(name, version, **more))

    def publish_file(self, filename, data):
        self.wheels.mkdir(parents=True, exist_ok=True)
        (self.wheels / filename).write_bytes(data)
        self._write_pages(canonicalize_name(filename.split("-")[0]))
        return filename

    def sha256(self, filename):
        return hashlib.sha256((self.wheels / filename).read_bytes()).hexdigest()

    def asked(self):
        """The requests that the three nginx servers have answered, in order."""
        found = [json.loads(line) for line in self._access_log.read_text().splitlines()]
        return [Asked(f"{host}:{port}", path, given or None) for host, port, path, given in found]

    def _write_pages(self, name):
        files = sorted(path.name for path in self.wheels.iterdir())
        own = [file for file in files if canonicalize_name(file.split("-")[0]) == name]
        root = self.wheels.parent
        _page(root / "simple" / name, "../../files/", {file: f"#sha256={self.sha256(file)}" for file in own})
        _page(root / "plain" / name, "../../files/", dict.fromkeys(own, ""))
        _page(root / "links", "../files/", dict.fromkeys(files, ""))


def _page(folder, base, fragments):
    folder.mkdir(parents=True, exist_ok=True)
    links = "\n".join(
        f'<a href="{base}{quote(file)}{fragment}">{html.escape(file)}</a>'
        for file, fragment in fragments.items()
    )
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>\n{links}\n</body></html>\n")


@contextlib.contextmanager
def running(folder):
    """Run the servers in a folder."""
    ca = PrivateCA(folder / "ca")
    cert, key = ca.issue(["127.0.0.1", "localhost"])
    root = folder / "root"
    (root / "files").mkdir(parents=True)
    (folder / "passwords").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
    open_port, basic_port, bearer_port = nginx.free_ports(3)
    http = _CONFIGURATION.format(
        folder=folder,
        root=root,
        token=TOKEN,
        open_port=open_port,
        basic_port=basic_port,
        bearer_port=bearer_port,
    )
    bundle = folder / "bundle.pem"
    bundle.write_bytes(_system_certificates() + ca.cert.read_bytes())
    place = Place(f"https://127.0.0.1:{open_port}")
    with (
        misbehaving(root, cert, key) as state,
        nginx.serving(folder, http, cert=cert, key=key, port=open_port),
    ):
        yield Servers(
            ca=ca,
            bundle=bundle,
            wheels=root / "files",
            open=place,
            basic=replace(place, root=f"https://127.0.0.1:{basic_port}", user=USER, password=PASSWORD),
            bearer=replace(place, root=f"https://127.0.0.1:{bearer_port}", token=TOKEN),
            state=state,
            _access_log=folder / "access.log",
        )


def _system_certificates():
    file = Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    return file.read_bytes() if file.is_file() else b""
