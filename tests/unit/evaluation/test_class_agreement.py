"""Agreement of scores of classes and of pairs, and what scores are compared by."""

import numpy as np
import pytest

from nasc.evaluation.agreement import as_vectors, compare_classes, compare_scores

HEAD = "scores-cls-dense8tanh-dense3identity-unscaled"
SCORES = np.array([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5], [-3.0, 0.0, 4.0], [1.0, 0.9, 0.0]])


def test_the_same_scores_agree() -> None:
    found = compare_classes(SCORES, SCORES + 5)  # a sum moves no probability
    assert (found.class_agreement, found.sentences) == (1, 4)
    assert found.kl_divergence == pytest.approx(0, abs=1e-12)


def test_other_classes_and_probabilities_are_counted() -> None:
    other = SCORES.copy()
    other[3] = [0.9, 1.0, 0.0]
    found = compare_classes(SCORES, other)
    assert found.class_agreement == 0.75
    p, q = (np.exp(s[3]) / np.exp(s[3]).sum() for s in (SCORES, other))
    assert found.kl_divergence == pytest.approx((p * np.log(p / q)).sum() / 4)


@pytest.mark.parametrize("wrong", [SCORES[:3], SCORES[:, :2], SCORES * np.nan])
def test_what_cannot_be_compared_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shapes|no number"):
        compare_classes(SCORES, wrong)


def test_scores_are_compared_by_the_roots_of_probabilities() -> None:
    found = as_vectors(SCORES, HEAD)
    np.testing.assert_allclose(np.square(found).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(found[0] ** 2, np.exp(SCORES[0]) / np.exp(SCORES[0]).sum(), 1e-6)
    assert as_vectors(SCORES, "embed-cls") is SCORES


QUERIES = ["a"] * 4 + ["b"] * 3 + ["c"] * 2
WANTED = np.array([3.0, 2.0, 1.0, -4.0, 0.5, 0.2, 0.1, 9.0, 8.0])


def test_the_same_order_of_scores_agrees() -> None:
    found = compare_scores(WANTED, 0.1 * WANTED - 7, QUERIES)
    assert (found.score_spearman, found.queries, found.pairs) == (pytest.approx(1), 2, 9)
    assert found.ranking_ndcg == pytest.approx(1)


def test_another_order_counts_within_its_query() -> None:
    moved = WANTED + 100 * np.array([q == "b" for q in QUERIES])  # the order between queries
    found = compare_scores(WANTED, moved, QUERIES)
    assert found.score_spearman < 0.5
    assert found.ranking_ndcg == pytest.approx(1)
    worst = compare_scores(WANTED, -WANTED, QUERIES)
    assert worst.score_spearman == pytest.approx(-1)
    gains, discounts = np.array([3, 2, 1.0]), 1 / np.log2([2, 3, 4])
    second = gains[::-1] @ discounts / (gains @ discounts)
    gains, discounts = np.array([4, 3, 2, 1.0]), 1 / np.log2([2, 3, 4, 5])
    first = gains[::-1] @ discounts / (gains @ discounts)
    assert worst.ranking_ndcg == pytest.approx((first + second) / 2)


def test_without_a_query_of_three_texts_nothing_is_ranked() -> None:
    found = compare_scores(WANTED[:4], WANTED[:4], ["a", "b", "c", "a"])
    assert (found.ranking_ndcg, found.queries) == (None, 0)
    with pytest.raises(ValueError, match="shapes"):
        compare_scores(WANTED, WANTED[:4], QUERIES)
    with pytest.raises(ValueError, match="no number"):
        compare_scores(WANTED, WANTED * np.nan, QUERIES)


def test_one_score_is_compared_by_its_difference_wherever_it_is() -> None:
    rows = as_vectors(np.array([[-9.0], [-8.5], [-8.0], [7.0], [7.5]]), HEAD.replace("3", "1"))
    np.testing.assert_allclose(np.square(rows).sum(axis=1), 1, rtol=1e-6)
    cosines = rows @ rows.T
    assert cosines[0, 1] == pytest.approx(cosines[3, 4])
    assert 1 > cosines[0, 1] > cosines[0, 2] > cosines[0, 3]
    far = as_vectors(np.linspace(-11, 11, 200)[:, None], HEAD.replace("3", "1"))
    assert (np.diff(far @ far[0]) < 0).all()
