"""Scoring packages: the shipped file, in the batch size that the package promises."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertTokenizer

from nasc.api import evaluate
from nasc.package.build import build_package
from nasc.runtime import OnnxEncoder

DATA = {
    "sts-b": "sentence1,sentence2,score\nthe cat,a cat sat here,4\ncat,the,1\nsat,x y z,0\n",
    "sst-2": "sentence,label\nthe cat,1\na cat sat here,0\nx,1\n",
}


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
        golden_texts=["a"],
    )
    sizes: list[int] = []
    run = OnnxEncoder.run

    def counted(self: OnnxEncoder, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        sizes.append(len(ids))
        return run(self, ids, mask)

    monkeypatch.setattr(OnnxEncoder, "run", counted)
    data = tmp_path / "dev.csv"
    data.write_text(DATA[task], encoding="utf-8")
    found = evaluate(folder, task, data)
    assert found["package"] == str(folder)
    assert max(sizes) == batch
