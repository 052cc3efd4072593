"""A trained and scored supernet for a teacher, a space and a text; made once, then cached."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from device_profiles.reading import FileRefused, sha256_of
from nasc.architecture.layers import Layer
from nasc.architecture.space import SearchSpace, space_from_dict, space_to_dict
from nasc.data import Corpus
from nasc.data.heldout import scored_sentences
from nasc.errors import CheckpointError, UsageError
from nasc.latency.costs import TableCosts
from nasc.solver.blocks import Floats, Ints
from nasc.supernet.batches import Batches, TrainBatches
from nasc.supernet.budget import recorded_steps
from nasc.supernet.candidates import Candidates, candidates_of
from nasc.supernet.checkpoint import load_supernet, read, save_supernet, write
from nasc.supernet.initialize import STARTS, initialize, randomize
from nasc.supernet.packed import pack
from nasc.supernet.parallel import ALONE, Parallel
from nasc.supernet.score_candidates import DEV_BATCH, score_supernet, scorer_for
from nasc.supernet.scores import Scores, scores_from_dict
from nasc.supernet.shrink import ShrinkConfig, Shrinker, Shrinking, spread
from nasc.supernet.supernet import Supernet
from nasc.supernet.train import TrainConfig, steps_for, train, train_length
from nasc.teacher import Teacher
from nasc.utils.files import content_key, locked
from nasc.utils.progress import Reporter
from nasc.utils.torch_device import attention_without_cudnn, use_fastest_threads

RECIPE = 4
"""Raised when the same configuration would give another supernet or other scores."""


HISTORY_STEPS = 100
"""A compact supernet keeps the losses of every so many steps: a thousand weigh 0.1 MB."""


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


@dataclass(frozen=True, slots=True, eq=False)
class ShrinkPlan:
    """What progressive shrinking takes beside a supernet.

    Attributes:
        config: How.
        candidates: Priced and in bins.
        latency_table: What is to be said of the table of their latencies (`LatencyTable.note`).
    """

    config: ShrinkConfig
    candidates: Candidates
    latency_table: str | None = None

    @property
    def identity(self) -> dict[str, Any]:
        """What tells one plan from another: its settings and where the candidates lie."""
        return {
            "config": dataclasses.asdict(self.config),
            "dev_sentences": self.dev_sentences,
            "bins": hashlib.sha256(self.candidates.bin.tobytes()).hexdigest(),
            **self.origin,
        }

    @property
    def origin(self) -> dict[str, str]:
        """What is recorded of the latency table, where there is anything to be said of it."""
        return {} if self.latency_table is None else {"latency_table": self.latency_table}

    @property
    def dev_sentences(self) -> int:
        """Sentences that a loss is taken on, where so many are held out."""
        return DEV_BATCH * self.config.dev_batches

    def shrinker(self, supernet: Supernet, corpus: Corpus, steps: int) -> Shrinker:
        """Shrinking of a supernet over some steps, by dev losses on held-out text."""
        state = Shrinking.begin(self.candidates, supernet.space.n_blocks)
        config = spread(self.config, state, steps)
        scorer = scorer_for(supernet, scored_sentences(corpus, self.dev_sentences))
        blocks = self.candidates.blocks

        def evaluate(position: int, chosen: Ints) -> Floats:
            return scorer.block_losses(position, [blocks[i] for i in chosen])

        return Shrinker(config, state, evaluate)


def shrink_plan(space: SearchSpace, costs: TableCosts | None, config: ShrinkConfig) -> ShrinkPlan:
    """Shrinking by the latencies of a table, in its first precision.

    Args:
        space: Whose blocks are candidates.
        costs: The table; None where what is dominated goes, without bins.
        config: How.

    Raises:
        UsageError: If all bins are empty.
        LookupMiss: From the table.
    """
    if costs is None:
        return ShrinkPlan(config, candidates_of(space, None, config.bins))
    precision = next(iter(costs.tables))

    def latency_ms(layer: Layer) -> float:
        return costs.layer(layer, precision)["latency_ms"]

    note = costs.tables[precision].note
    return ShrinkPlan(config, candidates_of(space, latency_ms, config.bins), note)


def teacher_initialised_space(space: SearchSpace) -> SearchSpace:
    """The part of a space that starts from the teacher's weights.

    Separable convolutions have no counterpart in the teacher and need a trained supernet:
    a few minutes on a processor do not train them.
    """
    operations = tuple(o for o in space.operations if o in ("mha", "ffn"))
    return space.restrict(operations=operations) if operations else space


@attention_without_cudnn()
def prepare(
    teacher: Teacher,
    space: SearchSpace,
    corpus: Corpus,
    config: TrainConfig,
    *,
    seconds: float | None,
    cache_dir: Path,
    reporter: Reporter,
    shrinking: ShrinkPlan | None = None,
    sources: tuple[str, ...] | None = None,
    parallel: Parallel = ALONE,
) -> Prepared:
    """Train and score a supernet, go on with an interrupted one, or find it in the cache.

    Of several processes, which share the cache folder, the first one holds the lock and scores.

    Args:
        teacher: To distil from.
        space: All its candidates are trained.
        corpus: To train on and to score on.
        config: How; its `steps` count where `seconds` is None.
        seconds: A budget. It becomes a number of steps when the run first starts, which is
            recorded and kept when the run is resumed.
        cache_dir: Keeps supernets.
        reporter: Told of the progress.
        shrinking: Removes sub-architectures as the training goes; None keeps all.
        sources: Those of the corpus: all of their text is trained on, in full rows from disk; None
            trains on the corpus' own sentences.
        parallel: Which of the processes this is.

    Raises:
        TrainingDiverged, CheckpointError, CacheBusy: See there.
    """
    parallel.check(space.n_blocks, config.batch_size, config.accumulate, config.chain > 0)
    packed, packed_sha256 = None, None
    if sources is not None:
        packed, packed_sha256 = pack(
            sources,
            corpus,
            teacher,
            train_length(teacher),
            batch_size=config.batch_size,
            seed=config.seed,
            cache_dir=cache_dir,
            reporter=reporter,
            parallel=parallel,
        )
    about = {
        "recipe": RECIPE,
        "teacher": teacher.fingerprint,
        "space": space_to_dict(space),
        "text": corpus.sha256,
        "sentences": len(corpus.train),
        "config": config.identity() | ({} if seconds is None else {"steps": None}),
        "seconds": seconds,
        "shrinking": None if shrinking is None else shrinking.identity,
    } | ({} if packed_sha256 is None else {"packed": packed_sha256})
    use_fastest_threads()
    folder = cache_dir / "supernets" / content_key(about)
    path, state_path = folder / "supernet.safetensors", folder / "state.safetensors"
    with locked(folder, "this supernet", reporter.say) if parallel.is_first else nullcontext():
        if parallel.agree(not path.exists()):
            trained, record = _train(
                teacher,
                space,
                corpus,
                config,
                seconds,
                state_path,
                reporter,
                shrinking,
                packed,
                parallel,
            )
            if parallel.is_first:
                save_supernet(path, trained, record)
        if not parallel.is_first:
            parallel.wait()  # for the first one's scores
        state_path.unlink(missing_ok=True)
        supernet, header = load_supernet(path, teacher)
        supernet.place(parallel.device)
        scores = score_supernet(supernet, header, corpus, folder / "scores.json", reporter)
        supernet.place(torch.device("cpu"))
        if parallel.is_first:
            parallel.wait()
    return Prepared(supernet, scores, header, path)


def load_prepared(
    path: Path, teacher: Teacher, corpus: Corpus | None, cache_dir: Path, reporter: Reporter
) -> Prepared:
    """A supernet from a file, with its scores on a text (cached), or those in the file.

    Args:
        path: The file.
        teacher: That it was trained from.
        corpus: To score on; None takes the scores that a compact supernet has with it.
        cache_dir: Keeps scores.
        reporter: Told of the progress.

    Raises:
        CheckpointError: If the file is missing, damaged or of another teacher.
    """
    use_fastest_threads()
    supernet, header = load_supernet(path, teacher)
    if corpus is None:
        return Prepared(supernet, stored_scores(path, header), header, path)
    about = {
        "recipe": RECIPE,
        "teacher": teacher.fingerprint,
        "supernet": sha256_of(path),
        "text": corpus.sha256,
    }
    folder = cache_dir / "scores" / content_key(about)
    with locked(folder, "these scores", reporter.say):
        scores = score_supernet(supernet, header, corpus, folder / "scores.json", reporter)
    return Prepared(supernet, scores, header, path)


def stored_scores(path: Path, header: Mapping[str, Any]) -> Scores:
    """The scores in the header of a compact supernet.

    Raises:
        CheckpointError: If there are none, they are damaged, or not of this supernet.
    """
    try:
        if "scores" not in header:
            raise ValueError("there are none")
        scores = scores_from_dict(header["scores"])
        if scores.space != space_from_dict(dict(header["space"])):
            raise ValueError("they are of another search space")
    except (FileRefused, ValueError, UsageError) as error:
        raise CheckpointError(
            f"the scores in supernet {path} are damaged: {error}. --corpus TEXT scores it anew"
        ) from error
    return scores


def save_compact(path: Path, prepared: Prepared, corpus: Corpus, reporter: Reporter) -> Scores:
    """Write a supernet small enough to ship, with the scores of what is in the file.

    Args:
        path: The file.
        prepared: What to write; the scores are kept beside its own file.
        corpus: That it was scored on.
        reporter: Told of the progress.

    Returns:
        The scores of what is in the file.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    folder = prepared.path.parent
    part = folder / "compact.safetensors"
    save_supernet(part, prepared.supernet, prepared.header, compact=True)
    stored, header = load_supernet(part, prepared.supernet.teacher)
    scores = score_supernet(stored, header, corpus, folder / "compact.json", reporter)
    few = {"history": list(header.get("history", []))[::HISTORY_STEPS]}
    write(path, read(part).tensors, dict(header) | few | {"scores": scores.to_dict()})
    part.unlink()
    return scores


def largest_change(before: Scores, after: Scores) -> float:
    """Of the dev losses of the same candidates: the largest, relative."""
    changes = []
    for position, blocks in enumerate(before.blocks):
        found = dict(zip(after.blocks[position], after.losses[position], strict=True))
        changes += [
            abs(found[block] - loss) / loss
            for block, loss in zip(blocks, before.losses[position], strict=True)
            if loss > 0
        ]
    return float(max(changes, default=0.0))


def _train(
    teacher: Teacher,
    space: SearchSpace,
    corpus: Corpus,
    config: TrainConfig,
    seconds: float | None,
    state_path: Path,
    reporter: Reporter,
    shrinking: ShrinkPlan | None,
    packed: Batches | None,
    parallel: Parallel,
) -> tuple[Supernet, dict[str, Any]]:
    progress = reporter.stage(f"Supernet: from {STARTS[config.start]}")
    progress(0, 3, "tokenising")
    batches = packed
    if batches is None:
        tokens = teacher.tokenize(corpus.train, max_length=train_length(teacher))
        batches = TrainBatches(tokens, config.batch_size, config.seed)
    progress(1, 3, "initialising")
    supernet = Supernet(space, teacher)
    if config.start == "scratch":
        randomize(supernet, config.seed)
    else:
        calibration = batches.calibration()
        initialize(supernet, calibration.input_ids, calibration.attention_mask, config.seed)
    supernet.place(parallel.device)
    progress(2, 3, "timing a step")
    if seconds is not None:
        steps = 0
        if parallel.is_first:
            steps = recorded_steps(
                state_path.with_name("steps.json"),
                lambda: steps_for(supernet, config, batches, seconds, parallel),
            )
        config = dataclasses.replace(config, steps=parallel.agree(steps))
    progress(3, 3, f"{config.steps} steps")
    shrinker = None
    if shrinking is not None:
        wanted = shrinking.dev_sentences
        found = len(scored_sentences(corpus, wanted))
        if found < wanted:
            reporter.say(
                f"shrinking takes dev losses on {found} sentences, not on {wanted}: the text holds "
                "out no more to choose by"
            )
        shrinker = shrinking.shrinker(supernet, corpus, config.steps)
    record = train(
        supernet,
        batches,
        config,
        parallel=parallel,
        shrinker=shrinker,
        state_path=state_path,
        text_sha256=corpus.sha256,
        progress=reporter.stage(f"Supernet: block-wise distillation, {config.steps} steps"),
    )
    header: dict[str, Any] = {"text": {"description": corpus.description, "sha256": corpus.sha256}}
    if shrinking is not None and shrinker is not None:
        about = {"config": dataclasses.asdict(shrinker.config)} | shrinking.origin
        header["shrinking"] = about | shrinker.state.record()
    supernet.place(torch.device("cpu"))
    return supernet, record | header
