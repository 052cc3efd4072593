"""Tokenised sentences, and batches of them that waste little on padding."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Token ids, right-padded.

    Attributes:
        input_ids: (batch, seq_len), int64.
        attention_mask: (batch, seq_len), int64; 1 for real tokens and 0 for padding.
    """

    input_ids: Tensor
    attention_mask: Tensor

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device, non_blocking=True),
            attention_mask=self.attention_mask.to(device, non_blocking=True),
        )

    def key(self) -> bytes:
        """What tells batches apart: a hash of token ids and padding."""
        shape = np.array(self.input_ids.shape)
        found = hashlib.sha256(shape.tobytes())
        for part in (self.input_ids, self.attention_mask):
            found.update(part.cpu().numpy().tobytes())
        return found.digest()


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Many tokenised sentences without padding, one after the other.

    Attributes:
        flat: All token ids, int32.
        offsets: (sentences + 1,), int64; sentence i is `flat[offsets[i]:offsets[i + 1]]`.
        pad_id: Token id to pad with.
    """

    flat: Tensor
    offsets: Tensor
    pad_id: int

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Tensor:
        """Tokens of every sentence: (sentences,), int64."""
        return self.offsets.diff()

    def rows(self) -> list[list[int]]:
        """Token ids of every sentence as plain lists."""
        return [part.tolist() for part in torch.split(self.flat, self.lengths.tolist())]

    def batch(self, indices: Tensor | Sequence[int], *, length: int | None = None) -> Batch:
        """Some of the sentences as one right-padded batch.

        Args:
            indices: Which sentences.
            length: Tokens to pad to; None pads to the longest of them.

        Raises:
            ValueError: If a sentence is longer than `length`.
        """
        indices = torch.as_tensor(indices, dtype=torch.int64)
        lengths = self.lengths[indices]
        longest = int(lengths.max())
        if length is None:
            length = longest
        elif longest > length:
            raise ValueError(f"a sentence has {longest} tokens, more than {length}")
        columns = torch.arange(length)
        mask = columns[None, :] < lengths[:, None]
        where = self.offsets[indices][:, None] + columns[None, :]
        ids = self.flat[where.clamp(max=len(self.flat) - 1)].to(torch.int64)
        return Batch(ids.masked_fill(~mask, self.pad_id), mask.to(torch.int64))

    def buckets(self, batch_size: int, *, generator: torch.Generator | None = None) -> list[Tensor]:
        """Indices of all sentences in batches of similar length, so that little is padding.

        Args:
            batch_size: Sentences in a batch; the last ones may have fewer.
            generator: With one, sentences are shuffled, sorted by length among 50 batches at
                a time, and the batches shuffled; the order depends on its state alone.
                Without, sentences are sorted by length, the longest first.

        Returns:
            One int64 tensor of indices a batch; each sentence is in exactly one of them.

        Raises:
            ValueError: If `batch_size` is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        lengths = self.lengths
        if generator is None:
            order = lengths.argsort(descending=True, stable=True)
            return list(torch.split(order, batch_size))
        shuffled = torch.randperm(len(self), generator=generator)
        batches: list[Tensor] = []
        for window in torch.split(shuffled, 50 * batch_size):
            order = lengths[window].argsort(descending=True, stable=True)
            batches += torch.split(window[order], batch_size)
        order = torch.randperm(len(batches), generator=generator)
        return [batches[i] for i in order.tolist()]
