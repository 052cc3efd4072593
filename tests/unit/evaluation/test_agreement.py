import numpy as np
import pytest
from scipy.stats import spearmanr

from nasc.evaluation import agreement


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)


def test_a_model_agrees_with_itself_whatever_the_length_of_vectors(vectors: np.ndarray) -> None:
    scales = np.linspace(0.1, 9, 40, dtype=np.float32)[:, None]
    found = agreement.compare(vectors, vectors * scales)
    assert found.pooled_cosine == pytest.approx(1)
    assert found.similarity_spearman == pytest.approx(1)
    assert found.ranking_ndcg == pytest.approx(1)
    assert found.sentences == 40


def test_a_rotation_changes_directions_but_no_similarities(vectors: np.ndarray) -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    found = agreement.compare(vectors, vectors @ rotation)
    assert abs(found.pooled_cosine) < 0.6
    assert found.similarity_spearman == pytest.approx(1, abs=1e-4)


def test_exact_values() -> None:
    teacher = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.5]])
    student = np.array([[1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.5]])
    expected = (1 - 1 + np.sqrt(0.5) + 1) / 4
    assert agreement.pooled_cosine(teacher, student) == pytest.approx(expected)
    cosine = [
        [(x @ y) / np.linalg.norm(x) / np.linalg.norm(y) for i, x in enumerate(m) for y in m[:i]]
        for m in (teacher, student)
    ]
    expected = spearmanr(*cosine).statistic
    assert agreement.similarity_spearman(teacher, student) == pytest.approx(expected)


def test_unrelated_models_do_not_agree() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 200, 16))
    assert abs(agreement.similarity_spearman(first, second)) < 0.05
    assert abs(agreement.pooled_cosine(first, second)) < 0.1


def test_a_collapsed_model_ranks_nothing(vectors: np.ndarray) -> None:
    assert agreement.similarity_spearman(vectors, np.ones_like(vectors)) == 0


def test_of_many_sentences_some_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(300, 8))
    second = first + rng.normal(size=first.shape)
    whole = agreement.similarity_spearman(first, second)
    monkeypatch.setattr(agreement, "MAX_SENTENCES", 150)
    part = agreement.similarity_spearman(first, second)
    assert part != whole
    assert part == pytest.approx(whole, abs=0.05)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_broken_vectors_never_count_as_agreement(vectors: np.ndarray, bad: float) -> None:
    broken = vectors.copy()
    broken[5] = bad
    for first, second in ((vectors, broken), (broken, vectors)):
        with pytest.raises(ValueError, match=r"1 of the .* vectors are zero .* row 5"):
            agreement.pooled_cosine(first, second)
        with pytest.raises(ValueError, match=r"1 of the .* vectors are zero .* row 5"):
            agreement.similarity_spearman(first, second)


def test_mismatches_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"different shapes: \(40, 8\) and \(39, 8\)"):
        agreement.pooled_cosine(vectors, vectors[1:])
    with pytest.raises(ValueError, match="got 40 and 39"):
        agreement.similarity_spearman(vectors, vectors[1:])
    with pytest.raises(ValueError, match="at least three sentences"):
        agreement.similarity_spearman(vectors[:2], vectors[:2])


def test_a_model_for_queries_is_compared_with_the_documents(vectors: np.ndarray) -> None:
    """Not with itself: what is turned agrees with itself alone."""
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    turned = agreement.compare(vectors, vectors @ rotation, vectors)
    assert turned.similarity_spearman < 0.6
    assert turned.ranking_ndcg < 0.6
    same = agreement.compare(vectors, 3 * vectors, vectors)
    assert (same.similarity_spearman, same.ranking_ndcg) == (pytest.approx(1), pytest.approx(1))


def test_exact_values_of_queries() -> None:
    """A query and a document are another pair than the same texts the other way round."""
    teacher = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    student = np.array([[1.0, 0.5], [0.0, 1.0], [1.0, 0.0]])
    found = np.array([[1.0, 0.2], [0.3, 1.0], [1.0, 0.7]])
    unit = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in (teacher, student, found)]
    cosine = [[a[i] @ unit[2][j] for i in range(3) for j in range(3) if i != j] for a in unit[:2]]
    expected = spearmanr(*cosine).statistic
    assert agreement.similarity_spearman(teacher, student, found) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ("embed", 0.5),
        ("embed-cls-dense8tanh", 0.5),
        ("scores-cls-dense2identity-unscaled", 0.8),
        ("tokens-dense9identity-unscaled", 0.8),
    ],
)
def test_rankings_decide_but_of_scores_the_cosine(head: str, wanted: float) -> None:
    quality = agreement.Quality(0.9, 0.7, 0.3, 40)
    assert quality.decides(head) == pytest.approx(wanted)
