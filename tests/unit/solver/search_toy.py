"""Small random searches and their answers by trying everything."""

import functools
import itertools
import zlib
from dataclasses import dataclass

import numpy as np

from nasc.architecture.layers import Layer, layers
from nasc.architecture.space import OPERATIONS, Architecture, Block, Geometry
from nasc.architecture.variant import Variant
from nasc.solver import Limits, Problem, ScoredBlocks

GEOMETRY = Geometry(
    layers=6, hidden=8, head_size=2, intermediate=16, vocab_size=10, max_positions=4
)
FP32, INT8 = Variant("onnxruntime", "fp32"), Variant("onnxruntime", "int8")
BF16, OTHER_INT8 = Variant("openvino", "bf16"), Variant("openvino", "int8")
KEPT = Block(8, ("mha", "ffn"), kept=True)
METRICS = ("latency_ms", "size_bytes", "params", "weight_bytes")
STREAMED = (*METRICS, "streaming_latency_ms")
"""A latency is then the larger of two sums."""


def _label(variant: Variant) -> str:
    """What prices are drawn by."""
    return variant.precision if variant.runtime == FP32.runtime else str(variant)


@dataclass(frozen=True)
class ToyCosts:
    """VariantCosts drawn from a seed: whole numbers below `spread`, so that ties are common.

    With `fractions` multiples of 2**-20 below 1, whose sums are exact too.
    """

    seed: int
    spread: int = 6
    fractions: bool = False
    plateau: int = 1
    live_scale: float = 3.0
    metrics: tuple[str, ...] = METRICS

    def _draw(self, what: str, n: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, zlib.crc32(what.encode())])
        return (
            rng.integers(0, 2**20, n) / 2**20 if self.fractions else rng.integers(0, self.spread, n)
        )

    def constant(self, variant: Variant) -> dict[str, float]:
        drawn = self._draw(f"constant {_label(variant)}", len(self.metrics)) + 1
        found = {m: float(v) for m, v in zip(self.metrics, drawn, strict=True)}
        if "streaming_latency_ms" in found:
            found["streaming_latency_ms"] -= 4.0
        return found

    @functools.lru_cache(maxsize=10_000)  # noqa: B019
    def layer(self, layer: Layer, variant: Variant) -> dict[str, float]:
        drawn = self._draw(f"{layer!r} {_label(variant)}", len(self.metrics))
        return {m: float(v) for m, v in zip(self.metrics, drawn, strict=True)}

    @functools.lru_cache(maxsize=10_000)  # noqa: B019
    def activation_bytes(self, layer: Layer, variant: Variant) -> float:
        return float(self.live_scale * self._draw(f"live {layer!r} {_label(variant)}", 1)[0])

    def upper(self, metric: str, value: float, variant: Variant) -> float:
        if metric not in ("latency_ms", "streaming_latency_ms"):
            return value
        stretched = value * (1.25 if variant.precision == "int8" else 1.5)
        return stretched if self.plateau == 1 else float(-(-stretched // self.plateau))


def random_blocks(
    rng: np.random.Generator, sizes: list[int], n: int, *, reordered: bool = False
) -> tuple[Block, ...]:
    """Up to n distinct blocks of few operations; sometimes the kept one.

    Reordered, they are few sets of operations in several orders, which cost the same.
    """
    found = {KEPT} if rng.random() < 0.5 else set()
    for _ in range(n):
        operations = rng.choice(OPERATIONS[:3], rng.integers(1, 4))
        found.add(Block(int(rng.choice(sizes)), tuple(map(str, operations))))
    blocks = sorted(found)
    if reordered:
        orders = [Block(b.hidden, o) for b in blocks for o in itertools.permutations(b.operations)]
        blocks = list(dict.fromkeys([KEPT, *orders]))[:n]
    rng.shuffle(blocks)  # type: ignore[arg-type]
    return tuple(blocks)


def random_problem(
    seed: int,
    *,
    positions: int = 2,
    candidates: int = 8,
    variants: tuple[Variant, ...] = (FP32, INT8),
    costs: ToyCosts | None = None,
    loss_spread: int = 8,
    reordered: bool = False,
) -> Problem:
    """A search without limits."""
    rng = np.random.default_rng(seed)
    sizes = [[4, 8], [2, 4], [2, 4, 8]][seed % 3]
    scored = []
    for _ in range(positions):
        blocks = random_blocks(rng, sizes, candidates, reordered=reordered)
        scored.append(ScoredBlocks(blocks, rng.integers(-1, loss_spread, len(blocks))))
    terms = {p: float(rng.integers(0, 3)) for p in variants}
    head = "embed" if seed % 2 else "hidden"
    return Problem(GEOMETRY, head, tuple(scored), terms, costs or ToyCosts(seed))


@dataclass(frozen=True)
class Tried:
    """One network of a problem, priced by plain addition."""

    architecture: Architecture
    runtime: str
    loss: float
    costs: dict[str, float]
    upper: dict[str, float]

    @property
    def order(self) -> tuple[float, tuple[str, ...], str, float, str]:
        texts = tuple(str(b) for b in self.architecture.blocks)
        latency_ms = self.upper.get("latency_ms", 0.0)
        return self.loss, texts, self.architecture.precision, latency_ms, self.runtime


def every_network(problem: Problem) -> list[Tried]:
    """All networks of a problem, limits left aside."""
    found = []
    model = problem.costs
    for variant, term in problem.variants.items():
        constant = model.constant(variant)
        for choice in itertools.product(*(range(len(s.blocks)) for s in problem.positions)):
            picked = list(zip(problem.positions, choice, strict=True))
            architecture = Architecture(tuple(s.blocks[i] for s, i in picked), variant.precision)
            network = layers(architecture, problem.geometry, problem.head)
            rows = [model.layer(layer, variant) for layer in network]
            costs = {m: constant[m] + sum(row[m] for row in rows) for m in model.metrics}
            if "streaming_latency_ms" in costs:
                costs["latency_ms"] = max(costs["latency_ms"], costs.pop("streaming_latency_ms"))
            live = max(model.activation_bytes(layer, variant) for layer in network)
            costs["peak_memory_bytes"] = costs["weight_bytes"] + live
            upper = {m: model.upper(m, v, variant) for m, v in costs.items()}
            loss = term + sum(float(s.loss[i]) for s, i in picked)
            found.append(Tried(architecture, variant.runtime, loss, costs, upper))
    return found


def within(networks: list[Tried], limits: Limits) -> list[Tried]:
    """Those that meet the limits, in order."""
    given = limits.given()
    met = [n for n in networks if all(n.upper[m] <= v for m, v in given.items())]
    return sorted(met, key=lambda n: n.order)


def random_limits(seed: int, networks: list[Tried], slack: int) -> Limits:
    """Limits taken from networks at hand, so that many are met exactly by some."""
    rng = np.random.default_rng(seed)
    names = ["latency_ms", "size_bytes", "params", "peak_memory_bytes"]
    chosen = rng.permutation(names)[: rng.integers(1, 5)]
    given = {}
    for name in map(str, chosen):
        values = sorted(n.upper[name] for n in networks)
        quantile = rng.random() if slack else rng.random() * 0.15
        given[name] = max(values[int(quantile * (len(values) - 1))], 1e-3)
    return Limits(**given)
