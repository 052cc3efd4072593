"""Networks that are compiled by tuning records."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm", reason="needs apache-tvm (extra 'tvm')")

from tvm_records import SHAPE, keep, kernels, key_here, network, target

from nasc.errors import RecordsRefused
from nasc.export.onnx import build
from nasc.lowering import get_lowering
from nasc.lowering.tuned_kernels import KernelRecords, TunedKernels
from nasc.lowering.tuning.apply import apply_records
from nasc.lowering.tuning.confirm import without_weights
from nasc.lowering.tuning.records import best_records
from nasc.lowering.tvm_module import fused_module
from profilers import RuntimeOptions
from profilers.runtimes import get_runtime

pytestmark = [pytest.mark.tvm, pytest.mark.slow]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> KernelRecords:
    """Of all kernels but one."""
    folder = keep(tmp_path_factory.mktemp("records"), key_here(), kernels()[1:])
    found = best_records(folder, key_here())
    assert found is not None
    return found


def vector(path: Path) -> np.ndarray:
    session = get_runtime("tvm").open_session(path, RuntimeOptions("tvm"))
    ids = np.arange(SHAPE[1]).reshape(SHAPE)
    return np.asarray(session.outputs({"input_ids": ids, "attention_mask": np.ones_like(ids)})[0])


def test_records_change_what_is_compiled_and_not_what_it_computes(
    records: KernelRecords, tmp_path: Path
) -> None:
    lower = get_lowering("tvm").lower
    plain = lower(network(), tmp_path, "plain", shape=SHAPE)
    sent = pickle.loads(pickle.dumps(records))  # as to a process that compiles a table's networks
    tuned = lower(network(), tmp_path, "tuned", shape=SHAPE, records=sent)
    assert plain.tuned is None
    assert plain.path.read_bytes() != tuned.path.read_bytes()
    assert np.abs(vector(plain.path) - vector(tuned.path)).max() < 1e-5
    assert tuned.tuned is not None
    assert tuned.tuned.records_sha256 == records.sha256
    assert tuned.tuned.tuned == len(records.kernels)
    assert len(tuned.tuned.untuned) == 1
    assert str(tuned.tuned).endswith(", the others by general schedules")


def test_each_kernel_goes_by_its_own_record(records: KernelRecords) -> None:
    """Those that have one are scheduled, the others are left for the general schedules."""
    module = fused_module({"run": build(network(), shape=SHAPE)}, target())
    some = dict(list(records.kernels.items())[:3])
    made, told = apply_records(module, target(), replace(records, kernels=some))
    assert (told.tuned, len(told.untuned)) == (3, len(records.kernels) - 2)
    scheduled = {
        str(variable.name_hint)
        for variable, function in made.functions_items()
        if function.attrs is not None and function.attrs.get("tirx.is_scheduled")
    }
    assert len(scheduled) == 3
    assert not scheduled & set(told.untuned)


def test_records_of_another_target_are_not_compiled_by(records: KernelRecords) -> None:
    """TVM itself would, without a word."""
    module = fused_module({"run": build(network(), shape=SHAPE)}, target())
    with pytest.raises(RecordsRefused, match=r'of another target, .*"num-cores":1.*, and not of'):
        apply_records(module, target(4), records)


def test_records_of_kernels_with_weights_are_told_apart(records: KernelRecords) -> None:
    module = fused_module({"run": build(network(), shape=SHAPE)}, target())
    bare = without_weights(records)
    assert 0 < len(bare.kernels) < len(records.kernels)
    made, _ = apply_records(module, target(), bare)
    scheduled = [
        function
        for _, function in made.functions_items()
        if function.attrs is not None and function.attrs.get("tirx.is_scheduled")
    ]
    assert len(scheduled) == len(bare.kernels)
    assert not any(function.attrs.get("layout_free_buffers") for function in scheduled)


def test_what_came_of_records_travels_as_plain_data() -> None:
    told = TunedKernels("ab" * 32, 2, ("softmax",))
    assert TunedKernels.from_dict(told.to_dict()) == told
    assert str(told) == "2 of 3 by tuning records abababab, the others by general schedules"
    assert str(replace(told, untuned=())) == "2 of 2 by tuning records abababab"
