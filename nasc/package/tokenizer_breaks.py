"""Where clusters of characters end for the normaliser Precompiled, by asking it.

It takes clusters (extended grapheme clusters of Unicode's annex 29) of less than six bytes as a
whole, and all else by characters. With a table that replaces whatever it looks up by one letter,
the letters that come back count what it took as a whole. Properties that never show so, such as the
pairs of regional indicators, which have eight bytes, are as the annex has them.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable

from tokenizers import normalizers

from nasc.package.tokenizer_tables import LAST, PLANE, SURROGATES

(
    OTHER,
    CR,
    LF,
    CONTROL,
    EXTEND,
    ZWJ,
    REGIONAL,
    PREPEND,
    SPACING,
    HANGUL_L,
    HANGUL_V,
    HANGUL_T,
    HANGUL_LV,
    HANGUL_LVT,
) = range(14)

PICTOGRAPH, CONSONANT, LINKER, CONJOINING = 16, 32, 64, 128

_LETTER = "y"

_BLOCK = PLANE // 16


def _counting_table() -> bytes:
    """Every text becomes a letter, by its first byte; the line feed, which ends clusters, stays.

    A double array of Darts-clone: the root leads to 256 + byte, that to its leaf at 512 + byte.
    """
    units = [0] * 1024
    units[0] = 256 << 10
    for byte in range(1, 256):
        if byte != ord("\n"):
            units[256 + byte] = byte | 1 << 8 | (256 ^ 512) << 10
            units[512 + byte] = 1 << 31
    return struct.pack("<I", 4 * len(units)) + struct.pack("<1024I", *units) + b"y\0"


def _letters(template: str, points: Iterable[int]) -> list[int]:
    """How many letters come of a template with each code point in the place of its `?`."""
    normalize = _normalizer().normalize_str
    text = "\n".join(template.replace("?", chr(point)) for point in points)
    return [len(line) for line in normalize(text).split("\n")]


@functools.cache
def _normalizer() -> normalizers.Precompiled:
    return normalizers.Precompiled(_counting_table())


def _asked(template: str, holds: Callable[[int], bool], among: Iterable[int] | None) -> set[int]:
    """Code points for whose count of letters something holds."""
    found: set[int] = set()
    points = sorted(among) if among is not None else range(LAST + 1)
    for start in range(0, len(points), _BLOCK):
        block = [
            point
            for point in points[start : start + _BLOCK]
            if point not in SURROGATES and point not in (0x0A, 0x0D)
        ]
        if block:
            counts = _letters(template, block)
            found.update(p for p, count in zip(block, counts, strict=True) if holds(count))
    return found


@functools.cache
def break_properties() -> dict[int, int]:
    """What each code point is to clusters; others are OTHER.

    Marks in the templates: U+0301 and U+0302 extend, U+00A9 is a pictograph, U+0915 a consonant
    that U+094D links, U+1100, U+1161 and U+11A8 are Hangul's L, V and T, U+0600 is prepended.
    """
    # Where a cluster of five bytes is joined by more it has six and is taken by characters.
    extending = _asked("a\u0301?", lambda count: count != 2, None)
    prepended = _asked("?a\u0301", lambda count: count != 2, None)
    control = _asked("?\u0301\u0302", lambda count: count == 2, None)
    pictographs = _asked("?\u200d\u00a9\u0301", lambda count: count == 4, None)
    consonants = _asked("?\u094d\u0915\u0301", lambda count: count == 4, None) - prepended
    before_v = _asked("?\u1161\u0301", lambda count: count == 3, None) - prepended - extending
    before_t = _asked("?\u11a8\u0301", lambda count: count == 3, None) - prepended - extending

    marks = _asked("\u00a9?\u200d\u00a9\u0301", lambda count: count == 5, extending)
    linkers = _asked("\u0915?\u0915\u0301", lambda count: count == 4, extending)
    conjoining = _asked("\u0915\u094d?\u0915\u0301", lambda count: count == 5, extending) - linkers
    jamo = before_v | before_t
    before_l = _asked("?\u1100\u0301", lambda count: count == 3, jamo)
    behind_v = _asked("\u0600\u1161?", lambda count: count == 3, jamo)

    properties: dict[int, int] = {}
    for points, value in (
        (extending - marks, SPACING),
        (marks, EXTEND),
        (prepended - extending, PREPEND),
        (control, CONTROL),
        (before_l, HANGUL_L),
        (before_v & before_t & behind_v, HANGUL_V),
        ((before_v & before_t) - behind_v - before_l, HANGUL_LV),
        ((before_t - before_v) & behind_v, HANGUL_T),
        (before_t - before_v - behind_v, HANGUL_LVT),
        (range(0x1F1E6, 0x1F200), REGIONAL),
    ):
        properties |= dict.fromkeys(points, value)
    properties |= {0x0D: CR, 0x0A: LF, 0x200D: ZWJ}
    for points, bit in (
        (pictographs, PICTOGRAPH),
        (consonants, CONSONANT),
        (linkers, LINKER),
        (conjoining, CONJOINING),
    ):
        for point in points:
            properties[point] = properties.get(point, OTHER) | bit
    return properties
