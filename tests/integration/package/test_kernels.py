"""`nasc report --kernels` on tiny packages, against peaks that are made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from nasc.cli import main
from nasc.errors import PackageError, UsageError
from nasc.pipelines.kernels import kernel_rows, report_kernels
from profilers.kernels import Kernel, Value
from profilers.peaks import CorePeaks, Rate

PEAKS = CorePeaks(*[Rate(rate, 1.0, "made up") for rate in (1e11, 2e11, 4e11, 1e11, 1e10)], "none")


@pytest.fixture(autouse=True)
def made_up_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasc.pipelines.kernels.core_peaks", lambda cache: PEAKS)


def test_the_roof_is_the_lower_of_peak_and_bandwidth() -> None:
    floats = [Value("float32", shape) for shape in ((100, 200), (200, 300), (100, 300))]
    product = Kernel("p", "MatMul", tuple(floats[:2]), (floats[2],), 0.24)
    moved = Kernel("t", "Transpose", (floats[2],), (floats[2],), 0.06)
    first, second = kernel_rows([moved, product], PEAKS)
    assert (first.name, first.bound, first.operations) == ("p", "compute", 2 * 100 * 200 * 300)
    assert first.ops_per_s == pytest.approx(5e10)
    assert first.roof_share == pytest.approx(0.5)  # of 1e11 operations in a second
    assert first.share == pytest.approx(0.8)
    assert (second.bound, second.bytes_moved) == ("bandwidth", 240_000)
    assert second.roof_share == pytest.approx(240_000 / 1e11 / 0.06e-3)


def test_a_product_of_openvino_in_bf16_has_a_roof() -> None:
    halves = [Value("bfloat16", shape) for shape in ((100, 200), (300, 200), (100, 300))]
    product = Kernel("p", "FullyConnected", tuple(halves[:2]), (halves[2],), 0.24)
    [row] = kernel_rows([product], PEAKS)
    assert (row.computed_in, row.bound) == ("bf16", "compute")
    assert row.roof_share == pytest.approx(0.25)  # of 2e11 operations in a second


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_kernels_of_a_package(
    packed: Mapping[tuple[str, str], Path], precision: str, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "roof.svg"
    command = ["report", str(packed[precision, "embed"]), "--kernels", "--device", "host"]
    done = CliRunner().invoke(
        main, [*command, "--json", "--plot", str(picture)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert picture.stat().st_size > 1000
    assert sum(row["share"] for row in told["kernels"]) == pytest.approx(1)
    assert told["plain_ms"] > 0
    products = [row for row in told["kernels"] if row["kind"] == "product"]
    assert {row["computed_in"] for row in products} == {"fp32", precision}
    # Two layers of attention, at 64 and 32: q, k, v and o of 16 tokens each.
    square = [row["operations"] for row in products if row["computed_in"] == precision]
    assert square.count(2 * 16 * 64 * 64) >= 4
    assert square.count(2 * 16 * 32 * 32) >= 4
    plain = CliRunner().invoke(main, command, catch_exceptions=False)
    assert "of roof" in plain.stdout
    assert "without the profiler" in plain.stderr


def test_what_cannot_be_looked_at(
    packed: Mapping[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packed["fp32", "embed"]
    with pytest.raises(UsageError, match=r"another processor .* --device host"):
        report_kernels(package)  # it was measured on a machine that is made up
    with pytest.raises(UsageError, match="on this machine alone"):
        report_kernels(package, device="pixel6")
    with pytest.raises(UsageError, match=r"computes on cuda; kernels .* of a processor"):
        report_kernels(package, device="cuda")  # CUDA's kernels have other roofs
    with pytest.raises(PackageError, match="no package"):
        report_kernels(tmp_path)
    with pytest.raises(UsageError, match="formats:"):
        report_kernels(package, device="host", plot=tmp_path / "roof.none")
    changed = tmp_path / "changed"
    shutil.copytree(package, changed)
    with open(changed / "model.onnx", "ab") as file:
        file.write(b"more")
    with pytest.raises(PackageError, match=r"not as it was made: model.onnx"):
        report_kernels(changed, device="host")  # nothing of it is opened
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"nasc\[plot\]"):
        report_kernels(package, device="host", plot=tmp_path / "roof.svg")
    for wrong in (["--kernels"], ["--device", "host"], [str(package), "--kernels", "--csv", "a"]):
        assert CliRunner().invoke(main, ["report", *wrong]).exit_code == 2
