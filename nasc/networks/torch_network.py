"""The layers of a network in torch, as functions of their tensors.

Tensor names and shapes are those of `nasc.networks.network.tensor_shapes`; the emitter
builds the same arithmetic in ONNX. Written once for the supernet, for the network cut
from it, and for the teacher's own layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.architecture.heads import (
    SPANS,
    gives_spans,
    gives_states,
    gives_vector,
    maps_tokens,
    pooling_of,
    scores_tokens,
    vector_size,
)
from nasc.architecture.layers import Layer
from nasc.architecture.space import SEPCONV_PAIRS, Geometry
from nasc.networks.network import SETTLED, Network
from nasc.utils import torch_pooling
from nasc.utils.masking import MASKED
from nasc.utils.torch_activation import activate
from nasc.utils.torch_dense import apply_dense, finish_vector
from nasc.utils.torch_positions import position_scores
from nasc.utils.torch_rotary import rotate, rotation, window_scores
from nasc.utils.torch_segments import segments


@dataclass(frozen=True, slots=True)
class Mask:
    """Which tokens are real, in the two forms that layers need.

    Attributes:
        scores: (batch, 1, 1, seq_len), added to attention scores.
        tokens: (batch, seq_len, 1), 1 for real tokens and 0 for padding.
    """

    scores: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, attention_mask: Tensor, dtype: torch.dtype = torch.float32) -> Mask:
        """From an attention mask (batch, seq_len) of ones and zeros."""
        real = attention_mask.to(dtype)
        return cls((1 - real)[:, None, None, :] * MASKED, real[:, :, None])


def apply_layer(
    layer: Layer, t: Mapping[str, Tensor], x: Tensor, mask: Mask, geometry: Geometry, eps: float
) -> Tensor:
    """Output of a border or an operation.

    Args:
        layer: What to compute.
        t: Its tensors.
        x: (batch, seq_len, hidden_in).
        mask: Of the batch.
        geometry: Of the teacher.
        eps: Of layer normalisation.

    Returns:
        (batch, seq_len, hidden_out). Values at padding are arbitrary but never reach a
        real token.
    """
    if layer.kind == "border":
        return functional.linear(x, t["weight"], t["bias"])
    read = normalized_input(t, x, eps) if geometry.pre_norm else x
    if layer.kind == "mha":
        update = attention_context(t, read, mask, geometry.head_size)
        update = functional.linear(update, t["o_weight"], t["o_bias"])
    elif layer.kind == "ffn":
        update = feed_forward_inner(t, read, geometry.activation)
        update = functional.linear(update, t["out_weight"], t["out_bias"])
    else:
        update = read
        for pair in range(1, SEPCONV_PAIRS + 1):
            update = functional.relu(update) * mask.tokens
            update = depthwise(update, t[f"dw{pair}_weight"], t[f"dw{pair}_bias"])
            update = functional.linear(update, t[f"pw{pair}_weight"], t[f"pw{pair}_bias"])
    if geometry.pre_norm:
        return x + update
    return functional.layer_norm(x + update, x.shape[-1:], t["ln_weight"], t["ln_bias"], eps)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each channel convolved along the tokens with a kernel of its own, with zeros around them.

    A graph that is exported says so by shifted products: packages of Inductor's packed depthwise
    convolutions give NaN in bfloat16 where the shape is fixed (torch 2.13, a processor with AMX).

    Args:
        x: (batch, seq_len, channels).
        weight: (channels, kernel size), of odd size.
        bias: (channels,).

    Returns:
        (batch, seq_len, channels).
    """
    channels, size = weight.shape
    if not torch.compiler.is_exporting():
        flat = x.transpose(1, 2)
        flat = functional.conv1d(flat, weight[:, None, :], bias, padding=size // 2, groups=channels)
        return flat.transpose(1, 2)
    padded, seq_len = functional.pad(x, (0, 0, size // 2, size // 2)), x.shape[1]
    out = bias
    for tap in range(size):
        out = out + padded[:, tap : tap + seq_len] * weight[:, tap]
    return out


def normalized_input(t: Mapping[str, Tensor], x: Tensor, eps: float) -> Tensor:
    """What a layer reads where it normalises that itself.

    Args:
        t: The layer's tensors.
        x: (batch, seq_len, hidden).
        eps: Of layer normalisation.

    Returns:
        (batch, seq_len, hidden); scaled alone where the layer's input is normalised already.
    """
    if "normed" in t and not bool(t["normed"]):
        return x * t["ln_weight"] + t["ln_bias"]
    return functional.layer_norm(x, x.shape[-1:], t["ln_weight"], t["ln_bias"], eps)


def feed_forward_inner(t: Mapping[str, Tensor], x: Tensor, activation: str) -> Tensor:
    """Inner values of a feed-forward layer, activated and gated: (..., inner)."""
    inner = activate(functional.linear(x, t["in_weight"], t["in_bias"]), activation)
    if "gate_weight" in t:
        inner = inner * functional.linear(x, t["gate_weight"], t["gate_bias"])
    return inner


def normalize_output(t: Mapping[str, Tensor], x: Tensor, eps: float) -> Tensor:
    """States behind all layers, normalised where a head's tensors say so.

    Args:
        t: The head's tensors.
        x: (..., hidden).
        eps: Of layer normalisation.

    Returns:
        (..., hidden).
    """
    if "norm_weight" not in t:
        return x
    return functional.layer_norm(x, x.shape[-1:], t["norm_weight"], t["norm_bias"], eps)


def attention_context(t: Mapping[str, Tensor], x: Tensor, mask: Mask, head_size: int) -> Tensor:
    """Attention before its output product.

    Args:
        t: The layer's tensors.
        x: (batch, seq_len, hidden).
        mask: Of the batch.
        head_size: Numbers of a head.

    Returns:
        (batch, seq_len, hidden).
    """
    batch, seq_len, hidden = x.shape

    def heads(name: str) -> Tensor:
        flat = functional.linear(x, t[f"{name}_weight"], t[f"{name}_bias"])
        return flat.view(batch, seq_len, -1, head_size).transpose(1, 2)

    scores, q, k = mask.scores, heads("q"), heads("k")
    if "bucket_bias" in t:
        scores = scores + position_scores(t["bucket_bias"], seq_len)
    if "frequencies" in t:
        by = rotation(t["frequencies"], seq_len)
        q, k = rotate(q, by), rotate(k, by)
        beyond = window_scores(t["window"], seq_len)
        scores = scores if beyond is None else scores + beyond
    mixed = _attended(q, k, heads("v"), scores)
    return mixed.transpose(1, 2).reshape(batch, seq_len, hidden)


def _attended(q: Tensor, k: Tensor, v: Tensor, scores: Tensor) -> Tensor:
    """Values by the attention of queries to keys, (batch, heads, seq_len, head size) all of them.

    On a processor the gradient of torch's fused attention takes up to six times as long in bfloat16
    as in float32 (torch 2.13, benchmarks/training/attention_gradient.py): it is computed in that.
    """
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad
    if not slow:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=scores.to(q.dtype))
    with torch.autocast("cpu", enabled=False):
        mixed = functional.scaled_dot_product_attention(
            q.float(), k.float(), v.float(), attn_mask=scores.float()
        )
    return mixed.to(q.dtype)


def embed(t: Mapping[str, Tensor], input_ids: Tensor, eps: float, separator: int | None) -> Tensor:
    """Embedding output (batch, seq_len, hidden) of right-padded token ids.

    Args:
        t: The embedding's tensors.
        input_ids: (batch, seq_len).
        eps: Of layer normalisation.
        separator: See `nasc.architecture.space.Geometry`.
    """
    x = functional.embedding(input_ids, t["word"])
    if "position" in t:
        x = x + t["position"][: input_ids.shape[1]]
    if separator is not None:
        x = x + segments(input_ids, separator)[:, :, None] * t["segment"]
    return normalized_rows(t, x, eps)


def normalized_rows(t: Mapping[str, Tensor], x: Tensor, eps: float) -> Tensor:
    """Sums of the embedding's rows, normalised and brought to the hidden size.

    Args:
        t: The embedding's tensors.
        x: (batch, seq_len, row size).
        eps: Of layer normalisation.

    Returns:
        (batch, seq_len, hidden).
    """
    x = functional.layer_norm(x, x.shape[-1:], t["ln_weight"], t["ln_bias"], eps)
    return functional.linear(x, t["map_weight"], t["map_bias"]) if "map_weight" in t else x


def mean_pool(x: Tensor, mask: Mask) -> Tensor:
    """Mean over real tokens: (batch, hidden)."""
    return pool(x, mask, "mean")


def pool(x: Tensor, mask: Mask, mode: str) -> Tensor:
    """Hidden states as one row a text, (batch, hidden): see `nasc.utils.torch_pooling.pool`."""
    return torch_pooling.pool(x, mask.tokens, mode)


class TorchNetwork(nn.Module):
    """A finished network in torch: for distillation, and to check exports against."""

    def __init__(self, network: Network) -> None:
        """Copy a network's tensors into trainable parameters."""
        super().__init__()
        self.architecture = network.architecture
        self.geometry = network.geometry
        self.head = network.head
        self.eps = network.layer_norm_eps
        self.layers = network.layers
        self.tensors = nn.ModuleList(
            nn.ParameterDict(
                {n: nn.Parameter(torch.tensor(v), n not in SETTLED) for n, v in tensors.items()}
            )
            for tensors in network.tensors
        )

    @property
    def vector_size(self) -> int:
        """Numbers of a vector; the teacher's hidden size where the head gives none."""
        return vector_size(self.head, self.geometry.hidden)

    def layer_tensors(self) -> list[dict[str, Tensor]]:
        """The tensors of each layer, by name."""
        return [dict(own.named_parameters()) for own in self.tensors]

    def hidden_state(self, input_ids: Tensor, mask: Mask) -> Tensor:
        """Last hidden state (batch, seq_len, last block's hidden size), before the head."""
        x = embed(self.tensors[0], input_ids, self.eps, self.geometry.separator)  # type: ignore[arg-type]
        for layer, tensors in zip(self.layers[1:-1], list(self.tensors)[1:-1], strict=True):
            x = apply_layer(layer, tensors, x, mask, self.geometry, self.eps)  # type: ignore[arg-type]
        return x

    def map_out(self, x: Tensor) -> Tensor:
        """The head's map to its outputs and the normalisation behind all layers, if there are any.

        Of a head that gives a vector it is the map to the teacher's hidden size; what stands behind
        its pooling is left out.

        Args:
            x: (..., last block's hidden size).

        Returns:
            (..., the head's outputs), or of the size of x where there is no map.
        """
        head = dict(self.tensors[-1].named_parameters())
        if "weight" in head:
            x = functional.linear(x, head["weight"], head["bias"])
        return normalize_output(head, x, self.eps)

    def behind_pooling(self, pooled: Tensor) -> Tensor:
        """Vectors out of pooled states at the teacher's hidden size, not scaled: (batch, size).

        Of a head that scores tokens their scores, (batch, seq_len, size), out of all states.
        """
        if scores_tokens(self.head):
            own = dict(self.tensors[-1].named_parameters())
            return apply_dense(pooled, own, pooling_of(self.head))
        if not gives_vector(self.head):
            return pooled
        how = dataclasses.replace(pooling_of(self.head), scaled=False)
        return finish_vector(pooled, dict(self.tensors[-1].named_parameters()), how)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the network's head gives: see `nasc.architecture.heads`.

        Args:
            input_ids: (batch, seq_len), right-padded.
            attention_mask: (batch, seq_len) of ones and zeros.

        Returns:
            See `give`.
        """
        mask = Mask.of(attention_mask)
        return self.give(self.hidden_state(input_ids, mask), mask)

    def give(self, x: Tensor, mask: Mask) -> Tensor:
        """What the network's head gives of the last hidden state.

        Args:
            x: (batch, seq_len, last block's hidden size).
            mask: Of the batch.

        Returns:
            (batch, seq_len, size) of states and of scores of tokens, (batch, outputs, seq_len) of
            spans, else (batch, size): a vector, or scores of a text.
        """
        if gives_states(self.head):
            return self.map_out(x)
        if self.head == SPANS:
            return self.map_out(x).transpose(1, 2)
        if scores_tokens(self.head):
            x = self.behind_pooling(self.map_out(x))
            return x.transpose(1, 2) if gives_spans(self.head) else x
        how = pooling_of(self.head)
        if gives_vector(self.head):
            if maps_tokens(self.head, self.geometry.pre_norm):
                x = pool(self.map_out(x), mask, how.mode)
            else:
                x = self.map_out(pool(x, mask, how.mode))
            return finish_vector(x, dict(self.tensors[-1].named_parameters()), how)
        x = pool(x, mask, how.mode)
        head = dict(self.tensors[-1].named_parameters())
        x = functional.linear(x, head["pool_weight"], head["pool_bias"])
        return self.map_out(torch.tanh(x))

    def export(self) -> Network:
        """The network with its present weights."""
        arrays = tuple(
            {name: value.detach().cpu().numpy().astype(np.float32) for name, value in own.items()}
            for own in self.layer_tensors()
        )
        return Network(self.architecture, self.geometry, self.head, arrays, self.eps)
