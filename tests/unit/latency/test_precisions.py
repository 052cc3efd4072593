"""Which precisions may hold the best network: tables of the others are not measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.space import Architecture, SearchSpace
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import InfeasibleLimits
from nasc.latency.costs import TableCosts
from nasc.latency.profile import tables_folder
from nasc.latency.table import LatencyTable
from nasc.selection import precisions as module
from nasc.selection.precisions import NEAR, REST, promising_precisions, slowed
from nasc.selection.successive_halving import searches
from nasc.solver.problem import Limits
from nasc.supernet.scores import Scores
from profilers import Scale

SPACE = dataclasses.replace(TINY, keep=True, skip=True)
BARE = dataclasses.replace(TINY, keep=False, skip=False)
BOTH = ["fp32", "int8"]
ADDED = {"fp32": 0.0, "int8": 0.003}


def slower(table: LatencyTable, by: dict[str, float]) -> LatencyTable:
    """A table in fp32 in which layers take so many times as long, by their kind."""
    times = [by.get(kind, by[""]) for kind in table.entries["kind"]]
    return dataclasses.replace(
        table,
        key=dataclasses.replace(table.key, precision="fp32"),
        entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * times),
    )


class Bench(RunContext):
    """A context whose int8 table is there, and fp32's where it is saved in the cache."""

    def __init__(self, folder: Path, seed: int = 0, space: SearchSpace = SPACE) -> None:
        super().__init__(Settings(cache=folder, seq_len=32))
        self.table = make_table(space, seed=seed)
        blocks = tuple(space.blocks())
        rng = np.random.default_rng(seed)
        losses = tuple(
            np.array([rng.uniform(0.5, 1.0) / (1 + 2 * len(b.operations)) for b in blocks])
            for _ in range(space.n_blocks)
        )
        for loss in losses:
            loss[[b.kept for b in blocks]] = 0.0
        scores = Scores(None, (blocks,) * 2, losses, (0.7, 1.3), ADDED, 1)  # type: ignore[arg-type]
        self.__dict__ |= {
            "space": space,
            "baseline": SimpleNamespace(scale=Scale(4.0, 4.275)),
            "whole_space": space,
            "supernet_path": None,
            "choices": (blocks,) * space.n_blocks,
            "_tables": {"int8": self.table},
            "prepared": SimpleNamespace(scores=scores),
        }

    def promising(self, **limits: float) -> list[str]:
        return promising_precisions(self, Limits(**limits), BOTH)

    @property
    def whole_ms(self) -> float:
        """The latency of the whole teacher in int8 as limits see it."""
        whole = self.space.teacher.with_precision("int8")
        return self.priced(whole, Limits()).upper_latency_ms


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whole networks take what a table in fp32 says; tells how often they were asked for."""

    def measure_as(truth: LatencyTable) -> list[int]:
        calls = []

        def probe(networks: Any, key: Any, *about: Any, **options: Any) -> dict[Any, float]:
            assert key == dataclasses.replace(truth.key, precision="fp32")
            calls.append(len(networks))
            return {n: truth.latency_ms(n) for n in networks}

        monkeypatch.setattr(module, "probe", probe)
        return calls

    return measure_as


def test_a_slow_precision_is_left_out(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    calls = measured(slower(bench.table, {"": 3.0}))
    assert bench.promising(latency_ms=0.5 * bench.whole_ms) == ["int8"]
    assert calls == [2 + 2 * len(SPACE.operations)]  # the whole, the emptiest, both ends


def test_a_fast_precision_stays(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    measured(slower(bench.table, {"": 1.0}))
    assert bench.promising(latency_ms=0.5 * bench.whole_ms) == BOTH


def test_one_fast_operation_is_enough_to_stay(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    measured(slower(bench.table, {"": 3.0, "mha": 0.2, "embedding": 1.0}))
    assert bench.promising(latency_ms=0.5 * bench.whole_ms) == BOTH


def test_an_operation_that_costs_nothing_may_win(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    costs = bench.table.entries["cost_ms"].where(bench.table.entries["kind"] != "mha", 0.0)
    table = dataclasses.replace(bench.table, entries=bench.table.entries.assign(cost_ms=costs))
    bench.table = bench._tables["int8"] = table
    measured(slower(table, {"": 3.0}))
    assert bench.promising(latency_ms=0.3 * bench.whole_ms) == BOTH


def test_a_space_without_kept_and_skipped_blocks(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path, space=BARE)
    calls = measured(slower(bench.table, {"": 9.0}))
    least = min(bench.table.latency_ms(Architecture((b, b), "int8")) for b in BARE.blocks())
    assert bench.promising(latency_ms=3 * least) == ["int8"]
    assert calls == [4 * len(BARE.operations)]
    measured(slower(bench.table, {"": 1.0}))
    assert bench.promising(latency_ms=3 * least) == BOTH


@pytest.mark.parametrize(
    "space",
    [
        dataclasses.replace(SPACE, hidden_sizes=(16,)),  # kept blocks are of another size
        dataclasses.replace(SPACE, operations=("ffn",)),  # and hold another operation
    ],
)
def test_only_layers_that_a_table_holds_are_asked_for(
    space: SearchSpace, tmp_path: Path, measured: Any
) -> None:
    bench = Bench(tmp_path, space=space)
    measured(slower(bench.table, {"": 1.0}))
    assert bench.promising(latency_ms=0.5 * bench.whole_ms) == BOTH


def test_where_the_whole_teacher_fits_its_own_latency_decides(
    tmp_path: Path, measured: Any
) -> None:
    bench = Bench(tmp_path)
    calls = measured(slower(bench.table, {"": 2.0}))
    whole = bench.whole_ms
    assert bench.promising(latency_ms=1.5 * whole) == ["int8"]
    assert bench.promising(latency_ms=2.5 * whole) == BOTH
    assert len(calls) == 2
    assert bench.promising(params=1e9) == BOTH
    assert len(calls) == 2  # no latency could change that


def test_other_limits_count(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    calls = measured(slower(bench.table, {"": 1.0}))
    whole = bench.space.teacher.with_precision("int8")
    size = bench.priced(whole, Limits()).costs["size_bytes"]
    assert bench.promising(size_bytes=size) == ["int8"]  # fp32 takes more bytes
    assert bench.promising(size_bytes=size, latency_ms=1e9) == ["int8"]
    assert calls == []


def test_nothing_is_measured_where_it_decides_nothing(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    truth = slower(bench.table, {"": 3.0})
    calls = measured(truth)
    assert bench.promising(latency_ms=1e-6) == BOTH  # infeasible
    limits = Limits(latency_ms=0.5 * bench.whole_ms)
    assert promising_precisions(bench, limits, ["int8"]) == ["int8"]
    assert promising_precisions(bench, limits, ["fp32"]) == ["fp32"]
    truth.save(tables_folder(tmp_path))
    assert promising_precisions(bench, limits, BOTH) == BOTH  # its table is there
    assert calls == []


@pytest.mark.parametrize(
    "seed", [0, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 3, 4, 5))]
)
def test_what_is_left_out_would_not_have_been_looked_at(
    tmp_path: Path, measured: Any, seed: int
) -> None:
    """With the true table of fp32 the candidates of every kind are the same networks."""
    bench = Bench(tmp_path, seed)
    rng = np.random.default_rng(seed)
    truth = slower(bench.table, {kind: rng.uniform(1.5, 3.0) for kind in ("", *SPACE.operations)})
    measured(truth)
    both, left_out = TableCosts.of([truth, bench.table]), 0
    for share in np.linspace(0.3, 0.9, 7):
        limits = Limits(latency_ms=share * bench.whole_ms)
        try:
            bench.check_feasible(limits, ["int8"])
        except InfeasibleLimits:
            continue
        if promising_precisions(bench, limits, BOTH) == ["int8"]:
            left_out += 1
            for kind in searches(bench, limits, ["int8"]):
                wide = dataclasses.replace(kind, precisions=ADDED, costs=both)
                found = [s.architecture for s in module.solve(wide, NEAR)]
                assert found == [s.architecture for s in module.solve(kind, NEAR)]
    assert left_out > 0


def test_a_slowed_table_predicts_the_ratio_without_an_interval(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    costs = TableCosts.of([slowed(bench.table, "fp32", {REST: 1.7})])
    for text in ("keep | skip", "16: M F S3 | 32: M"):
        network = SPACE.parse(text).with_precision("fp32")
        held = bench.table.latency_ms(network.with_precision("int8"))
        value = costs.predict(network).latency_ms
        assert value == pytest.approx(1.7 * held)
        assert costs.upper("latency_ms", value, "fp32") == pytest.approx(value)
