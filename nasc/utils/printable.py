"""Text from outside as a terminal may show it: nothing in it acts, nothing hides."""

from __future__ import annotations

import unicodedata

_ACTING = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control and format characters (escape sequences, reversed writing), surrogates, separators of
lines and paragraphs."""

_JOINERS = "\u200c\u200d"
"""Format characters that words of several scripts, and emoji, are written with."""


def is_printable(character: str) -> bool:
    """Whether one character can stand on a line as it is."""
    return character in _JOINERS or unicodedata.category(character) not in _ACTING


def printable(text: str, *, lines: bool = False) -> str:
    r"""A text whose control characters are written out, an escape as ``\x1b``.

    Args:
        text: Any text.
        lines: Whether line breaks stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(
        one
        if is_printable(one) or (lines and one == "\n")
        else one.encode("unicode_escape").decode("ascii")
        for one in text
    )
