"""A prepared supernet: made once, never lost half-way, scored in every kind of space."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped import Stopped
from supernet_toy import random_supernet, sentences, toy_space

from nasc.architecture.space import SearchSpace
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data import MINIMUM_SENTENCES, Corpus, corpus_from_sentences
from nasc.data.heldout import judging_sentences, scored_sentences
from nasc.errors import CheckpointError, NascError
from nasc.evaluation.agreement import compare
from nasc.lowering.onnxruntime import lower
from nasc.pipelines.report import report
from nasc.supernet import prepare as module
from nasc.supernet.candidates import candidates_of
from nasc.supernet.parallel import Parallel
from nasc.supernet.precision_loss import measure_losses
from nasc.supernet.prepare import Prepared, ShrinkPlan, prepare
from nasc.supernet.score_candidates import score_supernet
from nasc.supernet.shrink import ShrinkConfig
from nasc.supernet.train import TrainConfig
from nasc.teacher import Teacher
from nasc.utils.progress import Progress, Silent


class Listener(Silent):
    """Counts steps of the training, and can stop it; sees whether attention may be cuDNN's."""

    def __init__(self, stop: int | None = None) -> None:
        self.steps: list[int] = []
        self.cudnn: set[bool] = set()
        self.stop = stop

    def stage(self, title: str) -> Progress:
        def progress(done: int, total: int, message: str) -> None:
            self.cudnn.add(torch.backends.cuda.cudnn_sdp_enabled())
            if message.startswith("block loss"):
                self.steps.append(done)
                if done == self.stop:
                    raise Stopped

        return progress


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_from_sentences(sentences(80), description="made up", seed=0)


@pytest.fixture
def space(teacher: Teacher) -> SearchSpace:
    return toy_space(
        teacher, slots=2, hidden_sizes=(16,), operations=("mha",), precisions=("fp32",)
    )


@pytest.fixture
def make(
    teacher: Teacher, corpus: Corpus, space: SearchSpace, tmp_path: Path
) -> Callable[..., Prepared]:
    def run(reporter: Listener, teacher: Teacher = teacher) -> Prepared:
        config = TrainConfig(steps=5, batch_size=8)
        return prepare(
            teacher, space, corpus, config, seconds=None, cache_dir=tmp_path, reporter=reporter
        )

    return run


def test_a_supernet_is_trained_once_for_a_teacher(
    make: Callable[..., Prepared], teacher: Teacher
) -> None:
    first, again, other = Listener(), Listener(), Listener()
    found = make(first)
    assert first.steps == [1, 2, 3, 4, 5]
    assert first.cudnn == {False}  # of the scoring too
    assert make(again).path == found.path
    assert again.steps == []
    shorter = dataclasses.replace(teacher, max_length=teacher.max_length - 1)
    assert make(other, shorter).path != found.path


def test_a_supernet_from_scratch_did_not_see_the_teacher_s_weights(
    teacher: Teacher, corpus: Corpus, space: SearchSpace, tmp_path: Path
) -> None:
    starts = {}
    for start in ("teacher", "scratch"):
        config = TrainConfig(steps=0, batch_size=8, start=start)
        found = prepare(
            teacher, space, corpus, config, seconds=None, cache_dir=tmp_path, reporter=Silent()
        )
        assert found.header["config"]["start"] == start
        starts[start] = found.supernet.blocks.get_parameter("0.operations.0/16/mha.q_bias")
    assert starts["teacher"].abs().max() > 0
    assert starts["scratch"].abs().max() == 0


def test_the_state_goes_only_after_the_supernet_is_on_disk(
    make: Callable[..., Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*about: object, **options: object) -> Any:
        raise CheckpointError("No space left on device")

    with pytest.raises(Stopped):
        make(Listener(stop=3))
    (state,) = tmp_path.glob("supernets/*/state.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_supernet", full)
        with pytest.raises(CheckpointError, match="No space"):
            make(Listener())
    assert state.exists()
    again = Listener()
    make(again)
    assert again.steps == [4, 5]
    assert not state.exists()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_supernet_is_prepared_on_a_gpu(teacher: Teacher, corpus: Corpus, tmp_path: Path) -> None:
    """Trained under a budget, shrunk, scored in both precisions, and back on the processor."""
    space = toy_space(teacher, slots=2, operations=("mha", "ffn"))
    shrink = ShrinkConfig(epoch_steps=1, warm_epochs=0, bins=2, sample=4, keep=2)
    found = prepare(
        teacher,
        space,
        corpus,
        TrainConfig(steps=0, batch_size=8),
        seconds=0.5,
        cache_dir=tmp_path,
        reporter=Silent(),
        shrinking=ShrinkPlan(shrink, candidates_of(space, lambda layer: layer.hidden_in, 2)),
        parallel=Parallel(device=torch.device("cuda")),
    )
    assert found.scores.precision_loss.keys() == {"fp32", "int8"}
    assert found.supernet.teacher.device.type == "cpu"
    assert found.header["shrinking"]["history"]


def test_a_supernet_says_that_it_was_shrunk_by_a_table_of_another_machine(
    teacher: Teacher, corpus: Corpus, space: SearchSpace, tmp_path: Path
) -> None:
    shrink = ShrinkConfig(epoch_steps=1, warm_epochs=0, bins=2, sample=4, keep=2)
    candidates = candidates_of(space, lambda layer: 1.0, 2)
    found = [
        prepare(
            teacher,
            space,
            corpus,
            TrainConfig(steps=1, batch_size=8),
            seconds=None,
            cache_dir=tmp_path,
            reporter=Silent(),
            shrinking=ShrinkPlan(shrink, candidates, note),
        )
        for note in (None, "of another machine")
    ]
    assert found[0].path != found[1].path
    assert "latency_table" not in found[0].header["shrinking"]
    assert report(found[0].path).latency_table is None
    told = report(found[1].path)
    assert told.latency_table == "of another machine"
    assert told.rows()[-1] == ("note", "of another machine")
    context = RunContext(Settings(cache=tmp_path))
    assert context.tables.notes == ()
    context.supernet.prepared = found[1]
    assert context.tables.notes == ("of another machine",)


@pytest.mark.parametrize(("held_out", "sentences"), [(2000, 320), (200, 100)])
def test_shrinking_takes_losses_on_as_many_batches_as_it_says(
    teacher: Teacher,
    space: SearchSpace,
    monkeypatch: pytest.MonkeyPatch,
    held_out: int,
    sentences: int,
) -> None:
    given: list[tuple[str, ...]] = []
    monkeypatch.setattr(module, "scorer_for", lambda supernet, text: given.append(text))
    text = tuple(f"number {i}" for i in range(held_out))
    plan = ShrinkPlan(ShrinkConfig(dev_batches=5), candidates_of(space, lambda layer: 1.0, 1))
    plan.shrinker(random_supernet(teacher), Corpus(("a",), text, "made up", "0"), 100)
    assert given == [text[:sentences]]


# What a precision costs


@pytest.mark.parametrize("precisions", [("int8",), ("fp32", "int8")])
def test_a_space_without_kept_blocks_is_scored(
    teacher: Teacher, corpus: Corpus, tmp_path: Path, precisions: tuple[str, ...]
) -> None:
    options = {"slots": 2, "hidden_sizes": (16, 32), "operations": ("mha", "ffn")}
    supernet = random_supernet(teacher, keep=False, precisions=precisions, **options)
    scores = score_supernet(supernet, {}, corpus, tmp_path / "scores.json", Silent())
    assert set(scores.precision_loss) == set(precisions)
    assert not any(block.kept for block in scores.blocks[0])
    assert 0 < abs(scores.precision_loss["int8"]) < 0.1


def test_the_teacher_as_it_ships_is_the_measure(teacher: Teacher, corpus: Corpus) -> None:
    """Of the all-kept network fp32 is the teacher itself: int8 can only add."""
    supernet = random_supernet(teacher, slots=2, operations=("mha", "ffn"))
    rows = teacher.tokenize(corpus.heldout).rows()
    found = measure_losses(supernet, [supernet.space.teacher.blocks], rows, ["fp32", "int8"], lower)
    assert found["fp32"] == 0
    assert 0 < found["int8"] < 0.1


def test_a_full_temporary_folder_is_a_message(teacher: Teacher, corpus: Corpus) -> None:
    def full(*about: object, **options: object) -> Any:
        raise OSError(28, "No space left on device")

    supernet = random_supernet(teacher, slots=2, operations=("mha", "ffn"))
    rows = teacher.tokenize(corpus.heldout).rows()
    with pytest.raises(NascError, match=r"temporary folder: No space left on device.*TMPDIR=DIR"):
        measure_losses(supernet, [supernet.space.teacher.blocks], rows, ["fp32", "int8"], full)


# Who chooses and who judges


@pytest.mark.parametrize("count", [MINIMUM_SENTENCES, MINIMUM_SENTENCES + 1, 100, 3000])
def test_both_halves_of_the_held_out_text_can_be_compared(count: int) -> None:
    text = [f"Sentence number {i} says something of its own." for i in range(count)]
    corpus = corpus_from_sentences(text, description="made up", seed=0)
    choosing, judging = scored_sentences(corpus), judging_sentences(corpus, 1000)
    assert not set(choosing) & set(judging)
    for half in (choosing, judging):
        vectors = np.random.default_rng(0).normal(size=(len(half), 8))
        assert compare(vectors, vectors).similarity_spearman == pytest.approx(1)
