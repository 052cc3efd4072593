"""Scoring packages: the shipped file, in the batch size that the package promises."""

import dataclasses
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from transformers import BertTokenizer

from nasc.api import evaluate
from nasc.cli import main
from nasc.errors import PackageError
from nasc.evaluation.encoder import Encoder
from nasc.package.build import build_package

DATA = {
    "sts-b": "sentence1,sentence2,score\nthe cat,a cat sat here,4\ncat,the,1\nsat,x y z,0\n",
    "sst-2": "sentence,label\nthe cat,1\na cat sat here,0\nx,1\n",
}


@pytest.mark.slow
@pytest.mark.parametrize(("head", "task"), [("embed", "sts-b"), ("classify-2", "sst-2")])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_package_is_scored_in_the_batch_size_that_it_promises(
    tmp_path: Path,
    tokenizer: BertTokenizer,
    make_model: Callable[..., Path],
    make_manifest: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    head: str,
    task: str,
    batch: int,
) -> None:
    model = make_model("int8", head)
    manifest = make_manifest(model, "int8", head)
    folder = build_package(
        tmp_path / "p",
        model=model,
        tokenizer=tokenizer,
        manifest=dataclasses.replace(
            manifest, conditions=dataclasses.replace(manifest.conditions, batch=batch)
        ),
    )
    sizes: list[int] = []
    run = Encoder.run

    def counted(self: Encoder, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        sizes.append(len(ids))
        return run(self, ids, mask)

    monkeypatch.setattr(Encoder, "run", counted)
    data = tmp_path / "dev.csv"
    data.write_text(DATA[task], encoding="utf-8")
    found = evaluate(folder, task, data)
    assert found.folder == folder
    assert max(sizes) == batch


def test_a_path_that_is_not_utf_8_is_refused_at_the_start(
    tmp_path: Path, packed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime and tokenizers take text; each command says so before any work."""
    folder = tmp_path / os.fsdecode(b"\xff")
    shutil.copytree(packed["fp32", "embed"], folder / "p")
    monkeypatch.chdir(folder)  # a relative path is as little theirs
    (tmp_path / "dev.csv").write_text(DATA["sts-b"], encoding="utf-8")
    for command in (
        ["verify", "p", "--json"],
        ["evaluate", "p", "--task", "sts-b", "--data", str(tmp_path / "dev.csv"), "--json"],
        ["bench", "p/model.onnx", "--json"],
        ["compile", "--latency-ms", "20", "--output", "new", "--cache", str(tmp_path / "cache")],
        ["compile", "--latency-ms", "20", "--output", str(tmp_path / "new"), "--cache", "cache"],
    ):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 2, (command, done.output, done.exception)
        assert done.stdout == ""
        assert r"\xff" in done.stderr
        assert "is not UTF-8 (byte 0xff)" in done.stderr
        done.stderr.encode("utf-8")
    assert {path.name for path in folder.iterdir()} == {"p"}


@pytest.mark.parametrize("content", ["[" * 100_000, "null", '{"tokenizer_class": 3}'])
def test_a_tokenizer_that_a_package_cannot_have_is_one_message(
    packed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """Its files are as its manifest lists them, which anybody can write."""
    monkeypatch.setattr("nasc.pipelines.evaluate.find_changes", lambda *_: [])
    folder = Path(shutil.copytree(packed["int8", "classify-2"], tmp_path / "p"))
    (folder / "tokenizer_config.json").write_text(content, encoding="utf-8")
    (tmp_path / "dev.csv").write_text(DATA["sst-2"], encoding="utf-8")
    with pytest.raises(PackageError, match=r"the tokenizer of .* cannot be read: .*nasc verify"):
        evaluate(folder, "sst-2", tmp_path / "dev.csv")
