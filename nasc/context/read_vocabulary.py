"""The part of a teacher's vocabulary that a text needs, out of a file."""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from device_profiles.reading import FileRefused
from nasc.data.sources import describe, read_whole_texts
from nasc.errors import CorpusError
from nasc.teacher import Teacher
from nasc.teacher.vocabulary import (
    CutTokenizer,
    Words,
    always_kept,
    changed_tokens,
    count_words,
    cut_tokenizer,
    plain_tokenizer,
)
from nasc.utils.files import check_path
from nasc.utils.progress import Say

HELD_OUT = 10
"""One text of so many takes no part in the choice: how it is read shows what the cut costs."""

MAX_TEXTS = 2_000_000
"""Texts that are read: some minutes."""

_TOGETHER = 1000
"""Texts that are tokenised together."""


@dataclass(frozen=True, slots=True, eq=False)
class CutVocabulary:
    """A vocabulary cut to a text, and what fell out.

    Attributes:
        cut: The tokenizer, and the rows of the word embedding that are kept.
        text: What text, in words.
        sha256: Of its texts.
        of_tokens: Tokens that there were.
        heldout_tokens: Tokens of the texts that took no part in the choice, before the cut.
        changed_tokens: Those of them in words that are read otherwise by what is left.
    """

    cut: CutTokenizer
    text: str
    sha256: str
    of_tokens: int
    heldout_tokens: int
    changed_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens that are left."""
        return len(self.cut.ids)


def read_vocabulary(path: Path, teacher: Teacher, say: Say) -> CutVocabulary:
    """The part of a teacher's vocabulary that the texts of a file use, and what any text needs.

    Args:
        path: Texts: a file of one of the kinds that a corpus may be of, each row or line a text.
            Every tenth of them takes no part in the choice.
        teacher: Whose vocabulary.
        say: Told what was found.

    Raises:
        CorpusError: If the file cannot be read, holds too few texts, or uses all tokens.
        UsageError: If its path is not UTF-8, or the vocabulary is not of WordPiece.
    """
    path = Path(os.path.expanduser(path))
    check_path(path, "--vocab-from FILE")
    tokenizer, name = plain_tokenizer(teacher.tokenizer), describe(path)
    chosen, heldout, digest, count = Words(), Words(), hashlib.sha256(), 0
    try:
        texts = (text for _, text in read_whole_texts(path, say))
        while batch := list(itertools.islice(texts, _TOGETHER)):
            count += len(batch)
            for text in batch:
                digest.update(text.encode() + b"\n")
            last = [text for place, text in enumerate(batch, 1) if place % HELD_OUT == 0]
            count_words(tokenizer, last, heldout)
            own = [text for place, text in enumerate(batch, 1) if place % HELD_OUT]
            count_words(tokenizer, own, chosen)
            if count > MAX_TEXTS:
                raise FileRefused(
                    path,
                    f"holds more than {MAX_TEXTS:,} texts. Take a part of them, at random: "
                    f"shuf -n {MAX_TEXTS // 10}",
                )
    except FileRefused as error:
        raise CorpusError(f"vocabulary file {error}") from error
    except OSError as error:
        raise CorpusError(
            f"vocabulary file '{path}' cannot be read: {error.strerror or error}. Give a file of "
            "texts, each a line or a row: --vocab-from texts.txt"
        ) from error
    if count < HELD_OUT or not heldout:
        raise CorpusError(
            f"vocabulary file '{path}' holds {count} texts, each a line or a row; {HELD_OUT} at "
            "least are needed, as every tenth shows what the cut costs. Give more text"
        )
    kept = always_kept(tokenizer).union(*chosen)
    total = len(teacher.tokenizer.get_vocab())
    if len(kept) >= total:
        raise CorpusError(
            f"vocabulary file '{path}' uses all {total:,} tokens of the teacher: nothing can be "
            "cut. Leave --vocab-from out, or give text of one kind"
        )
    before = sum(len(word) * times for word, times in heldout.items())
    found = CutVocabulary(
        cut_tokenizer(teacher.tokenizer, kept),
        name,
        digest.hexdigest(),
        teacher.geometry.vocab_size,
        before,
        changed_tokens(heldout, kept),
    )
    share = found.changed_tokens / before
    say(
        f"vocabulary: {found.tokens:,} of {found.of_tokens:,} tokens kept by {name}; {share:.2%} "
        f"of the tokens of its held-out tenth are read otherwise"
    )
    return found
