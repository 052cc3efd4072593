"""Question to paragraph: what is asked, and what shuffled paragraphs make of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasc.errors import TaskDataError
from nasc.evaluation.bootstrap import mean_with_interval
from nasc.tasks.retrieval import (
    METRICS,
    read_retrieval,
    retrieval_gains,
    retrieval_places,
    retrieval_scores,
    sample,
)


def squad(paragraphs: int, questions: int = 2) -> dict[str, Any]:
    """A file of SQuAD whose first paragraph stands in it twice."""
    made = []
    for i in [*range(paragraphs), 0]:
        qas = [
            {
                "id": f"{len(made)}-{k}",
                "question": f" What {k} of {i}? ",
                "answers": [{"text": str(i), "answer_start": 10}],
            }
            for k in range(questions)
        ]
        made.append({"context": f"Paragraph {i}.", "qas": qas})
    return {"data": [{"title": "t", "paragraphs": made}]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "dev-v1.1.json"
    path.write_text(json.dumps(squad(40)), encoding="utf-8")
    return path


def test_every_paragraph_is_there_once_and_every_question_has_its_own(data: Path) -> None:
    found = read_retrieval(data)
    assert found.paragraphs == tuple(f"Paragraph {i}." for i in range(40))
    assert len(found.questions) == 82
    for question, answer in zip(found.questions, found.answers, strict=True):
        assert question.endswith(f"of {answer}?")
    assert found.answers[-2:].tolist() == [0, 0]


def test_a_sample_is_drawn_by_its_seed_and_leaves_the_corpus_whole(data: Path) -> None:
    found = read_retrieval(data, 10, seed=3)
    assert len(found.questions) == len(found.answers) == 10
    assert len(found.paragraphs) == 40
    assert found.questions == read_retrieval(data, 10, seed=3).questions
    assert found.questions != read_retrieval(data, 10, seed=4).questions
    assert read_retrieval(data, 1000).questions == read_retrieval(data).questions
    assert sample(5, None, 0).tolist() == sample(5, 9, 0).tolist() == [0, 1, 2, 3, 4]


def test_scores_by_hand(data: Path) -> None:
    asked = read_retrieval(data, 8)
    scores = retrieval_scores(asked, np.array([1, 1, 2, 4, 10, 11, 20, 1]))
    assert list(scores) == ["mrr_at_10", "recall_at_1", "recall_at_10"]
    assert scores["mrr_at_10"].value == pytest.approx((3 + 1 / 2 + 1 / 4 + 1 / 10) / 8)
    assert scores["recall_at_1"].value == pytest.approx(3 / 8)
    assert scores["recall_at_10"].value == pytest.approx(6 / 8)
    for one in scores.values():
        assert 0 <= one.low < one.value < one.high <= 1


def test_gains_are_question_by_question(data: Path) -> None:
    """Of networks that fail on the same questions a small gain is certain, of others it is not."""
    asked = read_retrieval(data)
    found = np.where(np.arange(82) % 3, 1, 20)
    better = np.where(np.arange(82) % 3, 1, 8)
    gains = retrieval_gains(asked, better, found)
    assert list(gains) == list(METRICS)
    assert gains["mrr_at_10"].value == pytest.approx(28 / 82 / 8)
    assert 0 < gains["mrr_at_10"].low < gains["mrr_at_10"].high
    assert (gains["recall_at_1"].value, gains["recall_at_1"].high) == (0, 0)
    by_paragraph = np.where(asked.answers % 3, 0, 1 / 8)
    together = retrieval_gains(asked, np.where(by_paragraph, 8, 1), np.where(by_paragraph, 20, 1))
    assert together["mrr_at_10"] == mean_with_interval(by_paragraph, asked.answers, seed=0)
    turned = retrieval_gains(asked, np.roll(better, 1), found)["mrr_at_10"]
    assert turned.low < 0 < turned.high
    assert retrieval_gains(asked, found, better)["mrr_at_10"].value == -gains["mrr_at_10"].value


def test_shuffled_paragraphs_are_at_chance(data: Path) -> None:
    asked = read_retrieval(data)
    rng = np.random.default_rng(0)
    paragraphs = rng.normal(size=(40, 24))
    questions = paragraphs[asked.answers] + 0.5 * rng.normal(size=(82, 24))
    right = retrieval_scores(asked, retrieval_places(asked, questions, paragraphs))
    assert right["recall_at_1"].value > 0.9
    shuffled = paragraphs[rng.permutation(40)]
    chance = retrieval_scores(asked, retrieval_places(asked, questions, shuffled))
    assert chance["mrr_at_10"].value < 0.2  # 0.073 in the mean
    assert chance["recall_at_10"].low < 10 / 40 < chance["recall_at_10"].high + 0.1


def test_files_that_ask_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(squad(10)), encoding="utf-8")
    with pytest.raises(TaskDataError, match=r"holds 10 different paragraphs.* Give a file of more"):
        read_retrieval(path)
    path.write_text('{"data": [{"paragraphs": [{"qas": []}]}]}', encoding="utf-8")
    with pytest.raises(TaskDataError, match=r"is no SQuAD: .* has no 'context'"):
        read_retrieval(path)
    with pytest.raises(TaskDataError, match=r"no SQuAD data at .*Name another file"):
        read_retrieval(tmp_path / "none.json")
