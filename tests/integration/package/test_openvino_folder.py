"""Packages for OpenVINO: as complete as those for onnxruntime, and as little is taken on trust."""

import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from resealed import reseal
from transformers import BertTokenizer

import device_profiles
import profilers
from nasc.architecture.layers import params
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import PackageError
from nasc.evaluation.parity_report import parity_from_dict
from nasc.lowering import Artifact, get_lowering
from nasc.networks.network import random_network
from nasc.package.build import build_package, contradictions
from nasc.package.conditions import Conditions
from nasc.package.formats import openvino_folder
from nasc.package.formats.base import shape_of
from nasc.package.golden import Golden
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.process import PackageProcess
from nasc.package.read_manifest import read_manifest
from nasc.package.records import TeacherRecord, TextRecord
from nasc.package.verify import verify_package
from nasc.package.verify_report import VerifyReport
from profilers.context import read_context
from profilers.runtimes import get_runtime, installed
from profilers.testing import SyntheticMachine

pytestmark = pytest.mark.skipif(not installed("openvino")[0], reason="needs openvino")

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=16, intermediate=256, vocab_size=100, max_positions=64
)
BLOCKS = (Block(64, ("mha", "sep3")), Block(32, ("ffn", "mha")))
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
XML, BIN = "openvino_model.xml", "openvino_model.bin"
EXACT = {
    "kind": "fp32",
    "max_abs_diff": 1e-6,
    "padding_max_abs_diff": 1e-7,
    "lengths": [1, 64],
    "n_texts": 2,
    "share": 0.01,
}
REDUCED = {
    "mean_cosine": 0.999,
    "min_cosine": 0.99,
    "n_texts": 64,
    "neighbour_max_abs_diff": 0.001,
    "neighbour_min_cosine": 0.999,
    "neighbour_batches": [8],
}


Pack = Callable[[str], Path]


def open_machine(*_: object) -> Any:
    """A session on a machine on which the model takes 5 ms."""
    return SyntheticMachine({"model": 5.0, "openvino_model": 5.0, "reference": 4.0}).open()


def lowered(folder: Path, precision: str = "fp32", head: str = "embed") -> Artifact:
    """What the lowering makes for a device that computes in everything."""
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY, head)
    return get_lowering("openvino").lower(network, folder, offered=PRECISIONS)


def described(made: Artifact) -> Manifest:
    """Its manifest, measured on the made-up machine."""
    inputs = {
        "input_ids": profilers.InputSpec((1, 16), "int64", 0, 100),
        "attention_mask": profilers.InputSpec((1, 16), "int64", 1, 2),
    }
    job = profilers.ModelJob("model", made.path, inputs)
    options = profilers.RuntimeOptions("openvino", cores=device_profiles.find("host").default_cores)
    measurement = profilers.measure(
        [job], device_profiles.find("host"), options=options, opener=open_machine
    )
    exact = made.precision == "fp32"
    return Manifest(
        architecture=Architecture(BLOCKS, made.precision),
        geometry=GEOMETRY,
        head="embed",
        max_length=48,
        limits={"latency_ms": 6.0, "size_bytes": 1_000_000},
        conditions=Conditions("host", "openvino", 1, 16, 1, measurement.statistic),
        teacher=TeacherRecord("tiny", "0" * 64, "made up"),
        text=TextRecord("no text", "1" * 64),
        measured=MeasuredLatency.of(job, measurement),
        parity=parity_from_dict(EXACT if exact else REDUCED | {"kind": made.precision}),
    )


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, tokenizer: BertTokenizer) -> Pack:
    """The package of a precision, made once; tests must not change it."""

    @functools.cache
    def pack(precision: str) -> Path:
        folder = tmp_path_factory.mktemp(precision)
        made = lowered(folder, precision)
        return build_package(
            folder / "package", model=made, tokenizer=tokenizer, manifest=described(made)
        )

    return pack


@pytest.fixture
def package(packed: Pack, tmp_path: Path) -> Path:
    """A copy of the fp32 package that may be changed."""
    return Path(shutil.copytree(packed("fp32"), tmp_path / "package"))


def details(report: VerifyReport, ok: bool | None) -> dict[str, str]:
    return {check.name: check.detail for check in report.checks if check.ok is ok}


@pytest.mark.slow
@pytest.mark.usefixtures("shared_process")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_package_holds_an_ir_and_verifies(packed: Pack, precision: str, tmp_path: Path) -> None:
    flags = read_context()["cpu"]["flags"]
    if precision not in get_runtime("openvino").precisions(flags) and "avx512_bf16" in flags:
        pytest.skip(f"this processor does not compute in {precision}, and in bf16 instead")
    folder = packed(precision)
    manifest = read_manifest(folder)
    assert {XML, BIN} <= manifest.files.keys()
    assert "model.onnx" not in manifest.files
    assert manifest.size_bytes == sum((folder / name).stat().st_size for name in (XML, BIN))
    assert manifest.params == params(manifest.architecture, GEOMETRY, "embed")
    assert "openvino" in manifest.versions
    allowed = Golden.read(folder / "golden.json").tolerance
    assert allowed == openvino_folder.TOLERANCE[precision]
    report = verify_package(folder, opener=open_machine, cache=tmp_path)
    assert report.ok, [str(check) for check in report.checks if not check.ok]
    assert f"valid OpenVINO IR, {manifest.architecture}" in details(report, True)["model"]


@pytest.mark.parametrize("head", ["hidden", "classify-2", "spans"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_of_every_head_and_precision_is_of_nasc(
    precision: str, head: str, tmp_path: Path
) -> None:
    facts = openvino_folder.inspect(lowered(tmp_path, precision, head).path)
    architecture = Architecture(BLOCKS, precision)
    assert facts.unexpected == ()
    assert (facts.architecture, facts.head) == (str(architecture), head)
    assert facts.params == params(architecture, GEOMETRY, head)
    assert len(facts.outputs) == 1


def test_int8_may_be_computed_in_fp32_with_quantised_activations(tmp_path: Path) -> None:
    network = random_network(Architecture(BLOCKS, "int8"), GEOMETRY)
    made = get_lowering("openvino").lower(network, tmp_path, offered=("fp32", "int8"))
    facts = openvino_folder.inspect(made.path)
    assert (facts.unexpected, facts.computed_in) == ((), "fp32")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_the_lines_of_the_readme_give_the_golden_vectors(
    packed: Pack, precision: str, tmp_path: Path
) -> None:
    folder = packed(precision)
    text = (folder / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    golden = Golden.read(folder / "golden.json")
    code = re.sub("texts = .*", f"texts = {[one.text for one in golden.texts[:2]]!r}", code)
    code += "import json; print(json.dumps([vectors.tolist(), list(options.items())]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    vectors, options = json.loads(done.stdout.splitlines()[-1])
    wanted = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}[precision]
    assert ["INFERENCE_PRECISION_HINT", wanted] in options
    golden_vectors = np.array([one.vector for one in golden.texts[:2]])
    assert np.abs(np.array(vectors) - golden_vectors).max() < golden.tolerance


def test_the_readme_says_what_another_processor_makes_of_bf16(packed: Pack) -> None:
    text = {p: (packed(p) / "README.md").read_text(encoding="utf-8") for p in ("fp32", "bf16")}
    assert "On a processor without bfloat16" in text["bf16"]
    assert "On a processor without" not in text["fp32"]
    assert f"| size of {XML} and {BIN} (bytes) |" in text["fp32"]
    assert "onnx" not in text["fp32"]


def as_if(old: str, new: str, count: int = 1) -> Callable[[Path], object]:
    """Another text in the graph."""

    def change(folder: Path) -> None:
        text = (folder / XML).read_text(encoding="utf-8")
        assert old in text
        (folder / XML).write_text(text.replace(old, new, count), encoding="utf-8")

    return change


BOMB = '<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
HEAD = '<?xml version="1.0"?>'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_if(HEAD, HEAD + BOMB), "it holds a document type, which no IR does"),
        (as_if(HEAD, HEAD + "<!-- -->"), "it holds a comment"),
        (as_if(HEAD, HEAD + "<?php ?>"), "it holds a processing instruction"),
        (as_if(HEAD, '<?xml version="1.0" encoding="utf-16"?>'), "its graph is no XML|text in"),
        (as_if(HEAD, '<?xml version="1.0" encoding="latin-1"?>'), "it holds text in 'latin-1'"),
        (as_if("<layers>", "<layers>" + "<a>" * 20), "more than 16 within"),
        (as_if("</net>", ""), "its graph is no XML: no element found"),
        (as_if('name="network"', 'name="network" name="b"'), "no XML: duplicate attribute"),
        (as_if("<net ", "<web ", 1), "no XML: mismatched tag"),
        (as_if("<rt_info>\n\t\t<info", "<rt_info/><rt_info><info"), "not one list of rt_info"),
        (as_if("<layers>", "<layers/><layers>"), "not one list of layers"),
        (as_if('type="Add"', 'type="If"'), "the operator 'If' holds a graph of its own"),
        (as_if('type="Add" version="opset1">', 'type="Add"><body/>'), "'Add' holds a graph of its"),
        (as_if('element_type="f32"', 'element_type="string"'), "has values of type 'string'"),
        (as_if('shape="100, 64"', 'shape="100, 65"'), r"of f32 \[100, 65\] has 25,600 bytes"),
        (as_if('shape="100, 64"', 'shape="-100, -64"'), "has a size of '-100'"),
        (as_if('offset="0"', 'offset="999999999"'), "from byte 999,999,999 on, its file"),
        (as_if('offset="0"', 'offset="' + "9" * 99 + '"'), "has a size of '999"),
        (as_if("<head value", "<head value='hidden'/><head value"), "says 'nasc' twice"),
        (lambda folder: (folder / BIN).write_bytes(b""), r"its file 0"),
        (lambda folder: (folder / BIN).unlink(), "No such file"),
        (lambda folder: (folder / XML).write_bytes(b"\x08\x07"), "its graph is no XML"),
        (lambda folder: (folder / XML).write_bytes(b"\xff" * (33 << 20)), "at most 33,554,432"),
    ],
)
def test_what_is_no_ir_of_one_operator_after_the_other_is_refused(
    package: Path, change: Callable[[Path], object], message: str
) -> None:
    change(package)
    with pytest.raises(Exception, match=message):
        openvino_folder.inspect(package / XML)


HINT = '<INFERENCE_PRECISION_HINT value="f32" />'
OPTIONS = "<runtime_options>"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (as_if('version="11"', 'version="10"'), "IR version '10', expected 11"),
        (as_if("<edges>", "<meta/><edges>"), "parts of a graph that nasc does not write: meta"),
        (as_if('type="Add" version="opset1"', 'type="Add" version="extension"'), "not standard: e"),
        (as_if('type="Add"', 'type="ReadValue"'), "the operator 'ReadValue' is none of nasc's"),
        (as_if('type="Add"', 'type="RandomUniform"'), "'RandomUniform' is none of nasc's"),
        (as_if(HINT, HINT.replace("f32", "bf16")), "HINT 'bf16' of an architecture in fp32"),
        (as_if(HINT, ""), "HINT None of an architecture in fp32"),
        (as_if(OPTIONS, OPTIONS + '<CACHE_DIR value="/" />'), "the option 'CACHE_DIR' of the run"),
        (
            as_if(OPTIONS, OPTIONS + '<DYNAMIC_QUANTIZATION_GROUP_SIZE value="32" />'),
            "GROUP_SIZE '32' of an architecture in fp32",
        ),
        (as_if("<nasc>", "<other/><nasc>"), "information about 'other'"),
        (as_if(" @ fp32", " @ int4"), "precision 'int4'"),
        (as_if(" @ fp32", " @ int8"), "no weights in i8 of an architecture in int8"),
        (
            lambda folder: (folder / BIN).write_bytes((folder / BIN).read_bytes() + b"more"),
            "4 bytes after the last constant",
        ),
    ],
)
def test_what_nasc_does_not_write_is_said(
    package: Path, change: Callable[[Path], object], message: str
) -> None:
    change(package)
    assert message in "; ".join(openvino_folder.inspect(package / XML).unexpected)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_process")
def test_a_changed_weight_is_found_whatever_the_hashes_say(package: Path) -> None:
    data = bytearray((package / BIN).read_bytes())
    values = np.frombuffer(data, np.float32, 64, offset=1024)
    data[1024 : 1024 + 256] = (values + 1).tobytes()
    (package / BIN).write_bytes(data)
    failed = details(verify_package(package, measure=False), False)
    assert failed.keys() == {"files"}
    reseal(package)
    failed = details(verify_package(package, measure=False), False)
    assert failed.keys() == {"golden vectors", "measurement"}
    assert "of another file" in failed["measurement"]


@pytest.mark.slow
@pytest.mark.usefixtures("shared_process")
def test_a_model_that_nasc_would_not_write_is_not_run(package: Path) -> None:
    as_if('type="Add"', 'type="Loop"')(package)
    reseal(package)
    report = verify_package(package, measure=False)
    assert "holds a graph of its own" in details(report, False)["model"]
    assert "only a model that passes" in details(report, None)["golden vectors"]


@pytest.mark.slow
def test_without_openvino_what_needs_it_is_not_checked(
    packed: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openvino.py").write_text("raise ModuleNotFoundError(\"No module 'openvino'\")")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    report = verify_package(packed("fp32"), cache=tmp_path)
    assert (report.exit_code, details(report, False)) == (3, {})
    left = details(report, None)
    assert left.keys() == {"golden vectors", "latency"}
    assert "Install it: python -m pip install" in left["golden vectors"]
    assert "valid OpenVINO IR" in details(report, True)["model"]


@pytest.mark.slow
@pytest.mark.parametrize(("offered", "ok"), [(("fp32", "int8"), None), (PRECISIONS, False)])
def test_what_another_processor_cannot_run_is_not_the_package_s_fault(
    packed: Pack,
    offered: tuple[str, ...],
    ok: bool | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise profilers.ModelRejected("it asks to be computed in bf16")

    monkeypatch.setattr(PackageProcess, "encoder", refused)
    monkeypatch.setattr(PackageProcess, "precisions", lambda *_: offered)
    for precision in ("bf16", "int8"):
        report = verify_package(packed(precision), measure=False)
        assert "it asks to be computed in bf16" in details(report, ok)["golden vectors"]


def test_a_model_of_another_runtime_is_no_part_of_a_package(
    tokenizer: BertTokenizer, tmp_path: Path
) -> None:
    made = lowered(tmp_path)
    manifest = described(made)
    for changes, message in (
        ({"runtime": "onnxruntime"}, "made for onnxruntime, the conditions say openvino"),
        ({"companions": ()}, "has 1 files; of OpenVINO IR there are 2"),
    ):
        with pytest.raises(PackageError, match=message):
            build_package(
                tmp_path / "package",
                model=dataclasses.replace(made, **changes),
                tokenizer=tokenizer,
                manifest=manifest,
            )
    assert not (tmp_path / "package").exists()
    folder = build_package(
        tmp_path / "package", model=made.path, tokenizer=tokenizer, manifest=manifest
    )
    assert (folder / BIN).exists()


@pytest.mark.slow
@pytest.mark.usefixtures("shared_process")
def test_links_are_followed(package: Path, tmp_path: Path) -> None:
    """As in the cache of the Hugging Face hub, whose blobs have names of their own."""
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for index, path in enumerate(sorted(filter(Path.is_file, package.rglob("*")))):
        path.rename(blobs / str(index))
        path.symlink_to(blobs / str(index))
    report = verify_package(package, opener=open_machine, cache=tmp_path / "cache")
    assert report.ok, [str(check) for check in report.checks if not check.ok]


def test_a_shape_is_fixed_in_the_file_and_in_the_manifest_or_in_neither(packed: Pack) -> None:
    facts = openvino_folder.inspect(packed("fp32") / XML)
    manifest = read_manifest(packed("fp32"))
    assert facts.shape is None
    assert contradictions(manifest, facts) == []
    fixed = dataclasses.replace(facts, shape=(1, 16))
    assert contradictions(manifest, fixed) == [
        "shape of inputs: (1, 16) in the file, None in the manifest"
    ]


@pytest.mark.parametrize(
    ("axes", "shape"),
    [([[None, None]] * 2, None), ([[2, 16]] * 2, (2, 16))],
)
def test_the_shape_of_a_file_is_that_of_its_inputs(axes: Any, shape: Any) -> None:
    assert shape_of(axes) == shape


@pytest.mark.parametrize(
    "axes", [[[None, 16]] * 2, [[2, None], [2, None]], [[2, 16], [2, 8]], [[2], [2]], []]
)
def test_inputs_that_are_neither_free_nor_of_one_shape_are_refused(axes: Any) -> None:
    with pytest.raises(ValueError, match="its inputs have axes of"):
        shape_of(axes)
