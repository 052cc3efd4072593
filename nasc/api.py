"""What the command line does, from Python: each function returns typed results."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import device_profiles
import profilers
from nasc.context.context import PAPERS_T, RunContext
from nasc.context.settings import TRAIN_MINUTES, Settings
from nasc.context.teacher_check import check_teacher
from nasc.errors import CheckpointError, NascError, PackageError, UsageError
from nasc.latency.profile import Profiled
from nasc.latency.profile import profile as measure_tables
from nasc.latency.session import MeasurementSession
from nasc.package.manifest import MANIFEST, read_manifest
from nasc.pipelines.compile import compile
from nasc.pipelines.devices import DeviceReport, devices
from nasc.pipelines.options import Options
from nasc.pipelines.result import CompileResult
from nasc.solver.frontier import front as solve_front
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Solution
from nasc.supernet.space_for import space_for
from nasc.utils.files import cache_folder, check_path, replacing
from nasc.utils.outputs import check_file, check_folder, claimed, full_path
from nasc.utils.progress import Reporter, Silent

if TYPE_CHECKING:
    from nasc.selection.audit import Audit
    from nasc.supernet.shrink import ShrinkConfig
    from nasc.tasks.finetune import FinetuneConfig
    from profilers import BenchResult

__all__ = [
    "CompileResult",
    "DeviceReport",
    "Limits",
    "Options",
    "Settings",
    "audit",
    "bench",
    "compile",
    "devices",
    "distill",
    "evaluate",
    "finetune",
    "profile",
    "report",
    "search",
    "train",
]

STRATEGIES = ("exact", "enumerate")


def profile(
    *,
    device: str = "host",
    teacher: str | None = None,
    space: str | None = None,
    precisions: Sequence[str] = (),
    seq_lens: Sequence[int] = (),
    batches: Sequence[int] = (),
    threads: Sequence[int] = (),
    head: str = "embed",
    force: bool = False,
    seed: int = 0,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> list[Profiled]:
    """Latency tables for every combination of settings, measured or found in the cache.

    Args:
        device: Name of a device profile, or the path of one.
        teacher: Its geometry decides the space; not loaded where `space` is given.
        space: Preset or path.
        precisions: Empty takes those of the space.
        seq_lens: Tokens; empty takes 128.
        batches: Sentences in a run; empty takes 1.
        threads: Empty takes the device's default.
        head: ``embed`` or ``hidden``.
        force: Measure again what is in the cache.
        seed: Of the plan.
        cache: Cache folder.
        reporter: Told of the progress.

    Raises:
        UsageError, CacheBusy, ProfilerError: See `nasc.latency.profile.profile`.
    """
    from nasc.architecture.space import load_space
    from nasc.teacher import load_teacher

    found_device = device_profiles.find(device)
    found_space = (
        load_space(space)
        if space is not None and teacher is None
        else space_for(load_teacher(teacher), space)
    )
    reporter = reporter or Silent()
    return measure_tables(
        found_space,
        MeasurementSession.on(found_device, cache_folder(cache), say=reporter.say),
        precisions=tuple(precisions) or found_space.precisions,
        seq_lens=tuple(seq_lens) or (128,),
        batches=tuple(batches) or (1,),
        threads=tuple(threads),
        head=head,
        seed=seed,
        force=force,
        progress=reporter.stage(f"Latency tables of device {found_device.name!r}"),
    )


def train(
    *,
    output: Path,
    teacher: str | None = None,
    space: str | None = None,
    corpus: Sequence[str] = (),
    text_column: str | None = None,
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
) -> dict[str, Any]:
    """Train and score a supernet and write it to a file.

    Args:
        output: The file.
        teacher: Folder or hub id; None is the default teacher.
        space: Preset or path; None chooses by the teacher.
        corpus: Text files, folders, ``datasets:`` ids; empty is the text on this machine.
        text_column: Column of the corpus that holds the text; None takes the obvious one.
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

    Returns:
        A summary: file, its bytes, steps, text, dev losses by block, sensitivities, candidates
        left; of a compact one also by how much the storage changed a dev loss at most.

    Raises:
        UsageError: If the file is a folder, or exists and `force` is not given; or options do not
            go together.
        CheckpointError: If the file cannot be written; looked at before anything is trained.
        OutputBusy: If another run is writing it.
        TeacherError, CorpusError, TrainingDiverged: See there.
    """
    from nasc.context.context import MAX_CORPUS
    from nasc.data import load_corpus
    from nasc.latency.costs import TableCosts
    from nasc.supernet.budget import check_budget
    from nasc.supernet.parallel import Parallel
    from nasc.supernet.prepare import (
        first_run_space,
        largest_change,
        prepare,
        save_compact,
        shrink_plan,
    )
    from nasc.supernet.shrink import unfinished
    from nasc.supernet.train import TrainConfig, train_length
    from nasc.teacher import load_teacher
    from nasc.utils.torch_device import has_bf16

    check_file(output, force=force, error=CheckpointError)
    if minutes is not None:
        check_budget(minutes)
    if packed and not corpus:
        raise UsageError("--packed is for text of your own: name it with --corpus")
    if text_column is not None and not corpus:
        raise UsageError(f"--text-column {text_column} names a column of --corpus: give one")
    if sampling is not None and shrink is not None:
        raise UsageError(
            f"--sampling {sampling} does not go with --shrink, which samples uniformly among what "
            "is left in the bins: leave one of them out"
        )
    process = Parallel.from_environment(parallel)
    with claimed(output) if process.is_first else contextlib.nullcontext():
        check_file(output, force=force, error=CheckpointError)  # a run may have ended just now
        reporter = (reporter if process.is_first else None) or Silent()
        found_teacher = load_teacher(teacher)
        found_space = space_for(found_teacher, space)
        if not all_operations:
            found_space = first_run_space(found_space)
        process.in_turn(lambda: check_teacher(found_teacher, cache_folder(cache), reporter))
        text = load_corpus(
            list(corpus) or None,
            seed=seed,
            max_sentences=MAX_CORPUS,
            text_column=text_column,
            say=reporter.say,
        )
        reporter.say(f"text: {text.description} ({len(text.train):,} sentences)")
        plan = None
        if shrink is not None and shrink.unit == "dominated":
            plan = shrink_plan(found_space, None, shrink)
        elif shrink is not None:
            session = MeasurementSession.on(
                device_profiles.find(device), cache_folder(cache), say=reporter.say
            )
            tables = process.in_turn(
                lambda: measure_tables(
                    space_for(found_teacher, space),
                    session,
                    precisions=found_space.precisions[-1:],
                    seq_lens=(seq_len or train_length(found_teacher),),
                    seed=seed,
                    progress=reporter.stage(f"Latency tables of device {device!r}"),
                )
            )
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
        try:
            if process.is_first:
                with replacing(full_path(output), new=not force) as part:
                    if compact:
                        scores = save_compact(part, prepared, text, reporter)
                        changed = largest_change(prepared.scores, scores)
                    else:
                        shutil.copyfile(prepared.path, part)
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
        process.leave()
        shrunk = prepared.header.get("shrinking")
        if shrunk is not None and (note := unfinished(shrunk)) is not None:
            reporter.say(note)
    return {
        "supernet": str(output),
        "bytes": full_path(output).stat().st_size if process.is_first else None,
        "steps": prepared.header["config"]["steps"],
        "text": text.description,
        "best_dev_loss": [
            min(float(x) for b, x in zip(blocks, losses, strict=True) if not b.kept)
            for blocks, losses in zip(scores.blocks, scores.losses, strict=True)
        ],
        "median_dev_loss": [float(sorted(losses)[len(losses) // 2]) for losses in scores.losses],
        "sensitivity": list(scores.sensitivity),
        "candidates": [len(blocks) for blocks in scores.blocks],
        "precision_loss": dict(scores.precision_loss),
    } | ({} if changed is None else {"changed_dev_loss": changed})


def report(
    supernet: Path | None = None,
    *,
    csv: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """How a supernet was trained, and what progressive shrinking left of it.

    Args:
        supernet: Its file; None is the one that comes with nasc for the default teacher.
        csv: Where what is left goes as a table; None writes none.
        plot: Where the rounds are drawn; None draws none.
        force: Replace files that lie there.

    Returns:
        supernet, teacher, space, steps, text, text_sha256, compact, rounds, history; left: by
        position the candidates with their bins, costs and dev losses; empty_bins: those that held
        nothing from the start. The last two are None if it was not shrunk.

    Raises:
        UsageError: If no file is given and none comes with nasc, or a file exists and `force` is
            not given.
        CheckpointError: If the file is missing, damaged or no supernet.
        NascError: If a table or picture is asked for and it was not shrunk, or cannot be written.
    """
    from nasc.pipelines.plots import (
        check_csv,
        check_plot,
        plot_shrinking,
        shrinking_table,
        write_csv,
    )
    from nasc.supernet.checkpoint import read_supernet_header, shrinking_of, trained_by
    from nasc.supernet.shipped import shipped_supernet
    from nasc.supernet.shrink import empty_bins
    from nasc.teacher import DEFAULT_TEACHER_SHA256

    if plot is not None:
        check_plot(plot, force)
    if csv is not None:
        check_csv(csv, force)
    supernet = supernet or shipped_supernet(DEFAULT_TEACHER_SHA256)
    if supernet is None:
        raise UsageError("no supernet comes with nasc for the default teacher: name a file")
    header = read_supernet_header(supernet)
    steps, description = trained_by(header)
    shrunk = shrinking_of(header) or {}
    if csv is not None:
        write_csv(shrinking_table(header), csv, force)
    if plot is not None:
        plot_shrinking(header, plot, force)
    history = shrunk.get("history", [])
    return {
        "supernet": str(supernet),
        "teacher": header["teacher"]["name"],
        "space": header["space"]["name"],
        "steps": steps,
        "text": description,
        "text_sha256": header["text"].get("sha256"),
        "compact": bool(header.get("compact")),
        "rounds": max((row["round"] for row in history), default=0),
        "history": history,
        "left": shrunk.get("left"),
        "empty_bins": empty_bins(shrunk) if shrunk else None,
    }


def audit(
    settings: Settings | None = None,
    *,
    networks: int = 120,
    distilled: int = 0,
    steps: int = 150,
    csv: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> Audit:
    """How truly the search's proxy ranks networks: see `nasc.selection.audit`.

    Args:
        settings: Conditions; None takes the defaults.
        networks: How many are drawn.
        distilled: How many of them are distilled too.
        steps: Of each distillation.
        csv: Where the networks go as a table; None writes none.
        plot: Where they are drawn; None draws none.
        force: Replace files that lie there.
        reporter: Told of the progress.

    Raises:
        UsageError: If there are too few networks to rank, no picture can be drawn, or a file
            exists and `force` is not given; before anything slow.
        NascError: If the table or the picture cannot be written.
    """
    from nasc.pipelines.plots import check_csv, check_plot, plot_audit, write_csv
    from nasc.selection.audit import audit as run

    if plot is not None:
        check_plot(plot, force)
    if csv is not None:
        check_csv(csv, force)
    bench = RunContext(settings or Settings(), reporter)
    bench.check_inputs()
    found = run(bench, networks=networks, distilled=distilled, steps=steps)
    if csv is not None:
        write_csv(found.table, csv, force)
    if plot is not None:
        plot_audit(found, plot, force)
    return found


def search(
    limits: Limits | None = None,
    settings: Settings | None = None,
    *,
    best: int = 5,
    front: bool = False,
    strategy: str = "exact",
    reporter: Reporter | None = None,
) -> list[Solution]:
    """The best architectures within limits, or the whole Pareto front.

    Args:
        limits: What must hold; None holds nothing.
        settings: Conditions; None takes the defaults.
        best: How many.
        front: All that are best at some latency instead.
        strategy: ``exact``: by predicted loss; or ``enumerate``, as the paper: out of the table
            of all combinations the 100 (or `best`) of each precision with the least sum of block
            losses, by their true loss.
        reporter: Told of the progress.

    Raises:
        UsageError: On an unknown strategy, or more combinations than can be enumerated.
        InfeasibleLimits: With its certificate, before anything is trained.
    """
    if strategy not in STRATEGIES:
        raise UsageError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
    limits = limits or Limits()
    bench = RunContext(settings or Settings(), reporter)
    bench.check_inputs()
    bench.check_feasible(limits)
    if strategy == "enumerate" and not front:
        ranked = bench.by_enumeration(limits, max(best, PAPERS_T))
        return [dataclasses.replace(r.solution, true_loss=r.true_loss) for r in ranked[:best]]
    problem = bench.problem(limits)
    return solve_front(problem) if front else solve(problem, best)


def bench(
    models: Sequence[Path],
    sizes: dict[str, int] | None = None,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    device: str = "host",
    threads: int | None = None,
    seed: int = 0,
    run_timeout: float | None = None,
    cache: Path | None = None,
    reporter: Reporter | None = None,
    opener: profilers.Opener | None = None,
) -> BenchResult:
    """Latency and peak memory of anybody's ONNX files.

    Args:
        models: The files.
        sizes: Of symbolic axes, by name.
        shapes: Whole shapes of inputs, by name.
        device: Name of a device profile, or the path of one.
        threads: Of the runtime; None takes the device's default.
        seed: Of the order of the models in a round.
        run_timeout: Seconds that one run of a model may take; None takes the default.
        cache: Cache folder; its reference baseline makes figures comparable with tables.
        reporter: Told of the progress.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Raises:
        CacheBusy: If another process measured on this device for an hour.
        ProfilerError: If the device cannot be reached or a model cannot be run.
    """
    reporter = reporter or Silent()
    for model in models:
        check_path(model, "nasc bench FILE")
    found = device_profiles.find(device)
    session = MeasurementSession.on(
        found,
        cache_folder(cache),
        threads,
        opener=opener or partial(profilers.open_worker, limits=_limits(run_timeout)),
        say=reporter.say,
    )
    progress = reporter.stage(f"Measuring on device {found.name!r}")
    with session.alone(kept=""):
        baseline = session.baseline()
        result = profilers.bench(
            models,
            found,
            dims=sizes,
            shapes=shapes,
            options=session.options,
            protocol=profilers.Protocol(seed=seed),
            scale=baseline.scale,
            progress=progress,
            opener=session.opener,
        )
        session.extend(baseline, result.measurement)
        return result


def distill(
    architecture: str,
    output: Path,
    settings: Settings | None = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    objective: str = "auto",
    start: str | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    force: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Cut a subnet out, distil it from the teacher, and write it as a model of transformers.

    Args:
        architecture: Its text form, or the name of a network of the literature: see
            `nasc.architecture.zoo`.
        output: The folder.
        settings: Teacher, supernet, text; None takes the defaults.
        minutes: Budget; None with no `steps` takes that of `compile`.
        steps: Steps instead of minutes; 0 trains nothing.
        objective: ``states``: the teacher's hidden states and similarities; ``mlm``: masked words
            and the teacher's prediction of them; ``auto``: mlm where the teacher has a head for it.
        start: ``supernet``: its weights; ``scratch``: random ones beside the teacher's embedding.
            None: the supernet's, but scratch where the network is given by name.
        batch_size: Sentences in a step; None takes the default of the objective.
        learning_rate: Peak (of states: see `nasc.distillation.train.DistillConfig`); None takes
            that, too.
        force: Replace what nasc wrote into the folder before; other files stay.
        reporter: Told of the progress.

    Returns:
        folder, architecture, params, steps, and the agreement with the teacher on held-out text.

    Raises:
        UsageError: If the architecture is not of the space or not for this teacher, the folder
            is in use, or the teacher has no head for masked words.
        NascError: If the folder cannot be written; the trained network is in the cache.
        TeacherError, CorpusError, CheckpointError, TrainingDiverged: See there.
    """
    from nasc.pipelines.distill import run_distill
    from nasc.supernet.budget import check_budget

    if minutes is not None:
        check_budget(minutes)
    check_folder(output, force=force)
    bench = RunContext(settings or Settings(), reporter)
    given = {"batch_size": batch_size, "learning_rate": learning_rate}
    other = {name: value for name, value in given.items() if value is not None}
    with claimed(output):
        check_folder(output, force=force)  # a run may have ended just now
        return run_distill(bench, architecture, output, minutes, steps, objective, start, other)


def finetune(
    model: str | None,
    task: str,
    train: Path,
    output: Path,
    *,
    dev: Path | None = None,
    distill_from: str | None = None,
    config: FinetuneConfig | None = None,
    examples: int | None = None,
    force: bool = False,
    cache: Path | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Fine-tune a model of transformers, a subnet or a teacher, on a task.

    Args:
        model: Folder or hub id; None is the default teacher.
        task: ``squad``, or a name of `nasc.tasks.glue.TASKS`.
        train: File of labelled examples.
        output: Folder of the fine-tuned model.
        dev: File of examples that it is scored on; None scores nothing.
        distill_from: Folder of a model fine-tuned on the same task; None: labels only.
        config: How; None takes the defaults.
        examples: Only so many of the training file, spread over it; None takes all.
        force: Replace what nasc wrote into the folder before; other files stay.
        cache: Cache folder; keeps checkpoints until the result is written.
        reporter: Told of the progress.

    Returns:
        folder, task, scores on the dev file.

    Raises:
        UsageError: If the task is unknown, the folder in use, or teacher and model do not fit.
        TaskDataError: From the files.
        TeacherMissing: If a model cannot be read.
        TrainingDiverged: If the loss is not finite.
    """
    from nasc.pipelines.finetune import run_finetune

    check_folder(output, force=force)
    with claimed(output):
        check_folder(output, force=force)  # a run may have ended just now
        return run_finetune(
            model,
            task,
            train,
            output,
            dev=dev,
            distill_from=distill_from,
            config=config,
            examples=examples,
            cache_dir=cache_folder(cache),
            reporter=reporter or Silent(),
        )


def _limits(run_timeout: float | None) -> profilers.WorkerLimits | None:
    """Limits of a process that runs a model; None stands for the defaults."""
    return None if run_timeout is None else profilers.WorkerLimits(run_s=run_timeout)


def evaluate(
    package: Path,
    task: str,
    data: Path,
    *,
    max_length: int | None = None,
    run_timeout: float | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Score of a package's shipped file, or of a fine-tuned model, on a task with labels.

    A package runs in the batch size that its latency is about: the vectors of an int8 model depend
    on what else is in the batch.

    Args:
        package: The folder of a package (``sts-b`` by the similarity of its vectors, or the task
            that it was fine-tuned on) or of a fine-tuned model of transformers (every task).
        task: Name.
        data: The task's file.
        max_length: Tokens that an example is cut to; None takes what the package or the
            fine-tuning used.
        run_timeout: Seconds that one run of a package's model may take; None takes the default.
        reporter: Told of rows that were skipped.

    Raises:
        UsageError, PackageError, TaskDataError, TeacherMissing: On what is unknown or damaged.
        ProfilerError: If a package's model cannot be run within its limits.
    """
    from tokenizers import Tokenizer

    from nasc.package.hashes import find_changes
    from nasc.package.process import PackageProcess
    from nasc.tasks.sts import evaluate_sts, read_sts
    from nasc.teacher.reading_library import read_by_transformers

    reporter = reporter or Silent()
    check_path(package, "nasc evaluate DIR")
    if not (package / MANIFEST).is_file():
        if (package / "config.json").is_file():
            from nasc.pipelines.finetune import run_evaluate

            return run_evaluate(package, task, data, max_length, reporter)
        raise PackageError(
            f"no package and no model in '{package}'. Make one: nasc compile --latency-ms 20, or "
            "nasc finetune"
        )
    manifest, limits = read_manifest(package), _limits(run_timeout)
    changes = find_changes(package, manifest.files)
    if changes:
        raise PackageError(
            f"the package '{package}' is not as it was made: {'; '.join(changes)[:500]}. See all "
            f"that is wrong with it: nasc verify {package}"
        )
    if manifest.task is not None:
        from nasc.pipelines.finetune import run_evaluate_package

        return run_evaluate_package(package, manifest, task, data, max_length, reporter, limits)
    if task != "sts-b":
        raise UsageError(
            f"this package gives sentence vectors: it can be scored on sts-b, not on {task!r}. "
            f"Compile one for that: nasc compile --task {task} --finetune-data DIR"
        )
    pairs = read_sts(data, reporter.say)
    try:
        with read_by_transformers(package, "no tokenizer"):
            tokenizer = Tokenizer.from_file(str(package / "tokenizer.json"))
    except NascError as error:
        raise PackageError(
            f"the tokenizer of '{package}' cannot be read: {error}. See what else is changed: "
            f"nasc verify {package}"
        ) from error
    with PackageProcess(limits) as process:
        encoder = process.encoder(
            package / "model.onnx",
            tokenizer,
            max_length=max_length or manifest.max_length,
            batch_size=manifest.conditions.batch,
        )
        score = evaluate_sts(encoder.encode, pairs)
    return {"task": task, "spearman": score, "pairs": len(pairs), "package": str(package)}
