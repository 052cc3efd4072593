"""What a compilation refuses before anything is measured, and how its package is named."""

from __future__ import annotations

import pytest

from nasc.context.settings import Settings
from nasc.errors import PackageError, UsageError
from nasc.latency.session import MeasurementSession
from nasc.pipelines import compile as pipeline
from nasc.pipelines.compile import default_name
from nasc.solver.problem import Limits


def test_packages_of_other_limits_or_tasks_have_other_names() -> None:
    limits = Limits(latency_ms=5.0, size_bytes=20_000_000)
    assert default_name("host", limits, None) == "nasc-host-5ms-20000000B"
    assert default_name("a/board.toml", limits, "sst-2") == "nasc-board-5ms-20000000B-sst-2"


def test_a_runtime_that_nothing_is_packed_for_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "SHIPPED", ("onnxruntime",))
    with pytest.raises(UsageError, match=r"no packages for the runtime tvm yet.*--runtime onnx"):
        pipeline.compile(Limits(latency_ms=5.0), Settings(runtime="tvm"))


def test_a_device_that_no_package_can_be_written_for_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MeasurementSession, "processor", {"arch": "riscv64", "flags": []})
    with pytest.raises(PackageError, match=r"no package for tvm .* 'host': TVM's runtime is"):
        pipeline.compile(Limits(latency_ms=5.0), Settings(runtime="tvm"))
