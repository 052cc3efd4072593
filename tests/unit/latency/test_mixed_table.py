"""The table of a mixture says what its tables say together, never less."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.variant import Variant
from nasc.errors import UsageError
from nasc.latency.cache_misses import Streaming
from nasc.latency.costs import TableCosts
from nasc.latency.mixed_table import mixed
from nasc.latency.plan import random_architectures
from nasc.latency.table import Imported, LatencyTable, Transferred

SHARES = (0.7, 0.3)


INT8 = Variant("onnxruntime", "int8")


def mean(values: list[float]) -> float:
    return sum(share * value for share, value in zip(SHARES, values, strict=True))


def of_length(seq_len: int, **about: object) -> LatencyTable:
    return make_table(seq_len=seq_len, **about)  # type: ignore[arg-type]


def test_a_network_takes_the_mean_of_what_it_takes_at_each_length() -> None:
    tables = (of_length(16, seed=1), of_length(64, seed=2))
    found = mixed(tables, SHARES, TINY)
    for network in random_architectures(TINY, np.random.default_rng(0), 20, "int8"):
        each = [table.latency_ms(network) for table in tables]
        assert found.latency_ms(network) == pytest.approx(mean(each))
        ends = [table.predict(network) for table in tables]
        own = found.predict(network)
        # Jitter and the rest are two causes: their parts add up, not the ends.
        assert own.low_ms <= mean([e.low_ms for e in ends]) * 1.001
        assert own.high_ms >= mean([e.high_ms for e in ends]) / 1.001
        held = TableCosts.of([found]).upper("latency_ms", mean(each), INT8)
        ends_held = [
            TableCosts.of([table]).upper("latency_ms", ms, INT8)
            for table, ms in zip(tables, each, strict=True)
        ]
        assert held >= mean(ends_held) / 1.001


@pytest.mark.parametrize("jitter_ms", [0.001, 0.05, 0.3, 0.9])
def test_jitter_narrows_the_interval_by_the_root_of_two_at_most(jitter_ms: float) -> None:
    tables = [
        dataclasses.replace(t, interval=dataclasses.replace(t.interval, jitter_ms=jitter_ms))
        for t in (of_length(16, seed=1), of_length(64, seed=2))
    ]
    found = mixed(tables, SHARES, TINY)
    for network in random_architectures(TINY, np.random.default_rng(0), 20, "int8"):
        ends = [table.predict(network) for table in tables]
        half_ms = mean([end.high_ms - end.latency_ms for end in ends])
        own = found.predict(network)
        assert own.high_ms - own.latency_ms >= half_ms / 2**0.5


def test_weights_beyond_the_caches_are_never_priced_below() -> None:
    tables = (
        of_length(16, streaming=Streaming(2_000.0, 1e-5)),
        of_length(64, streaming=Streaming(8_000.0, 3e-5)),
    )
    found = mixed(tables, SHARES, TINY)
    assert found.streaming.beyond_params == 2_000.0
    assert found.streaming.ms_per_param == pytest.approx(0.7e-5 + 0.9e-5)
    for network in random_architectures(TINY, np.random.default_rng(0), 20, "int8"):
        each = [table.latency_ms(network) for table in tables]
        assert found.latency_ms(network) >= mean(each) - 1e-9
    one = mixed((tables[0], of_length(64)), SHARES, TINY)
    assert one.streaming.ms_per_param == pytest.approx(0.7e-5)


def test_a_single_table_stays_what_it_is() -> None:
    table = of_length(16)
    assert mixed((table,), (1.0,), TINY) is table


def test_its_memory_is_that_of_the_longest() -> None:
    tables = (of_length(64), of_length(16))
    assert mixed(tables, SHARES, TINY).key == tables[0].key


def test_tables_of_other_settings_are_not_mixed() -> None:
    with pytest.raises(UsageError, match="different settings make no mixture"):
        mixed((of_length(16), of_length(64, threads=2)), SHARES, TINY)
    with pytest.raises(UsageError, match="different settings make no mixture"):
        mixed((of_length(16), of_length(64, quiet_ms=3.0)), SHARES, TINY)


def test_that_one_was_measured_elsewhere_stays_known() -> None:

    tables = (of_length(16), of_length(64))
    foreign = dataclasses.replace(tables[0], imported=Imported("board", "other", "9", "2026"))
    found = mixed((foreign, tables[1]), SHARES, TINY)
    assert found.foreign == foreign.foreign is not None
    transferred = Transferred("that", "CPU", "f", "1", "2026", 10)
    other = dataclasses.replace(tables[1], transferred=transferred)
    both = mixed((foreign, other), SHARES, TINY)
    assert both.foreign == foreign.foreign
    assert both.transferred == transferred
    emulated = dataclasses.replace(tables[1], context={"emulated": True})
    assert mixed((foreign, emulated), SHARES, TINY).emulated
