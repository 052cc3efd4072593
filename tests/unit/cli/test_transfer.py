"""`nasc profile --from-table`: what is made, what is said, and with which exit code."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result
from shared_tables import network_of, sound_table
from synthetic_device import TINY

import nasc.pipelines.profile
from nasc.architecture.space import SearchSpace
from nasc.cli import main
from nasc.latency.table import LatencyTable, load_table
from nasc.latency.table_paths import tables_folder
from profilers.reference import REFERENCE_NAME
from profilers.testing import SyntheticMachine

SPACE = dataclasses.replace(TINY, name="toy", slots=2, operations=("mha", "ffn"), skip=True)
SETTING = ("--precision", "int8", "--seq-len", "32", "--threads", "2")

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    return sound_table(SPACE, device="host", seq_len=32)


class Machine:
    """Everything takes there what a table says, three times as long."""

    def __init__(self, table: LatencyTable) -> None:
        self.table = table
        self.run: set[Path] = set()

    def file_ms(self, path: Path) -> float:
        self.run.add(path)
        model = onnx.load(path, load_external_data=False)
        text = {p.key: p.value for p in model.metadata_props}["nasc.architecture"]
        return 300 * self.table.latency_ms(network_of(self.table, text))

    def __call__(self, *about: object) -> Any:
        return SyntheticMachine({REFERENCE_NAME: 4.0}, latency_ms=self.file_ms).open()


@pytest.fixture
def machine(table: LatencyTable) -> Machine:
    return Machine(table)


@pytest.fixture
def run(
    machine: Machine, table: LatencyTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Runs `nasc profile` on a made-up machine, in a folder with a space and a table."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NASC_CACHE", str(tmp_path / "cache"))
    geometry = SPACE.geometry.to_dict()
    Path("toy.toml").write_text(
        f"n_blocks = {SPACE.n_blocks}\nslots = 2\nhidden_sizes = [16, 32]\n"
        'operations = ["mha", "ffn"]\n[geometry]\n'
        + "\n".join(f"{name} = {value}" for name, value in geometry.items()),
        encoding="utf-8",
    )
    Path("board.latency.csv").write_text(table.to_text(), encoding="utf-8")
    real = nasc.pipelines.profile.profile
    monkeypatch.setattr(nasc.pipelines.profile, "profile", partial(real, opener=machine))

    def call(*arguments: str, code: int = 0) -> Result:
        command = ["profile", "--space", "toy.toml", *SETTING, *arguments]
        done = CliRunner().invoke(main, command, catch_exceptions=False, terminal_width=200)
        assert done.exit_code == code, done.output
        assert "Traceback" not in done.stderr
        assert done.stderr.count("Error: ") == (code != 0)
        return done

    return call


def test_a_table_is_made_from_a_file_and_a_few_networks(run: Run, machine: Machine) -> None:
    done = run("--from-table", "board.latency.csv", "--budget", "5")
    assert len(machine.run) == 5
    assert re.search(r"note +latency table transferred, with 5 networks measured on synthetic: "
                     r"onnxruntime int8 from that of device 'host' \(onnxruntime, int8, 1 thread, "
                     r"length 32\)", done.stdout)  # fmt: skip
    [found] = json.loads(run("--from-table", "board.latency.csv", "--budget", "5", "--json").stdout)
    assert (found["fresh"], found["networks"], found["held_out_networks"]) == (False, 5, 4)
    assert found["transferred"]["budget"] == 5
    made = load_table(Path(found["path"]))
    for network in (SPACE.teacher, SPACE.parse("16: M F | 32: F")):
        own = network.with_precision("int8")
        expected = 300 * machine.table.latency_ms(own)
        assert made.latency_ms(own) == pytest.approx(expected, rel=0.05)


def test_it_is_made_from_the_tables_that_a_device_has(run: Run, table: LatencyTable) -> None:
    table.save(tables_folder(Path("cache")))
    [found] = json.loads(run("--from-table", "host", "--budget", "6", "--json").stdout)
    assert found["transferred"]["source"] == table.key.describe()


@pytest.mark.parametrize("budget", ["4", "101", "0", "-1"])
def test_a_budget_out_of_range_is_refused(run: Run, budget: str) -> None:
    done = run("--from-table", "board.latency.csv", "--budget", budget, code=2)
    assert f"--budget must be from 5 to 100 networks, got {budget}" in done.stderr


def test_a_budget_without_a_table_is_refused(run: Run) -> None:
    assert "give --from-table too" in run("--budget", "20", code=2).stderr


def test_a_device_without_tables_is_named_with_what_to_do(run: Run, table: LatencyTable) -> None:
    done = run("--from-table", "pixel6", code=1)
    assert "device 'pixel6' has no latency table in the cache" in done.stderr
    assert "nasc profile --device pixel6; or take one from elsewhere: nasc tables import FILE" in (
        " ".join(done.stderr.split())
    )
    table.save(tables_folder(Path("cache")))
    assert "Devices with tables there: host." in run("--from-table", "pixel6", code=1).stderr


def test_what_is_neither_a_device_nor_a_table_is_refused(run: Run) -> None:
    assert "no latency table 'nothing'" in run("--from-table", "nothing", code=1).stderr


def test_a_transferred_table_is_no_source(run: Run) -> None:
    [found] = json.loads(run("--from-table", "board.latency.csv", "--budget", "5", "--json").stdout)
    done = run("--from-table", found["path"], "--budget", "6", code=1)
    assert "was itself transferred, from one of device 'host'" in " ".join(done.stderr.split())


def test_a_table_of_another_space_is_refused(run: Run) -> None:
    other: SearchSpace = dataclasses.replace(SPACE, hidden_sizes=(8, 32))
    Path("other.latency.csv").write_text(sound_table(other).to_text(), encoding="utf-8")
    done = run("--from-table", "other.latency.csv", code=2)
    assert "Take one of the same space: nasc tables list" in " ".join(done.stderr.split())
