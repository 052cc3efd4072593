"""Candidates that start from the teacher instead of from noise.

An operation of the teacher's hidden size gets the teacher's own weights. A narrower one
gets them projected on the leading principal directions of the block's hidden states, with
the heads and inner neurons that matter most; what the dropped ones gave on average moves
into the bias, and layer normalisation is fitted to the projected target. (Width pruning
by principal directions as in SliceGPT, Ashkboos et al., ICLR 2024; importance by measured
contribution as in Molchanov et al., CVPR 2019.) Separable convolutions have no
counterpart in the teacher: they start as the identity with fitted normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nasc.architecture.layers import Layer
from nasc.architecture.space import SEPCONV_PAIRS, Block, SearchSpace, kernel_size
from nasc.networks.from_teacher import attention, feed_forward
from nasc.networks.network import SETTLED
from nasc.networks.torch_network import (
    Mask,
    apply_layer,
    attention_context,
    feed_forward_inner,
    normalized_input,
)
from nasc.supernet.supernet import Supernet, SupernetBlock, operation_key

STARTS = {"teacher": "the teacher's weights", "scratch": "random weights"}
"""What candidates begin with, in words; random ones as in the paper."""

RANDOM_STD = 0.02
"""Of random matrices, as BERT starts (Devlin et al., 2019, `initializer_range`)."""

RIDGE = 1e-3
"""Ridge of the least-squares output maps, relative to the mean square of the inputs."""

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class _Trace:
    """What one teacher layer read and gave on the calibration tokens, each (tokens, size).

    `read` and `read_middle` are what its products are of: `before` and `middle`, normalised where
    that comes first.
    """

    before: Tensor
    read: Tensor
    context: Tensor
    middle: Tensor
    read_middle: Tensor
    inner: Tensor
    after: Tensor


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
            trace, x = _trace(supernet, mha, ffn, x, mask, real)
            traces.append(trace)
        states = torch.cat([traces[0].before] + [s for t in traces for s in (t.middle, t.after)])
        _, directions = torch.linalg.eigh(states.T @ states)
        for hidden in space.hidden_sizes:
            basis = directions.flip(1)[:, :hidden]
            if hidden == space.geometry.hidden:
                basis = torch.eye(hidden)
            _fill(block, space, hidden, basis, layers, traces, generator)  # type: ignore[arg-type]
        _choose_end(block, entry, mask, real, traces[-1].after)  # type: ignore[arg-type]
        for hidden in space.hidden_sizes:
            if hidden != space.geometry.hidden:
                basis = directions.flip(1)[:, :hidden]
                _fit_maps(block, hidden, basis, entry, mask, real, traces[-1].after)  # type: ignore[arg-type]


def _trace(
    supernet: Supernet, mha: Weights, ffn: Weights, x: Tensor, mask: Mask, real: Tensor
) -> tuple[_Trace, Tensor]:
    g, eps = supernet.space.geometry, supernet.eps
    read = normalized_input(mha, x, eps) if g.pre_norm else x
    context = attention_context(mha, read, mask, g.head_size)
    middle = apply_layer(Layer("mha", g.hidden, g.hidden), mha, x, mask, g, eps)
    read_middle = normalized_input(ffn, middle, eps) if g.pre_norm else middle
    inner = feed_forward_inner(ffn, read_middle, g.activation)
    after = apply_layer(Layer("ffn", g.hidden, g.hidden), ffn, middle, mask, g, eps)
    given = (x, read, context, middle, read_middle, inner, after)
    return _Trace(*(one[real] for one in given)), after


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
    traces: Sequence[_Trace],
    generator: torch.Generator,
) -> None:
    """All operations of one hidden size in one block."""
    g = space.geometry
    for slot in range(space.slots):
        source = _source(space, slot)
        (mha, ffn), trace = layers[source], traces[source]
        for operation in space.operations:
            own = block.operations[operation_key(slot, hidden, operation)]
            if operation == "mha":
                values = _narrow_mha(mha, trace, basis, g.head_size)
                update = _mha_update(mha, trace, basis, g.head_size)
                start, target, norm = trace.before, trace.middle, mha
            elif operation == "ffn":
                values, update = _narrow_ffn(ffn, trace, basis, g.inner(hidden), g.activation)
                start, target, norm = trace.middle, trace.after, ffn
            else:
                values = _fresh_sepconv(hidden, kernel_size(operation), generator)
                start = trace.middle if slot % 2 else trace.before
                target = trace.after if slot % 2 else trace.middle
                update, norm = torch.zeros(len(start), hidden), None
            if g.pre_norm:  # of what is read, whatever the operation adds
                update, start = torch.zeros(len(start), hidden), start
                target = trace.read if start is trace.before else trace.read_middle
            if "normed" in values and not bool(values["normed"]):
                values |= {"ln_weight": torch.ones(hidden), "ln_bias": torch.zeros(hidden)}
            elif norm is not None and hidden == g.hidden:
                values |= {"ln_weight": norm["ln_weight"], "ln_bias": norm["ln_bias"]}
            else:
                values |= _fit_norm(start @ basis + update, target @ basis, block.eps)
            for name, value in values.items():
                own[name].copy_(value)  # type: ignore[index]


def _chosen_heads(mha: Weights, trace: _Trace, keep: int, head_size: int) -> Tensor:
    """The `keep` heads whose output is largest, in their order."""
    parts = torch.split(trace.context, head_size, dim=1)
    weights = torch.split(mha["o_weight"], head_size, dim=1)
    size = torch.stack([(p @ w.T).square().sum() for p, w in zip(parts, weights, strict=True)])
    return size.topk(keep).indices.sort().values


def _columns(heads: Tensor, head_size: int) -> Tensor:
    """Columns of heads, one head after the other."""
    return (heads[:, None] * head_size + torch.arange(head_size)).flatten()


def _dropped_mean(weight: Tensor, inputs: Tensor, kept: Tensor) -> Tensor:
    """What the inputs that were dropped gave on average: (outputs,)."""
    mean = inputs.mean(0)
    mean[kept] = 0
    return weight @ mean


def _narrow_mha(mha: Weights, trace: _Trace, basis: Tensor, head_size: int) -> dict[str, Tensor]:
    heads = _chosen_heads(mha, trace, basis.shape[1] // head_size, head_size)
    kept, found = _columns(heads, head_size), {n: mha[n] for n in SETTLED if n in mha}
    if "bucket_bias" in mha:
        found["bucket_bias"] = mha["bucket_bias"][:, heads]
    for name in "qkv":
        found[f"{name}_weight"] = mha[f"{name}_weight"][kept] @ basis
        found[f"{name}_bias"] = mha[f"{name}_bias"][kept]
    found["o_weight"] = basis.T @ mha["o_weight"][:, kept]
    lost = _dropped_mean(mha["o_weight"], trace.context, kept)
    found["o_bias"] = basis.T @ (mha["o_bias"] + lost)
    return found


def _mha_update(mha: Weights, trace: _Trace, basis: Tensor, head_size: int) -> Tensor:
    """What the narrowed attention adds, with the teacher's attention weights."""
    heads = _chosen_heads(mha, trace, basis.shape[1] // head_size, head_size)
    kept = _columns(heads, head_size)
    lost = _dropped_mean(mha["o_weight"], trace.context, kept)
    update = trace.context[:, kept] @ mha["o_weight"][:, kept].T + mha["o_bias"] + lost
    return update @ basis


def _narrow_ffn(
    ffn: Weights, trace: _Trace, basis: Tensor, keep: int, activation: str
) -> tuple[dict[str, Tensor], Tensor]:
    size = trace.inner.square().mean(0) * ffn["out_weight"].square().sum(0)
    kept = size.topk(keep).indices.sort().values
    lost = _dropped_mean(ffn["out_weight"], trace.inner, kept)
    found = {
        "in_weight": ffn["in_weight"][kept] @ basis,
        "in_bias": ffn["in_bias"][kept],
        "out_weight": basis.T @ ffn["out_weight"][:, kept],
        "out_bias": basis.T @ (ffn["out_bias"] + lost),
    }
    if "gate_weight" in ffn:
        found["gate_weight"] = ffn["gate_weight"][kept] @ basis
        found["gate_bias"] = ffn["gate_bias"][kept]
    inner = feed_forward_inner(found, trace.read_middle @ basis, activation)
    return found, functional.linear(inner, found["out_weight"], found["out_bias"])


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


def _fit_norm(before: Tensor, target: Tensor, eps: float) -> dict[str, Tensor]:
    """Scale and shift of layer normalisation by least squares, per coordinate.

    Args:
        before: (tokens, hidden), what is normalised.
        target: (tokens, hidden), what should come out.
        eps: Of layer normalisation.
    """
    x = functional.layer_norm(before, before.shape[-1:], eps=eps)
    x_mean, t_mean = x.mean(0), target.mean(0)
    slope = ((x - x_mean) * (target - t_mean)).mean(0) / (x - x_mean).square().mean(0).clamp(1e-9)
    return {"ln_weight": slope, "ln_bias": t_mean - slope * x_mean}


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
    given = torch.cat([x[real], torch.ones(int(real.sum()), 1)], dim=1).double()
    gram = given.T @ given
    ridge = RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype)
    ridge[-1, -1] = 0
    solution = torch.linalg.solve(gram + ridge, given.T @ target.double()).float()
    leave["weight"].copy_(solution[:-1].T)  # type: ignore[index]
    leave["bias"].copy_(solution[-1])  # type: ignore[index]
