"""Text of a user: files, folders, data sets of the datasets library."""

import gzip
import itertools
import re
import statistics
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from nasc.errors import CorpusError
from nasc.text.sentences import split_sentences, usable

_SUFFIXES = (".txt", ".txt.gz", ".md")


def describe(source: str | Path) -> str:
    """A source in words for the user: its name, without the path."""
    text = str(source)
    return text if text.startswith("datasets:") else Path(text).name or text


def read(source: str | Path) -> Iterator[str]:
    """The sentences of a file, a folder or a data set.

    Raises:
        CorpusError: If it is missing, unreadable, binary or empty.
    """
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
                yield from filter(usable, split_sentences(paragraph))
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
        if usable(sentence)
    )
