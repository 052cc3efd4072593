"""Boards that share a measurement, on a made-up machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from device_profiles import find
from nasc.latency.boards import BoardsSession
from profilers import DeviceUnreachable, InputSpec, ModelJob, Protocol
from profilers.testing import SyntheticMachine


def test_where_the_first_board_gives_out_nothing_is_lost(tmp_path: Path) -> None:
    gone: set[str] = set()
    truth_ms = {"reference": 4.0} | {f"m{i}": 2.0 + i for i in range(4)}

    def opener(device: Any, *_: object) -> Any:
        if device.name in gone:
            raise DeviceUnreachable(f"{device.name} is not there")
        return SyntheticMachine(truth_ms).open()

    jobs = []
    for name in truth_ms:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(name.encode())
        jobs.append(ModelJob(name, path, {"x": InputSpec((1, 8))}))
    boards = [dataclasses.replace(find("host"), name=name) for name in ("first", "second")]
    session = BoardsSession.of(boards, tmp_path, opener=opener)
    baseline = session.baseline()
    gone.add("first")
    journal = tmp_path / "work.journal"
    found = session.measure(
        jobs[1:], baseline.scale, protocol=Protocol(min_rounds=3, max_rounds=3), journal=journal
    )
    assert {model.name for model in found.models} == set(truth_ms) - {"reference"}
    assert {board["name"] for board in found.context["boards"]} == {"second"}
    assert found.context["device"] == "first"  # the table is the first's
    assert session.optional_peak_memory(jobs[1]) is not None
    kept = list(tmp_path.glob("*work.journal"))
    assert kept  # until the result is
    session.forget(journal)
    assert not any(path.exists() for path in kept)
