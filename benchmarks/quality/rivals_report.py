"""Tables and a picture of ours and rivals after the same training, for `quality_report.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

sys.path.append(str(Path(__file__).parents[1]))
from families import FAMILIES, family_of

ROW = "rivals"
RECIPE = "joined"
"""That all are trained by."""

SCORES = {
    "mrr_at_10": "MRR@10",
    "sts_spearman": "STS-B",
    "sst-2": "SST-2",
    "ranking_ndcg": "ranking",
    "similarity": "similarity",
    "cosine": "cosine",
}
"""In a row of `judging.py`, with what the document calls them."""

TASKS = ("mrr_at_10", "sts_spearman", "sst-2")
AGREEMENT = ("ranking_ndcg", "similarity")
MEANS = {"mean of tasks": TASKS, "mean of agreement": AGREEMENT}
SHARES = (2, 4, 8, 16, 32)
WITHIN = 1.03
"""A network that takes so much of a share counts as within it, of whatever family: three
measurements in turn differed by as much (docs/quality.md)."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One network after so many steps.

    Attributes:
        name: As `families.py` has it.
        steps: Of its own training.
        scores: By name, one of each seed.
        precision: Of its file.
        latency_ms: Of its file.
        size_bytes: Of its file.
    """

    name: str
    steps: int
    scores: dict[str, list[float]]
    precision: str
    latency_ms: float
    size_bytes: int

    @property
    def seeds(self) -> int:
        return len(self.scores[TASKS[0]])

    def mean(self, names: tuple[str, ...]) -> list[float]:
        """The mean over some scores, of each seed."""
        return [float(np.mean(own)) for own in zip(*(self.scores[n] for n in names), strict=True)]


def judged(found: Mapping[str, dict[str, Any]]) -> list[Judged]:
    """All networks of a family, and the teacher, the slowest first, less steps before more.

    Args:
        found: Rows of the table.

    Raises:
        SystemExit: If two rows are of the same network, steps and seed, one lacks a score, or the
            cost of a network is not known.
    """
    if ROW not in found:
        return []
    costs = found[ROW]["costs"]
    runs = [(0, found[ROW]["rows"])]
    runs += [(row["steps"], row["rows"]) for n, row in found.items() if n.startswith(f"{ROW}-")]
    scores: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
    for steps, rows in runs:
        for row in rows:
            name, after = row["network"], 0 if row["recipe"] == "none" else steps
            if row["recipe"] not in ("none", RECIPE):
                continue
            if name != "teacher" and family_of(name) is None:
                continue
            if lacking := [n for n in (*TASKS, *AGREEMENT) if n not in row]:
                raise SystemExit(f"{name!r} of {ROW!r} was not judged by {', '.join(lacking)}")
            if name not in costs:
                raise SystemExit(f"rivals.py did not measure {name!r}: name it there, too")
            own = scores.setdefault((name, after), {})
            if after and row["seed"] in own:
                raise SystemExit(f"two trainings of {name!r} with the seed {row['seed']}")
            own[row.get("seed", 0)] = row
    networks = [
        Judged(
            name,
            steps,
            {n: [own[seed][n] for seed in sorted(own)] for n in SCORES if n in own[min(own)]},
            costs[name]["precision"],
            costs[name]["latency_ms"],
            costs[name]["size_bytes"],
        )
        for (name, steps), own in scores.items()
    ]
    return sorted(networks, key=lambda one: (-one.latency_ms, one.name, one.steps))


def after_training(networks: list[Judged]) -> list[Judged]:
    """Those that were trained for longest, all by as many steps, and what nobody trains."""
    most = max(one.steps for one in networks)
    static = [one for one in networks if family_of(one.name) == "static"]
    return [one for one in networks if one.steps == most and family_of(one.name)] + static


def cell(values: list[float]) -> str:
    """Mean, with the spread of several seeds."""
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def shown(name: str) -> str:
    """A network in a cell of a table."""
    text = name.removeprefix("supernet: ")
    return text if text == name else "`" + text.replace("|", "\\|") + "`"


def every_network(networks: list[Judged]) -> list[str]:
    """One row a network and steps, as Markdown."""
    heads = ["network", "of the teacher's ms", "ms", "MB", "steps", "seeds", *SCORES.values()]
    heads += MEANS
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    whole = next(one.latency_ms for one in networks if one.name == "teacher")
    for one in networks:
        cells = [
            shown(one.name) + (f", {one.precision}" if one.precision != "int8" else ""),
            f"{one.latency_ms / whole:.1%}",
            f"{one.latency_ms:.2f}",
            f"{one.size_bytes / 1e6:.1f}",
            f"{one.steps:,}",
            str(one.seeds),
            *(cell(one.scores[name]) if name in one.scores else "" for name in SCORES),
            *(cell(one.mean(names)) for names in MEANS.values()),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def best_within(networks: list[Judged]) -> list[str]:
    """Of each family the best within a share of the teacher's latency, as Markdown."""
    whole = next(one.latency_ms for one in networks if one.name == "teacher")
    families = list(FAMILIES.values())
    lines = ["| within | by | " + " | ".join(families) + " |", "|---|---|" + "---|" * len(families)]
    for share in SHARES:
        fits = [one for one in after_training(networks) if one.latency_ms <= WITHIN * whole / share]
        for mean, names in MEANS.items():
            cells = []
            for family in families:
                own = [one for one in fits if family_of(one.name) == family]
                best = max(own, key=lambda one: np.mean(one.mean(names)), default=None)
                cells.append(
                    "" if best is None else f"{cell(best.mean(names))}, {shown(best.name)}"
                )
            lines.append(f"| 1/{share} | {mean} | " + " | ".join(cells) + " |")
    return lines


def draw(networks: list[Judged], path: Path) -> None:
    """Both means over latency and size, after the training."""
    teacher = next(one for one in networks if one.name == "teacher")
    trained = sorted(after_training(networks), key=lambda one: one.latency_ms)
    figure, panels = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained", sharey="row")
    for (mean, names), row in zip(MEANS.items(), panels, strict=True):
        for panel, label in zip(row, ("ms", "MB"), strict=True):
            for family in FAMILIES.values():
                own = [one for one in trained if family_of(one.name) == family]
                xs = [one.latency_ms if label == "ms" else one.size_bytes / 1e6 for one in own]
                ys = [np.mean(one.mean(names)) for one in own]
                precisions = {one.precision for one in own} or {"int8"}
                panel.plot(xs, ys, "o-", label=f"{family}, {'/'.join(precisions)}", ms=4)
            panel.axhline(np.mean(teacher.mean(names)), color="grey", lw=0.8, label="teacher")
            panel.set(xlabel=label, ylabel=mean, xscale="log")
    panels[0][0].legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def rivals(found: Mapping[str, dict[str, Any]], document: Path) -> list[str]:
    """Tables, and a picture beside the document, as Markdown; none without results.

    Args:
        found: Rows of the table.
        document: Whose folder of pictures it goes into.

    Raises:
        SystemExit: See `judged`.
    """
    networks = judged(found)
    if not networks:
        return []
    path = document.with_suffix("") / f"{ROW}.svg"
    draw(networks, path)
    picture = f"![{ROW}]({path.relative_to(document.parent)})"
    return [*every_network(networks), "", *best_within(networks), "", picture]
