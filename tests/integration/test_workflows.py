"""The workflows that `builder init --ci` writes: their shell is run as it stands, with real Nix, cache and registry.

Of a forge there is what a runner does: it hands each step its environment, and says which steps are run. Its API is a
server here that keeps the comments it is sent. Whatever a workflow asks the forge for (`${{ ... }}`) has to be in a
table of the test, by its exact text.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cache_server
import pytest
import registry_server
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
TOKEN = "canary-token-of-the-forge"
GITHUB, GITLAB = ".github/workflows/images.yml", ".gitlab-ci.yml"


class Comments:
    """The part of a forge's API that comments use; it takes the requests of one who has the token."""

    def __init__(self, header, create, change):
        self.texts, self.asked = {}, []
        comments = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self, code, body):
                self.send_response(code)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def do(self):
                path, _, _ = self.path.partition("?")
                comments.asked.append((self.command, self.path))
                if self.headers[header.partition(": ")[0]] != header.partition(": ")[2]:
                    return self.answer(401, {})
                length = int(self.headers["Content-Length"] or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                if self.command == "GET" and path == create:
                    listed = [{"id": number, "body": text} for number, text in comments.texts.items()]
                    return self.answer(200, listed)
                if self.command == "POST" and path == create:
                    comments.texts[len(comments.texts) + 7] = body["body"]
                    return self.answer(201, {})
                folder, _, number = path.rpartition("/")
                if (self.command, folder) == change and int(number) in comments.texts:
                    comments.texts[int(number)] = body["body"]
                    return self.answer(200, {})
                return self.answer(404, {})

            do_GET = do_POST = do_PATCH = do_PUT = do  # noqa: N815 - the base class's names

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """This project as a wheel, which workflows install."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(words, check=True, capture_output=True)
    [found] = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def web(tmp_path_factory):
    with cache_server.running(tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registry_server.running(tmp_path_factory.mktemp("registry")) as server:
        yield server


class Repository:
    """An app's repository: `main`, and a change of it that adds a requirement."""

    def __init__(self, project, forge, wheel):
        self.project, self.folder = project, project.folder
        self.git("init", "--quiet", "--initial-branch", "main")
        body = f"    made_for = {str(project.folder)!r}"
        project.app(["humanize==4.14.0"], body=body)
        project.run("lock", "app.py")
        project.run("init", "--ci", forge, "--install", wheel)
        self.base = self.commit("The app")
        self.git("checkout", "--quiet", "-b", "change")
        project.app(["humanize==4.14.0", "tomli==2.2.1"], body=body)
        project.run("lock", "app.py")
        self.head = self.commit("A change")

    def git(self, *words):
        named = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
        done = subprocess.run(
            ["git", *named, *words], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def at(self, commit):
        """A clean clone, as a runner makes it."""
        clone = self.folder.parent / f"clone-{commit[:8]}"
        if not clone.exists():
            subprocess.run(["git", "clone", "--quiet", self.folder, clone], check=True)
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=clone, check=True)
        return clone


class Job:
    """A run of a workflow, with what its runner keeps between steps."""

    def __init__(self, repository, commit, env, *servers):
        self.clone = repository.at(commit)
        self.temp = Path(f"{self.clone}-temp-{len(list(self.clone.parent.iterdir()))}")
        self.temp.mkdir()
        # The authorities of these servers are known besides those that the machine knows.
        bundle = self.temp / "authorities.pem"
        known = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
        bundle.write_text("\n".join([known, *(server.authority.cert.read_text() for server in servers)]))
        self.env = {
            **repository.project.environment(),
            "SSL_CERT_FILE": str(bundle),
            "NIX_SSL_CERT_FILE": str(bundle),
            **env,
        }
        self.said = ""

    def shell(self, script, env=(), flags=("-eo", "pipefail")):
        """Run a script as runners do."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", *flags, "-c", script],
            cwd=self.clone,
            env={**self.env, **dict(env)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        self.said += done.stdout
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        return done.stdout


def resolved(env, table):
    return {
        key: re.sub(r"\$\{\{ (.*?) \}\}", lambda match: table[match[1]], str(value))
        for key, value in (env or {}).items()
    }


def run_github(job, table):
    """Run the steps of a workflow; `table` has by their text the expressions that the forge would evaluate."""
    workflow = YAML(typ="safe").load(job.clone / GITHUB)
    [described] = workflow["jobs"].values()
    [app] = described["strategy"]["matrix"]["include"]
    table = {**table, **{f"matrix.{key}": value for key, value in app.items()}}
    assert workflow["defaults"]["run"]["shell"] == "bash"
    files = {name: job.temp / name for name in ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
    job.env |= {"RUNNER_TEMP": str(job.temp), **{name: str(path) for name, path in files.items()}}
    job.env |= resolved(workflow["env"], table)
    job.env |= resolved(described["env"], table)
    ran = {}
    for step in described["steps"]:
        if "uses" in step:
            assert step["uses"].startswith("actions/checkout@")
        elif "if" not in step or table[step["if"]]:
            for path in files.values():
                path.touch()
            ran[step["name"]] = job.shell(step["run"], resolved(step.get("env"), table))
            job.env |= dict(line.split("=", 1) for line in files["GITHUB_ENV"].read_text().splitlines())
            folders = files["GITHUB_PATH"].read_text().split()
            job.env["PATH"] = ":".join([*folders, os.environ["PATH"]])
    return ran


def run_gitlab(job):
    """Run a job's script, which runners make one of."""
    [described] = [part for part in YAML(typ="safe").load(job.clone / GITLAB).values() if "script" in part]
    [app] = described["parallel"]["matrix"]
    job.env |= {**YAML(typ="safe").load(job.clone / GITLAB)["variables"], **app, "TMPDIR": str(job.temp)}
    job.env = {name: str(value) for name, value in job.env.items()}
    return job.shell("\n".join([*described["before_script"], *described["script"]]))


def key_of(project):
    """A signing key's text, and the public part."""
    words = ("cache", "keygen", "ci-1", "--file", "ci.key", "--json")
    public = json.loads(project.run(*words).out)["public_key"]
    file = project.folder / "ci.key"
    text = file.read_text()
    file.unlink()
    return text.strip(), public


def netrc():
    return f"machine localhost login {cache_server.USER} password {cache_server.PASSWORD}"


def secrets(job, key):
    """Nothing secret is said by any step."""
    return [
        secret
        for secret in (key, TOKEN, cache_server.PASSWORD, registry_server.PASSWORD)
        if secret in job.said
    ]


def test_the_steps_of_githubs_workflow_build_check_push_and_comment(session_project, wheel, web, registry):
    project = session_project("github")
    repository = Repository(project, "github", wheel)
    key, _ = key_of(project)
    pushed = "github.event_name == 'push' && github.ref_name == github.event.repository.default_branch"
    changed = "github.event_name == 'pull_request'"
    own = f"{changed} && github.event.pull_request.head.repo.full_name == github.repository"
    table = {
        "vars.BUILDER_CACHE": web.url("private"),
        "vars.IMAGES || format('ghcr.io/{0}', github.repository)": f"{registry.host}/Team",
        "secrets.CACHE_KEY": key,
        "secrets.CACHE_NETRC": netrc(),
        "secrets.REGISTRY_USER || github.actor": registry_server.USER,
        "secrets.REGISTRY_PASSWORD || github.token": registry_server.PASSWORD,
        "github.event.pull_request.base.sha": repository.base,
        "github.event.pull_request.number": "12",
        "github.token": TOKEN,
        pushed: True,
        changed: False,
        own: False,
    }
    job = Job(repository, repository.base, {"GITHUB_SHA": repository.base}, web, registry)
    ran = run_github(job, table)
    assert "Comment" not in ran
    digest = re.search(r"app: (sha256:\w+), \d+ MB in \d+ layers", ran["Build"])[1]
    assert f"cache {web.url('private')}: the same" in ran["Check that it can be made again"]
    assert (job.temp / "cache.key").stat().st_mode & 0o777 == 0o600
    assert (job.temp / "netrc").stat().st_mode & 0o777 == 0o600
    assert secrets(job, key) == []
    put = [name for method, name, status in web.asked() if (method, status) == ("PUT", "201")]
    assert any(name.startswith("/private/nar/") for name in put)
    env = registry.environment(job.temp)
    assert registry.manifest(f"team/app:{repository.base}", env) == registry.manifest(
        f"team/app@{digest}", env
    )
    assert registry.manifest("team/app:latest", env) == registry.manifest(f"team/app@{digest}", env)

    issues = "/repos/me/apps/issues"
    with Comments(
        f"Authorization: Bearer {TOKEN}", f"{issues}/12/comments", ("PATCH", f"{issues}/comments")
    ) as api:
        env = {"GITHUB_API_URL": api.url, "GITHUB_REPOSITORY": "me/apps", "GITHUB_SHA": repository.head}
        job = Job(repository, repository.head, env, web, registry)
        ran = run_github(job, {**table, pushed: False, changed: True, own: True})
        assert "Push" not in ran
        [text] = api.texts.values()
        assert "| `tomli` |  | `2.2.1` |" in text
        assert "**layers**: 3 different" in text
        assert re.search(r"\*\*size\*\*: [\d.]+ MB -> [\d.]+ MB \(\+", text)
        assert (job.temp / "GITHUB_STEP_SUMMARY").read_text().strip() == text.strip()
        assert secrets(job, key) == []
        # The next run of it writes the same comment anew.
        comment = YAML(typ="safe").load(job.clone / GITHUB)["jobs"]["image"]["steps"][-1]
        (job.temp / "comment.md").write_text("<!-- builder diff app -->\nagain")
        job.shell(comment["run"], resolved(comment["env"], table))
        assert list(api.texts.values()) == ["<!-- builder diff app -->\nagain"]


def test_the_script_of_gitlabs_pipeline_builds_checks_pushes_and_comments(
    session_project, wheel, web, registry
):
    project = session_project("gitlab")
    repository = Repository(project, "gitlab", wheel)
    key, _ = key_of(project)
    env = {
        "BUILDER_CACHE": web.url("private"),
        "CACHE_KEY": key,
        "CACHE_NETRC": netrc(),
        "CI_DEFAULT_BRANCH": "main",
        "CI_REGISTRY_IMAGE": f"{registry.host}/group/project",
        "CI_REGISTRY_USER": registry_server.USER,
        "CI_REGISTRY_PASSWORD": registry_server.PASSWORD,
    }
    branch = {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_SHA": repository.base}
    job = Job(repository, repository.base, {**env, **branch}, web, registry)
    said = run_gitlab(job)
    digest = re.search(r"app: (sha256:\w+), \d+ MB in \d+ layers", said)[1]
    assert f"cache {web.url('private')}: the same" in said
    assert secrets(job, key) == []
    mine = registry.environment(job.temp)
    assert registry.manifest("group/project/app:latest", mine) == registry.manifest(
        f"group/project/app@{digest}", mine
    )
    assert 'failures="0"' in (job.clone / "check.xml").read_text()

    notes = "/projects/5/merge_requests/3/notes"
    with Comments(f"PRIVATE-TOKEN: {TOKEN}", notes, ("PUT", notes)) as api:
        api.texts[3] = "<!-- builder diff app -->\nof the run before"
        change = {
            "CI_MERGE_REQUEST_IID": "3",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": repository.base,
            "CI_COMMIT_SHA": repository.head,
            "CI_PROJECT_ID": "5",
            "CI_API_V4_URL": api.url,
            "GITLAB_TOKEN": TOKEN,
        }
        before = registry.log.stat().st_size
        job = Job(repository, repository.head, {**env, **change}, web, registry)
        run_gitlab(job)
        assert list(api.texts) == [3]
        assert "| `tomli` |  | `2.2.1` |" in api.texts[3]
        assert secrets(job, key) == []
        assert registry.blobs_sent(before) == set()


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_shellcheck_finds_nothing_in_the_shell_of_a_workflow(project, forge):
    project.app([])
    project.run("init", "--ci", forge)
    if forge == "github":
        steps = YAML(typ="safe").load(project.folder / GITHUB)["jobs"]["image"]["steps"]
        scripts = [step["run"] for step in steps if "run" in step]
    else:
        job = YAML(typ="safe").load(project.folder / GITLAB)["images"]
        scripts = ["\n".join([*job["before_script"], *job["script"]])]
    assert scripts
    for script in scripts:
        done = subprocess.run(
            ["shellcheck", "--shell", "bash", "-"], input=script, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "")
