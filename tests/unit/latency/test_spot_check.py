"""Whole networks measured roughly: once, by one process, kept with their samples."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import profilers
from device_profiles import find
from nasc.architecture.space import Geometry, SearchSpace
from nasc.errors import NascError
from nasc.latency import spot_check
from nasc.latency.key import LatencyKey
from nasc.latency.session import MeasurementSession
from nasc.latency.spot_check import probe
from profilers.samples import RoundSample

SPACE = SearchSpace(
    "tiny",
    Geometry(layers=2, hidden=32, head_size=8, intermediate=64, vocab_size=100, max_positions=64),
    n_blocks=2,
    slots=2,
    hidden_sizes=(16, 32),
    operations=("mha", "ffn"),
)
NETWORKS = [SPACE.parse("16: M | 16: F"), SPACE.parse("32: M F | skip")]
KEY = LatencyKey(
    device="host",
    precision="fp32",
    geometry=SPACE.geometry,
    seq_len=16,
    fingerprint="0123456789abcdef",
    runtime_version="1.32.0",
    options="{}",
    emitter_version=1,
    statistic="paired-ratio-median",
    reference="fedcba9876543210",
    quiet_ms=3.9,
)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Names of the jobs of every measurement; a network takes as many ms as its place."""
    calls: list[list[str]] = []

    def measure(jobs: Any, device: Any, *, scale: profilers.Scale, **about: Any) -> Any:
        assert scale.quiet_ms in (KEY.quiet_ms, 2 * KEY.quiet_ms)
        assert all(job.path.stat().st_size > 0 for job in jobs)
        calls.append([job.name for job in jobs])

        class Found(dict[str, Any]):
            def to_dict(self) -> dict[str, Any]:
                return {"samples": [1, 2, 3]}

        def samples(ms: float) -> list[RoundSample]:
            around = (KEY.quiet_ms, KEY.quiet_ms)
            return [RoundSample(r, 0, (ms,), (ms,), (0,), True, *around) for r in range(5)]

        return Found(
            {j.name: SimpleNamespace(samples=samples(i + 1.0)) for i, j in enumerate(jobs)}
        )

    monkeypatch.setattr(profilers, "measure", measure)
    return calls


def probed(cache: Path, key: LatencyKey = KEY, **options: Any) -> list[float]:
    found = probe(NETWORKS, key, MeasurementSession.on(find("host"), cache), **options)
    assert list(found) == [one.architecture for one in found.values()] == NETWORKS
    assert all(0 < one.deviation < 1 and not one.held_out for one in found.values())
    return [one.latency_ms for one in found.values()]


def test_what_was_measured_is_found_again(tmp_path: Path, measured: list[list[str]]) -> None:
    assert probed(tmp_path) == probed(tmp_path) == [1.0, 2.0]
    assert measured == [[str(n) for n in NETWORKS]]
    (path,) = (tmp_path / "tables").glob("*.probes.json")
    assert json.loads(path.read_text())["measurement"] == {"samples": [1, 2, 3]}
    # Ratios hold on any scale: where the quiet time has moved, nothing is measured again.
    assert probed(tmp_path, dataclasses.replace(KEY, quiet_ms=7.8)) == [2.0, 4.0]
    assert len(measured) == 1
    probed(tmp_path, dataclasses.replace(KEY, seq_len=17))
    assert len(measured) == 2


def test_a_damaged_file_is_measured_again(tmp_path: Path, measured: list[list[str]]) -> None:
    probed(tmp_path)
    (path,) = (tmp_path / "tables").glob("*.probes.json")
    half = json.dumps({"ratio": {str(n): 1.0 for n in NETWORKS}, "deviation": {}})
    for content in ("", "{}", '{"ratio": [1]}', '{"ratio": {"a": null}}', half):
        path.write_text(content)
        assert probed(tmp_path) == [1.0, 2.0]
    assert len(measured) == 6


def test_who_waited_finds_what_the_other_measured(
    tmp_path: Path, measured: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = MeasurementSession.alone

    def other_first(*about: Any) -> Any:
        monkeypatch.setattr(MeasurementSession, "alone", alone)
        probed(tmp_path)
        return alone(*about)

    monkeypatch.setattr(MeasurementSession, "alone", other_first)
    assert probed(tmp_path) == [1.0, 2.0]
    assert len(measured) == 1


def test_a_full_disk_is_one_message(
    tmp_path: Path, measured: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*about: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spot_check, "write_atomically", full)
    with pytest.raises(NascError, match=r"No space left on device.*Free some space"):
        probed(tmp_path)
