"""What a file is worth: figures that are asked for."""

import pytest

from nasc.errors import LimitsMissed
from nasc.pipelines.artifact_quality import check_reached


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
