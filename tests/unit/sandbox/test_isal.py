"""What inflates where ISA-L is not there, not itself, or gives up: zlib. The library's own tests are integration's."""

import random
import zlib

import gzip_members
import isal
import pytest
from gzip_members import Deflated, LayerError, RangeReader, inflate

PLAIN = random.Random(0).randbytes(200_000) + bytes(3_000_000) + random.Random(1).randbytes(200_000)


@pytest.fixture
def part(tmp_path):
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    raw = compressor.compress(PLAIN) + compressor.flush()
    (tmp_path / "raw").write_bytes(raw)
    with (tmp_path / "raw").open("rb") as file:
        yield Deflated(RangeReader(file.fileno()), 0, len(raw), len(PLAIN), zlib.crc32(PLAIN))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(gzip_members, "_PATIENCE", 0)
    monkeypatch.setattr(gzip_members, "_quick", gzip_members._Quick())


def run(part):
    written = []
    plain = b"".join(inflate(part, written.append))
    return plain, b"".join(written)


def test_a_build_without_the_library_inflates_all_the_same(part, monkeypatch):
    monkeypatch.delenv("isal", raising=False)
    plain, member = run(part)
    assert plain == PLAIN == zlib.decompress(member, 31)


@pytest.mark.parametrize("name", ["libisal.so.2", "libisal.so.2.0.29", "libisal.so.2.0.31"])
def test_a_library_that_is_missing_unknown_or_damaged_is_not_used(part, monkeypatch, tmp_path, name):
    if name != "libisal.so.2":
        (tmp_path / name).write_bytes(b"\x7fELF")
    monkeypatch.setenv("isal", str(tmp_path / name))
    assert isal.load(str(tmp_path / name)) is None
    plain, member = run(part)
    assert plain == PLAIN == zlib.decompress(member, 31)


class GivesUp(gzip_members._Inflater):
    """Inflates so many bytes as zlib does, in other pieces, then refuses."""

    def __init__(self, size, after):
        super().__init__(size)
        self.after = after

    def feed(self, raw):
        for data in super().feed(raw):
            for at in range(0, len(data), 77_777):
                piece = data[at : at + 77_777]
                self.after -= len(piece)
                if self.after < 0:
                    raise zlib.error("refused")
                yield piece


@pytest.mark.parametrize("after", [0, 80_000, 1_500_000, len(PLAIN) - 1])
def test_zlib_goes_on_where_the_library_refuses(part, monkeypatch, after):
    monkeypatch.setattr(gzip_members._quick, "inflater", lambda size: GivesUp(size, after))
    plain, member = run(part)
    assert plain == PLAIN == zlib.decompress(member, 31)


def test_what_is_wrong_is_said_by_zlib_and_no_more_is_given_out_than_announced(part, monkeypatch):
    monkeypatch.setattr(gzip_members._quick, "inflater", lambda size: GivesUp(size, 80_000))
    given = []
    with pytest.raises(LayerError, match="it inflates to more than the 250000 bytes it declares"):
        given.extend(inflate(part._replace(size=250_000), None))
    assert PLAIN.startswith(b"".join(given))
    assert len(b"".join(given)) <= 250_000


def test_the_library_is_not_looked_for_before_much_was_inflated(part, monkeypatch, tmp_path):
    monkeypatch.setattr(gzip_members, "_PATIENCE", 2 * len(PLAIN) + 1)
    monkeypatch.setenv("isal", str(tmp_path / "libisal.so.2.0.31"))
    asked = []
    monkeypatch.setattr(isal, "load", asked.append)
    run(part)
    run(part)
    assert asked == []
    run(part)
    run(part)
    assert asked == [str(tmp_path / "libisal.so.2.0.31")]
