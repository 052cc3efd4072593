"""`nasc.api`: what is refused before work begins, and what a failure leaves behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import nasc.api
import nasc.data
import nasc.evaluation.encoder
import nasc.supernet.prepare
import nasc.teacher
import nasc.utils.files
from nasc.api import evaluate, train
from nasc.context.settings import Settings
from nasc.errors import CheckpointError, PackageError, UsageError

MANIFEST = SimpleNamespace(max_length=8, task=None, files={}, conditions=SimpleNamespace(batch=3))


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

    monkeypatch.setattr(nasc.teacher, "load_teacher", made_up("teacher", None))
    monkeypatch.setattr(nasc.api, "space_for", made_up("space", None))
    monkeypatch.setattr(nasc.api, "check_teacher", made_up("check", None))
    monkeypatch.setattr(nasc.data, "load_corpus", made_up("corpus", corpus))
    monkeypatch.setattr(nasc.supernet.prepare, "prepare", made_up("prepare", prepared))
    return calls


def test_a_supernet_is_copied_out_of_the_cache(trained: list[str], tmp_path: Path) -> None:
    output = tmp_path / "new" / "folder" / "s.safetensors"
    assert train(output=output, cache=tmp_path / "cache")["supernet"] == str(output)
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
    assert found["bytes"] == len(b"weights")
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
    monkeypatch.setattr(nasc.api, "read_manifest", lambda folder: MANIFEST)
    monkeypatch.setattr("nasc.package.hashes.find_changes", lambda *_: [])
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
    monkeypatch.setattr(nasc.api, "read_manifest", lambda folder: MANIFEST)
    monkeypatch.setattr("nasc.package.hashes.find_changes", lambda *_: [])
    monkeypatch.setattr("nasc.package.process.PackageProcess", Process)
    found = evaluate(tmp_path, "sts-b", tmp_path / "dev.csv")
    assert (found["pairs"], found["spearman"]) == (2, pytest.approx(1))
    evaluate(tmp_path, "sts-b", tmp_path / "dev.csv", max_length=5)
    model = {"path": tmp_path / "model.onnx", "batch_size": 3}
    assert made == [model | {"max_length": length} for length in (8, 5)]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_are_what_all_generators_take(seed: int) -> None:
    with pytest.raises(UsageError, match=r"a seed must be in \[0, 4294967295\]"):
        Settings(seed=seed)
