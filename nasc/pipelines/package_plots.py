"""Pictures of a package for its report, each as the bytes of an SVG.

Texts are drawn as paths, and nothing of a picture depends on the time that it is drawn at.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nasc.errors import UsageError
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.quality import without_intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, HEIGHT = 7.0, 3.6
"""Of a picture in inches."""

COLOURS = {"own": "#2a5d9c", "limit": "#b3261e", "bound": "#6b7280", "other": "#c7ccd4"}


def check_drawing() -> None:
    """Raise unless pictures can be drawn here.

    Raises:
        UsageError: If matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError("plots need matplotlib: pip install 'nasc[plot]'") from error


def pictures(manifest: Manifest) -> Iterator[tuple[str, str, bytes]]:
    """Title, what is to be seen, and the SVG of each picture that a package has figures for."""
    measured = manifest.measured
    front = _front(manifest)
    if front:
        yield (
            "The front, and the point that was chosen",
            "Networks that none beats both in predicted latency and in predicted loss, as the "
            "search knew them.",
            _drawn(lambda axes: _draw_front(axes, manifest, front)),
        )
    if any("latency_ms" in one for one in manifest.attempts) or (manifest.predicted and measured):
        yield (
            "Prediction against measurement",
            "Intervals are predictions by the latency table, points the measurement of the "
            "network's own file with its upper bound.",
            _drawn(lambda axes: _draw_predictions(axes, manifest)),
        )
    if measured is not None:
        yield (
            "Samples",
            "Every run as it was observed, in the order of the visits; the line is the statistic "
            "of record, the band reaches to its bounds.",
            _drawn(lambda axes: _draw_samples(axes, manifest, measured)),
        )
    figures = without_intervals(manifest.quality)
    shares = {name: value for name, value in figures.items() if _is_share(value)}
    if shares:
        yield (
            "Quality of the file as it ships",
            "On text, or a task's dev file, that chose nothing; 1 is the best there is.",
            _drawn(lambda axes: _draw_quality(axes, shares)),
        )


def _drawn(draw: Any) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "nasc", "svg.fonttype": "path"}):
        figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _front(manifest: Manifest) -> list[tuple[float, float]]:
    """Predicted latency in ms and loss of each network of the front."""
    return _points(manifest.evidence.get("search", {}).get("front", ()))


def _points(networks: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """Predicted latency in ms and loss of those networks whose loss is known."""
    pairs = [(one["latency_ms"], one["predicted_loss"]) for one in networks]
    return [(latency_ms, loss) for latency_ms, loss in pairs if loss is not None]


def _draw_front(axes: Axes, manifest: Manifest, front: Sequence[tuple[float, float]]) -> None:
    search = manifest.evidence["search"]
    latencies, losses = zip(*front, strict=True)
    axes.plot(
        latencies,
        losses,
        drawstyle="steps-post",
        marker="o",
        markersize=3,
        color=COLOURS["own"],
        linewidth=1,
        label="the front",
    )
    compared = _points(search["compared"])
    axes.scatter(
        [latency_ms for latency_ms, _ in compared],
        [loss for _, loss in compared],
        s=18,
        color=COLOURS["bound"],
        label="trained for a while and compared",
        zorder=3,
    )
    for latency_ms, loss in _points([search["chosen"]]):
        axes.plot(latency_ms, loss, "*", color=COLOURS["limit"], markersize=12, label="chosen")
    if search["chosen"]["predicted_loss"] is None:  # it has a block that was not scored
        axes.axvline(search["chosen"]["latency_ms"], color=COLOURS["own"], label="chosen")
    _limit(axes.axvline, manifest)
    axes.set_xlabel("predicted latency (ms)")
    axes.set_ylabel("predicted loss")
    axes.legend(fontsize=8)


def _limit(line: Any, manifest: Manifest) -> None:
    limit = manifest.limits.get("latency_ms")
    if limit is not None:
        line(limit, color=COLOURS["limit"], linewidth=1, linestyle="--", label=f"limit {limit:g}")


def _draw_predictions(axes: Axes, manifest: Manifest) -> None:
    """A row for each measurement of a network on the way, the first above."""
    rows = [
        (str(one.get("architecture")), _interval(one), float(ms), _number(one.get("held_ms")))
        for one in manifest.attempts
        if (ms := _number(one.get("latency_ms"))) is not None
    ]
    measured, predicted = manifest.measured, manifest.predicted
    if not rows and measured is not None and predicted is not None:
        own = dataclasses.asdict(predicted)
        rows = [(str(manifest.architecture), own, measured.latency_ms, measured.upper_ms)]
    for place, (_, interval, latency_ms, held_ms) in enumerate(rows):
        if interval is not None:
            low, high = interval["low_ms"], interval["high_ms"]
            axes.plot([low, high], [place, place], color=COLOURS["other"], linewidth=9)
            axes.plot(interval["latency_ms"], place, "|", color=COLOURS["bound"], markersize=12)
        axes.plot(latency_ms, place, "o", color=COLOURS["own"], markersize=5)
        if held_ms is not None:
            axes.plot([latency_ms, held_ms], [place, place], color=COLOURS["own"], linewidth=1.5)
    _limit(axes.axvline, manifest)
    names = [name if len(name) <= 40 else f"{name[:39]}…" for name, *_ in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7, parse_math=False)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("latency (ms)")


def _interval(attempt: Mapping[str, Any]) -> dict[str, float] | None:
    """The prediction of a network that was measured; None where it is not told."""
    names, told = ("low_ms", "latency_ms", "high_ms"), attempt.get("predicted")
    values = {n: _number(told.get(n)) for n in names} if isinstance(told, Mapping) else {}
    found = {name: value for name, value in values.items() if value is not None}
    return found if len(found) == len(names) else None


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _draw_samples(axes: Axes, manifest: Manifest, measured: MeasuredLatency) -> None:
    for place, model in enumerate(measured.models):
        runs = [(visit, run) for visit, own in enumerate(model.samples_ms) for run in own]
        label = None if not measured.parts else f"{measured.parts[place].seq_len} tokens"
        axes.plot(
            [visit for visit, _ in runs],
            [run for _, run in runs],
            ".",
            markersize=3,
            alpha=0.5,
            label=label,
        )
    axes.axhspan(measured.lower_ms, measured.upper_ms, color=COLOURS["own"], alpha=0.15)
    axes.axhline(measured.latency_ms, color=COLOURS["own"], linewidth=1.2, label="latency")
    _limit(axes.axhline, manifest)
    axes.set_xlabel("visit")
    axes.set_ylabel("run (ms)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _is_share(value: object) -> bool:
    return isinstance(value, float) and -1 <= value <= 1


def _draw_quality(axes: Axes, shares: Mapping[str, float]) -> None:
    names = [name.replace("_", " ") for name in shares]
    places = range(len(names))
    bars = axes.barh(places, list(shares.values()), color=COLOURS["own"], height=0.6)
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.bar_label(bars, fmt="%.4f", padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(min(0.0, *shares.values()), 1.12)
