"""What the tokenizers library does to every code point, by asking it.

Its Unicode versions are those of its own libraries, of several years; neither Python's unicodedata
nor the standard says what it does. Each function asks the library itself for all code points.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterable, Mapping

from tokenizers import PreTokenizedString, Regex, normalizers, pre_tokenizers

LAST = 0x10FFFF

PLANE = 1 << 16

SURROGATES = range(0xD800, 0xE000)

Texts = dict[int, str]
"""Code points that become another text, with that text."""

HANGUL = range(0xAC00, 0xD7A4)


_BLOCK = PLANE // 16

_SEPARATORS = ("\ua000", "\u2800")
"""A letter and a sign that hardly any function changes, or makes of others."""


@functools.cache
def _blocks(size: int) -> tuple[str, ...]:
    """All code points but the surrogates, in texts of so many."""
    every = "".join(map(chr, (*range(SURROGATES.start), *range(SURROGATES.stop, LAST + 1))))
    return tuple(every[start : start + size] for start in range(0, len(every), size))


def changed(function: Callable[[str], str]) -> Texts:
    """The code points that a function of texts changes, with what they become, in their order.

    A plane that is left alone, or removed, as a whole is asked once; of any other each block that
    is changed is asked once more, with a separator between its code points.

    Args:
        function: Does to a text what it does to each code point, up to the order of marks.
    """
    separator = next((one for one in _SEPARATORS if function(one) == one), None)
    found: Texts = {}
    for plane in _blocks(PLANE):
        result = function(plane)
        if not result:
            found.update(dict.fromkeys(map(ord, plane), ""))
        elif result != plane:
            for start in range(0, len(plane), _BLOCK):
                block = plane[start : start + _BLOCK]
                if function(block) != block:
                    texts = _each(function, block, separator)
                    pairs = zip(block, texts, strict=True)
                    found.update((ord(one), text) for one, text in pairs if text != one)
    return found


def _each(function: Callable[[str], str], block: str, separator: str | None) -> list[str]:
    """What becomes of each code point of a block."""
    if separator is not None:
        texts = function(separator.join(block)).split(separator)
        if len(texts) == len(block):
            return texts
    return [function(one) for one in block]


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
    skipped = dict.fromkeys(decomposed("NFD"))
    for block in _blocks(_BLOCK):
        _moved(order, block.translate(skipped), moved)
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


def _moved(order: Callable[[str], str], block: str, found: set[int]) -> None:
    """Adds the marks of a text, by halves.

    U+0345 is of the highest class, 240, and U+0334 of the lowest, 1: in this order they stay beside
    what is no mark alone.
    """
    text = "a\u0345" + "\u0334\u0345".join(block) + "\u0334"
    if not block or order(text) == text:
        return
    if len(block) == 1:
        found.add(ord(block))
        return
    middle = len(block) // 2
    _moved(order, block[:middle], found)
    _moved(order, block[middle:], found)


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
    splitter = pre_tokenizers.WhitespaceSplit()
    return frozenset(changed(lambda text: "".join(_pieces(splitter, text))))


@functools.cache
def punctuation() -> frozenset[int]:
    """What BertPreTokenizer makes words of their own."""
    splitter = pre_tokenizers.BertPreTokenizer()
    return frozenset(
        _selected(
            lambda text: len(_pieces(splitter, f"a{text}a")) == 1,
            lambda char: _pieces(splitter, f"a{char}a") == ["a", char, "a"],
        )
    )


@functools.cache
def word_characters() -> frozenset[int]:
    r"""What is ``\w`` where added tokens are to be single words."""
    splitter = pre_tokenizers.Whitespace()
    return frozenset(
        _selected(
            lambda text: _pieces(splitter, f"a{text}") == ["a", text],
            lambda char: _pieces(splitter, f"a{char}") == [f"a{char}"],
        )
    )


def _pieces(splitter: pre_tokenizers.PreTokenizer, text: str) -> list[str]:
    """Pieces of a text. Its `pre_tokenize_str` takes ten times as long: it counts characters."""
    split = PreTokenizedString(text)
    splitter.pre_tokenize(split)
    return [piece for piece, _, _ in split.get_splits("normalized", "byte")]


@functools.cache
def matching(pattern: str) -> frozenset[int]:
    """Code points that a pattern matches, in the dialect of ByteLevel's own."""
    return frozenset(changed(normalizers.Replace(Regex(pattern), "").normalize_str))


def _selected(none_in: Callable[[str], bool], holds: Callable[[str], bool]) -> Iterable[int]:
    """Code points for which something holds, given a test that says that it holds for none."""
    waiting = [*_blocks(_BLOCK)]
    while waiting:
        block = waiting.pop()
        if len(block) == 1:
            if holds(block):
                yield ord(block)
        elif not none_in(block):
            middle = len(block) // 2
            waiting += [block[:middle], block[middle:]]
