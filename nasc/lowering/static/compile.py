"""From a network to machine code and weights that need no runtime."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.relax import transform

from nasc.architecture.heads import (
    SPANS,
    gives_states,
    head_outputs,
    scores_tokens,
    vector_size,
)
from nasc.errors import ExportError, UsageError
from nasc.export.onnx import build
from nasc.lowering.base import HANDWRITTEN, PRECISIONS
from nasc.lowering.handwritten.module import handwritten_module
from nasc.lowering.static import kernels as k
from nasc.lowering.static.program import Kernel, StaticNetwork
from nasc.lowering.static.steps import Trace, program, trace
from nasc.lowering.static.supported import why_no_library
from nasc.lowering.static.weights import Weights
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.lowering.tuning.apply import apply_records
from nasc.lowering.tvm import LENGTHS
from nasc.lowering.tvm_folding import fold_constants
from nasc.lowering.tvm_module import TVM_LOCK, fused_module, target_of
from nasc.networks.network import Network
from profilers.context import read_context
from profilers.runtimes.tvm_schedules import schedule
from profilers.runtimes.tvm_targets import kernel_kind, needed_flags

PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")
"""Names of a library: what every global name in it begins with."""


def compile_static(
    network: Network,
    *,
    prefix: str = "nasc",
    lengths: Collection[int] = (),
    records: KernelRecords | None = None,
    processor: Mapping[str, Any] | None = None,
) -> StaticNetwork:
    """Compile a network for one kind of processor, without a runtime.

    Texts are run one by one, each by the shortest length that it fits into: `LENGTHS` as far as the
    network has positions. The same network gives the same bytes.

    Args:
        network: With its weights, in a precision of TVM.
        prefix: Of every global name, so that several networks go into one program.
        lengths: Tokens to compile for instead of `LENGTHS`; the largest is that of the longest
            text.
        records: Tuning records, measured on that processor by one thread; `HANDWRITTEN`
            precisions have none.
        processor: "arch" and "flags" of the processor that it is for, as
            `profilers.context.read_context` gives them; None is this machine's.

    Raises:
        UsageError: If prefix or lengths are wrong, or networks are not made for that processor or
            in that precision.
        RecordsRefused: If the records are of another target.
        ExportError: If TVM cannot compile it, or ziglang is missing.
    """
    _check(network, prefix, lengths)
    cpu = processor or read_context()["cpu"]
    precision = network.architecture.precision
    target = target_of(cpu["flags"], cpu["arch"], precision=precision)
    sizes = sorted(lengths) or usual_lengths(network)
    names = {n: f"run_{n}" for n in sizes}
    weights = Weights()
    with TVM_LOCK:
        if precision in HANDWRITTEN:
            kind = str(kernel_kind(cpu["flags"], precision))  # there is one: `target_of` was asked
            module = handwritten_module(network, {names[n]: (1, n) for n in sizes}, kind)
            passes = k.handwritten_passes()
        else:
            models = {names[n]: build(network, shape=(1, n)) for n in sizes}
            module = _ready(fused_module(models, target), target, records)
            passes = k.scheduled_passes()
        lowered, traces = _taken_apart(module, names, prefix, passes, target, weights)
        code = k.object_file(lowered, target)
    layout = weights.lay_out()
    programs = tuple(program(n, found, layout.places) for n, found in traces.items())
    features = needed_flags(cpu["flags"], cpu["arch"], precision)
    identity = _identity(network, cpu["arch"], features, layout.content, programs)
    outer, inner, by_token = _outputs(network)
    counts = {call.kernel: len(call.arguments) for t in traces.values() for call in t.calls}
    return StaticNetwork(
        prefix,
        cpu["arch"],
        features,
        tuple(Kernel(s, counts[s], lowered[s].parts) for s in sorted(lowered)),
        programs,
        (outer, inner),
        by_token,
        len(network.tensors[0]["word"]),
        identity,
        layout.file(identity),
        code,
    )


def _check(network: Network, prefix: str, lengths: Collection[int]) -> None:
    if not PREFIX.fullmatch(prefix):
        raise UsageError(
            f"{prefix!r} cannot be the prefix of C names: take a small letter, then at most 30 "
            "small letters, digits and underscores"
        )
    if network.architecture.precision not in PRECISIONS["tvm"]:
        raise UsageError(
            f"C libraries are made in {', '.join(PRECISIONS['tvm'])}, not in "
            f"{network.architecture.precision!r}. Try: --precision fp32"
        )
    if (why := why_no_library(network.geometry)) is not None:
        raise UsageError(f"{why}. Leave out: --format c")
    if scores_tokens(network.head):
        raise UsageError(
            f"C libraries give vectors, states or scores of texts, not {network.head!r}. Leave "
            "out: --format c"
        )
    most = network.geometry.max_positions
    wrong = [n for n in lengths if not 1 <= n <= most]
    if wrong:
        raise UsageError(f"no text has {wrong[0]} tokens: this network takes 1 to {most}")


def usual_lengths(network: Network) -> list[int]:
    """Tokens that a network is compiled for where nothing else is said, ascending."""
    longest = min(network.geometry.max_positions, max(LENGTHS))
    return sorted({n for n in LENGTHS if n < longest} | {longest})


def _ready(module: Any, target: tvm.target.Target, records: KernelRecords | None) -> Any:
    """The module, scheduled, its constants in the order that kernels read them in."""
    if records is not None:
        module, _ = apply_records(module, target, records)
    try:
        with target:
            split = transform.SplitLayoutRewritePreproc()(schedule(module, target))
            return transform.RewriteDataflowReshape()(fold_constants(split))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"tvm cannot compile the network for {target}: {error}") from error


def _taken_apart(
    module: Any,
    names: Mapping[int, str],
    prefix: str,
    passes: list[Any],
    target: tvm.target.Target,
    weights: Weights,
) -> tuple[dict[str, k.Lowered], dict[int, Trace]]:
    """The kernels that are used, by symbol, and the traces by length."""
    symbols = {
        variable.name_hint: f"{prefix}_kernel_{variable.name_hint}"
        for variable, function in module.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    used = {name: symbols[name] for n in names.values() for name in _called(module[n])}
    functions = {symbol: module[name] for name, symbol in used.items()}
    try:
        lowered = k.lower(functions, passes, target)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ExportError(f"tvm cannot compile the network for {target}: {error}") from error
    traces = {n: trace(module[name], symbols, lowered, weights) for n, name in names.items()}
    kept = {call.kernel for found in traces.values() for call in found.calls}
    return {symbol: lowered[symbol] for symbol in sorted(kept)}, traces


def _called(function: Any) -> list[str]:
    """Names of the kernels that a network's function calls."""
    return [
        binding.value.args[0].name_hint
        for block in function.body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call)
        and isinstance(binding.value.op, tvm.ir.Op)
        and binding.value.op.name == "relax.call_tir"
    ]


def _outputs(network: Network) -> tuple[int, int, bool]:
    """See `StaticNetwork.outputs` and `by_token`."""
    if gives_states(network.head):
        return 1, network.geometry.hidden, True
    if network.head == SPANS:
        return head_outputs(SPANS) or 0, 1, True
    size = vector_size(network.head, network.geometry.hidden)
    return 1, head_outputs(network.head) or size, False


def _identity(network: Network, *about: object) -> bytes:
    """Of everything that code and weights are made of."""
    digest = hashlib.sha256()
    for part in (network.architecture, network.head, network.layer_norm_eps, *about):
        content = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()
