"""How well vectors find texts: places of wanted texts, and agreement with a teacher's rankings.

No figure takes a tie for a find: a network that gives all texts the same vector is at chance level
or below it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import ndcg_score

from nasc.evaluation.similarity import Floats, similarity_blocks, unit_vectors

CUTOFF = 10
"""Places of a ranking that count: of MRR@10, recall@10 and nDCG@10, as MS MARCO and BEIR report."""


def places(
    queries: NDArray[np.floating],
    documents: NDArray[np.floating],
    wanted: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The place of each query's document among all documents by cosine, 1 the first.

    It stands behind those that are as similar.

    Args:
        queries: (queries, hidden).
        documents: (documents, hidden).
        wanted: (queries,) index of the document that answers the query.

    Returns:
        (queries,).

    Raises:
        ValueError: If a vector is zero or holds values that are no number.
    """
    units = unit_vectors(documents, "document")
    found = np.empty(len(queries), np.int64)
    for rows, similar in similarity_blocks(unit_vectors(queries, "query"), units):
        own = np.take_along_axis(similar, wanted[rows, None], axis=1)
        found[rows] = (similar >= own).sum(axis=1)
    return found


def reciprocal_ranks(found: NDArray[np.int64], cutoff: int = CUTOFF) -> Floats:
    """One over each place, 0 behind the cutoff; their mean is MRR (Voorhees, TREC-8, 1999).

    Args:
        found: (queries,) places from 1, from `places`.
        cutoff: The last place that counts.
    """
    return np.where(found <= cutoff, 1.0 / found, 0.0)


def hits(found: NDArray[np.int64], cutoff: int) -> Floats:
    """1 for each place up to the cutoff, else 0; their mean is recall of the one right document."""
    return (found <= cutoff).astype(np.float64)


def ranking_ndcgs(
    teacher: NDArray[np.floating],
    student: NDArray[np.floating],
    queries: NDArray[np.int64] | None = None,
    cutoff: int = CUTOFF,
    documents: NDArray[np.floating] | None = None,
) -> Floats:
    """nDCG@10 of a network's rankings where what the teacher ranks first is what is wanted.

    Each text asks for the others. The teacher's nearest has a gain of 10, its next of 9 and so on,
    all behind its tenth of 0, and at place p of the network's ranking a gain counts 1 / log2(1 + p)
    up to the tenth (Järvelin and Kekäläinen, TOIS 2002). Equally similar texts share their gains
    and places (McSherry and Najork, ECIR 2008). No labels are needed.

    Args:
        teacher: (texts, hidden), at least three texts.
        student: (texts, any size), in the same order.
        queries: (queries,) indices of the texts that ask; None takes all.
        cutoff: Texts that count, fewer where there are not so many others.
        documents: (texts, hidden) the vectors that texts are found by, in the same order; None:
            each model finds among its own.

    Returns:
        (queries,) in [0, 1]; 1 is the teacher's own ranking.

    Raises:
        ValueError: If there are fewer than three texts or their numbers differ, or a vector is
            zero or holds values that are no number.
    """
    texts = len(teacher)
    if texts != len(student) or texts < 3:
        raise ValueError(f"at least three texts each are needed, got {texts} and {len(student)}")
    asking = np.arange(texts) if queries is None else queries
    cutoff = min(cutoff, texts - 1)
    wanted, given = unit_vectors(teacher, "teacher"), unit_vectors(student, "network")
    among = None if documents is None else unit_vectors(documents, "document")
    found = np.empty(len(asking))
    for (rows, target), (_, similar) in zip(
        similarity_blocks(wanted[asking], wanted if among is None else among),
        similarity_blocks(given[asking], given if among is None else among),
        strict=True,
    ):
        others = np.arange(texts) != asking[rows, None]
        shape = (len(target), texts - 1)
        target, similar = target[others].reshape(shape), similar[others].reshape(shape)
        gains = np.maximum(cutoff + 1 - rankdata(-target, axis=1), 0)
        for place, gain, own in zip(range(*rows.indices(len(asking))), gains, similar, strict=True):
            found[place] = ndcg_score(gain[None], own[None], k=cutoff)
    return found


LEAST_RANKED = 3
"""Texts that are worth ranking: of two there is but one other order."""


def score_ndcgs(
    teacher: NDArray[np.floating],
    student: NDArray[np.floating],
    queries: NDArray[np.int64],
    cutoff: int = CUTOFF,
) -> Floats:
    """`ranking_ndcgs` of scores: each query's texts are ranked by what they are scored with it.

    Args:
        teacher: (pairs,).
        student: (pairs,), in the same order.
        queries: (pairs,) number of the query of each pair.
        cutoff: Texts that count, fewer where there are not so many.

    Returns:
        One for each query of at least `LEAST_RANKED` texts, by number; none for a query whose texts
        the teacher scores alike.
    """
    found = []
    for query in np.unique(queries):
        wanted, given = teacher[queries == query], student[queries == query]
        if len(wanted) >= LEAST_RANKED:
            most = min(cutoff, len(wanted))
            gains = np.maximum(most + 1 - rankdata(-wanted), 0)
            if gains.any():  # of many texts of one score there is no order
                found.append(ndcg_score(gains[None], given[None], k=most))
    return np.array(found)


def ranking_ndcg(
    teacher: NDArray[np.floating],
    student: NDArray[np.floating],
    documents: NDArray[np.floating] | None = None,
) -> float:
    """Mean of `ranking_ndcgs` over all texts."""
    return float(ranking_ndcgs(teacher, student, documents=documents).mean())
