"""Pairs of texts: a query and a passage, a premise and a hypothesis, from tables and JSON lines.

Which pairs are held out is decided by their first texts: all pairs of a query are on one side, and
of those that are held out, in one half: that which chooses networks or that which judges them.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from device_profiles.reading import FileRefused, shown
from nasc.data.corpus import MINIMUM_SENTENCES, Corpus, count_heldout, sentence_key
from nasc.data.records import BROKEN, json_rows
from nasc.data.streams import lines
from nasc.data.texts import Text
from nasc.errors import CorpusError

MAX_PAIRS = 500_000
"""Of a file."""

LEAST_FIRST = 32
"""Different first texts: a quarter of so many is held out, half of that judges."""

MOST_HELD_FIRST = 64
"""First texts that are held out where the pairs of fewer would be enough, a quarter at most."""

_AT_ONCE = 16
"""Pairs of a first text that stand together in what is held out; more of it follow behind those of
the others."""

MAX_TEXT = 1 << 20
"""Characters of a text; what a tokenizer leaves of it are some thousands."""

_JSON = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")


def load_pairs(path: Path, *, seed: int, most: int | None = None) -> Corpus:
    """The pairs of a file, to train on and held out.

    Args:
        path: UTF-8, packed by gzip or not: lines of two texts with a tab between them, without a
            line of names; or JSON lines (.jsonl), each a list of two texts or an object of two,
            all with the same keys in one order: the first is that of the first text.
        seed: Of the order of the pairs to train on.
        most: Upper limit on those; None keeps all.

    Raises:
        CorpusError: If the file cannot be read, holds something else, or too few different pairs
            or first texts.
    """
    try:
        read = list(itertools.islice(_read(path), MAX_PAIRS + 1))
    except (OSError, FileRefused) as error:
        reason = error.reason if isinstance(error, FileRefused) else error.strerror or error
        raise CorpusError(f"--pairs '{path}' {reason}") from error
    if len(read) > MAX_PAIRS:
        raise CorpusError(
            f"--pairs '{path}' holds more than {MAX_PAIRS:,} pairs. Take a part of them: "
            f"shuf -n {MAX_PAIRS}"
        )
    keyed = {(sentence_key(first), sentence_key(second)): (first, second) for first, second in read}
    by_first: dict[bytes, list[Text]] = {}
    for key in sorted(keyed):
        by_first.setdefault(key[0], []).append(keyed[key])
    if len(keyed) < MINIMUM_SENTENCES or len(by_first) < LEAST_FIRST:
        raise CorpusError(
            f"--pairs '{path}' holds {len(keyed)} different pairs of {len(by_first)} different "
            f"first texts; at least {MINIMUM_SENTENCES} of {LEAST_FIRST} are needed, since some "
            "first texts are held out with all their pairs"
        )
    groups = list(by_first.values())
    wanted, first_texts = count_heldout(len(keyed)), min(MOST_HELD_FIRST, len(groups) // 4)
    counts = itertools.accumulate(map(len, groups))  # of pairs, in the first groups
    cut = next(n for n, held in enumerate(counts, 1) if held >= wanted and n >= first_texts)
    held, train = _halves(groups[:cut]), list(itertools.chain(*groups[cut:]))
    if len(train) < sum(map(len, groups[:cut])):
        raise CorpusError(
            f"--pairs '{path}': most of its pairs are of one first text, so that none can be held "
            "out. Give more different first texts"
        )
    digest = hashlib.sha256()
    for first, second in map(keyed.__getitem__, sorted(keyed)):
        digest.update(f"{first}\t{second}\n".encode())
    random.Random(seed).shuffle(train)
    count = f"{len(keyed):,} pairs of {len(by_first):,} first texts"
    return Corpus(tuple(train[:most]), tuple(held), f"{path.name}: {count}", digest.hexdigest())


def _halves(groups: Sequence[Sequence[Text]]) -> list[Text]:
    """Pairs of groups in two halves of one length, no group in both.

    The larger half loses its last pairs.
    """
    halves: tuple[list[Sequence[Text]], list[Sequence[Text]]] = ([], [])
    pairs = [0, 0]
    for group in sorted(groups, key=len, reverse=True):
        smaller = pairs.index(min(pairs))
        halves[smaller].append(group)
        pairs[smaller] += len(group)
    first, second = map(_in_turns, halves)
    most = min(len(first), len(second))
    return first[:most] + second[:most]


def _in_turns(groups: Sequence[Sequence[Text]]) -> list[Text]:
    """Pairs of all groups, `_AT_ONCE` of each in turn."""
    longest = max(map(len, groups))
    turns = range(0, longest, _AT_ONCE)
    return [pair for at in turns for group in groups for pair in group[at : at + _AT_ONCE]]


def _read(path: Path) -> Iterator[tuple[str, str]]:
    rows = _objects(path) if path.name.lower().endswith(_JSON) else _columns(path)
    for number, found in rows:
        if len(found) != 2 or not all(isinstance(text, str) for text in found):
            raise FileRefused(
                path,
                f"line {number:,} holds {shown(found)}; each line is a pair of texts, with a tab "
                "between them, or (.jsonl) a list or an object of two texts",
            )
        for text in found:
            if BROKEN.search(text) or len(text) > MAX_TEXT or not text.strip():
                raise FileRefused(
                    path,
                    f"line {number:,} holds {shown(text)}, which is no text of 1 to {MAX_TEXT:,} "
                    "characters",
                )
        yield found[0], found[1]


def _columns(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    for number, line in enumerate(lines(path), 1):
        if not line.isspace():
            yield number, line.rstrip("\n").split("\t")


def _objects(path: Path) -> Iterator[tuple[int, Sequence[Any]]]:
    keys: list[str] | None = None
    for number, value in json_rows(path):
        if isinstance(value, dict):
            keys = keys or list(value)
            if list(value) != keys:
                raise FileRefused(
                    path,
                    f"line {number:,} has the keys {shown(list(value))}, lines before it "
                    f"{shown(keys)}; all are to have the same in one order: the first text's first",
                )
            yield number, list(value.values())
        else:
            yield number, _listed(value)


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
