"""Folders of other formats, and the package that was measured, beside which they lie."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from resealed import reseal

from nasc.package.build import build_package
from nasc.package.read_manifest import read_manifest, read_plain_manifest
from nasc.package.sibling_folders import build_sha256, folder_beside, left_beside
from nasc.package.unmeasured import without_latency
from nasc.package.verify import verify_package

pytestmark = pytest.mark.usefixtures("shared_process")


def test_a_folder_is_held_to_the_package_beside_it(
    packed: Mapping[tuple[str, str], Path], tokenizer: Callable[..., object], tmp_path: Path
) -> None:
    package = Path(shutil.copytree(packed["fp32", "embed"], tmp_path / "p"))
    about = dataclasses.replace(read_manifest(package), beside_sha256=build_sha256(package))
    folder = build_package(
        folder_beside(package, "onnx"),
        model=package / "model.onnx",
        tokenizer=tokenizer,  # type: ignore[arg-type]
        manifest=without_latency(about, "onnxruntime"),
    )
    plain = read_plain_manifest(folder)
    assert plain["beside_sha256"] == build_sha256(package)
    assert plain["latency_not_stated"].startswith("not measured: measured was this network by")
    assert "latency_table" not in plain

    def outcome(where: Path) -> tuple[int, str]:
        report = verify_package(where)
        found = {check.name: check.detail for check in report.checks}
        return report.exit_code, found["package beside"]

    assert outcome(folder) == (0, "'p', which it was written beside")
    assert left_beside(package, ["onnx"]) == left_beside(package, []) == {}
    reseal(package, seeds={"all": 1})  # compiled anew, without that format
    assert outcome(folder)[0] == 1
    assert "'p' is of another build" in outcome(folder)[1]
    assert left_beside(package, []) == {"onnx": folder}
    alone = Path(shutil.copytree(folder, tmp_path / "elsewhere" / "p-onnx"))
    assert outcome(alone) == (0, "none lies beside it")
