"""Block-wise distillation of the supernet (NAS-BERT, Section 3.2.1).

Student block n reads the teacher's output of block n-1 and predicts that of block n; one
forward pass of the teacher feeds all blocks. Each step samples one path a block. The loss
is the squared error over the variance of the target, so that blocks weigh alike, both over the
whole batch, also where it is worked on in parts or by several processes.

In a share of the steps the sampled blocks are chained instead: each reads what the student before
it gave, as it will in a network, and the network's sentence vectors are held to the teacher's.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nasc.data.tokens import Batch
from nasc.errors import TrainingDiverged, UsageError
from nasc.networks.torch_network import Mask, pool
from nasc.supernet.batches import Batches
from nasc.supernet.budget import mean_step_s
from nasc.supernet.initialize import STARTS
from nasc.supernet.parallel import ALONE, Parallel
from nasc.supernet.run_state import RunState
from nasc.supernet.sampling import SAMPLINGS, Sample, sample_block
from nasc.supernet.shrink import Shrinker
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher
from nasc.utils.progress import Progress

TRAIN_LENGTH = 128
"""Tokens that a training sentence is cut to."""

VECTOR_WEIGHT = 5.0
"""Of the distance of sentence vectors beside the block losses of a chained step: that of
`nasc.distillation.train.DistillConfig.pooled_weight`, which says it of whole networks."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train; equal configurations on equal text give equal weights.

    Attributes:
        steps: Optimizer steps.
        batch_size: Sentences in a step.
        accumulate: Parts that every process works on one after the other, to save memory.
        learning_rate: Peak; linear warm-up, then linear decay to 0.
        warmup: Share of the steps that the learning rate rises in.
        weight_decay: Of AdamW (0.01 in the paper).
        clip: Largest norm of a block's gradient.
        sampling: One of `SAMPLINGS`; a shrinker samples for itself.
        chain: Share of the steps whose blocks are chained; 0 is the paper's training.
        start: One of `STARTS`.
        bf16: Compute products in bfloat16 (pays on processors that have it in hardware).
        seed: Of the order of the text and of the sampled paths.
    """

    steps: int
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 2e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    sampling: str = "balanced"
    chain: float = 0.0
    start: str = "teacher"
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1 or self.accumulate < 1:
            raise UsageError(
                f"training needs steps >= 0, a batch size >= 1 and parts >= 1, got {self.steps}, "
                f"{self.batch_size} and {self.accumulate}"
            )
        if not 0 < self.learning_rate < 1 or not 0 <= self.warmup <= 1 or self.clip <= 0:
            raise UsageError(
                f"training needs a learning rate in (0, 1), warm-up in [0, 1] and a positive "
                f"clip, got {self.learning_rate}, {self.warmup}, {self.clip}"
            )
        if not 0 <= self.chain <= 1:
            raise UsageError(f"the share of chained steps must be in [0, 1], got {self.chain}")
        for name, known in (("sampling", SAMPLINGS), ("start", STARTS)):
            value = getattr(self, name)
            if value not in known:
                raise UsageError(f"unknown {name} {value!r}; known: {', '.join(known)}")

    def identity(self) -> dict[str, Any]:
        """What makes a run the same run: in how many parts it works changes only the rounding."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "accumulate"}


def train_length(teacher: Teacher) -> int:
    """Tokens that a sentence is cut to for this teacher."""
    return min(TRAIN_LENGTH, teacher.geometry.max_positions)


def relative_error(prediction: Tensor, target: Tensor, real: Tensor) -> Tensor:
    """Squared error over the variance of the target, both over real tokens only.

    Args:
        prediction: (batch, seq_len, hidden).
        target: The same shape.
        real: (batch, seq_len), boolean.
    """
    t = target[real]
    return (prediction[real] - t).square().mean() / (t - t.mean(0)).square().mean()


def block_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each token, (tokens,), of two (tokens, hidden)."""
    return (prediction - target).square().mean(-1)


def _distance(states: Tensor, target: Tensor, mask: Mask, pooling: str) -> Tensor:
    """Sum over sentences of one minus the cosine of the two sentence vectors."""
    ours, theirs = pool(states, mask, pooling), pool(target, mask, pooling)
    return (1 - functional.cosine_similarity(ours, theirs, dim=-1)).sum()


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of one step, counted from 0."""
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return config.learning_rate * (config.steps - step) / max(1, config.steps - rise)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Rows of a batch with the teacher's states at block borders."""

    mask: Mask
    real: Tensor
    states: list[Tensor]
    weight: float


@dataclass(frozen=True, slots=True, eq=False)
class Objective:
    """The loss of a step.

    Attributes:
        supernet: With its teacher, on the device of `parallel`.
        config: How.
        sample: The path of each block.
        parallel: Which of the processes this is.
    """

    supernet: Supernet
    config: TrainConfig
    sample: Sample
    parallel: Parallel = ALONE

    def backward(self, batch: Batch, step: int) -> Tensor:
        """Add the gradients of one sampled path a block.

        Args:
            batch: Of all processes.
            step: Decides the paths.

        Returns:
            (n_blocks,): this process's part of each block's loss; the sum over processes is the
            squared error over the variance of the target, both averaged over real tokens.
        """
        n_blocks = self.supernet.space.n_blocks
        rng = np.random.default_rng((self.config.seed, step))
        paths = [self.sample(index, rng) for index in range(n_blocks)]
        own = [index for index in range(n_blocks) if self.parallel.owns(index)]
        with self._autocast(), torch.no_grad():
            parts = [
                self._part(part, weight, own[-1] + 1)
                for part, weight in self.parallel.parts(batch, self.config.accumulate)
            ]
            tokens = int(batch.attention_mask.sum())
            variances = self._variances(parts, own, tokens)
        chained = self.config.chain > 0 and rng.random() < self.config.chain
        values = torch.zeros(n_blocks, device=self.parallel.device)
        for part in parts:
            losses, out = [], part.states[0]
            with self._autocast():
                for index in own:
                    given = out if chained else part.states[index]
                    out = self.supernet.forward_block(index, given, part.mask, paths[index])
                    target = part.states[index + 1].float()
                    errors = block_errors(out.float()[part.real], target[part.real])
                    losses.append(errors.sum() * part.weight / tokens / variances[index])
            total = torch.stack(losses).sum()
            if chained:
                how = self.supernet.teacher.pooling.mode
                finish = self.supernet.finish
                ours, theirs = finish(out.float()), finish(part.states[-1].float())
                distance = _distance(ours, theirs, part.mask, how)
                share = part.weight / len(batch.input_ids)
                total = total + VECTOR_WEIGHT * share * distance
            total.backward()  # type: ignore[no-untyped-call]
            values[own] += torch.stack(losses).detach()
        return values

    def _autocast(self) -> torch.autocast:
        device = self.parallel.device.type
        return torch.autocast(device, torch.bfloat16, enabled=self.config.bf16)

    def _part(self, part: Batch, weight: float, blocks: int) -> _Part:
        mask = Mask.of(part.attention_mask)
        states = self.supernet.teacher_states(part.input_ids, mask, blocks)
        return _Part(mask, part.attention_mask.bool(), states, weight)

    def _variances(self, parts: list[_Part], own: list[int], tokens: int) -> dict[int, Tensor]:
        """Variance of what each own block is to predict, over the real tokens of all processes."""
        found = {}
        for index in own:
            targets = [(p.states[index + 1].double()[p.real], p.weight) for p in parts]
            total = torch.stack([w * t.sum(0) for t, w in targets]).sum(0)
            squares = torch.stack([w * t.square().sum() for t, w in targets]).sum().reshape(1)
            self.parallel.add_parts([total, squares])
            mean = total / tokens
            found[index] = (squares[0] / tokens / len(mean) - mean.square().mean()).float()
        return found


def steps_for(
    supernet: Supernet,
    config: TrainConfig,
    batches: Batches,
    seconds: float,
    parallel: Parallel = ALONE,
) -> int:
    """How many steps fit into a time; decided once and recorded, so runs can be repeated.

    One of several processes times its own part of a step: the others need not be here.

    Args:
        supernet: Stays as it is: gradients of the steps that are timed are dropped.
        config: Of the training.
        batches: That it is trained on.
        seconds: Of the training.
        parallel: This process among others.
    """
    if seconds <= 0:
        return 0
    silent = dataclasses.replace(parallel, silent=True)
    objective = Objective(supernet, config, whole_space(supernet, config), silent)

    def one(step: int) -> None:
        objective.backward(batches.at(step), step).tolist()  # waits for a GPU
        supernet.zero_grad(set_to_none=True)

    return max(1, int(seconds / (1.25 * mean_step_s(one, seconds))))


def whole_space(supernet: Supernet, config: TrainConfig) -> Sample:
    """Paths out of the whole search space."""
    draw = functools.partial(sample_block, supernet.space, config.sampling)
    return lambda position, rng: draw(rng)


def optimizer_of(blocks: Sequence[nn.Module], config: TrainConfig) -> torch.optim.Optimizer:
    """The optimizer of some blocks."""
    parameters = [parameter for block in blocks for parameter in block.parameters()]
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
    )


def train(
    supernet: Supernet,
    batches: Batches,
    config: TrainConfig,
    *,
    parallel: Parallel = ALONE,
    shrinker: Shrinker | None = None,
    state_path: Path | None = None,
    text_sha256: str = "",
    save_every_s: float = 60.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a supernet in place; goes on from `state_path` if that run was interrupted.

    The state of a finished run stays as well, for whoever called to remove once the result is
    on disk: see `RunState`. Of several processes the first holds the trained supernet.

    Args:
        supernet: Initialised, on the device of `parallel`; its blocks are trained, its teacher is
            not touched.
        batches: The text.
        config: How.
        parallel: Which of the processes this is.
        shrinker: Removes sub-architectures as the training goes, and samples what is left.
        state_path: Where weights and optimizer are saved as the run goes.
        text_sha256: Of the corpus; a run does not go on with other text.
        save_every_s: Seconds between saves.
        progress: Called with (steps done, steps in all, message).

    Returns:
        The record of the run: configuration, text, losses along the way.

    Raises:
        UsageError: If the work cannot be divided among the processes.
        TrainingDiverged: If a loss or gradient is not finite; the state saved last stays.
        CheckpointError: If the saved state belongs to another run, or cannot be written.
    """
    blocks = supernet.blocks
    parallel.check(len(blocks), config.batch_size, config.accumulate, config.chain > 0)
    own = {index: block for index, block in enumerate(blocks) if parallel.owns(index)}
    parameters = [parameter for block in own.values() for parameter in block.parameters()]
    optimizer = optimizer_of(list(own.values()), config)
    identity = {"config": config.identity(), "text_sha256": text_sha256}
    if shrinker is not None:
        identity["shrinking"] = dataclasses.asdict(shrinker.config)
    sample = whole_space(supernet, config) if shrinker is None else shrinker.sample
    objective = Objective(supernet, config, sample, parallel)
    run = RunState(
        state_path, identity, blocks, optimizer, save_every_s, also=shrinker, parallel=parallel
    )
    with run.kept() as state:
        for step in range(state.step, config.steps):
            if shrinker is not None and shrinker.is_due(step):
                shrinker.shrink(config.seed, parallel)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            losses = objective.backward(batches.at(step), step)
            parallel.add([losses])
            values = losses.tolist()
            _check_finite("loss", values, step, config)
            parallel.add_gradients(parameters)
            norms = torch.zeros_like(losses)
            for index, block in own.items():
                norms[index] = torch.nn.utils.clip_grad_norm_(block.parameters(), config.clip)
            parallel.add([norms])  # so that all processes stop, or none
            _check_finite("gradient", norms.tolist(), step, config)
            with state.update({"step": step} | {f"block_{i}": v for i, v in enumerate(values)}):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if progress is not None:
                recent = np.mean(
                    [[h[f"block_{i}"] for i in range(len(values))] for h in state.history[-50:]]
                )
                progress(step + 1, config.steps, f"block loss {recent:.3f}")
            state.save_if_due()
        state.assemble()
    return identity | {"history": state.history}


def _check_finite(what: str, values: list[float], step: int, config: TrainConfig) -> None:
    """Raise unless the losses or gradients of all blocks are finite."""
    if not np.isfinite(values).all():
        raise TrainingDiverged(
            f"the {what} of a block is not finite at step {step}: {values}. "
            f"Try a lower rate: nasc train --learning-rate {config.learning_rate / 4:g}"
        )
