"""A folder with one ONNX file, its weights inside."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from device_profiles.reading import read_bytes
from nasc.architecture.heads import gives_vector, pooling_of, scores_tokens, vector_size
from nasc.architecture.space import computed_in
from nasc.export.graph import IR_VERSION, OPSET
from nasc.export.onnx import output_name
from nasc.package.formats.base import (
    NOT_MEASURED,
    SENTENCES,
    TOKENIZER_TOO,
    ModelFile,
    always_ready,
    as_it_is,
    cross_encoder_usage,
    is_parameter,
    no_refusal,
    no_session,
    no_text,
    nothing_run,
    nothing_written,
    nothing_wrong,
    precision_of,
    sentence_transformers_usage,
    shape_of,
    token_usage,
)

if TYPE_CHECKING:
    from nasc.package.manifest import Manifest

NAME = "ONNX"
LOWERED_FOR = OPENED_BY = "onnxruntime"
MODEL = "model.onnx"
COMPANIONS = ()
MORE_FILES = ()
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = ""
VECTORS_ALONE = False
NOT_PROMISED = NOT_MEASURED
NEEDS = "onnxruntime, tokenizers and numpy"

TOLERANCE = {"fp32": 1e-4, "int8": 4e-2, "int8-emb4": 4e-2}
"""fp32: rounding on other processors. int8: rounding turns into whole steps of quantised
activations; relative changes of the normalisation weights by 1e-6 move the default teacher's
vectors by up to 0.021 (simulated, November 2026); vectors of two sentences differ by 0.053 at
least, 0.2 mostly. int8-emb4: the words themselves are the same everywhere, the rest is int8."""

PRECISIONS = tuple(TOLERANCE)

MAX_BYTES = 2 << 30
"""What model.onnx may hold: protobuf's own limit."""

EMITTED = ((OPSET, IR_VERSION),)
"""Opset and IR version of the files that releases wrote. All did so far; add, never replace."""

OPERATORS = frozenset(
    "Add BitShift BitwiseAnd Cast Concat Conv Cos CumSum Div DynamicQuantizeLinear Equal Gather "
    "Gelu Gemm GlobalMaxPool LayerNormalization MatMul MatMulInteger Max Min Mul ReduceL2 "
    "ReduceSum Relu Reshape Shape Sigmoid Sin Slice Softmax Sqrt Squeeze Sub Tanh Transpose "
    "Unsqueeze".split()
)
"""Operators of the files that releases wrote; add, never replace. ReduceL2 is of emitter version 2
and before."""

IMPORT = "import onnxruntime as ort"
RUN = 'session.run(None, {"input_ids": ids, "attention_mask": mask})[0]'


def load_lines(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f"""\
options = ort.SessionOptions()
options.intra_op_num_threads = {manifest.conditions.threads}
session = ort.InferenceSession("{MODEL}", options, providers=["CPUExecutionProvider"])
"""


_FASTEMBED = {"mean": "MEAN", "cls": "CLS"}
"""fastembed's names of poolings; it has no others of nasc's."""


def fastembed_usage(manifest: Manifest) -> str:
    """The lines of Python that use an encoder through fastembed."""
    name = json.dumps(f"nasc/{manifest.teacher.name.rpartition('/')[2]}")
    pooling = (
        "DISABLED" if gives_vector(manifest.head) else _FASTEMBED[pooling_of(manifest.head).mode]
    )
    return f"""\
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

TextEmbedding.add_custom_model(
    {name},
    pooling=PoolingType.{pooling},
    normalization=False,
    sources=ModelSource(url="this folder"),
    dim={vector_size(manifest.head, manifest.geometry.hidden)},
    model_file="{MODEL}",
    output_name={json.dumps(output_name(manifest.head))},
)
model = TextEmbedding({name}, specific_model_path=".")
for vector in model.embed({SENTENCES}, batch_size={manifest.conditions.batch}):
    print(vector.shape)
"""


def precision_note(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return ""


def _with_fastembed(manifest: Manifest) -> str:
    head = manifest.head
    if manifest.scores_pairs:
        return ""
    if not gives_vector(head) and pooling_of(head).mode not in _FASTEMBED:
        return ""
    return f"""\
With fastembed 0.9 or newer:

```python
{fastembed_usage(manifest)}```

"""


def other_libraries(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    of_tokens = scores_tokens(manifest.head)
    what = "scores" if manifest.scores_pairs or of_tokens else "vectors"
    alone = (
        f"\n\nThe {what} of an {manifest.precision} model feel their neighbours in a batch: other "
        "batch sizes give slightly different ones."
        if computed_in(manifest.precision) == "int8"
        else ""
    )
    if of_tokens:
        return f"""\
With optimum-onnx (`pip install 'optimum-onnx[onnxruntime]'`), as with transformers:

```python
{token_usage(manifest, "optimum.onnxruntime", "ORTModel")}```

{TOKENIZER_TOO}{alone}
"""
    usage = cross_encoder_usage if manifest.scores_pairs else sentence_transformers_usage
    return f"""\
With sentence-transformers (`pip install 'sentence-transformers[onnx]<6'`: version 6 needs a
transformers 5, which its ONNX backend optimum-onnx 0.1 cannot be installed with):

```python
{usage(manifest, 'backend="onnx"')}```

{_with_fastembed(manifest)}{TOKENIZER_TOO}{alone}
"""


other_languages = own_usage = no_text
write_model = as_it_is
open_session = no_session
refusal = no_refusal
check_ready = always_ready
write_more = nothing_written
wrong_more = nothing_wrong
run_more = nothing_run
"""See `PackageFormat`: of all these it has none."""


def inspect(path: Path) -> ModelFile:
    """See `PackageFormat`.

    Raises:
        OSError, FileRefused: If it cannot be read.
        ValueError: If it names other files as parts of it (a package's weights are inside), or
            holds graphs within its graph, loops for example, or functions of its own.
        Exception: If it is no valid ONNX model; onnx raises several kinds.
    """
    data = read_bytes(path, MAX_BYTES)
    model = onnx.load_from_string(data)
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            where = {entry.key: entry.value for entry in tensor.external_data}.get("location")
            raise ValueError(
                f"the tensor {tensor.name[:100]!r} lies in another file, {str(where)[:100]!r}"
            )
    _refuse_inner_graphs(model)
    onnx.checker.check_model(data, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    architecture = metadata.get("nasc.architecture", "")
    return ModelFile(
        architecture=architecture,
        head=metadata.get("nasc.head", ""),
        params=sum(map(_values, model.graph.initializer)),
        size_bytes=len(data),
        shape=shape_of(
            [
                axis.dim_value if axis.HasField("dim_value") else None
                for axis in one.type.tensor_type.shape.dim
            ]
            for one in model.graph.input
        ),
        outputs=tuple(output.name for output in model.graph.output),
        computed_in=computed_in(precision_of(architecture)),
        unexpected=tuple(_unexpected(model)),
    )


def _values(tensor: onnx.TensorProto) -> int:
    """Parameters in a tensor: in unsigned bytes there are two, of 4 bits each."""
    if not is_parameter(tensor.name):
        return 0
    packed = 2 if tensor.data_type == onnx.TensorProto.UINT8 else 1
    return packed * int(math.prod(tensor.dims))


def _unexpected(model: onnx.ModelProto) -> Iterator[str]:
    """What of a valid model nasc does not write."""
    domains = {entry.domain for entry in model.opset_import}
    domains |= {node.domain for node in model.graph.node}
    if foreign := sorted(domains - set(_STANDARD)):
        yield f"operators that are not standard: {', '.join(foreign)}"
    opset = max((e.version for e in model.opset_import if e.domain in _STANDARD), default=0)
    if (opset, model.ir_version) not in EMITTED:
        yield (f"opset {opset} and IR {model.ir_version}, expected {OPSET} and {IR_VERSION}")
    for name in sorted({node.op_type for node in model.graph.node} - OPERATORS):
        yield f"the operator {name!r} is none of nasc's"


_STANDARD = ("", "ai.onnx")


def _refuse_inner_graphs(model: onnx.ModelProto) -> None:
    """Raise where a model does more than to run one operator after the other.

    Raises:
        ValueError: Naming the first thing that would.
    """
    if model.functions:
        raise ValueError(f"it holds functions of its own, {model.functions[0].name[:100]!r} first")
    for node in model.graph.node:
        if any(one.HasField("g") or one.graphs for one in node.attribute):
            raise ValueError(
                f"the operator {node.op_type[:100]!r} holds a graph of its own: no network of nasc "
                "loops or chooses"
            )


def _tensors(message: Any) -> Iterator[Any]:
    """Every tensor of an ONNX message, however deep."""
    waiting = [message]
    while waiting:
        one = waiting.pop()
        if isinstance(one, onnx.TensorProto):
            yield one
            continue
        for field, value in one.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += [value] if hasattr(value, "ListFields") else list(value)
