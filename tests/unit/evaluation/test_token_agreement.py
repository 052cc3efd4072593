"""Agreement of scores of tokens, by what it must be."""

import numpy as np
import pytest

from nasc.evaluation.agreement import as_vectors
from nasc.evaluation.token_agreement import best_answer, best_span, compare_answers, compare_tokens
from nasc.package.formats.base import answer_lines

LABELS = ("O", "B-PER", "I-PER", "B-LOC")
TOKENS, ANSWERS = "tokens-dense4identity-unscaled", "answers-dense2identity-unscaled"


def scores(*classes: int) -> np.ndarray:
    return 9 * np.eye(len(LABELS), dtype=np.float32)[list(classes)]


def spans(tokens: int, first: int, last: int) -> np.ndarray:
    found = np.zeros((2, tokens), np.float32)
    found[0, first] = found[1, last] = 9
    return found


ALL = [np.array([False, True, True, True, True, False])]


def test_the_same_classes_agree() -> None:
    own = [scores(1, 0, 1, 2, 3, 2)]
    found = compare_tokens(own, own, ALL, LABELS)
    assert (found.token_f1, found.entity_f1, found.kl_divergence) == (1, 1, 0)
    assert (found.entities, found.tokens, found.sentences) == (2, 4, 1)


def test_entities_count_as_wholes_and_special_tokens_nowhere() -> None:
    wanted, found = [scores(1, 0, 1, 2, 3, 2)], [scores(0, 0, 1, 1, 3, 0)]
    agreement = compare_tokens(wanted, found, ALL, LABELS)
    assert agreement.token_f1 == pytest.approx(2 * 2 / (3 + 3))
    assert agreement.entity_f1 == pytest.approx(2 * 1 / (2 + 3))  # LOC alone
    assert agreement.kl_divergence > 1
    nothing = [scores(0, 0, 0, 0, 0, 0)]
    assert compare_tokens(wanted, nothing, ALL, LABELS).token_f1 == 0


def test_where_the_teacher_finds_nothing_there_is_no_f1() -> None:
    nothing, something = [scores(0, 0, 0, 0, 0, 0)], [scores(0, 0, 1, 0, 0, 0)]
    for found in (nothing, something):
        agreement = compare_tokens(nothing, found, ALL, LABELS)
        assert (agreement.token_f1, agreement.entity_f1, agreement.entities) == (None, None, 0)


def test_no_answer_is_an_answer() -> None:
    """The first token's scores against the best span's, as transformers has it."""
    passage, answer, none = [np.arange(8) >= 3], [spans(8, 4, 6)], [spans(8, 0, 0)]
    assert best_answer(none[0][:, [0, 3, 4, 5]]) is None
    lost = compare_answers(none, answer, passage)
    assert (lost.answer_f1, lost.answer_agreement, lost.no_answer_share) == (0, 0, 1)
    assert lost.kl_divergence > 1
    found = compare_answers(answer + none, answer + none, passage * 2)
    assert (found.answer_f1, found.answer_agreement, found.no_answer_share) == (1, 1, 0.5)
    less = compare_answers(answer, [answer[0] + 0.4 * none[0]], passage)
    assert (less.answer_f1, less.no_answer_share) == (1, 0)


def test_answers_are_compared_by_their_tokens() -> None:
    passage = [np.arange(8) >= 3]
    found = compare_answers([spans(8, 4, 6)], [spans(8, 5, 6)], passage)
    assert found.answer_f1 == pytest.approx(2 * 2 / (3 + 2))
    assert (found.answer_agreement, found.pairs) == (0, 1)
    same = compare_answers(
        [spans(8, 4, 6)] * 2, [spans(8, 4, 6)] * 2, [*passage, passage[0] & False]
    )
    assert (same.answer_f1, same.answer_agreement, same.kl_divergence, same.pairs) == (1, 1, 0, 1)


@pytest.mark.parametrize("none", [True, False])
def test_the_lines_of_readmes_find_the_same_answer(
    capsys: pytest.CaptureFixture[str], none: bool
) -> None:
    """In the passage, its last token not before its first and soon; or none."""
    rng = np.random.default_rng(0)
    text, told = "".join(chr(65 + i) for i in range(48)), []
    lines = answer_lines("parts", "offsets", "text", none=none)
    for _ in range(60):
        scores = rng.normal(size=(2, 60))
        scores[:, 0] += 2
        names = {
            "np": np,
            "starts": scores[0],
            "ends": scores[1],
            "parts": [None, *[0] * 10, None, *[1] * 47, None],
            "offsets": [(0, 0)] * 12 + [(i, i + 1) for i in range(48)],
            "text": text,
        }
        exec(lines, names)
        own = best_answer(scores[:, [0, *range(12, 59)]])
        if not none:
            own = best_span(scores[:, 12:59])
        told.append("no answer" if own is None else text[own[0] : own[1] + 1])
        assert capsys.readouterr().out.strip() == told[-1]
    assert ("no answer" in told) == none
    assert len(set(told)) > 20


def test_an_answer_ends_behind_its_beginning_and_soon() -> None:
    backwards = spans(6, 4, 1)
    backwards[1, 5] = 3
    assert best_span(backwards) == (4, 5)
    assert best_span(spans(80, 0, 79))[1] < 30


@pytest.mark.parametrize("wrong", [scores(0, 1), np.full((6, 4), np.nan, np.float32)])
def test_what_cannot_be_compared_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shapes|no number"):
        compare_tokens([scores(1, 0, 1, 2, 3, 2)], [wrong], ALL, LABELS)
    with pytest.raises(ValueError, match="no token that counts"):
        compare_tokens([scores(1, 0)], [scores(1, 0)], [np.zeros(2, bool)], LABELS)


@pytest.mark.parametrize(
    ("head", "own"),
    [(TOKENS, [scores(1, 0, 2), scores(3)]), (ANSWERS, [spans(3, 0, 1), spans(1, 0, 0)])],
)
def test_rows_of_scores_of_tokens_have_the_mean_of_their_cosines(
    head: str, own: list[np.ndarray]
) -> None:
    rows = as_vectors(own, head)
    assert rows.shape[0] == 2
    np.testing.assert_allclose((rows[0] ** 2).sum(), 3 if head == TOKENS else 2, rtol=1e-5)
    np.testing.assert_allclose((rows[1] ** 2).sum(), 1 if head == TOKENS else 2, rtol=1e-5)
