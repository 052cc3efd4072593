"""The text of a run: that only one is named, and what is read of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nasc.data import Corpus, load_corpus
from nasc.data.pairs import load_pairs
from nasc.errors import UsageError
from nasc.utils.progress import Say

MAX_CORPUS = 200_000
"""Training sentences used at most; minutes of training see fewer."""


def check_text_source(corpus: Sequence[str], text_column: str | None, pairs: Path | None) -> None:
    """Raise where what names the text does not go together.

    Args:
        corpus: Text files, folders, ``datasets:`` ids, names of `nasc.data.named`; empty
            is the text that comes with nasc.
        text_column: Column of the corpus that holds the text.
        pairs: A file of pairs in place of the corpus.

    Raises:
        UsageError: With what to leave out.
    """
    if text_column is not None and not corpus:
        raise UsageError(f"--text-column {text_column} names a column of --corpus: give one")
    if pairs is not None and corpus:
        raise UsageError(f"--pairs {pairs} takes the place of --corpus: give one of them")


def load_text(
    corpus: Sequence[str], text_column: str | None, pairs: Path | None, seed: int, say: Say
) -> Corpus:
    """The text that is named, at most `MAX_CORPUS` sentences or pairs of it.

    Args:
        corpus: See `check_text_source`.
        text_column: See there; None takes the obvious one.
        pairs: See there.
        seed: Decides which sentences are taken, and which are held out.
        say: Told what was read.

    Raises:
        CorpusError: See `nasc.data.load_corpus` and `nasc.data.pairs.load_pairs`.
    """
    if pairs is not None:
        found = load_pairs(pairs, seed=seed, most=MAX_CORPUS)
        say(f"pairs: {found.description} ({len(found.train):,} to train on)")
        return found
    found = load_corpus(
        list(corpus) or None,
        seed=seed,
        max_sentences=MAX_CORPUS,
        text_column=text_column,
        say=say,
    )
    say(f"text: {found.description} ({len(found.train):,} sentences)")
    return found
