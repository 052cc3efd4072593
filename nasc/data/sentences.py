"""Sentences of a paragraph, in any script."""

import functools
import re
import unicodedata
from collections.abc import Iterator

_ABBREVIATIONS = frozenset(
    """
    Mr Mrs Ms Dr St Sr Jr Prof Gen Col Capt Lt Sgt Rev Hon Gov Sen Rep vs cf ca No Nos Vol Fig
    Figs Eq Ref pp ed eds al approx Inc Ltd Co Corp Mt Ft e.g i.e U.S U.K Ph.D a.k.a
    """.split()
)
_WORD_MAX = 32
"""Characters before a full stop that are looked at: the longest abbreviation has 6."""

_ENDS_WITH_SPACE = r".!?\u2026\u037e\uff0e"
"""Ends of sentences that white space has to follow: they also stand inside of numbers and names."""

_ENDS = (
    r"\u3002\uff01\uff1f\uff61"  # Chinese, Japanese
    r"\u0964\u0965"  # danda: Devanagari, Bengali, Gurmukhi, Gujarati, Odia, ...
    r"\u061d-\u061f\u06d4\u0700-\u0702"  # Arabic, Urdu, Syriac
    r"\u0589\u07f9\u1362\u1367\u1368"  # Armenian, N'Ko, Ethiopic
    r"\u17d4\u17d5\u104b\u0f0e"  # Khmer, Burmese, Tibetan
    r"\u1803\u1809\u1944\u1945\u1b5a\u1b5b\u1b5e\u1b5f\u1c3b\u1c3c\u1c7e\u1c7f"  # Mongolian, Bali
    r"\ua4ff\ua60e\ua60f\ua6f3\ua6f7\ua876\ua877\ua8ce\ua8cf\ua92f\ua9c8\ua9c9\uaa5d-\uaa5f"
    r"\uaaf0\uaaf1\uabeb"
)
"""Ends of sentences that nothing has to follow: of Unicode's Sentence_Terminal (UAX #29, rule SB11)
in the basic plane those that stand for nothing else."""

_CLOSERS = r"\"'\u2019\u201d)\]\u00bb\u300d\u300f\u300b\u3009\u3011\uff09"
_OPENERS = r"\"'\u2018\u201c(\[\u00ab"

# A run of ends begins at its first character and is never left in part: linear time.
_END = re.compile(
    rf"[{_ENDS_WITH_SPACE}{_ENDS}]([{_ENDS_WITH_SPACE}{_ENDS}]*+)([{_CLOSERS}]*+)(\s*+)"
    rf"(?=[{_OPENERS}]*+([^\W_])?)"
)
_ENDS_ALONE = re.compile(f"[{_ENDS}]")
_INITIAL = re.compile(r"(?:[A-Z]\.)*[A-Z]$")
_LETTERS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]$")
_ENDLESS = re.compile(r"[\u0e01-\u0eff]")
_ENDLESS_LENGTH = 160
"""Thai and Lao have no sign at the end of a sentence, and write words without spaces. Their text is
cut at its spaces, into parts of so many characters at most: about two clauses."""

_LONGEST = 2000
"""Characters of a sentence, in any script: more than a model of 512 tokens reads."""


def split_sentences(paragraph: str) -> list[str]:
    """Split a paragraph at the ends of its sentences.

    An end is a full stop, question or exclamation mark followed by white space and
    something that can begin a sentence, unless the stop belongs to a common abbreviation or
    an initial. Stops of scripts that use them for nothing else need no white space (Chinese,
    Japanese, Hindi, Urdu, Armenian, Amharic, Khmer, ...). Thai and Lao, which have none, and what
    is too long for a sentence are cut at spaces.
    """
    found: list[str] = []
    start = 0
    for match in _END.finditer(paragraph):
        if match[0].isascii() or not _ENDS_ALONE.search(match[0]):
            more, closers, space, begins = match.groups()
            if not space or begins is None or "a" <= begins <= "z":
                continue
            plain = not (more or closers) and match[0].startswith(". ")
            if plain or begins.islower():
                at = match.start()
                word = paragraph[max(at - _WORD_MAX, 0) : at].rpartition(" ")[2].lstrip("\"'([")
                # A small letter of Greek may begin a sentence of English, not one of Greek.
                if begins.islower() and any(ord(c) >> 8 == ord(begins) >> 8 for c in word):
                    continue
                if plain and _abbreviates(word):
                    continue
        _add(found, paragraph[start : match.end()].strip())
        start = match.end()
    _add(found, paragraph[start:].strip())
    return found


def _add(found: list[str], sentence: str) -> None:
    if len(sentence) > _ENDLESS_LENGTH:
        found.extend(_pieces(sentence))
    elif sentence:
        found.append(sentence)


def _abbreviates(word: str) -> bool:
    """Whether a full stop behind a word belongs to it: of an abbreviation, or of initials."""
    if word.isascii():
        return word in _ABBREVIATIONS or _INITIAL.match(word) is not None
    return _LETTERS.match(word) is not None and word.upper() != word.lower()


def _pieces(sentence: str) -> Iterator[str]:
    """A sentence of more than `_ENDLESS_LENGTH` characters, or its parts if it is too long."""
    longest = _LONGEST
    if not sentence.isascii():
        head = sentence[:1000]
        if 2 * len(_ENDLESS.findall(head)) > len(head):
            longest = _ENDLESS_LENGTH
    start = 0
    while len(sentence) - start > longest:
        end = sentence.rfind(" ", start + 1, start + longest + 1)
        if end < 0:
            end = start + longest
            while end > start + longest // 2 and unicodedata.category(sentence[end])[0] == "M":
                end -= 1
        if piece := sentence[start:end].strip():
            yield piece
        start = end
    if piece := sentence[start:].strip():
        yield piece


@functools.cache
def marks() -> re.Pattern[str]:
    """Vowel signs and accents, which belong to the letter before them.

    Unicode's categories Mn and Mc, but for variation selectors, which belong to emoji.
    """
    ranges: list[list[int]] = []
    for code in range(0x300, 0x20000):
        if unicodedata.category(chr(code)) in ("Mn", "Mc") and not 0xFE00 <= code <= 0xFE0F:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return re.compile(f"[{''.join(f'{chr(a)}-{chr(b)}' for a, b in ranges)}]")


_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff]")


def usable(sentence: str) -> bool:
    """Whether a sentence of a user's text says anything: ten characters, half of them letters.

    Marks count as letters, and a character of Chinese, Japanese or Korean as two.
    """
    length = len(sentence)
    if length < 10 and (length < 5 or length + len(_WIDE.findall(sentence)) < 10):
        return False
    letters = sum(map(str.isalpha, sentence))
    if 2 * letters < length and not sentence.isascii():
        letters += len(marks().findall(sentence))
    return 2 * letters >= length
