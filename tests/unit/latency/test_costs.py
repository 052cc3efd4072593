"""The prices that the search consumes."""

import dataclasses

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.layers import Layer, layers, params
from nasc.architecture.space import SPACE_PRECISIONS
from nasc.errors import LookupMiss, UsageError
from nasc.latency.cache_misses import Streaming
from nasc.latency.costs import TableCosts
from nasc.latency.plan import random_architecture
from nasc.solver.problem import CostModel


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
        network = random_architecture(TINY, rng, SPACE_PRECISIONS[i % 2])
        precision, found = network.precision, layers(network, TINY.geometry)
        constant = model.constant(precision)
        resident, streaming = (
            constant[m] + sum(model.layer(layer, precision)[m] for layer in found)
            for m in model.metrics[:2]
        )
        predicted = streamed.predict(network).latency_ms
        assert max(resident, streaming) == pytest.approx(predicted)
        held = [model.upper(m, 10.0, precision) for m in model.metrics[:2]]
        assert held[0] == held[1] > 10.0
        larger.add((precision, resident >= streaming))
    assert larger == {("fp32", True), ("int8", True), ("int8", False)}


def test_it_is_the_cost_model_of_the_search(costs: TableCosts) -> None:
    model: CostModel = costs
    assert set(model.metrics) == {"latency_ms", "size_bytes", "params", "weight_bytes"}
    for precision in SPACE_PRECISIONS:
        assert set(model.constant(precision)) >= set(model.metrics)
        assert set(model.layer(Layer("mha", 16, 16), precision)) >= set(model.metrics)


def test_sums_over_layers_are_the_predictions_for_the_network(costs: TableCosts) -> None:
    rng = np.random.default_rng(0)
    for i in range(20):
        network = random_architecture(TINY, rng, SPACE_PRECISIONS[i % 2])
        precision = network.precision
        found = layers(network, TINY.geometry)
        total = {
            metric: constant + sum(costs.layer(layer, precision)[metric] for layer in found)
            for metric, constant in costs.constant(precision).items()
        }
        predicted = costs.predict(network)
        assert total["latency_ms"] == pytest.approx(predicted.latency_ms)
        held = costs.upper("latency_ms", total["latency_ms"], precision)
        assert held >= predicted.high_ms * (1 - 1e-9)
        assert total["params"] == params(network, TINY.geometry)
        peak = total["weight_bytes"] + max(costs.activation_bytes(x, precision) for x in found)
        assert costs.peak_memory_bytes(network) == round(peak)


def test_a_latency_is_held_by_its_interval_or_by_the_width_of_measured_bounds() -> None:
    table = make_table(precision="int8")
    high_ms = table.interval.around(10.0).high_ms
    for width, expected in ((1.0, high_ms), (1.2, 14.4)):
        wide = table.measured.assign(upper_ms=width * table.measured["latency_ms"])
        costs = TableCosts.of([dataclasses.replace(table, measured=wide)])
        assert costs.upper("latency_ms", 10.0, "int8") == pytest.approx(expected)


def test_what_is_exact_has_no_interval(costs: TableCosts) -> None:
    assert costs.upper("size_bytes", 1000.0, "int8") == 1000.0
    assert costs.upper("params", 1000.0, "int8") == 1000.0
    assert costs.upper("peak_memory_bytes", 1000.0, "int8") == 1050.0


def test_a_layer_or_precision_that_was_not_measured_is_a_miss(costs: TableCosts) -> None:
    with pytest.raises(LookupMiss, match="no cost of layer 'mha 24'"):
        costs.layer(Layer("mha", 24, 24), "int8")
    only = TableCosts.of([make_table(precision="int8")])
    with pytest.raises(LookupMiss, match="no latency table of precision 'fp32' was given"):
        only.constant("fp32")


def test_where_the_device_tells_no_memory_it_cannot_be_limited() -> None:
    table = dataclasses.replace(make_table(), runtime_base_bytes=None)
    costs = TableCosts.of([table])
    assert "weight_bytes" not in costs.metrics
    assert costs.peak_memory_bytes(TINY.teacher.with_precision("int8")) is None
    assert "weight_bytes" not in costs.layer(Layer("mha", 16, 16), "int8")


def test_tables_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(UsageError, match="different settings cannot be searched together"):
        TableCosts.of([make_table(precision="fp32"), make_table(precision="int8", threads=2)])
    for scale in ({"quiet_ms": 3.8}, {"reference": "0"}, {"emitter_version": 2}):
        with pytest.raises(UsageError, match="different settings cannot be searched together"):
            TableCosts.of([make_table(precision="fp32"), make_table(precision="int8", **scale)])
    with pytest.raises(UsageError, match="two latency tables of int8"):
        TableCosts.of([make_table(), make_table(seed=1)])
    with pytest.raises(UsageError, match="at least one latency table"):
        TableCosts.of([])
    with pytest.raises(UsageError, match="a table of int8 was given as fp32"):
        TableCosts({"fp32": make_table()}, None)
