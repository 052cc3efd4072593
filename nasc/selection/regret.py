"""What is lost where a network that is best on one device runs on another.

A device is a latency table here: a machine, or another runtime, precision or number of threads on
the same one. The blocks that are best for it under its limit are priced by the table of another,
and held against the blocks that are best there in no more time: what these lose less is the regret.
No loss of a precision is part of it: that is the device's own, whatever blocks run there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nasc.architecture.space import Architecture
from nasc.errors import UsageError
from nasc.latency.costs import TableCosts
from nasc.latency.table import LatencyTable
from nasc.solver.frontier import solve
from nasc.solver.problem import LATENCY, Limits, Problem, ScoredBlocks, Solution
from nasc.utils.printable import printable

if TYPE_CHECKING:
    import pandas as pd

ROOM = 1 + 1e-9
"""A network meets its own latency as a limit, whatever was rounded."""

_COMPARED = ("geometry", "head", "seq_len", "batch")
_TOLD = ("runtime", "precision", "threads", "runtime_version", "fingerprint", "fixed_shape")


@dataclass(frozen=True, slots=True)
class RegretDevice:
    """A device with what is best for it.

    Attributes:
        label: Short, different from those of the others.
        key: Of its table, in words.
        foreign: That the table was measured on another machine, in words; None if it was not.
        limit_ms: On the upper end of a predicted latency.
        best: The network that is best under that.
    """

    label: str
    key: str
    foreign: str | None
    limit_ms: float
    best: Solution


@dataclass(frozen=True, slots=True)
class Transfer:
    """The network of one device on another.

    Attributes:
        latency_ms: Predicted there.
        upper_ms: Upper end of its interval.
        meets: Whether that is within the limit of the device that it runs on.
        loss: Predicted, of its blocks.
        own: What is best there in no more time.
    """

    latency_ms: float
    upper_ms: float
    meets: bool
    loss: float
    own: Solution

    @property
    def lost(self) -> float:
        """How much more it loses than what is best there in no more time."""
        return max(0.0, self.loss - self.own.predicted_loss)


@dataclass(frozen=True, slots=True)
class Regret:
    """Every network on every device.

    Attributes:
        devices: In the order that they were given in.
        transfers: For each of these, whose network it is, its transfers to all in order.
    """

    devices: tuple[RegretDevice, ...]
    transfers: tuple[tuple[Transfer, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it: latencies in ms, losses as 1 - cosine."""
        return {
            "devices": [
                {
                    "label": one.label,
                    "table": one.key,
                    "foreign": one.foreign,
                    "limit_ms": one.limit_ms,
                    "architecture": str(one.best.architecture),
                    "latency_ms": one.best.costs[LATENCY],
                    "upper_ms": one.best.upper_latency_ms,
                    "predicted_loss": one.best.predicted_loss,
                }
                for one in self.devices
            ],
            "transfers": self._rows(),
        }

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "best_for": source.label,
                "run_on": target.label,
                "latency_ms": one.latency_ms,
                "upper_ms": one.upper_ms,
                "limit_ms": target.limit_ms,
                "meets": one.meets,
                "predicted_loss": one.loss,
                "best_there": str(one.own.architecture),
                "best_loss": one.own.predicted_loss,
                "lost": one.lost,
            }
            for source, own in zip(self.devices, self.transfers, strict=True)
            for target, one in zip(self.devices, own, strict=True)
        ]

    def table(self) -> pd.DataFrame:
        """A row for each network on each device."""
        import pandas as pd

        return pd.DataFrame(self._rows())


def regret(
    tables: Sequence[tuple[str, LatencyTable]],
    positions: Sequence[ScoredBlocks],
    limits_ms: Sequence[float],
    params: float | None = None,
) -> Regret:
    """Each device's best network on all others.

    Args:
        tables: At least two, each with its label.
        positions: Candidates of every block position with what they lose.
        limits_ms: Of each device.
        params: Limit on parameters, the same for all.

    Raises:
        UsageError: If there are too few tables, or they are of different work.
        InfeasibleLimits: If no network meets the limit of a device.
        LookupMiss: If a table lacks a layer of the candidates.
    """
    check_comparable([table for _, table in tables])
    problems = [
        _problem(table, positions, Limits(latency_ms=limit_ms, params=params))
        for (_, table), limit_ms in zip(tables, limits_ms, strict=True)
    ]
    devices = tuple(
        RegretDevice(label, table.key.describe(), table.foreign, limit_ms, solve(problem)[0])
        for (label, table), limit_ms, problem in zip(tables, limits_ms, problems, strict=True)
    )
    return Regret(
        devices,
        tuple(
            tuple(
                _transfer(one.best, problem, limit_ms)
                for problem, limit_ms in zip(problems, limits_ms, strict=True)
            )
            for one in devices
        ),
    )


def check_comparable(tables: Sequence[LatencyTable]) -> None:
    """Raise unless tables are of several devices that do the same work.

    Raises:
        UsageError: If not.
    """
    if len(tables) < 2:
        raise UsageError(
            f"{len(tables)} device was given: a regret is between two or more. Give --device twice"
        )
    first = tables[0].key
    for table in tables[1:]:
        apart = [name for name in _COMPARED if getattr(first, name) != getattr(table.key, name)]
        if apart:
            raise UsageError(
                f"the latency tables of {first.describe()} and {table.key.describe()} are of "
                f"different work ({', '.join(apart)}): give tables of the same"
            )


def labels(tables: Sequence[LatencyTable], names: Sequence[str]) -> list[str]:
    """The device of each table, and what sets it apart from the others.

    Args:
        tables: Of the devices.
        names: Of the tables, for those that nothing else sets apart.
    """
    apart = [name for name in _TOLD if len({str(getattr(t.key, name)) for t in tables}) > 1]
    found = []
    for table in tables:
        same = [other for other in tables if other.key.device == table.key.device]
        own = apart if len(same) > 1 else []
        words = [f"{name} {getattr(table.key, name)}" for name in own]
        found.append(printable(" ".join([table.key.device, *words]))[:120])
    return [
        label if found.count(label) == 1 else f"{label} {name.rpartition('-')[2]}"
        for label, name in zip(found, names, strict=True)
    ]


def whole_ms(table: LatencyTable, architecture: Architecture) -> float:
    """Upper end of what a network is predicted to take, in any precision of its own."""
    own = architecture.with_precision(table.key.precision)
    costs = TableCosts.of([table])
    return costs.upper(LATENCY, table.latency_ms(own), table.key.variant)


def _problem(table: LatencyTable, positions: Sequence[ScoredBlocks], limits: Limits) -> Problem:
    key = table.key
    costs = TableCosts.of([table])
    return Problem(key.geometry, key.head, tuple(positions), {key.variant: 0.0}, costs, limits)


def _transfer(found: Solution, problem: Problem, limit_ms: float) -> Transfer:
    """A network by the table of another device."""
    blocks = found.architecture.blocks
    alone = tuple(ScoredBlocks((block,), np.zeros(1)) for block in blocks)
    [priced] = solve(dataclasses.replace(problem, positions=alone, limits=Limits()))
    in_no_more = dataclasses.replace(problem.limits, latency_ms=ROOM * priced.upper_latency_ms)
    return Transfer(
        priced.costs[LATENCY],
        priced.upper_latency_ms,
        priced.upper_latency_ms <= limit_ms * ROOM,
        found.predicted_loss,
        solve(problem.with_limits(in_no_more))[0],
    )


def limits_of(
    tables: Sequence[LatencyTable],
    whole: Architecture,
    latency_ms: float | None,
    share: float | None,
) -> list[float]:
    """The latency limit of each device in milliseconds.

    Args:
        tables: Of the devices.
        whole: The full-size network.
        latency_ms: The same for all; or
        share: Of what the full-size network takes there.

    Raises:
        UsageError: If not one of both is given, or it is no positive number.
    """
    if (latency_ms is None) == (share is None):
        raise UsageError(
            "give --latency-ms, the same for all devices, or --latency-share, of what the "
            "full-size network takes on each"
        )
    found = [latency_ms if share is None else share * whole_ms(table, whole) for table in tables]
    return [float(Limits(latency_ms=limit).given()["latency_ms"]) for limit in found]


def by_setting(
    tables: Mapping[str, LatencyTable], wanted: Mapping[str, Any]
) -> dict[str, LatencyTable]:
    """Those tables whose keys are as is wanted, by name; None is anything."""
    return {
        name: table
        for name, table in tables.items()
        if all(v is None or getattr(table.key, field) == v for field, v in wanted.items())
    }
