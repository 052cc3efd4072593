"""The two files of a network for torch: a package of AOTInductor, and what is said of it.

Read without torch, and without opening the package.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Collection, Mapping
from typing import Any

from device_profiles import ACCELERATORS, CPU
from profilers.context import read_context
from profilers.errors import DeviceUnreachable
from profilers.model_files import TORCH_PACKAGE
from profilers.nvidia import find_gpu
from profilers.runtimes.described import VALUES

PACKAGE, DESCRIPTION = TORCH_PACKAGE.ending, TORCH_PACKAGE.companion
"""Endings of the two files of a model."""

FORMAT = 1
"""Of the description."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "format",
        "torch",
        "accelerator",
        "capability",
        "arch",
        "flags",
        "tf32",
        "package_sha256",
        "inputs",
        "outputs",
        "tokens",
        "longest",
        "metadata",
    ],
    "properties": {
        "format": {"const": FORMAT},
        "torch": {"type": "string", "pattern": "^[0-9][0-9a-z.]{0,40}$"},
        "accelerator": {"enum": list(ACCELERATORS)},
        "capability": {"type": "string", "pattern": "^([0-9]{1,3}[.][0-9]{1,3})?$"},
        "arch": {"type": "string", "maxLength": 40},
        "flags": {"type": "array", "maxItems": 200, "items": {"type": "string", "maxLength": 40}},
        "tf32": {"type": "boolean"},
        "package_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "inputs": VALUES,
        "outputs": VALUES,
        "tokens": {"type": "integer", "minimum": 1, "maximum": 1 << 31},
        "longest": {"type": "integer", "minimum": 1, "maximum": 1 << 31},
        "metadata": {
            "type": "object",
            "maxProperties": 100,
            "additionalProperties": {"type": "string", "maxLength": 1 << 16},
        },
    },
}
"""Of the description: `torch`, the release that compiled it; `accelerator` that computes it, of a
GPU with the `capability` of its instructions, else empty; `arch` and `flags` of the processor that
its code needs, as Linux calls them; `tf32`, whether products of fp32 are rounded to TF32; values
with their axes, null where free; `tokens`, above all that the first input holds; `longest`, the
most tokens of a text."""

_BF16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}
"""Flags of a processor (as Linux calls them) of which one must be there for bfloat16: elsewhere
torch computes in float32 and rounds."""

_INSTRUCTIONS = (
    *("avx", "amx", "sse", "ssse", "fma", "bmi", "f16c", "movbe", "popcnt", "abm", "adx", "aes"),
    *("vaes", "pclmul", "vpclmul", "gfni", "sha", "movdir", "serialize", "rdpid", "fsgsbase"),
    *("asimd", "sve", "sme2", "smef", "smei", "i8mm", "bf16", "fphp", "fp16", "crc32", "atomics"),
)
"""How flags of a processor begin that compilers make use of where they compile for the processor
that they run on."""


def precisions(flags: Collection[str]) -> tuple[str, ...]:
    """See `Runtime`: what torch computes in on a processor."""
    return ("fp32", "bf16") if _BF16 & set(flags) else ("fp32",)


def release_of(version: str) -> str:
    """A version of torch without the suffix of its build: 2.13.0 of 2.13.0+cpu."""
    return version.partition("+")[0]


def needed_flags(flags: Any) -> list[str]:
    """Of a processor's flags those that code compiled on it may need, ordered."""
    return sorted(flag for flag in flags if flag.startswith(_INSTRUCTIONS))


def why_not_here(about: Mapping[str, Any]) -> str:
    """Why the code of a package cannot run on this machine; empty if it can.

    Args:
        about: Its description.
    """
    lacking = sorted(set(about["flags"]) - set(read_context()["cpu"]["flags"]))
    if about["arch"] != platform.machine() or lacking:
        has = f"{platform.machine()}{' without ' if lacking else ''}{', '.join(lacking)}"
        return (
            f"its code is for a processor of {about['arch']} like the one that it was made on; "
            f"this one is {has}."
        )
    if about["accelerator"] != CPU:
        try:
            here = find_gpu().identity
        except DeviceUnreachable as error:
            return f"its code is for a GPU ({about['accelerator']}): {error.reason}."
        if here["capability"] != about["capability"]:
            return (
                f"its code is for a GPU of compute capability {about['capability']}; this one is a "
                f"{here['name']} of {here['capability']}."
            )
    try:
        release = release_of(importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        return ""  # whoever opens it says so
    if release != about["torch"]:
        return f"it was compiled by torch {about['torch']}; installed is {release}."
    return ""
