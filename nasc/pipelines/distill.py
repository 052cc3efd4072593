"""What `nasc distill` does: one subnet, trained by itself, as a model of transformers."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from nasc.architecture.space import Architecture
from nasc.architecture.zoo import zoo_architecture
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.data.heldout import judging_sentences
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
from nasc.evaluation.agreement import Quality, compare
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.hf import NascForMaskedLM, NascModel
from nasc.hf.configuration import check_geometry
from nasc.hf.training import check_installed, trainer_has_bf16
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.pipelines.options import DISTILL_MINUTES
from nasc.supernet.budget import check_budget, recorded_steps
from nasc.supernet.checkpoint import load_supernet
from nasc.supernet.prepare import teacher_initialised_space
from nasc.supernet.space_for import space_for
from nasc.supernet.train import train_length
from nasc.teacher import default_teacher_folder, quiet_transformers
from nasc.utils.files import content_key, drop_changed, locked, record_files
from nasc.utils.outputs import check_folder, claimed, filling
from nasc.utils.progress import Reporter
from nasc.utils.torch_device import use_fastest_threads

OBJECTIVES = ("auto", "states", "mlm")
STARTS = ("supernet", "scratch")
"""The first is the default; a network of the literature starts from scratch."""


@dataclass(frozen=True, slots=True)
class DistillResult:
    """A distilled subnet, as a model of transformers.

    Attributes:
        model: Folder of the model.
        architecture: Architecture of the network.
        params: Weights of the network.
        objective: What it was trained on: ``states`` or ``mlm``.
        start: Where its weights began: ``supernet`` or ``scratch``.
        steps: Optimizer steps of its training.
        text: What it was trained on, in words.
        quality: Agreement with the teacher on held-out text.
    """

    model: Path
    architecture: Architecture
    params: int
    objective: str
    start: str
    steps: int
    text: str
    quality: Quality

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        return {
            "model": str(self.model),
            "architecture": str(self.architecture),
            "params": self.params,
            "objective": self.objective,
            "start": self.start,
            "steps": self.steps,
            "text": self.text,
        } | dataclasses.asdict(self.quality)


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
) -> DistillResult:
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

    Raises:
        UsageError: If the architecture is not of the space or not for this teacher, the folder
            is in use, or the teacher has no head for masked words.
        NascError: If the folder cannot be written; the trained network is in the cache.
        TeacherError, CorpusError, CheckpointError, TrainingDiverged: See there.
    """
    if minutes is not None:
        check_budget(minutes)
    check_folder(output, force=force)
    context = RunContext(settings or Settings(), reporter)
    given = {"batch_size": batch_size, "learning_rate": learning_rate}
    other = {name: value for name, value in given.items() if value is not None}
    with claimed(output):
        check_folder(output, force=force)  # a run may have ended just now
        return _distill(context, architecture, output, minutes, steps, objective, start, other)


def _distill(
    context: RunContext,
    architecture: str,
    output: Path,
    minutes: float | None,
    steps: int | None,
    objective: str,
    start: str | None,
    other: Mapping[str, Any],
) -> DistillResult:
    """`distill` with the folder claimed; `other` goes to the configuration of the training."""
    for name, value, allowed in (
        ("objective", objective, OBJECTIVES),
        ("start", start or STARTS[0], STARTS),
    ):
        if value not in allowed:
            raise UsageError(f"unknown {name} {value!r}; known: {', '.join(allowed)}")
    check_geometry(context.teacher.geometry.for_space())
    seed = context.settings.seed
    config = DistillConfig(steps=steps or 0, seed=seed, **other)
    masking = MaskedConfig(steps=steps or 1, bf16=trainer_has_bf16(), seed=seed, **other)
    parsed, start = _parsed(context, architecture, start)
    whole = Architecture.whole(context.teacher.geometry.for_space())
    full_size = teacher_network(context.teacher, whole, context.teacher.head("hidden"))
    masked = None
    if objective != "states":
        masked = masked_teacher(full_size, context.settings.teacher or default_teacher_folder())
        if masked is None and objective == "mlm":
            raise UsageError(
                f"teacher {context.teacher.name!r} has no head for masked words in its files: take "
                "--objective states, or a teacher that was pre-trained by masked words"
            )
    if start == "scratch":
        network = scratch(full_size, parsed, context.settings.seed)
    else:
        path = context.supernet_path
        supernet = (
            context.supernet.prepare().supernet
            if path is None
            else load_supernet(path, context.teacher)[0]
        )
        network = supernet.extract(parsed, context.teacher.head("hidden"))
    seconds = None if steps is not None else 60 * (DISTILL_MINUTES if minutes is None else minutes)
    model: NascModel | NascForMaskedLM
    if masked is None:
        trained, done = distill_cached(
            network,
            context.teacher,
            context.corpus,
            config,
            seconds=seconds,
            cache_dir=context.cache,
            reporter=context.reporter,
        )
        model = NascModel.from_network(trained)
    else:
        model, done = _pretrained(context, network, masked, steps, seconds, masking)
        trained = model.nasc.network()
    sentences = judging_sentences(context.corpus, 512)
    quality = compare(
        teacher_vectors(context.teacher, sentences),
        pooled_vectors(context.teacher, trained, sentences),
    )
    try:
        with quiet_transformers(), filling(output) as part:
            model.save_pretrained(part)
            context.teacher.tokenizer.save_pretrained(part)
    except (OSError, SafetensorError) as error:
        raise NascError(
            f"cannot write '{output}': {error}. Free the disk and run the same command: what was "
            "trained is kept"
        ) from error
    return DistillResult(
        model=output,
        architecture=parsed,
        params=trained.params,
        objective="states" if masked is None else "mlm",
        start=start,
        steps=done,
        text=context.corpus.description,
        quality=quality,
    )


def _parsed(context: RunContext, text: str, start: str | None) -> tuple[Architecture, str]:
    """The architecture of a text or of a name of the literature, and where its weights begin."""
    name = text.strip().lower()
    if "-" in name:  # no text of blocks holds one
        found = zoo_architecture(name, context.teacher.geometry.for_space())
        if start == "supernet" or context.settings.supernet is not None:
            raise UsageError(
                f"network {name!r} is no cut of a supernet: leave --supernet out and take "
                "--start scratch"
            )
        context.check_inputs(searched=False)
        return found, "scratch"
    start = start or STARTS[0]
    context.check_inputs()
    if start == "scratch" and context.settings.supernet is None:
        space = space_for(context.teacher, context.settings.space)
    else:
        space = context.whole_space
    if context.supernet_path is None and start == "supernet":
        space = teacher_initialised_space(space)
    return space.parse(text).with_precision("fp32"), start


def _pretrained(
    context: RunContext,
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
    corpus = context.corpus
    about = {
        "recipe": RECIPE,
        "start": network.sha256(),
        "teacher": context.teacher.fingerprint,
        "text": corpus.sha256,
        "sentences": len(corpus.train),
        "config": dataclasses.asdict(config),
        "seconds": seconds,
    }
    folder = context.cache / "pretrained" / content_key(about)

    @functools.cache
    def work() -> Pretraining:
        context.reporter.stage("Pre-training by masked words")(0, 1, "tokenising")
        tokens = context.teacher.tokenize(corpus.train, max_length=train_length(context.teacher))
        return Pretraining(teacher, context.teacher.tokenizer, tokens.rows())

    with locked(folder, "this network", context.reporter.say):
        if seconds is not None:
            found = recorded_steps(
                folder / "steps.json", lambda: work().steps_in(student, config, seconds)
            )
            if found == 0:
                return student, 0
            config = dataclasses.replace(config, steps=found)
        drop_changed(folder / "model", context.reporter.say)
        if not (folder / "model").is_dir():
            stage = context.reporter.stage(f"Pre-training by masked words, {config.steps} steps")
            work().run(student, config, folder / "work", stage)
            with quiet_transformers():
                student.save_pretrained(folder / "part")
            record_files(folder / "part")
            (folder / "part").rename(folder / "model")
            shutil.rmtree(folder / "work", ignore_errors=True)
        with quiet_transformers():
            return NascForMaskedLM.from_pretrained(folder / "model"), config.steps
