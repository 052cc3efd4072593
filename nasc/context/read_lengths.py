"""The lengths of the texts that a network is to serve, out of a file."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from device_profiles.reading import FileRefused, shown
from nasc.data.records import table_rows
from nasc.data.sources import describe, read_whole_texts
from nasc.errors import CorpusError
from nasc.latency.lengths import MAX_TEXTS, MAX_TOKENS, LengthMixture, mixture_of
from nasc.teacher import Teacher
from nasc.utils.files import check_path
from nasc.utils.progress import Say

MAX_HISTOGRAM = 16 << 20
"""Bytes of a histogram."""

MAX_ROWS = 100_000
"""Rows of a histogram."""

MAX_COUNTED = 1_000_000
"""Texts that are tokenised: some minutes."""

_TOGETHER = 1000
"""Texts that are tokenised together."""

_CHARACTERS = 1000
"""Characters of a text that are looked at, for each token that it is cut to."""

_HEAD = ("length", "count")
_WHOLE = re.compile(r"[0-9]{1,16}")


def read_lengths(path: Path, teacher: Teacher, say: Say) -> LengthMixture:
    """The mixture of lengths in a file.

    Args:
        path: A histogram (CSV, each row a length in tokens and how many texts have it), or texts:
            a file of one of the kinds that a corpus may be of, each row or line a text.
        teacher: Its tokenizer counts the tokens of texts; longer ones are cut to its length, as
            packages do.
        say: Told what was found.

    Raises:
        CorpusError: If the file cannot be read or holds neither, with the row.
        UsageError: If its path is not UTF-8.
    """
    path = Path(os.path.expanduser(path))
    check_path(path, "--lengths FILE")
    name = describe(path)
    try:
        counts = _histogram(path)
        kind = "histogram"
        if counts is None:
            counts, kind = _counted(path, teacher, say), "texts"
    except FileRefused as error:
        raise CorpusError(f"lengths file {error}") from error
    except OSError as error:
        raise CorpusError(
            f"lengths file '{path}' cannot be read: {error.strerror or error}. Give a CSV file "
            "with the columns length,count, or a file of texts"
        ) from error
    if not counts.total():
        raise CorpusError(
            f"lengths file '{path}' holds no text. Give a CSV file with the columns length,count, "
            "or a file of texts"
        )
    longest, cut = teacher.max_length, Counter[int]()
    for length, texts in counts.items():
        cut[min(length, longest)] += texts
    over = sum(texts for length, texts in counts.items() if length > longest)
    if over:
        say(
            f"{over:,} of {counts.total():,} texts are longer than the {longest} tokens that the "
            "teacher's tokenizer cuts them to: they count as cut"
        )
    found = mixture_of(cut, f"{kind} {name}")
    say(
        f"lengths: {found.texts:,} texts of {found.mean_tokens:.1f} tokens in the mean, priced as "
        f"{found.describe()} ({found.priced_tokens:.1f} in the mean)"
    )
    return found


def _histogram(path: Path) -> Counter[int] | None:
    """Texts by length; None where the file is no histogram.

    Raises:
        FileRefused: With the row that is wrong.
        OSError: If it cannot be read.
    """
    if not path.name.lower().removesuffix(".gz").endswith(".csv"):
        return None
    rows = table_rows(path, ",", quoted=True, max_bytes=MAX_HISTOGRAM)
    try:
        first = [value.strip() for value in next(rows)[1]]
    except StopIteration:
        return Counter()
    named = tuple(value.lower() for value in first) == _HEAD
    if not named and not (len(first) == 2 and all(map(_WHOLE.fullmatch, first))):
        return None
    counts: Counter[int] = Counter()
    numbered: Iterator[tuple[int, list[str]]] = (
        rows if named else itertools.chain([(1, first)], rows)
    )
    for number, row in itertools.islice(numbered, MAX_ROWS + 1):
        if len(row) != 2:
            raise FileRefused(path, f"has {len(row)} values in row {number:,}: length,count are 2")
        length = _whole(path, number, "length", row[0], 1, MAX_TOKENS)
        if length in counts:
            raise FileRefused(path, f"has the length {length} again in row {number:,}")
        counts[length] = _whole(path, number, "count", row[1], 0, MAX_TEXTS)
        if len(counts) > MAX_ROWS:
            raise FileRefused(path, f"has more than {MAX_ROWS:,} rows: no histogram does")
    return counts


def _whole(path: Path, number: int, name: str, text: str, least: int, most: int) -> int:
    text = text.strip()
    if _WHOLE.fullmatch(text) is None or not least <= int(text) <= most:
        raise FileRefused(
            path,
            f"has {name} {shown(text)} in row {number:,}: a whole number from {least} to {most:,} "
            "is needed",
        )
    return int(text)


def _counted(path: Path, teacher: Teacher, say: Say) -> Counter[int]:
    """Texts of a file by their tokens, as the teacher counts and cuts them."""
    counts: Counter[int] = Counter()
    most = _CHARACTERS * teacher.max_length
    texts = (text[:most] for _, text in read_whole_texts(path, say))
    while batch := list(itertools.islice(texts, _TOGETHER)):
        counts.update(teacher.tokenize(batch).lengths.tolist())
        if counts.total() > MAX_COUNTED:
            raise FileRefused(
                path,
                f"holds more than {MAX_COUNTED:,} texts. Take a part of them, at random: "
                f"shuf -n {MAX_COUNTED // 10}",
            )
    return counts
