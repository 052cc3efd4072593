"""Deciding about a network that was measured: accepted, or limits tightened, or given up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.compiler import MAX_ATTEMPTS, Options, _Compilation, _Exported
from nasc.errors import InfeasibleLimits, LimitsMissed
from nasc.package.manifest import PredictedLatency
from nasc.reporting import Silent
from nasc.solver.problem import Limits
from nasc.space import PRESETS

LIMIT_MS = 10.0


class Costs:
    """Holds 2% over what is predicted."""

    def upper(self, metric: str, value: float, precision: str) -> float:
        return 1.02 * value


@dataclass
class Bench:
    """Networks of `least_ms` or more can be had."""

    least_ms: float
    costs: Costs
    reporter: Silent
    space: Any

    def check_feasible(self, limits: Limits) -> None:
        assert limits.latency_ms is not None
        if limits.latency_ms < self.least_ms:
            raise InfeasibleLimits("nothing is that fast", certificate=None)


def compilation(least_ms: float = 1.0) -> Any:
    bench: Any = Bench(least_ms, Costs(), Silent(), PRESETS["minilm-l6"])
    return _Compilation(bench, Limits(latency_ms=LIMIT_MS), Options(), Path("out"))


def measured(tmp_path: Path, value_ms: float, upper_ms: float, predicted_ms: float) -> Any:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    model = SimpleNamespace(latency_ms=value_ms, upper_ms=upper_ms)
    architecture = PRESETS["minilm-l6"].teacher
    return _Exported(
        SimpleNamespace(architecture=architecture, params=1),  # type: ignore[arg-type]
        path,
        PredictedLatency(predicted_ms, predicted_ms, predicted_ms),
        SimpleNamespace(model=model, held_ms=lambda quantile: upper_ms),  # type: ignore[arg-type]
        None,
    )


def test_a_bound_with_room_for_its_repetition_is_accepted(tmp_path: Path) -> None:
    one = compilation()
    assert one.accept(measured(tmp_path, 9.5, 9.7, 9.5))  # 9.7 * 9.7 / 9.5 < 10
    assert one.attempts[-1].met


def test_a_bound_without_that_room_tightens_by_what_was_off(tmp_path: Path) -> None:
    one = compilation()
    assert not one.accept(measured(tmp_path, 9.5, 9.9, 9.0))  # 9.9 * 9.9 / 9.5 > 10
    assert not one.attempts[-1].met
    assert "leaves less than 4.2% to 10" in one.attempts[-1].note
    # What the search held was 1.02 * 9.0; what was held to 10 / (9.9 / 9.5) was 9.9.
    assert one.tightened.latency_ms == pytest.approx(1.02 * 9.0 * (10 / (9.9 / 9.5)) / 9.9)


def test_without_a_smaller_network_the_bound_alone_decides(tmp_path: Path) -> None:
    assert compilation(least_ms=9.5).accept(measured(tmp_path, 9.5, 9.9, 9.0))
    with pytest.raises(LimitsMissed, match=r"1 networks were measured.*10\.2 ms"):
        compilation(least_ms=9.5).accept(measured(tmp_path, 9.9, 10.2, 9.0))


def test_it_gives_up_after_some_attempts(tmp_path: Path) -> None:
    one = compilation()
    for _ in range(MAX_ATTEMPTS - 1):
        assert not one.accept(measured(tmp_path, 12.0, 12.2, 9.0))
    with pytest.raises(LimitsMissed, match=f"{MAX_ATTEMPTS} networks were measured"):
        one.accept(measured(tmp_path, 12.0, 12.2, 9.0))
