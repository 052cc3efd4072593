"""int8 by TVM beside onnxruntime's: speed of the full-size network, its file, and quality.

The network: batch 1, 128 tokens, one thread, onnxruntime's int8 and TVM's in turn. A ratio below 1
is ours faster; the minima's and the median of those within a round are given. `--kind` takes the
kernels of lesser processors. Quality: cosine to onnxruntime's fp32 vectors of sentences of the
docstrings and manuals of Python's own library; what shapes do to a vector: the same sentences in
batches, each padded to the longest, against each alone. With `--sts FILE` (dev.tsv of GLUE's STS-B)
the Spearman correlation of each with its scores.

    OMP_NUM_THREADS=1 python benchmarks/export/tvm_int8.py > tvm_int8.json

needs `pip install 'nasc[tvm]'`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.space import Architecture, Block
from nasc.data.prose import installed_prose
from nasc.evaluation.encoder import Encoder
from nasc.lowering import get_lowering
from nasc.networks.from_teacher import teacher_network
from nasc.tasks.sts import evaluate_sts, read_sts
from nasc.teacher import load_teacher
from profilers import RuntimeOptions
from profilers.context import read_context
from profilers.runtimes import get_runtime
from profilers.runtimes.tvm_targets import flags_of_kind, kernel_kind

SEQ_LEN = 128
OTHERS = ("onnxruntime_int8", "onnxruntime_fp32")


def lowered(network: Any, kind: str, folder: Path, **options: Any) -> dict[str, Path]:
    """Files of a network by runtime and precision, ours for a kind of processor."""
    processor = {"arch": read_context()["cpu"]["arch"], "flags": sorted(flags_of_kind(kind))}
    own = get_lowering("tvm").lower(
        network.with_precision("int8"), folder, processor=processor, **options
    )
    found = {"tvm_int8": own.path}
    for name in OTHERS:
        runtime, precision = name.split("_")
        theirs = network.with_precision(precision)
        found[name] = get_lowering(runtime).lower(theirs, folder, name, **options).path
    return found


def rounds(paths: dict[str, Path], ids: np.ndarray, count: int) -> dict[str, Any]:
    """Milliseconds of each, in turn."""
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    sessions = {}
    for name, path in paths.items():
        runtime = name.split("_")[0]
        sessions[name] = get_runtime(runtime).open_session(path, RuntimeOptions(runtime))
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(count):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(feeds)
            found[name].append(1000 * (time.perf_counter() - start))
    ours, theirs = (np.array(found[name]) for name in ("tvm_int8", "onnxruntime_int8"))
    return {
        "least_ms": {name: min(values) for name, values in found.items()},
        "ratio_of_least": float(ours.min() / theirs.min()),
        "median_ratio": float(np.median(ours / theirs)),
    }


def quality(encoders: dict[str, Encoder], texts: list[str]) -> dict[str, Any]:
    """How far vectors are from those in fp32, and what the shape of a run does to them."""
    vectors = {name: encoder.encode(texts, batch_size=1) for name, encoder in encoders.items()}
    exact = vectors["onnxruntime_fp32"]
    result: dict[str, Any] = {"texts": len(texts)}
    for name, found in vectors.items():
        cosines = (found * exact).sum(axis=1)
        batched = encoders[name].encode(texts, batch_size=32)
        result[name] = {
            "cosine_mean": float(cosines.mean()),
            "cosine_least": float(cosines.min()),
            "largest_difference": float(np.abs(found - exact).max()),
            "largest_length_of_difference": float(np.linalg.norm(found - exact, axis=1).max()),
            "largest_difference_in_batches": float(np.abs(found - batched).max()),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--sentences", type=int, default=300)
    parser.add_argument(
        "--kind", help="of kernels, as nasc.lowering.handwritten.products names them"
    )
    parser.add_argument("--sts", type=Path, help="dev.tsv of GLUE's STS-B")
    arguments = parser.parse_args()
    kind = arguments.kind or kernel_kind(read_context()["cpu"]["flags"])
    teacher = load_teacher()
    g = teacher.geometry
    network = teacher_network(teacher, Architecture((Block(g.hidden, ("mha", "ffn") * g.layers),)))
    result: dict[str, Any] = {"kind": kind}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        paths = lowered(network, kind, folder, shape=(1, SEQ_LEN))
        result["one_length"] = {
            "lowering_s": time.perf_counter() - start,
            "bytes": {name: path.stat().st_size for name, path in paths.items()},
        }
        ids = np.random.default_rng(0).integers(1000, g.vocab_size, (1, SEQ_LEN))
        result |= rounds(paths, ids, arguments.rounds)
        start = time.perf_counter()
        paths = lowered(network, kind, folder)
        result["free_axes"] = {
            "lowering_s": time.perf_counter() - start,
            "bytes": {name: path.stat().st_size for name, path in paths.items()},
        }
        encoders = {
            name: Encoder(path, teacher.tokenizer, runtime=name.split("_")[0], max_length=SEQ_LEN)
            for name, path in paths.items()
        }
        result["quality"] = quality(encoders, sentences(arguments.sentences))
        if arguments.sts:
            pairs = read_sts(arguments.sts)
            result["sts_b_spearman"] = {
                name: evaluate_sts(encoder.encode, pairs) for name, encoder in encoders.items()
            }
    print(json.dumps(result, indent=2))


def sentences(count: int) -> list[str]:
    """Every tenth sentence of the docstrings and manuals of Python's own library."""
    return list(itertools.islice(installed_prose(), 0, 10 * count, 10))


if __name__ == "__main__":
    main()
