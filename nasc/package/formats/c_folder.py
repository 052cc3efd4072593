"""A folder of C: sources, and for each processor machine code and weights. No runtime is needed.

`CMakeLists.txt` in it makes a static library; what it offers is in `nasc.h`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nasc.errors import PackageError
from nasc.lowering.static.program import StaticNetwork
from nasc.lowering.static.source import network_source

SOURCES = Path(__file__).resolve().parent.parent / "c"
"""Of the library: what is the same for every network."""

HEADER = "nasc.h"
COMPILED = (
    "nasc_context.c",
    "nasc_cpu.c",
    "nasc_default.c",
    "nasc_errors.c",
    "nasc_model.c",
    "nasc_team.c",
)
"""Sources of the library, the tokenizer's aside."""

TOKENIZER_COMPILED = (
    "tokenizer.c",
    "tokenizer_normalise.c",
    "tokenizer_open.c",
    "tokenizer_split.c",
    "tokenizer_text.c",
    "tokenizer_words.c",
)
"""Sources of the tokenizer, which are part of the library too."""

DEMO, TEXT_DEMO = "embed.c", "embed_text.c"
"""Demonstrations: of token ids, and of texts."""

COPIED = (
    "CMakeLists.txt",
    HEADER,
    "nasc_cpu.h",
    "nasc_model.h",
    "nasc_network.h",
    "nasc_team.h",
    *COMPILED,
    "nasc_weights.S",
    "tokenizer.h",
    "tokenizer_data.h",
    "tokenizer_steps.h",
    "tokenizer_text.h",
    *TOKENIZER_COMPILED,
    DEMO,
    TEXT_DEMO,
)

NETWORK, KERNELS, WEIGHTS = "nasc_network.c", "kernels.o", "weights.bin"
"""In a folder for each processor, named as `platform.machine` says it."""

_NAME = re.compile(r"(?<![A-Za-z0-9])(nasc|NASC)(?=[_.]|\b)")


def write_c_folder(networks: Sequence[StaticNetwork], folder: Path) -> None:
    """Write the library of a network.

    Args:
        networks: One network, compiled for one processor or several, with one prefix.
        folder: Is made, with the folders above it, where it is missing.

    Raises:
        PackageError: If a processor comes twice or prefixes differ, or the folder cannot be
            written.
    """
    arches = [network.arch for network in networks]
    prefixes = sorted({network.prefix for network in networks})
    if len(set(arches)) != len(arches) or len(prefixes) != 1:
        raise PackageError(
            "a C library is of one network, compiled once for each processor, with one prefix; "
            f"given: {', '.join(f'{n.arch} with {n.prefix}' for n in networks) or 'none'}"
        )
    try:
        for name in COPIED:
            path = folder / renamed(name, prefixes[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(copied(name, prefixes[0]), encoding="utf-8")
        for network in networks:
            own = folder / network.arch
            own.mkdir(parents=True, exist_ok=True)
            (own / renamed(NETWORK, network.prefix)).write_text(network_source(network))
            (own / KERNELS).write_bytes(network.code)
            (own / WEIGHTS).write_bytes(network.weights)
    except OSError as error:
        raise PackageError(
            f"the C library cannot be written to '{folder}': {error.strerror or error}. Make room "
            "there, or name another folder"
        ) from error


def renamed(text: str, prefix: str) -> str:
    """C source or a file's name with the names of a library of another prefix."""
    return _NAME.sub(lambda m: prefix if m[0].islower() else prefix.upper(), text)


def copied(name: str, prefix: str = "nasc") -> str:
    """The text of a file of `COPIED` in a library of a prefix.

    Raises:
        OSError: If nasc's own copy cannot be read.
    """
    return renamed((SOURCES / name).read_text(encoding="utf-8"), prefix)
