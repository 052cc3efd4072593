"""Sentence vectors of a network in torch, before anything is emitted of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from nasc.data.batching import without_padding
from nasc.data.texts import Text
from nasc.evaluation.agreement import as_vectors
from nasc.networks.from_teacher import head_tensors
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, TorchNetwork
from nasc.teacher import Teacher


@torch.no_grad()
def pooled_vectors(
    teacher: Teacher, network: Network, sentences: Sequence[Text], *, bf16: bool = False
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Vectors (sentences, size) of a network in torch, as networks are compared by them.

    Args:
        teacher: Whose tokenizer it has.
        network: In fp32, whatever its precision says.
        sentences: The texts.
        bf16: Whether products of its layers are computed in bfloat16; what is behind them is not.
    """
    head = teacher.head()
    if network.head != head:  # of the same body, without what is behind the pooling
        behind = {name: value.cpu().numpy() for name, value in head_tensors(teacher, head).items()}
        network = network.with_head(head, {**network.tensors[-1], **behind})
    model = TorchNetwork(network)
    tokens = teacher.tokenize(sentences)
    found: dict[int, np.ndarray[Any, np.dtype[np.float32]]] = {}
    for indices in tokens.buckets(64):
        batch = tokens.batch(indices)
        mask = Mask.of(batch.attention_mask)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            states = model.hidden_state(batch.input_ids, mask)
        given = model.give(states.float(), mask).numpy()
        for index, row in zip(indices.tolist(), given, strict=True):
            found[index] = without_padding(row, model.head, int(tokens.lengths[index]))
    rows = [found[index] for index in range(len(sentences))]
    return np.asarray(as_vectors(rows, model.head), np.float32)


def teacher_vectors(
    teacher: Teacher, sentences: Sequence[Text], *, max_length: int | None = None
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """A teacher's vectors (sentences, size), as networks are compared with it by them."""
    found = teacher.outputs(sentences, max_length=max_length)
    return np.asarray(as_vectors(found, teacher.head()), np.float32)
