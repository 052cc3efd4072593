"""What `nasc report` does: how a supernet was trained, and what shrinking left of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasc.distillation.trained import shipped_records
from nasc.errors import UsageError
from nasc.pipelines.plots import (
    check_csv,
    check_plot,
    plot_shrinking,
    shrinking_table,
    write_csv,
)
from nasc.supernet.checkpoint import read_supernet_header, shrinking_of, trained_by
from nasc.supernet.shipped import shipped_supernet
from nasc.supernet.shrink import empty_bins
from nasc.teacher import DEFAULT_TEACHER_SHA256


@dataclass(frozen=True, slots=True)
class SupernetReport:
    """How a supernet was trained, and what progressive shrinking left of it.

    Rows are as the supernet's file holds them; latencies in milliseconds, None where not known.

    Attributes:
        supernet: Its file.
        teacher: Name of the teacher that it was distilled from.
        space: Name of its search space.
        steps: Optimizer steps of its training.
        text: What it was trained on, in words.
        text_sha256: Checksum of that text; None where the file does not say.
        compact: Whether it is stored in int8 per channel, with its scores.
        rounds: Rounds of shrinking so far.
        history: A row for every round, position and bin: how many were left before and after it,
            and the dev losses of those evaluated.
        left: By position a row for every candidate left: block, bin, params, latency_ms, dev_loss.
            None if the supernet was not shrunk.
        empty_bins: Bins that held nothing from the start; None if it was not shrunk.
        latency_table: What is to be said of the latency table that it was shrunk by
            (`LatencyTable.note`).
        trained: A row for each network that comes trained with nasc beside it: architecture, steps,
            text, recipe, scores.
    """

    supernet: Path
    teacher: str
    space: str
    steps: int
    text: str
    text_sha256: str | None
    compact: bool
    rounds: int
    history: tuple[Mapping[str, Any], ...]
    left: tuple[tuple[Mapping[str, Any], ...], ...] | None
    empty_bins: tuple[int, ...] | None
    latency_table: str | None = None
    trained: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name in ("latency_table", "trained"):
            if not values[name]:
                del values[name]
        if self.trained:
            values["trained"] = list(self.trained)
        return values | {
            "supernet": str(self.supernet),
            "history": list(self.history),
            "left": None if self.left is None else [list(rows) for rows in self.left],
            "empty_bins": None if self.empty_bins is None else list(self.empty_bins),
        }

    def rows(self) -> list[tuple[str, str]]:
        """The report for people: names and values."""
        rows = [
            ("supernet", str(self.supernet)),
            ("teacher", self.teacher),
            ("space", self.space),
            ("steps", str(self.steps)),
            ("text", f"{self.text}, sha256 {str(self.text_sha256)[:12]}"),
        ]
        if self.compact:
            rows.append(("stored", "int8 per channel, only what is left, with its scores"))
        rows.append(("shrinking", "not shrunk" if self.left is None else f"{self.rounds} rounds"))
        for position, left in enumerate(self.left or ()):
            losses = [row["dev_loss"] for row in left if row["dev_loss"] is not None]
            least = f", least dev loss {min(losses):.4f}" if losses else ""
            rows.append((f"block {position + 1}", f"{len(left)} candidates left{least}"))
        if self.empty_bins:
            rows.append(("empty bins", f"{', '.join(map(str, self.empty_bins))}: from the start"))
        if self.latency_table is not None:
            rows.append(("note", self.latency_table))
        for one in self.trained:
            scores = ", ".join(f"{name} {value:.4g}" for name, value in one["scores"].items())
            rows.append(("trained", f"{one['architecture']}: {one['steps']:,} steps; {scores}"))
        return rows


def report(
    supernet: Path | None = None,
    *,
    csv: Path | None = None,
    plot: Path | None = None,
    force: bool = False,
) -> SupernetReport:
    """How a supernet was trained, and what progressive shrinking left of it.

    Args:
        supernet: Its file; None is the one that comes with nasc for the default teacher.
        csv: Where what is left goes as a table; None writes none.
        plot: Where the rounds are drawn; None draws none.
        force: Replace files that lie there.

    Raises:
        UsageError: If no file is given and none comes with nasc, or a file exists and `force` is
            not given.
        CheckpointError: If the file is missing, damaged or no supernet.
        NascError: If a table or picture is asked for and it was not shrunk, or cannot be written.
    """
    if plot is not None:
        check_plot(plot, force)
    if csv is not None:
        check_csv(csv, force)
    trained: tuple[Mapping[str, Any], ...] = ()
    if supernet is None:
        supernet = shipped_supernet(DEFAULT_TEACHER_SHA256)
        trained = shipped_records(DEFAULT_TEACHER_SHA256)
    if supernet is None:
        raise UsageError("no supernet comes with nasc for the default teacher: name a file")
    header = read_supernet_header(supernet)
    steps, description = trained_by(header)
    shrunk = shrinking_of(header) or {}
    if csv is not None:
        write_csv(shrinking_table(header), csv, force)
    if plot is not None:
        plot_shrinking(header, plot, force)
    history = shrunk.get("history", [])
    left = shrunk.get("left")
    return SupernetReport(
        supernet=supernet,
        teacher=header["teacher"]["name"],
        space=header["space"]["name"],
        steps=steps,
        text=description,
        text_sha256=header["text"].get("sha256"),
        compact=bool(header.get("compact")),
        rounds=max((row["round"] for row in history), default=0),
        history=tuple(history),
        left=None if left is None else tuple(map(tuple, left)),
        empty_bins=tuple(empty_bins(shrunk)) if shrunk else None,
        latency_table=shrunk.get("latency_table"),
        trained=trained,
    )
