"""What is said of a package after a compilation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nasc.latency import observed
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency, MeasuredPart
from nasc.pipelines.result import CompileResult


@pytest.fixture
def result_of(
    make_model: Callable[..., Path], make_manifest: Callable[..., Manifest]
) -> Callable[..., CompileResult]:
    """The result of a package whose median run took so long; 5 ms is its latency."""
    manifest = make_manifest(make_model("fp32", "embed"))

    def make(p50_ms: float, quantile: str | None = None) -> CompileResult:
        measured = manifest.measured
        assert measured is not None
        model = dataclasses.replace(measured.model, p50_ms=p50_ms)
        measurement = dataclasses.replace(measured.measurement, models=(model,), converged=False)
        changed = dataclasses.replace(
            manifest,
            measured=dataclasses.replace(measured, measurement=measurement),
            conditions=dataclasses.replace(manifest.conditions, quantile=quantile),
        )
        network: Any = SimpleNamespace()
        return CompileResult(changed, (), Path("package"), {"measure": 3.0}, network)

    return make


def test_a_latency_of_a_quiet_machine_says_so(result_of: Callable[..., CompileResult]) -> None:
    rows = result_of(5.0).rows()
    assert [name for name, _ in rows].count("") == 0
    rows = result_of(5.6).rows()
    place = [name for name, _ in rows].index("measured")
    assert rows[place + 1] == (
        "",
        "the quiet machine's; half of the runs just now took more than 5.60 ms",
    )


def test_a_median_over_the_limit_is_a_warning_that_names_the_way_out(
    result_of: Callable[..., CompileResult],
) -> None:
    wide = "not every estimate reached its width"
    assert result_of(5.6).to_dict()["warnings"] == [wide]
    over = result_of(6.04)
    warning, other = over.to_dict()["warnings"]
    assert warning == (
        "half of the runs just now took more than 6.04 ms, the limit is 6 ms: it holds on the "
        "quiet machine. To hold it on a machine as busy as that: --quantile p50"
    )
    assert other == wide
    assert [text for name, text in over.rows() if name == "note"] == [warning, wide]


def of_two_lengths(result: CompileResult, short_ms: float, long_ms: float) -> CompileResult:
    """The same of a mixture, 90% short texts, whose medians are these; 5 ms is the mean latency."""
    measured = result.manifest.measured
    assert measured is not None
    models = tuple(
        dataclasses.replace(
            measured.model, name=name, latency_ms=ms, upper_ms=1.02 * ms, p50_ms=p50_ms
        )
        for name, ms, p50_ms in (("short", 5.2, short_ms), (measured.job, 3.2, long_ms))
    )
    parts = (MeasuredPart("short", 8, 0.9), MeasuredPart(measured.job, 16, 0.1))
    measurement = dataclasses.replace(measured.measurement, models=models, converged=True)
    mixture = dataclasses.replace(measured, measurement=measurement, parts=parts)
    return dataclasses.replace(
        result, manifest=dataclasses.replace(result.manifest, measured=mixture)
    )


def test_how_busy_the_machine_was_is_told_of_each_length_of_a_mixture(
    result_of: Callable[..., CompileResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The median of all runs of a mixture is far from its mean on the quietest machine.
    monkeypatch.setattr(MeasuredLatency, "observed_ms", lambda self, quantile: 9.0)
    quiet = of_two_lengths(result_of(5.0), 5.2, 3.2)
    assert quiet.warnings() == []
    assert "quiet machine" not in str(quiet.rows())
    busy = of_two_lengths(result_of(5.0), 6.4, 4.4)
    assert busy.warnings() == [
        "the medians of the runs just now at each length: mean 6.20 ms, the limit is 6 ms: it "
        "holds on the quiet machine. Measure it again when this one is quiet: nasc verify PACKAGE"
    ]
    means = "the quiet machine's; the medians of the runs just now: mean 6.20 ms"
    assert ("", means) in busy.rows()


def test_no_warning_where_there_is_nothing_to_hold() -> None:
    model = SimpleNamespace(upper_ms=2.0, p50_ms=2.5)
    assert observed.warnings(model, {"latency_ms": 2.2})
    assert not observed.warnings(model, {"latency_ms": 2.2}, "p50")
    assert not observed.warnings(model, {"params": 1e6})
    assert observed.meaning(SimpleNamespace(upper_ms=0.02, p50_ms=0.0251)) == (
        "the quiet machine's; half of the runs just now took more than 0.0251 ms"
    )


def test_a_package_below_the_current_folder_is_named_from_there(
    result_of: Callable[..., CompileResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for package, shown in ((here / "out", "out"), (tmp_path / "out", str(tmp_path / "out"))):
        found = dataclasses.replace(result_of(5.0), package=package)
        assert dict(found.rows())["package"] == shown
