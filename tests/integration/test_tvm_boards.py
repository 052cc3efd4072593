"""Kernels tuned on a board for 64-bit ARM: TVM's own server, out of PyPI's wheel, under qemu.

It takes two minutes and 100 MB: set NASC_TEST_ARM64_TVM=1 to have it run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

import arm64_python
import tvm_rpc
from emulated_board import NotBuilt
from tvm_kernels import out_of_bounds, product

from nasc.lowering.tuning.boards import BoardPool, board_pool, visited
from nasc.lowering.tuning.loop import LoopOptions, tune_kernels
from nasc.lowering.tuning.records import RecordsKey, check_records, open_for_tuning
from profilers.context import fingerprint
from profilers.devices.tvm_tracker import BoardKey, TrackerAddress
from profilers.runtimes.tvm_schedules import schedule
from profilers.runtimes.tvm_targets import target_of

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("NASC_TEST_ARM64_TVM"),
        reason="takes two minutes: NASC_TEST_ARM64_TVM=1 has it run",
    ),
    pytest.mark.skipif(arm64_python.missing() is not None, reason=str(arm64_python.missing())),
]

WHEELS = [
    f"{name}=={version(name)}"
    for name in (
        *("apache-tvm", "apache-tvm-ffi", "numpy", "ml_dtypes", "typing_extensions"),
        *("cloudpickle", "psutil", "tornado"),
    )
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoardPool]:
    try:
        python = arm64_python.build(tmp_path_factory.mktemp("arm64"), WHEELS)
    except NotBuilt as error:
        pytest.skip(str(error))
    with tvm_rpc.farm() as farm, tvm_rpc.farm([*python, tvm_rpc.__file__]) as arm:
        port = str(farm.running[0].port)
        farm.running.append(arm.start("server", port, "arm"))
        key = BoardKey(TrackerAddress.parse(farm.address), "arm")
        while not key.served():
            time.sleep(0.1)
        with visited(key, print) as found:
            target = target_of(found.cpu["flags"], found.cpu["arch"])
            with board_pool(found, target, 1, print) as made:
                yield made


def test_a_board_for_arm_is_tuned_from_here(pool: BoardPool, tmp_path: Path) -> None:
    cpu = pool._found.cpu
    assert (cpu["arch"], cpu["vendor"], cpu["model"]) == ("aarch64", "0x41", "0xd05")
    assert "asimddp" in cpu["flags"]
    target = target_of(cpu["flags"], cpu["arch"])
    assert "+dotprod" in target.attrs["mattr"]
    key = RecordsKey.of("arm", fingerprint(dict(cpu)), target)
    options = LoopOptions(300, round_trials=2, population=4, max_trials=2)
    with open_for_tuning(tmp_path, key) as records:
        (kernel,) = tune_kernels(
            [product()], records, target, pool, options, lambda done, total, message: None
        )
    assert kernel.before_s
    assert (kernel.trials, kernel.failed) == (2, 0)
    check_records(tmp_path, key)


def test_a_crash_there_costs_that_candidate_alone(pool: BoardPool) -> None:
    target = target_of(pool._found.cpu["flags"], "aarch64")
    trials = pool([out_of_bounds(10**12), schedule(product().module, target)])
    assert trials[0].error == "ended by signal 11"
    assert trials[1].seconds
