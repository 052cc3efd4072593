"""Tiny packages, measured on a device that is made up: fixtures of all tests of packages."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from transformers import BertTokenizer

import device_profiles
import profilers
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.evaluation.parity_report import Parity, ReducedPrecisionReport
from nasc.export.onnx import build
from nasc.networks.network import random_network
from nasc.package.build import build_package
from nasc.package.conditions import Conditions
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency, PredictedLatency
from nasc.package.process import PackageProcess
from nasc.package.records import PeakMemory, TaskRecord, TeacherRecord, TextRecord
from nasc.pipelines.app_format import app_manifest, open_app
from profilers.testing import SyntheticMachine

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=16, intermediate=256, vocab_size=100, max_positions=64
)
BLOCKS = (Block(64, ("mha", "sep3")), Block(32, ("ffn", "mha")))
TASKS = {
    "classify-1": TaskRecord("sts-b", (), paired=True),
    "classify-2": TaskRecord("sst-2", ("0", "1")),
    "spans": TaskRecord("squad", (), paired=True),
    "scores-cls-dense64tanh-dense2identity-unscaled": TaskRecord("classification", ("0", "1")),
    "scores-cls-dense64tanh-dense1identity-unscaled": TaskRecord("reranking", (), True, "sigmoid"),
    "tokens-dense3identity-unscaled": TaskRecord("token-classification", ("O", "B-X", "I-X")),
    "answers-dense2identity-unscaled": TaskRecord("question-answering", (), True),
}
KINDS = (
    ("fp32", "embed"),
    ("int8", "embed"),
    ("int8-emb4", "embed"),
    ("fp32", "hidden"),
    ("fp32", "embed-cls"),
    ("fp32", "embed-max-unscaled"),
    ("fp32", "hidden-cls"),
    ("fp32", "embed-cls-dense24sigmoid-first10"),
    ("fp32", "classify-1"),
    ("int8", "classify-2"),
    ("fp32", "spans"),
    ("fp32", "scores-cls-dense64tanh-dense2identity-unscaled"),
    ("fp32", "scores-cls-dense64tanh-dense1identity-unscaled"),
    ("int8", "tokens-dense3identity-unscaled"),
    ("fp32", "answers-dense2identity-unscaled"),
)
PARITY = {
    "fp32": Parity(1e-6, 1e-7, (1, 2, 3, 64), 4, 0.01),
    "int8": ReducedPrecisionReport("int8", 0.995, 0.99, 64, 0.02, 0.985, (8, 32)),
    "int8-emb4": ReducedPrecisionReport("int8-emb4", 0.993, 0.98, 64, 0.02, 0.985, (8, 32)),
}


def geometry_of(head: str) -> Geometry:
    """Of the network of a head: the second of two texts that are scored has its token type."""
    paired = head in TASKS and TASKS[head].name in ("reranking", "question-answering")
    return dataclasses.replace(GEOMETRY, separator=3) if paired else GEOMETRY


def open_machine(*_: object) -> Any:
    """A session on a machine on which every model.onnx takes 5 ms."""
    return SyntheticMachine({"model": 5.0, "reference": 4.0}).open()


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    """A word-piece tokenizer that knows ASCII letters, digits and a few words."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    words += [f"##{letter}" for letter in letters] + [*",.!?-:/", "the", "cat"]
    words = list(dict.fromkeys(words))
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return BertTokenizer(vocab=str(path))


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The ONNX file of a tiny network with random weights."""

    def make(precision: str = "fp32", head: str = "embed", seed: int = 0) -> Path:
        network = random_network(Architecture(BLOCKS, precision), geometry_of(head), head, seed)
        path = tmp_path_factory.mktemp("model") / "model.onnx"
        path.write_bytes(build(network).SerializeToString())
        return path

    return make


@pytest.fixture(scope="session")
def make_manifest() -> Callable[..., Manifest]:
    """The manifest of such a file, measured on the made-up machine."""

    def make(model: Path, precision: str = "fp32", head: str = "embed", **changes: Any) -> Manifest:
        device = device_profiles.find("host")
        inputs = {
            "input_ids": profilers.InputSpec((1, 16), "int64", 0, 100),
            "attention_mask": profilers.InputSpec((1, 16), "int64", 1, 2),
        }
        job = profilers.ModelJob("model", model, inputs)
        measurement = profilers.measure([job], device, opener=open_machine)
        values: dict[str, Any] = {
            "architecture": Architecture(BLOCKS, precision),
            "geometry": geometry_of(head),
            "head": head,
            "task": TASKS.get(head),
            "max_length": 48,
            "limits": {"latency_ms": 6.0, "params": 1_000_000},
            "conditions": Conditions("host", "onnxruntime", 1, 16, 1, measurement.statistic, None),
            "teacher": TeacherRecord("tiny", "0" * 64, "made up"),
            "text": TextRecord("no text", "1" * 64),
            "predicted": PredictedLatency(5.0, 4.8, 5.2),
            "measured": MeasuredLatency.of(job, measurement),
            "tokenisation_ms": 0.1,
            "peak_memory": PeakMemory(50_000_000, None),
            "quality": {"pooled_cosine": 0.9, "similarity_spearman": 0.8, "sentences": 64},
            "parity": PARITY[precision],
            "attempts": ({"architecture": "64: M", "met": True},),
            "seeds": {"all": 0},
        }
        return Manifest(**values | changes)

    return make


@pytest.fixture(scope="session")
def packed(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
) -> Mapping[tuple[str, str], Path]:
    """One package for each precision and head; tests must not change them."""
    found = {}
    for precision, head in KINDS:
        model = make_model(precision, head)
        found[precision, head] = build_package(
            tmp_path_factory.mktemp("packages") / f"{precision}-{head}",
            model=model,
            tokenizer=tokenizer,
            manifest=make_manifest(model, precision, head),
        )
    return found


@pytest.fixture(scope="session")
def build_app(
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Manifest],
    tokenizer: BertTokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Path]:
    """Writes a package of a format for apps, a precision and a head, and gives its folder."""

    def make(name: str, precision: str = "fp32", head: str = "embed") -> Path:
        model = make_model(precision, head)
        return build_package(
            tmp_path_factory.mktemp(name) / f"package-{name}",
            model=model,
            tokenizer=tokenizer,
            manifest=app_manifest(name, make_manifest(model, precision, head)),
            open_encoder=open_app,
        )

    return make


@pytest.fixture(scope="session")
def opener() -> Callable[..., Any]:
    """Starts a session on the made-up machine."""
    return open_machine


@pytest.fixture(scope="session")
def process() -> Iterator[PackageProcess]:
    """One process for many verifications, whose starts would take most of the time."""
    with PackageProcess() as shared:
        yield shared


@pytest.fixture
def shared_process(process: PackageProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifications and evaluations use `process` and leave it open."""

    class Borrowed:
        inspect, token_ids, encoder = process.inspect, process.token_ids, process.encoder
        wrong_companions = process.wrong_companions
        wrong_tokenizer = process.wrong_tokenizer
        precisions = process.precisions

        def __enter__(self) -> PackageProcess:
            return process

        def __exit__(self, *_: object) -> None:
            pass

    for module in ("nasc.package.verify_files", "nasc.pipelines.evaluate"):
        monkeypatch.setattr(f"{module}.PackageProcess", lambda limits=None: Borrowed())
