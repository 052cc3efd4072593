"""Text of a user: files of several kinds, folders, data sets of a library, texts with a name."""

from __future__ import annotations

import itertools
import os
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from device_profiles.reading import FileRefused, shown
from nasc.data.hub import PREFIX, bad_id, expanded
from nasc.data.markdown import without_markdown
from nasc.data.named import NAMED, fetch, is_named
from nasc.data.records import (
    BROKEN,
    NoText,
    chosen_column,
    json_list,
    json_rows,
    parquet_columns,
    parquet_rows,
    table_head,
    table_rows,
    text_of,
)
from nasc.data.sentences import split_sentences, usable
from nasc.data.streams import lines, read_whole
from nasc.data.webpage import has_tags, visible_text
from nasc.errors import CorpusError
from nasc.utils.printable import printable
from nasc.utils.progress import Say

PROSE_KINDS = (".txt", ".md")
FOLDER_KINDS = (*PROSE_KINDS, ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".html", ".htm")
"""Files of a folder that are read, plain or with .gz; and .parquet."""

MAX_PAGE = 64 << 20
"""Bytes of an .html file."""

_HEAD_ROWS, _HEAD_VALUE = 100, 10_000
"""Rows, and characters of a value, that tell which columns hold text."""

_HEAD_LINES, _HEAD_CHARACTERS = 2000, 4 << 20
"""Lines that tell whether a text is hard-wrapped, and characters of a head that are held."""

_PARAGRAPH = 1 << 20
"""Characters of joined lines; more of them without an empty line are no paragraph."""

_MOST_TOLD = 3
"""Files of a folder that are told one by one to be left out."""

_MOST_BAD = 0.01
"""Share of a table's rows that may have another number of columns than its head line."""

K = TypeVar("K")

Numbered = Iterator[tuple[int, str]]
"""Texts, each with the number of its line or row."""

Rows = Callable[[], Iterator[tuple[int, Any]]]
"""Reads a file's rows from the beginning, each with its number."""


@dataclass(slots=True)
class Reading:
    """How sources are read, and what is found while they are.

    Attributes:
        text_column: The column of a table that holds the text; None takes the obvious one.
        say: Told of the column that was taken and of rows that were left out.
        whole: Whether the text of a row is given as it is, not in paragraphs.
        by_name: Whether a column is taken for its name only, since the file lies in a folder and
            may be an index of its other files.
        tables: Whether a source with columns was among them.
    """

    text_column: str | None = None
    say: Say | None = None
    whole: bool = False
    by_name: bool = field(default=False, init=False)
    tables: bool = field(default=False, init=False)
    _told: set[str] = field(default_factory=set, init=False)

    def tell(self, text: str) -> None:
        """Say a line to whoever listens."""
        if self.say is not None:
            self.say(text)

    def column(self, names: Sequence[str], of_text: Sequence[str], path: Path | str) -> str:
        """The column that holds the text; see `nasc.data.records.chosen_column`."""
        self.tables = True
        found = chosen_column(names, of_text, self.text_column, path, by_name=self.by_name)
        if self.text_column is None and found not in self._told:
            self._told.add(found)
            self.tell(f"text of '{printable(Path(path).name)}': column '{printable(found)}'")
        return found


def describe(source: str | Path) -> str:
    """A source in words for the user: its name, without the path."""
    text = str(source)
    return printable(text if text.startswith(PREFIX) else Path(text).name or text)


def read_all(sources: Iterable[str | Path], reading: Reading) -> Iterator[str]:
    """The sentences of files, folders and data sets.

    Raises:
        CorpusError: If one is missing, unreadable, binary or empty, holds no column of text, or
            not one alone; or if a column was asked for and none has any.
    """
    for source in sources:
        try:
            yield from read(source, reading)
        except FileRefused as error:
            raise CorpusError(f"corpus file {error}") from error
        except OSError as error:
            raise CorpusError(
                f"corpus file '{error.filename or source}' cannot be read: "
                f"{error.strerror or error}"
            ) from error
    if reading.text_column is not None and not reading.tables:
        raise CorpusError(
            f"--text-column {reading.text_column}: the corpus has no columns. It goes with .jsonl, "
            ".json, .csv, .tsv, .parquet and datasets:NAME; leave it out"
        )


def read(source: str | Path, reading: Reading) -> Iterator[str]:
    """The sentences of a file, a folder or a data set; see `read_all`.

    Raises:
        CorpusError: If it is missing, holds no text, or cannot be read.
    """
    if str(source).startswith(PREFIX):
        return _read_dataset(str(source), reading)
    if "\0" in str(source):
        raise CorpusError(f"no corpus at {shown(str(source))}: no path holds a NUL character")
    path = Path(os.path.expanduser(source))
    kinds = ", ".join("*" + kind for kind in (*FOLDER_KINDS, ".parquet"))
    if is_named(source):
        return _read_file(fetch(str(source), reading.say), reading)
    if path.is_dir():
        files = _files_below(path)
        if not files:
            raise CorpusError(
                f"corpus folder '{path}' holds no text: no {kinds} in it or below it, plain or "
                "with .gz, beside what is hidden or in node_modules"
            )
        return _read_folder(files, reading)
    if not path.exists():
        raise CorpusError(
            f"no corpus at '{path}'. A corpus is a text file, a folder of {kinds}, "
            f"datasets:NAME, or {' or '.join(NAMED)}"
        )
    return _read_file(path, reading)


def read_whole_texts(path: Path, say: Say | None = None) -> Iterator[tuple[int, str]]:
    """The texts of a file as they are: its rows, or the lines of a file without rows.

    Args:
        path: A file of one of the kinds that a corpus may be of.
        say: See `Reading`.

    Yields:
        Each with the number of its row or line; empty ones are left out.

    Raises:
        FileRefused: If it is damaged, binary or holds no column of text, or not one alone.
        OSError: If it cannot be read.
    """
    read = _READERS.get(_kind(path) or "")
    texts = enumerate(lines(path), 1) if read is None else read(path, Reading(say=say, whole=True))
    for number, text in texts:
        if BROKEN.search(text):
            raise FileRefused(
                path, f"holds a lone surrogate or NUL character in row {number:,}: leave it out"
            )
        if text.strip():
            yield number, text.strip()


def _kind(path: Path) -> str | None:
    """A file's kind by its name, where a folder's files of that kind are read."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return ".parquet"
    kind = os.path.splitext(name.removesuffix(".gz"))[1]
    return kind if kind in FOLDER_KINDS else None


def _files_below(folder: Path) -> list[Path]:
    """Files of the kinds that are read, in order; not what is hidden or installed by npm."""
    found: list[Path] = []
    for at, folders, names in os.walk(folder):
        folders[:] = [n for n in folders if not n.startswith(".") and n != "node_modules"]
        files = [Path(at, name) for name in names if not name.startswith(".")]
        found += [path for path in files if _kind(path) is not None and path.is_file()]
    return sorted(found)


def _read_folder(files: Sequence[Path], reading: Reading) -> Iterator[str]:
    """Sentences of a folder's files; what is no text there is left out and told, unless all is.

    So is, beside prose, what cannot be read of other kinds.
    """
    left: list[str] = []
    first: FileRefused | OSError | None = None
    beside_prose = any(_kind(path) in PROSE_KINDS for path in files)
    reading.by_name = True
    for path in files:
        begun = False
        try:
            for sentence in _read_file(path, reading):
                begun = True
                yield sentence
        except (FileRefused, OSError) as error:
            side = beside_prose and _kind(path) not in PROSE_KINDS
            if not side and not isinstance(error, NoText):
                raise
            first = first or error
            if isinstance(error, FileRefused):
                reason = error.reason
            else:
                reason = f"cannot be read: {error.strerror or error}"
            left.append(f"{'the rest of ' * begun}'{printable(path.name)}' {reason}")
    reading.by_name = False
    if first is not None and len(left) == len(files):
        raise first
    for what in left[:_MOST_TOLD]:
        reading.tell(f"left out: {what}")
    if len(left) > _MOST_TOLD:
        reading.tell(f"left out: {len(left) - _MOST_TOLD:,} more such files")


def _read_file(path: Path, reading: Reading) -> Iterator[str]:
    kind = _kind(path) or ""
    texts = _READERS.get(kind, _prose)(path, reading)
    return _sentences(texts, path.name, _UNITS.get(kind, "line"), reading)


def _sentences(texts: Numbered, name: str, unit: str, reading: Reading) -> Iterator[str]:
    """Usable sentences of paragraphs; those with half characters or NUL are left out and told."""
    left, first = 0, 0
    for number, text in texts:
        if BROKEN.search(text):
            left, first = left + 1, first or number
        else:
            yield from filter(usable, split_sentences(text))
    if left:
        reading.tell(
            f"{left:,} paragraphs of '{printable(name)}' were left out: lone surrogates or NUL "
            f"characters; the first ends in {unit} {first:,}"
        )


# ------------------------------------------------------------------ prose


def _prose(path: Path, reading: Reading) -> Numbered:
    """Paragraphs of a text file, Markdown among them."""
    rest = lines(path)
    head: list[str] = []
    size = 0
    for line in itertools.islice(rest, _HEAD_LINES):
        head.append(line)
        size += len(line)
        if size > _HEAD_CHARACTERS:
            break
    markdown = path.name.lower().removesuffix(".gz").endswith((".md", ".markdown"))
    if not markdown:
        _check_prose(path, head)
    number = 0

    def counted() -> Iterator[str]:
        nonlocal number
        for at, line in enumerate(itertools.chain(head, rest), 1):
            if not line.isspace():
                number = at
            yield line

    paragraphs: Iterable[str] = counted()
    if markdown:
        paragraphs = without_markdown(paragraphs)
    if markdown or _hard_wrapped(head):
        paragraphs = _unwrap(paragraphs)
    for paragraph in paragraphs:
        yield number, paragraph


_JSON_LINE = re.compile(r'\s*(\{\s*"|\[\s*[{"\[]|[\[\]{}]+,?\s*$|"[^"]*"\s*:)')
_MARKUP = re.compile(r"\s*<(?:!doctype|html|\?xml)\b", re.IGNORECASE)


def _check_prose(path: Path, head: Sequence[str]) -> None:
    """Raise if a file that is named as prose begins as something else."""
    first = next((line for line in head if not line.isspace()), "")
    if _MARKUP.match(first):
        raise FileRefused(path, "holds HTML or XML, not prose. Name it .html")
    given = [line for line in head[:_HEAD_ROWS] if not line.isspace()]
    if 2 * sum(_JSON_LINE.match(line) is not None for line in given) > len(given):
        raise FileRefused(path, "holds JSON, not prose. Name it .jsonl or .json")


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
    size = 0
    for line in lines:
        if line.strip() and size <= _PARAGRAPH:
            paragraph.append(line.strip())
            size += len(line)
        else:
            if paragraph:
                yield " ".join(paragraph)
            paragraph = [line.strip()] if line.strip() else []
            size = sum(map(len, paragraph))
    if paragraph:
        yield " ".join(paragraph)


def _page(path: Path, reading: Reading) -> Numbered:
    return enumerate(visible_text(read_whole(path, MAX_PAGE)), 1)


# ------------------------------------------------------------------ rows


def _parts(text: str, reading: Reading) -> Iterable[str]:
    """A row's text as it is wanted: in paragraphs, or whole."""
    return (text,) if reading.whole else _paragraphs(text)


def _paragraphs(text: str) -> Iterable[str]:
    """Paragraphs of a row's text, which may be HTML."""
    if has_tags(text):
        return visible_text(text)
    if "\n" not in text and "\r" not in text:
        return (text,)
    parts = text.splitlines()
    return _unwrap(parts) if _hard_wrapped(parts) else parts


def _rows_of_text(read_rows: Rows, path: Path, reading: Reading) -> Numbered:
    """Texts of a file's rows; it is read twice, so that no row is held."""
    column = _text_column(itertools.islice(read_rows(), _HEAD_ROWS), path, reading)
    yield from _texts(read_rows(), column, path, path.name, reading)


def _text_column(rows: Iterable[tuple[int, Any]], path: Path, reading: Reading) -> str | None:
    """The column of rows that are objects of named values; None if all are texts themselves."""
    with_text: dict[str, bool] = {}
    named = reading.text_column is not None
    for _, row in rows:
        named |= not isinstance(row, str)
        if isinstance(row, dict):
            _note_text(with_text, row.items())
    if not named:
        return None
    return reading.column(list(with_text), [n for n, holds in with_text.items() if holds], path)


def _texts(
    rows: Iterable[tuple[int, Any]], column: str | None, path: Path, name: str, reading: Reading
) -> Numbered:
    """Texts of rows that are objects of named values, or texts themselves."""
    empty = 0
    for number, value in rows:
        if column is not None:
            if not isinstance(value, dict):
                raise FileRefused(path, f"is damaged: line {number:,}: no object of named values")
            value = value.get(column)
        text = text_of(value, column, path, number)
        if text:
            for paragraph in _parts(text, reading):
                yield number, paragraph
        empty += not text
    if empty:
        reading.tell(f"{empty:,} rows of '{printable(name)}' hold no text")


def _note_text(found: dict[K, bool], values: Iterable[tuple[K, Any]]) -> None:
    """Note of the columns of a row whether they hold text; the beginning of a value tells."""
    for name, value in values:
        found[name] = found.get(name, False) or (
            isinstance(value, str) and usable(value[:_HEAD_VALUE])
        )


def _json_lines(path: Path, reading: Reading) -> Numbered:
    return _rows_of_text(lambda: json_rows(path), path, reading)


def _json(path: Path, reading: Reading) -> Numbered:
    return _rows_of_text(lambda: json_list(path), path, reading)


def _comma_separated(path: Path, reading: Reading) -> Numbered:
    head = table_head(path)
    delimiter = max(",;\t|", key=head.count)  # of equally many the first
    return _table(lambda: table_rows(path, delimiter, quoted=True), path, reading)


def _tab_separated(path: Path, reading: Reading) -> Numbered:
    return _table(lambda: table_rows(path, "\t", quoted=False), path, reading)


def _table(read_rows: Rows, path: Path, reading: Reading) -> Numbered:
    """Texts of a table's rows; it is read twice, so that no row is held."""
    head = _complete(read_rows(), path)
    _, names = next(head, (0, []))
    if not names:
        return
    with_text: dict[int, bool] = {}
    for _, row in itertools.islice(head, _HEAD_ROWS):
        _note_text(with_text, enumerate(row))
    del head  # and the row that it is at
    of_text = [names[i] for i, holds in with_text.items() if holds]
    place = names.index(reading.column(names, of_text, path))
    rows = _complete(read_rows(), path, reading)
    for number, row in itertools.islice(rows, 1, None):
        for paragraph in _parts(row[place], reading):
            yield number, paragraph


def _complete(
    rows: Iterator[tuple[int, list[str]]], path: Path, reading: Reading | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The head line, and rows of as many values; a few others are left out and told.

    Raises:
        FileRefused: If there are more than a few of them.
    """
    width, bad, total = 0, 0, 0
    for total, (number, row) in enumerate(rows):
        width = width or len(row)
        if len(row) == width:
            yield number, row
            continue
        bad += 1
        if total >= _HEAD_ROWS and bad > max(_MOST_BAD * total, 1):
            raise _bad_rows(path, f"; line {number:,} is one", bad, total, width)
    if bad > max(_MOST_BAD * total, 1):
        raise _bad_rows(path, "", bad, total, width)
    if bad and reading is not None:
        reading.tell(f"{bad:,} rows of '{printable(path.name)}' were left out: not {width} values")


def _bad_rows(path: Path, where: str, bad: int, total: int, width: int) -> FileRefused:
    return FileRefused(
        path,
        f"is damaged: {bad:,} of the first {total:,} rows have not the {width} values of the head "
        f"line{where}",
    )


def _parquet(path: Path, reading: Reading) -> Numbered:
    names, of_text = parquet_columns(path)
    with_text: dict[str, bool] = {}
    for row in itertools.islice(parquet_rows(path, of_text), _HEAD_ROWS):
        _note_text(with_text, row.items())
    column = reading.column(names, [name for name in of_text if with_text.get(name)], path)
    yield from _texts(enumerate(parquet_rows(path, [column]), 1), column, path, path.name, reading)


_READERS: dict[str, Callable[[Path, Reading], Numbered]] = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _comma_separated,
    ".tsv": _tab_separated,
    ".parquet": _parquet,
    ".html": _page,
    ".htm": _page,
}

_UNITS = {".json": "row", ".parquet": "row", ".html": "paragraph", ".htm": "paragraph"}
"""What is counted of files of these kinds; of all others lines are."""


# ------------------------------------------------------------------ data sets


def _read_dataset(source: str, reading: Reading) -> Iterator[str]:
    """Stream the text column of the `train` part of a data set."""
    name, _, config = source.removeprefix(PREFIX).partition(":")
    if not name:
        raise CorpusError(
            f"'{source}' names no data set; write datasets:NAME or datasets:NAME:CONFIG, "
            "for example datasets:wikitext:wikitext-103-raw-v1"
        )
    name = expanded(name)
    if (reason := bad_id(name, config)) is not None:
        raise CorpusError(f"{shown(source)} {reason}")
    try:
        import datasets  # optional: installed with an extra
    except ImportError as error:
        raise CorpusError(
            f"'{source}' needs the datasets library, which is not installed. "
            "Install it: pip install 'nasc[datasets]'"
        ) from error

    def stream() -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            rows = datasets.load_dataset(name, config or None, split="train", streaming=True)
            yield from enumerate(rows, 1)
        except Exception as error:  # whatever the library, the network or the files raise
            reason = " ".join(str(error).split())[:300]
            raise CorpusError(
                f"data set '{name}' cannot be read ({type(error).__name__}: {reason}). Check its "
                "name and the network, or give a text file or folder"
            ) from error

    rows = stream()
    head = _head_of(rows)
    if not head:
        raise CorpusError(f"data set '{name}' is empty: its part 'train' holds no row")
    column = _text_column(head, Path(source), reading)
    texts = _texts(itertools.chain(head, rows), column, Path(source), source, reading)
    return _sentences(texts, source, "row", reading)


def _head_of(rows: Iterator[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    """The first rows, which are held since they are read once; few of them if they are large."""
    head: list[tuple[int, dict[str, Any]]] = []
    size = 0
    for number, row in itertools.islice(rows, _HEAD_ROWS):
        head.append((number, row))
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if size > _HEAD_CHARACTERS:
            break
    return head
