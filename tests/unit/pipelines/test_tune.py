"""What `nasc tune` refuses, and what its result says."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import nasc
from nasc.errors import DeviceEmulated, UsageError
from nasc.pipelines.tune import TunedKernel, TuneResult
from nasc.pipelines.tuning_place import TunedBoard, TunedFarm
from profilers import InvalidSetting, RuntimeMissing
from profilers.devices.tvm_tracker import BoardKey, TrackerAddress

tune = importlib.import_module("nasc.pipelines.tune")

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
    with pytest.raises(UsageError) as refused:
        nasc.tune(device="raspberrypi5")
    for part in (
        "is reached by ssh",
        "Run nasc tune on the device itself",
        "python -m tvm.exec.rpc_server --tracker HOST:PORT --key raspberrypi5",
        "nasc tune --device raspberrypi5 --tracker HOST:PORT --key raspberrypi5",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize("boards", [{}, {"tracker": "h:1", "key": "pixel6"}])
def test_a_phone_is_refused(boards):
    with pytest.raises(UsageError, match="'pixel6' is a phone, and TVM has neither a wheel nor"):
        nasc.tune(device="pixel6", **boards)


@pytest.mark.parametrize("given", [{"tracker": "h:1"}, {"key": "rpi5"}])
def test_a_tracker_and_a_key_go_together(given):
    with pytest.raises(UsageError, match=r"--(tracker|key) needs --(tracker|key): boards"):
        nasc.tune(**given)


@pytest.mark.parametrize(("tracker", "key"), [("nowhere", "rpi5"), ("h:1", "a b")])
def test_a_tracker_or_a_key_that_is_none_is_refused(tracker, key):
    with pytest.raises(InvalidSetting, match=r"a tracker is HOST:PORT|a key of boards is"):
        nasc.tune(tracker=tracker, key=key)


def test_an_emulated_device_is_not_tuned(tmp_path):
    profile = tmp_path / "made-up.toml"
    profile.write_text(
        'name = "made-up"\ndescription = "x"\nemulated = true\ndetect = true\n'
        '[connection]\nkind = "ssh"\n[defaults]\nthreads = 1\nruntime = "onnxruntime"\n'
    )
    with pytest.raises(DeviceEmulated, match="is emulated"):
        nasc.tune(device=str(profile), tracker="h:1", key="rpi5")


@pytest.mark.parametrize(
    ("device", "key", "name"),
    [
        ("host", "shelf", "shelf"),
        ("host", "raspberrypi5", "raspberrypi5"),
        ("jetson-orin-nano", "shelf", "jetson-orin-nano"),
    ],
)
def test_records_are_of_the_device_that_is_named_else_of_the_key(device, key, name):
    farm = BoardKey(TrackerAddress("h", 1), key)
    found, threads = tune._device(device, farm)
    assert (found, threads) == (name, 1)


def test_boards_are_in_the_result():
    farm = TunedFarm("h:1", "rpi5", (TunedBoard("10.0.0.7:9090", 12, 1),))
    told = replace(result(KERNEL), farm=farm).to_dict()
    assert told["farm"] == {
        "tracker": "h:1",
        "key": "rpi5",
        "boards": [{"address": "10.0.0.7:9090", "trials": 12, "lost": 1}],
    }
    assert result(KERNEL).to_dict()["farm"] is None


@pytest.mark.parametrize(
    ("precision", "reason"),
    [
        ("fp16", "not made in 'fp16' for the runtime tvm"),
        ("bf16", "--precision bf16: .* nothing to tune. Take another: --precision fp32"),
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
