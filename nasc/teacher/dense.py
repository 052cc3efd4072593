"""Dense modules of sentence-transformers: linear layers between the pooling and the end.

The keys are those that sentence-transformers 6.2 reads (`base/modules/dense.py`); only safetensors
is read, as of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from nasc.architecture.heads import MAX_SIZE, DenseShape
from nasc.errors import TeacherMissing, UnsupportedFamily
from nasc.teacher.encoder import DenseWeights
from nasc.teacher.files import TeacherFiles, json_text, reason, text_or_null

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

_SIZE = {"type": "integer", "minimum": 1, "maximum": MAX_SIZE}

_SCHEMA = {
    "type": "object",
    "required": ["in_features", "out_features"],
    "properties": {
        "in_features": _SIZE,
        "out_features": _SIZE,
        "bias": {"type": "boolean"},
        "activation_function": {"type": "string"},
        "module_input_name": text_or_null(),
        "module_output_name": text_or_null(),
        "use_residual": {"type": "boolean"},
    },
}

_ACTIVATIONS = {
    "Tanh": "tanh",
    "Identity": "identity",
    "ReLU": "relu",
    "GELU": "gelu",
    "Sigmoid": "sigmoid",
}
"""Classes of torch.nn, made without arguments, and what `nasc.architecture.heads` calls them."""

_MODULES = ("torch.nn", "torch.nn.modules.activation", "torch.nn.modules.linear")
"""Where torch has them."""

_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class DenseModule:
    """What the configuration of one Dense says.

    Attributes:
        files: Its folder.
        inputs: Numbers that it takes.
        shape: What it gives, and its activation.
        bias: Whether it has one.
    """

    files: TeacherFiles
    inputs: int
    shape: DenseShape
    bias: bool


def read_dense(files: TeacherFiles) -> DenseModule:
    """The configuration of a Dense in its folder.

    Raises:
        TeacherMissing: If there is none.
        TeacherDamaged: If it is no JSON, or a value is missing, of another type or out of range.
        UnsupportedFamily: If it computes something else than a linear layer and a known activation.
    """
    config = files.json(CONFIG, _SCHEMA)
    if config is None:
        raise files.missing(f"no {files.label(CONFIG)}, which modules.json names,")
    files.check_keys(CONFIG, config, list(_SCHEMA["properties"]))
    allowed: dict[str, Sequence[Any]] = {
        "module_input_name": ("sentence_embedding",),
        "module_output_name": ("sentence_embedding", None),
        "use_residual": (False,),
    }
    files.check_values(CONFIG, config, allowed)
    named = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    module, _, name = named.rpartition(".")
    if module not in _MODULES or name not in _ACTIVATIONS:
        known = ", ".join(f"torch.nn.{one}" for one in _ACTIVATIONS)
        raise files.unsupported(CONFIG, "activation_function", named, known)
    shape = DenseShape(config["out_features"], _ACTIVATIONS[name])
    return DenseModule(files, config["in_features"], shape, config.get("bias", True))


def load_dense(module: DenseModule) -> DenseWeights:
    """The weights of a Dense, in float32.

    Raises:
        TeacherMissing: If there are none in safetensors.
        TeacherDamaged: If they cannot be read, are of other shapes than the configuration says, or
            hold a value that is no number.
        UnsupportedFamily: If they are of a type that is none of floating point.
    """
    files, outputs = module.files, module.shape.outputs
    if not (files.folder / WEIGHTS).is_file():
        raise TeacherMissing(
            f"teacher '{files.name}': no {files.label(WEIGHTS)}. Only safetensors is read; load "
            "the folder with sentence-transformers and save it again (SentenceTransformer.save)"
        )
    wanted: dict[str, tuple[int, ...]] = {"linear.weight": (outputs, module.inputs)}
    if module.bias:
        wanted["linear.bias"] = (outputs,)
    try:
        with safe_open(files.folder / WEIGHTS, framework="pt") as opened:
            found = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118
            shapes = {name: tuple(part.get_shape()) for name, part in found.items()}
            if shapes != wanted:
                raise files.damaged(
                    WEIGHTS,
                    f"holds tensors of shapes {shapes}; by {files.label(CONFIG)} (in_features = "
                    f"{module.inputs}, out_features = {outputs}, bias = {json_text(module.bias)}) "
                    f"they must be {wanted}",
                )
            for name, part in found.items():
                if part.get_dtype() not in _FLOATS:
                    raise UnsupportedFamily(
                        f"teacher '{files.name}': {files.label(WEIGHTS)}: tensor '{name}' is of "
                        f"type {part.get_dtype()}; supported are {', '.join(_FLOATS)}"
                    )
            tensors = {name: opened.get_tensor(name).to(torch.float32) for name in found}
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise files.damaged(WEIGHTS, f"cannot be read: {reason(error)}") from error
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise files.damaged(WEIGHTS, f": tensor '{name}' holds values that are no number")
    return DenseWeights(tensors["linear.weight"], tensors.get("linear.bias", torch.zeros(outputs)))
