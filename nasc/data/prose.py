"""The prose that is on every machine with Python: help topics and docstrings."""

import ast
import inspect
import io
import os
import re
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from device_profiles.reading import FileRefused, opened
from nasc.data.sentences import split_sentences

_PACKAGE_BYTES_MAX = 3_000_000
"""Source read per package, in sorted order: one huge package must not outweigh all others."""
_TOTAL_BYTES_MAX = 120_000_000
_SKIPPED_FOLDERS = frozenset(
    """
    __pycache__ site-packages dist-packages test tests testing idle_test lib2to3 ensurepip
    _vendor vendor vendored
    """.split()
)


def installed_prose() -> Iterator[str]:
    """Sentences of Python's help topics and of all docstrings, in order of sorted paths."""
    paths = sysconfig.get_paths()
    stdlib = Path(paths["stdlib"])
    for topic in _help_topics(stdlib / "pydoc_data" / "topics.py"):
        yield from prose_sentences(topic)
    budget = _TOTAL_BYTES_MAX
    roots = dict.fromkeys(Path(paths[name]) for name in ("stdlib", "purelib", "platlib"))
    for root in roots:
        for entry in _listed(root):
            size = 0
            for file in _python_files(entry):
                try:
                    source = _source(file)
                except (FileRefused, OSError, UnicodeDecodeError):
                    continue  # one unreadable file of somebody's package is no loss
                size += len(source)
                if size > min(_PACKAGE_BYTES_MAX, budget):
                    break
                for docstring in docstrings(source):
                    yield from prose_sentences(docstring)
            budget -= size


def _source(file: Path) -> str:
    """A file's text, no more of it than tells that it is too large."""
    with opened(file) as raw, io.TextIOWrapper(raw, encoding="utf-8") as text:
        return text.read(_PACKAGE_BYTES_MAX + 1)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _python_files(entry: Path) -> Iterator[Path]:
    if entry.suffix == ".py":
        yield entry
    if entry.name in _SKIPPED_FOLDERS:
        return
    for folder, subfolders, files in os.walk(entry):
        subfolders[:] = sorted(set(subfolders) - _SKIPPED_FOLDERS)
        yield from (Path(folder, name) for name in sorted(files) if name.endswith(".py"))


def _help_topics(path: Path) -> list[str]:
    """Read the texts of pydoc's topics without importing the module that holds them."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return []
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 200
    ]


_DOCSTRING = re.compile(
    r"""(?:\A(?:\s|\#[^\n]*\n)*|:[ \t]*(?:\#[^\n]*)?\n\s*)[rRuU]?(\"{3}|'{3})(.*?)\1""", re.DOTALL
)


def docstrings(source: str) -> list[str]:
    """Return the docstrings in Python source text, found without importing or running it.

    A triple-quoted string that opens a file or follows a line that ends in a colon. That is
    what a parser finds, ten times as fast (the difference on a large installation: seconds
    against minutes); a string that is no docstring may slip in and has to read as prose.
    """
    return [inspect.cleandoc(match[2]) for match in _DOCSTRING.finditer(source)]


_FIELD = re.compile(r"^(:[\w *]+[^:\n]*:|@\w+|\.\. |\|)")
_PROSE_DIRECTIVE = re.compile(
    r"^\.\. (note|warning|tip|important|caution|attention|hint|seealso|admonition|deprecated|"
    r"versionadded|versionchanged)::"
)
_UNDERLINE = re.compile(r"^([=\-~^*\"'#+`:.<>_])\1{2,}[\s=+-]*$")
_BULLET = re.compile(r"^([-*+\u2022]|\(?[0-9a-z]{1,2}[.)])\s+")
_PARAMETER = re.compile(r"^[\w*.`, ]{1,60}(\s*\([^)]{1,80}\))?\s*(:|--)\s+(?=[A-Z])")
_CODE = re.compile(r"^(>>>|\.\.\. |\$ |%|In \[|Out\[|import |from \w+ import |def |class |@)")


def _paragraphs(text: str) -> Iterator[str]:
    """Cut documentation into paragraphs of running text; code, tables and fields go."""
    paragraph: list[str] = []
    skip_below: int | None = None  # lines indented deeper than this are a literal block
    fence = doctest = False
    previous_indent = 0
    for line in (*text.expandtabs(4).splitlines(), ""):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        ends = starts = False
        keep = stripped
        if stripped.startswith("```"):
            fence, keep = not fence, ""
        elif fence:
            keep = ""
        elif not stripped:
            doctest = False
        elif skip_below is not None and indent > skip_below:
            keep = ""
        elif doctest or _CODE.match(stripped):
            doctest, keep = True, ""
        else:
            skip_below = None
            if _UNDERLINE.match(stripped):
                if paragraph:
                    paragraph.pop()  # the heading above the line
                keep = ""
            elif _PROSE_DIRECTIVE.match(stripped):
                keep = stripped.partition("::")[2].lstrip(" 0123456789.")
                starts = True
            elif _FIELD.match(stripped):
                if stripped.startswith(".."):
                    skip_below = indent
                keep = ""
            elif stripped.endswith("::"):
                skip_below, ends = indent, True
                keep = stripped.removesuffix("::").rstrip() + ":"
            else:
                plain = _BULLET.sub("", stripped)
                plain = _PARAMETER.sub("", plain)
                starts = plain != stripped or indent != previous_indent
                keep = plain
            previous_indent = indent
        if paragraph and (starts or not keep):
            yield " ".join(paragraph)
            paragraph = []
        if keep:
            paragraph.append(keep)
        if ends:
            yield " ".join(paragraph)
            paragraph = []


_SUBSTITUTIONS: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r":[\w:+-]+:`(?:[^`<]*<)?[~!]?([^`>]*)>?`"), lambda m: m[1].rpartition(".")[2]),
    (re.compile(r"`([^`<]+?)\s*<[^`>]*>`_{0,2}"), r"\1"),
    (re.compile(r"\s*\[[\w#*]+\]_"), ""),
    (re.compile(r"`+([^`]*)`+_{0,2}"), r"\1"),
    (re.compile(r"(?<!\w)(\*{1,2}|_)(\w[^*_]*)\1(?!\w)"), r"\2"),
    (re.compile(r"\s+"), " "),
)
_MARKUP = re.compile(r"[`*_]|\s\s")
_PLAIN_WORD = re.compile(r"^[\"'(]*[A-Za-z][a-z]*(?:['\u2019-][A-Za-z][a-z]*)*[\"')]*[,.;:!?]*$")
_NOT_PROSE = re.compile(r"[{}<>=\\|@#$^~_\[\]*/]|->|::|\.\.|\w\(|https?:|\.\w+\(|\w\.[a-z]\w|--")
_COMMON = frozenset(
    """
    the a an of to and in is are for that this it be with as on by or from not if can when which
    was will has have at its but may you
    """.split()
)


def prose_sentences(text: str) -> list[str]:
    """Return the English sentences of running text in a piece of documentation.

    Code, doctests, tables, headings, field lists and markup are left out, and so is every
    sentence that does not read like prose: 5 to 60 words, from a capital letter to a full
    stop, nearly all plain words, some of them the words that hold English together.
    """
    found = []
    for paragraph in _paragraphs(text):
        if len(paragraph) < 20 or " " not in paragraph:
            continue
        if _MARKUP.search(paragraph):
            for pattern, replacement in _SUBSTITUTIONS:
                paragraph = pattern.sub(replacement, paragraph)
        found += [s for s in split_sentences(paragraph) if _is_prose(s)]
    return found


def _is_prose(sentence: str) -> bool:
    if not sentence[0].isupper() or sentence[-1] not in ".!?" or _NOT_PROSE.search(sentence):
        return False
    words = sentence.split()
    if not 5 <= len(words) <= 60 or sentence.count("(") != sentence.count(")"):
        return False
    if sentence.count('"') % 2:
        return False
    plain = sum(_PLAIN_WORD.match(word) is not None for word in words)
    common = sum(word.lower() in _COMMON for word in words)
    return plain >= 0.85 * len(words) and common >= max(2, len(words) // 8)
