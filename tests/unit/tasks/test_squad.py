"""SQuAD: files, windows over long passages, answers from scores, and the official metric."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasc.errors import TaskDataError
from nasc.tasks.squad import (
    Question,
    answers,
    normalize,
    read_squad,
    squad_scores,
    token_f1,
    windows,
)
from nasc.teacher import load_teacher

CONTEXT = "the cat sat on the mat and the dog ran to the house in sun and it was big"


def question(answer: str = "the house", context: str = CONTEXT, name: str = "1") -> Question:
    return Question(name, "the dog ran to?", context, ((answer, context.index(answer)),))


def file(*questions: Question) -> dict[str, Any]:
    qas = [
        {
            "id": q.id,
            "question": q.question,
            "answers": [{"text": t, "answer_start": s} for t, s in q.answers],
        }
        for q in questions
    ]
    return {"data": [{"title": "x", "paragraphs": [{"context": CONTEXT, "qas": qas}]}]}


@pytest.fixture(scope="module")
def tokenizer(teacher_folder: Callable[..., Path]) -> Any:
    return load_teacher(str(teacher_folder())).tokenizer


def test_published_files_are_read(tmp_path: Path) -> None:
    text = json.dumps(file(question()))
    (tmp_path / "dev.json").write_text(text)
    (tmp_path / "dev.json.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("dev.json", "dev.json.gz"):
        assert read_squad(tmp_path / name) == [question()]


def test_bad_files_are_one_clear_message(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    with pytest.raises(TaskDataError, match="no SQuAD data at"):
        read_squad(path)
    wrong = file(question())
    wrong["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 3
    unanswered = file(question())
    unanswered["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    for content, message in (
        ("{", "is not valid JSON"),
        ("[]", r"is no SQuAD: the file is \[\], not an object"),
        ('{"data": []}', "holds no questions"),
        (json.dumps(wrong), "the answer of question '1' is not at character 3"),
        (json.dumps(unanswered), "question '1' has no answer. Version 2"),
    ):
        path.write_text(content)
        with pytest.raises(TaskDataError, match=message):
            read_squad(path)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"{}")[:-5])
    with pytest.raises(TaskDataError, match="is damaged"):
        read_squad(tmp_path / "cut.json.gz")


def changed(keys: tuple[str | int, ...], value: Any) -> str:
    """A file whose value at a place is another one."""
    data: Any = file(question())
    place = data
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return json.dumps(data)


_QA = ("data", 0, "paragraphs", 0, "qas", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (changed(("data",), None), r"has data = None in the file; it must be a list"),
        (changed(("data", 0), 5), r"is no SQuAD: data\.0 is 5, not an object"),
        (
            changed(("data", 0, "paragraphs"), {}),
            r"has paragraphs = \{\} in data\.0; it",
        ),
        (
            changed((*_QA[:4], "context"), ["x"]),
            r"has context = \['x'\] in data\.0\.par",
        ),
        (
            changed((*_QA, "question"), 1),
            r"has question = 1 in data\.0\.paragraphs\.0\.qas",
        ),
        (changed((*_QA, "id"), None), r"has id = None in .*qas\.0; it must be text"),
        (changed((*_QA, "answers"), {"text": "a"}), r"has answers = .*qas\.0; it must be a list"),
        (changed((*_QA, "answers", 0), {"text": "a"}), r"qas\.0\.answers has no 'answer_start'"),
        (
            changed((*_QA, "answers", 0, "answer_start"), True),
            r"answer_start = True in .* whole",
        ),
        (
            changed((*_QA, "answers", 0, "answer_start"), "3"),
            r"answer_start = '3' in .* whole",
        ),
        (changed((*_QA, "answers", 0, "answer_start"), -1), r"is not at character -1"),
        (
            changed((*_QA, "question"), "Who \ud83d?"),
            r"lone surrogate .* in 'question' in data\.0",
        ),
        (changed((*_QA, "id"), "\0"), r"holds a NUL character in id in data\.0\.p"),
        (f'{{"data": {5000 * "9"}}}', r"holds a number of 5,000 digits"),
        (f'{{"data": {100_000 * "["}', r"is nested too deeply"),
        ('{"data": NaN}', r"holds NaN, which is no number of JSON"),
        (b'{"data": "Gr\xfc\xdfe"}', r"byte 0xfc in line 1\).* iconv -f LATIN1"),
    ],
)
def test_values_of_other_kinds_are_named_by_their_place(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "dev.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskDataError, match=rf"SQuAD data '.*dev\.json'.*{message}"):
        read_squad(path)


@pytest.mark.timeout(20)
def test_only_bounded_regular_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(TaskDataError, match=r"SQuAD data '.*pipe\.json' is no file but a pipe"):
        read_squad(tmp_path / "pipe.json")
    monkeypatch.setattr("nasc.tasks.squad.MAX_BYTES", 1 << 20)
    (tmp_path / "dev.json.gz").write_bytes(gzip.compress(b" " * (2 << 20)))
    (tmp_path / "dev.json").write_bytes(b"{")
    os.truncate(tmp_path / "dev.json", 10 << 30)
    for name in ("dev.json", "dev.json.gz"):
        with pytest.raises(TaskDataError, match="holds more than the 1,048,576 bytes"):
            read_squad(tmp_path / name)


def test_a_short_passage_is_one_window_with_its_answer(tokenizer: Any) -> None:
    (window,) = windows(tokenizer, [question()], 64, 16)
    first, last = window.spans[window.start], window.spans[window.end]
    assert first is not None
    assert last is not None
    assert CONTEXT[first[0] : last[1]] == "the house"
    assert window.token_type_ids[window.start] == 1
    assert window.token_type_ids[0] == 0


def test_a_long_passage_is_covered_by_windows(tokenizer: Any) -> None:
    parts = windows(tokenizer, [question("the mat"), question("big")], 18, 4)
    for index, answer in ((0, "the mat"), (1, "big")):
        own = [w for w in parts if w.question == index]
        assert len(own) > 2
        assert all(len(w.input_ids) <= 18 for w in own)
        covered = {c for w in own for span in w.spans if span for c in range(*span)}
        assert covered >= {i for i, c in enumerate(CONTEXT) if c != " "}
        holders = [w for w in own if w.start]
        assert holders
        for w in holders:
            first, last = w.spans[w.start], w.spans[w.end]
            assert first is not None
            assert last is not None
            assert CONTEXT[first[0] : last[1]] == answer
        assert all(w.end == 0 for w in own if not w.start)


def test_a_question_without_room_is_a_message(tokenizer: Any) -> None:
    asked = tokenizer(question().question)["input_ids"]  # with two of the three special tokens
    taken = len(asked) + 1
    with pytest.raises(TaskDataError, match=rf"question '1' leaves no room .* {taken} are taken"):
        windows(tokenizer, [question()], taken + 2, 2)
    assert windows(tokenizer, [question()], taken + 3, 2)


def test_token_types_are_the_tokenizers(tokenizer: Any) -> None:
    q = question()
    (window,) = windows(tokenizer, [q], 64, 16)
    encoded = tokenizer(q.question, q.context, return_token_type_ids=True)
    assert list(window.token_type_ids) == encoded["token_type_ids"]
    assert window.token_type_ids[-1] == 1  # the separator at the end belongs to the passage


def test_the_best_span_over_all_windows_is_the_answer(tokenizer: Any) -> None:
    questions = [question("the mat"), question("big", name="2")]
    parts = windows(tokenizer, questions, 18, 4)
    scores = []
    for w in parts:
        start, end = np.zeros(len(w.input_ids)), np.zeros(len(w.input_ids))
        start[0] = end[0] = 99  # outside of the passage: no answer
        if w.start:
            start[w.start], end[w.end] = 5, 5
        scores.append((start, end))
    assert answers(questions, parts, scores) == {"1": "the mat", "2": "big"}


def test_an_answer_never_ends_before_it_begins(tokenizer: Any) -> None:
    (window,) = windows(tokenizer, [question()], 64, 16)
    start, end = np.zeros(len(window.input_ids)), np.zeros(len(window.input_ids))
    start[window.end], end[window.start] = 9, 9
    found = answers([question()], [window], [(start, end)])["1"]
    assert found
    assert found in CONTEXT


def test_the_metric_is_the_official_one() -> None:
    assert normalize("The  Cat's, a-b!") == "cats ab"
    assert token_f1("the black cat", "a cat") == pytest.approx(2 / 3)
    assert token_f1("dog", "cat") == 0
    several = Question("1", "?", CONTEXT, (("cat", 4), ("the cat sat", 0)))
    assert squad_scores([several], {"1": "Cat sat"}) == {"f1": 1.0, "exact_match": 1.0}
    found = squad_scores([several, question(name="2")], {"1": "sat", "2": "the big house"})
    assert found == {"f1": pytest.approx((2 / 3 + 2 / 3) / 2), "exact_match": 0.0}
    assert squad_scores([several], {}) == {"f1": 0.0, "exact_match": 0.0}
