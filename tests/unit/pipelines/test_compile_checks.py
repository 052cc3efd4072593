"""What does not go together is found before anything is measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.errors import UsageError
from nasc.pipelines.compile_checks import check_quality_asked
from nasc.pipelines.options import Options


def of_teacher(output: str, labels: tuple[str, ...] = ("a", "b")) -> Any:
    return SimpleNamespace(teacher=SimpleNamespace(name="tiny", output=output, labels=labels))


@pytest.mark.parametrize(
    ("output", "labels", "known", "foreign", "gives"),
    [
        ("embed", (), "pooled_cosine", "token_f1", "vectors"),
        ("scores", ("a",), "score_spearman", "pooled_cosine", "scores of pairs"),
        ("scores", ("a", "b"), "class_agreement", "pooled_cosine", "scores of classes"),
        ("tokens", ("a", "b"), "token_f1", "pooled_cosine", "scores of tokens"),
        ("answers", (), "answer_agreement", "pooled_cosine", "answers to questions"),
    ],
)
def test_a_quality_that_outputs_do_not_have_is_refused(
    output: str, labels: tuple[str, ...], known: str, foreign: str, gives: str
) -> None:
    context = of_teacher(output, labels)
    check_quality_asked(context, Options(min_quality={known: 0.5}))
    with pytest.raises(
        UsageError, match=rf"{foreign}: the teacher 'tiny' gives {gives}, whose .*{known}"
    ):
        check_quality_asked(context, Options(min_quality={known: 0.5, foreign: 0.5}))


def test_labelled_pairs_are_for_vectors() -> None:
    labelled = Options(sts_data=Path("pairs.tsv"))
    check_quality_asked(of_teacher("embed"), labelled)
    with pytest.raises(UsageError, match=r"--sts-data is of vectors, .* gives scores of classes"):
        check_quality_asked(of_teacher("scores"), labelled)


def test_a_teacher_is_not_loaded_where_no_quality_is_asked_for() -> None:
    nothing: Any = SimpleNamespace()
    check_quality_asked(nothing, Options())
