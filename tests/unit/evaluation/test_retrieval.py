"""Places and gains of rankings, against values by hand and a plain search."""

from __future__ import annotations

import numpy as np
import pytest

from nasc.evaluation.retrieval import (
    hits,
    places,
    ranking_ndcg,
    ranking_ndcgs,
    reciprocal_ranks,
    score_ndcgs,
)

RNG = np.random.default_rng(0)


def at(*degrees: float) -> np.ndarray:
    """Vectors in the plane, of different lengths."""
    angles = np.radians(degrees)
    sizes = 1.0 + np.arange(len(degrees))
    return np.stack([np.cos(angles), np.sin(angles)], 1) * sizes[:, None]


def brute_ndcg(teacher: np.ndarray, student: np.ndarray, cutoff: int = 10) -> list[float]:
    """By sorting, where nothing is tied."""
    found = []
    for i in range(len(teacher)):
        others = [j for j in range(len(teacher)) if j != i]

        def cosine(v: np.ndarray, j: int, i: int = i) -> float:
            return float(v[i] @ v[j] / np.linalg.norm(v[i]) / np.linalg.norm(v[j]))

        best = sorted(others, key=lambda j: -cosine(teacher, j))[:cutoff]
        gains = {j: len(best) - place for place, j in enumerate(best)}
        ranked = sorted(others, key=lambda j: -cosine(student, j))[:cutoff]
        got = sum(gains.get(j, 0) / np.log2(2 + p) for p, j in enumerate(ranked))
        ideal = sum(gains[j] / np.log2(2 + p) for p, j in enumerate(best))
        found.append(got / ideal)
    return found


def test_places_by_hand() -> None:
    documents = at(0, 30, 60, 90)
    found = places(at(5, 50, 80), documents, np.array([0, 1, 0]))
    # From 50 degrees 60 is nearer than 30; from 80 all others are nearer than 0.
    assert found.tolist() == [1, 2, 4]
    assert reciprocal_ranks(found).tolist() == [1, 0.5, 0.25]
    assert reciprocal_ranks(found, 2).tolist() == [1, 0.5, 0]
    assert hits(found, 1).tolist() == [1, 0, 0]
    assert hits(found, 2).tolist() == [1, 1, 0]


def test_places_are_those_of_a_search_by_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, documents = RNG.normal(size=(40, 6)), RNG.normal(size=(30, 6))
    wanted = RNG.integers(0, 30, 40)
    expected = []
    for query, own in zip(queries, wanted, strict=True):
        cosines = [float(query @ d / np.linalg.norm(d)) for d in documents]
        expected.append(1 + sum(c > cosines[own] for c in cosines))
    assert places(queries, documents, wanted).tolist() == expected
    monkeypatch.setattr("nasc.evaluation.similarity.BLOCK_VALUES", 70)
    assert places(queries, documents, wanted).tolist() == expected


def test_a_tie_is_no_find() -> None:
    """One vector for all texts finds nothing, also where rounding differs."""
    documents = np.ones((20, 4), np.float32)
    documents += np.float32(1e-8) * RNG.normal(size=documents.shape).astype(np.float32)
    assert places(documents, documents, np.arange(20)).tolist() == [20] * 20


def test_ndcg_by_hand() -> None:
    """Three texts: the first asks, the teacher ranks the second before the third."""
    teacher, turned = at(0, 10, 40), at(0, 40, 10)
    query = np.array([0])
    assert ranking_ndcgs(teacher, teacher, query).tolist() == [1.0]
    # Gains 2 and 1, the other way round: (1 + 2 / log2(3)) / (2 + 1 / log2(3)).
    expected = (1 + 2 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert ranking_ndcgs(teacher, turned, query) == pytest.approx([expected])
    # Tied, both have the mean of both places.
    tied = (3 / 2) * (1 + 1 / np.log2(3)) / (2 + 1 / np.log2(3))
    assert ranking_ndcgs(teacher, at(0, 20, 20), query) == pytest.approx([tied])


@pytest.mark.parametrize("texts", [5, 11, 60])
def test_ndcg_is_that_of_sorting(texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = RNG.normal(size=(texts, 8))
    student = teacher[:, :5] + RNG.normal(size=(texts, 5))
    expected = brute_ndcg(teacher, student)
    assert ranking_ndcgs(teacher, student) == pytest.approx(expected)
    assert ranking_ndcg(teacher, student) == pytest.approx(np.mean(expected))
    monkeypatch.setattr("nasc.evaluation.similarity.BLOCK_VALUES", 2 * texts + 1)
    some = np.array([3, 0, 4])
    assert ranking_ndcgs(teacher, student, some) == pytest.approx([expected[i] for i in some])


def test_the_teacher_agrees_with_itself_where_texts_are_twins() -> None:
    teacher = np.repeat(RNG.normal(size=(15, 8)), 3, axis=0)
    assert ranking_ndcgs(teacher, 7 * teacher) == pytest.approx(np.ones(45))


def test_shuffled_vectors_are_at_chance() -> None:
    """Of 200 texts each has a gain of 55 / 199 in the mean, at every place."""
    teacher = RNG.normal(size=(200, 16))
    shuffled = teacher[RNG.permutation(200)]
    discounts = 1 / np.log2(2 + np.arange(10))
    chance = 55 / 199 * discounts.sum() / (np.arange(10, 0, -1) @ discounts)
    assert ranking_ndcg(teacher, shuffled) == pytest.approx(chance, abs=0.02)
    assert ranking_ndcg(teacher, np.ones((200, 2))) == pytest.approx(chance)
    assert ranking_ndcg(teacher, teacher + 0.1 * RNG.normal(size=teacher.shape)) > 0.7


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="at least three texts each are needed, got 2 and 2"):
        ranking_ndcgs(at(0, 1), at(0, 1))
    with pytest.raises(ValueError, match="got 3 and 4"):
        ranking_ndcgs(at(0, 1, 2), at(0, 1, 2, 3))
    bad = at(0, 1, 2)
    bad[1] = 0
    with pytest.raises(ValueError, match=r"network vectors are zero or no numbers.* row 1"):
        ranking_ndcgs(at(0, 1, 2), bad)
    with pytest.raises(ValueError, match="document vectors are zero"):
        places(at(0), bad, np.array([0]))


def test_texts_that_are_scored_alike_have_no_order() -> None:
    queries = np.repeat([0, 1], 40)
    teacher = np.concatenate([np.ones(40), np.arange(40.0)])
    assert score_ndcgs(teacher, teacher, queries) == pytest.approx([1])
