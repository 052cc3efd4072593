"""A folder with an OpenVINO IR: the graph as XML, the constants beside it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from device_profiles.reading import opened, read_bytes, shown
from nasc.architecture.heads import gives_vector, scores_tokens
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

NAME = "OpenVINO IR"
LOWERED_FOR = OPENED_BY = "openvino"
MODEL = "openvino_model.xml"
COMPANIONS = ("openvino_model.bin",)
MORE_FILES = ()
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = ""
VECTORS_ALONE = False
NOT_PROMISED = NOT_MEASURED
NEEDS = "openvino, tokenizers and numpy"

TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 5e-3, "int8": 6e-2}
"""Twice to four times what was seen of the default teacher on the golden texts, means of hidden
states included (OpenVINO 2026.4, Sapphire Rapids, November 2026). fp32: rounding on other
processors. bf16: 0.0027 between AMX, AVX512_BF16 and its emulation, 0.0059 from fp32, which
processors without any of them take. fp16: 0.0016 from fp32. int8: 0.004 where it is computed in
bf16; where activations are quantised as they come, relative changes of the normalisation weights by
1e-6 move vectors by up to 0.032, and 0.043 lie between that and a processor that does not quantise
them. Vectors of two golden texts differ by 0.17 at least."""

PRECISIONS = tuple(TOLERANCE)

MAX_XML_BYTES = 32 << 20
"""What the graph may take; the default teacher's takes 0.5 MB, one of 24 layers and 1024 numbers
some 1 MB (2026)."""

MAX_BIN_BYTES = 2 << 30
"""What the constants may take, as in the other format."""

MAX_ELEMENTS = 500_000
"""Elements of the XML; the default teacher's has 9,000 (2026)."""

MAX_DEPTH = 16
"""Elements within each other; files that are met have 6."""

IR_VERSION = "11"
"""Of the files that releases wrote."""

OPERATORS = frozenset(
    "Abs Add AvgPool Broadcast Clamp Concat Const Convert ConvertLike Convolution CumSum Divide "
    "Einsum Elu Equal Erf Exp Floor FloorMod Gather GatherElements GatherND Gelu Greater "
    "GreaterEqual GroupConvolution GroupNormalization Less LessEqual Log LogicalAnd LogicalNot "
    "LogicalOr LogicalXor MatMul MaxPool Maximum Minimum Mod Multiply MVN Negative NormalizeL2 "
    "NotEqual Pad Parameter Power Range ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin "
    "ReduceProd ReduceSum ReLU Reshape Result RMS Round ScaledDotProductAttention Select ShapeOf "
    "Sigmoid Sign Slice SoftMax Softmax Split Sqrt SquaredDifference Squeeze StridedSlice "
    "Subtract Swish Tanh Tile Transpose Unsqueeze VariadicSplit".split()
)
"""Operators that an OpenVINO, of whichever version, may make of a network: of the standard sets,
with neither state nor chance nor graphs of their own."""

_WITH_GRAPHS = ("If", "Loop", "TensorIterator")

_BITS = {
    "f64": 64,
    "f32": 32,
    "f16": 16,
    "bf16": 16,
    **{f"{sign}{bits}": bits for sign in "iu" for bits in (8, 16, 32, 64)},
    "boolean": 8,
}
"""By name of a type, bits of a value of constants."""

_WEIGHTS = {
    "fp32": {"f32"},
    "bf16": {"f16", "f32"},
    "fp16": {"f16", "f32"},
    "int8": {"i8", "f16", "f32"},
}
"""By precision, what parameters may be stored as. A half keeps in f32 what it cannot hold."""

HINT, GROUP = "INFERENCE_PRECISION_HINT", "DYNAMIC_QUANTIZATION_GROUP_SIZE"

_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""Of nasc, by OpenVINO's names."""

_HINTS = {"fp32": {"f32"}, "bf16": {"bf16"}, "fp16": {"f16"}, "int8": {"bf16", "f32"}}
"""By precision, what the file may ask the runtime to compute in."""

MAX_AXES = 16
"""Axes of a constant; those of nasc have four at most."""

MAX_GROUP = 1 << 16
"""Values that share a scale where activations are quantised as they come."""

_ABOUT = frozenset(
    ("Runtime_version", "conversion_parameters", "framework", "info", "nasc", "runtime_options")
)
"""Parts of a file's information."""

IMPORT = "import openvino as ov"
RUN = 'model({"input_ids": ids, "attention_mask": mask})[0]'


def load_lines(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f"""\
ir = ov.Core().read_model("{MODEL}")
options = {{"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": {manifest.conditions.threads}}}
options |= ir.get_rt_info("runtime_options").value  # the number format that it was made for
model = ov.compile_model(ir, "CPU", options)
"""


_LACKING = {
    "bf16": "bfloat16 (AMX or AVX512_BF16)",
    "fp16": "float16 (AMX_FP16 or AVX512_FP16)",
    "int8": "the number format that this file asks to be computed in",
}
"""By precision, what a processor may lack."""


def precision_note(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    lacking = _LACKING.get(manifest.precision)
    without = (
        ""
        if lacking is None
        else f"""
On a processor without {lacking}, OpenVINO computes in another one: it is emulated, some hundred
times as slow (measured with AVX-512), or float32 takes its place. Compile for that processor there.
"""
    )
    return f"""
OpenVINO takes its options from those who load a model: without those in the file, the number format
is the processor's favourite, and the vectors are others.
{without}"""


_OPTIONS = f"""\
options = ov.Core().read_model("{MODEL}").get_rt_info("runtime_options").value
"""


def optimum_usage(manifest: Manifest) -> str:
    """The lines of Python that use an encoder through optimum-intel."""
    last = "last_hidden_state[:, 0]" if gives_vector(manifest.head) else "last_hidden_state"
    what = "one vector a sentence" if gives_vector(manifest.head) else "hidden states"
    return f"""\
import openvino as ov
from optimum.intel import OVModelForFeatureExtraction
from transformers import AutoTokenizer

{_OPTIONS}\
model = OVModelForFeatureExtraction.from_pretrained(".", ov_config=options)
tokenizer = AutoTokenizer.from_pretrained(".")
batch = tokenizer({SENTENCES}, padding=True, truncation=True, return_tensors="pt")
print(model(**batch).{last}.shape)  # {what}
"""


def other_libraries(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    if scores_tokens(manifest.head):
        lines = token_usage(
            manifest,
            "optimum.intel",
            "OVModel",
            "ov_config=options",
            imports="import openvino as ov\n",
            before=_OPTIONS,
        )
        return f"""\
With optimum-intel 2 (`pip install 'optimum-intel[openvino]'`), as with transformers:

```python
{lines}```

{TOKENIZER_TOO}
"""
    usage = cross_encoder_usage if manifest.scores_pairs else sentence_transformers_usage
    optimum = "" if manifest.scores_pairs else _with_optimum(manifest)
    through = usage(
        manifest,
        'backend="openvino", model_kwargs={"ov_config": options}',
        imports="import openvino as ov\n",
        before=_OPTIONS,
    )
    return f"""\
With sentence-transformers 6 (`pip install 'sentence-transformers[openvino]'`):

```python
{through}```

{optimum}{TOKENIZER_TOO}
"""


def _with_optimum(manifest: Manifest) -> str:
    return f"""\
With optimum-intel 2 (`pip install 'optimum-intel[openvino]'`):

```python
{optimum_usage(manifest)}```

"""


@dataclass(frozen=True, slots=True)
class _Constant:
    """A constant of a graph.

    Attributes:
        name: The emitter's, where it is one of its own.
        kind: Type of its values.
        shape: Its axes.
        end: Where it ends in the file of constants, in bytes.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    end: int

    @property
    def is_parameter(self) -> bool:
        """See `nasc.package.formats.base.is_parameter`."""
        return is_parameter(self.name)


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
        OSError, FileRefused: If a file cannot be read.
        ValueError: If the graph is no IR, is larger than any of nasc's, holds graphs within it, or
            names constants that its file of constants does not hold.
    """
    data = read_bytes(path, MAX_XML_BYTES)
    with opened(path.with_name(path.stem + ".bin"), MAX_BIN_BYTES) as file:
        bin_bytes = file.seek(0, 2)
    net = _parsed(data)
    layers, about = _children(net, "layers"), _about(net)
    constants = [_constant(layer, bin_bytes) for layer in layers if layer.get("type") == "Const"]
    network = {**about.get("framework", {}), **about.get("nasc", {})}
    network = {name.removeprefix("nasc."): value for name, value in network.items()}
    architecture = network.get("architecture", "")
    unexpected = [
        *_foreign(net, layers),
        *_foreign_information(about),
        *_other_precision(precision_of(architecture), constants, about),
    ]
    end = max((constant.end for constant in constants), default=0)
    if end != bin_bytes:
        unexpected.append(f"{bin_bytes - end:,} bytes after the last constant")
    return ModelFile(
        architecture=architecture,
        head=network.get("head", ""),
        params=sum(math.prod(constant.shape) for constant in constants if constant.is_parameter),
        size_bytes=len(data) + bin_bytes,
        shape=shape_of(_axes(layer) for layer in layers if layer.get("type") == "Parameter"),
        outputs=_outputs(net, layers),
        computed_in=_PRECISIONS.get(about.get("runtime_options", {}).get(HINT, ""), ""),
        unexpected=tuple(unexpected),
    )


def _parsed(data: bytes) -> Element:
    """The root of an XML text of elements and attributes, and nothing else.

    Raises:
        ValueError: If it is none, declares anything, or is larger or deeper than an IR.
    """
    tree = TreeBuilder()
    count = depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count, depth
        count, depth = count + 1, depth + 1
        if count > MAX_ELEMENTS or depth > MAX_DEPTH:
            raise ValueError(
                f"it holds more than {MAX_ELEMENTS:,} elements, or more than {MAX_DEPTH} within "
                "each other"
            )
        tree.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(name)

    def refused(what: str) -> NoReturn:
        raise ValueError(f"it holds {what}, which no IR does")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    # Whatever another reader could take for something else than this one does.
    parser.StartDoctypeDeclHandler = lambda *_: refused("a document type")
    parser.ProcessingInstructionHandler = lambda *_: refused("a processing instruction")
    parser.CommentHandler = lambda *_: refused("a comment")
    parser.StartCdataSectionHandler = lambda: refused("marked text")
    parser.XmlDeclHandler = lambda version, encoding, _: (
        None if encoding in (None, "utf-8", "UTF-8") else refused(f"text in {shown(encoding)}")
    )
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"its graph is no XML: {error}") from error
    return tree.close()


def _children(net: Element, name: str) -> list[Element]:
    """The elements below the one of a name, of which there must be one.

    Raises:
        ValueError: If there is another number.
    """
    if net.tag != "net" or len(found := net.findall(name)) != 1:
        raise ValueError(f"its graph is no IR: it has not one list of {name}")
    return list(found[0])


def _about(net: Element) -> dict[str, dict[str, str]]:
    """The information in a file, by its parts; those without parts of their own are empty.

    Raises:
        ValueError: If something is said twice.
    """
    found: dict[str, dict[str, str]] = {}
    for part in _children(net, "rt_info"):
        values = {str(one.get("name", one.tag)): str(one.get("value", "")) for one in part}
        if part.tag in found or len(values) != len(part):
            raise ValueError(f"its information says {part.tag[:100]!r} twice")
        found[part.tag] = values
    return found


def _constant(layer: Element, bin_bytes: int) -> _Constant:
    """A constant, which lies in the file of constants.

    Raises:
        ValueError: If it does not.
    """
    name = layer.get("name", "")
    data = layer.findall("data")
    kind = data[0].get("element_type", "") if len(data) == 1 else ""
    if kind not in _BITS:
        raise ValueError(f"the constant {name[:100]!r} has values of type {kind[:20]!r}")
    text = data[0].get("shape", "")
    if text.count(",") >= MAX_AXES:
        raise ValueError(f"the constant {name[:100]!r} has more than {MAX_AXES} axes")
    shape = tuple(_whole(size.strip(), name) for size in text.split(",")) if text else ()
    offset, size = (_whole(data[0].get(key, ""), name) for key in ("offset", "size"))
    if size * 8 != math.prod(shape) * _BITS[kind] or offset + size > bin_bytes:
        raise ValueError(
            f"the constant {name[:100]!r} of {kind} {list(shape)} has {size:,} bytes from byte "
            f"{offset:,} on, its file {bin_bytes:,}"
        )
    return _Constant(name.removesuffix("_compressed"), kind, shape, offset + size)


def _axes(parameter: Element) -> list[int | None]:
    """Sizes of an input's axes; None of a free one.

    Raises:
        ValueError: If they are no sizes.
    """
    data, name = parameter.findall("data"), parameter.get("name", "")
    text = data[0].get("shape", "") if len(data) == 1 else ""
    sizes = [size.strip() for size in text.split(",")]
    return [None if size == "?" else _whole(size, name) for size in sizes]


def _whole(text: str, name: str) -> int:
    if not re.fullmatch("[0-9]{1,12}", text):
        raise ValueError(f"the constant {name[:100]!r} has a size of {shown(text)}")
    return int(text)


def _foreign(net: Element, layers: list[Element]) -> Iterator[str]:
    """What of a graph is not made of standard operators, one after the other.

    Raises:
        ValueError: If an operator holds a graph.
    """
    if net.get("version") != IR_VERSION:
        yield f"IR version {shown(net.get('version'))}, expected {IR_VERSION}"
    if strange := sorted({one.tag for one in net} - {"layers", "edges", "rt_info"}):
        yield f"parts of a graph that nasc does not write: {', '.join(strange)[:100]}"
    found, sets = set(), set()
    for layer in layers:
        kind = layer.get("type", "")
        if kind in _WITH_GRAPHS or {one.tag for one in layer} - {
            "data",
            "input",
            "output",
            "rt_info",
        }:
            raise ValueError(
                f"the operator {kind[:100]!r} holds a graph of its own: no network of nasc loops "
                "or chooses"
            )
        found.add(kind)
        sets.add(layer.get("version", ""))
    if foreign := sorted(name for name in sets if not re.fullmatch("opset[0-9]{1,2}", name)):
        yield f"operators that are not standard: {', '.join(foreign)[:100]}"
    for name in sorted(found - OPERATORS):
        yield f"the operator {name[:100]!r} is none of nasc's"


def _foreign_information(about: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """What of a file's information nasc does not write."""
    for name in sorted(about.keys() - _ABOUT):
        yield f"information about {name[:100]!r}"
    for name in sorted(about.get("runtime_options", {}).keys() - {HINT, GROUP}):
        yield f"the option {name[:100]!r} of the runtime"


def _other_precision(
    precision: str, constants: list[_Constant], about: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    """What of a file is not as nasc writes the precision of its architecture."""
    if precision not in _HINTS:
        yield f"precision {precision[:20]!r}"
        return
    kinds = {constant.kind for constant in constants if constant.is_parameter}
    if strange := sorted(kinds - _WEIGHTS[precision]):
        yield f"weights in {', '.join(strange)} of an architecture in {precision}"
    elif precision == "int8" and "i8" not in kinds:
        yield "no weights in i8 of an architecture in int8"
    options = about.get("runtime_options", {})
    if options.get(HINT) not in _HINTS[precision]:
        yield f"{HINT} {shown(options.get(HINT))} of an architecture in {precision}"
    group = options.get(GROUP)
    if group is not None and (
        precision != "int8" or not re.fullmatch("[0-9]{1,6}", group) or int(group) > MAX_GROUP
    ):
        yield f"{GROUP} {shown(group)} of an architecture in {precision}"


def _outputs(net: Element, layers: list[Element]) -> tuple[str, ...]:
    """Names of what the graph gives, in order: of the tensors that go into its results."""
    tensors = {
        (layer.get("id"), port.get("id")): port.get("names", "")
        for layer in layers
        for port in layer.findall("output/port")
    }
    sources = {
        edge.get("to-layer"): (edge.get("from-layer"), edge.get("from-port"))
        for edge in _children(net, "edges")
    }
    results = (layer.get("id") for layer in layers if layer.get("type") == "Result")
    return tuple(tensors.get(sources.get(result, ("", "")), "") for result in results)
