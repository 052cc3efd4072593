"""Golden texts: token ids and vectors that every port of the package has to reproduce."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from device_profiles.reading import conform, read_json, shown
from nasc.architecture.heads import (
    MAX_TOKEN_SCORES,
    gives_spans,
    head_outputs,
    scores_tokens,
    vector_size,
)
from nasc.data.texts import Text
from nasc.evaluation.encoder import Encoder, Vectors

VERSION = 1
"""Of the form and of `TEXTS`: raised when either changes."""

MAX_BYTES = 64 << 20
"""What golden.json may hold; the twelve texts of a package with 384 numbers each take 85 kB."""

MAX_LENGTH = MAX_TOKEN_SCORES
"""Characters, tokens and numbers of a text in golden.json."""

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


PAIRS: tuple[Text, ...] = tuple(zip(TEXTS, TEXTS[1:] + TEXTS[:1], strict=True))
"""Each with the next, for packages that score pairs."""


@dataclass(frozen=True, slots=True)
class GoldenText:
    """One text.

    Attributes:
        text: As given, or both texts of a pair.
        input_ids: Its token ids, special tokens included.
        vector: What the shipped file gives for the text alone in its batch: (hidden,), (classes,),
            (tokens * classes,), one token after the other, or (2 * tokens,): all scores of a start,
            then those of an end.
    """

    text: Text
    input_ids: tuple[int, ...]
    vector: tuple[float, ...]

    @property
    def name(self) -> str:
        """Its beginning, for messages."""
        return (self.text if isinstance(self.text, str) else self.text[0])[:40]


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
        cls, encoder: Encoder, texts: Sequence[Text], max_length: int, tolerance: float
    ) -> Self:
        """From the shipped model and its tokenizer.

        Args:
            encoder: Of both.
            texts: What goes in.
            max_length: Tokens that a text is cut to.
            tolerance: Of the format and precision; see `nasc.package.formats.base`.
        """
        ids = encoder.tokenize(texts, max_length)
        rows = encoder.outputs(ids, batch_size=1)
        return cls(
            max_length,
            allowed_difference(tolerance, rows),
            tuple(
                GoldenText(text, tuple(tokens), tuple(map(float, row.ravel())))
                for text, tokens, row in zip(texts, ids, rows, strict=True)
            ),
        )

    def of(self, encoder: Encoder) -> Self:
        """The same token ids with the vectors of another encoder."""
        rows = encoder.outputs([list(one.input_ids) for one in self.texts], batch_size=1)
        texts = (
            dataclasses.replace(one, vector=tuple(map(float, row.ravel())))
            for one, row in zip(self.texts, rows, strict=True)
        )
        return dataclasses.replace(self, texts=tuple(texts))

    @classmethod
    def read(cls, path: Path, paired: bool = False) -> Self:
        """From a file of a package, which holds `TEXTS`, or `PAIRS`.

        Args:
            path: The file.
            paired: Whether the package scores pairs.

        Raises:
            OSError, FileRefused, ValueError: If it cannot be read, holds what makes no sense, or
                other texts.
        """
        raw = read_json(path, MAX_BYTES)
        listed = raw.get("texts") if isinstance(raw, dict) else None
        texts = PAIRS if paired else TEXTS
        if isinstance(listed, list) and len(listed) != len(texts):
            raise ValueError(f"it holds {len(listed):,} texts, every package {len(texts)}")
        conform(raw, _SCHEMA, path)
        held = [_text(one["text"]) for one in raw["texts"]]
        other = sum(one != text for one, text in zip(held, texts, strict=True))
        if other:
            raise ValueError(f"it holds other texts than every package: {other} of {len(texts)}")
        return cls(
            raw["max_length"],
            float(raw["tolerance"]),
            tuple(
                GoldenText(
                    _text(one["text"]),
                    tuple(_whole(one["input_ids"])),
                    tuple(_numbers(one["vector"])),
                )
                for one in raw["texts"]
            ),
        )

    def problems(
        self, precision: str, tolerance: float, head: str, hidden: int, vocab_size: int
    ) -> list[str]:
        """What the program would have written otherwise: one phrase each, empty if nothing.

        How far a vector may be off is not taken from the file's word.

        Args:
            precision: Of the package.
            tolerance: Of its format and precision; see `nasc.package.formats.base`.
            head: Of the package.
            hidden: The teacher's hidden size.
            vocab_size: Rows of the embedding.
        """
        found = []
        allowed = allowed_difference(tolerance, [one.vector for one in self.texts])
        if not abs(self.tolerance - allowed) <= 1e-6 * allowed:
            found.append(f"it allows differences of {self.tolerance:g}, {precision} of {allowed:g}")
        for one in self.texts:
            tokens, numbers = len(one.input_ids), len(one.vector)
            row = head_outputs(head) or vector_size(head, hidden)
            wanted = row * tokens if scores_tokens(head) else row
            if gives_spans(head):
                wanted = 2 * tokens
            if numbers != wanted:
                found.append(f"{shown(one.name)} has {numbers} numbers, not {wanted}")
            if tokens > self.max_length:
                found.append(f"{shown(one.name)} has {tokens} tokens, over {self.max_length}")
            if max(one.input_ids) >= vocab_size:
                found.append(f"{shown(one.name)} has ids beyond the {vocab_size:,} known")
        if not self._tells_texts_apart():
            found.append("all texts have the same vector: the model answers nothing")
        return found

    def _tells_texts_apart(self) -> bool:
        """Whether any two outputs differ by more than rounding; those of other sizes do."""
        scale = max(1.0, *(max(map(abs, one.vector)) for one in self.texts))
        for one, other in itertools.pairwise(self.texts):
            first, second = np.array(one.vector), np.array(other.vector)
            if first.shape != second.shape:
                if max(np.ptp(first), np.ptp(second)) > 1e-6 * scale:
                    return True
            elif np.abs(first - second).max() > 1e-6 * scale:
                return True
        return False

    def to_json(self) -> str:
        """The text of golden.json. Vectors keep the nine digits that tell floats apart."""
        texts = [
            {
                "text": one.text if isinstance(one.text, str) else list(one.text),
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
            one.name
            for one, tokens in zip(self.texts, ids, strict=True)
            if tuple(tokens) != one.input_ids
        ]

    def difference(self, rows: Sequence[Vectors]) -> float:
        """Largest absolute difference of a model's outputs for the texts from the golden ones.

        Infinite where the model gives another number of values, NaN where one of them is.
        """
        found = []
        for one, row in zip(self.texts, rows, strict=True):
            wanted = np.array(one.vector, np.float32)
            if wanted.size != row.size:
                return float("inf")
            found.append(np.abs(wanted - row.ravel()).max())
        return float(np.max(found))  # NaN of any text is NaN of all


def allowed_difference(tolerance: float, rows: Sequence[Vectors | Sequence[float]]) -> float:
    """How far a value of any vector may be off: the tolerance, of the largest value above 1."""
    return tolerance * max(1.0, *(float(np.abs(row).max()) for row in rows))


_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["version", "max_length", "tolerance", "texts"],
    "properties": {
        "version": {"const": VERSION},
        "max_length": {"type": "integer", "minimum": 1, "maximum": MAX_LENGTH},
        "tolerance": {"type": "number", "exclusiveMinimum": 0},
        "texts": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["text", "input_ids", "vector"],
                "properties": {
                    "text": {
                        "anyOf": [
                            {"type": "string", "maxLength": MAX_LENGTH},
                            {
                                "type": "array",
                                "items": {"type": "string", "maxLength": MAX_LENGTH},
                                "minItems": 2,
                                "maxItems": 2,
                            },
                        ]
                    },
                    "input_ids": {"type": "array", "minItems": 1, "maxItems": MAX_LENGTH},
                    "vector": {"type": "array", "minItems": 1, "maxItems": MAX_LENGTH},
                },
            },
        },
    },
}
"""Of golden.json; the long lists of numbers are looked at by `_whole` and `_numbers`."""


def _text(value: Any) -> Text:
    return value if isinstance(value, str) else (value[0], value[1])


def _whole(values: list[Any]) -> list[int]:
    for value in values:
        if type(value) is not int or not 0 <= value < 1 << 31:
            raise ValueError(f"input_ids holds {shown(value)}, which is no token id")
    return values


def _numbers(values: list[Any]) -> list[float]:
    largest = float(np.finfo(np.float32).max)
    for value in values:
        if type(value) not in (int, float) or not abs(value) <= largest:
            raise ValueError(f"vector holds {shown(value)}, which is no number of a model")
    return list(map(float, values))
