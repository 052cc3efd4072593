"""Block-wise distillation: it learns, repeats, resumes exactly, and leaves the rest alone."""

from __future__ import annotations

import dataclasses
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stopped import Stopped, stop_after
from supernet_toy import beginning, random_supernet, state

from nasc.architecture.heads import Pooling
from nasc.architecture.space import Block
from nasc.data.tokens import Batch, Tokens
from nasc.errors import CheckpointError, TrainingDiverged, UsageError
from nasc.networks.torch_network import Mask, pool
from nasc.supernet import checkpoint
from nasc.supernet.batches import TrainBatches
from nasc.supernet.budget import recorded_steps
from nasc.supernet.parallel import Parallel
from nasc.supernet.sampling import sample_block
from nasc.supernet.scorer import Scorer
from nasc.supernet.train import (
    Objective,
    TrainConfig,
    learning_rate,
    relative_error,
    steps_for,
    train,
    whole_space,
)
from nasc.teacher import Teacher

CONFIG = TrainConfig(steps=8, batch_size=8, learning_rate=3e-3)


def run(teacher: Teacher, tokens: Tokens, config: TrainConfig = CONFIG, **options: Any) -> Any:
    """A fresh supernet, trained: its weights and the record of the run."""
    supernet = beginning(teacher, tokens)
    record = train(
        supernet, TrainBatches(tokens, config.batch_size, config.seed), config, **options
    )
    return state(supernet), record


@pytest.fixture(scope="module")
def whole_run(teacher: Teacher, tokens: Tokens) -> tuple[dict[str, torch.Tensor], Any]:
    """What `run` gives where nothing breaks it off; tests must not change it."""
    return run(teacher, tokens)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(v, second[n]) for n, v in first.items()
    )


@pytest.mark.slow
def test_training_reduces_the_loss(teacher: Teacher, tokens: Tokens) -> None:
    supernet = beginning(teacher, tokens)
    scorer = Scorer(supernet, [tokens.batch(range(64, 96))])
    blocks = [Block(h, o) for h in (8, 16) for o in (("mha", "ffn"), ("sep3",), ("ffn", "mha"))]
    before = [scorer.block_losses(p, blocks).mean() for p in range(2)]
    config = TrainConfig(steps=60, batch_size=16, learning_rate=5e-3)
    train(supernet, TrainBatches(tokens, 16, 0), config)
    after = [scorer.block_losses(p, blocks).mean() for p in range(2)]
    assert after[0] < 0.8 * before[0]
    assert after[1] < 0.8 * before[1]


def test_same_seed_same_weights(teacher: Teacher, tokens: Tokens, whole_run: Any) -> None:
    (first, record), (again, repeated) = whole_run, run(teacher, tokens)
    assert same(first, again)
    assert record == repeated
    other, _ = run(teacher, tokens, dataclasses.replace(CONFIG, seed=1))
    assert not same(first, other)


def test_the_record_tells_what_was_done(teacher: Teacher, tokens: Tokens) -> None:
    calls: list[tuple[int, int]] = []
    _, record = run(
        teacher,
        tokens,
        text_sha256="abc",
        progress=lambda done, total, message: calls.append((done, total)),
    )
    assert calls == [(i, 8) for i in range(1, 9)]
    kept = dataclasses.asdict(CONFIG)
    del kept["accumulate"]  # changes nothing but rounding
    assert record["config"] == kept
    assert record["text_sha256"] == "abc"
    assert [h["step"] for h in record["history"]] == list(range(8))
    assert all({"block_0", "block_1"} <= h.keys() for h in record["history"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("stopped_after", [1, 5, 8])
def test_a_run_that_broke_off_goes_on_exactly_and_loses_no_step(
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    stopped_after: int,
    error: type[BaseException],
    whole_run: Any,
) -> None:
    whole, record = whole_run
    options: dict[str, Any] = {"state_path": tmp_path / "state.safetensors", "save_every_s": 1e9}
    with pytest.raises(error):
        run(teacher, tokens, progress=stop_after(stopped_after, error), **options)
    calls: list[int] = []
    resumed, again = run(
        teacher, tokens, progress=lambda done, total, message: calls.append(done), **options
    )
    assert calls == list(range(stopped_after + 1, 9))
    assert same(whole, resumed)
    assert again == record


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly_from_its_last_save(
    teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    """Killed: nothing is saved at the end. The file is taken away while the run goes on."""
    path, taken = tmp_path / "state.safetensors", tmp_path / "taken.safetensors"
    calls: list[int] = []

    def take(done: int, total: int, message: str) -> None:
        if done == 4:
            shutil.copyfile(path, taken)

    whole, record = run(teacher, tokens, state_path=path, save_every_s=0, progress=take)
    resumed, again = run(
        teacher,
        tokens,
        state_path=taken,
        progress=lambda done, total, message: calls.append(done),
    )
    assert calls == [4, 5, 6, 7, 8]
    assert same(whole, resumed)
    assert again == record


@pytest.mark.slow
def test_the_state_of_a_finished_run_stays_for_the_caller(
    teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    run(teacher, tokens, state_path=path, save_every_s=0)
    assert checkpoint.read(path).header["step"] == 8


def test_ctrl_c_never_splits_the_change_of_the_weights(
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole_run: Any,
) -> None:
    whole, record = whole_run
    step, calls = torch.optim.AdamW.step, []

    def interrupted(self: torch.optim.AdamW) -> None:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        step(self)

    path = tmp_path / "state.safetensors"
    # A shell that starts tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(teacher, tokens, state_path=path)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert checkpoint.read(path).header["step"] == 3
    resumed, again = run(teacher, tokens, state_path=path)
    assert same(whole, resumed)
    assert again == record


def test_half_changed_weights_are_not_saved(
    teacher: Teacher, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = torch.optim.AdamW.step, []

    def no_memory(self: torch.optim.AdamW) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        step(self)

    monkeypatch.setattr(torch.optim.AdamW, "step", no_memory)
    path = tmp_path / "state.safetensors"
    with pytest.raises(MemoryError):
        run(teacher, tokens, state_path=path)
    assert not path.exists()
    calls.clear()
    with pytest.raises(MemoryError):
        run(teacher, tokens, state_path=path, save_every_s=0)
    assert checkpoint.read(path).header["step"] == 2


@pytest.mark.slow
def test_a_run_that_broke_off_twice_goes_on_exactly(
    teacher: Teacher, tokens: Tokens, tmp_path: Path, whole_run: Any
) -> None:
    whole, record = whole_run
    options: dict[str, Any] = {"state_path": tmp_path / "state.safetensors", "save_every_s": 0}
    for steps in (3, 6):
        with pytest.raises(Stopped):
            run(teacher, tokens, progress=stop_after(steps), **options)
    resumed, again = run(teacher, tokens, **options)
    assert same(whole, resumed)
    assert again == record


def test_a_run_does_not_go_on_with_other_text_or_settings(
    teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    options: dict[str, Any] = {"state_path": path, "save_every_s": 0}
    with pytest.raises(Stopped):
        run(teacher, tokens, text_sha256="one", progress=stop_after(3), **options)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"state of another run \(text_sha256 differs: 'one'"):
        run(teacher, tokens, text_sha256="two", **options)
    other = dataclasses.replace(CONFIG, steps=9)
    with pytest.raises(CheckpointError, match=r"another run \(config differs: .*or delete"):
        run(teacher, tokens, other, text_sha256="one", **options)
    assert path.read_bytes() == before


def test_a_damaged_state_is_a_message(teacher: Teacher, tokens: Tokens, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    options: dict[str, Any] = {"state_path": path, "save_every_s": 0}
    with pytest.raises(Stopped):
        run(teacher, tokens, progress=stop_after(3), **options)
    found = checkpoint.read(path)
    some = dict(list(found.tensors.items())[: len(found.tensors) // 2])
    checkpoint.write(path, some, found.header)
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged: .*Delete it"):
        run(teacher, tokens, **options)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"state\.safetensors is damaged or not one of nasc"):
        run(teacher, tokens, **options)


def test_a_loss_that_is_no_number_ends_the_run(
    teacher: Teacher, tokens: Tokens, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    supernet = beginning(teacher, tokens)

    def spoil(done: int, total: int, message: str) -> None:
        if done == 3:
            for parameter in supernet.blocks[1].parameters():
                parameter.data.fill_(float("nan"))

    with pytest.raises(
        TrainingDiverged, match=r"not finite at step 3: .*nan.*--learning-rate 0\.00075"
    ):
        train(
            supernet,
            TrainBatches(tokens, 8, 0),
            CONFIG,
            state_path=path,
            save_every_s=0,
            progress=spoil,
        )
    assert checkpoint.read(path).header["step"] == 3


@pytest.mark.slow
def test_a_gradient_that_is_no_number_ends_the_run_before_the_weights_change(
    teacher: Teacher,
    tokens: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole_run: Any,
) -> None:
    """The losses of the step are finite still."""
    whole, record = whole_run
    backward = Objective.backward

    def overflow(self: Objective, batch: Batch, step: int) -> torch.Tensor:
        losses = backward(self, batch, step)
        if step == 3:
            gradients = (p.grad for p in self.supernet.blocks[1].parameters())
            next(g for g in gradients if g is not None).view(-1)[0] = float("inf")
        return losses

    options: dict[str, Any] = {"state_path": tmp_path / "state.safetensors", "save_every_s": 0}
    with monkeypatch.context() as patch:
        patch.setattr(Objective, "backward", overflow)
        with pytest.raises(TrainingDiverged, match=r"gradient of a block .* at step 3: .*inf"):
            run(teacher, tokens, **options)
    assert checkpoint.read(options["state_path"]).header["step"] == 3
    resumed, again = run(teacher, tokens, **options)
    assert same(whole, resumed)
    assert again == record


def test_a_step_touches_only_what_was_sampled(teacher: Teacher, tokens: Tokens) -> None:
    """Neither the optimizer's momentum nor weight decay moves the others: bit by bit equal."""
    supernet = random_supernet(teacher)
    config = TrainConfig(steps=3, batch_size=8, learning_rate=1e-2, weight_decay=0.1)
    before = state(supernet)
    train(supernet, TrainBatches(tokens, 8, 0), config)
    touched = set()
    for step in range(3):
        rng = np.random.default_rng((config.seed, step))
        for index in range(2):
            block = sample_block(supernet.space, config.sampling, rng)
            if block.hidden != 32:
                touched |= {f"{index}.maps_{way}.{block.hidden}" for way in ("in", "out")}
            touched |= {
                f"{index}.operations.{slot}/{block.hidden}/{operation}"
                for slot, operation in enumerate(block.operations)
            }
    changed = {n for n, v in state(supernet).items() if not torch.equal(v, before[n])}
    assert {name.rsplit(".", 1)[0] for name in changed} == touched
    assert len(touched) < len({name.rsplit(".", 1)[0] for name in before}) / 2


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_chained_blocks_read_the_student_and_answer_for_its_vectors(
    teacher: Teacher, tokens: Tokens, mode: str
) -> None:
    supernet = beginning(dataclasses.replace(teacher, pooling=Pooling(mode)), tokens)
    batch, config = tokens.batch(range(8)), dataclasses.replace(CONFIG, chain=1.0)
    objective = Objective(supernet, config, whole_space(supernet, config))
    values = objective.backward(batch, 0)
    found = {n: p.grad for n, p in supernet.blocks.named_parameters() if p.grad is not None}
    supernet.zero_grad(set_to_none=True)

    rng = np.random.default_rng((config.seed, 0))
    paths = [sample_block(supernet.space, config.sampling, rng) for _ in range(2)]
    mask, real = Mask.of(batch.attention_mask), batch.attention_mask.bool()
    states = supernet.teacher_states(batch.input_ids, mask)
    x, losses = states[0], []
    for index, path in enumerate(paths):
        x = supernet.forward_block(index, x, mask, path)
        losses.append(relative_error(x, states[index + 1], real))
    ours, theirs = pool(x, mask, mode), pool(states[-1], mask, mode)
    distance = (1 - torch.nn.functional.cosine_similarity(ours, theirs)).mean()
    (sum(losses) + 5 * distance).backward()  # type: ignore[union-attr]
    torch.testing.assert_close(values, torch.stack(losses).detach())
    wanted = {n: p.grad for n, p in supernet.blocks.named_parameters() if p.grad is not None}
    assert found.keys() == wanted.keys()
    for name, grad in wanted.items():
        torch.testing.assert_close(found[name], grad, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_a_share_of_the_steps_is_chained(teacher: Teacher, tokens: Tokens) -> None:
    """Block 1 reads the teacher's embedding either way: only the second's loss tells."""
    losses = {}
    for chain in (0.0, 0.5, 1.0):
        supernet = beginning(teacher, tokens)
        config = dataclasses.replace(CONFIG, chain=chain)
        objective = Objective(supernet, config, whole_space(supernet, config))
        batch = tokens.batch(range(8))
        losses[chain] = np.array([objective.backward(batch, s).tolist() for s in range(30)])
    mixed, second = losses[0.5], losses[0.5][:, 1]
    assert (mixed[:, 0] == losses[0.0][:, 0]).all()
    chained = second == losses[1.0][:, 1]
    assert (chained | (second == losses[0.0][:, 1])).all()
    assert 8 <= chained.sum() <= 22


def test_chained_blocks_are_not_divided_among_processes(teacher: Teacher, tokens: Tokens) -> None:
    config = dataclasses.replace(CONFIG, chain=0.5)
    with pytest.raises(UsageError, match="--parallel data or --chain 0"):
        run(teacher, tokens, config, parallel=Parallel("block", rank=0, world=2, silent=True))


def test_the_teacher_is_not_trained(teacher: Teacher, tokens: Tokens) -> None:
    before = [teacher.embeddings.word.clone(), *(layer.ff1_w.clone() for layer in teacher.layers)]
    run(teacher, tokens)
    after = [teacher.embeddings.word, *(layer.ff1_w for layer in teacher.layers)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_bf16_trains_too(teacher: Teacher, tokens: Tokens) -> None:
    weights, record = run(teacher, tokens, dataclasses.replace(CONFIG, steps=2, bf16=True))
    assert all(value.dtype == torch.float32 for value in weights.values())
    assert np.isfinite([list(h.values()) for h in record["history"]]).all()


# Settings and samples


def test_the_learning_rate_rises_and_falls() -> None:
    config = TrainConfig(steps=10, learning_rate=0.1, warmup=0.2)
    rates = [learning_rate(config, step) for step in range(10)]
    assert rates == pytest.approx(
        [0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "steps >= 0, a batch size >= 1 and parts >= 1, got -1, 8 and 1"),
        ({"batch_size": 0}, "steps >= 0, a batch size >= 1 and parts >= 1, got 8, 0 and 1"),
        ({"learning_rate": 0.0}, r"learning rate in \(0, 1\)"),
        ({"learning_rate": float("nan")}, r"learning rate in \(0, 1\)"),
        ({"warmup": 1.5}, r"warm-up in \[0, 1\]"),
        ({"clip": 0.0}, "positive clip"),
        ({"chain": 1.5}, r"share of chained steps must be in \[0, 1\], got 1.5"),
        ({"sampling": "greedy"}, "unknown sampling 'greedy'; known: balanced, uniform"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize("sampling", ["balanced", "uniform"])
def test_samples_follow_the_schedule(teacher: Teacher, sampling: str) -> None:
    space = random_supernet(teacher, slots=2, operations=("mha", "ffn")).space
    rng = np.random.default_rng(0)
    drawn = Counter(sample_block(space, sampling, rng) for _ in range(6000))
    trained = {b for b in space.blocks() if b.operations and not b.kept}
    assert set(drawn) == trained
    lengths = Counter()
    for block, count in drawn.items():
        lengths[len(block.operations)] += count / 6000
    # Two blocks of one operation to four of two; or each length alike.
    assert lengths[1] == pytest.approx(1 / 2 if sampling == "balanced" else 1 / 3, abs=0.03)


def test_relative_error_ignores_padding_and_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    target, guess = (torch.randn(3, 5, 8, generator=generator) for _ in range(2))
    real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]).bool()
    wanted = relative_error(guess, target, real)
    assert float(relative_error(target, target, real)) == 0
    mean = target[real].mean(0).expand_as(target)
    assert float(relative_error(mean, target, real)) == pytest.approx(1)
    torch.testing.assert_close(relative_error(3 * guess + 2, 3 * target + 2, real), wanted)
    noisy = torch.where(real[:, :, None], guess, 1e6)
    assert torch.equal(
        relative_error(noisy, torch.where(real[:, :, None], target, -1e6), real), wanted
    )


def test_a_budget_becomes_steps_once(tmp_path: Path) -> None:
    path = tmp_path / "steps.json"
    assert recorded_steps(path, lambda: 42) == 42
    assert recorded_steps(path, lambda: pytest.fail("decided twice")) == 42
    path.unlink()
    assert recorded_steps(path, lambda: 10**15) == 10**12  # as many as its reader takes
    assert recorded_steps(path, lambda: pytest.fail("decided twice")) == 10**12
    path.write_text("{")
    with pytest.raises(CheckpointError, match=r"steps\.json is damaged: .*Delete it and run again"):
        recorded_steps(path, lambda: 1)
    with pytest.raises(CheckpointError, match=r"cannot write .*nowhere/steps\.json.*--cache DIR"):
        recorded_steps(tmp_path / "nowhere" / "steps.json", lambda: 1)


def test_no_time_gives_no_steps(teacher: Teacher, tokens: Tokens) -> None:
    supernet = random_supernet(teacher)
    batches = TrainBatches(tokens, 8, 0)
    assert steps_for(supernet, CONFIG, batches, 0) == 0
    assert steps_for(supernet, CONFIG, batches, 1e-9) == 1
    assert all(parameter.grad is None for parameter in supernet.blocks.parameters())


# Batches


def test_batches_depend_on_seed_and_step_alone(tokens: Tokens) -> None:
    batches = TrainBatches(tokens, 10, seed=3)
    forward = [batches.at(step).input_ids for step in range(25)]  # ten to an epoch
    fresh = TrainBatches(tokens, 10, seed=3)
    for step in (24, 3, 11, 0):
        assert torch.equal(fresh.at(step).input_ids, forward[step])
    other = TrainBatches(tokens, 10, seed=4)
    assert not all(
        torch.equal(other.at(step).input_ids, forward[step]) for step in range(len(forward))
    )


def test_an_epoch_has_every_sentence_once_and_its_own_order(tokens: Tokens) -> None:
    batches = TrainBatches(tokens, 10, seed=0)

    def sentences(steps: range) -> list[tuple[int, ...]]:
        return [
            tuple(row[mask.bool()].tolist())
            for step in steps
            for row, mask in zip(
                batches.at(step).input_ids, batches.at(step).attention_mask, strict=True
            )
        ]

    first, second = sentences(range(10)), sentences(range(10, 20))
    wanted = sorted(map(tuple, tokens.rows()))
    assert sorted(first) == sorted(second) == wanted
    assert first != second


def test_a_batch_of_nothing_is_refused(tokens: Tokens) -> None:
    with pytest.raises(UsageError, match="batch size must be >= 1, got 0"):
        TrainBatches(tokens, 0, 0)
