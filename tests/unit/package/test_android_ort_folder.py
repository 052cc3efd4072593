"""Packages for Android whose model is in onnxruntime's own format, which is used in place."""

from __future__ import annotations

import dataclasses
import json
import platform
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from nasc.architecture.space import PRESETS
from nasc.errors import PackageError
from nasc.export.onnx import emit
from nasc.lowering.ort_file import read_ort, sorted_names, write_ort
from nasc.networks.network import random_network
from nasc.package.build import GOLDEN, build_package
from nasc.package.formats import android_folder, android_ort_folder
from nasc.package.hashes import record_file
from nasc.package.read_manifest import MANIFEST, read_manifest
from nasc.package.verify import verify_package
from nasc.pipelines.app_format import app_manifest

pytestmark = pytest.mark.usefixtures("shared_process")

Make = Callable[..., Path]
FORMAT = "android-ort"

IN_PLACE = (
    "session.use_ort_model_bytes_directly",
    "session.use_ort_model_bytes_for_initializers",
)
"""Entries that OnnxNetwork.kt sets."""


@pytest.fixture(scope="module")
def package(build_app: Make) -> Path:
    return build_app(FORMAT)


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx that onnxruntime optimises in another way on x86 than elsewhere."""
    path = tmp_path_factory.mktemp("convolutions") / "model.onnx"
    space = PRESETS["minilm-l6"]
    geometry = dataclasses.replace(space.geometry, vocab_size=64, max_positions=16)
    emit(random_network(space.parse("128: S3 | skip | skip"), geometry), path)
    return path


def vectors(path: Path, entries: tuple[str, ...] = ()) -> np.ndarray:
    """What a model gives for a text, by a session that is given its bytes."""
    options = ort.SessionOptions()
    for name in entries:
        options.add_session_config_entry(name, "1")
    data = path.read_bytes()
    ids = np.array([[1, 5, 9, 7]], np.int64)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"input_ids": ids, "attention_mask": ids * 0 + 1})[0])


def test_all_of_it_is_checked_but_the_kotlin(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NASC_KOTLIN_COMPILER", raising=False)
    checks = {c.name: (c.ok, c.detail) for c in verify_package(package, measure=False).checks}
    assert checks.pop("Kotlin")[0] is None
    checks.pop("latency", None)
    assert {name: what for name, what in checks.items() if what[0] is not True} == {}


def test_its_vectors_are_those_of_the_onnx(build_app: Make) -> None:
    for precision, most in {"fp32": 1e-6, "int8": 1e-3}.items():
        ours, theirs = (
            json.loads((build_app(name, precision) / GOLDEN).read_text())["texts"]
            for name in (FORMAT, "android")
        )
        ours, theirs = (np.array([one["vector"] for one in texts]) for texts in (ours, theirs))
        assert np.abs(ours - theirs).max() <= most


def test_an_app_loads_the_file_and_keeps_it_as_it_is(package: Path) -> None:
    record = record_file(package / android_ort_folder.MODEL)
    stated = f'AssetRecord("model.ort", {record.size_bytes}L, "{record.sha256}")'
    assert stated in (package / android_folder.CONTENTS).read_text()
    assert 'noCompress += "ort"' in (package / "README.md").read_text()
    kotlin = next(android_folder.SOURCES.rglob("OnnxNetwork.kt")).read_text()
    assert all(f'addConfigEntry("{name}", "1")' in kotlin for name in IN_PLACE)
    assert not (package / android_folder.MODEL).exists()


def test_two_builds_are_the_same(package: Path, build_app: Make) -> None:
    assert record_file(package / MANIFEST) == record_file(build_app(FORMAT) / MANIFEST)


def test_weights_are_used_in_place_with_the_same_result(convolutions: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.ort"
    write_ort(convolutions, path)
    assert np.array_equal(vectors(path), vectors(path, IN_PLACE))
    assert np.abs(vectors(path) - vectors(convolutions)).max() < 1e-5
    found = read_ort(path.read_bytes())
    assert found.inputs == {"input_ids": (None, None), "attention_mask": (None, None)}
    assert android_ort_folder.inspect(path).unexpected == ()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="layouts of x86")
def test_what_is_optimised_for_x86_alone_is_refused(convolutions: Path, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.log_severity_level = 3
    ort.InferenceSession(str(convolutions), options, providers=["CPUExecutionProvider"])
    found = android_ort_folder.inspect(tmp_path / "model.ort").unexpected
    assert "the operator 'Conv' of 'com.microsoft.nchwc' is none of nasc's" in found


def test_what_is_no_such_file_is_refused(package: Path, convolutions: Path, tmp_path: Path) -> None:
    data = (package / android_ort_folder.MODEL).read_bytes()
    (tmp_path / "cut").write_bytes(data[:1000])
    with pytest.raises((struct.error, IndexError)):
        android_ort_folder.inspect(tmp_path / "cut")
    with pytest.raises(ValueError, match="it does not say ORTM"):
        android_ort_folder.inspect(convolutions)
    with pytest.raises(ValueError, match="onnxruntime has laid"):
        sorted_names(data)  # its names are at the end by now


def test_another_model_is_refused(
    package: Path, convolutions: Path, tokenizer: object, tmp_path: Path
) -> None:
    about = app_manifest(FORMAT, read_manifest(package))
    with pytest.raises(PackageError, match="not about this model: architecture"):
        build_package(tmp_path / "p", model=convolutions, tokenizer=tokenizer, manifest=about)  # type: ignore[arg-type]
