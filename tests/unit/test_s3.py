"""Which bucket a URL means, and that requests are signed as AWS's own library signs them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from builder import s3
from builder.errors import DeclarationError
from builder.s3 import Bucket, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENV = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a/secret+key"}
MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=timezone.utc)


class Clock(datetime):
    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return MOMENT


@pytest.mark.parametrize("session", ["", "a/session+token="])
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/images/nar/0abc.nar", {}),
        ("PUT", "/images/some folder/a+b~c.narinfo", {}),
        ("GET", "/images/", {"list-type": "2", "prefix": "builder-roots/", "continuation-token": "a/b=+ c"}),
    ],
)
def test_requests_are_signed_as_botocore_signs_them(
    monkeypatch: pytest.MonkeyPatch, session: str, method: str, path: str, query: dict[str, str]
) -> None:
    env = {**ENV, **({"AWS_SESSION_TOKEN": session} if session else {})}
    bucket = Bucket.of("s3://images?endpoint=host:9000&region=eu-1", env)
    monkeypatch.setattr(s3, "datetime", Clock)
    quoted = quote(path, safe="/~")
    words = "&".join(
        f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in sorted(query.items())
    )
    ours = bucket._signature(method, quoted, words)

    monkeypatch.setattr(S3SigV4Auth, "payload", lambda *_: "UNSIGNED-PAYLOAD")
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda **_: MOMENT.replace(tzinfo=None))
    request = AWSRequest(method, f"https://host:9000{quoted}", params=query)
    credentials = Credentials(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], session or None)
    S3SigV4Auth(credentials, "s3", "eu-1").add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


@pytest.mark.parametrize(
    ("url", "env", "scheme", "host", "path", "prefix"),
    [
        ("s3://images?region=eu-1", {}, "https", "images.s3.eu-1.amazonaws.com", "", ""),
        ("s3://my.images", {"AWS_REGION": "eu-2"}, "https", "s3.eu-2.amazonaws.com", "/my.images", ""),
        ("s3://images/team/a?endpoint=h:9&scheme=http", {}, "http", "h:9", "/images", "team/a/"),
        ("s3://images", {"AWS_ENDPOINT_URL": "http://h:9/"}, "http", "h:9", "/images", ""),
    ],
)
def test_where_a_bucket_is(
    url: str, env: Mapping[str, str], scheme: str, host: str, path: str, prefix: str, tmp_path: Path
) -> None:
    found = Bucket.of(url, {"HOME": str(tmp_path), **env})
    assert (found.scheme, found.host, found.path, found.prefix) == (scheme, host, path, prefix)
    assert found.key is None


def test_credentials_are_read_from_the_file_of_awss_tools_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        "[default]\naws_access_key_id = one\naws_secret_access_key = hush-one\n"
        "[team]\naws_access_key_id = two\naws_secret_access_key = hush-two\n"
    )
    env = {"HOME": str(tmp_path)}
    for url, name in (("s3://images", "one"), ("s3://images?profile=team", "two")):
        found = Bucket.of(url, env)
        assert found.key is not None
        assert (found.key.name, found.key.secret) == (name, f"hush-{name}")
        assert "hush" not in repr(found)
    assert Bucket.of("s3://images?profile=none", env).key is None


@pytest.mark.parametrize("url", ["s3://", "s3://Images", "s3://me:hush@images", "s3://images?scheme=ftp"])
def test_what_names_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Bucket.of(url, {})
    assert "hush" not in str(caught.value)


def test_of_a_refusal_only_its_kind_is_told() -> None:
    said = b"<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>AKIAEXAMPLE</AWSAccessKeyId></Error>"
    assert refusal(403, said) == "HTTP error 403 (SignatureDoesNotMatch)"
    assert refusal(500, b"") == "HTTP error 500"
