"""Makes the tables and pictures of docs/quality.md from the results of `quality_grid.py`.

What `far_end.py` found stands in the same table, as rows ``far-NAME``.
What `distill_recipes.py` and `supernet_recipes.py --networks` printed counts too, as rows
``distill-NAME`` and ``supernets-NAME`` of the same table (`results.py`), what ``nasc audit
--json`` did as ``audit``, and `network_training.py` and `rivals.py` as ``rivals-NAME`` and
``rivals``, `trained_shares.py` as ``shares-NAME``. Pictures go into the folder beside the document
that has its name. What stands between two marks of the document is replaced; the words around it
are written by hand.

    python benchmarks/quality/quality_report.py
"""

from __future__ import annotations

import argparse
import itertools
from operator import itemgetter
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from far_end import PREFIX
from quality_grid import FRACTIONS, ROWS, SYSTEMS, TASKS
from quality_parts import PARTS
from results import TABLE, Results
from rivals_report import rivals
from trained_shares import shown as trained_shares

from nasc.evaluation.bootstrap import Estimate, mean_with_interval
from nasc.evaluation.retrieval import CUTOFF, reciprocal_ranks

mpl.use("Agg")
import matplotlib.pyplot as plt

mpl.rcParams["svg.hashsalt"] = "nasc"  # so that equal results give equal files

BEGIN, END = "<!-- {} by benchmarks/quality/quality_report.py -->", "<!-- until here -->"
DOCUMENT = Path(__file__).parents[2] / "docs" / "quality.md"


def scores(found: dict[str, dict[str, Any]], row: str, task: str) -> np.ndarray[Any, Any]:
    """(seeds, metrics) scores of a row on a task; empty if there are none yet."""
    seeds = sorted(name for name in found if name.startswith(f"{row}-{task}-"))
    return np.array([list(found[name]["scores"].values()) for name in seeds])


def cell(values: np.ndarray[Any, Any]) -> str:
    """Mean of the score of record, with the spread of several seeds."""
    if not values.size:
        return ""
    first = values[:, 0]
    spread = f" ± {first.std(ddof=1):.3f}" if len(first) > 1 else ""
    return f"{first.mean():.3f}{spread}"


def name(body: dict[str, Any]) -> str:
    """Of a network, in a cell of a table."""
    return "`" + body["architecture"].replace("|", "\\|") + "`"


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a network, as Markdown."""
    ranked, asked = (
        any(key in found.get(f"{s}-{f:g}", {}) for s, f in ROWS) for key in ("ranking", "retrieval")
    )
    heads = ["share", "network", "ms", "MB", "cosine", "similarity", *["ranking"] * ranked]
    heads += [f"MRR@{CUTOFF}"] * asked
    heads += ["STS-B (of the teacher's)"]
    heads += [task.name for task in TASKS] + ["mean of tasks"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    best = found["teacher-1"]["sts"]
    together = latencies(found)
    for system, fraction in ROWS:
        row = f"{system}-{fraction:g}"
        if row not in found:
            continue
        body = found[row]
        own = [scores(found, row, task.name) for task in TASKS]
        whole = [body["sts"]] + [values[:, 0].mean() for values in own if values.size]
        lines.append(
            "| "
            + " | ".join(
                [
                    f"1/{1 / fraction:g}" if fraction < 1 else "1",
                    f"{system}, {name(body)}",
                    f"{together[row]:.2f}",
                    f"{body['size_bytes'] / 1e6:.1f}",
                    f"{body['pooled_cosine']:.3f}",
                    f"{body['similarity']:.3f}",
                    *[f"{body['ranking']:.3f}" if "ranking" in body else ""] * ranked,
                    *[mrr_cell(body)] * asked,
                    f"{body['sts']:.3f} ({body['sts'] / best:.1%})",
                    *map(cell, own),
                    f"{np.mean(whole):.3f}" if len(whole) == 1 + len(TASKS) else "",
                ]
            )
            + " |"
        )
    if "majority" in found:
        guessed = found["majority"]["scores"]
        own = [
            f"{next(iter(guessed[task.name].values())):.3f}" if task.name in guessed else ""
            for task in TASKS
        ]
        lines.append(
            "| "
            + " | ".join(
                ["", "always the most frequent class", *[""] * (5 + ranked + asked), *own, ""]
            )
            + " |"
        )
    return lines


def latencies(found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Of all rows (ms): measured in turn, and until that was done each by itself."""
    alone = {name: body["latency_ms"] for name, body in found.items() if "upper_ms" in body}
    together = found.get("latencies", {}).get("latency_ms", {})
    return alone | {row: value for row, (value, _) in together.items()}


def parts(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a part switched off, as Markdown."""
    asked = any("retrieval" in found.get(f"part-{part}", {}) for part in PARTS)
    heads = ["without", "network", "cosine", "similarity", *[f"MRR@{CUTOFF}"] * asked, "STS-B"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for part in PARTS:
        if (body := found.get(f"part-{part}")) is None:
            continue
        words = {"whole": "nothing", "short": "long training", "start": "short, teacher's start"}
        words["shrinking"] = "short, shrinking"
        shown = [
            words.get(part, part),
            name(body),
            f"{body['pooled_cosine']:.3f}",
            f"{body['similarity']:.3f}",
            *[mrr_cell(body)] * asked,
            f"{body['sts']:.3f}",
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return lines if len(lines) > 2 else []


def mrr_cell(body: dict[str, Any]) -> str:
    """MRR@10 of a row with its interval; empty of rows that nothing was asked of."""
    if "retrieval" not in body:
        return ""
    found = Estimate(**body["retrieval"][f"mrr_at_{CUTOFF}"])
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def distillations(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a training of `distill_recipes.py`, by steps of the defaults, as Markdown."""
    runs = [run for row, run in found.items() if row.startswith("distill-")]
    lines = [
        "| network | cosine before | steps | change | CPU s | cosine | similarity | STS-B |",
        "|" + "---|" * 8,
    ]
    for row in (row for run in sorted(runs, key=itemgetter("steps")) for row in run["rows"]):
        after = row["after"]
        text = row["network"].replace("|", "\\|")
        lines.append(
            f"| `{text}` | {row['before']['pooled_cosine']:.4f} | {row['steps']:,} "
            f"| {row['change'] or 'none'} | {row['cpu_s']:.0f} "
            f"| {after['pooled_cosine']:.4f} | {after['similarity_spearman']:.4f} "
            f"| {after['sts_spearman']:.4f} |"
        )
    return lines if runs else []


def supernets(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a network out of a recipe's supernet, as Markdown."""
    runs = [run for row, run in found.items() if row.startswith("supernets-")]
    lines = [
        "| network | recipe | seed | true loss | cosine | similarity | STS-B |",
        "|" + "---|" * 7,
    ]
    rows = [(one, row) for run in runs for row in run["rows"] for one in row["found"]]
    for one, row in sorted(rows, key=lambda pair: pair[0]["architecture"]):
        after = one["distilled"]
        lines.append(
            f"| {name(one)} | {row['recipe']} | {row['seed']} | {one['true_loss']:.3f} "
            f"| {after['pooled_cosine']:.4f} | {after['similarity_spearman']:.4f} "
            f"| {after.get('sts_spearman', float('nan')):.4f} |"
        )
    return lines if runs else []


def audits(found: dict[str, dict[str, Any]]) -> list[str]:
    """How proxies rank, of the row ``audit``, as Markdown."""
    lines = ["| against | where | proxy | tau | the proxy's gain |", "|" + "---|" * 5]
    for what, each in found.get("audit", {}).get("rankings", {}).items():
        for where, ranking in each.items():
            for proxy, tau in ranking["tau"].items():
                gain = ranking["gains"].get(proxy)
                shown = [
                    ""
                    if one is None
                    else f"{one['tau']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
                    for one in (tau, gain)
                ]
                words = [what, where, proxy]
                lines.append(
                    "| " + " | ".join([*(w.replace("_", " ") for w in words), *shown]) + " |"
                )
    return lines if len(lines) > 2 else []


def far_end(found: dict[str, dict[str, Any]]) -> list[str]:
    """One row a model of `far_end.py`, the best at retrieval first, as Markdown."""
    rows = {n.removeprefix(PREFIX): row for n, row in found.items() if n.startswith(PREFIX)}
    asked, times = rows.pop("questions", {}), rows.pop("latencies", {}).get("latency_ms", {})
    heads = ["row", "network", *(["ms"] if times else []), "MB", "MRR@10", "of the teacher's"]
    heads += ["recall@1", "recall@10", "ranking", "ranking, paragraphs", "similarity", "cosine"]
    heads += ["STS-B", "of the teacher's"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    if "teacher-fp32" not in rows:
        return []
    best = mrr(rows["teacher-fp32"])
    for row, body in sorted(rows.items(), key=lambda pair: -mrr(pair[1])):
        told = {n: Estimate(**one) for n, one in body["retrieval"].items()}
        main, first, ten = told.values()
        cosine = body["pooled_cosine"]
        shown = [
            row,
            name(body),
            *([f"{times[row.partition('+')[0]][0]:.3f}"] if times else []),
            f"{body['size_bytes'] / 1e6:.1f}",
            mrr_cell(body),
            f"{main.value / best:.1%}",
            f"{first.value:.3f}",
            f"{ten.value:.3f}",
            f"{body['ranking_ndcg']:.3f}",
            f"{body['ranking_paragraphs']:.3f}",
            f"{body['similarity_spearman']:.3f}",
            "" if cosine is None else f"{cosine:.3f}",
            f"{body['sts']:.3f}",
            f"{body['sts'] / rows['teacher-fp32']['sts']:.1%}",
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return [*lines, *far_gains(rows, np.array(asked["answers"]))]


def mrr(body: dict[str, Any]) -> float:
    """MRR@10 of a row of `far_end.py`."""
    return float(body["retrieval"][f"mrr_at_{CUTOFF}"]["value"])


def far_gains(rows: dict[str, dict[str, Any]], answers: np.ndarray[Any, Any]) -> list[str]:
    """Gains of each row in MRR@10 over the next one, on the same questions, as Markdown."""
    order = sorted(rows, key=lambda row: -mrr(rows[row]))
    each = {row: reciprocal_ranks(np.array(rows[row]["places"])) for row in order}
    lines = ["", "| row | over | gain in MRR@10 (paired, 90%) |", "|---|---|---|"]
    for row, other in itertools.pairwise(order):
        gain = mean_with_interval(each[row] - each[other], answers, seed=0)
        lines.append(f"| {row} | {other} | {gain.value:.3f} ({gain.low:.3f} to {gain.high:.3f}) |")
    return lines


def draw(found: dict[str, dict[str, Any]], x: dict[str, float], label: str, path: Path) -> None:
    """Agreement and STS-B against latency or size, by row."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, metric in zip(panels, ("similarity", "sts"), strict=True):
        for system in SYSTEMS:
            rows = [n for f in FRACTIONS if (n := f"{system}-{f:g}") in found]
            panel.plot([x[n] for n in rows], [found[n][metric] for n in rows], "o-", label=system)
        if "teacher-1" in found:
            panel.axhline(found["teacher-1"][metric], color="grey", lw=0.8, label="teacher, int8")
        panel.set(xlabel=label, ylabel=metric, xscale="log")
    panels[0].legend()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def pictures(found: dict[str, dict[str, Any]], document: Path) -> list[str]:
    """Draws both; what shows them, as Markdown."""
    folder = document.with_suffix("")
    folder.mkdir(exist_ok=True)
    lines = []
    sizes = {name: body["size_bytes"] for name, body in found.items() if "size_bytes" in body}
    for by, label, x in (
        ("latency_ms", "ms", latencies(found)),
        ("size_bytes", "bytes", sizes),
    ):
        path = folder / f"{by}.svg"
        draw(found, x, label, path)
        lines += ["", f"![{by}]({path.relative_to(document.parent)})"]
    return lines


def replaced(text: str, name: str, lines: list[str]) -> str:
    """A document with other lines between the marks of a name."""
    before, rest = text.split(BEGIN.format(name))
    _, after = rest.split(END, 1)
    return before + "\n".join([BEGIN.format(name), *lines, END]) + after


def main() -> None:
    """Replace what stands between the marks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=TABLE, help="table; default: %(default)s")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="default: %(default)s")
    arguments = parser.parse_args()
    found = Results(arguments.results).rows()
    text = arguments.document.read_text(encoding="utf-8")
    shown = pictures(found, arguments.document)
    for name, lines in (
        ("supernets", supernets(found)),
        ("networks", table(found) + shown),
        ("parts", parts(found)),
        ("distillations", distillations(found)),
        ("audit", audits(found)),
        ("far end", far_end(found)),
        ("rivals", rivals(found, arguments.document)),
        ("trained shares", trained_shares(found)),
    ):
        text = replaced(text, name, lines)
    arguments.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
