"""A WordPiece vocabulary cut to some of its tokens: the tokenizer that is left, and its rows.

A word all of whose tokens are kept is read as before: WordPiece takes the longest token that fits,
and of fewer tokens the same one is still the longest. Any other word falls into shorter tokens,
down to single characters, which are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from nasc.errors import UsageError

Words = Counter[tuple[int, ...]]
"""How often each word occurs in a text, as the ids of its tokens."""


@dataclass(frozen=True, slots=True, eq=False)
class CutTokenizer:
    """What is left of a tokenizer.

    Attributes:
        tokenizer: Gives the new ids: the places of the kept ones, in their old order.
        ids: The old ids, ascending, (tokens,): the rows of the word embedding that are kept.
    """

    tokenizer: PreTrainedTokenizerBase
    ids: NDArray[np.int64]


def plain_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The same tokenizer by itself, which neither cuts nor pads.

    Raises:
        UsageError: If it is none of WordPiece, or has parts that cannot be cut with it.
    """
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = content["model"]["type"]
    if kind != "WordPiece":
        raise UsageError(
            f"--vocab-from cuts vocabularies of WordPiece; this teacher's is of {kind}: leave it "
            "out, or take a BERT"
        )
    _renumbered(content["post_processor"], dict.fromkeys(tokenizer.get_vocab(), 0))  # raises
    content |= {"truncation": None, "padding": None}
    found: Tokenizer = Tokenizer.from_str(json.dumps(content))
    return found


def count_words(tokenizer: Tokenizer, texts: Iterable[str], counted: Words) -> None:
    """Add the words of texts to those that were counted.

    Args:
        tokenizer: See `plain_tokenizer`.
        texts: As they are.
        counted: Changed.
    """
    for one in tokenizer.encode_batch(list(texts), add_special_tokens=False):
        words: dict[int | None, list[int]] = {}
        for place, token in zip(one.word_ids, one.ids, strict=True):
            words.setdefault(place, []).append(token)
        counted.update(map(tuple, words.values()))


def always_kept(tokenizer: Tokenizer) -> set[int]:
    """Ids of the tokens that any text may need.

    These are the special and added tokens and that of unknown words, all single characters at the
    beginning of a word and within, and tokens with a character that has not both.
    """
    model = json.loads(tokenizer.to_str())["model"]
    vocabulary: Mapping[str, int] = model["vocab"]
    prefix: str = model["continuing_subword_prefix"]
    inner = {token[len(prefix) :] for token in vocabulary if token.startswith(prefix)}
    kept = {vocabulary[model["unk_token"]], *tokenizer.get_added_tokens_decoder()}
    for token, number in vocabulary.items():
        text = token[len(prefix) :] if token.startswith(prefix) and token != prefix else token
        if len(text) == 1 or any(c not in vocabulary or c not in inner for c in text):
            kept.add(number)
    return kept


def cut_tokenizer(tokenizer: PreTrainedTokenizerBase, kept: Collection[int]) -> CutTokenizer:
    """A tokenizer with some of its tokens.

    Args:
        tokenizer: A fast one of WordPiece; it is not changed.
        kept: Ids; with `always_kept` any text that it reads can still be read.

    Raises:
        UsageError: See `plain_tokenizer`.
    """
    content = json.loads(plain_tokenizer(tokenizer).to_str())
    ids = np.array(sorted(kept), np.int64)
    places = {int(number): place for place, number in enumerate(ids)}
    every = tokenizer.get_vocab()
    numbers = {token: places[number] for token, number in every.items() if number in places}
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: numbers[token] for token in vocabulary if token in numbers}
    content["added_tokens"] = [
        one | {"id": places[one["id"]]} for one in content["added_tokens"] if one["id"] in places
    ]
    content["post_processor"] = _renumbered(content["post_processor"], numbers)
    cut = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        **tokenizer.special_tokens_map,
    )
    return CutTokenizer(cut, ids)


def changed_tokens(words: Words, kept: Collection[int]) -> int:
    """Tokens of words that are read otherwise where only some tokens are kept."""
    return sum(
        len(word) * count for word, count in words.items() if any(id not in kept for id in word)
    )


def _renumbered(processor: Any, numbers: Mapping[str, int]) -> Any:
    """A post-processor with other ids of its tokens.

    Raises:
        UsageError: If it is of a kind that is not known to name tokens, or none.
    """
    kind = None if processor is None else processor.get("type")
    if kind == "TemplateProcessing":
        special = {
            name: one | {"ids": [numbers[token] for token in one["tokens"]]}
            for name, one in processor["special_tokens"].items()
        }
        return processor | {"special_tokens": special}
    if kind == "BertProcessing":
        tokens = {name: processor[name][0] for name in ("sep", "cls")}
        return processor | {name: [token, numbers[token]] for name, token in tokens.items()}
    if kind is None:
        return None
    raise UsageError(
        f"--vocab-from does not know how to cut a tokenizer with the post-processor {kind}: leave "
        "it out"
    )
