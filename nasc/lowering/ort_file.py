"""Models in onnxruntime's own format (.ort): made of an .onnx by onnxruntime itself, and read.

An app can have weights taken out of such a file where it is mapped, without a copy. The graph in it
is optimised as far as onnxruntime calls "extended": by operators that it has on every processor.
What it does beyond (layouts of convolutions, NCHWc) is for x86 alone.

onnxruntime writes the names of arguments by operator, which builds without ONNX's schemas need, in
an order of memory that is another one each time. They are written once more, sorted, so that the
same model is the same file.
"""

from __future__ import annotations

import functools
import importlib
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import onnxruntime as ort

from device_profiles.temporary import temporary_folder

VERSIONS = (b"6",)
"""Of the format, in files that releases wrote; add, never replace. onnxruntime 1.24 reads it."""

OPERATORS = frozenset({"DynamicQuantizeMatMul", "FusedGemm", "FusedMatMul", "MatMulIntegerToFloat"})
"""Of onnxruntime's own (com.microsoft), in files that releases wrote; add, never replace."""

_NAMES_SLOT = 10
"""Of the names of arguments among the fields of a file (ort.fbs, InferenceSession)."""


def write_ort(source: Path, target: Path) -> None:
    """Write a model in onnxruntime's own format; the same model is the same file.

    Args:
        source: The .onnx.
        target: The .ort.

    Raises:
        ValueError: If onnxruntime lays a file out in another way than it did.
        OSError: If a file cannot be read or written.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.save_model_format", "ORT")
    with temporary_folder() as folder:
        made = folder / "model.ort"
        options.optimized_model_filepath = str(made)
        ort.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])
        target.write_bytes(sorted_names(made.read_bytes()))


def sorted_names(data: bytes) -> bytes:
    """A file with its names of arguments written anew, sorted, at its end.

    Args:
        data: Of a file as onnxruntime writes it: the names lie between the table of the file and
            that of the model.

    Raises:
        ValueError: If they lie elsewhere.
    """
    file = bytearray(data)
    table = _session(file)._tab
    found = _session(file).KernelTypeStrResolver()
    field = table.Pos + table.Offset(_NAMES_SLOT)
    first = table.Pos + _inline_size(file, table.Pos)
    model = _session(file).Model()._tab.Pos
    last = min(model, _vtable(file, model))
    if not first <= found._tab.Pos < last or _vtable(file, table.Pos) > table.Pos:
        raise ValueError("onnxruntime has laid an .ort file out in another way than it did")
    names = _names(found)
    file[first:last] = bytes(last - first)
    file += bytes(-len(file) % 8)
    end = len(file)
    file += names
    (root,) = struct.unpack_from("<I", file, end)
    struct.pack_into("<I", file, field, end + root - field)
    return bytes(file)


def _names(found: Any) -> bytes:
    """A buffer of the names of arguments by operator, sorted."""
    builder = flatbuffers.Builder()
    by_operator = {
        entry.OpId(): {
            names.KernelTypeStr(): [(a.ArgType(), a.Index()) for a in _each(names, "Args")]
            for names in _each(entry, "KernelTypeStrArgs")
        }
        for entry in _each(found, "OpKernelTypeStrArgs")
    }
    operators = []
    for operator, by_name in sorted(by_operator.items()):
        entries = [
            _entry(builder, name, [_argument(builder, *place) for place in places])
            for name, places in sorted(by_name.items())
        ]
        operators.append(_entry(builder, operator, entries))
    every = _vector(builder, operators)
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, every, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _argument(builder: Any, kind: int, index: int) -> int:
    builder.StartObject(2)
    builder.PrependInt8Slot(0, kind, 0)
    builder.PrependUint32Slot(1, index, 0)
    return int(builder.EndObject())


def _entry(builder: Any, key: bytes, values: list[int]) -> int:
    """A table of a text and a list of tables: names of arguments by operator, places by name."""
    text, every = builder.CreateString(key), _vector(builder, values)
    builder.StartObject(2)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    builder.PrependUOffsetTRelativeSlot(1, every, 0)
    return int(builder.EndObject())


def _vector(builder: Any, places: list[int]) -> int:
    builder.StartVector(4, len(places), 4)
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


def _vtable(file: bytearray, table: int) -> int:
    """Where the description of a table lies."""
    (back,) = struct.unpack_from("<i", file, table)
    return table - int(back)


def _inline_size(file: bytearray, table: int) -> int:
    """Bytes of a table's own fields."""
    (size,) = struct.unpack_from("<H", file, _vtable(file, table) + 2)
    return int(size)


@functools.cache
def _session_class() -> Any:
    """Onnxruntime's own reader of such files, without the tools it lies among, which want torch."""
    place = str(Path(ort.__file__).parent / "tools" / "ort_format_model")
    sys.path.append(place)
    try:
        module = importlib.import_module("ort_flatbuffers_py.fbs.InferenceSession")
    finally:
        sys.path.remove(place)
    return module.InferenceSession


def _session(data: bytes | bytearray) -> Any:
    found = _session_class()
    if not found.InferenceSessionBufferHasIdentifier(data, 0):
        raise ValueError("it is no file in onnxruntime's own format: it does not say ORTM")
    return found.GetRootAs(data, 0)


def _each(owner: Any, name: str) -> Iterator[Any]:
    """The elements of a list in a table."""
    return (getattr(owner, name)(i) for i in range(getattr(owner, f"{name}Length")()))


@dataclass(frozen=True, slots=True)
class OrtFile:
    """What an .ort file says of itself.

    Attributes:
        metadata: Of the model.
        inputs: Axes of each input, by name; None of a free one.
        outputs: Names of what it gives, in order.
        operators: Domain and name of each operator.
        version: Of the format.
        is_flat: Whether it runs one operator after the other, all of its weights inside.
    """

    metadata: Mapping[str, str]
    inputs: Mapping[str, tuple[int | None, ...]]
    outputs: tuple[str, ...]
    operators: frozenset[tuple[str, str]]
    version: bytes
    is_flat: bool


def read_ort(data: bytes) -> OrtFile:
    """Read an .ort file without opening it as a model.

    Args:
        data: Its bytes.

    Raises:
        Exception: If it is none; what reads it raises what it likes.
    """
    session = _session(data)
    model = session.Model()
    graph = model.Graph()
    axes = {one.Name().decode(): _axes(one) for one in _each(graph, "NodeArgs")}
    nodes = list(_each(graph, "Nodes"))
    inner = any(
        a.G() is not None or a.GraphsLength() for n in nodes for a in _each(n, "Attributes")
    )
    outside = any(one.ExternalDataOffset() >= 0 for one in _each(graph, "Initializers"))
    names = (name.decode() for name in _each(graph, "Inputs"))
    return OrtFile(
        {one.Key().decode(): one.Value().decode() for one in _each(model, "MetadataProps")},
        {name: axes[name] for name in names},
        tuple(name.decode() for name in _each(graph, "Outputs")),
        frozenset((node.Domain().decode(), node.OpType().decode()) for node in nodes),
        session.OrtVersion(),
        not inner and not outside and graph.RuntimeOptimizations() is None,
    )


def _axes(value: Any) -> tuple[int | None, ...]:
    """Axes of a tensor; none where nothing is said of them."""
    kind, told = value.Type(), importlib.import_module("ort_flatbuffers_py.fbs.TensorTypeAndShape")
    if kind is None or kind.Value() is None:
        return ()
    tensor = told.TensorTypeAndShape()
    tensor.Init(kind.Value().Bytes, kind.Value().Pos)
    if tensor.Shape() is None:
        return ()
    # 1 is a number, 2 a name (ort.fbs, DimensionValueType).
    values = (one.Value() for one in _each(tensor.Shape(), "Dim"))
    return tuple(one.DimValue() if one.DimType() == 1 else None for one in values)
