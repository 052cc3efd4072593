"""Golden texts: token ids and vectors that every port of the package has to reproduce."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from nasc.runtime import OnnxEncoder, Vectors

VERSION = 1

TEXTS: tuple[str, ...] = (
    "A man is playing a guitar.",
    "The quick brown fox jumps over the lazy dog!",
    "",
    "   two  spaces,\ta tab\nand a line break ",
    "Zoë's café served crème brûlée in São Paulo; naïve façade, Ångström.",
    "Straße, İstanbul, ﬁnal, e\u0301 (e + U+0301)",
    "今天天气很好。東京は晴れです。",
    "오늘은 날씨가 좋습니다",
    "Привет, мир! Γειά σου Κόσμε",  # noqa: RUF001
    "thumbs up 👍🏽, a family \U0001f469\u200d\U0001f469\u200d\U0001f467 and a flag 🇪🇺",
    "x" * 150 + " supercalifragilisticexpialidocious https://example.org/a?b=c&d=1e-5",
    "Every sentence of this text says the same thing in 1234 other words. " * 200,
)
"""ASCII, nothing, white space, accents in both forms, CJK, Hangul, other alphabets, emoji
with modifiers, words no vocabulary holds, and a text that has to be cut."""

TOLERANCE = {"fp32": 1e-4, "int8": 4e-2}
"""Largest absolute difference of a vector's values, relative to the largest of them where
that is above 1. fp32: rounding on other processors. int8: rounding turns into whole steps of
quantised activations; relative changes of the normalisation weights by 1e-6 move the default
teacher's vectors by up to 0.021 (simulated, November 2026); vectors of two sentences differ by
0.053 at least, 0.2 mostly."""


@dataclass(frozen=True, slots=True)
class GoldenText:
    """One text.

    Attributes:
        text: As given.
        input_ids: Its token ids, special tokens included.
        vector: What the shipped file gives for the text alone in its batch: (hidden,), (classes,),
            or (2 * tokens,): all scores of a start, then those of an end.
    """

    text: str
    input_ids: tuple[int, ...]
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Golden:
    """The golden texts of a package.

    Attributes:
        max_length: Tokens that a text is cut to.
        tolerance: Largest absolute difference of a vector's values that is allowed.
        texts: The texts.
    """

    max_length: int
    tolerance: float
    texts: tuple[GoldenText, ...]

    @classmethod
    def make(
        cls, encoder: OnnxEncoder, texts: Sequence[str], max_length: int, precision: str
    ) -> Self:
        """From the shipped model and its tokenizer."""
        ids = encoder.tokenize(texts, max_length)
        rows = encoder.outputs(ids, batch_size=1)
        return cls(
            max_length,
            TOLERANCE[precision] * max(1.0, *(float(np.abs(row).max()) for row in rows)),
            tuple(
                GoldenText(text, tuple(tokens), tuple(map(float, row.ravel())))
                for text, tokens, row in zip(texts, ids, rows, strict=True)
            ),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file.

        Raises:
            OSError, KeyError, TypeError, ValueError: If it cannot be read.
        """
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if raw["version"] != VERSION:
            raise ValueError(f"version {raw['version']}, {VERSION} is read")
        return cls(
            int(raw["max_length"]),
            float(raw["tolerance"]),
            tuple(
                GoldenText(one["text"], tuple(one["input_ids"]), tuple(one["vector"]))
                for one in raw["texts"]
            ),
        )

    def to_json(self) -> str:
        """The text of golden.json. Vectors keep the nine digits that tell floats apart."""
        texts = [
            {
                "text": one.text,
                "input_ids": list(one.input_ids),
                "vector": [float(f"{value:.9g}") for value in one.vector],
            }
            for one in self.texts
        ]
        raw = {
            "version": VERSION,
            "max_length": self.max_length,
            "tolerance": self.tolerance,
            "texts": texts,
        }
        return json.dumps(raw, ensure_ascii=False, allow_nan=False) + "\n"

    def wrong_ids(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Texts whose token ids are others."""
        return [
            one.text[:40]
            for one, tokens in zip(self.texts, ids, strict=True)
            if tuple(tokens) != one.input_ids
        ]

    def difference(self, rows: Sequence[Vectors]) -> float:
        """Largest absolute difference of a model's outputs for the texts from the golden ones."""
        found = [
            np.abs(np.array(one.vector, np.float32) - row.ravel()).max()
            for one, row in zip(self.texts, rows, strict=True)
        ]
        return float(np.max(found))  # NaN of any text is NaN of all
