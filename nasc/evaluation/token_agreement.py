"""How close a network's scores of tokens are to its teacher's: classes, entities, answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from nasc.architecture.heads import MAX_ANSWER_TOKENS

OUTSIDE = "O"
"""Name of the class of tokens that belong to no entity."""

Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class TokenAgreement:
    """Agreement of a network's classes of tokens with its teacher's on held-out text.

    Attributes:
        token_f1: F1 of the tokens' classes, the teacher's taken as right and tokens of `OUTSIDE`
            left out; without such a class the share of tokens of the same class. None where the
            teacher finds no entity.
        entity_f1: F1 of entities: runs of tokens of one class, begun by ``B-`` where names have
            that; right where both ends and the class are the teacher's. None as above.
        kl_divergence: Mean Kullback-Leibler divergence of the network's probabilities of a token's
            classes from the teacher's, in nats.
        entities: Those that the teacher finds.
        tokens: Tokens that it was measured on, special ones left out.
        sentences: Texts that they are of.
    """

    token_f1: float | None
    entity_f1: float | None
    kl_divergence: float
    entities: int
    tokens: int
    sentences: int


@dataclass(frozen=True, slots=True)
class AnswerAgreement:
    """Agreement of a network's answers with its teacher's on pairs held out.

    Attributes:
        answer_f1: Mean over the pairs of the F1 of the tokens of both answers, each the best span
            of at most `MAX_ANSWER_TOKENS` in the passage, or none, see `best_answer`; 1 where both
            have none, 0 where one has.
        answer_agreement: Share of the pairs with the same answer.
        no_answer_share: Share of the pairs to which the teacher has no answer.
        kl_divergence: Mean Kullback-Leibler divergence of the network's probabilities of first and
            last tokens over the passage and the text's first token from the teacher's, in nats.
        pairs: Pairs that were answered.
    """

    answer_f1: float
    answer_agreement: float
    no_answer_share: float
    kl_divergence: float
    pairs: int


def compare_tokens(
    teacher: Sequence[Scores],
    student: Sequence[Scores],
    words: Sequence[NDArray[np.bool_]],
    labels: Sequence[str],
) -> TokenAgreement:
    """All figures for the scores of the same texts.

    Args:
        teacher: Of each text (tokens, classes), logits.
        student: The same of the network.
        words: Of each text (tokens,), which tokens count: all but special ones.
        labels: Names of the classes.

    Raises:
        ValueError: If shapes differ, a score is no number, or no token counts.
    """
    _check(teacher, student, words)
    outside = [place for place, label in enumerate(labels) if label == OUTSIDE]
    wanted = [one[real] for one, real in zip(teacher, words, strict=True)]
    found = [one[real] for one, real in zip(student, words, strict=True)]
    right, ours = (np.concatenate(each).argmax(axis=1) for each in (wanted, found))
    counted = [~np.isin(each, outside) for each in (right, ours)]
    same = int(((right == ours) & counted[0]).sum())
    entities = [
        {
            (text, *span)
            for text, one in enumerate(each)
            for span in _entities(one.argmax(axis=1), labels)
        }
        for each in (wanted, found)
    ]
    of_tokens, of_entities = None, None
    if entities[0]:
        of_tokens = _f1(same, int(counted[0].sum()), int(counted[1].sum()))
        of_entities = _f1(len(entities[0] & entities[1]), *map(len, entities))
    return TokenAgreement(
        of_tokens,
        of_entities,
        _divergence(np.concatenate(wanted), np.concatenate(found)),
        len(entities[0]),
        len(right),
        len(teacher),
    )


def compare_answers(
    teacher: Sequence[Scores], student: Sequence[Scores], passages: Sequence[NDArray[np.bool_]]
) -> AnswerAgreement:
    """All figures for the scores of the same pairs.

    Args:
        teacher: Of each pair (2, tokens), logits of the first and of the last token.
        student: The same of the network.
        passages: Of each pair (tokens,), which tokens are of the passage, the first token never;
            pairs of which none is count nowhere.

    Raises:
        ValueError: If shapes differ, a score is no number, or no pair has a passage.
    """
    _check([one.T for one in teacher], [one.T for one in student], passages)
    overlaps, divergences, without = [], [], 0
    for right, ours, real in zip(teacher, student, passages, strict=True):
        if not real.any():
            continue
        kept = real | (np.arange(len(real)) == 0)
        wanted, found = right[:, kept], ours[:, kept]
        answers = best_answer(wanted), best_answer(found)
        overlaps.append(_overlap(*answers))
        without += answers[0] is None
        divergences.append(_divergence(wanted, found))
    return AnswerAgreement(
        float(np.mean(overlaps)),
        float(np.mean([one == 1 for one in overlaps])),
        without / len(overlaps),
        float(np.mean(divergences)),
        len(overlaps),
    )


def best_answer(scores: Scores) -> tuple[int, int] | None:
    """The best span, or None where its score is less than that of no answer.

    No answer is scored by a text's first token as the first and the last, as
    ``handle_impossible_answer`` of transformers has it (SQuAD 2).

    Args:
        scores: (2, 1 + tokens) of the text's first token, then of the passage's.

    Returns:
        First and last token, counted in the passage.
    """
    first, last = best_span(scores[:, 1:])
    best = scores[0, 1 + first] + scores[1, 1 + last]
    return (first, last) if best >= scores[:, 0].sum() else None


def _overlap(wanted: tuple[int, int] | None, found: tuple[int, int] | None) -> float:
    """F1 of the tokens of two answers."""
    if wanted is None or found is None:
        return float(wanted is found)
    (first, last), (begin, end) = wanted, found
    shared = max(0, min(last, end) - max(first, begin) + 1)
    return _f1(shared, last - first + 1, end - begin + 1)


def best_span(scores: Scores) -> tuple[int, int]:
    """The first and the last token of the best answer.

    Args:
        scores: (2, tokens) of a first and of a last token.
    """
    tokens = scores.shape[1]
    length = np.arange(tokens)[None] - np.arange(tokens)[:, None]
    sums = scores[0][:, None] + scores[1][None]
    sums = np.where((length >= 0) & (length < MAX_ANSWER_TOKENS), sums, -np.inf)
    first, last = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(first), int(last)


def _entities(classes: NDArray[np.integer], labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """First token, last token and name of every entity of a text."""
    found: list[tuple[int, int, str]] = []
    before = ""
    for place, label in enumerate(labels[one] for one in classes.tolist()):
        begins, name = label.startswith("B-"), label
        if label.startswith(("B-", "I-")):
            name = label[2:]
        if label != OUTSIDE:
            if name == before and not begins:
                found[-1] = (found[-1][0], place, name)
            else:
                found.append((place, place, name))
        before = "" if label == OUTSIDE else name
    return found


def _f1(shared: int, first: int, second: int) -> float:
    """Of two sets; 1 where both are empty."""
    return 2 * shared / (first + second) if first + second else 1.0


def _divergence(teacher: Scores, student: Scores) -> float:
    """Mean over the rows, in nats."""
    wanted, found = (log_softmax(one.astype(np.float64), axis=1) for one in (teacher, student))
    return float(max((np.exp(wanted) * (wanted - found)).sum(axis=1).mean(), 0))


def _check(
    teacher: Sequence[Scores], student: Sequence[Scores], counted: Sequence[NDArray[np.bool_]]
) -> None:
    """Raise unless scores are numbers of the same tokens, some of which count."""
    shapes = [[one.shape for one in each] for each in (teacher, student)]
    tokens = [one.shape[:1] for one in teacher]
    if shapes[0] != shapes[1] or tokens != [one.shape for one in counted]:
        raise ValueError("scores of tokens of different shapes")
    if not all(np.isfinite(one).all() for one in (*teacher, *student)):
        raise ValueError("a score is no number")
    if not any(one.any() for one in counted):
        raise ValueError("no token that counts")
