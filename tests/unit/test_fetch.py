from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_server import Index, bare_machine, make_wheel, serve, sha256

from builder.credentials import Credentials
from builder.errors import ResolveError
from builder.fetch import FetchError, Session, download, fetching_for, hash_of, public_url

if TYPE_CHECKING:
    from pathlib import Path

FAST = Session(wait=0.001)
NAME = "tiny-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    bare_machine(monkeypatch, tmp_path / "home")
    index = serve(tmp_path / "files")
    make_wheel(index.files, "tiny", "1.0")
    return index


def get(
    index: Index, folder: Path, url: str = "", session: Session = FAST, digest: str = "", **more: object
) -> Path:
    return download(
        url or f"{index.root}/files/{NAME}",
        sha256=digest or sha256(index.files / NAME),
        size=more.pop("size", None),  # type: ignore[arg-type]
        folder=folder,
        session=session,
        **more,  # type: ignore[arg-type]
    )


def test_a_file_is_fetched_checked_and_put_in_place(index: Index, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = get(index, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert path == tmp_path / "out" / NAME
    assert path.read_bytes() == (index.files / NAME).read_bytes()
    assert told[-1] == (path.stat().st_size, path.stat().st_size)
    assert [p.name for p in path.parent.iterdir()] == [NAME]


def test_another_hash_leaves_no_file_and_names_both(index: Index, tmp_path: Path) -> None:
    with pytest.raises(FetchError) as caught:
        get(index, tmp_path / "out", f"{index.root}/files/{NAME}?sig=canary", digest="0" * 64)
    text = str(caught.value)
    assert f"expected sha256 {'0' * 64}, got {sha256(index.files / NAME)}" in text
    assert f"from {index.root}/files/{NAME}" in text
    assert "canary" not in text
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lost_connection_and_a_busy_server_are_tried_again(index: Index, tmp_path: Path) -> None:
    index.failures[f"/files/{NAME}"] = [100, 503, 429]
    assert get(index, tmp_path / "out").is_file()
    assert len(index.seen) == 4


def test_attempts_end_and_say_how_far_the_file_came(index: Index, tmp_path: Path) -> None:
    index.failures[f"/files/{NAME}"] = [100] * 9
    with pytest.raises(FetchError, match=r"100 (of|bytes).*\(4 attempts\)") as caught:
        get(index, tmp_path / "out")
    assert "network" in caught.value.hint
    assert len(index.seen) == 4
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("status", "query", "hint"),
    [
        (404, "", "Check the URL"),
        (410, "", "Check the URL"),
        (403, "", "credentials"),
        (400, "", "Check the URL"),
        (403, "?X-Sig=canary", "Get a new URL"),
        (400, "?X-Amz-Signature=canary", "Get a new URL"),
    ],
)
def test_a_refusal_is_final_and_says_what_to_do(
    index: Index, tmp_path: Path, status: int, query: str, hint: str
) -> None:
    index.failures[f"/files/{NAME}"] = [status]
    with pytest.raises(FetchError, match=f"answered {status}") as caught:
        get(index, tmp_path / "out", f"{index.root}/files/{NAME}{query}")
    assert caught.value.status == status
    assert hint in caught.value.hint
    assert f"{NAME} with sha256 {sha256(index.files / NAME)}" in str(caught.value)
    assert "put it beside the lock" in caught.value.hint
    assert "canary" not in str(caught.value)
    assert len(index.seen) == 1


@pytest.mark.parametrize(
    ("query", "until"),
    [
        ("AWSAccessKeyId=x&Signature=canary&Expires=1600000000", "2020-09-13 12:26:40"),
        ("X-Amz-Date=20200101T000000Z&X-Amz-Expires=3600&X-Amz-Signature=canary", "2020-01-01 01:00:00"),
        ("X-Goog-Date=20200101T000000Z&X-Goog-Expires=60&X-Goog-Signature=canary", "2020-01-01 00:01:00"),
        ("sv=2022&se=2020-05-01T12%3A00%3A00Z&sig=canary", "2020-05-01 12:00:00"),
    ],
)
def test_a_signed_url_that_has_expired_is_said_to_have(
    index: Index, tmp_path: Path, query: str, until: str
) -> None:
    index.failures[f"/files/{NAME}"] = [403]
    with pytest.raises(FetchError, match=f"the signed URL has expired, at {until} UTC") as caught:
        get(index, tmp_path / "out", f"{index.root}/files/{NAME}?{query}")
    assert "canary" not in str(caught.value)


def test_a_signed_url_that_is_refused_before_its_time_is_said_to_be(index: Index, tmp_path: Path) -> None:
    index.failures[f"/files/{NAME}"] = [403]
    with pytest.raises(FetchError, match="the signed URL was refused; it may have expired"):
        get(index, tmp_path / "out", f"{index.root}/files/{NAME}?Expires=9900000000&Signature=canary")


def test_a_failed_attempt_and_the_next_one_are_told(index: Index, tmp_path: Path) -> None:
    index.failures[f"/files/{NAME}"] = [503, 50]
    told: list[str] = []
    session = Session(wait=0.001, report=told.append)
    assert get(index, tmp_path / "out", f"{index.root}/files/{NAME}?sig=canary", session).is_file()
    shown = f"{index.root}/files/{NAME}?***"
    size = (index.files / NAME).stat().st_size
    assert told == [
        f"{shown} answered 503 Service Unavailable; attempt 2 of 4 in 0.001 s",
        f"the connection to {shown} was lost after 50 of {size} bytes; attempt 3 of 4 in 0.002 s",
    ]


def test_a_server_says_how_long_to_wait(index: Index, tmp_path: Path) -> None:
    index.failures[f"/files/{NAME}"] = [429]
    index.headers["Retry-After"] = "0"
    told: list[str] = []
    assert get(index, tmp_path / "out", session=Session(wait=9.0, report=told.append)).is_file()
    index.failures[f"/files/{NAME}"] = [503]
    index.headers["Retry-After"] = "Sun, 06 Nov 1994 08:49:37 GMT"
    assert get(index, tmp_path / "out", session=Session(wait=9.0, report=told.append)).is_file()
    assert [line.rpartition("; ")[2] for line in told] == ["attempt 2 of 4 in 0 s"] * 2


def test_the_rest_of_a_file_is_asked_for_when_it_is_still_the_same(index: Index, tmp_path: Path) -> None:
    index.ranges, index.headers["ETag"] = True, '"one"'
    index.failures[f"/files/{NAME}"] = [100, 200]
    told: list[tuple[int, int | None]] = []
    get(index, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    size = (index.files / NAME).stat().st_size
    assert told == [(100, size), (300, size), (size, size)]


def test_a_file_that_has_changed_meanwhile_is_fetched_from_its_beginning(
    index: Index, tmp_path: Path
) -> None:
    index.ranges, index.headers["ETag"] = True, '"one"'
    index.failures[f"/files/{NAME}"] = [100]

    def changed(done: int, total: int | None) -> None:
        index.headers["ETag"] = '"two"'

    assert get(index, tmp_path / "out", progress=changed).is_file()


def test_a_file_that_nothing_identifies_is_fetched_from_its_beginning(index: Index, tmp_path: Path) -> None:
    index.ranges = True
    index.failures[f"/files/{NAME}"] = [100]
    assert get(index, tmp_path / "out").is_file()


def test_a_web_page_is_not_taken_for_a_file(index: Index, tmp_path: Path) -> None:
    index.kind = "text/html"
    with pytest.raises(FetchError, match="answered with a web page") as caught:
        hash_of(f"{index.root}/files/{NAME}", FAST)
    assert "log in" in caught.value.hint


def test_a_bearer_token_goes_to_its_url_and_not_to_where_that_redirects(index: Index, tmp_path: Path) -> None:
    private = serve(tmp_path / "private")
    private.token = "canary"
    private.redirects["/go"] = f"{index.root}/files/{NAME}"
    known = Credentials.of((), {"T": "canary", "HOME": "/nowhere"}, tokens={private.root: "${T}"})
    session = Session(known, wait=0.001)
    assert get(index, tmp_path / "out", f"{private.root}/go", session, filename=NAME).is_file()
    assert private.seen == [("/go", "Bearer canary")]
    assert index.seen == [(f"/files/{NAME}", None)]
    assert public_url(f"{private.root}/x.whl", session) is None


def test_a_token_that_is_not_accepted_is_named_as_one(index: Index, tmp_path: Path) -> None:
    index.token = "right"
    known = Credentials.of((), {"T": "canary", "HOME": "/nowhere"}, tokens={index.root: "${T}"})
    with pytest.raises(FetchError, match="answered 401") as caught:
        get(index, tmp_path / "out", session=Session(known))
    assert "bearer token" in caught.value.hint
    assert "canary" not in str(caught.value) + caught.value.hint


def test_an_error_can_name_the_requirement_it_is_about() -> None:
    with pytest.raises(FetchError) as caught, fetching_for("app.py:3: App.requirements[0]"):
        raise FetchError("https://h.example/x answered 404", hint="Check the URL.", status=404)
    assert str(caught.value) == "app.py:3: App.requirements[0]: https://h.example/x answered 404"
    assert (caught.value.hint, caught.value.status) == ("Check the URL.", 404)


def test_nobody_answering_is_a_network_failure(tmp_path: Path, index: Index) -> None:
    with pytest.raises(ResolveError, match=r"http://\*\*\*@127\.0\.0\.1:1/x cannot be reached: .*refused"):
        get(index, tmp_path / "out", "http://me:canary@127.0.0.1:1/x")


def test_more_bytes_than_were_locked_stop_the_download(index: Index, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="more than the 10 bytes"):
        get(index, tmp_path / "out", size=10)


def test_a_login_is_sent_from_the_url_the_index_or_netrc(index: Index, tmp_path: Path) -> None:
    index.user, index.password = "me", "can@ry"
    with pytest.raises(FetchError, match="401"):
        get(index, tmp_path / "a")
    assert get(index, tmp_path / "b", index.with_login(f"/files/{NAME}")).is_file()
    by_index = Session(Credentials.of([index.with_login("/simple")]))
    assert get(index, tmp_path / "c", session=by_index).is_file()
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password can@ry\n")
    netrc.chmod(0o600)
    assert get(
        index, tmp_path / "d", session=Session(Credentials.of([], {"NETRC": str(netrc), "HOME": "/nowhere"}))
    ).is_file()
    named = {"UV_INDEX_MY_INDEX_USERNAME": "me", "UV_INDEX_MY_INDEX_PASSWORD": "can@ry", "HOME": "/nowhere"}
    assert get(
        index, tmp_path / "e", session=Session(Credentials.of([f"my-index={index.simple}"], named))
    ).is_file()


def test_a_redirect_to_another_host_is_followed_without_the_login(index: Index, tmp_path: Path) -> None:
    private = serve(tmp_path / "private")
    private.user, private.password = "me", "canary"
    private.redirects["/go"] = f"{index.root}/files/{NAME}"
    assert get(index, tmp_path / "out", private.with_login("/go"), filename=NAME).is_file()
    assert private.seen[-1][1] is not None
    assert index.seen == [(f"/files/{NAME}", None)]


def test_a_redirect_within_the_host_keeps_the_login(index: Index, tmp_path: Path) -> None:
    index.user, index.password = "me", "can@ry"
    index.redirects["/go"] = f"/files/{NAME}"
    assert get(index, tmp_path / "out", index.with_login("/go"), filename=NAME).is_file()


def test_endless_redirects_end(index: Index, tmp_path: Path) -> None:
    index.redirects["/go"] = "/go"
    with pytest.raises(FetchError, match="redirects more than 10 times"):
        get(index, tmp_path / "out", f"{index.root}/go")


def test_a_redirect_to_what_is_not_http_is_refused(index: Index, tmp_path: Path) -> None:
    index.redirects["/go"] = f"file://{index.files}/{NAME}"
    with pytest.raises(FetchError, match="not an http or https URL"):
        get(index, tmp_path / "out", f"{index.root}/go")


def test_a_file_url_is_read_and_a_missing_one_named(index: Index, tmp_path: Path) -> None:
    assert get(index, tmp_path / "out", f"file://{index.files}/{NAME}").is_file()
    with pytest.raises(FetchError, match="/nowhere/x cannot be read: No such file"):
        get(index, tmp_path / "out", "file:///nowhere/x")


def test_a_file_can_be_hashed_without_being_kept(index: Index) -> None:
    path = index.files / NAME
    assert hash_of(f"{index.root}/files/{NAME}", FAST) == (sha256(path), path.stat().st_size)


def test_only_a_url_that_needs_nothing_secret_is_told_to_others() -> None:
    session = Session(Credentials(("https://me:canary@private.example/simple",)))
    assert (
        public_url("https://files.example.org/x.whl#sha256=0", session) == "https://files.example.org/x.whl"
    )
    assert public_url("https://private.example/files/x.whl", session) is None
    assert (
        public_url("https://private.example:8443/files/x.whl", session)
        == "https://private.example:8443/files/x.whl"
    )
    assert public_url("https://files.example.org/x.whl?sig=canary", session) is None
    assert public_url("https://canary@files.example.org/x.whl", session) is None


def test_of_two_logins_for_a_host_the_one_with_the_nearer_path_is_taken() -> None:
    credentials = Credentials(("https://a:1@h.example/team-a/simple", "https://b:2@h.example/team-b/simple"))
    assert credentials.find("https://h.example/team-b/files/x.whl") == ("b", "2")
    assert credentials.find("http://h.example/team-b/files/x.whl") is None
