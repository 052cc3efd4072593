"""STS-B: how well similarities of sentence vectors follow the judgement of people.

Cer et al., SemEval-2017 Task 1; the score of record is Spearman's rank correlation between
the cosine of two sentences' vectors and their human score (0 to 5), as in SentEval.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nasc.errors import TaskDataError
from nasc.evaluation.agreement import cosines, rank_correlation
from nasc.tasks.glue import TASKS, read_examples
from nasc.utils.progress import Say


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


def read_sts(path: str | Path, say: Say | None = None) -> list[SentencePair]:
    """Pairs of STS-B from a file: see `nasc.tasks.glue.read_examples`.

    Raises:
        TaskDataError: As there, or if there are no two different scores.
    """
    found = read_examples(TASKS["sts-b"], path, say)
    pairs = [
        SentencePair(first, second, float(score))
        for (first, second), score in zip(found.texts, found.labels, strict=True)
    ]
    if len({pair.score for pair in pairs}) < 2:
        raise TaskDataError(
            f"STS-B data '{path}' ranks nothing: pairs of at least two different scores are "
            f"needed, it holds {len(pairs)} of one score. Give the dev.tsv of GLUE's STS-B"
        )
    return pairs


def evaluate_sts(
    encode: Callable[[list[str]], NDArray[np.floating]], pairs: Sequence[SentencePair]
) -> float:
    """Spearman correlation of a model's cosine similarities with people's scores.

    Args:
        encode: Gives the vectors (sentences, hidden) of sentences, in their order, each cut to
            the length that its model ships with (`nasc.evaluation.encoder.Encoder.encode` of
            one made with a ``max_length``). Called once, with every different sentence once.
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
