"""Which part of the teacher's time the networks that come trained take, by processor.

By latency tables of several processors (``nasc tables export``) and estimates of devices whose
files state a peak: the predicted latency of each network in int8 over that of the teacher in int8,
and how far its sum of block losses is from the least that the exact search finds within the same
time there. A row of the table (`results.py`) a processor, from which `quality_report.py` makes one
table of all:

    nasc tables export TABLE --output epyc.csv
    python benchmarks/quality/trained_shares.py --table epyc.csv
        | python benchmarks/quality/results.py shares-epyc
    python benchmarks/quality/trained_shares.py --estimate pixel6
        | python benchmarks/quality/results.py shares-pixel6
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import device_profiles
from nasc.architecture.space import Architecture
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.distillation.trained import shipped_networks
from nasc.latency.costs import LATENCY, TableCosts
from nasc.latency.estimate import estimated_table
from nasc.latency.shared_file import read_shared
from nasc.latency.table import LatencyTable
from nasc.solver.frontier import solve
from nasc.solver.problem import Limits, Problem

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

PREFIX = "shares-"
"""Of the rows' names."""

PRECISION, RUNTIME, LENGTH = "int8", "onnxruntime", 128


def shares(context: RunContext, table: LatencyTable) -> list[dict[str, Any]]:
    """One row a network that comes trained, the slowest first."""
    scores, head = context.supernet.prepare().scores, table.key.head
    geometry, variant = context.space.geometry, table.key.variant
    positions, costs = scores.positions(), TableCosts.of([table])
    whole = table.latency_ms(context.whole_space.teacher.with_precision(variant.precision))

    def loss(architecture: Architecture) -> float:
        own = zip(positions, architecture.blocks, strict=True)
        return sum(float(scored.loss[scored.blocks.index(block)]) for scored, block in own)

    rows: list[dict[str, Any]] = []
    for one in shipped_networks(context.teacher):
        architecture = one.network.architecture.with_precision(variant.precision)
        ms = table.latency_ms(architecture)
        limits = Limits(latency_ms=costs.upper(LATENCY, ms, variant) * (1 + 1e-9))
        problem = Problem(geometry, head, positions, {variant: 0.0}, costs, limits)
        least = solve(problem)[0]
        rows.append(
            {
                "network": str(one.network.architecture.with_precision("fp32")).split(" @ ")[0],
                "steps": one.steps,
                "ms": ms,
                "share": ms / whole,
                "loss": loss(architecture),
                "least_loss": least.predicted_loss,
                "least": str(least.architecture).split(" @ ")[0],
            }
        )
    return sorted(rows, key=lambda row: -row["ms"])


def shown(found: Mapping[str, dict[str, Any]]) -> list[str]:
    """The table of all processors in Markdown; none without rows."""
    bodies = [body for name, body in found.items() if name.startswith(PREFIX)]
    if not bodies:
        return []
    known = [{row["network"]: row for row in body["rows"]} for body in bodies]
    networks = sorted(known[0], key=lambda name: -known[0][name]["share"])
    if lacking := [name for own in known for name in own.keys() ^ known[0].keys()]:
        raise SystemExit(f"rows {PREFIX}* differ in {', '.join(map(repr, lacking))}: do all anew")
    heads = [f"{body['processor']}, teacher {body['teacher_ms']:.1f} ms" for body in bodies]
    lines = ["| network | steps | " + " | ".join(heads) + " |", "|" + "---|" * (2 + len(heads))]
    for name in networks:
        cells = [f"{own[name]['share']:.1%}" for own in known]
        gaps = [f" (+{own[name]['loss'] - own[name]['least_loss']:.3f})" for own in known]
        quoted = "`" + name.replace("|", "\\|") + "`"
        row = [quoted, f"{known[0][name]['steps']:,}", *map("".join, zip(cells, gaps, strict=True))]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def main() -> None:
    """Read or estimate one table, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--table", type=Path, help="of nasc tables export, in int8")
    given.add_argument("--estimate", metavar="DEVICE", help="a device whose file states a peak")
    parser.add_argument("--processor", help="in words; default: what the table says")
    args = parser.parse_args()
    context = RunContext(Settings(precisions=(PRECISION,)), Lines(), promises_latency=False)
    if args.table is not None:
        table = read_shared(args.table).table
        processor = table.processor
    else:
        device = device_profiles.find(args.estimate)
        table = estimated_table(
            device,
            context.space,
            runtime=RUNTIME,
            precision=PRECISION,
            seq_len=LENGTH,
            batch=1,
            threads=1,
            head=context.graph_head,
            fixed_shape=False,
        )
        processor = f"{device.name}, estimated"
    if table.key.variant != Variant(RUNTIME, PRECISION):
        parser.error(f"'{args.table}' is a table of {table.key.variant}")
    whole = table.latency_ms(context.whole_space.teacher.with_precision(PRECISION))
    found = {
        "benchmark": "trained_shares",
        "processor": args.processor or processor,
        "estimated": args.table is None,
        "created": table.created,
        "teacher_ms": whole,
        "rows": shares(context, table),
    }
    json.dump(found, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
