"""What `nasc distill` does: one subnet, trained by itself, as a model of transformers."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nasc.architecture.space import Architecture, Block
from nasc.architecture.zoo import zoo_architecture
from nasc.context.context import RunContext
from nasc.distillation.masked_lm import (
    RECIPE,
    MaskedConfig,
    Pretraining,
    masked_teacher,
    scratch,
    student_of,
)
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.errors import NascError, UsageError
from nasc.evaluation.agreement import compare
from nasc.hf import NascForMaskedLM, NascModel
from nasc.hf.training import check_installed, trainer_has_bf16
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.pipelines.options import DISTILL_MINUTES
from nasc.selection.successive_halving import vectors
from nasc.supernet.budget import recorded_steps
from nasc.supernet.checkpoint import load_supernet
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.score_candidates import judging_sentences
from nasc.supernet.space_for import space_for
from nasc.supernet.train import train_length
from nasc.teacher import default_teacher_folder, quiet_transformers
from nasc.utils.files import content_key, drop_changed, locked, record_files
from nasc.utils.outputs import filling
from nasc.utils.torch_device import use_fastest_threads

OBJECTIVES = ("auto", "states", "mlm")
STARTS = ("supernet", "scratch")
"""The first is the default; a network of the literature starts from scratch."""


def run_distill(
    bench: RunContext,
    architecture: str,
    output: Path,
    minutes: float | None,
    steps: int | None,
    objective: str,
    start: str | None,
    other: Mapping[str, Any],
) -> dict[str, Any]:
    """See `nasc.api.distill`; `other` goes to the configuration of the training."""
    for name, value, allowed in (
        ("objective", objective, OBJECTIVES),
        ("start", start or STARTS[0], STARTS),
    ):
        if value not in allowed:
            raise UsageError(f"unknown {name} {value!r}; known: {', '.join(allowed)}")
    seed = bench.settings.seed
    config = DistillConfig(steps=steps or 0, seed=seed, **other)
    masking = MaskedConfig(steps=steps or 1, bf16=trainer_has_bf16(), seed=seed, **other)
    parsed, start = _parsed(bench, architecture, start)
    g = bench.teacher.geometry
    whole = Architecture((Block(g.hidden, ("mha", "ffn") * g.layers, kept=True),))
    full_size = teacher_network(bench.teacher, whole, "hidden")
    masked = None
    if objective != "states":
        masked = masked_teacher(full_size, bench.settings.teacher or default_teacher_folder())
        if masked is None and objective == "mlm":
            raise UsageError(
                f"teacher {bench.teacher.name!r} has no head for masked words in its files: take "
                "--objective states, or a teacher that was pre-trained by masked words"
            )
    if start == "scratch":
        network = scratch(full_size, parsed, bench.settings.seed)
    else:
        path = bench.supernet_path
        supernet = (
            bench.prepared.supernet if path is None else load_supernet(path, bench.teacher)[0]
        )
        network = supernet.extract(parsed, "hidden")
    seconds = None if steps is not None else 60 * (DISTILL_MINUTES if minutes is None else minutes)
    model: NascModel | NascForMaskedLM
    if masked is None:
        trained, done = distill_cached(
            network,
            bench.teacher,
            bench.corpus,
            config,
            seconds=seconds,
            cache_dir=bench.cache,
            reporter=bench.reporter,
        )
        model = NascModel.from_network(trained)
    else:
        model, done = _pretrained(bench, network, masked, steps, seconds, masking)
        trained = model.nasc.network()
    sentences = judging_sentences(bench.corpus, 512)
    quality = compare(bench.teacher.vectors(sentences), vectors(bench.teacher, trained, sentences))
    try:
        with quiet_transformers(), filling(output) as part:
            model.save_pretrained(part)
            bench.teacher.tokenizer.save_pretrained(part)
    except (OSError, SafetensorError) as error:
        raise NascError(
            f"cannot write '{output}': {error}. Free the disk and run the same command: what was "
            "trained is kept"
        ) from error
    return {
        "model": str(output),
        "architecture": str(parsed),
        "params": trained.params,
        "objective": "states" if masked is None else "mlm",
        "start": start,
        "steps": done,
        "text": bench.corpus.description,
    } | dataclasses.asdict(quality)


def _parsed(bench: RunContext, text: str, start: str | None) -> tuple[Architecture, str]:
    """The architecture of a text or of a name of the literature, and where its weights begin."""
    name = text.strip().lower()
    if "-" in name:  # no text of blocks holds one
        found = zoo_architecture(name, bench.teacher.geometry.for_space())
        if start == "supernet" or bench.settings.supernet is not None:
            raise UsageError(
                f"network {name!r} is no cut of a supernet: leave --supernet out and take "
                "--start scratch"
            )
        bench.check_inputs(searched=False)
        return found, "scratch"
    start = start or STARTS[0]
    bench.check_inputs()
    if start == "scratch" and bench.settings.supernet is None:
        space = space_for(bench.teacher, bench.settings.space)
    else:
        space = bench.whole_space
    if bench.supernet_path is None and start == "supernet":
        space = teacher_initialised_space(space)
    return space.parse(text).with_precision("fp32"), start


def _pretrained(
    bench: RunContext,
    network: Network,
    teacher: NascForMaskedLM,
    steps: int | None,
    seconds: float | None,
    config: MaskedConfig,
) -> tuple[NascForMaskedLM, int]:
    """A student pre-trained by masked words, cached."""
    check_installed()
    use_fastest_threads()
    student = student_of(network, teacher)
    if steps == 0:
        return student, 0
    corpus = bench.corpus
    about = {
        "recipe": RECIPE,
        "start": network.sha256(),
        "teacher": bench.teacher.fingerprint,
        "text": corpus.sha256,
        "sentences": len(corpus.train),
        "config": dataclasses.asdict(config),
        "seconds": seconds,
    }
    folder = bench.cache / "pretrained" / content_key(about)

    @functools.cache
    def work() -> Pretraining:
        bench.reporter.stage("Pre-training by masked words")(0, 1, "tokenising")
        tokens = bench.teacher.tokenize(corpus.train, max_length=train_length(bench.teacher))
        return Pretraining(teacher, bench.teacher.tokenizer, tokens.rows())

    with locked(folder, "this network", bench.reporter.say):
        if seconds is not None:
            found = recorded_steps(
                folder / "steps.json", lambda: work().steps_in(student, config, seconds)
            )
            if found == 0:
                return student, 0
            config = dataclasses.replace(config, steps=found)
        drop_changed(folder / "model", bench.reporter.say)
        if not (folder / "model").is_dir():
            stage = bench.reporter.stage(f"Pre-training by masked words, {config.steps} steps")
            work().run(student, config, folder / "work", stage)
            with quiet_transformers():
                student.save_pretrained(folder / "part")
            record_files(folder / "part")
            (folder / "part").rename(folder / "model")
            shutil.rmtree(folder / "work", ignore_errors=True)
        with quiet_transformers():
            return NascForMaskedLM.from_pretrained(folder / "model"), config.steps
