"""Text on disk: full rows, every token once an epoch, nothing that is held out."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from supernet_toy import sentences, toy_space

import nasc.supernet.packed
import nasc.utils.files
from nasc.data import Corpus, load_corpus
from nasc.errors import CacheBusy, CheckpointError, CorpusError
from nasc.supernet.packed import PackedBatches, pack, permuted
from nasc.supernet.parallel import Parallel
from nasc.supernet.prepare import prepare
from nasc.supernet.train import TrainConfig
from nasc.teacher import Teacher
from nasc.utils.files import locked
from nasc.utils.progress import Silent


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000, 4097])
def test_an_order_holds_every_place_once(count: int) -> None:
    first, other = (permuted(np.arange(count), count, seed) for seed in (0, 1))
    assert sorted(first.tolist()) == list(range(count))
    if count > 10:
        assert first.tolist() != other.tolist()
        assert abs(np.corrcoef(first, np.arange(count))[0, 1]) < 4 / count**0.5


def test_an_order_of_billions_takes_no_memory() -> None:
    count = 10**11
    places = permuted(np.arange(count - 1000, count), count, 3)
    assert len(set(places.tolist())) == 1000
    assert places.min() >= 0
    assert places.max() < count


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(sentences(300)), encoding="utf-8")
    return path


def packed(source: Path, teacher: Teacher, tmp_path: Path, **other: Any) -> PackedBatches:
    corpus = load_corpus(str(source), seed=0)
    values: dict[str, Any] = {"batch_size": 4, "seed": 0} | other
    return pack(
        (str(source),), corpus, teacher, 16, cache_dir=tmp_path, reporter=Silent(), **values
    )[0]


def test_rows_are_the_text_without_what_is_held_out(
    source: Path, teacher: Teacher, tmp_path: Path
) -> None:
    corpus = load_corpus(str(source), seed=0)
    batches = packed(source, teacher, tmp_path)
    kept = [s for s in sentences(300) if s not in set(corpus.heldout)]
    assert len(kept) == len(corpus.train)
    wanted = [i for row in teacher.tokenize(kept, max_length=40).rows() for i in row[1:-1]]
    flat = batches.tokens.reshape(-1).tolist()
    assert flat == wanted[: len(flat)]
    assert len(wanted) - len(flat) < 14
    batch = batches.at(0)
    assert batch.input_ids.shape == (4, 16)
    assert bool(batch.attention_mask.all())
    cls, sep = teacher.tokenizer.cls_token_id, teacher.tokenizer.sep_token_id
    assert set(batch.input_ids[:, 0].tolist()) == {cls}
    assert set(batch.input_ids[:, -1].tolist()) == {sep}


def test_an_epoch_meets_every_row_once(source: Path, teacher: Teacher, tmp_path: Path) -> None:
    batches = packed(source, teacher, tmp_path)
    rows = len(batches.tokens)
    met = torch.cat([batches.at(step).input_ids for step in range(rows)])  # four epochs
    assert sorted(met[:, 1:-1].tolist()) == sorted(4 * batches.tokens.tolist())
    assert not torch.equal(met[:rows], met[rows : 2 * rows])
    other = packed(source, teacher, tmp_path, seed=1)
    assert not torch.equal(batches.at(0).input_ids, other.at(0).input_ids)


def test_the_file_is_made_once_and_again_for_other_text(
    source: Path, teacher: Teacher, tmp_path: Path
) -> None:
    packed(source, teacher, tmp_path)
    (made,) = tmp_path.glob("tokens/*/tokens.bin")
    before = made.stat().st_mtime_ns
    packed(source, teacher, tmp_path)
    assert made.stat().st_mtime_ns == before
    source.write_text("\n\n".join(sentences(320)), encoding="utf-8")
    packed(source, teacher, tmp_path)
    assert len(list(tmp_path.glob("tokens/*/tokens.bin"))) == 2


def test_of_several_processes_one_packs_and_the_others_wait_without_its_lock(
    source: Path, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []

    def first_packs(self: Parallel) -> None:
        waited.append(self.rank)
        if not self.is_first:
            packed(source, teacher, tmp_path, parallel=Parallel(rank=0, world=2))

    monkeypatch.setattr(Parallel, "wait", first_packs)
    second = packed(source, teacher, tmp_path, parallel=Parallel(rank=1, world=2))
    assert waited == [1, 0]
    assert second.tokens.tolist() == packed(source, teacher, tmp_path).tokens.tolist()
    monkeypatch.setattr(Parallel, "wait", lambda self: None)
    monkeypatch.setattr(nasc.utils.files, "LOCK_TIMEOUT_S", 0.0)
    (folder,) = tmp_path.glob("tokens/*")
    with locked(folder, "these tokens"):
        packed(source, teacher, tmp_path, parallel=Parallel(rank=1, world=2))
        with pytest.raises(CacheBusy):
            packed(source, teacher, tmp_path, parallel=Parallel(rank=0, world=2))


def test_a_download_that_breaks_off_leaves_nothing(
    teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = False

    def rows() -> Iterator[dict[str, str]]:
        for i, sentence in enumerate(sentences(300)):
            if broken and i == 200:
                raise ConnectionError("the network is gone")
            yield {"text": sentence}

    library = SimpleNamespace(load_dataset=lambda *about, **options: rows())
    monkeypatch.setitem(sys.modules, "datasets", library)
    monkeypatch.setattr(nasc.supernet.packed, "CHUNK", 20)
    source = "datasets:some/set"
    corpus = load_corpus(source, seed=0)

    def run() -> PackedBatches:
        about = {"batch_size": 4, "seed": 0, "cache_dir": tmp_path, "reporter": Silent()}
        return pack((source,), corpus, teacher, 16, **about)[0]  # type: ignore[arg-type]

    broken = True
    with pytest.raises(CorpusError, match=r"'some/set' cannot be read \(ConnectionError: the net"):
        run()
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} <= {"lock"}
    broken = False
    assert len(run().tokens) > 10


def test_damage_and_too_little_text_are_told(
    source: Path, teacher: Teacher, tmp_path: Path
) -> None:
    packed(source, teacher, tmp_path)
    (made,) = tmp_path.glob("tokens/*/tokens.bin")
    whole = made.read_bytes()
    for damaged in (whole[:-2], bytes([whole[0] ^ 1]) + whole[1:]):
        made.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged: tokens\.bin is not as it was written"):
            packed(source, teacher, tmp_path)
    (made.with_name("tokens.json")).write_text(json.dumps({"count": 1}))
    with pytest.raises(CheckpointError, match="damaged"):
        packed(source, teacher, tmp_path)
    with pytest.raises(CorpusError, match="less than a row"):
        pack(
            (str(source),),
            Corpus(("a b c",), tuple(sentences(300)), "text", "0"),
            teacher,
            100_000,
            batch_size=4,
            seed=0,
            cache_dir=tmp_path / "other",
            reporter=Silent(),
        )


def test_a_supernet_trains_on_it(source: Path, teacher: Teacher, tmp_path: Path) -> None:
    corpus = load_corpus(str(source), seed=0)
    found = prepare(
        teacher,
        toy_space(teacher, operations=("mha", "ffn"), slots=2),
        corpus,
        TrainConfig(steps=3, batch_size=4),
        seconds=None,
        cache_dir=tmp_path,
        reporter=Silent(),
        sources=(str(source),),
    )
    assert len(found.header["history"]) == 3
