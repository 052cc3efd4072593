"""`nasc.api`: its names, what each returns, what is refused, what a failure leaves behind."""

from __future__ import annotations

import dataclasses
import inspect
import json
import pkgutil
import shutil
import typing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import nasc
import nasc.pipelines.evaluate
import nasc.pipelines.train
import nasc.utils.files
from nasc import api
from nasc.api import evaluate, train
from nasc.architecture.space import Architecture, Block
from nasc.cli import main
from nasc.context.settings import Settings
from nasc.data.prompts import NO_PROMPTS
from nasc.errors import CheckpointError, PackageError, UsageError
from nasc.evaluation.agreement import Quality
from nasc.package.verify_report import Check
from nasc.pipelines.score_vectors import AgainstTeacher
from nasc.pipelines.tune import TunedKernel
from nasc.pipelines.tuning_place import TunedBoard, TunedFarm

MANIFEST = SimpleNamespace(
    max_length=8,
    task=None,
    files={},
    prompts=NO_PROMPTS,
    query_only=False,
    conditions=SimpleNamespace(batch=3, runtime="onnxruntime"),
)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything slow is made up; tells what was called."""
    calls: list[str] = []
    supernet = tmp_path / "cache" / "supernet.safetensors"
    supernet.parent.mkdir()
    supernet.write_bytes(b"weights")
    corpus = SimpleNamespace(description="made up", train=("a",))
    scores = SimpleNamespace(
        blocks=((SimpleNamespace(kept=False),),),
        losses=(np.array([0.5]),),
        sensitivity=(1.0,),
        precision_loss={"fp32": 0.0},
    )
    prepared = SimpleNamespace(path=supernet, scores=scores, header={"config": {"steps": 3}})

    def made_up(name: str, result: object) -> Callable[..., Any]:
        def call(*about: object, **options: object) -> Any:
            calls.append(name)
            return result

        return call

    for function, result in (
        ("load_teacher", SimpleNamespace(own_head=str)),
        ("space_for", None),
        ("check_pairs", None),
        ("check_teacher", None),
        ("load_text", corpus),
        ("prepare", prepared),
    ):
        monkeypatch.setattr(nasc.pipelines.train, function, made_up(function, result))
    return calls


def test_a_supernet_is_copied_out_of_the_cache(trained: list[str], tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder" / "s.safetensors"
    assert train(output=output, cache=tmp_path / "cache").supernet == output
    assert output.read_bytes() == b"weights"
    assert [p.name for p in output.parent.iterdir()] == [output.name]
    with pytest.raises(UsageError, match=r"exists\. Replace it: --force"):
        train(output=output, cache=tmp_path / "cache")
    train(output=output, cache=tmp_path / "cache", force=True)


def test_a_supernet_goes_into_a_home_folder(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = train(output=Path("~/s.safetensors"), cache=tmp_path / "cache")
    assert found.size_bytes == len(b"weights")
    assert (tmp_path / "s.safetensors").read_bytes() == b"weights"


def test_an_output_that_cannot_be_is_refused_before_anything_is_loaded(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        CheckpointError, match=r"cannot write to the folder '.*file'.*--output FILE"
    ):
        train(output=tmp_path / "file" / "s.safetensors")
    with pytest.raises(UsageError, match=r"is a folder\. Name a file: --output FILE"):
        train(output=tmp_path, force=True)

    def refuse(*, dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(nasc.utils.files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(CheckpointError, match=r"cannot write to the folder .*: Permission denied"):
        train(output=tmp_path / "s.safetensors")
    assert trained == []


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_comes_during_the_training_is_replaced_by_force_alone(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    output, copy = tmp_path / "s.safetensors", shutil.copyfile

    def late(source: Path, target: Path) -> None:
        copy(source, target)
        output.write_bytes(b"mine")

    monkeypatch.setattr(shutil, "copyfile", late)
    if force:
        train(output=output, cache=tmp_path / "cache", force=True)
        assert output.read_bytes() == b"weights"
        return
    with pytest.raises(CheckpointError, match=r"came to be while .* was trained.*--output"):
        train(output=output, cache=tmp_path / "cache")
    assert output.read_bytes() == b"mine"


def test_a_full_disk_after_training_is_a_message_and_leaves_nothing(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(CheckpointError, match=r"cannot write the supernet .*No space left.*cache"):
        train(output=tmp_path / "out" / "s.safetensors", cache=tmp_path / "cache")
    assert trained[-1] == "prepare"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", None])
def test_a_package_with_a_damaged_tokenizer_is_a_message(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(nasc.pipelines.evaluate, "read_manifest", lambda folder: MANIFEST)
    monkeypatch.setattr(nasc.pipelines.evaluate, "check_unchanged", lambda *_: None)
    data = tmp_path / "dev.csv"
    data.write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n")
    if content is not None:
        (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(PackageError, match=r"the tokenizer of .* cannot be read: .*nasc verify"):
        evaluate(tmp_path, "sts-b", data)


def test_a_package_is_evaluated_at_its_own_length_and_batch_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, object]] = []

    class Process:
        def __init__(self, limits: object) -> None:
            assert limits is None

        def __enter__(self) -> Process:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def encoder(self, path: Path, tokenizer: Tokenizer, **options: object) -> Process:
            made.append({"path": path} | options)
            return self

        def encode(self, texts: list[str]) -> np.ndarray:
            return np.array([[1.0, float(len(text))] for text in texts])

    (tmp_path / "manifest.json").write_text("{}")
    Tokenizer(WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "dev.csv").write_text("sentence1,sentence2,score\na,bb,5\nc,dddd,2\n")
    monkeypatch.setattr(nasc.pipelines.evaluate, "read_manifest", lambda folder: MANIFEST)
    monkeypatch.setattr(nasc.pipelines.evaluate, "check_unchanged", lambda *_: None)
    monkeypatch.setattr(nasc.pipelines.evaluate, "PackageProcess", Process)
    found = evaluate(tmp_path, "sts-b", tmp_path / "dev.csv")
    assert (found.examples, found.scores) == (2, {"spearman": pytest.approx(1)})
    evaluate(tmp_path, "sts-b", tmp_path / "dev.csv", max_length=5)
    model = {"path": tmp_path / "model.onnx", "runtime": "onnxruntime", "batch_size": 3}
    assert made == [model | {"max_length": length} for length in (8, 5)]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_are_what_all_generators_take(seed: int) -> None:
    with pytest.raises(UsageError, match=r"a seed must be in \[0, 4294967295\]"):
        Settings(seed=seed)


# Names and results

FUNCTIONS = [name for name in api.__all__ if not inspect.isclass(getattr(api, name))]


def test_the_public_names_are_those_of_the_package_too() -> None:
    assert sorted([*api.__all__, "__version__"]) == sorted(nasc.__all__)
    assert set(api._HOME_OF) == set(api.__all__)
    assert all(getattr(nasc, name) is getattr(api, name) for name in api.__all__)
    for module in (nasc, api):
        with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no .* 'serach'"):
            module.serach  # noqa: B018


def test_no_folder_takes_the_place_of_a_public_name() -> None:
    """Importing `nasc.search`, were there such a module, would hide the function."""
    assert not {module.name for module in pkgutil.iter_modules(nasc.__path__)} & set(api.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_a_function_returns_is_a_frozen_dataclass(name: str) -> None:
    found = typing.get_type_hints(getattr(api, name))["return"]
    (one,) = typing.get_args(found) or (found,)
    assert one.__name__ in api.__all__
    assert dataclasses.is_dataclass(one)
    assert one.__dataclass_params__.frozen
    assert "__slots__" in vars(one)


TRAINED = api.TrainResult(
    supernet=Path("s.safetensors"),
    size_bytes=7,
    steps=3,
    text="made up",
    best_dev_loss=(0.1, 0.2),
    median_dev_loss=(0.3, 0.4),
    sensitivity=(1.0, 2.0),
    candidates=(5, 6),
    precision_loss={"fp32": 0.0},
)
TRAINED_JSON = {
    "supernet": "s.safetensors",
    "bytes": 7,
    "steps": 3,
    "text": "made up",
    "best_dev_loss": [0.1, 0.2],
    "median_dev_loss": [0.3, 0.4],
    "sensitivity": [1.0, 2.0],
    "candidates": [5, 6],
    "precision_loss": {"fp32": 0.0},
}
ROW = {"block": "32: M", "bin": 1, "params": 9, "latency_ms": None, "dev_loss": 0.5}
REPORT = api.SupernetReport(
    supernet=Path("s.safetensors"),
    teacher="toy",
    space="small",
    steps=3,
    text="made up",
    text_sha256="ab",
    compact=True,
    rounds=2,
    history=({"round": 2, "position": 0},),
    left=((ROW,),),
    empty_bins=(0,),
)
REPORT_JSON = {
    "supernet": "s.safetensors",
    "teacher": "toy",
    "space": "small",
    "steps": 3,
    "text": "made up",
    "text_sha256": "ab",
    "compact": True,
    "rounds": 2,
    "history": [{"round": 2, "position": 0}],
    "left": [[ROW]],
    "empty_bins": [0],
}
DISTILLED = api.DistillResult(
    model=Path("subnet"),
    architecture=Architecture((Block(32, ("mha",)),)),
    params=9,
    objective="states",
    start="supernet",
    steps=3,
    text="made up",
    quality=Quality(0.9, 0.8, 0.7, 512),
)
DISTILLED_JSON = {
    "model": "subnet",
    "architecture": "32: M @ fp32",
    "params": 9,
    "objective": "states",
    "start": "supernet",
    "steps": 3,
    "text": "made up",
    "pooled_cosine": 0.9,
    "similarity_spearman": 0.8,
    "ranking_ndcg": 0.7,
    "sentences": 512,
}
SOLUTION = api.Solution(
    DISTILLED.architecture,
    "onnxruntime",
    0.25,
    {"latency_ms": 1.5, "size_bytes": 4e6, "params": 1e6},
    {"latency_ms": 1.75},
)
SOLUTION_JSON = {
    "architecture": "32: M @ fp32",
    "precision": "fp32",
    "runtime": "onnxruntime",
    "predicted_loss": 0.25,
    "predicted": {"latency_ms": 1.5, "size_bytes": 4e6, "params": 1e6},
    "upper": {"latency_ms": 1.75},
}
TUNED = api.TuneResult(
    device="rpi5",
    target="llvm",
    records=Path("records"),
    cost_model="xgb",
    networks=3,
    kernels=(
        TunedKernel(
            name="product",
            key="0" * 16,
            shapes=("float32[8,8]",),
            count=2,
            share=1.0,
            flops=2e6,
            before_ms=0.5,
            after_ms=0.25,
            trials=32,
            failed=1,
            error="ended by signal 11",
        ),
    ),
    left_out=("take",),
)
TUNED_JSON = {
    "device": "rpi5",
    "target": "llvm",
    "records": "records",
    "cost_model": "xgb",
    "networks": 3,
    "full_size_ms_before": 1.0,
    "full_size_ms_after": 0.5,
    "kernels": [
        {
            "name": "product",
            "key": "0" * 16,
            "shapes": ["float32[8,8]"],
            "count": 2,
            "share": 1.0,
            "flops": 2e6,
            "before_ms": 0.5,
            "after_ms": 0.25,
            "trials": 32,
            "failed": 1,
            "error": "ended by signal 11",
            "gflops_before": 4.0,
            "gflops_after": 8.0,
        }
    ],
    "without_record": [],
    "left_out": ["take"],
    "farm": None,
}
EVALUATE = "evaluate made-up --task sst-2 --data dev.tsv"


@pytest.mark.parametrize(
    ("command", "result", "printed"),
    [
        ("train", TRAINED, TRAINED_JSON),
        (
            "train",
            dataclasses.replace(TRAINED, size_bytes=None, changed_dev_loss=0.01),
            TRAINED_JSON | {"bytes": None, "changed_dev_loss": 0.01},
        ),
        ("report", REPORT, REPORT_JSON),
        (
            "report",
            dataclasses.replace(
                REPORT, text_sha256=None, rounds=0, history=(), left=None, empty_bins=None
            ),
            REPORT_JSON
            | {"text_sha256": None, "rounds": 0, "history": [], "left": None, "empty_bins": None},
        ),
        ("distill keep --output subnet", DISTILLED, DISTILLED_JSON),
        (
            "finetune --task sst-2 --train train.tsv --output tuned",
            api.FinetuneResult(Path("tuned"), "sst-2", 8, {"accuracy": 0.75}),
            {"model": "tuned", "task": "sst-2", "examples": 8, "scores": {"accuracy": 0.75}},
        ),
        (
            EVALUATE,
            api.EvaluateResult("sts-b", {"spearman": 0.5}, 2, "vectors", Path("p")),
            {"task": "sts-b", "spearman": 0.5, "pairs": 2, "package": "p"},
        ),
        (
            EVALUATE,
            api.EvaluateResult("mrpc", {"f1": 0.5, "accuracy": 0.25}, 2, "package", Path("p")),
            {"task": "mrpc", "f1": 0.5, "accuracy": 0.25, "examples": 2, "package": "p"},
        ),
        (
            EVALUATE,
            api.EvaluateResult("sst-2", {"accuracy": 0.5}, 2, "model", Path("m")),
            {"task": "sst-2", "accuracy": 0.5, "examples": 2, "model": "m"},
        ),
        (
            EVALUATE,
            api.EvaluateResult(
                "ranking", {"ndcg_at_10": 0.5}, 9, "teacher", Path("t"), {"ndcg_at_10": (0, 1)}, 8
            ),
            {
                "task": "ranking",
                "ndcg_at_10": 0.5,
                "intervals": {"ndcg_at_10": [0, 1]},
                "queries": 9,
                "documents": 8,
                "teacher": "t",
            },
        ),
        (
            EVALUATE,
            api.EvaluateResult(
                "sts-b",
                {"spearman": 0.5},
                2,
                "vectors",
                Path("p"),
                against_teacher={"spearman": AgainstTeacher(1.0, -0.5, (-0.6, -0.4))},
            ),
            {
                "task": "sts-b",
                "spearman": 0.5,
                "against_teacher": {
                    "spearman": {
                        "teacher": 1.0,
                        "share": 0.5,
                        "gain": -0.5,
                        "interval": [-0.6, -0.4],
                    }
                },
                "pairs": 2,
                "package": "p",
            },
        ),
        (
            "verify made-up",
            api.VerifyReport(Path("p"), (Check("files", True, "all there"),)),
            {
                "package": "p",
                "ok": True,
                "complete": True,
                "failed": [],
                "not_checked": [],
                "checks": [{"name": "files", "ok": True, "detail": "all there", "declined": False}],
                "measured": None,
            },
        ),
        ("search", [SOLUTION], [SOLUTION_JSON]),
        ("tune --full-size", TUNED, TUNED_JSON),
        (
            "tune --tracker 10.0.0.1:9190 --key rpi5",
            dataclasses.replace(
                TUNED, farm=TunedFarm("10.0.0.1:9190", "rpi5", (TunedBoard("10.0.0.7:9090", 4, 1),))
            ),
            TUNED_JSON
            | {
                "farm": {
                    "tracker": "10.0.0.1:9190",
                    "key": "rpi5",
                    "boards": [{"address": "10.0.0.7:9090", "trials": 4, "lost": 1}],
                }
            },
        ),
        (
            "report",
            dataclasses.replace(REPORT, latency_table="of another machine"),
            REPORT_JSON | {"latency_table": "of another machine"},
        ),
        (
            "search",
            [dataclasses.replace(SOLUTION, latency_table="of another machine")],
            [SOLUTION_JSON | {"latency_table": "of another machine"}],
        ),
        (
            "search --strategy enumerate",
            [dataclasses.replace(SOLUTION, true_loss=0.5)],
            [SOLUTION_JSON | {"true_loss": 0.5}],
        ),
    ],
)
def test_a_command_prints_the_same_json_as_before(
    command: str, result: Any, printed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys in their order: programs and people read them."""
    name = command.split()[0]
    monkeypatch.setattr(f"nasc.pipelines.{name}.{name}", lambda *about, **options: result)
    done = CliRunner().invoke(main, [*command.split(), "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == json.dumps(printed, indent=1) + "\n"
    for_people = CliRunner().invoke(main, command.split(), catch_exceptions=False)
    assert for_people.exit_code == 0
    assert for_people.stdout
