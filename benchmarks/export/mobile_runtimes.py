"""ExecuTorch (with XNNPACK) and LiteRT on a network, for `shipped_speed`: both take one shape.

Their wheels cannot be installed by one command with nasc's tested versions (xdsl, which LiteRT's
converter wants, asks for an older typing-extensions, and works without). In an environment of its
own, after nasc:

    pip install executorch==1.5.1 litert-torch==0.10.0 ai-edge-litert==2.3.0
    pip install -c constraints.txt -e '.[openvino,tvm,default-teacher,runner]' onnxscript
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Feeds = dict[str, NDArray[np.int64]]
Vector = NDArray[np.floating[Any]]


def executorch_run(
    module: torch.nn.Module, feeds: Feeds, threads: int, *, int8: bool
) -> Callable[[], Vector]:
    """ExecuTorch's program of a module, all that XNNPACK takes given to it.

    Args:
        module: In fp32.
        feeds: Inputs, of the shape that it is made for.
        threads: Of its pool.
        int8: Linear layers in int8, weights for each output, activations scaled in every run.
    """
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime

    inputs = tuple(torch.from_numpy(feed) for feed in feeds.values())
    exported = torch.export.export(module, inputs)
    if int8:
        exported = torch.export.export(_quantized(exported.module(), inputs), inputs)
    partitioner = XnnpackPartitioner()
    program = to_edge_transform_and_lower(exported, partitioner=[partitioner]).to_executorch()
    portable_lib._unsafe_reset_threadpool(threads)
    data = bytes(program.buffer)
    loaded = Runtime.get().load_program(data)
    method = loaded.load_method("forward")

    def run() -> Vector:
        found: Vector = method.execute(list(inputs))[0].numpy()
        return found

    run.kept = data, loaded  # type: ignore[attr-defined]  # the method needs both
    return run


def _quantized(module: Any, inputs: tuple[torch.Tensor, ...]) -> Any:
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    config = get_symmetric_quantization_config(is_per_channel=True, is_dynamic=True)
    prepared = prepare_pt2e(module, XNNPACKQuantizer().set_global(config))
    prepared(*inputs)
    return convert_pt2e(prepared)


def litert_run(
    module: torch.nn.Module, feeds: Feeds, folder: Path, threads: int, *, int8: bool
) -> Callable[[], Vector]:
    """LiteRT's model of a module, run by its interpreter, which hands it to XNNPACK.

    Args:
        module: In fp32.
        feeds: Inputs, of the shape that it is made for.
        folder: For its files.
        threads: Of the interpreter.
        int8: Weights in int8 for each output, activations scaled in every run.
    """
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter

    inputs = tuple(torch.from_numpy(feed) for feed in feeds.values())
    path = folder / "model.tflite"
    path.unlink(missing_ok=True)
    litert_torch.convert(module, inputs).export(str(path))
    if int8:
        from ai_edge_quantizer import quantizer, recipe

        by_recipe = quantizer.Quantizer(str(path))
        by_recipe.load_quantization_recipe(recipe.dynamic_wi8_afp32())
        path = folder / "model.int8.tflite"
        path.unlink(missing_ok=True)
        by_recipe.quantize().export_model(str(path))
    interpreter = Interpreter(str(path), num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()
    arrays = [f.astype(g["dtype"]) for f, g in zip(feeds.values(), given, strict=True)]
    output = interpreter.get_output_details()[0]["index"]

    def run() -> Vector:
        for place, array in zip(given, arrays, strict=True):
            interpreter.set_tensor(place["index"], array)
        interpreter.invoke()
        found: Vector = interpreter.get_tensor(output)
        return found

    return run
