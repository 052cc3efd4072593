"""Tables and plots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.errors import NascError, UsageError
from nasc.utils.files import replacing
from nasc.utils.outputs import check_file, full_path

if TYPE_CHECKING:
    import pandas as pd

    from nasc.context.settings import Settings
    from nasc.latency.table import LatencyTable
    from nasc.pipelines.kernels import KernelReport
    from nasc.selection.audit import Audit
    from nasc.selection.regret import Regret
    from nasc.solver.problem import Solution


def check_plot(path: Path, force: bool = False) -> None:
    """Raise unless a picture can be drawn to a path.

    Args:
        path: The picture; its suffix decides the format.
        force: Whether a file that lies there may be replaced.

    Raises:
        UsageError: If matplotlib is missing or knows no such format, or the file may not be
            replaced.
        NascError: If it cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'nasc[plot]'") from error
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in known:
        raise UsageError(f"cannot draw to '{path}'; formats: {', '.join(sorted(known))}")
    check_file(path, "--plot FILE", force=force)


def check_csv(path: Path, force: bool = False) -> None:
    """Raise unless a table can be written to a path.

    Args:
        path: The table.
        force: Whether a file that lies there may be replaced.

    Raises:
        UsageError: If something lies there that may not be replaced.
        NascError: If it cannot be written.
    """
    check_file(path, "--csv FILE", force=force)


def write_csv(table: pd.DataFrame, path: Path, force: bool = False) -> None:
    """Write a table.

    Args:
        table: What is written.
        path: The file, which `check_csv` has looked at.
        force: Replace a file that lies there.

    Raises:
        NascError: If the file cannot be written.
    """
    _write(path, force, lambda part: table.to_csv(part, index=False))


def _write(path: Path, force: bool, write: Callable[[Path], object]) -> None:
    """Write a file that appears whole or not at all.

    Raises:
        NascError: If it cannot be written.
    """
    try:
        with replacing(full_path(path), new=not force) as part:
            write(part)
    except FileExistsError as error:
        raise NascError(
            f"'{path}' came to be meanwhile. Replace it: --force; or name another file"
        ) from error
    except OSError as error:
        raise NascError(f"cannot write '{path}': {error.strerror or error}") from error


def shrinking_table(header: Mapping[str, Any]) -> pd.DataFrame:
    """What shrinking left: position, block, bin, params, latency_ms, dev_loss.

    Args:
        header: Of a supernet's file.

    Raises:
        NascError: If the supernet was not shrunk, or the record cannot be read.
    """
    import pandas as pd

    if "shrinking" not in header:
        raise NascError("the supernet was not shrunk: all of its search space is left")
    names = ["position", "block", "bin", "params", "latency_ms", "dev_loss"]
    try:
        rows = [
            {"position": position} | row
            for position, left in enumerate(header["shrinking"]["left"])
            for row in left
        ]
        return pd.DataFrame(rows)[names]
    except (KeyError, TypeError, ValueError) as error:
        raise NascError(f"the record of shrinking cannot be read: {error}") from error


def plot_shrinking(header: Mapping[str, Any], path: Path, force: bool = False) -> None:
    """Draw how many are left, and their dev losses, over the rounds of shrinking.

    Args:
        header: Of a supernet's file.
        path: The picture; its suffix decides the format.
        force: Replace a file that lies there.

    Raises:
        UsageError, NascError: See `check_plot` and `shrinking_table`; or the file cannot be
            written, or there was no round.
    """
    check_plot(path, force)
    shrinking_table(header)
    import pandas as pd
    from matplotlib.figure import Figure

    if not header["shrinking"]["history"]:
        raise NascError("there was no round of shrinking yet: nothing to draw. Train longer")
    table = pd.DataFrame(header["shrinking"]["history"])
    figure = Figure(figsize=(8, 4), layout="constrained")
    left, losses = figure.subplots(1, 2)
    for position in sorted(set(table["position"])):
        own = table[table["position"] == position]
        by_round = own.groupby("round")
        label = f"block {position + 1}"
        left.semilogy(by_round["after"].sum(), marker="o", markersize=3, label=label)
        line = losses.plot(by_round["median_loss"].mean(), marker="o", markersize=3, label=label)
        losses.plot(by_round["least_loss"].min(), linestyle=":", color=line[0].get_color())
    left.set_title("left in the bins that shrank", fontsize=10)
    losses.set_title("dev loss: median of the sample, least (dotted)", fontsize=10)
    for axes in (left, losses):
        axes.set_xlabel("round")
        axes.grid(alpha=0.3)
    left.legend()
    _write(path, force, lambda part: figure.savefig(part, dpi=150))


def plot_audit(found: Audit, path: Path, force: bool = False) -> None:
    """Draw the true loss of the networks of an audit over what ranks them.

    Args:
        found: The audit.
        path: The picture; its suffix decides the format.
        force: Replace a file that lies there.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path, force)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    tau = found.rankings["true_loss"]["overall"].tau
    names = {"proxy": "proxy (sum of block losses)", "params": "parameters"}
    for axes, (column, label) in zip(panels, names.items(), strict=True):
        points = axes.scatter(
            found.table[column], found.table["true_loss"], c=found.table["latency_ms"], s=14
        )
        axes.set_xlabel(label)
        axes.set_title(f"Kendall's tau {tau[column].tau:.2f}", fontsize=10)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("true loss (1 - cosine to the teacher)")
    figure.colorbar(points, ax=panels, label="predicted latency (ms)")
    _write(path, force, lambda part: figure.savefig(part, dpi=150))


def plot_front(
    solutions: Sequence[Solution], path: Path, settings: Settings, force: bool = False
) -> None:
    """Draw predicted loss over predicted latency.

    Args:
        solutions: The front.
        path: The picture; its suffix decides the format.
        settings: Named in the title.
        force: Replace a file that lies there.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path, force)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for variant in sorted({s.variant for s in solutions}):
        own = [s for s in solutions if s.variant == variant]
        axes.plot(
            [s.costs["latency_ms"] for s in own],
            [s.predicted_loss for s in own],
            marker="o",
            markersize=3,
            linewidth=1,
            drawstyle="steps-post",
            label=str(variant),
        )
    axes.set_xlabel("predicted latency (ms)")
    axes.set_ylabel("predicted loss (1 - cosine to the teacher)")
    about = (
        f"Pareto front on device {settings.device}: batch {settings.batch}, "
        f"{next((s.mixture for s in solutions if s.mixture), f'{settings.seq_len} tokens')}"
    )
    notes = dict.fromkeys(s.latency_table for s in solutions if s.latency_table is not None)
    axes.set_title(
        "\n".join([about, *notes]), fontsize=7 if notes else 10, wrap=True, parse_math=False
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    _write(path, force, lambda part: figure.savefig(part, dpi=150))


def plot_table(table: LatencyTable, path: Path, force: bool = False) -> None:
    """Draw the cost of each operation over its hidden size; maps between two sizes are left out.

    Args:
        table: The table.
        path: The picture; its suffix decides the format.
        force: Replace a file that lies there.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path, force)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    same = table.entries[table.entries["hidden_in"] == table.entries["hidden_out"]]
    for kind in sorted(set(same["kind"])):
        own = same[same["kind"] == kind].sort_values("hidden_in")
        axes.errorbar(
            own["hidden_in"],
            own["cost_ms"],
            yerr=own["std_error_ms"],
            marker="o",
            markersize=3,
            capsize=2,
            linewidth=1,
            label=kind,
        )
    axes.set_xlabel("hidden size")
    axes.set_ylabel("cost (ms), with its standard error")
    notes = [table.key.describe(), *([] if table.note is None else [table.note])]
    axes.set_title("\n".join(notes), fontsize=8, wrap=True, parse_math=False)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    _write(path, force, lambda part: figure.savefig(part, dpi=150))


def plot_regret(found: Regret, path: Path, force: bool = False) -> None:
    """Draw what the network of each device loses on the others.

    Args:
        found: Every network on every device.
        path: The picture; its suffix decides the format.
        force: Replace a file that lies there.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path, force)
    from matplotlib.figure import Figure

    count = len(found.devices)
    figure = Figure(figsize=(3 + 1.4 * count, 2 + count), layout="constrained")
    axes = figure.subplots()
    lost = [[one.lost for one in row] for row in found.transfers]
    darkest = 1.6 * max(map(max, lost)) or 1.0  # text is read on all
    image = axes.imshow(lost, cmap="Oranges", vmin=0, vmax=darkest)
    for row, own in enumerate(found.transfers):
        for column, one in enumerate(own):
            over = "" if one.meets else "\nover the limit"
            text = f"+{one.lost:.4f}\n{one.latency_ms:.2f} ms{over}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
    labels = [one.label for one in found.devices]
    axes.set_xticks(range(count), labels, rotation=20, ha="right", fontsize=8, parse_math=False)
    axes.set_yticks(range(count), labels, fontsize=8, parse_math=False)
    axes.set_xlabel("run on")
    axes.set_ylabel("best for")
    notes = dict.fromkeys(one.note for one in found.devices if one.note is not None)
    limits = ", ".join(f"{one.limit_ms:.3g}" for one in found.devices)
    about = f"loss beyond what is best there in no more time; limits {limits} ms"
    axes.set_title(
        "\n".join([about, *notes]), fontsize=7 if notes else 9, wrap=True, parse_math=False
    )
    figure.colorbar(image, ax=axes, label="predicted loss (1 - cosine to the teacher)")
    _write(path, force, lambda part: figure.savefig(part, dpi=150))


def plot_roofline(report: KernelReport, path: Path, force: bool = False) -> None:
    """Draw kernels under the roofs of a core, on logarithmic axes; areas are shares of the time.

    Args:
        report: Of a package.
        path: The picture; its suffix decides the format.
        force: Replace a file that lies there.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path, force)
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    drawn = [row for row in report.rows if row.intensity and row.ops_per_s]
    for kind in sorted({row.kind for row in drawn}):
        own = [row for row in drawn if row.kind == kind]
        axes.scatter(
            [row.intensity or 0.0 for row in own],
            [row.ops_per_s / 1e9 for row in own],
            s=[10 + 4000 * row.share for row in own],
            alpha=0.5,
            label=kind,
        )
    intensity = np.geomspace(0.05, 2000, 400)
    peaks = report.peaks
    for name, peak in (("fp32", peaks.fp32), ("bf16", peaks.bf16), ("int8", peaks.int8)):
        for place, bandwidth, style in (
            ("cache", peaks.cache, "-"),
            ("memory", peaks.memory, "--"),
        ):
            if peak is not None:
                roof = np.minimum(peak.per_s, intensity * bandwidth.per_s) / 1e9
                axes.plot(intensity, roof, style, linewidth=1, label=f"{name}, {place}")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations for each byte moved")
    axes.set_ylabel("GOP/s")
    axes.set_title(f"{report.architecture}, {report.runtime}", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, markerscale=0.3)
    _write(path, force, lambda part: figure.savefig(part, dpi=150))
