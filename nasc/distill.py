"""Training of the one network that was chosen, against the teacher.

What users get from a sentence encoder are its vectors and the similarities between them,
so the loss has three parts: the teacher's last hidden states (squared error over their
variance), its sentence vectors (one minus the cosine), and the similarities within a
batch. The embedding tables stay the teacher's.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nasc.errors import UsageError
from nasc.export.network import Network
from nasc.supernet.batches import TrainBatches
from nasc.supernet.modules import Mask, TorchNetwork, mean_pool
from nasc.supernet.train import PROBE_STEPS, TrainingDiverged, relative_error
from nasc.teacher import Teacher
from nasc.tokens import Batch

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class DistillConfig:
    """How the chosen network is trained.

    Attributes:
        steps: Optimizer steps.
        batch_size: Sentences in a step.
        learning_rate: Peak; linear warm-up over the first tenth, then a cosine to 0.
        weight_decay: Of AdamW.
        clip: Largest norm of the gradient.
        hidden_weight: Of the error of hidden states.
        pooled_weight: Of the sentence vectors' distance.
        similarity_weight: Of the error of similarities within the batch.
        seed: Of the order of the text.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    clip: float = 1.0
    hidden_weight: float = 1.0
    pooled_weight: float = 5.0
    similarity_weight: float = 5.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1:
            raise UsageError(
                f"distillation needs steps >= 0 and a batch size >= 1, got {self.steps} "
                f"and {self.batch_size}"
            )


def distill_loss(
    config: DistillConfig, states: Tensor, target: Tensor, attention_mask: Tensor
) -> Tensor:
    """Loss of one batch.

    Args:
        config: The weights of the parts.
        states: The student's last hidden states, (batch, seq_len, hidden).
        target: The teacher's, the same shape.
        attention_mask: (batch, seq_len).
    """
    mask = Mask.of(attention_mask)
    ours = functional.normalize(mean_pool(states, mask), dim=-1)
    theirs = functional.normalize(mean_pool(target, mask), dim=-1)
    loss = config.hidden_weight * relative_error(states, target, attention_mask.bool())
    loss = loss + config.pooled_weight * (1 - (ours * theirs).sum(-1)).mean()
    error = ours @ ours.T - theirs @ theirs.T
    return loss + config.similarity_weight * error.square().mean()


def _step(
    model: TorchNetwork, teacher: Teacher, config: DistillConfig, batch: Batch
) -> Tensor:
    target = teacher.hidden_states(batch.input_ids, batch.attention_mask)[-1]
    mask = Mask.of(batch.attention_mask)
    states = model.map_out(model.hidden_state(batch.input_ids, mask))
    return distill_loss(config, states, target, batch.attention_mask)


def distill(
    network: Network,
    teacher: Teacher,
    batches: TrainBatches,
    config: DistillConfig,
    *,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> tuple[Network, dict[str, Any]]:
    """Train a copy of a network for a number of steps, or for a time.

    Args:
        network: Where to start.
        teacher: What to agree with.
        batches: The text.
        config: How; its `steps` count where `seconds` is None.
        seconds: A budget, turned into steps once, before the first step.
        progress: Called with (steps done, steps in all, message).

    Returns:
        The trained network, and the record of the run with the steps it took.

    Raises:
        TrainingDiverged: If the loss is not finite.
    """
    model = TorchNetwork(network)
    for name in ("word", "position"):
        model.tensors[0][name].requires_grad_(False)  # type: ignore[index]
    if seconds is not None:
        config = dataclasses.replace(
            config, steps=_steps_for(model, teacher, batches, config, seconds)
        )
    parameters = [p for p in model.parameters() if p.requires_grad]
    if network.architecture.is_teacher:
        config = dataclasses.replace(config, steps=0)
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
    )
    history: list[float] = []
    rise = max(1, config.steps // 10)
    for step in range(config.steps):
        place = max(0.0, (step - rise) / max(1, config.steps - rise))
        share = (step + 1) / rise if step < rise else 0.5 * (1 + np.cos(np.pi * place))
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * float(share)
        loss = _step(model, teacher, config, batches.at(step))
        history.append(float(loss.detach()))
        if not np.isfinite(history[-1]):
            raise TrainingDiverged(
                f"the distillation loss is not finite at step {step}. "
                f"Try a lower rate: --learning-rate {config.learning_rate / 4:g}"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if progress is not None:
            progress(step + 1, config.steps, f"loss {np.mean(history[-30:]):.3f}")
    record = {"config": dataclasses.asdict(config), "loss": history}
    return model.export(), record


def _steps_for(
    model: TorchNetwork,
    teacher: Teacher,
    batches: TrainBatches,
    config: DistillConfig,
    seconds: float,
) -> int:
    if seconds <= 0:
        return 0
    times = []
    for step in range(PROBE_STEPS):
        start = time.perf_counter()
        _step(model, teacher, config, batches.at(step)).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return max(1, int(seconds / (1.15 * float(np.mean(times[1:])))))
