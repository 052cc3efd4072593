"""Target: what nasc ships is at or below the fastest of the alternatives of equal quality.

The full-size network and two others, random weights, batch 1, one thread (or --threads). Ours: the
network in every runtime and precision that nasc can make and this machine offers, lowered and run
as `profilers` measures it, with free axes and with fixed ones (`nasc compile --fixed-shape`). The
others run the same network:

* onnxruntime with its transformers optimizer, on our file and on torch's own export; in int8 after
  quantize_dynamic (per channel).
* OpenVINO in the precision that it takes by itself, on our fp32 file and on torch's export; in int8
  on a file that quantize_static calibrated (QDQ).
* torch.compile (inductor, weights frozen), fp32.
* ExecuTorch with XNNPACK, and LiteRT, in fp32 and in int8 (see `mobile_runtimes`).

Of equal quality are vectors with a cosine of 0.999 or more to the network in fp32; int8 stands
apart, with a cosine of 0.98 or more, as `nasc compile` asks of it. What falls short is listed and
does not count. Of ours the fastest is what ``--runtime auto`` takes, and has to be at or below the
fastest of the others: with free axes below all that take any batch and length, with fixed ones
below all.

All run in turn, round after round, in one process. A ratio is our time over theirs within a round
(below 1: ours is faster); its median is held to the target in two digits. What cannot be run is
named with its reason. Every contender's outputs are taken before it is timed.

    OMP_NUM_THREADS=1 python benchmarks/export/shipped_speed.py > shipped_speed.json

needs `pip install openvino onnxscript` for all but ExecuTorch and LiteRT, and the environment of
`mobile_runtimes` for these.
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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from mobile_runtimes import executorch_run, litert_run
from numpy.typing import NDArray

import profilers
from device_profiles import find
from nasc.architecture.space import load_space
from nasc.architecture.variant import LOSSLESS, Variant
from nasc.evaluation.parity_report import MEAN_COSINE
from nasc.latency.session import MeasurementSession
from nasc.lowering import PRECISIONS as LOWERED
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork
from profilers.runtimes import get_runtime

NETWORKS = {
    "full size": "keep | keep | keep",
    "narrow": "192: M F M F | 192: M F M F | 192: M F M F",
    "mixed": "384: M F | 256: F M S3 | 128: M F F",
}
PACKAGES = (
    *("onnxruntime", "openvino", "apache-tvm", "torch"),
    *("executorch", "ai-edge-litert", "litert-torch"),
)

QUALITIES = {"lossless": 0.999, "int8": MEAN_COSINE}
"""Least cosine to the network in fp32 of what is compared."""

Feeds = dict[str, NDArray[np.int64]]
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Runner:
    """A network that is loaded.

    Attributes:
        run: Runs it, which is timed.
        output: Runs it for its vector, and raises what goes wrong.
    """

    run: Callable[[], object]
    output: Callable[[], Vector]


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to run a network.

    Attributes:
        load: Makes its files and loads them.
        ours: Whether nasc makes it.
        fixed: Whether it takes one batch and length alone.
    """

    load: Callable[[], Runner]
    ours: bool = False
    fixed: bool = False


class Contenders:
    """Ways to run one network, made when asked for.

    Attributes:
        network: In fp32.
        feeds: The input that is timed.
        folder: For files.
        sessions: By runtime; of those that are installed.
        threads: Of each.
    """

    def __init__(
        self,
        network: Network,
        feeds: Feeds,
        folder: Path,
        sessions: dict[str, MeasurementSession],
        threads: int,
    ) -> None:
        self.network, self.feeds, self.folder = network, feeds, folder
        self.sessions, self.threads = sessions, threads

    def all(self, quality: str) -> dict[str, Contender]:
        """Ours first. torch runs in fp32 only: its int8 for linear layers has moved to torchao."""
        ours = {
            f"ours, {variant}{', fixed axes' if fixed else ''}": Contender(
                partial(self.own, variant, fixed=fixed), True, fixed
            )
            for fixed in (False, True)
            for variant in self.variants(quality)
        }
        if quality == "lossless":
            return ours | {
                "onnxruntime, optimizer on our file": Contender(self.optimized),
                "onnxruntime, torch export": Contender(lambda: self.session(self.exported())),
                "onnxruntime, optimizer on torch export": Contender(self.optimized_export),
                **self.openvinos("on our file", self.plain),
                **self.openvinos("torch export", self.exported),
                "torch.compile": Contender(self.torch_compiled, fixed=True),
                **self.mobiles(int8=False),
            }
        return ours | {
            "onnxruntime, quantize_dynamic on our fp32 file": Contender(self.quantized),
            "onnxruntime, quantize_dynamic on torch export": Contender(self.quantized_export),
            "onnxruntime, quantize_dynamic after optimizer": Contender(
                self.quantized_optimized_export
            ),
            **self.openvinos("quantize_static", self.static),
            **self.mobiles(int8=True),
        }

    def mobiles(self, *, int8: bool) -> dict[str, Contender]:
        """The runtimes of phones."""
        return {
            "executorch, xnnpack": Contender(partial(self.executorch, int8=int8), fixed=True),
            "litert": Contender(partial(self.litert, int8=int8), fixed=True),
        }

    def variants(self, quality: str) -> list[Variant]:
        """What nasc can make of the network here."""
        found = [
            Variant(r, p) for r, session in self.sessions.items() for p in session.precisions()
        ]
        return [v for v in found if (v.precision in LOSSLESS) == (quality == "lossless")]

    def openvinos(self, name: str, file: Callable[[], Path]) -> dict[str, Contender]:
        """OpenVINO on a file, with free and with fixed axes."""
        return {
            f"openvino, {name}": Contender(lambda: self.openvino(file(), fixed=False)),
            f"openvino, {name}, fixed axes": Contender(
                lambda: self.openvino(file(), fixed=True), fixed=True
            ),
        }

    # Files

    def lowered(self, variant: Variant, *, fixed: bool = False) -> Path:
        """Our file of a variant."""
        name = f"{variant.runtime}-{variant.precision}{'-fixed' if fixed else ''}"
        shape = self.feeds["input_ids"].shape if fixed else None
        own = self.network.with_precision(variant.precision)
        return self.sessions[variant.runtime].lower(own, self.folder, name, shape).path

    def plain(self) -> Path:
        """Our fp32 file in ONNX."""
        return self.lowered(Variant("onnxruntime", "fp32"))

    def exported(self) -> Path:
        """Torch's own export, with the axes dynamic as in our file."""
        path = self.folder / "export.onnx"
        if not path.exists():
            axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq_len", max=512)}
            torch.onnx.export(
                self.module(),
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
                str(self.plain()),
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

        model = onnx.load(self.plain(), load_external_data=False)
        weights = {tensor.name for tensor in model.graph.initializer}
        return [
            node.name
            for node in model.graph.node
            if node.op_type == "MatMul" and not weights & set(node.input)
        ]

    # Runners

    def own(self, variant: Variant, *, fixed: bool) -> Runner:
        return self.session(self.lowered(variant, fixed=fixed), variant.runtime)

    def session(self, path: Path, runtime: str = "onnxruntime") -> Runner:
        """A file as `profilers` runs it."""
        loaded = get_runtime(runtime).open_session(path, self.sessions[runtime].options)
        return Runner(lambda: loaded.run(self.feeds), lambda: loaded.outputs(self.feeds)[0])

    def optimized(self) -> Runner:
        return self.session(self.optimize(self.plain()))

    def optimized_export(self) -> Runner:
        return self.session(self.optimize(self.exported()))

    def quantized(self) -> Runner:
        return self.session(self.quantize(self.plain()))

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
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
        }
        request = core.compile_model(model, "CPU", settings).create_infer_request()

        def output() -> Vector:
            request.start_async(self.feeds)  # of one thread, `infer` loses every exception
            request.wait()
            found: Vector = request.get_output_tensor(0).data.copy()
            return found

        return Runner(
            lambda: request.infer(self.feeds, share_inputs=True, share_outputs=True), output
        )

    def torch_compiled(self) -> Runner:
        torch.set_num_threads(self.threads)
        compiled = torch.compile(self.module(), dynamic=False, options={"freezing": True})
        inputs = [torch.from_numpy(feed) for feed in self.feeds.values()]

        def run() -> Vector:
            with torch.inference_mode():
                found: Vector = compiled(*inputs).numpy()
                return found

        return Runner(run, run)

    def executorch(self, *, int8: bool) -> Runner:
        run = executorch_run(self.module(), self.feeds, self.threads, int8=int8)
        return Runner(run, run)

    def litert(self, *, int8: bool) -> Runner:
        run = litert_run(self.module(), self.feeds, self.folder, self.threads, int8=int8)
        return Runner(run, run)

    def module(self) -> TorchNetwork:
        """The network in torch."""
        return TorchNetwork(self.network).eval().requires_grad_(False)


@dataclass(frozen=True, slots=True)
class Ran:
    """A contender that was run.

    Attributes:
        contender: Which.
        cosine: Of its vector to that of the network in fp32.
        times_ms: Least of three runs in each round.
    """

    contender: Contender
    cosine: float
    times_ms: list[float]

    @property
    def median_ms(self) -> float:
        return float(np.median(self.times_ms))

    def ratios(self, other: Ran) -> list[float]:
        """Quartiles of this one's times over another's within a round."""
        ratios = np.array(self.times_ms) / np.array(other.times_ms)
        return [float(x) for x in np.quantile(ratios, [0.25, 0.5, 0.75])]


def race(
    contenders: Contenders, quality: str, arguments: argparse.Namespace
) -> tuple[dict[str, Ran], dict[str, str]]:
    """Times of all that run, and why the others do not."""
    exact = contenders.session(contenders.plain()).output().ravel().astype(np.float64)
    runners: dict[str, Runner] = {}
    found: dict[str, Ran] = {}
    skipped: dict[str, str] = {}
    for name, contender in contenders.all(quality).items():
        print(f"  {name}", file=sys.stderr)
        if any(name.startswith(left) for left in arguments.without):
            skipped[name] = "not asked for"
            continue
        try:
            runner = contender.load()
            vector = runner.output().ravel().astype(np.float64)
        except Exception as error:  # of any of four runtimes
            if contender.ours:
                raise
            lines = str(error).strip().splitlines() or [""]
            skipped[name] = f"{type(error).__name__}: {lines[0][:300]}"
            print(f"    skipped: {skipped[name]}", file=sys.stderr)
            continue
        cosine = exact @ vector / np.linalg.norm(exact) / np.linalg.norm(vector)
        runners[name], found[name] = runner, Ran(contender, float(cosine), [])
    names = list(runners)
    rng = np.random.default_rng(arguments.seed)
    for _ in range(arguments.rounds):
        for place in rng.permutation(len(names)):
            run = runners[names[place]].run
            run()  # brings the weights back into the caches
            lowest = np.inf
            for _ in range(3):
                begin = time.perf_counter()
                run()
                lowest = min(lowest, time.perf_counter() - begin)
            found[names[place]].times_ms.append(1e3 * lowest)
    return found, skipped


def against(counted: dict[str, Ran], *, fixed: bool) -> dict[str, Any] | None:
    """The fastest of ours against the fastest of the others; None where one is missing.

    Args:
        counted: Those of the quality asked for.
        fixed: Whether those that take one batch and length alone are among them.
    """
    raced = {name: ran for name, ran in counted.items() if fixed or not ran.contender.fixed}
    ranked = sorted(raced, key=lambda name: raced[name].median_ms)
    ours = next((name for name in ranked if raced[name].contender.ours), None)
    other = next((name for name in ranked if not raced[name].contender.ours), None)
    if ours is None or other is None:
        return None
    low, middle, high = raced[ours].ratios(raced[other])
    return {
        "ours": ours,
        "best_other": other,
        "ours_over_best": middle,
        "ratio_q25": low,
        "ratio_q75": high,
        "met": round(middle, 2) <= 1,
    }


def summary(quality: str, found: dict[str, Ran], skipped: dict[str, str]) -> dict[str, Any]:
    """What a race came to."""
    counted = {name: ran for name, ran in found.items() if ran.cosine >= QUALITIES[quality]}
    return {
        "free axes": against(counted, fixed=False),
        "fixed axes": against(counted, fixed=True),
        "contenders": {
            name: {
                "least_ms": float(np.min(ran.times_ms)),
                "median_ms": ran.median_ms,
                "cosine": ran.cosine,
                "counts": name in counted,
            }
            for name, ran in found.items()
        },
        "skipped": skipped,
    }


def run(arguments: argparse.Namespace, cache: Path) -> dict[str, Any]:
    space = load_space("minilm-l6")
    rng = np.random.default_rng(arguments.seed)
    vocabulary = space.geometry.vocab_size
    feeds = {
        "input_ids": rng.integers(0, vocabulary, (1, arguments.seq_len)),
        "attention_mask": np.ones((1, arguments.seq_len), np.int64),
    }
    sessions = installed(cache, arguments.threads)
    results: dict[str, Any] = {}
    met: dict[str, bool | None] = {}
    for label in arguments.networks:
        architecture = space.parse(NETWORKS[label])
        network = random_network(
            architecture, space.geometry, seed=arguments.seed, vocab_rows=vocabulary
        )
        with TemporaryDirectory() as folder:
            contenders = Contenders(network, feeds, Path(folder), sessions, arguments.threads)
            for quality in arguments.quality:
                print(f"{label}, {quality}", file=sys.stderr)
                found, skipped = race(contenders, quality, arguments)
                one = summary(quality, found, skipped)
                results[f"{label}, {quality}"] = {"architecture": NETWORKS[label], **one}
                for axes in ("free axes", "fixed axes"):
                    met[f"{label}, {quality}, {axes}"] = one[axes] and one[axes]["met"]
                    print(f"  {axes}: {one[axes]}", file=sys.stderr)
                for name, ran in found.items():
                    line = f"{min(ran.times_ms):8.2f} ms, cosine {ran.cosine:.5f}"
                    print(f"  {line}  {name}", file=sys.stderr)
        torch.compiler.reset()
    return {
        "benchmark": "shipped_speed",
        "versions": {name: version(name) for name in PACKAGES},
        "precisions": {runtime: session.precisions() for runtime, session in sessions.items()},
        "conditions": f"batch 1, length {arguments.seq_len}, {arguments.threads} thread(s)",
        "rounds": arguments.rounds,
        "networks": results,
        "targets_met": met,
    }


def installed(cache: Path, threads: int) -> dict[str, MeasurementSession]:
    """Where networks run on this machine, by runtime."""
    found = {}
    for runtime in LOWERED:
        session = MeasurementSession.on(find("host"), cache, threads, runtime)
        try:
            session.precisions()
            get_runtime(runtime)
        except profilers.RuntimeMissing as error:
            print(f"{runtime} is left out: {error}", file=sys.stderr)
            continue
        found[runtime] = session
    return found


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
    parser.add_argument("--quality", nargs="+", choices=QUALITIES, default=list(QUALITIES))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="NAME", help="leave out what begins so"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # chatter of the quantizers, by way of the root logger
    with TemporaryDirectory() as cache, contextlib.redirect_stdout(sys.stderr):
        found = run(arguments, Path(cache))  # other tools say on stdout what they do
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
