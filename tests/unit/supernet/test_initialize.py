"""Candidates start from the teacher: exactly at its width, better than noise below it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from supernet_toy import initialized_supernet, random_supernet, state, toy_space

from nasc.architecture.space import Block
from nasc.data.tokens import Tokens
from nasc.networks.torch_network import Mask
from nasc.supernet.initialize import randomize
from nasc.supernet.scorer import Scorer
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher

WHOLE = ("mha", "ffn", "mha", "ffn")


def losses(supernet: Supernet, tokens: Tokens, blocks: list[Block]) -> list[np.ndarray]:
    """By position, on sentences that were not calibrated on."""
    scorer = Scorer(supernet, [tokens.batch(range(64, 96))])
    return [scorer.block_losses(p, blocks) for p in range(supernet.space.n_blocks)]


def test_the_whole_path_at_full_width_is_the_teacher(teacher: Teacher, tokens: Tokens) -> None:
    supernet = initialized_supernet(teacher, tokens)
    for found in losses(supernet, tokens, [Block(32, WHOLE)]):
        assert found[0] < 1e-10


def test_full_width_operations_hold_the_teacher_s_weights(teacher: Teacher, tokens: Tokens) -> None:
    supernet = initialized_supernet(teacher, tokens)
    mha = supernet.blocks[1].operations["3/32/mha"]
    assert torch.equal(mha["q_weight"], teacher.layers[3].q_w)
    assert torch.equal(mha["o_bias"], teacher.layers[3].o_b)
    assert torch.equal(mha["ln_weight"], teacher.layers[3].ln1_w)
    ffn = supernet.blocks[0].operations["1/32/ffn"]
    assert torch.equal(ffn["in_weight"], teacher.layers[0].ff1_w)
    assert torch.equal(ffn["ln_bias"], teacher.layers[0].ln2_b)


@pytest.mark.parametrize("hidden", [8, 16])
def test_narrow_candidates_start_better_than_noise(
    teacher: Teacher, tokens: Tokens, hidden: int
) -> None:
    blocks = [Block(hidden, WHOLE)]
    ours = losses(initialized_supernet(teacher, tokens), tokens, blocks)
    noise = losses(random_supernet(teacher), tokens, blocks)
    for mine, theirs in zip(ours, noise, strict=True):
        assert mine[0] < 1 < theirs[0]  # 1: predicting the mean


def test_wider_starts_better(teacher: Teacher, tokens: Tokens) -> None:
    found = losses(
        initialized_supernet(teacher, tokens), tokens, [Block(h, WHOLE) for h in (8, 16, 32)]
    )
    for by_width in found:
        assert by_width[0] > by_width[1] > by_width[2]


def test_convolutions_start_as_the_identity(teacher: Teacher, tokens: Tokens) -> None:
    """Fitted normalisation and nothing added: the kernel makes no difference yet."""
    blocks = [Block(h, (o,)) for h in (16, 32) for o in ("sep3", "sep5", "sep7")]
    ours = losses(initialized_supernet(teacher, tokens), tokens, blocks)
    for mine in ours:
        np.testing.assert_allclose(mine[:3], mine[0], rtol=1e-6)
        np.testing.assert_allclose(mine[3:], mine[3], rtol=1e-6)


def test_same_seed_same_weights_other_seed_other_convolutions(
    teacher: Teacher, tokens: Tokens
) -> None:
    first, again, other = (initialized_supernet(teacher, tokens, seed) for seed in (0, 0, 1))
    assert [b.from_end for b in first.blocks] == [b.from_end for b in again.blocks]
    same, changed = state(again), state(other)
    for name, value in state(first).items():
        assert torch.equal(value, same[name]), name
        differs = not torch.equal(value, changed[name])
        drawn = "/sep" in name and "weight" in name and ".dw" in name
        drawn |= name.endswith("pw1_weight")
        assert differs == drawn, name


def test_short_blocks_use_the_end_that_does_better(teacher: Teacher, tokens: Tokens) -> None:
    supernet = initialized_supernet(teacher, tokens)
    half = [Block(32, ("mha", "ffn"))]
    batch = [tokens.batch(range(64))]  # as calibrated
    for position, block in enumerate(supernet.blocks):
        by_end = {}
        chosen = block.from_end
        for from_end in (False, True):
            block.from_end = from_end
            by_end[from_end] = Scorer(supernet, batch).block_losses(position, half)[0]
        assert by_end[chosen] == min(by_end.values())


def test_a_space_without_the_teacher_s_width_or_operations(
    teacher: Teacher, tokens: Tokens
) -> None:
    for changes in ({"hidden_sizes": (8, 16)}, {"operations": ("sep3",)}):
        supernet = initialized_supernet(teacher, tokens, **changes)
        assert not any(block.from_end for block in supernet.blocks)
        assert all(torch.isfinite(value).all() for value in state(supernet).values())


def test_a_random_start_knows_nothing_of_the_teacher(teacher: Teacher, tokens: Tokens) -> None:
    first, again, other = (Supernet(toy_space(teacher), teacher) for _ in range(3))
    for supernet, seed in ((first, 0), (again, 0), (other, 1)):
        randomize(supernet, seed)
    for name, value in first.blocks.named_parameters():
        same = again.blocks.get_parameter(name)
        assert torch.equal(value, same)
        if value.dim() > 1:
            assert not torch.equal(value, other.blocks.get_parameter(name))
            assert 0.01 < value.std() < 0.03
    x = torch.randn(2, 3, 16)
    mask = Mask.of(torch.ones(2, 3, dtype=torch.int64))
    found = first.blocks[0].operate(0, 16, "mha", x, mask)  # type: ignore[operator]
    spread = found.std(-1, correction=0)  # layer normalisation begins as the identity
    torch.testing.assert_close(spread, torch.ones(2, 3), rtol=1e-3, atol=0)


def test_the_teacher_is_left_alone(teacher: Teacher, tokens: Tokens) -> None:
    before = [layer.q_w.clone() for layer in teacher.layers]
    initialized_supernet(teacher, tokens)
    for old, layer in zip(before, teacher.layers, strict=True):
        assert torch.equal(old, layer.q_w)
