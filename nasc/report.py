"""Tables and plots."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasc.errors import NascError, UsageError
from nasc.files import check_writable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from nasc.audit import Audit
    from nasc.solver.problem import Solution
    from nasc.workbench import Settings


def check_plot(path: Path) -> None:
    """Raise unless a picture can be drawn to a path.

    Raises:
        UsageError: If matplotlib is missing or knows no such format.
        NascError: If the folder is not there.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'nasc[plot]'") from error
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in known:
        raise UsageError(f"cannot draw to '{path}'; formats: {', '.join(sorted(known))}")
    if not path.absolute().parent.is_dir():
        raise NascError(f"cannot draw to '{path}': there is no folder '{path.absolute().parent}'")


def check_csv(path: Path) -> None:
    """Raise unless a table can be written to a path.

    Raises:
        NascError: If it is a folder, or lies in none that can be written.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        check_writable(path.parent)
    except OSError as error:
        raise _unwritten(path, error) from error


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table.

    Raises:
        NascError: If the file cannot be written.
    """
    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> NascError:
    return NascError(f"cannot write '{path}': {error.strerror or error}")


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


def plot_shrinking(header: Mapping[str, Any], path: Path) -> None:
    """Draw how many are left, and their dev losses, over the rounds of shrinking.

    Args:
        header: Of a supernet's file.
        path: The picture; its suffix decides the format.

    Raises:
        UsageError, NascError: See `check_plot` and `shrinking_table`; or the file cannot be
            written, or there was no round.
    """
    check_plot(path)
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
    _save(figure, path)


def plot_audit(found: Audit, path: Path) -> None:
    """Draw the true loss of the networks of an audit over what ranks them.

    Args:
        found: The audit.
        path: The picture; its suffix decides the format.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path)
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
    _save(figure, path)


def plot_front(solutions: Sequence[Solution], path: Path, settings: Settings) -> None:
    """Draw predicted loss over predicted latency.

    Args:
        solutions: The front.
        path: The picture; its suffix decides the format.
        settings: Named in the title.

    Raises:
        UsageError, NascError: See `check_plot`; or the file cannot be written.
    """
    check_plot(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for precision in sorted({s.architecture.precision for s in solutions}):
        own = [s for s in solutions if s.architecture.precision == precision]
        axes.plot(
            [s.costs["latency_ms"] for s in own],
            [s.predicted_loss for s in own],
            marker="o",
            markersize=3,
            linewidth=1,
            drawstyle="steps-post",
            label=precision,
        )
    axes.set_xlabel("predicted latency (ms)")
    axes.set_ylabel("predicted loss (1 - cosine to the teacher)")
    axes.set_title(
        f"Pareto front on device {settings.device}: batch {settings.batch}, "
        f"{settings.seq_len} tokens",
        fontsize=10,
    )
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise _unwritten(path, error) from error
