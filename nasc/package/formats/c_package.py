"""A package of C: the library of `c_folder`, the tokenizer's tables, and what describes them.

Machine code is described and judged here without being run. No runtime opens it: where it may run,
its demonstration is built and run (`nasc.package.c_program`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import platform
import shlex
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from device_profiles.reading import read_bytes, read_json
from device_profiles.temporary import temporary_folder
from nasc.errors import UsageError
from nasc.lowering.description import Interface
from nasc.lowering.static.program import StaticNetwork
from nasc.package.formats.app_contents import write_tables
from nasc.package.formats.base import (
    NOT_MEASURED,
    QUERY,
    ModelFile,
    as_it_is,
    no_text,
    nothing_run,
    precision_of,
    shape_of,
)
from nasc.package.formats.c_folder import (
    COPIED,
    DEMO,
    KERNELS,
    NETWORK,
    WEIGHTS,
    copied,
    write_c_folder,
)
from nasc.package.tokenizer_binary import FILE as TABLES
from nasc.package.tokenizer_binary import compile_tokenizer
from nasc.package.tokenizer_golden import FILE as TOKENIZER_GOLDEN
from nasc.package.tokenizer_golden import golden_lines
from profilers.runtimes.tvm_description import why_not_here

if TYPE_CHECKING:
    import onnx

    from nasc.evaluation.encoder import EncoderSession
    from nasc.package.manifest import Manifest

NAME = "C library"
LOWERED_FOR = "tvm"
OPENED_BY = None
MODEL = "network.json"
COMPANIONS = ()
MORE_FILES = (*COPIED, TABLES, TOKENIZER_GOLDEN)

ARCHITECTURES = ("x86_64", "aarch64")
"""Processors that there is code for, as `platform.machine` says them."""

OPTIONAL_FILES = tuple(
    f"{arch}/{name}" for arch in ARCHITECTURES for name in (NETWORK, KERNELS, WEIGHTS)
)
EARLIER = {
    "nasc_cpu.c": ("361a8cf9f4a10e71ddee71e57d8901b1f8e453e55e47893f3844243b441c81bc",),
}
"""sha256 of the texts of `COPIED` files that earlier releases wrote, all of which are good."""

CODE = f"what {MODEL} describes"
PROGRAMS = ""
VECTORS_ALONE = False
NOT_PROMISED = NOT_MEASURED

C_FOLDER = ""
C_PROCESSORS = (None,)
SAME_CODE = True
"""See `CFormat`."""

NEEDS = "a C compiler"

TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "int8": 4e-2}
"""As of TVM's packages: the kernels are the same."""

AGREEMENT = 1e-4
"""Largest difference, relative to the largest value above 1, between vectors of a C folder and of
the package that it is made beside, where both compute the same: in fp32, or by TVM's kernels."""

PRECISIONS = tuple(TOLERANCE)
IMPORT = RUN = ""

FORMAT = 1
"""Of the description."""

MAX_DESCRIPTION_BYTES = 1 << 20
MAX_CODE_BYTES = 64 << 20
MAX_WEIGHTS_BYTES = 2 << 30
MAX_PROGRAM_BYTES = 1 << 20
MAX_SOURCE_BYTES = 64 << 20
"""More than the largest network that nasc takes gives, tenfold."""

_MACHINES = {"x86_64": 62, "aarch64": 183}
"""Numbers of processors in an ELF file."""

_TEXT = {"type": "string", "maxLength": 200}
_VALUES = {
    "type": "array",
    "minItems": 1,
    "maxItems": 2,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "type", "axes"],
        "properties": {
            "name": _TEXT,
            "type": {"enum": ["float32", "int64"]},
            "axes": {
                "type": "array",
                "minItems": 2,
                "maxItems": 3,
                "items": {"type": ["integer", "null"], "minimum": 1, "maximum": 1 << 20},
            },
        },
    },
}
_SHA256 = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["format", "arch", "flags", "files", "inputs", "outputs", "metadata"],
    "properties": {
        "format": {"const": FORMAT},
        "arch": {"enum": list(ARCHITECTURES)},
        "flags": {"type": "array", "maxItems": 200, "items": {"type": "string", "maxLength": 40}},
        "files": {
            "type": "object",
            "additionalProperties": False,
            "required": [NETWORK, KERNELS, WEIGHTS],
            "properties": dict.fromkeys((NETWORK, KERNELS, WEIGHTS), _SHA256),
        },
        "inputs": _VALUES,
        "outputs": _VALUES,
        "metadata": {
            "type": "object",
            "maxProperties": 100,
            "additionalProperties": {"type": "string", "maxLength": 1 << 16},
        },
    },
}
"""Of the description: `flags` of the processor that the code needs, as Linux calls them; `files` by
name in the processor's folder; values with their axes, null where free."""


def write_library(
    network: StaticNetwork,
    graph: onnx.ModelProto,
    folder: Path,
    others: Sequence[StaticNetwork] = (),
) -> None:
    """Write what `build_package` takes as the model: the library, described for each processor.

    Args:
        network: Compiled for this machine's processor, of the prefix nasc.
        graph: The same network as `nasc.export.onnx.build` gives it with free axes.
        folder: Is made.
        others: The same, compiled for others.

    Raises:
        PackageError: If the library cannot be written.
        OSError: If a description cannot be.
    """
    write_c_folder([network, *others], folder)
    for one in (network, *others):
        path = folder / (MODEL if one is network else described(one.arch))
        path.write_text(_describe(one, graph, folder), encoding="utf-8", newline="\n")


def described(arch: str) -> str:
    """Name of the description of code for another processor than the one that wrote it."""
    return f"network.{arch}.json"


def _describe(network: StaticNetwork, graph: onnx.ModelProto, folder: Path) -> str:
    own = folder / network.arch
    interface = Interface.of(graph)
    metadata = interface.metadata | {"nasc.max_positions": str(network.programs[-1].length)}
    about = {
        "format": FORMAT,
        "arch": network.arch,
        "flags": list(network.features),
        "files": {name: _sha256(own / name) for name in (NETWORK, KERNELS, WEIGHTS)},
        "inputs": interface.inputs,
        "outputs": interface.outputs[:1],
        "metadata": metadata,
    }
    return json.dumps(about, indent=1) + "\n"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


write_model = as_it_is
load_lines = precision_note = other_libraries = other_languages = no_text
"""See `PackageFormat`: Python does not load it."""


def own_usage(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    arch = next((name.partition("/")[0] for name in OPTIONAL_FILES if name in manifest.files), "")
    example = QUERY if manifest.query_only else "A man is playing a guitar."
    text = shlex.quote(manifest.prompts.before + example)
    return f"""\
With CMake and a C compiler, nothing else. Texts in, one a line, and a line of numbers out:

```sh
cmake -S . -B ../build && cmake --build ../build
echo {text} | ../build/nasc_embed_text {arch}/{WEIGHTS} {TABLES}
```

In an app's CMake file: `add_subdirectory(THIS_FOLDER nasc)` and
`target_link_libraries(app PRIVATE nasc)`; `nasc.h` (token ids in, vectors out) and `tokenizer.h`
(texts in, token ids out) say the rest, {DEMO} and embed_text.c show it. Texts are cut to
{manifest.max_length} tokens. `{arch}/{KERNELS}` is machine code for the processors that `{MODEL}`
names: to link it is to run it. It calls the C library, libm and POSIX threads, no runtime.

`{TOKENIZER_GOLDEN}` holds texts with the tokens that Hugging Face's tokenizers gives for them: what
any port of the tokenizer has to reproduce.

**The latency of this folder was not measured**, that of the package beside it was. Parity and
conformance are of its own code. So are figures of quality, unless its vectors of the golden texts
are those of that package, to {AGREEMENT:g}: then they are that package's.
"""


def check_ready(name: str) -> None:
    """See `PackageFormat`: TVM is needed, and what links and builds its code.

    Raises:
        UsageError: If TVM or ziglang is missing.
        profilers.RuntimeMissing: If there is no C compiler.
    """
    from nasc.package import c_program  # which loads numpy

    if importlib.util.find_spec("tvm") is None or importlib.util.find_spec("ziglang") is None:
        raise UsageError(
            f"--format {name} needs TVM, whose compiler makes its kernels, and ziglang, whose "
            "linker cleans the machine code. Install both: pip install -c constraints.txt "
            f"'.[runner,tvm]'; or leave --format {name} out"
        )
    c_program.compiler()


def refusal(arch: str) -> str:
    """See `PackageFormat`."""
    if arch != platform.machine() or arch not in ARCHITECTURES:
        return (
            f"a C folder is checked by running it here, on {platform.machine()}; it would be for "
            f"{arch or 'another processor'}"
        )
    return ""


def write_more(folder: Path, manifest: Manifest) -> None:
    """See `PackageFormat`: the tokenizer's tables and golden texts, of its tokenizer.json."""
    write_tables(folder, TABLES)


def wrong_more(folder: Path, manifest: Manifest) -> list[str]:
    """See `PackageFormat`; the tokenizer's files are held in a process of their own."""
    found = wrong_sources(folder)
    arch = _description(folder / MODEL)["arch"]
    others = [n for n in OPTIONAL_FILES if n in manifest.files and not n.startswith(f"{arch}/")]
    return found + [f"{name}, which {MODEL} does not describe" for name in others]


def wrong_sources(folder: Path) -> list[str]:
    """What of the sources of a library is not as nasc writes it; one phrase each.

    Raises:
        OSError, FileRefused: If one cannot be read.
    """
    found = []
    for name in COPIED:
        known = {hashlib.sha256(copied(name).encode()).hexdigest(), *EARLIER.get(name, ())}
        found_here = hashlib.sha256(read_bytes(folder / name, MAX_PROGRAM_BYTES)).hexdigest()
        if found_here not in known:
            found.append(f"{name} is not as nasc writes it")
    return found


run_more = nothing_run
"""See `PackageFormat`: no program of it is run for a check of its own."""


def inspect(path: Path) -> ModelFile:
    """See `PackageFormat`. Code is read, never linked.

    Raises:
        OSError, FileRefused: If a file cannot be read.
        ValueError: If a file is not the one that the description is of.
    """
    about = _description(path)
    own, limits = path.parent / about["arch"], (MAX_SOURCE_BYTES, MAX_CODE_BYTES, MAX_WEIGHTS_BYTES)
    size_bytes, code = path.stat().st_size, b""
    for name, limit in zip((NETWORK, KERNELS, WEIGHTS), limits, strict=True):
        content = read_bytes(own / name, limit)
        if hashlib.sha256(content).hexdigest() != about["files"][name]:
            raise ValueError(f"{about['arch']}/{name} is not what {path.name} was made with")
        size_bytes += len(content)
        code = content if name == KERNELS else code
    metadata = about["metadata"]
    architecture = metadata.get("nasc.architecture", "")
    return ModelFile(
        architecture=architecture,
        head=metadata.get("nasc.head", ""),
        params=None,
        size_bytes=size_bytes,
        shape=shape_of(value["axes"] for value in about["inputs"]),
        outputs=tuple(value["name"] for value in about["outputs"]),
        computed_in=precision_of(architecture),
        unexpected=tuple(_odd_code(code, about["arch"])),
        not_here=why_not_here(about),
    )


def _odd_code(code: bytes, arch: str) -> Iterator[str]:
    """What an object file is instead of one of 64 bits, relocatable, for a processor."""
    if len(code) < 64 or code[:7] != b"\x7fELF\x02\x01\x01":
        yield f"{KERNELS} that is no object file"
    elif struct.unpack_from("<HH", code, 16) != (1, _MACHINES[arch]):
        yield f"{KERNELS} that is no object file for {arch}"


def _description(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path, MAX_DESCRIPTION_BYTES, _SCHEMA)
    return found


def arch_of(path: Path) -> str:
    """The processor that a description is of.

    Raises:
        OSError, FileRefused: If it cannot be read.
    """
    return str(_description(path)["arch"])


@contextlib.contextmanager
def open_session(path: Path, timeout_s: float | None = None) -> Iterator[EncoderSession]:
    """The library as a program that is built for it, for as long as the block lasts.

    This runs its code.

    Args:
        path: The description.
        timeout_s: Seconds that a run may take; None takes the default.

    Raises:
        profilers.RuntimeMissing: If there is no C compiler here.
        ExportError: If it does not compile, or is for another processor.
        OSError, FileRefused: If a file cannot be read.
    """
    from nasc.package import c_program

    about: Mapping[str, Any] = _description(path)
    with temporary_folder() as place:
        program = c_program.build_program(path.parent, DEMO, about["arch"], place / "embed")
        weights = path.parent / about["arch"] / WEIGHTS
        seconds = c_program.RUN_TIMEOUT_S if timeout_s is None else timeout_s
        yield c_program.ProgramSession(program, weights, about, seconds)


def wrong_tokenizer(folder: Path, tables: str = TABLES) -> list[str]:
    """What of the tokenizer's tables and golden texts is not what tokenizer.json gives.

    Args:
        folder: The package.
        tables: Name of the file of tables in it.

    Raises:
        OSError, FileRefused: If a file cannot be read.
        Exception: If tokenizer.json is none; libraries raise what they like.
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    lines = "".join(golden_lines(tokenizer)).partition("\n")
    stated = read_bytes(folder / TOKENIZER_GOLDEN, 2 * len(lines[2]) + (1 << 16))
    found = []
    if stated.decode("ascii").partition("\n")[2] != lines[2]:  # the header names a version
        found.append(f"{TOKENIZER_GOLDEN} is not what tokenizer.json gives")
    compiled = compile_tokenizer(tokenizer)
    if read_bytes(folder / tables, 2 * len(compiled)) != compiled:
        found.append(f"{tables} is not what tokenizer.json gives")
    return found
