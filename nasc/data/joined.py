"""Texts of several sentences, out of sentences that follow each other."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator

MOST_JOINED = 6
"""Sentences in a text that is joined of them, of two at least: some are cut at 128 tokens."""


def joined(sentences: Iterable[str], share: float, seed: int) -> Iterator[str]:
    """Texts of one sentence and, to a share, of two to `MOST_JOINED` that follow each other.

    Every sentence is in one of them: none that is held out is trained on within another.
    """
    rng, rest = random.Random(seed), iter(sentences)
    for sentence in rest:
        more = rng.randint(1, MOST_JOINED - 1) if rng.random() < share else 0
        yield " ".join([sentence, *itertools.islice(rest, more)])
