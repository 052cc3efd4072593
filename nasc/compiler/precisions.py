"""In which precisions the best network may be, so that no latency table is measured in vain.

int8 is measured first. Of another precision a few whole networks are: the emptiest and the fullest
of each operation, at both ends of the hidden sizes. How many times as long as in int8 they take,
and what lies between them, bounds from below what any network takes in that precision. If even at
such prices the search finds nothing better than in int8, the table could not change the choice.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import profilers
from nasc.errors import InfeasibleLimits, TableMissing
from nasc.files import content_key, write_atomically
from nasc.latency.costs import TableCosts
from nasc.latency.find import find_table
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Interval
from nasc.latency.table import LatencyTable
from nasc.measuring import measuring
from nasc.profiling import emit_jobs, tables_folder
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem, ScoredBlocks
from nasc.space import Architecture, Block, SearchSpace
from nasc.workbench import Workbench

FIRST = "int8"
"""The precision that is measured first: where a processor has instructions for it, the fastest."""

MARGIN = 0.9
"""Of the ratios that are measured so much counts: what lies between the ends of a space may be off
by as much (chosen, 2026)."""

PROBE_SECONDS = 20.0
PROBE_HALF_WIDTH = 0.02
"""When a measurement of whole networks ends: well within the margin."""

REST = "rest"
"""Ratio of all layers that are no operations."""


def contenders(bench: Workbench, limits: Limits) -> list[str]:
    """Precisions in which the best network within limits may be, in the space's order.

    Measures the tables of none but these.

    Args:
        bench: Device, space, cache; the supernet is trained if there is none and it is needed.
        limits: What must hold.

    Raises:
        CacheBusy: If another process measures for an hour.
        profilers.ProfilerError: If the device cannot be reached or measured.
    """
    allowed = list(bench.space.precisions)
    if FIRST not in allowed or len(allowed) == 1:
        return allowed
    table = bench.costs_in(FIRST).tables[FIRST]
    try:
        bench.check_feasible(limits, [FIRST])
    except InfeasibleLimits:
        return allowed  # what is infeasible is so in all of them, and each has to be asked
    return [p for p in allowed if p == FIRST or _may_win(bench, limits, table, p)]


def _may_win(bench: Workbench, limits: Limits, table: LatencyTable, precision: str) -> bool:
    """Whether the best network may be in a precision; yes where its table is there."""
    space, head = bench.space, bench.settings.head
    key = dataclasses.replace(table.key, precision=precision)
    try:
        find_table([tables_folder(bench.cache)], key, space)
    except TableMissing:
        pass
    else:
        return True
    slower = slowdowns(bench, table, key)

    def best(positions: Sequence[ScoredBlocks], added: float, ratios: Mapping[str, float]) -> float:
        """The least predicted loss at prices that no network is below."""
        costs = TableCosts.of([optimistic(table, precision, ratios)])
        problem = Problem(space.geometry, head, tuple(positions), {precision: added}, costs, limits)
        try:
            return solve(problem)[0].predicted_loss
        except InfeasibleLimits:
            return math.inf

    if bench.settings.supernet is None and bench.whole_teacher(limits, [FIRST]) is not None:
        whole = [ScoredBlocks((block,), np.zeros(1)) for block in space.teacher.blocks]
        wins = math.isfinite(best(whole, 0.0, {REST: slower.whole}))
    else:
        searched = bench.problem(limits, [FIRST])
        added = bench.prepared.scores.precision_loss[precision]
        rival = best(searched.positions, added, slower.layers)
        wins = rival < solve(searched)[0].predicted_loss
    if not wins:
        bench.reporter.say(
            f"{precision} takes {slower.whole:.2f} times as long as {FIRST} here and cannot win "
            "under these limits: its latency table is not needed"
        )
    return wins


@dataclass(frozen=True, slots=True)
class Slowdowns:
    """How many times as long another precision takes.

    Attributes:
        whole: The full-size network, as measured; the fullest where the space does not hold it.
        layers: Layers at least, by operation; all others under `REST`.
    """

    whole: float
    layers: Mapping[str, float]


def ends(space: SearchSpace, precision: str) -> dict[str, list[tuple[Architecture, Architecture]]]:
    """By operation the emptiest and the fullest networks, at the least and the largest size."""
    found: dict[str, list[tuple[Architecture, Architecture]]] = {}
    for operation in space.operations:
        for hidden in (min(space.hidden_sizes), max(space.hidden_sizes)):
            one, full = (Block(hidden, (operation,) * count) for count in (1, space.slots))
            empty = space.skipped_block if space.skip else one
            pair = [Architecture((block,) * space.n_blocks, precision) for block in (empty, full)]
            found.setdefault(operation, []).append((pair[0], pair[1]))
    return found


def slowdowns(bench: Workbench, table: LatencyTable, key: LatencyKey) -> Slowdowns:
    """How many times as long as in the table's precision networks take in another.

    Args:
        bench: The device and the cache, which keeps what was measured.
        table: What they are held against.
        key: The same in the other precision.
    """
    by_operation = ends(bench.space, key.precision)
    networks = [n for pairs in by_operation.values() for pair in pairs for n in pair]
    whole = bench.space.teacher.with_precision(key.precision) if bench.space.keep else networks[-1]
    networks = list(dict.fromkeys([whole, *networks]))
    took_ms = dict(zip(networks, _measured(bench, key, networks), strict=True))
    held_ms = {n: table.latency_ms(n.with_precision(table.key.precision)) for n in networks}

    def between(empty: Architecture, full: Architecture) -> float:
        if empty == full:
            return took_ms[full] / held_ms[full]
        return (took_ms[full] - took_ms[empty]) / (held_ms[full] - held_ms[empty])

    layers = {
        operation: MARGIN * min(between(*pair) for pair in pairs)
        for operation, pairs in by_operation.items()
    }
    empties = {empty for pairs in by_operation.values() for empty, _ in pairs}
    layers[REST] = MARGIN * min(took_ms[n] / held_ms[n] for n in empties)
    return Slowdowns(took_ms[whole] / held_ms[whole], layers)


def _measured(bench: Workbench, key: LatencyKey, networks: Sequence[Architecture]) -> list[float]:
    """Latencies of networks in ms, measured now unless they were."""
    about = {"key": dataclasses.asdict(key), "networks": [str(n) for n in networks]}
    path = tables_folder(bench.cache) / f"{key.stem()}{content_key(about)}.probes.json"
    if path.exists():
        return [float(value) for value in json.loads(path.read_text(encoding="utf-8"))]
    progress = bench.reporter.stage(f"How fast {key.precision} can be")
    protocol = profilers.Protocol(
        max_seconds=PROBE_SECONDS,
        target_half_width=PROBE_HALF_WIDTH,
        seed=bench.settings.seed,
    )
    with (
        bench.timed("profile"),
        TemporaryDirectory(prefix="nasc-") as folder,
        measuring(bench.cache, bench.device.name, bench.reporter.say),
    ):
        jobs = emit_jobs(networks, key.geometry, key, Path(folder))
        measurement = profilers.measure(
            jobs,
            bench.device,
            options=bench.options,
            protocol=protocol,
            reference_quiet_ms=key.quiet_ms,
            progress=progress,
        )
    found = [measurement[job.name].latency_ms for job in jobs]
    write_atomically(path, (json.dumps(found) + "\n").encode())
    return found


def optimistic(table: LatencyTable, precision: str, ratios: Mapping[str, float]) -> LatencyTable:
    """A table of another precision in which layers take so many times as long, for certain.

    Args:
        table: What the costs are taken from.
        precision: The other one.
        ratios: By the kind of a layer; `REST` stands for those not named. Below 0 counts as 0.
    """
    rest = ratios[REST]
    by_layer = [max(0.0, ratios.get(kind, rest)) for kind in table.entries["kind"]]
    streaming = dataclasses.replace(
        table.streaming, ms_per_param=max(0.0, min(ratios.values())) * table.streaming.ms_per_param
    )
    return dataclasses.replace(
        table,
        key=dataclasses.replace(table.key, precision=precision),
        entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * by_layer),
        streaming=streaming,
        interval=Interval(0.0, 1),
        measured=table.measured.assign(upper_ms=table.measured["latency_ms"]),
    )
