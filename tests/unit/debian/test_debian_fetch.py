import base64
import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from builder.debian import fetch
from builder.debian.fetch import MissingFileError, exists, fetch_current, fetch_deb, fetch_pinned, replacing
from builder.debian.mirrors import Mirrors
from builder.errors import ResolveError
from builder.models import Deb


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        answers = self.server.answers.get(self.path, [(404, {}, b"")])
        code, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if "ETag" in headers and self.headers.get("If-None-Match") == headers["ETag"]:
            code, body = 304, b""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.answers, httpd.seen = {}, []
        httpd.url = f"http://127.0.0.1:{httpd.server_port}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield httpd
        httpd.shutdown()
        thread.join()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_an_unchanged_file_is_not_sent_again(server, tmp_path):
    server.answers["/InRelease"] = [(200, {"ETag": '"1"'}, b"one")]
    assert fetch_current(f"{server.url}/InRelease", tmp_path) == b"one"
    assert fetch_current(f"{server.url}/InRelease", tmp_path) == b"one"
    assert [headers.get("If-None-Match") for _, headers in server.seen] == [None, '"1"']


def test_a_damaged_copy_is_fetched_anew(server, tmp_path):
    server.answers["/InRelease"] = [(200, {"ETag": '"1"'}, b"one")]
    fetch_current(f"{server.url}/InRelease", tmp_path)
    (copy,) = (path for path in tmp_path.iterdir() if path.suffix != ".json")
    copy.write_bytes(b"on")
    assert fetch_current(f"{server.url}/InRelease", tmp_path) == b"one"
    assert "If-None-Match" not in server.seen[-1][1]


def test_credentials_are_sent_to_their_host_and_no_further(server, tmp_path):
    server.answers["/a"] = [(302, {"Location": f"{server.url}/b"}, b"")]
    server.answers["/b"] = [(200, {}, b"x")]
    fetch_current(server.url.replace("//", "//user:p%40ss@") + "/a", tmp_path)
    headers = dict(server.seen)
    assert headers["/a"]["Authorization"] == "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert "Authorization" not in headers["/b"]


def test_errors_do_not_show_credentials(server, tmp_path):
    server.answers["/a"] = [(403, {}, b"")]
    with pytest.raises(ResolveError) as caught:
        fetch_current(server.url.replace("//", "//user:secret@") + "/a?token=secret", tmp_path)
    assert "secret" not in str(caught.value)
    server.answers["/a?token=secret"] = [(403, {}, b"")]
    with pytest.raises(ResolveError, match="/a: HTTP 403 Forbidden") as caught:
        fetch_current(server.url.replace("//", "//user:secret@") + "/a?token=secret", tmp_path)
    assert "secret" not in str(caught.value)


def test_a_server_error_is_tried_again_and_a_refusal_is_not(server, tmp_path):
    server.answers["/a"] = [(503, {}, b""), (200, {}, b"x")]
    assert fetch_current(f"{server.url}/a", tmp_path) == b"x"
    server.answers["/b"] = [(401, {}, b"")]
    with pytest.raises(ResolveError, match="HTTP 401"):
        fetch_current(f"{server.url}/b", tmp_path)
    assert [path for path, _ in server.seen] == ["/a", "/a", "/b"]


def test_a_missing_file_is_told_apart(server, tmp_path):
    with pytest.raises(MissingFileError):
        fetch_current(f"{server.url}/none", tmp_path)
    with pytest.raises(MissingFileError):
        fetch_current((tmp_path / "none").as_uri(), tmp_path)


def test_exists_asks_without_fetching(server):
    server.answers["/a"] = [(200, {}, b"x")]
    assert exists(f"{server.url}/a")
    assert not exists(f"{server.url}/b")


def test_a_host_that_does_not_answer_is_an_error_with_what_to_check(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ResolveError, match=r"cannot fetch http://127\.0\.0\.1:1/a") as caught:
        fetch_current("http://127.0.0.1:1/a", tmp_path)
    assert "proxy" in caught.value.hint


def test_a_pinned_file_is_refused_unless_it_is_that_file(server):
    server.answers["/a"] = [(200, {}, b"content")]
    target = io.BytesIO()
    fetch_pinned(f"{server.url}/a", target, sha256=sha256(b"content"), size=7)
    assert target.getvalue() == b"content"
    with pytest.raises(ResolveError, match="is not the file that Debian's signed index names"):
        fetch_pinned(f"{server.url}/a", io.BytesIO(), sha256=sha256(b"c0ntent"), size=7)
    with pytest.raises(ResolveError, match="is not the file"):
        fetch_pinned(f"{server.url}/a", io.BytesIO(), sha256=sha256(b"content"), size=6)


def test_a_connection_that_ends_early_is_tried_again(server):
    server.answers["/a"] = [(200, {"Content-Length": "7"}, b"con"), (200, {}, b"content")]
    target = io.BytesIO()
    fetch_pinned(f"{server.url}/a", target, sha256=sha256(b"content"), size=7)
    assert target.getvalue() == b"content"


def deb(data):
    return Deb(
        package="a",
        version="1",
        architecture="all",
        archive="debian",
        path="pool/a.deb",
        sha256=sha256(data),
        size=len(data),
    )


def test_a_package_is_fetched_once(server, tmp_path):
    server.answers["/pool/a.deb"] = [(200, {}, b"deb")]
    mirrors = Mirrors({"debian": server.url, "debian-security": server.url}, tmp_path, "a test")
    assert fetch_deb(deb(b"deb"), mirrors, tmp_path / "debs").read_bytes() == b"deb"
    fetch_deb(deb(b"deb"), mirrors, tmp_path / "debs")
    assert len(server.seen) == 1


def test_a_package_that_the_mirror_dropped_says_how_to_go_on(server, tmp_path):
    mirrors = Mirrors({"debian": server.url, "debian-security": server.url}, tmp_path, "a test")
    with pytest.raises(ResolveError, match="no longer has a 1") as caught:
        fetch_deb(deb(b"deb"), mirrors, tmp_path / "debs")
    assert "--upgrade" in caught.value.hint
    assert list((tmp_path / "debs").iterdir()) == []


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def interrupted():
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
