"""`nasc train`: whose supernet it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nasc.errors import UsageError
from nasc.pipelines import train as pipeline
from nasc.teacher import Teacher


class Stopped(Exception):
    """Before the work."""


def test_the_teacher_s_own_head_is_kept_or_left_out(
    teacher_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As compile leaves it out with --head embed and with --task."""
    source, folder = teacher_folder(), tmp_path / "own"
    AutoModelForSequenceClassification.from_pretrained(source, num_labels=3).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    (tmp_path / "text.txt").write_text("\n\n".join(f"the cat sat {i}." for i in range(99)))
    met: list[Teacher] = []

    def stop(teacher: Teacher, *about: Any, **more: Any) -> None:
        met.append(teacher)
        raise Stopped

    monkeypatch.setattr(pipeline, "prepare", stop)
    monkeypatch.setattr(pipeline, "check_teacher", lambda *about: None)
    given: dict[str, Any] = {
        "output": tmp_path / "supernet.safetensors",
        "teacher": str(folder),
        "corpus": (str(tmp_path / "text.txt"),),
        "cache": tmp_path / "cache",
    }
    for head in (None, "embed", "hidden"):
        with pytest.raises(Stopped):
            pipeline.train(**given, head=head)
    assert [one.output for one in met] == ["scores", "embed", "embed"]
    with pytest.raises(UsageError, match="unknown head 'other'"):
        pipeline.train(**given, head="other")
    pairs = given | {"corpus": (), "pairs": tmp_path / "p", "head": "embed"}
    with pytest.raises(UsageError, match="--head embed takes one text at a time"):
        pipeline.train(**pairs)
