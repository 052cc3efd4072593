"""The teacher's layers at a smaller hidden size: projected, not trained.

Matrices are projected on the leading principal directions of hidden states, with the heads and
inner neurons that matter most; what the dropped ones gave on average moves into the bias, and
layer normalisation is fitted to the projected target. (Width pruning by principal directions as in
SliceGPT, Ashkboos et al., ICLR 2024; importance by measured contribution as in Molchanov et al.,
CVPR 2019.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from nasc.architecture.layers import Layer
from nasc.architecture.space import Geometry
from nasc.networks.network import SETTLED
from nasc.networks.torch_network import (
    Mask,
    apply_layer,
    attention_context,
    feed_forward_inner,
    normalized_input,
)

RIDGE = 1e-3
"""Ridge of the least-squares output maps, relative to the mean square of the inputs."""

Weights = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Trace:
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


def trace_layer(
    geometry: Geometry, eps: float, mha: Weights, ffn: Weights, x: Tensor, mask: Mask, real: Tensor
) -> tuple[Trace, Tensor]:
    """Run one layer of a teacher.

    Args:
        geometry: Of the teacher.
        eps: Of its layer normalisation.
        mha: Its attention.
        ffn: Its feed-forward layer.
        x: (batch, seq_len, hidden).
        mask: Of the batch.
        real: (batch, seq_len), which tokens are traced.

    Returns:
        The trace of the real tokens, and what the layer gives, of the shape of x.
    """
    g = geometry
    read = normalized_input(mha, x, eps) if g.pre_norm else x
    context = attention_context(mha, read, mask, g.head_size)
    middle = apply_layer(Layer("mha", g.hidden, g.hidden), mha, x, mask, g, eps)
    read_middle = normalized_input(ffn, middle, eps) if g.pre_norm else middle
    inner = feed_forward_inner(ffn, read_middle, g.activation)
    after = apply_layer(Layer("ffn", g.hidden, g.hidden), ffn, middle, mask, g, eps)
    given = (x, read, context, middle, read_middle, inner, after)
    return Trace(*(one[real] for one in given)), after


def leading(states: Tensor, hidden: int) -> Tensor:
    """Principal directions of states, the first of them.

    Args:
        states: (size, size), the sum over all states of their outer products.
        hidden: How many.

    Returns:
        (size, hidden), orthonormal columns.
    """
    directions: Tensor = torch.linalg.eigh(states).eigenvectors
    return directions.flip(1)[:, :hidden]


def project(
    operation: str,
    mha: Weights,
    ffn: Weights,
    trace: Trace,
    basis: Tensor,
    geometry: Geometry,
    eps: float,
) -> dict[str, Tensor]:
    """An operation of a teacher's layer at a smaller hidden size.

    Args:
        operation: ``mha`` or ``ffn``.
        mha: The layer's attention.
        ffn: The layer's feed-forward half.
        trace: Of the layer.
        basis: (teacher's hidden size, hidden size), orthonormal columns; the identity gives the
            teacher's own.
        geometry: Of the teacher.
        eps: Of layer normalisation.

    Returns:
        Its tensors.
    """
    if operation == "mha":
        values = _narrow_mha(mha, trace, basis, geometry.head_size)
        update = _mha_update(mha, trace, basis, geometry.head_size)
        start, target, norm = trace.before, trace.middle, mha
    else:
        keep = geometry.inner(basis.shape[1])
        values, update = _narrow_ffn(ffn, trace, basis, keep, geometry.activation)
        start, target, norm = trace.middle, trace.after, ffn
    return values | fit_operation_norm(
        values, start, update, target, trace, norm, basis, geometry, eps
    )


def fit_operation_norm(
    values: Weights,
    start: Tensor,
    update: Tensor,
    target: Tensor,
    trace: Trace,
    norm: Weights | None,
    basis: Tensor,
    geometry: Geometry,
    eps: float,
) -> dict[str, Tensor]:
    """Layer normalisation of an operation.

    Args:
        values: Its other tensors.
        start: (tokens, teacher's hidden size), what it reads: `before` or `middle` of the trace.
        update: (tokens, hidden size), what it adds.
        target: (tokens, teacher's hidden size), what should come out.
        trace: Of the teacher's layer.
        norm: Tensors with the teacher's own normalisation; None where it has none.
        basis: See `project`.
        geometry: Of the teacher.
        eps: Of layer normalisation.
    """
    hidden = basis.shape[1]
    if geometry.pre_norm:  # of what is read, whatever the operation adds
        update = torch.zeros(len(start), hidden)
        target = trace.read if start is trace.before else trace.read_middle
    if "normed" in values and not bool(values["normed"]):
        return {"ln_weight": torch.ones(hidden), "ln_bias": torch.zeros(hidden)}
    if norm is not None and hidden == geometry.hidden:
        return {"ln_weight": norm["ln_weight"], "ln_bias": norm["ln_bias"]}
    return _fit_norm(start @ basis + update, target @ basis, eps)


def fit_exit(given: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The map back to the teacher's hidden size, by ridge regression.

    Args:
        given: (tokens, hidden size), last states of a narrow path.
        target: (tokens, teacher's hidden size), those of the teacher.

    Returns:
        ``weight`` (teacher's hidden size, hidden size) and ``bias``.
    """
    given = torch.cat([given, torch.ones(len(given), 1)], dim=1).double()
    gram = given.T @ given
    ridge = RIDGE * gram.diagonal()[:-1].mean() * torch.eye(len(gram), dtype=gram.dtype)
    ridge[-1, -1] = 0
    solution = torch.linalg.solve(gram + ridge, given.T @ target.double()).float()
    return {"weight": solution[:-1].T, "bias": solution[-1]}


def _chosen_heads(mha: Weights, trace: Trace, keep: int, head_size: int) -> Tensor:
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


def _narrow_mha(mha: Weights, trace: Trace, basis: Tensor, head_size: int) -> dict[str, Tensor]:
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


def _mha_update(mha: Weights, trace: Trace, basis: Tensor, head_size: int) -> Tensor:
    """What the narrowed attention adds, with the teacher's attention weights."""
    heads = _chosen_heads(mha, trace, basis.shape[1] // head_size, head_size)
    kept = _columns(heads, head_size)
    lost = _dropped_mean(mha["o_weight"], trace.context, kept)
    update = trace.context[:, kept] @ mha["o_weight"][:, kept].T + mha["o_bias"] + lost
    return update @ basis


def _narrow_ffn(
    ffn: Weights, trace: Trace, basis: Tensor, keep: int, activation: str
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
