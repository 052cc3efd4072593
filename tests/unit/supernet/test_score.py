"""Scores: shared work changes nothing, sensitivities, true losses, the file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from supernet_toy import initialized_supernet, random_supernet
from torch.nn import functional

from nasc.architecture.heads import Pooling
from nasc.architecture.space import Block
from nasc.data.tokens import Tokens
from nasc.errors import CheckpointError
from nasc.networks.torch_network import Mask, TorchNetwork
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.score_candidates import MAX_SCORED, sample_blocks
from nasc.supernet.scorer import Scorer
from nasc.supernet.scores import Scores, load_scores
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher


def direct_loss(supernet: Supernet, tokens: Tokens, position: int, block: Block) -> float:
    """Squared error over the variance of the target, written down once more."""
    batch = tokens.batch(range(32))
    mask, real = Mask.of(batch.attention_mask), batch.attention_mask.bool()
    with torch.no_grad():
        states = supernet.teacher_states(batch.input_ids, mask)
        out = supernet.forward_block(position, states[position], mask, block)[real]
    target = states[position + 1][real]
    return float((out - target).square().mean() / (target - target.mean(0)).square().mean())


@pytest.mark.slow
@pytest.mark.parametrize("ends", [(False, False), (True, False), (True, True)])
def test_shared_work_changes_no_loss(
    teacher: Teacher, tokens: Tokens, ends: tuple[bool, bool]
) -> None:
    supernet = random_supernet(teacher, operations=("mha", "ffn", "sep3"), slots=3)
    for block, from_end in zip(supernet.blocks, ends, strict=True):
        block.from_end = from_end
    batches = [tokens.batch(range(12)), tokens.batch(range(12, 32))]
    scorer = Scorer(supernet, batches)
    blocks = list(supernet.space.blocks())
    order = np.random.default_rng(0).permutation(len(blocks))
    blocks = [blocks[i] for i in order]
    for position in range(2):
        found = scorer.block_losses(position, blocks)
        assert found[blocks.index(supernet.space.kept_block)] == 0
        for i in range(0, len(blocks), 3):
            if not blocks[i].kept:
                wanted = direct_loss(supernet, tokens, position, blocks[i])
                assert found[i] == pytest.approx(wanted, rel=1e-4), str(blocks[i])


def test_a_candidate_without_its_beginnings_scores_the_same(
    teacher: Teacher, tokens: Tokens
) -> None:
    supernet = random_supernet(teacher)
    scorer = Scorer(supernet, [tokens.batch(range(32))])
    few = [Block(16, ("mha", "sep7", "ffn")), Block(8, ("ffn",)), Block(16, ("mha",))]
    one_by_one = [scorer.block_losses(1, [block])[0] for block in few]
    np.testing.assert_allclose(scorer.block_losses(1, few), one_by_one, rtol=1e-6)


def test_progress_counts_candidates(teacher: Teacher, tokens: Tokens) -> None:
    supernet = random_supernet(teacher, slots=2)
    calls: list[tuple[int, int]] = []
    blocks = list(supernet.space.blocks())
    Scorer(supernet, [tokens.batch(range(4))]).block_losses(
        0, blocks, lambda done, total, message: calls.append((done, total))
    )
    assert calls[-1] == (len(blocks) - 1, len(blocks) - 1)  # the kept one costs nothing
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.mark.parametrize("pooling", [Pooling(), Pooling("cls"), Pooling("max", scaled=False)])
def test_true_loss_is_that_of_the_network_cut_out(
    teacher: Teacher, tokens: Tokens, pooling: Pooling
) -> None:
    supernet = random_supernet(dataclasses.replace(teacher, pooling=pooling))
    space = supernet.space
    scorer = Scorer(supernet, [tokens.batch(range(12)), tokens.batch(range(12, 32))])
    assert scorer.final_loss(space.teacher.blocks) == pytest.approx(0, abs=1e-6)
    batch = tokens.batch(range(32))
    whole = TorchNetwork(supernet.extract(space.teacher))
    for text in ("8: M F | keep", "keep | 16: S3 F", "32: F | 8: M"):
        architecture = space.parse(text)
        with torch.no_grad():
            ours = TorchNetwork(supernet.extract(architecture))(
                batch.input_ids, batch.attention_mask
            )
            theirs = whole(batch.input_ids, batch.attention_mask)
        wanted = float((1 - functional.cosine_similarity(ours, theirs)).mean())
        assert scorer.final_loss(architecture.blocks) == pytest.approx(wanted, abs=1e-5)


def test_losses_taken_together_are_those_taken_alone(teacher: Teacher, tokens: Tokens) -> None:
    supernet = random_supernet(teacher)
    batches = [tokens.batch(range(12)), tokens.batch(range(12, 32))]
    texts = ("8: M F | keep", "8: M F | 32: F", "keep | keep", "8: M F | 8: M", "keep | 16: S3 F")
    networks = [supernet.space.parse(text).blocks for text in texts]
    networks += networks[:1]
    passes: list[Block] = []
    plain = supernet.forward_block

    def forward(index: int, x: torch.Tensor, mask: Mask, block: Block) -> torch.Tensor:
        passes.append(block)
        return plain(index, x, mask, block)

    together = Scorer(supernet, batches)
    supernet.forward_block = forward  # type: ignore[method-assign]
    found = together.final_losses(networks)
    assert len(passes) == 2 * 5  # in two batches: one beginning, and what follows on it or a kept
    assert list(together.final_losses(networks)) == list(found)
    assert len(passes) == 2 * 5
    supernet.forward_block = plain  # type: ignore[method-assign]
    alone = [Scorer(supernet, batches).final_loss(network) for network in networks]
    assert found == pytest.approx(alone)


def test_sensitivity_is_the_slope_through_the_origin(teacher: Teacher, tokens: Tokens) -> None:
    supernet = initialized_supernet(teacher, tokens)
    scorer = Scorer(supernet, [tokens.batch(range(64, 96))])
    blocks = [Block(h, ("mha", "ffn")) for h in (8, 16, 32)]
    for position in range(2):
        x = scorer.block_losses(position, blocks)
        slope, y = scorer.sensitivity(position, blocks, x)
        assert slope > 0
        assert slope == pytest.approx(float(np.linalg.lstsq(x[:, None], np.array(y))[0][0]))
        network = [supernet.space.kept_block] * 2
        network[position] = blocks[1]
        assert y[1] == scorer.final_loss(network)


def test_sensitivity_of_perfect_blocks_is_finite(teacher: Teacher, tokens: Tokens) -> None:
    supernet = random_supernet(teacher)
    scorer = Scorer(supernet, [tokens.batch(range(8))])
    slope, _ = scorer.sensitivity(0, [supernet.space.kept_block], [0.0])
    assert slope == pytest.approx(0, abs=1e-3)


# The candidates that are scored


def test_a_large_space_is_sampled_with_every_short_block(teacher: Teacher) -> None:
    space = random_supernet(teacher).space  # 3 * 780 + 1
    assert sample_blocks(space, np.random.default_rng(0)) == list(space.blocks())
    large = dataclasses.replace(space, slots=5)
    found = sample_blocks(large, np.random.default_rng(0))
    assert len(found) == len(set(found)) == MAX_SCORED
    assert large.kept_block in found
    short = {block for block in large.blocks() if len(block.operations) <= 3 and not block.kept}
    assert short <= set(found)
    assert found == sample_blocks(large, np.random.default_rng(0))
    assert found != sample_blocks(large, np.random.default_rng(1))


def test_the_first_run_leaves_convolutions_out(teacher: Teacher) -> None:
    space = random_supernet(teacher).space
    assert teacher_initialised_space(space).operations == ("mha", "ffn")
    only = space.restrict(operations=("sep3",))
    assert teacher_initialised_space(only) == only


# The file


@pytest.fixture
def scores(teacher: Teacher) -> Scores:
    space = random_supernet(teacher, slots=2).space
    blocks = tuple(space.blocks())
    losses = np.random.default_rng(0).random(len(blocks))
    losses[0] = 0
    return Scores(
        space,
        (blocks, blocks[:7]),
        (losses, losses[:7]),
        (0.25, 1 / 3),
        {"fp32": 0.0, "int8": -1e-4},
        7,
    )


def test_scores_survive_the_file(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    scores.save(path)
    found = load_scores(path)
    assert (found.space, found.blocks) == (scores.space, scores.blocks)
    assert (found.sensitivity, found.sentences) == (scores.sensitivity, 7)
    assert dict(found.precision_loss) == dict(scores.precision_loss)
    for ours, theirs in zip(found.losses, scores.losses, strict=True):
        assert np.array_equal(ours, theirs)


def test_positions_weigh_losses_by_sensitivity(scores: Scores) -> None:
    positions = scores.positions()
    assert positions[0].blocks == scores.blocks[0]
    assert np.array_equal(positions[1].loss, scores.losses[1] * (1 / 3))
    for found, slope in ((scores.unweighted_positions(), 1), (scores.uniform_positions(), 7 / 24)):
        assert [one.blocks for one in found] == list(scores.blocks)
        for one, losses in zip(found, scores.losses, strict=True):
            np.testing.assert_allclose(one.loss, slope * losses, rtol=1e-12)


def test_damaged_scores_are_a_message(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    with pytest.raises(CheckpointError, match=r"scores .*missing or damaged: .*No such file"):
        load_scores(path)
    scores.save(path)
    whole = path.read_text(encoding="utf-8")
    data = json.loads(whole)
    no_space = {k: v for k, v in data.items() if k != "space"}
    unknown = data | {"positions": [{"8: X": 0.5}, {"8: M": 0.5}]}
    missing = data | {"positions": data["positions"][:1]}
    for text in (
        whole[: len(whole) // 2],
        "[]",
        json.dumps(data | {"format": 99}),
        json.dumps(no_space),
        json.dumps(data | {"space": data["space"] | {"slots": 0}}),
        json.dumps(unknown),
        json.dumps(missing),
        "\x00",
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(CheckpointError, match=r"scores .* are missing or damaged: .+ Delete"):
            load_scores(path)
