"""What makes no sense is refused with the offending value."""

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest
from search_toy import FP32, GEOMETRY, KEPT, ToyCosts, random_problem

from nasc.architecture.layers import Layer
from nasc.architecture.space import OPERATIONS, PRESETS, Block
from nasc.architecture.variant import Variant
from nasc.errors import LookupMiss, UsageError
from nasc.solver import Limits, Problem, ScoredBlocks, front, solve
from nasc.solver.blocks import block_codes


@pytest.mark.parametrize("value", [0, -1.5, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(Limits)])
def test_limits_are_positive_and_finite(name: str, value: float) -> None:
    expected = f"--{name.replace('_', '-')} must be positive and finite, got {value}"
    with pytest.raises(UsageError, match=expected):
        Limits(**{name: value})


@pytest.mark.parametrize("value", ["20", True])
def test_limits_are_numbers(value: object) -> None:
    with pytest.raises(UsageError, match="--latency-ms must be a number, got"):
        Limits(latency_ms=value)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_losses_are_finite(bad: float) -> None:
    with pytest.raises(UsageError, match=f"loss of block 'keep' is {bad}"):
        ScoredBlocks((Block(4, ("mha",)), KEPT), np.array([0.0, bad]))


def test_scored_blocks_are_distinct_and_matched() -> None:
    with pytest.raises(UsageError, match="at least one candidate"):
        ScoredBlocks((), np.array([]))
    with pytest.raises(UsageError, match=r"2 blocks but losses of shape \(1,\)"):
        ScoredBlocks((KEPT, Block(4, ("mha",))), np.array([0.0]))
    with pytest.raises(UsageError, match="block 'keep' is listed twice"):
        ScoredBlocks((KEPT, KEPT), np.array([0.0, 1.0]))


def test_losses_are_copied_and_locked() -> None:
    loss = np.array([1.0])
    scored = ScoredBlocks((KEPT,), loss)
    loss[0] = 5.0
    assert scored.loss[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        scored.loss[0] = 2.0


def test_problem_parts() -> None:
    scored, costs = (ScoredBlocks((KEPT,), np.zeros(1)),), ToyCosts(0)
    with pytest.raises(UsageError, match="unknown head 'pool'"):
        Problem(GEOMETRY, "pool", scored, {FP32: 0.0}, costs)
    with pytest.raises(UsageError, match="at least one block position"):
        Problem(GEOMETRY, "embed", (), {FP32: 0.0}, costs)
    with pytest.raises(UsageError, match="no runtime and precision"):
        Problem(GEOMETRY, "embed", scored, {}, costs)
    with pytest.raises(UsageError, match="unknown precision 'int4'"):
        Variant("onnxruntime", "int4")
    with pytest.raises(UsageError, match="loss of onnxruntime fp32 is nan"):
        Problem(GEOMETRY, "embed", scored, {FP32: math.nan}, costs)
    few = ToyCosts(0, metrics=("params",))
    with pytest.raises(UsageError, match="--peak-memory-bytes is set but"):
        Problem(GEOMETRY, "embed", scored, {FP32: 0.0}, few, Limits(peak_memory_bytes=1))
    with pytest.raises(UsageError, match="a front needs latencies"):
        front(Problem(GEOMETRY, "embed", scored, {FP32: 0.0}, few))


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_k_is_a_positive_whole_number(k: object) -> None:
    with pytest.raises(UsageError, match="whole number >= 1, got"):
        solve(random_problem(0), k)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Holed(ToyCosts):
    """Costs that know no border between two sizes, or hold a bad value."""

    bad: float | None = None

    def layer(self, layer: Layer, variant: Variant) -> dict[str, float]:
        if layer == Layer("border", 4, 8):
            if self.bad is None:
                raise LookupMiss(f"no cost of {layer}")
            return dict.fromkeys(self.metrics, self.bad)
        return super().layer(layer, variant)


def test_a_lookup_miss_is_never_free() -> None:
    blocks = (Block(4, ("mha",)), KEPT)
    scored = ScoredBlocks(blocks, np.zeros(2))
    problem = Problem(GEOMETRY, "embed", (scored, scored), {FP32: 0.0}, Holed(0))
    with pytest.raises(LookupMiss, match="border 4->8"):
        solve(problem)
    alone = Problem(GEOMETRY, "embed", (scored,), {FP32: 0.0}, Holed(0))
    assert solve(alone)  # no network of one block has that border
    bad = Problem(GEOMETRY, "embed", (scored, scored), {FP32: 0.0}, Holed(0, bad=math.nan))
    with pytest.raises(UsageError, match=r"latency_ms of border 4->8 in onnxruntime fp32 is nan"):
        solve(bad)


def test_codes_count_operations() -> None:
    blocks = tuple(PRESETS["minilm-l6"].restrict(hidden_sizes=(128, 384)).blocks())
    codes = block_codes(blocks)
    for i in range(0, len(blocks), 97):
        kind = codes.kind[i]
        assert codes.kind_hidden[kind] == blocks[i].hidden
        counted = [blocks[i].operations.count(name) for name in OPERATIONS]
        assert codes.kind_counts[kind].tolist() == counted
    assert [str(blocks[i]) for i in np.argsort(codes.rank)] == sorted(map(str, blocks))


@pytest.mark.slow
def test_the_search_stays_light() -> None:
    code = "import sys, nasc.solver; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "onnxruntime", "onnx", "transformers", "profilers"}
