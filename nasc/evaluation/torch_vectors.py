"""Sentence vectors of a network in torch, before anything is emitted of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from nasc.networks.network import Network
from nasc.networks.torch_network import TorchNetwork
from nasc.teacher import Teacher


@torch.no_grad()
def pooled_vectors(
    teacher: Teacher, network: Network, sentences: Sequence[str]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Pooled vectors (sentences, hidden) of a network in torch."""
    model = TorchNetwork(dataclasses.replace(network, head=teacher.head()))
    tokens = teacher.tokenize(sentences)
    found = np.empty((len(sentences), model.vector_size), np.float32)
    for indices in tokens.buckets(64):
        batch = tokens.batch(indices)
        found[indices.numpy()] = model(batch.input_ids, batch.attention_mask).numpy()
    return found
