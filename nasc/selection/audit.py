"""The ranking audit: does the sum of block losses that a search goes by rank networks truly?

Networks are drawn over the range of latency, not by the search. Of each the proxy (what the search
minimises) is held against the loss as a complete network of the supernet, and of some also against
the quality after the same distillation. Beside the proxy stand plain baselines: a smaller sum of
block losses without sensitivities (the paper's), more parameters, more multiply-accumulates, are
better. What matters is the order of networks of equal latency:
limits leave the search no other choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nasc.architecture.layers import macs, params
from nasc.architecture.space import Architecture
from nasc.context.context import RunContext
from nasc.data.heldout import JUDGING_SENTENCES, judging_sentences
from nasc.distillation.train import DistillConfig, distill_cached
from nasc.errors import UsageError
from nasc.evaluation.agreement import compare
from nasc.evaluation.ranking import Ranking, rank
from nasc.evaluation.torch_vectors import pooled_vectors, teacher_vectors
from nasc.selection.problems import problem_of
from nasc.solver.problem import Limits
from nasc.utils.progress import Silent

POOL = 50
"""Networks drawn for each that is kept, so that those of one bin are of nearly one latency."""

LEAST = 3
"""Networks that can be ranked."""

BIN_NETWORKS = 10
"""Networks of nearly the same latency that are compared with each other."""

RANGE = (0.02, 0.98)
"""Quantiles of the latencies drawn between which the bins lie."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found.

    Attributes:
        table: A row a network, from the fastest bin to the slowest: architecture, latency_ms, bin,
            proxy, plain_sum, params, macs, true_loss, quality (NaN where it was not distilled).
        rankings: By what was ranked (``true_loss``, ``quality``) and where (``overall``,
            ``in_bins``).
        steps: Of the distillation of each.
    """

    table: pd.DataFrame
    rankings: dict[str, dict[str, Ranking]]
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        rows = self.table.astype(object).where(self.table.notna(), None).to_dict("records")
        rankings = {
            what: {where: dataclasses.asdict(found) for where, found in each.items()}
            for what, each in self.rankings.items()
        }
        return {"networks": rows, "rankings": rankings, "distill_steps": self.steps}

    def rows(self) -> list[tuple[str, str]]:
        """The result for people: names and values."""
        found = []
        for what, each in self.rankings.items():
            for where, ranking in each.items():
                for name, tau in ranking.tau.items():
                    text = f"tau {tau.tau:.3f} ({tau.low:.3f} to {tau.high:.3f})"
                    if name in ranking.gains:
                        gain = ranking.gains[name]
                        text += (
                            f"; the proxy gains {gain.tau:+.3f} "
                            f"({gain.low:+.3f} to {gain.high:+.3f})"
                        )
                    found.append((f"{what}, {where}: {name}".replace("_", " "), text))
        return found


def audit(
    context: RunContext,
    *,
    networks: int = 120,
    distilled: int = 0,
    steps: int = 150,
) -> Audit:
    """Draw networks, take their losses, hold the proxy against them.

    Args:
        context: Teacher, supernet, tables, text; its first variant allowed is audited.
        networks: How many are drawn.
        distilled: How many of them, over the range of latency, are also distilled.
        steps: Of each distillation.

    Raises:
        UsageError: If there are too few networks to rank, or more distilled than drawn.
    """
    if networks < LEAST or not (distilled == 0 or LEAST <= distilled <= networks):
        raise UsageError(
            f"an audit ranks {LEAST} networks or more and distils none or {LEAST} or more of them, "
            f"got {networks} and {distilled}"
        )
    variant = context.variants[0]
    rng = np.random.default_rng(context.settings.seed)
    problem = problem_of(context, Limits(), [variant])
    pool = list(
        dict.fromkeys(
            Architecture(
                tuple(p.blocks[rng.integers(len(p.blocks))] for p in problem.positions),
                variant.precision,
            )
            for _ in range(POOL * networks)
        )
    )
    costs = context.tables.measure_costs([variant])
    latency = np.array([costs.predict(a, variant.runtime).latency_ms for a in pool])
    chosen, bins = alike(latency, networks)
    if len(chosen) < LEAST:
        raise UsageError(
            f"the supernet holds {len(chosen)} networks to choose from, an audit ranks {LEAST} or "
            "more. Take a supernet with more left: nasc train"
        )
    summed = {
        "proxy": problem.positions,
        "plain_sum": context.supernet.prepare().scores.unweighted_positions(),
    }
    losses = {
        name: [dict(zip(p.blocks, p.loss, strict=True)) for p in positions]
        for name, positions in summed.items()
    }
    geometry, head, length = problem.geometry, problem.head, context.settings.seq_len
    progress = context.reporter.stage(f"True loss of {len(chosen)} networks")
    scorer, added = context.supernet.load_scorer(), context.supernet.measure_variant_loss(variant)
    rows = []
    for done, i in enumerate(chosen):
        progress(done, len(chosen), str(pool[i]))
        blocks = pool[i].blocks
        rows.append(
            {
                "architecture": str(pool[i]),
                "latency_ms": float(latency[i]),
                "bin": int(bins[done]),
                **{
                    name: float(sum(own[b] for own, b in zip(each, blocks, strict=True)))
                    for name, each in losses.items()
                },
                "params": params(pool[i], geometry, head),
                "macs": macs(pool[i], geometry, length, head),
                "true_loss": scorer.final_loss(blocks) + added,
                "quality": np.nan,
            }
        )
    table = pd.DataFrame(rows)
    rankings = {"true_loss": rankings_of(table, "true_loss")}
    if distilled:
        places = some_bins(bins, distilled)
        table.loc[places, "quality"] = _qualities(context, [pool[chosen[i]] for i in places], steps)
        rankings["quality"] = rankings_of(table.loc[places], "quality")
    return Audit(table, rankings, steps if distilled else 0)


def alike(latency_ms: Floats, networks: int) -> tuple[Ints, Ints]:
    """Networks in bins over the range of latency, those of a bin of nearly the same.

    Args:
        latency_ms: (n,) of a pool.
        networks: How many to take at most.

    Returns:
        Their places in the pool, bin after bin, and the bin of each, from 0.
    """
    count = max(1, networks // BIN_NETWORKS)
    low, high = np.quantile(latency_ms, RANGE)
    free = np.ones(len(latency_ms), bool)
    chosen: list[int] = []
    bins: list[int] = []
    for number, target in enumerate(np.geomspace(low, high, count)):
        size = networks // count + (number < networks % count)
        distance = np.where(free, np.abs(np.log(latency_ms / target)), np.inf)
        nearest = [int(i) for i in np.argsort(distance, kind="stable")[:size] if free[i]]
        free[nearest] = False
        chosen += nearest
        bins += [number] * len(nearest)
    return np.array(chosen), np.array(bins)


def some_bins(bins: Ints, count: int) -> Ints:
    """Places of so many networks out of few bins over the range: only those of a bin compare.

    Args:
        bins: (n,) of all networks, ascending.
        count: How many, n at most.
    """
    wanted = -(-count // BIN_NETWORKS)
    chosen = np.linspace(0, bins[-1], wanted).round()
    within = np.concatenate([np.arange(n) for n in np.bincount(bins)])  # place in its bin
    order = np.lexsort((within, ~np.isin(bins, chosen)))
    return np.sort(order[:count])


def rankings_of(table: pd.DataFrame, what: str) -> dict[str, Ranking]:
    """How the proxy and the baselines rank a column of an audit's table.

    Args:
        table: See `Audit`.
        what: ``true_loss``, the lower the better, or ``quality``, the higher the better.
    """
    loss = table[what].to_numpy(float) * (-1 if what == "quality" else 1)
    proxies = {
        "proxy": table["proxy"].to_numpy(float),
        "plain_sum": table["plain_sum"].to_numpy(float),
        "params": -table["params"].to_numpy(float),
        "macs": -table["macs"].to_numpy(float),
    }
    found = {"overall": rank(loss, proxies)}
    bins = table["bin"].to_numpy()
    if np.unique(bins).size < len(bins):
        found["in_bins"] = rank(loss, proxies, bins)
    return found


def _qualities(context: RunContext, networks: Sequence[Architecture], steps: int) -> list[float]:
    """`Quality.decides` of each after the same distillation, in fp32."""
    sentences = judging_sentences(context.corpus, JUDGING_SENTENCES)
    wanted = teacher_vectors(context.teacher, sentences)
    progress = context.reporter.stage(
        f"Distillation of {len(networks)} networks, {steps} steps each"
    )
    found = []
    for done, architecture in enumerate(networks):
        progress(done, len(networks), str(architecture))
        network = context.supernet.prepare().supernet.extract(architecture, context.trained_head)
        if not architecture.is_teacher:
            network, _ = distill_cached(
                network,
                context.teacher,
                context.corpus,
                DistillConfig(steps=steps, seed=context.settings.seed),
                seconds=None,
                cache_dir=context.cache,
                reporter=Silent(),
            )
        quality = compare(wanted, pooled_vectors(context.teacher, network, sentences))
        found.append(quality.decides(network.head))
    return found
