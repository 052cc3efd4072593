"""GLUE's files as published, their labels and metrics."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from nasc.data import records, streams
from nasc.errors import TaskDataError, UsageError
from nasc.tasks import tables
from nasc.tasks.data import read_task, task_files
from nasc.tasks.glue import TASKS, Examples, find_task, read_examples
from nasc.tasks.metrics import scores

PAIR = "sentence1\tsentence2\tlabel\n"
FILES = {
    "cola": (
        "gj04\t1\t\tThey sat.\ngj04\t0\t*\tThey sits.\n",
        [("They sat.",), ("They sits.",)],
        [1, 0],
    ),
    "sst-2": (
        'sentence\tlabel\na "good" film\t1\nbad\t0\n',
        [('a "good" film',), ("bad",)],
        [1, 0],
    ),
    "mrpc": (
        "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tHe ran.\tHe did run.\n",
        [("He ran.", "He did run.")],
        [1],
    ),
    "sts-b": (
        "index\tgenre\tsentence1\tsentence2\tscore\n0\tnews\tA.\tB.\t2.5\n",
        [("A.", "B.")],
        [2.5],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWhy?\tHow?\t0\n",
        [("Why?", "How?")],
        [0],
    ),
    "mnli": (
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\tP.\tH.\tneutral\tcontradiction\n",
        [("P.", "H.")],
        [2],
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tnot_entailment\n",
        [("Who?", "He.")],
        [1],
    ),
    "rte": ("index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\tentailment\n", [("A.", "B.")], [0]),
    "wnli": ("index\tsentence1\tsentence2\tlabel\n0\tA.\tB.\t1\n", [("A.", "B.")], [1]),
}


def test_a_part_of_a_file_is_spread_over_it(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text("sentence\tlabel\n" + "".join(f"row {i}\t0\n" for i in range(10)))
    seen: list[str] = []

    class Reader:
        def example_rows(self, examples: Examples, max_length: int) -> list[object]:
            seen.extend(text for (text,) in examples.texts)
            return []

    for most, wanted in ((4, [0, 2, 5, 7]), (30, range(10)), (None, range(10))):
        seen.clear()
        found = read_task("sst-2", path, most)
        found.rows(Reader(), 8)  # type: ignore[arg-type]
        assert seen == [f"row {i}" for i in wanted]
        assert found.count == len(wanted)


@pytest.mark.parametrize("name", TASKS)
def test_published_files_are_read(name: str, tmp_path: Path) -> None:
    content, texts, labels = FILES[name]
    (tmp_path / "dev.tsv").write_text(content, encoding="utf-8")
    (tmp_path / "dev.tsv.gz").write_bytes(gzip.compress(content.encode()))
    for path in (tmp_path / "dev.tsv", tmp_path / "dev.tsv.gz"):
        found = read_examples(find_task(name), path)
        assert list(found.texts) == texts
        assert found.labels.tolist() == labels


def test_mrpc_as_microsoft_publishes_it_is_read(tmp_path: Path) -> None:
    content, texts, labels = FILES["mrpc"]
    path = tmp_path / "msr_paraphrase_train.txt"
    path.write_text(content.replace("ran.", 'ran "far.'), encoding="utf-8")
    found = read_examples(TASKS["mrpc"], path)
    assert found.texts == (('He ran "far.', texts[0][1]),)
    assert found.labels.tolist() == labels
    (tmp_path / "msr_paraphrase_test.txt").write_text(content, encoding="utf-8")
    assert task_files("mrpc", tmp_path) == (path, tmp_path / "msr_paraphrase_test.txt")


def test_what_glue_holds_out_of_mrpc_is_not_learnt(tmp_path: Path) -> None:
    head, row = FILES["mrpc"][0].splitlines(keepends=True)
    train, dev = tmp_path / "msr_paraphrase_train.txt", tmp_path / "dev.tsv"
    train.write_text(head + row + row.replace("He ", "She "), encoding="utf-8")
    dev.write_text(head + row, encoding="utf-8")
    said: list[str] = []
    found = read_task("mrpc", train, dev=dev, say=said.append)
    assert found.count == 1
    assert said == ["1 training examples stand in the dev file too: left out"]
    assert read_task("mrpc", train).count == 2


@pytest.mark.parametrize("bad", ["12\t3\t4\tWhy not", "1\t2\t3\tA?\tB?\t0\t0"])
def test_few_rows_of_a_wrong_number_of_columns_are_skipped(bad: str, tmp_path: Path) -> None:
    head, row = FILES["qqp"][0].splitlines()
    path, said = tmp_path / "train.tsv", []
    path.write_text("\n".join([head, *[row] * 150, bad, *[row] * 49]) + "\n", encoding="utf-8")
    found = read_examples(TASKS["qqp"], path, said.append)
    assert found.texts == (("Why?", "How?"),) * 199
    assert said == [f"1 rows of '{path}' were skipped: wrong number of columns"]
    path.write_text("\n".join([head, *[row] * 150, *[bad] * 2]) + "\n", encoding="utf-8")
    with pytest.raises(TaskDataError, match=r"line 152: not 6 columns .* 2 of 152 rows, up to 1%"):
        read_examples(TASKS["qqp"], path, said.append)
    assert len(said) == 1


def test_json_lines_and_files_with_a_head_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text(
        '{"premise": "P.", "hypothesis": "H.", "label": "neutral"}\n\n'
        '{"premise": "Q.", "hypothesis": "I.", "label": 0}\n'
    )
    found = read_examples(TASKS["mnli"], tmp_path / "dev.jsonl")
    assert list(found.texts) == [("P.", "H."), ("Q.", "I.")]
    assert found.labels.tolist() == [1, 0]
    (tmp_path / "cola.csv").write_text("sentence,label\nThey sat.,1\n")
    assert list(read_examples(TASKS["cola"], tmp_path / "cola.csv").texts) == [("They sat.",)]


@pytest.mark.parametrize(
    ("task", "content", "message"),
    [
        (
            "rte",
            "index\tsentence1\tlabel\n0\ta\tentailment\n",
            "RTE data .* has no column sentence2",
        ),
        (
            "rte",
            "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n",
            "line 2: unknown label 'maybe'",
        ),
        ("rte", "index\tsentence1\tsentence2\tlabel\n", "RTE data .* holds no examples"),
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\ta\n", "line 2: not 4 columns"),
        ("sts-b", "sentence1\tsentence2\tscore\na\tb\tgood\n", "the label 'good' is no number"),
        ("mrpc", "Quality\t#1 String\n1\ta\n", "no column #2 String or sentence2"),
    ],
)
def test_bad_files_are_one_clear_message(
    task: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "dev.tsv").write_text(content)
    with pytest.raises(TaskDataError, match=message):
        read_examples(TASKS[task], tmp_path / "dev.tsv")


@pytest.mark.parametrize(("line", "message"), [("[1]", "no object"), ("{", "no JSON")])
def test_bad_json_is_named_by_its_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text("\n" + line)
    with pytest.raises(TaskDataError, match=f"line 2: {message}"):
        read_examples(TASKS["mnli"], tmp_path / "dev.jsonl")


@pytest.mark.parametrize("second", ['{"sentence": "b"}', '{"sentence": null, "label": 1}'])
def test_json_lines_that_lack_a_value_are_named(second: str, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"sentence": "a", "label": 1}\n' + second + "\n", encoding="utf-8")
    with pytest.raises(TaskDataError, match=r"line 2: no value of (label|sentence)"):
        read_examples(TASKS["sst-2"], path)


def test_an_unknown_task_names_those_known() -> None:
    with pytest.raises(UsageError, match="unknown task 'sst'; known: cola, sst-2"):
        find_task("sst")
    assert find_task("SST-2").name == "sst-2"


def test_metrics_are_those_of_the_field() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 50)
    outputs = rng.standard_normal((50, 2))
    texts = tuple((str(i),) for i in range(50))
    guesses = outputs.argmax(1)
    found = scores(TASKS["mrpc"], outputs, Examples(TASKS["mrpc"], texts, labels))
    assert list(found) == ["accuracy", "f1"]
    assert found["accuracy"] == pytest.approx(np.mean(guesses == labels))
    assert found["f1"] == pytest.approx(f1_score(labels, guesses))
    found = scores(TASKS["cola"], outputs, Examples(TASKS["cola"], texts, labels))
    assert found["matthews"] == pytest.approx(matthews_corrcoef(labels, guesses))
    numbers = rng.random(50)
    found = scores(TASKS["sts-b"], numbers[:, None] ** 3, Examples(TASKS["sts-b"], texts, numbers))
    assert found["spearman"] == pytest.approx(1)
    assert 0.8 < found["pearson"] < 1


def test_a_constant_answer_scores_nothing() -> None:
    labels = np.array([0, 1, 1, 0])
    texts = tuple((str(i),) for i in range(4))
    same = np.tile([1.0, 0.0], (4, 1))
    assert scores(TASKS["cola"], same, Examples(TASKS["cola"], texts, labels))["matthews"] == 0
    found = scores(TASKS["mrpc"], same, Examples(TASKS["mrpc"], texts, labels))
    assert found == {"accuracy": 0.5, "f1": 0.0}
    with pytest.raises(ValueError, match="outputs of shape"):
        scores(TASKS["cola"], same[:3], Examples(TASKS["cola"], texts, labels))


# ------------------------------------------------------------------ files that are none


@pytest.mark.timeout(20)
def test_only_regular_files_of_tasks_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(TaskDataError, match=r"SST-2 data '.*pipe\.tsv' is no file but a pipe"):
        read_examples(TASKS["sst-2"], tmp_path / "pipe.tsv")
    (tmp_path / "zero.jsonl").symlink_to("/dev/zero")
    with pytest.raises(TaskDataError, match=r"zero\.jsonl' is no file but a device"):
        read_examples(TASKS["sst-2"], tmp_path / "zero.jsonl")
    with pytest.raises(TaskDataError, match=r"no path holds a NUL character"):
        read_examples(TASKS["sst-2"], "a\0.tsv")


def test_task_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head, row = b"sentence\tlabel\n", b"a film\t1\n"
    path = tmp_path / "train.tsv.gz"
    path.write_bytes(gzip.compress(head + row * 20_000))
    monkeypatch.setattr(tables, "MAX_ROWS", 10_000)
    with pytest.raises(TaskDataError, match=r"has more than the 10,000 rows that are read"):
        read_examples(TASKS["sst-2"], path)
    path.write_bytes(gzip.compress(head + b"a film\n" * 20_000))
    with pytest.raises(TaskDataError, match=r"line 2: not 2 columns"):
        read_examples(TASKS["sst-2"], path)
    monkeypatch.setattr(tables, "MAX_BYTES", 10_000)
    with pytest.raises(TaskDataError, match=r"holds more than the 10,000 bytes that are read"):
        read_examples(TASKS["sst-2"], path)
    monkeypatch.undo()
    monkeypatch.setattr(streams, "MAX_LINE", 1 << 20)
    path.write_bytes(gzip.compress(head + b"a" * (3 << 20), 1))
    with pytest.raises(TaskDataError, match=r"line 2 holds more than 1,048,576 bytes"):
        read_examples(TASKS["sst-2"], path)


def test_rows_of_a_task_are_bounded_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["sentence", "label", *(f"c{i}" for i in range(500))]
    values = ["a film", "1", *([""] * 500)]
    row = json.dumps(dict(zip(names, values, strict=True)))
    for name, text in (
        ("train.tsv", "\t".join(names) + "\n" + ("\t".join(values) + "\n") * 100),
        ("train.jsonl", (row + "\n") * 100),
    ):
        (tmp_path / name).write_text(text)
        with monkeypatch.context() as patch:
            patch.setattr(tables, "MAX_MEMORY", 1_000_000)
            with pytest.raises(TaskDataError, match=r"more than 1,000,000 bytes of memory up to "):
                read_examples(TASKS["sst-2"], tmp_path / name)
        assert len(read_examples(TASKS["sst-2"], tmp_path / name).texts) == 100


def test_a_sparse_task_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\n" + "a film\t1\n" * 10_000)
    os.truncate(tmp_path / "train.tsv", 10 << 30)
    with pytest.raises(TaskDataError, match=r"line 10,002 holds more than 33,554,432 bytes"):
        read_examples(TASKS["sst-2"], tmp_path / "train.tsv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            r'{"sentence": "bad \ud83d", "label": 1}',
            r"lone surrogate .* 'sentence' of row 2",
        ),
        (r'{"sentence": "bad \u0000", "label": 1}', r"NUL character in column 'sentence' of row 2"),
        (f'{{"sentence": "a", "label": {5000 * "9"}}}', r"line 2: no JSON: a number of 5,000 dig"),
        (f'{{"sentence": "a", "label": {100_000 * "["}', r"nested too deeply in line 2"),
        ('{"sentence": ["a"], "label": 1}', r"line 2: no value of sentence"),
    ],
)
def test_bad_values_are_named_by_file_and_row(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"sentence": "a", "label": 1}\n' + line + "\n")
    with pytest.raises(TaskDataError, match=rf"SST-2 data '.*train\.jsonl'.*{message}"):
        read_examples(TASKS["sst-2"], path)


def test_half_characters_that_belong_together_are_one(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"sentence": "good \\ud83d\\udc4d", "label": 1}\n')
    assert read_examples(TASKS["sst-2"], path).texts == (("good 👍",),)


def test_numbers_of_any_length_are_shown_short(tmp_path: Path) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text("sentence1\tsentence2\tscore\na\tb\t" + 5000 * "9" + "\n")
    with pytest.raises(TaskDataError, match=r"the label '9{70,80}\.\.\. is no number"):
        read_examples(TASKS["sts-b"], path)


@pytest.mark.parametrize("name", ["train.tsv", "train.csv"])
def test_fields_of_task_files_may_be_long(name: str, tmp_path: Path) -> None:
    long, between = "so it goes " * 20_000, "," if name.endswith("csv") else "\t"
    (tmp_path / name).write_text(f"sentence{between}label\n{long}{between}1\n")
    assert read_examples(TASKS["sst-2"], tmp_path / name).texts == ((long,),)


def test_an_open_quotation_mark_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ROW", 1 << 16)
    path = tmp_path / "train.csv"
    path.write_text('sentence,label\n"a film,1\n' + "a film,1\n" * 20_000)
    with pytest.raises(TaskDataError, match=r"row that line 7,\d+ belongs to .*may not be closed"):
        read_examples(TASKS["sst-2"], path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Grüße\t1\n".encode("latin-1"), r"byte 0xfc in line 2\).* iconv -f LATIN1"),
        ("sentence\tlabel\nGrüße\t1\n".encode("utf-16"), r"UTF-16, not UTF-8\. Convert it: iconv"),
    ],
)
def test_task_files_in_other_encodings_have_a_hint(
    content: bytes, message: str, tmp_path: Path
) -> None:
    head = b"" if content.startswith(b"\xff") else b"sentence\tlabel\n"
    (tmp_path / "train.tsv").write_bytes(head + content)
    with pytest.raises(TaskDataError, match=message):
        read_examples(TASKS["sst-2"], tmp_path / "train.tsv")


def test_task_files_of_any_name_are_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tsv")
    with open(path, "w") as file:
        file.write("sentence\tlabel\na film\t1\n")
    assert read_examples(TASKS["sst-2"], path).texts == (("a film",),)
