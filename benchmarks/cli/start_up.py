"""Target: `nasc --help` in under 0.3 s, importing no torch.

Wall time of the console script and, in turn with it, of an empty Python program.

    python benchmarks/cli/start_up.py > start_up.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

TARGET_S = 0.3
HEAVY = ("torch", "onnxruntime", "transformers", "onnx", "pandas", "scipy", "numpy")


def seconds(command: list[str]) -> float:
    """Wall time of a command."""
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def imported() -> list[str]:
    """Heavy packages that the command line has loaded once it is imported."""
    code = f"import sys, nasc.cli; print(*[name for name in {HEAVY} if name in sys.modules])"
    child = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True
    )
    return child.stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    script = Path(sys.executable).parent / "nasc"
    entry = [str(script)] if script.is_file() else [sys.executable, "-c"]
    if not script.is_file():
        entry.append("from nasc.cli import main; main()")
    commands = {"help": [*entry, "--help"], "python": [sys.executable, "-c", "pass"]}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(arguments.runs + 1):  # the first fills the caches of bytecode and files
        for name, command in commands.items():
            taken = seconds(command)
            if run:
                times[name].append(taken)
        print(f"run {run}/{arguments.runs}", file=sys.stderr)
    heavy = imported()
    least = min(times["help"])
    print(
        json.dumps(
            {
                "benchmark": "start_up",
                "command": "nasc --help" if script.is_file() else "nasc.cli.main --help",
                "runs": arguments.runs,
                "least_s": least,
                "median_s": statistics.median(times["help"]),
                "empty_python_least_s": min(times["python"]),
                "empty_python_median_s": statistics.median(times["python"]),
                "heavy_imports": heavy,
                "targets_met": {
                    "seconds": statistics.median(times["help"]) < TARGET_S,
                    "no_torch": "torch" not in heavy and "onnxruntime" not in heavy,
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
