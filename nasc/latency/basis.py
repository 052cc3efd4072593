"""The unknowns of a latency table: which layers have a cost of their own.

The latency of a network is taken to be the sum of the costs of its layers
(`nasc.architecture.layers.layers`). Measured are only whole networks, so a cost is an unknown of a
linear system, one column each. Not every split of a network's latency over its layers can be told
from totals:

* Every network has one embedding and one head. What all heads share, and the fixed
  overhead of a run, stand in the embedding's entry; the head at the teacher's hidden size,
  which maps nothing, is 0 by that convention.
* Every network that enters a hidden size also leaves it, so the border into a size and the
  way out of it are known only as a sum. The head ``h -> T`` applies a matrix of the same
  shape as the border ``T -> h``: its cost is set to that border's, in the ratio of their
  multiply-accumulates.

Both are choices of bookkeeping: they change no prediction of a complete network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nasc.architecture.heads import check_head
from nasc.architecture.layers import Layer, border, layer_macs, layers
from nasc.architecture.space import Architecture, Geometry, SearchSpace
from nasc.errors import LookupMiss, UsageError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_NOMINAL_MACS_PER_MS = 4e7
_NOMINAL_VALUES_PER_MS = 2e6
_NOMINAL_LAYER_MS = 0.02
"""One fast x86 core in fp32 (2026: 94 to 100 GFLOP/s in matrix products), element-wise work
and fixed costs of a layer, roughly. They scale the columns and weigh what to measure, and
never enter a result."""


def space_layers(space: SearchSpace, head: str = "embed") -> tuple[Layer, ...]:
    """Every layer that a network of the space can consist of, and the teacher's own.

    The teacher's operations at its own hidden size are always among them, so that a table
    tells what the teacher itself takes, also where no block may stay the teacher's.
    """
    check_head(head)
    teacher = space.geometry.hidden
    sizes = sorted({*space.hidden_sizes, *((teacher,) if space.keep or space.skip else ())})
    found = {Layer("embedding", teacher, teacher): None}
    for hidden in space.hidden_sizes:
        for operation in space.operations:
            found[Layer(operation, hidden, hidden)] = None
    for operation in ("mha", "ffn"):
        found[Layer(operation, teacher, teacher)] = None
    pairs = [(teacher, hidden) for hidden in sizes]
    if space.n_blocks > 1:
        pairs += [(a, b) for a in sizes for b in sizes]
    for hidden_in, hidden_out in pairs:
        between = border(hidden_in, hidden_out, teacher)
        if between is not None:
            found[between] = None
    for hidden in sorted({*sizes, teacher}):
        found[Layer(f"head_{head}", hidden, teacher)] = None
    return tuple(found)


def exit_tied_to(head: Layer, geometry: Geometry, seq_len: int) -> tuple[Layer, float]:
    """What the cost of a head that maps out of a hidden size is tied to, and the ratio of both.

    Args:
        head: At another hidden size than the teacher's.
        geometry: Of the teacher.
        seq_len: Tokens in a sentence.
    """
    entrance = Layer("border", geometry.hidden, head.hidden_in)
    ratio = layer_macs(head, geometry, seq_len) / layer_macs(entrance, geometry, seq_len)
    return entrance, ratio


def nominal_ms(layer: Layer, geometry: Geometry, seq_len: int, batch: int = 1) -> float:
    """A rough cost of a layer in ms, for scaling and for planning only.

    Args:
        layer: What is priced.
        geometry: Of the teacher.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
    """
    macs = layer_macs(layer, geometry, seq_len) * batch
    values = elementwise_values(layer, geometry, seq_len, batch)
    return macs / _NOMINAL_MACS_PER_MS + values / _NOMINAL_VALUES_PER_MS + _NOMINAL_LAYER_MS


def elementwise_values(layer: Layer, geometry: Geometry, seq_len: int, batch: int = 1) -> int:
    """Values that a layer works on one by one, beside its matrix products; roughly.

    Args:
        layer: What is counted.
        geometry: Of the teacher.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
    """
    tokens = seq_len * batch
    values = tokens * (layer.hidden_in + layer.hidden_out)
    if layer.kind == "mha":
        heads = layer.hidden_in // geometry.head_size
        values += 2 * tokens * layer.hidden_in + batch * heads * seq_len * seq_len
    elif layer.kind == "ffn":
        values += (1 + geometry.gated) * tokens * geometry.inner(layer.hidden_in)
    elif layer.kind.startswith("sep"):
        values += 4 * tokens * layer.hidden_in
    return values


@dataclass(frozen=True, slots=True)
class Basis:
    """The columns of the linear system of one table.

    Attributes:
        space: Whose networks are priced.
        seq_len: Tokens.
        batch: Sentences in a run.
        head: ``embed`` or ``hidden``.
        unknowns: Layers with a cost of their own, one column each.
        tied: For every other layer the column it is tied to and the ratio of the two costs.
    """

    space: SearchSpace
    seq_len: int
    batch: int = 1
    head: str = "embed"
    unknowns: tuple[Layer, ...] = field(init=False)
    tied: dict[Layer, tuple[int, float]] = field(init=False)
    _column: dict[Layer, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.seq_len < 1 or self.batch < 1:
            raise UsageError(
                f"length and batch must be >= 1, got length {self.seq_len}, batch {self.batch}"
            )
        geometry = self.space.geometry
        if self.seq_len > geometry.max_positions:
            raise UsageError(
                f"length {self.seq_len} is over the {geometry.max_positions} tokens that the "
                f"teacher of space {self.space.name!r} can read"
            )
        every = space_layers(self.space, self.head)
        unknowns = tuple(layer for layer in every if not layer.head)
        column = {layer: i for i, layer in enumerate(unknowns)}
        tied: dict[Layer, tuple[int, float]] = {}
        for layer in every:
            if layer in column:
                continue
            if layer.hidden_in == layer.hidden_out:
                tied[layer] = (column[Layer("embedding", layer.hidden_in, layer.hidden_in)], 0.0)
                continue
            entrance, ratio = exit_tied_to(layer, geometry, self.seq_len)
            tied[layer] = (column[entrance], ratio)
        object.__setattr__(self, "unknowns", unknowns)
        object.__setattr__(self, "tied", tied)
        object.__setattr__(self, "_column", column)

    def weight(self, layer: Layer) -> tuple[int, float]:
        """Column of a layer and how often one such layer counts in it.

        Raises:
            LookupMiss: If no network of the space has such a layer.
        """
        if layer in self._column:
            return self._column[layer], 1.0
        if layer in self.tied:
            return self.tied[layer]
        raise LookupMiss(
            f"layer {layer} is not part of the networks that space {self.space.name!r} "
            f"describes with head {self.head!r}"
        )

    def row(self, architecture: Architecture) -> Vector:
        """How often each unknown occurs in a network, (unknowns,).

        Raises:
            LookupMiss: If the network has a layer outside of the space.
        """
        row = np.zeros(len(self.unknowns))
        for layer in layers(architecture, self.space.geometry, self.head):
            column, count = self.weight(layer)
            row[column] += count
        return row

    def matrix(self, architectures: Iterable[Architecture]) -> Matrix:
        """The rows of several networks, (networks, unknowns)."""
        rows = [self.row(architecture) for architecture in architectures]
        return np.array(rows).reshape(len(rows), len(self.unknowns))

    def nominal(self) -> Vector:
        """A rough cost of every unknown in ms, for scaling only, (unknowns,)."""
        geometry = self.space.geometry
        return np.array([nominal_ms(u, geometry, self.seq_len, self.batch) for u in self.unknowns])

    def expand(self, costs: Vector, errors: Vector) -> list[tuple[Layer, float, float]]:
        """Cost and standard error in ms of every layer, the tied ones included."""
        found = [
            (layer, float(costs[i]), float(errors[i])) for i, layer in enumerate(self.unknowns)
        ]
        for layer, (column, ratio) in self.tied.items():
            found.append((layer, float(ratio * costs[column]), float(ratio * errors[column])))
        return found


def scaled_design(basis: Basis, rows: Matrix) -> Matrix:
    """Rows in relative units: what a relative error of each cost does to each total.

    Row i, column j is the share of unknown j in the nominal latency of network i. Its
    conditioning is that of a fit on relative error.
    """
    nominal = basis.nominal()
    totals = rows @ nominal
    shares: Matrix = rows * nominal / totals[:, None]
    return shares


def check_identified(basis: Basis, architectures: Sequence[Architecture]) -> None:
    """Raise unless measuring these networks determines every unknown.

    Raises:
        UsageError: Naming the layers whose cost would be left open.
    """
    shares = scaled_design(basis, basis.matrix(architectures))
    _, singular, axes = np.linalg.svd(shares, full_matrices=True)
    floor = singular[0] * 1e-6
    rank = int((singular > floor).sum())
    if rank == len(basis.unknowns):
        return
    loose = np.abs(axes[rank:]).max(axis=0) > 1e-3
    names = ", ".join(str(u) for u, is_loose in zip(basis.unknowns, loose, strict=True) if is_loose)
    raise UsageError(
        f"{len(architectures)} networks do not determine the cost of: {names}. "
        "Measure more networks of the space."
    )
