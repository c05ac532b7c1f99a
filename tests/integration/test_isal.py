"""ISA-L inflates what zlib inflates and refuses what it refuses, and no layer tells which of the two made it."""

from __future__ import annotations

import json
import random
import re
import subprocess
import zlib
from pathlib import Path

import gzip_members
import isal
import pytest
from stores import steps

from builder.lock import read_lock
from builder.models import Base

LIBRARY = next(Path("/usr/lib").glob("*-linux-gnu/libisal.so.2"))
NOISE = random.Random(0)
PLAIN = {
    "nothing": b"",
    "a byte": b"a",
    "noise": NOISE.randbytes(300_000),
    "zeros": bytes(900_000),
    "text": bytes(NOISE.choices(b"abcdefgh \n", k=500_000)),
    "a program": Path("/usr/bin/bash").read_bytes(),
    "a library": LIBRARY.read_bytes(),
}
# Bytes fed at a time: each alone, odd ones, and as much as builds read.
STEPS = (1, 7, 977, 65_536, gzip_members.READ)


@pytest.fixture(scope="module")
def library():
    found = isal.load(str(LIBRARY))
    assert found is not None, f"{LIBRARY.resolve()} is not a version that is known"
    return found


def member(plain, rng):
    """A gzip member with stored, fixed or dynamic blocks, of one block or many."""
    strategies = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)
    compressor = zlib.compressobj(
        rng.choice((0, 1, 6, 9)), zlib.DEFLATED, 31, rng.randint(1, 9), rng.choice(strategies)
    )
    at = rng.randrange(len(plain) + 1)
    made = compressor.compress(plain[:at]) + compressor.flush(
        rng.choice((zlib.Z_NO_FLUSH, zlib.Z_FULL_FLUSH))
    )
    return made + compressor.compress(plain[at:]) + compressor.flush()


def outcome(inflater, data, step):
    """What an inflater says of a member: refused, or its plain bytes and how many bytes were there after its end."""
    plain = []
    try:
        for at in range(0, len(data), step):
            if inflater.eof:
                return "more after the end"
            plain += inflater.feed(data[at : at + step])
        plain += inflater.finish()
    except zlib.error:
        return "refused"
    unused = inflater.unused
    if not inflater.is_complete():
        return "refused"
    return b"".join(plain), unused if isinstance(unused, int) else len(unused)


def both(library, size, data, step):
    return outcome(library.inflater(size), data, step), outcome(gzip_members._Inflater(size), data, step)


@pytest.mark.parametrize("name", PLAIN)
def test_whole_members_inflate_as_by_zlib_however_they_are_fed(library, name):
    plain = PLAIN[name]
    rng = random.Random(name)
    for turn in range(24):
        data = member(plain, rng)
        step = STEPS[turn % len(STEPS)] if len(data) < 20_000 else rng.choice(STEPS[2:])
        tail = rng.randbytes(rng.choice((0, 0, 1, 7, 8, 9, 100)))
        ours, zlibs = both(library, len(plain), data + tail, step)
        assert ours == zlibs
        assert tail or ours == (plain, 0)


@pytest.mark.parametrize("name", PLAIN)
def test_damaged_members_are_refused_as_by_zlib(library, name):
    plain = PLAIN[name]
    rng = random.Random(name)
    for _ in range(60):
        data = member(plain, rng)
        size = len(plain)
        damage = rng.choice(("cut", "bit", "block", "less", "more"))
        if damage == "cut":
            data = data[: rng.randrange(len(data))]
        elif damage in {"bit", "block"}:
            # The first bytes of a block say how the others are to be understood.
            at = rng.randrange(10, len(data) if damage == "bit" else min(100, len(data)))
            data = data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        else:
            size = max(0, size + rng.choice((1, 1000)) * (1 if damage == "more" else -1))
        ours, zlibs = both(library, size, data, rng.choice(STEPS[2:]))
        assert ours == zlibs, damage


def test_a_bomb_is_stopped_at_the_announced_size(library):
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = compressor.compress(bytes(200_000_000)) + compressor.flush()
    inflater = library.inflater(1000)
    assert b"".join(inflater.feed(bomb)) == b""
    assert inflater.total == 1001
    assert not inflater.is_complete()


def test_a_code_that_is_incomplete_is_all_that_zlib_refuses_and_the_library_does_not(library):
    # By hand: "aaaa" in a block whose code has two words of two bits. No compressor writes such.
    data = bytes.fromhex(
        "1f8b08000000000000ff05e00109000000802000000000000000000000000000000000000000000000000010000000000000000000000000000000000000000000000000000000000000000000000000000000248045e598ad04000000"
    )
    assert both(library, 4, data, len(data)) == ((b"aaaa", 0), "refused")


def test_pieces_stay_what_they_are_while_more_are_made(library):
    plain = PLAIN["noise"] * 8
    compressor = zlib.compressobj(1, zlib.DEFLATED, 31)
    data = compressor.compress(plain) + compressor.flush()
    assert b"".join(list(library.inflater(len(plain)).feed(data))) == plain


def test_a_layer_is_the_same_without_the_library(project):
    project.app(["numpy==2.3.5"], machine_type="S")
    made = project.build()
    layers = step_of(made, "layer-numpy")
    assert re.fullmatch(r".*/libisal\.so\.2", layers.env["isal"])
    assert isal.load(layers.env["isal"]) is not None

    # A lock from before there were tools.
    lock = project.folder / "pylock.app.toml"
    content = read_lock(lock)
    assert {deb.package for deb in content.lock.base.tools["x86_64"]} == {"libisal2", "bash-static"}
    text = lock.read_text()
    lock.write_text(text[: text.index("\n# What the machine that builds uses")])
    assert read_lock(lock).lock == content.lock.model_copy(
        update={"base": Base(**{**dict(content.lock.base), "tools": {}})}
    )
    old = project.build("app.py", "--frozen")
    assert step_of(old, "layer-numpy").env["isal"] == ""
    assert step_of(old, "layer-numpy").out != layers.out
    assert digests(old) == digests(made)

    # Written anew, it has them again.
    project.app(["numpy==2.3.5", "six"], machine_type="S")
    project.run("lock", "app.py")
    assert read_lock(lock).lock.base == content.lock.base


def step_of(built, name):
    [found] = [step for step in steps(built["path"]) if step.name.startswith(name)]
    return found


def digests(built):
    manifest = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{built['path']}"], capture_output=True, text=True, check=True
    ).stdout
    return [layer["digest"] for layer in json.loads(manifest)["layers"]]
