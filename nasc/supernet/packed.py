"""Text of any size to train on: tokenised once into a file, read from there by pages.

Rows of one length, filled to the last token: sentences follow each other without a gap (RoBERTa's
FULL-SENTENCES; Liu et al., 2019, Section 4.2), so that nothing is padding. Neither text nor order
is ever held in memory.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from device_profiles.reading import FileRefused, read_json, sha256_of
from nasc.data import Corpus, stream_text
from nasc.data.batching import copy_tokenizer
from nasc.data.named import is_named
from nasc.data.tokens import Batch
from nasc.errors import CheckpointError, CorpusError
from nasc.supernet.batches import CALIBRATION_SENTENCES
from nasc.supernet.parallel import ALONE, Parallel
from nasc.teacher import Teacher
from nasc.utils.files import content_key, locked, replacing, write_atomically
from nasc.utils.progress import Reporter

CHUNK = 10_000
"""Sentences that are tokenised at a time."""

ROUNDS = 4
"""Of the Feistel network behind the order: what makes a pseudo-random function a pseudo-random
permutation (Luby and Rackoff, 1988)."""

_SCHEMA = {
    "type": "object",
    "required": ["dtype", "count", "sha256"],
    "properties": {
        "dtype": {"enum": ["uint16", "uint32"]},
        "count": {"type": "integer", "minimum": 0},
        "sha256": {"type": "string"},
    },
}


def permuted(places: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Where places 0 to count - 1 lie in a random order that is never written down.

    Args:
        places: Any of them.
        count: How many there are.
        seed: Of the order.
    """
    half = max(1, (int(count - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = np.random.default_rng(seed).integers(1, 1 << 63, ROUNDS, dtype=np.uint64)
    found = places.astype(np.uint64)
    outside = np.ones(found.shape, bool)
    while outside.any():  # walk the cycle until it is back inside: four steps on average at most
        x = found[outside]
        left, right = x >> np.uint64(half), x & mask
        for key in keys:
            mixed = (right + key) * np.uint64(0x9E3779B97F4A7C15)
            mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & mask)
        found[outside] = (left << np.uint64(half)) | right
        outside = found >= np.uint64(count)
    return found.astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatches:
    """Endless seeded batches of full rows; see `nasc.supernet.batches.TrainBatches`.

    Attributes:
        tokens: (rows, row_length), on disk, without special tokens.
        first: Special tokens before a row.
        last: Special tokens after it.
        batch_size: Rows in a batch.
        seed: Of the order.
    """

    tokens: NDArray[Any]
    first: tuple[int, ...]
    last: tuple[int, ...]
    batch_size: int
    seed: int

    def calibration(self) -> Batch:
        """Some of the text, the same in every run."""
        return self._batch(np.arange(min(CALIBRATION_SENTENCES, len(self.tokens))))

    def at(self, step: int) -> Batch:
        """The batch of one step; every epoch has an order of its own."""
        rows = len(self.tokens)
        places = step * self.batch_size + np.arange(self.batch_size)
        epochs = places // rows
        chosen = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            chosen[here] = permuted(places[here] % rows, rows, self.seed * 1_000_003 + int(epoch))
        return self._batch(chosen)

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        text = torch.from_numpy(self.tokens[np.sort(rows)].astype(np.int64))
        first, last = (
            torch.tensor(ids, dtype=torch.int64).expand(len(rows), -1)
            for ids in (self.first, self.last)
        )
        ids = torch.cat([first, text, last], 1)
        return Batch(ids, torch.ones_like(ids))


def pack(
    sources: tuple[str, ...],
    corpus: Corpus,
    teacher: Teacher,
    length: int,
    *,
    batch_size: int,
    seed: int,
    cache_dir: Path,
    reporter: Reporter,
    parallel: Parallel = ALONE,
) -> tuple[PackedBatches, str]:
    """Tokenise all of a text into a file of the cache, or find it there.

    Of several processes the first one does it; the others wait for it, not for the lock.

    Args:
        sources: As `nasc.data.load_corpus` takes them.
        corpus: Made of the same sources: what it holds out is left out.
        teacher: Its tokenizer.
        length: Tokens of a row, special tokens included.
        batch_size: Rows in a batch.
        seed: Of the order.
        cache_dir: Keeps the file.
        reporter: Told of the progress.
        parallel: Which of the processes this is.

    Returns:
        The batches, and the sha256 of the tokens.

    Raises:
        CorpusError: From the text, or if it does not fill a row.
        CheckpointError: If the file is damaged, or cannot be written.
    """
    about = {
        "sources": [
            s
            if s.startswith("datasets:") or is_named(s)
            else str(Path(os.path.expanduser(s)).absolute())
            for s in sources
        ],
        "files": [_stamp(Path(os.path.expanduser(s))) for s in sources],
        "heldout": corpus.sha256,
        "tokenizer": teacher.fingerprint,
    }
    folder = cache_dir / "tokens" / content_key(about)
    ends = _special(teacher)
    row = length - len(ends[0]) - len(ends[1])
    if parallel.is_first:
        with locked(folder, "these tokens", reporter.say):
            if (folder / "tokens.json").exists():
                _check_tokens(folder)
            else:
                _write(folder, sources, corpus, teacher, reporter)
    parallel.wait()
    header = _read_header(folder)
    if header["count"] < row:
        raise CorpusError(
            f"the text holds {header['count']} tokens, less than a row of {row}. "
            "Give more text, or leave --packed out"
        )
    try:
        flat = np.memmap(folder / "tokens.bin", header["dtype"], "r")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}. Delete it and run again") from error
    if len(flat) != header["count"]:
        raise CheckpointError(
            f"{folder} is damaged: {len(flat)} tokens, not {header['count']}. Delete it and "
            "run again"
        )
    rows = flat[: len(flat) // row * row].reshape(-1, row)
    reporter.say(f"packed text: {len(flat):,} tokens in {len(rows):,} rows")
    return PackedBatches(rows, *ends, batch_size, seed), header["sha256"]


def _stamp(path: Path) -> list[Any]:
    """What tells a changed file or folder without reading it."""
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in paths if p.is_file()]


def _special(teacher: Teacher) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Special tokens before and after a text."""
    tokenizer = copy_tokenizer(teacher.tokenizer)
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    whole = tokenizer.encode("a").ids
    first = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return tuple(whole[:first]), tuple(whole[first + len(bare) :])


def _token_ids(sentences: Iterable[str], teacher: Teacher, dtype: type) -> Iterator[NDArray[Any]]:
    tokenizer = copy_tokenizer(teacher.tokenizer)
    left = iter(sentences)
    while chunk := list(itertools.islice(left, CHUNK)):
        encoded = tokenizer.encode_batch_fast(chunk, add_special_tokens=False)
        yield np.fromiter((i for one in encoded for i in one.ids), dtype)


def _write(
    folder: Path, sources: tuple[str, ...], corpus: Corpus, teacher: Teacher, reporter: Reporter
) -> None:
    dtype = np.uint16 if teacher.geometry.vocab_size <= 1 << 16 else np.uint32
    progress = reporter.stage("Packing the text")
    digest, count = hashlib.sha256(), 0
    try:
        with replacing(folder / "tokens.bin") as part, part.open("wb") as file:
            for ids in _token_ids(stream_text(sources, corpus), teacher, dtype):
                file.write(ids.tobytes())
                digest.update(ids.tobytes())
                count += len(ids)
                progress(0, 1, f"{count:,} tokens")
        header = {"dtype": np.dtype(dtype).name, "count": count, "sha256": digest.hexdigest()}
        write_atomically(folder / "tokens.json", json.dumps(header).encode())
    except OSError as error:
        raise CheckpointError(
            f"cannot write to '{folder}': {error.strerror or error}. Free the disk, or use another "
            "cache: --cache DIR"
        ) from error


def _read_header(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read_json(folder / "tokens.json", 1 << 20, _SCHEMA)
        return found
    except (OSError, FileRefused) as error:
        raise CheckpointError(f"{folder} is damaged: {error}. Delete it and run again") from error


def _check_tokens(folder: Path) -> None:
    """Raise unless the tokens are those that were written: a second for some gigabytes.

    Raises:
        CheckpointError: If they are others, or cannot be read.
    """
    header = _read_header(folder)
    try:
        found = sha256_of(folder / "tokens.bin")
    except (OSError, FileRefused) as error:
        raise CheckpointError(f"{folder} is damaged: {error}. Delete it and run again") from error
    if found != header["sha256"]:
        raise CheckpointError(
            f"{folder} is damaged: tokens.bin is not as it was written. Delete it and run again"
        )
