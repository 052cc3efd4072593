import gzip
from pathlib import Path

import numpy as np
import pytest

from nasc.errors import TaskDataError
from nasc.tasks.sts import SentencePair, evaluate_sts, read_sts

HEAD = "index\tgenre\tsentence1\tsentence2\tscore"
TSV = f'{HEAD}\n0\tnews\t"A cat" sat.\tA dog sat.\t2.5\n1\tnews\tIt ran, fast.\tIt ran.\t4.000\n'
PAIRS = [
    SentencePair('"A cat" sat.', "A dog sat.", 2.5),
    SentencePair("It ran, fast.", "It ran.", 4.0),
]


def test_reads_tsv_without_quoting_and_csv_with_it(tmp_path: Path) -> None:
    (tmp_path / "dev.tsv").write_text(TSV)
    assert read_sts(tmp_path / "dev.tsv") == PAIRS
    (tmp_path / "dev.tsv.gz").write_bytes(gzip.compress(("\ufeff" + TSV).encode()))
    assert read_sts(str(tmp_path / "dev.tsv.gz")) == PAIRS
    (tmp_path / "dev.csv").write_text(
        'score,sentence1,sentence2\n2.5,"""A cat"" sat.",A dog sat.\n4,"It ran, fast.",It ran.\n'
    )
    assert read_sts(tmp_path / "dev.csv") == PAIRS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("index\tsentence1\ttext\n", r"holds no examples"),
        ("", "holds no examples"),
        (HEAD + "\n", "holds no examples"),
        ("index\tsentence1\ttext\n0\ta\tb\n", r"no column sentence2, score or label; it holds: in"),
        (HEAD + "\n0\tnews\tone\ttwo\t3\n", "ranks nothing: .* it holds 1 of one score"),
        (HEAD + 3 * "\n0\tnews\tone\ttwo\t3.0", "ranks nothing: .* it holds 3 of one score"),
        (TSV + "2\tnews\tone\ttwo\n", r"line 4: not 5 columns"),
        (TSV + "2\tnews\tone\ttwo\t3\tmore\n", r"line 4: not 5 columns"),
        (TSV + "2\tnews\tone\ttwo\tgood\n", r"line 4: the label 'good' is no number"),
        (TSV + "2\tnews\tone\ttwo\tnan\n", r"line 4: the label 'nan' is no number"),
    ],
)
def test_bad_content_is_one_clear_message(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "dev.tsv"
    path.write_text(content)
    with pytest.raises(TaskDataError, match=message):
        read_sts(path)


def test_bad_files_are_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(TaskDataError, match="no STS-B data at"):
        read_sts(tmp_path / "dev.tsv")
    with pytest.raises(TaskDataError, match=r"\.tsv, \.csv, \.jsonl, .* is needed"):
        read_sts(tmp_path / "dev.parquet")
    (tmp_path / "dev.tsv").mkdir()
    with pytest.raises(TaskDataError, match="is no file but a folder"):
        read_sts(tmp_path / "dev.tsv")
    for name, content in (
        ("plain.tsv.gz", TSV.encode()),
        ("cut.tsv.gz", gzip.compress(TSV.encode(), mtime=0)[:-12]),
        ("binary.tsv", b"\xff\xfe\x00\x01" * 9),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TaskDataError, match=r"is damaged|is in UTF-16"):
            read_sts(tmp_path / name)


def test_score_is_the_rank_correlation_of_cosines() -> None:
    angles = {"a": 0.0, "b": 0.1, "c": 0.8, "d": 2.0}
    calls: list[list[str]] = []

    def encode(sentences: list[str]) -> np.ndarray:
        calls.append(sentences)
        return np.array([[np.cos(angles[s]), np.sin(angles[s])] for s in sentences]) * 7

    pairs = [SentencePair("a", "b", 5), SentencePair("a", "c", 3), SentencePair("a", "d", 0)]
    assert evaluate_sts(encode, pairs) == pytest.approx(1)
    assert calls == [["a", "b", "c", "d"]]
    turned = [SentencePair("a", "b", 0), SentencePair("c", "a", 3), SentencePair("d", "a", 5)]
    assert evaluate_sts(encode, turned) == pytest.approx(-1)
    mixed = [SentencePair("a", "b", 3), SentencePair("a", "c", 5), SentencePair("a", "d", 0)]
    assert evaluate_sts(encode, mixed) == pytest.approx(0.5)


def test_a_broken_model_has_no_score() -> None:
    pairs = [SentencePair("a", "b", 1), SentencePair("a", "c", 2)]
    with pytest.raises(ValueError, match="zero or no numbers"):
        evaluate_sts(lambda s: np.full((len(s), 4), np.nan), pairs)
    with pytest.raises(ValueError, match="3 sentences gave 2 vectors"):
        evaluate_sts(lambda s: np.ones((2, 4)), pairs)
    with pytest.raises(ValueError, match="at least two pairs"):
        evaluate_sts(lambda s: np.ones((2, 4)), pairs[:1])
