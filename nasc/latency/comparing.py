"""Two tables beside each other: the ratio of each cost, and what only one of them has."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasc.architecture.layers import Layer
from nasc.architecture.space import Geometry
from nasc.latency.table import LatencyTable


@dataclass(frozen=True, slots=True)
class EntryRatio:
    """A cost in two tables.

    Attributes:
        layer: Whose.
        a_ms: In the first, in milliseconds.
        b_ms: In the second.
        ratio: Second over first; None where the first is 0.
    """

    layer: Layer
    a_ms: float
    b_ms: float
    ratio: float | None


@dataclass(frozen=True, slots=True)
class TableDiff:
    """How two tables differ.

    Attributes:
        a: Name of the first.
        b: Name of the second.
        keys: By field of their keys in which they differ, both values.
        entries: Costs that both have, in the order of the first.
        only_a: Layers that only the first has a cost of.
        only_b: Layers that only the second has a cost of.
        note_a: What is to be said of the first (`LatencyTable.note`); None if nothing is.
        note_b: As well of the second.
    """

    a: str
    b: str
    keys: dict[str, tuple[Any, Any]]
    entries: tuple[EntryRatio, ...]
    only_a: tuple[Layer, ...]
    only_b: tuple[Layer, ...]
    note_a: str | None = None
    note_b: str | None = None

    @property
    def ratios(self) -> list[float]:
        """The ratios that there are: of costs above 0 in both."""
        return [e.ratio for e in self.entries if e.ratio is not None and e.ratio > 0]

    @property
    def largest(self) -> EntryRatio | None:
        """The cost that is furthest apart, by its factor; None without any ratio."""
        known = [e for e in self.entries if e.ratio]
        return max(known, key=lambda e: abs(math.log(e.ratio or 1.0)), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it; costs in milliseconds."""
        largest = self.largest
        return {
            "a": self.a,
            "b": self.b,
            "notes": {"a": self.note_a, "b": self.note_b},
            "keys": {name: {"a": a, "b": b} for name, (a, b) in self.keys.items()},
            "common": len(self.entries),
            "ratio": None
            if largest is None
            else {
                "median": float(np.median(self.ratios)),
                "p10": float(np.quantile(self.ratios, 0.1)),
                "p90": float(np.quantile(self.ratios, 0.9)),
                "largest": {"layer": str(largest.layer), "ratio": largest.ratio},
            },
            "entries": [
                {"layer": str(e.layer), "a_ms": e.a_ms, "b_ms": e.b_ms, "ratio": e.ratio}
                for e in self.entries
            ],
            "only_a": [str(layer) for layer in self.only_a],
            "only_b": [str(layer) for layer in self.only_b],
        }

    def rows(self) -> list[tuple[str, str]]:
        """The result for people: names and values."""
        d = self.to_dict()
        rows = [("a", self.a), ("b", self.b)]
        notes = (("note on a", self.note_a), ("note on b", self.note_b))
        rows += [(name, note) for name, note in notes if note is not None]
        rows += [(f"{name}", f"a {a}, b {b}") for name, (a, b) in self.keys.items()]
        rows.append(("costs in both", str(d["common"])))
        if d["ratio"] is not None:
            r = d["ratio"]
            rows += [
                ("b / a", f"median {r['median']:.3f}, p10 {r['p10']:.3f}, p90 {r['p90']:.3f}"),
                ("largest", f"{r['largest']['layer']}: {r['largest']['ratio']:.3f}"),
            ]
        rows += [(f"only in {x}", ", ".join(d[f"only_{x}"])) for x in "ab" if d[f"only_{x}"]]
        return rows


def compare(a: LatencyTable, b: LatencyTable, names: tuple[str, str] = ("a", "b")) -> TableDiff:
    """How two tables differ, each under the key of where it was measured."""
    costs_a, costs_b = costs_of(a), costs_of(b)
    both = [layer for layer in costs_a if layer in costs_b]
    entries = tuple(
        EntryRatio(
            layer,
            costs_a[layer],
            costs_b[layer],
            costs_b[layer] / costs_a[layer] if costs_a[layer] else None,
        )
        for layer in both
    )
    key_a, key_b = a.as_measured().key, b.as_measured().key
    keys = {
        field.name: (_plain(getattr(key_a, field.name)), _plain(getattr(key_b, field.name)))
        for field in dataclasses.fields(key_a)
        if getattr(key_a, field.name) != getattr(key_b, field.name)
    }
    return TableDiff(
        *names,
        keys,
        entries,
        tuple(layer for layer in costs_a if layer not in costs_b),
        tuple(layer for layer in costs_b if layer not in costs_a),
        a.note,
        b.note,
    )


def costs_of(table: LatencyTable) -> dict[Layer, float]:
    """Cost of every layer in milliseconds, in the order of the table."""
    columns = ["kind", "hidden_in", "hidden_out", "cost_ms"]
    return {
        Layer(str(kind), int(hidden_in), int(hidden_out)): float(cost_ms)
        for kind, hidden_in, hidden_out, cost_ms in table.entries[columns].itertuples(
            index=False, name=None
        )
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Geometry):
        return value.to_dict()
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) else value  # type: ignore[arg-type]
