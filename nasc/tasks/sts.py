"""STS-B: how well similarities of sentence vectors follow the judgement of people.

Cer et al., SemEval-2017 Task 1; the score of record is Spearman's rank correlation between
the cosine of two sentences' vectors and their human score (0 to 5), as in SentEval.
"""

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from nasc.errors import TaskDataError
from nasc.quality import cosines, rank_correlation

_COLUMNS = ("sentence1", "sentence2", "score")


@dataclass(frozen=True, slots=True)
class SentencePair:
    """Two sentences and how similar people find them.

    Attributes:
        first: A sentence.
        second: Another.
        score: 0 (unrelated) to 5 (the same meaning).
    """

    first: str
    second: str
    score: float


def read_sts(path: str | Path) -> list[SentencePair]:
    """Read pairs from a file with a head line that names sentence1, sentence2 and score.

    Args:
        path: A .tsv as GLUE ships it (tabs, no quoting) or a .csv, or either with .gz.

    Raises:
        TaskDataError: If the file is missing, unreadable or damaged, lacks a column, holds a
            row of another length or a score that is no number, or no two different scores.
    """
    path = Path(path).expanduser()
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in (".tsv", ".csv"):
        raise TaskDataError(f"STS data '{path}': .tsv, .csv, .tsv.gz or .csv.gz is needed")
    try:
        with _open(path) as file:
            if suffix == ".tsv":
                return _pairs(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), path)
            return _pairs(csv.DictReader(file), path)
    except FileNotFoundError as error:
        raise TaskDataError(
            f"no STS data at '{path}'. Give the dev.tsv of GLUE's STS-B with --data"
        ) from error
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise TaskDataError(f"STS data '{path}' is damaged or not text: {error}") from error
    except OSError as error:  # not gzip at all is one, too
        raise TaskDataError(f"STS data '{path}' cannot be read: {error}") from error


def _open(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _pairs(rows: "csv.DictReader[str]", path: Path) -> list[SentencePair]:
    head = rows.fieldnames or []
    missing = [column for column in _COLUMNS if column not in head]
    if missing:
        found = ", ".join(head)[:200] or "nothing"
        raise TaskDataError(
            f"STS data '{path}' has no column {', '.join(missing)}; its head line holds: {found}. "
            f"Needed are {', '.join(_COLUMNS)}, by name"
        )
    pairs = []
    for row in rows:
        where = f"STS data '{path}', line {rows.line_num}"
        if None in row or None in row.values():
            raise TaskDataError(f"{where}: not {len(head)} columns as in the head line")
        try:
            score = float(row["score"])
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise TaskDataError(f"{where}: the score {row['score']!r} is no number")
        pairs.append(SentencePair(row["sentence1"], row["sentence2"], score))
    if len({pair.score for pair in pairs}) < 2:
        raise TaskDataError(
            f"STS data '{path}' ranks nothing: pairs of at least two different scores are needed, "
            f"it holds {len(pairs)} of one score or none. Give the dev.tsv of GLUE's STS-B with "
            "--data"
        )
    return pairs


def evaluate_sts(
    encode: Callable[[list[str]], NDArray[np.floating]], pairs: Sequence[SentencePair]
) -> float:
    """Spearman correlation of a model's cosine similarities with people's scores.

    Args:
        encode: Gives the vectors (sentences, hidden) of sentences, in their order, each cut to
            the length that its model ships with (`nasc.runtime.OnnxEncoder.encode` of one
            made with a ``max_length``). Called once, with every different sentence once.
        pairs: At least two, from `read_sts`.

    Raises:
        ValueError: If there are fewer than two pairs, or vectors are zero or no numbers, or
            their number is not that of the sentences.
    """
    if len(pairs) < 2:
        raise ValueError(f"at least two pairs are needed, got {len(pairs)}")
    rows = {
        s: i for i, s in enumerate(dict.fromkeys(t for p in pairs for t in (p.first, p.second)))
    }
    vectors = encode(list(rows))
    if len(vectors) != len(rows):
        raise ValueError(f"{len(rows)} sentences gave {len(vectors)} vectors")
    similarities = cosines(
        vectors[[rows[pair.first] for pair in pairs]],
        vectors[[rows[pair.second] for pair in pairs]],
    )
    return rank_correlation(similarities, np.array([pair.score for pair in pairs]))
