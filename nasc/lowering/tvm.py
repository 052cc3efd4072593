"""Networks for TVM: a shared library of compiled code and weights, with its description in JSON.

TVM compiles for one shape. Where axes are free the library has a function for each of a few lengths
(`LENGTHS`), which share weights; a text is run by the shortest that it fits into, padded, its
padding masked; a batch is run text by text. `profilers.runtimes.tvm` says how the files are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import onnx

from device_profiles.temporary import temporary_folder
from nasc.export.matrices import Float
from nasc.export.onnx import EMITTER_VERSION, build
from nasc.lowering.base import HANDWRITTEN, Artifact, check_precision
from nasc.lowering.description import Interface
from nasc.lowering.tuned_kernels import TUNED, KernelRecords
from nasc.lowering.tvm_module import TVM_LOCK, compile_module, fused_module, target_of
from nasc.networks.network import Network
from profilers.context import read_context
from profilers.runtimes.tvm_description import DESCRIPTION, FORMAT, LIBRARY
from profilers.runtimes.tvm_targets import kernel_kind, needed_flags

# isort: split
# After `tvm_module`, which refuses other versions of TVM before they are imported.
from nasc.lowering.handwritten.compile import compile_handwritten
from nasc.lowering.handwritten.module import handwritten_module, kernels_of
from nasc.lowering.tuning.apply import apply_records

_OWN_VERSION = 4
"""Raised with every change of what is done to the emitted graphs (`tvm_module`, the schedules)."""

VERSION = 1000 * EMITTER_VERSION + _OWN_VERSION
"""Of files without tuning records; what was done by records says so itself (`Artifact.tuned`)."""

LENGTHS = (32, 64, 128, 256, 512)
"""Tokens that a network whose axes are free is compiled for, as far as it has positions."""


def lower(
    network: Network,
    folder: Path,
    name: str = "model",
    *,
    offered: Collection[str] = (),
    shape: tuple[int, int] | None = None,
    lengths: Collection[int] = (),
    records: KernelRecords | None = None,
    processor: Mapping[str, Any] | None = None,
) -> Artifact:
    """See `nasc.lowering.base.Lowering`.

    Args:
        network: See there.
        folder: See there.
        name: See there.
        offered: See there.
        shape: See there; (batch, seq_len) gives one function of that shape, None one for each
            length.
        lengths: Beside `LENGTHS`, as far as the network has positions.
        records: Tuning records, measured on that processor; `HANDWRITTEN` precisions have none.
        processor: See there.
    """
    precision = network.architecture.precision
    check_precision("tvm", precision)
    cpu = processor or read_context()["cpu"]
    if precision not in TUNED:
        records = None
    threads = 1 if records is None else records.threads  # a record is of their number
    target = target_of(cpu["flags"], cpu["arch"], threads, precision)
    tuned = None
    shapes = [shape] if shape else [(1, n) for n in _lengths(network, lengths)]
    functions = {f"run_{batch}x{n}": (batch, n) for batch, n in shapes}
    kernels: dict[str, dict[str, str | int]] = {}
    with TVM_LOCK:
        if precision in HANDWRITTEN:
            kind = str(kernel_kind(cpu["flags"], precision))  # there is one: `target_of` was asked
            module = handwritten_module(network, functions, kind)
            kernels = kernels_of(module)
            compiled = compile_handwritten(module, target)
        else:
            models = {key: build(network, shape=each) for key, each in functions.items()}
            module = fused_module(models, target)
            if records is not None:
                module, tuned = apply_records(module, target, records)
            compiled = compile_module(module, target)
    path, description = folder / f"{name}{LIBRARY}", folder / f"{name}{DESCRIPTION}"
    for file in (path, description):
        file.unlink(missing_ok=True)  # a session that is open has the library mapped
    with temporary_folder() as own:
        library = own / "model.so"
        compiled.export(library)
        content = library.read_bytes()
    path.write_bytes(content)
    free = build(network, matrices=Float(), shape=shape)  # its axes and what it says are read
    interface = Interface.of(free)
    about = {
        "format": FORMAT,
        "arch": cpu["arch"],
        "flags": list(needed_flags(cpu["flags"], cpu["arch"], precision)),
        "library_sha256": hashlib.sha256(content).hexdigest(),
        "inputs": interface.inputs,
        "outputs": interface.outputs,
        "token_axis": _token_axes(free),
        "tokens": network.tensors[0]["word"].shape[0],
        "functions": [
            {"name": key, "batch": batch, "seq_len": n} for key, (batch, n) in functions.items()
        ],
        "kernels": kernels,
        "metadata": interface.metadata,
    }
    description.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Artifact(path, (description,), "tvm", precision, VERSION, tuned)


def _lengths(network: Network, more: Collection[int]) -> list[int]:
    """Lengths of the functions, ascending; the last is that of the longest text up to 512."""
    positions = network.geometry.max_positions
    fit = {n for n in (*LENGTHS, *more) if n <= positions}
    return sorted(fit | {min(positions, max(LENGTHS))})


def _token_axes(free: onnx.ModelProto) -> dict[str, int]:
    """By output, which of its axes is as long as the text."""
    found = {}
    for value in free.graph.output:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            if size.dim_param == "seq_len":
                found[value.name] = axis
    return found
