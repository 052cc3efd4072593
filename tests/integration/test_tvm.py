"""From a tiny teacher to a package for TVM, and a folder of C, that verify, by the command line."""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from nasc.architecture.space import load_space
from nasc.cli import main
from nasc.latency.table import load_table
from nasc.latency.table_paths import table_files
from nasc.networks.network import random_network
from nasc.package.c_program import build_program
from nasc.package.formats.c_folder import TEXT_DEMO
from nasc.package.golden import Golden
from nasc.package.read_manifest import read_manifest
from profilers.runtimes import installed

pytestmark = [
    pytest.mark.tvm,
    pytest.mark.slow,
    pytest.mark.skipif(not installed("tvm")[0], reason="needs tvm (extra 'tvm')"),
    pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs ziglang"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]


BESIDE = ("c", "onnx", "ios")
"""Of other runtimes than the one that is measured."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, write_inputs: Callable[..., Path]) -> Any:
    """What compile is given: a teacher, a space of few networks, text and a cache."""
    folder = tmp_path_factory.mktemp("work")
    teacher = write_inputs(folder)
    given = ("--teacher", teacher, "--space", folder / "toy.toml", "--seq-len", 12)
    return folder, (*given, "--corpus", folder / "text.txt", "--cache", folder / "cache")


def nasc(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


@pytest.fixture(scope="module")
def package(inputs: Any) -> Path:
    """A package, compiled by tuning records made by hand; the folder of C is beside it."""
    from tvm_records import keep, kernels, key_here

    folder, given = inputs
    space = load_space(str(folder / "toy.toml"))
    full_size = random_network(space.teacher.with_precision("fp32"), space.geometry, "embed")
    key = key_here()
    keep(key.folder(folder / "cache" / "tables"), key, kernels(full_size, (1, 12)))
    package = folder / "package"
    done = nasc(
        *("compile", "--runtime", "tvm", "--precision", "fp32", "--latency-ms", 1000),
        *("--train-steps", 3, "--distill-steps", 3, "--format", "c,onnx,ios"),
        *("--output", package, "--json", *given),
    )
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["conditions"]["runtime"] == "tvm"
    assert told["folders"] == {name: str(folder / f"package-{name}") for name in BESIDE}
    for name in BESIDE:
        why = "not promised in an app" if name == "ios" else "not measured: measured was this "
        assert told["latency_not_stated"][name].startswith(why)
        assert told["latency_not_stated"][name].endswith("network by tvm, in the package beside")
    assert told["tuned"]["tuned"] > 0
    assert "tvm's kernels go by tuning records of " in done.stderr
    assert " networks by tuning records " in done.stderr  # the table's
    return Path(package)


def test_compile_ships_a_package_for_tvm_that_verifies(package: Path) -> None:
    manifest = read_manifest(package)
    assert manifest.conditions.runtime == "tvm"
    assert manifest.peak_memory.measured_bytes is not None
    about = json.loads((package / "model.json").read_text())
    lengths = [function["seq_len"] for function in about["functions"]]
    assert 12 in lengths  # that of the limit, beside those of every package
    assert lengths[-1] >= manifest.max_length
    done = nasc("verify", package, "--no-measure")
    assert done.exit_code == 3
    assert "not checked  golden vectors: model.so is code" in done.stdout
    done = nasc("verify", package, "--no-measure", "--run-code")
    assert done.exit_code == 0, done.output


def test_the_package_and_the_table_say_which_records_they_are_of(
    package: Path, inputs: Any
) -> None:
    folder, _ = inputs
    manifest = read_manifest(package)
    assert manifest.tuned is not None
    assert manifest.tuned.tuned > 0
    assert manifest.tuned.untuned, "there are none for the lengths that every package has"
    assert read_manifest(c_of(package)).tuned is None
    (table,) = (load_table(path) for path in table_files(folder / "cache" / "tables"))
    assert table.key.records == manifest.tuned.records_sha256


def c_of(package: Path) -> Path:
    return package.with_name("package-c")


def test_the_folder_is_of_the_network_that_was_chosen(package: Path) -> None:
    folder, beside = c_of(package), read_manifest(package)
    manifest = read_manifest(folder)
    assert (manifest.conditions.runtime, beside.conditions.runtime) == ("c", "tvm")
    assert manifest.architecture == beside.architecture
    assert (manifest.limits, manifest.measured) == ({}, None)
    assert beside.measured is not None
    assert "not measured" in str(manifest.latency_not_stated)
    assert "latency of this folder was not measured" in (folder / "README.md").read_text()
    own, others = (Golden.read(one / "golden.json") for one in (folder, package))
    for one, other in zip(own.texts, others.texts, strict=True):
        assert one.input_ids == other.input_ids
        np.testing.assert_allclose(one.vector, other.vector, rtol=0, atol=1e-4)


def test_texts_in_vectors_out(package: Path, tmp_path: Path) -> None:
    folder = c_of(package)
    arch = platform.machine()
    program = build_program(folder, TEXT_DEMO, arch, tmp_path / "embed_text")
    texts = [one for one in Golden.read(folder / "golden.json").texts if "\n" not in one.text]
    command = [program, folder / arch / "weights.bin", folder / "tokenizer.bin", "2"]
    lines = "".join(f"{one.text}\n" for one in texts)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [np.array(row.split(), np.float32) for row in done.stdout.splitlines()]
    assert len(rows) == len(texts) > 8
    for row, one in zip(rows, texts, strict=True):
        np.testing.assert_allclose(row, one.vector, rtol=0, atol=1e-6)


def test_it_verifies_and_runs_nothing_unasked(package: Path) -> None:
    folder = c_of(package)
    done = nasc("verify", folder)
    assert done.exit_code == 3, done.output
    assert "not checked  golden vectors: what network.json describes is code" in done.stdout
    done = nasc("verify", folder, "--run-code")
    assert done.exit_code == 0, done.output
    assert "tokenizer.bin and its golden texts as made here" in done.stdout
    assert "ok           latency: none is stated" in done.stdout


@pytest.mark.parametrize("name", ["onnx", "ios"])
def test_what_another_runtime_opens_is_judged_by_its_own_file(package: Path, name: str) -> None:
    folder = package.with_name(f"package-{name}")
    manifest, beside = read_manifest(folder), read_manifest(package)
    assert manifest.architecture == beside.architecture
    assert manifest.conditions.runtime == {"onnx": "onnxruntime", "ios": "ios"}[name]
    assert (manifest.limits, manifest.states_latency) == ({}, False)
    assert manifest.parity is not None
    assert manifest.parity != beside.parity
    assert manifest.conformance != beside.conformance
    for file in ("README.md", "MEASURED.md"):
        text = (folder / file).read_text()
        assert "measured was this network by tvm" in text or "Nothing was measured" in text
    done = nasc("verify", folder)
    assert done.exit_code == 0, done.output
    assert "ok           latency: none is stated" in done.stdout


def test_an_existing_folder_is_refused_before_anything_is_measured(inputs: Any) -> None:
    folder, given = inputs
    (folder / "other-c").mkdir()
    (folder / "other-c" / "mine").write_text("mine")
    done = nasc(
        *("compile", "--runtime", "tvm", "--size-bytes", "100MB", "--format", "c"),
        *("--output", folder / "other", *given),
    )
    assert done.exit_code == 1
    assert "other-c' exists and is no package" in done.stderr
    assert not (folder / "other").exists()
