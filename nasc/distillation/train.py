"""Training of the one network that was chosen, against the teacher.

What users get from a sentence encoder are its vectors and the similarities between them,
so the loss has three parts: the teacher's last hidden states (squared error over their
variance), its sentence vectors (one minus the cosine), and the similarities within a
batch. The embedding tables stay the teacher's.
"""

from __future__ import annotations

import bisect
import dataclasses
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nasc.architecture.heads import gives_scores, gives_vector, pooling_of, scores_tokens
from nasc.data import Corpus
from nasc.data.tokens import Batch
from nasc.distillation.teacher_cache import Schedule, TeacherBatches, window_of
from nasc.errors import TrainingDiverged, UsageError
from nasc.networks.from_teacher import is_the_teachers
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, TorchNetwork, pool
from nasc.supernet import checkpoint
from nasc.supernet.batches import TrainBatches
from nasc.supernet.budget import mean_step_s, recorded_steps
from nasc.supernet.run_state import RunState
from nasc.supernet.train import (
    relative_error,
    train_length,
)
from nasc.teacher import Teacher, sentence_vectors
from nasc.utils.files import content_key, locked
from nasc.utils.progress import Progress, Reporter
from nasc.utils.torch_device import (
    attention_without_cudnn,
    has_bf16,
    training_device,
    use_fastest_threads,
)

RECIPE = 3
"""Raised when the same configuration would give another network."""

PROBE_SENTENCES = 2048
"""The first of a text, on which a step is timed."""

MOST_SCALE = 2.0
"""Of the learning rate, however narrow a layer is: more was not tried."""

LEAST_SPREAD = 1e-3
"""Variance of a batch's scores below which it is not divided by: all its texts score alike."""

HIDDEN_WEIGHT = 1.0
"""Of hidden states, where they are trained on: what a head other than the teacher's is put on."""

SLACK = 1.15
"""A step of a training takes longer than one that changes no weight."""


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """How the chosen network is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Sentences in a step.
        learning_rate: Peak, of layers at half of the teacher's hidden size: see `rate_scales`;
            linear warm-up over the first tenth, then a cosine to 0.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient.
        hidden_weight: Of the error of hidden states; at 0 the teacher's vectors alone are kept of
            it, where those are what it gives.
        pooled_weight: Of the sentence vectors' distance.
        similarity_weight: Of the error of similarities within the batch.
        passes: How often a batch is seen: see `nasc.distillation.teacher_cache`.
        bf16: Products of both networks in bfloat16; the default does so where the device has
            them in hardware.
        seed: Of the order of the text.
        query_only: Whether the network is for queries alone: its similarities within a batch are
            with the teacher's vectors of the same texts, not with its own.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    hidden_weight: float = HIDDEN_WEIGHT
    pooled_weight: float = 5.0
    similarity_weight: float = 5.0
    passes: int = 2
    bf16: bool = field(default_factory=lambda: has_bf16(training_device()))
    seed: int = 0
    query_only: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain data; without what most trainings do not have, so that what is kept is found."""
        fields = dataclasses.asdict(self)
        return fields if self.query_only else {k: v for k, v in fields.items() if k != "query_only"}

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1 or self.passes < 1:
            raise UsageError(
                "distillation needs steps >= 0, a batch size >= 1 and passes >= 1, got "
                f"{self.steps}, {self.batch_size} and {self.passes}"
            )
        if not 0 < self.learning_rate < 1:
            raise UsageError(
                f"distillation: learning_rate must be in (0, 1), got {self.learning_rate}"
            )


def distill_loss(
    config: DistillConfig,
    states: Tensor,
    target: Tensor,
    attention_mask: Tensor,
    pooling: str = "mean",
    behind: Callable[[Tensor], Tensor] | None = None,
    scores: bool = False,
    of_tokens: bool = False,
) -> Tensor:
    """Loss of one batch.

    Args:
        config: The weights of the parts.
        states: The student's last hidden states, (batch, seq_len, hidden).
        target: The teacher's, the same shape; or its vectors (batch, size), not scaled, where
            hidden states have no weight.
        attention_mask: (batch, seq_len).
        pooling: By which vectors are made of states, out of `nasc.architecture.heads.POOLINGS`.
        behind: What the teacher has between the pooling and the vector; None: nothing.
        scores: Whether the vector is scores of classes, which have no directions: their squared
            error over their variance takes the place of the other two parts.
        of_tokens: Whether `behind` gives scores of every token: as scores of classes.
    """
    if of_tokens and behind is not None:
        real = attention_mask.bool()
        loss = config.hidden_weight * relative_error(states, target, real)
        ours, theirs = behind(states)[real], behind(target)[real]
        return loss + config.pooled_weight * _score_error(ours, theirs)
    mask = Mask.of(attention_mask)

    def vectors(x: Tensor) -> Tensor:
        pooled = pool(x, mask, pooling)
        return pooled if behind is None else behind(pooled)

    ours, theirs = vectors(states), target if target.dim() == 2 else vectors(target)
    loss = ours.new_zeros(())
    if config.hidden_weight:
        loss = config.hidden_weight * relative_error(states, target, attention_mask.bool())
    if scores:
        return loss + config.pooled_weight * _score_error(ours, theirs)
    ours, theirs = functional.normalize(ours, dim=-1), functional.normalize(theirs, dim=-1)
    loss = loss + config.pooled_weight * (1 - (ours * theirs).sum(-1)).mean()
    error = ours @ (theirs if config.query_only else ours).T - theirs @ theirs.T
    return loss + config.similarity_weight * error.square().mean()


def _score_error(ours: Tensor, theirs: Tensor) -> Tensor:
    """Squared error of scores (rows, classes) over their variance."""
    spread = (theirs - theirs.mean(0)).square().mean().clamp(min=LEAST_SPREAD)
    return (ours - theirs).square().mean() / spread


def follows_vectors(teacher: Teacher, config: DistillConfig) -> bool:
    """Whether a training needs nothing of the teacher but its vectors."""
    return config.hidden_weight == 0 and gives_vector(teacher.head())


@torch.no_grad()
def teacher_target(teacher: Teacher, config: DistillConfig, batch: Batch) -> Tensor:
    """What a batch is trained on: see `distill_loss`."""
    with torch.autocast(teacher.device.type, torch.bfloat16, enabled=config.bf16):
        here = batch.to(teacher.device)
        states = teacher.hidden_states(here.input_ids, here.attention_mask)[-1]
    if not follows_vectors(teacher, config):
        return states
    unscaled = dataclasses.replace(teacher.pooling, scaled=False)
    return sentence_vectors(states.float(), here.attention_mask, unscaled, teacher.dense)


def window_for(teacher: Teacher, batches: TrainBatches, config: DistillConfig) -> int:
    """Batches of which what the teacher says of them is kept at a time."""
    if follows_vectors(teacher, config):
        return window_of(batches.batch_size * float(teacher.vector_size))
    tokens = batches.batch_size * float(batches.tokens.lengths.double().mean())
    return window_of(tokens * teacher.geometry.hidden)


def teacher_batches_of(
    teacher: Teacher,
    batches: TrainBatches,
    config: DistillConfig,
    known: MutableMapping[bytes, Tensor] | None = None,
) -> TeacherBatches:
    """The batches of a training with what the teacher says of them.

    Args:
        teacher: Who is asked.
        batches: The text.
        config: How it is trained.
        known: What the teacher said before of batches, by `Batch.key`; what it is asked is added.
    """
    window = window_for(teacher, batches, config)
    schedule = Schedule(config.steps, config.passes, window, batches.per_epoch, config.seed)

    def ask(batch: Batch) -> Tensor:
        if known is None:
            return teacher_target(teacher, config, batch)
        key = batch.key()
        if key not in known:
            known[key] = teacher_target(teacher, config, batch).half()  # as `TeacherBatches` rounds
        return known[key]

    return TeacherBatches(batches, schedule, ask)


def step_loss(model: TorchNetwork, config: DistillConfig, batch: Batch, target: Tensor) -> Tensor:
    """`distill_loss` of a model on a batch: a scalar on the device of the teacher's states.

    Args:
        model: What is trained.
        config: Which loss, and whether bfloat16 is computed in.
        batch: Of token ids, wherever they are.
        target: What the teacher says of it: see `distill_loss`.
    """
    batch = batch.to(target.device)
    mask = Mask.of(batch.attention_mask)
    with torch.autocast(target.device.type, torch.bfloat16, enabled=config.bf16):
        states = model.map_out(model.hidden_state(batch.input_ids, mask))
    mode = pooling_of(model.head).mode
    return distill_loss(
        config,
        states.float(),
        target,
        batch.attention_mask,
        mode,
        model.behind_pooling,
        gives_scores(model.head),
        scores_tokens(model.head),
    )


def rate_scales(model: TorchNetwork) -> list[float]:
    """What the learning rate of each layer is multiplied with: in inverse proportion to its width.

    That is the rule for hidden weights under Adam of Yang et al. (Tensor Programs V, NeurIPS 2021,
    Table 3), here for all weights of a layer. Measured: one rate for all that narrow layers need
    sets layers back that are the teacher's own (benchmarks/training/distill_recipes.py).
    """
    half = model.geometry.hidden / 2
    widths = [max(layer.hidden_in, layer.hidden_out) for layer in model.layers]
    return [min(MOST_SCALE, half / width) for width in widths]


@attention_without_cudnn()
def distill(
    network: Network,
    teacher: Teacher,
    batches: TrainBatches,
    config: DistillConfig,
    *,
    state_path: Path | None = None,
    save_every_s: float = 30.0,
    progress: Progress | None = None,
    known: MutableMapping[bytes, Tensor] | None = None,
) -> tuple[Network, list[float]]:
    """Train a copy of a network on `training_device`; goes on if that run was interrupted.

    The state of a finished run stays as well, for whoever called to remove once the result is
    on disk.

    Args:
        network: Where to start.
        teacher: What to agree with.
        batches: The text.
        config: How.
        state_path: Where the state is saved as the run goes.
        save_every_s: Seconds between saves.
        progress: Called with (steps done, steps in all, message).
        known: See `teacher_batches_of`. It may be that of trainings by the same teacher and `bf16`,
            all with hidden states or all without. It grows by every batch: for vectors alone.

    Returns:
        The trained network, and the loss of every step.

    Raises:
        TrainingDiverged: If a loss or gradient is not finite; the state saved last stays.
        CheckpointError: If the saved state belongs to another run, or cannot be written.
    """
    device = training_device()
    model = trainable(network).to(device)
    taught = teacher_batches_of(teacher.to(device), batches, config, known)
    groups = [
        {"params": [p for p in own.parameters() if p.requires_grad], "scale": scale}
        for own, scale in zip(model.tensors, rate_scales(model), strict=True)
    ]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, foreach=True)
    identity = {"config": config.to_dict(), "architecture": str(network.architecture)}
    with RunState(state_path, identity, model, optimizer, save_every_s).kept() as state:
        for step in range(state.step, config.steps):
            peak = config.learning_rate * _share(step, config.steps)
            for group in optimizer.param_groups:
                group["lr"] = peak * group["scale"]
            loss = step_loss(model, config, *taught.at(step))
            value = float(loss.detach())
            _check_finite("loss", value, step)
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.nn.utils.clip_grad_norm_(parameters, config.clip)
            _check_finite("gradient", float(norm), step)
            with state.update(value):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if progress is not None:
                progress(step + 1, config.steps, f"loss {np.mean(state.history[-30:]):.3f}")
            state.save_if_due()
    return model.export(), state.history


def _check_finite(what: str, value: float, step: int) -> None:
    if not np.isfinite(value):
        raise TrainingDiverged(
            f"the distillation {what} is not finite at step {step}. Start from a supernet "
            "trained longer (nasc train), or leave it out: --distill-steps 0"
        )


def distill_cached(
    network: Network,
    teacher: Teacher,
    corpus: Corpus,
    config: DistillConfig,
    *,
    seconds: float | None,
    cache_dir: Path,
    reporter: Reporter,
    known: MutableMapping[bytes, Tensor] | None = None,
) -> tuple[Network, int]:
    """Distil a network, go on with an interrupted run, or find it done in the cache.

    Args:
        network: Where to start; its precision does not matter to the training.
        teacher: What to agree with.
        corpus: To train on.
        config: How; its `steps` count where `seconds` is None.
        seconds: A budget. It becomes a number of steps when the run first starts, which is
            recorded and kept when the run is resumed.
        cache_dir: Keeps trained networks.
        reporter: Told of the progress.
        known: See `distill`.

    Returns:
        The trained network in the precision given, and its steps.
    """
    use_fastest_threads()
    wide = network.with_precision("fp32")
    about = {
        "recipe": RECIPE,
        "start": wide.sha256(),
        "teacher": teacher.fingerprint,
        "text": corpus.sha256,
        "sentences": len(corpus.train),
        "config": config.to_dict() | ({} if seconds is None else {"steps": None}),
        "seconds": seconds,
    }
    folder = cache_dir / "distilled" / content_key(about)
    path, state_path = folder / "network.safetensors", folder / "state.safetensors"
    with locked(folder, "this network", reporter.say):
        if not path.exists():
            progress = reporter.stage("Distillation of the chosen network")
            progress(0, 1, "tokenising")
            if seconds is not None:
                some = batches_of(teacher, corpus, config, PROBE_SENTENCES)
                config = dataclasses.replace(
                    config,
                    steps=recorded_steps(
                        folder / "steps.json",
                        lambda: steps_for(wide, teacher, some, config, seconds, len(corpus.train)),
                    ),
                )
            batches = batches_of(teacher, corpus, config, config.steps * config.batch_size)
            trained, losses = distill(
                wide,
                teacher,
                batches,
                config,
                state_path=state_path,
                progress=progress,
                known=known,
            )
            header = {"config": config.to_dict(), "loss": losses}
            checkpoint.write(path, _flat(trained), header)
        state_path.unlink(missing_ok=True)
        found = checkpoint.read(path)
    tensors = tuple(
        {
            name: value if is_the_teachers(name) else found.tensors[f"{i}/{name}"].numpy()
            for name, value in own.items()
        }
        for i, own in enumerate(network.tensors)
    )
    steps = int(found.header["config"]["steps"])
    return dataclasses.replace(network, tensors=tensors), steps


def batches_of(
    teacher: Teacher, corpus: Corpus, config: DistillConfig, sentences: int
) -> TrainBatches:
    """Batches of the first sentences of a text, one at least.

    Args:
        teacher: Whose tokens they are.
        corpus: The text.
        config: Size of a batch, and the seed of their order.
        sentences: How many are taken.
    """
    some = corpus.train[: max(1, sentences)]
    tokens = teacher.tokenize(some, max_length=train_length(teacher))
    return TrainBatches(tokens, config.batch_size, config.seed)


def _flat(network: Network) -> dict[str, Tensor]:
    """What was trained: embedding tables take most of a file, and are the same in all of them."""
    return {
        f"{i}/{name}": torch.from_numpy(value)
        for i, own in enumerate(network.tensors)
        for name, value in own.items()
        if not is_the_teachers(name)
    }


def trainable(network: Network) -> TorchNetwork:
    """A network in torch as it is trained; `is_the_teachers` says what is not."""
    model = TorchNetwork(network)
    for own in model.tensors:
        for name, value in own.named_parameters():
            value.requires_grad_(not is_the_teachers(name))
    return model


def _share(step: int, steps: int) -> float:
    """Share of the peak learning rate: linear rise over a tenth, then a cosine to 0."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return float(0.5 * (1 + np.cos(np.pi * (step - rise) / max(1, steps - rise))))


@attention_without_cudnn()
def steps_for(
    network: Network,
    teacher: Teacher,
    batches: TrainBatches,
    config: DistillConfig,
    seconds: float,
    sentences: int,
) -> int:
    """How many steps of distilling a network fit into a time.

    Args:
        network: Where to start.
        teacher: What to agree with.
        batches: Of some of the text: what a step is timed on.
        config: How; its `steps` do not count.
        seconds: The time.
        sentences: Of the whole text.
    """
    if seconds <= 0:
        return 0
    device = training_device()
    model, teacher = trainable(network).to(device), teacher.to(device)
    told_s: list[float] = []

    def one(step: int) -> None:
        batch, begin = batches.at(step), time.perf_counter()
        target = teacher_target(teacher, config, batch).float()
        float(target.flatten()[0])  # waits for a GPU
        told_s.append(time.perf_counter() - begin)
        loss = step_loss(model, config, batch, target)
        loss.backward()  # type: ignore[no-untyped-call]
        float(loss.detach())
        model.zero_grad(set_to_none=True)

    step_s = mean_step_s(one, seconds)
    teacher_s = float(np.mean(told_s[1:]))
    window = window_for(teacher, batches, config)
    available = -(-sentences // config.batch_size)

    def took_s(steps: int) -> float:
        schedule = Schedule(steps, config.passes, window, available, config.seed)
        return steps * (step_s - teacher_s) + schedule.teacher_calls * teacher_s

    return most_within(seconds / SLACK, took_s)


def most_within(seconds: float, took_s: Callable[[int], float]) -> int:
    """The largest number whose time is no longer, one at least; the time grows with the number."""
    most = 1
    while took_s(most) <= seconds:
        most *= 2
    return max(1, bisect.bisect_right(range(most), seconds, key=took_s) - 1)
