"""From sentences to token ids, and from those to padded batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from nasc.architecture.heads import gives_spans, gives_states, scores_tokens
from nasc.data.texts import Text
from nasc.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenList = Sequence[int]

PAD_ID = 0
"""Put where a shorter sentence ends. Masked everywhere, so that any row of a vocabulary does."""


def copy_tokenizer(tokenizer: Tokenizer | PreTrainedTokenizerBase) -> Tokenizer:
    """A tokenizer of one's own that neither pads nor cuts."""
    backend = tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer.backend_tokenizer
    own: Tokenizer = Tokenizer.from_str(backend.to_str())
    own.no_padding()
    own.no_truncation()
    return own


def token_ids(tokenizer: Tokenizer, sentences: Sequence[Text], max_length: int) -> list[list[int]]:
    """Token ids of sentences, special tokens included, each cut to `max_length` tokens.

    Args:
        tokenizer: Without padding; its truncation is set.
        sentences: What to tokenise, texts or pairs.
        max_length: Tokens of the longest list.

    Raises:
        UsageError: If the special tokens alone are longer.
    """
    paired = any(not isinstance(sentence, str) for sentence in sentences)
    special = tokenizer.num_special_tokens_to_add(paired)
    if max_length <= special:
        raise UsageError(
            f"length {max_length}: the tokenizer adds {special} special tokens to every sentence; "
            f"{special + 1} is the shortest"
        )
    tokenizer.enable_truncation(max_length)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(sentences))]


def pad(
    token_lists: Sequence[TokenList], length: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask of one right-padded batch, each (batch, seq_len).

    Args:
        token_lists: The batch.
        length: Tokens to pad to, where that is more than the longest list.
    """
    lengths = np.array([len(tokens) for tokens in token_lists])
    mask = np.arange(max(length, int(lengths.max()))) < lengths[:, None]
    ids = np.full(mask.shape, PAD_ID, np.int64)
    ids[mask] = np.concatenate([np.asarray(tokens, np.int64) for tokens in token_lists])
    return ids, mask.astype(np.int64)


def without_padding(output: NDArray[np.float32], head: str, tokens: int) -> NDArray[np.float32]:
    """What a network gives for the first tokens of one text or several; a vector as it is.

    Args:
        output: As the head gives it, with the axis of texts or without.
        head: See `nasc.architecture.heads`.
        tokens: That are left of it.

    Returns:
        (..., tokens) of spans, (..., tokens, size) of states or scores of tokens, else `output`.
    """
    if gives_spans(head):
        return output[..., :tokens]
    if gives_states(head) or scores_tokens(head):
        return output[..., :tokens, :]
    return output


def by_length(token_lists: Sequence[TokenList], batch_size: int) -> Iterator[list[int]]:
    """Indices of lists in batches of similar length, the shortest first."""
    order = sorted(range(len(token_lists)), key=lambda index: len(token_lists[index]))
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
