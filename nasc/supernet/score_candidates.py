"""Scoring a whole supernet: every candidate, the sensitivities, the cost of the precisions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.space import SMALLER, Block, SearchSpace
from nasc.data import Corpus
from nasc.data.heldout import scored_sentences
from nasc.data.texts import Text
from nasc.errors import NascError
from nasc.lowering import PRECISIONS as LOWERED
from nasc.lowering import get_lowering
from nasc.supernet.checkpoint import left_blocks
from nasc.supernet.precision_loss import measure_losses, probes_of, sentences_as_tokens, spread
from nasc.supernet.scorer import Scorer
from nasc.supernet.scores import SCORED_RUNTIME, Scores, load_scores
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import train_length
from nasc.utils.progress import Reporter
from nasc.utils.torch_device import has_bf16

MAX_SCORED = 4000
"""Candidates of a block scored at most; a larger space is sampled."""

BLOCK_SENTENCES = 64
"""Held-out sentences that blocks, hundreds a position, are scored on: their order is that on four
times as many (Kendall's tau 0.993, benchmarks/training/scoring.py)."""

DEV_BATCH = 64
"""Sentences in a batch of held-out text."""


def score_supernet(
    supernet: Supernet,
    header: Mapping[str, Any],
    corpus: Corpus,
    path: Path,
    reporter: Reporter,
    seed: int = 0,
) -> Scores:
    """Scores of a supernet's candidates, made once and kept in a file.

    Args:
        supernet: To score.
        header: Of its file: what shrinking left of it.
        corpus: Its held-out sentences are used.
        path: Of the file.
        reporter: Told of the progress.
        seed: Of the sample of candidates where the space is too large for all.
    """
    if path.exists():
        return load_scores(path)
    space = supernet.space
    heldout = scored_sentences(corpus, BLOCK_SENTENCES)
    progress = reporter.stage("Supernet: scoring the candidates")
    progress(0, space.n_blocks + 1, "teacher's states")
    scorer = scorer_for(supernet, heldout)
    everything = (
        left_blocks(space, header)
        or (tuple(sample_blocks(space, np.random.default_rng(seed))),) * space.n_blocks
    )
    losses, slopes = [], []
    for position, blocks in enumerate(everything):
        progress(position, space.n_blocks + 1, f"block {position + 1}: {len(blocks)} candidates")
        losses.append(scorer.block_losses(position, blocks))
        chosen = spread([i for i, b in enumerate(blocks) if not b.kept], losses[-1])
        slope, _ = scorer.sensitivity(
            position, [blocks[i] for i in chosen], [losses[-1][i] for i in chosen]
        )
        slopes.append(slope)
    progress(space.n_blocks, space.n_blocks + 1, "cost of the precisions")
    scores = Scores(space, everything, tuple(losses), tuple(slopes), {}, len(heldout))
    precision_loss = measure_losses(
        supernet,
        probes_of(scores),
        sentences_as_tokens(supernet.teacher, corpus),
        [p for p in LOWERED[SCORED_RUNTIME] if p in space.precisions and p not in SMALLER],
        get_lowering(SCORED_RUNTIME).lower,
    )
    scores = dataclasses.replace(scores, precision_loss=precision_loss)
    progress(space.n_blocks + 1, space.n_blocks + 1, "done")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scores.save(path)
    except OSError as error:
        raise NascError(
            f"cannot write the scores {path}: {error.strerror or error}. "
            "Make room there, or take another cache: --cache DIR"
        ) from error
    return scores


def scorer_for(supernet: Supernet, sentences: Sequence[Text]) -> Scorer:
    """A scorer on some sentences, in bfloat16 where there is hardware for it."""
    teacher = supernet.teacher
    tokens = teacher.tokenize(sentences, max_length=train_length(teacher))
    batches = [tokens.batch(indices) for indices in tokens.buckets(DEV_BATCH)]
    return Scorer(supernet, batches, has_bf16(teacher.device))


def sample_blocks(space: SearchSpace, rng: np.random.Generator) -> list[Block]:
    """All blocks of a space, or `MAX_SCORED` of them with every short one among them."""
    blocks = list(space.blocks())
    if len(blocks) <= MAX_SCORED:
        return blocks
    order = sorted(range(len(blocks)), key=lambda i: len(blocks[i].operations))
    short = order[: MAX_SCORED // 4]
    rest = rng.choice(order[len(short) :], MAX_SCORED - len(short), replace=False)
    return [blocks[i] for i in sorted({*short, *(int(i) for i in rest)})]
