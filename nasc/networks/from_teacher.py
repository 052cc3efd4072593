"""A teacher's weights as tensors of layers, named as `nasc.networks.network.tensor_shapes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nasc.architecture.heads import gives_vector, scores_tokens
from nasc.architecture.space import Architecture
from nasc.networks.network import Network
from nasc.teacher import LayerWeights, Teacher
from nasc.teacher.encoder import dense_tensors


def is_the_teachers(name: str) -> bool:
    """Whether a tensor of a network stays the teacher's, however the network is trained.

    That are the embedding tables and the linear layers behind the pooling.
    """
    return name in ("word", "position", "segment") or name.startswith("dense")


def as_arrays(
    tensors: Sequence[Mapping[str, Tensor]],
) -> tuple[dict[str, NDArray[np.float32]], ...]:
    """Tensors of layers as those of a network.

    Of a teacher on the processor what stays its own is shared by all of its networks, for a table
    of 250,000 words takes 384 MB; the rest are copies.
    """

    def array(name: str, value: Tensor) -> NDArray[np.float32]:
        found = value.detach().cpu().to(torch.float32).numpy()
        return found if is_the_teachers(name) else found.copy()

    return tuple({name: array(name, v) for name, v in own.items()} for own in tensors)


def embedding(teacher: Teacher) -> dict[str, Tensor]:
    """The embedding, with token type 0 folded into the positions, type 1 beyond it by itself.

    The first row of ``position`` belongs to the first token, whatever the family.
    """
    g, e = teacher.geometry, teacher.embeddings
    found = {"word": e.word, "ln_weight": e.ln_weight, "ln_bias": e.ln_bias}
    if e.position is not None:
        rows = e.position[g.position_offset : g.position_offset + g.max_positions]
        found["position"] = rows + e.token_type
    if e.segment is not None:
        found["segment"] = e.segment
    if e.map_weight is None or e.map_bias is None:
        return found
    return found | {"map_weight": e.map_weight, "map_bias": e.map_bias}


def attention(w: LayerWeights) -> dict[str, Tensor]:
    """The attention half of a transformer layer, its normalisation included."""
    own = {
        "bucket_bias": w.bucket_bias,
        "frequencies": w.frequencies,
        "window": w.window,
        "normed": w.normed,
    }
    return {name: value for name, value in own.items() if value is not None} | {
        "q_weight": w.q_w,
        "q_bias": w.q_b,
        "k_weight": w.k_w,
        "k_bias": w.k_b,
        "v_weight": w.v_w,
        "v_bias": w.v_b,
        "o_weight": w.o_w,
        "o_bias": w.o_b,
        "ln_weight": w.ln1_w,
        "ln_bias": w.ln1_b,
    }


def feed_forward(w: LayerWeights) -> dict[str, Tensor]:
    """The feed-forward half of a transformer layer, its normalisation included."""
    gate = {} if w.gate_w is None or w.gate_b is None else {"gate_weight": w.gate_w}
    if w.gate_b is not None:
        gate["gate_bias"] = w.gate_b
    return gate | {
        "in_weight": w.ff1_w,
        "in_bias": w.ff1_b,
        "out_weight": w.ff2_w,
        "out_bias": w.ff2_b,
        "ln_weight": w.ln2_w,
        "ln_bias": w.ln2_b,
    }


def head_tensors(teacher: Teacher, head: str) -> dict[str, Tensor]:
    """What a head of the teacher's has beside the map to its hidden size, which is none of it.

    Args:
        teacher: Whose weights.
        head: Of the teacher's own.
    """
    found = final_norm(teacher)
    if gives_vector(head) or scores_tokens(head):
        found |= dense_tensors(teacher.dense)
    return found


def final_norm(teacher: Teacher) -> dict[str, Tensor]:
    """The normalisation behind all layers; nothing where there is none."""
    norm = teacher.norm
    return {} if norm is None else {"norm_weight": norm.weight, "norm_bias": norm.bias}


def teacher_network(
    teacher: Teacher, architecture: Architecture, head: str | None = None
) -> Network:
    """The full-size network as it is exported, wherever the teacher's weights are.

    Args:
        teacher: Whose weights.
        architecture: Kept blocks only; gives the precision.
        head: Of the teacher's own; None gives its vectors.
    """
    tensors: list[dict[str, Tensor]] = [embedding(teacher)]
    for layer in teacher.layers:
        tensors += [attention(layer), feed_forward(layer)]
    head = head or teacher.head()
    tensors.append(head_tensors(teacher, head))
    arrays = as_arrays(tensors)
    g = teacher.geometry
    return Network(architecture, g.for_space(), head, arrays, g.layer_norm_eps)
