"""Each device's best network on the others: against all networks, one by one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from synthetic_device import TINY, make_table

import nasc
import nasc.pipelines.regret as pipeline
from nasc.architecture.space import Architecture, Block
from nasc.cli import main
from nasc.errors import DeviceEmulated, InfeasibleLimits, TableMissing, UsageError
from nasc.latency.costs import TableCosts
from nasc.latency.table import Imported, LatencyTable, Transferred
from nasc.latency.table_paths import SUFFIX, tables_folder
from nasc.selection.regret import Regret, labels, limits_of, regret
from nasc.solver.problem import ScoredBlocks

BLOCKS = tuple(
    Block(hidden, operations)
    for hidden in (16, 32)
    for operations in [("mha",), ("ffn",), ("sep3",), ("mha", "ffn"), ("sep3", "ffn"), ("ffn",) * 2]
)


def device(name: str, by: dict[str, float], **about: Any) -> LatencyTable:
    """A device on which operations take so many times as long."""
    table = make_table(TINY, device=name, **about)
    times = [by.get(kind, 1.0) for kind in table.entries["kind"]]
    return dataclasses.replace(
        table, entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * times)
    )


PHONE = device("phone", {"mha": 5.0})
BOARD = device("board", {"ffn": 4.0, "sep3": 2.0})
HOST = device("host", {}, precision="fp32")


def scored(seed: int = 0) -> tuple[ScoredBlocks, ...]:
    rng = np.random.default_rng(seed)
    return tuple(ScoredBlocks(BLOCKS, rng.uniform(0, 1, len(BLOCKS))) for _ in range(2))


def upper_ms(table: LatencyTable, architecture: Architecture) -> float:
    own = architecture.with_precision(table.key.precision)
    return TableCosts.of([table]).upper("latency_ms", table.latency_ms(own), table.key.variant)


NETWORKS = [(i, k) for i in range(len(BLOCKS)) for k in range(len(BLOCKS))]


@pytest.fixture(scope="module")
def took() -> dict[str, Any]:
    """What every network takes on each device."""
    return {
        table.key.device: np.array(
            [upper_ms(table, Architecture((BLOCKS[i], BLOCKS[k]))) for i, k in NETWORKS]
        )
        for table in (PHONE, BOARD, HOST)
    }


def test_every_figure_is_that_of_all_networks_one_by_one(took: dict[str, Any]) -> None:
    most = 0.0
    for seed in range(5):
        positions = scored(seed)
        loss = np.array([positions[0].loss[i] + positions[1].loss[k] for i, k in NETWORKS])
        limits = [float(np.quantile(ms, 0.4)) for ms in took.values()]
        tables = [(t.key.device, t) for t in (PHONE, BOARD, HOST)]
        found = regret(tables, positions, limits)
        for source, limit, own in zip(found.devices, limits, found.transfers, strict=True):
            best = int(np.argmin(np.where(took[source.label] <= limit, loss, np.inf)))
            assert source.best.predicted_loss == pytest.approx(loss[best])
            for target, most_ms, one in zip(found.devices, limits, own, strict=True):
                ms = took[target.label]
                assert one.upper_ms == pytest.approx(ms[best])
                assert one.meets is bool(ms[best] <= most_ms * (1 + 1e-9))
                there = loss[ms <= ms[best] * (1 + 1e-9)].min()
                assert one.own.predicted_loss == pytest.approx(there)
                assert one.lost == pytest.approx(loss[best] - there, abs=1e-12)
                most = max(most, one.lost)
                if source is target:
                    assert (one.lost, one.meets) == (0, True)
    assert most > 0.01


def test_as_data_and_as_a_table() -> None:
    tables = [PHONE, dataclasses.replace(BOARD, imported=Imported("board", "x", "9", "2026"))]
    found = regret([("a", tables[0]), ("b", tables[1])], scored(), [100.0, 100.0], params=1e9)
    d = json.loads(json.dumps(found.to_dict()))
    assert [one["label"] for one in d["devices"]] == ["a", "b"]
    assert d["devices"][0]["note"] is None
    assert "imported from another machine" in d["devices"][1]["note"]
    rows = [(one["best_for"], one["run_on"]) for one in d["transfers"]]
    assert rows == [("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")]
    assert list(found.table().columns) == list(d["transfers"][0])


def test_devices_are_told_apart_by_what_differs() -> None:
    tables = [PHONE, BOARD]
    assert labels(tables, ["x-1", "x-2"]) == ["phone", "board"]
    two = device("host", {}, threads=2)
    assert labels([HOST, two, PHONE], ["x-1", "x-2", "x-3"]) == [
        "host fp32",
        "host int8",
        "phone",
    ]
    assert labels([two, device("host", {})], ["x-1", "x-2"]) == ["host threads 2", "host threads 1"]
    other = device("host", {}, precision="fp32", threads=2)
    assert labels([HOST, two, other], ["x-1", "x-2", "x-3"]) == [
        "host fp32 threads 1",
        "host int8 threads 2",
        "host fp32 threads 2",
    ]
    assert labels([HOST, HOST], ["x-1", "x-2"]) == ["host 1", "host 2"]


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([PHONE], "1 device was given: a regret is between two or more"),
        ([PHONE, make_table(TINY, seq_len=16)], r"are of different work \(seq_len\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(tables: list[LatencyTable], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        regret([("x", table) for table in tables], scored(), [1.0] * len(tables))


@pytest.mark.parametrize(("ms", "share"), [(None, None), (1.0, 0.5), (-1.0, None), (0.0, None)])
def test_one_limit_is_needed(ms: float | None, share: float | None) -> None:
    with pytest.raises(UsageError, match="--latency-ms"):
        limits_of([PHONE], TINY.teacher, ms, share)


def test_milliseconds_of_something_emulated_compare_with_nothing() -> None:
    emulated = dataclasses.replace(BOARD, context={"emulated": True})
    with pytest.raises(DeviceEmulated):
        regret([("a", PHONE), ("b", emulated)], scored(), [100.0, 100.0])


def test_a_limit_that_nothing_meets_has_its_certificate() -> None:
    with pytest.raises(InfeasibleLimits):
        regret([("a", PHONE), ("b", BOARD)], scored(), [100.0, 1e-9])


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`nasc regret` on a cache with the three tables; the supernet is made up."""
    monkeypatch.chdir(tmp_path)
    for table in (PHONE, BOARD, HOST):
        table.save(tables_folder(tmp_path / "cache"))
    prepared = SimpleNamespace(scores=SimpleNamespace(positions=scored))
    context = SimpleNamespace(whole_space=TINY, supernet=SimpleNamespace(prepare=lambda: prepared))
    monkeypatch.setattr(pipeline, "RunContext", lambda settings, reporter: context)

    def invoke(*arguments: str) -> Result:
        options = ["regret", *arguments, "--cache", "cache"]
        return CliRunner().invoke(main, options, catch_exceptions=False)

    return invoke


def name_of(table: LatencyTable) -> str:
    return table.file_name().removesuffix(SUFFIX)


def test_the_command(run: Run) -> None:
    devices = ["--device", "phone", "--device", "board", "--device", name_of(HOST)]
    done = run(*devices, "--latency-share", "0.6", "--csv", "regret.csv")
    assert done.exit_code == 0, done.output
    header, *rows = done.stdout.splitlines()
    assert header.split()[:5] == ["best", "for", "limit", "(ms)", "loss"]
    assert [row.split()[0] for row in rows] == ["phone", "board", "host"]
    assert "predicted, not measured" in done.stderr
    assert len(pd.read_csv("regret.csv")) == 9
    told = json.loads(run(*devices, "--latency-share", "0.6", "--json").stdout)
    assert len(told["transfers"]) == 9


@pytest.mark.slow
def test_it_is_drawn(run: Run) -> None:
    pytest.importorskip("matplotlib")
    done = run("--device", "phone", "--device", "board", "--latency-ms", "5", "--plot", "r.png")
    assert done.exit_code == 0, done.output
    assert Path("r.png").read_bytes()[:4] == b"\x89PNG"


def test_which_table_of_a_device_is_meant_has_to_be_clear(run: Run, tmp_path: Path) -> None:
    device("host", {}).save(tables_folder(tmp_path / "cache"))

    def told(*arguments: str) -> str:
        done = run("--latency-ms", "9", "--device", "phone", *arguments)
        assert done.exit_code == 2, done.output
        return " ".join(done.stderr.split())

    assert "device 'host' has 2 latency tables: " in told("--device", "host")
    precise = ["--device", "host", "--precision", "bf16"]
    assert "no latency table of device 'phone' is of precision bf16; there are:" in told(*precise)
    assert "1 device was given" in told()
    done = run("--latency-ms", "9", "--device", "board", "--device", "phone", "--threads", "1")
    assert done.exit_code == 0, done.output
    nobody = run("--latency-ms", "9", "--device", "phone", "--device", "nobody")
    assert nobody.exit_code == 1
    assert "no latency table 'nobody'" in nobody.stderr


def test_tables_of_another_teacher_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(TINY, geometry=dataclasses.replace(TINY.geometry, vocab_size=101))
    teacher = SimpleNamespace(name="tiny")
    context = SimpleNamespace(whole_space=other, teacher=teacher)
    monkeypatch.setattr(pipeline, "RunContext", lambda settings, reporter: context)
    done = run("--latency-ms", "9", "--device", "phone", "--device", "board")
    assert done.exit_code == 2
    assert "of another teacher than tiny: name theirs, --teacher NAME" in done.stderr


def test_a_regret_has_a_name_in_the_public_surface(tmp_path: Path) -> None:
    assert nasc.Regret is Regret
    with pytest.raises(TableMissing, match="no latency table 'a'"):
        nasc.regret(["a", "b"], nasc.Settings(cache=tmp_path), latency_ms=1.0)


def test_of_a_setting_the_table_is_taken_that_a_search_would_take(tmp_path: Path) -> None:
    """Not the newest: the one that was measured whole on the device."""
    whole = make_table(TINY, device="phone", created="2026-11-01T10:00:00+00:00")
    origin = Transferred("device 'board'", "Made-up", "0" * 16, "1.32.0", "2026-11-01", 20)
    newer = make_table(TINY, device="phone", created="2026-11-09T10:00:00+00:00")
    folder = tables_folder(tmp_path)
    path = whole.save(folder)
    dataclasses.replace(newer, transferred=origin).save(folder)
    name, table = pipeline._table(tmp_path, "phone", {})
    assert path.name.startswith(name)
    assert table.transferred is None
