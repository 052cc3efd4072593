"""Gate: packages keep their latency limit, and limits that cannot be kept are refused.

Limits spread evenly on a logarithmic scale from just above the least reachable latency to just
above that of the full-size network in fp32. Each is compiled into a package, which is then checked
and measured again in a new process, on the scale of another cache's own record: the upper bound of
the measured latency must be under the limit, both times. Limits below the least reachable must end
in a certificate. Then a program that knows nothing of nasc runs all packages (`judge.py`): the
stated upper bounds must cover the fast tenth that it finds in at least 95 of 100. Weights do not
matter to latency: by default nothing is distilled and the supernet is hardly trained.

    python benchmarks/latency/promise.py --limits 20 > promise.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from judge import judge

from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.context.settings import Settings
from nasc.errors import InfeasibleLimits, NascError
from nasc.package.verify import verify_package
from nasc.pipelines.compile import compile
from nasc.pipelines.options import Options
from nasc.selection.problems import check_feasible
from nasc.solver.problem import Limits

sys.path.append(str(Path(__file__).parents[1]))
from common import Lines

ROOM = 1.05
"""The least and the largest limit over what is predicted to be reachable there."""

INFEASIBLE = (0.97, 0.5, 0.05)
"""Shares of the least reachable latency."""


def least_reachable(context: RunContext) -> float:
    """The least upper end of a prediction over all networks."""
    try:
        found = check_feasible(context, Limits(latency_ms=1e-6), context.variants)
    except InfeasibleLimits as error:
        return float(error.certificate.reports[0].minimum)  # type: ignore[attr-defined]
    sys.exit(
        f"{found.architecture} is predicted to take {found.upper['latency_ms']:g} ms: the latency "
        "table cannot tell what is reachable. Give the lowest limit by hand: --from-ms"
    )


def verify(package: Path, cache: Path) -> dict[str, Any]:
    """The child's part: a package checked and measured in this process."""
    report = verify_package(package, cache=cache)
    latency = next(check for check in report.checks if check.name == "latency")
    return {
        "ok": report.ok,
        "latency_met": latency.ok,
        "detail": latency.detail,
        "failed": [str(check) for check in report.failed],
        "measured": report.to_dict()["measured"],
    }


def keep_promise(
    limit: float, settings: Settings, options: Options, other_cache: Path
) -> dict[str, Any]:
    """One limit: compiled, then measured again in a new process by another cache's record."""
    begin = time.monotonic()
    found: dict[str, Any] = {"limit_ms": limit, "met": False}
    try:
        result = compile(Limits(latency_ms=limit), settings, options, Lines()).to_dict()
    except NascError as error:
        return found | {"error": f"{type(error).__name__}: {error}"}
    measured, predicted = result["measured"], result["predicted"]
    command = [sys.executable, __file__, "--verify", result["package"]]
    command += ["--cache", str(other_cache)]
    child = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    again = json.loads(child.stdout)
    now = again["measured"] or {"latency_ms": None, "upper_ms": None}
    return found | {
        "architecture": result["architecture"],
        "predicted_ms": predicted["latency_ms"],
        "predicted_high_ms": predicted["high_ms"],
        "measured_ms": measured["latency_ms"],
        "upper_ms": measured["upper_ms"],
        "again_ms": now["latency_ms"],
        "again_upper_ms": now["upper_ms"],
        "networks_measured": len(result["attempts"]),
        "seconds": time.monotonic() - begin,
        "verify": again["detail"] if again["ok"] else again["failed"] or again["detail"],
        "met": bool(measured["upper_ms"] <= limit and again["ok"] and again["latency_met"] is True),
    }


def refuse(limit: float, settings: Settings, options: Options) -> dict[str, Any]:
    """One limit that cannot be met."""
    begin = time.monotonic()
    found: dict[str, Any] = {"limit_ms": limit, "refused": False}
    try:
        result = compile(Limits(latency_ms=limit), settings, options)
    except InfeasibleLimits as error:
        found |= {"refused": True, "message": str(error)}
    except NascError as error:
        found |= {"message": f"{type(error).__name__}: {error}"}
    else:
        found |= {"message": f"a package: {result.package}"}
    return found | {"seconds": time.monotonic() - begin}


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    settings = Settings(
        device=arguments.device,
        corpus=tuple(arguments.corpus),
        train_steps=arguments.train_steps if arguments.train_minutes is None else None,
        train_minutes=arguments.train_minutes,
        seed=arguments.seed,
        cache=arguments.cache or folder / "cache",
    )
    options = Options(distill_steps=arguments.distill_steps)
    context = RunContext(settings, Lines())
    print("latency tables", file=sys.stderr)
    least = arguments.from_ms / ROOM if arguments.from_ms else least_reachable(context)
    runtime = context.device.default_runtime
    exact = Variant(runtime, "fp32")
    costs = context.tables.measure_costs([exact])
    whole = costs.predict(context.whole_space.teacher, runtime).latency_ms
    most = costs.upper("latency_ms", whole, exact)
    limits = np.geomspace(least * ROOM, most * ROOM, arguments.limits)
    kept = []
    for index, limit in enumerate(float(f"{limit:.4g}") for limit in limits):
        output = folder / f"package-{index}"
        own = dataclasses.replace(options, output=output)
        kept.append(keep_promise(limit, settings, own, folder / "other-cache"))
        print(f"{index + 1}/{len(limits)} {json.dumps(kept[-1])}", file=sys.stderr)
    refused = [
        refuse(
            float(f"{share * least:.4g}"),
            settings,
            dataclasses.replace(options, output=folder / f"none-{share}"),
        )
        for share in INFEASIBLE
    ]
    packages = [one for one in kept if "error" not in one]
    again = [one["again_ms"] / one["measured_ms"] - 1 for one in packages if one["again_ms"]]
    written = [folder / f"package-{i}" for i, one in enumerate(kept) if "error" not in one]
    judged = judge(written, arguments.judge_seconds) if written else None
    return {
        "benchmark": "promise",
        "device": arguments.device,
        "conditions": f"batch {settings.batch}, length {settings.seq_len}, "
        f"{context.session(runtime).options.threads} thread(s)",
        "least_reachable_ms": least,
        "full_size_fp32_ms": most,
        "limits": kept,
        "infeasible": refused,
        "judge": judged,
        "met": sum(one["met"] for one in kept),
        "networks": len({one["architecture"] for one in packages}),
        "first_try": sum(one["networks_measured"] <= 2 for one in packages),
        "upper_over_limit": [one["upper_ms"] / one["limit_ms"] for one in packages],
        "again_mean_abs": float(np.mean(np.abs(again))) if again else None,
        "again_max_abs": float(np.max(np.abs(again))) if again else None,
        "gates_met": {
            "all_limits_met": all(one["met"] for one in kept),
            "infeasible_refused": all(one["refused"] for one in refused),
            "bounds_cover": judged is not None
            and min(judged["covered"][f"{how}_p10"] for how in ("alone", "interleaved")) >= 0.95,
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limits", type=int, default=20, help="feasible ones; 3 others are fixed")
    parser.add_argument("--from-ms", type=float, help="lowest limit; default: the least reachable")
    parser.add_argument("--device", default="host")
    parser.add_argument("--corpus", nargs="+", default=[], help="text; default: that at hand")
    parser.add_argument("--train-steps", type=int, default=4, help="of the supernet")
    parser.add_argument("--train-minutes", type=float, help="of the supernet, instead of steps")
    parser.add_argument("--distill-steps", type=int, default=0, help="of each network")
    parser.add_argument(
        "--judge-seconds", type=float, default=60.0, help="for each package and way"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, help="tables and supernet; default: a new folder")
    parser.add_argument("--packages", type=Path, help="keeps the packages; default: not kept")
    parser.add_argument("--verify", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.verify is not None:
        print(json.dumps(verify(arguments.verify, arguments.cache)))
        return
    if arguments.packages is not None:
        arguments.packages.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(arguments, arguments.packages or Path(folder)), indent=1))


if __name__ == "__main__":
    main()
