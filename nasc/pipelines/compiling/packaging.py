"""The package of the network that was accepted, with the evidence for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import profilers
from nasc.architecture.heads import ANSWERS, TOKENS
from nasc.architecture.space import Architecture, operation_symbols
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.data.prompts import NO_PROMPTS
from nasc.evaluation.parity_report import ParityReport
from nasc.networks.network import Network
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.formats import format_of
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest
from nasc.package.records import (
    PeakMemory,
    TaskRecord,
    TeacherRecord,
    TextRecord,
    TrainingRecord,
    VocabularyRecord,
)
from nasc.package.sibling_folders import build_sha256, left_beside
from nasc.pipelines.app_format import programs_hold
from nasc.pipelines.artifact_quality import ArtifactEvaluator, check_reached
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, ShippedNetwork, State
from nasc.pipelines.compiling.training import has_halving
from nasc.pipelines.formats import FolderWriter
from nasc.pipelines.result import Attempt, CompileResult
from nasc.selection import evidence
from nasc.supernet.checkpoint import trained_by
from nasc.teacher import Teacher
from nasc.teacher.licence import stated_licence

NO_LATENCY = "the device is emulated: nothing is known of this package's latency"
"""What a package for an emulated device says in place of its latency."""

CLASSIFICATION, RERANKING = "classification", "reranking"
OF_TOKENS = {TOKENS: "token-classification", ANSWERS: "question-answering"}
"""The task of a package with the head that its teacher came with."""


def task_record(compilation: Compilation) -> TaskRecord | None:
    """What the package says of its head; None of vectors and states."""
    task, teacher = compilation.options.task, compilation.context.teacher
    if task is not None:
        return TaskRecord(task.name, task.labels, task.paired)
    if not compilation.keeps_own_head:
        return None
    if teacher.output in OF_TOKENS:
        return TaskRecord(OF_TOKENS[teacher.output], teacher.labels, teacher.paired)
    if len(teacher.labels) == 1:
        return TaskRecord(RERANKING, (), True, teacher.activation)
    return TaskRecord(CLASSIFICATION, teacher.labels, teacher.paired, teacher.activation)


def conditions(compilation: Compilation, variant: Variant) -> Conditions:
    """What the latency of a network in a variant is about."""
    context, options = compilation.context, compilation.options
    s = context.settings
    return Conditions(
        context.device.name,
        variant.runtime,
        s.batch,
        context.inputs.seq_len,
        context.session(variant.runtime).options.threads,
        profilers.STATISTIC,
        options.quantile,
        s.fixed_shape,
        context.mixture,
        options.protocol,
        s.sustained_minutes,
    )


def licences(teacher: Teacher) -> list[dict[str, str]]:
    """Of what a package has from its teacher."""
    licence = stated_licence(teacher.folder)
    whats = ("weights, taken or trained from the teacher's", "tokenizer")
    return [{"what": w, "licence": licence, "source": teacher.name} for w in whats]


def vocabulary(context: RunContext) -> VocabularyRecord | None:
    """What was cut of the vocabulary."""
    cut = context.inputs.vocabulary
    if cut is None:
        return None
    counts = (cut.tokens, cut.of_tokens, cut.heldout_tokens, cut.changed_tokens)
    return VocabularyRecord(cut.text, cut.sha256, *counts)


def training_record(context: RunContext, chosen: ChosenNetwork) -> TrainingRecord:
    """What was trained for a network."""
    header = context.supernet.header
    own = TrainingRecord(
        chosen.steps, trained_steps=chosen.trained_steps, trained_text=chosen.trained_text
    )
    if header is None:
        return own
    steps, text = trained_by(header)
    return dataclasses.replace(
        own,
        supernet_steps=steps,
        supernet_text=text,
        supernet_operations=operation_symbols(header["space"]["operations"]),
    )


def evidence_of(
    compilation: Compilation,
    chosen: ChosenNetwork,
    architecture: Architecture,
    rows: Mapping[str, Any],
) -> dict[str, Any]:
    """Where the choice came from: the search, and the rows of the table that predict it."""
    context, runtime = compilation.context, chosen.runtime
    limits, variants = chosen.limits, chosen.variants
    if chosen.compared is None:
        search = evidence.whole(context, limits, variants, architecture, runtime)
    else:
        search = evidence.searched(
            context,
            limits,
            variants,
            chosen.compared,
            architecture,
            runtime,
            has_halving(compilation),
        )
    return {"table": dict(rows), "search": search}


def manifest_of(
    compilation: Compilation,
    shipped: ShippedNetwork,
    network: Network,
    attempts: Sequence[Attempt],
    parity: ParityReport,
    evaluator: ArtifactEvaluator,
) -> Manifest:
    """What the package says of itself.

    Args:
        compilation: What was asked for.
        shipped: What is in it.
        network: The same with the vocabulary that ships.
        attempts: Networks that were measured on the way.
        parity: Of the file.
        evaluator: Judges the file.

    Raises:
        LimitsMissed: If a quality asked for is not reached.
    """
    context, options = compilation.context, compilation.options
    s = context.settings
    record = evaluator.quality(shipped.artifact)
    check_reached(record, options.min_quality)
    architecture, variant = network.architecture, shipped.chosen.variant
    costs = context.tables.measure_costs([variant])
    peak = costs.peak_memory_bytes(architecture, variant.runtime)
    timed = not context.device.emulated
    notes = context.tables.notes if timed else [NO_LATENCY]
    return Manifest(
        architecture=architecture,
        geometry=network.geometry,
        head=context.head,
        task=task_record(compilation),
        max_length=compilation.max_length,
        prompts=NO_PROMPTS if options.task is not None else context.teacher.prompts,
        query_only=s.query_only,
        limits=compilation.limits.given(),
        conditions=conditions(compilation, variant),
        teacher=TeacherRecord(context.teacher.name, context.teacher.sha256, context.teacher.source),
        text=TextRecord(context.corpus.description, context.corpus.sha256),
        training=training_record(context, shipped.chosen),
        predicted=shipped.predicted if timed else None,
        latency_table="; ".join(notes) or None,
        estimate=costs.tables[variant].estimated if timed else None,
        tuned=shipped.artifact.tuned,
        measured=shipped.latency if timed else None,
        tokenisation_ms=evaluator.tokenisation_ms(),
        peak_memory=PeakMemory(peak, shipped.peak_bytes),
        quality=record,
        parity=parity,
        attempts=[dataclasses.asdict(attempt) for attempt in attempts],
        evidence=evidence_of(compilation, shipped.chosen, architecture, shipped.rows)
        if timed
        else {},
        conformance=evaluator.conformance(network, shipped.artifact),
        licences=licences(context.teacher),
        seeds={"seed": s.seed},
        vocabulary=vocabulary(context),
    )


def package(
    compilation: Compilation,
    state: State,
    shipped: ShippedNetwork,
    parity: ParityReport,
    evaluator: ArtifactEvaluator,
) -> CompileResult:
    """Write the package, and the folders of other formats that are asked for.

    Raises:
        LimitsMissed: If a quality asked for is not reached.
        PackageError: If it cannot be written.
    """
    context, options = compilation.context, compilation.options
    network = context.inputs.with_vocabulary(shipped.chosen.network)
    variant, timed = shipped.chosen.variant, not context.device.emulated
    attempts = state.attempts if timed else ()
    manifest = manifest_of(compilation, shipped, network, attempts, parity, evaluator)
    context.reporter.stage("Package")(0, 1, str(compilation.output))
    folder = build_package(
        compilation.output,
        model=shipped.artifact,
        tokenizer=context.tokenizer,
        manifest=manifest,
        force=options.force,
        say=context.reporter.say,
        open_encoder=context.open_encoder,
        check=programs_hold(variant.runtime, format_of(variant.runtime), manifest, context),
        sign=options.sign,
    )
    with FolderWriter(context, options, evaluator, folder, manifest, network) as writer:
        folders = {name: writer.write(name) for name in options.folders(variant.runtime)}
    for name, left in left_beside(folder, folders).items():
        context.reporter.say(
            f"'{left}' is of another package than '{folder}' and was not written anew: remove "
            f"it, or give --format {name}"
        )
    known_ms = {}
    if timed:
        known_ms = context.tables.known_ms(network.architecture, context.variants)
    return CompileResult(
        read_manifest(folder),
        tuple(attempts),
        folder,
        dict(context.seconds),
        network,
        {v: ms for v, ms in known_ms.items() if v != variant},
        folders,
        {name: str(read_manifest(path).latency_not_stated) for name, path in folders.items()},
        build_sha256(folder),
    )
