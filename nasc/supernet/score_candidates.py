"""Scoring a whole supernet: every candidate, the sensitivities, the cost of the precisions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.temporary import temporary_folder
from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.data import Corpus
from nasc.errors import NascError
from nasc.evaluation.agreement import pooled_cosine
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.supernet.checkpoint import left_blocks
from nasc.supernet.scorer import Scorer
from nasc.supernet.scores import Scores, load_scores
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import train_length
from nasc.utils.progress import Reporter

SCORE_SENTENCES = 256
"""Held-out sentences that candidates are scored on; those after them judge the package."""

JUDGING_SENTENCES = 512
"""Held-out sentences that a package, or a network trained by itself, is judged by."""

MAX_SCORED = 4000
"""Candidates of a block scored at most; a larger space is sampled."""

SENSITIVITY_BLOCKS = 6
"""Blocks put into the teacher for a position's sensitivity, spread over the losses."""

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
    heldout = scored_sentences(corpus)
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
        chosen = _spread([i for i, b in enumerate(blocks) if not b.kept], losses[-1])
        slope, _ = scorer.sensitivity(
            position, [blocks[i] for i in chosen], [losses[-1][i] for i in chosen]
        )
        slopes.append(slope)
    progress(space.n_blocks, space.n_blocks + 1, "cost of the precisions")
    probes = ([space.teacher.blocks] if space.keep else []) + [
        tuple(
            blocks[_spread(range(len(blocks)), found)[q]]
            for blocks, found in zip(everything, losses, strict=True)
        )
        for q in (1, 3)
    ]
    rows = supernet.teacher.tokenize(heldout, max_length=train_length(supernet.teacher)).rows()
    precision_loss = measure_precision_loss(supernet, probes, rows)
    progress(space.n_blocks + 1, space.n_blocks + 1, "done")
    scores = Scores(
        space,
        everything,
        tuple(losses),
        tuple(slopes),
        precision_loss,
        len(heldout),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scores.save(path)
    except OSError as error:
        raise NascError(
            f"cannot write the scores {path}: {error.strerror or error}. "
            "Make room there, or take another cache: --cache DIR"
        ) from error
    return scores


def scored_sentences(corpus: Corpus, count: int = SCORE_SENTENCES) -> tuple[str, ...]:
    """Held-out sentences that choose a network: half of them at most, `count` at most."""
    return corpus.heldout[: max(len(corpus.heldout) // 2, 1)][:count]


def judging_sentences(corpus: Corpus, count: int) -> tuple[str, ...]:
    """Held-out sentences that had no part in choosing a network: they judge it."""
    return corpus.heldout[len(corpus.heldout) // 2 :][:count]


def scorer_for(supernet: Supernet, sentences: Sequence[str]) -> Scorer:
    """A scorer on some sentences."""
    tokens = supernet.teacher.tokenize(sentences, max_length=train_length(supernet.teacher))
    return Scorer(supernet, [tokens.batch(indices) for indices in tokens.buckets(DEV_BATCH)])


def sample_blocks(space: SearchSpace, rng: np.random.Generator) -> list[Block]:
    """All blocks of a space, or `MAX_SCORED` of them with every short one among them."""
    blocks = list(space.blocks())
    if len(blocks) <= MAX_SCORED:
        return blocks
    order = sorted(range(len(blocks)), key=lambda i: len(blocks[i].operations))
    short = order[: MAX_SCORED // 4]
    rest = rng.choice(order[len(short) :], MAX_SCORED - len(short), replace=False)
    return [blocks[i] for i in sorted({*short, *(int(i) for i in rest)})]


def _spread(indices: Sequence[int], losses: np.ndarray[Any, Any]) -> list[int]:
    """Some of the candidates at even distances in the order of their losses, best first."""
    order = sorted(indices, key=lambda i: float(losses[i]))
    places = np.linspace(0, 0.75 * (len(order) - 1), SENSITIVITY_BLOCKS)
    return [order[round(p)] for p in places]


def measure_precision_loss(
    supernet: Supernet, probes: Sequence[tuple[Block, ...]], rows: Sequence[Sequence[int]]
) -> dict[str, float]:
    """What each precision adds to the final loss: mean over networks run as they ship.

    Args:
        supernet: To cut the networks from.
        probes: Blocks of the networks.
        rows: Token ids of held-out sentences.

    Returns:
        By precision of the space; fp32 is 0 by definition.

    Raises:
        NascError: If the temporary folder cannot be written.
    """
    found = {"fp32": 0.0} if "fp32" in supernet.space.precisions else {}
    if not set(supernet.space.precisions) - {"fp32"}:
        return found

    def vectors(blocks: tuple[Block, ...], precision: str = "fp32") -> np.ndarray[Any, Any]:
        return _vectors_as_shipped(supernet.extract(Architecture(blocks, precision)), rows)

    whole = _vectors_as_shipped(teacher_network(supernet.teacher, supernet.space.teacher), rows)
    exact = [vectors(blocks) for blocks in probes]
    for precision in supernet.space.precisions:
        if precision == "fp32":
            continue
        added = [
            pooled_cosine(whole, fp32) - pooled_cosine(whole, vectors(blocks, precision))
            for blocks, fp32 in zip(probes, exact, strict=True)
        ]
        found[precision] = math.fsum(added) / len(added)
    return found


def _vectors_as_shipped(network: Network, rows: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
    """Vectors (rows, hidden) of token ids by the file of a network."""
    try:
        with temporary_folder() as folder:
            path = folder / "probe.onnx"
            emit(network, path)
            return Encoder(path).encode_tokens(rows)
    except OSError as error:
        raise NascError(
            f"cannot write a network to a temporary folder: {error.strerror or error}. Free the "
            "disk, or name another folder: TMPDIR=DIR; the same command goes on from the "
            "trained supernet"
        ) from error
