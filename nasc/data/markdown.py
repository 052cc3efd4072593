"""The words of Markdown."""

import html
import itertools
import re
from collections.abc import Iterable, Iterator

# No part of these patterns is tried twice from the same place (*+, no bracket inside of
# brackets), so that they take linear time whatever the text.
_SKIP = re.compile(r"^\s*([|=+_*-][|=+_*\s:-]*$|\||<|\[[^]]+\]:|!\[)")
_LINK = re.compile(r"!?\[([^][]*+)\](?:\((?:[^()]++|\([^()]*+\))*+\)|\[[^][]*+\])")
_START = re.compile(r"^\s*(#+|>|[-*+]|\d+[.)])\s+")
_EMPHASIS = re.compile(r"[*`]+|(?<!\w)_+|(?<!_)_++(?!\w)")
_TAG = re.compile(r"</?[A-Za-z][^<>]*+>|<!--[^<>]*+>|<https?:[^<>\s]*+>")
_FRONT_MATTER_MAX = 200
_YAML = re.compile(r"\s|#|-|[\w.\"'-]+\s*:")


def without_markdown(lines: Iterable[str]) -> Iterator[str]:
    """Drop code, tables, HTML and front matter; keep the words of headings, lists and links."""
    fence, comment = "", False
    for line in _without_front_matter(lines):
        start = line.lstrip()[:3]
        if comment or (not fence and line.lstrip().startswith("<!--")):
            comment = "-->" not in line
            yield ""
        elif start in ("```", "~~~"):
            fence = "" if start == fence else fence or start
            yield ""
        elif not fence and not line.startswith(("    ", "\t")) and not _SKIP.match(line):
            text, starts = _START.subn("", line)
            if starts:
                yield ""
            yield _words(text)
            if line.lstrip().startswith("#"):
                yield ""
        elif not line.strip():
            yield ""


def _words(text: str) -> str:
    for _ in range(2):  # an image may be what a link is on
        text = _LINK.sub(r"\1", text)
    if "<" in text:
        text = _TAG.sub("", text)
    if "&" in text:
        text = html.unescape(LONG_NUMBERS.sub("", text))
    return _EMPHASIS.sub("", text)


LONG_NUMBERS = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")
"""Character references that no character has; `html.unescape` fails at those of 4,300 digits."""


def _without_front_matter(lines: Iterable[str]) -> Iterator[str]:
    """Leave out the YAML between two lines of three hyphens at the very beginning."""
    rest = iter(lines)
    head = list(itertools.islice(rest, 1))
    if head and head[0].rstrip() == "---":
        for line in itertools.islice(rest, _FRONT_MATTER_MAX):
            head.append(line)
            if line.rstrip() in ("---", "..."):
                head = []
            if not head or not _YAML.match(line):
                break
    return itertools.chain(head, rest)
