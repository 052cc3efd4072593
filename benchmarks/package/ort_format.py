"""What onnxruntime's own format (.ort) brings in place of .onnx to a device that reads the file.

    OMP_NUM_THREADS=1 python benchmarks/package/ort_format.py [--web node_modules/onnxruntime-web]

The default teacher's network is written in each precision and converted at each level of graph
optimisation, as onnxruntime's own `convert_onnx_models_to_ort` does. Of each file: bytes, as they
are and compressed (gzip); what processor time it takes to open it in a process that has just
started, and to the first vector, and what memory, by the options that apps open it with, of
processes taken in turn the median; how long a run of 128 tokens on one thread takes beside the
.onnx, of rounds taken in turn the median of their ratios; and the largest difference of an output.
"in place" takes the weights out of the bytes of the file, and "mapped" leaves these where they
are, mapped into memory. Private memory is what the system cannot drop (RssAnon). Operators that
are no standard say what a level has built in: those of `com.microsoft.nchwc` are onnxruntime's on
x86 alone.

With --web node opens the files by onnxruntime-web, too; the heap is that of its WebAssembly, which
never shrinks.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnx
import onnxruntime as ort

TOKENS = 128
_LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_IN_PLACE = {"session.use_ort_model_bytes_for_initializers": "1"}
_MAPPED = _IN_PLACE | {"session.use_memory_mapped_ort_model": "1"}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have a model on a device.

    Attributes:
        level: What graph optimisation is built into the file; None is the .onnx, as it ships.
        excluded: Optimisers that are left out of it.
        options: Entries of the session's configuration where it is opened.
    """

    level: str | None
    excluded: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


_PORTABLE = ("NchwcTransformer",)
"""What onnxruntime's converter leaves out unless it is told that the target is amd64."""

WAYS = {
    "onnx": Way(None),
    "basic": Way("basic"),
    "extended": Way("extended"),
    "all but NCHWc": Way("all", _PORTABLE),
    "all": Way("all"),
    "extended, in place": Way("extended", (), _IN_PLACE),
    "extended, mapped": Way("extended", (), _MAPPED),
}


def app_session(path: Path, options: dict[str, str]) -> ort.InferenceSession:
    """A session as nasc's packages for apps open it, with one thread."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.graph_optimization_level = _LEVELS["all"]
    settings.log_severity_level = 3
    for name, value in options.items():
        settings.add_session_config_entry(name, value)
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def optimised(source: Path, target: Path, way: Way) -> None:
    """Write a model as a session has optimised it, in the format of the target's ending."""
    settings = ort.SessionOptions()
    settings.graph_optimization_level = _LEVELS[str(way.level)]
    settings.optimized_model_filepath = str(target)
    settings.log_severity_level = 3  # it warns of every file that is for one kind of hardware
    ending = {".ort": "ORT", ".onnx": "ONNX"}[target.suffix]
    settings.add_session_config_entry("session.save_model_format", ending)
    excluded = list(way.excluded)
    ort.InferenceSession(
        str(source), settings, providers=["CPUExecutionProvider"], disabled_optimizers=excluded
    )


def own_operators(path: Path) -> list[str]:
    """Operators of an ONNX file that are none of the standard's."""
    nodes = onnx.load(str(path)).graph.node
    return sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain})


def feeds() -> dict[str, NDArray[np.int64]]:
    ids = np.random.default_rng(0).integers(1000, 20_000, (1, TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones((1, TOKENS), np.int64)}


def memory() -> dict[str, int]:
    """Resident bytes of this process by kind: now private, now of files, the most there were."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    told = dict(line.split(":", 1) for line in lines)
    names = {"private": "RssAnon", "files": "RssFile", "peak": "VmHWM"}
    return {name: 1024 * int(told[key].split()[0]) for name, key in names.items()}


def opened_once(path: Path, options: dict[str, str]) -> dict[str, float]:
    """What it takes a process that has just started to open a model and run it."""
    before = memory()
    begin = time.process_time()
    session = app_session(path, options)
    load_ms = 1e3 * (time.process_time() - begin)
    session.run(None, feeds())
    first_ms = 1e3 * (time.process_time() - begin)
    after = memory()
    grown = {f"{name}_bytes": float(after[name] - before[name]) for name in after}
    return {"load_ms": load_ms, "first_vector_ms": first_ms} | grown


def opened(files: dict[str, Path], processes: int) -> dict[str, dict[str, float]]:
    """Medians of `opened_once` over processes, one after the other, of each way in turn."""
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in files}
    for _ in range(processes):
        for name, path in files.items():
            options = json.dumps(WAYS[name].options)
            command = [sys.executable, __file__, "--open", str(path), "--options", options]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            samples[name].append(json.loads(told))
    return {
        name: {key: round(statistics.median(one[key] for one in rows), 1) for key in rows[0]}
        for name, rows in samples.items()
    }


def compared(files: dict[str, Path], rounds: int) -> dict[str, dict[str, float]]:
    """Time of a run over that of the .onnx, and the largest difference of an output."""
    sessions = {name: app_session(path, WAYS[name].options) for name, path in files.items()}
    given = feeds()
    outputs = {name: session.run(None, given)[0] for name, session in sessions.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(rounds):
        for name, session in sessions.items():
            begin = time.perf_counter()
            session.run(None, given)
            times[name].append(time.perf_counter() - begin)
    base = np.array(times["onnx"])
    return {
        name: {
            "run_ratio": round(float(np.median(np.array(times[name]) / base)), 3),
            "difference": float(np.abs(outputs[name] - outputs["onnx"]).max()),
        }
        for name in files
    }


_WEB = """\
import { readFileSync } from "node:fs";
const memories = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(...given) {
    super(...given);
    memories.push(this);
  }
};
const [runtime, path] = process.argv.slice(2);
const ort = await import(`file://${runtime}/dist/ort.node.min.mjs`);
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const model = new Uint8Array(readFileSync(path));
const heap = () => memories.reduce((sum, one) => sum + one.buffer.byteLength, 0);
const begin = performance.now();
const session = await ort.InferenceSession.create(model, { graphOptimizationLevel: "all" });
const load_ms = performance.now() - begin;
const heap_bytes = heap();
const shape = [1, TOKENS];
const tensor = (value) => new ort.Tensor("int64", new BigInt64Array(TOKENS).fill(value), shape);
await session.run({ input_ids: tensor(2000n), attention_mask: tensor(1n) });
const said = { web_load_ms: load_ms, web_heap_bytes: heap_bytes, web_heap_run_bytes: heap() };
process.stdout.write(JSON.stringify(said), () => process.exit(0));
""".replace("TOKENS", str(TOKENS))


def opened_in_web(
    files: dict[str, Path], runtime: Path, folder: Path, processes: int
) -> dict[str, dict[str, float]]:
    """Medians over processes of node, of each file in turn."""
    program = folder / "open.mjs"
    program.write_text(_WEB, encoding="utf-8")
    samples: dict[str, list[dict[str, float]]] = {n: [] for n in files if not WAYS[n].options}
    for _ in range(processes):
        for name, rows in list(samples.items()):
            command = ["node", str(program), str(runtime.resolve()), str(files[name])]
            told = subprocess.run(command, check=False, capture_output=True, text=True)
            if told.returncode:
                print(f"onnxruntime-web does not run {name}: {told.stderr[-300:]}", file=sys.stderr)
                del samples[name]
            else:
                rows.append(json.loads(told.stdout))
    return {
        name: {key: round(statistics.median(one[key] for one in rows), 1) for key in rows[0]}
        for name, rows in samples.items()
    }


def written(source: Path, folder: Path) -> tuple[dict[str, Path], dict[str, list[str]]]:
    """The file of each way, and the operators in it that are none of the standard's."""
    files, operators = {}, {}
    for name, way in WAYS.items():
        stem = folder / name.replace(" ", "-").replace(",", "")
        if way.level is None:
            files[name], operators[name] = source, own_operators(source)
            continue
        files[name] = stem.with_suffix(".ort")
        optimised(source, files[name], way)
        optimised(source, stem.with_suffix(".onnx"), way)
        operators[name] = own_operators(stem.with_suffix(".onnx"))
    return files, operators


def networks(precisions: list[str]) -> dict[str, Any]:
    """The full-size network in each precision, and a small one with convolutions."""
    from nasc.architecture.space import PRESETS
    from nasc.networks.from_teacher import teacher_network
    from nasc.networks.network import random_network
    from nasc.teacher import load_teacher

    teacher, space = load_teacher(), PRESETS["minilm-l6"]
    small = space.parse("192: S3 M F | 192: S5 F | 384: M F")
    found = {
        f"whole {p}": teacher_network(teacher, space.teacher.with_precision(p)) for p in precisions
    }
    rows = space.geometry.vocab_size
    small = small.with_precision(precisions[0])
    return found | {
        f"convolutions {precisions[0]}": random_network(small, space.geometry, vocab_rows=rows)
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8", "int8-emb4"])
    parser.add_argument("--processes", type=int, default=7, help="of each way")
    parser.add_argument("--rounds", type=int, default=40, help="of runs in turn")
    parser.add_argument("--web", type=Path, help="folder of onnxruntime-web; needs node")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.open is not None:
        print(json.dumps(opened_once(given.open, given.options)))
        return
    from nasc.export.onnx import build

    for title, network in networks(given.precision).items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = folder / "model.onnx"
            source.write_bytes(build(network).SerializeToString())
            files, operators = written(source, folder)
            rows: dict[str, dict[str, Any]] = {
                way: {
                    "bytes": path.stat().st_size,
                    "gzip_bytes": len(gzip.compress(path.read_bytes(), 6)),
                    "operators": operators[way],
                }
                for way, path in files.items()
            }
            parts = [compared(files, given.rounds), opened(files, given.processes)]
            if given.web is not None:
                parts.append(opened_in_web(files, given.web, folder, given.processes))
            for part in parts:
                for way, figures in part.items():
                    rows[way] |= figures
            print(json.dumps({"network": title, "ways": rows}, indent=1), flush=True)


if __name__ == "__main__":
    main()
