"""SentencePiece's precompiled table of a normaliser, read out of its double array."""

from __future__ import annotations

import base64
import binascii
import struct

from nasc.errors import PackageError

_MAX_BYTES = 16 << 20
"""Tables that are met hold 0.3 MB (nmt_nfkc_cf of SentencePiece 0.2)."""


def read_charsmap(encoded: str, part: str = "normalizer") -> dict[bytes, bytes]:
    """The entries of a table that no other entry is the beginning of.

    tokenizers takes the shortest entry that a text begins with, so that others never count.

    Args:
        encoded: Base64 of uint32 bytes of the double array, the array (Darts-clone: units of 32
            bits, github.com/s-yata/darts-clone), and texts that end by NUL.
        part: Where it stands, for errors.

    Raises:
        PackageError: If it is damaged.
    """

    def damaged(reason: str) -> PackageError:
        return PackageError(f"tokenizer.json: {part}.precompiled_charsmap {reason}")

    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise damaged(f"is no base64 ({error})") from error
    if not data:
        return {}
    size = struct.unpack_from("<I", data)[0] if len(data) >= 4 else 0
    if len(data) > _MAX_BYTES or size % 4 or not 4 <= size <= len(data) - 4:
        raise damaged(f"of {len(data)} bytes says that its array has {size}")
    units = struct.unpack_from(f"<{size // 4}I", data, 4)
    texts = data[4 + size :]

    def offset(unit: int) -> int:
        return (unit >> 10) << ((unit & (1 << 9)) >> 6)

    entries: dict[bytes, bytes] = {}
    waiting = [(b"", offset(units[0]))]
    seen = 0
    while waiting:
        key, base = waiting.pop()
        seen += 1
        if seen > len(units) or len(key) > 64:
            raise damaged("goes round in a circle")
        for byte in range(1, 256):
            at = base ^ byte
            if at >= len(units) or units[at] & 0x800000FF != byte:
                continue
            unit, below = units[at], at ^ offset(units[at])
            if not unit >> 8 & 1:
                waiting.append((key + bytes([byte]), below))
                continue
            if below >= len(units):
                raise damaged("points beyond its end")
            start = units[below] & 0x7FFFFFFF
            end = texts.find(b"\0", start)
            if start > len(texts):
                raise damaged("points beyond its texts")
            entries[key + bytes([byte])] = texts[start : end if end >= 0 else len(texts)]
    return entries
