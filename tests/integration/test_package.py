"""From the default teacher to packages that are verified, measured on this machine."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

import device_profiles
import profilers
from nasc.architecture.space import PRESETS
from nasc.errors import TeacherMissing
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import check_parity, check_reduced
from nasc.evaluation.parity_report import accept_reduced
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.records import TeacherRecord, TextRecord
from nasc.package.verify import verify_package
from nasc.teacher import Teacher, load_teacher

pytestmark = pytest.mark.slow

SENTENCES = [
    "A man is playing a guitar on the street.",
    "The committee will meet again in the first week of November to discuss the budget.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "Return the smallest index at which the value can be inserted.",
    "Nobody had seen the old ferry since the storm.",
    "In 1969 two astronauts walked on the Moon while a third stayed in orbit around it.",
    "Cut the onions, fry them slowly and add the tomatoes.",
    "The function raises an error if the file does not exist.",
    "Shares fell sharply after the company lowered its forecast for the second time this year.",
    "Her new novel is set in a small fishing village.",
    "Why is the sky blue?",
    "Rain is expected in the north, with sunny spells later in the day.",
]
PROTOCOL = profilers.Protocol(min_rounds=4, max_rounds=6, max_seconds=20.0)


@pytest.fixture(scope="module")
def teacher() -> Iterator[Teacher]:
    try:
        yield load_teacher()
    except TeacherMissing as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_teacher_becomes_a_package_that_verifies(
    teacher: Teacher, tmp_path: Path, precision: str
) -> None:
    architecture = PRESETS["minilm-l6"].teacher.with_precision(precision)
    network = teacher_network(teacher, architecture)
    emit(network, tmp_path / "model.onnx")
    tokens = Encoder(tmp_path / "model.onnx", teacher.tokenizer).tokenize(SENTENCES)
    if precision == "fp32":
        parity = check_parity(network, Encoder(tmp_path / "model.onnx"), tokens)
        assert max(parity.lengths) == 512
    else:
        parity = check_reduced(network, Encoder(tmp_path / "model.onnx"), tokens)
        assert accept_reduced(parity)[0], accept_reduced(parity)[1]

    device = device_profiles.find("host")
    inputs = {
        "input_ids": profilers.InputSpec((1, 32), "int64", 0, 1000),
        "attention_mask": profilers.InputSpec((1, 32), "int64", 1, 2),
    }
    job = profilers.ModelJob("model", tmp_path / "model.onnx", inputs)
    measurement = profilers.measure([job], device, protocol=PROTOCOL)
    folder = build_package(
        tmp_path / "package",
        model=tmp_path / "model.onnx",
        tokenizer=teacher.tokenizer,
        manifest=Manifest(
            architecture=architecture,
            geometry=network.geometry,
            head="embed",
            max_length=teacher.max_length,
            limits={"latency_ms": 100 * measurement["model"].upper_ms},
            conditions=Conditions("host", "onnxruntime", 1, 32, 1, measurement.statistic, None),
            teacher=TeacherRecord(teacher.name, teacher.sha256, teacher.source),
            text=TextRecord("none: the teacher itself", "0" * 64),
            measured=MeasuredLatency.of(job, measurement),
            parity=parity,
        ),
    )
    report = verify_package(folder, protocol=PROTOCOL)
    *others, latency = report.checks
    assert all(check.ok is True for check in others), [str(check) for check in report.checks]
    # A machine slower now than when the package was measured leaves the latency open.
    # What is said then is tested without a clock in tests/integration/package/test_verify.py.
    assert latency.name == "latency"
    assert latency.ok is not False, str(latency)
    assert report.measured is not None or "MeasurementInconsistent" in latency.detail, str(latency)

    # Through transformers, as most will read it
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenizer(SENTENCES, padding=True, return_tensors="np")
    encoder = Encoder(folder / "model.onnx")
    vectors = encoder.run(batch["input_ids"], batch["attention_mask"])
    wanted = teacher.vectors(SENTENCES)
    assert (vectors * wanted).sum(1).min() > (0.99999 if precision == "fp32" else 0.98)

    # Through the lines of its README
    code, *_ = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    similarity = np.array([float(v) for v in re.findall(r"\d\.\d*", done.stdout)]).reshape(2, 2)
    assert similarity[0, 0] == pytest.approx(1, abs=1e-4)
    assert 0.5 < similarity[0, 1] < 0.99

    # One byte in the middle of the weights
    data = bytearray((folder / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.onnx").write_bytes(data)
    broken = verify_package(folder, measure=False)
    assert "model.onnx was changed" in {c.name: c.detail for c in broken.failed}["files"]
