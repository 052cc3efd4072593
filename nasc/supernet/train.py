"""Block-wise distillation of the supernet (NAS-BERT, Section 3.2.1).

Student block n reads the teacher's output of block n-1 and predicts that of block n; one
forward pass of the teacher feeds all blocks. Each step samples one path a block. The loss
is the squared error over the variance of the target, so that blocks weigh alike.
"""

from __future__ import annotations

import dataclasses
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasc.errors import CheckpointError, TrainingDiverged, UsageError
from nasc.files import write_atomically
from nasc.reporting import Progress
from nasc.space import Block, SearchSpace
from nasc.supernet import checkpoint
from nasc.supernet.batches import TrainBatches
from nasc.supernet.modules import Mask
from nasc.supernet.supernet import Supernet
from nasc.tokens import Batch

SAMPLINGS = ("balanced", "uniform")
"""uniform: every sub-architecture alike (the paper). balanced: every hidden size alike,
then every length, then every order of operations; short and narrow paths get their share."""

TRAIN_LENGTH = 128
"""Tokens that a training sentence is cut to."""

PROBE_SHARE = 0.03
PROBE_STEPS = 4
"""Steps are timed for this share of a budget, and this many at least, to turn it into a number of
steps; the first is left out. Fewer would be at the mercy of one quick or slow second."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How to train; equal configurations on equal text give equal weights.

    Attributes:
        steps: Optimizer steps.
        batch_size: Sentences in a step.
        learning_rate: Peak; linear warm-up, then linear decay to 0.
        warmup: Share of the steps that the learning rate rises in.
        weight_decay: Of AdamW (0.01 in the paper).
        clip: Largest norm of a block's gradient.
        sampling: One of `SAMPLINGS`.
        bf16: Compute products in bfloat16 (pays on processors that have it in hardware).
        seed: Of the order of the text and of the sampled paths.
    """

    steps: int
    batch_size: int = 32
    learning_rate: float = 2e-4
    warmup: float = 0.1
    weight_decay: float = 0.01
    clip: float = 1.0
    sampling: str = "balanced"
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.batch_size < 1:
            raise UsageError(
                f"training needs steps >= 0 and a batch size >= 1, got {self.steps} "
                f"and {self.batch_size}"
            )
        if not 0 < self.learning_rate < 1 or not 0 <= self.warmup <= 1 or self.clip <= 0:
            raise UsageError(
                f"training needs a learning rate in (0, 1), warm-up in [0, 1] and a positive "
                f"clip, got {self.learning_rate}, {self.warmup}, {self.clip}"
            )
        if self.sampling not in SAMPLINGS:
            raise UsageError(f"unknown sampling {self.sampling!r}; known: {', '.join(SAMPLINGS)}")


def sample_block(space: SearchSpace, sampling: str, rng: np.random.Generator) -> Block:
    """A random student block (never the kept one)."""
    hidden = int(rng.choice(space.hidden_sizes))
    k = len(space.operations)
    lengths = np.arange(1, space.slots + 1)
    weights = np.ones(space.slots) if sampling == "balanced" else float(k) ** lengths
    length = int(rng.choice(lengths, p=weights / weights.sum()))
    return Block(hidden, tuple(str(o) for o in rng.choice(space.operations, size=length)))


def relative_error(prediction: Tensor, target: Tensor, real: Tensor) -> Tensor:
    """Squared error over the variance of the target, both over real tokens only.

    Args:
        prediction: (batch, seq_len, hidden).
        target: The same shape.
        real: (batch, seq_len), boolean.
    """
    t = target[real]
    return (prediction[real] - t).square().mean() / (t - t.mean(0)).square().mean()


def learning_rate(config: TrainConfig, step: int) -> float:
    """Of one step, counted from 0."""
    rise = max(1, round(config.warmup * config.steps))
    if step < rise:
        return config.learning_rate * (step + 1) / rise
    return config.learning_rate * (config.steps - step) / max(1, config.steps - rise)


def block_losses(supernet: Supernet, config: TrainConfig, batch: Batch, step: int) -> list[Tensor]:
    """Loss of one sampled path in each block."""
    rng = np.random.default_rng((config.seed, step))
    mask = Mask.of(batch.attention_mask)
    real = batch.attention_mask.bool()
    with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
        with torch.no_grad():
            states = supernet.teacher_states(batch.input_ids, mask)
        losses = []
        for index in range(supernet.space.n_blocks):
            path = sample_block(supernet.space, config.sampling, rng)
            out = supernet.forward_block(index, states[index], mask, path)
            losses.append(relative_error(out.float(), states[index + 1].float(), real))
    return losses


def steps_for(
    supernet: Supernet, config: TrainConfig, batches: TrainBatches, seconds: float
) -> int:
    """How many steps fit into a time; decided once and recorded, so runs can be repeated."""
    if seconds <= 0:
        return 0

    def one(step: int) -> None:
        losses = block_losses(supernet, config, batches.at(step), step)
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        supernet.zero_grad(set_to_none=True)

    return max(1, int(seconds / (1.25 * mean_step_s(one, seconds))))


def mean_step_s(one: Callable[[int], None], seconds: float) -> float:
    """How long a step of a training takes, on average.

    Args:
        one: Does a step without changing any weight.
        seconds: The budget that is to be turned into steps.
    """
    one(0)
    begin, step = time.perf_counter(), 0
    while step < PROBE_STEPS or time.perf_counter() - begin < PROBE_SHARE * seconds:
        step += 1
        one(step)
    return (time.perf_counter() - begin) / step


def recorded_steps(path: Path, decide: Callable[[], int]) -> int:
    """A number of steps, decided the first time and read from a file after that.

    Raises:
        CheckpointError: If the file is damaged, or cannot be written.
    """
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["steps"])
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Delete it and run again") from error
    steps = decide()
    try:
        write_atomically(path, json.dumps({"steps": steps}).encode())
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}. Free the disk, or use another cache: "
            "--cache DIR"
        ) from error
    return steps


def train(
    supernet: Supernet,
    batches: TrainBatches,
    config: TrainConfig,
    *,
    state_path: Path | None = None,
    text_sha256: str = "",
    save_every_s: float = 60.0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train a supernet in place; goes on from `state_path` if that run was interrupted.

    The state of a finished run stays as well, for whoever called to remove once the result is
    on disk: see `RunState`.

    Args:
        supernet: Initialised; its blocks are trained, its teacher is not touched.
        batches: The text.
        config: How.
        state_path: Where weights and optimizer are saved as the run goes.
        text_sha256: Of the corpus; a run does not go on with other text.
        save_every_s: Seconds between saves.
        progress: Called with (steps done, steps in all, message).

    Returns:
        The record of the run: configuration, text, losses along the way.

    Raises:
        TrainingDiverged: If a loss is not finite; the state saved last stays.
        CheckpointError: If the saved state belongs to another run, or cannot be written.
    """
    blocks = supernet.blocks
    parameters = list(blocks.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=True
    )
    identity = {"config": dataclasses.asdict(config), "text_sha256": text_sha256}
    with RunState(state_path, identity, blocks, optimizer, save_every_s).kept() as state:
        for step in range(state.step, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step)
            losses = block_losses(supernet, config, batches.at(step), step)
            values = [float(loss.detach()) for loss in losses]
            if not np.isfinite(values).all():
                raise TrainingDiverged(
                    f"the loss of a block is not finite at step {step}: {values}. "
                    f"Try a lower rate: nasc train --learning-rate {config.learning_rate / 4:g}"
                )
            torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
            for block in blocks:
                torch.nn.utils.clip_grad_norm_(block.parameters(), config.clip)
            with state.update({"step": step} | {f"block_{i}": v for i, v in enumerate(values)}):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if progress is not None:
                recent = np.mean(
                    [[h[f"block_{i}"] for i in range(len(values))] for h in state.history[-50:]]
                )
                progress(step + 1, config.steps, f"block loss {recent:.3f}")
            state.save_if_due()
    return identity | {"history": state.history}


class RunState:
    """Weights, optimizer, place and losses of a run: on disk as it goes and when it breaks off.

    Whoever holds the result removes the file, after the result is on disk: until then the
    state is all there is of the run.

    Attributes:
        step: Steps done.
        history: What was recorded of each.
    """

    def __init__(
        self,
        path: Path | None,
        identity: Mapping[str, Any],
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        save_every_s: float,
    ) -> None:
        """Go on from the file where there is one.

        Args:
            path: Of the file; None keeps nothing.
            identity: What makes a run the same run.
            module: Its parameters; restored in place.
            optimizer: Restored in place.
            save_every_s: Seconds between saves.

        Raises:
            CheckpointError: If the file is damaged or the state of another run.
        """
        self._path, self._identity = path, identity
        self._module, self._optimizer = module, optimizer
        self._save_every_s, self._saved_at = save_every_s, time.monotonic()
        self._whole = True
        self.step = 0
        self.history: list[Any] = []
        if path is not None and path.exists():
            self.step, self.history = restore_state(path, identity, module, optimizer)
        self._saved_step = self.step

    @contextmanager
    def kept(self) -> Iterator[RunState]:
        """Save before an interruption or error passes, unless the weights or the disk are bad.

        Raises:
            CheckpointError: If the state cannot be written.
        """
        try:
            yield self
        except (TrainingDiverged, CheckpointError):
            raise
        except BaseException:
            if self._whole and self.step > self._saved_step:
                self.save()
            raise

    @contextmanager
    def update(self, record: Any) -> Iterator[None]:
        """Around the change of the weights: done and recorded as a whole, or never saved."""
        with interrupts_held():
            self._whole = False
            yield
            self.history.append(record)
            self.step += 1
            self._whole = True

    def save_if_due(self) -> None:
        """Save if the last save was long ago.

        Raises:
            CheckpointError: If the state cannot be written.
        """
        if time.monotonic() - self._saved_at > self._save_every_s:
            self.save()

    def save(self) -> None:
        """Save now.

        Raises:
            CheckpointError: If the state cannot be written.
        """
        if self._path is not None:
            save_state(
                self._path, self._identity, self.step, self.history, self._module, self._optimizer
            )
        self._saved_step, self._saved_at = self.step, time.monotonic()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Ctrl-C inside takes effect at the end. Other threads never see one: nothing to hold."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    held: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)


def save_state(
    path: Path,
    identity: Mapping[str, Any],
    step: int,
    history: list[Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Save what a run needs to go on: weights, optimizer, place and losses so far."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in module.named_parameters():
        tensors[f"weight/{name}"] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    checkpoint.write(path, tensors, dict(identity) | {"step": step, "history": history})


def restore_state(
    path: Path,
    identity: Mapping[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
) -> tuple[int, list[Any]]:
    """Load what `save_state` saved into a module and its optimizer.

    Returns:
        The next step, and the losses so far.

    Raises:
        CheckpointError: If the file is damaged or the state of another run.
    """
    found = checkpoint.read(path)
    for key, value in identity.items():
        if found.header.get(key) != value:
            raise CheckpointError(
                f"{path} is the state of another run ({key} differs: {found.header.get(key)!r}, "
                f"now {value!r}). Repeat that run's command to go on, or delete the file"
            )
    try:
        for name, parameter in module.named_parameters():
            with torch.no_grad():
                parameter.copy_(found.tensors[f"weight/{name}"])
            state = {
                key: found.tensors[f"optimizer/{key}/{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimizer/{key}/{name}" in found.tensors
            }
            if state:
                optimizer.state[parameter] = state
        return int(found.header["step"]), list(found.header["history"])
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Delete it and run again") from error
