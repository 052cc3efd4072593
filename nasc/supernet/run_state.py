"""The state of a training run on disk: a run that was stopped goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nasc.errors import CheckpointError, TrainingDiverged
from nasc.supernet import checkpoint
from nasc.supernet.parallel import ALONE, Parallel
from nasc.utils.interrupts import interrupts_held


class Savable(Protocol):
    """Something beside weights and optimizer that changes as a run goes."""

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """Its arrays."""
        ...

    def to_header(self) -> dict[str, Any]:
        """Its plain data."""
        ...

    def restore(self, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
        """Go on where these were taken; ValueError or KeyError if they do not fit."""
        ...


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
        also: Savable | None = None,
        parallel: Parallel = ALONE,
    ) -> None:
        """Go on from the file where there is one.

        Args:
            path: Of the file; None keeps nothing.
            identity: What makes a run the same run.
            module: Its parameters; restored in place.
            optimizer: Restored in place.
            save_every_s: Seconds between saves.
            also: Saved and restored with them.
            parallel: Which of the processes this is; the first writes.

        Raises:
            CheckpointError: If the file is damaged or the state of another run.
        """
        self._also, self._parallel = also, parallel
        self._path, self._identity = path, identity
        self._module, self._optimizer = module, optimizer
        self._save_every_s, self._saved_at = save_every_s, time.monotonic()
        self._whole = True
        self.step = 0
        self.history: list[Any] = []
        if path is not None and path.exists():
            self.step, self.history = restore_state(path, identity, module, optimizer, also)
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
            # Others may be gone or elsewhere: what takes all processes is not tried any more.
            if self._whole and self.step > self._saved_step and self._parallel.world == 1:
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
        due = self._path is not None and time.monotonic() - self._saved_at > self._save_every_s
        if self._parallel.agree(due):
            self.save()

    def save(self) -> None:
        """Save now, together with all processes.

        Raises:
            CheckpointError: If the state cannot be written.
        """
        if self._path is not None:
            tensors = self._parallel.collect(self._tensors())
            header = dict(self._identity) | {"step": self.step, "history": self.history}
            if self._also is not None:
                also = self._also.to_tensors()
                tensors |= {f"also/{n}": torch.from_numpy(v) for n, v in also.items()}
                header["also"] = self._also.to_header()
            if self._parallel.is_first:
                checkpoint.write(self._path, tensors, header)
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def assemble(self) -> None:
        """Bring the weights of all processes together in the first one's module."""
        own = self._parallel.collect(
            {n: v for n, v in self._tensors().items() if n.startswith("weight/")}
        )
        with torch.no_grad():
            for name, parameter in self._module.named_parameters():
                if f"weight/{name}" in own:
                    parameter.copy_(own[f"weight/{name}"])

    def _tensors(self) -> dict[str, Tensor]:
        """Weights and optimizer of what this process trains."""
        trained = {id(p) for group in self._optimizer.param_groups for p in group["params"]}
        found: dict[str, Tensor] = {}
        for name, parameter in self._module.named_parameters():
            if id(parameter) not in trained and self._parallel.world > 1:
                continue
            found[f"weight/{name}"] = parameter
            for key, value in self._optimizer.state.get(parameter, {}).items():
                found[f"optimizer/{key}/{name}"] = value
        return found


def restore_state(
    path: Path,
    identity: Mapping[str, Any],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    also: Savable | None = None,
) -> tuple[int, list[Any]]:
    """Load what `RunState.save` saved into a module and its optimizer.

    Args:
        path: The file.
        identity: Plain data by which the run is known.
        module: Gains the weights.
        optimizer: Gains its state.
        also: Gains what it gave; None where there is nothing beside.

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
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    try:
        for name, parameter in module.named_parameters():
            with torch.no_grad():
                parameter.copy_(found.tensors[f"weight/{name}"])
            state = {
                key: found.tensors[f"optimizer/{key}/{name}"]
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"optimizer/{key}/{name}" in found.tensors
            }
            if state and id(parameter) in trained:
                moments = {k: v.to(parameter.device) for k, v in state.items() if k != "step"}
                optimizer.state[parameter] = state | moments
        if also is not None:
            arrays = {
                name.removeprefix("also/"): value.numpy()
                for name, value in found.tensors.items()
                if name.startswith("also/")
            }
            also.restore(arrays, found.header["also"])
        return int(found.header["step"]), list(found.header["history"])
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Delete it and run again") from error
