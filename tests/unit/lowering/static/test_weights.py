"""The weights file of networks without a runtime."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from nasc.lowering.static.weights import HEADER_BYTES, Weights


def test_constants_are_stored_once_each_at_a_multiple_of_64_bytes() -> None:
    rng = np.random.default_rng(0)
    contents = [rng.bytes(size) for size in (1, 64, 100, 4096)]
    weights = Weights()
    keys = [weights.add(content) for content in (*contents, *contents)]
    layout = weights.lay_out()
    file = layout.file(b"i" * 32)
    assert keys[:4] == keys[4:]
    assert len(file) == HEADER_BYTES + 64 + 64 + 128 + 4096
    for key, content in zip(keys, contents * 2, strict=True):
        at = layout.places[key]
        assert at % 64 == 0
        assert file[at : at + len(content)] == content


def test_a_constant_that_another_begins_with_takes_no_room() -> None:
    whole = np.random.default_rng(0).bytes(1000)
    weights = Weights()
    keys = {size: weights.add(whole[:size]) for size in (128, 500, 1000, 63)}
    other = weights.add(whole[:128] + bytes(100))
    layout = weights.lay_out()
    assert layout.places[keys[128]] == layout.places[keys[500]] == layout.places[keys[1000]]
    assert layout.places[keys[63]] != layout.places[keys[1000]]  # too short to be looked for
    at = layout.places[other] - HEADER_BYTES
    assert layout.content[at : at + 228] == whole[:128] + bytes(100)
    assert len(layout.content) == 1024 + 64 + 256


def test_the_header_says_what_follows() -> None:
    weights = Weights()
    weights.add(b"some")
    layout = weights.lay_out()
    file = layout.file(bytes(range(32)))
    head = struct.unpack("<8sQII32s8s", file[:HEADER_BYTES])
    crc = zlib.crc32(layout.content)
    assert head == (b"NASCWTS1", len(file), crc, 0, bytes(range(32)), bytes(8))
    assert file[HEADER_BYTES:] == layout.content
