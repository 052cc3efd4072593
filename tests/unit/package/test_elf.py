"""Reading libraries that somebody else made: refused or described, and never anything else."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import sys
from pathlib import Path

import pytest

from nasc.package.formats.elf import MACHINES, SharedLibrary, read_library

NAMES = b"\0memcpy\0nasc_run\0libm.so.6\0lookup\0"
BASE = 0x1000
"""Address of the file's first byte."""


def library(
    *,
    machine: int = 62,
    tags: tuple[tuple[int, int], ...] = (),
    without: tuple[int, ...] = (),
    flags: int = 5,
    relocation: int = 8,
    kind: int = 2,
    nchain: int = 4,
) -> bytes:
    """A library that takes memcpy and gives nasc_run, with entries more of its dynamic section."""
    symbols = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    symbols += struct.pack("<IBBHQQ", NAMES.index(b"memcpy"), 0x12, 0, 0, 0, 0)
    symbols += struct.pack("<IBBHQQ", NAMES.index(b"nasc_run"), 0x10 | kind, 0, 9, BASE + 64, 8)
    symbols += struct.pack("<IBBHQQ", NAMES.index(b"lookup"), 0x11, 0, 9, BASE + (1 << 20), 8)
    names_at = 64 + 2 * 56
    symbols_at = names_at + len(NAMES)
    hash_at = symbols_at + len(symbols)
    relocations_at = hash_at + 8
    dynamic_at = relocations_at + 24
    own = {
        1: NAMES.index(b"libm"),
        4: BASE + hash_at,
        5: BASE + names_at,
        6: BASE + symbols_at,
        7: BASE + relocations_at,
        8: 24,
        10: len(NAMES),
        11: 24,
    }
    entries = [*((tag, value) for tag, value in own.items() if tag not in without), *tags, (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *entry) for entry in entries)
    size = dynamic_at + len(dynamic)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    segments = struct.pack("<IIQQQQQQ", 1, flags, 0, BASE, BASE, size, size, 4096)
    segments += struct.pack(
        "<IIQQQQQQ", 2, 4, dynamic_at, BASE + dynamic_at, 0, len(dynamic), len(dynamic), 8
    )
    tables = struct.pack("<IIQQq", 1, nchain, BASE, relocation, 0)
    return b"".join((head, segments, NAMES, symbols, tables, dynamic))


def read(data: bytes) -> SharedLibrary:
    return read_library(io.BytesIO(data))


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_what_a_loader_goes_by_is_read(machine: int) -> None:
    found = read(library(machine=machine))
    assert found.machine == MACHINES[machine]
    assert found.needed == ("libm.so.6",)
    assert found.taken == {"memcpy"}
    assert found.given == {"nasc_run": (64, 8), "lookup": (None, 8)}
    assert found.oddities == ()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (library(tags=((12, BASE),)), "the entry 0xc in its dynamic section"),
        (library(tags=((25, BASE), (27, 8))), "the entry 0x19 in its dynamic section"),
        (library(tags=((29, 1),)), "the entry 0x1d in its dynamic section"),
        (library(tags=((-1 << 62, 1),)), "the entry 0xc000000000000000 in its dynamic"),
        (library(flags=7), "memory that is written and run"),
        (library(kind=10), "'nasc_run' is found by running code"),
        (library(relocation=37), "an address that is found by running code"),
        (library(machine=183, relocation=1032), "an address that is found by running code"),
    ],
)
def test_what_runs_code_when_it_is_opened_is_named(data: bytes, message: str) -> None:
    assert any(message in oddity for oddity in read(data).oddities)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends too early"),
        (b"#!/bin/sh\n" * 20, "no shared library for Linux"),
        (library()[:-1], "outside the file|ends too early|no end"),
        (library(machine=8), "no shared library for x86_64 or aarch64"),
        (library(without=(4,)), "lacks the entry 0x4"),
        (library(without=(10,), tags=((10, 1 << 40),)), "at most 33,554,432 are read"),
        (library(without=(8,), tags=((8, 1 << 62),)), "a table of it has"),
        (library(without=(6,), tags=((6, 1 << 63),)), "outside the file"),
        (library(nchain=1 << 31), "it has 2,147,483,648 symbols"),
        (library(tags=((4, BASE),)), "says something twice"),
        (library(tags=((1, 1 << 40),)), "a name of it lies outside"),
    ],
)
def test_damaged_libraries_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(data)


def test_whatever_is_changed_it_is_read_or_refused() -> None:
    rng, data = random.Random(0), library()
    for _ in range(3000):
        changed = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 127, 255, rng.getrandbits(8)))
        with contextlib.suppress(ValueError):
            read(bytes(changed[: rng.choice((len(data), rng.randrange(len(data))))]))


@pytest.mark.skipif(sys.platform != "linux", reason="needs libraries of Linux")
def test_libraries_of_other_makers_are_read_or_refused() -> None:
    import numpy

    files = sorted(Path(numpy.__file__).parent.rglob("*.so"))[:10]
    assert files
    for path in files:
        with path.open("rb") as file:
            try:
                read_library(file)
            except ValueError as error:
                assert "lacks the entry 0x4" in str(error)  # noqa: PT017 (either way is fine)
