"""The supernet: every candidate operation of every layer, and the maps at block borders.

Weights are kept per block, slot (place in the block), hidden size and operation: any
architecture of the space is a path through them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from nasc.architecture.layers import Layer
from nasc.architecture.space import Architecture, Block, SearchSpace
from nasc.errors import UsageError
from nasc.networks.from_teacher import (
    as_arrays,
    attention,
    embedding,
    feed_forward,
    final_norm,
    head_tensors,
)
from nasc.networks.network import SETTLED, Network, tensor_shapes
from nasc.networks.torch_network import Mask, apply_layer, embed, normalize_output
from nasc.teacher import Teacher


def operation_key(slot: int, hidden: int, operation: str) -> str:
    """Name of an operation's weights within a block."""
    return f"{slot}/{hidden}/{operation}"


class SupernetBlock(nn.Module):
    """The candidates of one block.

    Attributes:
        maps_in: Teacher's hidden size to each smaller or larger size.
        maps_out: Back again.
        operations: By `operation_key`.
        from_end: A block shorter than the slots uses the last of them, not the first: its
            candidates then start from the teacher's later layers.
    """

    def __init__(self, space: SearchSpace, eps: float) -> None:
        """Allocate all candidates; the values are set by `nasc.supernet.initialize`."""
        super().__init__()
        self.space, self.eps = space, eps
        self.from_end = False
        teacher = space.geometry.hidden
        mapped = [h for h in space.hidden_sizes if h != teacher]
        self.maps_in = nn.ModuleDict({str(h): self._tensors("border", teacher, h) for h in mapped})
        self.maps_out = nn.ModuleDict({str(h): self._tensors("border", h, teacher) for h in mapped})
        self.operations = nn.ModuleDict(
            {
                operation_key(slot, h, o): self._tensors(o, h, h)
                for slot in range(space.slots)
                for h in space.hidden_sizes
                for o in space.operations
            }
        )

    def _tensors(self, kind: str, hidden_in: int, hidden_out: int) -> nn.ParameterDict:
        shapes = tensor_shapes(Layer(kind, hidden_in, hidden_out), self.space.geometry)
        return nn.ParameterDict(
            {n: nn.Parameter(torch.zeros(s), n not in SETTLED) for n, s in shapes.items()}
        )

    def first_slot(self, length: int) -> int:
        """Slot of the first operation of a block with `length` operations."""
        return self.space.slots - length if self.from_end else 0

    def enter(self, x: Tensor, hidden: int) -> Tensor:
        """From the teacher's hidden size to the block's.

        Args:
            x: (batch, seq_len, teacher's hidden size).
            hidden: The block's.

        Returns:
            (batch, seq_len, hidden).
        """
        return self._map(self.maps_in, x, hidden)

    def leave(self, x: Tensor, hidden: int) -> Tensor:
        """From the block's hidden size to the teacher's.

        Args:
            x: (batch, seq_len, hidden).
            hidden: The block's.

        Returns:
            (batch, seq_len, teacher's hidden size).
        """
        return self._map(self.maps_out, x, hidden)

    @staticmethod
    def _map(maps: nn.ModuleDict, x: Tensor, hidden: int) -> Tensor:
        if str(hidden) not in maps:
            return x
        tensors = maps[str(hidden)]
        return nn.functional.linear(x, tensors["weight"], tensors["bias"])  # type: ignore[index]

    def operate(self, slot: int, hidden: int, operation: str, x: Tensor, mask: Mask) -> Tensor:
        """One operation: (batch, seq_len, hidden) to the same shape.

        Args:
            slot: Its place in the block.
            hidden: The block's hidden size.
            operation: Out of `nasc.architecture.space.OPERATIONS`.
            x: (batch, seq_len, hidden).
            mask: Of the batch.
        """
        tensors = self.operations[operation_key(slot, hidden, operation)]
        layer = Layer(operation, hidden, hidden)
        return apply_layer(layer, tensors, x, mask, self.space.geometry, self.eps)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Mask, block: Block) -> Tensor:
        """Teacher's hidden states in, the block's prediction of them out.

        Args:
            x: (batch, seq_len, teacher's hidden size).
            mask: Of the batch.
            block: Which operations are taken.

        Returns:
            Of the shape of x.
        """
        x = self.enter(x, block.hidden)
        for slot, operation in enumerate(block.operations, self.first_slot(len(block.operations))):
            x = self.operate(slot, block.hidden, operation, x, mask)
        return self.leave(x, block.hidden)


class Supernet(nn.Module):
    """All blocks, beside the frozen teacher whose layers the kept blocks are."""

    def __init__(self, space: SearchSpace, teacher: Teacher) -> None:
        """Allocate the candidates of `space`.

        Raises:
            UsageError: If the space was made for a teacher of another geometry.
        """
        super().__init__()
        geometry = teacher.geometry.for_space()
        if space.geometry != geometry:
            raise UsageError(
                f"search space {space.name!r} is for a teacher with {space.geometry}, "
                f"{teacher.name!r} has {geometry}"
            )
        self.space = space
        self.teacher = teacher
        self.eps = teacher.geometry.layer_norm_eps
        self.blocks = nn.ModuleList(SupernetBlock(space, self.eps) for _ in range(space.n_blocks))

    def place(self, device: torch.device) -> None:
        """Move blocks and teacher to a device."""
        self.blocks.to(device)
        self.teacher = self.teacher.to(device)

    def embed(self, input_ids: Tensor) -> Tensor:
        """The teacher's embedding output (batch, seq_len, hidden)."""
        separator = self.space.geometry.separator
        return embed(embedding(self.teacher), input_ids, self.eps, separator)

    def finish(self, x: Tensor) -> Tensor:
        """States behind the last block as the teacher gives them: normalised where that does so.

        Args:
            x: (batch, seq_len, teacher's hidden size).

        Returns:
            Of the shape of x.
        """
        return normalize_output(final_norm(self.teacher), x, self.eps)

    def teacher_states(
        self, input_ids: Tensor, mask: Mask, blocks: int | None = None
    ) -> list[Tensor]:
        """The teacher's hidden states at block borders, embedding first.

        Args:
            input_ids: (batch, seq_len).
            mask: Of them.
            blocks: How many blocks to go through; None is all of them.

        Returns:
            blocks + 1 tensors (batch, seq_len, hidden).
        """
        states = [self.embed(input_ids)]
        kept = self.space.kept_block
        for index in range(self.space.n_blocks if blocks is None else blocks):
            states.append(self.forward_block(index, states[-1], mask, kept))
        return states

    def forward_block(self, index: int, x: Tensor, mask: Mask, block: Block) -> Tensor:
        """Output of one block.

        Args:
            index: Of the block.
            x: (batch, seq_len, teacher's hidden size).
            mask: Of the batch.
            block: Which of its candidates runs.

        Returns:
            Of the shape of x.
        """
        if not block.kept:
            return self.blocks[index](x, mask, block)  # type: ignore[no-any-return]
        for layer, tensors in zip(
            ("mha", "ffn") * self.space.layers_per_block, self._kept(index), strict=True
        ):
            hidden = self.space.geometry.hidden
            x = apply_layer(
                Layer(layer, hidden, hidden), tensors, x, mask, self.space.geometry, self.eps
            )
        return x

    def forward(self, x: Tensor, mask: Mask, blocks: Sequence[Block]) -> Tensor:
        """The chain of blocks on an embedding output (batch, seq_len, hidden)."""
        for index, block in enumerate(blocks):
            x = self.forward_block(index, x, mask, block)
        return x

    def _kept(self, index: int) -> list[dict[str, Tensor]]:
        n = self.space.layers_per_block
        return [
            tensors
            for layer in self.teacher.layers[index * n : (index + 1) * n]
            for tensors in (attention(layer), feed_forward(layer))
        ]

    def used_modules(self, left: Sequence[Iterable[Block]]) -> set[str]:
        """Names, as in `blocks`, of all operations and maps that some blocks use.

        Args:
            left: The blocks by position.
        """
        used = set()
        for index, blocks in enumerate(left):
            own: SupernetBlock = self.blocks[index]  # type: ignore[assignment]
            for block in blocks:
                if block.kept or not block.operations:
                    continue
                first = own.first_slot(len(block.operations))
                for slot, operation in enumerate(block.operations, first):
                    key = operation_key(slot, block.hidden, operation)
                    used.add(f"{index}.operations.{key}")
                if block.hidden != self.space.geometry.hidden:
                    used |= {f"{index}.{maps}.{block.hidden}" for maps in ("maps_in", "maps_out")}
        return used

    def drop_unused(self, left: Sequence[Iterable[Block]]) -> None:
        """Forget the operations and maps that no block of those left (by position) uses."""
        used = self.used_modules(left)
        for index, block in enumerate(self.blocks):
            for kind in ("maps_in", "maps_out", "operations"):
                modules: nn.ModuleDict = getattr(block, kind)
                for key in list(modules):
                    if f"{index}.{kind}.{key}" not in used:
                        del modules[key]

    def extract(self, architecture: Architecture, head: str | None = None) -> Network:
        """Cut a subnet out: its own weights, with the maps of neighbouring blocks merged.

        The two linear layers at a border, ``x -> A x + a`` and ``y -> B y + b``, become
        one: ``x -> (B A) x + (B a + b)``, equal up to rounding.

        Args:
            architecture: Out of the space.
            head: None is the teacher's own, which gives its vectors.

        Raises:
            UsageError: If the architecture is not of the space, or a compact supernet left out its
                weights.
        """
        self.space.check(architecture.with_precision(self.space.precisions[0]))
        present = {name for name, _ in self.blocks.named_modules()}
        if not self.used_modules([[block] for block in architecture.blocks]) <= present:
            raise UsageError(
                f"the supernet holds no weights for '{architecture}': shrinking left other blocks. "
                "nasc report FILE shows which; --train-minutes 3 trains a supernet with all of them"
            )
        tensors: list[dict[str, Tensor]] = [embedding(self.teacher)]
        pending: dict[str, Tensor] | None = None
        for index, block in enumerate(architecture.blocks):
            own: SupernetBlock = self.blocks[index]  # type: ignore[assignment]
            size = str(block.hidden)
            entry = None if block.kept or size not in own.maps_in else dict(own.maps_in[size])  # type: ignore[call-overload]
            merged = merge(pending, entry)
            if merged is not None:
                tensors.append(merged)
            if block.kept:
                tensors.extend(self._kept(index))
                pending = None
                continue
            tensors.extend(
                dict(own.operations[operation_key(slot, block.hidden, o)])  # type: ignore[call-overload]
                for slot, o in enumerate(block.operations, own.first_slot(len(block.operations)))
            )
            pending = dict(own.maps_out[size]) if size in own.maps_out else None  # type: ignore[call-overload]
        head = head or self.teacher.head()
        tensors.append((pending or {}) | head_tensors(self.teacher, head))
        return Network(architecture, self.space.geometry, head, as_arrays(tensors), self.eps)


def merge(
    first: dict[str, Tensor] | None, second: dict[str, Tensor] | None
) -> dict[str, Tensor] | None:
    """One linear layer that does what two in a row do; None stands for no layer.

    Args:
        first: ``weight`` (between, inputs) and ``bias`` (between,).
        second: ``weight`` (outputs, between) and ``bias`` (outputs,).

    Returns:
        ``weight`` (outputs, inputs) and ``bias`` (outputs,); None where there are neither.
    """
    if first is None or second is None:
        return first or second
    weight = second["weight"].double() @ first["weight"].double()
    bias = second["weight"].double() @ first["bias"].double() + second["bias"].double()
    return {"weight": weight.float(), "bias": bias.float()}
