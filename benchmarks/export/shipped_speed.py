"""Target: the shipped file is at or below the fastest of the alternatives, fp32 and int8.

The full-size network and two others, random weights, batch 1, one thread. Ours: the emitted file
in onnxruntime with the options that `profilers` measures with. The others run the same network:

* onnxruntime with its transformers optimizer, on our file and on torch's own export; in int8 after
  quantize_dynamic (per channel).
* OpenVINO on our fp32 file, with the axes as shipped and with fixed ones (in its favour); int8 on
  a file that quantize_static calibrated (QDQ) and on our int8 file.
* torch.compile (inductor, weights frozen), fp32.

All run in turn, round after round, in one process. A ratio is our time over theirs within a round
(below 1: ours is faster). What cannot be run is named with its reason. Outputs are compared with
ours, so that the same network is timed.

    OMP_NUM_THREADS=1 python benchmarks/export/shipped_speed.py > shipped_speed.json

needs `pip install openvino onnxscript` for all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import logging
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nasc.architecture.space import PRECISIONS, load_space
from nasc.export.onnx import emit
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork
from profilers import RuntimeOptions

NETWORKS = {
    "full size": "keep | keep | keep",
    "narrow": "192: M F M F | 192: M F M F | 192: M F M F",
    "mixed": "384: M F | 256: F M S3 | 128: M F F",
}
PACKAGES = ("onnxruntime", "openvino", "torch")

Feeds = dict[str, NDArray[np.int64]]
Runner = Callable[[], NDArray[np.float32]]


class Contenders:
    """Ways to run one network, made when asked for.

    Attributes:
        network: In fp32.
        feeds: The input that is timed.
        folder: For files.
    """

    def __init__(self, network: Network, feeds: Feeds, folder: Path) -> None:
        self.network, self.feeds, self.folder = network, feeds, folder
        self._ours: dict[str, Path] = {}

    def all(self, precision: str) -> dict[str, Callable[[], Runner]]:
        """Ours first. torch runs in fp32 only: its int8 for linear layers has moved to torchao."""
        ours = {"ours": lambda: self.session(self.ours(precision))}
        if precision == "fp32":
            return ours | {
                "onnxruntime, optimizer on our file": self.optimized,
                "onnxruntime, torch export": lambda: self.session(self.exported()),
                "onnxruntime, optimizer on torch export": self.optimized_export,
                "openvino": lambda: self.openvino(self.ours("fp32"), fixed=False),
                "openvino, fixed axes": lambda: self.openvino(self.ours("fp32"), fixed=True),
                "torch.compile": self.torch_compiled,
            }
        return ours | {
            "onnxruntime, quantize_dynamic on our fp32 file": self.quantized,
            "onnxruntime, quantize_dynamic on torch export": self.quantized_export,
            "onnxruntime, quantize_dynamic after optimizer": self.quantized_optimized_export,
            "openvino on our int8 file": lambda: self.openvino(self.ours("int8"), fixed=False),
            "openvino, quantize_static": lambda: self.openvino(self.static(), fixed=False),
            "openvino, quantize_static, fixed axes": lambda: self.openvino(
                self.static(), fixed=True
            ),
        }

    # Files

    def ours(self, precision: str) -> Path:
        if precision not in self._ours:
            architecture = self.network.architecture.with_precision(precision)
            self._ours[precision] = self.folder / f"ours-{precision}.onnx"
            emit(
                Network(architecture, self.network.geometry, "embed", self.network.tensors),
                self._ours[precision],
            )
        return self._ours[precision]

    def exported(self) -> Path:
        """Torch's own export, with the axes dynamic as in our file."""
        path = self.folder / "export.onnx"
        if not path.exists():
            axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq_len", max=512)}
            torch.onnx.export(
                TorchNetwork(self.network).eval(),
                # Two sentences: an axis of one would be taken for a constant.
                tuple(torch.from_numpy(np.repeat(feed, 2, 0)) for feed in self.feeds.values()),
                str(path),
                input_names=list(self.feeds),
                dynamic_shapes=(axes, axes),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        return path

    def optimize(self, path: Path) -> Path:
        """The file through onnxruntime's transformers optimizer."""
        from onnxruntime.transformers.optimizer import optimize_model

        geometry = self.network.geometry
        model = optimize_model(
            str(path),
            model_type="bert",
            num_heads=geometry.hidden // geometry.head_size if self._uniform() else 0,
            hidden_size=geometry.hidden if self._uniform() else 0,
        )
        print(f"  fused: {model.get_fused_operator_statistics()}", file=sys.stderr)
        found = path.with_suffix(".optimized.onnx")
        model.save_model_to_file(str(found))
        return found

    def _uniform(self) -> bool:
        """Whether all blocks have the teacher's hidden size, as the optimizer takes for granted."""
        hidden = self.network.geometry.hidden
        return all(block.hidden == hidden for block in self.network.architecture.blocks)

    def quantize(self, path: Path) -> Path:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        found = path.with_suffix(".dynamic.onnx")
        quantize_dynamic(
            str(path),
            str(found),
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": 1},
        )
        return found

    def static(self) -> Path:
        """Our fp32 file, quantized and calibrated on the input that is timed."""
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )

        class Once(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self, feeds: Feeds) -> None:
                self.left = [feeds]

            def get_next(self) -> Feeds | None:
                return self.left.pop() if self.left else None

        found = self.folder / "static.onnx"
        if not found.exists():
            quantize_static(
                str(self.ours("fp32")),
                str(found),
                Once(self.feeds),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["MatMul", "Gemm"],
                nodes_to_exclude=self._attention_products(),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        return found

    def _attention_products(self) -> list[str]:
        """Products of two activations: in fp32 in our int8 file too."""
        import onnx

        model = onnx.load(self.ours("fp32"), load_external_data=False)
        weights = {tensor.name for tensor in model.graph.initializer}
        return [
            node.name
            for node in model.graph.node
            if node.op_type == "MatMul" and not weights & set(node.input)
        ]

    # Runners

    def session(self, path: Path) -> Runner:
        from profilers.runtimes.onnxruntime import OnnxRuntimeSession

        session = OnnxRuntimeSession(path, RuntimeOptions(threads=1))._session
        return lambda: session.run(None, self.feeds)[0]

    def optimized(self) -> Runner:
        return self.session(self.optimize(self.ours("fp32")))

    def optimized_export(self) -> Runner:
        return self.session(self.optimize(self.exported()))

    def quantized(self) -> Runner:
        return self.session(self.quantize(self.ours("fp32")))

    def quantized_export(self) -> Runner:
        return self.session(self.quantize(self.exported()))

    def quantized_optimized_export(self) -> Runner:
        return self.session(self.quantize(self.optimize(self.exported())))

    def openvino(self, path: Path, *, fixed: bool) -> Runner:
        import openvino

        core = openvino.Core()
        model = core.read_model(str(path))
        if fixed:
            model.reshape({name: list(feed.shape) for name, feed in self.feeds.items()})
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        return lambda: next(iter(request.infer(self.feeds, share_inputs=True).values()))

    def torch_compiled(self) -> Runner:
        torch.set_num_threads(1)
        module = TorchNetwork(self.network).eval().requires_grad_(False)
        compiled = torch.compile(module, dynamic=False, options={"freezing": True})
        inputs = [torch.from_numpy(feed) for feed in self.feeds.values()]

        def run() -> NDArray[np.float32]:
            with torch.inference_mode():
                found: NDArray[np.float32] = compiled(*inputs).numpy()
                return found

        return run


def race(
    contenders: Contenders, precision: str, arguments: argparse.Namespace
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Figures of all that run, and why the others do not."""
    runners: dict[str, Runner] = {}
    skipped: dict[str, str] = {}
    for name, make in contenders.all(precision).items():
        print(f"  {name}", file=sys.stderr)
        if any(name.startswith(left) for left in arguments.without):
            skipped[name] = "not asked for"
            continue
        try:
            runner = make()
            runner()
        except Exception as error:  # of any of four runtimes
            if name == "ours":
                raise
            lines = str(error).strip().splitlines() or [""]
            skipped[name] = f"{type(error).__name__}: {lines[0][:300]}"
            print(f"    skipped: {skipped[name]}", file=sys.stderr)
            continue
        runners[name] = runner
    vectors = {name: np.ravel(runner()).astype(np.float64) for name, runner in runners.items()}
    times: dict[str, list[float]] = {name: [] for name in runners}
    names = list(runners)
    rng = np.random.default_rng(arguments.seed)
    for _ in range(arguments.rounds):
        for place in rng.permutation(len(names)):
            runner = runners[names[place]]
            runner()  # brings the weights back into the caches
            lowest = np.inf
            for _ in range(3):
                begin = time.perf_counter()
                runner()
                lowest = min(lowest, time.perf_counter() - begin)
            times[names[place]].append(1e3 * lowest)
    ours = np.array(times["ours"])
    own = vectors["ours"] / np.linalg.norm(vectors["ours"])
    found = {}
    for name, taken in times.items():
        low, middle, high = np.quantile(ours / np.array(taken), [0.25, 0.5, 0.75])
        found[name] = {
            "least_ms": float(np.min(taken)),
            "median_ms": float(np.median(taken)),
            "ours_over_theirs": float(middle),
            "ratio_q25": float(low),
            "ratio_q75": float(high),
            "cosine_to_ours": float(own @ vectors[name] / np.linalg.norm(vectors[name])),
        }
    return found, skipped


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    space = load_space("minilm-l6")
    rng = np.random.default_rng(arguments.seed)
    vocabulary = space.geometry.vocab_size
    feeds = {
        "input_ids": rng.integers(0, vocabulary, (1, arguments.seq_len)),
        "attention_mask": np.ones((1, arguments.seq_len), np.int64),
    }
    results: dict[str, Any] = {}
    met = {}
    for label in arguments.networks:
        architecture = space.parse(NETWORKS[label])
        network = random_network(
            architecture, space.geometry, seed=arguments.seed, vocab_rows=vocabulary
        )
        with TemporaryDirectory() as folder:
            contenders = Contenders(network, feeds, Path(folder))
            for precision in arguments.precision:
                print(f"{label}, {precision}", file=sys.stderr)
                found, skipped = race(contenders, precision, arguments)
                others = {name: f["ours_over_theirs"] for name, f in found.items()}
                del others["ours"]
                best = max(others, key=others.__getitem__, default=None)
                results[f"{label}, {precision}"] = {
                    "architecture": NETWORKS[label],
                    "best_other": best,
                    "ours_over_best": None if best is None else others[best],
                    "contenders": found,
                    "skipped": skipped,
                }
                met[f"{label}, {precision}"] = None if best is None else others[best] <= 1
                for name, f in found.items():
                    line = f"{f['least_ms']:8.2f} ms, ratio {f['ours_over_theirs']:.3f}"
                    print(f"  {line}, cosine {f['cosine_to_ours']:.4f}  {name}", file=sys.stderr)
        torch.compiler.reset()
    return {
        "benchmark": "shipped_speed",
        "versions": {name: version(name) for name in PACKAGES},
        "conditions": f"batch 1, length {arguments.seq_len}, 1 thread",
        "rounds": arguments.rounds,
        "networks": results,
        "targets_met": met,
    }


def version(package: str) -> str | None:
    """Of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="NAME", help="leave out what begins so"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # chatter of the quantizers, by way of the root logger
    with contextlib.redirect_stdout(sys.stderr):  # where other tools say what they do
        found = run(arguments)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
