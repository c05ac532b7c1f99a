"""A real git server on this machine: `git http-backend` behind nginx, with TLS from a private CA.

The same repositories are at several places, which ask for different things (`GitServer.url`):

- "open": nothing.
- "private": a token, as the user or as the password of any user.
- "bearer": a bearer token.
- "old": nothing; it speaks the protocol's first version, and gives only commits that a branch or tag is at.
- "flaky": nothing; each repository's first request is answered 503.
- "slow", "slow-bearer": what "private" and "bearer" ask for; each answer takes half a second.
- "broken", "forbidden", "missing": 503, 403 and 404 to everything.
- "moved", "moved-private", "moved-bearer": redirects to the other server, where nothing is asked for.
- "trap": redirects to the other server, which then asks for credentials.
- "downgrade": redirects to a URL without encryption.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import nginx

TOKEN = "canary-git-token-51c0"
BEARER = "canary-git-bearer-9e2d"
SOME_USER = "x-access-token"

_BACKEND = """
            include {folder}/backend.conf;
            fastcgi_param PATH_INFO /$1;
            fastcgi_pass 127.0.0.1:{cgi_port};
"""

_CONFIGURATION = """
    client_max_body_size 0;
    map_hash_bucket_size 256;
    log_format asked escape=json '["$server_port","$request_uri","$http_authorization"]';
    access_log {folder}/access.log asked;
    map $http_authorization $has_token {{
        default no;
        "Basic {user_token}" yes;
        "Basic {password_token}" yes;
    }}
    map $http_authorization $has_bearer {{
        default no;
        "Bearer {bearer}" yes;
    }}
    server {{
        listen 127.0.0.1:{port} ssl;
        error_page 401 @basic;
        location @basic {{
            add_header WWW-Authenticate 'Basic realm="git"' always;
            return 401;
        }}
        location ~ ^/open/(.*)$ {{
            fastcgi_param GIT_PROTOCOL $http_git_protocol;{backend}
        }}
        location ~ ^/private/(.*)$ {{
            if ($has_token = no) {{ return 401; }}
            fastcgi_param GIT_PROTOCOL $http_git_protocol;{backend}
        }}
        location ~ ^/bearer/(.*)$ {{
            if ($has_bearer = no) {{ return 401; }}
            fastcgi_param GIT_PROTOCOL $http_git_protocol;{backend}
        }}
        location ~ ^/old/(.*)$ {{{backend}
        }}
        location ~ ^/flaky/(.*)$ {{
            fastcgi_param FLAKY 1;{backend}
        }}
        location ~ ^/slow/(.*)$ {{
            if ($has_token = no) {{ return 401; }}
            fastcgi_param SLOW 1;{backend}
        }}
        location ~ ^/slow-bearer/(.*)$ {{
            if ($has_bearer = no) {{ return 401; }}
            fastcgi_param SLOW 1;{backend}
        }}
        location /broken/ {{ return 503; }}
        location /forbidden/ {{ return 403; }}
        location ~ ^/moved/(.*)$ {{ return 302 https://{other}/open/$1$is_args$args; }}
        location ~ ^/moved-private/(.*)$ {{
            if ($has_token = no) {{ return 401; }}
            return 302 https://{other}/open/$1$is_args$args;
        }}
        location ~ ^/moved-bearer/(.*)$ {{
            if ($has_bearer = no) {{ return 401; }}
            return 302 https://{other}/open/$1$is_args$args;
        }}
        location ~ ^/trap/(.*)$ {{ return 302 https://{other}/private/$1$is_args$args; }}
        location ~ ^/downgrade/(.*)$ {{ return 302 http://127.0.0.1:{port}/open/$1$is_args$args; }}
        location / {{ return 404; }}
    }}
    server {{
        listen 127.0.0.1:{other_port} ssl;
        error_page 401 @basic;
        location @basic {{
            add_header WWW-Authenticate 'Basic realm="git"' always;
            return 401;
        }}
        location ~ ^/open/(.*)$ {{
            fastcgi_param GIT_PROTOCOL $http_git_protocol;{backend}
        }}
        location ~ ^/private/(.*)$ {{
            if ($has_token = no) {{ return 401; }}
            fastcgi_param GIT_PROTOCOL $http_git_protocol;{backend}
        }}
        location / {{ return 404; }}
    }}
"""

_PARAMETERS = """
fastcgi_param SCRIPT_FILENAME {folder}/backend.sh;
fastcgi_param REQUEST_METHOD $request_method;
fastcgi_param QUERY_STRING $query_string;
fastcgi_param CONTENT_TYPE $content_type;
fastcgi_param CONTENT_LENGTH $content_length;
fastcgi_param SERVER_PROTOCOL $server_protocol;
"""

_SCRIPT = """#!/bin/sh
if [ -n "$FLAKY" ] && mkdir "{folder}/flaky-$(echo "$PATH_INFO" | cut -d/ -f2)" 2>/dev/null; then
    printf 'Status: 503 Service Unavailable\\r\\n\\r\\n'
    exit
fi
[ -z "$SLOW" ] || sleep 0.5
export GIT_PROJECT_ROOT={repositories} GIT_HTTP_EXPORT_ALL=1 GIT_CONFIG_NOSYSTEM=1 HOME={folder}
exec git http-backend
"""


@dataclass(frozen=True)
class Repository:
    """A repository on the server, and a work tree that pushes to it.

    Attributes:
        name: "pkg.git".
        bare: its folder.
        work: the work tree.
    """

    name: str
    bare: Path
    work: Path

    def commit(self, files, *, tag=None, branch="main", submodules=None, annotated=False):
        """Commit files and push them.

        Args:
            files: contents by path; one that begins with "#!" is executable, a `Path` is a link.
            tag: set on the commit.
            branch: made from the present one where there is none.
            submodules: URL and commit, by path.
            annotated: whether the tag is.

        Returns:
            the commit's hash.
        """
        if run_git(self.work, "rev-parse", "--verify", "-q", branch, check=False):
            run_git(self.work, "checkout", "-q", branch)
        else:
            run_git(self.work, "checkout", "-q", "-B", branch)
        for name, content in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            if isinstance(content, Path):
                path.symlink_to(content)
            else:
                data = content if isinstance(content, bytes) else content.encode()
                path.write_bytes(data)
                path.chmod(0o755 if data.startswith(b"#!") else 0o644)
        run_git(self.work, "add", "--all")
        for path, (url, commit) in (submodules or {}).items():
            run_git(self.work, "config", "-f", ".gitmodules", f"submodule.{path}.path", path)
            if url:
                run_git(self.work, "config", "-f", ".gitmodules", f"submodule.{path}.url", url)
            run_git(self.work, "add", ".gitmodules")
            run_git(self.work, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
            (self.work / path).mkdir(parents=True, exist_ok=True)
        run_git(self.work, "commit", "-q", "--allow-empty", "-m", "a change")
        if tag:
            run_git(self.work, "tag", *(["-a", "-m", tag] if annotated else []), tag)
        run_git(self.work, "push", "-q", "--force", self.bare, branch, *([tag] if tag else []))
        return run_git(self.work, "rev-parse", "HEAD")

    def forget(self, *refs):
        """Remove refs on the server, and what only they led to."""
        for ref in refs:
            run_git(self.bare, "update-ref", "-d", ref)
        run_git(self.bare, "gc", "-q", "--prune=now")


@dataclass(frozen=True)
class GitServer:
    """The running server.

    Attributes:
        folder: of its files.
        cert: the CA's certificate.
        host: host and port.
        other: host and port of the other server.
    """

    folder: Path
    cert: Path
    host: str
    other: str

    def repository(self, name):
        """A new repository without commits."""
        bare, work = self.folder / "repositories" / f"{name}.git", self.folder / "work" / name
        run_git(self.folder, "init", "-q", "--bare", "-b", "main", bare)
        run_git(self.folder, "init", "-q", "-b", "main", work)
        return Repository(f"{name}.git", bare, work)

    def url(self, repository, place="open", *, user="", password="", host=None):
        """A repository's URL at a place."""
        login = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
        return f"https://{login}{'@' if login else ''}{host or self.host}/{place}/{repository.name}"

    def asked(self):
        """The requests so far: port, path and `Authorization` header of each."""
        return [tuple(json.loads(line)) for line in (self.folder / "access.log").read_text().splitlines()]


def run_git(folder, *words, check=True):
    """Run git as someone, at a fixed time, with no configuration of this machine."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": os.devnull,
        "XDG_CONFIG_HOME": os.devnull,
    }
    for role in ("AUTHOR", "COMMITTER"):
        environment |= {
            f"GIT_{role}_NAME": "someone",
            f"GIT_{role}_EMAIL": "someone@localhost",
            f"GIT_{role}_DATE": "2024-01-01T00:00:00Z",
        }
    done = subprocess.run(
        ["git", *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextlib.contextmanager
def running(folder, ca):
    """Run the server in a folder, with certificates of a `PrivateCA`."""
    cert, key = ca.issue(["127.0.0.1", "localhost"])
    port, other_port, cgi_port = nginx.free_ports(3)
    repositories = folder / "repositories"
    repositories.mkdir(parents=True)
    other = f"localhost:{other_port}"
    backend = _BACKEND.format(folder=folder, cgi_port=cgi_port)
    (folder / "backend.conf").write_text(_PARAMETERS.format(folder=folder))
    script = folder / "backend.sh"
    script.write_text(_SCRIPT.format(folder=folder, repositories=repositories))
    script.chmod(0o755)
    http = _CONFIGURATION.format(
        folder=folder,
        port=port,
        other=other,
        other_port=other_port,
        backend=backend,
        bearer=BEARER,
        user_token=_basic(f"{TOKEN}:"),
        password_token=_basic(f"{SOME_USER}:{TOKEN}"),
    )
    with (
        nginx.started("fcgiwrap", "-f", "-s", f"tcp:127.0.0.1:{cgi_port}"),
        nginx.serving(folder, http, cert=cert, key=key, port=port),
    ):
        yield GitServer(folder, ca.cert, f"127.0.0.1:{port}", other)


def _basic(text):
    return base64.b64encode(text.encode()).decode()
