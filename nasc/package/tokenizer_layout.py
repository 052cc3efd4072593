"""The layout of tokenizer.bin: the tables that nasc/package/c/tokenizer_open.c reads in place."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

MAGIC = b"NASCTOK\0"

VERSION = 1

MAX_MAPS = 4

SECTIONS = (
    "config",
    *(f"map{i}" for i in range(MAX_MAPS)),
    "classes",
    "chars",
    "breaks",
    "compositions",
    "charsmap",
    "charsmap_pool",
    "vocabulary",
    "scores",
    "alphabet",
    "merges",
    "added_raw",
    "added_normal",
    "added",
    "single",
    "paired",
)
"""In the order of the file; one that is not there has no bytes."""

NONE = 0xFFFFFFFF
"""No such token."""

PAGE = 128

PAGES = 0x110000 // PAGE

LONGEST_TEXT = 63
"""Bytes that a code point may become; NFKC's longest are 33 (U+FDFA)."""

Bytes = npt.NDArray[np.uint8]


def whole_file(sections: Mapping[str, bytes]) -> bytes:
    """Header, directory and sections.

    The header is, little endian: 8 bytes of magic, uint32 version, size, CRC-32 of all that
    follows it, count of sections. The directory has uint32 offset and size of each.
    """
    parts = [sections.get(name, b"") for name in SECTIONS]
    offset = 24 + 8 * len(parts)
    directory = b""
    for part in parts:
        directory += struct.pack("<II", offset, len(part))
        offset += len(part)
    rest = struct.pack("<I", len(parts)) + directory + b"".join(parts)
    return MAGIC + struct.pack("<III", VERSION, offset, zlib.crc32(rest)) + rest


def words(*values: int) -> bytes:
    """Little endian uint32."""
    return np.asarray(values, "<u4").tobytes()


def pages(values: Mapping[int, int]) -> bytes:
    """A byte for every code point: pages of 128, those that are equal stored once."""
    table = np.zeros(0x110000, np.uint8)
    if values:
        table[np.fromiter(values, np.int64)] = np.fromiter(values.values(), np.int64)
    index, unique = _paged(table)
    return words(len(unique)) + index + b"".join(unique)


def text_map(texts: Mapping[int, str]) -> bytes:
    """A text for every code point: 0, or 1 << 31 | offset << 6 | bytes into a pool of texts.

    Raises:
        ValueError: If a text is longer than the format holds.
    """
    table = np.zeros(0x110000, "<u4")
    pool = bytearray()
    places: dict[str, int] = {}
    for point, text in texts.items():
        encoded = text.encode()
        if len(encoded) > LONGEST_TEXT:
            raise ValueError(f"U+{point:04X} becomes {len(encoded)} bytes")
        if text not in places:
            places[text] = len(pool)
            pool += encoded
        table[point] = 1 << 31 | places[text] << 6 | len(encoded)
    index, unique = _paged(table)
    return words(len(unique), len(pool)) + index + b"".join(unique) + bytes(pool)


def _paged(table: npt.NDArray[np.generic]) -> tuple[bytes, list[bytes]]:
    """The page of every 128 code points, and the pages that differ, in the order of the first."""
    places: dict[bytes, int] = {}
    index = [places.setdefault(row.tobytes(), len(places)) for row in table.reshape(PAGES, PAGE)]
    return np.asarray(index, "<u2").tobytes(), list(places)


def trie(values: Mapping[bytes, int]) -> bytes:
    """A tree of bytes; the empty key is left out.

    Nodes stand in the order of their depth and then of their keys, so that children follow each
    other: uint32 count, uint32 first child of each node and of one more, uint32 value of each,
    byte on the way to each.
    """
    keys = sorted(key for key in values if key)
    text = np.frombuffer(b"".join(keys), np.uint8)
    lengths = np.asarray([len(key) for key in keys], np.int64)
    starts = np.cumsum(lengths) - lengths
    stored = np.asarray([values[key] for key in keys], np.int64)

    labels: list[Bytes] = [np.zeros(1, np.uint8)]
    parents: list[npt.NDArray[np.int64]] = []
    ends: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    alive = np.arange(len(keys))
    parent = np.zeros(len(keys), np.int64)
    count, depth = 1, 0
    while len(alive):
        byte = text[starts[alive] + depth]
        fresh = np.ones(len(alive), bool)
        fresh[1:] = (parent[1:] != parent[:-1]) | (byte[1:] != byte[:-1])
        node = count - 1 + np.cumsum(fresh)
        labels.append(byte[fresh])
        parents.append(parent[fresh])
        count += int(fresh.sum())
        depth += 1
        done = lengths[alive] == depth
        ends.append((node[done], stored[alive[done]]))
        alive, parent = alive[~done], node[~done]
    value = np.full(count, NONE, np.uint32)
    for nodes, numbers in ends:
        value[nodes] = numbers
    above = np.concatenate(parents) if parents else np.zeros(0, np.int64)
    first = 1 + np.searchsorted(above, np.arange(count + 1))
    return (
        words(count)
        + first.astype("<u4").tobytes()
        + value.astype("<u4").tobytes()
        + np.concatenate(labels).tobytes()
    )


def node_of(values: Mapping[bytes, int], prefix: bytes) -> int:
    """The number of a node of the tree, by the bytes on the way to it; NONE if there is none."""
    beginnings = {key[:depth] for key in values if key for depth in range(1, len(prefix) + 1)}
    if prefix and prefix not in beginnings:
        return NONE
    return sum(1 for one in beginnings if (len(one), one) <= (len(prefix), prefix)) if prefix else 0


def hash_table(merges: Mapping[tuple[int, int], tuple[int, int]]) -> bytes:
    """Pairs of tokens to rank and token; open addressing, at most half full, slots of 16 bytes."""
    slots = 1 << max(2, (2 * len(merges)).bit_length())  # a power of two
    table = np.full((slots, 4), NONE, np.uint32)
    for (left, right), (rank, token) in merges.items():
        slot = ((left * 0x9E3779B1 ^ right * 0x85EBCA6B) & 0xFFFFFFFF) >> 7 & slots - 1
        while table[slot, 2] != NONE:
            slot = (slot + 1) & slots - 1
        table[slot] = left, right, rank, token
    return table.astype("<u4").tobytes()


def pieces(template: Sequence[tuple[int, int, int]]) -> bytes:
    """The pieces of a template: kind (0 token, 1 text, 2 second text), token, type."""
    return words(*(number for piece in template for number in piece))
