"""Packages of AOTInductor: read without being opened as code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch_package import ARCHITECTURE, GEOMETRY, compiled
from transformers import BertTokenizer

import device_profiles
import profilers
from nasc.architecture.space import Architecture
from nasc.evaluation.parity_report import parity_from_dict
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.formats import code_refused, torch_folder
from nasc.package.golden import Golden
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.records import TeacherRecord, TextRecord
from nasc.package.verify import verify_package
from profilers.context import read_context
from profilers.runtimes.torch_description import FORMAT, needed_flags, release_of
from profilers.testing import SyntheticMachine

HERE = {"x86_64": 62, "aarch64": 183}


def elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01".ljust(18, b"\0") + machine.to_bytes(2, "little") + bytes(64)


LIBRARY = elf(HERE.get(platform.machine(), 62))
PLACE = "model/data/aotinductor/model"


def written(folder: Path, files: dict[str, bytes], packed: bool = False, **changes: Any) -> Path:
    """A package with these files; its description is right but for the changes."""
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    path = folder / "model.pt2"
    path.write_bytes(buffer.getvalue())
    cpu = read_context()["cpu"]
    about = {
        "format": FORMAT,
        "torch": release_of(importlib.metadata.version("torch")),
        "accelerator": "cpu",
        "capability": "",
        "arch": cpu["arch"],
        "flags": needed_flags(cpu["flags"]),
        "tf32": False,
        "package_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "inputs": [
            {"name": name, "type": "int64", "axes": [None, None]}
            for name in ("input_ids", "attention_mask")
        ],
        "outputs": [{"name": "sentence_embedding", "type": "float32", "axes": [None, 32]}],
        "tokens": 50,
        "longest": 24,
        "metadata": {"nasc.architecture": "32: M @ fp32", "nasc.head": "embed"},
    }
    path.with_suffix(".json").write_text(json.dumps(about | changes))
    return path


GOOD = {
    "model/archive_format": b"pt2",
    "model/.data/version": b"0",
    f"{PLACE}/abc.wrapper.so": LIBRARY,
    f"{PLACE}/abc.wrapper.cpp": b"",
    f"{PLACE}/abc.wrapper_metadata.json": b"{}",
}


def test_it_is_told_from_its_files(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    found = torch_folder.inspect(path)
    assert (found.architecture, found.head, found.computed_in) == ("32: M @ fp32", "embed", "fp32")
    assert (found.unexpected, found.not_here, found.shape) == ((), "", None)
    assert found.size_bytes == sum(one.stat().st_size for one in tmp_path.iterdir())
    assert code_refused("torch", False).startswith("model.pt2 is code")
    assert code_refused("torch", True) == ""


@pytest.mark.parametrize(
    ("files", "changes", "unexpected"),
    [
        ({"model/data/weights/w.pt": b""}, {}, "the file 'data/weights/w.pt'"),
        ({"model/data/../../x.so": LIBRARY}, {}, "the file 'data/../../x.so'"),
        ({f"{PLACE}/other.so": LIBRARY}, {}, "2 libraries"),
        ({f"{PLACE}/abc.wrapper.so": elf(3)}, {}, "a library that is not for "),
        ({f"{PLACE}/abc.wrapper.so": b"#!/bin/sh"}, {}, "a library that is not for "),
        ({}, {"tf32": True}, "another rounding of products"),
    ],
)
def test_what_nasc_does_not_write_is_named(
    tmp_path: Path, files: dict[str, bytes], changes: dict[str, Any], unexpected: str
) -> None:
    found = torch_folder.inspect(written(tmp_path, GOOD | files, **changes))
    assert any(unexpected in phrase for phrase in found.unexpected), found.unexpected


def test_packed_files_are_named(tmp_path: Path) -> None:
    assert (
        "files that are packed"
        in torch_folder.inspect(written(tmp_path, GOOD, packed=True)).unexpected
    )


def test_another_machine_s_is_known(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, flags=["avx9000"])
    assert "without avx9000" in torch_folder.inspect(path).not_here


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"hello"])
def test_what_is_no_archive_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, GOOD)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not the package that its description was made with"):
        torch_folder.inspect(path)
    about = json.loads(path.with_suffix(".json").read_text())
    about["package_sha256"] = hashlib.sha256(content).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=r"is no archive of torch's"):
        torch_folder.inspect(path)


PARITY = {
    "kind": "fp32",
    "max_abs_diff": 1e-6,
    "padding_max_abs_diff": 1e-7,
    "lengths": [1, 48],
    "n_texts": 2,
    "share": 0.01,
}


@pytest.fixture(scope="module")
def package(
    shared_folder: Path, tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizer
) -> Path:
    """A package of code that torch compiled, measured on a made-up machine."""
    folder, made = tmp_path_factory.mktemp("packed"), compiled(shared_folder)
    inputs = {
        "input_ids": profilers.InputSpec((1, 16), "int64", 0, 100),
        "attention_mask": profilers.InputSpec((1, 16), "int64", 1, 2),
    }
    job = profilers.ModelJob("model", made.path, inputs)
    measurement = profilers.measure(
        [job],
        device_profiles.find("host"),
        options=profilers.RuntimeOptions("torch"),
        opener=lambda *_: SyntheticMachine({"model": 5.0, "reference": 4.0}).open(),
    )
    manifest = Manifest(
        architecture=ARCHITECTURE,
        geometry=GEOMETRY,
        head="embed",
        max_length=40,
        limits={"latency_ms": 6.0, "size_bytes": 5_000_000},
        conditions=Conditions("host", "torch", 1, 16, 1, measurement.statistic),
        teacher=TeacherRecord("tiny", "0" * 64, "made up"),
        text=TextRecord("no text", "1" * 64),
        measured=MeasuredLatency.of(job, measurement),
        parity=parity_from_dict(PARITY),
    )
    return build_package(folder / "package", model=made, tokenizer=tokenizer, manifest=manifest)


@pytest.mark.slow
def test_a_package_verifies_where_its_code_may_run(package: Path) -> None:
    for run_code, golden in ((False, None), (True, True)):
        report = verify_package(package, measure=False, run_code=run_code)
        found = {check.name: check.ok for check in report.checks}
        assert found["golden vectors"] is golden, report
        assert not [check for check in report.checks if check.ok is False]


def test_the_lines_for_tf32_round_as_it_was_measured() -> None:
    for precision, is_set in (("fp32", False), ("tf32", True)):
        manifest: Any = SimpleNamespace(
            architecture=Architecture(ARCHITECTURE.blocks, precision),
            conditions=SimpleNamespace(threads=1),
        )
        lines = torch_folder.load_lines(manifest)
        assert ('torch.set_float32_matmul_precision("high")' in lines) is is_set
        compile(lines, "README.md", "exec")


@pytest.mark.slow
def test_the_lines_of_its_readme_give_its_vectors(package: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(package, tmp_path / "package")
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    lines = next(block for block in blocks if "aoti_load_package" in block)
    text = Golden.read(folder / "golden.json").texts[0]
    lines += f"""
ids = np.array([{list(text.input_ids)}])
mask = np.ones_like(ids)
print("found", {torch_folder.RUN}[0].tolist())
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import numpy as np\n{lines}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = np.array(json.loads(done.stdout.rpartition("found ")[2]), np.float32)
    assert np.abs(found - text.vector).max() < 1e-5
