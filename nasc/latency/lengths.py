"""A mixture of text lengths: which few lengths stand for all of them.

Texts are put into a few classes of neighbouring lengths, and each counts as if it had as many
tokens as the longest of its class. Where a longer text takes no less time, no text is priced
below what it takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasc.errors import UsageError
from nasc.utils.printable import printable

MOST_LENGTHS = 5
"""Lengths that stand for a mixture: a latency table is measured at each."""

ENOUGH = 0.05
"""With fewer lengths, where their tokens are at most so much more than the texts' own."""

MAX_TOKENS = 1 << 20
"""Tokens of a text in a mixture."""

MAX_TEXTS = 10**15
"""Texts of one length in a mixture."""

MAX_SOURCE = 1000
"""Characters of the words that say where a mixture is from."""


@dataclass(frozen=True, slots=True)
class LengthPart:
    """Texts that are counted as being of one length.

    Attributes:
        seq_len: Tokens of the longest of them.
        texts: How many.
    """

    seq_len: int
    texts: int

    def __post_init__(self) -> None:
        for name, most in (("seq_len", MAX_TOKENS), ("texts", MAX_TEXTS)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise UsageError(
                    f"mixture of lengths: {name} must be a whole number from 1 to {most:,}, got "
                    f"{value!r}"
                )


@dataclass(frozen=True, slots=True)
class LengthMixture:
    """The lengths of some texts, in a few classes.

    Attributes:
        parts: The classes, the shortest first.
        mean_tokens: Tokens of a text in the mean, as the texts themselves are.
        source: Where it is from, in words.
    """

    parts: tuple[LengthPart, ...]
    mean_tokens: float
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", printable(self.source)[:MAX_SOURCE])
        lengths = self.lengths
        if not 1 <= len(lengths) <= MOST_LENGTHS or sorted(set(lengths)) != list(lengths):
            raise UsageError(
                f"mixture of lengths: 1 to {MOST_LENGTHS} different lengths, the shortest first, "
                f"got {', '.join(map(str, lengths)) or 'none'}"
            )
        if not 0 < self.mean_tokens <= self.priced_tokens * (1 + 1e-9):
            raise UsageError(
                f"mixture of lengths: texts of {self.mean_tokens} tokens in the mean cannot be "
                f"priced as being of {self.priced_tokens}"
            )

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths that are measured, the shortest first."""
        return tuple(part.seq_len for part in self.parts)

    @property
    def longest(self) -> int:
        """The longest of them."""
        return self.lengths[-1]

    @property
    def texts(self) -> int:
        """How many texts were counted."""
        return sum(part.texts for part in self.parts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of the texts that counts as being of each length, in their order."""
        return tuple(part.texts / self.texts for part in self.parts)

    @property
    def priced_tokens(self) -> float:
        """Tokens of a text in the mean, each counted as the longest of its class."""
        return sum(part.texts * part.seq_len for part in self.parts) / self.texts

    def describe(self) -> str:
        """The lengths and their shares, as in ``16 tokens 40%, 64 tokens 60%``."""
        pairs = zip(self.lengths, self.shares, strict=True)
        return ", ".join(f"{length} tokens {100 * share:.3g}%" for length, share in pairs)

    def words(self) -> str:
        """What a latency is the mean over, in words."""
        return f"the mean over {self.texts:,} texts of {self.source} ({self.describe()})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "parts": [{"seq_len": part.seq_len, "texts": part.texts} for part in self.parts],
            "mean_tokens": self.mean_tokens,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LengthMixture:
        """Read what `to_dict` gave.

        Raises:
            UsageError: If it contradicts itself.
        """
        parts = tuple(LengthPart(part["seq_len"], part["texts"]) for part in raw["parts"])
        return cls(parts, raw["mean_tokens"], raw["source"])


def mixture_of(counts: Mapping[int, int], source: str, most: int = MOST_LENGTHS) -> LengthMixture:
    """The mixture of some texts in the classes that add the fewest tokens.

    Classes of neighbouring lengths that minimise the sum of what is added are found exactly, by
    dynamic programming over the lengths (Fisher, On Grouping for Maximum Homogeneity, 1958, of
    another sum). The fewest of them are taken that add at most `ENOUGH`.

    Args:
        counts: Texts by their length in tokens; those of 0 texts are passed over.
        source: Where they are from, in words.
        most: Classes at most.

    Raises:
        UsageError: If there is no text.
    """
    lengths = sorted(length for length, texts in counts.items() if texts > 0)
    if not lengths:
        raise UsageError("a mixture of lengths needs at least one text")
    texts = [counts[length] for length in lengths]
    total = sum(texts)
    tokens = sum(length * count for length, count in zip(lengths, texts, strict=True))
    for classes in range(1, min(most, len(lengths)) + 1):
        ends, added = _split(lengths, texts, classes)
        if added <= ENOUGH * tokens:
            break
    starts = [0, *(end + 1 for end in ends[:-1])]
    parts = tuple(
        LengthPart(lengths[end], sum(texts[start : end + 1]))
        for start, end in zip(starts, ends, strict=True)
    )
    return LengthMixture(parts, tokens / total, source)


def _split(lengths: list[int], texts: list[int], classes: int) -> tuple[list[int], float]:
    """Places of the longest of each class, and the tokens that are added to all texts."""
    n = len(lengths)
    long, count = np.array(lengths, float), np.array(texts, float)
    texts_before = np.concatenate([[0.0], np.cumsum(count)])
    tokens_before = np.concatenate([[0.0], np.cumsum(count * long)])

    def added(end: int) -> Any:
        """By its first place, what a class that ends here adds."""
        firsts = slice(0, end + 1)
        held = long[end] * (texts_before[end + 1] - texts_before[firsts])
        return held - (tokens_before[end + 1] - tokens_before[firsts])

    least = np.array([added(end)[0] for end in range(n)])
    starts: list[list[int]] = []
    for _ in range(classes - 1):
        following, first = np.full(n, np.inf), [0] * n
        for end in range(1, n):
            sums = least[:end] + added(end)[1:]
            best = int(np.argmin(sums))
            following[end], first[end] = sums[best], best + 1
        least = following
        starts.append(first)
    ends, end = [], n - 1
    for first in reversed(starts):
        ends.append(end)
        end = first[end] - 1
    ends.append(end)
    return ends[::-1], float(least[-1])
