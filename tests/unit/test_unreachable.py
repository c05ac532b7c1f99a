from __future__ import annotations

import pytest

from builder.credentials import Credentials
from builder.requirements import Requirement
from builder.unreachable import explain_unreachable, refused_index
from builder.uvtool import Indexes

SIGNED = "https://h.example/files/tiny-1.0-py3-none-any.whl?Expires=1600000000&Signature=canary"
REQUIREMENTS = (
    Requirement(
        name="tiny",
        line="",
        shown="tiny @ https://h.example/...",
        where="app.py:3: App.requirements[0]",
        url=SIGNED,
    ),
    Requirement(
        name="some-name", line="some-name", shown="some-name>=1", where="app.py:3: App.requirements[1]"
    ),
)
BASIC = Indexes(credentials=Credentials(("https://me:pw@h.example/simple",)))


def explained(text: str, indexes: Indexes | None = None) -> tuple[str, str]:
    error = explain_unreachable(text, "step 2 of 3: ", REQUIREMENTS, indexes or Indexes())
    return str(error), error.hint


def test_a_refused_page_is_said_with_the_requirement_and_what_was_sent() -> None:
    text = (
        "Request failed after 2 retries in 4.4s\n  cause: Failed to fetch: https://h.example/simple/some-name/\n"
        "  cause: HTTP status server error (500 Internal Server Error) for url (https://h.example/simple/some-name/)"
    )
    message, hint = explained(text)
    assert message == (
        "step 2 of 3: app.py:3: App.requirements[1]: some-name>=1: "
        "https://h.example/simple/some-name/ answered 500 Internal Server Error (3 attempts)"
    )
    assert "run the command again later" in hint
    text = "HTTP status client error (401 Unauthorized) for url (https://h.example/simple/other/)"
    message, hint = explained(text, BASIC)
    assert message.endswith("it was asked for tiny @ https://h.example/..., some-name>=1")
    assert "were not accepted" in hint


def test_an_expired_url_is_recognised_although_uv_leaves_its_query_out() -> None:
    url = SIGNED.partition("?")[0]
    message, hint = explained(f"HTTP status client error (403 Forbidden) for url ({url}?***)")
    assert "App.requirements[0]" in message
    assert "the signed URL has expired, at 2020-09-13 12:26:40 UTC" in message
    assert "canary" not in message
    assert "Get a new URL" in hint


@pytest.mark.parametrize(
    ("cause", "said", "hint"),
    [
        (
            "invalid peer certificate: UnknownIssuer",
            "certificate of {url} is not trusted: UnknownIssuer",
            "SSL_CERT_FILE",
        ),
        ("dns error\n  cause: failed to lookup address information", "{url} cannot be reached: its host", "network"),
        ("tcp connect error\n  cause: Connection refused (os error 111)", "{url} cannot be reached: Connection refused",
         "network"),
        ("operation timed out", "{url} did not answer in time", "network"),
        ("error decoding response body", "the connection to {url} was lost", "network"),
        ("Unsupported `Content-Type` \"text/plain\"", "{url} is not what it should be", "log in"),
        ("something new", "packages could not be looked up: Failed to fetch: {url}", "Check the URL"),
    ],
)  # fmt: skip
def test_uvs_causes_are_said_as_our_own_downloads_say_them(cause: str, said: str, hint: str) -> None:
    url = "https://h.example/simple/some-name/"
    message, advice = explained(f"Failed to fetch: {url}\n  cause: {cause}")
    assert message.startswith("step 2 of 3: app.py:3: App.requirements[1]: some-name>=1: ")
    assert said.format(url=url) in message
    assert hint in advice


def test_an_index_that_refuses_is_told_from_one_without_the_package() -> None:
    text = (
        "because tiny was not found in the package registry\n"
        "hint: An index URL (https://h.example/simple) could not be queried due to a lack of valid authentication "
        "credentials (401 Unauthorized)."
    )
    assert str(refused_index(text, Indexes())).startswith("h.example: It may need credentials")
    assert "not accepted" in str(refused_index(text, BASIC))
    assert refused_index("because tiny was not found in the package registry", BASIC) is None
