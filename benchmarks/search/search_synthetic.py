"""Synthetic searches of full size for the search benchmarks: no device, no training.

Latency: multiply-accumulates at a rate that differs by operation and size, plus a fixed cost a
layer, jittered; parameters beyond a quarter of the teacher's take more on top. Loss: falls with
the parameters of a block, and half of it is chance, as measured losses of blocks of the same
size differ; a precision adds the same to every network. All from one seed. Losses and latencies
are multiples of 2**-24, so that plain sums of them are exact in any order.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nasc.architecture.layers import Layer, block_layers, layer_macs, layer_params
from nasc.architecture.space import Block, Geometry, SearchSpace
from nasc.architecture.variant import Variant
from nasc.solver import Limits, Problem, ScoredBlocks
from nasc.solver.chain import completion_bounds
from nasc.solver.costs import LOSS, price

SEQ_LEN = 128
_BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0}
_GMACS_A_MS = {"fp32": 0.05, "bf16": 0.1, "int8": 0.12}
_LOSS = {"fp32": 0.0, "bf16": 2.0**-12, "int8": 0.0625}
PRECISIONS = tuple(_LOSS)
ONE_RUNTIME = (Variant("onnxruntime", "fp32"), Variant("onnxruntime", "int8"))
TWO_RUNTIMES = tuple(Variant(r, p) for r in ("onnxruntime", "openvino") for p in PRECISIONS)
"""They differ in the speed of every layer; the loss of a precision is the same by each runtime."""

_LIVE_WIDTH = {"ffn": 5, "mha": 5}
_RUNTIME_BYTES = 30_000_000.0
_STREAMING_MS = 2e-7


def dyadic(values: np.ndarray | float) -> np.ndarray:
    """Values rounded to multiples of 2**-24."""
    return np.rint(np.asarray(values) * 2.0**24) / 2.0**24


@dataclass(frozen=True)
class SyntheticCosts:
    """VariantCosts of layers for a teacher's geometry."""

    geometry: Geometry
    seed: int = 0
    metrics: tuple[str, ...] = (
        "latency_ms",
        "streaming_latency_ms",
        "size_bytes",
        "params",
        "weight_bytes",
    )

    def constant(self, variant: Variant) -> dict[str, float]:
        g = self.geometry
        beyond = g.layers * (4 * g.hidden**2 + 2 * g.hidden * g.intermediate) / 4
        return {
            "latency_ms": 0.0625,
            "streaming_latency_ms": 0.0625 - float(dyadic(_STREAMING_MS * beyond)),
            "size_bytes": 2e4,
            "params": 0,
            "weight_bytes": _RUNTIME_BYTES,
        }

    @functools.lru_cache(maxsize=10_000)  # noqa: B019
    def layer(self, layer: Layer, variant: Variant) -> dict[str, float]:
        precision = variant.precision
        label = precision if variant.runtime == "onnxruntime" else str(variant)
        rng = np.random.default_rng([self.seed, zlib.crc32(f"{layer} {label}".encode())])
        params = layer_params(layer, self.geometry)
        macs = layer_macs(layer, self.geometry, SEQ_LEN)
        fixed = 0.4 if layer.kind == "embedding" else 0.03
        latency = (fixed + macs / 1e9 / _GMACS_A_MS[precision]) * rng.uniform(0.8, 1.3)
        streamed = 0 if layer.kind == "embedding" else params
        size = params * _BYTES[precision] + 600
        return {
            "latency_ms": float(dyadic(latency)),
            "streaming_latency_ms": float(dyadic(latency) + dyadic(_STREAMING_MS * streamed)),
            "size_bytes": size,
            "params": params,
            "weight_bytes": round(size * (1.0 if precision == "fp32" else 1.15)),
        }

    def activation_bytes(self, layer: Layer, variant: Variant) -> float:
        width = _LIVE_WIDTH.get(layer.kind, 2) * max(layer.hidden_in, layer.hidden_out)
        return 4.0 * SEQ_LEN * width

    def upper(self, metric: str, value: float, variant: Variant) -> float:
        if metric not in ("latency_ms", "streaming_latency_ms"):
            return value
        return value * (1.03 if variant.precision == "fp32" else 1.02) + 0.01


def scored(
    blocks: Iterable[Block], n_positions: int, geometry: Geometry, rng: np.random.Generator
) -> tuple[ScoredBlocks, ...]:
    """Positions that share their blocks, each with losses of its own."""
    blocks = tuple(blocks)
    table: dict[Layer, int] = {}
    sizes = np.empty(len(blocks))
    for i, block in enumerate(blocks):
        sizes[i] = sum(
            table[x] if x in table else table.setdefault(x, layer_params(x, geometry))
            for x in block_layers(block)
        )
    quality = 1.0 / (1.0 + sizes / np.median(sizes))
    found = []
    for _ in range(n_positions):
        loss = quality * rng.uniform(0.5, 1.5, len(blocks)) * rng.uniform(0.5, 2.0)
        loss[[b.kept for b in blocks]] = 0.0
        found.append(ScoredBlocks(blocks, dyadic(loss)))
    return tuple(found)


def synthetic(
    space: SearchSpace,
    variants: Iterable[Variant],
    seed: int = 0,
    blocks: tuple[Block, ...] | None = None,
) -> Problem:
    """A search over a space, or over some of its blocks, without limits."""
    rng = np.random.default_rng(seed)
    positions = scored(blocks or space.blocks(), space.n_blocks, space.geometry, rng)
    losses = {variant: _LOSS[variant.precision] for variant in variants}
    costs = SyntheticCosts(space.geometry, seed)
    return Problem(space.geometry, "embed", positions, losses, costs)


def limits_between(problem: Problem, share: dict[str, float]) -> Limits:
    """Limits at shares of the way from each metric's least to its largest total."""
    given: dict[str, float] = {}
    for metric, part in share.items():
        ends: list[float] = []
        column = "weight_bytes" if metric == "peak_memory_bytes" else metric
        for variant in problem.variants:
            chain = price(problem, variant).chain(LOSS, (column,))
            ahead = completion_bounds(chain)
            for rows, live in ((ahead.least, ahead.least_live), (ahead.most, ahead.most_live)):
                total = chain.start_values[1] + rows[0, chain.start_size, 1]
                total += live[0, chain.start_size] if metric == "peak_memory_bytes" else 0
                ends.append(problem.costs.upper(metric, float(total), variant))
        given[metric] = min(ends) + part * (max(ends) - min(ends))
    return Limits(**given)
