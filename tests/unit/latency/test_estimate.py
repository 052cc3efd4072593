"""Latencies that nobody measured: what they follow from, and what they may not become."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from device_profiles import DeviceProfile, Peak, find
from nasc.architecture.space import PRESETS
from nasc.errors import UsageError
from nasc.latency.estimate import estimated_precisions, estimated_table, peak_of
from nasc.latency.plan import random_architectures
from nasc.latency.table import LatencyTable

MINILM = PRESETS["minilm-l6"]
PHONE = find("pixel6")


def table(device: DeviceProfile = PHONE, precision: str = "fp32", threads: int = 1) -> LatencyTable:
    return estimated_table(
        device,
        MINILM,
        runtime="onnxruntime",
        precision=precision,
        seq_len=128,
        batch=1,
        threads=threads,
        head="embed",
        fixed_shape=False,
    )


def totals(made: LatencyTable) -> np.ndarray:
    rng = np.random.default_rng(0)
    networks = random_architectures(MINILM, rng, 20, made.key.precision)
    return np.array([made.latency_ms(network) for network in networks])


def faster(**changes: int | None) -> DeviceProfile:
    [peak] = PHONE.peaks
    return dataclasses.replace(PHONE, peaks=(dataclasses.replace(peak, **changes),))


def test_latency_falls_with_the_clock_the_units_the_threads_and_the_precision() -> None:
    plain = totals(table())
    np.testing.assert_allclose(totals(table(faster(clock_mhz=5604))), plain / 2)
    for other in (faster(fp32_macs_per_cycle=32), faster(clock_mhz=2900)):
        assert (totals(table(other)) < plain).all()
    assert (totals(table(threads=2)) < plain).all()
    assert (totals(table(threads=2)) > plain / 2).all()
    assert (totals(table(precision="int8")) < plain).all()


def test_the_constants_are_those_of_the_processor_they_come_from() -> None:
    """The full-size network took 32.9 ms in fp32 there, of 64 GMAC/s (2026-11-28)."""
    server = faster(clock_mhz=2000, fp32_macs_per_cycle=32)
    found = table(server).predict(MINILM.teacher)
    assert found.latency_ms == pytest.approx(32.9, rel=0.15)


def test_the_interval_goes_to_nearly_twice() -> None:
    found = table().predict(MINILM.teacher)
    assert 0 < found.low_ms < 0.1 * found.latency_ms
    assert found.high_ms == pytest.approx(1.93 * found.latency_ms, rel=0.01)


def test_an_estimate_is_never_kept(tmp_path: Path) -> None:
    made = table()
    assert made.note == made.estimated
    assert str(made.note).startswith("ESTIMATE, not measured: onnxruntime fp32 on device 'pixel6'")
    with pytest.raises(UsageError, match="an estimate is never kept as a latency table"):
        made.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_device_of_which_nothing_is_stated_is_not_estimated() -> None:
    with pytest.raises(UsageError, match=r"device 'host' states no \[\[peaks\]\].*nasc profile"):
        peak_of(find("host"), 1)


def test_only_what_is_stated_is_estimated() -> None:
    assert estimated_precisions(PHONE, 1) == ("fp32", "int8")
    assert estimated_precisions(faster(int8_macs_per_cycle=None), 1) == ("fp32",)
    with pytest.raises(UsageError, match="no peak of Cortex-X1 is stated for int8"):
        table(faster(int8_macs_per_cycle=None), "int8")
    with pytest.raises(UsageError, match=r"has no 4 cores of one kind .* --threads 1"):
        peak_of(PHONE, 4)


def test_the_fastest_cores_of_which_enough_are_there_count() -> None:
    slow = Peak("Cortex-A55", 1803, 4, 16, "made up", "2026-11-29")
    phone = dataclasses.replace(PHONE, peaks=(slow, *PHONE.peaks))
    assert peak_of(phone, 2).core == "Cortex-X1"
    assert peak_of(phone, 4) == slow
