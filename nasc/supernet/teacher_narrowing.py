"""The whole teacher at one smaller hidden size, started from its weights.

All layers are projected on the same principal directions: those of the hidden states behind all
operations. So the network has one map into its hidden size and one out of it, and none between,
where each block of a supernet has directions of its own. It is no path through a supernet, and what
someone would make by hand (docs/quality.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from nasc.architecture.layers import Layer
from nasc.architecture.space import Architecture
from nasc.data.texts import Text
from nasc.networks.from_teacher import (
    as_arrays,
    attention,
    embedding,
    feed_forward,
    head_tensors,
)
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, apply_layer, embed
from nasc.supernet.batches import CALIBRATION_SENTENCES
from nasc.supernet.projection import (
    Trace,
    Weights,
    fit_exit,
    leading,
    project,
    trace_layer,
)
from nasc.supernet.train import train_length
from nasc.teacher import Teacher


@torch.no_grad()
def narrowed_network(
    teacher: Teacher, hidden: int, texts: Sequence[Text], precision: str, head: str
) -> Network:
    """A teacher's layers at a smaller hidden size.

    Args:
        teacher: Whose weights are projected.
        hidden: Whole heads, fewer than the teacher's.
        texts: By which directions, heads and neurons are chosen; the first few hundred count.
        precision: Of the network.
        head: Of the teacher's own, see `nasc.architecture.heads`.
    """
    g, eps = teacher.geometry.for_space(), teacher.geometry.layer_norm_eps
    tokens = teacher.tokenize(texts[:CALIBRATION_SENTENCES], max_length=train_length(teacher))
    batch = tokens.batch(range(len(tokens)))
    mask, real = Mask.of(batch.attention_mask), batch.attention_mask.bool()
    entry = embed(embedding(teacher), batch.input_ids, eps, g.separator)

    def traces() -> Iterator[tuple[Weights, Weights, Trace]]:
        """Layer by layer: all of them at once are gigabytes of a large teacher."""
        x = entry
        for layer in teacher.layers:
            mha, ffn = attention(layer), feed_forward(layer)
            trace, x = trace_layer(g, eps, mha, ffn, x, mask, real)
            yield mha, ffn, trace

    products = entry[real].T @ entry[real]
    for _, _, trace in traces():
        for states in (trace.middle, trace.after):
            products += states.T @ states
    basis = leading(products, hidden)
    enter = {"weight": basis.T, "bias": torch.zeros(hidden)}
    x = apply_layer(Layer("border", g.hidden, hidden), enter, entry, mask, g, eps)
    tensors: list[Weights] = [embedding(teacher), enter]
    for mha, ffn, trace in traces():
        for operation in ("mha", "ffn"):
            own = project(operation, mha, ffn, trace, basis, g, eps)
            x = apply_layer(Layer(operation, hidden, hidden), own, x, mask, g, eps)
            tensors.append(own)
    tensors.append(fit_exit(x[real], trace.after) | head_tensors(teacher, head))
    architecture = Architecture.narrowed(g, hidden).with_precision(precision)
    return Network(architecture, g, head, as_arrays(tensors), eps)
