"""Costs of a hidden size that a table lacks."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.layers import Layer
from nasc.architecture.space import Architecture
from nasc.errors import LookupMiss
from nasc.latency.cache_misses import Streaming, network_streamed_params
from nasc.latency.more_sizes import SizeNetworks, with_guessed_sizes, with_size
from nasc.latency.predict import Observation
from nasc.latency.rows_used import rows_used
from nasc.latency.table import LatencyTable

G = TINY.geometry
SIZE = 24
MAPS_MS, ATTENTION_MS, FFN_MS = 0.04, 0.3, 0.5
HEADS = ("embed", "hidden")


def table_with(head: str, **changes: Any) -> LatencyTable:
    """A table of networks with a head."""
    table = make_table(**changes)
    kinds = table.entries["kind"].replace("head_embed", f"head_{head}")
    return dataclasses.replace(
        table,
        key=dataclasses.replace(table.key, head=head),
        entries=table.entries.assign(kind=kinds),
    )


def observed(
    table: LatencyTable, networks: SizeNetworks, noise: Sequence[float] = (0, 0, 0)
) -> dict[Architecture, Observation]:
    """Each as its layers add up to, times its noise."""
    found = {}
    for network, off in zip(networks.all, noise, strict=True):
        operations = network.blocks[0].operations
        total = table.cost_ms(Layer("embedding", G.hidden, G.hidden)) + MAPS_MS
        total += ATTENTION_MS * operations.count("mha") + FFN_MS * operations.count("ffn")
        streamed = network_streamed_params(network, G, table.key.head)
        total += table.streaming.extra_ms(streamed)
        found[network] = Observation(network, total * (1 + off), 0.01)
    return found


def sized(table: LatencyTable, noise: Sequence[float] = (0, 0, 0)) -> LatencyTable:
    networks = SizeNetworks.of(G, SIZE, table.key.precision)
    return with_size(table, SIZE, observed(table, networks, noise))


@pytest.mark.parametrize("streaming", [Streaming(), Streaming(5_000.0, 1e-5)])
@pytest.mark.parametrize("head", HEADS)
def test_what_layers_cost_is_found(head: str, streaming: Streaming) -> None:
    table = table_with(head, streaming=streaming)
    narrow = Architecture.narrowed(G, SIZE).with_precision("int8")
    assert not table.prices(narrow)
    with pytest.raises(LookupMiss):
        table.latency_ms(narrow)
    found = sized(table)
    assert found.prices(narrow)
    assert found.cost_ms(Layer("mha", SIZE, SIZE)) == pytest.approx(ATTENTION_MS)
    assert found.cost_ms(Layer("ffn", SIZE, SIZE)) == pytest.approx(FFN_MS)
    into = found.cost_ms(Layer("border", G.hidden, SIZE))
    out = found.cost_ms(Layer(f"head_{head}", SIZE, G.hidden))
    assert into + out == pytest.approx(MAPS_MS)
    # a map of every token costs what that into the size does, one of the pooled row next to nothing
    assert out / into == pytest.approx(1.0 if head == "hidden" else 1 / table.key.seq_len)
    # what was there is as it was
    old = Architecture(tuple(TINY.blocks())[:1] * 2, "int8")
    assert found.latency_ms(old) == table.latency_ms(old)


def test_the_whole_network_takes_what_it_was_measured_to_take() -> None:
    """However the noise of the three falls, and no cost is below nothing."""
    table = make_table()
    for noise in itertools.product((-0.3, -0.02, 0.0, 0.02, 0.3), repeat=3):
        found = sized(table, noise)
        networks = SizeNetworks.of(G, SIZE, "int8")
        measured = observed(table, networks, noise)[networks.whole].latency_ms
        assert found.latency_ms(networks.whole) == pytest.approx(measured)
        own = found.entries.iloc[len(table.entries) :]
        assert len(own) == 4
        assert (own[["cost_ms", "std_error_ms"]].to_numpy() >= 0).all()


def test_errors_are_those_of_what_was_measured() -> None:
    """By a thousand repetitions."""
    table = make_table()
    rng = np.random.default_rng(0)
    costs = [
        sized(table, list(rng.normal(0, 0.01, 3))).entries["cost_ms"].to_numpy()[-4:-1]
        for _ in range(1000)
    ]
    stated = sized(table).entries["std_error_ms"].to_numpy()[-4:-1]
    spread = np.std(costs, axis=0)
    assert (stated > 0.8 * spread).all()
    assert (stated < 3 * spread).all()


def test_a_teacher_of_one_layer() -> None:
    networks = SizeNetworks.of(dataclasses.replace(G, layers=1), SIZE, "int8")
    assert [len(n.blocks[0].operations) for n in networks.all] == [4, 2, 2]


def test_the_statement_says_what_was_measured_beside_the_table() -> None:
    table = make_table()
    narrow = Architecture.narrowed(G, SIZE).with_precision("int8")
    rows = rows_used(sized(table), narrow)
    assert rows["holds_for"] == f"{table.key.describe()}; hidden size 24 measured by itself"
    old = Architecture.narrowed(G, 16).with_precision("int8")
    assert rows_used(sized(table), old)["holds_for"] == table.key.describe()


@pytest.mark.parametrize("head", HEADS)
def test_guesses_lie_between_what_is_known(head: str) -> None:
    table = table_with(head)
    found = with_guessed_sizes(table, (8, 16, 24))
    for kind in ("mha", "ffn"):
        low, guess, high = (found.cost_ms(Layer(kind, h, h)) for h in (16, 24, 32))
        assert guess == pytest.approx((low + high) / 2)
        assert found.cost_ms(Layer(kind, 8, 8)) == low
    out = [found.cost_ms(Layer(f"head_{head}", h, G.hidden)) for h in (16, 24, 32)]
    assert out[1] == pytest.approx((out[0] + out[2]) / 2)
    assert found.cost_ms(Layer("border", G.hidden, 24)) == found.cost_ms(
        Layer("border", G.hidden, 16)
    )
    for hidden in (8, 16, 24):
        assert found.prices(Architecture.narrowed(G, hidden))
    assert with_guessed_sizes(table, (16,)).entries is table.entries
