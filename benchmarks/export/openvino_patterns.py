"""Which patterns of nodes, axes and weights does OpenVINO run fastest?

The patterns are those of emitter_patterns.py, the emitter's choice first. All candidates of a
comparison run in turn, round after round, in one process; figures are the least CPU time of a run.
Each is a file of its own: OpenVINO reads weights from their file while it runs.

    OMP_NUM_THREADS=1 python benchmarks/export/openvino_patterns.py > openvino_patterns.json
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import openvino
from emitter_patterns import VOCABULARY, convolutional, transformer

from nasc.architecture.space import MINILM_L6, Architecture, Block
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from profilers import RuntimeOptions
from profilers.context import read_context
from profilers.runtimes import get_runtime

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}

Write = Callable[[Path, str], Path]
"""Writes a candidate into a folder under a name; gives the path of its .xml."""


def converted(data: bytes, precision: str) -> Write:
    """A graph of emitter_patterns.py as the lowering would have it."""

    def write(folder: Path, name: str) -> Path:
        model = openvino.Core().read_model(io.BytesIO(data))
        model.set_rt_info(HINTS[precision], ["runtime_options", "INFERENCE_PRECISION_HINT"])
        path = folder / f"{name}.xml"
        openvino.save_model(model, str(path), compress_to_fp16=precision != "fp32")
        return path

    return write


def lowered(
    hidden: int,
    operations: tuple[str, ...],
    precision: str,
    *,
    shape: tuple[int, int] | None = None,
    offered: tuple[str, ...] = ("bf16",),
) -> Write:
    """What nasc makes."""
    geometry = dataclasses.replace(MINILM_L6, hidden=hidden, intermediate=4 * hidden)
    architecture = Architecture((Block(hidden, operations),), precision)
    network = random_network(architecture, geometry, vocab_rows=VOCABULARY)

    def write(folder: Path, name: str) -> Path:
        lowering = get_lowering("openvino")
        return lowering.lower(network, folder, name, offered=offered, shape=shape).path

    return write


def grouped(hidden: int, operations: tuple[str, ...], size: int) -> Write:
    """int8 whose activations share a scale in groups of another size than nasc's."""

    def write(folder: Path, name: str) -> Path:
        path = lowered(hidden, operations, "int8", offered=())(folder, name)
        text, count = re.subn(
            '(<DYNAMIC_QUANTIZATION_GROUP_SIZE value=)"[0-9]+"',
            rf'\1"{size}"',
            path.read_text(encoding="utf-8"),
        )
        assert count == 1
        path.write_text(text, encoding="utf-8")
        return path

    return write


def comparisons(layers: int, seq_len: int, native: tuple[str, ...]) -> dict[str, dict[str, Write]]:
    found: dict[str, dict[str, Write]] = {}
    reduced = [p for p in ("bf16", "fp16") if p in native]
    whole = ("mha", "ffn") * layers
    for precision in ("fp32", *reduced):
        found[f"product and bias, {precision}"] = {
            "Gemm on 2 axes": converted(transformer(layers), precision),
            "MatMul and Add on 3 axes": converted(transformer(layers, linear="matmul"), precision),
            "merged query, key, value and Split": converted(
                transformer(layers, merged=True), precision
            ),
        }
        for hidden, kernel in ((128, 3), (128, 7), (384, 3), (384, 7)):
            found[f"depthwise convolution, hidden {hidden}, kernel {kernel}, {precision}"] = {
                name: converted(convolutional(layers, hidden, kernel, convolution=way), precision)
                for name, way in (
                    ("2-dimensional, transposed on 3 axes", "2d-3"),
                    ("2-dimensional, transposed on 4 axes", "2d"),
                    ("on 3 axes", "1d"),
                    ("shifted sums", "shifted"),
                )
            }
        for hidden, operations in ((384, whole), (128, whole), (384, ("sep3",) * layers)):
            found[f"axes, hidden {hidden}, {operations[0]}, {precision}"] = {
                "free": lowered(hidden, operations, precision),
                "fixed": lowered(hidden, operations, precision, shape=(1, seq_len)),
            }
    for hidden in (384, 128):
        found[f"int8, hidden {hidden}"] = {
            "fp32": lowered(hidden, whole, "fp32"),
            **{p: lowered(hidden, whole, p) for p in reduced},
            "int8 weights, activations in groups": lowered(hidden, whole, "int8", offered=()),
            **{
                f"int8 weights, activations in groups of {size}": grouped(hidden, whole, size)
                for size in (32, 64, 384)
            },
        }
        if "bf16" in native:
            found[f"int8, hidden {hidden}"]["int8 weights, bf16"] = lowered(hidden, whole, "int8")
    return found


def race(candidates: dict[str, Write], rounds: int, seq_len: int) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(0)
    feeds = {
        "input_ids": rng.integers(0, VOCABULARY, (1, seq_len)),
        "attention_mask": np.ones((1, seq_len), np.int64),
    }
    runtime, options = get_runtime("openvino"), RuntimeOptions("openvino")
    with TemporaryDirectory() as folder:
        sessions = {
            name: runtime.open_session(write(Path(folder), str(index)), options)
            for index, (name, write) in enumerate(candidates.items())
        }
        times: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(rounds):
            for name, session in sessions.items():
                session.run(feeds)
                begin = time.process_time_ns()
                session.run(feeds)
                times[name].append((time.process_time_ns() - begin) / 1e6)
        sessions.clear()
    choice = min(next(iter(times.values())))
    return {n: {"least_ms": min(t), "ratio": min(t) / choice} for n, t in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=80)
    parser.add_argument("--layers", type=int, default=6, help="of the networks compared")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--only", default="", help="comparisons whose names hold this text")
    arguments = parser.parse_args()
    cpu = read_context()["cpu"]
    native = get_runtime("openvino").precisions(cpu["flags"])
    results = {}
    for name, candidates in comparisons(arguments.layers, arguments.seq_len, native).items():
        if arguments.only in name:
            results[name] = race(candidates, arguments.rounds, arguments.seq_len)
            ratios = ", ".join(f"{n} {r['ratio']:.3f}" for n, r in results[name].items())
            print(f"{name}: {ratios}", file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "benchmark": "openvino_patterns",
                "openvino": get_runtime("openvino").version(),
                "processor": cpu["model"],
                "precisions": native,
                "conditions": f"batch 1, length {arguments.seq_len}, 1 thread, CPU time",
                "rounds": arguments.rounds,
                "comparisons": results,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
