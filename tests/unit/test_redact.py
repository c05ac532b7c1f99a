from __future__ import annotations

import pytest

from builder.redact import redact, redact_url, strip_url, url_secrets


@pytest.mark.parametrize(
    ("url", "stripped"),
    [
        ("https://host.example/x.whl", "https://host.example/x.whl"),
        ("https://user:pa%40ss@host.example:8443/x.whl", "https://host.example:8443/x.whl"),
        (
            "https://token@host.example/x.whl?X-Signature=abc&Expires=1#sha256=00",
            "https://host.example/x.whl",
        ),
        ("https://h.example/a%2Bcpu-1-py3-none-any.whl", "https://h.example/a%2Bcpu-1-py3-none-any.whl"),
        ("file:///srv/wheels/x.whl", "file:///srv/wheels/x.whl"),
    ],
)
def test_a_stripped_url_keeps_what_names_the_file_and_nothing_else(url: str, stripped: str) -> None:
    assert strip_url(url) == stripped


def test_a_url_with_a_secret_in_its_path_cannot_be_stripped() -> None:
    assert strip_url("https://host.example/s3cret/x.whl", ["s3cret"]) is None
    assert strip_url("https://host.example/s%2Fcret/x.whl", ["s/cret"]) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://user:pw@h.example/x.", "see https://***@h.example/x."),
        ("(https://tok@h.example)", "(https://***@h.example)"),
        ("x @ https://h.example/x.whl?sig=a&b=c#sha256=0", "x @ https://h.example/x.whl?***#sha256=0"),
        ("git+https://tok@h.example/r.git@v1", "git+https://***@h.example/r.git@v1"),
        ("https://user:pa/ss@h.example/x", "https://***@h.example/x"),
        ("https://user:p@ss@h.example/x", "https://***@h.example/x"),
        ("https://h.example:8080/a@b", "https://h.example:8080/a@b"),
        ("https://${TOKEN}@h.example/x", "https://${TOKEN}@h.example/x"),
        ("https://me:${TOKEN}@h.example/x", "https://me:${TOKEN}@h.example/x"),
        ("https://${TOKEN}:plain@h.example/x", "https://***@h.example/x"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("git+ssh://git@h.example/r.git", "git+ssh://***@h.example/r.git"),
        ("numpy==1.0", "numpy==1.0"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("http.extraHeader='AUTHORIZATION: basic YTpi'", "http.extraHeader='AUTHORIZATION: basic ***'"),
        ("{'Authorization': 'token abc', 'x': 1}", "{'Authorization': 'token ***', 'x': 1}"),
    ],
)
def test_shown_text_masks_what_a_urls_structure_gives_away(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_known_secrets_are_masked_wherever_they_stand_and_however_encoded() -> None:
    shown = redact("token s/cret! in path h.example/s%2Fcret%21/x, abc", ["s/cret!", "abc"])
    assert shown == "token *** in path h.example/***/x, abc"


@pytest.mark.parametrize(
    "written", ["a b/c@d", "a%20b%2Fc%40d", "a%20b%2fc%40d", "a+b%2Fc%40d", "a%20b/c%40d"]
)
def test_a_known_secret_is_found_in_every_percent_encoding(written: str) -> None:
    assert redact(f"TOKEN={written};", ["a b/c@d"]) == "TOKEN=***;"


def test_a_urls_secrets_are_its_password_or_lone_user_and_its_query() -> None:
    assert url_secrets("https://me:pa%40ss@h.example/") == ("pa%40ss", "pa@ss")
    assert url_secrets("https://token1@h.example/?sig=longvalue") == ("token1", "longvalue")
    assert url_secrets("https://${TOKEN}@h.example/") == ()


def test_a_url_without_scheme_is_left_alone() -> None:
    assert redact_url("wheels/x.whl") == "wheels/x.whl"
