"""Plain text to distil on: where it comes from, and how it becomes sentences.

A corpus is a list of sentences to train on and a disjoint list that is held out. Which
sentences of a text are held out is decided by their content alone: the same sentence is on the
same side whatever the seed, and twins that differ in case or punctuation are one sentence. Of
another text that holds the same sentence, it may be on the other side. Of the text that comes with
nasc whole articles are held out.
"""

import dataclasses
import functools
import hashlib
import math
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from device_profiles.reading import shown
from nasc.data.sentences import marks
from nasc.data.sources import Reading, describe, read_all
from nasc.data.texts import Text
from nasc.errors import CorpusError
from nasc.utils.progress import Say

HELDOUT_SHARE = 0.05
HELDOUT_MINIMUM = 512
"""Held out: 5% of the sentences, at least 512, at most a quarter of them."""

DEFAULT_TEXT = Path(__file__).parent / "shipped" / "wikipedia-train.txt.gz"
DEFAULT_HELDOUT = DEFAULT_TEXT.with_name("wikipedia-heldout.txt.gz")
"""What is trained on, and judged by, where no text is named: `scripts/make_default_text.py`. They
are of different articles: of an article that was trained on, other sentences are no new text."""

DEFAULT_DESCRIPTION = "88 articles of the English Wikipedia that come with nasc"

MINIMUM_SENTENCES = 24
"""A quarter is held out, half of that judges, and three sentences are the least to compare."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Sentences to train on and sentences to judge by.

    Attributes:
        train: Sentences to train on, or pairs (`nasc.data.pairs`), in the order of the seeded
            shuffle.
        heldout: Those never trained on, in the order of their content hash.
        description: What text this is, in words for the user.
        sha256: Of all sentences that were chosen from, independent of seed and order.
        text_column: The column that was asked for where there are several; None is the obvious one.
    """

    train: tuple[Text, ...]
    heldout: tuple[Text, ...]
    description: str
    sha256: str
    text_column: str | None = None

    def __post_init__(self) -> None:
        if not self.train or not self.heldout:
            raise CorpusError("a corpus needs sentences to train on and sentences held out")


def load_corpus(
    source: str | Path | Sequence[str | Path] | None,
    *,
    seed: int,
    max_sentences: int | None = None,
    text_column: str | None = None,
    say: Say | None = None,
) -> Corpus:
    """Read text and split it into sentences.

    Args:
        source: A file of prose, Markdown, HTML, JSON lines, JSON, CSV, TSV (each with .gz too)
            or parquet, a folder of such files, `datasets:NAME` or `datasets:NAME:CONFIG` for a
            data set of the datasets library, a name of `nasc.data.named.NAMED`, or several of
            these. None takes `DEFAULT_TEXT` and `DEFAULT_HELDOUT`.
        seed: See `corpus_from_sentences`.
        max_sentences: See `corpus_from_sentences`.
        text_column: The column that holds the text, of sources that have columns; None takes the
            one that is named text, sentence, content or passage, or the only one of text.
        say: Told of the column that was taken and of rows that were left out.

    Raises:
        CorpusError: If the source is missing, unreadable, binary, empty or too small, a
            data set cannot be read to its end, or the column is missing or not clear.
    """
    named = DEFAULT_TEXT if source is None else source
    sources = [named] if isinstance(named, (str, Path)) else list(named)
    if not sources:
        raise CorpusError(
            "no corpus given: the list of sources is empty. Give a file, a folder or "
            "datasets:NAME, or leave the corpus out for the text that comes with nasc"
        )
    about = ", ".join(describe(s) for s in sources)
    found = corpus_from_sentences(
        read_all(sources, Reading(text_column, say)),
        description=DEFAULT_DESCRIPTION if source is None else about,
        seed=seed,
        max_sentences=max_sentences,
        heldout=read_all([DEFAULT_HELDOUT], Reading()) if source is None else None,
    )
    return dataclasses.replace(found, text_column=text_column)


def stream_text(sources: Sequence[str | Path], corpus: Corpus) -> Iterator[str]:
    """All sentences of some sources but those that a corpus made of them holds out.

    Twins are not looked for: that would take a memory of all of them.

    Raises:
        CorpusError: See `load_corpus`.
    """
    heldout = {sentence_key(text) for text in corpus.heldout if isinstance(text, str)}
    for sentence in read_all(sources, Reading(corpus.text_column)):
        if sentence_key(sentence) not in heldout:
            yield sentence


def corpus_from_sentences(
    sentences: Iterable[str],
    *,
    description: str,
    seed: int,
    max_sentences: int | None = None,
    heldout: Iterable[str] | None = None,
) -> Corpus:
    """Make a corpus of sentences at hand; see `load_corpus`.

    Args:
        sentences: The sentences, read once. Of several that are equal but for case,
            punctuation and spaces, the first is kept.
        description: What text this is, in words for the user.
        seed: Of the order of the training sentences, and so of the choice among them when
            there are more than `max_sentences`.
        max_sentences: Upper limit on the training sentences; None keeps all. Of a text much
            larger than that, no more is held in memory than is needed: the sentences of the
            smallest content hashes, whatever the seed and the order of the text.
        heldout: Sentences to hold out, read once; those that are among the others are left out.
            None holds out some of the others.

    Raises:
        CorpusError: If fewer than `MINIMUM_SENTENCES` different sentences are left, or one of them
            holds a lone surrogate.
    """
    if max_sentences is not None and max_sentences < 1:
        raise CorpusError(f"the number of sentences must be at least 1, got {max_sentences}")
    ordered = _by_content(sentences, None if max_sentences is None else _enough_for(max_sentences))
    if len(ordered) < MINIMUM_SENTENCES:
        raise CorpusError(
            f"{description}: {len(ordered)} different sentences found, at least "
            f"{MINIMUM_SENTENCES} are needed. Give more text, or leave --corpus out for the "
            "text that comes with nasc"
        )
    if heldout is None:
        held, train = _split(ordered)
    else:
        train, known = ordered, set(map(sentence_key, ordered))
        held = [s for s in _by_content(heldout, None) if sentence_key(s) not in known]
    digest = hashlib.sha256()
    for sentence in (*held, *train):
        try:
            digest.update(sentence.encode())
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{description}: {shown(sentence)} holds a lone surrogate: leave it out"
            ) from error
        digest.update(b"\n")
    random.Random(seed).shuffle(train)
    train = train[:max_sentences]
    return Corpus(
        train=tuple(train),
        heldout=tuple(held),
        description=description,
        sha256=digest.hexdigest(),
    )


def _split(ordered: list[str]) -> tuple[list[str], list[str]]:
    """Sentences to hold out of some in the order of their content keys, and the others."""
    count = count_heldout(len(ordered))
    return ordered[:count], ordered[count:]


def count_heldout(count: int) -> int:
    """So many of some sentences are held out."""
    return min(max(math.ceil(count * HELDOUT_SHARE), HELDOUT_MINIMUM), count // 4)


def _enough_for(train: int) -> int:
    """Sentences of which so many are left to train on, and the usual number is held out."""
    return max(math.ceil(train / (1 - HELDOUT_SHARE)), train + HELDOUT_MINIMUM, 4 * HELDOUT_MINIMUM)


def _by_content(sentences: Iterable[str], count: int | None) -> list[str]:
    """Different sentences in the order of their content keys, the first `count` of these.

    Never holds more than twice as many as it gives; None gives all.
    """
    found: dict[bytes, str] = {}
    last: bytes | None = None
    for sentence in sentences:
        key = sentence_key(sentence)
        if last is None or key <= last:
            found.setdefault(key, sentence)
            if count is not None and len(found) >= 2 * count:
                found = {key: found[key] for key in sorted(found)[:count]}
                last = max(found)
    return [found[key] for key in sorted(found)[:count]]


_NOT_WORD = re.compile(r"[\W_]+")


def sentence_key(sentence: str) -> bytes:
    """What makes a sentence the same sentence; evenly distributed, so it also sorts fairly."""
    folded = sentence.casefold()
    if folded.isascii() or not marks().search(folded):
        plain = _NOT_WORD.sub(" ", folded).strip() or sentence
    else:  # a vowel sign makes another word
        plain = _not_word_nor_mark().sub(" ", folded).strip() or sentence
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=12).digest()


@functools.cache
def _not_word_nor_mark() -> re.Pattern[str]:
    return re.compile(rf"(?:(?!{marks().pattern})[\W_])+")
