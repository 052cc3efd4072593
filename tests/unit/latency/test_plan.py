"""The plan: every unknown determined, by few and cheap networks."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from synthetic_device import TINY

from nasc.architecture.space import OPERATIONS, PRESETS, SearchSpace
from nasc.errors import UsageError
from nasc.latency.basis import scaled_design
from nasc.latency.plan import MIN_NETWORKS, plan, random_architecture, random_architectures


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("seq_len", [32, 128])
@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_determined_well_by_few_networks(name: str, seq_len: int, seed: int) -> None:
    planned = plan(PRESETS[name], seed, seq_len=seq_len)
    shares = scaled_design(planned.basis, planned.matrix())
    singular = np.linalg.svd(shares, compute_uv=False)
    unknowns = len(planned.basis.unknowns)
    assert (singular > 0).sum() == unknowns
    assert singular[0] / singular[-1] < (100 if name == "minilm-l6" else 400)
    assert unknowns * 2 <= len(planned.networks) <= unknowns * 2 + 8


@pytest.mark.parametrize("seed", range(4))
def test_without_any_one_random_network_the_rest_still_determines_all(seed: int) -> None:
    planned = plan(PRESETS["minilm-l6"], seed)
    shares = scaled_design(planned.basis, planned.matrix())
    for i, network in enumerate(planned.networks):
        if network.role == "random":
            others = np.delete(shares, i, axis=0)
            singular = np.linalg.svd(others, compute_uv=False)
            assert singular[-1] > singular[0] * 1e-3


def test_the_teacher_comes_first_and_random_networks_calibrate() -> None:
    planned = plan(PRESETS["minilm-l6"], precision="int8")
    assert str(planned.networks[0].architecture) == "keep | keep | keep @ int8"
    roles = [network.role for network in planned.networks]
    assert roles.count("teacher") == 1
    assert roles.count("random") >= 32
    assert len({network.name for network in planned.networks}) == len(planned.networks)
    lengths = {
        sum(len(block.operations) for block in n.architecture.blocks)
        for n in planned.networks
        if n.role == "random"
    }
    assert min(lengths) <= 5
    assert max(lengths) >= 10


def test_designed_networks_are_cheaper_than_random_ones() -> None:
    planned = plan(PRESETS["minilm-l6"])
    totals = planned.matrix() @ planned.basis.nominal()
    mean = {
        role: np.mean([t for t, n in zip(totals, planned.networks, strict=True) if n.role == role])
        for role in ("designed", "random")
    }
    assert mean["designed"] < mean["random"] / 2


def test_the_same_seed_gives_the_same_plan_and_another_one_does_not() -> None:
    assert plan(TINY, 3).networks == plan(TINY, 3).networks
    assert plan(TINY, 3).networks != plan(TINY, 4).networks


def test_the_choice_does_not_depend_on_the_precision() -> None:
    fp32 = [str(n.architecture.with_precision("int8")) for n in plan(TINY, 3).networks]
    assert fp32 == [n.name for n in plan(TINY, 3, precision="int8").networks]


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n_blocks=st.sampled_from([1, 2, 4]),
    slots=st.integers(1, 4),
    sizes=st.sets(st.sampled_from([8, 16, 24, 32]), min_size=1, max_size=4),
    operations=st.sets(st.sampled_from(OPERATIONS), min_size=1),
    keep=st.booleans(),
    head=st.sampled_from(["embed", "hidden"]),
)
def test_any_space_is_determined(
    seed: int,
    n_blocks: int,
    slots: int,
    sizes: set[int],
    operations: set[str],
    keep: bool,
    head: str,
) -> None:
    space = SearchSpace(
        "any",
        TINY.geometry,
        n_blocks,
        slots,
        tuple(sorted(sizes)),
        tuple(o for o in OPERATIONS if o in operations),
        keep=keep,
        skip=False,
    )
    assume(space.count_blocks() ** n_blocks >= MIN_NETWORKS)
    planned = plan(space, seed, seq_len=16, head=head)
    shares = scaled_design(planned.basis, planned.matrix())
    assert np.linalg.matrix_rank(shares) == len(planned.basis.unknowns)
    assert any(network.role == "random" for network in planned.networks)


def test_too_few_networks_are_refused() -> None:
    with pytest.raises(UsageError, match="do not determine the cost of: "):
        plan(PRESETS["minilm-l6"], n_random=2, n_designed=3)


def test_more_networks_than_a_space_has_are_refused() -> None:
    space = SearchSpace("small", TINY.geometry, 1, 1, (16,), ("mha", "ffn"), keep=False)
    with pytest.raises(UsageError, match="too few networks to draw 3"):
        random_architectures(space, np.random.default_rng(0), 3)


def test_a_space_of_hardly_any_networks_is_refused() -> None:
    space = SearchSpace("small", TINY.geometry, 1, 1, (16,), ("mha", "ffn"), skip=False)
    with pytest.raises(UsageError, match="space 'small' has 3 networks"):
        plan(space, seq_len=32)


def test_random_networks_belong_to_the_space_and_cover_it() -> None:
    rng = np.random.default_rng(0)
    drawn = [random_architecture(TINY, rng, "int8") for _ in range(500)]
    for network in drawn:
        TINY.check(network)
    blocks = {block for network in drawn for block in network.blocks}
    assert {block.hidden for block in blocks} == {16, 32}
    assert TINY.kept_block in blocks
    assert {len(block.operations) for block in blocks if not block.kept} == {1, 2, 3}
