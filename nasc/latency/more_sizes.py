"""Costs of a hidden size that a latency table lacks, from three networks that are measured.

A table holds the hidden sizes of its search space. A network of another size all through (one
block: a map into its size, its operations, a map out of it) has three costs that are not there: of
the maps, of attention and of the feed-forward layer. All of the teacher's layers, one of them, and
as many attentions alone determine them, beside the embedding's cost, which is in the table.
Whatever the split, the whole network is predicted to take what it was measured to take.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from nasc.architecture.layers import Layer
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.latency.basis import exit_tied_to
from nasc.latency.cache_misses import network_streamed_params
from nasc.latency.predict import Observation
from nasc.latency.table import ENTRY_COLUMNS, LatencyTable

OPERATIONS = ("mha", "ffn")
"""Of such a network: those of a teacher's layer."""

LEAST_LAYERS = 2
"""Of the longer network that is measured: one layer more or less is told from the maps."""


@dataclass(frozen=True, slots=True)
class SizeNetworks:
    """The networks that a hidden size is measured by.

    Attributes:
        whole: All of the teacher's layers, two at least.
        one: One layer.
        attention: As many attentions as `whole` has layers.
    """

    whole: Architecture
    one: Architecture
    attention: Architecture

    @classmethod
    def of(cls, geometry: Geometry, hidden: int, precision: str) -> SizeNetworks:
        """Those of a hidden size.

        Args:
            geometry: Of the teacher.
            hidden: Whole heads.
            precision: Of the networks.
        """
        count = max(LEAST_LAYERS, geometry.layers)
        operations = (OPERATIONS * count, OPERATIONS, OPERATIONS[:1] * count)
        return cls(*(Architecture((Block(hidden, own),), precision) for own in operations))

    @property
    def all(self) -> tuple[Architecture, ...]:
        """All three."""
        return (self.whole, self.one, self.attention)


def with_size(
    table: LatencyTable, hidden: int, measured: Mapping[Architecture, Observation]
) -> LatencyTable:
    """A table with the costs of one hidden size more. For a search alone: it is never saved.

    Args:
        table: In milliseconds of the scale of what was measured.
        hidden: Which it lacks.
        measured: `SizeNetworks` of that size in its setting.
    """
    key, geometry = table.key, table.key.geometry
    networks = SizeNetworks.of(geometry, hidden, key.precision)
    count = len(networks.attention.blocks[0].operations)
    base_ms = table.cost_ms(Layer("embedding", geometry.hidden, geometry.hidden))

    def beside_ms(network: Architecture) -> float:
        """What a network takes beside its embedding, and what its weights cost by themselves."""
        streamed = network_streamed_params(network, geometry, key.head)
        return measured[network].latency_ms - base_ms - table.streaming.extra_ms(streamed)

    def error_ms(network: Architecture) -> float:
        return measured[network].latency_ms * measured[network].deviation

    whole_ms = max(0.0, beside_ms(networks.whole))
    one_ms = (whole_ms - beside_ms(networks.one)) / (count - 1)
    maps_ms = min(max(0.0, beside_ms(networks.one) - max(0.0, one_ms)), whole_ms)
    one_ms = (whole_ms - maps_ms) / count
    attention_ms = min(max(0.0, (beside_ms(networks.attention) - maps_ms) / count), one_ms)
    maps_error = math.hypot(
        error_ms(networks.one) * count / (count - 1), error_ms(networks.whole) / (count - 1)
    )
    attention_error = math.hypot(error_ms(networks.attention), maps_error) / count
    other_error = math.hypot(error_ms(networks.whole), maps_error) / count
    costs = {
        "mha": (attention_ms, attention_error),
        "ffn": (one_ms - attention_ms, math.hypot(attention_error, other_error)),
    }
    rows = [(kind, hidden, hidden, *cost) for kind, cost in costs.items()]
    out = Layer(f"head_{key.head}", hidden, geometry.hidden)
    entrance, ratio = exit_tied_to(out, geometry, key.seq_len)
    for layer, share in ((entrance, 1 / (1 + ratio)), (out, ratio / (1 + ratio))):
        cost = (share * maps_ms, share * maps_error)
        rows.append((layer.kind, layer.hidden_in, layer.hidden_out, *cost))
    return _with_rows(table, rows)


def with_guessed_sizes(table: LatencyTable, sizes: Sequence[int]) -> LatencyTable:
    """A table with guessed costs of hidden sizes that it lacks, to choose which to measure.

    They lie on straight lines between the sizes that it has; beyond those they are the last one's.

    Args:
        table: With attention, feed-forward layers and maps at some sizes.
        sizes: That are wanted.
    """
    teacher, head = table.key.geometry.hidden, f"head_{table.key.head}"
    entries = table.entries
    rows: list[tuple[object, ...]] = []
    for kind, within in (("mha", True), ("ffn", True), ("border", False), (head, False)):
        own = entries[entries["kind"] == kind]
        column = "hidden_out" if kind == "border" else "hidden_in"
        other = own["hidden_in" if kind == "border" else "hidden_out"]
        own = own[own["hidden_in"] == own["hidden_out"]] if within else own[other == teacher]
        own = own.sort_values(column)
        missing = [hidden for hidden in sizes if hidden not in set(own[column])]
        for hidden in missing:
            cost, error = (
                float(np.interp(hidden, own[column], own[name]))
                for name in ("cost_ms", "std_error_ms")
            )
            ends = (hidden, hidden) if within else (hidden, teacher)
            rows.append((kind, *(ends[::-1] if kind == "border" else ends), cost, error))
    return _with_rows(table, rows)


def _with_rows(table: LatencyTable, rows: Sequence[tuple[object, ...]]) -> LatencyTable:
    more = pd.DataFrame(rows, columns=ENTRY_COLUMNS)
    entries = pd.concat([table.entries, more], ignore_index=True) if rows else table.entries
    return dataclasses.replace(table, entries=entries)
