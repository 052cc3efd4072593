"""What `nasc tune` refuses, and what its result says."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import nasc
from nasc.errors import UsageError
from nasc.pipelines.tune import TunedKernel, TuneResult
from profilers import RuntimeMissing

KERNEL = TunedKernel(
    name="product",
    key="0" * 16,
    shapes=("float32[8,8]",) * 3,
    count=6,
    share=0.75,
    flops=2e6,
    before_ms=0.04,
    after_ms=0.01,
    trials=32,
    failed=1,
    error="ended by signal 11",
)
BARE = replace(KERNEL, name="softmax", count=2, before_ms=0.02, after_ms=None)


def result(*kernels: TunedKernel) -> TuneResult:
    return TuneResult("host", "llvm", Path("records"), "xgb", 1, kernels, ("take",))


def test_kernels_without_a_record_are_named_and_counted_as_they_are_compiled():
    found = result(KERNEL, BARE)
    assert found.without_record == ("softmax",)
    assert found.pass_ms(tuned=False) == pytest.approx(6 * 0.04 + 2 * 0.02)
    assert found.pass_ms(tuned=True) == pytest.approx(6 * 0.01 + 2 * 0.02)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["without_record"] == ["softmax"]
    assert told["kernels"][0]["gflops_before"] == pytest.approx(50)
    assert told["kernels"][0]["gflops_after"] == pytest.approx(200)
    assert told["kernels"][1]["gflops_after"] is None


def test_a_pass_with_a_kernel_that_cannot_be_run_has_no_time():
    stuck = replace(BARE, before_ms=None)
    assert result(KERNEL, stuck).pass_ms(tuned=True) is None
    assert result(KERNEL, replace(stuck, count=0)).pass_ms(tuned=True) == pytest.approx(0.06)


@pytest.mark.parametrize("minutes", [0, -1, 1e9, float("nan")])
def test_a_budget_that_makes_no_sense_is_refused(minutes):
    with pytest.raises(UsageError, match="--minutes must be above 0"):
        nasc.tune(minutes=minutes)


def test_a_device_that_is_not_this_machine_is_refused():
    with pytest.raises(UsageError, match=r"is reached by adb\. Run nasc tune on the device itself"):
        nasc.tune(device="pixel6")


@pytest.mark.parametrize(
    ("precision", "reason"),
    [
        ("bf16", "not made in 'bf16' for the runtime tvm"),
        ("int8", "--precision int8: .* nothing to tune. Take another: --precision fp32"),
    ],
)
def test_a_precision_without_kernels_to_tune_is_refused(precision, reason):
    with pytest.raises(UsageError, match=reason):
        nasc.tune(precision=precision)


def test_a_head_that_is_none_is_refused():
    with pytest.raises(UsageError, match="unknown head 'embedd'"):
        nasc.tune(head="embedd")


def test_without_tvm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "profilers.runtimes.tvm", None)
    monkeypatch.setitem(sys.modules, "nasc.lowering.tuning.kernels", None)
    with pytest.raises(RuntimeMissing, match=r"Install it: python -m pip install 'apache-tvm=="):
        nasc.tune()
