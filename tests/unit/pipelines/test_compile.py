"""Deciding about a network that was measured: accepted, or limits tightened, or given up."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.architecture.space import PRESETS
from nasc.errors import InfeasibleLimits, LimitsMissed
from nasc.lowering import Artifact
from nasc.package.manifest import PredictedLatency
from nasc.pipelines.compile import (
    BUSY_REPEATS,
    MAX_ATTEMPTS,
    _Candidate,
    _Compilation,
    _Exported,
    default_name,
)
from nasc.pipelines.options import Options
from nasc.pipelines.result import CompileResult
from nasc.solver.problem import Limits
from nasc.utils.progress import Silent

LIMIT_MS = 10.0


class Costs:
    """Holds 2% over what is predicted."""

    def upper(self, metric: str, value: float, precision: str) -> float:
        return 1.02 * value


@dataclass
class Bench:
    """Networks of `least_ms` or more can be had, by precision."""

    least_ms: dict[str, float]
    costs: Costs
    reporter: Silent
    space: Any

    def costs_in(self, *precisions: str) -> Costs:
        return self.costs

    def check_feasible(self, limits: Limits, precisions: list[str] | None = None) -> None:
        assert limits.latency_ms is not None
        if limits.latency_ms < min(self.least_ms[p] for p in precisions or self.least_ms):
            raise InfeasibleLimits("nothing is that fast", certificate=None)


@pytest.fixture(autouse=True)
def promising(monkeypatch: pytest.MonkeyPatch) -> None:
    """All precisions allowed are."""
    monkeypatch.setattr(
        "nasc.pipelines.compile.promising_precisions", lambda bench, limits, allowed: list(allowed)
    )


def compilation(fp32_ms: float = 1.0, int8_ms: float = 1.0) -> Any:
    least_ms = {"fp32": fp32_ms, "int8": int8_ms}
    bench: Any = Bench(least_ms, Costs(), Silent(), PRESETS["minilm-l6"])
    return _Compilation(bench, Limits(latency_ms=LIMIT_MS), Options(), Path("out"))


def measured(
    tmp_path: Path,
    value_ms: float,
    upper_ms: float,
    predicted_ms: float,
    earlier_ms: tuple[float, ...] = (),
    is_quiet: bool = True,
) -> Any:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"model")
    network: Any = SimpleNamespace(architecture=PRESETS["minilm-l6"].teacher)
    latency: Any = SimpleNamespace(
        model=SimpleNamespace(latency_ms=value_ms, is_quiet=is_quiet),
        held_ms=lambda quantile: upper_ms,
        value_ms=lambda quantile: value_ms,
    )
    return _Exported(
        _Candidate(network, None),
        Artifact(path, (), "onnxruntime", "fp32", 3),
        PredictedLatency(predicted_ms, predicted_ms, predicted_ms),
        latency,
        None,
        1,
        (*earlier_ms, upper_ms**2 / value_ms),
    )


def test_packages_of_other_limits_or_tasks_have_other_names() -> None:
    limits = Limits(latency_ms=5.0, size_bytes=20_000_000)
    assert default_name("host", limits, None) == "nasc-host-5ms-20000000B"
    assert default_name("a/board.toml", limits, "sst-2") == "nasc-board-5ms-20000000B-sst-2"


def test_a_bound_with_room_for_its_repetition_is_accepted(tmp_path: Path) -> None:
    one = compilation()
    exported = measured(tmp_path, 9.5, 9.7, 9.5)
    assert one.accept(exported) is exported  # 9.7 * 9.7 / 9.5 < 10
    assert one.attempts[-1].met


def test_a_bound_without_that_room_tightens_by_what_was_off(tmp_path: Path) -> None:
    one = compilation()
    assert one.accept(measured(tmp_path, 9.5, 9.9, 9.0)) is None  # 9.9 * 9.9 / 9.5 > 10
    assert "leaves less than 4.2% to 10" in one.attempts[-1].note
    # What the search held was 1.02 * 9.0; what was held to 10 / (9.9 / 9.5) was 9.9.
    assert one.tightened.latency_ms == pytest.approx(1.02 * 9.0 * (10 / (9.9 / 9.5)) / 9.9)


def test_room_is_judged_by_all_measurements_of_the_architecture(tmp_path: Path) -> None:
    one = compilation()
    exported = measured(tmp_path, 9.5, 9.9, 9.0, earlier_ms=(9.6,))  # 9.6 * 10.32 < 10**2
    assert not one.check_limits(exported).tighter
    assert one.accept(exported) is exported
    exported = measured(tmp_path, 9.5, 9.9, 9.0, earlier_ms=(9.8,))
    assert one.check_limits(exported).tighter
    assert one.accept(exported) is None
    # Under its limit by its own bound it must be, whatever was measured before.
    exported = measured(tmp_path, 10.0, 10.1, 9.0, earlier_ms=(9.0,))
    assert one.check_limits(exported).tighter
    assert one.accept(exported) is None
    assert "latency_ms 10.1 is over 10" in one.attempts[-1].note
    assert one.tightened.latency_ms < 1.02 * 9.0  # it is not found again


def test_without_a_smaller_network_the_bound_alone_decides(tmp_path: Path) -> None:
    exported = measured(tmp_path, 9.5, 9.9, 9.0)
    one = compilation(9.5, 9.5)
    assert one.accept(exported) is exported
    assert one.attempts[-1].met
    result: Any = SimpleNamespace(
        manifest=SimpleNamespace(architecture=exported.network.architecture), attempts=one.attempts
    )
    (note,) = CompileResult.tight(result)
    assert note.startswith("latency_ms 9.9 leaves less than 4.2% to 10: nasc verify may")
    with pytest.raises(LimitsMissed, match=r"1 measurements of networks.*latency_ms 10\.2 is over"):
        compilation(9.5, 9.5).accept(measured(tmp_path, 9.9, 10.2, 9.0))


def test_only_precisions_still_allowed_count_as_smaller(tmp_path: Path) -> None:
    one = compilation(fp32_ms=9.5, int8_ms=1.0)
    exported = measured(tmp_path, 9.5, 9.9, 9.0)
    assert one.accept(exported) is None
    one = compilation(fp32_ms=9.5, int8_ms=1.0)
    one.allowed = ["fp32"]
    assert one.accept(exported) is exported


def test_precisions_are_weighed_again_under_tightened_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def promising(bench: Any, limits: Limits, allowed: list[str]) -> list[str]:
        asked.append(limits.latency_ms)
        return allowed

    monkeypatch.setattr("nasc.pipelines.compile.promising_precisions", promising)
    one = compilation(fp32_ms=1.0, int8_ms=9.4)
    one.precisions = ["int8"]
    assert one.accept(measured(tmp_path, 9.9, 10.2, 9.0)) is None  # no longer with int8
    assert one.precisions == ["fp32", "int8"]
    assert asked == [one.tightened.latency_ms]


def test_it_gives_up_after_some_attempts(tmp_path: Path) -> None:
    one = compilation()
    for _ in range(MAX_ATTEMPTS - 1):
        assert one.accept(measured(tmp_path, 12.0, 12.2, 9.0)) is None
    with pytest.raises(LimitsMissed, match=f"{MAX_ATTEMPTS} measurements of networks"):
        one.accept(measured(tmp_path, 12.0, 12.2, 9.0))


def test_an_earlier_network_under_the_limit_is_better_than_giving_up(tmp_path: Path) -> None:
    one = compilation()
    under = measured(tmp_path, 9.5, 9.9, 9.0)
    assert one.accept(under) is None
    for _ in range(MAX_ATTEMPTS - 2):
        assert one.accept(measured(tmp_path, 12.0, 12.2, 9.0)) is None
    assert one.accept(measured(tmp_path, 12.0, 12.2, 9.0)) is under
    with pytest.raises(LimitsMissed):  # once: its training may have changed its latency
        one.accept(measured(tmp_path, 12.0, 12.2, 9.0))


def test_a_quantile_without_a_bound_is_no_latency(tmp_path: Path) -> None:
    with pytest.raises(LimitsMissed, match="has no upper bound"):
        compilation().accept(measured(tmp_path, 9.5, float("inf"), 9.0))


def run_with(
    monkeypatch: pytest.MonkeyPatch, visits: list[Any], untrained: object, trained: object
) -> tuple[Any, Any, list[object]]:
    """A compilation whose measurements are given; its result, and what was measured."""
    one, asked = compilation(), []
    monkeypatch.setattr(Bench, "check_inputs", lambda self: None, raising=False)
    one.context.session = SimpleNamespace(
        lowering=SimpleNamespace(lower=lambda network, folder: None)
    )

    def measure(candidate: object, path: Path) -> object:
        asked.append(candidate)
        return dataclasses.replace(visits[len(asked) - 1], candidate=candidate)

    one.measure = measure
    one.choose = lambda: untrained
    one.finish = lambda candidate: trained
    one.check = lambda network, artifact: "parity"
    one.package = lambda exported, parity: exported
    return one, one.run(), asked


def test_a_trained_network_is_measured_once_more_before_its_training_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).candidate for _ in range(2))
    disturbed = measured(tmp_path, 9.9, 10.2, 9.0, earlier_ms=(9.2,))
    quiet = measured(tmp_path, 9.0, 9.1, 9.0, earlier_ms=(9.2, 10.5))
    visits = [measured(tmp_path, 9.0, 9.1, 9.0), disturbed, quiet]
    one, found, asked = run_with(monkeypatch, visits, untrained, trained)
    assert found.measured is quiet.measured
    assert asked == [untrained, trained, trained]
    assert [(a.met, a.held_ms, a.note) for a in one.attempts] == [
        (True, 9.1, ""),
        (False, 10.2, "latency_ms 10.2 is over 10; measured once more"),
        (True, 9.1, ""),
    ]


def test_a_network_that_only_lacks_room_is_measured_once_more_before_another_contest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).candidate for _ in range(2))
    wide = measured(tmp_path, 9.5, 9.8, 9.0)  # 9.8 * 9.8 / 9.5 > 10
    narrow = measured(tmp_path, 9.5, 9.6, 9.0, earlier_ms=(10.1,))
    last = measured(tmp_path, 9.5, 9.6, 9.0, earlier_ms=(10.1, 9.7))
    one, found, asked = run_with(monkeypatch, [wide, narrow, last], untrained, trained)
    assert asked == [untrained, untrained, trained]
    assert found.measured is last.measured
    assert [a.note for a in one.attempts] == [
        "latency_ms 9.8 leaves less than 3.2% to 10; measured once more",
        "",
        "",
    ]
    assert one.tightened == one.limits


def test_what_falls_short_on_a_busy_machine_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).candidate for _ in range(2))
    busy = measured(tmp_path, 13.0, 15.0, 9.0, is_quiet=False)
    quiet = measured(tmp_path, 9.0, 9.1, 9.0)
    visits = [busy, busy, quiet, quiet]
    one, found, asked = run_with(monkeypatch, visits, untrained, trained)
    assert asked == [untrained, untrained, untrained, trained]
    assert found.measured is quiet.measured
    assert one.tightened == one.limits


def test_a_machine_that_stays_busy_ends_in_another_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).candidate for _ in range(2))
    busy = measured(tmp_path, 13.0, 15.0, 9.0, is_quiet=False)
    quiet = measured(tmp_path, 9.0, 9.1, 9.0)
    visits = [busy] * (1 + BUSY_REPEATS) + [quiet, quiet]
    one, found, asked = run_with(monkeypatch, visits, untrained, trained)
    assert len(asked) == 3 + BUSY_REPEATS
    assert found.measured is quiet.measured
    assert one.tightened.latency_ms < one.limits.latency_ms
