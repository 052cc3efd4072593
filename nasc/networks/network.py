"""A finished network as plain data: its layers and the tensors of each.

The form in which a subnet leaves the supernet and enters the emitter. Numpy only, so that
a graph can be built and measured without torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasc.architecture.heads import MEAN, SPANS, head_outputs, pooling_of
from nasc.architecture.layers import Layer, dense_shapes, layers
from nasc.architecture.space import GELU, SEPCONV_PAIRS, Architecture, Geometry, kernel_size
from nasc.errors import ExportError

Array = NDArray[np.float32]
Tensors = Mapping[str, Array]

SETTLED = ("frequencies", "window", "normed")
"""Tensors that say how a layer computes, and are never trained: see `tensor_shapes`."""


def tensor_shapes(layer: Layer, geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a layer's tensors; matrices are (outputs, inputs) as in torch.

    ``position`` holds the token-type row 0 too, ``segment`` is what row 1 has beyond it, where
    the second of two texts is told from the first by `Geometry.separator`; ``map_weight`` and
    ``map_bias`` are of the linear layer behind an embedding of its own size; ``dense1_weight`` and
    so on of those behind the pooling of a head, or that score each token; ``bucket_bias`` is what
    relative positions add to the scores of each attention head. A depthwise weight is (hidden,
    kernel). A layer without tensors (a head at the teacher's hidden size) gives an empty dict.

    Of rotary positions ``frequencies`` are a layer's own, in radians a position, and ``window`` the
    tokens to either side that a token sees, 0 for all. Where layers normalise what they read,
    ``normed`` is 0 of an attention that scales and shifts it alone (the first of ModernBERT, by 1
    and 0), else 1;
    ``norm_weight`` and ``norm_bias`` of the head are those behind all layers.
    """
    h, out = layer.hidden_in, layer.hidden_out
    found: dict[str, tuple[int, ...]]
    norm: dict[str, tuple[int, ...]] = {"ln_weight": (h,), "ln_bias": (h,)}
    if layer.kind == "embedding":
        size = geometry.row_size
        rows: dict[str, tuple[int, ...]] = {
            "word": (geometry.vocab_size, size),
            "position": (geometry.max_positions, size),
            "ln_weight": (size,),
            "ln_bias": (size,),
        }
        if geometry.rotary:
            del rows["position"]
        if geometry.separator is not None:
            rows["segment"] = (size,)
        narrow = geometry.embedding is not None
        return rows | ({"map_weight": (h, size), "map_bias": (h,)} if narrow else {})
    if layer.kind == "border":
        return {"weight": (out, h), "bias": (out,)}
    if layer.head:
        outputs = head_outputs(layer.head)
        if layer.head == SPANS:
            return {"weight": (outputs, h), "bias": (outputs,)}
        if outputs:
            return {
                "pool_weight": (out, h),
                "pool_bias": (out,),
                "weight": (outputs, out),
                "bias": (outputs,),
            }
        found = {"weight": (out, h), "bias": (out,)} if h != out else {}
        if geometry.pre_norm:
            found |= {"norm_weight": (out,), "norm_bias": (out,)}
        for place, (inputs, size) in enumerate(dense_shapes(layer), 1):
            found |= {f"dense{place}_weight": (size, inputs), f"dense{place}_bias": (size,)}
        return found
    if layer.kind == "mha":
        found = {}
        for name in "qkvo":
            found |= {f"{name}_weight": (h, h), f"{name}_bias": (h,)}
        if geometry.buckets is not None:
            found["bucket_bias"] = (geometry.buckets, h // geometry.head_size)
        if geometry.rotary:
            found |= {"frequencies": (geometry.head_size // 2,), "window": (1,)}
        if geometry.pre_norm:
            found["normed"] = (1,)
        return found | norm
    if layer.kind == "ffn":
        inner = geometry.inner(h)
        found = {"gate_weight": (inner, h), "gate_bias": (inner,)} if geometry.gated else {}
        return {
            "in_weight": (inner, h),
            "in_bias": (inner,),
            **found,
            "out_weight": (h, inner),
            "out_bias": (h,),
        } | norm
    kernel = kernel_size(layer.kind)
    found = {}
    for pair in range(1, SEPCONV_PAIRS + 1):
        found |= {
            f"dw{pair}_weight": (h, kernel),
            f"dw{pair}_bias": (h,),
            f"pw{pair}_weight": (h, h),
            f"pw{pair}_bias": (h,),
        }
    return found | norm


@dataclass(frozen=True, slots=True)
class Network:
    """An architecture with its weights.

    Attributes:
        architecture: Blocks and precision.
        geometry: Of the teacher; `vocab_size` is that of the embedding held here.
        head: See `nasc.architecture.heads`.
        tensors: One mapping for each of `layers`, names and shapes as `tensor_shapes`.
        layer_norm_eps: Of every layer normalisation.
    """

    architecture: Architecture
    geometry: Geometry
    head: str
    tensors: tuple[Tensors, ...]
    layer_norm_eps: float = 1e-12

    def __post_init__(self) -> None:
        found = self.layers
        if len(found) != len(self.tensors):
            raise ExportError(f"{len(found)} layers but tensors for {len(self.tensors)}")
        for layer, tensors in zip(found, self.tensors, strict=True):
            shapes = {name: tuple(value.shape) for name, value in tensors.items()}
            wanted = tensor_shapes(layer, self.geometry)
            if shapes != wanted:
                raise ExportError(f"{layer}: tensors {shapes}, expected {wanted}")

    @property
    def layers(self) -> list[Layer]:
        """Layers from input to output."""
        return layers(self.architecture, self.geometry, self.head)

    def with_precision(self, precision: str) -> Network:
        """The same network in another precision; its weights stay fp32 until it is emitted."""
        return dataclasses.replace(self, architecture=self.architecture.with_precision(precision))

    def sha256(self) -> str:
        """Of architecture, weights, and a pooling or activation that is not the usual one."""
        digest = hashlib.sha256(str(self.architecture).encode())
        if pooling_of(self.head) != MEAN:
            digest.update(self.head.encode())
        if self.geometry.activation != GELU:
            digest.update(self.geometry.activation.encode())
        for own in self.tensors:
            for name in sorted(own):
                digest.update(np.ascontiguousarray(own[name]).tobytes())
        return digest.hexdigest()

    def with_head(self, head: str, tensors: Tensors | None = None) -> Network:
        """The same body with another head.

        Args:
            head: Its name.
            tensors: Its tensors; None keeps those of them that are at hand, or where one is missing
                or of another shape takes zeros: for measuring, since values change no latency.

        Raises:
            ExportError: If shapes do not fit.
        """
        hidden = self.layers[-1].hidden_in
        shapes = tensor_shapes(Layer(f"head_{head}", hidden, self.geometry.hidden), self.geometry)
        if tensors is None:
            own = tensors = self.tensors[-1]
            fits = all(name in own and own[name].shape == shapes[name] for name in shapes)
            if not fits:
                tensors = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            elif own.keys() != shapes.keys():
                tensors = {name: own[name] for name in shapes}
        return dataclasses.replace(self, head=head, tensors=(*self.tensors[:-1], tensors))

    def with_words(self, rows: NDArray[np.int64]) -> Network:
        """The same network for a part of its vocabulary.

        Args:
            rows: Of the word embedding, in the order of the new ids.

        Raises:
            ExportError: If there is no such row.
        """
        count = self.geometry.vocab_size
        if not len(rows) or rows.min() < 0 or rows.max() >= count:
            raise ExportError(f"a network of {count} words has not all those that are to be kept")
        word = np.ascontiguousarray(self.tensors[0]["word"][rows])
        words: Tensors = {**self.tensors[0], "word": word}
        geometry = self.geometry.with_words(rows.tolist())
        return dataclasses.replace(self, geometry=geometry, tensors=(words, *self.tensors[1:]))

    def body(self) -> Network:
        """The body alone: the pooled last hidden state, filled up with zeros to the teacher's size.

        Cosines are those of the hidden state itself.
        """
        hidden, size = self.layers[-1].hidden_in, self.geometry.hidden
        if hidden == size or self.geometry.pre_norm:  # whose map and normalisation belong together
            return self.with_head("embed")
        whole = {
            "weight": np.eye(size, hidden, dtype=np.float32),
            "bias": np.zeros(size, np.float32),
        }
        return self.with_head("embed", whole)

    @property
    def params(self) -> int:
        """Parameters, counted from the tensors themselves."""
        every = (item for tensors in self.tensors for item in tensors.items())
        return sum(int(value.size) for name, value in every if name not in SETTLED)


def random_network(
    architecture: Architecture,
    geometry: Geometry,
    head: str = "embed",
    seed: int = 0,
    vocab_rows: int = 1024,
) -> Network:
    """A network with random weights, for measuring: latency does not depend on the values.

    No two tensors are alike, since runtimes store equal ones once and find them in the cache.

    Args:
        architecture: What to build.
        geometry: Of the teacher.
        head: See `nasc.architecture.heads`.
        seed: Of the weights.
        vocab_rows: Rows of the word embedding. A forward pass reads as many rows as it has
            tokens, so that a short table costs the same and is written faster.
    """
    small = dataclasses.replace(geometry, vocab_size=min(vocab_rows, geometry.vocab_size))
    rng = np.random.default_rng(seed)
    pool = rng.standard_normal(1 << 20, dtype=np.float32) * np.float32(0.02)
    tensors: list[dict[str, Array]] = []
    for layer in layers(architecture, small, head):
        found = {}
        for name, shape in tensor_shapes(layer, small).items():
            size = int(np.prod(shape))
            if name in ("ln_weight", "norm_weight", "normed"):
                found[name] = np.ones(shape, np.float32)
            elif name == "frequencies":
                found[name] = np.geomspace(1, 1e-4, shape[0]).astype(np.float32)
            elif name == "window":
                found[name] = np.zeros(shape, np.float32)
            elif 4 * size <= 3 * pool.size:  # else few places are left to start at
                start = int(rng.integers(0, pool.size - size + 1))
                found[name] = pool[start : start + size].reshape(shape)
            else:
                start = int(rng.integers(0, pool.size // 2))
                found[name] = np.resize(pool[start:], shape)
        tensors.append(found)
    return Network(architecture, small, head, tuple(tensors))
