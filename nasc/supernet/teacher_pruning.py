"""The teacher with some of its operations left out, its weights as they are.

Such networks are part of a search space whose blocks may be kept, but the supernet's loss
underrates them: they start far from the teacher and learn fast, for nothing else in them has to
be learnt. Which operations to leave out is found by backward elimination with a beam.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from nasc.architecture.layers import Layer
from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.data.tokens import Batch
from nasc.errors import InfeasibleLimits
from nasc.networks.from_teacher import (
    attention,
    embedding,
    feed_forward,
    final_norm,
    teacher_network,
)
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, apply_layer, embed, normalize_output, pool
from nasc.solver.problem import Solution
from nasc.teacher import Teacher

BEAM = 3
"""Partly pruned teachers that are followed at a time."""

FINALISTS = 3 * BEAM
"""Of those that lack one more operation, or layer: so many, the best by their rough loss, have
their loss taken."""

MOST_BY_OPERATION = 12
"""Layers of a teacher that is pruned operation by operation; of deeper ones whole layers go, since
the losses to be taken grow with the square of what can be left out."""

Kept = tuple[bool, ...]
"""Of every operation of the teacher, attention and feed-forward in turn, whether it stays."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned teacher within the limits.

    Attributes:
        solution: Its architecture with what it costs.
        kept: Its operations.
        loss: One minus the mean cosine of its sentence vectors to the teacher's.
    """

    solution: Solution
    kept: Kept
    loss: float


def architecture_of(space: SearchSpace, kept: Kept, precision: str) -> Architecture:
    """A pruned teacher as an architecture of the space.

    Raises:
        UsageError: If the space does not hold it.
    """
    per_block = 2 * space.layers_per_block
    names = ("mha", "ffn") * space.layers_per_block
    blocks = []
    for begin in range(0, len(kept), per_block):
        own = kept[begin : begin + per_block]
        operations = tuple(itertools.compress(names, own))
        if all(own):
            blocks.append(space.kept_block)
        elif operations:
            blocks.append(Block(space.geometry.hidden, operations))
        else:
            blocks.append(space.skipped_block)
    architecture = Architecture(tuple(blocks), precision)
    space.check(architecture)
    return architecture


def pruned_network(
    teacher: Teacher, space: SearchSpace, kept: Kept, precision: str, head: str
) -> Network:
    """A pruned teacher with its weights.

    Args:
        teacher: Whose weights they are.
        space: That it is an architecture of.
        kept: Whether each of the teacher's layers stays.
        precision: Of the network.
        head: Of the network, see `nasc.architecture.heads`.
    """
    whole = teacher_network(teacher, space.teacher, head)
    body = itertools.compress(whole.tensors[1:-1], kept)
    return Network(
        architecture_of(space, kept, precision),
        whole.geometry,
        head,
        (whole.tensors[0], *body, whole.tensors[-1]),
        whole.layer_norm_eps,
    )


class PrunedLoss:
    """Losses of pruned teachers on some batches; what two share of their beginning runs once."""

    def __init__(
        self,
        teacher: Teacher,
        space: SearchSpace,
        batches: Sequence[Batch],
        bf16: bool = False,
    ) -> None:
        """Run the teacher once.

        Args:
            teacher: Whose operations are left out.
            space: That pruned teachers are architectures of.
            batches: What they are compared on.
            bf16: Whether products are computed in bfloat16, the whole teacher's too.
        """
        self._autocast = partial(torch.autocast, teacher.device.type, torch.bfloat16, enabled=bf16)
        self._space, self._eps = space, teacher.geometry.layer_norm_eps
        self._pooling = teacher.pooling.mode
        hidden = space.geometry.hidden
        self._operations = [
            (Layer(kind, hidden, hidden), tensors)
            for layer in teacher.layers
            for kind, tensors in (("mha", attention(layer)), ("ffn", feed_forward(layer)))
        ]
        self._norm = final_norm(teacher)
        self._masks = [Mask.of(batch.attention_mask) for batch in batches]
        tables = embedding(teacher)
        with torch.no_grad():
            separator = space.geometry.separator
            start = [embed(tables, batch.input_ids, self._eps, separator) for batch in batches]
        self._states: dict[Kept, list[Tensor]] = {(): start}
        self._known: dict[Kept, float] = {}
        self._wanted = self._vectors((True,) * len(self._operations))

    @torch.no_grad()
    def _vectors(self, kept: Kept) -> list[Tensor]:
        done = next(n for n in range(len(kept), -1, -1) if kept[:n] in self._states)
        states = self._states[kept[:done]]
        path = {kept[:done]: states}
        for n in range(done, len(kept)):
            if kept[n]:
                layer, tensors = self._operations[n]
                with self._autocast():
                    states = [
                        apply_layer(layer, tensors, x, mask, self._space.geometry, self._eps)
                        for x, mask in zip(states, self._masks, strict=True)
                    ]
            path[kept[: n + 1]] = states
        # Only the latest path is remembered: neighbours in order share the most of it.
        self._states = {(): self._states[()]} | path
        return [
            functional.normalize(
                pool(normalize_output(self._norm, x.float(), self._eps), mask, self._pooling),
                dim=-1,
            )
            for x, mask in zip(states, self._masks, strict=True)
        ]

    def __call__(self, kept: Kept) -> float:
        """One minus the mean cosine to the whole teacher's vectors."""
        if kept not in self._known:
            pairs = zip(self._vectors(kept), self._wanted, strict=True)
            cosines = torch.cat([(ours * theirs).sum(-1) for ours, theirs in pairs])
            self._known[kept] = 1 - float(cosines.mean())
        return self._known[kept]


def _operations_at_a_time(space: SearchSpace) -> int:
    """Operations that are left out at a time: one, or a block where the space holds no less.

    Of a teacher deeper than `MOST_BY_OPERATION` two, a layer.
    """
    block = 2 * space.layers_per_block
    holds = space.geometry.hidden in space.hidden_sizes and {"mha", "ffn"} <= set(space.operations)
    size = 1 if space.geometry.layers <= MOST_BY_OPERATION else 2
    if not holds or space.slots < block - size:
        return block
    return size


def _with_less(space: SearchSpace, kept: Kept) -> Iterator[Kept]:
    """All that leave out so many operations more."""
    size = _operations_at_a_time(space)
    for begin in range(0, len(kept), size):
        if any(kept[begin : begin + size]):
            yield (*kept[:begin], *(False,) * size, *kept[begin + size :])


def _least(some: Iterable[Kept], value: Callable[[Kept], float], count: int) -> list[Kept]:
    """So many of some, those with the least value, in the order in which they share the most."""
    least = sorted((value(kept), kept) for kept in some)[:count]
    return sorted((kept for _, kept in least), reverse=True)


def prune(
    space: SearchSpace,
    precision: str,
    loss: Callable[[Kept], float],
    rough: Callable[[Kept], float],
    latency_ms: Callable[[Architecture], float],
    solution: Callable[[Architecture], Solution],
    progress: Callable[[int, int, str], None] | None = None,
    most_loss: float = math.inf,
) -> Pruned | None:
    """The pruned teacher within limits that comes closest to the whole one before training.

    Operations are left out one at a time, of deep teachers layers; of those that are still over a
    limit, the few with the least loss for each millisecond saved are followed. Losses are taken of
    those that a rough loss finds promising.

    Args:
        space: Whose teacher.
        precision: Of the network.
        loss: Of a pruned teacher.
        rough: The same from less, in less time: those with the least have their loss taken.
        latency_ms: Predicted.
        solution: Its costs; InfeasibleLimits if it is over a limit.
        progress: Called with (rounds done, in all, message).
        most_loss: With which one is wanted. The search ends where all that are followed have more:
            what leaves out more than they do has more still, as a rule.

    Returns:
        None if the space does not hold pruned teachers, or none that is wanted is within the
        limits.
    """
    if not space.keep or not space.skip:
        return None
    count = 2 * space.geometry.layers
    beam: list[Kept] = [(True,) * count]
    whole_ms = latency_ms(architecture_of(space, beam[0], precision))
    best: Pruned | None = None
    rounds = count // _operations_at_a_time(space)
    for done in range(rounds):
        if progress is not None:
            progress(done + 1, rounds, f"{len(beam)} followed")
        over: dict[Kept, float] = {}
        within: dict[Kept, Solution] = {}
        for kept in sorted({k for b in beam for k in _with_less(space, b)}, reverse=True):
            architecture = architecture_of(space, kept, precision)
            try:
                within[kept] = solution(architecture)
            except InfeasibleLimits:
                over[kept] = max(whole_ms - latency_ms(architecture), 1e-9)
        for kept in _least(within, rough, FINALISTS):
            if best is None or loss(kept) < best.loss:
                best = Pruned(within[kept], kept, loss(kept))
        roughly = {kept: rough(kept) / saved_ms for kept, saved_ms in over.items()}
        followed = {k: loss(k) / over[k] for k in _least(roughly, roughly.__getitem__, FINALISTS)}
        beam = _least(followed, followed.__getitem__, BEAM)
        if all(loss(kept) > most_loss for kept in beam):
            break
    return None if best is None or best.loss > most_loss else best
