import hashlib

import pytest

from builder import store


def test_base32_writes_nixs_own_alphabet():
    # `nix-hash --type sha256 --to-base32` of the sha256 of "hello"
    digest = hashlib.sha256(b"hello").digest()
    assert store.base32(digest) == "094qif9n4cq4fdg459qzbhg1c6wywawwaaivx0k0x8xhbyx4vwic"


def test_a_flat_path_is_what_nix_store_print_fixed_path_prints():
    digest = hashlib.sha256(b"hello").hexdigest()
    # nix-store --print-fixed-path sha256 $digest hello.whl
    assert (
        store.flat_path("hello.whl", digest, "/nix/store")
        == "/nix/store/j1ggyqzs2jxs98jqcpcc2h57cahy0cmx-hello.whl"
    )


def test_a_recursive_path_is_what_nix_store_print_fixed_path_recursive_prints():
    digest = hashlib.sha256(b"hello").hexdigest()
    assert (
        store.recursive_path("hello", digest, "/nix/store")
        == "/nix/store/rvixdlj68pbc6ki2dqrq779ljpxrx549-hello"
    )


def test_the_nar_digest_of_a_folder_is_what_nix_hash_prints(tmp_path):
    (tmp_path / "a").write_text("hello\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run").write_text("#!/bin/sh\n")
    (tmp_path / "b" / "run").chmod(0o755)
    (tmp_path / "link").symlink_to("a")
    # nix-hash --type sha256 on the same folder
    assert store.nar_sha256(tmp_path) == "46f5b9ade8d36285f355af66b84942238b1d1882f74f94c70946444058e5653c"


def test_the_nar_digest_follows_the_executable_bit(tmp_path):
    file = tmp_path / "f"
    file.write_text("x")
    plain = store.nar_sha256(file)
    file.chmod(0o755)
    assert store.nar_sha256(file) != plain


@pytest.mark.parametrize(
    ("name", "legal"),
    [
        ("torch-2.9.1+cu128-cp311-cp311-linux_x86_64.whl", "torch-2.9.1+cu128-cp311-cp311-linux_x86_64.whl"),
        ("libc6_2.36-9+deb12u10~rc1_amd64.deb", "libc6_2.36-9+deb12u10-rc1_amd64.deb"),
        ("x-1!2.0-py3-none-any.whl", "x-1-2.0-py3-none-any.whl"),
        ("libpng_1%3a2.deb", "libpng_1-3a2.deb"),
        (".hidden", "-.hidden"),
        ("a" * 300, "a" * 200),
    ],
)
def test_a_store_name_has_only_what_nix_allows(name, legal):
    assert store.store_name(name) == legal
