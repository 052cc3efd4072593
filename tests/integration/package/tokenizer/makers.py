"""Small tokenizers of each family, made or trained on the spot."""

from __future__ import annotations

import collections
import functools
import math
import struct
from collections.abc import Mapping
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from nasc.package import tokenizer_tables as tables
from nasc.package.tokenizer_binary import _byte_characters
from nasc.package.tokenizer_golden import golden_texts

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@functools.cache
def corpus() -> tuple[str, ...]:
    """Texts to train on: those of the golden set that are no longer than a page."""
    return tuple(text.text for text in golden_texts(count=1500, seed=3) if len(text.text) < 2000)


def word_piece(longest: int = 100, **flags: Any) -> Tokenizer:
    """BERT's."""
    made: Tokenizer = Tokenizer.from_str(_word_piece(longest))
    made.normalizer = normalizers.BertNormalizer(**flags)
    return made


@functools.cache
def _word_piece(longest: int) -> str:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=longest))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=1500, special_tokens=SPECIAL, show_progress=False
    )
    made.train_from_iterator(corpus(), trainer)
    bert_template(made)
    return made.to_str()


def bert_template(made: Tokenizer) -> None:
    """[CLS] text [SEP] pair [SEP]."""
    ids = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ids
    )


def byte_pairs() -> Tokenizer:
    """RoBERTa's."""
    return Tokenizer.from_str(_byte_pairs())


@functools.cache
def _byte_pairs() -> str:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(corpus(), trainer)
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made.to_str()


def bytes_alone(normalizer: normalizers.Normalizer | None, paired: bool = False) -> Tokenizer:
    """Its tokens are the bytes of the normalised text; `paired`, two bytes of a word as one."""
    characters = _byte_characters()
    words = {char: i for i, char in enumerate(characters)}
    merges = []
    if paired:
        merges = [(a, b) for a in characters for b in characters]
        words |= {a + b: 256 + i for i, (a, b) in enumerate(merges)}
    made = Tokenizer(models.BPE(words, merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=paired)
    if normalizer is not None:
        made.normalizer = normalizer
    return made


def unigram(spaces_join: bool = False) -> Tokenizer:
    """XLM-R's."""
    made = Tokenizer(models.Unigram(pieces(), 3, byte_fallback=False))
    precompiled = normalizers.Precompiled(charsmap())
    made.normalizer = precompiled
    if spaces_join:
        made.normalizer = normalizers.Sequence(
            [
                normalizers.Strip(left=False, right=True),
                precompiled,
                normalizers.Replace(Regex(" {2,}"), " "),
            ]
        )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("▁", "always")]
    )
    if spaces_join:
        made.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always")
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>"])
    made.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    made.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 2)]
    )
    return made


def pieces() -> list[tuple[str, float]]:
    """Parts of the words of the corpus, scored by how often they are there; some are equal."""
    counts = collections.Counter(
        word[start:end]
        for text in corpus()
        for word in (f"▁{one}"[:12] for one in text.split())
        for start in range(len(word))
        for end in range(start + 1, min(start + 6, len(word)) + 1)
    )
    special = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    total = math.log(counts.total())
    return special + [(piece, math.log(n) - total) for piece, n in counts.most_common(3000)]


@functools.cache
def charsmap() -> bytes:
    """A table as SentencePiece has it: compatibility forms below U+3400, and joined marks."""
    entries = {
        chr(point): text
        for point, text in tables.decomposed("NFKD").items()
        if 0xA0 < point < 0x3400
    }
    for (first, second), point in tables.compositions().items():
        if point < 0x1F00:
            entries[chr(first) + chr(second)] = chr(point)
    entries |= {"\t": " ", "\n": " ", "\x01": "", "\u00ad": "", "\u3000": " ", "ab": "", "™": "tm"}
    return packed_charsmap({key: text for key, text in entries.items() if "\0" not in key})


def packed_charsmap(entries: Mapping[str, str]) -> bytes:
    """A double array of Darts-clone and the texts that it leads to."""
    tree: dict[int, Any] = {}
    texts = bytearray()
    places: dict[str, int] = {}
    for key, text in entries.items():
        node = tree
        for byte in key.encode():
            node = node.setdefault(byte, {})
        if text not in places:
            places[text] = len(texts)
            texts += text.encode() + b"\0"
        node[0] = places[text]
    units: dict[int, int] = {0: 0}
    bases: set[int] = set()
    waiting: list[tuple[int, dict[int, Any]]] = [(0, tree)]
    least = 1
    while waiting:
        position, node = waiting.pop()
        base = least
        while base in bases or any(base ^ label in units for label in node):
            base += 1
        least = max(least, base - 512)
        bases.add(base)
        units[position] |= (position ^ base) << 10 | (1 << 8 if 0 in node else 0)
        for label, below in node.items():
            units[base ^ label] = (1 << 31 | below) if label == 0 else label
            if label:
                waiting.append((base ^ label, below))
    count = (max(units) | 255) + 1
    array = struct.pack(f"<{count}I", *(units.get(i, 0) for i in range(count)))
    return struct.pack("<I", len(array)) + array + bytes(texts)
