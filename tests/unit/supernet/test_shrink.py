"""Progressive shrinking: bins, rounds, what is left, on a small space with made-up losses."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nasc.architecture.layers import block_layers, layer_params
from nasc.architecture.space import BERT_BASE, SearchSpace
from nasc.errors import TrainingDiverged, UsageError
from nasc.supernet import removal
from nasc.supernet.candidates import NO_BIN, Candidates, assign_bins
from nasc.supernet.removal import operations_of
from nasc.supernet.shrink import ShrinkConfig, Shrinking, rounds_needed, shrink

SPACE = SearchSpace("toy", BERT_BASE, 4, 3, (128, 256, 512), ("mha", "ffn", "sep3"))
POSITIONS = 2


def candidates(bins: int = 4) -> Candidates:
    blocks = tuple(SPACE.blocks())
    params = np.array([sum(layer_params(x, BERT_BASE) for x in block_layers(b)) for b in blocks])
    return Candidates(blocks, params, params / 1e6, bins)


class Losses:
    """Loss by candidate, known to the test; remembers what it was asked for."""

    def __init__(self, state: Shrinking, seed: int = 0) -> None:
        self.of = np.random.default_rng(seed).random(state.loss.shape)
        self.asked: list[tuple[int, np.ndarray]] = []

    def __call__(self, position: int, chosen: np.ndarray) -> np.ndarray:
        self.asked.append((position, chosen))
        return np.asarray(self.of[position, chosen])


def run(config: ShrinkConfig, seed: int = 0) -> tuple[Shrinking, Losses]:
    state = Shrinking.begin(candidates(config.bins), POSITIONS)
    losses = Losses(state)
    for number in range(100):
        if state.is_done(config):
            break
        shrink(state, config, losses, np.random.default_rng((seed, number)))
    return state, losses


def test_bins_are_half_open_and_need_both_costs() -> None:
    params = np.array([1, 25, 26, 50, 51, 100, 100])
    latency = np.array([1.0, 2.5, 2.6, 5.0, 5.1, 10.0, 5.0])
    assert assign_bins(params, latency, 4).tolist() == [0, 0, 1, 1, 2, 3, NO_BIN]


def test_what_fits_no_bin_is_gone_and_the_untrained_stay() -> None:
    blocks = tuple(SPACE.blocks())
    params = np.full(len(blocks), 100)
    latency = np.full(len(blocks), 10.0)
    latency[5] = 1.0
    state = Shrinking.begin(Candidates(blocks, params, latency, 4), POSITIONS)
    assert not state.alive[:, 5].any()
    assert state.alive[:, [i for i in range(len(blocks)) if i != 5]].all()
    assert SPACE.kept_block in state.blocks(0)
    assert SPACE.skipped_block in state.blocks(1)


def test_bins_that_are_all_empty_are_a_message_that_helps() -> None:
    blocks = tuple(SPACE.blocks())
    params, latency = np.full(len(blocks), 49), np.full(len(blocks), 9.0)
    params[2], latency[2], latency[3] = 100, 4.0, 10.0
    with pytest.raises(UsageError, match=r"all 4 bins .* each of the 117 .* --bins 1$"):
        Candidates(blocks, params, latency, 4)
    assert (Candidates(blocks, params, latency, 1).bin[2:] == 0).all()


@pytest.mark.parametrize("unit", ["architectures", "operations"])
def test_it_ends_with_m_in_every_bin(unit: str) -> None:
    config = ShrinkConfig(1, bins=4, sample=20, keep=3, unit=unit)
    first = Shrinking.begin(candidates(), POSITIONS).left(0)
    assert first.max() > 20
    state, _ = run(config)
    for position in range(POSITIONS):
        assert state.left(position).tolist() == np.minimum(first, 3).tolist()
        assert {SPACE.kept_block, SPACE.skipped_block} <= set(state.blocks(position))


def test_a_round_removes_the_worse_half_of_each_sample() -> None:
    config = ShrinkConfig(1, bins=4, sample=20, keep=3)
    state = Shrinking.begin(candidates(), POSITIONS)
    before, losses = state.alive.copy(), Losses(state)
    shrink(state, config, losses, np.random.default_rng(0))
    bins = state.candidates.bin
    for position, sampled in losses.asked:
        for b in range(4):
            own = sampled[bins[sampled] == b]
            n = int((before[position] & (bins == b)).sum())
            assert len(own) == (min(20, n) if n > 3 else 0)
            order = own[np.argsort(losses.of[position, own])]
            gone = min(len(own) // 2, n - 3) if len(own) else 0
            assert state.alive[position, order[: len(own) - gone]].all()
            assert not state.alive[position, order[len(own) - gone :]].any()
        rest = np.setdiff1d(np.flatnonzero(before[position]), sampled)
        assert state.alive[position, rest].all()


def test_with_everything_sampled_the_best_are_left() -> None:
    config = ShrinkConfig(1, bins=4, sample=10_000, keep=3)
    state, losses = run(config)
    bins = state.candidates.bin
    for position in range(POSITIONS):
        for b in range(4):
            own = np.flatnonzero(bins == b)
            best = own[np.argsort(losses.of[position, own])][:3]
            assert set(best) == set(np.flatnonzero(state.alive[position] & (bins == b)))


def test_pruned_operations_take_everything_that_holds_them() -> None:
    config = ShrinkConfig(1, bins=2, sample=10_000, keep=3, unit="operations")
    state = Shrinking.begin(candidates(2), 1)
    bad = (0, 256, "ffn")
    blocks = state.candidates.blocks

    def loss(position: int, chosen: np.ndarray) -> np.ndarray:
        return np.array([1.0 + (bad in operations_of(blocks[i])) for i in chosen])

    shrink(state, config, loss, np.random.default_rng(0))
    left = state.blocks(0)
    assert not any(bad in operations_of(b) for b in left if not b.kept)
    assert any((1, 256, "ffn") in operations_of(b) for b in left)


def test_an_operation_whose_holders_are_gone_already_takes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(removal, "OPERATION_SHARE", 1.0)  # as many as there are, in one round
    found = candidates(1)
    trained = np.flatnonzero(found.bin != NO_BIN)
    loss = np.random.default_rng(0).random(len(trained)) + 1
    gone = removal.worst_operations(found, trained, trained, loss, 1)
    assert 1 <= len(trained) - len(gone) < 10


@pytest.mark.parametrize("keep", [1, 3])
def test_what_keep_others_beat_is_dominated(keep: int) -> None:
    """Against each with each."""
    found = candidates(1)
    state = Shrinking.begin(found, POSITIONS)
    losses, config = Losses(state), ShrinkConfig(bins=1, keep=keep, unit="dominated")
    shrink(state, config, losses, np.random.default_rng(0))
    for position in range(POSITIONS):
        loss = np.where([b.kept for b in found.blocks], 0.0, losses.of[position])
        count = [len(b.operations) for b in found.blocks]
        rows = list(zip(loss, found.params, count, strict=True))
        for i, block in enumerate(found.blocks):
            beaten = sum(
                other.hidden == block.hidden
                and bool(other.operations or other.kept)
                and all(a <= b for a, b in zip(rows[j], rows[i], strict=True))
                for j, other in enumerate(found.blocks)
                if j != i
            )
            alive = block.kept or not block.operations or beaten < keep
            assert state.alive[position, i] == alive, block
    assert 10 < state.alive[0].sum() < len(found.blocks) / 2


def test_rounds_of_dominance_come_to_an_end() -> None:
    """They leave as many as there are, however many: the number of rounds is that of halving."""
    config = ShrinkConfig(bins=1, keep=3, unit="dominated")
    state, _ = run(config)
    assert state.is_done(config)
    assert state.rounds == rounds_needed([117], config)
    assert state.left(0)[0] > config.keep


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    config = ShrinkConfig(1, bins=4, sample=20, keep=3)
    one, two, other = run(config)[0], run(config)[0], run(config, seed=1)[0]
    assert (one.alive == two.alive).all()
    assert one.history == two.history
    assert one.history != other.history


def test_a_round_goes_on_after_saving() -> None:
    config = ShrinkConfig(1, bins=4, sample=20, keep=3)
    whole = Shrinking.begin(candidates(), POSITIONS)
    losses = Losses(whole)
    shrink(whole, config, losses, np.random.default_rng(0))
    history = json.loads(json.dumps(whole.history))
    resumed = Shrinking.begin(candidates(), POSITIONS)
    resumed.restore(whole.alive.copy(), whole.loss.copy(), whole.rounds, history)
    for state in (whole, resumed):
        shrink(state, config, losses, np.random.default_rng(1))
    assert (whole.alive == resumed.alive).all()
    assert whole.history == resumed.history
    with pytest.raises(ValueError, match="candidates, not "):
        Shrinking.begin(candidates(), 1).restore(whole.alive, whole.loss, 1, history)


def test_a_loss_that_is_no_number_changes_nothing() -> None:
    config = ShrinkConfig(1, bins=4, sample=20, keep=3)
    state = Shrinking.begin(candidates(), POSITIONS)
    before = state.alive.copy()

    def loss(position: int, chosen: np.ndarray) -> np.ndarray:
        return np.where(np.arange(len(chosen)) == position, np.nan, 1.0)

    with pytest.raises(TrainingDiverged, match=r"dev loss of block 1, '.*', is not finite"):
        shrink(state, config, loss, np.random.default_rng(0))
    assert (state.alive == before).all()
    assert state.rounds == 0
    assert not state.history


def test_the_table_names_what_is_left() -> None:
    state, losses = run(ShrinkConfig(1, bins=4, sample=20, keep=3))
    table = state.table()
    assert len(table) == state.alive.sum()
    row = table[table.bin != NO_BIN].iloc[0]
    index = [str(b) for b in state.candidates.blocks].index(row.block)
    assert row.params == state.candidates.params[index]
    assert row.dev_loss == pytest.approx(losses.of[row.position, index])


@pytest.mark.parametrize("count", [0, 3, 4, 15, 19, 20, 21, 500])
def test_rounds_are_foretold(count: int) -> None:
    config = ShrinkConfig(1, sample=20, keep=3)
    n, rounds = count, 0
    while n > 3:
        n -= min(min(20, n) // 2, n - 3)
        rounds += 1
    assert rounds_needed([1, count], config) == rounds


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bins": 0}, "bins must be >= 1"),
        ({"bins": 200}, "at most 127 bins"),
        ({"sample": 1}, "sample must be >= 2"),
        ({"keep": 0}, "keep must be >= 1"),
        ({"unit": "weights"}, "unknown unit 'weights'"),
        ({"unit": "dominated"}, "removed without bins: give --bins 1"),
    ],
)
def test_values_that_make_no_sense(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ShrinkConfig(1, **values)  # type: ignore[arg-type]
