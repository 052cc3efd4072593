"""How far are predicted latencies from measured ones?

For each precision of a runtime and each length a table is built, or taken from `--cache`. Then
random networks that no plan has seen are measured twice, each time in new worker processes of a new
process of this script, and compared with the table's predictions. Beside the error stands the
noise: how far the two measurements of the same network are apart; and the error of a table from the
same samples whose costs only add up, without a price for weights beyond the caches.

    python benchmarks/latency/table_accuracy.py --runtime openvino > table_accuracy.json

Targets (pooled, of each runtime): mean absolute error 1.5%, 99% within 5%, bias under 0.5%, 90%
intervals covering 85 to 95% of the networks.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import profilers
from device_profiles import find
from nasc.architecture.space import PRECISIONS, Architecture, SearchSpace, load_space
from nasc.latency.emission import emit_jobs
from nasc.latency.plan import plan, random_architectures
from nasc.latency.predict import fit
from nasc.latency.profile import (
    Profiled,
    estimates,
    observed,
    profile,
)
from nasc.latency.session import MeasurementSession
from nasc.latency.table import load_table
from nasc.latency.table_paths import samples_path
from nasc.lowering import PRECISIONS as LOWERED

HELD_OUT_SEED = 20261103
MEASURE_S = 60.0


def held_out(
    space: SearchSpace, seed: int, precision: str, seq_len: int, count: int
) -> list[Architecture]:
    """Random networks that are not part of the table's plan."""
    seen = set(plan(space, seed, precision=precision, seq_len=seq_len).architectures)
    rng = np.random.default_rng([HELD_OUT_SEED, seed])
    drawn = random_architectures(space, rng, count + len(seen), precision)
    return [network for network in drawn if network not in seen][:count]


def measure_held_out(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """The child's part: one measurement of all held-out networks, on the table's scale."""
    table = load_table(arguments.table)
    key = table.key
    networks = held_out(table.space, table.seed, key.precision, key.seq_len, arguments.networks)
    with tempfile.TemporaryDirectory() as folder:
        device = find(key.device)
        session = MeasurementSession.on(device, Path(folder), key.threads, key.runtime)
        jobs = emit_jobs(networks, key, session, Path(folder))
        found = session.measure(
            jobs,
            profilers.Scale(table.quiet_ms, table.quiet_ms),
            protocol=profilers.Protocol(max_seconds=MEASURE_S, seed=arguments.repetition),
            strict=False,
        )
    pooled = estimates(found, table.quiet_ms)
    latencies = [pooled[job.name].latency_ms for job in jobs]
    uppers = [pooled[job.name].upper * pooled[job.name].quiet_ms for job in jobs]
    return {"latency_ms": latencies, "upper_ms": uppers, "busy_share": [found.busy_share]}


def adding_up(found: Profiled, networks: list[Architecture]) -> NDArray[Any]:
    """Predictions from the samples of a table without a price for weights beyond the caches."""
    key, table = found.table.key, found.table
    raw = json.loads(gzip.decompress(samples_path(found.path).read_bytes()))
    planned = plan(table.space, table.seed, precision=key.precision, seq_len=key.seq_len)
    measurement = profilers.Measurement.from_dict(raw)
    observations = observed(planned, estimates(measurement, table.quiet_ms))
    solved = fit(planned.basis, observations, beyond_params=(), noise=measurement.noise)
    return planned.basis.matrix(networks) @ solved.costs


def summary(predicted: NDArray[Any], widths: NDArray[Any], runs: NDArray[Any]) -> dict[str, float]:
    """Errors of predictions against each run, and of the runs against each other."""
    errors = runs / predicted - 1
    apart = runs[0] / runs[1] - 1
    return {
        "networks": len(predicted),
        "mean_abs_error": float(np.abs(errors).mean()),
        "max_abs_error": float(np.abs(errors).max()),
        "within_5_percent": float((np.abs(errors) <= 0.05).mean()),
        "bias": float(errors.mean()),
        "coverage_90": float((np.abs(errors) <= widths).mean()),
        "noise_mean_abs": float(np.abs(apart).mean()),
        "noise_bias": float(apart.mean()),
        "noise_max_abs": float(np.abs(apart).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--space", default="minilm-l6")
    parser.add_argument("--device", default="host")
    parser.add_argument("--runtime", choices=LOWERED, help="default: the device's")
    parser.add_argument(
        "--precision", nargs="+", choices=PRECISIONS, help="default: all that it computes in there"
    )
    parser.add_argument("--seq-len", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the tables' plans")
    parser.add_argument("--cache", type=Path, help="keeps the tables; default: a new folder")
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--repetition", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(json.dumps(measure_held_out(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        run(arguments, arguments.cache or Path(folder))


def run(arguments: argparse.Namespace, cache: Path) -> None:
    space = load_space(arguments.space)
    session = MeasurementSession.on(find(arguments.device), cache, runtime=arguments.runtime)
    precisions = arguments.precision or session.precisions()
    results: dict[str, Any] = {}
    pooled: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
    additive: list[NDArray[Any]] = []
    for seq_len in arguments.seq_len:
        for precision in precisions:
            print(f"{precision}, length {seq_len}: table", file=sys.stderr)
            [found] = profile(
                space,
                session,
                precisions=[precision],
                seq_lens=[seq_len],
                seed=arguments.seed,
            )
            table = found.table
            runs, busy = [], []
            for repetition in (1, 2):
                print(f"{precision}, length {seq_len}: run {repetition}", file=sys.stderr)
                command = [sys.executable, __file__, "--table", str(found.path)]
                command += ["--networks", str(arguments.networks)]
                command += ["--repetition", str(repetition)]
                child = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
                measured = json.loads(child.stdout)
                runs.append(measured["latency_ms"])
                busy.append(measured["busy_share"][0])
            networks = held_out(space, table.seed, precision, seq_len, arguments.networks)
            predictions = [table.predict(network) for network in networks]
            predicted = np.array([p.latency_ms for p in predictions])
            widths = np.array([p.high_ms for p in predictions]) / predicted - 1
            pooled.append((predicted, widths, np.array(runs)))
            added = adding_up(found, networks)
            additive.append(np.array(runs) / added - 1)
            results[f"{precision}, length {seq_len}"] = {
                **summary(*pooled[-1]),
                "streaming": dataclasses.asdict(table.streaming),
                "adding_up_mean_abs_error": float(np.abs(additive[-1]).mean()),
                "adding_up_max_abs_error": float(np.abs(additive[-1]).max()),
                "latency_ms_range": [float(np.min(runs)), float(np.max(runs))],
                "interval_half_width": table.interval.half_width,
                "table_held_out_mean_abs_error": float(np.abs(table.held_out).mean()),
                "table_busy_share": table.context["busy_share"],
                "busy_share": busy,
                "times": dict(table.times),
            }
    predicted, widths, runs_all = (
        np.concatenate([part[i] for part in pooled], axis=-1) for i in range(3)
    )
    total = summary(predicted, widths, runs_all)
    total["adding_up_mean_abs_error"] = float(np.abs(np.concatenate(additive, axis=-1)).mean())
    met = {
        "mean_abs_error": total["mean_abs_error"] <= 0.015,
        "within_5_percent": total["within_5_percent"] >= 0.99,
        "bias": abs(total["bias"]) < 0.005,
        "coverage_90": 0.85 <= total["coverage_90"] <= 0.95,
    }
    print(
        json.dumps(
            {
                "benchmark": "table_accuracy",
                "space": arguments.space,
                "device": arguments.device,
                "runtime": session.runtime,
                "statistic": profilers.STATISTIC,
                "combinations": results,
                "pooled": total,
                "targets_met": met,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
