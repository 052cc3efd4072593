"""Which path of a block a training step takes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nasc.architecture.space import Block, SearchSpace

SAMPLINGS = ("balanced", "uniform")
"""uniform: every sub-architecture alike (the paper). balanced: every hidden size alike,
then every length, then every order of operations; short and narrow paths get their share."""

Sample = Callable[[int, np.random.Generator], Block]
"""The path that a step takes through the block of a position."""


def sample_block(space: SearchSpace, sampling: str, rng: np.random.Generator) -> Block:
    """A random student block (never the kept one)."""
    hidden = int(rng.choice(space.hidden_sizes))
    k = len(space.operations)
    lengths = np.arange(1, space.slots + 1)
    weights = np.ones(space.slots) if sampling == "balanced" else float(k) ** lengths
    length = int(rng.choice(lengths, p=weights / weights.sum()))
    return Block(hidden, tuple(str(o) for o in rng.choice(space.operations, size=length)))
