"""What `nasc train` does: a supernet, trained, scored and written to a file."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import device_profiles
import profilers
from nasc.architecture.heads import check_head, leaves_own_head
from nasc.architecture.space import SMALLER
from nasc.context.settings import TRAIN_MINUTES
from nasc.context.teacher_check import check_pairs, check_teacher
from nasc.context.text_source import check_text_source, load_text
from nasc.data import Corpus
from nasc.errors import CheckpointError, UsageError
from nasc.latency.costs import TableCosts
from nasc.latency.profile import profile as measure_tables
from nasc.latency.session import MeasurementSession, check_real
from nasc.supernet.budget import check_budget
from nasc.supernet.parallel import Parallel
from nasc.supernet.prepare import (
    Prepared,
    largest_change,
    prepare,
    save_compact,
    shrink_plan,
    teacher_initialised_space,
)
from nasc.supernet.scores import Scores
from nasc.supernet.shrink import ShrinkConfig, unfinished
from nasc.supernet.space_for import space_for
from nasc.supernet.train import TrainConfig, train_length
from nasc.teacher import load_teacher
from nasc.utils.files import cache_folder, replacing
from nasc.utils.outputs import check_file, claimed, full_path
from nasc.utils.progress import Reporter, Silent
from nasc.utils.torch_device import has_bf16


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained and scored supernet.

    Dev losses are squared errors over the variance of the target, on held-out text.

    Attributes:
        supernet: Its file.
        size_bytes: Size of the file; None in a process of torchrun's that does not write it.
        steps: Optimizer steps of its training.
        text: What it was trained on, in words.
        best_dev_loss: By block position the least of all candidates but the teacher's own block.
        median_dev_loss: By block position the median of all candidates.
        sensitivity: By block position how strongly a block loss shows in the final loss.
        candidates: By block position how many are left.
        precision_loss: By precision what it adds to the final loss, as measured.
        changed_dev_loss: How much the compact storage changed a dev loss at most; None where the
            supernet is not compact.
    """

    supernet: Path
    size_bytes: int | None
    steps: int
    text: str
    best_dev_loss: tuple[float, ...]
    median_dev_loss: tuple[float, ...]
    sensitivity: tuple[float, ...]
    candidates: tuple[int, ...]
    precision_loss: Mapping[str, float]
    changed_dev_loss: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        changed = self.changed_dev_loss
        return {
            "supernet": str(self.supernet),
            "bytes": self.size_bytes,
            "steps": self.steps,
            "text": self.text,
            "best_dev_loss": list(self.best_dev_loss),
            "median_dev_loss": list(self.median_dev_loss),
            "sensitivity": list(self.sensitivity),
            "candidates": list(self.candidates),
            "precision_loss": dict(self.precision_loss),
        } | ({} if changed is None else {"changed_dev_loss": changed})


def train(
    *,
    output: Path,
    teacher: str | None = None,
    head: str | None = None,
    space: str | None = None,
    corpus: Sequence[str] = (),
    text_column: str | None = None,
    pairs: Path | None = None,
    packed: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    batch_size: int = 32,
    accumulate: int = 1,
    learning_rate: float = 2e-4,
    sampling: str | None = None,
    chain: float = 0.0,
    start: str = "teacher",
    bf16: bool | None = None,
    parallel: str = "data",
    all_operations: bool = True,
    compact: bool = False,
    shrink: ShrinkConfig | None = None,
    device: str = "host",
    seq_len: int | None = None,
    force: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> TrainResult:
    """Train and score a supernet and write it to a file.

    Args:
        output: The file.
        teacher: Folder or hub id; None is the default teacher.
        head: ``embed`` or ``hidden`` leave a head of the teacher's own out, as `compile` does for
            these and for a task; None keeps it.
        space: Preset or path; None chooses by the teacher.
        corpus: Text files, folders, ``datasets:`` ids or names; empty is the text that comes with
            nasc.
        text_column: Column of the corpus that holds the text; None takes the obvious one.
        pairs: A file of pairs in place of the corpus, of a teacher that scores pairs.
        packed: Train on all of the text, tokenised to disk, in rows without padding.
        minutes: Budget; None with no `steps` takes the default.
        steps: Steps instead of minutes.
        batch_size: Sentences in a step, of all processes.
        accumulate: Parts that a process works on one after the other, to save memory.
        learning_rate: Peak.
        sampling: See `nasc.supernet.sampling.SAMPLINGS`; None is ``balanced``. Not with `shrink`,
            which samples uniformly among what is left in the bins.
        chain: Share of the steps whose blocks are chained, see `nasc.supernet.train`.
        start: Candidates from the ``teacher``'s weights or from ``scratch``, random ones.
        bf16: Products in bfloat16; None does so where the processor or GPU has them in hardware.
        parallel: How processes that torchrun started share the work: ``data`` or ``block``.
        all_operations: Separable convolutions too.
        compact: Store what is left in int8 per channel, with its scores: a quarter of the size.
        shrink: Progressive shrinking; None keeps every sub-architecture.
        device: Whose latency table the bins of shrinking follow: measured now if there is none.
        seq_len: Tokens that those latencies are for; None takes 128, or the teacher's longest.
        force: Replace an existing file.
        seed: Of everything random.
        cache: Cache folder.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        UsageError: If the file is a folder, or exists and `force` is not given; or options do not
            go together.
        CheckpointError: If the file cannot be written; looked at before anything is trained.
        OutputBusy: If another run is writing it.
        TeacherError, CorpusError, TrainingDiverged: See there.
    """
    check_file(output, force=force, error=CheckpointError)
    if head is not None:
        check_head(head)
    if minutes is not None:
        check_budget(minutes)
    if packed and not corpus:
        raise UsageError("--packed is for text of your own: name it with --corpus")
    check_text_source(corpus, text_column, pairs)
    if shrink is not None and shrink.unit != "dominated":
        found_device = device_profiles.find(device)
        check_real(found_device)
        profilers.check_device(found_device)
    if sampling is not None and shrink is not None:
        raise UsageError(
            f"--sampling {sampling} does not go with --shrink, which samples uniformly among what "
            "is left in the bins: leave one of them out"
        )
    process = Parallel.from_environment(parallel)
    with claimed(output) if process.is_first else contextlib.nullcontext():
        check_file(output, force=force, error=CheckpointError)  # a run may have ended just now
        reporter = (reporter if process.is_first else None) or Silent()
        bare = leaves_own_head(head)
        found_teacher = load_teacher(teacher, paired=pairs is not None, bare=bare)
        check_pairs(found_teacher, pairs, head)
        found_teacher.own_head(head)
        found_space = space_for(found_teacher, space)
        if not all_operations:
            found_space = teacher_initialised_space(found_space)
        process.in_turn(lambda: check_teacher(found_teacher, cache_folder(cache), reporter))
        text = load_text(corpus, text_column, pairs, seed, reporter.say)
        plan = None
        if shrink is not None and shrink.unit == "dominated":
            plan = shrink_plan(found_space, None, shrink)
        elif shrink is not None:
            session = MeasurementSession.on(
                device_profiles.find(device), cache_folder(cache), opener=opener, say=reporter.say
            )
            own = [p for p in found_space.precisions if p not in SMALLER]
            offered = [p for p in session.precisions() if p in own]
            tables = process.in_turn(
                lambda: measure_tables(
                    space_for(found_teacher, space),
                    session,
                    precisions=offered[-1:],
                    seq_lens=(seq_len or train_length(found_teacher),),
                    seed=seed,
                    accept_transferred=True,
                    progress=reporter.stage(f"Latency tables of device {device!r}"),
                )
            )
            for elsewhere in filter(None, dict.fromkeys(t.table.note for t in tables)):
                reporter.say(elsewhere)
            plan = shrink_plan(found_space, TableCosts.of(t.table for t in tables), shrink)
        seconds = (
            None if steps is not None else 60 * (TRAIN_MINUTES if minutes is None else minutes)
        )
        prepared = prepare(
            found_teacher,
            found_space,
            text,
            TrainConfig(
                steps=steps or 0,
                batch_size=batch_size,
                accumulate=accumulate,
                learning_rate=learning_rate,
                sampling=sampling or ("balanced" if shrink is None else "uniform"),
                chain=chain,
                start=start,
                bf16=has_bf16(process.device) if bf16 is None else bf16,
                seed=seed,
            ),
            seconds=seconds,
            cache_dir=cache_folder(cache),
            reporter=reporter,
            shrinking=plan,
            sources=tuple(corpus) if packed else None,
            parallel=process,
        )
        scores, changed = prepared.scores, None
        if process.is_first:
            scores, changed = _write(output, prepared, text, compact, force, reporter)
        process.leave()
        shrunk = prepared.header.get("shrinking")
        if shrunk is not None and (note := unfinished(shrunk)) is not None:
            reporter.say(note)
    return TrainResult(
        supernet=output,
        size_bytes=full_path(output).stat().st_size if process.is_first else None,
        steps=prepared.header["config"]["steps"],
        text=text.description,
        best_dev_loss=tuple(
            min(float(x) for b, x in zip(blocks, losses, strict=True) if not b.kept)
            for blocks, losses in zip(scores.blocks, scores.losses, strict=True)
        ),
        median_dev_loss=tuple(float(sorted(losses)[len(losses) // 2]) for losses in scores.losses),
        sensitivity=tuple(scores.sensitivity),
        candidates=tuple(len(blocks) for blocks in scores.blocks),
        precision_loss=dict(scores.precision_loss),
        changed_dev_loss=changed,
    )


def _write(
    output: Path, prepared: Prepared, text: Corpus, compact: bool, force: bool, reporter: Reporter
) -> tuple[Scores, float | None]:
    """Write a supernet to its file.

    Returns:
        Scores of what was written; how much compact storage changed a dev loss at most.

    Raises:
        CheckpointError: If the file cannot be written, or came to be meanwhile.
    """
    try:
        with replacing(full_path(output), new=not force) as part:
            if not compact:
                shutil.copyfile(prepared.path, part)
                return prepared.scores, None
            scores = save_compact(part, prepared, text, reporter)
            return scores, largest_change(prepared.scores, scores)
    except FileExistsError as error:
        raise CheckpointError(
            f"'{output}' came to be while the supernet was trained. The supernet is in the "
            "cache: name another file with --output, or replace that one with --force, and "
            "run the same command"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"cannot write the supernet '{output}': {error.strerror or error}. It is trained "
            "and in the cache: free the disk or name another file with --output, and run the "
            "same command"
        ) from error
