"""Does coremltools convert a network, here, and what is in the file? It runs on macOS alone.

The default teacher's network in torch is traced and converted to an ML program of iOS 16, texts of
any length one at a time. Told are the versions, the time, bytes, inputs and outputs, operators, and
how many of the network's tensors are in the file's weights, bit by bit where it is in fp32.
coremltools is no part of nasc's tested versions:

    pip install coremltools==9.0
    python benchmarks/export/core_ml.py [--precision fp16]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasc.architecture.space import PRESETS
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.networks.torch_network import TorchNetwork
from nasc.teacher import load_teacher


class Whole(nn.Module):
    """A network whose token ids are int32, as Core ML has them."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = TorchNetwork(network)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        found: Tensor = self.network(input_ids.long(), attention_mask)
        return found


def converted(network: Network, precision: str, coremltools: Any) -> Any:
    """The network as a model of coremltools."""
    ids = torch.arange(1000, 1017, dtype=torch.int32)[None]
    with torch.no_grad():
        traced = torch.jit.trace(Whole(network).eval(), (ids, torch.ones_like(ids)))
    length = coremltools.RangeDim(1, network.geometry.max_positions, default=128)
    names = ("input_ids", "attention_mask")
    inputs = [coremltools.TensorType(name, (1, length), dtype=np.int32) for name in names]
    return coremltools.convert(
        traced,
        inputs=inputs,
        outputs=[coremltools.TensorType("sentence_embedding", dtype=np.float32)],
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=getattr(coremltools.precision, f"FLOAT{precision[2:]}"),
        skip_model_load=True,
    )


def facts(model: Any) -> dict[str, Any]:
    """What a model's description says of it."""
    spec = model.get_spec()
    function = spec.mlProgram.functions["main"]
    operators = Counter(
        one.type for one in function.block_specializations[function.opset].operations
    )
    del operators["const"]
    return {
        "specification": spec.specificationVersion,
        "opset": function.opset,
        "inputs": [one.name for one in spec.description.input],
        "outputs": [one.name for one in spec.description.output],
        "operators": dict(sorted(operators.items())),
    }


def found_tensors(network: Network, weights: bytes) -> tuple[int, int]:
    """How many of a network's tensors are in some bytes as they are, and how many there are."""
    tensors = [value for own in network.tensors for value in own.values()]
    return sum(value.tobytes() in weights for value in tensors), len(tensors)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=["fp32", "fp16"], default="fp32")
    given = parser.parse_args()
    network = teacher_network(load_teacher(), PRESETS["minilm-l6"].teacher)
    begin = time.perf_counter()
    model = converted(network, given.precision, importlib.import_module("coremltools"))
    seconds = time.perf_counter() - begin
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.mlpackage"
        model.save(str(path))
        files = [file for file in path.rglob("*") if file.is_file()]
        weights = b"".join(file.read_bytes() for file in files if file.name == "weight.bin")
        size = sum(file.stat().st_size for file in files)
    same, count = found_tensors(network, weights)
    names = ("coremltools", "torch", "numpy", "protobuf")
    print(
        json.dumps(
            {
                "benchmark": "core_ml",
                "versions": {name: importlib.metadata.version(name) for name in names},
                "precision": given.precision,
                "seconds": round(seconds, 1),
                "bytes": size,
                **facts(model),
                "tensors": count,
                "tensors_as_they_are": same,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
