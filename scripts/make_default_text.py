"""Makes the text that nasc takes where none is named, out of articles of the English Wikipedia.

They are those of a shortened dump of April 2016 that gensim's wheels hold for its tests; the script
takes one of these, and no other dump. What is left of an article are its paragraphs of prose: no
references, tables, lists, headings, captions, or paragraphs of which a template is a part that it
does not know. Equal input gives the same file bit by bit.

    pip download gensim==4.4.0 --no-deps
    pip install mwparserfromhell==0.7.2
    python scripts/make_default_text.py gensim-4.4.0-*.whl --output nasc/data/shipped
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mwparserfromhell

DUMP = "gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
DUMP_SHA256 = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"

NAMESPACE = "{http://www.mediawiki.org/xml/export-0.10/}"

LEAST_ARTICLE = 3000
"""Characters of markup: shorter ones are stubs and lists of links."""

EVERY = 11
"""Of so many articles one is held out."""

LEAST_PARAGRAPH = 80
LEAST_PARAGRAPHS = 6
"""Of an article that is taken."""

LISTS = ("*", "#", ":", ";", "|", "!", "{")
"""What lines of lists and tables begin with."""

NO_PROSE = {
    *("bibliography", "discography", "external links", "filmography", "footnotes"),
    *("further reading", "notes", "notes and references", "publications", "references"),
    *("see also", "selected bibliography", "selected works", "sources", "works", "works cited"),
}
"""Sections, in lower case."""

SILENT = {
    *("-", "as of", "by whom", "citation needed", "clarify", "cn", "dead link", "dubious", "efn"),
    *("fact", "not in citation given", "page needed", "ref", "refn", "rp", "specify", "vague"),
    *("verify source", "weasel-inline", "when", "which", "who", "who?", "why"),
}
SILENT_BEGINNINGS = ("citation needed", "cite ", "harv", "note", "sfn", "full")
"""Templates, in lower case, that put no words into a sentence, or by their beginning."""

HOLE = "\N{OBJECT REPLACEMENT CHARACTER}"

_BEFORE = (
    (re.compile(r"<ref[^>/]*/>|<ref.*?</ref>|<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"<math.*?</math>|<gallery.*?</gallery>", re.DOTALL), HOLE),
    (re.compile(r"\[\[(?:File|Image|Category):(?:[^\[\]]|\[\[[^\]]*\]\])*\]\]"), ""),
)
_HEADING = re.compile(r"=+([^=]+)=+\s*$")
_NO_TEXT = re.compile(rf"[{{}}|<>\[\]={HOLE}]")
_AFTER = (
    (re.compile(r"\s*\(\s*[,;:]*\s*\)"), ""),
    (re.compile(r"\(\s*[,;]\s*"), "("),
    (re.compile(r"\s+([,.;:])"), r"\1"),
    (re.compile(r"\s+"), " "),
)


def main() -> None:
    """Read the wheel, write the text and its attribution."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="of gensim")
    parser.add_argument("--output", type=Path, required=True, help="folder")
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as wheel:
        packed = wheel.read(DUMP)
    if (found := hashlib.sha256(packed).hexdigest()) != DUMP_SHA256:
        raise SystemExit(f"{DUMP} has the sha256 {found}, not {DUMP_SHA256}: take another release")
    articles = {title: paragraphs for title, text in pages(packed) if (paragraphs := prose(text))}
    heldout = list(articles)[EVERY - 1 :: EVERY]
    for name, titles in (
        ("train", [title for title in articles if title not in heldout]),
        ("heldout", heldout),
    ):
        text = "\n\n".join(p for title in titles for p in articles[title]) + "\n"
        with (args.output / f"wikipedia-{name}.txt.gz").open("wb") as file:
            file.write(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{name}: {len(titles)} articles, {len(text):,} characters")
    names = "\n".join(f"- {title}{' (held out)' * (title in heldout)}" for title in articles)
    (args.output / "README.md").write_text(ATTRIBUTION + names + "\n", encoding="utf-8")


def pages(packed: bytes) -> list[tuple[str, str]]:
    """Title and markup of the articles of a dump, without redirects and pages of other kinds."""
    tree = ElementTree.fromstring(bz2.decompress(packed))
    found = []
    for page in tree.iter(NAMESPACE + "page"):
        title = page.findtext(NAMESPACE + "title", "")
        text = page.findtext(f"{NAMESPACE}revision/{NAMESPACE}text") or ""
        redirects = text.lower().startswith("#redirect")
        if page.findtext(NAMESPACE + "ns") == "0" and not redirects and len(text) >= LEAST_ARTICLE:
            found.append((title, text))
    return found


def prose(markup: str) -> list[str]:
    """The paragraphs of an article; none where there are too few."""
    for pattern, replacement in _BEFORE:
        markup = pattern.sub(replacement, markup)
    code = mwparserfromhell.parse(markup)
    for template in code.filter_templates(recursive=False):
        code.replace(template, said(template))
    found, heading = [], ""
    for line in str(code).split("\n"):
        if title := _HEADING.match(line):
            heading = title[1].strip().lower()
        if heading in NO_PROSE or line[:1] in LISTS or len(line) < LEAST_PARAGRAPH:
            continue
        line = mwparserfromhell.parse(line).strip_code()
        for pattern, replacement in _AFTER:
            line = pattern.sub(replacement, line)
        line = line.strip()
        ends = line[:1].isupper() and line[-1:] in set(".!?\"'")
        if ends and len(line) >= LEAST_PARAGRAPH and not _NO_TEXT.search(line):
            found.append(line)
    return found if len(found) >= LEAST_PARAGRAPHS else []


def said(template: Any) -> str:
    """What a template puts into a sentence; `HOLE` where that is not known."""
    name = str(template.name).strip().lower()
    given = [str(p.value).strip() for p in template.params if not p.showkey]
    if name in SILENT or name.startswith(SILENT_BEGINNINGS):
        return ""
    if name in ("convert", "cvt") and len(given) >= 2 and given[1] not in ("-", "to", "x", "and"):
        return f"{given[0]} {given[1]}"
    if name in ("lang", "nowrap", "nobr", "transl") and given:
        return given[-1]
    return HOLE


ATTRIBUTION = """\
# The text that nasc takes where none is named

`wikipedia-train.txt.gz` and `wikipedia-heldout.txt.gz` hold paragraphs of the articles below, of
the English Wikipedia as of April 2016, without references, tables, lists and markup. The second has
those that nothing is trained on, by which networks are judged. Their authors are the Wikipedia
contributors; the history of each stands behind its page, `https://en.wikipedia.org/wiki/TITLE`.
This folder is licensed under the Creative Commons Attribution-ShareAlike 3.0 Unported License
(CC BY-SA 3.0, <https://creativecommons.org/licenses/by-sa/3.0/>), apart from the rest of nasc. Made
by `scripts/make_default_text.py` of the dump that gensim's wheel holds for its tests.

"""

if __name__ == "__main__":
    main()
