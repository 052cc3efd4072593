"""What each part brings to a package at a quarter of the int8 teacher's latency.

The pipeline of `nasc.compile` runs as it is, and with one part switched off:

- ``sensitivity``: block losses are summed as they are (the paper's sum);
- ``kept``: no layer is the teacher's own: no kept blocks, no pruned teacher in the halving;
- ``distillation``: the network ships as it comes out of the supernet, without a halving;
- ``shrinking`` and ``start`` (from random weights): these need supernets of their own, so that here
  all three, with ``short`` as the one with every part, are trained for few steps by the recipe of
  the supernet that ships.

Results go beside those of `quality_grid.py`, under the same conditions, one row each.

    python benchmarks/quality/quality_parts.py --glue GLUE --squad SQUAD --corpus TEXT
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from quality_grid import Grid, parser

from nasc.context.context import RunContext
from nasc.networks.network import Network
from nasc.pipelines.compile import compile_on
from nasc.pipelines.options import Options
from nasc.solver.problem import Limits
from nasc.supernet.prepare import Prepared, prepare, shrink_plan
from nasc.supernet.shrink import ShrinkConfig
from nasc.supernet.train import TrainConfig

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

FRACTION = 0.25
SHORT_BATCH = 32
"""Sentences in a step of a short supernet: what a processor trains in minutes."""

PARTS = ("whole", "sensitivity", "kept", "distillation", "short", "shrinking", "start")


def short(grid: Grid, part: str, steps: int) -> Prepared:
    """A supernet trained for few steps as the one that ships, but for one part."""
    context, header = grid.context, grid.context.supernet.prepare().header
    config = TrainConfig(
        **header["config"]
        | {"steps": steps, "batch_size": SHORT_BATCH, "sampling": "uniform"}
        | ({"start": "scratch"} if part == "start" else {})
    )
    shrunk = ShrinkConfig(**header["shrinking"]["config"] | {"epoch_steps": 0})
    shrinking = None if part == "shrinking" else shrink_plan(context.whole_space, None, shrunk)
    return prepare(
        context.teacher,
        context.whole_space,
        context.corpus,
        config,
        seconds=None,
        cache_dir=context.cache,
        reporter=Lines(),
        shrinking=shrinking,
    )


def context_without(grid: Grid, part: str, steps: int) -> RunContext:
    """What a package is compiled with, less one part."""
    context = RunContext(grid.settings, Lines())
    if part in ("short", "shrinking", "start"):
        context.supernet.prepared = short(grid, part, steps)
        return context
    prepared = context.supernet.prepare()
    scores = prepared.scores
    if part == "sensitivity":
        scores = dataclasses.replace(scores, sensitivity=(1.0,) * len(scores.sensitivity))
    if part == "kept":
        whole = dataclasses.replace(context.whole_space, keep=False)
        context.inputs.whole_space = whole
        trained = [np.array([not b.kept for b in blocks]) for blocks in scores.blocks]
        scores = dataclasses.replace(
            scores,
            space=whole,
            blocks=tuple(tuple(b for b in blocks if not b.kept) for blocks in scores.blocks),
            losses=tuple(x[own] for x, own in zip(scores.losses, trained, strict=True)),
        )
    context.supernet.prepared = dataclasses.replace(prepared, scores=scores)
    return context


def compiled(grid: Grid, part: str, steps: int) -> Network:
    """The network of a package made without a part."""
    options = Options(
        distill_steps=0 if part == "distillation" else grid.conditions["steps"],
        output=grid.files / f"without-{part}",
        force=True,
    )
    context = context_without(grid, part, steps)
    return compile_on(context, Limits(latency_ms=grid.limit_ms(FRACTION)), options).network


def main() -> None:
    """Run what is missing."""
    asked = parser(__doc__)
    asked.add_argument("--supernet-steps", type=int, default=1200, help="of short supernets")
    arguments: argparse.Namespace = asked.parse_args()
    grid, steps = Grid(arguments), arguments.supernet_steps
    _ = grid.conditions
    for part in PARTS:
        found = grid.cell(
            f"part-{part}",
            lambda p=part: (
                grid.body(compiled(grid, p, steps))  # type: ignore[misc]
                | {"supernet_steps": steps, "supernet": grid.supernet}
            ),
        )
        grid.check_supernet(f"part-{part}")
        if found["supernet_steps"] != steps:
            other = found["supernet_steps"]
            raise SystemExit(f"part-{part} was made with --supernet-steps {other}: give the same")


if __name__ == "__main__":
    main()
