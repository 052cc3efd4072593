"""SQuAD v1.1 (Rajpurkar et al., EMNLP 2016): its files, windows over long passages, EM and F1.

The metric is that of the official evaluate-v1.1.py: answers are compared without case, punctuation
and articles; the best of several right answers counts.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import os
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.reading import FileRefused, parse_json, shown
from nasc.architecture.heads import MAX_ANSWER_TOKENS
from nasc.data.streams import read_whole
from nasc.errors import TaskDataError
from nasc.tasks.hub import dataset_rows, is_dataset
from nasc.tasks.tables import check_text

NAME = "squad"

MAX_BYTES = 128 << 20
"""What a file may hold, unpacked; SQuAD's training file holds 30 MB."""

BEST_STARTS = 20
"""An answer is the best pair out of so many likely starts and ends: the setting of Google's BERT
(run_squad.py), as that of `MAX_ANSWER_TOKENS` is."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a passage.

    Attributes:
        id: Of the data set.
        question: Its text.
        context: The passage.
        answers: Right answers: text and the place of its first character.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a passage with its question, as a model reads it.

    Attributes:
        question: Index of the question.
        input_ids: Token ids; the question first.
        token_type_ids: As the tokenizer gives them: 0 for the question, 1 for the passage.
        spans: For every token the characters of the passage it stands for; None elsewhere.
        start: Token of the answer's beginning; 0 (the first token) if it is not in here.
        end: Token of its end; 0 too.
    """

    question: int
    input_ids: tuple[int, ...]
    token_type_ids: tuple[int, ...]
    spans: tuple[tuple[int, int] | None, ...]
    start: int
    end: int


def read_squad(path: str | Path) -> list[Question]:
    """Questions from a file of SQuAD v1.1, .json or .json.gz, or a part of a data set.

    Raises:
        TaskDataError: If it is missing, damaged, of version 2, or an answer is not where it says.
    """
    return read_squad_with_sha256(path)[0]


def read_squad_with_sha256(path: str | Path) -> tuple[list[Question], str]:
    """`read_squad`, and the sha256 of what was read.

    It is of a file's text, unpacked; of a data set's questions as JSON.

    Raises:
        TaskDataError: As there.
    """
    path = Path(os.path.expanduser(path))
    try:
        found, sha256 = _read(path)
    except FileRefused as error:
        raise TaskDataError(f"SQuAD data {error}") from error
    except FileNotFoundError as error:
        raise TaskDataError(f"no SQuAD data at '{path}'. Name another file") from error
    except OSError as error:
        raise TaskDataError(
            f"SQuAD data '{path}' cannot be read: {error.strerror or error}"
        ) from error
    if not found:
        raise TaskDataError(f"SQuAD data '{path}' holds no questions")
    for q in found:
        if not q.answers:
            raise TaskDataError(
                f"SQuAD data '{path}': question {q.id!r} has no answer. Version 2 of the data is "
                "not supported: give files of version 1.1"
            )
        for answer, start in q.answers:
            if start < 0 or q.context[start : start + len(answer)] != answer:
                raise TaskDataError(
                    f"SQuAD data '{path}': the answer of question {q.id!r} is not at character "
                    f"{start} of its passage"
                )
    return found, sha256


def _read(path: Path) -> tuple[list[Question], str]:
    if is_dataset(path):
        rows = enumerate(dataset_rows(path, "SQuAD data"), 1)
        found = [_from_dataset(row, path, f"row {number:,}") for number, row in rows]
        return found, _sha256(json.dumps([dataclasses.astuple(one) for one in found]))
    if "\0" in str(path):
        raise TaskDataError(f"no SQuAD data at {shown(str(path))}: no path holds a NUL character")
    text = read_whole(path, MAX_BYTES)
    return list(_questions(parse_json(text, path), path)), _sha256(text)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _from_dataset(row: Mapping[str, Any], path: Path, where: str) -> Question:
    given = _value(row, "answers", dict, path, where)
    texts = _value(given, "text", list, path, f"answers of {where}")
    starts = _value(given, "answer_start", list, path, f"answers of {where}")
    if len(texts) != len(starts):
        raise FileRefused(path, f"has another number of texts than of places of answers in {where}")
    pairs = [{"text": t, "answer_start": s} for t, s in zip(texts, starts, strict=True)]
    context = _text(row, "context", path, where)
    return _question({**row, "answers": pairs}, context, path, where)


def _questions(data: Any, path: Path) -> Iterator[Question]:
    for i, article in enumerate(_value(data, "data", list, path, "the file")):
        at = f"data.{i}"
        for j, paragraph in enumerate(_value(article, "paragraphs", list, path, at)):
            at = f"data.{i}.paragraphs.{j}"
            context = _text(paragraph, "context", path, at)
            for k, qa in enumerate(_value(paragraph, "qas", list, path, at)):
                yield _question(qa, context, path, f"{at}.qas.{k}")


def _question(qa: Any, context: str, path: Path, where: str) -> Question:
    answers = tuple(
        (
            _text(answer, "text", path, f"{where}.answers"),
            int(_value(answer, "answer_start", int, path, f"{where}.answers")),
        )
        for answer in _value(qa, "answers", list, path, where)
    )
    name = qa.get("id")
    if not isinstance(name, str | int):
        raise FileRefused(path, f"has id = {shown(name)} in {where}; it must be text")
    check_text(str(name), path, f"id in {where}")
    return Question(str(name), _text(qa, "question", path, where), context, answers)


_KINDS = {list: "a list", dict: "an object", str: "text", int: "a whole number"}


def _value(data: Any, name: str, kind: type, path: Path, where: str) -> Any:
    """A value of an object.

    Raises:
        FileRefused: If there is none, or none of that kind.
    """
    if not isinstance(data, dict):
        raise FileRefused(path, f"is no SQuAD: {where} is {shown(data)}, not an object")
    if name not in data:
        raise FileRefused(path, f"is no SQuAD: {where} has no {name!r}")
    value = data[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise FileRefused(
            path, f"has {name} = {shown(value)} in {where}; it must be {_KINDS[kind]}"
        )
    return value


def _text(data: Any, name: str, path: Path, where: str) -> str:
    value = str(_value(data, name, str, path, where))
    check_text(value, path, f"{name!r} in {where}")
    return value


def windows(
    tokenizer: Any, questions: Sequence[Question], max_length: int, stride: int
) -> list[Window]:
    """Questions with windows over their passages.

    Args:
        tokenizer: A fast tokenizer of transformers.
        questions: n questions.
        max_length: Tokens in a window, question included.
        stride: Tokens that neighbouring windows of a passage share.

    Raises:
        TaskDataError: See `check_room`.
    """
    check_room(tokenizer, questions, max_length, stride)
    found = []
    for index, q in enumerate(questions):
        encoded = tokenizer(
            q.question.strip(),
            q.context,
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_token_type_ids=True,
        )
        text, first = q.answers[0]
        for i, ids in enumerate(encoded["input_ids"]):
            parts = encoded.sequence_ids(i)
            spans = tuple(
                (int(a), int(b)) if part == 1 else None
                for (a, b), part in zip(encoded["offset_mapping"][i], parts, strict=True)
            )
            start, end = _place(spans, first, first + len(text))
            types = tuple(encoded["token_type_ids"][i])
            found.append(Window(index, tuple(ids), types, spans, start, end))
    return found


def check_room(tokenizer: Any, questions: Sequence[Question], max_length: int, stride: int) -> None:
    """Raise unless every question leaves room for new tokens of its passage in a window.

    Args:
        tokenizer: A fast tokenizer of transformers.
        questions: n questions.
        max_length: Tokens in a window, question included.
        stride: Tokens that neighbouring windows of a passage share.

    Raises:
        TaskDataError: With the tokens that the longest question takes.
    """
    texts = [q.question.strip() for q in questions]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    taken = lengths[longest] + tokenizer.num_special_tokens_to_add(pair=True)
    if max_length - taken <= stride:
        raise TaskDataError(
            f"question {questions[longest].id!r} leaves no room for its passage in {max_length} "
            f"tokens of which {stride} are shared: {taken} are taken. Take more tokens "
            "(--max-length; nasc compile: --finetune-length)"
        )


def _place(spans: Sequence[tuple[int, int] | None], first: int, last: int) -> tuple[int, int]:
    """Tokens that hold the characters first to last; (0, 0) unless all of them are there."""
    inside = [i for i, s in enumerate(spans) if s is not None and s[0] < last and s[1] > first]
    if not inside:
        return 0, 0
    begin, end = spans[inside[0]], spans[inside[-1]]
    if begin is None or end is None or begin[0] > first or end[1] < last:
        return 0, 0
    return inside[0], inside[-1]


def answers(
    questions: Sequence[Question],
    parts: Sequence[Window],
    scores: Sequence[tuple[NDArray[np.floating], NDArray[np.floating]]],
) -> dict[str, str]:
    """The best answer to every question, over all windows of its passage.

    Args:
        questions: n questions.
        parts: Their windows.
        scores: Of every window, (tokens,) of a start and (tokens,) of an end.

    Returns:
        By the question's id; empty where no span is possible.
    """
    best: dict[int, tuple[float, str]] = {}
    for part, (start, end) in zip(parts, scores, strict=True):
        context = questions[part.question].context
        for value, first, last in _pairs(part, start, end):
            if part.question not in best or value > best[part.question][0]:
                a, b = part.spans[first], part.spans[last]
                assert a is not None
                assert b is not None
                best[part.question] = (value, context[a[0] : b[1]])
    return {q.id: best.get(i, (0.0, ""))[1] for i, q in enumerate(questions)}


def _pairs(
    part: Window, start: NDArray[np.floating], end: NDArray[np.floating]
) -> Iterator[tuple[float, int, int]]:
    tokens = [i for i, span in enumerate(part.spans) if span is not None]
    starts = sorted(tokens, key=lambda i: -float(start[i]))[:BEST_STARTS]
    ends = sorted(tokens, key=lambda i: -float(end[i]))[:BEST_STARTS]
    for first in starts:
        for last in ends:
            if first <= last < first + MAX_ANSWER_TOKENS:
                yield float(start[first]) + float(end[last]), first, last


def squad_scores(questions: Sequence[Question], given: Mapping[str, str]) -> dict[str, float]:
    """f1 and exact_match in [0, 1], the official metric.

    Args:
        questions: With their right answers.
        given: Answers by id; a missing one counts as wrong.
    """
    exact, overlap = 0.0, 0.0
    for q in questions:
        answer = given.get(q.id, "")
        exact += max(float(normalize(answer) == normalize(text)) for text, _ in q.answers)
        overlap += max(token_f1(answer, text) for text, _ in q.answers)
    return {"f1": overlap / len(questions), "exact_match": exact / len(questions)}


def normalize(answer: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    kept = "".join(c for c in answer.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def token_f1(answer: str, right: str) -> float:
    """Harmonic mean of precision and recall of an answer's words."""
    words, wanted = normalize(answer).split(), normalize(right).split()
    shared = sum((collections.Counter(words) & collections.Counter(wanted)).values())
    if not shared:
        return 0.0
    return 2 * shared / (len(words) + len(wanted))
