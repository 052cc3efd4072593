"""How repeatable is a latency? The same files, measured again and again in new processes.

Twelve encoder-like models (2 to 30 ms on one server core) are measured `--repeats` times, each
time in new worker processes, with a fixed number of rounds. Out of the raw rounds every candidate
for the statistic of record is computed, and compared between repeats: its spread (how far two
repeats differ), its bias against the mean of all candidates' quietest repeats, and how often a
repeat lies under another's upper bound.

    python benchmarks/measuring_repeatability.py --repeats 8 > repeatability.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import profilers
from device_profiles import find
from profilers.samples import RoundSample
from profilers.statistic import relative_latency, usable_rounds

SEQ_LEN = 128
HEAD_SIZE = 32
# (layers, hidden, feed-forward size): 2 to 30 ms on one core at 100 GFLOP/s.
SHAPES = (
    (1, 192, 768),
    (2, 192, 768),
    (1, 384, 1536),
    (4, 192, 768),
    (2, 384, 1536),
    (6, 256, 1024),
    (3, 384, 1536),
    (8, 256, 1024),
    (4, 384, 1536),
    (12, 256, 1024),
    (5, 384, 1536),
    (6, 384, 1536),
)


def build_model(path: Path, layers: int, hidden: int, ffn: int) -> None:
    """Writes a stack of encoder layers: attention and a feed-forward network with GELU."""
    generator = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def weight(name: str, *shape: int) -> str:
        value = generator.normal(0.0, shape[0] ** -0.5, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    constants = {
        "gain": np.ones(hidden, np.float32),
        "bias": np.zeros(hidden, np.float32),
        "ffn_bias": np.zeros(ffn, np.float32),
        "scale": np.array(HEAD_SIZE**-0.5, np.float32),
        "sqrt2": np.array(2.0**0.5, np.float32),
        "one": np.array(1.0, np.float32),
        "half": np.array(0.5, np.float32),
        "split": np.array([1, SEQ_LEN, hidden // HEAD_SIZE, HEAD_SIZE], np.int64),
        "join": np.array([1, SEQ_LEN, hidden], np.int64),
    }
    weights += [numpy_helper.from_array(value, name) for name, value in constants.items()]

    def linear(source: str, name: str, inner: int, outer: int, bias: str) -> str:
        product = node("MatMul", [source, weight(name, inner, outer)], f"{name}_product")
        return node("Add", [product, bias], f"{name}_sum")

    state = "hidden_in"
    for i in range(layers):
        heads = []
        for name in "qkv":
            flat = linear(state, f"{name}{i}", hidden, hidden, "bias")
            split = node("Reshape", [flat, "split"], f"{name}_split{i}")
            order = [0, 2, 3, 1] if name == "k" else [0, 2, 1, 3]
            heads.append(node("Transpose", [split], f"{name}_heads{i}", perm=order))
        scores = node("MatMul", heads[:2], f"scores{i}")
        scaled = node("Mul", [scores, "scale"], f"scaled{i}")
        attention = node("Softmax", [scaled], f"attention{i}", axis=-1)
        mixed = node("MatMul", [attention, heads[2]], f"mixed{i}")
        back = node("Transpose", [mixed], f"back{i}", perm=[0, 2, 1, 3])
        out = linear(node("Reshape", [back, "join"], f"joined{i}"), f"o{i}", hidden, hidden, "bias")
        total = node("Add", [out, state], f"residual_a{i}")
        state = node("LayerNormalization", [total, "gain", "bias"], f"norm_a{i}", axis=-1)
        up = linear(state, f"u{i}", hidden, ffn, "ffn_bias")
        erf = node("Erf", [node("Div", [up, "sqrt2"], f"g_div{i}")], f"g_erf{i}")
        gate = node("Mul", [up, node("Add", [erf, "one"], f"g_add{i}")], f"g_mul{i}")
        gelu = node("Mul", [gate, "half"], f"gelu{i}")
        down = linear(gelu, f"d{i}", ffn, hidden, "bias")
        total = node("Add", [down, state], f"residual_f{i}")
        state = node("LayerNormalization", [total, "gain", "bias"], f"norm_f{i}", axis=-1)
    shape = [1, SEQ_LEN, hidden]
    graph = helper.make_graph(
        nodes,
        "stack",
        [helper.make_tensor_value_info("hidden_in", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(state, TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)


def build_jobs(folder: Path) -> list[profilers.ModelJob]:
    jobs = []
    for layers, hidden, ffn in SHAPES:
        path = folder / f"l{layers}-h{hidden}.onnx"
        build_model(path, layers, hidden, ffn)
        spec = profilers.InputSpec((1, SEQ_LEN, hidden), "float32")
        jobs.append(profilers.ModelJob(path.stem, path, {"hidden_in": spec}))
    return jobs


Candidate = Callable[[Sequence[RoundSample]], float]


def _ratio_quantile(share: float, *, filtered: bool) -> Candidate:
    def value(samples: Sequence[RoundSample]) -> float:
        used = usable_rounds(samples) if filtered else samples
        return float(np.quantile([sample.ratio for sample in used], share))

    return value


def _lower_half_mean(samples: Sequence[RoundSample]) -> float:
    ratios = np.sort([sample.ratio for sample in usable_rounds(samples)])
    return float(np.mean(ratios[: max(1, len(ratios) // 2)]))


def _middle_half_mean(samples: Sequence[RoundSample]) -> float:
    ratios = np.sort([sample.ratio for sample in usable_rounds(samples)])
    cut = len(ratios) // 4
    return float(np.mean(ratios[cut : len(ratios) - cut]))


def _absolute_quantile(share: float) -> Candidate:
    """Milliseconds, no reference at all."""
    return lambda samples: float(np.quantile([sample.lowest_ms for sample in samples], share))


def _quantile_of_each(share: float) -> Candidate:
    """The model's low quantile over the reference's, each over all rounds."""

    def value(samples: Sequence[RoundSample]) -> float:
        model = np.quantile([sample.lowest_ms for sample in samples], share)
        reference = np.quantile([sample.reference_ms for sample in samples], share)
        return float(model / reference)

    return value


CANDIDATES: dict[str, Candidate] = {
    "absolute median": lambda samples: float(
        np.median([run for sample in samples for run in sample.runs_ms])
    ),
    "absolute q25 of lowest": _absolute_quantile(0.25),
    "absolute minimum": _absolute_quantile(0.0),
    "minimum over reference's minimum": _quantile_of_each(0.0),
    "q10 over reference's q10": _quantile_of_each(0.1),
    "ratio minimum": _ratio_quantile(0.0, filtered=False),
    "ratio q10": _ratio_quantile(0.1, filtered=False),
    "ratio q25": _ratio_quantile(0.25, filtered=False),
    "ratio median": _ratio_quantile(0.5, filtered=False),
    "quiet ratio q10": _ratio_quantile(0.1, filtered=True),
    "quiet ratio q25": _ratio_quantile(0.25, filtered=True),
    "quiet ratio q40": _ratio_quantile(0.4, filtered=True),
    "quiet ratio median": _ratio_quantile(0.5, filtered=True),
    "quiet ratio mean of lower half": _lower_half_mean,
    "quiet ratio mean of middle half": _middle_half_mean,
}


def evaluate(repeats: Sequence[profilers.Measurement]) -> dict[str, Any]:
    """Compares the candidates over the repeats."""
    names = [model.name for model in repeats[0].models]
    table: dict[str, Any] = {}
    for label, candidate in CANDIDATES.items():
        values = np.array([[candidate(one[name].samples) for name in names] for one in repeats])
        relative = values / np.median(values, axis=0)
        table[label] = {
            "spread_percent": 100 * float(np.sqrt(np.mean(np.var(relative, axis=0, ddof=1)))),
            "largest_percent": 100 * float(np.max(np.abs(relative - 1.0))),
            "common_percent": 100 * float(np.std(np.mean(relative, axis=1), ddof=1)),
        }
    return table


def spread_of_processes(repeats: Sequence[profilers.Measurement]) -> dict[str, float]:
    """Splits the variance of a round's ratio: within a process, and between processes."""
    within: list[float] = []
    between: list[float] = []
    for name in [model.name for model in repeats[0].models]:
        means, variances, counts = [], [], []
        for one in repeats:
            used = usable_rounds(one[name].samples)
            for instance in sorted({sample.instance for sample in used}):
                ratios = np.array([s.ratio for s in used if s.instance == instance])
                if len(ratios) < 3:
                    continue
                ratios = np.sort(ratios)
                centre = float(np.median(ratios))
                means.append(centre)
                variances.append(float(np.percentile(ratios, 84) - np.percentile(ratios, 16)) / 2)
                counts.append(len(ratios))
        scale = float(np.median(means))
        sd_within = float(np.median(variances)) / scale
        sd_medians = float(np.std(means, ddof=1)) / scale
        expected = 1.253 * sd_within / float(np.sqrt(np.median(counts)))
        within.append(sd_within)
        between.append(float(np.sqrt(max(0.0, sd_medians**2 - expected**2))))
    return {
        "within_percent": 100 * float(np.median(within)),
        "between_percent": 100 * float(np.median(between)),
        "between_worst_percent": 100 * float(np.max(between)),
    }


def coverage(repeats: Sequence[profilers.Measurement]) -> dict[str, float]:
    """How often one repeat's statistic lies under another repeat's upper bound."""
    under = above = pairs = 0
    widths = []
    for name in [model.name for model in repeats[0].models]:
        estimates = [relative_latency(one[name].samples) for one in repeats]
        widths += [estimate.half_width for estimate in estimates]
        for i, first in enumerate(estimates):
            for j, second in enumerate(estimates):
                if i != j:
                    pairs += 1
                    under += second.value <= first.upper
                    above += second.value >= first.lower
    return {
        "under_upper_percent": 100 * under / pairs,
        "above_lower_percent": 100 * above / pairs,
        "median_half_width_percent": 100 * float(np.median(widths)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--rounds-per-instance", type=int, default=3)
    parser.add_argument("--pause-s", type=float, default=0.0, help="between repeats")
    parser.add_argument("--keep", type=Path, help="folder for the raw measurements")
    parser.add_argument("--load", type=Path, help="evaluate the raw measurements kept there")
    arguments = parser.parse_args()
    repeats = []
    if arguments.load:
        for path in sorted(arguments.load.glob("repeat-*.json")):
            repeats.append(profilers.Measurement.from_dict(json.loads(path.read_text())))
    else:
        protocol = profilers.Protocol(
            min_rounds=arguments.rounds,
            max_rounds=arguments.rounds,
            rounds_per_instance=arguments.rounds_per_instance,
            max_seconds=1e6,
        )
        with tempfile.TemporaryDirectory() as folder:
            jobs = build_jobs(Path(folder))
            for index in range(arguments.repeats):
                one = profilers.measure(jobs, find("host"), protocol=protocol)
                repeats.append(one)
                print(
                    f"repeat {index + 1} of {arguments.repeats}: {one.duration_s:.0f} s, drift "
                    f"{one.drift_ratio:.2f}, busy {one.busy_share:.2f}",
                    file=sys.stderr,
                )
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    text = json.dumps(one.to_dict())
                    (arguments.keep / f"repeat-{time.time_ns()}.json").write_text(text)
                time.sleep(arguments.pause_s)
    result = {
        "statistic": profilers.STATISTIC,
        "repeats": len(repeats),
        "rounds": repeats[0].rounds,
        "latency_ms": {model.name: model.latency_ms for model in repeats[0].models},
        "drift_ratio": [one.drift_ratio for one in repeats],
        "busy_share": [one.busy_share for one in repeats],
        "reference_observed_ms": [one.reference.observed_ms for one in repeats],
        "candidates": evaluate(repeats),
        "processes": spread_of_processes(repeats),
        "coverage": coverage(repeats),
        "context": {
            key: repeats[0].context[key]
            for key in ("fingerprint", "runtime", "runtime_version", "time_utc")
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
