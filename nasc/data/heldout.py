"""The held-out sentences of a text: one half chooses networks, the other judges them."""

from __future__ import annotations

from nasc.data.corpus import Corpus
from nasc.data.texts import Text

SCORE_SENTENCES = 256
"""Held-out sentences that candidates are scored on; those after them judge the package."""

JUDGING_SENTENCES = 512
"""Held-out sentences that a package, or a network trained by itself, is judged by."""


def scored_sentences(corpus: Corpus, count: int = SCORE_SENTENCES) -> tuple[Text, ...]:
    """Held-out sentences that choose a network: half of them at most, `count` at most."""
    return corpus.heldout[: max(len(corpus.heldout) // 2, 1)][:count]


def judging_sentences(corpus: Corpus, count: int) -> tuple[Text, ...]:
    """Held-out sentences that had no part in choosing a network: they judge it."""
    return corpus.heldout[len(corpus.heldout) // 2 :][:count]
