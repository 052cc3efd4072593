"""Question to paragraph: which paragraph of all in a file of SQuAD answers a question.

The corpus is every different paragraph of the file, the queries are its questions, and a question's
own paragraph is the one right answer. Unlike STS-B it tells small networks apart (docs/quality.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasc.errors import TaskDataError
from nasc.evaluation.bootstrap import Estimate, mean_with_interval
from nasc.evaluation.retrieval import CUTOFF, hits, places, reciprocal_ranks
from nasc.tasks.hub import is_dataset
from nasc.tasks.squad import read_squad_with_sha256

NAME = "retrieval"

METRICS = (f"mrr_at_{CUTOFF}", "recall_at_1", f"recall_at_{CUTOFF}")
"""The score of record first."""

QUERIES = 2_000
"""Questions that `nasc compile` asks at most: each is encoded on the device, which may be slow
(chosen, 2026)."""


@dataclass(frozen=True, slots=True, eq=False)
class Retrieval:
    """Questions and the paragraphs that answer them.

    Attributes:
        questions: Texts that ask.
        paragraphs: The corpus, each text once.
        answers: (questions,) index of each question's paragraph.
        source: The file's name, or the data set's; empty where the texts come from elsewhere.
        sha256: Of what was read of it, see `nasc.tasks.squad.read_squad_with_sha256`.
    """

    questions: tuple[str, ...]
    paragraphs: tuple[str, ...]
    answers: NDArray[np.int64]
    source: str = ""
    sha256: str = ""


def sample(count: int, most: int | None, seed: int) -> NDArray[np.int64]:
    """Places of at most so many among `count`, in order.

    Args:
        count: How many there are.
        most: How many to take; None takes all.
        seed: Of the choice.
    """
    if most is None or most >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def read_retrieval(path: str | Path, queries: int | None = None, *, seed: int = 0) -> Retrieval:
    """Questions and paragraphs from a file of SQuAD v1.1; see `nasc.tasks.squad.read_squad`.

    Args:
        path: The file, or a part of a data set.
        queries: Only so many questions, drawn by the seed; None takes all. The corpus is always
            whole.
        seed: Of the choice.

    Raises:
        TaskDataError: As there, or if there are too few paragraphs to find one among.
    """
    asked, sha256 = read_squad_with_sha256(path)
    rows = {text: i for i, text in enumerate(dict.fromkeys(q.context for q in asked))}
    if len(rows) <= CUTOFF:
        raise TaskDataError(
            f"retrieval data '{path}' holds {len(rows)} different paragraphs, of which any network "
            f"finds the right one among {CUTOFF}. Give a file of more, for example SQuAD's "
            "dev-v1.1.json"
        )
    chosen = [asked[i] for i in sample(len(asked), queries, seed)]
    answers = np.array([rows[q.context] for q in chosen])
    source = str(path) if is_dataset(path) else Path(path).name
    return Retrieval(
        tuple(q.question.strip() for q in chosen),
        tuple(rows),
        answers,
        source.encode(errors="replace").decode(),  # a name of other bytes than UTF-8
        sha256,
    )


def retrieval_places(
    data: Retrieval, questions: NDArray[np.floating], paragraphs: NDArray[np.floating]
) -> NDArray[np.int64]:
    """The place of each question's own paragraph among all, from 1.

    Args:
        data: From `read_retrieval`.
        questions: (questions, hidden) vectors.
        paragraphs: (paragraphs, hidden) vectors.

    Raises:
        ValueError: See `nasc.evaluation.retrieval.places`.
    """
    return places(questions, paragraphs, data.answers)


def retrieval_scores(
    data: Retrieval, found: NDArray[np.int64], *, seed: int = 0
) -> dict[str, Estimate]:
    """MRR@10, recall@1 and recall@10 of places, the score of record first.

    Intervals resample paragraphs with all of their questions, which are as hard as they are.

    Args:
        data: From `read_retrieval`.
        found: (questions,) from `retrieval_places`.
        seed: Of the resampling.
    """
    return {
        name: mean_with_interval(values, data.answers, seed=seed)
        for name, values in _each(found).items()
    }


def retrieval_means(found: NDArray[np.int64]) -> dict[str, float]:
    """MRR@10, recall@1 and recall@10 of places, the score of record first.

    Args:
        found: (questions,) from `retrieval_places`.
    """
    return {name: float(values.mean()) for name, values in _each(found).items()}


def retrieval_gains(
    data: Retrieval, found: NDArray[np.int64], other: NDArray[np.int64], *, seed: int = 0
) -> dict[str, Estimate]:
    """What one network's places gain over another's, by metric, on the same questions.

    Args:
        data: From `read_retrieval`.
        found: (questions,) from `retrieval_places`.
        other: The same of the other network.
        seed: Of the resampling, by which both are drawn alike.
    """
    theirs = _each(other)
    return {
        name: mean_with_interval(values - theirs[name], data.answers, seed=seed)
        for name, values in _each(found).items()
    }


def _each(found: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """By metric what every question counts."""
    values = (reciprocal_ranks(found), hits(found, 1), hits(found, CUTOFF))
    return dict(zip(METRICS, values, strict=True))
