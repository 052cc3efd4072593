"""Which variants may hold the best network: tables of the others are not measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from synthetic_device import TINY, make_table

from nasc.architecture.space import Architecture, SearchSpace
from nasc.architecture.variant import Variant, truer_of
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.context.tables import LatencyTables
from nasc.distillation.trained import TrainedNetwork
from nasc.errors import InfeasibleLimits
from nasc.latency.costs import TableCosts
from nasc.latency.key import LatencyKey
from nasc.latency.memory import file_bytes
from nasc.latency.predict import Interval, Observation
from nasc.latency.table import LatencyTable
from nasc.latency.table_paths import tables_folder
from nasc.selection import variant_probes
from nasc.selection import variants as module
from nasc.selection.problems import at_equal_quality, check_feasible, priced, whole_teacher
from nasc.selection.successive_halving import searches
from nasc.selection.variant_probes import REST, emptiest_and_fullest, priced_or_probed, slowed
from nasc.selection.variants import NEAR, first_variant, promising_variants
from nasc.solver.problem import Limits, Problem
from nasc.supernet.scores import Scores
from profilers import Scale

SPACE = dataclasses.replace(TINY, keep=True, skip=True)
BARE = dataclasses.replace(TINY, keep=False, skip=False)
FP32, INT8 = Variant("onnxruntime", "fp32"), Variant("onnxruntime", "int8")
EMB4 = Variant("onnxruntime", "int8-emb4")
BF16, OTHER_FP32 = Variant("openvino", "bf16"), Variant("openvino", "fp32")
BOTH = [FP32, INT8]
ADDED = {FP32: 0.0, INT8: 0.003, BF16: 0.0001, OTHER_FP32: 0.0}


def slower(table: LatencyTable, by: dict[str, float], variant: Variant = FP32) -> LatencyTable:
    """A table of another variant in which layers take so many times as long, by their kind."""
    times = [by.get(kind, by[""]) for kind in table.entries["kind"]]
    return dataclasses.replace(
        table,
        key=dataclasses.replace(table.key, runtime=variant.runtime, precision=variant.precision),
        entries=table.entries.assign(cost_ms=table.entries["cost_ms"] * times),
    )


class Tables(LatencyTables):
    """Tables of the same device as another."""

    like: LatencyTable

    def key(self, variant: Variant) -> LatencyKey:
        return dataclasses.replace(
            self.like.key, runtime=variant.runtime, precision=variant.precision
        )


class Context(RunContext):
    """A context whose int8 table is there, and others' where they are saved in the cache."""

    def __init__(self, folder: Path, seed: int = 0, space: SearchSpace = SPACE) -> None:
        super().__init__(Settings(cache=folder, seq_len=32))
        self.table = make_table(space, seed=seed)
        blocks = tuple(space.blocks())
        rng = np.random.default_rng(seed)
        losses = tuple(
            np.array([rng.uniform(0.5, 1.0) / (1 + 2 * len(b.operations)) for b in blocks])
            for _ in range(space.n_blocks)
        )
        for loss in losses:
            loss[[b.kept for b in blocks]] = 0.0
        scores = Scores(None, (blocks,) * 2, losses, (0.7, 1.3), {}, 1)  # type: ignore[arg-type]
        baseline = SimpleNamespace(scale=Scale(4.0, 4.275))
        self.__dict__["variants"] = tuple(BOTH)
        self.inputs.__dict__ |= {
            "space": space,
            "whole_space": space,
            "supernet_path": None,
            "choices": (blocks,) * space.n_blocks,
        }
        self.sessions.__dict__["_baselines"] = dict.fromkeys(("onnxruntime", "openvino"), baseline)
        self.tables = Tables(self.inputs, self.sessions, lambda: None)
        self.tables.like = self.table
        self.tables.mixed = {INT8: self.table}
        self.tables.by_length = {INT8: (self.table,)}
        self.supernet.__dict__ |= {
            "_losses": dict(ADDED),
            "prepared": SimpleNamespace(scores=scores),
        }

    def promising(self, **limits: float) -> list[Variant]:
        return promising_variants(self, Limits(**limits), self.variants)

    @property
    def whole_ms(self) -> float:
        """The latency of the whole teacher in int8 as limits see it."""
        return priced(self, self.space.teacher, INT8, Limits()).upper_latency_ms


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Whole networks take what a table of their variant says; tells what was asked for."""

    def measure_as(*truths: LatencyTable) -> list[int]:
        calls = []
        by_variant = {truth.key.variant: truth for truth in truths}

        def probe(networks: Any, key: Any, *about: Any, **options: Any) -> dict[Any, Any]:
            truth = by_variant[key.variant]
            assert key == truth.key
            calls.append(len(networks))
            return {n: Observation(n, truth.latency_ms(n), 0.01) for n in networks}

        monkeypatch.setattr(variant_probes, "probe", probe)
        return calls

    return measure_as


def test_a_slow_precision_is_left_out(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    calls = measured(slower(context.table, {"": 3.0}))
    assert context.promising(latency_ms=0.5 * context.whole_ms) == [INT8]
    assert calls == [2 + 2 * len(SPACE.operations)]  # the whole, the emptiest, both ends


def test_a_fast_precision_stays(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    measured(slower(context.table, {"": 1.0}))
    assert context.promising(latency_ms=0.5 * context.whole_ms) == BOTH


def test_one_fast_operation_is_enough_to_stay(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    measured(slower(context.table, {"": 3.0, "mha": 0.2, "embedding": 1.0}))
    assert context.promising(latency_ms=0.5 * context.whole_ms) == BOTH


def test_an_operation_that_costs_nothing_may_win(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    costs = context.table.entries["cost_ms"].where(context.table.entries["kind"] != "mha", 0.0)
    table = dataclasses.replace(context.table, entries=context.table.entries.assign(cost_ms=costs))
    context.table = context.tables.mixed[INT8] = table
    measured(slower(table, {"": 3.0}))
    assert context.promising(latency_ms=0.3 * context.whole_ms) == BOTH


def test_a_space_without_kept_and_skipped_blocks(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path, space=BARE)
    calls = measured(slower(context.table, {"": 9.0}))
    least = min(context.table.latency_ms(Architecture((b, b), "int8")) for b in BARE.blocks())
    assert context.promising(latency_ms=3 * least) == [INT8]
    assert calls == [4 * len(BARE.operations)]
    measured(slower(context.table, {"": 1.0}))
    assert context.promising(latency_ms=3 * least) == BOTH


@pytest.mark.parametrize(
    "space",
    [
        dataclasses.replace(SPACE, hidden_sizes=(16,)),  # kept blocks are of another size
        dataclasses.replace(SPACE, operations=("ffn",)),  # and hold another operation
    ],
)
def test_only_layers_that_a_table_holds_are_asked_for(
    space: SearchSpace, tmp_path: Path, measured: Any
) -> None:
    context = Context(tmp_path, space=space)
    measured(slower(context.table, {"": 1.0}))
    assert context.promising(latency_ms=0.5 * context.whole_ms) == BOTH


def test_where_the_whole_teacher_fits_its_own_latency_decides(
    tmp_path: Path, measured: Any
) -> None:
    context = Context(tmp_path)
    calls = measured(slower(context.table, {"": 2.0}))
    whole = context.whole_ms
    assert context.promising(latency_ms=1.5 * whole) == [INT8]
    assert context.promising(latency_ms=2.5 * whole) == BOTH
    assert len(calls) == 2
    assert context.promising(params=1e9) == BOTH
    assert len(calls) == 2  # no latency could change that


def test_other_limits_count(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    calls = measured(slower(context.table, {"": 1.0}))
    size = priced(context, context.space.teacher, INT8, Limits()).costs["size_bytes"]
    assert context.promising(size_bytes=size) == [INT8]  # fp32 takes more bytes
    assert context.promising(size_bytes=size, latency_ms=1e9) == [INT8]
    assert calls == []


def test_nothing_is_measured_where_it_decides_nothing(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    truth = slower(context.table, {"": 3.0})
    calls = measured(truth)
    assert context.promising(size_bytes=1) == [INT8]  # its certificate is that of both
    limits = Limits(latency_ms=0.5 * context.whole_ms)
    assert promising_variants(context, limits, [INT8]) == [INT8]
    assert promising_variants(context, limits, [FP32]) == [FP32]
    truth.save(tables_folder(tmp_path))
    assert promising_variants(context, limits, BOTH) == BOTH  # its table is there
    assert calls == []


def coming_trained(text: str, **scores: float) -> TrainedNetwork:
    network: Any = SimpleNamespace(architecture=SPACE.parse(text))
    return TrainedNetwork(network, 9, "", {}, scores)


@pytest.mark.parametrize(
    ("text", "scores", "expected"),
    [
        ("16: M F | 16: M F", {"pooled_cosine": 0.99}, [INT8]),  # no other is as good untrained
        ("16: M F | 16: M F", {"pooled_cosine": 0.0}, BOTH),
        ("16: M F | 16: M F", {}, BOTH),
        ("16: M | 16: M", {"pooled_cosine": 0.99}, BOTH),  # fits in the truer one, too
        ("keep | keep", {"pooled_cosine": 0.99}, BOTH),  # fits in neither
    ],
)
def test_untrained_networks_are_up_against_one_that_comes_trained(
    tmp_path: Path, measured: Any, text: str, scores: dict[str, float], expected: list[Variant]
) -> None:
    context = Context(tmp_path)
    context.inputs.__dict__["trained_networks"] = (coming_trained(text, **scores),)
    measured(slower(context.table, {"": 1.3}))  # not too slow with the margin of layers
    fits = priced(context, SPACE.parse("16: M F | 16: M F"), INT8, Limits())
    limits = Limits(latency_ms=1.01 * fits.upper_latency_ms)
    assert promising_variants(context, limits, BOTH) == BOTH  # all may learn
    assert promising_variants(context, limits, BOTH, trains=False) == expected


@pytest.mark.parametrize(("cosine", "expected"), [(0.99, BOTH), (0.9, [INT8])])
def test_what_comes_trained_may_fit_in_the_other_variant_alone(
    tmp_path: Path, measured: Any, cosine: float, expected: list[Variant]
) -> None:
    """Its table is measured where it is as true there as what fits in the first one."""
    context = Context(tmp_path)
    first = coming_trained("16: F F | 16: F F", pooled_cosine=0.99)
    other = coming_trained("32: M M M | 32: M M", pooled_cosine=cosine)
    context.inputs.__dict__["trained_networks"] = (first,)
    other_truth = slower(context.table, {"": 1.6, "mha": 0.4})
    calls = measured(other_truth, slower(context.table, {"": 1.0}, INT8))
    fits = priced(context, first.network.architecture, INT8, Limits())
    limits = Limits(latency_ms=1.01 * fits.upper_latency_ms)
    with pytest.raises(InfeasibleLimits):
        priced(context, other.network.architecture, INT8, limits)
    assert promising_variants(context, limits, BOTH, trains=False) == [INT8]
    context.inputs.__dict__["trained_networks"] = (first, other)
    assert promising_variants(context, limits, BOTH, trains=False) == expected
    alone = 2 + 2 * len(SPACE.operations)
    assert set(calls) == {alone + 1, alone + 2}  # all that come trained, whatever the limits


@pytest.fixture
def unsure(tmp_path: Path) -> tuple[Context, Architecture]:
    """A context whose int8 table has a wide interval, and what comes trained."""
    context = Context(tmp_path)
    context.table = dataclasses.replace(context.table, interval=Interval(0.1, 5))
    context.tables.mixed = {INT8: context.table}
    one = coming_trained("16: M F | 16: M F", pooled_cosine=0.99)
    context.inputs.__dict__["trained_networks"] = (one,)
    return context, one.network.architecture


@pytest.mark.parametrize(
    ("times", "limit", "expected"),
    [
        (0.8, 1.0, "probed"),
        (1.2, 1.0, None),  # it takes longer than it may
        (0.99, 1.0, None),  # a repetition may
        (0.8, 0.5, None),  # by the table it cannot be as fast as that: not measured
        (1.2, 2.0, "priced"),
    ],
)
def test_what_comes_trained_is_measured_itself_where_its_table_leaves_it_open(
    unsure: tuple[Context, Architecture],
    measured: Any,
    times: float,
    limit: float,
    expected: str | None,
) -> None:
    context, architecture = unsure
    calls = measured(slower(context.table, {"": times}, INT8))
    predicted = context.table.latency_ms(architecture.with_precision("int8"))
    limits = Limits(latency_ms=limit * predicted)
    if expected is None:
        with pytest.raises(InfeasibleLimits):
            priced_or_probed(context, architecture, INT8, limits)
    elif expected == "priced":
        found = priced_or_probed(context, architecture, INT8, limits)
        assert found.upper == priced(context, architecture, INT8, limits).upper
    else:
        with pytest.raises(InfeasibleLimits):
            priced(context, architecture, INT8, limits)
        found = priced_or_probed(context, architecture, INT8, limits)
        took = times * predicted
        assert found.costs["latency_ms"] == pytest.approx(took)
        room = context.tables.measure_costs([INT8]).measured_upper_ms(1.0, INT8)
        assert room > 1
        assert found.upper_latency_ms == pytest.approx(room * took)
        assert found.architecture == architecture.with_precision("int8")
        size = found.costs["size_bytes"]
        both = dataclasses.replace(limits, size_bytes=0.9 * size)
        with pytest.raises(InfeasibleLimits):
            priced_or_probed(context, architecture, INT8, both)
    assert bool(calls) == (limit == 1.0)


def test_nothing_is_measured_where_only_tables_count(
    unsure: tuple[Context, Architecture], measured: Any
) -> None:
    context, architecture = unsure
    calls = measured(slower(context.table, {"": 0.8}, INT8))
    context.settings = dataclasses.replace(context.settings, estimate=True)
    context.tables._inputs.settings = context.settings
    limits = Limits(latency_ms=context.table.latency_ms(architecture.with_precision("int8")))
    with pytest.raises(InfeasibleLimits):
        priced_or_probed(context, architecture, INT8, limits)
    assert calls == []


@pytest.mark.parametrize(
    ("times", "missed", "expected"),
    [(0.8, (), [INT8]), (0.8, ("int8",), BOTH), (1.2, (), BOTH)],
)
def test_what_was_measured_in_vain_or_is_too_slow_itself_beats_nothing(
    unsure: tuple[Context, Architecture],
    measured: Any,
    times: float,
    missed: tuple[str, ...],
    expected: list[Variant],
) -> None:
    context, architecture = unsure
    measured(
        slower(context.table, {"": times}, INT8),
        slower(context.table, {"": 1.3}),
    )
    limits = Limits(latency_ms=context.table.latency_ms(architecture.with_precision("int8")))
    left_out = {(str(architecture.with_precision(p)), "onnxruntime") for p in missed}
    found = promising_variants(context, limits, BOTH, trains=False, missed=left_out)
    assert found == expected


def test_of_another_text_it_says_nothing(tmp_path: Path, measured: Any) -> None:
    context = Context(tmp_path)
    context.inputs.__dict__["trained_networks"] = (
        coming_trained("16: M F | 16: M F", pooled_cosine=0.99),
    )
    measured(slower(context.table, {"": 1.3}))
    fits = priced(context, SPACE.parse("16: M F | 16: M F"), INT8, Limits())
    limits = Limits(latency_ms=1.01 * fits.upper_latency_ms)
    context.settings = dataclasses.replace(context.settings, corpus=("mine.txt",))
    assert promising_variants(context, limits, BOTH, trains=False) == BOTH


@pytest.mark.parametrize(("times", "expected"), [(3.0, [INT8]), (0.5, BOTH)])
def test_a_certificate_speaks_of_what_reaches_furthest(
    tmp_path: Path, measured: Any, times: float, expected: list[Variant]
) -> None:
    context = Context(tmp_path)
    measured(slower(context.table, {"": times}))
    assert context.promising(latency_ms=1e-6) == expected


def nearest(problem: Problem) -> list[Architecture]:
    """What is looked at of a kind; nothing where none of it meets the limits."""
    try:
        return [solution.architecture for solution in module.solve(problem, NEAR)]
    except InfeasibleLimits:
        return []


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3, 4, 5))]
)
def test_what_is_left_out_would_not_have_been_looked_at(
    tmp_path: Path, measured: Any, seed: int
) -> None:
    """With the true table of fp32 the candidates of every kind are the same networks."""
    context = Context(tmp_path, seed)
    rng = np.random.default_rng(seed)
    truth = slower(context.table, {kind: rng.uniform(1.5, 3.0) for kind in ("", *SPACE.operations)})
    measured(truth)
    both, left_out = TableCosts.of([truth, context.table]), 0
    for share in np.linspace(0.3, 0.9, 7):
        limits = Limits(latency_ms=share * context.whole_ms)
        try:
            check_feasible(context, limits, [INT8])
        except InfeasibleLimits:
            continue
        if promising_variants(context, limits, BOTH) == [INT8]:
            left_out += 1
            for kind in searches(context, limits, [INT8]):
                wide = dataclasses.replace(kind, variants={FP32: 0.0, INT8: 0.003}, costs=both)
                assert nearest(wide) == nearest(kind)
    assert left_out > 0


def test_a_slowed_table_predicts_the_ratio_without_an_interval(tmp_path: Path) -> None:
    context = Context(tmp_path)
    costs = TableCosts.of([slowed(context.table, context.tables.key(FP32), {REST: 1.7})])
    for text in ("keep | skip", "16: M F S3 | 32: M"):
        network = SPACE.parse(text).with_precision("fp32")
        held = context.table.latency_ms(network.with_precision("int8"))
        value = costs.predict(network, "onnxruntime").latency_ms
        assert value == pytest.approx(1.7 * held)
        assert costs.upper("latency_ms", value, FP32) == pytest.approx(value)


# Several runtimes


def several(folder: Path, *variants: Variant) -> Context:
    context = Context(folder)
    context.__dict__["variants"] = variants
    return context


def test_of_several_runtimes_the_fastest_is_measured_first(tmp_path: Path, measured: Any) -> None:
    context = several(tmp_path, FP32, BF16, INT8)
    slow = slower(context.table, {"": 4.0}, INT8)
    calls = measured(slower(context.table, {"": 3.0}), slower(context.table, {"": 0.8}, BF16), slow)
    limits = Limits(latency_ms=0.5 * context.whole_ms)
    assert first_variant(context, limits, context.variants) == BF16
    assert len(calls) == 3
    context.tables.mixed = {BF16: slower(context.table, {"": 0.8}, BF16)}
    assert context.promising(latency_ms=limits.latency_ms) == [BF16]  # int8 loses more, and time


def test_the_whole_network_is_taken_by_the_fastest_runtime_of_the_same_quality(
    tmp_path: Path, measured: Any
) -> None:
    context = several(tmp_path, FP32, OTHER_FP32, BF16, INT8)
    times = {FP32: 3.0, OTHER_FP32: 2.5, BF16: 1.1, INT8: 1.0}
    tables = {v: slower(context.table, {"": t}, v) for v, t in times.items()}
    measured(*tables.values())
    whole_ms = context.whole_ms
    for table in tables.values():
        table.save(tables_folder(tmp_path))
    context.tables.mixed = tables
    for share, expected in ((4.0, BF16), (1.2, BF16), (1.05, INT8)):
        found = whole_teacher(context, Limits(latency_ms=share * whole_ms), context.variants)
        assert found is not None
        assert found.variant == expected
    exact = whole_teacher(context, Limits(latency_ms=4 * whole_ms), [FP32, OTHER_FP32, INT8])
    assert exact is not None
    assert exact.variant == OTHER_FP32
    assert whole_teacher(context, Limits(latency_ms=0.5 * whole_ms), context.variants) is None


def test_a_network_of_the_search_is_taken_by_the_fastest_of_the_same_quality(
    tmp_path: Path,
) -> None:
    context = several(tmp_path, FP32, OTHER_FP32, BF16, INT8)
    times = {FP32: 3.0, OTHER_FP32: 2.5, BF16: 2.6, INT8: 1.0}
    context.tables.mixed = {v: slower(context.table, {"": t}, v) for v, t in times.items()}
    architecture = SPACE.parse("16: M F S3 | 32: M")
    limits = Limits(latency_ms=1e6)
    found = priced(context, architecture, FP32, limits).with_loss(0.25)
    moved = at_equal_quality(context, found, limits, context.variants)
    assert (moved.variant, moved.predicted_loss) == (OTHER_FP32, 0.25)
    assert moved.architecture.blocks == architecture.blocks
    small = priced(context, architecture, INT8, limits).with_loss(0.25)
    assert at_equal_quality(context, small, limits, context.variants) == small


def test_words_in_4_bits_are_looked_at_where_int8_is_too_large(
    tmp_path: Path, measured: Any
) -> None:
    context = Context(tmp_path)
    context.__dict__["variants"] = (FP32, INT8, EMB4)
    context.supernet._losses[EMB4] = 0.004
    measured(slower(context.table, {"": 3.0}), slower(context.table, {"": 1.0}, EMB4))
    whole = file_bytes(
        SPACE.teacher.with_precision("int8"), "onnxruntime", SPACE.geometry, context.graph_head
    )
    fullest = max(
        file_bytes(full, "onnxruntime", SPACE.geometry, context.graph_head)
        for pairs in emptiest_and_fullest(context, "int8").values()
        for _, full in pairs
    )
    both = {"latency_ms": 10 * context.whole_ms}
    assert EMB4 not in context.promising(size_bytes=max(whole, fullest), **both)
    least = check_feasible(context, Limits(), [INT8])
    assert least is not None
    assert EMB4 in context.promising(size_bytes=whole - 100, **both)
    for v in (INT8, EMB4):
        assert truer_of(v) == (INT8 if v == EMB4 else None)
