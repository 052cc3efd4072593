"""Shrinking within a training: when rounds come, what is sampled, and that a stop loses nothing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from stopped import Stopped, stop_after
from supernet_toy import beginning, state

from nasc.architecture.layers import Layer
from nasc.cli import main
from nasc.data.tokens import Tokens
from nasc.errors import CheckpointError, LookupMiss
from nasc.supernet.batches import TrainBatches
from nasc.supernet.candidates import candidates_of
from nasc.supernet.checkpoint import save_supernet
from nasc.supernet.score_candidates import left_blocks
from nasc.supernet.scorer import Scorer
from nasc.supernet.shrink import (
    ShrinkConfig,
    Shrinker,
    Shrinking,
    rounds_needed,
    spread,
    unfinished,
)
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import TrainConfig, train
from nasc.teacher import Teacher
from nasc.utils.progress import Progress

CONFIG = TrainConfig(steps=12, batch_size=8, learning_rate=3e-3)
SHRINK = ShrinkConfig(epoch_steps=2, warm_epochs=1, bins=3, sample=8, keep=2)


def price(layer: Layer) -> float:
    return {"mha": 0.4, "ffn": 1.0, "sep3": 0.3}[layer.kind] * layer.hidden_in


class Run:
    """A supernet with shrinking; remembers the steps before which rounds came."""

    def __init__(self, teacher: Teacher, tokens: Tokens, shrink: ShrinkConfig = SHRINK) -> None:
        self.supernet: Supernet = beginning(teacher, tokens)
        scorer = Scorer(self.supernet, [tokens.batch(range(64, 72))])
        candidates = candidates_of(self.supernet.space, price, shrink.bins)
        self.left = Shrinking.begin(candidates, 2)
        self.evaluated: list[int] = []

        def evaluate(position: int, chosen: np.ndarray) -> np.ndarray:
            self.evaluated.append(position)
            return scorer.block_losses(position, [candidates.blocks[i] for i in chosen])

        self.shrinker = Shrinker(shrink, self.left, evaluate)
        self.tokens = tokens

    def train(self, path: Path | None = None, progress: Progress | None = None) -> Any:
        batches = TrainBatches(self.tokens, CONFIG.batch_size, CONFIG.seed)
        return train(
            self.supernet,
            batches,
            CONFIG,
            shrinker=self.shrinker,
            state_path=path,
            save_every_s=0,
            progress=progress,
        )

    def record(self) -> dict[str, Any]:
        """Of the shrinking, as a supernet's header has it."""
        return {"config": dataclasses.asdict(self.shrinker.config)} | self.left.record()


@pytest.fixture(scope="module")
def whole_run(teacher: Teacher, tokens: Tokens) -> tuple[Run, Any]:
    """One that nothing stopped, and its record; tests must not change it."""
    run = Run(teacher, tokens)
    return run, run.train()


def same(one: Run, two: Run) -> bool:
    first, second = state(one.supernet), state(two.supernet)
    return (
        all(torch.equal(v, second[n]) for n, v in first.items())
        and bool((one.left.alive == two.left.alive).all())
        and bool(np.array_equal(one.left.loss, two.left.loss, equal_nan=True))
        and one.left.history == two.left.history
    )


def test_rounds_come_after_each_epoch_but_the_warm_ones(teacher: Teacher, tokens: Tokens) -> None:
    run = Run(teacher, tokens)
    rounds: list[int] = []
    run.train(progress=lambda done, total, message: rounds.append(run.left.rounds))
    assert rounds == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert len(run.evaluated) == 8


def test_only_what_is_left_is_sampled(teacher: Teacher, tokens: Tokens) -> None:
    run = Run(teacher, tokens)
    run.shrinker.shrink(0)
    rng = np.random.default_rng(0)
    drawn = {run.shrinker.sample(1, rng) for _ in range(3000)}
    trained = {run.left.candidates.blocks[i] for i in run.left.trained(1)}
    assert drawn == trained


@pytest.mark.slow
@pytest.mark.parametrize("stopped_after", [3, 4, 5, 8])
def test_a_stop_anywhere_changes_nothing(
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    stopped_after: int,
    whole_run: tuple[Run, Any],
) -> None:
    whole, record = whole_run
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        Run(teacher, tokens).train(path, stop_after(stopped_after))
    resumed = Run(teacher, tokens)
    assert resumed.train(path) == record
    assert same(whole, resumed)


@pytest.mark.slow
def test_a_stop_within_a_round_changes_nothing(
    teacher: Teacher, tokens: Tokens, tmp_path: Path, whole_run: tuple[Run, Any]
) -> None:
    whole, _ = whole_run
    path, broken = tmp_path / "state.safetensors", Run(teacher, tokens)
    evaluate = broken.shrinker._evaluate

    def stop(position: int, chosen: np.ndarray) -> np.ndarray:
        if len(broken.evaluated) == 3:
            raise KeyboardInterrupt
        return evaluate(position, chosen)

    broken.shrinker._evaluate = stop
    with pytest.raises(KeyboardInterrupt):
        broken.train(path)
    taken = tmp_path / "taken.safetensors"
    shutil.copyfile(path, taken)
    resumed = Run(teacher, tokens)
    resumed.train(taken)
    assert same(whole, resumed)


@pytest.mark.slow
def test_a_run_does_not_go_on_with_other_shrinking(
    teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(Stopped):
        Run(teacher, tokens).train(path, stop_after(5))
    other = Run(teacher, tokens, ShrinkConfig(2, warm_epochs=1, bins=3, sample=8, keep=3))
    with pytest.raises(CheckpointError, match="shrinking differs"):
        other.train(path)


def test_epochs_are_spread_over_the_run(teacher: Teacher, tokens: Tokens) -> None:
    config = ShrinkConfig(warm_epochs=1, bins=3, sample=8, keep=2)
    state = Run(teacher, tokens, config).left
    rounds = max(rounds_needed(state.left(p), config) for p in range(2))
    assert spread(config, state, 100 * (rounds + 2)).epoch_steps == 100
    assert spread(config, state, 1).epoch_steps == 1
    assert spread(SHRINK, state, 10_000) == SHRINK


def test_what_is_left_is_read_from_a_header(teacher: Teacher, tokens: Tokens) -> None:
    run = Run(teacher, tokens)
    run.shrinker.shrink(0)
    space = run.supernet.space
    left = left_blocks(space, {"shrinking": json.loads(json.dumps(run.left.record()))})
    assert left == tuple(tuple(run.left.blocks(p)) for p in range(2))
    assert left_blocks(space, {}) is None
    with pytest.raises(CheckpointError, match="cannot be read: 1 positions"):
        left_blocks(space, {"shrinking": {"left": [[{"block": "keep"}]]}})


@pytest.mark.slow
def test_what_was_not_shrunk_to_the_end_is_told_with_the_steps_it_takes(
    teacher: Teacher, tokens: Tokens
) -> None:
    run = Run(teacher, tokens, dataclasses.replace(SHRINK, bins=2))
    rounds = max(rounds_needed(run.left.left(p), run.shrinker.config) for p in range(2))
    assert rounds > 2
    for _ in range(rounds):
        told = unfinished(run.record())
        assert told is not None
        assert "bins hold more than 2 sub-architectures, bin" in told
        # An epoch is two steps; there are a warm one, the rounds, and a last one.
        assert told.endswith(f"--epoch-steps 2 --steps {2 * (1 + rounds + 1)}")
        run.shrinker.shrink(0)
    assert unfinished(run.record()) is None


def test_a_run_too_short_for_a_round_of_dominance_is_told(teacher: Teacher, tokens: Tokens) -> None:
    run = Run(teacher, tokens, dataclasses.replace(SHRINK, bins=1, unit="dominated"))
    told = unfinished(run.record())
    assert told is not None
    assert "did not reach its end" in told
    run.shrinker.shrink(0)
    assert unfinished(run.record()) is None


@pytest.mark.slow
def test_a_report_draws_the_rounds_and_names_empty_bins(
    teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib", reason="needs matplotlib (extra 'plot')")
    run = Run(teacher, tokens, dataclasses.replace(SHRINK, bins=30))
    first = run.left.left(0)
    about = run.train() | {
        "text": {"description": "made up"},
        "shrinking": run.record(),
    }
    path, picture = tmp_path / "supernet.safetensors", tmp_path / "rounds.png"
    save_supernet(path, run.supernet, about)
    found = CliRunner().invoke(main, ["report", str(path), "--plot", str(picture)])
    assert found.exit_code == 0, found.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    empty = ", ".join(str(b) for b in np.flatnonzero(first == 0))
    assert empty
    assert f"{empty}: from the start" in found.stdout


def test_a_table_without_an_operation_is_a_message(teacher: Teacher, tokens: Tokens) -> None:
    def missing(layer: Layer) -> float:
        raise LookupMiss(f"no latency of {layer}")

    with pytest.raises(LookupMiss, match="no latency of"):
        candidates_of(beginning(teacher, tokens).space, missing, 3)
