"""A trained and scored supernet for a teacher, a space and a text; made once, then cached."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nasc.errors import NascError, UsageError
from nasc.export.network import Network
from nasc.export.onnx import emit
from nasc.files import content_key, locked
from nasc.quality import pooled_cosine
from nasc.reporting import Reporter
from nasc.runtime import OnnxEncoder
from nasc.space import Architecture, Block, SearchSpace
from nasc.supernet.batches import TrainBatches
from nasc.supernet.checkpoint import load_supernet, save_supernet
from nasc.supernet.initialize import initialize
from nasc.supernet.score import Scorer
from nasc.supernet.scores import Scores, load_scores
from nasc.supernet.supernet import Supernet
from nasc.supernet.teacher_layers import teacher_network
from nasc.supernet.train import TRAIN_LENGTH, TrainConfig, recorded_steps, steps_for, train
from nasc.teacher import Teacher
from nasc.text import Corpus
from nasc.threads import use_fastest_threads

RECIPE = 3
"""Raised when the same configuration would give another supernet or other scores."""

CALIBRATION_SENTENCES = 256
"""Sentences that the candidates are initialised on."""

SCORE_SENTENCES = 256
"""Held-out sentences that candidates are scored on; those after them judge the package."""

MAX_SCORED = 4000
"""Candidates of a block scored at most; a larger space is sampled."""

SENSITIVITY_BLOCKS = 6
"""Blocks put into the teacher for a position's sensitivity, spread over the losses."""


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A supernet ready to be searched.

    Attributes:
        supernet: With its weights.
        scores: Of its candidates.
        header: The record of its training.
        path: Its file.
    """

    supernet: Supernet
    scores: Scores
    header: Mapping[str, Any]
    path: Path


def first_run_space(space: SearchSpace) -> SearchSpace:
    """The part of a space that starts from the teacher's weights.

    Separable convolutions have no counterpart in the teacher and need a trained supernet:
    a few minutes on a processor do not train them.
    """
    operations = tuple(o for o in space.operations if o in ("mha", "ffn"))
    return space.restrict(operations=operations) if operations else space


def prepare(
    teacher: Teacher,
    space: SearchSpace,
    corpus: Corpus,
    config: TrainConfig,
    *,
    seconds: float | None,
    cache_dir: Path,
    reporter: Reporter,
) -> Prepared:
    """Train and score a supernet, go on with an interrupted one, or find it in the cache.

    Args:
        teacher: To distil from.
        space: All its candidates are trained.
        corpus: To train on and to score on.
        config: How; its `steps` count where `seconds` is None.
        seconds: A budget. It becomes a number of steps when the run first starts, which is
            recorded and kept when the run is resumed.
        cache_dir: Keeps supernets.
        reporter: Told of the progress.

    Raises:
        TrainingDiverged, CheckpointError, CacheBusy: See there.
    """
    about = {
        "recipe": RECIPE,
        "teacher": teacher.fingerprint,
        "space": dataclasses.asdict(space),
        "text": corpus.sha256,
        "sentences": len(corpus.train),
        "config": dataclasses.asdict(config) | ({} if seconds is None else {"steps": None}),
        "seconds": seconds,
    }
    use_fastest_threads()
    folder = cache_dir / "supernets" / content_key(about)
    path, state_path = folder / "supernet.safetensors", folder / "state.safetensors"
    with locked(folder, "this supernet"):
        if not path.exists():
            trained, record = _train(teacher, space, corpus, config, seconds, state_path, reporter)
            save_supernet(path, trained, record)
        state_path.unlink(missing_ok=True)
        supernet, header = load_supernet(path, teacher)
        scores = score_supernet(supernet, corpus, folder / "scores.json", reporter)
    return Prepared(supernet, scores, header, path)


def load_prepared(
    path: Path, teacher: Teacher, corpus: Corpus, cache_dir: Path, reporter: Reporter
) -> Prepared:
    """A supernet from a file, with its scores on this corpus (cached).

    Raises:
        CheckpointError: If the file is missing, damaged or of another teacher.
    """
    use_fastest_threads()
    supernet, header = load_supernet(path, teacher)
    about = {
        "recipe": RECIPE,
        "teacher": teacher.fingerprint,
        "supernet": _sha256(path),
        "text": corpus.sha256,
    }
    folder = cache_dir / "scores" / content_key(about)
    with locked(folder, "these scores"):
        scores = score_supernet(supernet, corpus, folder / "scores.json", reporter)
    return Prepared(supernet, scores, header, path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _train(
    teacher: Teacher,
    space: SearchSpace,
    corpus: Corpus,
    config: TrainConfig,
    seconds: float | None,
    state_path: Path,
    reporter: Reporter,
) -> tuple[Supernet, dict[str, Any]]:
    progress = reporter.stage("Supernet: from the teacher's weights")
    progress(0, 3, "tokenising")
    tokens = teacher.tokenize(corpus.train, max_length=_train_length(teacher))
    progress(1, 3, "initialising")
    supernet = Supernet(space, teacher)
    calibration = tokens.batch(range(min(CALIBRATION_SENTENCES, len(tokens))))
    initialize(supernet, calibration.input_ids, calibration.attention_mask, config.seed)
    batches = TrainBatches(tokens, config.batch_size, config.seed)
    progress(2, 3, "timing a step")
    if seconds is not None:
        steps = recorded_steps(
            state_path.with_name("steps.json"),
            lambda: steps_for(supernet, config, batches, seconds),
        )
        config = dataclasses.replace(config, steps=steps)
    progress(3, 3, f"{config.steps} steps")
    record = train(
        supernet,
        batches,
        config,
        state_path=state_path,
        text_sha256=corpus.sha256,
        progress=reporter.stage(f"Supernet: block-wise distillation, {config.steps} steps"),
    )
    header = {"text": {"description": corpus.description, "sha256": corpus.sha256}}
    return supernet, header | record


def _train_length(teacher: Teacher) -> int:
    return min(TRAIN_LENGTH, teacher.geometry.max_positions)


def score_supernet(
    supernet: Supernet, corpus: Corpus, path: Path, reporter: Reporter, seed: int = 0
) -> Scores:
    """Scores of a supernet's candidates, made once and kept in a file.

    Args:
        supernet: To score.
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
    blocks = sample_blocks(space, np.random.default_rng(seed))
    losses, slopes = [], []
    for position in range(space.n_blocks):
        progress(position, space.n_blocks + 1, f"block {position + 1}: {len(blocks)} candidates")
        losses.append(scorer.block_losses(position, blocks))
        chosen = _spread([i for i, b in enumerate(blocks) if not b.kept], losses[-1])
        slope, _ = scorer.sensitivity(
            position, [blocks[i] for i in chosen], [losses[-1][i] for i in chosen]
        )
        slopes.append(slope)
    progress(space.n_blocks, space.n_blocks + 1, "cost of the precisions")
    probes = ([space.teacher.blocks] if space.keep else []) + [
        tuple(blocks[_spread(range(len(blocks)), losses[p])[q]] for p in range(space.n_blocks))
        for q in (1, 3)
    ]
    rows = supernet.teacher.tokenize(heldout, max_length=_train_length(supernet.teacher)).rows()
    precision_loss = measure_precision_loss(supernet, probes, rows)
    progress(space.n_blocks + 1, space.n_blocks + 1, "done")
    scores = Scores(
        space,
        (tuple(blocks),) * space.n_blocks,
        tuple(losses),
        tuple(slopes),
        precision_loss,
        len(heldout),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scores.save(path)
    except OSError as error:
        raise NascError(f"cannot write the scores {path}: {error.strerror or error}") from error
    return scores


def scored_sentences(corpus: Corpus) -> tuple[str, ...]:
    """The held-out sentences that choose a network."""
    return corpus.heldout[: max(len(corpus.heldout) // 2, 1)][:SCORE_SENTENCES]


def judging_sentences(corpus: Corpus, count: int) -> tuple[str, ...]:
    """Held-out sentences that had no part in choosing a network: they judge it."""
    return corpus.heldout[len(corpus.heldout) // 2 :][:count]


def scorer_for(supernet: Supernet, sentences: Sequence[str]) -> Scorer:
    """A scorer on some sentences."""
    tokens = supernet.teacher.tokenize(sentences, max_length=_train_length(supernet.teacher))
    return Scorer(supernet, [tokens.batch(indices) for indices in tokens.buckets(64)])


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
        with tempfile.TemporaryDirectory(prefix="nasc-") as folder:
            path = Path(folder) / "probe.onnx"
            emit(network, path)
            return OnnxEncoder(path).encode_tokens(rows)
    except OSError as error:
        raise NascError(
            f"cannot write a network to a temporary folder: {error.strerror or error}. Free the "
            "disk, or name another folder: TMPDIR=DIR; the same command goes on from the "
            "trained supernet"
        ) from error


def check_budget(minutes: float) -> None:
    """Raise unless a budget in minutes makes sense.

    Raises:
        UsageError: If it is negative or not finite.
    """
    if not math.isfinite(minutes) or minutes < 0:
        raise UsageError(f"a budget in minutes must be 0 or more, got {minutes}")
