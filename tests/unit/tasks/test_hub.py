"""Labelled examples from the datasets library, which is made up: it stands for the network."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.errors import TaskDataError
from nasc.tasks.glue import TASKS, read_examples
from nasc.tasks.squad import read_squad

ROWS = {
    "sst2": [{"sentence": "a cat", "label": 1, "idx": 0}, {"sentence": "a dog", "label": 0}],
    "mnli": [{"premise": "a", "hypothesis": "b", "label": 2}],
    "": [
        {
            "id": "1",
            "question": "what sat",
            "context": "the cat sat",
            "answers": {"text": ["cat"], "answer_start": [4]},
        }
    ],
}


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stands for the network; remembers what was asked."""
    asked: list[tuple[Any, ...]] = []

    def load_dataset(
        name: str, config: str | None, *, split: str, streaming: bool
    ) -> Iterator[dict[str, Any]]:
        asked.append((name, config, split, streaming))
        if name == "no/such":
            raise FileNotFoundError("nothing there")
        return iter(ROWS[config or ""])

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return asked


def test_a_part_of_a_data_set_is_read(library: list[tuple[Any, ...]]) -> None:
    found = read_examples(TASKS["sst-2"], Path("datasets:nyu-mll/glue:sst2:train"))
    assert found.texts == (("a cat",), ("a dog",))
    assert found.labels.tolist() == [1, 0]
    found = read_examples(TASKS["mnli"], "datasets:nyu-mll/glue:mnli:validation_matched")
    assert found.labels.tolist() == [TASKS["mnli"].labels.index("contradiction")]
    (question,) = read_squad("datasets:rajpurkar/squad::validation")
    assert question.answers == (("cat", 4),)
    assert library == [
        ("nyu-mll/glue", "sst2", "train", True),
        ("nyu-mll/glue", "mnli", "validation_matched", True),
        ("rajpurkar/squad", None, "validation", True),
    ]


def test_a_download_that_breaks_off_is_one_message(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    def load_dataset(name: str, config: str | None, **other: object) -> Iterator[dict[str, Any]]:
        yield ROWS[config or ""][0]
        raise ConnectionError("the network\n is gone")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    reason = r"cannot be read \(ConnectionError: the network is gone\)\. Check its name and the net"
    with pytest.raises(TaskDataError, match=rf"SST-2 data 'datasets:some/set:sst2:train' {reason}"):
        read_examples(TASKS["sst-2"], "datasets:some/set:sst2:train")
    with pytest.raises(TaskDataError, match=rf"SQuAD data 'datasets:some/set::train' {reason}"):
        read_squad("datasets:some/set::train")
    assert not [p for p in own_cache.rglob("*") if p.is_file()]


def test_bad_ids_are_one_message(
    library: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in ("datasets:", "datasets:glue", "datasets:glue:sst2"):
        with pytest.raises(TaskDataError, match="names no part"):
            read_examples(TASKS["sst-2"], source)
    for source in ("a b::train", "../x::train", "a/b/c::train", "a:b/c:train", "-a::train", "é::x"):
        with pytest.raises(TaskDataError, match=r"is no id of a data set|names no configuration"):
            read_examples(TASKS["sst-2"], f"datasets:{source}")
    for source in ("a::train:more", "a:b:train[:10%]", "a::tr ain", f"a::{500 * 'x'}"):
        with pytest.raises(TaskDataError, match=r"names no part of a data set by '"):
            read_examples(TASKS["sst-2"], f"datasets:{source}")
    assert not library
    with pytest.raises(TaskDataError, match=r"cannot be read \(FileNotFoundError: nothing there"):
        read_examples(TASKS["sst-2"], "datasets:no/such::train")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TaskDataError, match=r"pip install 'nasc\[datasets\]'"):
        read_examples(TASKS["sst-2"], "datasets:nyu-mll/glue:sst2:train")
