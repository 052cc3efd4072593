"""int8 and bf16 by TVM's handwritten kernels beside the other runtimes: speed, files, quality.

The full-size network, batch 1, 128 tokens, one thread: TVM's int8 and bf16 (where the processor has
kernels for it), onnxruntime's int8 and fp32, OpenVINO's in all that it offers here, where it is
installed; in turn. A ratio below 1 is ours faster; those of the minima and the medians of those
within a round are given. `--kind` takes the kernels of lesser processors. Quality: cosine to
onnxruntime's fp32 vectors of sentences of the text that comes with nasc; what
shapes do to a vector: the same sentences in batches, each padded to the longest, against each
alone. With `--sts FILE` (dev.tsv of GLUE's STS-B) the Spearman correlation of each with its scores.

    OMP_NUM_THREADS=1 python benchmarks/export/tvm_handwritten.py > tvm_handwritten.json

needs `pip install 'nasc[tvm]'`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.space import Architecture, Block
from nasc.data.corpus import load_corpus
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
EXACT = "onnxruntime_fp32"


def contenders(kind: str) -> list[str]:
    """Runtimes and precisions, ours first."""
    flags = read_context()["cpu"]["flags"]
    ours = ["tvm_int8"]
    if kernel_kind(flags_of_kind(kind), "bf16"):
        ours.append("tvm_bf16")
    others = ["onnxruntime_int8", EXACT]
    if importlib.util.find_spec("openvino") is not None:
        others += [f"openvino_{p}" for p in get_runtime("openvino").precisions(flags)]
    return ours + others


def lowered(
    network: Any, names: list[str], kind: str, folder: Path, **options: Any
) -> tuple[dict[str, Path], dict[str, float]]:
    """Files by runtime and precision and their seconds, ours for a kind of processor."""
    context = read_context()["cpu"]
    processor = {"arch": context["arch"], "flags": sorted(flags_of_kind(kind))}
    found, seconds = {}, {}
    for name in names:
        start = time.perf_counter()
        runtime, precision = name.split("_")
        own = options | ({"processor": processor} if runtime == "tvm" else {})
        offered = get_runtime(runtime).precisions(context["flags"])
        made = get_lowering(runtime).lower(
            network.with_precision(precision), folder, name, offered=offered, **own
        )
        found[name], seconds[name] = made.path, time.perf_counter() - start
    return found, seconds


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
    times = {name: np.array(values) for name, values in found.items()}
    return {
        "least_ms": {name: float(values.min()) for name, values in times.items()},
        "of": {
            ours: {
                name: {
                    "ratio_of_least": float(times[ours].min() / values.min()),
                    "median_ratio": float(np.median(times[ours] / values)),
                }
                for name, values in times.items()
                if name != ours
            }
            for ours in times
            if ours.startswith("tvm_")
        },
    }


def quality(encoders: dict[str, Encoder], texts: list[str]) -> dict[str, Any]:
    """How far vectors are from those in fp32, and what the shape of a run does to them."""
    vectors = {name: encoder.encode(texts, batch_size=1) for name, encoder in encoders.items()}
    exact = vectors[EXACT]
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
    names = contenders(kind)
    result: dict[str, Any] = {"kind": kind}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths, seconds = lowered(network, names, kind, folder, shape=(1, SEQ_LEN))
        result["one_length"] = {
            "lowering_s": seconds,
            "bytes": {name: path.stat().st_size for name, path in paths.items()},
        }
        ids = np.random.default_rng(0).integers(1000, g.vocab_size, (1, SEQ_LEN))
        result |= rounds(paths, ids, arguments.rounds)
        paths, seconds = lowered(network, names, kind, folder)
        result["free_axes"] = {
            "lowering_s": seconds,
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
    """Of the text that comes with nasc."""
    return [str(text) for text in load_corpus(None, seed=0).train[:count]]


if __name__ == "__main__":
    main()
