"""`compile` from a teacher to a package on a device that is made up: no clock, nothing timed.

What a network takes there is a sum over its layers, so that the tables "measured" there predict
it; a test then lets the whole networks that `compile` measures take something else.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import device_profiles
from device_profiles.reading import sha256_of
from nasc.architecture.layers import layers
from nasc.architecture.space import Architecture, SearchSpace, load_space, space_to_toml
from nasc.architecture.variant import Variant
from nasc.context import supernet as supernet_parts
from nasc.context.context import RunContext
from nasc.context.inputs import RunInputs
from nasc.context.settings import Settings
from nasc.data.heldout import JUDGING_SENTENCES, judging_sentences, scored_sentences
from nasc.data.prompts import Prompts
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import (
    DeviceEmulated,
    InfeasibleLimits,
    LimitsMissed,
    NascError,
    PackageError,
    TableMissing,
    TableRefused,
    UsageError,
)
from nasc.evaluation.agreement import compare
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity_report import ReducedPrecisionReport
from nasc.evaluation.retrieval import ranking_ndcgs
from nasc.latency.basis import nominal_ms
from nasc.latency.memory import file_bytes
from nasc.latency.table_paths import tables_folder
from nasc.networks.network import Network
from nasc.package.index import INDEX, read_index, write_index
from nasc.package.manifest import Manifest
from nasc.package.read_manifest import read_manifest, read_plain_manifest
from nasc.package.records import TaskRecord
from nasc.package.verify import verify_package
from nasc.package.verify_files import FileChecks
from nasc.pipelines import artifact_quality, compile_checks
from nasc.pipelines import compile as pipeline
from nasc.pipelines.compile_devices import compile_devices
from nasc.pipelines.compiling import measuring, steps, training
from nasc.pipelines.compiling.choosing import LEAST_LEAD
from nasc.pipelines.compiling.deciding import BUSY_REPEATS
from nasc.pipelines.compiling.packaging import NO_LATENCY
from nasc.pipelines.evaluate import Queries, evaluate
from nasc.pipelines.options import RETRIEVAL_METRICS, VECTOR_METRICS, Options
from nasc.pipelines.package_report import report_package
from nasc.pipelines.profile import profile
from nasc.pipelines.result import CompileResult
from nasc.pipelines.search import search
from nasc.pipelines.tables import export_table, import_table, tables
from nasc.pipelines.verify import verify_devices
from nasc.selection import successive_halving as halving
from nasc.selection.problems import problem_of
from nasc.solver.problem import Limits
from nasc.supernet.initialize import initialize
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher, load_teacher
from nasc.utils.progress import Silent
from profilers import DeviceUnreachable, ModelJob, RuntimeMissing, RuntimeOptions
from profilers.devices.client import WorkerClient
from profilers.devices.local import LocalWorker
from profilers.inputs import draw_inputs
from profilers.reference import REFERENCE_NAME
from profilers.testing import SyntheticMachine

HOST = Path(device_profiles.__file__).with_name("host.toml")

pytestmark = pytest.mark.usefixtures("networks_drawn_once")

SEQ_LEN = 16
THREADS = 2
SLOW = 500.0
LAYER_MS = 0.018
"""Everything takes so many times its nominal time less so much: toys take milliseconds, and more
the larger they are."""

FACTORS = {
    ("onnxruntime", "fp32"): 1.0,
    ("onnxruntime", "int8"): 0.8,
    ("onnxruntime", "int8-emb4"): 0.82,
    ("openvino", "fp32"): 0.95,
    ("openvino", "bf16"): 0.3,
    ("openvino", "int8"): 0.29,
}
"""What a network takes in each variant, in parts of the first."""

WORDS = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()


@dataclass
class Device:
    """A machine on which every emitted network takes what its layers take; it has no TVM.

    Attributes:
        space: Whose networks it runs.
        whole: How many times that a network takes which `compile` measures.
        is_busy: Whether a neighbour slows whole networks by 1.6 and the reference by 1.3.
        precisions: That its processor computes in.
        jobs: Loaded so far, the reference left out.
        tokens: Of the inputs of what is loaded: it takes time in proportion.
        options: Of the sessions opened so far.
    """

    space: SearchSpace
    whole: Callable[[Architecture], float] = lambda architecture: 1.0
    is_busy: bool = False
    precisions: tuple[str, ...] = ("fp32", "int8")
    jobs: list[ModelJob] = field(default_factory=list)
    tokens: int = SEQ_LEN
    options: list[RuntimeOptions] = field(default_factory=list)

    def layers_ms(self, architecture: Architecture, runtime: str = "onnxruntime") -> float:
        geometry = self.space.geometry
        found = layers(architecture, geometry, "embed")
        factor = SLOW * FACTORS[runtime, architecture.precision]
        return factor * sum(nominal_ms(layer, geometry, SEQ_LEN) - LAYER_MS for layer in found)

    def file_ms(self, path: Path) -> float:
        if path.suffix == ".xml":
            runtime = "openvino"
            [text] = re.findall('<architecture value="([^"]*)"', path.read_text())
        else:
            model = onnx.load(path, load_external_data=False)
            runtime = "onnxruntime"
            text = {p.key: p.value for p in model.metadata_props}["nasc.architecture"]
        # Plans for tables hold networks of any number of blocks, and of other hidden sizes.
        blocks = text.count("|") + 1
        longer = dataclasses.replace(
            self.space,
            geometry=dataclasses.replace(self.space.geometry, layers=blocks),
            hidden_sizes=(8, 16, 24, 32),
            n_blocks=blocks,
            slots=8,
        )
        architecture = longer.parse(text)
        whole = self.whole(architecture) if path.stem == "model" else 1.0
        return self.layers_ms(architecture, runtime) * whole * self.tokens / SEQ_LEN

    def __call__(self, device: object, options: RuntimeOptions) -> Any:
        if options.runtime == "tvm":
            raise RuntimeMissing("the runtime 'tvm' cannot be imported")
        self.options.append(options)
        machine = SyntheticMachine(
            {REFERENCE_NAME: 4.0},
            seed=len(self.options),
            quiet_s=0.0 if self.is_busy else 1.0,
            busy_s=1.0 if self.is_busy else 0.0,
            slowed={"model": 1.6, REFERENCE_NAME: 1.3},
            latency_ms=self.file_ms,
            precisions=self.precisions,
        )
        session = machine.open()
        load = session.load

        def remember(job: ModelJob, seed: int) -> None:
            if not job.name.startswith(REFERENCE_NAME):
                self.jobs.append(job)
                self.tokens = job.inputs["input_ids"].shape[1]
            load(job, seed)

        session.load = remember  # type: ignore[method-assign]
        return session


class Listener(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


@dataclass(frozen=True)
class Toy:
    """Inputs of a compilation, and a cache with the tables of the device."""

    folder: Path
    settings: Settings
    space: SearchSpace
    teacher: Teacher

    def device(self, **about: Any) -> Device:
        return Device(self.space, **about)

    def compile(
        self,
        device: Device,
        name: str,
        limit_ms: float,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> CompileResult:
        chosen = {"distill_steps": 0, "output": self.folder / name} | options
        limits, changed = (
            Limits(latency_ms=limit_ms),
            dataclasses.replace(self.settings, **(settings or {})),
        )
        return pipeline.compile(limits, changed, Options(**chosen), opener=device)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, teacher_folder: Callable[..., Path]) -> Toy:
    """What `first` alone compiles in; all others have a copy of the cache that it leaves."""
    folder, source = tmp_path_factory.mktemp("toy"), teacher_folder()
    teacher = load_teacher(source)
    g = teacher.geometry
    (folder / "toy.toml").write_text(
        "n_blocks = 2\nslots = 2\nhidden_sizes = [16, 32]\n"
        'operations = ["mha", "ffn"]\n'
        f"[geometry]\nlayers = {g.layers}\nhidden = {g.hidden}\nhead_size = {g.head_size}\n"
        f"intermediate = {g.intermediate}\nvocab_size = {g.vocab_size}\n"
        f"max_positions = {g.max_positions}\n",
        encoding="utf-8",
    )
    rng = random.Random(0)
    text = [" ".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "." for _ in range(400)]
    (folder / "text.txt").write_text("\n\n".join(text), encoding="utf-8")
    settings = Settings(
        teacher=str(source),
        space=str(folder / "toy.toml"),
        corpus=(str(folder / "text.txt"),),
        seq_len=SEQ_LEN,
        threads=THREADS,
        train_steps=3,
        cache=folder / "cache",
    )
    return Toy(folder, settings, load_space(str(folder / "toy.toml")), teacher)


@pytest.fixture(scope="module")
def limit_ms(shared: Toy) -> float:
    """Less than the teacher takes in int8: something has to be searched."""
    return 0.8 * shared.device().layers_ms(shared.space.teacher.with_precision("int8"))


@pytest.fixture(scope="module")
def first(shared: Toy, limit_ms: float) -> tuple[CompileResult, Device]:
    """A package on the device as the tables say, and what was run there for it."""
    device = shared.device()
    return shared.compile(device, "first", limit_ms), device


@pytest.fixture
def toy(shared: Toy, first: object, tmp_path: Path) -> Toy:
    """A cache with the tables of the device that nobody else adds to."""
    cache = shutil.copytree(shared.folder / "cache", tmp_path / "toy" / "cache")
    settings = dataclasses.replace(shared.settings, cache=cache)
    return dataclasses.replace(shared, folder=tmp_path / "toy", settings=settings)


def test_the_stated_latency_is_the_device_s(
    first: tuple[CompileResult, Device], limit_ms: float
) -> None:
    result, device = first
    assert result.manifest.limits == {"latency_ms": limit_ms}
    true_ms = device.layers_ms(result.manifest.architecture)
    measured = result.manifest.measured
    assert measured is not None
    assert measured.model.latency_ms == pytest.approx(true_ms, rel=0.03)
    assert true_ms <= measured.model.upper_ms <= limit_ms
    assert result.manifest.predicted is not None
    assert result.manifest.predicted.latency_ms == pytest.approx(true_ms, rel=0.03)
    assert all(a.met for a in result.attempts)


def contents(folder: Path) -> dict[str, str]:
    """Hashes of a folder's files, by name."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_compiled_twice_is_the_same_build(
    shared: Toy, first: tuple[CompileResult, Device], limit_ms: float, tmp_path: Path
) -> None:
    """From another empty cache, by other samples, at another time: all but what was measured."""
    device = shared.device()
    device.options.append(RuntimeOptions())  # other noise from the first sample on
    changed = {"cache": tmp_path / "cache"}
    results = first[0], shared.compile(device, str(tmp_path / "again"), limit_ms, changed)
    assert not results[0].manifest.architecture.is_teacher
    one, two = (contents(result.package) for result in results)
    assert one.keys() == two.keys()
    differ = {name for name in one if one[name] != two[name]}
    assert differ == {"measurements.json", "MEASURED.md", "SHA256SUMS"}
    assert {result.build_sha256 for result in results} == {one["manifest.json"]}


def test_a_key_that_is_none_is_refused_before_the_work(shared: Toy, tmp_path: Path) -> None:
    device = shared.device()
    with pytest.raises(UsageError, match=r"--sign \S+none.pem"):
        shared.compile(device, str(tmp_path / "no"), 1.0, sign=tmp_path / "none.pem")
    assert not device.options


def test_the_package_states_where_the_choice_came_from(
    first: tuple[CompileResult, Device], limit_ms: float
) -> None:
    manifest = first[0].manifest
    table, search = manifest.evidence["table"], manifest.evidence["search"]
    total = sum(row["count"] * row["cost_ms"] for row in table["rows"]) + table["streaming_ms"]
    assert manifest.predicted is not None
    assert total == pytest.approx(manifest.predicted.latency_ms)
    assert search["limits"] == {"latency_ms": limit_ms}
    assert search["chosen"]["architecture"] == str(manifest.architecture)
    losses = [one["predicted_loss"] for one in search["best"]]
    assert losses == sorted(losses)
    assert len(losses) == 3
    front = [(one["latency_ms"], one["predicted_loss"]) for one in search["front"]]
    assert [ms for ms, _ in front] == sorted(ms for ms, _ in front)
    assert [loss for _, loss in front] == sorted((loss for _, loss in front), reverse=True)
    assert min(loss for ms, loss in front if ms <= limit_ms) <= losses[0]
    assert search["networks"] > len(search["front"])
    tokens = [row["tokens"] for row in manifest.conformance]
    assert tokens[0] == 1
    assert tokens[-1] == manifest.max_length
    assert all(row["alone_cosine"] > 0.9 for row in manifest.conformance)
    assert {row["what"] for row in manifest.licences} == {
        *("weights, taken or trained from the teacher's", "tokenizer", "texts and programs")
    }


NARROW = "24: M F M F @ int8"


@pytest.fixture
def narrow_ms(toy: Toy) -> float:
    """Less than the teacher may take in int8, more than it may at the next smaller hidden size."""
    context, int8 = RunContext(toy.settings, opener=toy.device()), Variant("onnxruntime", "int8")
    costs = context.tables.measure_costs([int8])
    whole = costs.predict(toy.space.teacher.with_precision("int8"), "onnxruntime")
    return 0.99 * costs.upper("latency_ms", whole.latency_ms, int8)


def narrow_gives(monkeypatch: pytest.MonkeyPatch, texts: Callable[[list[str]], list[str]]) -> None:
    """Networks of one hidden size all through give the teacher's vectors of some other texts."""
    real = halving.pooled_vectors

    def pooled_vectors(
        teacher: Teacher, network: Network, sentences: list[str], **options: Any
    ) -> Any:
        if len(network.architecture.blocks) == 1:
            return teacher.vectors(texts(sentences))
        return real(teacher, network, sentences, **options)

    monkeypatch.setattr(halving, "pooled_vectors", pooled_vectors)


def test_the_teacher_narrowed_is_priced_compared_shipped_and_verified(
    toy: Toy, narrow_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By costs of a hidden size that no block of the space has."""
    narrow_gives(monkeypatch, lambda sentences: sentences)
    for path in tables_folder(toy.settings.cache or toy.folder).glob("*.probes.json"):
        path.unlink()
    device = toy.device()
    result = toy.compile(device, "narrow", narrow_ms, distill_steps=20)
    manifest = result.manifest
    assert str(manifest.architecture) == NARROW
    true_ms = device.layers_ms(manifest.architecture)
    assert manifest.predicted is not None
    assert manifest.measured is not None
    assert manifest.predicted.latency_ms == pytest.approx(true_ms, rel=0.02)
    assert manifest.measured.model.upper_ms <= narrow_ms
    table, search = manifest.evidence["table"], manifest.evidence["search"]
    assert table["holds_for"].endswith("; hidden size 24 measured by itself")
    counts = {row["layer"]: row["count"] for row in table["rows"]}
    assert (counts["mha 24"], counts["ffn 24"], counts["border 32->24"]) == (2, 2, 1)
    assert search["chosen"]["architecture"] == NARROW
    assert search["chosen"]["predicted_loss"] is None
    assert search["chosen"] in search["compared"]
    assert "the teacher narrowed to one hidden size" in search["statement"]
    assert {v.precision for v in result.others_ms} <= {"fp32"}
    assert verify_package(result.package, opener=device, cache=toy.settings.cache).ok
    report_package(result.package, toy.folder / "page.html")
    assert NARROW in (toy.folder / "page.html").read_text("utf-8")
    names = [job.name for job in device.jobs]
    probed = set(names[: names.index("model")])

    again = toy.device()
    assert toy.compile(again, "again", narrow_ms, distill_steps=20).build_sha256 == (
        result.build_sha256
    )
    kept = probed - {job.name for job in again.jobs}
    assert len(kept) == 3  # networks of one hidden size: what they cost is known by now


def test_the_teacher_narrowed_loses_where_others_agree_better(
    toy: Toy, narrow_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_gives(monkeypatch, lambda sentences: sentences[::-1])
    result = toy.compile(toy.device(), "loses", narrow_ms, distill_steps=20)
    assert str(result.manifest.architecture) != NARROW
    compared = result.manifest.evidence["search"]["compared"]
    assert NARROW in [one["architecture"] for one in compared]


def test_the_teacher_narrowed_is_left_out_where_no_size_fits(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow_gives(monkeypatch, lambda sentences: sentences)
    device = toy.device()
    least = Architecture.narrowed(toy.space.geometry, 16).with_precision("int8")
    result = toy.compile(device, "small", 0.95 * device.layers_ms(least), distill_steps=20)
    assert len(result.manifest.architecture.blocks) == 2
    compared = result.manifest.evidence["search"]["compared"]
    assert all("|" in one["architecture"] for one in compared)


@pytest.fixture
def pooled_folder(shared: Toy, tmp_path: Path) -> Path:
    """The teacher with CLS pooling and no Normalize, as sentence-transformers writes it."""
    folder = Path(shutil.copytree(shared.settings.teacher or "", tmp_path / "pooled"))
    kinds = {"Transformer": "", "Pooling": "1_Pooling"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True}
    (folder / "1_Pooling/config.json").write_text(json.dumps(config))
    return folder


def test_a_teacher_s_pooling_reaches_the_package(
    shared: Toy, pooled_folder: Path, tmp_path: Path
) -> None:
    teacher, device = load_teacher(pooled_folder), shared.device(precisions=("fp32",))
    changed = {"teacher": str(pooled_folder), "cache": tmp_path / "cache", "precisions": ("fp32",)}
    whole_ms = 2 * device.layers_ms(shared.space.teacher)
    result = shared.compile(device, str(tmp_path / "whole"), whole_ms, changed)
    assert (result.manifest.head, teacher.head()) == ("embed-cls-unscaled",) * 2
    assert result.manifest.architecture.is_teacher
    encoder = Encoder(result.package / "model.onnx", teacher.tokenizer)
    texts = ["the cat sat", "a small dog ran to the house and slept"]
    np.testing.assert_allclose(encoder.encode(texts), teacher.vectors(texts), atol=1e-5)
    assert not np.allclose(encoder.encode(texts), shared.teacher.vectors(texts), atol=0.1)
    assert verify_package(result.package, measure=False).ok
    found = [table.to_dict() for table in tables(cache=tmp_path / "cache")]
    assert {table["head"] for table in found} == {"embed-cls-unscaled"}

    [known] = profile(
        teacher=str(pooled_folder),
        space=shared.settings.space,
        precisions=("fp32",),
        seq_lens=(SEQ_LEN,),
        threads=(THREADS,),
        cache=tmp_path / "cache",
        opener=device,
    )
    assert known.table.key.head == "embed-cls-unscaled"

    # the states of tokens are measured as those of any teacher are, and shipped with its pooling
    hidden = shared.compile(
        device, str(tmp_path / "states"), whole_ms, {**changed, "head": "hidden"}
    )
    assert hidden.manifest.head == "hidden-cls-unscaled"
    states = Encoder(hidden.package / "model.onnx", teacher.tokenizer)
    np.testing.assert_allclose(states.encode(texts), teacher.vectors(texts), atol=1e-5)
    with pytest.raises(UsageError, match=r"--head embed-max: .* by the head 'embed-cls-unscaled'"):
        shared.compile(device, str(tmp_path / "other"), whole_ms, changed | {"head": "embed-max"})


def add_dense(folder: Path) -> None:
    """A Dense to 24 numbers behind the pooling, of which the first 20 are kept; a prompt."""
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]))
    (folder / "2_Dense").mkdir()
    config = {"in_features": 32, "out_features": 24}
    (folder / "2_Dense/config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(24, 32)), rng.normal(size=24)
    tensors = {"linear.weight": 0.2 * weight, "linear.bias": 0.1 * bias}
    save_file(
        {name: value.astype(np.float32) for name, value in tensors.items()},
        folder / "2_Dense/model.safetensors",
    )
    prompts = {"prompts": {"q": "the big ", "d": ""}, "default_prompt_name": "q"}
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"truncate_dim": 20, **prompts})
    )


@pytest.mark.slow
def test_a_network_of_another_pooling_is_searched_and_trained(
    shared: Toy, pooled_folder: Path, tmp_path: Path, limit_ms: float
) -> None:
    """With all that may stand behind the pooling."""
    add_dense(pooled_folder)
    changed = {"teacher": str(pooled_folder), "cache": tmp_path / "cache"}
    device = shared.device()
    result = shared.compile(device, str(tmp_path / "small"), limit_ms, changed, distill_steps=20)
    assert result.manifest.head == "embed-cls-dense24tanh-unscaled-first20"
    assert not result.manifest.architecture.is_teacher
    assert verify_package(result.package, measure=False).ok
    teacher = load_teacher(pooled_folder)
    encoder = Encoder(result.package / "model.onnx", teacher.tokenizer)
    wanted = teacher.vectors(["the cat sat"])
    assert encoder.encode(["the cat sat"]).shape == wanted.shape == (1, 20)
    pooling = json.loads((result.package / "1_Pooling/config.json").read_text())
    assert pooling["word_embedding_dimension"] == 20
    assert (
        result.manifest.prompts == teacher.prompts == Prompts((("q", "the big "), ("d", "")), "q")
    )
    assert (
        json.loads((result.package / "config_sentence_transformers.json").read_text())[
            "default_prompt_name"
        ]
        == "q"
    )
    assert teacher.tokenize(["cat"]).rows() == encoder.tokenize(["the big cat"])
    with pytest.raises(UsageError, match=r"--head hidden: .* are more than the pooled states"):
        shared.compile(device, str(tmp_path / "states"), limit_ms, changed | {"head": "hidden"})


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mpnet", "modernbert"])
def test_a_teacher_with_other_positions_is_searched_and_trained(
    shared: Toy, teacher_folder: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    folder = teacher_folder(family)
    teacher = load_teacher(folder)
    space = dataclasses.replace(shared.space, geometry=teacher.geometry.for_space())
    (tmp_path / "toy.toml").write_text(space_to_toml(space), encoding="utf-8")
    changed = {
        "teacher": str(folder),
        "cache": tmp_path / "cache",
        "space": str(tmp_path / "toy.toml"),
    }
    device = Device(space)
    limit_ms = 0.8 * device.layers_ms(space.teacher.with_precision("int8"))
    result = shared.compile(device, str(tmp_path / "small"), limit_ms, changed, distill_steps=5)
    assert result.manifest.geometry == teacher.geometry.for_space()
    assert result.manifest.training.supernet_steps == 3
    assert not result.manifest.architecture.is_teacher
    assert verify_package(result.package, measure=False).ok


@pytest.mark.slow
def test_a_teacher_s_head_is_kept_searched_and_trained(shared: Toy, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shared.settings.teacher or "", tmp_path / "sentiment"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, id2label={0: "BAD", 1: "SO SO", 2: "GOOD"}
        )
        model.classifier.weight.data *= 30
    model.save_pretrained(folder)
    teacher, device = load_teacher(folder), shared.device()
    assert teacher.head() == "scores-cls-dense32tanh-dense3identity-unscaled"
    changed = {"teacher": str(folder), "cache": tmp_path / "cache"}
    limit_ms = 0.8 * device.layers_ms(shared.space.teacher.with_precision("int8"))
    for wrong, message in (
        ({"min_quality": {"pooled_cosine": 0.5}}, "scores of classes, whose figures are class_agr"),
        ({"sts_data": shared.folder / "text.txt"}, "--sts-data is of vectors"),
        ({"retrieval_data": shared.folder / "text.txt"}, "--retrieval-data is of vectors"),
    ):
        with pytest.raises(UsageError, match=message):
            shared.compile(device, str(tmp_path / "no"), limit_ms, changed, **wrong)
    result = shared.compile(
        device,
        str(tmp_path / "small"),
        limit_ms,
        changed,
        distill_steps=20,
        min_quality={"class_agreement": 0.1},
    )
    manifest = result.manifest
    assert manifest.head == teacher.head()
    assert not manifest.architecture.is_teacher
    assert manifest.task == TaskRecord("classification", ("BAD", "SO SO", "GOOD"))
    assert list(manifest.quality) == ["class_agreement", "kl_divergence", "sentences"]
    assert verify_package(result.package, measure=False).ok
    config = json.loads((result.package / "config.json").read_text())
    assert config["id2label"]["2"] == "GOOD"
    encoder = Encoder(result.package / "model.onnx", teacher.tokenizer)
    assert encoder.encode(["the cat sat"]).shape == (1, 3)
    assert "the teacher's own head" in (result.package / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["AutoModelForTokenClassification", "AutoModelForQuestionAnswering"]
)
def test_a_teacher_that_scores_tokens_is_searched_and_trained(
    shared: Toy, tmp_path: Path, kind: str
) -> None:
    folder = Path(shutil.copytree(shared.settings.teacher or "", tmp_path / "own"))
    answers = kind.endswith("QuestionAnswering")
    more = {} if answers else {"id2label": {0: "O", 1: "B-X", 2: "I-X"}}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = getattr(transformers, kind).from_pretrained(folder, **more)
        getattr(model, "qa_outputs" if answers else "classifier").weight.data *= 30
    model.save_pretrained(folder)
    teacher = load_teacher(folder)
    space = dataclasses.replace(shared.space, geometry=teacher.geometry.for_space())
    (tmp_path / "toy.toml").write_text(space_to_toml(space), encoding="utf-8")
    device = Device(space)
    changed: dict[str, Any] = {
        "teacher": str(folder),
        "cache": tmp_path / "cache",
        "space": str(tmp_path / "toy.toml"),
    }
    name = "answer_f1" if answers else "token_f1"
    refused = [
        ({}, {"formats": ("web",)}, "--head embed"),
        ({"runtime": "tvm"}, {"formats": ("c",)}, "--format c"),
        ({}, {"min_quality": {"pooled_cosine": 0.5}}, f"whose figures are {name}"),
        ({"vocab_from": tmp_path / "toy.toml"}, {}, "makes other tokens of a text"),
    ]
    if not answers:
        refused.append(({"query_only": True}, {}, "encoder alone: --head embed"))
    if answers:
        rng = random.Random(0)
        texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 9))) for _ in range(300)]
        pairs = changed["pairs"] = tmp_path / "pairs.tsv"
        rows = (f"{first}\t{text}\n" for first in texts[:40] for text in rng.sample(texts, 5))
        pairs.write_text("".join(rows), encoding="utf-8")
        changed["corpus"] = ()
        refused.append(({"pairs": None}, {}, "finds answers to questions"))
    limit_ms = 0.8 * device.layers_ms(space.teacher.with_precision("int8"))
    for settings, options, message in refused:
        with pytest.raises(NascError, match=message):
            shared.compile(device, str(tmp_path / "no"), limit_ms, changed | settings, **options)
    result = shared.compile(
        device,
        str(tmp_path / "small"),
        limit_ms,
        changed,
        distill_steps=20,
        min_quality={name: 0.0},
    )
    manifest = result.manifest
    assert manifest.head == teacher.head()
    assert not manifest.architecture.is_teacher
    record = TaskRecord("token-classification", ("O", "B-X", "I-X"))
    assert manifest.task == (TaskRecord("question-answering", (), True) if answers else record)
    assert next(iter(manifest.quality)) == name
    assert verify_package(result.package, measure=False).ok
    config = json.loads((result.package / "config.json").read_text())
    assert config["architectures"] == [kind.replace("AutoModel", "Bert")]
    assert answers or config["id2label"]["2"] == "I-X"
    full = shared.compile(device, str(tmp_path / "full"), 1e3, changed, distill_steps=1)
    assert full.manifest.architecture.is_teacher
    assert full.manifest.quality[name] > 0.95
    s = shared.settings
    bare = {"head": "embed", "pairs": None, "corpus": s.corpus, "space": s.space}
    encoder = shared.compile(shared.device(), str(tmp_path / "bare"), 1e3, changed | bare)
    assert (encoder.manifest.head, encoder.manifest.task) == ("embed-unscaled", None)


@pytest.mark.slow
def test_a_teacher_that_scores_pairs_is_searched_and_trained(shared: Toy, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shared.settings.teacher or "", tmp_path / "reranker"))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        model.classifier.weight.data *= 30
    model.save_pretrained(folder)
    rng = random.Random(0)
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 9))) for _ in range(300)]
    pairs = tmp_path / "pairs.tsv"
    rows = (f"{first}\t{text}\n" for first in texts[:40] for text in rng.sample(texts, 5))
    pairs.write_text("".join(rows), encoding="utf-8")
    teacher = load_teacher(folder)
    space = dataclasses.replace(shared.space, geometry=teacher.geometry.for_space())
    (tmp_path / "toy.toml").write_text(space_to_toml(space), encoding="utf-8")
    device = Device(space)
    changed = {
        "teacher": str(folder),
        "cache": tmp_path / "cache",
        "space": str(tmp_path / "toy.toml"),
        "corpus": (),
        "pairs": pairs,
    }
    limit_ms = 0.8 * device.layers_ms(space.teacher.with_precision("int8"))
    for more, options, message in (
        ({"pairs": None}, {}, "scores pairs of texts. Name a file of pairs .*--pairs FILE"),
        ({"teacher": shared.settings.teacher}, {}, "has no head that scores texts: leave --pairs"),
        ({}, {"min_quality": {"pooled_cosine": 0.5}}, "scores of pairs, whose figures are score_s"),
        ({"runtime": "tvm"}, {"formats": ("c",)}, "--format c takes one text at a time"),
    ):
        with pytest.raises(UsageError, match=message):
            shared.compile(device, str(tmp_path / "no"), limit_ms, changed | more, **options)
    result = shared.compile(
        device,
        str(tmp_path / "small"),
        limit_ms,
        changed,
        distill_steps=20,
        min_quality={"score_spearman": -1.0, "ranking_ndcg": 0.1},
    )
    manifest = result.manifest
    assert manifest.head == "scores-cls-dense32tanh-dense1identity-unscaled"
    assert not manifest.architecture.is_teacher
    assert manifest.geometry.separator == teacher.tokenizer.sep_token_id
    assert manifest.task == TaskRecord("reranking", (), True, "sigmoid")
    assert list(manifest.quality) == ["score_spearman", "ranking_ndcg", "queries", "pairs"]
    assert manifest.quality["queries"] >= 4
    assert verify_package(result.package, measure=False).ok
    encoder = Encoder(result.package / "model.onnx", teacher.tokenizer)
    ways = [("the cat", "a dog"), ("a dog", "the cat")]
    assert np.ptp(encoder.encode(ways)) > 1e-3
    text = (result.package / "README.md").read_text()
    assert "gives its score of two texts" in text
    assert 'CrossEncoder(".", backend="onnx")' in text


def test_everything_is_measured_with_the_options_asked_for(
    first: tuple[CompileResult, Device],
) -> None:
    """Tables, probes of other precisions, the reference and the chosen network."""
    _, device = first
    assert len(device.options) > 10
    assert {options.threads for options in device.options} == {THREADS}


def test_no_measured_token_is_padding(first: tuple[CompileResult, Device]) -> None:
    """A run that skips padding would be faster than the text that the limit is for."""
    _, device = first
    assert {job.path.stem == "model" for job in device.jobs} == {True, False}
    for job in device.jobs:
        masks = draw_inputs({"attention_mask": job.inputs["attention_mask"]}, seed=3)
        assert masks["attention_mask"].shape == (1, SEQ_LEN)
        assert np.all(masks["attention_mask"] == 1)


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    path = tmp_path / "lengths.csv"
    path.write_text("length,count\n8,60\n15,10\n16,30\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_mixture_of_lengths_is_held_to_its_mean(
    toy: Toy, limit_ms: float, mixture: Path, tmp_path: Path
) -> None:
    """Where 16 tokens take t, 8 take half of that: the mean is 0.7 t."""
    device, limit = toy.device(), 0.7 * limit_ms
    changed = {"lengths": mixture, "seq_len": 128}
    result = toy.compile(device, "mixture", limit, changed)
    m, measured = result.manifest, result.manifest.measured
    assert m.conditions.lengths is not None
    assert [(p.seq_len, p.texts) for p in m.conditions.lengths.parts] == [(8, 60), (16, 40)]
    assert m.conditions.seq_len == 16
    true_ms = device.layers_ms(m.architecture)
    assert measured is not None
    assert [part.seq_len for part in measured.parts] == [8, 16]
    for model, factor in zip(measured.models, (0.5, 1.0), strict=True):
        assert model.latency_ms == pytest.approx(factor * true_ms, rel=0.03)
    assert measured.latency_ms == pytest.approx(0.7 * true_ms, rel=0.03)
    assert measured.latency_ms < measured.upper_ms <= limit
    assert m.predicted is not None
    assert m.predicted.latency_ms == pytest.approx(0.7 * true_ms, rel=0.03)
    about = "the mean over 100 texts of histogram lengths.csv (8 tokens 60%, 16 tokens 40%)"
    assert about in str(m.conditions)
    text = (result.package / "MEASURED.md").read_text(encoding="utf-8")
    assert about in text
    assert "| mean latency, measured (ms) |" in text
    assert "| 8 tokens, 60.0% of the texts (ms) |" in text
    d = result.to_dict()
    assert d["conditions"]["lengths"] == m.conditions.lengths.to_dict()
    assert [one["seq_len"] for one in d["measured"]["lengths"]] == [8, 16]
    assert d["measured"]["latency_ms"] == measured.latency_ms
    assert any(about in value for _, value in result.rows())
    report = verify_package(result.package, opener=device, cache=toy.settings.cache)
    assert report.ok, report
    again = report.to_dict()["measured"]
    assert again["latency_ms"] == pytest.approx(0.7 * true_ms, rel=0.03)
    assert [one["seq_len"] for one in again["lengths"]] == [8, 16]
    assert "mean over 2 lengths" in next(c.detail for c in report.checks if c.name == "latency")
    slower = toy.device(whole=lambda architecture: 1.4)
    failed = verify_package(result.package, opener=slower, cache=toy.settings.cache)
    assert [check.name for check in failed.failed] == ["latency"]

    forged = read_plain_manifest(result.package)
    forged["conditions"]["lengths"]["parts"][0]["texts"] = 30
    assert not FileChecks(result.package, Manifest.from_dict(forged), forged, None).conditions()[0]
    forged["conditions"]["quantile"] = "p90"
    with pytest.raises(PackageError, match="the mean over a mixture has no p90"):
        Manifest.from_dict(forged)

    found = search(
        Limits(latency_ms=limit), dataclasses.replace(toy.settings, **changed), opener=device
    )
    assert {s.mixture for s in found} == {about}
    assert found[0].costs["latency_ms"] == pytest.approx(
        0.7 * device.layers_ms(found[0].architecture), rel=0.03
    )


@pytest.mark.slow
def test_a_package_after_load_says_so_and_is_verified_after_load(toy: Toy, limit_ms: float) -> None:
    """Tables of the device as it is are no tables of it after load: they are measured anew."""
    device = toy.device()
    before = {path.name for path in tables_folder(toy.settings.cache or Path()).iterdir()}
    result = toy.compile(device, "hot", limit_ms, {"sustained_minutes": 0.1})
    m = result.manifest
    assert m.conditions.sustained_minutes == 0.1
    assert "2 threads, after 0.1 minutes of load, tokenisation" in str(m.conditions)
    assert {path.name for path in tables_folder(toy.settings.cache or Path()).iterdir()} > before
    assert {options.sustained_minutes for options in device.options} == {0.1}
    assert m.measured is not None
    assert m.measured.measurement.context["sustained"]["minutes"] == 0.1
    assert any("temperatures are not known" in text for text in result.warnings())
    assert "after 0.1 minutes of load" in (result.package / "README.md").read_text("utf-8")
    assert read_manifest(result.package) == m

    def latency(**options: Any) -> Any:
        asked = toy.device()
        report = verify_package(result.package, opener=asked, cache=toy.settings.cache, **options)
        return next(c for c in report.checks if c.name == "latency"), asked

    found, asked = latency()
    assert found.ok, found
    assert asked.options[-1].sustained_minutes == 0.1
    found, _ = latency(sustained_minutes=0.2)
    assert found.ok is None
    assert "sustained_minutes 0.1, on device 'host' nasc measures with 0.2" in found.detail
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nasc.package.verify_latency.LOAD_MINUTES", 0.05)
        found, asked = latency()
    assert found.ok is None
    assert "--sustained 0.1" in found.detail
    assert asked.options == []


def test_a_mixture_goes_with_no_quantile_and_no_task(toy: Toy, mixture: Path) -> None:
    changed = {"lengths": mixture, "seq_len": 128}
    with pytest.raises(UsageError, match="--quantile p90 the runs of one length: give one"):
        toy.compile(toy.device(), "none", 1.0, changed, quantile="p90")
    settings: Any = dataclasses.replace(toy.settings, **changed)
    options: Any = SimpleNamespace(quantile=None, task="sst-2")
    with pytest.raises(UsageError, match="is not offered with --task"):
        compile_checks.check_mixture(settings, options)


def test_a_cut_vocabulary_goes_with_no_task(toy: Toy) -> None:
    settings = dataclasses.replace(toy.settings, vocab_from=Path("texts.txt"))
    options: Any = SimpleNamespace(task="sst-2")
    with pytest.raises(UsageError, match=r"--vocab-from texts.txt is not offered with --task"):
        compile_checks.check_vocabulary(settings, options)


@pytest.mark.slow
def test_the_p90_of_single_stream_is_held_stated_and_verified(toy: Toy, limit_ms: float) -> None:
    """Runs of a few seconds where MLPerf's own last 600."""
    device = toy.device()
    asked = {"protocol": "mlperf-single-stream", "min_duration_s": 4.0}
    result = toy.compile(device, "mlperf", limit_ms, **asked)
    m, measured = result.manifest, result.manifest.measured
    assert measured is not None
    stream = measured.stream
    assert stream is not None
    assert (m.conditions.protocol, m.conditions.quantile) == ("mlperf-single-stream", "p90")
    assert stream.is_valid
    true_ms = device.layers_ms(m.architecture)
    assert true_ms < stream.percentile_ms <= stream.estimate_ms <= limit_ms
    assert measured.held_ms("p90") == stream.estimate_ms == result.attempts[-1].held_ms
    assert "statistic: p90 by protocol mlperf-single-stream" in str(m.conditions)
    text = (result.package / "MEASURED.md").read_text(encoding="utf-8")
    assert f"| {stream.rules} | {stream.estimate_ms:.2f} ms |" in text
    d = result.to_dict()
    assert d["measured"]["single_stream"]["estimate_ms"] == stream.estimate_ms
    assert d["conditions"]["protocol"] == "mlperf-single-stream"
    assert ("held", str(stream)) in result.rows()
    # A percent less than then: a p90 that is stated lies above that of as good as any other run.
    quicker = toy.device(whole=lambda architecture: 0.99)
    report = verify_package(result.package, opener=quicker, cache=toy.settings.cache)
    assert report.ok, report
    again = report.to_dict()["measured"]["single_stream"]
    assert again["duration_s"] >= 4.0
    assert "queries in a row" in next(c.detail for c in report.checks if c.name == "latency")
    slower = toy.device(whole=lambda architecture: 1.4)
    failed = verify_package(result.package, opener=slower, cache=toy.settings.cache)
    assert [check.name for check in failed.failed] == ["latency"]

    plain = read_plain_manifest(result.package)

    def problems(change: Callable[[dict[str, Any]], None]) -> tuple[bool | None, str]:
        forged = json.loads(json.dumps(plain))
        change(forged)
        manifest = Manifest.from_dict(forged)
        return FileChecks(result.package, manifest, forged, None).measurement()

    def of_another_file(forged: dict[str, Any]) -> None:
        forged["measured"]["single_stream"]["content_hash"] = "0" * 16

    def asked_for_longer(forged: dict[str, Any]) -> None:
        forged["measured"]["single_stream"]["min_duration_s"] = 600

    def elsewhere(forged: dict[str, Any]) -> None:
        forged["measured"]["single_stream"]["context"]["fingerprint"] = "other"

    def faster(forged: dict[str, Any]) -> None:
        took = dataclasses.replace(stream, latencies_ns=stream.latencies_ns // 2)
        forged["measured"]["single_stream"] = took.to_dict()

    assert problems(lambda forged: None)[0]
    for change, message in (
        (of_another_file, "the single-stream run is of another file or other inputs"),
        (asked_for_longer, "the single-stream run is too short"),
        (elsewhere, "the single-stream run was with another fingerprint: other"),
        (faster, "for 90% of single-stream's queries, where the fastest run took"),
    ):
        ok, told = problems(change)
        assert ok is False
        assert message in told
    plain["conditions"]["protocol"] = None
    with pytest.raises(PackageError):
        Manifest.from_dict(plain)
    del plain["conditions"]["protocol"]
    with pytest.raises(PackageError, match="conditions and measurement are of two protocols"):
        Manifest.from_dict(plain)


def test_a_network_that_is_over_is_not_asked_for_all_of_a_run(toy: Toy, limit_ms: float) -> None:
    """An hour each would be nothing on this machine's clock, but every query is drawn."""
    device = toy.device(whole=lambda architecture: 100.0)
    asked = {"protocol": "mlperf-single-stream", "min_duration_s": 3600.0}
    with pytest.raises(LimitsMissed, match="none met the limits"):
        toy.compile(device, "missed", limit_ms, **asked)


def test_what_is_searched_weighs_blocks_by_the_measured_sensitivities(toy: Toy) -> None:
    context = RunContext(toy.settings, opener=toy.device())
    scores = context.supernet.prepare().scores
    assert len(set(scores.sensitivity)) == 2
    problem = problem_of(context, Limits(latency_ms=1e3), context.variants)
    for position, loss, slope in zip(
        problem.positions, scores.losses, scores.sensitivity, strict=True
    ):
        np.testing.assert_allclose(position.loss, slope * loss)


def test_a_limit_that_is_missed_is_tightened_until_a_network_keeps_it(
    toy: Toy, limit_ms: float
) -> None:
    """Whole networks take 1.3 times what the tables say."""
    device = toy.device(whole=lambda architecture: 1.3)
    result = toy.compile(device, "tightened", limit_ms)
    attempts = result.attempts
    assert attempts[0].met is False
    assert "is over" in attempts[0].note
    assert attempts[-1].met
    true_ms = 1.3 * device.layers_ms(result.manifest.architecture)
    assert true_ms <= limit_ms
    measured = result.manifest.measured
    assert measured is not None
    assert measured.model.latency_ms == pytest.approx(true_ms, rel=0.03)
    names = [a.architecture for a in attempts]
    assert names[0] not in names[1:]


def test_a_limit_that_no_network_keeps_ends_in_a_message_and_no_package(
    toy: Toy, limit_ms: float
) -> None:
    device = toy.device(whole=lambda architecture: 100.0)
    with pytest.raises(LimitsMissed, match="measurements of networks, none met the limits"):
        toy.compile(device, "missed", limit_ms)
    assert not (toy.folder / "missed").exists()


def test_where_nothing_smaller_is_left_an_earlier_network_under_its_limit_ships(
    toy: Toy, limit_ms: float
) -> None:
    """The first leaves no room for its repetition; all others are over the limit."""
    seen: list[Architecture] = []
    plain = toy.device()

    def whole(architecture: Architecture) -> float:
        seen.append(architecture)
        wanted_ms = 0.943 * limit_ms if architecture == seen[0] else 1.2 * limit_ms
        return wanted_ms / plain.layers_ms(architecture)

    result = toy.compile(toy.device(whole=whole), "fallback", limit_ms)
    assert result.manifest.architecture == seen[0]
    assert "leaves less than" in result.attempts[0].note
    others = [a for a in result.attempts if a.architecture != str(seen[0])]
    assert others
    assert not any(a.met for a in others)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Callable[[Device, int], list[str]]:
    """Lets the first measurements of whole networks meet a busy machine; names what is measured."""

    def make(device: Device, count: int) -> list[str]:
        measured: list[str] = []

        def measure(compilation: Any, state: Any, chosen: Any, artifact: Any) -> Any:
            device.is_busy = len(measured) < count
            measured.append(str(chosen.network.architecture))
            try:
                return measuring.measure(compilation, state, chosen, artifact)
            finally:
                device.is_busy = False

        monkeypatch.setattr(steps, "measure", measure)
        return measured

    return make


def test_what_a_busy_machine_puts_over_the_limit_is_measured_again(
    toy: Toy, limit_ms: float, busy: Callable[[Device, int], list[str]]
) -> None:
    device = toy.device()
    measured = busy(device, 1)
    result = toy.compile(device, "repeated", limit_ms)
    assert set(measured) == {str(result.manifest.architecture)}
    assert result.attempts[0].note.endswith("measured once more")
    assert result.attempts[-1].met


@pytest.mark.slow
def test_a_machine_that_stays_busy_gets_another_network(
    toy: Toy, limit_ms: float, busy: Callable[[Device, int], list[str]]
) -> None:
    device = toy.device()
    measured = busy(device, 1 + BUSY_REPEATS)
    result = toy.compile(device, "given-up", limit_ms)
    grouped = [(name, len(list(group))) for name, group in itertools.groupby(measured)]
    assert grouped[0][1] == 1 + BUSY_REPEATS
    assert grouped[-1][0] == str(result.manifest.architecture) != grouped[0][0]


def test_a_limit_on_size_that_int8_misses_is_met_with_words_in_4_bits(toy: Toy) -> None:
    """The whole network within limits in no other precision: its words shrink, and it says so."""
    device, geometry = toy.device(), toy.space.geometry
    sizes = {
        p: file_bytes(toy.space.teacher.with_precision(p), "onnxruntime", geometry, "embed")
        for p in ("int8", "int8-emb4")
    }
    limit = (sizes["int8"] + sizes["int8-emb4"]) // 2
    options = Options(distill_steps=0, output=toy.folder / "small")
    result = pipeline.compile(
        Limits(latency_ms=1e4, size_bytes=limit), toy.settings, options, opener=device
    )
    manifest = result.manifest
    assert manifest.architecture == toy.space.teacher.with_precision("int8-emb4")
    assert sizes["int8-emb4"] - 4_000 <= manifest.size_bytes <= sizes["int8-emb4"] <= limit
    assert isinstance(manifest.parity, ReducedPrecisionReport)
    assert manifest.parity.precision == "int8-emb4"
    assert result.larger() == {"in int8": sizes["int8"]}
    assert verify_package(result.package, opener=device, cache=toy.settings.cache).ok


def test_a_vocabulary_cut_to_a_text_is_priced_shipped_and_stated(toy: Toy, limit_ms: float) -> None:
    texts = toy.folder / "few.txt"
    texts.write_text(("the cat sat\n" * 9 + "the dog\n") * 2, encoding="utf-8")
    device, int8 = toy.device(), {"precisions": ("int8",)}
    settings = {"vocab_from": texts, **int8}
    result = toy.compile(device, "cut", limit_ms, settings)
    manifest = result.manifest
    cut = manifest.vocabulary
    assert cut is not None
    assert (cut.tokens, cut.text) == (manifest.geometry.vocab_size, "few.txt")
    assert cut.tokens < cut.of_tokens == toy.space.geometry.vocab_size
    assert "kept" not in dict(result.rows())["vocabulary"]
    said = file_bytes(manifest.architecture, "onnxruntime", manifest.geometry, "embed")
    assert said - 4_000 <= manifest.size_bytes <= said
    assert manifest.params == result.network.params
    [larger] = result.larger().values()
    assert larger == said + (cut.of_tokens - cut.tokens) * (32 + 4)
    own = AutoTokenizer.from_pretrained(result.package)
    assert len(own) == cut.tokens
    assert own.tokenize("the dog") == ["the", "d", "##o", "##g"]
    golden = json.loads((result.package / "golden.json").read_text(encoding="utf-8"))
    assert max(max(one["input_ids"]) for one in golden["texts"]) < cut.tokens
    assert str(cut) in (result.package / "README.md").read_text(encoding="utf-8")
    assert verify_package(result.package, opener=device, cache=toy.settings.cache).ok
    # What is searched knows the smaller size.
    found = search(
        Limits(latency_ms=limit_ms),
        dataclasses.replace(toy.settings, **settings),
        best=1,
        opener=device,
    )
    all_words = dataclasses.replace(toy.settings, **int8)
    whole = search(Limits(latency_ms=limit_ms), all_words, best=1, opener=device)
    assert found[0].architecture == whole[0].architecture
    rows = cut.of_tokens - cut.tokens
    assert whole[0].costs["size_bytes"] - found[0].costs["size_bytes"] == rows * (32 + 4)
    with pytest.raises(PackageError, match="tokens are kept of the vocabulary"):
        dataclasses.replace(manifest, vocabulary=dataclasses.replace(cut, tokens=cut.tokens - 1))


def test_int8_that_is_refused_is_not_chosen_again(
    toy: Toy, limit_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        halving.TrainedCandidate,
        "score",
        property(lambda one: float(one.network.architecture.precision == "int8")),
    )
    refused = []

    def refuse(report: Any, **scores: Any) -> tuple[bool, str]:
        assert not refused, "chosen again"
        refused.append(report)
        return False, "vectors are off"

    monkeypatch.setattr(artifact_quality, "accept_reduced", refuse)
    device = toy.device()
    result = toy.compile(device, "refused", limit_ms)
    assert result.manifest.architecture.precision == "fp32"
    [int8] = [a for a in result.attempts if a.architecture.endswith("int8")]
    assert (int8.met, int8.note) == (False, "int8 refused: vectors are off")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps of every training of a network, in order."""
    steps: list[int] = []

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def train(network: Any, teacher: Any, corpus: Any, config: Any, **about: Any) -> Any:
            steps.append(config.steps)
            return real(network, teacher, corpus, config, **about)

        return train

    for module in (halving, training):
        monkeypatch.setattr(module, "distill_cached", counted(module.distill_cached))
    return steps


def test_the_training_of_the_halving_counts_for_the_budget(
    toy: Toy, limit_ms: float, trained: list[int]
) -> None:
    result = toy.compile(toy.device(), "trained", limit_ms, distill_steps=20)
    *entered, last = trained
    assert len(entered) > 1
    assert set(entered) == {2}
    assert last == 18
    assert result.manifest.training.distill_steps == 20


@pytest.mark.parametrize(
    ("distill_steps", "own_text", "rival_scores", "ships"),
    [
        (0, True, (0.0, 0.0), "as it came"),
        (5, True, (0.0, 0.0), "trained on"),
        (20, True, (0.0, 0.0), "trained on"),
        (20, False, (0.0, 0.4), "as it came"),
        (20, False, (0.0, 0.5 + LEAST_LEAD / 3), "as it came"),
        (20, False, (0.5 + LEAST_LEAD / 3, 0.5 + LEAST_LEAD / 3), "as it came"),
        (20, False, (0.0, 0.51 + LEAST_LEAD / 2), "the rival"),
        (20, False, (0.8, 0.9), "the rival"),
    ],
)
def test_a_network_that_comes_trained_goes_on_with_text_of_the_user_s_alone(
    toy: Toy,
    limit_ms: float,
    trained: list[int],
    distill_steps: int,
    own_text: bool,
    rival_scores: tuple[float, float],
    ships: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where it agrees best of those that compete; all of its training is stated.

    Without, the best of the others ships if it leads clearly once all of its training is over,
    whichever leads before.
    """
    space, teacher = toy.space, toy.teacher
    supernet = Supernet(space, teacher)
    tokens = teacher.tokenize([" ".join(WORDS)])
    batch = tokens.batch(range(1))
    initialize(supernet, batch.input_ids, batch.attention_mask, 0)
    architecture = space.parse("16: M F | 16: F")
    network = supernet.extract(architecture)
    about = TrainedNetwork(network, 9_000, "prose of another time", {}, {})
    monkeypatch.setattr(RunInputs, "trained_networks", (about,))

    def score(one: halving.TrainedCandidate) -> float:
        if one.trained is not None:
            return 0.5
        return rival_scores[trained[-1:] == [18]]

    monkeypatch.setattr(halving.TrainedCandidate, "score", property(score))
    if not own_text:
        monkeypatch.setattr(Settings, "has_own_text", False)
    finished: list[Any] = []
    finish = steps.finish
    monkeypatch.setattr(
        steps, "finish", lambda *given: finished.append(finish(*given)) or finished[-1]
    )
    measured: list[list[int]] = []
    measure = steps.measure
    monkeypatch.setattr(
        steps, "measure", lambda *given: measured.append(list(trained)) or measure(*given)
    )
    result = toy.compile(toy.device(), "came", limit_ms, distill_steps=distill_steps)
    assert 18 not in measured[0], "trained to the end before it was known to hold its limits"
    record = result.manifest.training
    readme = (result.package / "README.md").read_text()
    said = "as it comes trained with nasc, 9,000 steps on prose of another time"
    shipped = finished[-1].network.with_precision(network.architecture.precision)
    if ships == "the rival":
        assert (record.distill_steps, record.trained_steps) == (20, None)
        assert "trained with nasc" not in readme
    else:
        assert result.manifest.architecture.blocks == architecture.blocks
        assert (record.trained_steps, record.trained_text) == (9_000, "prose of another time")
        more = f", then {distill_steps} steps by itself" if ships == "trained on" else ";"
        assert said + more in readme
        assert (shipped.sha256() == network.sha256()) == (ships == "as it came")
    assert trained[-1:] == {0: [], 5: [5], 20: [18]}[distill_steps]
    halved = 0 if not distill_steps else len(trained) - 1
    assert trained[:halved] == [2] * halved
    entered = [one["architecture"] for one in result.manifest.evidence["search"]["compared"]]
    assert str(result.manifest.architecture) in entered
    assert verify_package(result.package, measure=False).ok


def come_trained(toy: Toy, text: str, monkeypatch: pytest.MonkeyPatch) -> Network:
    """A network that comes trained, where no text is named."""
    supernet = Supernet(toy.space, toy.teacher)
    batch = toy.teacher.tokenize([" ".join(WORDS)]).batch(range(1))
    initialize(supernet, batch.input_ids, batch.attention_mask, 0)
    network = supernet.extract(toy.space.parse(text))
    about = TrainedNetwork(network, 9_000, "prose of another time", {}, {})
    monkeypatch.setattr(RunInputs, "trained_networks", (about,))
    monkeypatch.setattr(Settings, "has_own_text", False)
    return network


def test_a_rival_that_misses_the_limits_leaves_what_comes_trained_in_place(
    toy: Toy, limit_ms: float, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = come_trained(toy, "16: M F | 16: F", monkeypatch)
    monkeypatch.setattr(
        halving.TrainedCandidate,
        "score",
        property(lambda one: 1.0 if one.trained is not None else 2.0 * (trained[-1:] == [18])),
    )
    check = steps.check_measured

    def misses(compilation: Any, state: Any, measured: Any) -> Any:
        found = check(compilation, state, measured)
        if 18 not in trained:
            return found
        return dataclasses.replace(found, tighter={"latency_ms": 0.1}, over=True, note="too slow")

    monkeypatch.setattr(steps, "check_measured", misses)
    result = toy.compile(toy.device(), "missed", limit_ms, distill_steps=20)
    assert trained[-1] == 18
    assert result.manifest.architecture.blocks == network.architecture.blocks
    assert result.manifest.training.trained_steps == 9_000
    kept, missed = result.attempts
    assert (kept.met, missed.met) == (True, False)
    assert kept.architecture == str(result.manifest.architecture)
    assert missed.note == "too slow"
    assert verify_package(result.package, measure=False).ok


def test_where_a_rival_is_refused_by_parity_the_search_goes_on_in_another_precision(
    toy: Toy, limit_ms: float, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = come_trained(toy, "16: M F | 16: F", monkeypatch)
    monkeypatch.setattr(
        halving.TrainedCandidate,
        "score",
        property(lambda one: 1.0 if one.trained is not None else 2.0 * (18 in trained)),
    )
    parity = artifact_quality.ArtifactEvaluator.parity

    def refuses(self: Any, network: Any, artifact: Any) -> Any:
        report, _ = parity(self, network, artifact)
        is_int8 = network.architecture.precision == "int8"
        return report, "made up" if 18 in trained and is_int8 else None

    monkeypatch.setattr(artifact_quality.ArtifactEvaluator, "parity", refuses)
    result = toy.compile(toy.device(), "refused", limit_ms, distill_steps=20)
    assert result.manifest.architecture.precision == "fp32"
    assert result.manifest.evidence["search"]["variants"] == ["onnxruntime fp32"]
    accepted = result.attempts[0]
    in_int8 = str(network.architecture.with_precision("int8"))
    assert (accepted.architecture, accepted.met) == (in_int8, True)
    assert trained[-1] == 18
    assert trained.count(18) == 2, "the rival is another one now"
    assert verify_package(result.package, measure=False).ok


@pytest.mark.parametrize("distill_steps", [0, 20])
def test_what_comes_trained_and_misses_the_limits_is_not_tried_again(
    toy: Toy,
    trained: list[int],
    distill_steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It fits as it was measured beside the table, whatever the limits."""
    network = come_trained(toy, "32: M F | 32: M F", monkeypatch)
    monkeypatch.setattr(
        halving.TrainedCandidate, "score", property(lambda one: float(one.trained is not None))
    )

    def probed(context: Any, architecture: Any, variant: Any, limits: Limits) -> Any:
        return halving.priced(context, architecture, variant, Limits())

    monkeypatch.setattr(halving, "priced_or_probed", probed)
    device = toy.device()
    less_ms = 0.9 * device.layers_ms(network.architecture.with_precision("int8"))
    result = toy.compile(device, "missed", less_ms, distill_steps=distill_steps)
    assert result.manifest.architecture.blocks != network.architecture.blocks
    tried = [(one.architecture, one.runtime) for one in result.attempts]
    precisions = [str(network.architecture.with_precision(p)) for p in ("fp32", "int8")]
    own = [which for which in tried if which[0] in precisions]
    assert own
    assert len(own) == len(set(own)), "in each of its variants once"
    assert verify_package(result.package, measure=False).ok


def test_what_comes_trained_does_not_enter_out_of_the_supernet_too(
    toy: Toy, limit_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []

    def come_with_nasc(context: Any, *given: Any) -> list[halving.Candidate]:
        about = given[:2]
        best = halving.best_of(context, halving.searches(context, *about)[0])
        network = context.supernet.prepare().supernet.extract(best.solution.architecture)
        names.append(str(best.solution.architecture).split(" @ ")[0])
        about_it = TrainedNetwork(network, 9_000, "prose of another time", {}, {})
        return [halving.Candidate(best.solution, network, about_it)]

    monkeypatch.setattr(halving, "trained_networks", come_with_nasc)
    result = toy.compile(toy.device(), "twice", limit_ms, distill_steps=20)
    compared = result.manifest.evidence["search"]["compared"]
    entered = [one["architecture"].split(" @ ")[0] for one in compared]
    assert len(entered) > 1
    assert entered.count(names[0]) == 1


def test_pruned_teachers_are_compared_roughly_on_fewer_sentences(
    toy: Toy, limit_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[int, int] = {}
    given: list[Any] = []
    make, prune = supernet_parts.PrunedLoss, halving.prune

    def pruned_loss(teacher: Any, space: Any, batches: Any, *about: Any) -> Any:
        loss = make(teacher, space, batches, *about)
        rows[id(loss)] = sum(len(batch.input_ids) for batch in batches)
        return loss

    def spied(space: Any, precision: str, loss: Any, rough: Any, *about: Any) -> Any:
        given.append((loss, rough))
        return prune(space, precision, loss, rough, *about)

    monkeypatch.setattr(supernet_parts, "PrunedLoss", pruned_loss)
    monkeypatch.setattr(halving, "prune", spied)
    toy.compile(toy.device(), "pruned", limit_ms, distill_steps=20)
    assert [[rows[id(loss)] for loss in both] for both in given] == [[32, 8]]


def test_quality_is_judged_on_text_that_chose_nothing(
    toy: Toy, limit_ms: float, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Candidates are scored, and compete, on one half of the held-out text."""
    judged: list[str] = []
    chosen: list[str] = []
    encode, vectors = Encoder.encode, halving.pooled_vectors

    def encoding(self: Encoder, texts: Any, *about: Any, **options: Any) -> Any:
        judged.extend(texts)
        return encode(self, texts, *about, **options)

    def choosing(teacher: Any, network: Any, texts: Any, **options: Any) -> Any:
        chosen.extend(texts)
        return vectors(teacher, network, texts, **options)

    monkeypatch.setattr(Encoder, "encode", encoding)
    monkeypatch.setattr(halving, "pooled_vectors", choosing)
    monkeypatch.setattr(steps, "QUERIES", 20)
    asked = {"retrieval_data": questions, "min_quality": {"recall_at_10": 0.1}}
    result = toy.compile(toy.device(), "judged", limit_ms, distill_steps=20, **asked)
    found = result.manifest.quality
    sha256 = sha256_of(questions)
    about = {"questions": 20, "paragraphs": 14}
    about |= {"retrieval_data": questions.name, "retrieval_sha256": sha256}
    scored = evaluate(
        result.package, "retrieval", questions, queries=Queries(20, toy.settings.seed)
    )
    ends = {
        f"{name}_{end}": value
        for name, both in scored.intervals.items()
        for end, value in zip(("low", "high"), both, strict=True)
    }
    assert list(found) == [*VECTOR_METRICS, "sentences", *RETRIEVAL_METRICS, *ends, *about]
    assert about.items() <= found.items()
    assert {name: found[name] for name in RETRIEVAL_METRICS} == pytest.approx(scored.scores)
    assert {name: found[name] for name in ends} == pytest.approx(ends)
    mrr = "{mrr_at_10:.4f} ({mrr_at_10_low:.4f} to {mrr_at_10_high:.4f})".format(**found)
    assert f"| quality: mrr at 10 | {mrr} |" in (result.package / "README.md").read_text()
    assert f"mrr_at_10 {mrr}" in dict(result.rows())["quality"]
    assert verify_package(result.package, measure=False).ok
    assert 0 < found["ranking_ndcg"] <= 1
    corpus = RunContext(toy.settings, opener=toy.device()).corpus
    assert set(chosen) == set(scored_sentences(corpus))
    assert set(judging_sentences(corpus, 10)) <= set(judged)
    assert not set(judged) & set(chosen)


@pytest.mark.slow
def test_what_is_made_from_tables_of_another_machine_says_so(
    toy: Toy, limit_ms: float, first: tuple[CompileResult, Device], tmp_path: Path
) -> None:
    """Sent from a cache and taken into one of another processor: nothing is measured anew there."""
    cache = toy.settings.cache
    assert cache is not None
    sent = [
        export_table(one.name, tmp_path / f"{one.name}.csv", samples=True, cache=cache).path
        for one in tables(cache=cache, opener=toy.device())
    ]
    assert len(sent) >= 1
    shutil.rmtree(tables_folder(cache))
    device = toy.device()

    def elsewhere(*about: Any) -> Any:
        worker = device(*about)
        worker.context |= {"fingerprint": "elsewhere"}
        return worker

    for path in sent:
        with pytest.raises(TableRefused, match="--accept-other-machine"):
            import_table(path, cache=cache, opener=elsewhere)
        import_table(path, accept_other_machine=True, cache=cache, opener=elsewhere)
    reporter = Listener()
    limits = Limits(latency_ms=limit_ms)
    note = "latency table imported from another machine: onnxruntime int8 by synthetic ("
    found = search(limits, toy.settings, opener=elsewhere, reporter=reporter)
    notes = {s.latency_table for s in found if s.architecture.precision == "int8"}
    assert [str(one)[: len(note)] for one in notes] == [note]
    assert notes <= set(reporter.said)
    assert not [job for job in device.jobs if job.path.stem == "0000"]  # of a plan

    there: Any = elsewhere
    result = toy.compile(there, "elsewhere", limit_ms)
    assert result.manifest.latency_table is not None
    assert note in result.manifest.latency_table
    assert read_manifest(result.package) == result.manifest
    assert result.manifest.latency_table in result.warnings()
    assert ("note", result.manifest.latency_table) in result.rows()
    told = (result.package / "MEASURED.md").read_text(encoding="utf-8")
    assert f"| predicted by | {note}" in told
    report = verify_package(result.package, measure=False)
    assert [check.name for check in report.checks if check.ok is False] == []

    own = first[0]
    assert own.manifest.latency_table is None
    assert "latency_table" not in own.manifest.to_dict()
    assert "another machine" not in (own.package / "MEASURED.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_is_made_from_transferred_tables_says_so(
    toy: Toy, limit_ms: float, first: tuple[CompileResult, Device], tmp_path: Path
) -> None:
    """Tables of a few networks, with those of a device of another speed, and no whole ones."""
    cache = toy.settings.cache
    assert cache is not None
    files = {
        one.table.key.precision: export_table(one.name, tmp_path / one.name, cache=cache).path
        for one in tables(cache=cache, opener=toy.device())
        if one.table is not None
    }
    shutil.rmtree(tables_folder(cache))
    for precision in ("fp32", "int8"):
        [made] = profile(
            space=toy.settings.space,
            precisions=[precision],
            head="embed-unscaled",  # of a teacher without modules.json
            seq_lens=[SEQ_LEN],
            threads=[THREADS],
            from_table=files.get(precision) or next(iter(files.values())),
            budget=10,
            cache=cache,
            opener=toy.device(),
        )
        assert made.table.transferred is not None
    device = toy.device()
    note = "latency table transferred, with 10 networks measured on synthetic: onnxruntime int8 "
    found = search(Limits(latency_ms=limit_ms), toy.settings, opener=device)
    notes = {s.latency_table for s in found if s.architecture.precision == "int8"}
    assert [str(one)[: len(note)] for one in notes] == [note]
    result = toy.compile(device, "transferred", limit_ms)
    # No plan is measured, only a network of a size that the table lacks.
    assert not [job for job in device.jobs if job.path.stem == "0000" and "|" in job.name]
    assert note in str(read_manifest(result.package).latency_table)
    assert result.manifest.latency_table in result.warnings()
    assert f"| predicted by | {note}" in (result.package / "MEASURED.md").read_text("utf-8")


# Several runtimes

AUTO = {"runtime": "auto"}


@pytest.mark.slow
def test_of_several_runtimes_the_fastest_at_equal_quality_ships(toy: Toy) -> None:
    pytest.importorskip("openvino")
    device = toy.device(precisions=("fp32", "bf16", "int8"))
    whole_ms = device.layers_ms(toy.space.teacher)
    result = toy.compile(device, "auto", 2 * whole_ms, AUTO)
    manifest = result.manifest
    assert manifest.architecture.is_teacher
    assert (manifest.conditions.runtime, manifest.architecture.precision) == ("openvino", "bf16")
    assert manifest.measured is not None
    assert manifest.measured.model.latency_ms == pytest.approx(0.3 * whole_ms, rel=0.05)
    for variant, known_ms in result.others_ms.items():
        factor = FACTORS[variant.runtime, variant.precision]
        assert known_ms == pytest.approx(factor * whole_ms, rel=0.1)
    assert len(result.others_ms) >= 2


def test_without_the_fast_precision_auto_is_as_good_as_the_best_runtime(toy: Toy) -> None:
    pytest.importorskip("openvino")
    device = toy.device()
    whole_ms = device.layers_ms(toy.space.teacher)
    result = toy.compile(device, "auto-without", 2 * whole_ms, AUTO)
    variant = (result.manifest.conditions.runtime, result.manifest.architecture.precision)
    assert variant == ("openvino", "fp32")
    assert result.manifest.architecture.is_teacher


def test_a_tight_limit_is_met_by_the_variant_that_loses_least(toy: Toy, limit_ms: float) -> None:
    """A limit that onnxruntime meets with a smaller network is met by the whole one in bf16."""
    pytest.importorskip("openvino")
    device = toy.device(precisions=("fp32", "bf16", "int8"))
    result = toy.compile(device, "auto-tight", limit_ms, AUTO)
    assert result.manifest.architecture.is_teacher
    assert result.manifest.conditions.runtime == "openvino"


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_network_of_one_shape_says_so_and_pads(toy: Toy, runtime: str) -> None:
    pytest.importorskip(runtime)
    device = toy.device()
    whole_ms = device.layers_ms(toy.space.teacher)
    settings = {"runtime": runtime, "fixed_shape": True}
    result = toy.compile(device, f"fixed-{runtime}", 2 * whole_ms, settings)
    manifest = result.manifest
    assert manifest.conditions.fixed_shape
    assert manifest.max_length == SEQ_LEN
    assert "16 tokens and no other shape" in str(manifest.conditions)
    report = verify_package(result.package, measure=False)
    assert [check.name for check in report.checks if check.ok is False] == []
    readme = (result.package / "README.md").read_text(encoding="utf-8")
    [lines] = re.findall("```python\\n(.*?)```", readme, re.DOTALL)
    assert "always of 1 x 16 tokens" in readme
    done = subprocess.run(
        [sys.executable, "-c", lines],
        cwd=result.package,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[") == 2  # one similarity: that of the only text to itself


def test_what_the_device_alone_can_run_is_judged_there(
    toy: Toy, limit_ms: float, first: tuple[CompileResult, Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses, parity, quality and golden vectors, where this machine lacks the runtime."""
    settings = {"device": str(toy.folder / "host.toml")}  # whose tables are there
    Path(settings["device"]).write_text(
        'name = "host"\ndescription = "made up"\ndetect = true\n'
        'connection = {kind = "command", command = ["unused"]}\n'
        'defaults = {threads = 1, runtime = "onnxruntime"}\n',
        encoding="utf-8",
    )
    device, opened = toy.device(), []
    with LocalWorker(RuntimeOptions()) as there:

        def opener(*about: Any) -> Any:
            worker = device(*about)
            worker.open, worker.run = there.open, there.run
            return worker

        def refuse(path: Path, options: object) -> Any:
            raise AssertionError(f"{path} is opened in this process")

        def open_there(name: str, path: str) -> Any:
            opened.append(path)
            return WorkerClient.open(there, name, path)

        monkeypatch.setattr(there, "open", open_there)
        monkeypatch.setattr("nasc.latency.session.precisions_here", lambda runtime: ())
        monkeypatch.setattr("nasc.evaluation.encoder._loaded", refuse)
        there_alone: Any = opener
        result = toy.compile(there_alone, "board", limit_ms, settings)
    assert result.manifest.architecture.precision == "int8"
    assert len(opened) >= 4  # parity in fp32 and in int8, quality, golden texts
    assert Path(opened[-1]).parent.parent.name.startswith(".board")  # the package's own file


def test_a_package_for_an_emulated_device_says_nothing_of_time(toy: Toy, limit_ms: float) -> None:
    path = toy.folder / "host.toml"  # whose tables are there
    path.write_text(
        'name = "host"\ndescription = "made up"\ndetect = true\nemulated = true\n'
        'connection = {kind = "local"}\ndefaults = {threads = 1, runtime = "onnxruntime"}\n',
        encoding="utf-8",
    )
    settings = dataclasses.replace(toy.settings, device=str(path))
    with pytest.raises(DeviceEmulated, match=r"device 'host' .* is emulated"):
        toy.compile(toy.device(), "refused", limit_ms, {"device": str(path)})
    options = Options(distill_steps=0, output=toy.folder / "emulated")
    found = pipeline.compile(Limits(size_bytes=1e9), settings, options, opener=toy.device())
    manifest = found.manifest
    assert (manifest.measured, manifest.predicted, list(manifest.attempts)) == (None, None, [])
    assert manifest.latency_table == NO_LATENCY
    assert (found.attempts, found.others_ms) == ((), {})
    readme = (found.package / "README.md").read_text()
    assert "the device is emulated" in readme
    text = " ".join(value for _, value in found.rows() if "tokenisation" not in value)
    assert "the device is emulated" in text
    rows = dict(found.rows())
    assert not {"measured", "observed", "otherwise"} & rows.keys()
    assert " ms" not in " ".join(value for name, value in rows.items() if name != "tokenisation")


# Without the device


def stated(folder: Path) -> str:
    """A device that nobody can reach, and of which something is stated."""
    path = folder / "phone.toml"
    path.write_text(
        'name = "phone"\ndescription = "a phone"\n[connection]\nkind = "adb"\n'
        '[[clusters]]\ncore = "Big"\ncount = 2\n[defaults]\nthreads = 1\nruntime = "onnxruntime"\n'
        '[[peaks]]\ncore = "Big"\nclock_mhz = 2000\nfp32_macs_per_cycle = 16\n'
        'int8_macs_per_cycle = 64\nsource = "its maker"\ndate = 2026-11-29\n',
        encoding="utf-8",
    )
    return str(path)


@pytest.mark.slow
def test_an_estimate_says_so_in_all_that_is_made_of_it(toy: Toy, tmp_path: Path) -> None:
    def never(*about: object) -> Any:
        raise AssertionError("an estimate asks no device")

    changes = {"device": stated(tmp_path), "estimate": True, "threads": None}
    settings = dataclasses.replace(toy.settings, **changes)
    nobody: Any = never
    context = RunContext(settings, opener=nobody)
    whole = toy.space.teacher.with_precision("int8")
    [costs] = [context.tables.measure_costs(context.variants)]
    limit_ms = 0.9 * costs.upper(
        "latency_ms",
        costs.predict(whole, "onnxruntime").latency_ms,
        Variant("onnxruntime", "int8"),
    )
    [found, *_] = search(Limits(latency_ms=limit_ms), settings, opener=nobody)
    assert str(found.latency_table).startswith("ESTIMATE, not measured: onnxruntime ")

    with pytest.raises(UsageError, match=r"--output .*-ESTIMATE"):
        toy.compile(nobody, "plain", limit_ms, changes)
    result = toy.compile(nobody, "phone-ESTIMATE", limit_ms, changes)
    manifest = result.manifest
    note = manifest.estimate
    assert note is not None
    assert note.startswith("ESTIMATE, not measured: onnxruntime ")
    assert (manifest.measured, manifest.peak_memory.measured_bytes) == (None, None)
    assert manifest.predicted is not None
    assert manifest.predicted.high_ms <= limit_ms
    assert manifest.predicted.high_ms > 1.9 * manifest.predicted.latency_ms
    assert read_manifest(result.package) == manifest
    assert result.to_dict()["estimate"] == note
    assert result.to_dict()["measured"] is None
    assert note in "; ".join(result.warnings())
    names = dict(result.rows())
    assert "ESTIMATE" in names
    assert "ESTIMATED" in names["limits"]
    assert names["otherwise"].endswith("(ESTIMATE)")
    told = (result.package / "README.md").read_text(encoding="utf-8")
    assert f"**{note}.**" in told
    assert "latency, ESTIMATE, not measured (ms)" in told
    for measure in (True, False):
        report = verify_package(result.package, measure=measure, opener=nobody)
        assert [(c.name, c.detail) for c in report.checks if c.ok is False] == []
        [latency] = [check for check in report.checks if check.name == "latency"]
        assert (latency.ok, latency.declined, latency.detail) == (None, False, note)
        [limits] = [check for check in report.checks if check.name == "limits"]
        assert limits.ok is None
        assert limits.detail.endswith("is an ESTIMATE, not measured")
        assert report.exit_code not in (0, 1)
    assert not any("phone" in path.name for path in tables_folder(settings.cache).iterdir())


@pytest.mark.parametrize(
    ("limits", "options", "named"),
    [
        ({"latency_ms": 5.0}, {"quantile": "p90"}, "--quantile p90"),
        ({"peak_memory_bytes": 1e8}, {}, "--peak-memory-bytes 1e.08"),
    ],
)
def test_what_only_a_measurement_can_hold_is_not_estimated(
    limits: dict[str, float], options: dict[str, str], named: str, tmp_path: Path
) -> None:
    settings = Settings(device=stated(tmp_path), estimate=True, cache=tmp_path)
    with pytest.raises(UsageError, match=f"{named} is measured on the device"):
        pipeline.compile(Limits(**limits), settings, Options(**options))


def test_a_device_out_of_reach_is_one_error_with_the_ways_on(tmp_path: Path) -> None:
    settings = Settings(device="pixel6", cache=tmp_path)
    with pytest.raises(TableMissing) as caught:
        search(Limits(latency_ms=5.0), settings)
    for way in (
        "nasc profile --device pixel6;",
        "nasc profile --device pixel6 --from-table DEVICE --budget 20;",
        "no measurement: --estimate",
    ):
        assert way in str(caught.value)
    assert "tables import" not in str(caught.value)  # which looks at the device too


@pytest.mark.slow
def test_tables_alone_are_searched_where_the_device_is_away(
    toy: Toy, limit_ms: float, tmp_path: Path
) -> None:
    """A phone whose tables somebody else measured, and which nobody has here."""
    cache, limits = toy.settings.cache, Limits(latency_ms=limit_ms)
    assert cache is not None
    sent = [
        export_table(one.name, tmp_path / one.name, cache=cache).path
        for one in tables(cache=cache, opener=toy.device())
    ]
    shutil.rmtree(tables_folder(cache))
    settings = dataclasses.replace(toy.settings, device="pixel6")
    with pytest.raises(TableMissing, match="Ways on: measure a table"):
        search(limits, settings)
    for path in sent:
        taken = import_table(path, device="pixel6", cache=cache)
        assert taken.unchecked is not None
        assert "cannot be reached" in taken.unchecked
        assert ("not checked", taken.unchecked) in taken.rows()
        assert taken.table.key.fingerprint == "synthetic"
        assert taken.table.note is None
    reporter = Listener()
    found = search(limits, settings, reporter=reporter)
    note = "device 'pixel6' could not be reached: predicted from its latency tables alone"
    for one in found:
        true_ms = toy.device().layers_ms(one.architecture)
        assert one.costs["latency_ms"] == pytest.approx(true_ms, rel=0.05)
        assert str(one.latency_table).startswith(note)
    assert any(text.startswith(note) for text in reporter.said)
    for path in tables_folder(cache).glob("*fp32*"):
        path.unlink()
    reporter = Listener()
    found = search(limits, settings, reporter=reporter)
    assert {s.architecture.precision for s in found} == {"int8"}
    assert any(text.startswith("left out, as no latency table") for text in reporter.said)
    with pytest.raises(TableMissing, match="Ways on: measure a table"):
        search(limits, dataclasses.replace(settings, precisions=("fp32",)))
    with pytest.raises(TableMissing, match="Ways on: measure a table"):  # it measures in the end
        pipeline.compile(limits, settings, Options(output=tmp_path / "package"))


@pytest.mark.slow
def test_a_device_that_is_found_to_be_away_is_known_by_its_own_tables_first(
    toy: Toy, limit_ms: float, tmp_path: Path
) -> None:
    """It is known to be away only once it was tried, as over SSH; then another one is there."""
    path = tmp_path / "board.toml"
    path.write_text(
        'name = "board"\ndescription = "made up"\ndetect = true\n'
        'connection = {kind = "command", command = ["unused"]}\n'
        'defaults = {threads = 1, runtime = "onnxruntime"}\n',
        encoding="utf-8",
    )
    cache, limits = toy.settings.cache, Limits(latency_ms=limit_ms)
    assert cache is not None
    settings = dataclasses.replace(toy.settings, device=str(path), precisions=("int8",))

    def lost(*about: Any) -> Any:
        raise DeviceUnreachable("no route to it")

    with pytest.raises(TableMissing, match="no route to it"):
        search(limits, settings, opener=lost)
    search(limits, settings, opener=toy.device())
    [table] = list(tables_folder(cache).glob("board-*.csv"))
    found = search(limits, settings, opener=lost)
    assert "could not be reached" in str(found[0].latency_table)

    other = toy.device()

    def another(*about: Any) -> Any:
        worker = other(*about)
        worker.context |= {"fingerprint": "another"}
        return worker

    search(limits, settings, opener=another)  # measures its own: that table is none of it
    assert len([*tables_folder(cache).glob("board-*.csv")]) == 2
    assert table.exists()


def test_a_package_for_queries_is_judged_by_the_teacher_s_documents(
    shared: Toy, pooled_folder: Path, tmp_path: Path, limit_ms: float, questions: Path
) -> None:
    """With the prompt of queries before texts, and none before what is found: there is none."""
    folder = pooled_folder
    prompts = {"query": "the big "}
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    changed = {
        "teacher": str(folder),
        "cache": tmp_path / "cache",
        "precisions": ("fp32",),
        "query_only": True,
    }
    device = shared.device(precisions=("fp32",))
    place, more = str(tmp_path / "small"), {"distill_steps": 4, "retrieval_data": questions}
    result = shared.compile(device, place, limit_ms, changed, **more)
    manifest = result.manifest
    assert (manifest.query_only, manifest.prompts.default) == (True, "query")
    assert ("for", f"queries alone; documents by {manifest.teacher.name}") in result.rows()
    assert "**For queries alone.**" in (result.package / "README.md").read_text()
    assert verify_package(result.package, measure=False).ok

    teacher, encoder = load_teacher(folder), Encoder(result.package / "model.onnx")
    context = RunContext(dataclasses.replace(shared.settings, **changed))
    texts = list(judging_sentences(context.corpus, JUDGING_SENTENCES))
    asked = [f"the big {text}" for text in texts]
    given = encoder.encode_tokens(teacher.tokenize(asked).rows())
    wanted, among = teacher.vectors(asked), teacher.vectors(texts)
    found = compare(wanted, given, among)
    assert manifest.quality["ranking_ndcg"] == pytest.approx(found.ranking_ndcg, abs=1e-4)
    assert found.ranking_ndcg != pytest.approx(compare(wanted, given).ranking_ndcg, abs=1e-3)

    # and scored by them, too
    data = tmp_path / "texts.txt"
    data.write_text("\n".join(dict.fromkeys(texts)))
    scored = evaluate(result.package, "ranking", data, queries=Queries(teacher=folder))
    ndcg = ranking_ndcgs(wanted, given, documents=among).mean()
    assert scored.scores["ndcg_at_10"] == pytest.approx(ndcg, abs=1e-4)
    retrieval = evaluate(result.package, "retrieval", questions, queries=Queries(teacher=folder))
    assert manifest.quality["mrr_at_10"] == pytest.approx(retrieval.scores["mrr_at_10"])
    with pytest.raises(UsageError, match=r"sts-b compares vectors of one model"):
        evaluate(result.package, "sts-b", data, queries=Queries(teacher=None))


def test_what_does_not_go_with_queries_alone_is_one_message(toy: Toy) -> None:
    with pytest.raises(UsageError, match=r"about sentence vectors: leave --head hidden out"):
        dataclasses.replace(toy.settings, query_only=True, head="hidden")
    sts: Any = SimpleNamespace(task=None, sts_data=Path("dev.tsv"))
    with pytest.raises(UsageError, match=r"--sts-data compares vectors of a package with each"):
        compile_checks.check_query_only(sts)
    task: Any = SimpleNamespace(task=SimpleNamespace(name="sst-2"), sts_data=None)
    with pytest.raises(UsageError, match=r"and --task sst-2 is not"):
        compile_checks.check_query_only(task)


def test_several_devices_get_a_package_each_and_an_index(
    shared: Toy, limit_ms: float, tmp_path: Path
) -> None:
    """Of one supernet; where the limit is tighter the network is smaller."""
    profiles = {}
    for name in ("fast", "slow"):
        profiles[name] = tmp_path / f"{name}.toml"
        profiles[name].write_text(HOST.read_text().replace('"host"', f'"{name}"'))
    opener = shared.device()
    output = tmp_path / "both"
    settings = dataclasses.replace(shared.settings, cache=tmp_path / "cache", precisions=("int8",))
    limits = [Limits(latency_ms=3 * limit_ms), Limits(latency_ms=limit_ms)]
    options = Options(distill_steps=0, output=output)
    found = compile_devices(
        [str(path) for path in profiles.values()], limits, settings, options, opener=opener
    )
    assert found.missed == {}
    fast, slow = found.results.values()
    assert fast.manifest.architecture.is_teacher
    assert not slow.manifest.architecture.is_teacher
    index = read_index(output)
    assert [one.folder for one in index] == ["fast", "slow"]
    assert [one.latency_ms for one in index] == [
        r.manifest.measured.latency_ms for r in (fast, slow) if r.manifest.measured
    ]
    assert [row[0] for row in found.table()] == list(found.results)

    assert [one.device for one in index] == ["fast", "slow"]
    reports = verify_devices(output, measure=False)
    assert reports.exit_code == 0
    assert [report.ok for report in reports.reports.values()] == [True, True]
    with pytest.raises(
        PackageError, match=r"holds packages.*interrupted.*same command and --force"
    ):
        compile_devices([str(profiles["fast"])], limits[:1], settings, options, opener=opener)

    # an index that says more than the package does
    write_index(output, [dataclasses.replace(index[0], latency_ms=0.1), index[1]])
    forged, good = verify_devices(output, measure=False).reports.values()
    assert "the index says something else of" in str(forged.failed[0])
    assert str(forged.failed[0]).endswith("latency_ms")
    assert good.ok
    write_index(output, index)

    # a package that took the place of another, or is gone
    shutil.rmtree(output / "fast")
    shutil.copytree(output / "slow", output / "fast")
    shutil.rmtree(output / "slow")
    swapped, gone = verify_devices(output, measure=False).reports.values()
    assert "the index says something else of" in str(swapped.failed[0])
    assert "there is no package in" in str(gone.failed[0])


def test_a_device_without_a_package_is_said_and_the_others_are_kept(
    shared: Toy, limit_ms: float, tmp_path: Path
) -> None:
    profiles = []
    for name in ("first", "second"):
        profiles.append(str(tmp_path / f"{name}.toml"))
        Path(profiles[-1]).write_text(HOST.read_text().replace('"host"', f'"{name}"'))
    settings = dataclasses.replace(shared.settings, cache=tmp_path / "cache", precisions=("int8",))
    options = Options(distill_steps=0, output=tmp_path / "both")
    device = shared.device()
    limits = [Limits(latency_ms=3 * limit_ms), Limits(latency_ms=1e-4)]
    found = compile_devices(profiles, limits, settings, options, opener=device)
    assert len(found.results) == len(found.missed) == 1
    assert [one.folder for one in read_index(found.folder)] == ["first"]
    assert isinstance(next(iter(found.missed.values())), InfeasibleLimits)
    elsewhere = dataclasses.replace(options, output=tmp_path / "site")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / INDEX).write_text('{"pages": []}')
    forced = dataclasses.replace(elsewhere, force=True)
    with pytest.raises(PackageError, match="is no index of packages"):
        compile_devices(profiles, limits, settings, forced, opener=device)
    assert (tmp_path / "site" / INDEX).read_text() == '{"pages": []}'
    estimated = dataclasses.replace(settings, estimate=True, precisions=None)
    with pytest.raises(UsageError, match="--estimate is of one device"):
        compile_devices(profiles, limits, estimated, options, opener=device)
    for devices, message in (
        ([*profiles, profiles[0]], "2 latency limits for 3 devices"),
        ([profiles[0]] * 2, "twice: give each device once"),
    ):
        with pytest.raises(UsageError, match=message):
            compile_devices(devices, limits, settings, options, opener=device)
