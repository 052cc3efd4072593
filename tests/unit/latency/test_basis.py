"""The unknowns of a table: which layers there are, and what totals can tell apart."""

import subprocess
import sys

import numpy as np
import pytest
from synthetic_device import TINY

from nasc.architecture.layers import Layer, layers
from nasc.architecture.space import PRESETS, Architecture, Block, SearchSpace
from nasc.errors import LookupMiss, UsageError
from nasc.latency.basis import Basis, check_identified, space_layers
from nasc.latency.plan import random_architecture


def test_minilm_has_one_unknown_for_each_operation_border_and_the_embedding() -> None:
    basis = Basis(PRESETS["minilm-l6"], 128)
    kinds = [layer.kind for layer in basis.unknowns]
    assert kinds.count("border") == 3 * 4 + 3  # three sizes into four, four into three
    assert len(kinds) == 1 + 5 * 4 + 15
    assert {str(layer) for layer in basis.tied} == {
        "head_embed 128->384",
        "head_embed 192->384",
        "head_embed 256->384",
        "head_embed 384",
    }


def test_a_teacher_wider_than_the_space_is_left_but_never_entered_again() -> None:
    basis = Basis(PRESETS["nas-bert"], 128)
    borders = {(x.hidden_in, x.hidden_out) for x in basis.unknowns if x.kind == "border"}
    assert {pair for pair in borders if 768 in pair} == {
        (768, hidden) for hidden in (128, 192, 256, 384, 512)
    }
    assert Layer("ffn", 768, 768) in basis.unknowns  # the teacher itself has a price


def test_one_block_has_no_borders_between_blocks() -> None:
    space = SearchSpace("one", TINY.geometry, 1, 2, (16, 32))
    borders = [x for x in space_layers(space) if x.kind == "border"]
    assert borders == [Layer("border", 32, 16)]


@pytest.mark.parametrize("head", ["embed", "hidden"])
@pytest.mark.parametrize("space", [*PRESETS.values(), TINY], ids=lambda s: s.name)
def test_a_row_counts_every_layer_of_a_network(space: SearchSpace, head: str) -> None:
    basis = Basis(space, 32, head=head)
    every = set(space_layers(space, head))
    rng = np.random.default_rng(0)
    for _ in range(50):
        network = random_architecture(space, rng)
        found = layers(network, space.geometry, head)
        assert set(found) <= every
        row = basis.row(network)
        untied = [layer for layer in found if layer not in basis.tied]
        shares = sum(basis.tied[layer][1] for layer in found if layer in basis.tied)
        assert row.sum() == pytest.approx(len(untied) + shares)


def test_expanded_entries_add_up_to_the_row_times_the_costs() -> None:
    basis = Basis(TINY, 32)
    rng = np.random.default_rng(0)
    costs = rng.uniform(0.1, 1, len(basis.unknowns))
    priced = {layer: cost for layer, cost, _ in basis.expand(costs, costs)}
    assert set(priced) == set(space_layers(TINY))
    for _ in range(20):
        network = random_architecture(TINY, rng)
        total = sum(priced[layer] for layer in layers(network, TINY.geometry))
        assert total == pytest.approx(basis.row(network) @ costs)


def test_a_layer_outside_of_the_space_is_a_miss() -> None:
    basis = Basis(TINY, 32)
    with pytest.raises(LookupMiss, match=r"layer sep7 16 is not part of .* space 'tiny'"):
        basis.row(Architecture((Block(16, ("sep7",)),)))


@pytest.mark.parametrize(("seq_len", "batch"), [(0, 1), (32, 0)])
def test_impossible_sizes_are_refused(seq_len: int, batch: int) -> None:
    with pytest.raises(UsageError, match="must be >= 1"):
        Basis(TINY, seq_len, batch)


def test_a_length_that_the_teacher_cannot_read_is_refused() -> None:
    with pytest.raises(UsageError, match="length 129 is over the 128 tokens"):
        Basis(TINY, 129)


def test_networks_that_leave_a_cost_open_are_named() -> None:
    basis = Basis(TINY, 32)
    rng = np.random.default_rng(0)
    networks = [random_architecture(TINY, rng) for _ in range(60)]
    check_identified(basis, [*networks, TINY.teacher])
    without = [n for n in networks if all("sep3" not in block.operations for block in n.blocks)]
    with pytest.raises(UsageError, match=r"do not determine the cost of: .*sep3 16"):
        check_identified(basis, without)


@pytest.mark.slow
def test_predicting_imports_nothing_that_measures_or_trains() -> None:
    heavy = ("torch", "onnxruntime", "onnx", "profilers", "transformers")
    code = (
        "import sys, nasc.latency.plan, nasc.latency.find, nasc.latency.costs\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
