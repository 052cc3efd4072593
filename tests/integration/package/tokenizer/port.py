"""The port of a tokenizer, run by the driver, beside the tokenizer itself."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_golden import GoldenText, golden_texts, tokens_of

DAMAGED, ARGUMENT, NOT_UTF8, CAPACITY, NO_ROOM, NO_PAIR = -1, -3, -4, -6, -7, -8

Tokens = tuple[list[int], list[int]]

_WITH_CHARACTERS = (0, 1, 2, 3, 14)
"""Planes of Unicode; the others hold none, or private ones, which are all alike."""

POINTS = [
    point
    for point in range(0x110000)
    if not 0xD800 <= point < 0xE000 and (point >> 16 in _WITH_CHARACTERS or point % 16 == 15)
]


_files: dict[str, bytes] = {}


def _file(tokenizer: Tokenizer) -> bytes:
    """What it is compiled to: once for all ports of a process."""
    content = tokenizer.to_str()
    if content not in _files:
        _files[content] = compile_tokenizer(tokenizer)
    return _files[content]


class Port:
    """A compiled tokenizer."""

    def __init__(self, tokenizer: Tokenizer, command: Sequence[str], path: Path) -> None:
        self.tokenizer, self.command, self.path = tokenizer, list(command), path
        path.write_bytes(_file(tokenizer))

    def encode(
        self, texts: Iterable[GoldenText], capacity: int | None = None
    ) -> list[Tokens | int]:
        """What the port makes of texts: tokens and types, or an error."""
        texts = list(texts)
        requests = []
        for text in texts:
            first = text.text.encode()
            second = None if text.pair is None else text.pair.encode()
            room = capacity if capacity is not None else 16 + 40 * (len(first) + len(second or b""))
            head = (len(first), -1 if second is None else len(second), text.max_length or 0, room)
            requests.append(struct.pack("<4i", *head) + first + (second or b""))
        done = subprocess.run(
            [*self.command, "encode", str(self.path)],
            input=b"".join(requests),
            capture_output=True,
            check=True,
        )
        assert not done.stderr
        numbers = np.frombuffer(done.stdout, "<i8")
        results: list[Tokens | int] = []
        at = 0
        for _ in texts:
            length, at = int(numbers[at]), at + 1
            if length < 0:
                results.append(length)
                continue
            ids, types = numbers[at : at + length], numbers[at + length : at + 2 * length]
            results.append((ids.tolist(), types.tolist()))
            at += 2 * length
        assert at == len(numbers)
        return results

    def differing(self, texts: Iterable[GoldenText]) -> list[tuple[GoldenText, object, object]]:
        """Texts of which the port makes something else than the tokenizer, with both."""
        texts = list(texts)
        mine = self.encode(texts)
        theirs = expected(self.tokenizer, texts)
        pairs = zip(texts, mine, theirs, strict=True)
        return [(text, a, b) for text, a, b in pairs if a != b][:3]


def expected(tokenizer: Tokenizer, texts: Iterable[GoldenText]) -> list[Tokens]:
    """What the tokenizers library makes of texts."""
    return [tokens_of(tokenizer, text) for text in texts]


def random_texts(tokenizer: Tokenizer, count: int, seed: int) -> list[GoldenText]:
    """Texts of the golden kinds, of this tokenizer's words and added tokens."""
    added = sorted(token.content for token in tokenizer.get_added_tokens_decoder().values())
    words = [word.removeprefix("##") for word in sorted(tokenizer.get_vocab())]
    return golden_texts(words, added, count, seed)


def of_points(template: str, group: int = 64) -> list[GoldenText]:
    """Texts that hold all of `POINTS`, each in the place of the template's `?`."""
    return [
        GoldenText("\n".join(template.replace("?", chr(p)) for p in POINTS[at : at + group]))
        for at in range(0, len(POINTS), group)
    ]


def marks_in_any_order(count: int, seed: int) -> list[GoldenText]:
    """Letters under heaps of marks of many classes, and of characters that look like marks."""
    rng = random.Random(seed)
    pool = [chr(p) for p in (*range(0x300, 0x370), *range(0x591, 0x5C8), 0x1D165, 0x1D16D, 0x302E)]
    pool += list(
        "\u0301\u0323\u0902\u093c\u094d\u3099\u1dce\u20d0\U00016ff0\u034f\u0f71\u0f72\u0f74"
    )
    return [
        GoldenText("".join(rng.choice("aéo가が") + "".join(rng.choices(pool, k=6)) for _ in "1234"))
        for _ in range(count)
    ]
