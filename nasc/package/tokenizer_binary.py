"""Compiles a tokenizer into tokenizer.bin, one file of tables that ports read in place.

The contract, the format and what is refused: docs/tokenizers.md.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from nasc.package import tokenizer_layout as layout
from nasc.package import tokenizer_tables as tables
from nasc.package.tokenizer_breaks import break_properties
from nasc.package.tokenizer_normal import (
    Compose,
    JoinSpaces,
    Map,
    Precompiled,
    Reorder,
    Step,
    Strip,
    normaliser_steps,
    refused,
)
from nasc.package.tokenizer_template import templates

FILE = "tokenizer.bin"

MAX_WORD = 1000
"""Characters of a word that WordPiece of the C port looks at, at most."""

MAX_STEPS = 8

_MODELS = {"WordPiece": 1, "Unigram": 2, "BPE": 3}

_STRATEGIES = {"LongestFirst": 0, "OnlyFirst": 1, "OnlySecond": 2}

_STEPS = {Map: 1, Reorder: 2, Compose: 3, Precompiled: 4, Strip: 5, JoinSpaces: 6}

_SPACE, _PUNCTUATION, _WORD, _PATTERN_SPACE, _LETTER, _NUMBER = (1 << bit for bit in range(6))

_UNK_PENALTY = 10.0
"""What Unigram takes off its lowest score for an unknown character (tokenizers: K_UNK_PENALTY)."""


def compile_tokenizer(tokenizer: Tokenizer) -> bytes:
    """The file of a tokenizer.

    Args:
        tokenizer: As it was read from the tokenizer.json that is shipped, without padding; see
            `golden_lines` why no copy will do.

    Raises:
        PackageError: If it does what ports do not, by the name of the field in tokenizer.json.
    """
    content = json.loads(tokenizer.to_str())
    if content["padding"] is not None:
        raise refused("padding", content["padding"], "null")
    truncation = _truncation(content["truncation"])
    single, paired = templates(content["post_processor"])
    splitters = _splitters(content["pre_tokenizer"])
    sections, settings = _model(content["model"], splitters)
    steps = normaliser_steps(content["normalizer"])
    sections |= _normaliser_tables(steps)
    sections |= _added_tokens(tokenizer)
    sections["chars"] = layout.pages(_characters(tokenizer, steps, splitters))
    sections["single"], sections["paired"] = layout.pieces(single), layout.pieces(paired)
    sections["config"] = _config(content["model"]["type"], truncation, settings, steps, splitters)
    return layout.whole_file(sections)


def _truncation(content: Mapping[str, Any] | None) -> tuple[int, int, int]:
    """Tokens, which text is cut, and whether it is cut on the left."""
    if content is None:
        return 0, 0, 0
    if content["stride"]:
        raise refused("truncation.stride", content["stride"], "0")
    if not 0 < content["max_length"] < 1 << 31:
        raise refused("truncation.max_length", content["max_length"], "1 to 2147483647")
    left = content.get("direction", "Right") == "Left"
    return content["max_length"], _STRATEGIES[content["strategy"]], int(left)


def _config(
    model: str,
    truncation: tuple[int, int, int],
    settings: Mapping[str, Any],
    steps: Sequence[Step],
    splitters: Sequence[tuple[int, int]],
) -> bytes:
    if len(steps) > MAX_STEPS:
        raise refused("normalizer", f"{len(steps)} steps", f"at most {MAX_STEPS}")
    if len(splitters) > MAX_STEPS:
        raise refused("pre_tokenizer", f"{len(splitters)} steps", f"at most {MAX_STEPS}")
    maps = iter(range(layout.MAX_MAPS))
    numbered: list[tuple[int, int]] = []
    for step in steps:
        argument = (
            next(maps) if isinstance(step, Map) else (step.sides if isinstance(step, Strip) else 0)
        )
        numbered.append((_STEPS[type(step)], argument))
    return (
        layout.words(
            _MODELS[model],
            *truncation,
            settings.get("unknown", layout.NONE),
            settings.get("max_word", 0),
            settings.get("inner", layout.NONE),
            _growth(steps),
            settings.get("fuse_unknown", False),
        )
        + _numbered(numbered)
        + _numbered(splitters)
        + struct.pack("<d", settings.get("unknown_score", 0.0))
        + layout.words(0)
    )


def _numbered(steps: Sequence[tuple[int, int]]) -> bytes:
    padded = [*steps, *[(0, 0)] * (MAX_STEPS - len(steps))]
    return layout.words(len(steps), *(number for step in padded for number in step))


def _growth(steps: Sequence[Step]) -> int:
    """Bytes that a byte of text becomes at most, rounded up."""
    ratio = 1.0
    for step in steps:
        if isinstance(step, Map):
            pairs = [(chr(point).encode(), text.encode()) for point, text in step.texts.items()]
        elif isinstance(step, Precompiled):
            pairs = list(step.entries.items())
        else:
            continue
        ratio *= max([1.0, *(len(new) / len(old) for old, new in pairs)])
    if ratio > 64:
        raise refused("normalizer", f"a growth of {ratio:.0f}", "at most 64 times the bytes")
    return math.ceil(ratio)


def _normaliser_tables(steps: Sequence[Step]) -> dict[str, bytes]:
    sections: dict[str, bytes] = {}
    maps = [step for step in steps if isinstance(step, Map)]
    if len(maps) > layout.MAX_MAPS:
        raise refused("normalizer", f"{len(maps)} tables", f"at most {layout.MAX_MAPS}")
    for i, one in enumerate(maps):
        sections[f"map{i}"] = layout.text_map(one.texts)
    if any(isinstance(step, Reorder | Compose) for step in steps):
        sections["classes"] = layout.pages(tables.mark_classes())
    if any(isinstance(step, Compose) for step in steps):
        pairs = sorted(tables.compositions().items())
        sections["compositions"] = layout.words(
            *(number for (first, second), point in pairs for number in (first, second, point))
        )
    charsmaps = [step for step in steps if isinstance(step, Precompiled)]
    if len(charsmaps) > 1:
        raise refused("normalizer", "more than one Precompiled", "one")
    for step in charsmaps:
        pool, places = bytearray(), {}
        for key, text in step.entries.items():
            if len(text) > 255:
                raise refused("normalizer.precompiled_charsmap", text, "texts of 255 bytes")
            places[key] = len(pool)
            pool += bytes([len(text)]) + text
        sections |= {
            "breaks": layout.pages(break_properties()),
            "charsmap": layout.trie(places),
            "charsmap_pool": bytes(pool),
        }
    return sections


def _splitters(
    content: Mapping[str, Any] | None, part: str = "pre_tokenizer"
) -> list[tuple[int, int]]:
    """Kind and argument of each step, as tokenizer_data.h numbers them."""
    if content is None:
        return []
    kind = content.get("type")
    if kind == "Sequence":
        return [
            step
            for i, one in enumerate(content["pretokenizers"])
            for step in _splitters(one, f"{part}.pretokenizers[{i}]")
        ]
    if kind == "BertPreTokenizer":
        return [(1, 0)]
    if kind == "WhitespaceSplit":
        return [(2, 0)]
    if kind == "Metaspace":
        scheme = content["prepend_scheme"]
        if scheme == "first":
            raise refused(f"{part}.prepend_scheme", scheme, "always and never")
        return [
            (3, ord(content["replacement"]) | (scheme == "always") << 24 | content["split"] << 25)
        ]
    if kind == "ByteLevel":
        return [(4, content["add_prefix_space"] | content["use_regex"] << 1)]
    raise refused(
        f"{part}.type",
        kind,
        "BertPreTokenizer, ByteLevel, Metaspace, Sequence, WhitespaceSplit",
    )


def _characters(
    tokenizer: Tokenizer, steps: Sequence[Step], splitters: Sequence[tuple[int, int]]
) -> dict[int, int]:
    """What code points are, as far as this tokenizer asks."""
    added = tokenizer.get_added_tokens_decoder().values()
    asked = [(tables.spaces(), _SPACE)]
    if any(kind == 1 for kind, _ in splitters):
        asked.append((tables.punctuation(), _PUNCTUATION))
    if any(token.single_word for token in added):
        asked.append((tables.word_characters(), _WORD))
    if any(kind == 4 and argument & 2 for kind, argument in splitters):
        asked += [
            (tables.matching(r"\s"), _PATTERN_SPACE),
            (tables.matching(r"\p{L}"), _LETTER),
            (tables.matching(r"\p{N}"), _NUMBER),
        ]
    bits: dict[int, int] = {}
    for points, bit in asked:
        for point in points:
            bits[point] = bits.get(point, 0) | bit
    return bits


def _added_tokens(tokenizer: Tokenizer) -> dict[str, bytes]:
    """Tokens that are found in a text as they stand, before or after it is normalised."""
    raw: dict[bytes, int] = {}
    normal: dict[bytes, int] = {}
    table: list[int] = []
    for i, (number, token) in enumerate(tokenizer.get_added_tokens_decoder().items()):
        text = token.content
        if token.normalized and tokenizer.normalizer is not None:
            text = tokenizer.normalizer.normalize_str(text)
        if not text:
            raise refused("added_tokens", token.content, "tokens that the normalizer leaves")
        (normal if token.normalized else raw)[text.encode()] = i
        table += [number, token.single_word | token.lstrip << 1 | token.rstrip << 2]
    return {
        "added": layout.words(*table),
        "added_raw": layout.trie(raw),
        "added_normal": layout.trie(normal),
    }


def _model(
    content: Mapping[str, Any], splitters: Sequence[tuple[int, int]]
) -> tuple[dict[str, bytes], dict[str, Any]]:
    kind = content["type"]
    if kind == "WordPiece":
        return _word_piece(content)
    if kind == "Unigram":
        return _unigram(content)
    if kind == "BPE":
        if not splitters or splitters[-1][0] != 4:
            raise refused("pre_tokenizer", "no ByteLevel", "ByteLevel at its end, for BPE")
        return _byte_pairs(content)
    raise refused("model.type", kind, ", ".join(_MODELS))


def _word_piece(content: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, Any]]:
    vocabulary, unknown = content["vocab"], content["unk_token"]
    if unknown not in vocabulary:
        raise refused("model.unk_token", unknown, "a token of model.vocab")
    longest = content["max_input_chars_per_word"]
    if longest > MAX_WORD:
        raise refused("model.max_input_chars_per_word", longest, f"at most {MAX_WORD}")
    keys = {word.encode(): number for word, number in vocabulary.items()}
    prefix = content["continuing_subword_prefix"].encode()
    return (
        {"vocabulary": layout.trie(keys)},
        {
            "unknown": vocabulary[unknown],
            "max_word": longest,
            "inner": layout.node_of(keys, prefix),
        },
    )


def _unigram(content: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, Any]]:
    pieces, unknown = content["vocab"], content["unk_id"]
    if unknown is None:
        raise refused("model.unk_id", None, "the number of a token")
    if content.get("byte_fallback"):
        raise refused("model.byte_fallback", True, "false")
    for name in ("alpha", "nbest_size"):
        if content.get(name):
            raise refused(f"model.{name}", content[name], "null")
    scores = [score for _, score in pieces]
    if not all(map(math.isfinite, scores)):
        raise refused("model.vocab", "a score that is not finite", "finite scores")
    return (
        {
            "vocabulary": layout.trie({piece.encode(): i for i, (piece, _) in enumerate(pieces)}),
            "scores": struct.pack(f"<{len(scores)}d", *scores),
        },
        {"unknown": unknown, "unknown_score": min(scores) - _UNK_PENALTY},
    )


def _byte_pairs(content: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, Any]]:
    vocabulary, unknown = content["vocab"], content["unk_token"]
    for name in (
        "dropout",
        "continuing_subword_prefix",
        "end_of_word_suffix",
        "byte_fallback",
        "ignore_merges",
    ):
        if content.get(name):
            raise refused(f"model.{name}", content[name], "its default")
    if unknown is not None and unknown not in vocabulary:
        raise refused("model.unk_token", unknown, "null, or a token of model.vocab")
    merges = {
        (vocabulary[left], vocabulary[right]): (rank, vocabulary[left + right])
        for rank, (left, right) in enumerate(content["merges"])
    }
    alphabet = [vocabulary.get(char, layout.NONE) for char in _byte_characters()]
    settings: dict[str, Any] = {"fuse_unknown": content["fuse_unk"]}
    if unknown is not None:
        settings["unknown"] = vocabulary[unknown]
    return {"alphabet": layout.words(*alphabet), "merges": layout.hash_table(merges)}, settings


def _byte_characters() -> list[str]:
    """The character by which byte-level vocabularies write each byte (GPT-2's encoder.py)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]
