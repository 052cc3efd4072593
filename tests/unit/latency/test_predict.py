"""Solving for costs and calibrating the interval, on a device of known costs."""

import dataclasses

import numpy as np
import pytest
from synthetic_device import NOISE, TINY, SyntheticDevice, fitted

from device_profiles import Noise
from nasc.architecture.space import PRESETS, Architecture, Block, SearchSpace
from nasc.errors import UsageError
from nasc.latency import predict
from nasc.latency.basis import Basis
from nasc.latency.cache_misses import Streaming, network_streamed_params
from nasc.latency.plan import plan, random_architecture
from nasc.latency.predict import Interval, Observation, fit

MINILM = PRESETS["minilm-l6"]


def devices(many: int) -> pytest.MarkDecorator:
    """The test with two devices and with many: to fit one takes more than a second."""
    return pytest.mark.parametrize("seeds", [2, pytest.param(many, marks=pytest.mark.slow)])


def test_without_noise_the_costs_are_recovered_exactly() -> None:
    device, solved = fitted(MINILM, seed=0, noise=0.0)
    np.testing.assert_allclose(solved.costs, device.costs, rtol=1e-6)
    assert np.abs(solved.held_out).max() < 1e-6


@pytest.mark.slow
@devices(5)
def test_with_noise_predictions_are_better_than_a_single_measurement(seeds: int) -> None:
    errors = []
    for seed in range(seeds):
        device, solved = fitted(MINILM, seed)
        rng = np.random.default_rng([seed, 2])
        for _ in range(100):
            network = random_architecture(MINILM, rng)
            exact = device.exact_ms(network)
            errors.append(device.basis.row(network) @ solved.costs / exact - 1)
    assert np.std(errors) < NOISE
    assert abs(np.mean(errors)) < NOISE / 4


@pytest.mark.slow
@devices(10)
def test_costs_lie_within_their_standard_errors(seeds: int) -> None:
    standard = []
    for seed in range(seeds):
        device, solved = fitted(MINILM, seed)
        standard.extend((solved.costs - device.costs) / solved.errors)
    assert np.mean(np.abs(standard) < 2) > 0.85
    assert np.mean(np.abs(standard) < 0.2) < 0.35  # nor are the errors far too wide


@pytest.mark.slow
@pytest.mark.parametrize(
    "space", [TINY, pytest.param(MINILM, marks=pytest.mark.slow)], ids=lambda s: s.name
)
def test_intervals_cover_nine_of_ten_new_measurements(space: SearchSpace) -> None:
    covered = []
    for seed in range(24):
        device, solved = fitted(space, seed)
        rng = np.random.default_rng([seed, 2])
        interval = dataclasses.replace(solved.interval, jitter_ms=0.0)  # `TINY` takes no time
        at_another_time = 1 + device.shift()
        for _ in range(50):
            network = random_architecture(space, rng)
            predicted = interval.around(float(device.basis.row(network) @ solved.costs))
            measured = device.measure_ms(network) * at_another_time
            covered.append(predicted.low_ms <= measured <= predicted.high_ms)
    assert 0.85 <= np.mean(covered) <= 0.95


@pytest.mark.slow
def test_weights_beyond_the_caches_have_a_price_of_their_own() -> None:
    # 1.4 million parameters stay; a fifth of the latency of a large network is streaming
    truth = Streaming(1_414_214.0, 1e-6)
    device, solved = fitted(MINILM, 0, 0.002, truth)
    assert solved.streaming.beyond_params == truth.beyond_params
    assert solved.streaming.ms_per_param == pytest.approx(truth.ms_per_param, rel=0.1)
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(100):
        network = random_architecture(MINILM, rng)
        params = network_streamed_params(network, MINILM.geometry, "embed")
        predicted = device.basis.row(network) @ solved.costs + solved.streaming.extra_ms(params)
        errors.append(predicted / device.exact_ms(network) - 1)
    assert np.abs(errors).mean() < 0.004


@devices(5)
def test_a_device_that_adds_up_has_no_such_price(seeds: int) -> None:
    for seed in range(seeds):
        _, solved = fitted(MINILM, seed)
        assert solved.streaming == Streaming()


@pytest.mark.parametrize("values", [(-1.0, 0.0), (0.0, -1.0), (float("nan"), 0.0)])
def test_a_price_of_nonsense_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="makes no sense"):
        Streaming(*values)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_disturbed_network_bends_neither_costs_nor_interval(factor: float) -> None:
    planned = plan(MINILM, 0, seq_len=32)
    device = SyntheticDevice(planned.basis, 0)
    observations = device.observe(planned)
    _, clean = fitted(MINILM, 0)
    victim = next(i for i, o in enumerate(observations) if o.held_out)
    bad = observations[victim]
    latency = bad.latency_ms * factor
    observations[victim] = Observation(bad.architecture, latency, bad.deviation, True)
    solved = fit(planned.basis, observations, noise=Noise())
    assert solved.weights[victim] < 0.1
    assert solved.interval.half_width < 1.5 * clean.interval.half_width
    rng = np.random.default_rng(5)
    networks = [random_architecture(MINILM, rng) for _ in range(100)]
    rows = planned.basis.matrix(networks)
    exact = np.array([device.exact_ms(network) for network in networks])
    assert np.abs(rows @ solved.costs / exact - 1).mean() < 0.01


@pytest.mark.slow
def test_stacks_that_cost_less_than_their_operations_among_others_do_not_decide(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planned = plan(MINILM, 0, seq_len=32)
    device = SyntheticDevice(planned.basis, 0)
    observations = [
        o
        if o.held_out or not any(block.operations for block in o.architecture.blocks)
        else Observation(o.architecture, 0.9 * o.latency_ms, o.deviation)
        for o in device.observe(planned)
    ]
    solved = fit(planned.basis, observations, beyond_params=(), noise=Noise())
    monkeypatch.setattr(predict, "STACK_WIDENINGS", (1.0,))
    alike = fit(planned.basis, observations, beyond_params=(), noise=Noise())
    assert abs(solved.held_out.mean()) < 0.6 * abs(alike.held_out.mean())
    assert solved.interval.scale < 0.8 * alike.interval.scale


def test_a_noisy_measurement_counts_less() -> None:
    planned = plan(MINILM, 0, seq_len=32)
    device = SyntheticDevice(planned.basis, 0, noise=0.0)
    observations = device.observe(planned)
    off = [o.latency_ms * (1.05 if i % 4 == 0 else 1) for i, o in enumerate(observations)]

    def error(deviation: float) -> float:
        told = [
            Observation(o.architecture, ms, deviation if i % 4 == 0 else 0.0012, o.held_out)
            for i, (o, ms) in enumerate(zip(observations, off, strict=True))
        ]
        solved = fit(planned.basis, told, beyond_params=(), noise=Noise())
        return float(np.abs(solved.costs / device.costs - 1).mean())

    assert error(0.12) < error(0.0012) / 1.5


@pytest.mark.slow
def test_no_cost_is_negative() -> None:
    for seed in range(5):
        _, solved = fitted(TINY, seed, noise=0.1)
        assert (solved.costs >= 0).all()
        assert (solved.errors >= 0).all()


@pytest.mark.slow
def test_no_network_takes_no_time() -> None:
    """Nor is anything divided by it, which would be an error here."""
    rng = np.random.default_rng(4)
    for seed in range(10):
        device, planned = SyntheticDevice(Basis(TINY, 32), seed), plan(TINY, seed, seq_len=32)
        observations = [
            dataclasses.replace(o, latency_ms=o.latency_ms * float(np.exp(rng.normal(0, 0.4))))
            for o in device.observe(planned)
        ]
        solved = fit(planned.basis, observations, noise=Noise())
        assert (planned.basis.matrix(o.architecture for o in observations) @ solved.costs > 0).all()
        assert np.isfinite(solved.residuals).all()


def test_each_held_out_network_is_predicted_without_itself() -> None:
    planned = plan(MINILM, 0, seq_len=32)
    device = SyntheticDevice(planned.basis, 0)
    observations = device.observe(planned)
    _, solved = fitted(MINILM, 0)
    held = [i for i, o in enumerate(observations) if o.held_out]
    assert len(solved.held_out) == len(held)
    seen = np.abs(solved.residuals[held])
    assert (np.abs(solved.held_out) >= seen - 1e-4).mean() > 0.95


def test_interval_is_students_t_around_the_prediction() -> None:
    interval = Interval(scale=0.008, dof=30, shift=0.006)
    assert interval.half_width == pytest.approx(0.01 * 1.697, rel=1e-3)
    predicted = interval.around(20.0)
    assert predicted.latency_ms == 20.0
    assert predicted.high_ms - 20.0 == pytest.approx(20.0 - predicted.low_ms)
    assert predicted.high_ms == pytest.approx(20.0 * 1.01697, rel=1e-4)
    jittery = Interval(scale=0.008, dof=30, shift=0.006, jitter_ms=0.01)
    assert jittery.around(20.0).high_ms == pytest.approx(predicted.high_ms, rel=1e-4)
    assert jittery.around(0.01).high_ms == pytest.approx(0.027, rel=1e-2)


def test_the_interval_holds_the_noise_of_the_device() -> None:
    planned = plan(TINY, 0, precision="fp32", seq_len=32)
    observations = SyntheticDevice(planned.basis).observe(planned)
    usual = fit(planned.basis, observations, beyond_params=(), noise=Noise())
    wide = fit(
        planned.basis, observations, beyond_params=(), noise=Noise(shift=0.05, jitter_ms=0.1)
    )
    assert list(wide.costs) == list(usual.costs)
    assert (usual.interval.shift, usual.interval.jitter_ms) == (0.01, 0.012)
    assert (wide.interval.shift, wide.interval.jitter_ms) == (0.05, 0.1)
    for latency_ms in (0.1, 10.0):
        one, other = (found.interval.around(latency_ms) for found in (usual, wide))
        assert other.high_ms > one.high_ms
        assert other.low_ms < one.low_ms or one.low_ms == 0


@pytest.mark.parametrize(("scale", "dof"), [(-0.1, 5), (float("nan"), 5), (0.1, 0)])
def test_an_interval_of_nonsense_is_refused(scale: float, dof: int) -> None:
    with pytest.raises(UsageError, match="makes no sense"):
        Interval(scale, dof)


@pytest.mark.parametrize(
    ("latency", "deviation"), [(0.0, 0.1), (-1.0, 0.1), (1.0, -0.1), (1.0, float("inf"))]
)
def test_what_is_no_measurement_is_refused(latency: float, deviation: float) -> None:
    network = Architecture((Block(16, ("mha",)),))
    with pytest.raises(UsageError, match=r"network '16: M @ fp32'.* is no measurement"):
        Observation(network, latency, deviation)


def test_too_few_networks_are_refused() -> None:
    planned = plan(TINY, 0, seq_len=32)
    observations = SyntheticDevice(planned.basis).observe(planned)
    with pytest.raises(UsageError, match="do not determine"):
        fit(planned.basis, observations[-9:], noise=Noise())
    with pytest.raises(UsageError, match="0 held-out networks calibrate no interval"):
        fit(planned.basis, [o for o in observations if not o.held_out], noise=Noise())
