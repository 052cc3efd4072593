"""A folder with a library of TVM's, the part of TVM that runs it, and three ways to call it.

A library is code. It is described and judged here without being opened, which cannot tell what its
code does: only who trusts where a package comes from runs it (docs/packages.md).
"""

from __future__ import annotations

import hashlib
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from device_profiles.reading import opened, read_bytes, read_json
from nasc.package.formats import tvm_runtime_files
from nasc.package.formats.base import (
    NOT_MEASURED,
    TOKENIZER_TOO,
    ModelFile,
    always_ready,
    as_it_is,
    no_session,
    no_text,
    nothing_run,
    precision_of,
    shape_of,
)
from nasc.package.formats.elf import SharedLibrary, read_library
from profilers.runtimes.tvm_description import DESCRIPTION, SCHEMA, why_not_here

if TYPE_CHECKING:
    from nasc.package.manifest import Manifest

NAME = "TVM library"
LOWERED_FOR = OPENED_BY = "tvm"
MODEL = "model.so"
COMPANIONS = ("model.json",)
NEEDS = "tokenizers and numpy"

HEADER = "model.h"
"""What encoder.c must know of the network, made from the description."""

MORE_FILES = (HEADER, *tvm_runtime_files.FILES)
OPTIONAL_FILES = ()
CODE = MODEL
PROGRAMS = ""
VECTORS_ALONE = False
NOT_PROMISED = NOT_MEASURED

TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "int8": 4e-2}
"""fp32: rounding on other processors. int8: as of the ONNX folder, for the same reason."""

PRECISIONS = tuple(TOLERANCE)

MAX_LIBRARY_BYTES = 2 << 30
"""What the library may take, as in the other formats."""

MAX_DESCRIPTION_BYTES = 1 << 20

IMPORT = """import sys

sys.dont_write_bytecode = True  # the folder stays as it is
from encoder import Encoder  # encoder.py of this folder"""
RUN = "encoder.run(ids, mask)[0]"

_CONTENT = "__tvm_ffi__library_bin"
"""What a library calls its weights, and the list of its functions."""

_TAKEN = frozenset(
    "TVMFFIErrorSetRaisedFromCStr TVMFFIErrorSetRaisedFromCStrParts memcpy memmove memset "
    "erff expf powf sqrtf tanhf".split()
)
"""What the code of releases took from other libraries, and mathematics; add, never replace."""

_GIVEN = ("__tvm_ffi_", "__TVM", "__extendhfsf2", "__truncsfhf2")
"""How the names begin that they offered."""


def load_lines(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f'encoder = Encoder(".", threads={manifest.conditions.threads})\n'


def precision_note(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f"""
`encoder.py` calls TVM's runtime, which lies beside it: no TVM need be installed. `{MODEL}` is code
for the processors that `{COMPANIONS[0]}` names: opening it runs it.
"""


def other_libraries(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f"{TOKENIZER_TOO}\n"


def other_languages(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return """
From C or C++, token ids in and numbers out: `encoder.h` or `encoder.hpp`. In this folder, which
stays as it is:

```sh
cc -std=c11 -O2 -I. -c encoder.c -o ../encoder.o
cc -std=c11 -O2 example.c ../encoder.o -o ../example_c -L. -ltvm_ffi -ldl -Wl,-rpath,"$PWD"
c++ -std=c++17 -O2 example.cpp ../encoder.o -o ../example_cpp -L. -ltvm_ffi -ldl -Wl,-rpath,"$PWD"
../example_c . 101 2023 102   # a text's token ids; prints its numbers, one a line
```

Licences of what is TVM's: the folder `licenses`.
"""


own_usage = no_text
write_model = as_it_is
open_session = no_session
check_ready = always_ready
"""See `PackageFormat`."""


def refusal(arch: str) -> str:
    """See `PackageFormat`."""
    return tvm_runtime_files.why_missing(arch)


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`."""
    about = _description(folder / MODEL)
    tvm_runtime_files.write_files(folder, about["arch"])
    (folder / HEADER).write_text(_header(about), encoding="ascii", newline="\n")


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`."""
    about = _description(folder / MODEL)
    hashes = {name: record.sha256 for name, record in manifest.files.items()}
    found = tvm_runtime_files.wrong_files(hashes, about["arch"])
    text = _header(about)
    if read_bytes(folder / HEADER, MAX_DESCRIPTION_BYTES) != text.encode():
        found.append(f"{HEADER} does not say what {COMPANIONS[0]} says")
    rows = manifest.geometry.vocab_size
    if about["tokens"] != rows:
        found.append(f"{COMPANIONS[0]} says {about['tokens']:,} tokens, the manifest {rows:,}")
    return found


run_more = nothing_run
"""See `PackageFormat`: no program of it is run for a check of its own."""


def inspect(path: Path) -> ModelFile:
    """See `PackageFormat`. The library is read, never opened as one.

    Raises:
        OSError, FileRefused: If a file cannot be read.
        ValueError: If the library is none, or not the one that the description is of.
    """
    about = _description(path)
    with opened(path, MAX_LIBRARY_BYTES) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != about["library_sha256"]:
            raise ValueError(f"{path.name} is not the library that its description was made with")
        library = read_library(file)
        unexpected = [*_foreign(library), *_missing(library, about["functions"], file)]
        size_bytes = file.seek(0, 2)
    if library.machine != about["arch"]:
        unexpected.append(f"code for {library.machine} that is described as for {about['arch']}")
    shape = shape_of(value["axes"] for value in about["inputs"])
    unexpected += _odd_functions(about["functions"], shape)
    metadata = about["metadata"]
    architecture = metadata.get("nasc.architecture", "")
    return ModelFile(
        architecture=architecture,
        head=metadata.get("nasc.head", ""),
        params=None,
        size_bytes=size_bytes + path.with_suffix(DESCRIPTION).stat().st_size,
        shape=shape,
        outputs=tuple(value["name"] for value in about["outputs"]),
        computed_in=precision_of(architecture),
        unexpected=tuple(unexpected),
        not_here=why_not_here(about),
    )


def _description(path: Path) -> dict[str, Any]:
    """What lies beside a library.

    Raises:
        OSError, FileRefused: If it cannot be read, or is of another form.
    """
    found: dict[str, Any] = read_json(path.with_suffix(DESCRIPTION), MAX_DESCRIPTION_BYTES, SCHEMA)
    return found


def _foreign(library: SharedLibrary) -> Iterator[str]:
    """What of a library has more done than TVM's libraries do, as they are opened."""
    yield from library.oddities
    for name in library.needed:
        yield f"it needs the library {name[:60]!r}"
    if strange := sorted(library.taken - _TAKEN):
        yield f"it takes {', '.join(strange)[:200]} from other libraries"
    if strange := sorted(name for name in library.given if not name.startswith(_GIVEN)):
        yield f"it offers {', '.join(strange)[:200]}"


def _missing(
    library: SharedLibrary, functions: Sequence[Mapping[str, Any]], file: BinaryIO
) -> Iterator[str]:
    """Functions of the description that a library has not, by its own list of them."""
    offset, size = library.given.get(_CONTENT, (None, 0))
    if offset is None:
        yield "it holds no network"
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for function in functions:
            name = function["name"].encode()
            # As TVM's relax.VMExecutable is stored: a function's kind, its name's length, its name.
            entry = (1).to_bytes(4, "little") + len(name).to_bytes(8, "little") + name
            if content.find(entry, offset, offset + size) < 0:
                yield f"it has no function {function['name']!r}"


def _odd_functions(
    functions: Sequence[Mapping[str, Any]], shape: tuple[int, ...] | None
) -> Iterator[str]:
    """What of the functions' shapes is not as nasc makes them."""
    shapes = [(function["batch"], function["seq_len"]) for function in functions]
    if shape is None:
        lengths = [length for _, length in shapes]
        if any(batch != 1 for batch, _ in shapes) or lengths != sorted(set(lengths)):
            yield "functions that are not of one text each, by ascending length"
    elif shapes != [shape]:
        yield f"functions of other shapes than {shape[0]} x {shape[1]}"


def _header(about: Mapping[str, Any]) -> str:
    """The text of model.h."""
    first = about["outputs"][0]
    axis = about["token_axis"].get(first["name"], 0)
    fixed = about["inputs"][0]["axes"][0] is not None
    numbers = math.prod(size for size in first["axes"][1:] if size is not None)
    functions = "\n".join(
        f'    {{"{function["name"]}", {function["batch"]}, {function["seq_len"]}}},'
        for function in about["functions"]
    )
    return f"""\
/* What {MODEL} takes and gives; made from {COMPANIONS[0]}. */
#ifndef NASC_MODEL_H
#define NASC_MODEL_H

/* Ids of tokens are below it. */
#define NASC_TOKENS {about["tokens"]}

/* 1: it takes its one batch and length, and nothing else. */
#define NASC_FIXED_SHAPE {int(fixed)}

/* Numbers of a text, or of each of its tokens. */
#define NASC_NUMBERS {numbers}

/* Which axis of the first output is as long as the text: 0 none, (batch, numbers);
 * 1 (batch, tokens, numbers); 2 (batch, numbers, tokens). */
#define NASC_TOKEN_AXIS {axis}

static const struct {{
  const char *name;
  int batch, seq_len;
}} nasc_functions[] = {{
{functions}
}};

#endif
"""
