"""Which hidden size a network has that has one all through, and what is measured to know it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest
from synthetic_device import make_key

from nasc.architecture.layers import layers, params
from nasc.architecture.space import Architecture, Geometry, SearchSpace
from nasc.architecture.variant import Variant
from nasc.latency.basis import nominal_ms, space_layers
from nasc.latency.cache_misses import Streaming
from nasc.latency.costs import TableCosts
from nasc.latency.memory import file_bytes
from nasc.latency.more_sizes import SizeNetworks, with_size
from nasc.latency.predict import Interval, Observation
from nasc.latency.table import ENTRY_COLUMNS, MEASURED_COLUMNS, LatencyTable
from nasc.selection.widest import narrow_sizes, widest
from nasc.solver.problem import Limits

G = Geometry(
    layers=4, hidden=256, head_size=32, intermediate=1024, vocab_size=100, max_positions=64
)
SPACE = SearchSpace("toy", G, 2, 4, (64, 128, 256), ("mha", "ffn"))
SEQ_LEN = 32
INT8, FP32 = Variant("onnxruntime", "int8"), Variant("onnxruntime", "fp32")
LOSSES = {INT8: 0.01, FP32: 0.0, Variant("tvm", "int8"): 0.01}


def table_of(space: SearchSpace, variant: Variant, factor: float) -> LatencyTable:
    """In which all layers take so many times their nominal time."""
    g = space.geometry
    rows = [
        (x.kind, x.hidden_in, x.hidden_out, factor * nominal_ms(x, g, SEQ_LEN), 0.0)
        for x in space_layers(space)
    ]
    key = make_key(
        geometry=g, seq_len=SEQ_LEN, precision=variant.precision, runtime=variant.runtime
    )
    return LatencyTable(
        key,
        space,
        0,
        pd.DataFrame(rows, columns=ENTRY_COLUMNS),
        Streaming(),
        Interval(0.001, 30),
        (),
        pd.DataFrame([], columns=MEASURED_COLUMNS),
        {},
        1_000_000,
        {},
        "2026",
    )


class Device:
    """Tables of some variants, and what was measured beside them.

    A network of a size in `off` takes so many times what its layers do.
    """

    def __init__(
        self,
        factors: dict[Variant, float],
        off: dict[int, float] | None = None,
        space: SearchSpace = SPACE,
    ) -> None:
        self.factors, self.off, self.space = factors, off or {}, space
        self.of = {variant: table_of(space, variant, factor) for variant, factor in factors.items()}
        self.measured: list[tuple[Variant, int]] = []
        self.measures = True

    def narrow_ms(self, hidden: int, variant: Variant = INT8) -> float:
        """Of a whole network."""
        return self.layers_ms(Architecture.narrowed(self.space.geometry, hidden), variant)

    def layers_ms(self, architecture: Architecture, variant: Variant) -> float:
        g, factor = self.space.geometry, self.factors[variant]
        off = self.off.get(architecture.blocks[0].hidden, 1.0)
        return factor * off * sum(nominal_ms(x, g, SEQ_LEN) for x in layers(architecture, g))

    def measure_costs(self, variants: list[Variant]) -> TableCosts:
        return TableCosts.of([self.of[variant] for variant in variants])

    def can_measure(self, variant: Variant) -> bool:
        return self.measures

    def measure_size(self, variant: Variant, hidden: int) -> None:
        self.measured.append((variant, hidden))
        networks = SizeNetworks.of(self.space.geometry, hidden, variant.precision).all
        found = {n: Observation(n, self.layers_ms(n, variant), 0.01) for n in networks}
        self.of[variant] = with_size(self.of[variant], hidden, found)

    def widest(self, *variants: Variant, **limits: float) -> tuple[int, Variant] | None:
        context: Any = type("Context", (), {})()
        context.space, context.graph_head, context.tables = self.space, "embed", self
        context.supernet = type("", (), {"measure_variant_loss": LOSSES.__getitem__})
        found = widest(context, Limits(**limits), variants or list(self.factors))
        if found is None:
            return None
        [block] = found.architecture.blocks
        assert block.operations == ("mha", "ffn") * G.layers
        predicted = self.measure_costs([found.variant]).predict(found.architecture, found.runtime)
        assert found.costs["latency_ms"] == pytest.approx(predicted.latency_ms)
        return block.hidden, found.variant


@pytest.fixture
def device() -> Device:
    return Device({INT8: 1.0})


def test_the_widest_that_fits_is_found_by_measuring_its_neighbour(device: Device) -> None:
    limit_ms = device.narrow_ms(160) * 1.01
    assert device.widest(latency_ms=limit_ms) == (160, INT8)
    # guessed at 128, as time grows with the square of the size: 160 and what is too slow
    assert device.measured == [(INT8, 160), (INT8, 192)]
    assert device.widest(latency_ms=limit_ms) == (160, INT8)
    assert len(device.measured) == 2


def test_where_the_next_is_in_the_table_nothing_more_is_measured(device: Device) -> None:
    assert device.widest(latency_ms=device.narrow_ms(96) * 1.01) == (96, INT8)
    assert device.measured == [(INT8, 96)]


def test_a_size_that_is_slower_than_it_seemed_makes_room_for_a_smaller_one() -> None:
    device = Device({INT8: 1.0}, {160: 3.0, 192: 3.0, 224: 3.0})
    assert device.widest(latency_ms=device.narrow_ms(224) / 3.0) == (128, INT8)
    assert [hidden for _, hidden in device.measured] == [192, 160]


def test_a_size_that_is_faster_than_it_seemed_is_found() -> None:
    device = Device({INT8: 1.0}, {160: 0.5, 192: 0.5})
    limit_ms = device.narrow_ms(128) * 1.1
    assert device.widest(latency_ms=limit_ms) == (192, INT8)
    assert [hidden for _, hidden in device.measured] == [160, 192, 224]


@pytest.mark.parametrize(("share", "wanted"), [(1.01, 64), (0.99, None)])
def test_none_narrower_than_the_space_s_blocks(
    device: Device, share: float, wanted: int | None
) -> None:
    found = device.widest(latency_ms=share * device.narrow_ms(64))
    assert found == (None if wanted is None else (wanted, INT8))
    assert device.measured == ([] if wanted is None else [(INT8, 96)])


def test_where_nothing_can_be_measured_sizes_are_those_of_the_table(device: Device) -> None:
    device.measures = False
    assert device.widest(latency_ms=device.narrow_ms(224)) == (128, INT8)
    assert device.measured == []


def test_limits_on_bytes_and_parameters_hold_and_cost_no_measurement(device: Device) -> None:
    architectures = {
        h: Architecture.narrowed(G, h).with_precision("int8") for h in narrow_sizes(SPACE)
    }
    size = {h: file_bytes(a, "onnxruntime", G, "embed") for h, a in architectures.items()}
    count = {h: params(a, G) for h, a in architectures.items()}
    peak = {
        h: device.measure_costs([INT8]).upper(
            "peak_memory_bytes",
            float(device.measure_costs([INT8]).peak_memory_bytes(a, "onnxruntime") or 0),
            INT8,
        )
        for h, a in architectures.items()
    }
    assert device.widest(size_bytes=size[160] + 1) == (160, INT8)
    assert device.widest(params=count[160] + 1) == (160, INT8)
    assert device.widest(peak_memory_bytes=peak[160] + 1) == (160, INT8)
    assert device.measured == [(INT8, 160)]
    assert device.widest(size_bytes=size[64] - 1) is None
    both = {"latency_ms": device.narrow_ms(224) * 1.01, "size_bytes": size[96] + 1}
    assert device.widest(**both) == (96, INT8)
    assert device.measured == [(INT8, 160), (INT8, 96)]


def test_the_variant_with_room_for_most_then_the_truest_is_taken() -> None:
    device = Device({FP32: 3.0, INT8: 1.0})
    assert device.widest(latency_ms=device.narrow_ms(160) * 1.01) == (160, INT8)
    assert {variant for variant, _ in device.measured} == {INT8}
    alike = Device({INT8: 1.0, FP32: 1.02})
    assert alike.widest(latency_ms=alike.narrow_ms(160) * 1.05) == (160, FP32)
    assert {variant for variant, _ in alike.measured} == {FP32}


def test_a_size_that_the_runtime_does_not_make_is_none() -> None:
    """TVM makes int8 of multiples of 32, here of 128 alone, whose inner size is 288."""
    space = dataclasses.replace(SPACE, geometry=dataclasses.replace(G, intermediate=576))
    tvm = Variant("tvm", "int8")
    assert Device({tvm: 1.0}, space=space).widest(latency_ms=1e3) == (128, tvm)
    assert Device({INT8: 1.0}, space=space).widest(latency_ms=1e3) == (224, INT8)


def test_spaces_without_attention_or_feed_forward_layers_have_none() -> None:
    assert narrow_sizes(SPACE) == (64, 96, 128, 160, 192, 224)
    assert narrow_sizes(SPACE.restrict(operations=("ffn",))) == ()
    assert narrow_sizes(SPACE.restrict(hidden_sizes=(256,))) == ()
