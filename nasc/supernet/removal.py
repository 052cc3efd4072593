"""What a round of shrinking removes of one position, by the dev losses of a sample.

Every rule takes the candidates, those that are left and trained, the sample out of them, its
losses, and how many are to be kept.
"""

from __future__ import annotations

import math

import numpy as np

from nasc.architecture.space import Block
from nasc.solver.dominance import skyband
from nasc.supernet.candidates import Candidates, Floats, Ints

OPERATION_SHARE = 0.1
"""Part of a block's operations that a round of pruning operations removes at most. The paper does
not say; a tenth takes about as many rounds as pruning architectures does."""


def worst_architectures(
    candidates: Candidates, trained: Ints, sampled: Ints, loss: Floats, keep: int
) -> Ints:
    """The worse half of each bin's sample, as places.

    Args:
        candidates: Of a position.
        trained: Places of those that are still trained.
        sampled: Places of those that were judged now.
        loss: Of each of these.
        keep: So many stay in every bin.
    """
    bins = candidates.bin[sampled]
    left = candidates.count(trained)
    removed = []
    for b in np.unique(bins):
        own = np.flatnonzero(bins == b)
        count = min(len(own) // 2, int(left[b]) - keep)
        order = own[np.argsort(loss[own], kind="stable")]
        removed.append(sampled[order[len(order) - count :]])
    return np.concatenate(removed)


def worst_operations(
    candidates: Candidates, trained: Ints, sampled: Ints, loss: Floats, keep: int
) -> Ints:
    """Everything that holds one of the worst operations; a bin that would run short keeps it.

    Where every operation is needed by some bin there are none, and sub-architectures are
    removed one by one. An operation is one of a place in the block and a hidden size. Its loss
    is the mean over the sampled sub-architectures that hold it, each relative to the mean of
    its bin, for bins differ more than operations do.

    Args:
        candidates: Of a position.
        trained: Places of those that are still trained.
        sampled: Places of those that were judged now.
        loss: Of each of these.
        keep: So many stay in every bin.
    """
    blocks, bins = candidates.blocks, candidates.bin
    relative = loss.copy()
    for b in np.unique(bins[sampled]):
        own = bins[sampled] == b
        relative[own] /= relative[own].mean()
    sums: dict[tuple[int, int, str], list[float]] = {}
    for i, value in zip(sampled, relative, strict=True):
        for key in operations_of(blocks[i]):
            sums.setdefault(key, []).append(float(value))
    holders: dict[tuple[int, int, str], list[int]] = {}
    for i in trained:
        for key in operations_of(blocks[i]):
            holders.setdefault(key, []).append(int(i))
    worst = sorted(sums, key=lambda key: (-math.fsum(sums[key]) / len(sums[key]), key))
    left, gone = candidates.count(trained), np.zeros(len(blocks), np.bool_)
    most = max(1, round(OPERATION_SHARE * len(holders)))
    for key in worst:
        own = [i for i in holders[key] if not gone[i]]
        after = left - candidates.count(np.array(own, np.int64))
        if (after < np.minimum(left, keep)).any():
            continue
        gone[own], left, most = True, after, most - 1
        if most == 0:
            break
    return np.flatnonzero(gone)


def dominated(
    candidates: Candidates, trained: Ints, sampled: Ints, loss: Floats, keep: int
) -> Ints:
    """What `keep` others of its hidden size beat, as places; the kept block is one of the others.

    Args:
        candidates: Of a position.
        trained: Places of those that are still trained.
        sampled: Places of those that were judged now.
        loss: Of each of these.
        keep: So many have to be better in loss, parameters and length.
    """
    kept = np.array([i for i, b in enumerate(candidates.blocks) if b.kept], np.int64)
    everything = np.concatenate([sampled, kept])
    losses = np.concatenate([loss, np.zeros(len(kept))])
    hidden = np.array([candidates.blocks[i].hidden for i in everything])
    count = np.array([len(candidates.blocks[i].operations) for i in everything])
    costs = np.stack([candidates.params[everything], count], axis=1).astype(np.float64)
    left = [
        everything[own][skyband(losses[own], np.arange(len(own)), costs[own], keep)]
        for own in (np.flatnonzero(hidden == h) for h in np.unique(hidden))
    ]
    return np.setdiff1d(sampled, np.concatenate(left))


def operations_of(block: Block) -> list[tuple[int, int, str]]:
    """(slot, hidden size, operation) of everything a block holds."""
    return [(slot, block.hidden, o) for slot, o in enumerate(block.operations)]
