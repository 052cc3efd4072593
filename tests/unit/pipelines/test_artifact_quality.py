"""What a file is worth: figures that are asked for."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from nasc.errors import LimitsMissed, UsageError
from nasc.evaluation.encoder import open_here
from nasc.pipelines.artifact_quality import ArtifactEvaluator, check_reached
from nasc.pipelines.options import RETRIEVAL_METRICS, Options
from nasc.tasks import retrieval


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
