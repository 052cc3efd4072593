"""Sentences of a paragraph."""

import re

_ABBREVIATIONS = frozenset(
    """
    Mr Mrs Ms Dr St Sr Jr Prof Gen Col Capt Lt Sgt Rev Hon Gov Sen Rep vs cf ca No Nos Vol Fig
    Figs Eq Ref pp ed eds al approx Inc Ltd Co Corp Mt Ft e.g i.e U.S U.K Ph.D a.k.a
    """.split()
)
_SENTENCE_END = re.compile(
    r"""[.!?\u2026]+["'\u2019\u201d)\]]*\s+(?=["'\u2018\u201c(\[]*[^\W_a-z])"""
    r"|[\u3002\uff01\uff1f]\s*"
)
_INITIAL = re.compile(r"(?:[A-Z]\.)*[A-Z]$")


def split_sentences(paragraph: str) -> list[str]:
    """Split a paragraph at the ends of its sentences.

    An end is a full stop, question or exclamation mark followed by white space and
    something that can begin a sentence, unless the stop belongs to a common abbreviation or
    an initial. Chinese and Japanese stops need no white space.
    """
    parts, start = [], 0
    for match in _SENTENCE_END.finditer(paragraph):
        word = paragraph[paragraph.rfind(" ", 0, match.start()) + 1 : match.start()].lstrip("\"'([")
        if match[0].startswith(". ") and (word in _ABBREVIATIONS or _INITIAL.match(word)):
            continue
        parts.append(paragraph[start : match.end()].strip())
        start = match.end()
    parts.append(paragraph[start:].strip())
    return [part for part in parts if part]


def usable(sentence: str) -> bool:
    """Whether a sentence of a user's text says anything: ten characters, half of them letters."""
    return len(sentence) >= 10 and 2 * sum(map(str.isalpha, sentence)) >= len(sentence)
