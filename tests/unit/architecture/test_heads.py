"""Names of heads, and what they say of pooling."""

import itertools

import pytest

from nasc.architecture.heads import (
    HEADS,
    MEAN,
    MEAN_HEAD,
    POOLINGS,
    Pooling,
    check_head,
    gives_states,
    gives_vector,
    graph_head,
    is_task_head,
    pooled,
    pooling_of,
)
from nasc.errors import UsageError


@pytest.mark.parametrize("output", HEADS)
@pytest.mark.parametrize(("mode", "scaled"), [*itertools.product(POOLINGS, (True, False))])
def test_a_head_s_name_says_its_pooling(output: str, mode: str, scaled: bool) -> None:
    head = Pooling(mode, scaled).head(output)
    check_head(head)
    assert pooling_of(head) == Pooling(mode, scaled)
    assert gives_vector(head) == pooled(head) == (output == "embed")
    assert gives_states(head) == (output == "hidden")
    assert not is_task_head(head)
    assert graph_head(head) == (head if output == "embed" else "hidden")


def test_names_of_before_are_the_mean_scaled() -> None:
    assert MEAN.head() == MEAN_HEAD == "embed"
    assert pooling_of("embed") == pooling_of("hidden") == pooling_of("classify-2") == MEAN


@pytest.mark.parametrize("head", ["spans", "classify-3"])
def test_a_task_s_head_has_no_pooling_in_its_name(head: str) -> None:
    check_head(head)
    assert is_task_head(head)
    assert not gives_vector(head)
    assert not gives_states(head)


@pytest.mark.parametrize(
    "head", ["", "embedd", "embed-", "embed-mean", "embed-unscaled-cls", "cls", "spans-cls"]
)
def test_other_names_are_refused_with_those_that_there_are(head: str) -> None:
    with pytest.raises(UsageError, match=r"unknown head .*known: embed, hidden, .*embed-cls"):
        check_head(head)


def test_an_unknown_pooling_is_refused() -> None:
    with pytest.raises(UsageError, match=r"unknown pooling 'last'; known: mean, cls, max"):
        Pooling("last")
