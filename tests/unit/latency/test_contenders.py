"""Which precisions may hold the best network: tables of the others are not measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.compiler import precisions as module
from nasc.compiler.precisions import REST, contenders, optimistic
from nasc.errors import InfeasibleLimits
from nasc.latency.costs import TableCosts
from nasc.latency.table import LatencyTable
from nasc.profiling import tables_folder
from nasc.solver.problem import Limits
from nasc.space import Architecture
from nasc.supernet.scores import Scores
from nasc.workbench import Settings, Workbench

SPACE = dataclasses.replace(TINY, keep=True)
ADDED = {"fp32": 0.0, "int8": 0.003}


def slower(table: LatencyTable, by: dict[str, float]) -> LatencyTable:
    """A table in fp32 in which layers take so many times as long, by their kind."""
    kinds = [by.get(kind, by[""]) for kind in table.entries["kind"]]
    return dataclasses.replace(
        table,
        key=dataclasses.replace(table.key, precision="fp32"),
        entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * kinds),
    )


class Bench(Workbench):
    """A workbench whose int8 table is there, and fp32's where it is saved in the cache."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        super().__init__(Settings(cache=folder, seq_len=32))
        self.table = make_table(SPACE, seed=seed)
        blocks = tuple(SPACE.blocks())
        rng = np.random.default_rng(seed)
        losses = [
            np.array(
                [0.0 if b.kept else rng.uniform(0.5, 1.0) / (1 + len(b.operations)) for b in blocks]
            )
            for _ in range(SPACE.n_blocks)
        ]
        scores = Scores(None, (blocks,) * 2, tuple(losses), (1.0, 1.0), ADDED, 1)  # type: ignore[arg-type]
        self.__dict__ |= {
            "space": SPACE,
            "whole_space": SPACE,
            "supernet_path": None,
            "_choices": (blocks,) * SPACE.n_blocks,
            "_costs": {("int8",): TableCosts.of([self.table])},
            "prepared": SimpleNamespace(scores=scores),
        }


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whole networks take what a table in fp32 says; tells how often one was asked for."""

    def measure_as(truth: LatencyTable) -> list[int]:
        calls = []

        def measure(bench: Any, key: Any, networks: Any) -> list[float]:
            calls.append(len(networks))
            return [truth.latency_ms(n) for n in networks]

        monkeypatch.setattr(module, "_measured", measure)
        return calls

    return measure_as


def whole_ms(bench: Bench) -> float:
    """The latency of the whole teacher in int8 as limits see it."""
    whole = bench.whole_teacher(Limits(), ["int8"])
    assert whole is not None
    return bench.priced(whole, Limits()).upper_latency_ms


def test_a_slow_precision_is_left_out(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    calls = measured(slower(bench.table, {"": 2.0}))
    assert contenders(bench, Limits(latency_ms=0.5 * whole_ms(bench))) == ["int8"]
    assert calls == [1 + 1 + 2 * len(SPACE.operations)]  # the whole, the emptiest, both ends


def test_a_fast_precision_stays(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    measured(slower(bench.table, {"": 1.0}))
    assert contenders(bench, Limits(latency_ms=0.5 * whole_ms(bench))) == ["fp32", "int8"]


def test_one_fast_operation_is_enough_to_stay(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    measured(slower(bench.table, {"": 3.0, "mha": 0.2, "embedding": 1.0}))
    assert contenders(bench, Limits(latency_ms=0.5 * whole_ms(bench))) == ["fp32", "int8"]


def test_where_the_whole_teacher_fits_its_own_latency_decides(
    tmp_path: Path, measured: Any
) -> None:
    bench = Bench(tmp_path)
    measured(slower(bench.table, {"": 2.0}))
    whole = whole_ms(bench)
    assert contenders(bench, Limits(latency_ms=1.5 * whole)) == ["int8"]
    assert contenders(bench, Limits(latency_ms=2.5 * whole)) == ["fp32", "int8"]
    assert contenders(bench, Limits(params=1e9)) == ["fp32", "int8"]


def test_other_limits_count(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    measured(slower(bench.table, {"": 1.0}))
    whole = bench.space.teacher.with_precision("int8")
    size = bench.priced(whole, Limits()).costs["size_bytes"]
    assert contenders(bench, Limits(size_bytes=size)) == ["int8"]  # fp32 takes more bytes


def test_nothing_is_measured_where_it_decides_nothing(tmp_path: Path, measured: Any) -> None:
    bench = Bench(tmp_path)
    truth = slower(bench.table, {"": 2.0})
    calls = measured(truth)
    assert contenders(bench, Limits(latency_ms=1e-6)) == ["fp32", "int8"]  # infeasible
    truth.save(tables_folder(tmp_path))
    limits = Limits(latency_ms=0.5 * whole_ms(bench))
    assert contenders(bench, limits) == ["fp32", "int8"]  # its table is there
    bench.__dict__["space"] = SPACE.restrict(precisions=("int8",))
    assert contenders(bench, limits) == ["int8"]
    assert calls == []


@pytest.mark.parametrize("seed", range(6))
def test_what_is_left_out_would_not_have_been_chosen(
    tmp_path: Path, measured: Any, seed: int
) -> None:
    bench = Bench(tmp_path, seed)
    rng = np.random.default_rng(seed)
    kinds = ["", *SPACE.operations]
    truth = slower(bench.table, {kind: rng.uniform(1.0, 2.0) for kind in kinds})
    measured(truth)
    both, left_out = TableCosts.of([truth, bench.table]), 0
    for share in np.linspace(0.3, 1.5, 13):
        limits = Limits(latency_ms=share * whole_ms(bench))
        try:
            bench.check_feasible(limits, ["int8"])
        except InfeasibleLimits:
            continue
        if contenders(bench, limits) == ["int8"]:
            left_out += 1
            problem = bench.problem(limits, ["int8"])
            problem = dataclasses.replace(problem, precisions=ADDED, costs=both)
            found: Architecture = module.solve(problem)[0].architecture
            assert found.precision == "int8"
    assert left_out > 0


def test_an_optimistic_table_predicts_the_ratio_without_an_interval(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    costs = TableCosts.of([optimistic(bench.table, "fp32", {REST: 1.7})])
    for text in ("keep | skip", "16: M F S3 | 32: M"):
        network = dataclasses.replace(SPACE.parse(text), precision="fp32")
        held = bench.table.latency_ms(network.with_precision("int8"))
        value = costs.predict(network).latency_ms
        assert value == pytest.approx(1.7 * held)
        assert costs.upper("latency_ms", value, "fp32") == pytest.approx(value)
