"""int8 by TVM beside onnxruntime's: speed of the full-size network, and quality.

The network: batch 1, 128
tokens, one thread, onnxruntime's int8 and TVM's in turn. A ratio below 1 is ours faster; the
minima's and the median of those within a round are given. Quality: cosine to onnxruntime's fp32
vectors of sentences of the docstrings and manuals of Python's own library.

    OMP_NUM_THREADS=1 python benchmarks/export/tvm_int8.py > tvm_int8.json

needs `pip install 'nasc[tvm]'` and a processor with AVX512-VNNI.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tvm
from tvm import relax

from nasc.architecture.space import Architecture, Block
from nasc.data.prose import installed_prose
from nasc.export.onnx import INPUTS, build
from nasc.lowering.tvm_int8 import int8_module
from nasc.lowering.tvm_int8_compile import compile_int8
from nasc.networks.from_teacher import teacher_network
from nasc.teacher import load_teacher

SEQ_LEN = 128

Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


def ours(executable: Any) -> Run:
    """A compiled module as a function of ids and mask."""
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    return lambda ids, mask: main(*map(tvm.runtime.tensor, (ids, mask)))[0].numpy()


def theirs(model: bytes) -> Run:
    """An ONNX file in onnxruntime, one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    return lambda *given: session.run(None, dict(zip(INPUTS, given, strict=True)))[0]


def rounds(runs: dict[str, Run], ids: np.ndarray, mask: np.ndarray, count: int) -> dict[str, Any]:
    """Milliseconds of each, in turn."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(count):
        for name, run in runs.items():
            start = time.perf_counter()
            run(ids, mask)
            found[name].append(1000 * (time.perf_counter() - start))
    a, b = (np.array(found[name]) for name in ("tvm_int8", "onnxruntime_int8"))
    return {
        "least_ms": {name: min(values) for name, values in found.items()},
        "ratio_of_least": float(a.min() / b.min()),
        "median_ratio": float(np.median(a / b)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--sentences", type=int, default=300)
    arguments = parser.parse_args()
    flags = set(Path("/proc/cpuinfo").read_text().split())
    bf16 = "avx512_bf16" in flags
    extra = ["+avx512vnni", *(["+avx512bf16"] if bf16 else [])]
    target = tvm.target.Target({"kind": "llvm", "mcpu": "x86-64-v4", "mattr": extra})

    teacher = load_teacher()
    g = teacher.geometry
    whole = Architecture((Block(g.hidden, ("mha", "ffn") * g.layers),))
    network = teacher_network(teacher, whole)
    start = time.perf_counter()
    executable = compile_int8(int8_module(network, 1, SEQ_LEN, bf16=bf16), target)
    result: dict[str, Any] = {"bf16": bf16, "compile_s": time.perf_counter() - start}
    runs = {"tvm_int8": ours(executable)}
    for precision in ("int8", "fp32"):
        model = build(network.with_precision(precision), shape=(1, SEQ_LEN))
        runs[f"onnxruntime_{precision}"] = theirs(model.SerializeToString())
    texts = sentences(arguments.sentences)
    encoded = teacher.tokenizer(
        texts, padding="max_length", truncation=True, max_length=SEQ_LEN, return_tensors="np"
    )
    ids, masks = (np.asarray(encoded[name], np.int64) for name in INPUTS)
    vectors = {
        name: np.concatenate(
            [run(i[None], m[None]).copy() for i, m in zip(ids, masks, strict=True)]
        )
        for name, run in runs.items()
    }
    exact = vectors.pop("onnxruntime_fp32")
    for name, found in vectors.items():
        cosines = (found * exact).sum(axis=1)
        result[f"cosine_{name}"] = {
            "mean": float(cosines.mean()),
            "least": float(cosines.min()),
            "texts": len(cosines),
        }
    full = np.ones((1, SEQ_LEN), np.int64)
    result |= rounds(runs, np.resize(ids[masks > 0], (1, SEQ_LEN)), full, arguments.rounds)
    print(json.dumps(result, indent=2))


def sentences(count: int) -> list[str]:
    """Every tenth sentence of the docstrings and manuals of Python's own library."""
    return list(itertools.islice(installed_prose(), 0, 10 * count, 10))


if __name__ == "__main__":
    main()
