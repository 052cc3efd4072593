"""`nasc tables`: what is printed, where to, and with which exit code."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from shared_tables import measurement_of, opener, opener_of, packed, sound_table

import nasc.pipelines.tables
from nasc.cli import main
from nasc.latency.table import LatencyTable
from nasc.latency.table_paths import SUFFIX, samples_path, tables_folder

Run = Callable[..., Result]
ELSEWHERE = opener_of(fingerprint="elsewhere")


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return sound_table()


@pytest.fixture
def run(table: LatencyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `nasc tables` on a made-up machine, in a folder with a cache that has one table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASC_CACHE", str(tmp_path / "cache"))
    path = table.save(tables_folder(tmp_path / "cache"))
    samples_path(path).write_bytes(packed(measurement_of(table)))
    on(monkeypatch, opener)

    def call(*arguments: str | Path, code: int = 0) -> Result:
        done = CliRunner().invoke(
            main, ["tables", *map(str, arguments)], catch_exceptions=False, terminal_width=200
        )
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.stderr
        assert done.stderr.count("Error: ") == (code != 0)
        return done

    return call


def on(monkeypatch: pytest.MonkeyPatch, there: Any) -> None:
    """All commands meet that machine."""
    for name in ("tables", "show_table", "import_table"):
        real = getattr(nasc.pipelines.tables, name)
        real = getattr(real, "func", real)
        monkeypatch.setattr(nasc.pipelines.tables, name, partial(real, opener=there))


def name_of(table: LatencyTable) -> str:
    return table.file_name().removesuffix(SUFFIX)


def test_tables_are_listed_with_their_setting(run: Run, table: LatencyTable) -> None:
    done = run("list")
    header, row = done.stdout.splitlines()
    assert header.split()[0] == "device"
    assert row.split()[-1] == name_of(table)
    assert "onnxruntime 1" in row
    assert " yes " in row
    assert f"tables in: {tables_folder(Path('cache').absolute())}" in done.stderr
    [told] = json.loads(run("list", "--json").stdout)
    assert (told["name"], told["usable"], told["precision"]) == (name_of(table), True, "int8")


def test_damaged_tables_are_listed_and_raise_nothing(run: Run) -> None:
    tables = tables_folder(Path("cache"))
    (tables / f"bad{SUFFIX}").write_text("\x1b[31m", encoding="utf-8")
    done = run("list")
    assert len(done.stdout.splitlines()) == 3
    assert "bad: not used: damaged: its first line is not that of a latency table" in done.stderr
    told = {one["name"]: one for one in json.loads(run("list", "--json").stdout)}
    assert told["bad"]["readable"] is False


def test_an_empty_cache_says_how_to_measure(run: Run, tmp_path: Path) -> None:
    done = run("list", "--cache", tmp_path / "empty")
    assert done.stdout == ""
    assert "there are none yet. Measure one: nasc profile --device host" in done.stderr
    assert run("list", "--cache", tmp_path / "empty", "--json").stdout == "[]\n"


def test_a_table_is_shown_with_its_costs_the_dearest_first(run: Run, table: LatencyTable) -> None:
    out = run("show", name_of(table)).stdout
    assert "Made-up CPU @ 2.20GHz (fingerprint synthetic)" in out
    rows = [line.split() for line in out.splitlines() if line.split()[1:2] and line[:3] == "   "]
    costs = [float(row[0]) for row in rows if row[-1] in ("mha", "ffn", "sep3", "border")]
    assert len(costs) == 9
    assert costs == sorted(costs, reverse=True)
    told = json.loads(run("show", name_of(table), "--json").stdout)
    assert len(told["costs"]) == len(table.entries)
    assert told["protocol"] == {"max_rounds": 36}


def test_load_and_what_was_read_around_visits_are_shown(run: Run, table: LatencyTable) -> None:
    assert "of load" not in run("show", name_of(table)).stdout
    reading = {"temperature_c": 41.5, "clock_khz": 1, "thermal_status": None, "skin_c": None}
    told = {
        "telemetry": {"visits": 9, "migrated_share": 0.25, "slowed_share": 0.0},
        "sustained": {"minutes": 10.0, "begin": reading, "end": reading},
    }
    changed = dataclasses.replace(table, context={**table.context, **told})
    changed.save(tables_folder(Path("cache")))
    out = run("show", name_of(table)).stdout
    assert "the measuring thread changed its core in 25% of visits; the clock was slowed" in out
    assert "after 10 minutes of load: 41.5 C when measuring began, 41.5 C when it ended" in out
    assert json.loads(run("show", name_of(table), "--json").stdout)["telemetry"]["visits"] == 9


@pytest.mark.slow
def test_costs_are_drawn(run: Run, table: LatencyTable) -> None:
    pytest.importorskip("matplotlib")
    done = run("show", name_of(table), "--plot", "costs.png")
    assert "costs drawn to costs.png" in done.stderr
    assert Path("costs.png").read_bytes()[:4] == b"\x89PNG"
    assert "exists. Replace it: --force" in run(
        "show", name_of(table), "--plot", "costs.png", code=2
    ).stderr  # fmt: skip
    run("show", name_of(table), "--plot", "costs.png", "--force")


def test_a_table_goes_from_one_cache_to_another(
    run: Run, table: LatencyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run("export", name_of(table), "-o", "sent.csv", "--samples").stdout
    assert "with its samples" in out
    told = json.loads(run("export", name_of(table), "-o", "plain.csv", "--json").stdout)
    assert told["bytes"] == Path("plain.csv").stat().st_size
    taken = run("import", "sent.csv", "--cache", "other").stdout
    assert "with it" in taken
    assert "note" not in taken

    on(monkeypatch, ELSEWHERE)
    refused = run("import", "sent.csv", "--cache", "third", code=1)
    assert refused.stdout == ""
    assert "--accept-other-machine" in refused.stderr
    taken = run("import", "sent.csv", "--cache", "third", "--accept-other-machine").stdout
    note = "latency table imported from another machine: onnxruntime int8 by Made-up CPU @ 2.20GHz"
    assert note in taken
    assert "  other machine's  " in run("list", "--cache", "third").stdout
    for command in (["list"], ["show", name_of(table)[:20]]):
        assert note in run(*command, "--cache", "third").output


def test_what_was_measured_here_is_not_replaced_unasked(run: Run, table: LatencyTable) -> None:
    run("export", name_of(table), "-o", "sent.csv")
    said = run("import", "sent.csv", code=1).stderr
    assert "(measured here, created 2026-11-03" in said
    assert "--force" in said
    told = json.loads(run("import", "sent.csv", "--force", "--json").stdout)
    assert told["replaced"] == [f"{name_of(table)} (measured here, created {table.created})"]


def test_a_hostile_file_is_one_message_with_its_line(run: Run, table: LatencyTable) -> None:
    text = table.to_text().replace("sep3,16,16,", "=1+1,16,16,")
    Path("bad.csv").write_text(text, encoding="utf-8")
    assert "its content does not match its hash" in run("import", "bad.csv", code=1).stderr
    assert "no latency table 'none.csv'" in run("import", "none.csv", code=1).stderr
    Path("bad.csv").write_bytes(b"\x00" * 100)
    for command in (["show", "bad.csv"], ["diff", name_of(table), "bad.csv"]):
        assert "is refused: its first line" in run(*command, code=1).stderr


def test_tables_are_compared(run: Run, table: LatencyTable) -> None:
    other = sound_table(seq_len=16)
    other.save(tables_folder(Path("cache")))
    out = run("diff", name_of(table), name_of(other)).stdout
    assert "seq_len" in out
    assert "a 32, b 16" in out
    told = json.loads(run("diff", name_of(table), name_of(other), "--json").stdout)
    assert told["keys"] == {"seq_len": {"a": 32, "b": 16}}
    assert set(told["ratio"]) == {"median", "p10", "p90", "largest"}


def test_mistakes_are_usage_errors_with_suggestions(run: Run, table: LatencyTable) -> None:
    assert "Did you mean 'show'?" in run("shw", code=2).stderr
    assert "Missing option '-o' / '--output'" in run("export", name_of(table), code=2).stderr
    said = run("export", "sent.csv.none", "-o", "x.csv", code=1).stderr
    assert "List them: nasc tables list" in said
    Path("sent.csv").write_text("x", encoding="utf-8")
    assert "no name in the cache" in run("export", "sent.csv", "-o", "x.csv", code=2).stderr


def test_names_of_tables_are_completed(run: Run, table: LatencyTable) -> None:
    for command in ("show", "export", "diff"):
        complete = main.commands["tables"].commands[command].params[0].shell_complete
        context = click.Context(main)
        found = complete(context, "host-")
        assert [item.value for item in found] == [name_of(table)]
        assert [item.type for item in complete(context, "./board")] == ["file"]


def test_an_exported_table_is_plain_csv(run: Run, table: LatencyTable) -> None:
    run("export", name_of(table), "-o", "sent.csv", "--samples")
    lines = Path("sent.csv").read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == len(table.entries)
    assert list(rows[0]) == ["kind", "hidden_in", "hidden_out", "cost_ms", "std_error_ms"]
