"""The visible text of HTML."""

import functools
import html
import re
from collections.abc import Iterator

from nasc.data.markdown import LONG_NUMBERS

# The standard library's parser takes quadratic time for some inputs in the Python releases that
# are supported (CVE-2025-6069), and nothing of a page's structure is needed but where blocks end.

_RAW = frozenset("script style title textarea xmp noembed noframes iframe".split())
"""Elements whose content is no markup, and not seen as text."""

_UNSEEN = frozenset(
    """
    nav footer noscript template svg math select button object audio video canvas pre menu
    """.split()
)
"""Elements that are left out with all that is in them."""

_INLINE = frozenset(
    """
    a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd label mark nobr q rp rt
    ruby s samp small span strike strong sub sup time tt u var wbr
    """.split()
)
"""Elements that a sentence goes on in; every other begins and ends a paragraph."""

# Unclosed quotes end at their tag: each kind fails once at most, so that a page is read in linear
# time. From the first tag on that has no end, a tag reaches no further than to the next.
_TOKEN = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][^\s/>]*+)(?:[^=>]++|=\s*+(?:\"[^\"]*+\"|'[^']*+')?+)*+>"
    r"|<!--(?P<comment>)|<[!?/][^>]*+>|<[!?/A-Za-z](?P<endless>)"
)
_SHORT_TOKEN = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][^\s/<>]*+)[^<>]*+>|<!--(?P<comment>)|<[!?/][^<>]*+>"
)
_KNOWN_TAG = re.compile(
    r"</?(?:p|br|div|span|a|b|i|u|em|strong|ul|ol|li|h[1-6]|table|t[rdh]|img|font|blockquote|code|"
    r"pre|sup|sub|hr|body|html)\b[^<>]*+>",
    re.IGNORECASE,
)
_BLANK = re.compile(r"\s+")
_EMPTY_LINES = re.compile(r"\n[\s\n]*\n")


def has_tags(text: str) -> bool:
    """Whether a text holds tags of HTML."""
    return "<" in text and _KNOWN_TAG.search(text) is not None


def visible_text(page: str) -> Iterator[str]:
    """Paragraphs of a page, without scripts, navigation, controls and preformatted code."""
    block: list[str] = []
    for piece in _pieces(page):
        if piece is not None:
            block.append(piece)
        elif block:
            yield from _paragraphs("".join(block))
            block = []
    yield from _paragraphs("".join(block))


def _pieces(page: str) -> Iterator[str | None]:
    """Text, line breaks, and None between two paragraphs.

    What has no end (a tag, a comment, an element) is text, or left out alone: the rest is read.
    """
    at, endless_from = 0, len(page)
    unseen, depth, begin = "", 0, 0  # the outermost element left out, how often open, its content
    unclosed: dict[str, int] = {}  # names whose end is not found, and from where on
    while True:
        match = (_TOKEN if at < endless_from else _SHORT_TOKEN).search(page, at)
        if match is None and unseen:  # once a name at most, so that it stays linear
            unclosed[unseen] = begin
            at, unseen = begin, ""
            continue
        if not unseen:
            until = len(page) if match is None else match.start()
            if until > at:
                yield _BLANK.sub(" ", _unescaped(page[at:until]))
        if match is None:
            return
        if match.lastgroup == "endless":
            at = endless_from = match.start()
            continue
        at = match.end()
        if match["comment"] is not None:
            if at < unclosed.get("!--", len(page)):
                if (end := page.find("-->", at - 2)) < 0:
                    unclosed["!--"] = at
                else:
                    at = end + 3
            continue
        if match["name"] is None:
            continue
        name, opens = match["name"].lower(), not match["end"]
        can_end = at < unclosed.get(name, len(page))
        if unseen:
            depth += (name == unseen) * (1 if opens else -1)
            if not depth:
                unseen = ""
        elif name in _UNSEEN and opens and can_end:
            unseen, depth, begin = name, 1, at
            yield None
        elif name == "br":
            yield "\n"
        elif name not in _INLINE:
            yield None
        if name in _RAW and opens and can_end:
            if (end_tag := _end_of(name).search(page, at)) is None:
                unclosed[name] = at
            else:
                at = end_tag.start()


@functools.cache
def _end_of(name: str) -> re.Pattern[str]:
    return re.compile(rf"</{name}\b", re.IGNORECASE)


def _unescaped(text: str) -> str:
    return html.unescape(LONG_NUMBERS.sub("", text)) if "&" in text else text


def _paragraphs(block: str) -> Iterator[str]:
    for part in _EMPTY_LINES.split(block):
        if text := _BLANK.sub(" ", part).strip():
            yield text
