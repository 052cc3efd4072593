"""Agreement of scores of classes, and what scores are compared by."""

import numpy as np
import pytest

from nasc.evaluation.agreement import as_vectors, compare_classes

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
