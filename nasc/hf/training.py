"""transformers' Trainer as all of nasc's trainings use it: resumable, silent, little padding."""

from __future__ import annotations

import importlib.util
import re
import signal
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from device_profiles.reading import FileRefused, read_json
from nasc.errors import NascError, TrainingDiverged, UsageError
from nasc.hf.by_length import ByLength
from nasc.teacher import quiet_transformers
from nasc.utils.files import RECORD, changed_file, record_files
from nasc.utils.progress import Progress
from nasc.utils.torch_device import attention_without_cudnn, has_bf16, training_device

LOWER = "Try a lower --learning-rate (nasc compile: --finetune-learning-rate)"

SAVE_EVERY_S = 60.0
"""Between checkpoints: a run that is killed loses no more than that and a step."""


def arguments(work_dir: Path, steps: int, **other: Any) -> TrainingArguments:
    """Settings of a training of so many steps with checkpoints in a folder."""
    found = TrainingArguments(
        output_dir=str(work_dir),
        max_steps=steps,
        lr_scheduler_type="linear",
        save_strategy="steps",
        save_steps=steps,  # and whenever `_Keeping` says so
        save_total_limit=1,
        logging_steps=10,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        # Trainer takes bfloat16 on a processor only where it is told to stay there.
        use_cpu=bool(other.get("bf16")) and training_device().type == "cpu",
        **other,
    )
    if found.n_gpu > 1:  # which Trainer would share each step out among, with larger batches
        found._n_gpu = 1
    return found


def trainer_has_bf16() -> bool:
    """Whether the device that the Trainer takes multiplies bfloat16 in hardware."""
    return has_bf16(training_device())


class BatchTrainer(Trainer):
    """Trainer on rows of token ids, in batches of similar length."""

    def __init__(
        self,
        model: PreTrainedModel,
        settings: TrainingArguments,
        rows: Sequence[dict[str, Any]],
        collator: Any,
    ) -> None:
        """See Trainer.

        Args:
            model: To train.
            settings: Of `arguments`.
            rows: What it reads, ``input_ids`` among it.
            collator: Makes a batch of rows.
        """
        super().__init__(model=model, args=settings, train_dataset=rows, data_collator=collator)
        # Our losses are means: a step of several batches is the mean of theirs.
        self.model_accepts_loss_kwargs = False
        self._lengths = [len(row["input_ids"]) for row in rows]

    def _get_train_sampler(self, train_dataset: Any = None) -> ByLength:
        size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ByLength(self._lengths, size, self.args.seed)

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """See Trainer.

        Raises:
            TrainingDiverged: If the loss is not finite.
        """
        loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if not bool(torch.isfinite(loss)):
            raise TrainingDiverged(f"the loss is not finite. {LOWER}")
        return loss


class _FiniteGradients(TrainerCallback):
    """Stops before gradients that are not finite reach the weights, and so a checkpoint."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **other: Any) -> None:
        found = [p.grad for p in other["model"].parameters() if p.grad is not None]
        if found and not bool(torch.isfinite(torch.nn.utils.get_total_norm(found))):
            raise TrainingDiverged(f"the gradients are not finite. {LOWER}")


class _Keeping(TrainerCallback):
    """Saves now and then, and before an interruption ends the run; passes the progress on."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._saved_at = time.monotonic()
        self.interrupted = False

    def on_step_end(self, args: Any, state: Any, control: Any, **other: Any) -> None:
        if self._progress is not None:
            logged = [entry["loss"] for entry in state.log_history if "loss" in entry]
            message = f"loss {logged[-1]:.3f}" if logged else ""
            try:
                self._progress(state.global_step, state.max_steps, message)
            except KeyboardInterrupt:
                self.interrupted = True
        if self.interrupted:
            control.should_training_stop = True
        if self.interrupted or time.monotonic() - self._saved_at > SAVE_EVERY_S:
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **other: Any) -> None:
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if folder.is_dir():
            record_files(folder)
        self._saved_at = time.monotonic()

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Inside, the first Ctrl-C lets the step end; a second one is as ever."""
        before = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or before is None:
            yield
            return

        def note(number: int, frame: Any) -> None:
            self.interrupted = True
            signal.signal(signal.SIGINT, before)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


def run_trainer(trainer: Trainer, progress: Progress | None) -> None:
    """Train, from the last whole checkpoint if there is one.

    Args:
        trainer: Ready.
        progress: Called with (steps done, steps in all, message).

    Raises:
        KeyboardInterrupt: Once the step that was interrupted is done and saved.
        NascError: If a checkpoint cannot be written.
    """
    folder = Path(str(trainer.args.output_dir))
    keeping = _Keeping(progress)
    trainer.remove_callback(PrinterCallback)  # stdout is for results
    trainer.add_callback(_FiniteGradients())
    trainer.add_callback(keeping)
    try:
        with attention_without_cudnn(), quiet_transformers(), keeping.until_interrupted():
            trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
    except (OSError, SafetensorError) as error:
        raise NascError(
            f"cannot write to '{folder}': {error}. Free the disk, or name another --cache, and run "
            "the same command"
        ) from error
    if keeping.interrupted:
        raise KeyboardInterrupt
    # Whoever goes on with the model in memory computes in float32, as it is saved.
    trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)


def _last_checkpoint(work_dir: Path) -> str | None:
    """The latest checkpoint that is whole: the Trainer writes its state last.

    Raises:
        NascError: If each has a file that is damaged, with what to delete.
    """
    whole = [
        p.parent
        for p in work_dir.glob("checkpoint-*/trainer_state.json")
        if re.fullmatch(r"checkpoint-[0-9]{1,12}", p.parent.name)
    ]
    whole.sort(key=lambda folder: int(folder.name.rpartition("-")[2]), reverse=True)
    damage = []
    for folder in whole:
        reasons = (f"{p.name} {r}" for p in sorted(folder.iterdir()) if (r := _damage(p)))
        reason = next(reasons, None)
        if reason is None:
            return str(folder)
        damage.append(reason)
    if not whole:
        return None
    delete = " ".join(f"'{folder}'" for folder in whole)
    raise NascError(
        f"the checkpoint '{whole[0]}' is damaged: {damage[0]}. Delete it, and the same command "
        f"trains from the beginning: rm -r {delete}"
    )


def _damage(path: Path) -> str | None:
    """What is wrong with a file of a checkpoint, as the end of a sentence; None if nothing is."""
    try:
        if path.suffix in (".pt", ".pth"):  # archives, with a checksum of every member
            with zipfile.ZipFile(path) as archive:
                member = archive.testzip()
            return None if member is None else f"does not match its checksum ({member})"
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                pass
        elif path.suffix == ".json":
            read_json(path)
    except FileRefused as error:
        return error.reason
    except (OSError, zipfile.BadZipFile, SafetensorError) as error:
        return f"cannot be read ({error})"
    name = changed_file(path.parent) if path.name == RECORD else None
    return None if name is None else f"says that {name} was changed since it was written"


def check_installed() -> None:
    """Raise unless what the Trainer needs is there.

    Raises:
        UsageError: With the command that installs it.
    """
    if importlib.util.find_spec("accelerate") is None:
        raise UsageError(
            "fine-tuning needs the accelerate library, which is not installed. Install it: "
            "pip install 'nasc[finetune]'"
        )
