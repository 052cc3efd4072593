"""How good is a table that is made from another one and a few measured networks?

A table is measured, or taken from `--cache`, for each runtime, precision and number of threads of
a device, and with it so many more random networks that none of its costs has seen (`--networks`;
kept in the cache too). Any two settings that differ in one thing, or all (`--all-pairs`), are then
a device that is known and one that is new: out of the networks of the new one `--splits` random
choices of each budget are given to the transfer, and all its other random networks are predicted.

    python benchmarks/latency/transfer.py --cache transfer-cache > transfer.json
    python benchmarks/latency/transfer.py --cache CACHE --offline > transfer.json

With `--offline` nothing is measured: the random networks are those of the tables of the cache
alone, of which the largest budgets leave few to predict.

Beside the error of the transfer stand that of scaling the known table by one factor (the median of
measured over predicted of the same networks) and that of the new device's own table, measured
whole. Nothing predicts a measurement better than it repeats: the error of the whole table is what
noise leaves. Targets, at a budget of 20: mean error of 5% at most in each pair, 90% intervals
covering 85 to 95% of the networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import itertools
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import profilers
from device_profiles import find
from nasc.architecture.space import Architecture, SearchSpace, load_space
from nasc.errors import TableError
from nasc.latency.emission import emit_jobs
from nasc.latency.plan import plan, random_architectures
from nasc.latency.predict import Observation
from nasc.latency.profile import estimates, observed, profile
from nasc.latency.session import MeasurementSession
from nasc.latency.table import LatencyTable, load_table
from nasc.latency.table_paths import samples_path, table_files, tables_folder
from nasc.latency.transfer import Prior, prior_of, transferred_fit
from nasc.utils.files import write_atomically

BUDGETS = (5, 10, 20, 40)
SPECIAL = 0.2
"""Of a budget are no random networks, as in `nasc.latency.plan.small_plan`."""

LEAST_PREDICTED = 8
SEED = 20261129
MEASURE_S = 60.0
TARGET_BUDGET = 20

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """A table with its measured networks, and more random ones that it has not seen.

    Attributes:
        table: The table.
        observations: Its networks as they were measured, in the order of its plan.
        more: Random networks that are not of its plan.
        own_error: measured / predicted - 1 by the table itself, of each random network: of those of
            its plan without themselves, then of the others.
    """

    table: LatencyTable
    observations: list[Observation]
    more: list[Observation]
    own_error: Vector

    @property
    def name(self) -> str:
        key = self.table.key
        return f"{key.runtime} {key.precision}, {key.threads} thread{'s'[: key.threads > 1]}"

    @property
    def random(self) -> list[Observation]:
        return [o for o in self.observations if o.held_out] + self.more

    @property
    def special(self) -> list[Observation]:
        """The teacher first, then the network without any operation, then designed ones."""
        return [o for o in self.observations if not o.held_out]


def read_setting(path: Path, more: Path | None) -> Setting:
    """A table of a cache with its samples."""
    table = load_table(path)
    key = table.key
    planned = plan(
        table.space,
        table.seed,
        precision=key.precision,
        seq_len=key.seq_len,
        batch=key.batch,
        head=key.head,
    )
    raw = json.loads(gzip.decompress(samples_path(path).read_bytes()))
    measured = profilers.Measurement.from_dict(raw)
    observations = observed(planned, estimates(measured, table.quiet_ms))
    extra = [] if more is None else read_more(table, more)
    predicted = [table.latency_ms(o.architecture) for o in extra]
    own = [o.latency_ms / p - 1 for o, p in zip(extra, predicted, strict=True)]
    return Setting(table, observations, extra, np.array([*table.held_out, *own]))


def more_path(table_path: Path, networks: int) -> Path:
    folder = table_path.parent.parent / "transfer"
    return folder / table_path.name.replace(".latency.csv", f".{networks}.json.gz")


def read_more(table: LatencyTable, path: Path) -> list[Observation]:
    measured = profilers.Measurement.from_dict(json.loads(gzip.decompress(path.read_bytes())))
    found = estimates(measured, table.quiet_ms)
    networks = more_networks(table, len(measured.models))
    return [
        Observation(n, found[str(n)].latency_ms, found[str(n)].deviation, True) for n in networks
    ]


def more_networks(table: LatencyTable, count: int) -> list[Architecture]:
    """Random networks that are not part of the table's plan."""
    seen = {*table.measured["network"]}
    rng = np.random.default_rng([SEED, table.seed])
    drawn = random_architectures(table.space, rng, count + len(seen), table.key.precision)
    return [network for network in drawn if str(network) not in seen][:count]


def measure_more(session: MeasurementSession, table: LatencyTable, path: Path, count: int) -> None:
    with tempfile.TemporaryDirectory() as folder, session.alone():
        networks = more_networks(table, count)
        jobs = emit_jobs(networks, table.key, session, Path(folder))
        found = session.measure(
            jobs,
            profilers.Scale(table.quiet_ms, table.quiet_ms),
            protocol=profilers.Protocol(max_seconds=MEASURE_S, seed=1),
            strict=False,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, gzip.compress(json.dumps(found.to_dict()).encode(), mtime=0))


def measured_settings(arguments: argparse.Namespace, space: SearchSpace) -> list[Setting]:
    """All settings of the device, measured where they are not in the cache."""
    found = []
    for runtime, threads in itertools.product(arguments.runtime, arguments.threads):
        device = find(arguments.device)
        session = MeasurementSession.on(device, arguments.cache, threads, runtime)
        for precision in session.precisions():
            print(f"{runtime} {precision}, threads {threads}: table", file=sys.stderr)
            [one] = profile(
                space, session, precisions=[precision], seq_lens=[arguments.seq_len], seed=0
            )
            more = more_path(one.path, arguments.networks)
            if not more.exists():
                print(f"{runtime} {precision}, threads {threads}: more", file=sys.stderr)
                measure_more(session, one.table, more, arguments.networks)
            found.append(read_setting(one.path, more))
    return found


def recorded_settings(cache: Path, space: SearchSpace, networks: int) -> list[Setting]:
    """All settings in a cache, of each the newest table."""
    found: dict[str, Setting] = {}
    for path in table_files(tables_folder(cache)):
        try:
            table = load_table(path)
        except TableError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if not table.covers(space) or table.transferred or not samples_path(path).exists():
            continue
        more = more_path(path, networks)
        one = read_setting(path, more if more.exists() else None)
        if one.name not in found or found[one.name].table.created < table.created:
            found[one.name] = one
    return list(found.values())


def differ_in_one(a: Setting, b: Setting) -> bool:
    apart = [
        getattr(a.table.key, name) != getattr(b.table.key, name)
        for name in ("runtime", "precision", "threads")
    ]
    return sum(apart) == 1


@dataclass(frozen=True)
class Split:
    """What one choice of measured networks gives.

    Attributes:
        transfer: measured / predicted - 1 of the networks that were not chosen.
        factor: The same by scaling the known table.
        own: The same by the new device's own table.
        half_width: Of the interval.
        covered: Whether the networks lie inside.
    """

    transfer: Vector
    factor: Vector
    own: Vector
    half_width: float
    covered: NDArray[np.bool_]


def split(prior: Prior, new: Setting, budget: int, rng: np.random.Generator) -> Split | None:
    """One random choice; None where too few networks are left to be predicted."""
    special = max(1, round(SPECIAL * budget))
    pool = new.random
    count = min(budget - special, len(pool) - LEAST_PREDICTED)
    special = budget - count
    if special > len(new.special):
        return None
    order = rng.permutation(len(pool))
    designed = [new.special[i] for i in 2 + rng.permutation(len(new.special) - 2)]
    chosen = [*new.special[:2], *designed][:special]
    given = [*chosen, *(pool[i] for i in order[:count])]
    rest = [pool[i] for i in order[count:]]
    solved = transferred_fit(prior, given, noise=find(new.table.key.device).noise)
    measured = np.array([o.latency_ms for o in rest])
    predicted = prior.design(rest) @ np.append(
        solved.costs, [] if prior.beyond_params is None else [solved.streaming.ms_per_param]
    )
    plain = prior.design(given) @ prior.costs
    factor = float(np.median(np.array([o.latency_ms for o in given]) / plain))
    around = [solved.interval.around(float(ms)) for ms in predicted]
    covered = [a.low_ms <= ms <= a.high_ms for a, ms in zip(around, measured, strict=True)]
    return Split(
        measured / predicted - 1,
        measured / (factor * (prior.design(rest) @ prior.costs)) - 1,
        new.own_error[order[count:]],
        solved.interval.half_width,
        np.array(covered),
    )


def summary(splits: Sequence[Split]) -> dict[str, float]:
    def joined(name: str) -> Vector:
        return np.concatenate([getattr(one, name) for one in splits])

    transfer = joined("transfer")
    return {
        "splits": len(splits),
        "predicted": len(transfer),
        "mean_abs_error": float(np.abs(transfer).mean()),
        "p90_abs_error": float(np.quantile(np.abs(transfer), 0.9)),
        "max_abs_error": float(np.abs(transfer).max()),
        "bias": float(transfer.mean()),
        "coverage_90": float(joined("covered").mean()),
        "interval_half_width": float(np.mean([one.half_width for one in splits])),
        "one_factor_mean_abs_error": float(np.abs(joined("factor")).mean()),
        "own_table_mean_abs_error": float(np.abs(joined("own")).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True, help="keeps the tables")
    parser.add_argument("--offline", action="store_true", help="measure nothing")
    parser.add_argument("--space", default="minilm-l6")
    parser.add_argument("--operations", nargs="+", default=["mha", "ffn"])
    parser.add_argument("--device", default="host")
    parser.add_argument("--runtime", nargs="+", default=["onnxruntime", "openvino"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--networks", type=int, default=60, help="random ones beside each table's")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--all-pairs", action="store_true")
    arguments = parser.parse_args()
    space = load_space(arguments.space).restrict(operations=tuple(arguments.operations))
    if arguments.offline:
        settings = recorded_settings(arguments.cache, space, arguments.networks)
    else:
        settings = measured_settings(arguments, space)
    results: dict[str, dict[str, Any]] = {}
    pooled: dict[int, list[Split]] = {budget: [] for budget in BUDGETS}
    for known, new in itertools.permutations(settings, 2):
        if not (arguments.all_pairs or differ_in_one(known, new)):
            continue
        name = f"{known.name} -> {new.name}"
        print(name, file=sys.stderr)
        basis = plan(space, seq_len=new.table.key.seq_len, n_random=40).basis
        prior = prior_of(known.table, basis)
        results[name] = {}
        for budget in BUDGETS:
            rng = np.random.default_rng([SEED, budget])
            made = [split(prior, new, budget, rng) for _ in range(arguments.splits)]
            done = [one for one in made if one is not None]
            pooled[budget] += done
            if done:
                results[name][str(budget)] = summary(done)
    at_target = [one[str(TARGET_BUDGET)] for one in results.values() if str(TARGET_BUDGET) in one]
    totals = {str(budget): summary(done) for budget, done in pooled.items() if done}
    print(
        json.dumps(
            {
                "benchmark": "transfer",
                "space": arguments.space,
                "offline": arguments.offline,
                "settings": {
                    one.name: {
                        "created": one.table.created,
                        "random_networks": len(one.random),
                        "busy_share": one.table.context.get("busy_share"),
                        "own_table_mean_abs_error": float(np.abs(one.own_error).mean()),
                        "streaming": dataclasses.asdict(one.table.streaming),
                    }
                    for one in settings
                },
                "pairs": results,
                "pooled": totals,
                "targets_met": {
                    "mean_abs_error": bool(at_target)
                    and max(one["mean_abs_error"] for one in at_target) <= 0.05,
                    "coverage_90": str(TARGET_BUDGET) in totals
                    and 0.85 <= totals[str(TARGET_BUDGET)]["coverage_90"] <= 0.95,
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
