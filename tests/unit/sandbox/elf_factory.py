"""Makes small shared libraries: headers and what the loader reads, and nothing else. The loader of this machine takes
them for real ones.
"""

from __future__ import annotations

import platform
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Tables in the order in which linkers write them.
ORDER = ("hash", "dynsym", "dynstr", "versym", "verdef", "verneed", "dynamic")
# The largest pages that a machine has.
_PAGE = 1 << 16
_FIRST_VERSION = 2
_TAGS = {
    "needed": 1,
    "sysv": 4,
    "dynstr": 5,
    "dynsym": 6,
    "strsz": 10,
    "syment": 11,
    "soname": 14,
    "rpath": 15,
    "runpath": 29,
    "gnu": 0x6FFFFEF5,
    "versym": 0x6FFFFFF0,
    "verdef": 0x6FFFFFFC,
    "verdefnum": 0x6FFFFFFD,
    "verneed": 0x6FFFFFFE,
    "verneednum": 0x6FFFFFFF,
}


class Symbol(NamedTuple):
    """A symbol that is needed.

    Attributes:
        name: its name.
        weak: whether it may be missing.
        version: the version that it has to have, one of those needed; "" for none.
    """

    name: str
    weak: bool = False
    version: str = ""


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def place(self, text: str) -> int:
        self.data += text.encode() + b"\0"
        return len(self.data) - len(text.encode()) - 1


def elf(
    needed: tuple[str, ...] = (),
    soname: str | None = None,
    *,
    rpath: str = "",
    runpath: str = "",
    undefined: tuple[str | Symbol, ...] = (),
    symbols: tuple[str, ...] = (),
    needs: Mapping[str, tuple[str, ...]] | None = None,
    optional: tuple[str, ...] = (),
    versions: tuple[str, ...] = (),
    hashed: str = "gnu",
    order: tuple[str, ...] = ORDER,
    apart: bool = True,
    kind: int = 3,
) -> bytes:
    """Make a shared library for this machine.

    Args:
        needed: what it needs.
        soname: what it is called.
        rpath: DT_RPATH.
        runpath: DT_RUNPATH.
        undefined: the symbols that it needs.
        symbols: those that it has.
        needs: by needed library, the versions that it has to have.
        optional: those of these versions that may be missing.
        versions: those that it has itself; the first is that of its symbols.
        hashed: the table of symbols: "gnu" or "sysv".
        order: of the tables.
        apart: whether the dynamic section is mapped elsewhere than the rest.
        kind: of file: 3 for a shared library, 2 for a program.
    """
    strings = _Strings()
    wanted = [symbol if isinstance(symbol, Symbol) else Symbol(symbol) for symbol in undefined]
    buckets = max(1, len(symbols) // 2)
    offered = sorted(symbols, key=lambda name: _gnu_number(name) % buckets)
    tables: dict[str, bytes] = {}
    numbers: dict[str, int] = {}
    if versions:
        tables["verdef"] = _verdef(versions, strings, numbers)
    if needs:
        tables["verneed"] = _verneed(needs, optional, strings, numbers)
    if wanted or offered:
        of_symbols = [0, *(numbers.get(symbol.version, 1) for symbol in wanted), *([1] * len(offered))]
        rows = [bytes(24)]
        rows += [
            struct.pack("<IBBHQQ", strings.place(symbol.name), (2 if symbol.weak else 1) << 4 | 2, 0, 0, 0, 0)
            for symbol in wanted
        ]
        rows += [struct.pack("<IBBHQQ", strings.place(name), 1 << 4 | 2, 0, 7, 64, 0) for name in offered]
        tables["dynsym"] = b"".join(rows)
        if numbers:
            tables["versym"] = struct.pack(f"<{len(of_symbols)}H", *of_symbols)
        first = 1 + len(wanted)
        names = ["", *(symbol.name for symbol in wanted), *offered]
        tables["hash"] = _gnu_hash(offered, first, buckets) if hashed == "gnu" else _sysv_hash(names)
    said = [("needed", strings.place(name)) for name in needed]
    said += [
        (tag, strings.place(text))
        for tag, text in (("soname", soname), ("rpath", rpath), ("runpath", runpath))
        if text
    ]
    tables["dynstr"] = strings.data
    counts = {"verdef": ("verdefnum", len(versions)), "verneed": ("verneednum", len(needs or ()))}
    amount = len(said) + len(tables) + sum(table in tables for table in counts) + 3
    tables["dynamic"] = bytes(16 * amount)
    places = _places(tables, order)
    entries = [(_TAGS[tag], value) for tag, value in said]
    entries += [
        (_TAGS[hashed if table == "hash" else table], _PAGE + places[table])
        for table in order
        if table in tables and table != "dynamic"
    ]
    entries += [(_TAGS[tag], count) for table, (tag, count) in counts.items() if table in tables]
    entries += [(_TAGS["strsz"], len(strings.data)), (_TAGS["syment"], 24)]
    tables["dynamic"] = b"".join(struct.pack("<qQ", *entry) for entry in entries).ljust(16 * amount, b"\0")
    return _file(tables, places, apart=apart, kind=kind)


def _places(tables: Mapping[str, bytes], order: tuple[str, ...]) -> dict[str, int]:
    places = {}
    at = 64 + 4 * 56
    for table in order:
        if table in tables:
            places[table] = at
            at += len(tables[table]) + -len(tables[table]) % 8
    return places


def _file(tables: Mapping[str, bytes], places: Mapping[str, int], *, apart: bool, kind: int) -> bytes:
    size = max(place + len(tables[table]) for table, place in places.items())
    dynamic, length = places["dynamic"], len(tables["dynamic"])
    elsewhere = 5 * _PAGE if apart else _PAGE
    segments = [(1, 0, _PAGE, size)]
    if apart:
        segments.append((1, dynamic, elsewhere + dynamic, length))
    segments += [(2, dynamic, elsewhere + dynamic, length), (0x6474E551, 0, 0, 0)]
    machine = {"x86_64": 62, "aarch64": 183}[platform.machine()]
    body = bytearray(size)
    body[:64] = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", kind, machine, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    for number, (segment, offset, address, amount) in enumerate(segments):
        body[64 + 56 * number : 120 + 56 * number] = struct.pack(
            "<IIQQQQQQ", segment, 6, offset, address, address, amount, amount, 8 if segment == 2 else _PAGE
        )
    for table, place in places.items():
        body[place : place + len(tables[table])] = tables[table]
    return bytes(body)


def _gnu_number(name: str) -> int:
    number = 5381
    for byte in name.encode():
        number = (number * 33 + byte) % 2**32
    return number


def _sysv_number(name: str) -> int:
    number = 0
    for byte in name.encode():
        number = (number << 4) + byte
        high = number & 0xF0000000
        number = (number ^ high >> 24) & ~high
    return number


def _gnu_hash(offered: list[str], first: int, buckets: int) -> bytes:
    starts = [0] * buckets
    chain = []
    for index, name in enumerate(offered):
        bucket = _gnu_number(name) % buckets
        starts[bucket] = starts[bucket] or first + index
        last = index + 1 == len(offered) or _gnu_number(offered[index + 1]) % buckets != bucket
        chain.append(_gnu_number(name) & ~1 | last)
    # The filter lets everything pass.
    head = struct.pack("<IIIIQ", buckets, first, 1, 6, 2**64 - 1)
    return head + struct.pack(f"<{buckets}I", *starts) + struct.pack(f"<{len(chain)}I", *chain)


def _sysv_hash(names: list[str]) -> bytes:
    chain = [0] * len(names)
    bucket = 0
    for index in range(1, len(names)):
        chain[index], bucket = bucket, index
    return struct.pack(f"<III{len(names)}I", 1, len(names), bucket, *chain)


def _verdef(versions: tuple[str, ...], strings: _Strings, numbers: dict[str, int]) -> bytes:
    data = b""
    for index, name in enumerate(versions, 1):
        following = 28 if index < len(versions) else 0
        numbers[name] = index
        data += struct.pack("<HHHHIII", 1, index == 1, index, 1, _sysv_number(name), 20, following)
        data += struct.pack("<II", strings.place(name), 0)
    return data


def _verneed(
    needs: Mapping[str, tuple[str, ...]],
    optional: tuple[str, ...],
    strings: _Strings,
    numbers: dict[str, int],
) -> bytes:
    data = b""
    for position, (library, names) in enumerate(needs.items(), 1):
        following = 16 + 16 * len(names) if position < len(needs) else 0
        data += struct.pack("<HHIII", 1, len(names), strings.place(library), 16, following)
        for index, name in enumerate(names, 1):
            number = numbers[name] = max(_FIRST_VERSION, len(numbers) + 1)
            data += struct.pack(
                "<IHHII",
                _sysv_number(name),
                2 if name in optional else 0,
                number,
                strings.place(name),
                16 if index < len(names) else 0,
            )
    return data
