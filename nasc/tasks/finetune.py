"""Fine-tuning on a task, alone or with distillation from a fine-tuned teacher.

Models are those of transformers, subnets among them (`nasc.hf`); training is transformers'
Trainer. With a teacher the loss is (1 - lambda) of the labels' and lambda of the Kullback-Leibler
divergence between both predictions, lambda = 0.5 (NAS-BERT, Section 4.1.2); of a regression the
squared difference of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from nasc.errors import TaskDataError, UsageError
from nasc.hf.training import BatchTrainer, arguments, run_trainer, trainer_has_bf16
from nasc.supernet import checkpoint
from nasc.tasks.models import Outputs, Row, TaskModel
from nasc.utils.masking import MASKED
from nasc.utils.progress import Progress
from nasc.utils.torch_device import attention_without_cudnn

RECIPE = 3
"""Raised when the same configuration would give another network."""

MAX_EPOCHS = 1_000_000
"""More than anybody trains; their steps are still a number."""

TOLD = "told"
"""Of a row: what the teacher gives for it, as `nasc.tasks.models.Outputs`."""


@dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How to fine-tune.

    Attributes:
        epochs: Passes over the examples, unless `steps` is given.
        steps: Optimizer steps.
        batch_size: Examples in a step.
        learning_rate: Peak; linear warm-up, then linear decay to 0.
        warmup: Share of the steps that the learning rate rises in.
        weight_decay: Of AdamW.
        max_length: Tokens that an example is cut to; None takes the task's.
        distill_weight: lambda: share of the teacher's part of the loss.
        bf16: Products in bfloat16; the default does so where the hardware has them.
        seed: Of new weights and of the order of examples.

    Raises:
        UsageError: If a value is out of range.
    """

    epochs: float = 3.0
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_length: int | None = None
    distill_weight: float = 0.5
    bf16: bool = field(default_factory=trainer_has_bf16)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"fine-tuning: {name} must be positive, got {getattr(self, name)}")
        if self.epochs > MAX_EPOCHS:
            raise UsageError(
                f"fine-tuning: epochs must be at most {MAX_EPOCHS:,}, got {self.epochs:g}"
            )
        for name in ("steps", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"fine-tuning: {name} must be >= 1, got {value}")
        for name in ("warmup", "distill_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(
                    f"fine-tuning: {name} must be in [0, 1], got {getattr(self, name)}"
                )


def distillation_loss(outputs: Tensor, teacher: Tensor) -> Tensor:
    """How far a student's prediction is from its teacher's.

    Args:
        outputs: (batch, classes) scores, or (batch, 1) of a regression.
        teacher: The same of the teacher.

    Returns:
        KL(teacher, student) in nats, or the squared difference, averaged over the batch.
    """
    if outputs.shape[-1] == 1:
        return functional.mse_loss(outputs, teacher)
    return functional.kl_div(
        outputs.log_softmax(-1), teacher.log_softmax(-1), reduction="batchmean", log_target=True
    )


def _teacher_loss(found: Any, told: Mapping[str, Tensor], attention_mask: Tensor) -> Tensor:
    """`distillation_loss` of whatever both models give: classes, or starts and ends."""
    if "logits" in told:
        return distillation_loss(found.logits.float(), told["logits"])
    padding = attention_mask == 0  # what stands there is arbitrary
    parts = [
        distillation_loss(
            found[n].float().masked_fill(padding, MASKED), told[n].masked_fill(padding, MASKED)
        )
        for n in ("start_logits", "end_logits")
    ]
    return (parts[0] + parts[1]) / 2


class _Collator:
    """Pads rows, and what the teacher said of each."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._pad = DataCollatorWithPadding(tokenizer)

    def __call__(self, rows: Sequence[Row]) -> Any:
        batch = self._pad([{k: v for k, v in row.items() if k != TOLD} for row in rows])
        told = [row[TOLD] for row in rows if TOLD in row]
        if told:
            batch[TOLD] = {
                name: pad_sequence([torch.from_numpy(one[name]) for one in told], True)
                for name in told[0]
            }
        return batch


class _Distilling(BatchTrainer):
    """Trainer with a teacher's prediction in the loss, where rows hold one."""

    weight: float = 0.0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        told = inputs.pop(TOLD, None)
        found = model(**inputs)
        loss = found.loss
        if told is not None:
            part = _teacher_loss(found, told, inputs["attention_mask"])
            loss = (1 - self.weight) * loss + self.weight * part
        return (loss, found) if return_outputs else loss


@attention_without_cudnn()
def _tell(
    rows: Sequence[Row], teacher: TaskModel, config: FinetuneConfig, on_rows: Callable[[int], None]
) -> list[Outputs]:
    """What the teacher says of each row: it is asked once, however many epochs there are."""
    device = teacher.model.device.type
    on_rows(0)
    with torch.autocast(device, torch.bfloat16, enabled=config.bf16):
        return teacher.run(rows, config.batch_size, on_rows)


def _kept(path: Path, make: Callable[[], list[Outputs]]) -> list[Outputs]:
    """Outputs from a file, or made now and written there.

    Raises:
        CheckpointError: If the file cannot be read or written.
    """
    if not path.exists():
        made = make()
        flat = {name: np.concatenate([one[name] for one in made]) for name in made[0]}
        flat["sizes"] = np.array([len(next(iter(one.values()))) for one in made])
        checkpoint.write(path, {name: torch.from_numpy(v) for name, v in flat.items()}, {})
    found = {name: value.numpy() for name, value in checkpoint.read(path).tensors.items()}
    ends = np.cumsum(found.pop("sizes"))[:-1]
    parts = {name: np.split(value, ends) for name, value in found.items()}
    return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]


def _asking(progress: Progress | None, examples: int, steps: int) -> Callable[[int], None]:
    """Tells how many examples the teacher was asked about; no step is done by then."""

    def tell(done: int) -> None:
        if progress is not None:
            progress(0, steps, f"asking the teacher, {done:,} of {examples:,}")

    return tell


def finetune(
    student: TaskModel,
    rows: Sequence[Row],
    config: FinetuneConfig,
    *,
    work_dir: Path,
    teacher: TaskModel | None = None,
    told_path: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Fine-tune a model in place; goes on from a checkpoint in `work_dir` if there is one.

    Args:
        student: To train.
        rows: What it reads, with labels.
        config: How.
        work_dir: Keeps checkpoints as the run goes.
        teacher: Fine-tuned on the same task, with the same vocabulary; None: labels only.
        told_path: Keeps what the teacher says of the rows; None: in `work_dir`.
        progress: Called with (steps done, steps in all, message).

    Raises:
        TaskDataError: If there are no rows.
        UsageError: If the teacher has another vocabulary or another number of outputs.
        TrainingDiverged: If the loss is not finite.
    """
    if not rows:
        raise TaskDataError("no examples to fine-tune on")
    if teacher is not None:
        _check_teacher(student, teacher)
    epoch_steps = math.ceil(len(rows) / config.batch_size)
    steps = config.steps or math.ceil(config.epochs * epoch_steps)
    settings = arguments(
        work_dir,
        steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,
        weight_decay=config.weight_decay,
        bf16=config.bf16,
        seed=config.seed,
    )
    if teacher is not None:
        teacher.model.to(settings.device)  # type: ignore[arg-type]
        asking = _asking(progress, len(rows), steps)
        path = told_path or work_dir / "told.safetensors"
        told = _kept(path, lambda: _tell(rows, teacher, config, asking))
        rows = [row | {TOLD: one} for row, one in zip(rows, told, strict=True)]
    trainer = _Distilling(student.model, settings, list(rows), _Collator(student.tokenizer))
    trainer.weight = config.distill_weight
    run_trainer(trainer, progress)


def _check_teacher(student: TaskModel, teacher: TaskModel) -> None:
    if teacher.tokenizer.get_vocab() != student.tokenizer.get_vocab():
        raise UsageError(
            "the teacher has another vocabulary than the model to be fine-tuned: their inputs "
            "cannot be the same. Distil from a fine-tuned model of the subnet's own teacher"
        )
    if teacher.outputs != student.outputs:
        raise UsageError(
            f"the teacher gives {teacher.outputs} numbers, this task has {student.outputs}: "
            "fine-tune it on this task first"
        )
