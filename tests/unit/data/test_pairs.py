"""Pairs of texts from files: what is read, what is held out, what is refused."""

import gzip
import json
from pathlib import Path

import pytest

from nasc.data.pairs import load_pairs
from nasc.data.texts import columns
from nasc.errors import CorpusError

PAIRS = [(f"query {q}", f"passage {q} {p}") for q in range(40) for p in range(4)]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(tmp_path / "pairs.tsv", "".join(f"{a}\t{b}\n" for a, b in PAIRS))


def test_all_forms_are_read_alike(tmp_path: Path, table: Path) -> None:
    lists = write(tmp_path / "a.jsonl", "\n".join(json.dumps(pair) for pair in PAIRS))
    objects = "\n".join(json.dumps({"query": a, "passage": b}) for a, b in reversed(PAIRS))
    named = write(tmp_path / "b.jsonl", objects + "\n\n")
    packed = tmp_path / "c.tsv.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    found = [load_pairs(path, seed=0) for path in (table, lists, named, packed)]
    assert len({one.sha256 for one in found}) == 1
    assert len({one.train for one in found}) == 1
    assert found[0].description == "pairs.tsv: 160 pairs of 40 first texts"


def test_whole_queries_are_held_out(table: Path) -> None:
    found = load_pairs(table, seed=1)
    assert sorted(found.train + found.heldout) == sorted(PAIRS)
    train, held = ({first for first, _ in part} for part in (found.train, found.heldout))
    assert not train & held
    assert len(found.heldout) == 40
    assert [first for first, _ in found.heldout][::4] == [
        first for first, _ in found.heldout[3::4]
    ]  # pairs of one query stand together
    assert load_pairs(table, seed=2).heldout == found.heldout
    assert load_pairs(table, seed=1, most=7).train == found.train[:7]


def test_no_query_both_chooses_and_judges(tmp_path: Path) -> None:
    """However many passages it has; and not one query alone judges."""
    text = "".join(f"query {q}\tpassage {q} {p}\n" for q in range(40) for p in range(20 + 4 * q))
    held = load_pairs(write(tmp_path / "a.tsv", text), seed=0).heldout
    half = len(held) // 2
    choosing, judging = ({first for first, _ in part} for part in (held[:half], held[half:]))
    assert not choosing & judging
    assert min(len(choosing), len(judging)) >= 4
    first = {q for q, _ in held[:64]}
    assert len(first) >= 4  # those of one do not fill what is looked at


def test_objects_have_their_texts_in_one_order(tmp_path: Path) -> None:
    lines = [json.dumps({"query": a, "passage": b}) for a, b in PAIRS]
    lines[70] = json.dumps({"passage": "p", "query": "q"})
    with pytest.raises(CorpusError, match=r"line 71 has the keys .*passage.*query.*one order"):
        load_pairs(write(tmp_path / "a.jsonl", "\n".join(lines)), seed=0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "one\ttwo\tthree\n", r"line 1 holds \[.*\]; each line is a pair of texts"),
        ("a.tsv", "one\ttwo\n\nalone\n", "line 3 holds"),
        ("a.tsv", "one\t \n", "line 1 holds .*, which is no text of 1 to"),
        ("a.jsonl", '["one", 2]\n', "line 1 holds"),
        ("a.jsonl", '"one"\n', "line 1 holds"),
        ("a.jsonl", '{"a": "b", "c": "d", "e": "f"}\n', "line 1 holds"),
        ("a.jsonl", '["\\ud800", "b"]\n', "which is no text"),
        ("a.jsonl", "one\ttwo\n", r"a\.jsonl' "),
        ("a.tsv", "one\ttwo\n" * 30, "1 different pairs of 1 different first texts; at least 24"),
        ("a.tsv", "".join(f"q\t{i}\n" for i in range(30)), "at least 24 of 32 are needed"),
        (
            "a.tsv",
            "".join(f"a{i}\tb\n" for i in range(31)) + "".join(f"q7\t{i}\n" for i in range(900)),
            "most of its pairs are of one first text",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(CorpusError, match=rf"--pairs '.*{name}'.*{message}|{message}"):
        load_pairs(write(tmp_path / name, text), seed=0)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"--pairs '.*none\.tsv' No such file"):
        load_pairs(tmp_path / "none.tsv", seed=0)


def test_texts_and_pairs_do_not_mix() -> None:
    assert columns(["a", "b"]) == (["a", "b"], None)
    assert columns([("a", "b"), ("c", "d")]) == (["a", "c"], ["b", "d"])
    with pytest.raises(ValueError, match="apart"):
        columns(["a", ("b", "c")])
