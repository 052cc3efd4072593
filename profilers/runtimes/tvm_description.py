"""The two files of a network for TVM: a library, and what its description says of it.

Read without TVM, and without opening the library.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from profilers.context import read_context
from profilers.model_files import TVM_LIBRARY
from profilers.runtimes.described import VALUES

LIBRARY, DESCRIPTION = TVM_LIBRARY.ending, TVM_LIBRARY.companion
"""Endings of the two files of a model."""

FORMAT = 1
"""Of the description."""

SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "format",
        "arch",
        "flags",
        "library_sha256",
        "inputs",
        "outputs",
        "token_axis",
        "tokens",
        "functions",
        "kernels",
        "metadata",
    ],
    "properties": {
        "format": {"const": FORMAT},
        "arch": {"type": "string", "maxLength": 40},
        "flags": {"type": "array", "maxItems": 200, "items": {"type": "string", "maxLength": 40}},
        "library_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        "inputs": VALUES,
        "outputs": VALUES,
        "token_axis": {"type": "object", "additionalProperties": {"enum": [1, 2]}},
        "tokens": {"type": "integer", "minimum": 1, "maximum": 1 << 31},
        "functions": {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "batch", "seq_len"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z0-9_]{1,60}$"},
                    "batch": {"type": "integer", "minimum": 1, "maximum": 1 << 20},
                    "seq_len": {"type": "integer", "minimum": 1, "maximum": 1 << 20},
                },
            },
        },
        "kernels": {
            "type": "object",
            "maxProperties": 1000,
            "propertyNames": {"pattern": "^[a-z0-9_]{1,100}$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["operator", "outputs", "operations", "computed_in"],
                "properties": {
                    "operator": {"type": "string", "pattern": "^[a-z0-9_+]{1,100}$"},
                    "outputs": {"type": "integer", "minimum": 1, "maximum": 16},
                    "operations": {"type": "integer", "minimum": 0, "maximum": 1 << 60},
                    "computed_in": {"enum": ["fp32", "bf16", "int8"]},
                },
            },
        },
        "metadata": {
            "type": "object",
            "maxProperties": 100,
            "additionalProperties": {"type": "string", "maxLength": 1 << 16},
        },
    },
}
"""Of the description: `flags` of the processor that the code needs, as Linux calls them; values
with their axes, null where free; `token_axis` by output, which of its axes is as long as the
text; `tokens`, above all that the first input holds; functions by ascending length; `kernels`,
of those whose values are flat, what they do, how many of their last values are outputs, and the
operations of their products."""


def why_not_here(about: Mapping[str, Any]) -> str:
    """Why this processor cannot run the code of a library; empty if it can.

    Args:
        about: Its description.
    """
    lacking = sorted(set(about["flags"]) - set(read_context()["cpu"]["flags"]))
    if about["arch"] == platform.machine() and not lacking:
        return ""
    needs = f"a processor of {about['arch']} with {', '.join(about['flags'])}"
    has = f"{platform.machine()}{' without ' if lacking else ''}{', '.join(lacking)}"
    return f"its code is for {needs}; this one is {has}."
