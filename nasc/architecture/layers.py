"""What an architecture costs on paper: layers, parameters, multiply-accumulates.

`layers` is the one description of a network as a list of layers. The emitter builds it,
the latency table prices it, and the counts below add it up: they cannot disagree about
what a network consists of. Pure arithmetic, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nasc.architecture.heads import (
    SPANS,
    gives_vector,
    head_outputs,
    maps_tokens,
    pooled,
    pooling_of,
    scores_tokens,
)
from nasc.architecture.space import SEPCONV_PAIRS, Architecture, Block, Geometry, kernel_size

GROUP_4BIT = 32
"""Values of a word that share a scale in 4 bits. The default teacher's vectors, all else in fp32,
keep a cosine of 0.9987 in the mean with 32, 0.9984 with 64, 0.9971 with one scale a word (2,884
sentences of STS-B; November 2026)."""


@dataclass(frozen=True, slots=True, order=True)
class Layer:
    """One priced part of a network.

    Attributes:
        kind: ``embedding``, ``border`` (one linear layer between two hidden sizes),
            an operation of the search space, or ``head_`` and a head of `nasc.architecture.heads`.
        hidden_in: Hidden size that it reads (the teacher's for the embedding).
        hidden_out: Hidden size that it gives.
    """

    kind: str
    hidden_in: int
    hidden_out: int

    @property
    def head(self) -> str:
        """Of `nasc.architecture.heads`; empty where the layer is none."""
        return self.kind.removeprefix("head_") if self.kind.startswith("head_") else ""

    def __str__(self) -> str:
        if self.hidden_in == self.hidden_out and self.kind != "border":
            return f"{self.kind} {self.hidden_in}"
        return f"{self.kind} {self.hidden_in}->{self.hidden_out}"


def border(hidden_in: int, hidden_out: int, teacher_hidden: int) -> Layer | None:
    """The linear layer between two hidden sizes; None where both are the teacher's."""
    if hidden_in == hidden_out == teacher_hidden:
        return None
    return Layer("border", hidden_in, hidden_out)


def block_layers(block: Block) -> tuple[Layer, ...]:
    """The operations of a block, without its borders."""
    return tuple(Layer(o, block.hidden, block.hidden) for o in block.operations)


def layers(architecture: Architecture, geometry: Geometry, head: str = "embed") -> list[Layer]:
    """All layers of a network from input to output."""
    teacher = geometry.hidden
    found = [Layer("embedding", teacher, teacher)]
    hidden = teacher
    for block in architecture.blocks:
        between = border(hidden, block.hidden, teacher)
        if between is not None:
            found.append(between)
        found.extend(block_layers(block))
        hidden = block.hidden
    found.append(Layer(f"head_{head}", hidden, teacher))
    return found


def linear_shapes(layer: Layer, geometry: Geometry) -> Iterator[tuple[int, int]]:
    """(inputs, outputs) of every matrix that a layer applies to each token."""
    h = layer.hidden_in
    if layer.kind == "embedding" and geometry.embedding is not None:
        yield (geometry.embedding, h)
    elif layer.kind == "mha":
        yield from ((h, h),) * 4
    elif layer.kind == "ffn":
        yield from ((h, geometry.inner(h)),) * (1 + geometry.gated)
        yield (geometry.inner(h), h)
    elif kernel_size(layer.kind):
        yield from ((h, h),) * SEPCONV_PAIRS
    elif layer.kind == "border" or (
        maps_tokens(layer.head, geometry.pre_norm) and h != layer.hidden_out
    ):
        yield (h, layer.hidden_out)
    elif layer.head == SPANS:
        yield (h, head_outputs(SPANS))


def scored_shapes(layer: Layer) -> Iterator[tuple[int, int]]:
    """(inputs, outputs) of every matrix of a teacher's head that scores each token."""
    if scores_tokens(layer.head):
        yield from dense_shapes(layer)


def pooled_shapes(layer: Layer, geometry: Geometry) -> Iterator[tuple[int, int]]:
    """(inputs, outputs) of every matrix that a layer applies once a text, after the pooling."""
    if not pooled(layer.head):
        return
    outputs = head_outputs(layer.head)
    if not maps_tokens(layer.head, geometry.pre_norm) and (
        outputs or layer.hidden_in != layer.hidden_out
    ):
        yield (layer.hidden_in, layer.hidden_out)
    if outputs:
        yield (layer.hidden_out, outputs)
    yield from dense_shapes(layer)


def dense_shapes(layer: Layer) -> Iterator[tuple[int, int]]:
    """(inputs, outputs) of a teacher's linear layers: behind the pooling, or of every token."""
    size = layer.hidden_out
    own = gives_vector(layer.head) or scores_tokens(layer.head)
    for dense in pooling_of(layer.head).dense if own else ():
        yield (size, dense.outputs)
        size = dense.outputs


def layer_params(layer: Layer, geometry: Geometry) -> int:
    """Parameters of a layer, biases and layer normalisation included."""
    h = layer.hidden_in
    of_tokens = (*linear_shapes(layer, geometry), *scored_shapes(layer))
    shapes = (*of_tokens, *pooled_shapes(layer, geometry))
    count = sum(i * o + o for i, o in shapes)
    if layer.kind == "embedding":
        positions = 0 if geometry.rotary else geometry.max_positions
        rows = geometry.vocab_size + positions + 2 + (geometry.separator is not None)
        return rows * geometry.row_size + count
    k = kernel_size(layer.kind)
    if k:
        count += SEPCONV_PAIRS * (k * h + h)
    if layer.kind != "border" and not layer.head:
        count += 2 * h
    if layer.head and geometry.pre_norm:
        count += 2 * layer.hidden_out
    if layer.kind == "mha" and geometry.buckets is not None:
        count += geometry.buckets * (h // geometry.head_size)
    return count


def layer_macs(layer: Layer, geometry: Geometry, seq_len: int) -> int:
    """Multiply-accumulates of a layer for one sentence of `seq_len` tokens.

    Matrix products only, as usual in the field: softmax, normalisation, activations and
    additions are left out. The embedding is a lookup, and its linear layer where it has one.
    """
    h = layer.hidden_in
    of_tokens = (*linear_shapes(layer, geometry), *scored_shapes(layer))
    count = sum(i * o for i, o in of_tokens) * seq_len
    if layer.kind == "mha":
        count += 2 * seq_len * seq_len * h
    count += sum(i * o for i, o in pooled_shapes(layer, geometry))
    return count + SEPCONV_PAIRS * kernel_size(layer.kind) * h * seq_len


def params(architecture: Architecture, geometry: Geometry, head: str = "embed") -> int:
    """Parameters of a network. The token-type row is folded into the positions."""
    return sum(layer_params(layer, geometry) for layer in layers(architecture, geometry, head))


def macs(architecture: Architecture, geometry: Geometry, seq_len: int, head: str = "embed") -> int:
    """Multiply-accumulates of a network for one sentence of `seq_len` tokens."""
    return sum(
        layer_macs(layer, geometry, seq_len) for layer in layers(architecture, geometry, head)
    )


def group_size(columns: int) -> int:
    """Values of a word that share a scale in 4 bits: 32, or the largest power of two that fits.

    Args:
        columns: Values of a word.
    """
    return math.gcd(columns, GROUP_4BIT)
