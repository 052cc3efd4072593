"""Files of models: what their names' endings say of them, and which belong together."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from device_profiles.reading import FileRefused, opened

GIVE_A_FILE = "Give the path of a model file (.onnx, or .xml of OpenVINO) that is readable."
"""What to do where a model file cannot be read."""

_MADE_BY_NASC = (
    "A {ending} is for the runtime {runtime}, as nasc makes it, with its description beside it "
    "({companion!r}). Make it anew for this processor."
)


@dataclass(frozen=True, slots=True)
class FileKind:
    """Model files whose names end alike.

    Attributes:
        ending: Of their names, in small letters.
        advice: What may be wrong with one that its runtime rejects, and how it is checked; with
            `path`, `ending`, `runtime` and `companion` (a name) in braces.
        runtime: The only one that opens them; None where every runtime may.
        companion: How the name of the other file ends, of the same stem, that belongs to one; empty
            where there is none.
        is_code: Whether to open one is to run code that is in it.
    """

    ending: str
    advice: str
    runtime: str | None = None
    companion: str = ""
    is_code: bool = False

    def advice_on(self, path: Path) -> str:
        """What to do where a runtime rejects a file.

        Args:
            path: The file.
        """
        companion = path.with_suffix(self.companion).name if self.companion else ""
        return self.advice.format(
            path=path, ending=self.ending, runtime=self.runtime, companion=companion
        )


ONNX = FileKind(
    ".onnx",
    "Allowed is any ONNX file that this runtime can load and run. Check it: "
    "python -c \"import onnx; onnx.checker.check_model('{path}')\"",
)
"""What files are taken for whose names end in nothing that is known."""

IR = FileKind(
    ".xml",
    "An .xml is for the runtime openvino, with its weights beside it ({companion!r}). Check it: "
    "python -c \"import openvino; openvino.Core().compile_model('{path}', 'CPU')\"",
    runtime="openvino",
    companion=".bin",
)
TVM_LIBRARY = FileKind(".so", _MADE_BY_NASC, runtime="tvm", companion=".json", is_code=True)
TORCH_PACKAGE = FileKind(".pt2", _MADE_BY_NASC, runtime="torch", companion=".json", is_code=True)

KINDS = (ONNX, IR, TVM_LIBRARY, TORCH_PACKAGE)
"""All that is known of endings; what files of a runtime's own end in is said here alone."""

_BY_ENDING = {kind.ending: kind for kind in KINDS}


def kind_of(path: Path) -> FileKind:
    """What a model file is, by how its name ends; one of `KINDS`."""
    return _BY_ENDING.get(path.suffix.lower(), ONNX)


def runtime_for(paths: Sequence[Path], default: str) -> str:
    """The runtime that opens files, by how their names end.

    Args:
        paths: The files.
        default: What opens them where the names do not say.

    Returns:
        The only one that opens the first file whose name says so.
    """
    named = (kind_of(path).runtime for path in paths)
    return next((name for name in named if name is not None), default)


def is_code(path: Path) -> bool:
    """Whether to open a model file is to run code that is in it, by how its name ends."""
    return kind_of(path).is_code


def model_files(path: Path) -> tuple[Path, ...]:
    """A model file and what belongs to it.

    That is the companion of its kind, for example the .bin beside an IR. Of an ONNX file it is the
    files of weights that the model itself names, and those beside it whose name is the model's with
    a suffix that ends in "data" (`model.onnx.data`, `model.onnx_data`).

    Args:
        path: The model file.

    Returns:
        The model first. Files of weights that are missing, or lie outside the model's folder, are
        left out: no runtime takes the latter.
    """
    if ending := kind_of(path).companion:
        companion = path.with_suffix(ending)
        return (path, companion) if companion.exists() else (path,)
    beside = {
        found
        for found in path.parent.glob("*data")
        if found.name.startswith((f"{path.name}.", f"{path.name}_"))
    }
    named = {path.parent / name for name in _external_names(path)}
    return (path, *sorted(beside | {found for found in named if found.is_file()} - {path}))


_LOCATION = b"\x0a\x08location\x12"
"""Before the name of a file of weights: onnx.proto, StringStringEntryProto of external_data."""

_MAX_LOCATION = 1 << 14


def _external_names(path: Path) -> set[str]:
    """Files of weights that an ONNX file names, below its own folder."""
    found = set()
    try:
        with opened(path) as file, _mapped(file) as data:
            at = data.find(_LOCATION)
            while at >= 0:
                found.add(_text_at(data, at + len(_LOCATION)))
                at = data.find(_LOCATION, at + 1)
    except (OSError, ValueError, FileRefused):  # whoever reads it says why
        return set()
    parts = {name: PurePosixPath(name) for name in found if name}
    return {n for n, p in parts.items() if not p.is_absolute() and ".." not in p.parts}


def _mapped(file: BinaryIO) -> mmap.mmap:
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _text_at(data: mmap.mmap, at: int) -> str:
    """A text of protobuf: its length, seven bits a byte, then as many bytes."""
    size = shift = 0
    for byte in data[at : at + 3]:
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > _MAX_LOCATION:
        return ""
    text = data[at : at + size].decode("utf-8", errors="replace")
    return text if text.isprintable() else ""
