"""The prices that the search consumes."""

import dataclasses

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.layers import Layer, layers, params
from nasc.architecture.variant import Variant
from nasc.errors import LookupMiss, UsageError
from nasc.latency.cache_misses import Streaming
from nasc.latency.costs import TableCosts
from nasc.latency.plan import random_architecture
from nasc.solver.problem import CostModel

FP32, INT8 = VARIANTS = (Variant("onnxruntime", "fp32"), Variant("onnxruntime", "int8"))


@pytest.fixture(scope="module")
def costs() -> TableCosts:
    return TableCosts.of([make_table(precision="fp32"), make_table(precision="int8", seed=1)])


@pytest.fixture(scope="module")
def streamed() -> TableCosts:
    """One of whose tables has a price for weights beyond the caches, within reach of TINY."""
    table = make_table(precision="int8", streaming=Streaming(8_000.0, 1e-5))
    return TableCosts.of([make_table(precision="fp32"), table])


def test_a_streamed_latency_is_the_larger_of_two_sums(streamed: TableCosts) -> None:
    model: CostModel = streamed
    assert model.metrics[:2] == ("latency_ms", "streaming_latency_ms")
    rng = np.random.default_rng(0)
    larger = set()
    for i in range(40):
        network = random_architecture(TINY, rng, VARIANTS[i % 2].precision)
        variant, found = VARIANTS[i % 2], layers(network, TINY.geometry)
        constant = model.constant(variant)
        resident, streaming = (
            constant[m] + sum(model.layer(layer, variant)[m] for layer in found)
            for m in model.metrics[:2]
        )
        predicted = streamed.predict(network, "onnxruntime").latency_ms
        assert max(resident, streaming) == pytest.approx(predicted)
        held = [model.upper(m, 10.0, variant) for m in model.metrics[:2]]
        assert held[0] == held[1] > 10.0
        larger.add((variant, resident >= streaming))
    assert larger == {(FP32, True), (INT8, True), (INT8, False)}


def test_it_is_the_cost_model_of_the_search(costs: TableCosts) -> None:
    model: CostModel = costs
    assert set(model.metrics) == {"latency_ms", "size_bytes", "params", "weight_bytes"}
    for variant in VARIANTS:
        assert set(model.constant(variant)) >= set(model.metrics)
        assert set(model.layer(Layer("mha", 16, 16), variant)) >= set(model.metrics)


def test_sums_over_layers_are_the_predictions_for_the_network(costs: TableCosts) -> None:
    rng = np.random.default_rng(0)
    for i in range(20):
        network = random_architecture(TINY, rng, VARIANTS[i % 2].precision)
        variant = VARIANTS[i % 2]
        found = layers(network, TINY.geometry)
        total = {
            metric: constant + sum(costs.layer(layer, variant)[metric] for layer in found)
            for metric, constant in costs.constant(variant).items()
        }
        predicted = costs.predict(network, "onnxruntime")
        assert total["latency_ms"] == pytest.approx(predicted.latency_ms)
        held = costs.upper("latency_ms", total["latency_ms"], variant)
        assert held >= predicted.high_ms * (1 - 1e-9)
        assert total["params"] == params(network, TINY.geometry)
        peak = total["weight_bytes"] + max(costs.activation_bytes(x, variant) for x in found)
        assert costs.peak_memory_bytes(network, "onnxruntime") == round(peak)


def test_a_latency_is_held_by_its_interval_or_by_the_width_of_measured_bounds() -> None:
    table = make_table(precision="int8")
    high_ms = table.interval.around(10.0).high_ms
    for width, expected in ((1.0, high_ms), (1.2, 14.4)):
        wide = table.measured.assign(upper_ms=width * table.measured["latency_ms"])
        costs = TableCosts.of([dataclasses.replace(table, measured=wide)])
        assert costs.upper("latency_ms", 10.0, INT8) == pytest.approx(expected)


def test_what_is_exact_has_no_interval(costs: TableCosts) -> None:
    assert costs.upper("size_bytes", 1000.0, INT8) == 1000.0
    assert costs.upper("params", 1000.0, INT8) == 1000.0
    assert costs.upper("peak_memory_bytes", 1000.0, INT8) == 1050.0


def test_a_layer_or_precision_that_was_not_measured_is_a_miss(costs: TableCosts) -> None:
    with pytest.raises(LookupMiss, match="no cost of layer 'mha 24'"):
        costs.layer(Layer("mha", 24, 24), INT8)
    only = TableCosts.of([make_table(precision="int8")])
    with pytest.raises(LookupMiss, match="no latency table of onnxruntime fp32 was given"):
        only.constant(FP32)


def test_where_the_device_tells_no_memory_it_cannot_be_limited() -> None:
    table = dataclasses.replace(make_table(), runtime_base_bytes=None)
    costs = TableCosts.of([table])
    assert "weight_bytes" not in costs.metrics
    assert costs.peak_memory_bytes(TINY.teacher.with_precision("int8"), "onnxruntime") is None
    assert "weight_bytes" not in costs.layer(Layer("mha", 16, 16), INT8)


def test_tables_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(UsageError, match="different settings cannot be searched together"):
        TableCosts.of([make_table(precision="fp32"), make_table(precision="int8", threads=2)])
    for scale in ({"quiet_ms": 3.8}, {"reference": "0"}, {"emitter_version": 2}):
        with pytest.raises(UsageError, match="different settings cannot be searched together"):
            TableCosts.of([make_table(precision="fp32"), make_table(precision="int8", **scale)])
    with pytest.raises(UsageError, match="two latency tables of onnxruntime int8"):
        TableCosts.of([make_table(), make_table(seed=1)])
    with pytest.raises(UsageError, match="at least one latency table"):
        TableCosts.of([])
    with pytest.raises(UsageError, match="of onnxruntime int8 was given as onnxruntime fp32"):
        TableCosts({FP32: make_table()}, {})


def test_tables_of_two_runtimes_are_searched_together() -> None:
    """Each on its own scale, with its own settings and memory."""
    bf16 = Variant("openvino", "bf16")
    other = make_table(
        runtime="openvino", precision="bf16", quiet_ms=2.0, options="{}", emitter_version=9
    )
    other = dataclasses.replace(other, runtime_base_bytes=7_000_000)
    costs = TableCosts.of([make_table(precision="fp32"), other])
    assert set(costs.tables) == {FP32, bf16}
    assert costs.runtime_base_bytes[bf16.runtime] == 7_000_000
    assert "weight_bytes" in costs.metrics
    for about in ({"seq_len": 64}, {"threads": 2}, {"fingerprint": "another"}, {"batch": 2}):
        with pytest.raises(UsageError, match="different settings cannot be searched together"):
            TableCosts.of([make_table(precision="fp32"), make_table(runtime="openvino", **about)])
    told = dataclasses.replace(other, runtime_base_bytes=None)
    assert "weight_bytes" not in TableCosts.of([make_table(precision="fp32"), told]).metrics
