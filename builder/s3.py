"""S3's REST API, as much of it as a binary cache needs.

Few builds of Nix know S3, and Debian's does not. Requests are signed by AWS Signature Version 4; who we are is said by
the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`) or by the file that AWS's own tools
keep.
"""

from __future__ import annotations

import configparser
import contextlib
import hashlib
import hmac
import http.client
import os
import re
import ssl
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

from builder.cache_files import Entry
from builder.errors import BuildError, DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Words of a URL that say where the bucket is; Nix has the same. Others are for Nix.
WORDS = ("endpoint", "scheme", "region", "profile")
_TIMEOUT = 20.0  # seconds without a byte
_BLOCK = 1 << 18
_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True)
class Key:
    """Who we are, in AWS's words."""

    name: str
    secret: str = field(repr=False)
    session: str = field(default="", repr=False)


@dataclass(frozen=True)
class Bucket:
    """A bucket, or what is below a prefix in it.

    Attributes:
        scheme: "https" or "http".
        host: with its port, if any.
        path: where the bucket is there: "" where the host is the bucket's own.
        prefix: what the names of its files begin with; "" or ending in a slash.
        region: AWS's; most other servers take any.
        key: who we are; None where everybody may read.
        shown: the URL for messages.
    """

    scheme: str
    host: str
    path: str
    prefix: str
    region: str
    key: Key | None
    shown: str

    @classmethod
    def of(cls, url: str, env: Mapping[str, str] = os.environ) -> Bucket:
        """The bucket that a URL names: `s3://bucket/prefix?endpoint=HOST&scheme=http&region=eu-1&profile=NAME`.

        Raises:
            DeclarationError: it names no bucket, or another scheme than http and https.
        """
        parts = urlsplit(url)
        words = dict(parse_qsl(parts.query))
        name = parts.netloc
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,62}", name):
            raise DeclarationError(
                f"s3://{name.rpartition('@')[2]} names no bucket",
                hint="Write s3://bucket?region=eu-central-1; credentials are read from AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY.",
            )
        region = words.get("region") or env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or "us-east-1"
        endpoint = words.get("endpoint") or env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
        scheme, path = words.get("scheme", "https"), ""
        if endpoint:
            if "://" in endpoint:
                scheme, _, endpoint = endpoint.partition("://")
            host, path = endpoint.rstrip("/"), f"/{name}"
        elif "." in name:
            # A wildcard certificate is not for a name with dots.
            host, path = f"s3.{region}.amazonaws.com", f"/{name}"
        else:
            host = f"{name}.s3.{region}.amazonaws.com"
        if scheme not in ("http", "https"):
            raise DeclarationError(f"s3://{name} has the scheme {scheme!r}", hint="It is http or https.")
        prefix = parts.path.strip("/")
        shown = f"s3://{name}{'/' + prefix if prefix else ''}"
        key = _key(env, words.get("profile") or env.get("AWS_PROFILE") or "default")
        return cls(scheme, host, path, f"{prefix}/" if prefix else "", region, key, shown)

    def ask(
        self,
        method: str,
        name: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | IO[bytes] | None = None,
    ) -> http.client.HTTPResponse:
        """Send a request; who calls closes the answer, whatever its status.

        Args:
            method: HTTP's.
            name: the file; None for the bucket itself.
            query: of the URL.
            headers: besides those of the signature.
            body: what is sent, with its `Content-Length` among the headers.

        Raises:
            OSError, http.client.HTTPException: the server cannot be reached, or breaks off.
        """
        path = quote(f"{self.path}/{'' if name is None else self.prefix + name}", safe="/~")
        words = "&".join(
            f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in sorted((query or {}).items())
        )
        signed = {"host": self.host, **self._signature(method, path, words)}
        if self.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ.get("NIX_SSL_CERT_FILE") or None)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                self.host, timeout=_TIMEOUT, context=context, blocksize=_BLOCK
            )
        else:
            connection = http.client.HTTPConnection(self.host, timeout=_TIMEOUT, blocksize=_BLOCK)
        url = f"{path}?{words}" if words else path
        connection.request(method, url, body=body, headers={**(headers or {}), **signed})
        return connection.getresponse()

    def _signature(self, method: str, path: str, query: str) -> dict[str, str]:
        """The headers that say who we are (AWS's "Signature Version 4 signing process")."""
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        # What is sent is not hashed first: it is large, and what Nix takes from a cache it checks itself.
        headers = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": now}
        if self.key is None:
            return headers
        if self.key.session:
            headers["x-amz-security-token"] = self.key.session
        named = {"host": self.host, **headers}
        names = ";".join(sorted(named))
        canonical = "\n".join(
            [
                method,
                path,
                query,
                *(f"{name}:{named[name]}" for name in sorted(named)),
                "",
                names,
                "UNSIGNED-PAYLOAD",
            ]
        )
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        secret = f"AWS4{self.key.secret}".encode()
        for part in scope.split("/"):
            secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key.name}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers

    def read(self, name: str) -> bytes | None:
        """See `builder.cache_files.Files`."""
        status, data = self._asked("GET", name)
        # Who may not list a bucket is told 403 of what it has not.
        return None if status in (403, 404) else self._checked(status, data, name)

    def write(self, name: str, data: bytes) -> None:
        """See `builder.cache_files.Files`."""
        status, said = self._asked("PUT", name, headers={"Content-Length": str(len(data))}, body=data)
        self._checked(status, said, name)

    def is_writable(self) -> bool:
        """Whether it takes what is put there: what it says of itself is put there again as it is."""
        from builder.cache_files import INFO
        from builder.store import STORE

        known = self.read(INFO) or f"StoreDir: {STORE}\n".encode()
        return self._asked("PUT", INFO, headers={"Content-Length": str(len(known))}, body=known)[0] < 300

    def entries(self, below: str = "") -> Iterator[Entry]:
        """See `builder.cache_files.Listable`."""
        query = {"list-type": "2", "prefix": self.prefix + below}
        while True:
            listed = ET.fromstring(self._checked(*self._asked("GET", None, query=query), below))  # noqa: S314
            space = _NAMESPACE if listed.tag.startswith(_NAMESPACE) else ""
            for item in listed.iter(f"{space}Contents"):
                found = {child.tag.removeprefix(space): child.text or "" for child in item}
                time = datetime.fromisoformat(found["LastModified"].replace("Z", "+00:00"))
                yield Entry(found["Key"].removeprefix(self.prefix), int(found["Size"]), time.timestamp())
            more = listed.findtext(f"{space}NextContinuationToken")
            if not more:
                return
            query["continuation-token"] = more

    def remove(self, name: str) -> None:
        """See `builder.cache_files.Listable`."""
        status, said = self._asked("DELETE", name)
        if status != 404:
            self._checked(status, said, name)

    def _asked(
        self,
        method: str,
        name: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[int, bytes]:
        try:
            with contextlib.closing(
                self.ask(method, name, query=query, headers=headers, body=body)
            ) as answer:
                return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise BuildError(f"{self.shown} cannot be reached: {error or type(error).__name__}") from error

    def _checked(self, status: int, data: bytes, name: str) -> bytes:
        if status >= 300:
            raise BuildError(f"{self.shown}: {name or 'the list of files'}: {refusal(status, data)}")
        return data


def refusal(status: int, data: bytes) -> str:
    """What a server says when it refuses, in a few words; the rest of it may tell who has asked."""
    code = re.search(rb"<Code>(\w+)</Code>", data)
    return f"HTTP error {status}" + (f" ({code[1].decode()})" if code else "")


def _key(env: Mapping[str, str], profile: str) -> Key | None:
    if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
        return Key(env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN", ""))
    file = env.get("AWS_SHARED_CREDENTIALS_FILE") or Path(env.get("HOME") or "/") / ".aws/credentials"
    known = configparser.RawConfigParser()
    try:
        known.read(file, "utf-8")
        found = known[profile]
        return Key(
            found["aws_access_key_id"],
            found["aws_secret_access_key"],
            found.get("aws_session_token", ""),
        )
    except (KeyError, configparser.Error, UnicodeDecodeError):
        return None
