"""What the tokenizers library does to every code point, by asking it.

Its Unicode versions are those of its own libraries, of several years; neither Python's unicodedata
nor the standard says what it does. Each function asks the library itself for all code points.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from tokenizers import Regex, normalizers, pre_tokenizers

LAST = 0x10FFFF

PLANE = 1 << 16

SURROGATES = range(0xD800, 0xE000)

Texts = dict[int, str]
"""Code points that become another text, with that text."""

HANGUL = range(0xAC00, 0xD7A4)


_FEW = 4
"""Of so many code points each is asked by itself, which takes no more questions than halving."""


@functools.cache
def _blocks(size: int) -> tuple[str, ...]:
    """All code points but the surrogates, in texts of so many."""
    texts = (
        "".join(map(chr, (p for p in range(start, start + size) if p not in SURROGATES)))
        for start in range(0, LAST + 1, size)
    )
    return tuple(text for text in texts if text)


def changed(function: Callable[[str], str]) -> Texts:
    """The code points that a function of texts changes, with what they become, in their order.

    By halves: most of the planes is left alone, or removed, as a whole.

    Args:
        function: Does to a text what it does to each code point, up to the order of marks.
    """
    found: Texts = {}
    waiting = [*reversed(_blocks(PLANE))]
    while waiting:
        block = waiting.pop()
        result = function(block)
        if result == block:
            continue
        if not result:
            found.update(dict.fromkeys(map(ord, block), ""))
        elif len(block) <= _FEW:
            found.update((ord(one), text) for one in block if (text := function(one)) != one)
        else:
            middle = len(block) // 2
            waiting += [block[middle:], block[:middle]]
    return found


def chained(first: Mapping[int, str], second: Mapping[int, str]) -> Texts:
    """What code points become by one table and then another."""
    texts = {
        point: "".join(second.get(ord(char), char) for char in text)
        for point, text in first.items()
    }
    texts.update((point, text) for point, text in second.items() if point not in first)
    return {point: text for point, text in texts.items() if text != chr(point)}


@functools.cache
def cleaned(clean_text: bool, chinese: bool) -> Texts:
    """BertNormalizer without its accents and lower case."""
    normalizer = normalizers.BertNormalizer(
        clean_text=clean_text, handle_chinese_chars=chinese, strip_accents=False, lowercase=False
    )
    return changed(normalizer.normalize_str)


@functools.cache
def decomposed(form: str) -> Texts:
    """NFD or NFKD."""
    return changed(getattr(normalizers, form)().normalize_str)


@functools.cache
def without_marks() -> Texts:
    """What BertNormalizer's strip_accents removes of a text in NFD."""
    strip = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False
    )
    return {point: "" for point, text in changed(strip.normalize_str).items() if not text}


@functools.cache
def by_name(name: str) -> Texts:
    """A normaliser without settings that looks at one code point at a time."""
    return changed(getattr(normalizers, name)().normalize_str)


@functools.cache
def mark_classes() -> dict[int, int]:
    """Canonical combining classes of those that have one: how NFD orders marks.

    Numbers are Unicode's where it has them; the order is what is asked for.
    """
    order = normalizers.NFD().normalize_str
    moved: set[int] = set()
    skipped = decomposed("NFD")
    for plane in range(0, LAST + 1, PLANE // 16):
        points = [
            p for p in range(plane, plane + PLANE // 16) if p not in SURROGATES and p not in skipped
        ]
        # U+0334 is of class 1 and U+0345 of 240, the lowest and the highest.
        _moved(lambda p: f"a{chr(p)}\u0334", order, points, moved)
        _moved(lambda p: f"a\u0345{chr(p)}", order, points, moved)
    references: dict[int, int] = {}
    for point in sorted(moved):
        references.setdefault(unicodedata.combining(chr(point)), point)
    references.pop(0, None)
    known = sorted(references)
    marks = "".join(chr(references[number]) for number in known)
    classes = {}
    for point in moved:
        # Before those of its own class where it stands first, behind them where it stands last.
        below = order(f"a{chr(point)}{marks}").index(chr(point)) - 1
        through = len(marks) - order(f"a{marks}{chr(point)}")[::-1].index(chr(point))
        if through != below + 1 and chr(point) not in marks:
            raise AssertionError(f"no mark is known of the class of U+{point:04X}")
        classes[point] = known[below]
    return classes


def _moved(
    text: Callable[[int], str], order: Callable[[str], str], points: list[int], found: set[int]
) -> None:
    block = "".join(map(text, points))
    if order(block) == block:
        return
    if len(points) == 1:
        found.add(points[0])
        return
    middle = len(points) // 2
    _moved(text, order, points[:middle], found)
    _moved(text, order, points[middle:], found)


@functools.cache
def compositions() -> dict[tuple[int, int], int]:
    """Pairs of code points that NFC joins, without Hangul, which a rule joins."""
    compose = normalizers.NFC().normalize_str
    pairs = {}
    for point, text in decomposed("NFD").items():
        if point in HANGUL or len(text) < 2:
            continue
        head = compose(text[:-1])
        if len(head) == 1 and compose(head + text[-1]) == chr(point):
            pairs[ord(head), ord(text[-1])] = point
    return pairs


@functools.cache
def spaces() -> frozenset[int]:
    """White space, where the pre-tokenizers split."""
    split = pre_tokenizers.WhitespaceSplit().pre_tokenize_str
    return frozenset(changed(lambda text: "".join(piece for piece, _ in split(text))))


@functools.cache
def punctuation() -> frozenset[int]:
    """What BertPreTokenizer makes words of their own."""
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return frozenset(
        _selected(
            lambda text: len(split(f"a{text}a")) == 1,
            lambda char: [piece for piece, _ in split(f"a{char}a")] == ["a", char, "a"],
        )
    )


@functools.cache
def word_characters() -> frozenset[int]:
    r"""What is ``\w`` where added tokens are to be single words."""
    split = pre_tokenizers.Whitespace().pre_tokenize_str
    return frozenset(
        _selected(
            lambda text: [piece for piece, _ in split(f"a{text}")] == ["a", text],
            lambda char: len(split(f"a{char}")) == 1 and len(split(f"a{char}")[0][0]) == 2,
        )
    )


@functools.cache
def matching(pattern: str) -> frozenset[int]:
    """Code points that a pattern matches, in the dialect of ByteLevel's own."""
    return frozenset(changed(normalizers.Replace(Regex(pattern), "").normalize_str))


def _selected(none_in: Callable[[str], bool], holds: Callable[[str], bool]) -> Iterable[int]:
    """Code points for which something holds, given a test that says that it holds for none."""
    waiting = [*_blocks(PLANE // 16)]
    while waiting:
        block = waiting.pop()
        if len(block) == 1:
            if holds(block):
                yield ord(block)
        elif not none_in(block):
            middle = len(block) // 2
            waiting += [block[:middle], block[middle:]]
