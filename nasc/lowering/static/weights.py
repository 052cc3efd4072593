"""The weights file of a network without a runtime: constants, each at a multiple of 64 bytes.

    0   8 bytes   NASCWTS1
    8   uint64    bytes of the file
    16  uint32    CRC-32 (zlib's) of everything from byte 64 on
    20  uint32    0
    24  32 bytes  identity of network and code, SHA-256
    56  8 bytes   0
    64            constants

Numbers are little-endian. `nasc/package/c/nasc_model.c` reads it.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from nasc.lowering.static.arena import ALIGNMENT, aligned

MAGIC = b"NASCWTS1"
HEADER_BYTES = 64

_HEAD = 64
"""Bytes of a constant's beginning by which longer constants that begin with it are found."""


class Weights:
    """Constants of a network, each stored once; one that another begins with lies in that one."""

    def __init__(self) -> None:
        self._constants: dict[bytes, bytes] = {}

    def add(self, content: bytes) -> bytes:
        """Take a constant up; gives its key for `Layout.places`."""
        key = hashlib.sha256(content).digest()
        self._constants.setdefault(key, content)
        return key

    def lay_out(self) -> Layout:
        """Give every constant its place, in the order in which they came."""
        places: dict[bytes, int] = {}
        parts: list[bytes] = []
        end = HEADER_BYTES
        inside = self._beginnings()
        for key, content in self._constants.items():
            if key in inside:
                continue
            places[key] = end
            parts.append(content + bytes(aligned(len(content)) - len(content)))
            end += len(parts[-1])
        for key, whole in inside.items():
            places[key] = places[whole]
        return Layout(places, b"".join(parts))

    def _beginnings(self) -> dict[bytes, bytes]:
        """Of constants that others begin with, the longest such."""
        heads: dict[bytes, list[bytes]] = {}
        found = {}
        by_length = sorted(self._constants, key=lambda key: -len(self._constants[key]))
        for key in by_length:
            content = self._constants[key]
            if len(content) < _HEAD:
                continue
            others = heads.setdefault(content[:_HEAD], [])
            for other in others:
                if self._constants[other].startswith(content):
                    found[key] = other
                    break
            else:
                others.append(key)
        return found


class Layout:
    """Constants in their places.

    Attributes:
        places: Of each key, its byte in the file.
        content: What follows the header.
    """

    def __init__(self, places: dict[bytes, int], content: bytes) -> None:
        self.places = places
        self.content = content

    def file(self, identity: bytes) -> bytes:
        """The whole file.

        Args:
            identity: 32 bytes that the code that goes with it knows too.
        """
        size = HEADER_BYTES + len(self.content)
        head = struct.pack("<8sQII32s8x", MAGIC, size, zlib.crc32(self.content), 0, identity)
        return head + self.content


assert HEADER_BYTES % ALIGNMENT == 0
