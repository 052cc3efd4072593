"""Lengths out of a histogram or of texts; what is wrong with a file is told with its row."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.context import read_lengths as module
from nasc.context.read_lengths import read_lengths
from nasc.context.settings import Settings
from nasc.errors import CorpusError, UsageError
from nasc.latency.lengths import LengthPart
from nasc.pipelines.profile import profile


class Lengths:
    """What a tokenizer gives: a token a word, and two at the ends, cut to 12."""

    def __init__(self, texts: list[str]) -> None:
        self.lengths = SimpleNamespace(
            tolist=lambda: [min(12, 2 + len(text.split())) for text in texts]
        )


TEACHER: Any = SimpleNamespace(max_length=12, tokenize=Lengths)

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return make


@pytest.mark.parametrize(
    ("name", "head"),
    [("h.csv", "length,count\n"), ("h.csv", "Length, Count\n"), ("h.csv", ""), ("h.csv.gz", "")],
)
def test_a_histogram(write: Write, name: str, head: str) -> None:
    said: list[str] = []
    found = read_lengths(write(name, head + "4,60\n9,0\n10,30\n11, 10\n"), TEACHER, said.append)
    assert found.parts == (LengthPart(4, 60), LengthPart(11, 40))
    assert found.source == f"histogram {name}"
    assert said == [
        "lengths: 100 texts of 6.5 tokens in the mean, priced as 4 tokens 60%, 11 tokens 40% "
        "(6.8 in the mean)"
    ]


def test_what_the_tokenizer_cuts_counts_as_cut(write: Write) -> None:
    said: list[str] = []
    path = write("h.csv", "length,count\n12,5\n300,3\n4000,2\n")
    assert read_lengths(path, TEACHER, said.append).parts == (LengthPart(12, 10),)
    assert said[0].startswith("5 of 10 texts are longer than the 12 tokens that the teacher's")


TEXTS = ["one", "a text of five words", "", "one more"]


@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".csv", ".json", ".tsv", ".txt.gz"])
def test_texts_are_counted_whole(write: Write, kind: str) -> None:
    """A sentence, or a paragraph, is not a text: what comes as one is one."""
    texts = [*TEXTS, "Two sentences. In one text."]
    if kind in (".jsonl", ".json"):
        rows = [{"id": "x", "text": text + "\nand" * (i == 1)} for i, text in enumerate(texts)]
        lines = [json.dumps(row) for row in rows]
        content = "\n".join(lines) if kind == ".jsonl" else f"[{','.join(lines)}]"
    elif kind in (".csv", ".tsv"):
        comma = "," if kind == ".csv" else "\t"
        content = "\n".join([f"id{comma}text", *(f"1{comma}{text}" for text in texts)])
    else:
        content = "\n".join(texts)
    found = read_lengths(write(f"t{kind}", content), TEACHER, lambda text: None)
    lengths = [3, 8 if kind in (".jsonl", ".json") else 7, 4, 7]
    assert found.texts == 4
    assert found.mean_tokens == sum(lengths) / 4
    assert found.longest == max(lengths)
    assert found.source == f"texts t{kind}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("length,count\n4,1\n5\n", "has 1 values in row 3: length,count are 2"),
        ("length,count\n4,1,2\n", "has 3 values in row 2"),
        ("length,count\n0,1\n", "has length '0' in row 2: a whole number from 1 to 1,048,576"),
        ("length,count\n-4,1\n", "has length '-4' in row 2"),
        ("length,count\n4,1e3\n", "has count '1e3' in row 2: a whole number from 0"),
        ("length,count\n4,nan\n", "has count 'nan' in row 2"),
        ("length,count\n4,9999999999999999\n", "has count '9999999999999999' in row 2"),
        ("length,count\n99999999999999999999,1\n", "has length '99999999999999999999' in row 2"),
        ("length,count\n4,=1+1\n", "has count '=1+1' in row 2"),
        ("length,count\n٤,1\n", "has length '٤' in row 2"),
        ("length,count\n4,1\n4,2\n", "has the length 4 again in row 3"),
        ("4,1\n4,2\n", "has the length 4 again in row 2"),
        ("length,count\n", "holds no text. Give a CSV file with the columns length,count"),
        ("length,count\n4,0\n", "holds no text"),
        ("", "holds no text"),
        ("4,1\0\n", "is binary"),
        ("a,b\n1,2\n", "has no column of text"),
    ],
)
def test_what_is_no_histogram_is_told_with_its_row(
    write: Write, content: str, message: str
) -> None:
    path = write("h.csv", content)
    with pytest.raises(CorpusError) as error:
        read_lengths(path, TEACHER, lambda text: None)
    assert str(error.value).startswith(f"lengths file '{path}'")
    assert message in str(error.value)


def test_texts_that_are_none_are_told_with_their_row(write: Write) -> None:
    path = write("t.jsonl", '{"text": "good"}\n{"text": "\\ud800"}\n')
    with pytest.raises(CorpusError, match="holds a lone surrogate or NUL character in row 2"):
        read_lengths(path, TEACHER, lambda text: None)
    with pytest.raises(CorpusError, match=r"lengths file .* cannot be read: No such file.*Give a"):
        read_lengths(path.with_name("missing.txt"), TEACHER, lambda text: None)
    pipe = path.with_name("pipe.csv")
    os.mkfifo(pipe)
    with pytest.raises(CorpusError, match="is no file but a pipe"):
        read_lengths(pipe, TEACHER, lambda text: None)


def test_files_without_end_are_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    with pytest.raises(CorpusError, match="has more than 3 rows: no histogram does"):
        read_lengths(
            write("h.csv", "".join(f"{n},1\n" for n in range(1, 9))), TEACHER, lambda text: None
        )
    monkeypatch.setattr(module, "MAX_COUNTED", 5)
    monkeypatch.setattr(module, "_TOGETHER", 2)
    with pytest.raises(CorpusError, match=r"more than 5 texts. Take a part of them.*shuf -n"):
        read_lengths(write("t.txt", "text\n" * 9), TEACHER, lambda text: None)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"seq_len": 64}, "--lengths h.csv gives a mixture of lengths, --seq-len 64 one"),
        ({"fixed_shape": True}, "--fixed-shape is for one length"),
        ({"batch": 2}, "leave --batch 2 out"),
    ],
)
def test_a_mixture_goes_with_no_single_shape(about: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Settings(lengths=Path("h.csv"), **about)


@pytest.mark.parametrize("about", [{"seq_lens": (8,)}, {"fixed_shape": True}, {"batches": (2,)}])
def test_nor_do_tables(about: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="leave --seq-len, --fixed-shape and --batch out"):
        profile(lengths=Path("h.csv"), **about)


def test_tables_are_measured_at_the_lengths_that_stand_for_all(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    module = "nasc.pipelines.profile"
    monkeypatch.setattr(f"{module}.load_teacher", lambda teacher, **_: TEACHER)
    monkeypatch.setattr(
        f"{module}.measure_tables", lambda *about, **options: asked.update(options) or []
    )
    path = write("h.csv", "length,count\n4,60\n10,30\n11,10\n")
    assert profile(space="minilm-l6", lengths=path, cache=tmp_path / "cache") == []
    assert asked["seq_lens"] == (4, 11)
