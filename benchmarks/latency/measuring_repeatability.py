"""How repeatable is a latency? The same files, measured again and again in new processes.

Twelve networks as NASC emits them (0.6 to 35 ms on one server core, fp32 and int8) are measured
`--repeats` times, each time in new worker processes, with a fixed number of rounds. Out of the raw
rounds every candidate for the statistic of record is computed, and compared between repeats: its
spread (how far two repeats differ), its bias against the fast tenth of all runs together, and how
often a repeat lies under another's upper bound. Beside it: what a busy machine does to the ratios.

    python benchmarks/latency/measuring_repeatability.py --repeats 8 > repeatability.json
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

import profilers
from device_profiles import find
from nasc.architecture.space import PRESETS
from nasc.export.onnx import emit
from nasc.latency.emission import VOCAB_ROWS
from nasc.latency.session import latency_job
from nasc.networks.network import random_network
from profilers.statistic import quiet_level, quiet_rounds, relative_latency

SEQ_LEN = 128
NETWORKS = (
    "keep | keep | keep @ int8",
    "192: M F | 192: M F | 256: M F @ int8",
    "keep | 192: F | 192: M F @ int8",
    "128: S7 | 256: M F S3 | 384: M @ int8",
    "128: F S7 S7 | 256: S5 S3 S5 | 128: S3 S5 S3 F @ int8",
    "384: M F | skip | skip @ int8",
    "128: M | skip | skip @ int8",
    "keep | keep | keep @ fp32",
    "keep | skip | skip @ fp32",
    "192: M F | 192: M F | 256: M F @ fp32",
    "128: F S7 S7 | 256: S5 S3 S5 | 128: S3 S5 S3 F @ fp32",
    "128: M | skip | skip @ fp32",
)


def build_jobs(folder: Path) -> list[profilers.ModelJob]:
    space = PRESETS["minilm-l6"]
    jobs = []
    for index, text in enumerate(NETWORKS):
        path = folder / f"{index}.onnx"
        network = random_network(space.parse(text), space.geometry, "embed", vocab_rows=VOCAB_ROWS)
        emit(network, path)
        jobs.append(latency_job(text, path, SEQ_LEN, 1, VOCAB_ROWS))
    return jobs


Candidate = Callable[[profilers.Measurement, str, float], float]
"""Milliseconds of a network in one repeat, given the reference's quiet time over all repeats."""


def _ratio_quantile(share: float) -> Candidate:
    return lambda one, name, quiet_ms: (
        quiet_ms * float(np.quantile([s.ratio for s in one[name].samples], share))
    )


def _absolute_quantile(share: float) -> Candidate:
    """Own time, no reference at all."""
    return lambda one, name, quiet_ms: float(
        np.quantile([s.median_ms for s in one[name].samples], share)
    )


def _quantile_of_each(share: float, reference_share: float) -> Candidate:
    """The model's low quantile over the reference's, each over all rounds."""

    def value(one: profilers.Measurement, name: str, quiet_ms: float) -> float:
        model = np.quantile([s.median_ms for s in one[name].samples], share)
        reference = np.quantile([v.median_ms for v in one.reference.samples], reference_share)
        return float(quiet_ms * model / reference)

    return value


def _regression(one: profilers.Measurement, name: str, quiet_ms: float) -> float:
    """The logarithm of a round's ratio as a line in that of the reference, at the quiet level.

    The slope has a normal prior around 0 with a standard deviation of 0.15.
    """
    rounds: dict[int, list[profilers.RoundSample]] = {}
    for sample in one[name].samples:
        rounds.setdefault(sample.round, []).append(sample)
    y = np.log([np.median([s.ratio for s in part]) for part in rounds.values()])
    x = np.log([np.median([s.reference_ms for s in part]) / quiet_ms for part in rounds.values()])
    noise = 1.4826 * np.median(np.abs(y - np.median(y))) + 1e-3
    centred = x - x.mean()
    weight = (centred**2).sum() / noise**2
    slope = (centred * (y - y.mean())).sum() / noise**2 / (weight + 1 / 0.15**2)
    return quiet_ms * float(np.exp(np.median(y - slope * x)))


def _record(one: profilers.Measurement, name: str, quiet_ms: float) -> float:
    return relative_latency(one[name].samples, quiet_ms, noise=one.noise).latency_ms


CANDIDATES: dict[str, Candidate] = {
    "median of wall times, no reference": lambda one, name, quiet_ms: one[name].p50_ms,
    "median of own times, no reference": _absolute_quantile(0.5),
    "10% quantile of own times, no reference": _absolute_quantile(0.1),
    "minimum of own times, no reference": _absolute_quantile(0.0),
    "minimum over the reference's minimum": _quantile_of_each(0.0, 0.0),
    "minimum over the reference's 5% quantile": _quantile_of_each(0.0, 0.05),
    "10% quantile over the reference's": _quantile_of_each(0.1, 0.1),
    "25% quantile of paired ratios": _ratio_quantile(0.25),
    "median of all paired ratios": _ratio_quantile(0.5),
    "paired ratios by regression on the reference": _regression,
    "median of paired ratios in quiet rounds (the statistic of record)": _record,
}


def quiet_time(repeats: Sequence[profilers.Measurement]) -> float:
    """The reference's quiet time over all repeats, in ms."""
    return quiet_level([v.median_ms for one in repeats for v in one.reference.samples])


def evaluate(repeats: Sequence[profilers.Measurement], quiet_ms: float) -> dict[str, Any]:
    """Compares the candidates over the repeats.

    `bias_percent` is against the fast tenth of all runs of all repeats, which no single repeat
    knows: the mean over fp32 networks, and over int8 ones.
    """
    names = [model.name for model in repeats[0].models]
    fast = np.array(
        [
            np.quantile([s.median_ms for one in repeats for s in one[name].samples], 0.1)
            for name in names
        ]
    )
    table: dict[str, Any] = {}
    for label, candidate in CANDIDATES.items():
        values = np.array([[candidate(one, name, quiet_ms) for name in names] for one in repeats])
        relative = values / np.median(values, axis=0)
        bias = np.mean(values / fast, axis=0) - 1
        table[label] = {
            "spread_percent": 100 * float(np.sqrt(np.mean(np.var(relative, axis=0, ddof=1)))),
            "largest_percent": 100 * float(np.max(np.abs(relative - 1.0))),
            "common_percent": 100 * float(np.std(np.mean(relative, axis=1), ddof=1)),
            "bias_percent": {
                precision: 100 * float(np.mean(bias[[n.endswith(precision) for n in names]]))
                for precision in ("fp32", "int8")
            },
        }
    return table


def levels(repeats: Sequence[profilers.Measurement], quiet_ms: float) -> dict[str, Any]:
    """What a busy machine does to ratios, and what a network does to the reference around it."""
    found = {}
    for name in [model.name for model in repeats[0].models]:
        parts: list[list[float]] = [[], []]
        around = []
        for one in repeats:
            for part, rounds in zip(parts, quiet_rounds(one[name].samples, quiet_ms), strict=True):
                part += [s.ratio for samples in rounds for s in samples]
            around += [s.reference_before_ms for s in one[name].samples]
            around += [s.reference_after_ms for s in one[name].samples]
        quiet, busy = parts
        shift = np.median(quiet) / np.median(busy) - 1 if quiet and busy else np.nan
        found[name] = {
            "quiet_share": len(quiet) / (len(quiet) + len(busy)),
            "quiet_over_busy_ratio_percent": None if np.isnan(shift) else 100 * float(shift),
            "reference_around_percent": 100 * (quiet_level(around) / quiet_ms - 1),
        }
    return found


def spread_of_processes(repeats: Sequence[profilers.Measurement]) -> dict[str, float]:
    """Splits the variance of a round's ratio: within a process, and between processes."""
    within: list[float] = []
    between: list[float] = []
    for name in [model.name for model in repeats[0].models]:
        means, variances, counts = [], [], []
        for one in repeats:
            used = one[name].samples
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


def coverage(repeats: Sequence[profilers.Measurement], quiet_ms: float) -> dict[str, float]:
    """How often one repeat's statistic lies under another repeat's upper bound."""
    under = above = pairs = 0
    widths = []
    for name in [model.name for model in repeats[0].models]:
        estimates = [
            relative_latency(one[name].samples, quiet_ms, noise=one.noise) for one in repeats
        ]
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
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--rounds-per-instance", type=int, default=3)
    parser.add_argument("--reference-warmup", type=int, default=4, help="runs before its visits")
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
            reference_warmup_runs=arguments.reference_warmup,
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
    quiet_ms = quiet_time(repeats)
    result = {
        "statistic": profilers.STATISTIC,
        "repeats": len(repeats),
        "rounds": repeats[0].rounds,
        "latency_ms": {model.name: model.latency_ms for model in repeats[0].models},
        "drift_ratio": [one.drift_ratio for one in repeats],
        "busy_share": [one.busy_share for one in repeats],
        "reference_observed_ms": [one.reference.observed_ms for one in repeats],
        "quiet_ms": quiet_ms,
        "levels": levels(repeats, quiet_ms),
        "candidates": evaluate(repeats, quiet_ms),
        "processes": spread_of_processes(repeats),
        "coverage": coverage(repeats, quiet_ms),
        "context": {
            key: repeats[0].context[key]
            for key in ("fingerprint", "runtime", "runtime_version", "time_utc")
        },
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
