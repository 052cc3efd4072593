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
from nasc.errors import InfeasibleLimits, LimitsMissed
from nasc.lowering import Artifact
from nasc.package.measured_latency import PredictedLatency
from nasc.pipelines.compiling import choosing, steps
from nasc.pipelines.compiling.deciding import (
    BUSY_REPEATS,
    MAX_ATTEMPTS,
    accept,
    check_measured,
    check_parity,
    recorded,
)
from nasc.pipelines.compiling.state import ChosenNetwork, Compilation, MeasuredNetwork, State
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

    @property
    def tables(self) -> Any:
        return SimpleNamespace(measure_costs=lambda variants: Costs())

    @property
    def inputs(self) -> Any:
        return SimpleNamespace(with_vocabulary=lambda network: network)

    def check_inputs(self) -> None:
        pass


def check_feasible(context: Context, limits: Limits, variants: Sequence[Variant]) -> None:
    assert limits.latency_ms is not None
    if limits.latency_ms < min(context.least_ms[v] for v in variants):
        raise InfeasibleLimits("nothing is that fast", certificate=None)


@pytest.fixture(autouse=True)
def promising(monkeypatch: pytest.MonkeyPatch) -> None:
    """All variants allowed are."""
    monkeypatch.setattr(choosing, "check_feasible", check_feasible)
    monkeypatch.setattr(
        choosing, "promising_variants", lambda context, limits, allowed, **about: list(allowed)
    )


@dataclass
class Deciding:
    """A compilation with its last state, to be looked at."""

    compilation: Compilation
    state: State

    @property
    def limits(self) -> Limits:
        return self.compilation.limits

    @property
    def context(self) -> Any:
        return self.compilation.context

    def accepted(self, one: Any) -> Any:
        """What `accept` gives, its state kept."""
        found, self.state = accept(self.compilation, self.state, one)
        return found

    def tighter(self, one: Any) -> Any:
        """What of the limits would be tightened."""
        return check_measured(self.compilation, self.state, one).tighter


def compilation(fp32_ms: float = 1.0, int8_ms: float = 1.0, **limits: float) -> Deciding:
    context: Any = Context({FP32: fp32_ms, INT8: int8_ms}, Silent())
    found = Compilation(context, Limits(latency_ms=LIMIT_MS, **limits), Options(), Path("out"))
    return Deciding(found, State(found.limits, context.variants, context.variants))


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
    return MeasuredNetwork(
        ChosenNetwork(network, "onnxruntime", None),
        Artifact(path, (), "onnxruntime", "fp32", 3),
        PredictedLatency(predicted_ms, predicted_ms, predicted_ms),
        {},
        latency,
        None,
        1,
        (*earlier_ms, upper_ms**2 / value_ms),
    )


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
    one = compilation(peak_memory_bytes=1000.0)
    one.context.device = dataclasses.replace(one.context.device, noise=noise)
    exported = dataclasses.replace(measured(tmp_path, 5.0, 5.1, 5.0), peak_bytes=peak)
    found = check_measured(one.compilation, one.state, exported)
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
    assert not one.tighter(exported)
    assert one.accepted(exported) is exported
    exported = measured(tmp_path, 9.5, 9.9, 9.0, earlier_ms=(9.8,))
    assert one.tighter(exported)
    assert one.accepted(exported) is None
    # Under its limit by its own bound it must be, whatever was measured before.
    exported = measured(tmp_path, 10.0, 10.1, 9.0, earlier_ms=(9.0,))
    assert one.tighter(exported)
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


@pytest.mark.parametrize(("minutes", "trains"), [(None, True), (0.0, False)])
def test_precisions_are_weighed_again_under_tightened_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float | None, trains: bool
) -> None:
    asked: list[tuple[float | None, bool]] = []
    out: list[Any] = []

    def promising(
        context: Any, limits: Limits, allowed: Sequence[Variant], trains: bool, missed: Any = ()
    ) -> list[Variant]:
        asked.append((limits.latency_ms, trains))
        out.append(set(missed))
        return list(allowed)

    monkeypatch.setattr(choosing, "promising_variants", promising)
    one = compilation(fp32_ms=1.0, int8_ms=9.4)
    options = dataclasses.replace(one.compilation.options, distill_minutes=minutes)
    one.compilation = dataclasses.replace(one.compilation, options=options)
    choosing.start(one.compilation)
    one.state = dataclasses.replace(one.state, variants=(INT8,))
    assert one.accepted(measured(tmp_path, 9.9, 10.2, 9.0)) is None  # no longer with int8
    assert one.state.variants == (FP32, INT8)
    assert asked == [(LIMIT_MS, trains), (one.state.limits.latency_ms, trains)]
    assert out == [set(), one.state.missed]
    assert [which for which, _ in one.state.missed] == [one.state.attempts[0].architecture]


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
    one, asked, compared = compilation(), [], []

    def name_of(chosen: object) -> str:
        return "trained" if chosen is trained else "untrained"

    def lower(about: object, chosen: object, folder: Path) -> Artifact:
        path = folder / name_of(chosen)
        path.touch()
        return Artifact(path, (), "onnxruntime", "fp32", 1)

    def measure(about: object, state: State, chosen: object, artifact: Artifact) -> object:
        one.state = state
        asked.append(chosen)
        assert artifact.path.name == name_of(chosen)
        visit = dataclasses.replace(visits[len(asked) - 1], chosen=chosen, artifact=artifact)
        return visit, state

    def check_parity(about: object, state: State, chosen: object, *rest: object) -> object:
        compared.append(chosen)
        return "parity", state

    def package(about: object, state: State, shipped: object, *judged: object) -> object:
        one.state = state
        return shipped

    monkeypatch.setattr(steps, "ArtifactEvaluator", lambda *about, **asked: None)
    monkeypatch.setattr(steps, "measure", measure)
    monkeypatch.setattr(steps, "lower", lower)
    monkeypatch.setattr(steps, "choose", lambda *about: untrained)
    monkeypatch.setattr(steps, "finish", lambda *about: trained)
    monkeypatch.setattr(steps, "check_parity", check_parity)
    monkeypatch.setattr(steps, "package", package)
    found = steps.run(one.compilation)
    assert compared == [trained]  # once, and nothing that is trained yet
    return one, found, asked


def test_a_trained_network_is_measured_once_more_before_its_training_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).chosen for _ in range(2))
    disturbed = measured(tmp_path, 9.9, 10.2, 9.0, earlier_ms=(9.2,))
    quiet = measured(tmp_path, 9.0, 9.1, 9.0, earlier_ms=(9.2, 10.5))
    visits = [measured(tmp_path, 9.0, 9.1, 9.0), disturbed, quiet]
    one, found, asked = run_with(monkeypatch, visits, untrained, trained)
    assert found.latency is quiet.latency
    assert asked == [untrained, trained, trained]
    assert [(a.met, a.held_ms, a.note) for a in one.state.attempts] == [
        (True, 9.1, ""),
        (False, 10.2, "latency_ms 10.2 is over 10; measured once more"),
        (True, 9.1, ""),
    ]


def test_a_network_that_only_lacks_room_is_measured_once_more_before_another_halving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).chosen for _ in range(2))
    wide = measured(tmp_path, 9.5, 9.8, 9.0)  # 9.8 * 9.8 / 9.5 > 10
    narrow = measured(tmp_path, 9.5, 9.6, 9.0, earlier_ms=(10.1,))
    last = measured(tmp_path, 9.5, 9.6, 9.0, earlier_ms=(10.1, 9.7))
    one, found, asked = run_with(monkeypatch, [wide, narrow, last], untrained, trained)
    assert asked == [untrained, untrained, trained]
    assert found.latency is last.latency
    assert [a.note for a in one.state.attempts] == [
        "latency_ms 9.8 leaves less than 3.2% to 10; measured once more",
        "",
        "",
    ]
    assert one.state.limits == one.limits


def test_what_falls_short_on_a_busy_machine_is_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).chosen for _ in range(2))
    busy = measured(tmp_path, 13.0, 15.0, 9.0, is_quiet=False)
    quiet = measured(tmp_path, 9.0, 9.1, 9.0)
    visits = [busy, busy, quiet, quiet]
    one, found, asked = run_with(monkeypatch, visits, untrained, trained)
    assert asked == [untrained, untrained, untrained, trained]
    assert found.latency is quiet.latency
    assert one.state.limits == one.limits


def test_a_machine_that_stays_busy_ends_in_another_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrained, trained = (measured(tmp_path, 9.0, 9.1, 9.0).chosen for _ in range(2))
    busy = measured(tmp_path, 13.0, 15.0, 9.0, is_quiet=False)
    quiet = measured(tmp_path, 9.0, 9.1, 9.0)
    visits = [busy] * (1 + BUSY_REPEATS) + [quiet, quiet]
    one, found, asked = run_with(monkeypatch, visits, untrained, trained)
    assert len(asked) == 3 + BUSY_REPEATS
    assert found.latency is quiet.latency
    assert one.state.limits.latency_ms < one.limits.latency_ms


def test_a_refusal_is_about_one_variant_and_the_others_are_weighed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables of those that cannot win are not measured because another was refused."""
    other = Variant("openvino", "int8")
    monkeypatch.setattr(choosing, "promising_variants", lambda *given, **more: [other])
    one = compilation()
    one.context.least_ms[other] = 1.0
    over, no_room = (("keep | keep | keep @ fp32", runtime) for runtime in ("onnxruntime", "other"))
    one.state = dataclasses.replace(
        one.state, allowed=(FP32, INT8, other), variants=(INT8,), missed={over, no_room}
    )
    exported = measured(tmp_path, 9.5, 9.6, 9.5)
    network: Any = SimpleNamespace(architecture=PRESETS["minilm-l6"].teacher.with_precision("int8"))
    mine = dataclasses.replace(exported.chosen, network=network)
    theirs = dataclasses.replace(mine, runtime="openvino")
    fp32: Any = SimpleNamespace(architecture=PRESETS["minilm-l6"].teacher)
    large = dataclasses.replace(mine, network=fp32)
    roomless = dataclasses.replace(large, runtime="other")
    for candidate in (mine, theirs, large, roomless):
        tried = dataclasses.replace(exported, chosen=candidate)
        one.state = recorded(one.compilation, one.state, tried, met=candidate is not large)
    evaluator: Any = SimpleNamespace(parity=lambda network, artifact: (None, "vectors are off"))
    report, state = check_parity(one.compilation, one.state, mine, exported.artifact, evaluator)
    assert report is None
    assert (state.allowed, state.variants) == ((FP32, other), (other,))
    assert state.missed == {over}, "what was over a limit is over it still"
    assert [(a.runtime, a.met, a.note) for a in state.attempts] == [
        ("onnxruntime", False, "int8 refused: vectors are off"),
        ("openvino", True, ""),
        ("onnxruntime", False, ""),
        ("other", True, ""),
    ]
