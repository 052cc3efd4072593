"""Plain text to distil on: where it comes from, and how it becomes sentences.

A corpus is a list of sentences to train on and a disjoint list that is held out. Which
sentences of a text are held out is decided by their content alone: the same sentence is on the
same side whatever the seed, and twins that differ in case or punctuation are one sentence. Of
another text that holds the same sentence, it may be on the other side.
"""

import ast
import gzip
import hashlib
import inspect
import itertools
import math
import os
import random
import re
import statistics
import sysconfig
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nasc.errors import CorpusError

HELDOUT_SHARE = 0.05
HELDOUT_MINIMUM = 512
"""Held out: 5% of the sentences, at least 512, at most a quarter of them."""

MINIMUM_SENTENCES = 24
"""A quarter is held out, half of that judges, and three sentences are the least to compare."""

_SUFFIXES = (".txt", ".txt.gz", ".md")


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sentences to train on and sentences to judge by.

    Attributes:
        train: Sentences to train on, in the order of the seeded shuffle.
        heldout: Sentences never trained on, in the order of their content hash.
        description: What text this is, in words for the user.
        sha256: Of all sentences that were chosen from, independent of seed and order.
    """

    train: tuple[str, ...]
    heldout: tuple[str, ...]
    description: str
    sha256: str

    def __post_init__(self) -> None:
        if not self.train or not self.heldout:
            raise CorpusError("a corpus needs sentences to train on and sentences held out")


def load_corpus(
    source: str | Path | Sequence[str | Path] | None,
    *,
    seed: int,
    max_sentences: int | None = None,
) -> Corpus:
    """Read text and split it into sentences.

    Args:
        source: A text file (.gz too), a folder (all of its *.txt, *.txt.gz and *.md files),
            `datasets:NAME` or `datasets:NAME:CONFIG` for a data set of the datasets
            library, or several of these. None takes the prose that is on every machine
            with Python: the language's help topics and the docstrings of the standard
            library and of the installed packages.
        seed: See `corpus_from_sentences`.
        max_sentences: See `corpus_from_sentences`.

    Raises:
        CorpusError: If the source is missing, unreadable, binary, empty or too small, or a
            data set cannot be read to its end.
    """
    if source is None:
        return corpus_from_sentences(
            _installed_prose(),
            description=(
                "English prose found on this machine: Python's help topics and the docstrings "
                "of the standard library and the installed packages"
            ),
            seed=seed,
            max_sentences=max_sentences,
        )
    sources = [source] if isinstance(source, (str, Path)) else list(source)
    if not sources:
        raise CorpusError(
            "no corpus given: the list of sources is empty. Give a file, a folder or "
            "datasets:NAME, or leave the corpus out for the text on this machine"
        )
    return corpus_from_sentences(
        itertools.chain.from_iterable(_read(s) for s in sources),
        description=", ".join(_describe(s) for s in sources),
        seed=seed,
        max_sentences=max_sentences,
    )


def stream_text(sources: Sequence[str | Path], corpus: Corpus) -> Iterator[str]:
    """All sentences of some sources but those that a corpus made of them holds out.

    Twins are not looked for: that would take a memory of all of them.

    Raises:
        CorpusError: See `load_corpus`.
    """
    last = max(map(_content_key, corpus.heldout))  # held out are those of the smallest keys
    for sentence in itertools.chain.from_iterable(map(_read, sources)):
        if _content_key(sentence) > last:
            yield sentence


def corpus_from_sentences(
    sentences: Iterable[str],
    *,
    description: str,
    seed: int,
    max_sentences: int | None = None,
) -> Corpus:
    """Make a corpus of sentences at hand; see `load_corpus`.

    Args:
        sentences: The sentences, read once. Of several that are equal but for case,
            punctuation and spaces, the first is kept.
        description: What text this is, in words for the user.
        seed: Of the order of the training sentences, and so of the choice among them when
            there are more than `max_sentences`.
        max_sentences: Upper limit on the training sentences; None keeps all. Of a text much
            larger than that, no more is held in memory than is needed: the sentences of the
            smallest content hashes, whatever the seed and the order of the text.

    Raises:
        CorpusError: If fewer than `MINIMUM_SENTENCES` different sentences are left.
    """
    if max_sentences is not None and max_sentences < 1:
        raise CorpusError(f"the number of sentences must be at least 1, got {max_sentences}")
    ordered = _by_content(sentences, None if max_sentences is None else _enough_for(max_sentences))
    if len(ordered) < MINIMUM_SENTENCES:
        raise CorpusError(
            f"{description}: {len(ordered)} different sentences found, at least "
            f"{MINIMUM_SENTENCES} are needed. Give more text, or leave --corpus out for the "
            "text on this machine"
        )
    digest = hashlib.sha256()
    for sentence in ordered:
        digest.update(sentence.encode())
        digest.update(b"\n")
    n_heldout = _count_heldout(len(ordered))
    heldout, train = ordered[:n_heldout], ordered[n_heldout:]
    random.Random(seed).shuffle(train)
    train = train[:max_sentences]
    return Corpus(
        train=tuple(train),
        heldout=tuple(heldout),
        description=description,
        sha256=digest.hexdigest(),
    )


def _count_heldout(count: int) -> int:
    return min(max(math.ceil(count * HELDOUT_SHARE), HELDOUT_MINIMUM), count // 4)


def _enough_for(train: int) -> int:
    """Sentences of which so many are left to train on, and the usual number is held out."""
    return max(math.ceil(train / (1 - HELDOUT_SHARE)), train + HELDOUT_MINIMUM, 4 * HELDOUT_MINIMUM)


def _by_content(sentences: Iterable[str], count: int | None) -> list[str]:
    """Different sentences in the order of their content keys, the first `count` of these.

    Never holds more than twice as many as it gives; None gives all.
    """
    found: dict[bytes, str] = {}
    last: bytes | None = None
    for sentence in sentences:
        key = _content_key(sentence)
        if last is None or key <= last:
            found.setdefault(key, sentence)
            if count is not None and len(found) >= 2 * count:
                found = {key: found[key] for key in sorted(found)[:count]}
                last = max(found)
    return [found[key] for key in sorted(found)[:count]]


_NOT_WORD = re.compile(r"[\W_]+")


def _content_key(sentence: str) -> bytes:
    """What makes a sentence the same sentence; evenly distributed, so it also sorts fairly."""
    plain = _NOT_WORD.sub(" ", sentence.casefold()).strip() or sentence
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=12).digest()


# ------------------------------------------------------------------ sentences

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


def _usable(sentence: str) -> bool:
    """Whether a sentence of a user's text says anything: ten characters, half of them letters."""
    return len(sentence) >= 10 and 2 * sum(map(str.isalpha, sentence)) >= len(sentence)


# ------------------------------------------------------------------ files, folders, data sets


def _describe(source: str | Path) -> str:
    text = str(source)
    return text if text.startswith("datasets:") else Path(text).name or text


def _read(source: str | Path) -> Iterator[str]:
    if str(source).startswith("datasets:"):
        return _read_dataset(str(source))
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.name.endswith(_SUFFIXES) and p.is_file())
        if not files:
            raise CorpusError(
                f"corpus folder '{path}' holds no text: no {', '.join('*' + s for s in _SUFFIXES)} "
                "in it or below it"
            )
        return itertools.chain.from_iterable(map(_read_file, files))
    if not path.exists():
        raise CorpusError(
            f"no corpus at '{path}'. A corpus is a text file, a folder of "
            f"{', '.join('*' + s for s in _SUFFIXES)}, or datasets:NAME"
        )
    return _read_file(path)


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as raw:
        head = raw.read(8192)
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(path, "rt", encoding="utf-8-sig")
    if path.suffix == ".gz":
        raise CorpusError(f"corpus file '{path}' is damaged: it is named .gz but is not gzip")
    if b"\0" in head:
        raise CorpusError(f"corpus file '{path}' is binary; text (UTF-8) is needed")
    return path.open(encoding="utf-8-sig")


def _read_file(path: Path) -> Iterator[str]:
    try:
        with _open_text(path) as file:
            head = list(itertools.islice(file, 2000))
            if any("\0" in line for line in head):
                raise CorpusError(f"corpus file '{path}' is binary; text (UTF-8) is needed")
            paragraphs: Iterator[str] = itertools.chain(head, file)
            if path.suffix == ".md":
                paragraphs = _without_markdown(paragraphs)
            if path.suffix == ".md" or _hard_wrapped(head):
                paragraphs = _unwrap(paragraphs)
            for paragraph in paragraphs:
                yield from filter(_usable, split_sentences(paragraph))
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"corpus file '{path}' is not UTF-8 text (byte 0x{error.object[error.start]:02x}): "
            f"binary, or in another encoding. Convert it: iconv -f LATIN1 -t UTF-8 {path.name}"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorpusError(f"corpus file '{path}' is damaged: {error}") from error
    except OSError as error:
        raise CorpusError(
            f"corpus file '{path}' cannot be read: {error.strerror or error}"
        ) from error


def _hard_wrapped(lines: Sequence[str]) -> bool:
    """Whether lines end where a margin was, not where a paragraph ends.

    So it is when paragraphs stand apart by empty lines and the lines are nearly all as long
    as the longest ones, of a width that people wrap at.
    """
    lengths = sorted(len(line.rstrip()) for line in lines if line.strip())
    if len(lengths) < 4 or len(lengths) == len(lines):
        return False
    width = lengths[int(0.95 * (len(lengths) - 1))]
    return 40 <= width <= 120 and statistics.median(lengths) >= 0.8 * width


def _unwrap(lines: Iterable[str]) -> Iterator[str]:
    """Join the lines between empty lines."""
    paragraph: list[str] = []
    for line in lines:
        if line.strip():
            paragraph.append(line.strip())
        elif paragraph:
            yield " ".join(paragraph)
            paragraph = []
    if paragraph:
        yield " ".join(paragraph)


_MD_SKIP = re.compile(r"^\s*([|=+_*-][|=+_*\s:-]*$|\||<|\[[^]]+\]:|!\[)")
_MD_LINK = re.compile(r"!?\[([^]]*)\](?:\([^)]*\)|\[[^]]*\])")
_MD_START = re.compile(r"^\s*(#+|>|[-*+]|\d+[.)])\s+")


def _without_markdown(lines: Iterable[str]) -> Iterator[str]:
    """Drop code, tables and HTML; keep the words of headings, lists and links."""
    fence = ""
    for line in lines:
        start = line.lstrip()[:3]
        if start in ("```", "~~~"):
            fence = "" if start == fence else fence or start
            yield ""
        elif not fence and not line.startswith(("    ", "\t")) and not _MD_SKIP.match(line):
            text, starts = _MD_START.subn("", line)
            if starts:
                yield ""
            yield re.sub(r"[*`]+|(?<!\w)_+|_+(?!\w)", "", _MD_LINK.sub(r"\1", text))
            if line.lstrip().startswith("#"):
                yield ""
        elif not line.strip():
            yield ""


def _read_dataset(source: str) -> Iterator[str]:
    """Stream the text column of the `train` part of a data set."""
    name, _, config = source.removeprefix("datasets:").partition(":")
    if not name:
        raise CorpusError(
            f"'{source}' names no data set; write datasets:NAME or datasets:NAME:CONFIG, "
            "for example datasets:wikitext:wikitext-103-raw-v1"
        )
    try:
        import datasets  # optional: installed with an extra
    except ImportError as error:
        raise CorpusError(
            f"'{source}' needs the datasets library, which is not installed. "
            "Install it: pip install 'nasc[datasets]'"
        ) from error

    def stream() -> Iterator[dict[str, Any]]:
        try:
            yield from datasets.load_dataset(name, config or None, split="train", streaming=True)
        except Exception as error:  # whatever the library, the network or the files raise
            reason = " ".join(str(error).split())[:300]
            raise CorpusError(
                f"data set '{name}' cannot be read ({type(error).__name__}: {reason}). Check its "
                "name and the network, or give a text file or folder"
            ) from error

    rows = stream()
    first = next(rows, None)
    if first is None:
        raise CorpusError(f"data set '{name}' is empty: its part 'train' holds no row")
    columns = [key for key, value in first.items() if isinstance(value, str)]
    if not columns:
        raise CorpusError(
            f"data set '{name}' has no column of text; its columns are: {', '.join(first)}"
        )
    column = "text" if "text" in columns else columns[0]
    return (
        sentence
        for row in itertools.chain([first], rows)
        for line in str(row[column]).splitlines()
        for sentence in split_sentences(line)
        if _usable(sentence)
    )


# ------------------------------------------------------------------ prose on every machine

_PACKAGE_BYTES_MAX = 3_000_000
"""Source read per package, in sorted order: one huge package must not outweigh all others."""
_TOTAL_BYTES_MAX = 120_000_000
_SKIPPED_FOLDERS = frozenset(
    """
    __pycache__ site-packages dist-packages test tests testing idle_test lib2to3 ensurepip
    _vendor vendor vendored
    """.split()
)


def _installed_prose() -> Iterator[str]:
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
                    source = file.read_text(encoding="utf-8")
                except (OSError, UnicodeDecodeError):
                    continue  # one unreadable file of somebody's package is no loss
                size += len(source)
                if size > min(_PACKAGE_BYTES_MAX, budget):
                    break
                for docstring in docstrings(source):
                    yield from prose_sentences(docstring)
            budget -= size


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
