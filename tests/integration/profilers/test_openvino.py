"""What only OpenVINO does: IR files, and the number formats that they ask for."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import device_profiles
from profilers import (
    InputSpec,
    InvalidSetting,
    ModelJob,
    ModelRejected,
    Protocol,
    RuntimeOptions,
    WorkerDied,
    bench,
    reference_job,
)
from profilers.context import read_context
from profilers.devices.local import LocalWorker
from profilers.model_files import runtime_for
from profilers.reference import HIDDEN, SEQ_LEN

if importlib.util.find_spec("openvino") is None:
    pytest.skip("needs openvino (extra 'openvino')", allow_module_level=True)

from profilers.runtimes.openvino import _plain, ov, precisions

OPTIONS = RuntimeOptions("openvino")
FLAGS = read_context()["cpu"]["flags"]
FEEDS = {
    "hidden_in": np.random.default_rng(0).normal(size=(SEQ_LEN, HIDDEN)).astype(np.float32),
}


@pytest.fixture(scope="module")
def worker() -> Iterator[LocalWorker]:
    with LocalWorker(OPTIONS) as worker:
        yield worker


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reference_job(tmp_path_factory.mktemp("reference")).path


def ir(path: Path, source: Path, rt_info: dict[str, Any] | None = None) -> Path:
    """A model as an IR, with what it says of itself."""
    model = ov.Core().read_model(source)
    for key, value in (rt_info or {}).items():
        model.set_rt_info(value, [key])
    ov.save_model(model, path, compress_to_fp16=False)
    return path


def asking(path: Path, source: Path, precision: str) -> Path:
    return ir(path, source, {"runtime_options": {"INFERENCE_PRECISION_HINT": precision}})


@pytest.mark.parametrize("asked", ["bf16", "f16"])
def test_a_file_says_in_which_number_format_it_is_computed(
    worker: LocalWorker, reference: Path, tmp_path: Path, asked: str
) -> None:
    if asked.replace("f16", "fp16") not in precisions(FLAGS) and asked not in precisions(FLAGS):
        pytest.skip(f"this processor does not compute in {asked}")
    outputs = {}
    for name, path in {
        "onnx": reference,
        "plain": ir(tmp_path / "plain.xml", reference),
        "f32": asking(tmp_path / "f32.xml", reference, "f32"),
        "asked": asking(tmp_path / "asked.xml", reference, asked),
    }.items():
        worker.open(name, str(path))
        (outputs[name],) = worker.run(name, FEEDS)
    assert np.array_equal(outputs["plain"], outputs["onnx"])
    assert np.array_equal(outputs["f32"], outputs["onnx"])
    difference = np.abs(outputs["asked"] - outputs["onnx"]).max()
    assert 1e-4 < difference < 0.2


@pytest.mark.slow
@pytest.mark.skipif("avx512f" not in FLAGS, reason="needs a processor with AVX-512")
def test_no_file_is_computed_in_a_coarser_format_than_it_asks_for(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without instructions for f16, OpenVINO takes bf16 instead (2026.4), or f32 (2025.0)."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    path = asking(tmp_path / "m.xml", reference, "f16")
    with LocalWorker(OPTIONS) as worker:
        worker.open("f32", str(reference))
        try:
            worker.open("m", str(path))
        except ModelRejected as error:
            message = r"asks to be computed in f16, which this processor .* would take bf16"
            assert re.search(message, str(error))  # noqa: PT017
        else:
            assert np.array_equal(worker.run("m", FEEDS)[0], worker.run("f32", FEEDS)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"INFERENCE_PRECISION_HINT": "f8"},
            r"options/INFERENCE_PRECISION_HINT = 'f8'; allowed: f32",
        ),
        ({"INFERENCE_PRECISION_HINT": ""}, r"INFERENCE_PRECISION_HINT = ''; allowed"),
        ({"INFERENCE_PRECISION_HINT": {"f32": "f32"}}, r"_HINT = .*; allowed: f32, bf16, f16"),
        ({"INFERENCE_PRECISION_HINT": "f32" * 10_000}, r"_HINT = 'f32.*; allowed"),
        ({"DYNAMIC_QUANTIZATION_GROUP_SIZE": "-5"}, r"SIZE = '-5'; allowed: a whole number from 0"),
        ({"DYNAMIC_QUANTIZATION_GROUP_SIZE": "9" * 30}, r"SIZE = '9+.*'; allowed"),
        ("f32", "attribute"),
    ],
)
def test_what_a_file_asks_for_is_checked(
    worker: LocalWorker, reference: Path, tmp_path: Path, options: object, message: str
) -> None:
    path = ir(tmp_path / "asks.xml", reference, {"runtime_options": options})
    with pytest.raises(ModelRejected, match=rf"'\S+asks\.xml'.*{message}") as caught:
        worker.open("asks", str(path))
    assert len(str(caught.value)) < 1500


def test_a_file_says_who_made_it(worker: LocalWorker, reference: Path, tmp_path: Path) -> None:
    told = {"architecture": "4*mha", "b c": "<&>\"'", "part": {"in": "side"}}
    path = ir(tmp_path / "m.xml", reference, {"nasc": told})
    assert worker.open("m", str(path))["metadata"] == {"architecture": "4*mha", "b c": "<&>\"'"}


@pytest.mark.slow
def test_more_threads_than_there_are_cores_are_refused(reference: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    with (
        LocalWorker(RuntimeOptions("openvino", threads=cores + 1)) as worker,
        pytest.raises(InvalidSetting, match=rf"threads = {cores + 1}; OpenVINO runs {cores} here"),
    ):
        worker.open("m", str(reference))


def test_formats_are_those_that_the_processor_has_instructions_for() -> None:
    assert precisions([]) == ("fp32", "int8")
    assert set(precisions(["avx512_bf16", "avx512_fp16"])) <= {"fp32", "bf16", "fp16", "int8"}


def test_weights_beside_an_ir_belong_to_it(reference: Path, tmp_path: Path) -> None:
    path = ir(tmp_path / "m.v1.xml", reference)
    weights = tmp_path / "m.v1.bin"
    job = ModelJob("m", path, {"hidden_in": InputSpec((SEQ_LEN, HIDDEN), "float32")})
    assert job.files() == (path, weights)
    before = job.content_hash()
    weights.write_bytes(weights.read_bytes()[::-1])
    assert job.content_hash() != before
    weights.unlink()
    assert job.files() == (path,)


def test_damaged_files_are_rejected_with_one_message(
    worker: LocalWorker, reference: Path, tmp_path: Path
) -> None:
    whole = ir(tmp_path / "whole.xml", reference)
    text, weights = whole.read_text(), whole.with_suffix(".bin").read_bytes()
    half = len(text) // 2
    damaged: dict[str, tuple[str, bytes | None]] = {
        "no-weights": (text, None),
        "cut-weights": (text, weights[: len(weights) // 2]),
        "empty-weights": (text, b""),
        "empty": ("", weights),
        "cut": (text[:half], weights),
        "cut-tag": (text[: text.index("<edges>")], weights),
        "no-version": (text.replace(' version="11"', ""), weights),
        "offset": (text.replace('offset="0"', 'offset="99999999999999"'), weights),
        "negative": (text.replace('size="65536"', 'size="-1"'), weights),
        "shape": (text.replace('shape="128,128"', 'shape="128,129"'), weights),
        "huge": (text.replace('shape="128,128"', 'shape="9223372036854775807,2"'), weights),
        "operator": (text.replace('type="MatMul"', 'type="MatMal"'), weights),
        "loop": (text.replace('<edge from-layer="0" ', '<edge from-layer="8" '), weights),
        "no-rank": (text.replace('shape="128,128" element_type="f32"', 'shape="..."'), weights),
    }
    for name, (changed, data) in damaged.items():
        path = tmp_path / f"{name}.xml"
        path.write_text(changed)
        if data is not None:
            path.with_suffix(".bin").write_bytes(data)
        with pytest.raises(ModelRejected, match=rf"'\S+{name}\.xml': \S.*\n.*Check it:") as caught:
            worker.open(name, str(path))
        message = str(caught.value)
        assert f"{name}.bin" in message
        assert "Exception from" not in message
        assert len(message) < 1500


@pytest.mark.slow
def test_flipped_bytes_never_reach_the_caller(reference: Path, tmp_path: Path) -> None:
    """The worker may end; whoever asked it gets one message."""
    whole = ir(tmp_path / "whole.xml", reference)
    text = whole.read_bytes()
    path = tmp_path / "flipped.xml"
    path.with_suffix(".bin").write_bytes(whole.with_suffix(".bin").read_bytes())
    random = np.random.default_rng(0)
    worker = LocalWorker(OPTIONS)
    for _ in range(200):
        changed = bytearray(text)
        for position in random.integers(0, len(text), size=random.integers(1, 4)):
            changed[position] = random.integers(32, 127)
        path.write_bytes(changed)
        try:
            worker.open("m", str(path))
            worker.run("m", FEEDS)
        except ModelRejected as error:
            assert len(str(error)) < 1500  # noqa: PT017
        except WorkerDied:
            worker.close()
            worker = LocalWorker(OPTIONS)
    worker.close()


@pytest.mark.slow
def test_an_ir_is_benched_as_any_file(reference: Path, tmp_path: Path) -> None:
    path = ir(tmp_path / "m.xml", reference)
    host = device_profiles.find("host")
    brief = Protocol(min_rounds=3, max_rounds=3, max_seconds=1.0)
    result = bench([path], host, protocol=brief)
    assert result.measurement.options.runtime == "openvino"
    assert result.measurement.context["runtime_version"].startswith("20")
    (entry,) = result.entries
    assert entry.size_bytes == sum(file.stat().st_size for file in tmp_path.glob("m.*"))
    assert entry.job.inputs == {"hidden_in": InputSpec((SEQ_LEN, HIDDEN), "float32")}
    assert entry.latency.latency_ms > 0
    assert entry.memory is not None
    assert entry.memory.model_bytes > 0
    with pytest.raises(ModelRejected, match=r"m\.xml'.*\n.*is for the runtime openvino"):
        bench([path], host, options=RuntimeOptions("onnxruntime"))


def test_the_runtime_of_files_is_found_by_their_names() -> None:
    paths = [Path("a.onnx"), Path("b.XML")]
    assert runtime_for(paths[:1], "onnxruntime") == "onnxruntime"
    assert runtime_for(paths, "onnxruntime") == "openvino"


def test_errors_are_told_without_the_sources_that_they_came_by() -> None:
    text = (
        "Exception from src/inference/src/cpp/core.cpp:84:\nException from src/a.hpp:55:\n"
        "Caught exception: Check 'a == b' failed at src/c.cpp:9:\nEmpty weights!\n\n"
    )
    assert _plain(RuntimeError(text)) == "Empty weights!"
    assert _plain(RuntimeError("Exception from a.cpp:1:")) == "Exception from a.cpp:1:"
