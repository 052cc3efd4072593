"""Supernets small enough to ship: nearly the same weights, only those that are left, scored."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from supernet_toy import random_supernet, sentences, state, toy_space

from nasc import api
from nasc.architecture.heads import Pooling
from nasc.architecture.space import Architecture, Block
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data import Corpus, corpus_from_sentences
from nasc.errors import CheckpointError, UsageError
from nasc.pipelines.distill import _parsed
from nasc.supernet import checkpoint, shipped
from nasc.supernet.checkpoint import load_supernet, save_supernet
from nasc.supernet.compact import compressed, expanded
from nasc.supernet.prepare import Prepared, largest_change, load_prepared, save_compact
from nasc.supernet.score_candidates import score_supernet
from nasc.supernet.shipped import shipped_supernet
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher
from nasc.utils.progress import Silent

WIDE, NARROW = Block(32, ("mha", "ffn")), Block(16, ("ffn",))
LEFT = {
    "left": [
        [{"block": str(WIDE)}, {"block": "keep"}],
        [{"block": str(NARROW)}, {"block": "skip"}],
    ]
}


@pytest.fixture
def supernet(teacher: Teacher) -> Supernet:
    found = random_supernet(teacher, operations=("mha", "ffn"), precisions=("fp32",))
    found.blocks[1].from_end = True
    return found


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_from_sentences(sentences(80), description="made up", seed=0)


def test_a_weight_is_off_by_half_a_scale_at_most() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn((5, 40), generator=generator) * torch.tensor([[1e-3], [1], [50], [0], [1]])
    stored = compressed({"a.weight": rows, "a.bias": rows[:, 0]})
    assert {name: value.dtype for name, value in stored.items()} == {
        "a.weight": torch.int8,
        "a.weight.scale": torch.float32,
        "a.bias": torch.float16,
    }
    found = expanded(stored)
    assert set(found) == {"a.weight", "a.bias"}
    half = rows.abs().amax(1, keepdim=True) / 254
    assert bool(((found["a.weight"] - rows).abs() <= half * (1 + 1e-4)).all())
    assert found["a.weight"].dtype == torch.float32
    torch.testing.assert_close(found["a.bias"], rows[:, 0], rtol=1e-3, atol=1e-6)


def test_a_compact_file_holds_what_is_left_and_no_more(
    supernet: Supernet, teacher: Teacher, tmp_path: Path
) -> None:
    path, whole = tmp_path / "compact.safetensors", tmp_path / "whole.safetensors"
    save_supernet(path, supernet, {"shrinking": LEFT}, compact=True)
    save_supernet(whole, supernet, {"shrinking": LEFT})
    assert path.stat().st_size < whole.stat().st_size / 8
    found, _ = load_supernet(path, teacher)
    original = state(supernet)
    kept = state(found)
    assert {name.rpartition(".")[0] for name in kept} == {
        "0.operations.0/32/mha",
        "0.operations.1/32/ffn",
        "1.operations.3/16/ffn",  # blocks shorter than the slots use the last of them here
        "1.maps_in.16",
        "1.maps_out.16",
    }
    for name, value in kept.items():
        torch.testing.assert_close(value, original[name], rtol=0, atol=0.02)
    left = found.extract(Architecture((WIDE, NARROW)))
    assert left.params == supernet.extract(Architecture((WIDE, NARROW))).params
    with pytest.raises(UsageError, match=r"holds no weights for '16: F \| 16: F @ fp32'.*report"):
        found.extract(Architecture((NARROW, NARROW)))


def test_without_shrinking_a_compact_file_holds_everything(
    supernet: Supernet, teacher: Teacher, tmp_path: Path
) -> None:
    path = tmp_path / "compact.safetensors"
    save_supernet(path, supernet, {}, compact=True)
    assert set(state(load_supernet(path, teacher)[0])) == set(state(supernet))


def test_a_compact_file_without_its_scales_is_a_message(
    supernet: Supernet, teacher: Teacher, tmp_path: Path
) -> None:
    path = tmp_path / "compact.safetensors"
    save_supernet(path, supernet, {}, compact=True)
    found = checkpoint.read(path)
    few = {name: value for name, value in found.tensors.items() if not name.endswith(".scale")}
    checkpoint.write(path, few, found.header)
    with pytest.raises(CheckpointError, match="does not fit its own search space"):
        load_supernet(path, teacher)


def test_its_scores_are_those_of_the_stored_weights(
    supernet: Supernet, teacher: Teacher, corpus: Corpus, tmp_path: Path
) -> None:
    header = {"shrinking": LEFT, "history": [{"step": step} for step in range(250)]}
    scores = score_supernet(supernet, header, corpus, tmp_path / "scores.json", Silent())
    prepared = Prepared(supernet, scores, header, tmp_path / "work" / "supernet.safetensors")
    path = tmp_path / "compact.safetensors"
    stored = save_compact(path, prepared, corpus, Silent())
    assert 0 < largest_change(scores, stored) < 0.05
    assert not (tmp_path / "work" / "compact.safetensors").exists()

    loaded = load_prepared(path, teacher, None, tmp_path / "cache", Silent())
    assert [row["step"] for row in loaded.header["history"]] == [0, 100, 200]
    again = load_prepared(path, teacher, corpus, tmp_path / "cache", Silent())
    for one, other in zip(loaded.scores.positions(), again.scores.positions(), strict=True):
        assert set(one.blocks) == set(other.blocks)
        order = [other.blocks.index(block) for block in one.blocks]
        np.testing.assert_allclose(one.loss, other.loss[order], rtol=1e-5)

    good = loaded.header["scores"]
    for broken in (
        {"format": 1},
        good | {"precision_loss": {"int8": "0.1"}},
        good | {"space": good["space"] | {"slots": 5}},
    ):
        save_supernet(path, supernet, dict(loaded.header) | {"scores": broken}, compact=True)
        with pytest.raises(CheckpointError, match=r"the scores in .* damaged: .*--corpus TEXT"):
            load_prepared(path, teacher, None, tmp_path / "cache", Silent())

    # A precision that was not tried is not damage: it is measured when a search asks for it.
    few = dict(loaded.header) | {"scores": good | {"precision_loss": {}}}
    save_supernet(path, supernet, few, compact=True)
    taken = load_prepared(path, teacher, None, tmp_path / "cache", Silent())
    assert taken.scores.known_loss(Variant("onnxruntime", "int8")) is None


def test_the_supernet_that_comes_with_nasc_is_taken_unless_another_is_asked_for(
    supernet: Supernet, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "shipped")
    monkeypatch.setattr("nasc.context.inputs.load_teacher", lambda name, **_: teacher)
    assert shipped_supernet(teacher.sha256) is None
    path = tmp_path / "shipped" / "toy.safetensors"
    save_supernet(path, supernet, {"shrinking": LEFT}, compact=True)
    assert shipped_supernet(teacher.sha256) == path

    def context(**settings: object) -> RunContext:
        return RunContext(Settings(cache=tmp_path / "cache", **settings))  # type: ignore[arg-type]

    assert context().supernet_path == path
    assert context().space == supernet.space
    for other in ({"train_minutes": 1.0}, {"train_steps": 5}, {"space": "minilm-l6"}):
        assert context(**other).supernet_path is None
    # A network from random weights is of the whole space, whatever a supernet holds.
    whole = toy_space(teacher, hidden_sizes=(8, 16), operations=("ffn", "sep3"))
    monkeypatch.setattr("nasc.supernet.space_for.PRESETS", {"toy": whole})
    assert str(_parsed(context(), "8: S3 | 16: F", "scratch")[0]) == "8: S3 | 16: F @ fp32"
    own = tmp_path / "own.safetensors"
    assert context(supernet=own).supernet_path == own

    found = checkpoint.read(path)
    checkpoint.write(path, found.tensors, dict(found.header) | {"teacher": {"name": "nobody"}})
    with pytest.raises(CheckpointError, match="comes with nasc, is damaged: install nasc again"):
        shipped_supernet(teacher.sha256)
    path.write_bytes(b"not whole")
    with pytest.raises(CheckpointError, match="comes with nasc, is damaged: install nasc again"):
        shipped_supernet(teacher.sha256)


def test_a_supernet_is_taken_for_its_own_pooling_alone(
    supernet: Supernet, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scores are of vectors by the pooling that it was trained for."""
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    other = dataclasses.replace(teacher, pooling=Pooling("cls"))
    path = tmp_path / "toy.safetensors"
    save_supernet(path, supernet, {}, compact=True)
    assert "pooling" not in checkpoint.read(path).header["teacher"]  # as releases before wrote it
    assert shipped_supernet(other.sha256, "cls") is None
    with pytest.raises(CheckpointError, match=r"pooling 'mean'; those of .* by 'cls'"):
        load_supernet(path, other)
    unscaled = dataclasses.replace(teacher, pooling=Pooling(scaled=False))
    assert load_supernet(path, unscaled)[0].space == supernet.space  # directions are the same
    save_supernet(path, Supernet(supernet.space, other), {})
    assert shipped_supernet(other.sha256, "cls") == path
    assert shipped_supernet(teacher.sha256) is None
    with pytest.raises(
        CheckpointError, match=r"pooling 'cls'; those of .* by 'mean'.*--head embed"
    ):
        load_supernet(path, teacher)


def test_without_a_file_the_report_is_of_the_one_that_comes_with_nasc(
    supernet: Supernet, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    monkeypatch.setattr("nasc.pipelines.report.DEFAULT_TEACHER_SHA256", teacher.sha256)
    with pytest.raises(UsageError, match="name a file"):
        api.report()
    about = {"config": {"steps": 3}, "text": {"description": "made up", "sha256": "ab"}}
    save_supernet(tmp_path / "toy.safetensors", supernet, about, compact=True)
    found = api.report()
    assert (found.supernet, found.steps) == (tmp_path / "toy.safetensors", 3)


def test_the_supernet_of_another_teacher_is_not_taken(
    supernet: Supernet, teacher: Teacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    path = tmp_path / "toy.safetensors"
    save_supernet(path, supernet, {}, compact=True)
    found = checkpoint.read(path)
    foreign = dict(found.header) | {"teacher": {"name": "other", "sha256": "0" * 64}}
    checkpoint.write(path, found.tensors, foreign)
    assert shipped_supernet(teacher.sha256) is None
