"""A folder with a package of AOTInductor: code that torch compiled, with its weights.

A .pt2 is code. It is described and judged here without being opened as one, which cannot tell what
its code does: only who trusts where a package comes from runs it (docs/packages.md).
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_profiles.reading import opened, read_json
from nasc.package.formats.base import (
    NOT_MEASURED,
    TOKENIZER_TOO,
    ModelFile,
    always_ready,
    as_it_is,
    no_refusal,
    no_session,
    no_text,
    nothing_run,
    nothing_written,
    nothing_wrong,
    precision_of,
    shape_of,
)
from nasc.package.formats.elf import MACHINES
from profilers.runtimes.torch_description import DESCRIPTION, SCHEMA, why_not_here

if TYPE_CHECKING:
    from nasc.package.manifest import Manifest

NAME = "AOTInductor package"
LOWERED_FOR = OPENED_BY = "torch"
MODEL = "model.pt2"
COMPANIONS = ("model.json",)
MORE_FILES = ()
OPTIONAL_FILES = ()
CODE = MODEL
PROGRAMS = ""
VECTORS_ALONE = False
NOT_PROMISED = NOT_MEASURED
NEEDS = "torch, tokenizers and numpy"

TOLERANCE = {"fp32": 1e-4, "tf32": 5e-3, "bf16": 2e-2, "fp16": 5e-3}
"""fp32: rounding on other processors. The others: as of the OpenVINO folder; TF32 has the digits of
fp16."""

PRECISIONS = tuple(TOLERANCE)

MAX_BYTES = 2 << 30
"""What a package may take, as in the other formats."""

MAX_DESCRIPTION_BYTES = 1 << 20

MAX_MEMBERS = 10_000
"""Files in a .pt2: one for each kernel of a GPU at most."""

IMPORT = "import json\n\nimport torch"
RUN = "model(*(torch.from_numpy(x).to(device) for x in (ids, mask))).cpu().numpy()"

_PLACES = re.compile(
    r"(archive_format|archive_version|byteorder|version|\.data/[a-z_]+|\.format/[a-z_]+"
    r"|data/aotinductor/model/[A-Za-z0-9_.-]+\.(so|cpp|json|cubin|o|h|txt))"
)
"""What lies in an archive of torch's with compiled code alone, below its own folder."""

_HEADER = 20
"""Bytes of a library up to the number of its processor (ELF, 64 bits)."""


def load_lines(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    rounding = ""
    if manifest.architecture.precision == "tf32":
        rounding = 'torch.set_float32_matmul_precision("high")  # TF32, as it was measured\n'
    return f"""\
{rounding}device = json.loads(open("{COMPANIONS[0]}", encoding="utf-8").read())["accelerator"]
torch.set_num_threads({manifest.conditions.threads})
model = torch._inductor.aoti_load_package("{MODEL}")
"""


def precision_note(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f"""
`{MODEL}` is code for what `{COMPANIONS[0]}` names, a processor or a GPU, and for one release of
torch: opening it runs it. On a GPU its latency was measured with its kernels replayed as one CUDA
graph, which the lines above do not do: they take longer.
"""


def other_libraries(manifest: Manifest) -> str:
    """See `PackageFormat`."""
    return f"{TOKENIZER_TOO}\n"


other_languages = no_text
own_usage = no_text
write_model = as_it_is
open_session = no_session
refusal = no_refusal
check_ready = always_ready
write_more = nothing_written
wrong_more = nothing_wrong
run_more = nothing_run
"""See `PackageFormat`."""


def inspect(path: Path) -> ModelFile:
    """See `PackageFormat`. The package is read, never opened as one.

    Raises:
        OSError, FileRefused: If a file cannot be read.
        ValueError: If it is none, or not the one that the description is of.
    """
    about: dict[str, Any] = read_json(path.with_suffix(DESCRIPTION), MAX_DESCRIPTION_BYTES, SCHEMA)
    with opened(path, MAX_BYTES) as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != about["package_sha256"]:
            raise ValueError(f"{path.name} is not the package that its description was made with")
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                unexpected = tuple(_foreign(archive, about))
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise ValueError(f"{path.name} is no archive of torch's: {error}") from error
    metadata = about["metadata"]
    architecture = metadata.get("nasc.architecture", "")
    return ModelFile(
        architecture=architecture,
        head=metadata.get("nasc.head", ""),
        params=None,
        size_bytes=size_bytes + path.with_suffix(DESCRIPTION).stat().st_size,
        shape=shape_of(value["axes"] for value in about["inputs"]),
        outputs=tuple(value["name"] for value in about["outputs"]),
        computed_in=precision_of(architecture),
        unexpected=unexpected,
        not_here=why_not_here(about),
    )


def _foreign(archive: zipfile.ZipFile, about: Mapping[str, Any]) -> Iterator[str]:
    """What of an archive nasc does not write."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it holds {len(members):,} files, more than {MAX_MEMBERS:,}")
    names = [member.filename.partition("/")[2] for member in members]
    if len(set(names)) < len(names):
        yield "files of one name"
    for name in names:
        if not _PLACES.fullmatch(name):
            yield f"the file {name[:100]!r}"
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        yield "files that are packed"
    libraries = [member for member in members if member.filename.endswith(".so")]
    if len(libraries) != 1:
        yield f"{len(libraries)} libraries"
    for library in libraries:
        with archive.open(library) as file:
            header = file.read(_HEADER)
        machine = MACHINES.get(int.from_bytes(header[18:20], "little"))
        if header[:5] != b"\x7fELF\x02" or machine != about["arch"]:
            yield f"a library that is not for {about['arch']}"
    if (about["metadata"].get("nasc.architecture", "").endswith("@ tf32")) != about["tf32"]:
        yield "another rounding of products than its precision has"
