"""How close a network's sentence vectors are to its teacher's, without labels."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr

from nasc.architecture.heads import gives_scores, gives_spans, scores_tokens
from nasc.evaluation.retrieval import ranking_ndcg, score_ndcgs
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

    def decides(self, head: str) -> float:
        """What decides between networks; 1 is the best.

        Of vectors the mean of similarity and ranking, which texts are found and grouped by: the
        cosine favours few wide operations over many narrow ones that rank texts more truly
        (docs/quality.md). Of scores, whose rows have no neighbours to find, the mean of cosine and
        similarity.

        Args:
            head: Of the network, see `nasc.architecture.heads`.
        """
        scores = gives_scores(head) or scores_tokens(head)
        other = self.pooled_cosine if scores else self.ranking_ndcg
        return (self.similarity_spearman + other) / 2


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Agreement of a network's scores of classes with its teacher's on held-out text.

    Attributes:
        class_agreement: Share of the texts for which the same class has the largest score.
        kl_divergence: Mean Kullback-Leibler divergence of the network's probabilities of classes
            from the teacher's, in nats; 0 is the same.
        sentences: Sentences that it was measured on.
    """

    class_agreement: float
    kl_divergence: float
    sentences: int


def compare_classes(teacher: NDArray[np.floating], student: NDArray[np.floating]) -> ClassAgreement:
    """Both figures for the scores of the same sentences.

    Args:
        teacher: (sentences, classes), logits; at least one sentence.
        student: The same of the network.

    Raises:
        ValueError: If shapes differ, or a score is no number.
    """
    if teacher.shape != student.shape or not len(teacher):
        raise ValueError(f"scores of different shapes: {teacher.shape} and {student.shape}")
    if not (np.isfinite(teacher).all() and np.isfinite(student).all()):
        raise ValueError("a score is no number")
    wanted, found = (log_softmax(s.astype(np.float64), axis=1) for s in (teacher, student))
    same = teacher.argmax(axis=1) == student.argmax(axis=1)
    divergence = (np.exp(wanted) * (wanted - found)).sum(axis=1)
    return ClassAgreement(float(same.mean()), float(max(divergence.mean(), 0)), len(teacher))


@dataclass(frozen=True, slots=True)
class ScoreAgreement:
    """Agreement of a network's scores of pairs with its teacher's on pairs held out.

    Attributes:
        score_spearman: Spearman's rank correlation of the scores of all pairs; 1 is the same order.
        ranking_ndcg: nDCG@10 of the network's order of the second texts of one first text, where
            those that the teacher puts first are wanted
            (`nasc.evaluation.retrieval.score_ndcgs`); None where no first text has enough of them.
        queries: First texts that it is the mean over.
        pairs: Pairs that were scored.
    """

    score_spearman: float
    ranking_ndcg: float | None
    queries: int
    pairs: int


def compare_scores(
    teacher: NDArray[np.floating], student: NDArray[np.floating], first: Sequence[str]
) -> ScoreAgreement:
    """All figures for the scores of the same pairs.

    Args:
        teacher: (pairs,), at least three.
        student: The same of the network.
        first: The first text of each.

    Raises:
        ValueError: If shapes differ, or a score is no number.
    """
    if teacher.shape != student.shape or teacher.shape != (len(first),) or len(first) < 3:
        raise ValueError(f"scores of different shapes: {teacher.shape} and {student.shape}")
    if not (np.isfinite(teacher).all() and np.isfinite(student).all()):
        raise ValueError("a score is no number")
    found = score_ndcgs(teacher, student, np.unique(np.array(first), return_inverse=True)[1])
    return ScoreAgreement(
        rank_correlation(teacher, student),
        float(found.mean()) if len(found) else None,
        len(found),
        len(first),
    )


_PER_UNIT = 1 / 8
"""Radians of one unit of a score on the circle that it is compared on. Scores of rerankers are
logits; those of MS MARCO's go from -11 to 11, and half a circle has room for 25."""


def as_vectors(outputs: Iterable[NDArray[np.floating]], head: str) -> NDArray[np.floating]:
    """What networks are compared by, a row a text: vectors, or of scores what has a cosine.

    Of classes the roots of their probabilities: the cosine of two such rows is the Bhattacharyya
    coefficient of the two distributions. Of one score its place on a circle: the cosine of two
    such rows falls with the difference of the scores, wherever these are, up to one of 25.
    Of scores of tokens the roots of all its distributions: over the classes of each token, or over
    the tokens as the first and as the last of an answer; the cosine is the mean of the
    coefficients. Rows are filled up with zeros to those of the longest text.

    Args:
        outputs: Of each text what a head gives, padding left off: (size,) or (tokens, classes) or
            (2, tokens).
        head: See `nasc.architecture.heads`.
    """
    if scores_tokens(head):
        outputs, tokens = list(outputs), 1 if gives_spans(head) else 0
        longest = max(one.shape[tokens] for one in outputs)
        size = (2, longest) if tokens else (longest, outputs[0].shape[1])
        rows = np.zeros((len(outputs), *size), np.float32)
        for row, one in zip(rows, outputs, strict=True):
            row[: len(one), : one.shape[1]] = np.sqrt(softmax(one.astype(np.float64), axis=1))
        return rows.reshape(len(outputs), -1)
    found = outputs if isinstance(outputs, np.ndarray) else np.stack(list(outputs))
    if not gives_scores(head):
        return found
    if found.shape[1] == 1:
        angles = found.astype(np.float64) * _PER_UNIT
        return np.concatenate([np.cos(angles), np.sin(angles)], axis=1, dtype=np.float32)
    return np.asarray(np.sqrt(softmax(found.astype(np.float64), axis=1)), np.float32)


def compare(
    teacher: NDArray[np.floating],
    student: NDArray[np.floating],
    documents: NDArray[np.floating] | None = None,
) -> Quality:
    """All figures for the vectors of the same sentences.

    Args:
        teacher: (sentences, hidden), at least three sentences.
        student: (sentences, hidden), in the same order.
        documents: (sentences, hidden) the teacher's, by which sentences are found, of a network
            that is for queries alone; None: similarities are of each model's own vectors.

    Raises:
        ValueError: See `pooled_cosine` and `similarity_spearman`.
    """
    return Quality(
        pooled_cosine(teacher, student),
        similarity_spearman(teacher, student, documents),
        ranking_ndcg(teacher, student, documents),
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


def similarity_spearman(
    teacher: NDArray[np.floating],
    student: NDArray[np.floating],
    documents: NDArray[np.floating] | None = None,
) -> float:
    """Spearman correlation between two models' similarities of all pairs of sentences.

    Of more than `MAX_SENTENCES` sentences, so many are taken at even distances. A model that
    gives every pair the same similarity ranks nothing: the correlation then is 0.

    Args:
        teacher: (sentences, hidden), at least three sentences.
        student: (sentences, any size), in the same order.
        documents: (sentences, hidden) what both are compared with, the other sentences of each;
            None: each model's own vectors.

    Raises:
        ValueError: If there are fewer than three sentences or their numbers differ, or a
            vector is zero or holds values that are no number.
    """
    n = len(teacher)
    if n != len(student) or n < 3:
        raise ValueError(f"at least three sentences each are needed, got {n} and {len(student)}")
    rows = np.linspace(0, n - 1, min(n, MAX_SENTENCES)).round().astype(int)
    pairs = ~np.eye(len(rows), dtype=bool)
    if documents is None:  # each pair once: it is the same the other way round
        pairs = np.triu(pairs)
    similarities = []
    for vectors, whose in ((teacher, "teacher"), (student, "network")):
        unit = unit_vectors(vectors[rows], whose)
        among = unit if documents is None else unit_vectors(documents[rows], "document")
        similarities.append((unit @ among.T)[pairs])
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
