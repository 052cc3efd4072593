"""Networks for torch: a package of AOTInductor (.pt2), with its description in JSON.

The layers are those of `nasc.networks.torch_network`, exported (torch.export) and compiled ahead of
time (torch._inductor) for this machine's processor, or for its GPU. Where axes are free one package
runs batches of any size and texts of any length. `profilers.runtimes.torch` says how the files are
read.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._inductor.runtime.cache_dir_utils import cache_dir
from torch.nn.attention import SDPBackend, sdpa_kernel

from device_profiles import CPU
from device_profiles.temporary import acquire, temporary_folder
from nasc.errors import ExportError
from nasc.export.matrices import Float
from nasc.export.onnx import EMITTER_VERSION, INPUTS, build
from nasc.lowering.base import Artifact
from nasc.lowering.description import Interface
from nasc.lowering.limits import check_precision, why_unsupported_sizes
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.networks.network import Network
from nasc.networks.torch_network import Mask, TorchNetwork
from profilers.context import read_context
from profilers.errors import RuntimeMissing
from profilers.nvidia import use_bus_order
from profilers.runtimes.torch import precisions_on
from profilers.runtimes.torch_cuda import rounding
from profilers.runtimes.torch_description import (
    DESCRIPTION,
    FORMAT,
    PACKAGE,
    needed_flags,
    release_of,
)

_OWN_VERSION = 2
"""Raised with every change of what is done here."""

VERSION = 1000 * EMITTER_VERSION + _OWN_VERSION

_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""By precision, what weights and activations are held in up to the head, which stays float32."""

_ON_GPU_ALONE = ("tf32", "fp16")
"""Precisions that are not made for processors: they have no TF32, and few compute in float16."""

_NOT_NEEDED = (".cpp", ".data/serialization_id")
"""How files of a package end that nothing reads when it is opened: sources, and a hash of them."""

_INDUCTOR_LOCK = threading.Lock()
"""Inductor is set up by global variables."""


class _InPrecision(nn.Module):
    """A network up to its last hidden state in one number format, its head in float32."""

    def __init__(self, network: Network, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self.network = TorchNetwork(network).eval().requires_grad_(False)
        for tensors in list(self.network.tensors)[:-1]:
            tensors.to(dtype)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """What the network's head gives."""
        x = self.network.hidden_state(input_ids, Mask.of(attention_mask, self._dtype))
        return self.network.give(x.float(), Mask.of(attention_mask))


def lower(
    network: Network,
    folder: Path,
    name: str = "model",
    *,
    offered: Collection[str] = (),
    shape: tuple[int, int] | None = None,
    lengths: Collection[int] = (),
    processor: Mapping[str, Any] | None = None,
    records: KernelRecords | None = None,
) -> Artifact:
    """See `nasc.lowering.base.Lowering`."""
    precision = network.architecture.precision
    check_precision("torch", precision)
    cpu = read_context()["cpu"]
    _check_processor(processor, cpu)
    gpu: Mapping[str, Any] | None = (processor or {}).get("accelerator")
    accelerator = CPU if gpu is None else str(gpu["kind"])
    if gpu is None and precision in _ON_GPU_ALONE:
        raise ExportError(
            f"torch computes in {precision} on GPUs alone. Take another precision, or a GPU: "
            "--device cuda"
        )
    if gpu is not None:
        _check_gpu(gpu, precision)
    if why := why_unsupported_sizes("torch", precision, network.geometry, network.head, (), ""):
        raise ExportError(f"{why}. Take another runtime: --runtime onnxruntime")
    content = _compiled(network, shape, accelerator)
    path, description = folder / f"{name}{PACKAGE}", folder / f"{name}{DESCRIPTION}"
    for file in (path, description):
        file.unlink(missing_ok=True)
    path.write_bytes(content)
    # Its axes and what it says are read.
    interface = Interface.of(build(network, matrices=Float(), shape=shape))
    about = {
        "format": FORMAT,
        "torch": release_of(torch.__version__),
        "accelerator": accelerator,
        "capability": "" if gpu is None else gpu["capability"],
        "arch": cpu["arch"],
        "flags": needed_flags(cpu["flags"]),
        "tf32": precision == "tf32",
        "package_sha256": hashlib.sha256(content).hexdigest(),
        "inputs": interface.inputs,
        "outputs": interface.outputs[:1],  # the second, for ONNX's users, is the first
        "tokens": network.tensors[0]["word"].shape[0],
        "longest": network.geometry.max_positions,
        "metadata": interface.metadata,
    }
    description.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Artifact(path, (description,), "torch", precision, VERSION)


def _check_processor(processor: Mapping[str, Any] | None, here: Mapping[str, Any]) -> None:
    """Refuse a device whose processor is another than this one, for which Inductor compiles."""
    if processor is None:
        return
    flags = needed_flags(processor["flags"])
    if (processor["arch"], flags) != (here["arch"], needed_flags(here["flags"])):
        raise ExportError(
            "torch compiles for the machine that it runs on, and the device has another processor. "
            "Run nasc there, or take another runtime: --runtime onnxruntime"
        )


def _check_gpu(gpu: Mapping[str, Any], precision: str) -> None:
    """Refuse a GPU that is not like this machine's, for which Inductor compiles."""
    use_bus_order()
    try:
        known = precisions_on(gpu)
    except RuntimeMissing as error:
        raise ExportError(f"{error}. Or run nasc on the machine of the GPU") from error
    here = ".".join(map(str, torch.cuda.get_device_capability()))
    if here != gpu["capability"]:
        raise ExportError(
            f"torch compiles for the GPU of the machine that it runs on, of compute capability "
            f"{here}, and the device's, {gpu['name']}, has {gpu['capability']}. Run nasc there"
        )
    if precision not in known:
        raise ExportError(
            f"the GPU {gpu['name']} does not compute in {precision}. Take one of: "
            f"{', '.join(known)}"
        )


def _compiled(network: Network, shape: tuple[int, int] | None, accelerator: str) -> bytes:
    """The package of a network.

    Raises:
        ExportError: If torch cannot compile it here.
    """
    precision = network.architecture.precision
    graph = repr((network.architecture, network.geometry, network.head, shape, accelerator))
    module = _InPrecision(network, _HALF.get(precision, torch.float32))
    batch, seq_len = shape or (2, min(8, network.geometry.max_positions))
    free = None
    if shape is None:
        longest = network.geometry.max_positions
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("seq_len", max=longest)}
        free = dict.fromkeys(INPUTS, axes)
    with (
        _INDUCTOR_LOCK,
        _compiler(),
        rounding(precision == "tf32"),
        _attention(accelerator, shape),
        temporary_folder() as own,
    ):
        path = own / f"model{PACKAGE}"
        try:
            with (
                torch.inference_mode(False),
                torch.no_grad(),
                _own_files(graph),
            ):
                example = tuple(
                    torch.ones(batch, seq_len, dtype=torch.int64, device=accelerator)
                    for _ in INPUTS
                )
                exported = torch.export.export(module.to(accelerator), example, dynamic_shapes=free)
                torch._inductor.aoti_compile_and_package(
                    exported, package_path=str(path), inductor_configs=_config(accelerator)
                )
        except Exception as error:  # of many kinds
            raise ExportError(
                f"torch cannot compile {network.architecture}: {str(error).strip()[:500]}"
            ) from error
        return _plain(path.read_bytes())


def _plain(package: bytes) -> bytes:
    """A package without its sources, which name folders of this machine, and with no dates.

    So it is the same, byte for byte, when the same network is compiled again.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(package)) as old, zipfile.ZipFile(made, "w") as new:
        for name in sorted(old.namelist()):
            if not name.endswith(_NOT_NEEDED):
                new.writestr(zipfile.ZipInfo(name), old.read(name))
    return made.getvalue()


def _config(accelerator: str) -> dict[str, Any]:
    """How Inductor is set up."""
    wanted = {
        "compile_threads": 1,  # networks are compiled in processes beside each other
        "cpp.dynamic_threads": True,  # as many as whoever opens it says
        "freezing": accelerator == CPU,
        "aot_inductor.compile_wrapper_opt_level": "O0",  # what calls the kernels, in half the time
        "aot_inductor.enable_line_tables": False,
    }
    known = torch._inductor.config.get_config_copy()
    return {name: value for name, value in wanted.items() if name in known}


@contextmanager
def _own_files(graph: str) -> Iterator[None]:
    """Within it, Inductor writes what it makes of a graph, weights too, where it goes afterwards.

    Its library names the folder, so that is always the same one for a graph, below Inductor's
    cache; another process that compiles the same graph waits.

    Args:
        graph: Says which one it is.
    """
    name = f"nasc-{hashlib.sha256(graph.encode()).hexdigest()[:32]}"
    folder = Path(cache_dir()) / name
    lock = folder.with_suffix(".lock")
    while (handle := acquire(lock)) is None:
        time.sleep(0.1)
    try:
        with torch._inductor.config.patch({"aot_inductor.output_path": name}):
            yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def _compiler() -> Iterator[None]:
    """Within it, Inductor has the compilers that it needs.

    Raises:
        ExportError: If there is none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler as error:
        raise ExportError(
            "networks for torch are compiled by a C++ compiler, and there is none. Install one "
            "(Debian, Ubuntu: apt install g++), or name it by the variable CXX; or take another "
            "runtime: --runtime onnxruntime"
        ) from error
    yield


def _attention(accelerator: str, shape: tuple[int, int] | None) -> AbstractContextManager[object]:
    """Within it, attention is compiled by what runs texts of every length.

    On a GPU torch's fused kernels want masks whose rows are of a multiple of some tokens, which it
    looks up in the example alone: where lengths are free, products and softmax take their place.
    """
    if accelerator == CPU or shape is not None:
        return nullcontext()
    return sdpa_kernel(SDPBackend.MATH)
