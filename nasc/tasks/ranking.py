"""Agreement of rankings with the teacher on texts of one's own, without labels."""

from __future__ import annotations

import os
from pathlib import Path

from device_profiles.reading import FileRefused
from nasc.data.sources import read_whole_texts
from nasc.errors import TaskDataError
from nasc.evaluation.retrieval import CUTOFF
from nasc.utils.files import check_path
from nasc.utils.progress import Say

NAME = "ranking"

MAX_TEXTS = 50_000
"""Texts that are ranked: with vectors of 384 values a gigabyte of memory, and a minute for 2,000
queries (2026)."""

MAX_CHARACTERS = 100_000
"""Characters of a text that are looked at: more than any model's longest input holds."""

QUERIES = 2_000
"""Texts that ask where nobody says otherwise."""


def read_ranked_texts(path: str | Path, say: Say | None = None) -> tuple[str, ...]:
    """The different texts of a file, in its order: rows of a table, or lines.

    Args:
        path: A file of one of the kinds that a corpus may be of.
        say: Told of the column that was taken.

    Raises:
        TaskDataError: If it is missing, damaged or holds too few or too many texts.
        UsageError: If its path is not UTF-8.
    """
    path = Path(os.path.expanduser(path))
    check_path(path, "--data FILE")
    found: dict[str, None] = {}
    try:
        for _, text in read_whole_texts(path, say):
            found[text[:MAX_CHARACTERS]] = None
            if len(found) > MAX_TEXTS:
                raise FileRefused(
                    path,
                    f"holds more than {MAX_TEXTS:,} texts. Take a part of them, at random: "
                    f"shuf -n {MAX_TEXTS}",
                )
    except FileRefused as error:
        raise TaskDataError(f"texts to rank: {error}") from error
    except FileNotFoundError as error:
        raise TaskDataError(
            f"no texts to rank at '{path}'. Give a file, each line or row a text: .txt, .jsonl, "
            ".csv, .tsv, .parquet"
        ) from error
    except OSError as error:
        raise TaskDataError(
            f"texts to rank: '{path}' cannot be read: {error.strerror or error}. Give a file, each "
            "line or row a text"
        ) from error
    if len(found) <= CUTOFF + 1:
        raise TaskDataError(
            f"texts to rank: '{path}' holds {len(found)} different texts: the first {CUTOFF} of so "
            f"few say nothing. Give some hundreds, each line or row a text"
        )
    return tuple(found)
