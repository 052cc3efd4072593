"""How close a network's sentence vectors are to its teacher's, without labels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from nasc.evaluation.retrieval import ranking_ndcg
from nasc.evaluation.similarity import unit_vectors

MAX_SENTENCES = 1024
"""Similarities of all pairs of at most so many sentences are compared: half a million pairs."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Agreement of a network with its teacher on held-out text.

    Attributes:
        pooled_cosine: Mean cosine between the two vectors of a sentence; 1 is the same
            direction for all.
        similarity_spearman: Spearman's rank correlation between the teacher's and the
            network's cosine similarities of all pairs of sentences; 1 is the same ranking.
        ranking_ndcg: nDCG@10 of the network's ranking of the other sentences for each, where those
            that the teacher ranks first are wanted (`nasc.evaluation.retrieval.ranking_ndcgs`);
            1 is the same first ten for all.
        sentences: Sentences that it was measured on.
    """

    pooled_cosine: float
    similarity_spearman: float
    ranking_ndcg: float
    sentences: int

    @property
    def mean(self) -> float:
        """Of cosine and similarity: what decides between networks."""
        return (self.pooled_cosine + self.similarity_spearman) / 2


def compare(teacher: NDArray[np.floating], student: NDArray[np.floating]) -> Quality:
    """All figures for the vectors of the same sentences.

    Args:
        teacher: (sentences, hidden), at least three sentences.
        student: (sentences, hidden), in the same order.

    Raises:
        ValueError: See `pooled_cosine` and `similarity_spearman`.
    """
    return Quality(
        pooled_cosine(teacher, student),
        similarity_spearman(teacher, student),
        ranking_ndcg(teacher, student),
        len(teacher),
    )


def pooled_cosine(teacher: NDArray[np.floating], student: NDArray[np.floating]) -> float:
    """Mean cosine between the teacher's and the network's vector of a sentence.

    Args:
        teacher: (sentences, hidden).
        student: (sentences, hidden).

    Raises:
        ValueError: If shapes differ, or a vector is zero or holds values that are no number.
    """
    if teacher.shape != student.shape:
        raise ValueError(f"vectors of different shapes: {teacher.shape} and {student.shape}")
    return float(cosines(teacher, student).mean())


def similarity_spearman(teacher: NDArray[np.floating], student: NDArray[np.floating]) -> float:
    """Spearman correlation between two models' similarities of all pairs of sentences.

    Of more than `MAX_SENTENCES` sentences, so many are taken at even distances. A model that
    gives every pair the same similarity ranks nothing: the correlation then is 0.

    Args:
        teacher: (sentences, hidden), at least three sentences.
        student: (sentences, any size), in the same order.

    Raises:
        ValueError: If there are fewer than three sentences or their numbers differ, or a
            vector is zero or holds values that are no number.
    """
    n = len(teacher)
    if n != len(student) or n < 3:
        raise ValueError(f"at least three sentences each are needed, got {n} and {len(student)}")
    rows = np.linspace(0, n - 1, min(n, MAX_SENTENCES)).round().astype(int)
    pairs = np.triu_indices(len(rows), k=1)
    similarities = []
    for vectors, whose in ((teacher, "teacher"), (student, "network")):
        unit = unit_vectors(vectors[rows], whose)
        similarities.append((unit @ unit.T)[pairs])
    return rank_correlation(*similarities)


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's rank correlation; 0 where one side is constant to rounding.

    Args:
        first: (n,).
        second: (n,).
    """
    if min(np.ptp(first), np.ptp(second)) < 1e-7:
        return 0.0
    return float(spearmanr(first, second).statistic)


def cosines(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """Cosine between the rows of two arrays: (n,) of two (n, hidden).

    Raises:
        ValueError: If a vector is zero or holds values that are no number.
    """
    return np.asarray(np.vecdot(unit_vectors(first, "first"), unit_vectors(second, "second")))
