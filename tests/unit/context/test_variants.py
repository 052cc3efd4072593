"""Which runtimes and precisions a run may choose from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import device_profiles
from nasc.architecture.heads import MEAN, Pooling
from nasc.architecture.space import PRESETS
from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.context.variants import tried_runtimes
from nasc.errors import ExportError, UsageError
from nasc.package.formats import SHIPPED
from nasc.utils.progress import Silent
from profilers import RuntimeMissing, RuntimeOptions
from profilers.runtimes import ONNXRUNTIME_WEB
from profilers.testing import SyntheticMachine

SPACE = PRESETS["minilm-l6"]


class Listener(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def context(
    folder: Path,
    missing: tuple[str, ...] = (),
    precisions: tuple[str, ...] = ("fp32", "bf16", "int8"),
    space: Any = SPACE,
    wanted: tuple[str, ...] | None = None,
    pooling: Pooling = MEAN,
    limits_bytes: bool = False,
    **settings: Any,
) -> tuple[RunContext, Listener]:
    """A context of a device on which some runtimes are not installed."""

    def opener(device: object, options: RuntimeOptions) -> Any:
        if options.runtime in missing:
            raise RuntimeMissing(f"the runtime {options.runtime!r} cannot be imported")
        return SyntheticMachine({"reference": 4.0}, precisions=precisions).open()

    listener = Listener()
    found = RunContext(
        Settings(cache=folder, precisions=wanted, **settings),
        listener,
        opener=opener,
        limits_bytes=limits_bytes,
    )
    teacher = SimpleNamespace(head=pooling.head, own_head=pooling.head)
    found.inputs.__dict__ |= {"space": space, "teacher": teacher}
    return found, listener


@pytest.fixture(autouse=True)
def lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every runtime's networks can be made here, installed or not."""
    monkeypatch.setattr("nasc.context.variants.get_lowering", lambda runtime: SimpleNamespace())


def names(found: RunContext) -> list[str]:
    return [str(variant) for variant in found.variants]


def test_without_a_word_it_is_the_device_s_own_runtime(tmp_path: Path) -> None:
    found, _ = context(tmp_path)
    assert names(found) == ["onnxruntime fp32", "onnxruntime int8"]


def test_auto_takes_all_and_the_truest_first(tmp_path: Path) -> None:
    found, listener = context(tmp_path, runtime="auto")
    assert names(found) == [
        *("onnxruntime fp32", "openvino fp32", "tvm fp32", "openvino bf16", "tvm bf16"),
        *("onnxruntime int8", "openvino int8", "tvm int8"),
    ]
    assert not listener.said


def test_auto_on_a_gpu_takes_those_that_compute_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.devices.find_gpu", lambda: None)
    assert tried_runtimes(device_profiles.find("cuda")) == ("onnxruntime", "torch")
    found, _ = context(tmp_path, (), ("fp32", "tf32", "bf16"), runtime="torch", device="cuda")
    assert names(found) == ["torch fp32", "torch tf32", "torch bf16"]


def test_what_is_only_smaller_is_looked_at_where_bytes_are_limited_or_it_is_named(
    tmp_path: Path,
) -> None:
    found, _ = context(tmp_path, limits_bytes=True)
    assert names(found) == ["onnxruntime fp32", "onnxruntime int8", "onnxruntime int8-emb4"]
    named = ("int8", "int8-emb4")
    found, _ = context(tmp_path, space=SPACE.restrict(precisions=named), wanted=named)
    assert names(found) == ["onnxruntime int8", "onnxruntime int8-emb4"]
    alone = SPACE.restrict(precisions=("int8-emb4",))
    found, _ = context(tmp_path, space=alone, wanted=("int8-emb4",), runtime="openvino")
    with pytest.raises(
        UsageError, match=r"--precision int8-emb4 is not computed.*--runtime onnxruntime"
    ):
        _ = found.variants
    odd = dataclasses.replace(SPACE.geometry, embedding=97)
    found, _ = context(
        tmp_path, space=dataclasses.replace(alone, geometry=odd), wanted=("int8-emb4",)
    )
    with pytest.raises(UsageError, match=r"4 bits are stored in pairs.*97 values"):
        _ = found.variants


@pytest.mark.parametrize("missing", ["onnxruntime", "openvino", "tvm"])
def test_auto_leaves_out_what_is_not_installed_on_the_device(tmp_path: Path, missing: str) -> None:
    found, listener = context(tmp_path, (missing,), runtime="auto")
    left_out = {missing, "torch", ONNXRUNTIME_WEB}
    assert {variant.runtime for variant in found.variants} == set(SHIPPED) - left_out
    [said] = listener.said
    assert said.startswith(f"{missing} is left out: the runtime '{missing}' cannot be imported")


@pytest.mark.parametrize("runtime", [None, "auto"])
def test_a_browser_has_a_runtime_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str | None
) -> None:
    monkeypatch.setattr("profilers.check_device", lambda device: None)
    found, listener = context(tmp_path, device="chromium", runtime=runtime)
    assert names(found) == ["onnxruntime-web fp32", "onnxruntime-web int8"]
    assert listener.said == []


def test_auto_leaves_out_what_networks_cannot_be_made_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lowering(runtime: str) -> None:
        if runtime == "openvino":
            raise ExportError("networks cannot be made for openvino")

    monkeypatch.setattr("nasc.context.variants.get_lowering", lowering)
    found, listener = context(tmp_path, runtime="auto")
    assert {variant.runtime for variant in found.variants} == {"onnxruntime", "tvm"}
    assert listener.said == ["openvino is left out: networks cannot be made for openvino"]


def test_a_runtime_that_is_asked_for_has_to_be_there(tmp_path: Path) -> None:
    found, _ = context(tmp_path, ("openvino",), runtime="openvino")
    with pytest.raises(RuntimeMissing, match="'openvino' cannot be imported"):
        _ = found.variants
    found, _ = context(tmp_path, SHIPPED, runtime="auto")
    with pytest.raises(RuntimeMissing, match="cannot be imported"):
        _ = found.variants


@pytest.mark.parametrize(
    ("runtime", "precisions", "advice"),
    [
        (None, ("fp32", "int8"), "Another runtime may: --runtime openvino"),
        ("openvino", ("fp32", "int8"), "Another runtime may: --runtime tvm"),
        ("auto", ("fp32", "int8"), "Another runtime may: --runtime torch"),
    ],
)
def test_a_precision_that_is_not_computed_there_is_refused_with_what_may_help(
    tmp_path: Path, runtime: str | None, precisions: tuple[str, ...], advice: str
) -> None:
    space = SPACE.restrict(precisions=("bf16",))
    found, _ = context(tmp_path, (), precisions, space, ("bf16",), runtime=runtime)
    with pytest.raises(UsageError) as caught:
        _ = found.variants
    message = str(caught.value)
    assert message.startswith("--precision bf16 is not computed on device 'host'")
    assert ("Another runtime" in message) == bool(advice)
    assert message.endswith(advice)


def test_precisions_that_are_allowed_are_taken_from_every_runtime(tmp_path: Path) -> None:
    space = dataclasses.replace(SPACE, precisions=("bf16", "int8"))
    found, _ = context(tmp_path, space=space, runtime="auto")
    assert names(found) == [
        "openvino bf16",
        "tvm bf16",
        "onnxruntime int8",
        "openvino int8",
        "tvm int8",
    ]
    assert found.variants[0] == Variant("openvino", "bf16")


def test_a_processor_without_int8_by_tvm_is_said_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    found, listener = context(tmp_path, precisions=("fp32",), runtime="tvm")
    assert names(found) == ["tvm fp32"]
    assert not listener.said
    found, _ = context(tmp_path, (), ("fp32",), SPACE, ("int8",), runtime="tvm")
    with pytest.raises(UsageError, match=r"int8 is not computed .*\(tvm: fp32\).*--runtime onnx"):
        _ = found.variants
    found, _ = context(tmp_path, precisions=("fp32", "int8"), runtime="tvm")
    assert names(found) == ["tvm fp32", "tvm int8"]


def test_sizes_that_a_runtime_does_not_make_leave_its_precision_out(tmp_path: Path) -> None:
    geometry = dataclasses.replace(SPACE.geometry, head_size=16)
    space = dataclasses.replace(SPACE, geometry=geometry, hidden_sizes=(128, 208, 384))
    found, listener = context(tmp_path, precisions=("fp32", "int8"), space=space, runtime="tvm")
    assert names(found) == ["tvm fp32"]
    [said] = listener.said
    assert said.startswith(
        "tvm int8 is left out: tvm makes int8 of hidden, inner and head sizes that are"
    )
    assert said.endswith("multiples of 32; search space 'minilm-l6' has 16")
    found, _ = context(tmp_path, (), ("fp32", "int8"), space, ("int8",), runtime="tvm")
    with pytest.raises(UsageError, match=r"--precision int8: .* has 16. Another .*onnxruntime"):
        _ = found.variants


@pytest.mark.parametrize("head", ["embed", "classify-3"])
def test_poolings_that_a_runtime_does_not_make_leave_its_precision_out(
    tmp_path: Path, head: str
) -> None:
    """A task's head is none of them, but its network is first measured as the teacher's is."""
    for pooling in (Pooling("cls"), Pooling("max", scaled=False)):
        found, listener = context(tmp_path, pooling=pooling, head=head, runtime="auto")
        assert "tvm fp32" in names(found)
        assert "tvm int8" not in names(found)
        for said, precision in zip(listener.said, ("bf16", "int8"), strict=True):
            start = f"tvm {precision} is left out: tvm makes {precision} with the mean over tokens"
            assert said.startswith(start)
