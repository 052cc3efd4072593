"""What is drawn from a table of another machine says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nasc.architecture.space import Architecture, Block
from nasc.context.settings import Settings
from nasc.pipelines.plots import plot_front
from nasc.solver.problem import Solution

NOTE = "latency table imported from another machine: a $x$ CPU"


@pytest.mark.slow
@pytest.mark.parametrize("note", [None, NOTE])
def test_a_front_says_where_its_latencies_are_from(
    note: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    axes = pytest.importorskip("matplotlib.axes").Axes
    titles: list[str] = []
    real = axes.set_title

    def title(self: Any, text: str, **options: Any) -> Any:
        titles.append(text)
        return real(self, text, **options)

    monkeypatch.setattr(axes, "set_title", title)
    solution = Solution(
        Architecture((Block(32, ("mha",)),)),
        "onnxruntime",
        0.25,
        {"latency_ms": 1.5},
        {"latency_ms": 1.75},
        latency_table=note,
    )
    plot_front([solution], tmp_path / "front.png", Settings())
    plain = "Pareto front on device host: batch 1, 128 tokens"
    assert titles == [plain if note is None else f"{plain}\n{NOTE}"]
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
