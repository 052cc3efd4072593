"""The module for Android apps with its model in onnxruntime's own format, which is used in place.

Of an .onnx onnxruntime copies every weight; of this file it takes them where the file is mapped, so
that words and biases take memory that the system can drop and read again.
"""

from __future__ import annotations

from pathlib import Path

from device_profiles.reading import read_bytes
from nasc.architecture.space import computed_in
from nasc.lowering.ort_file import OPERATORS, VERSIONS, OrtFile, read_ort, write_ort
from nasc.package.formats import android_folder, onnx_folder
from nasc.package.formats.app_contents import (
    check_vectors,
    write_tables,
    write_texts,
    wrong_texts,
)
from nasc.package.formats.base import (
    ModelFile,
    always_ready,
    no_refusal,
    no_session,
    no_text,
    precision_of,
    shape_of,
)
from nasc.package.kotlin_program import run_in_java
from nasc.package.manifest import Manifest

NAME = "onnxruntime's own format for Android"
LOWERED_FOR = OPENED_BY = onnx_folder.OPENED_BY

MODEL = android_folder.MODEL.removesuffix(".onnx") + ".ort"
TABLES = android_folder.TABLES
COMPANIONS = ()
MORE_FILES = android_folder.MORE_FILES
OPTIONAL_FILES = ()
CODE = ""
PROGRAMS = android_folder.PROGRAMS
VECTORS_ALONE = True
NEEDS = android_folder.NEEDS
PRECISIONS = android_folder.PRECISIONS
TOLERANCE = android_folder.TOLERANCE
IMPORT = RUN = ""
NOT_PROMISED = android_folder.NOT_PROMISED
"""See `PackageFormat`, and `android_folder`, whose sources and runtime these are."""

load_lines = precision_note = other_libraries = other_languages = no_text
write_model = write_ort
open_session = no_session
refusal = no_refusal
check_ready = always_ready
"""See `PackageFormat`."""

_IN_PLACE = """
The model is in onnxruntime's own format, optimised for no processor in particular. Its weights are
used where the file is mapped, without a copy: without `noCompress` of the app's archive they are
those of the copy. onnxruntime of 1.24 or newer reads it.
"""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return android_folder.module_usage(manifest, MODEL, _IN_PLACE)


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the sources, and the tokenizer's tables and golden texts."""
    check_vectors("android-ort", manifest.head)
    write_tables(folder, TABLES)
    write_texts(folder, android_folder.texts(folder, manifest, MODEL))


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; the tokenizer's files are held in a process of their own."""
    return wrong_texts(folder, android_folder.texts(folder, manifest, MODEL))


def run_more(folder: Path, manifest: Manifest) -> tuple[bool | None, str]:
    """See `PackageFormat`: the tokens of the golden texts by the package's own Kotlin."""
    return run_in_java(folder, (*android_folder.ALONE, android_folder.CONTENTS))


def inspect(path: Path) -> ModelFile:
    """See `PackageFormat`. Parameters are not counted: optimised, some are stored otherwise.

    Raises:
        OSError, FileRefused: If it cannot be read.
        Exception: If it is no file of onnxruntime's own format.
    """
    data = read_bytes(path, onnx_folder.MAX_BYTES)
    found = read_ort(data)
    architecture = found.metadata.get("nasc.architecture", "")
    return ModelFile(
        architecture=architecture,
        head=found.metadata.get("nasc.head", ""),
        params=None,
        size_bytes=len(data),
        shape=shape_of(found.inputs.values()),
        outputs=found.outputs,
        computed_in=computed_in(precision_of(architecture)),
        unexpected=tuple(_unexpected(found)),
    )


def _unexpected(found: OrtFile) -> list[str]:
    """What of a file nasc does not write; one phrase each."""
    problems = []
    if not found.is_flat:
        problems.append("graphs within its graph, weights outside, or steps that are left to do")
    if found.version not in VERSIONS:
        problems.append(f"version {found.version[:20]!r} of the format, expected {VERSIONS[0]!r}")
    known = {("", name) for name in onnx_folder.OPERATORS}
    known |= {("com.microsoft", name) for name in OPERATORS}
    problems += [
        f"the operator {name!r} of {domain or 'ONNX'!r} is none of nasc's"
        for domain, name in sorted(found.operators - known)
    ]
    return problems
