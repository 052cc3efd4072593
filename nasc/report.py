"""Plots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nasc.errors import NascError, UsageError

if TYPE_CHECKING:
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
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise NascError(f"cannot write '{path}': {error.strerror or error}") from error
