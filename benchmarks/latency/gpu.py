"""A GPU's table with its accuracy, and one package that was compiled and verified on it.

What another device is shown by tables and packages, within a limit of time that a lent machine has:
stages are run in order, none is begun that the time left would not hold, and what each found is
written before the next begins.

    python benchmarks/latency/gpu.py results/ --minutes 9.5

Where there is no GPU, `--device host --precision fp32` rehearses all of it on the processor. In the
folder lie `report.json` (device, accuracy of the tables, how the package was made, what `nasc
verify` found), the tables as `nasc tables import` takes them, and what the package says of
itself. Weights stay away: no file is larger than 16 MiB. The same command with the same `--cache`
goes on with what is measured already.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles import find
from nasc.latency.table_paths import table_files, tables_folder
from nasc.pipelines.devices import report as device_report

ACCURACY = Path(__file__).with_name("table_accuracy.py")
LEAST_S = 60.0
"""A stage that has less time left is not begun."""

MAX_BYTES = 16 << 20
"""Of a file that is written."""

EVIDENCE = ("manifest.json", "measurements.json", "MEASURED.md")
"""What is kept of a package."""


@dataclass
class Work:
    """The stages' common ground.

    Attributes:
        folder: Where results go.
        deadline_s: When the time is over, by `time.monotonic`.
        report: What was found so far.
    """

    folder: Path
    deadline_s: float
    report: dict[str, Any]

    def run(self, stage: str, command: list[str]) -> str | None:
        """Runs a command within the time that is left, and notes how that went.

        Returns:
            What it printed; None where it was not begun, did not end, or failed.
        """
        left_s = self.deadline_s - time.monotonic()
        note: dict[str, Any] = {"command": command}
        self.report.setdefault("stages", {})[stage] = note
        if left_s < LEAST_S:
            note["not_begun"] = f"{left_s:.0f} s were left"
            self.write()
            return None
        begin = time.monotonic()
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=left_s
            )
        except subprocess.TimeoutExpired as error:
            note["ended_after_s"] = round(left_s, 1)
            note["said"] = _tail(error.stderr)
            self.write()
            return None
        note |= {"seconds": round(time.monotonic() - begin, 1), "exit": done.returncode}
        if done.returncode:
            note["said"] = _tail(done.stderr)
        self.write()
        return done.stdout

    def write(self) -> None:
        """Writes the report, so that it is there whatever ends the next stage."""
        path = self.folder / "report.json"
        path.write_text(json.dumps(self.report, indent=1) + "\n", encoding="utf-8")

    def keep(self, source: Path, name: str) -> None:
        """Copies a file that is not too large to the results."""
        if source.is_file() and source.stat().st_size <= MAX_BYTES:
            shutil.copyfile(source, self.folder / name)


def _tail(said: str | bytes | None) -> str:
    text = said.decode(errors="replace") if isinstance(said, bytes) else said or ""
    return text[-4000:]


def nasc(*words: object) -> list[str]:
    """The command line of nasc, in this Python."""
    return [sys.executable, "-m", "nasc", *map(str, words)]


def tables(work: Work, arguments: argparse.Namespace) -> None:
    """A table for each precision, and networks that no plan has seen against it."""
    for precision in arguments.precision:
        command = [sys.executable, str(ACCURACY), "--device", arguments.device]
        command += ["--runtime", arguments.runtime, "--precision", precision]
        command += ["--seq-len", str(arguments.seq_len), "--networks", str(arguments.networks)]
        command += ["--cache", str(arguments.cache), "--space", arguments.space]
        said = work.run(f"table {precision}", command)
        if said:
            work.report.setdefault("accuracy", {})[precision] = json.loads(said)
        for path in table_files(tables_folder(arguments.cache)):
            work.keep(path, path.name)
        work.write()


def package(work: Work, arguments: argparse.Namespace) -> None:
    """A package by those tables, and what `nasc verify` says of it."""
    folder = arguments.cache / "package"
    shutil.rmtree(folder, ignore_errors=True)
    given = ["--teacher", arguments.teacher] if arguments.teacher else []
    said = work.run(
        "compile",
        nasc(
            *("compile", "--device", arguments.device, "--runtime", arguments.runtime),
            *(word for p in arguments.precision for word in ("--precision", p)),
            *("--seq-len", arguments.seq_len, "--latency-ms", arguments.latency_ms, "--json"),
            *("--space", arguments.space, "--train-steps", 20, "--distill-steps", 20),
            *("--cache", arguments.cache, "--output", folder, *given),
        ),
    )
    if said and folder.exists():
        work.report["compiled"] = json.loads(said)
        for name in EVIDENCE:
            work.keep(folder / name, name)
        work.report["package_files"] = {
            path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()
        }
        verify = nasc("verify", folder, "--run-code", "--cache", arguments.cache, "--json")
        found = work.run("verify", verify)
        work.report["verified"] = json.loads(found) if found else None
    work.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where results go")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--space", default="minilm-l6")
    parser.add_argument("--teacher", help="default: the default teacher")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--latency-ms", type=float, default=1.0)
    parser.add_argument("--networks", type=int, default=12, help="held out of each table")
    parser.add_argument("--cache", type=Path, help="default: FOLDER-cache")
    parser.add_argument("--minutes", type=float, default=9.5, help="of the whole")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    arguments.cache = (arguments.cache or folder.with_name(f"{folder.name}-cache")).absolute()
    arguments.cache.mkdir(parents=True, exist_ok=True)
    work = Work(folder, time.monotonic() + 60.0 * arguments.minutes, {"benchmark": "gpu"})
    work.report["device"] = device_report(find(arguments.device)).to_dict()
    work.write()
    for stage in arguments.stages:
        STAGES[stage](work, arguments)
    print(json.dumps(work.report, indent=1))


STAGES = {"tables": tables, "package": package}

if __name__ == "__main__":
    main()
