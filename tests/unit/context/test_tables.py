"""Tables stand on the scale that is known best when they are used, and say what is to be said."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import NascError

FP32, INT8 = Variant("onnxruntime", "fp32"), Variant("onnxruntime", "int8")


@dataclasses.dataclass(frozen=True)
class Table:
    variant: Variant
    quiet_ms: float
    note: str | None = None

    @property
    def key(self) -> Any:
        return SimpleNamespace(variant=self.variant)

    def is_near(self, quiet_ms: float) -> bool:
        return abs(quiet_ms / self.quiet_ms - 1) < 0.1

    def rescaled(self, quiet_ms: float) -> Table:
        return dataclasses.replace(self, quiet_ms=quiet_ms)


def on(cache: Path, baseline: Callable[..., Any]) -> RunContext:
    """A context on a machine of that scale."""
    context = RunContext(Settings(cache=cache))
    context.inputs.__dict__["space"] = None
    session: Any = SimpleNamespace(baseline=baseline)
    context.sessions._sessions["onnxruntime"] = session
    return context


def test_a_scale_that_a_table_s_measurement_corrected_is_the_run_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline of seconds on a busy machine said 1.1 ms, minutes of a table then 0.8 and 0.75."""
    known = [1.1]

    def profile(space: Any, session: Any, *, precisions: list[str], **about: Any) -> list[Any]:
        known.append({"int8": 0.8, "fp32": 0.75}[precisions[0]])
        variant = Variant("onnxruntime", precisions[0])
        return [SimpleNamespace(table=Table(variant, known[-1]))]

    monkeypatch.setattr("nasc.context.tables.profile", profile)
    context = on(tmp_path, lambda progress=None: SimpleNamespace(quiet_ms=known[-1]))
    assert context.sessions.record_baseline("onnxruntime").quiet_ms == 1.1
    context.tables._measure_tables("onnxruntime", ["int8"])
    assert context.sessions.record_baseline("onnxruntime").quiet_ms == 0.8
    tables: Any = context.tables.mixed
    assert tables[INT8].quiet_ms == 0.8
    context.tables._measure_tables("onnxruntime", ["fp32"])
    assert {table.quiet_ms for table in tables.values()} == {0.75}


@pytest.mark.parametrize(
    ("speeds", "rounds"), [((0.8, 0.5, 0.5), 3), ((0.8, 0.5, 0.3, 0.2, 0.1, 0.05), 6)]
)
def test_a_table_whose_scale_was_wrong_is_measured_again_some_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, speeds: tuple[float, ...], rounds: int
) -> None:
    """Two tables; the second shows that the first was on another machine's scale, so to say."""
    measured: list[str] = []

    def profile(space: Any, session: Any, *, precisions: list[str], **about: Any) -> list[Any]:
        found = []
        for precision in precisions:
            measured.append(precision)
            variant = Variant("onnxruntime", precision)
            found.append(SimpleNamespace(table=Table(variant, speeds[len(measured) - 1])))
        return found

    def baseline() -> Any:
        return SimpleNamespace(
            quiet_ms=speeds[max(len(measured) - 1, 0)], scale=SimpleNamespace(reach=0.0)
        )

    monkeypatch.setattr("nasc.context.tables.profile", profile)
    monkeypatch.setattr(
        "nasc.context.tables.TableCosts.of", lambda tables, *about, **options: list(tables)
    )
    context = on(tmp_path, baseline)
    if rounds == 3:
        costs: Any = context.tables.measure_costs([FP32, INT8])
        assert {table.quiet_ms for table in costs} == {0.5}
        assert measured == ["fp32", "int8", "fp32"]
    else:
        with pytest.raises(NascError, match="changes its speed faster than the latency tables"):
            context.tables.measure_costs([FP32, INT8])


def test_everything_that_is_to_be_said_of_the_tables_of_a_mixture_is_said(tmp_path: Path) -> None:
    tables = RunContext(Settings(cache=tmp_path)).tables
    notes = (None, "transferred", "of another machine", "transferred")
    of_lengths: Any = tuple(Table(INT8, 1.0, note) for note in notes)
    tables.by_length[INT8] = of_lengths
    assert tables.notes == ("transferred; of another machine",)
