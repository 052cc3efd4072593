"""Which networks compete for the training."""

import dataclasses
import math
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nasc.architecture.space import MINILM_L6, PRESETS, Architecture, Block
from nasc.architecture.variant import Variant
from nasc.distillation.train import DistillConfig
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import TrainingDiverged
from nasc.evaluation.agreement import Quality
from nasc.networks.network import random_network
from nasc.selection import problems
from nasc.selection import successive_halving as halving
from nasc.selection.successive_halving import (
    Candidate,
    at_least_strata,
    at_most_strata,
    one_size_strata,
    run_halving,
    searches,
)
from nasc.solver.problem import Limits, Problem, ScoredBlocks
from nasc.supernet.scores import Scores
from nasc.utils.progress import Silent

MINILM_KEPT = PRESETS["minilm-l6"].kept_block
FP32 = Variant("onnxruntime", "fp32")
LONG, SHORT = Block(128, ("mha", "ffn")), Block(128, ("ffn",))
NARROW = Block(64, ("mha",))


def problem(*positions: tuple[Block, ...]) -> Problem:
    scored = tuple(ScoredBlocks(blocks, np.zeros(len(blocks))) for blocks in positions)
    costs: Any = SimpleNamespace(metrics=("latency_ms",))
    return Problem(MINILM_L6, "embed", scored, {FP32: 0.0}, costs)


def test_every_kind_is_searched_by_itself() -> None:
    found = at_most_strata(problem((LONG, SHORT), (SHORT,)), 2)
    assert [[s.blocks for s in one.positions] for one in found] == [
        [(LONG, SHORT), (SHORT,)],
        [(SHORT,), (SHORT,)],
    ]


def test_networks_without_a_shallow_block_are_searched_by_themselves() -> None:
    kept, longest = MINILM_KEPT, Block(128, ("mha", "ffn", "mha"))
    found = at_least_strata(problem((longest, LONG, kept), (longest, SHORT)), 3)
    assert [[s.blocks for s in one.positions] for one in found] == [
        [(longest, LONG), (longest,)],
        [(longest,), (longest,)],
    ]
    assert not at_least_strata(problem((LONG,), (SHORT, kept)), 3)


def test_networks_without_blocks_of_the_teacher_are_a_kind() -> None:
    kept = MINILM_KEPT
    found = at_most_strata(problem((LONG, kept), (SHORT, kept)), 2)
    assert [[s.blocks for s in one.positions] for one in found] == [
        [(LONG, kept), (SHORT, kept)],
        [(kept,), (SHORT, kept)],
        [(LONG,), (SHORT,)],
    ]


def test_networks_of_one_hidden_size_are_searched_by_themselves() -> None:
    kept, wide, skip = MINILM_KEPT, Block(256, ("ffn",)), Block(384, ())
    found = one_size_strata(problem((LONG, wide, kept, skip), (wide, SHORT)))
    assert [[s.blocks for s in one.positions] for one in found] == [
        [(LONG,), (SHORT,)],
        [(wide,), (wide,)],
    ]
    assert len(one_size_strata(problem((LONG, wide), (wide,)))) == 1
    assert not one_size_strata(problem((LONG, kept), (SHORT,)))


def test_a_kind_that_shrinking_left_no_block_of_is_no_kind() -> None:
    assert len(at_most_strata(problem((LONG, SHORT), (LONG,)), 2)) == 1


def test_networks_compete_by_the_sensitivity_of_positions_and_without_it() -> None:
    scores = Scores(
        *(None, ((LONG, SHORT, NARROW),) * 2, (np.array([0.1, 0.2, 0.5]),) * 2),  # type: ignore[arg-type]
        *((1.0, 3.0), {"fp32": 0.0}, 1),
    )
    costs: Any = SimpleNamespace(metrics=("latency_ms",))
    context: Any = SimpleNamespace(
        graph_head="embed",
        tables=SimpleNamespace(measure_costs=lambda variants: costs),
        supernet=SimpleNamespace(
            measure_variant_loss=lambda variant: 0.0,
            prepare=lambda: SimpleNamespace(scores=scores),
        ),
        space=SimpleNamespace(slots=2, geometry=MINILM_L6),
    )
    found = searches(context, Limits(), [FP32])
    assert [[s.loss.tolist() for s in one.positions] for one in found] == [
        [pytest.approx([0.1, 0.2, 0.5]), pytest.approx([0.3, 0.6, 1.5])],
        [pytest.approx([0.2, 0.5]), pytest.approx([0.6, 1.5])],
        [pytest.approx([0.2, 0.4, 1.0]), pytest.approx([0.2, 0.4, 1.0])],
        [pytest.approx([0.4, 1.0]), pytest.approx([0.4, 1.0])],
        [[pytest.approx(0.1)], [pytest.approx(0.3)]],
        [[pytest.approx(0.5)], [pytest.approx(1.5)]],  # of one hidden size: once
        [pytest.approx([0.1, 0.2]), pytest.approx([0.3, 0.6])],
    ]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A context of two sentences, on which networks are as good as they are small."""
    monkeypatch.setattr(halving, "scored_sentences", lambda corpus: ["a", "b"])
    monkeypatch.setattr(
        halving, "pooled_vectors", lambda teacher, network, sentences, **options: network.params
    )
    monkeypatch.setattr(
        halving, "compare", lambda wanted, found, documents: Quality(0.5, 1 / found, 0.5, 2)
    )
    return SimpleNamespace(
        corpus=None,
        cache=None,
        reporter=Silent(),
        timed=lambda step: nullcontext(),
        inputs=SimpleNamespace(scored_vectors=(None, None)),
        teacher=None,
        supernet=SimpleNamespace(measure_variant_loss=lambda variant: 0.0),
    )


def candidates() -> list[Candidate]:
    solution: Any = SimpleNamespace(variant=FP32, runtime=FP32.runtime)
    architectures = [Architecture((block,) * 3) for block in (LONG, SHORT)]
    return [Candidate(solution, random_network(a, MINILM_L6, vocab_rows=8)) for a in architectures]


def test_who_diverges_is_out_and_the_others_go_on(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(network: Any, *about: Any, **options: Any) -> Any:
        if network.architecture.blocks[0] == SHORT:
            raise TrainingDiverged("the loss is nan")
        return network, 7

    monkeypatch.setattr(halving, "distill_cached", train)
    [left] = run_halving(context, candidates(), DistillConfig(steps=70), None)
    assert (left.network.architecture.blocks[0], left.steps) == (LONG, 7)


def test_where_all_diverge_that_is_the_end(context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*about: Any, **options: Any) -> Any:
        raise TrainingDiverged("the loss is nan")

    monkeypatch.setattr(halving, "distill_cached", train)
    with pytest.raises(TrainingDiverged):
        run_halving(context, candidates(), DistillConfig(steps=70), None)


@pytest.mark.parametrize("all_train", [True, False])
def test_what_comes_trained_is_trained_too_where_all_are(
    context: Any, monkeypatch: pytest.MonkeyPatch, all_train: bool
) -> None:
    """On a text that it has not seen it would lose to what was trained on that for seconds."""
    began: list[Any] = []

    def train(network: Any, *about: Any, **options: Any) -> Any:
        began.append(network)
        return dataclasses.replace(network, layer_norm_eps=0.5), 7

    monkeypatch.setattr(halving, "distill_cached", train)
    long, short = candidates()
    about = TrainedNetwork(short.network, 9_000, "a text", {}, {})
    entered = [long, dataclasses.replace(short, trained=about)]
    won, lost = run_halving(context, entered, DistillConfig(steps=70), None, all_train)
    assert began == [long.network, short.network][: 1 + all_train]
    assert (won.trained, won.steps) == (about, 7 * all_train)
    assert won.network.layer_norm_eps == (0.5 if all_train else short.network.layer_norm_eps)
    assert (lost.trained, lost.steps) == (None, 7)


def test_without_time_networks_are_compared_as_they_are(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halving, "distill_cached", lambda *given, **more: pytest.fail("trained"))
    long, short = candidates()
    won, lost = run_halving(context, [long, short], None, 60.0)
    assert [one.network for one in (won, lost)] == [short.network, long.network]
    assert (won.steps, lost.steps) == (0, 0)


def test_as_they_are_networks_are_compared_by_what_their_variants_lose_too(context: Any) -> None:
    long, short = candidates()
    lossy: Any = SimpleNamespace(variant=Variant("onnxruntime", "int8"), runtime="onnxruntime")
    entered = [long, dataclasses.replace(short, solution=lossy)]
    assert halving.best_before_training(context, entered, 1) == entered[1:]
    context.supernet.measure_variant_loss = lambda variant: float(variant != FP32)
    assert halving.best_before_training(context, entered, 1) == entered[:1]


def test_of_all_searches_the_few_that_agree_best_enter(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this context the smallest; rivals and what comes trained enter beside them."""
    blocks = [Block(hidden, ("ffn",)) for hidden in (64, 96, 128, 160, 192, 224, 256, 320)]
    networks = {
        one: random_network(one, MINILM_L6, vocab_rows=8)
        for one in (Architecture((block,) * 3) for block in blocks)
    }
    found = [SimpleNamespace(architecture=a, variant=FP32, runtime="r") for a in networks]
    rival, trained = (Candidate(found[0], networks[found[0].architecture]) for _ in range(2))  # type: ignore[arg-type]
    context.supernet.prepare = lambda: SimpleNamespace(
        supernet=SimpleNamespace(extract=lambda architecture, head: networks[architecture])
    )
    context.trained_head = "embed"
    context.settings = SimpleNamespace(trains_shipped=False)
    most_losses: list[float] = []
    for name, value in {
        "searches": lambda *given: [*found, found[3]],
        "best_of": lambda context, kind: SimpleNamespace(solution=kind),
        "at_equal_quality": lambda context, solution, *given: solution,
        "trained_networks": lambda *given: [],
        "pruned_teacher": lambda *given: most_losses.append(given[-1]),
        "narrowed_teacher": lambda *given: rival,
    }.items():
        monkeypatch.setattr(halving, name, value)
    entered = halving.candidates(context, Limits(), [FP32])
    assert [one.solution for one in entered[:-1]] == found[: halving.MOST_SEARCHED]
    assert entered[-1] is rival
    assert halving.candidates(context, Limits(), [FP32], trains=False) == entered[:-1]
    about = TrainedNetwork(trained.network, 1, "", {}, {"pooled_cosine": 0.8})
    trained = dataclasses.replace(trained, trained=about)
    monkeypatch.setattr(halving, "trained_networks", lambda *given: [trained])
    halving.candidates(context, Limits(), [FP32], trains=False)
    context.settings.trains_shipped = True
    halving.candidates(context, Limits(), [FP32], trains=False)
    context.settings.trains_shipped = False
    entered = halving.candidates(context, Limits(), [FP32])
    assert most_losses == [
        math.inf,
        math.inf,
        pytest.approx(halving.MOST_LOSS_PRUNED * 0.2),
        math.inf,
        math.inf,
    ]
    assert [one.solution for one in entered[:-2]] == found[1 : 1 + halving.MOST_SEARCHED]
    assert entered[-1] is trained


def test_the_trained_networks_that_agree_best_enter(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that enters takes a tenth of the training's time."""
    network = candidates()[0].network
    monkeypatch.setattr(
        halving,
        "truest",
        lambda context, architecture, *given: SimpleNamespace(
            architecture=architecture, variant=FP32
        ),
    )
    rankings = {0.1: 0.5, 0.2: 0.9, 0.3: 0.7}
    monkeypatch.setattr(
        halving, "pooled_vectors", lambda teacher, network, sentences, **more: network
    )
    monkeypatch.setattr(
        halving,
        "compare",
        lambda wanted, found, documents: Quality(0.5, 0.5, rankings[found.layer_norm_eps], 2),
    )
    context.inputs.trained_networks = tuple(
        TrainedNetwork(dataclasses.replace(network, layer_norm_eps=eps), 1, "a text", {}, {})
        for eps in rankings
    )
    found = halving.trained_networks(context, Limits(), [FP32])
    assert [one.network.layer_norm_eps for one in found] == [0.2, 0.3]


@pytest.mark.parametrize(("limit_ms", "precision"), [(9.0, "fp32"), (5.0, "int8"), (1.0, None)])
def test_trained_networks_enter_where_they_fit_and_as_true_as_they_do(
    context: Any, monkeypatch: pytest.MonkeyPatch, limit_ms: float, precision: str | None
) -> None:
    took_ms = {"fp32": 8.0, "int8": 4.0}

    def fastest(context: Any, architecture: Any, limits: Limits, variants: Any, price: Any) -> Any:
        assert price is halving.priced_or_probed
        fitting = [v for v in variants if took_ms[v.precision] <= (limits.latency_ms or 0)]
        if not fitting:
            return None
        [variant] = fitting
        found = architecture.with_precision(variant.precision)
        return SimpleNamespace(architecture=found, variant=variant)

    monkeypatch.setattr(problems, "fastest", fastest)
    network = candidates()[0].network
    about = TrainedNetwork(network, 9_000, "a text", {}, {})
    context.inputs.trained_networks = (about,)
    found = halving.trained_networks(
        context, Limits(latency_ms=limit_ms), [FP32, Variant("onnxruntime", "int8")]
    )
    assert [one.network.architecture.precision for one in found] == (
        [precision] if precision else []
    )
    assert all(one.trained == about for one in found)
    missed = {(str(one.network.architecture), "onnxruntime") for one in found}
    left = halving.trained_networks(
        context, Limits(latency_ms=limit_ms), [FP32, Variant("onnxruntime", "int8")], missed
    )
    expected = ["int8"] if precision == "fp32" else []
    assert [one.network.architecture.precision for one in left] == expected
