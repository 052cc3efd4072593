"""Tables and a picture of ours and rivals after the same training, for `quality_report.py`."""

from __future__ import annotations

import sys
from collections import defaultdict
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
SHARES = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Judged:
    """One network after so many steps.

    Attributes:
        name: As `families.py` has it.
        steps: Of its own training.
        scores: By name, one of each seed.
        latency_ms: In int8.
        size_bytes: Of its file.
    """

    name: str
    steps: int
    scores: dict[str, list[float]]
    latency_ms: float
    size_bytes: int

    @property
    def seeds(self) -> int:
        return len(self.scores[TASKS[0]])

    def mean(self, names: tuple[str, ...]) -> list[float]:
        """The mean over some scores, of each seed."""
        return [float(np.mean(own)) for own in zip(*(self.scores[n] for n in names), strict=True)]


def judged(found: Mapping[str, dict[str, Any]]) -> list[Judged]:
    """All networks whose cost is known, the slowest first, less steps before more.

    Args:
        found: Rows of the table.
    """
    if ROW not in found:
        return []
    costs = found[ROW]["costs"]
    runs = [(0, found[ROW]["rows"])]
    runs += [(row["steps"], row["rows"]) for n, row in found.items() if n.startswith(f"{ROW}-")]
    scores: dict[tuple[str, int], dict[int, dict[str, float]]] = defaultdict(dict)
    for steps, rows in runs:
        for row in rows:
            after = 0 if row["recipe"] == "none" else steps
            scores[row["network"], after][row.get("seed", 0)] = row
    seeds = {key: [own[n] for n in sorted(own)] for key, own in scores.items()}
    networks = [
        Judged(
            name,
            steps,
            {n: [row[n] for row in own] for n in SCORES if n in own[0]},
            costs[name]["latency_ms"],
            costs[name]["size_bytes"],
        )
        for (name, steps), own in seeds.items()
        if name in costs
    ]
    return sorted(networks, key=lambda one: (-one.latency_ms, one.name, one.steps))


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
            shown(one.name),
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
    others = [one for one in networks if one.name != "teacher"]
    lines = ["", "| within | by | " + " | ".join(FAMILIES) + " |", "|---|---|" + "---|" * 4]
    for share in SHARES:
        fits = [one for one in others if one.latency_ms <= whole / share]
        for mean, names in MEANS.items():
            cells = []
            for family in FAMILIES:
                own = [one for one in fits if family_of(one.name) == family]
                best = max(own, key=lambda one: np.mean(one.mean(names)), default=None)
                cells.append(
                    "" if best is None else f"{cell(best.mean(names))}, {shown(best.name)}"
                )
            lines.append(f"| 1/{share} | {mean} | " + " | ".join(cells) + " |")
    return lines


def draw(networks: list[Judged], path: Path) -> None:
    """Both means over latency and size; of each network the one with most steps."""
    last = {one.name: one for one in networks}
    others = [one for name, one in last.items() if name != "teacher"]
    figure, panels = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained", sharey="row")
    for (mean, names), row in zip(MEANS.items(), panels, strict=True):
        for panel, (label, scale) in zip(row, (("ms", 1.0), ("MB", 1e6)), strict=True):
            for family in FAMILIES:
                own = [o for o in others if family_of(o.name) == family]
                xs = [(o.latency_ms if label == "ms" else o.size_bytes) / scale for o in own]
                ys = [np.mean(o.mean(names)) for o in own]
                order = np.argsort(xs)
                panel.plot(np.array(xs)[order], np.array(ys)[order], "o-", label=family, ms=4)
            teacher = np.mean(last["teacher"].mean(names))
            panel.axhline(teacher, color="grey", lw=0.8, label="teacher")
            panel.set(xlabel=label, ylabel=mean, xscale="log")
    panels[0][0].legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def rivals(found: Mapping[str, dict[str, Any]], document: Path) -> list[str]:
    """Tables, and a picture beside the document, as Markdown; none without results.

    Args:
        found: Rows of the table.
        document: Whose folder of pictures it goes into.
    """
    networks = judged(found)
    if not networks:
        return []
    path = document.with_suffix("") / f"{ROW}.svg"
    draw(networks, path)
    picture = ["", f"![{ROW}]({path.relative_to(document.parent)})"]
    return [*every_network(networks), *best_within(networks), *picture]
