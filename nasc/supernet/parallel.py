"""How a training is shared among processes that torchrun started.

Two ways. ``data``: every process takes its part of each batch and trains all blocks; gradients of
the sampled path, and of nothing else, are summed. ``block``: every process takes whole batches and
trains blocks of its own, which need nothing of each other but the teacher's states (NAS-BERT,
Section 3.2.1): no gradient travels. Either way a step is that of one process, up to rounding.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from device_profiles.reading import shown
from nasc.data.tokens import Batch
from nasc.errors import UsageError
from nasc.utils.torch_device import training_device

if dist.is_available():
    # Whoever imports this when processes have met already (transformers does) gets their group as
    # a default argument, which keeps gloo's threads for good: `Parallel.leave` would end none.
    import torch.distributed.nn.functional

KINDS = ("data", "block")

TIMEOUT = datetime.timedelta(days=1)
"""How long one process waits for another, which may be scoring a supernet."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Parallel:
    """One of the processes of a training; by default the only one.

    Attributes:
        kind: Out of `KINDS`.
        rank: Which process.
        world: How many there are.
        device: Where it computes.
        silent: Does its part of a step and sends nothing: its sums are its own. To time a step
            while the others wait.
    """

    kind: str = "data"
    rank: int = 0
    world: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    silent: bool = False

    @classmethod
    def from_environment(cls, kind: str = "data") -> Parallel:
        """The process that torchrun says this is; meets the others.

        One process computes on the GPU of its local rank where there is one.

        Raises:
            UsageError: If the kind is unknown, or torchrun's variables are no numbers.
        """
        if kind not in KINDS:
            raise UsageError(f"unknown way to share a training {kind!r}; known: {', '.join(KINDS)}")
        device = training_device()
        if device.type == "cuda":
            device = torch.device("cuda", _variable("LOCAL_RANK", 0))
            torch.cuda.set_device(device)
        world = _variable("WORLD_SIZE", 1)
        if world < 2:
            return cls(kind, device=device)
        for name in ("RANK", "LOCAL_RANK", "MASTER_PORT"):
            _variable(name, 0)
        if not dist.is_initialized():
            # Gradients of a GPU go by nccl, plain objects and states on disk by gloo.
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, timeout=TIMEOUT)
        return cls(kind, dist.get_rank(), world, device)

    @property
    def is_first(self) -> bool:
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    def check(self, n_blocks: int, batch_size: int, accumulate: int, chained: bool = False) -> None:
        """Raise unless the work can be divided.

        Args:
            n_blocks: Of the supernet.
            batch_size: Of all processes.
            accumulate: Parts of each process.
            chained: Whether blocks ever read what the block before them gave.

        Raises:
            UsageError: Naming numbers of processes that do.
        """
        if self.kind == "block" and n_blocks % self.world:
            fits = [str(n) for n in range(1, n_blocks + 1) if n_blocks % n == 0]
            raise UsageError(
                f"{n_blocks} blocks cannot be divided among {self.world} processes: start "
                f"{' or '.join(fits)}, or take --parallel data"
            )
        if self.kind == "block" and self.world > 1 and chained:
            raise UsageError(
                "chained blocks wait for each other, so they cannot be divided among processes: "
                "take --parallel data or --chain 0"
            )
        parts = self._parts * accumulate
        if batch_size % parts:
            raise UsageError(
                f"a batch of {batch_size} sentences cannot be divided into {parts} parts "
                f"({self._parts} processes, {accumulate} parts each): change --batch-size"
            )

    @property
    def _parts(self) -> int:
        return self.world if self.kind == "data" else 1

    def owns(self, block: int) -> bool:
        """Whether this process trains a block."""
        return self.kind == "data" or block % self.world == self.rank

    def parts(self, batch: Batch, accumulate: int) -> Iterator[tuple[Batch, float]]:
        """This process's parts of a batch, each with its weight: 0 where there is too little.

        Rows are dealt out in turn, so that parts are alike in length.
        """
        count = self._parts * accumulate
        first = self.rank if self.kind == "data" else 0
        for part in range(first, count, self._parts):
            rows = slice(part, None, count) if part < len(batch.input_ids) else slice(0, 1)
            ids, mask = batch.input_ids[rows], batch.attention_mask[rows]
            length = int(mask.sum(1).max())
            weight = float(part < len(batch.input_ids))
            yield Batch(ids[:, :length], mask[:, :length]).to(self.device), weight

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one message."""
        if self.world == 1 or self.silent or not tensors:
            return
        flat = torch.cat([t.detach().reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.detach().copy_(part.view_as(tensor))

    def add_parts(self, tensors: Sequence[Tensor]) -> None:
        """`add` where batches are divided, which every process holds whole otherwise."""
        if self.kind == "data":
            self.add(tensors)

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum the gradients that there are: every process took the same path."""
        if self.kind == "data":
            self.add([p.grad for p in parameters if p.grad is not None])

    def agree(self, value: T) -> T:
        """The first process's value, on every process."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]  # type: ignore[no-any-return]

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> list[R]:
        """Results of tasks, each worked out by one process, on every process.

        Task i falls to process i modulo their number: to the owner of block i.
        """
        own = {i: function(t) for i, t in enumerate(tasks) if i % self.world == self.rank}
        if self.world > 1:
            boxes: list[Any] = [None] * self.world
            dist.all_gather_object(boxes, own)
            own = {i: result for box in boxes for i, result in box.items()}
        return [own[i] for i in range(len(tasks))]

    def collect(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What every process holds under names of its own, on the first; nothing on the others."""
        if self.world == 1 or self.kind == "data":
            return dict(tensors) if self.is_first else {}
        boxes: list[Any] | None = [None] * self.world if self.is_first else None
        dist.gather_object({n: t.detach().cpu() for n, t in tensors.items()}, boxes)
        return {name: value for box in boxes or () for name, value in box.items()}

    def in_turn(self, work: Callable[[], R]) -> R:
        """The first process works while the others wait; then they do, and find what it kept."""
        if self.is_first:
            found = work()
            self.wait()
            return found
        self.wait()
        return work()

    def leave(self) -> None:
        """End of the work with others: no process may end well without having left.

        gloo's threads else outlive the interpreter, which may abort then (pytorch issue
        190489), and torchrun stops the others. Not after an error: the others may never come.
        """
        if self.world > 1:
            dist.destroy_process_group()

    def wait(self) -> None:
        """Until all processes are here."""
        self.agree(0)


def _variable(name: str, default: int) -> int:
    """A number that torchrun gives its processes."""
    text = os.environ.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise UsageError(
            f"the environment variable {name} is {shown(text)}, not a whole number as torchrun "
            f"sets it. For one process unset it: unset {name}"
        )
    return int(text)


ALONE = Parallel()
"""The only process of a training, on the CPU."""
