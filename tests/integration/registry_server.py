"""A registry on this machine: Debian's docker-registry, with TLS from a private authority and a password."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import re
import socket
import ssl
import subprocess
import time
import urllib.request

from conftest import free_port
from private_ca import PrivateCA

USER, PASSWORD = "writer", "canary/registry pass"
_CONFIGURATION = """
version: 0.1
log: {{level: info, formatter: json}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http:
  addr: localhost:{port}
  tls: {{certificate: {cert}, key: {key}}}
auth: {{htpasswd: {{realm: images, path: {folder}/passwords}}}}
"""


class Registry:
    """Debian's docker-registry, with TLS from a private authority and a password."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = PrivateCA(folder / "ca")
        cert, key = self.authority.issue(["localhost"])
        self.host = f"localhost:{free_port()}"
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
        crypt.restype = ctypes.c_char_p
        hashed = crypt(PASSWORD.encode(), b"$2b$05$abcdefghijklmnopqrstuu").decode()
        (folder / "passwords").write_text(f"{USER}:{hashed}\n")
        port = self.host.partition(":")[2]
        text = _CONFIGURATION.format(folder=folder, port=port, cert=cert, key=key)
        (folder / "config.yml").write_text(text)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", int(port))) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def environment(self, folder, password=PASSWORD):
        """A user's environment who trusts the authority and has logged in as docker does."""
        config = folder / ".docker/config.json"
        config.parent.mkdir(exist_ok=True)
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        config.write_text(json.dumps({"auths": {self.host: {"auth": token}}}))
        return {"HOME": str(folder), "SSL_CERT_FILE": str(self.authority.cert)}

    def manifest(self, reference, env):
        words = ["skopeo", "inspect", "--raw", f"docker://{self.host}/{reference}"]
        done = subprocess.run(words, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", **env})
        return json.loads(done.stdout)

    def put_index(self, reference, *entries):
        """Put an index of several images under a tag: descriptors of manifests that the repository has."""
        media_type = "application/vnd.oci.image.index.v1+json"
        repository, _, tag = reference.partition(":")
        body = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request = urllib.request.Request(
            f"https://{self.host}/v2/{repository}/manifests/{tag}",
            data=json.dumps(body).encode(),
            method="PUT",
            headers={"Content-Type": media_type, "Authorization": f"Basic {token}"},
        )
        context = ssl.create_default_context(cafile=str(self.authority.cert))
        urllib.request.urlopen(request, context=context).close()

    def blobs_sent(self, start):
        """Digests of the blobs that were put, in what was logged from a place on."""
        put = re.findall(
            rb'"PUT [^"]*/blobs/uploads/[^"]*digest=(sha256)%3A([0-9a-f]{64})', self.log.read_bytes()[start:]
        )
        return {f"{algorithm.decode()}:{value.decode()}" for algorithm, value in put}


@contextlib.contextmanager
def running(folder):
    """The registry, while the block lasts."""
    server = Registry(folder)
    try:
        yield server
    finally:
        server.process.terminate()
        server.process.wait()
