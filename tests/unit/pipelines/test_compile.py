"""Deciding about a network that was measured: accepted, or limits tightened, or given up."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from device_profiles import DeviceProfile, Noise, find
from nasc.architecture.space import PRESETS
from nasc.architecture.variant import Variant
from nasc.context.settings import Settings
from nasc.errors import InfeasibleLimits, LimitsMissed, PackageError, UsageError
from nasc.latency.session import MeasurementSession
from nasc.lowering import Artifact
from nasc.package.measured_latency import PredictedLatency
from nasc.pipelines import compile as pipeline
from nasc.pipelines.compile import (
    BUSY_REPEATS,
    MAX_ATTEMPTS,
    _Candidate,
    _Compilation,
    _Exported,
    _State,
    default_name,
)
from nasc.pipelines.options import Options
from nasc.pipelines.result import CompileResult
from nasc.solver.problem import Limits
from nasc.utils.progress import Silent

LIMIT_MS = 10.0
FP32, INT8 = Variant("onnxruntime", "fp32"), Variant("onnxruntime", "int8")


class Costs:
    """Holds 2% over what is predicted."""

    def upper(self, metric: str, value: float, variant: Variant) -> float:
        return 1.02 * value


@dataclass
class Context:
    """Networks of `least_ms` or more can be had, by variant."""

    least_ms: dict[Variant, float]
    reporter: Silent
    device: DeviceProfile = field(default_factory=lambda: find("host"))
    settings: Settings = field(default_factory=Settings)
    head: str = "embed"

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(self.least_ms)

    def measure_costs(self, variants: Sequence[Variant]) -> Costs:
        return Costs()

    def check_inputs(self) -> None:
        pass

    def with_vocabulary(self, network: Any) -> Any:
        return network


def check_feasible(context: Context, limits: Limits, variants: Sequence[Variant]) -> None:
    assert limits.latency_ms is not None
    if limits.latency_ms < min(context.least_ms[v] for v in variants):
        raise InfeasibleLimits("nothing is that fast", certificate=None)


@pytest.fixture(autouse=True)
def promising(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants allowed are."""
    monkeypatch.setattr(pipeline, "check_feasible", check_feasible)
    monkeypatch.setattr(
        pipeline, "promising_variants", lambda context, limits, allowed: list(allowed)
    )


class Deciding(_Compilation):
    """A compilation that keeps its last state, to be looked at."""

    state: _State

    def accepted(self, exported: Any) -> Any:
        """What `accept` gives, its state kept."""
        found, self.state = self.accept(self.state, exported)
        return found


def compilation(fp32_ms: float = 1.0, int8_ms: float = 1.0) -> Any:
    context: Any = Context({FP32: fp32_ms, INT8: int8_ms}, Silent())
    found = Deciding(context, Limits(latency_ms=LIMIT_MS), Options(), Path("out"))
    found.state = _State(found.limits, context.variants, context.variants)
    return found


def measured(
    tmp_path: Path,
    value_ms: float,
    upper_ms: float,
    predicted_ms: float,
    earlier_ms: tuple[float, ...] = (),
    is_quiet: bool = True,
) -> Any:
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
    path.write_bytes(b"model")
    network: Any = SimpleNamespace(architecture=PRESETS["minilm-l6"].teacher)
    latency: Any = SimpleNamespace(
        latency_ms=value_ms,
        is_quiet=is_quiet,
        held_ms=lambda quantile: upper_ms,
        value_ms=lambda quantile: value_ms,
    )
    return _Exported(
        _Candidate(network, "onnxruntime", None),
        Artifact(path, (), "onnxruntime", "fp32", 3),
        PredictedLatency(predicted_ms, predicted_ms, predicted_ms),
        {},
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
    assert one.accepted(exported) is exported  # 9.7 * 9.7 / 9.5 < 10
    assert one.state.attempts[-1].met


@pytest.mark.parametrize(
    ("noise", "peak", "fits"),
    [
        (Noise(), 970, True),
        (Noise(), 972, False),
        (Noise(peak_room=0.01), 972, True),
        (Noise(peak_room=0.2), 833, True),
        (Noise(peak_room=0.2), 834, False),
    ],
)
def test_peak_memory_leaves_the_room_that_processes_of_the_device_need(
    tmp_path: Path, noise: Noise, peak: int, fits: bool
) -> None:
    one = compilation()
    one.context.device = dataclasses.replace(one.context.device, noise=noise)
    one.limits = Limits(latency_ms=LIMIT_MS, peak_memory_bytes=1000.0)
    state = dataclasses.replace(one.state, limits=one.limits)
    exported = dataclasses.replace(measured(tmp_path, 5.0, 5.1, 5.0), peak_bytes=peak)
    found = one.check_limits(state, exported)
    assert not found.over
    assert list(found.tighter) == ([] if fits else ["peak_memory_bytes"])


def test_a_bound_without_that_room_tightens_by_what_was_off(tmp_path: Path) -> None:
    one = compilation()
    assert one.accepted(measured(tmp_path, 9.5, 9.9, 9.0)) is None  # 9.9 * 9.9 / 9.5 > 10
    assert "leaves less than 4.2% to 10" in one.state.attempts[-1].note
    # What the search held was 1.02 * 9.0; what was held to 10 / (9.9 / 9.5) was 9.9.
    assert one.state.limits.latency_ms == pytest.approx(1.02 * 9.0 * (10 / (9.9 / 9.5)) / 9.9)


def test_room_is_judged_by_all_measurements_of_the_architecture(tmp_path: Path) -> None:
    one = compilation()
    exported = measured(tmp_path, 9.5, 9.9, 9.0, earlier_ms=(9.6,))  # 9.6 * 10.32 < 10**2
    assert not one.check_limits(one.state, exported).tighter
    assert one.accepted(exported) is exported
    exported = measured(tmp_path, 9.5, 9.9, 9.0, earlier_ms=(9.8,))
    assert one.check_limits(one.state, exported).tighter
    assert one.accepted(exported) is None
    # Under its limit by its own bound it must be, whatever was measured before.
    exported = measured(tmp_path, 10.0, 10.1, 9.0, earlier_ms=(9.0,))
    assert one.check_limits(one.state, exported).tighter
    assert one.accepted(exported) is None
    assert "latency_ms 10.1 is over 10" in one.state.attempts[-1].note
    assert one.state.limits.latency_ms < 1.02 * 9.0  # it is not found again


def test_without_a_smaller_network_the_bound_alone_decides(tmp_path: Path) -> None:
    exported = measured(tmp_path, 9.5, 9.9, 9.0)
    one = compilation(9.5, 9.5)
    assert one.accepted(exported) is exported
    assert one.state.attempts[-1].met
    result: Any = SimpleNamespace(
        manifest=SimpleNamespace(
            architecture=exported.network.architecture,
            conditions=SimpleNamespace(runtime="onnxruntime"),
        ),
        attempts=one.state.attempts,
    )
    (note,) = CompileResult.tight(result)
    assert note.startswith("latency_ms 9.9 leaves less than 4.2% to 10: nasc verify may")
    with pytest.raises(LimitsMissed, match=r"1 measurements of networks.*latency_ms 10\.2 is over"):
        compilation(9.5, 9.5).accepted(measured(tmp_path, 9.9, 10.2, 9.0))


def test_only_precisions_still_allowed_count_as_smaller(tmp_path: Path) -> None:
    one = compilation(fp32_ms=9.5, int8_ms=1.0)
    exported = measured(tmp_path, 9.5, 9.9, 9.0)
    assert one.accepted(exported) is None
    one = compilation(fp32_ms=9.5, int8_ms=1.0)
    one.state = dataclasses.replace(one.state, allowed=(FP32,))
    assert one.accepted(exported) is exported


def test_precisions_are_weighed_again_under_tightened_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float | None] = []

    def promising(context: Any, limits: Limits, allowed: Sequence[Variant]) -> list[Variant]:
        asked.append(limits.latency_ms)
        return list(allowed)

    monkeypatch.setattr(pipeline, "promising_variants", promising)
    one = compilation(fp32_ms=1.0, int8_ms=9.4)
    one.state = dataclasses.replace(one.state, variants=(INT8,))
    assert one.accepted(measured(tmp_path, 9.9, 10.2, 9.0)) is None  # no longer with int8
    assert one.state.variants == (FP32, INT8)
    assert asked == [one.state.limits.latency_ms]


def test_it_gives_up_after_some_attempts(tmp_path: Path) -> None:
    one = compilation()
    for _ in range(MAX_ATTEMPTS - 1):
        assert one.accepted(measured(tmp_path, 12.0, 12.2, 9.0)) is None
    with pytest.raises(LimitsMissed, match=f"{MAX_ATTEMPTS} measurements of networks"):
        one.accepted(measured(tmp_path, 12.0, 12.2, 9.0))


def test_an_earlier_network_under_the_limit_is_better_than_giving_up(tmp_path: Path) -> None:
    one = compilation()
    under = measured(tmp_path, 9.5, 9.9, 9.0)
    assert one.accepted(under) is None
    for _ in range(MAX_ATTEMPTS - 2):
        assert one.accepted(measured(tmp_path, 12.0, 12.2, 9.0)) is None
    assert one.accepted(measured(tmp_path, 12.0, 12.2, 9.0)) is under
    with pytest.raises(LimitsMissed):  # once: its training may have changed its latency
        one.accepted(measured(tmp_path, 12.0, 12.2, 9.0))


def test_a_quantile_without_a_bound_is_no_latency(tmp_path: Path) -> None:
    with pytest.raises(LimitsMissed, match="has no upper bound"):
        compilation().accepted(measured(tmp_path, 9.5, float("inf"), 9.0))


def run_with(
    monkeypatch: pytest.MonkeyPatch, visits: list[Any], untrained: object, trained: object
) -> tuple[Any, Any, list[object]]:
    """A compilation whose measurements are given; its result, and what was measured."""
    one, asked = compilation(), []

    def measure(state: _State, candidate: object, artifact: object) -> object:
        one.state = state
        asked.append(candidate)
        return dataclasses.replace(visits[len(asked) - 1], candidate=candidate), state

    def package(state: _State, exported: object, parity: object, evaluator: object) -> object:
        one.state = state
        return exported

    monkeypatch.setattr(pipeline, "ArtifactEvaluator", lambda *about: None)
    one.measure = measure
    one.lower = lambda candidate, folder: None
    one.choose = lambda state: untrained
    one.finish = lambda candidate, evaluator: trained
    one.check = lambda state, candidate, artifact, evaluator: ("parity", state)
    one.package = package
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
    assert [(a.met, a.held_ms, a.note) for a in one.state.attempts] == [
        (True, 9.1, ""),
        (False, 10.2, "latency_ms 10.2 is over 10; measured once more"),
        (True, 9.1, ""),
    ]


def test_a_network_that_only_lacks_room_is_measured_once_more_before_another_halving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).candidate for _ in range(2))
    wide = measured(tmp_path, 9.5, 9.8, 9.0)  # 9.8 * 9.8 / 9.5 > 10
    narrow = measured(tmp_path, 9.5, 9.6, 9.0, earlier_ms=(10.1,))
    last = measured(tmp_path, 9.5, 9.6, 9.0, earlier_ms=(10.1, 9.7))
    one, found, asked = run_with(monkeypatch, [wide, narrow, last], untrained, trained)
    assert asked == [untrained, untrained, trained]
    assert found.measured is last.measured
    assert [a.note for a in one.state.attempts] == [
        "latency_ms 9.8 leaves less than 3.2% to 10; measured once more",
        "",
        "",
    ]
    assert one.state.limits == one.limits


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
    assert one.state.limits == one.limits


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
    assert one.state.limits.latency_ms < one.limits.latency_ms


def test_a_refusal_is_about_one_variant_and_the_others_are_weighed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of those that cannot win are not measured because another was refused."""
    other = Variant("openvino", "int8")
    monkeypatch.setattr(pipeline, "promising_variants", lambda context, limits, allowed: [other])
    one = compilation()
    one.context.least_ms[other] = 1.0
    one.state = dataclasses.replace(one.state, allowed=(FP32, INT8, other), variants=(INT8,))
    exported = measured(tmp_path, 9.5, 9.6, 9.5)
    network: Any = SimpleNamespace(architecture=PRESETS["minilm-l6"].teacher.with_precision("int8"))
    mine = dataclasses.replace(exported.candidate, network=network)
    theirs = dataclasses.replace(mine, runtime="openvino")
    for candidate in (mine, theirs):
        tried = dataclasses.replace(exported, candidate=candidate)
        one.state = one.recorded(one.state, tried, met=True)
    evaluator: Any = SimpleNamespace(parity=lambda network, artifact: (None, "vectors are off"))
    report, state = one.check(one.state, mine, exported.artifact, evaluator)
    assert report is None
    assert (state.allowed, state.variants) == ((FP32, other), (other,))
    assert [(a.runtime, a.met, a.note) for a in state.attempts] == [
        ("onnxruntime", False, "int8 refused: vectors are off"),
        ("openvino", True, ""),
    ]


def test_a_runtime_that_nothing_is_packed_for_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "SHIPPED", ("onnxruntime",))
    with pytest.raises(UsageError, match=r"no packages for the runtime tvm yet.*--runtime onnx"):
        pipeline.compile(Limits(latency_ms=5.0), Settings(runtime="tvm"))


def test_a_device_that_no_package_can_be_written_for_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MeasurementSession, "processor", {"arch": "riscv64", "flags": []})
    with pytest.raises(PackageError, match=r"no package for tvm .* 'host': TVM's runtime is"):
        pipeline.compile(Limits(latency_ms=5.0), Settings(runtime="tvm"))
