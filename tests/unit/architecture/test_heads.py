"""Names of heads, and what they say of pooling."""

import itertools
from collections.abc import Callable

import pytest

from nasc.architecture.heads import (
    HEADS,
    MEAN,
    MEAN_HEAD,
    POOLINGS,
    DenseShape,
    Pooling,
    check_head,
    gives_states,
    gives_vector,
    graph_head,
    is_task_head,
    pooled,
    pooling_of,
    vector_size,
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


@pytest.mark.parametrize(
    ("how", "head", "size"),
    [
        (Pooling(dense=(DenseShape(128, "tanh"),)), "embed-dense128tanh", 128),
        (
            Pooling("cls", False, (DenseShape(8, "gelu"),), 4),
            "embed-cls-dense8gelu-unscaled-first4",
            4,
        ),
        (
            Pooling(dense=(DenseShape(64, "relu"), DenseShape(16, "identity"))),
            "embed-dense64relu-dense16identity",
            16,
        ),
        (Pooling("max", first=20), "embed-max-first20", 20),
    ],
)
def test_a_head_s_name_says_what_is_behind_the_pooling(how: Pooling, head: str, size: int) -> None:
    check_head(head)
    assert how.head() == head
    assert pooling_of(head) == how
    assert vector_size(head, 32) == size
    assert not how.plain
    assert how.unit == (how.scaled and how.first is None)
    assert vector_size(how.head("hidden"), 32) == 32


@pytest.mark.parametrize(
    "head",
    [
        "embed-dense0tanh",
        "embed-dense8",
        "embed-dense8swish",
        "embed-first0",
        "embed-first8-unscaled",
        "embed-unscaled-dense8tanh",
        "embed" + 9 * "-dense8tanh",
    ],
)
def test_other_layers_behind_the_pooling_are_refused(head: str) -> None:
    with pytest.raises(UsageError, match="unknown head"):
        check_head(head)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DenseShape(8, "swish"), "unknown activation 'swish' .*known: identity, tanh"),
        (lambda: DenseShape(0, "tanh"), "gives 1 to 65,536 numbers, not 0"),
        (lambda: Pooling(first=0), "has 1 to 65,536 numbers, not 0"),
        (lambda: Pooling(dense=(DenseShape(8, "tanh"),) * 9), "9 linear layers .*8 are the most"),
    ],
)
def test_impossible_vectors_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


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
