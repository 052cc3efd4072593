"""Candidates that start from the teacher instead of from noise.

An operation of the teacher's hidden size gets the teacher's own weights. A narrower one
gets them projected on the leading principal directions of the block's hidden states
(`nasc.supernet.projection`). Separable convolutions have no counterpart in the teacher: they
start as the identity with fitted normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nasc.architecture.space import SEPCONV_PAIRS, Block, SearchSpace, kernel_size
from nasc.networks.from_teacher import attention, feed_forward
from nasc.networks.network import SETTLED
from nasc.networks.torch_network import Mask
from nasc.supernet.projection import (
    Trace,
    Weights,
    fit_exit,
    fit_operation_norm,
    leading,
    project,
    trace_layer,
)
from nasc.supernet.supernet import Supernet, SupernetBlock, operation_key

STARTS = {"teacher": "the teacher's weights", "scratch": "random weights"}
"""What candidates begin with, in words; random ones as in the paper."""

RANDOM_STD = 0.02
"""Of random matrices, as BERT starts (Devlin et al., 2019, `initializer_range`)."""


@torch.no_grad()
def randomize(supernet: Supernet, seed: int) -> None:
    """Set all candidates at random: matrices normal, biases 0, layer normalisation the identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in supernet.blocks.named_parameters():
        if value.dim() > 1:
            value.normal_(0, RANDOM_STD, generator=generator)
        else:
            value.fill_(float(name.endswith("ln_weight")))
    _settle(supernet)


def _settle(supernet: Supernet) -> None:
    """Give attention what of its teacher's layer is never trained."""
    space, n = supernet.space, supernet.space.layers_per_block
    for index, block in enumerate(supernet.blocks):
        for slot in range(space.slots):
            source = attention(supernet.teacher.layers[index * n + _source(space, slot)])
            settled = [name for name in SETTLED if name in source]
            for hidden in space.hidden_sizes if settled and "mha" in space.operations else ():
                own = block.operations[operation_key(slot, hidden, "mha")]  # type: ignore[index]
                for name in settled:
                    own[name].copy_(source[name])  # type: ignore[index]


@torch.no_grad()
def initialize(supernet: Supernet, input_ids: Tensor, attention_mask: Tensor, seed: int) -> None:
    """Set all candidates of a supernet from its teacher.

    Args:
        supernet: Changed in place.
        input_ids: (batch, seq_len) of calibration text; a few thousand tokens are enough.
        attention_mask: (batch, seq_len).
        seed: Of the separable convolutions' depthwise weights.
    """
    space, teacher = supernet.space, supernet.teacher
    generator = torch.Generator().manual_seed(seed)
    mask = Mask.of(attention_mask)
    real = attention_mask.bool()
    x = supernet.embed(input_ids)
    n = space.layers_per_block
    for index, block in enumerate(supernet.blocks):
        layers = [
            (attention(t), feed_forward(t)) for t in teacher.layers[index * n : (index + 1) * n]
        ]
        entry, traces = x, []
        for mha, ffn in layers:
            trace, x = trace_layer(space.geometry, supernet.eps, mha, ffn, x, mask, real)
            traces.append(trace)
        states = torch.cat([traces[0].before] + [s for t in traces for s in (t.middle, t.after)])
        directions = leading(states.T @ states, space.geometry.hidden)
        for hidden in space.hidden_sizes:
            basis = directions[:, :hidden]
            if hidden == space.geometry.hidden:
                basis = torch.eye(hidden)
            _fill(block, space, hidden, basis, layers, traces, generator)  # type: ignore[arg-type]
        _choose_end(block, entry, mask, real, traces[-1].after)  # type: ignore[arg-type]
        for hidden in space.hidden_sizes:
            if hidden != space.geometry.hidden:
                basis = directions[:, :hidden]
                _fit_maps(block, hidden, basis, entry, mask, real, traces[-1].after)  # type: ignore[arg-type]


def _source(space: SearchSpace, slot: int) -> int:
    """Which of a block's layers of the teacher a slot starts from."""
    n = space.layers_per_block
    return min(slot * n // space.slots, n - 1)


def _fill(
    block: SupernetBlock,
    space: SearchSpace,
    hidden: int,
    basis: Tensor,
    layers: Sequence[tuple[Weights, Weights]],
    traces: Sequence[Trace],
    generator: torch.Generator,
) -> None:
    """All operations of one hidden size in one block."""
    for slot in range(space.slots):
        source = _source(space, slot)
        (mha, ffn), trace = layers[source], traces[source]
        for operation in space.operations:
            own = block.operations[operation_key(slot, hidden, operation)]
            if operation in ("mha", "ffn"):
                values = project(operation, mha, ffn, trace, basis, space.geometry, block.eps)
            else:
                values = _fresh_sepconv(hidden, kernel_size(operation), generator)
                start = trace.middle if slot % 2 else trace.before
                target = trace.after if slot % 2 else trace.middle
                about = (start, torch.zeros(len(start), hidden), target, trace, None)
                values |= fit_operation_norm(values, *about, basis, space.geometry, block.eps)
            for name, value in values.items():
                own[name].copy_(value)  # type: ignore[index]


def _fresh_sepconv(hidden: int, kernel: int, generator: torch.Generator) -> dict[str, Tensor]:
    found = {}
    for pair in range(1, SEPCONV_PAIRS + 1):
        noise = torch.randn(hidden, kernel, generator=generator)
        found[f"dw{pair}_weight"] = noise / kernel**0.5
        found[f"dw{pair}_bias"] = torch.zeros(hidden)
        last = pair == SEPCONV_PAIRS
        noise = torch.randn(hidden, hidden, generator=generator) * (2 / hidden) ** 0.5
        found[f"pw{pair}_weight"] = torch.zeros(hidden, hidden) if last else noise
        found[f"pw{pair}_bias"] = torch.zeros(hidden)
    return found


def _choose_end(
    block: SupernetBlock, entry: Tensor, mask: Mask, real: Tensor, target: Tensor
) -> None:
    """Which end of the slots short blocks use: where half of the operations do better.

    Measured at the largest hidden size, on the attention/feed-forward path.
    """
    path = [o for o in ("mha", "ffn") if o in block.space.operations]
    hidden, length = block.space.hidden_sizes[-1], block.space.slots // 2
    if not path or not length or hidden != block.space.geometry.hidden:
        return
    losses = []
    for from_end in (False, True):
        block.from_end = from_end
        half = Block(hidden, tuple(path[i % len(path)] for i in range(length)))
        losses.append(float((block(entry, mask, half)[real] - target).square().sum()))
    block.from_end = losses[1] < losses[0]


def _fit_maps(
    block: SupernetBlock,
    hidden: int,
    basis: Tensor,
    entry: Tensor,
    mask: Mask,
    real: Tensor,
    target: Tensor,
) -> None:
    """The maps of a narrower block: in by projection, out by ridge regression.

    The regression is over what the block's own attention/feed-forward path gives.
    """
    enter, leave = block.maps_in[str(hidden)], block.maps_out[str(hidden)]
    enter["weight"].copy_(basis.T)  # type: ignore[index]
    x = block.enter(entry, hidden)
    path = [o for o in ("mha", "ffn") if o in block.space.operations]
    for slot in range(block.space.slots if path else 0):
        x = block.operate(slot, hidden, path[slot % len(path)], x, mask)
    for name, value in fit_exit(x[real], target).items():
        leave[name].copy_(value)  # type: ignore[index]
