"""The C library of a network beside TVM's runtime: the same kernels, time for each text.

The full-size network of the default teacher's sizes with random weights, fp32, batch 1, both in
turn, on one thread each; a ratio below 1 is the C library faster. Then, for the C library alone,
`--threads` threads beside one, for one text and for a batch.

    OMP_NUM_THREADS=1 python benchmarks/export/c_library.py > c_library.json

needs `pip install 'nasc[runner,tvm]'` and a C compiler (cc).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.lowering import tvm as lowering
from nasc.lowering.static.compile import compile_static
from nasc.networks.network import Network, random_network
from nasc.package.formats.c_folder import COMPILED, write_c_folder
from profilers import RuntimeOptions
from profilers.runtimes import get_runtime

GEOMETRY = Geometry(6, 384, 32, 1536, 30522, 512)
WHOLE = Architecture((Block(GEOMETRY.hidden, ("mha", "ffn") * GEOMETRY.layers),))
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-fPIC", "-shared", "-pthread")


class Library:
    """A C library of a network, built and open."""

    def __init__(self, network: Network, lengths: list[int], folder: Path) -> None:
        start = time.perf_counter()
        compiled = compile_static(network, lengths=lengths)
        self.compile_s = time.perf_counter() - start
        write_c_folder([compiled], folder)
        own, shared = folder / compiled.arch, folder / "libnasc.so"
        sources = [*(folder / name for name in COMPILED), own / "nasc_network.c", own / "kernels.o"]
        subprocess.run(["cc", *FLAGS, f"-I{folder}", *sources, "-o", shared, "-lm"], check=True)
        self._c = ctypes.CDLL(str(shared))
        self._c.nasc_output_floats.restype = ctypes.c_size_t
        self._c.nasc_context_bytes.restype = ctypes.c_size_t
        self.code_bytes = shared.stat().st_size
        self.arena_bytes = {program.length: program.arena_bytes for program in compiled.programs}
        self._model = ctypes.c_void_p()
        start = time.perf_counter()
        weights = str(own / "weights.bin").encode()
        self._check(self._c.nasc_model_open(weights, ctypes.byref(self._model)))
        self.open_s = time.perf_counter() - start

    def _check(self, code: int) -> None:
        if code:
            raise SystemExit(f"the C library gives error {code}")

    def runner(self, threads: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """A function of ids and mask."""
        context = ctypes.c_void_p()
        made = self._c.nasc_context_make(
            self._model, threads, 0, None, ctypes.c_size_t(0), ctypes.byref(context)
        )
        self._check(made)

        def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
            batch, length = ids.shape
            out = np.empty((batch, self._c.nasc_output_floats(length)), np.float32)
            pointers = [ctypes.c_void_p(a.ctypes.data) for a in (ids, mask, out)]
            self._check(
                self._c.nasc_context_encode(context, *pointers[:2], batch, length, pointers[2])
            )
            return out

        return run


Run = Callable[[], Any]


def in_turn(runs: dict[str, Run], rounds: int) -> dict[str, Any]:
    """Milliseconds of two, in turn, and the first over the second."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            found[name].append(1000 * (time.perf_counter() - start))
    first, second = (np.array(values) for values in found.values())
    return {
        "least_ms": {name: min(values) for name, values in found.items()},
        "ratio_of_least": float(first.min() / second.min()),
        "median_ratio": float(np.median(first / second)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    network = random_network(WHOLE, GEOMETRY)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        library = Library(network, arguments.lengths, folder / "c")
        result: dict[str, Any] = {
            "compile_s": library.compile_s,
            "library_bytes": library.code_bytes,
            "open_s": library.open_s,
            "arena_bytes": library.arena_bytes,
        }
        one, several = library.runner(1), library.runner(arguments.threads)
        for length in arguments.lengths:
            ids = np.random.default_rng(0).integers(0, 1000, (1, length))
            feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            made = lowering.lower(network, folder, f"tvm{length}", shape=(1, length))
            session = get_runtime("tvm").open_session(made.path, RuntimeOptions("tvm"))
            given = tuple(feeds.values())
            apart = np.abs(one(*given) - session.outputs(feeds)[0]).max()
            runs: dict[str, Run] = {
                "c_library": lambda given=given: one(*given),
                "tvm_runtime": lambda session=session, feeds=feeds: session.run(feeds),
            }
            many = tuple(np.repeat(array, arguments.batch, axis=0) for array in given)
            threads = f"{arguments.threads}_threads"
            result[str(length)] = {
                "largest_difference": float(apart),
                "beside_tvm": in_turn(runs, arguments.rounds),
                "one_text": in_turn(
                    {threads: lambda g=given: several(*g), "one_thread": lambda g=given: one(*g)},
                    arguments.rounds,
                ),
                f"batch_of_{arguments.batch}": in_turn(
                    {threads: lambda g=many: several(*g), "one_thread": lambda g=many: one(*g)},
                    max(1, arguments.rounds // arguments.batch),
                ),
            }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
