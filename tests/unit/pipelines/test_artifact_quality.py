"""What a file is worth: figures that are asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from nasc.data.prompts import Prompts
from nasc.errors import LimitsMissed, UsageError
from nasc.evaluation.encoder import open_here
from nasc.pipelines import score_vectors
from nasc.pipelines.artifact_quality import ArtifactEvaluator, check_reached
from nasc.pipelines.options import RETRIEVAL_METRICS, Options
from nasc.pipelines.score_vectors import Queries
from nasc.tasks import retrieval
from nasc.utils.progress import Silent


def test_a_figure_that_there_is_none_of_is_not_reached() -> None:
    """The message says why there is none."""
    nothing = {"kl_divergence": 0.1, "entities": 0, "tokens": 90, "sentences": 12}
    with pytest.raises(LimitsMissed, match=r"entity_f1: the text has no entities.* 12 .*--corpus"):
        check_reached(nothing, {"entity_f1": 0.5})
    with pytest.raises(LimitsMissed, match=r"ranking_ndcg needs first texts .*--pairs FILE"):
        check_reached({"score_spearman": 0.9}, {"ranking_ndcg": 0.5})
    with pytest.raises(LimitsMissed, match=r"token_f1 is 0\.4000, --min-quality asks for 0\.5"):
        check_reached(nothing | {"token_f1": 0.4}, {"token_f1": 0.5})
    check_reached(nothing | {"token_f1": 0.6}, {"token_f1": 0.5})


def test_figures_of_retrieval_need_questions() -> None:
    assert RETRIEVAL_METRICS == retrieval.METRICS
    least = {"mrr_at_10": 0.7}
    with pytest.raises(UsageError, match=r"--min-quality mrr_at_10 .*--retrieval-data FILE"):
        Options(min_quality=least)
    Options(min_quality=least, retrieval_data=Path("dev.json"))
    with pytest.raises(LimitsMissed, match=r"mrr_at_10 is 0\.6000, --min-quality asks for 0\.7"):
        check_reached({"mrr_at_10": 0.6}, least)
    task: Any = SimpleNamespace(metrics=("accuracy",))
    with pytest.raises(UsageError, match="--retrieval-data judges sentence vectors; --task has"):
        Options(task=task, retrieval_data=Path("dev.json"))


def test_files_that_are_run_otherwise_are_asked_the_same() -> None:
    asked: Any = object()
    judge = ArtifactEvaluator(cast(Any, None), None, None, open_here, asked)
    assert judge.opening_by(open_here).asked is asked


class OtherTeacher:
    """Gives the number in a text as its vector; keeps to which lengths it was asked to cut."""

    geometry = SimpleNamespace(max_positions=512)
    name = "made up"
    max_length = 256

    def __init__(self) -> None:
        self.prompts = Prompts()
        self.lengths: list[int | None] = []

    def with_prompt(self, names: Sequence[str]) -> OtherTeacher:
        return self

    def vectors(self, texts: Sequence[str], *, max_length: int | None = None) -> Any:
        self.lengths.append(max_length)
        return vectors(texts)


def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
    numbers = np.array([float(text.split()[-1]) for text in texts])
    return np.stack([np.cos(numbers), np.sin(numbers)], axis=1).astype(np.float32)


ASKED = retrieval.Retrieval(
    tuple(f"question {i / 10}" for i in range(20)),
    tuple(f"paragraph {i / 10}" for i in range(20)),
    np.arange(20),
    "dev.json",
    "5" * 64,
)


def test_the_teacher_reads_paragraphs_once_and_as_much_of_them_as_the_package() -> None:
    teacher = OtherTeacher()
    context: Any = SimpleNamespace(
        inputs=SimpleNamespace(loaded_teacher=teacher),
        reporter=Silent(),
        settings=SimpleNamespace(query_only=True, batch=1, seed=0),
        max_length=24,
        tokenizer=None,
    )

    @contextlib.contextmanager
    def opened(*_: Any, **__: Any) -> Any:
        yield SimpleNamespace(encode=vectors, max_length=24, path=Path("model.onnx"))

    judge = ArtifactEvaluator(context, None, None, opened, ASKED)
    artifact: Any = SimpleNamespace(path=Path("model.onnx"))
    others = [judge.opening_by(opened), judge.on(cast(Any, SimpleNamespace(open_encoder=opened)))]
    found = [one._retrieval(artifact, ASKED) for one in (judge, *others)]
    assert found[0] == found[1] == found[2]
    assert (found[0]["mrr_at_10"], found[0]["mrr_at_10_low"]) == (1.0, 1.0)
    assert teacher.lengths == [24]


@pytest.mark.parametrize(("length", "read"), [(24, 24), (512, 256)])
def test_evaluate_has_the_teacher_read_as_much(
    length: int, read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more than its own length, of documents for queries alone and of what it is scored on."""
    monkeypatch.setattr(score_vectors, "read_retrieval", lambda *_, **__: ASKED)
    monkeypatch.setattr(score_vectors, "read_ranked_texts", lambda *_: list(ASKED.questions))
    encoder: Any = SimpleNamespace(encode=vectors, max_length=length, path=Path("model.onnx"))
    for task in ("retrieval", "ranking"):
        for query_only in (True, False):
            teacher: Any = OtherTeacher()
            score_vectors.score_vectors(
                encoder,
                task,
                Path("dev.json"),
                Queries(),
                Silent(),
                teacher,
                query_only=query_only,
            )
            assert teacher.lengths == [read] * (2 if task == "retrieval" or query_only else 1)
