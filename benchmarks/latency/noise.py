"""What are the noise constants of a device? For the `[noise]` table of its file.

Four parts, in about ten minutes on a device that is otherwise idle (docs/measuring.md says what
each constant means):

- process_spread: three networks in many worker processes, by analysis of variance
- shift: whole measurements of the same networks, one after the other
- jitter_ms: measurements of the network without any operation, one after the other
- peak_room: peak memory of one network in some processes

Prints JSON: of each constant the estimate and its standard error, and the lines of a `[noise]`
table. A line holds the estimate and one standard error, rounded up: a constant that is too small
makes bounds that do not hold, a measurement of few repeats knows it badly.

    python benchmarks/latency/noise.py --device board > noise.json
    python benchmarks/latency/noise.py --quick  # a rehearsal; its figures are of no use
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import profilers
from device_profiles import DeviceProfileError, Noise, find
from device_profiles.noise import most_of
from nasc.architecture.space import PRESETS
from nasc.errors import NascError
from nasc.latency.emission import VOCAB_ROWS
from nasc.latency.session import MeasurementSession, latency_job
from nasc.lowering import PRECISIONS as LOWERED
from nasc.networks.network import random_network
from nasc.utils.files import cache_folder
from profilers.statistic import quiet_rounds, reached_level, usable_samples

SEQ_LEN = 128
SPACE = PRESETS["minilm-l6"]
NETWORKS = (
    "keep | keep | keep",
    "192: M F | 192: M F | 256: M F",
    "128: F S7 S7 | 256: S5 S3 S5 | 128: S3 S5 S3 F",
)
EMPTY = "skip | skip | skip"
ROUNDS = 3
"""Of all networks in a process."""

PROCESS_S = 10.0
"""That a worker process may take for its rounds, its start included."""

NOT_MEASURED = {
    "busy_spread": "needs a neighbour that comes and goes: measuring_repeatability.py",
    "baseline_spread": "a start: the reference baseline learns the device's own",
}

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often what is measured.

    Attributes:
        processes: Worker processes for the spread between them.
        measurements: Whole measurements for the shift between them.
        empty: Measurements of the network without any operation.
        memory: Processes whose peak memory is read.
        seconds: That a measurement may take.
    """

    processes: int = 24
    measurements: int = 4
    empty: int = 12
    memory: int = 8
    seconds: float = 60.0


QUICK = Repeats(processes=4, measurements=2, empty=2, memory=2, seconds=5.0)


@dataclass(frozen=True, slots=True)
class Found:
    """An estimate with its standard error."""

    value: float
    error: float

    def stated(self, limit: float) -> float:
        """What the table is to hold: rounded up to three digits, within what it may hold."""
        most = min(self.value + self.error, limit)
        if most <= 0:
            return 0.0
        unit = 10.0 ** (math.floor(math.log10(most)) - 2)
        return min(float(f"{math.ceil(most / unit - 1e-9) * unit:.3g}"), limit)


def between(groups: Sequence[Values], shared: int = 0) -> tuple[float, float]:
    """Variance between groups and its standard error, by one-way analysis of variance.

    Args:
        groups: Values of each group, at least two groups and one with two values.
        shared: Degrees of freedom within groups that were spent before.

    Returns:
        The variance may be below 0 where there is next to none.
    """
    sizes = np.array([len(group) for group in groups], dtype=np.float64)
    means = np.array([group.mean() for group in groups])
    total, count = sizes.sum(), len(groups)
    centre = float((sizes * means).sum() / total)
    free_between, free_within = count - 1, max(1.0, total - count - shared)
    square_between = float((sizes * (means - centre) ** 2).sum()) / free_between
    square_within = sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / free_within
    size = (total - (sizes**2).sum() / total) / free_between
    error = math.hypot(
        square_between * math.sqrt(2 / free_between), square_within * math.sqrt(2 / free_within)
    )
    return (square_between - square_within) / size, error / size


def deviation(variance: float, error: float, factor: float = 1.0) -> Found:
    """A standard deviation out of a variance, times a factor."""
    root = math.sqrt(max(0.0, variance))
    return Found(factor * root, factor * (math.sqrt(root**2 + error) - root))


def jackknife(values: Sequence[Any], estimate: Callable[[Sequence[Any]], float]) -> Found:
    """An estimate, and its standard error by leaving out one value after the other."""
    count = len(values)
    left = [estimate([*values[:i], *values[i + 1 :]]) for i in range(count)] if count > 2 else []
    value = estimate(values)
    error = math.sqrt((count - 1) * float(np.var(left))) if left else value
    return Found(value, error)


def process_spread(measurement: profilers.Measurement, quiet_ms: float) -> Found:
    """Spread of the ratios of one file between worker processes."""
    variances, errors = [], []
    for model in measurement.models:
        used = usable_samples(model.samples)
        rounds, _ = quiet_rounds(used, reached_level(used, quiet_ms))
        groups: dict[int, list[float]] = {}
        for one in rounds:
            ratio = float(np.median([sample.ratio for sample in one]))
            groups.setdefault(one[0].instance, []).append(math.log(ratio))
        if len(groups) < 2 or max(map(len, groups.values())) < 2:
            sys.exit(
                f"{model.name}: the machine was quiet in {len(rounds)} rounds of {len(groups)} "
                "processes, too few to compare them. Measure again when it is quiet, or in more: "
                "--processes 48"
            )
        variance, error = between([np.array(group) for group in groups.values()])
        variances.append(variance)
        errors.append(error)
    error = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    return deviation(float(np.mean(variances)), error)


def quiet_ones(
    measurements: Sequence[profilers.Measurement], say: Callable[[str], None]
) -> Sequence[profilers.Measurement]:
    """Those taken on the quiet machine where they are two or more; else all."""
    quiet = [one for one in measurements if all(model.is_quiet for model in one.models)]
    if len(quiet) == len(measurements):
        return quiet
    counted = f"{len(quiet)} of {len(measurements)} measurements were taken on the quiet machine"
    if len(quiet) < 2:
        say(f"{counted}: too few, all are compared. Measure again when it is quiet")
        return measurements
    say(f"{counted}: only they are compared")
    return quiet


def shift(measurements: Sequence[profilers.Measurement]) -> Found:
    """By what two whole measurements differ in all of their networks."""
    logs = np.log([[model.latency_ms for model in one.models] for one in measurements])
    logs -= logs.mean(axis=0)
    variance, error = between(list(logs), shared=logs.shape[1] - 1)
    return deviation(variance, error, math.sqrt(2.0))


def jitter_ms(measurements: Sequence[profilers.Measurement]) -> Found:
    """By what the bound of one measurement lies off the latency of another, on one scale."""
    models = [one.models[0] for one in measurements]
    pairs = [(model.latency_ms, model.ratio_upper * model.level_ms) for model in models]

    def spread(some: Sequence[tuple[float, float]]) -> float:
        values, uppers = np.array(some).T
        apart = (uppers[:, None] - values[None, :])[~np.eye(len(some), dtype=bool)]
        return float(np.sqrt(np.mean(apart**2)))

    return jackknife(pairs, spread)


def peak_room(peaks: Sequence[int]) -> Found:
    """By what the most memory that a process held lies above the least."""
    return jackknife(peaks, lambda some: max(some) / min(some) - 1)


def measure_noise(
    session: MeasurementSession,
    jobs: Sequence[profilers.ModelJob],
    empty: profilers.ModelJob,
    repeats: Repeats,
    say: Callable[[str], None],
) -> dict[str, Found]:
    """What can be measured of the noise of a device.

    Args:
        session: On the device.
        jobs: Networks that take a few milliseconds and more.
        empty: The one without any operation.
        repeats: How often.
        say: Told of what is being done.
    """
    baseline = session.baseline()

    def taken(some: Sequence[profilers.ModelJob], seed: int, **about: Any) -> profilers.Measurement:
        nonlocal baseline
        protocol = profilers.Protocol(seed=seed, **about)
        # Networks are compared with themselves: all on one scale, and in the rounds as they are.
        found = session.measure(some, first, protocol=protocol, strict=False)
        baseline = session.extend(baseline, found)
        return found

    first = baseline.scale
    rounds, seconds = ROUNDS * repeats.processes, repeats.seconds
    say(f"{repeats.processes} worker processes")
    fixed = {"min_rounds": rounds, "max_rounds": rounds, "rounds_per_instance": ROUNDS}
    processes = taken(jobs, 0, **fixed, max_seconds=PROCESS_S * repeats.processes)
    whole, alone = [], []
    for index in range(repeats.measurements):
        say(f"measurement {index + 1} of {repeats.measurements}")
        whole.append(taken(jobs, index, max_seconds=seconds))
    for index in range(repeats.empty):
        say(f"network without operations {index + 1} of {repeats.empty}")
        alone.append(taken([empty], index, max_seconds=seconds))
    found = {
        "process_spread": process_spread(processes, first.quiet_ms),
        "shift": shift(quiet_ones(whole, say)),
        "jitter_ms": jitter_ms(quiet_ones(alone, say)),
    }
    say(f"peak memory of {repeats.memory} processes")
    try:
        peaks = [session.peak_memory(jobs[0]).total_bytes for _ in range(repeats.memory)]
    except profilers.MemoryUnavailable as error:
        say(f"peak_room is left out: {error}")
    else:
        found["peak_room"] = peak_room(peaks)
    return found


def table_lines(found: dict[str, Found]) -> list[str]:
    """The lines of a `[noise]` table for a device's file."""
    stated = {name: one.stated(most_of(name)) for name, one in found.items()}
    Noise.from_dict(stated)  # raises where the file would be refused
    return ["[noise]", *(f"{name} = {value!r}" for name, value in stated.items())]


def build_jobs(
    session: MeasurementSession, precision: str, folder: Path
) -> list[profilers.ModelJob]:
    """The networks, and at the end the one without any operation."""
    jobs = []
    for index, text in enumerate((*NETWORKS, EMPTY)):
        architecture = SPACE.parse(f"{text} @ {precision}")
        network = random_network(architecture, SPACE.geometry, "embed", vocab_rows=VOCAB_ROWS)
        path = session.lower(network, folder, str(index)).path
        jobs.append(latency_job(text, path, SEQ_LEN, 1, VOCAB_ROWS))
    return jobs


def run(arguments: argparse.Namespace, repeats: Repeats) -> dict[str, Any]:
    def say(text: str) -> None:
        print(text, file=sys.stderr)

    device = find(arguments.device)
    cache = cache_folder(arguments.cache)
    session = MeasurementSession.on(device, cache, runtime=arguments.runtime, say=say)
    offered = session.precisions()
    precision = arguments.precision or offered[0]
    if precision not in offered:
        sys.exit(f"--precision {precision}: {session.runtime} computes in {', '.join(offered)}")
    with tempfile.TemporaryDirectory() as folder:
        *jobs, empty = build_jobs(session, precision, Path(folder))
        with session.alone():
            found = measure_noise(session, jobs, empty, repeats, say)
    known = session.known_baseline()
    for name, one in found.items():
        if one.value + one.error > most_of(name):
            say(
                f"{name} may be above {most_of(name):g}, the most that a file may hold. "
                "Something disturbs the device, or the repeats are too few: measure again. "
                "Where it stays, bounds on this device are too narrow"
            )
    return {
        "benchmark": "noise",
        "device": device.name,
        "conditions": f"{session.runtime}, {precision}, {session.options.threads} thread(s)",
        "busy": None if known is None else known.busy,
        "estimates": {
            name: {
                "value": one.value,
                "standard_error": one.error,
                "now": getattr(device.noise, name),
                "default": getattr(Noise(), name),
            }
            for name, one in found.items()
        },
        "not_measured": NOT_MEASURED,
        "table": table_lines(found),
    }


def main() -> None:
    usual = Repeats()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="host")
    parser.add_argument("--runtime", choices=LOWERED, help="default: the device's")
    parser.add_argument("--precision", help="default: the truest that it computes in there")
    parser.add_argument("--quick", action="store_true", help="few repeats: a rehearsal")
    for name, what in (
        ("processes", "worker processes for the spread between them"),
        ("measurements", "whole measurements for the shift between them"),
        ("empty", "measurements of the network without operations"),
        ("memory", "processes whose peak memory is read"),
    ):
        most = f"{what}, 2 or more; default: {getattr(usual, name)}"
        parser.add_argument(f"--{name}", type=int, metavar="N", help=most)
    parser.add_argument("--cache", type=Path, help="knows the device's speed; default: the user's")
    arguments = parser.parse_args()
    repeats = QUICK if arguments.quick else usual
    counts = ("processes", "measurements", "empty", "memory")
    asked = {name: getattr(arguments, name) for name in counts}
    given = {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        if value < 2:
            parser.error(f"--{name} {value}: two are the least that can be compared")
    try:
        found = run(arguments, dataclasses.replace(repeats, **given))
    except (NascError, DeviceProfileError, profilers.ProfilerError) as error:
        sys.exit(str(error))
    print(json.dumps(found, indent=1))
    print("\n".join(found["table"]), file=sys.stderr)


if __name__ == "__main__":
    main()
