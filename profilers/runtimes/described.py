"""What runtimes of compiled code have alike: files with a description, inputs that are checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.reading import FileRefused, read_json, sha256_of
from profilers.errors import ModelRejected

MAX_CODE_BYTES = 8 << 30
"""Of a file of compiled code."""

MAX_DESCRIPTION_BYTES = 1 << 20

VALUES: Mapping[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 8,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "type", "axes"],
        "properties": {
            "name": {"type": "string", "maxLength": 200},
            "type": {"enum": ["float32", "int64"]},
            "axes": {
                "type": "array",
                "maxItems": 8,
                "items": {"type": ["integer", "null"], "minimum": 1, "maximum": 1 << 31},
            },
        },
    },
}
"""Inputs or outputs in the schema of a description; axes are null where free."""

Values = dict[str, tuple[str, list[int | str | None]]]
"""By the name of an input or output, its numpy type name and axes, see `RuntimeSession`."""


def read_description(
    path: Path,
    ending: str,
    schema: Mapping[str, Any],
    digest_key: str,
    why_not_here: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """What lies beside compiled code, once this machine can run it.

    Args:
        path: The code.
        ending: Of the name of its description.
        schema: Of that.
        digest_key: Under which it has the SHA-256 of the code.
        why_not_here: Why the code cannot run here, by its description; empty if it can.

    Raises:
        ModelRejected: If it is missing or damaged, or made for another machine.
    """
    try:
        about: dict[str, Any] = read_json(path.with_suffix(ending), MAX_DESCRIPTION_BYTES, schema)
        digest = sha256_of(path, MAX_CODE_BYTES)
    except (FileRefused, OSError) as error:
        raise ModelRejected(f"its files cannot be read: {error}") from error
    if digest != about[digest_key]:
        raise ModelRejected("it is not the code that was made with its description: damaged.")
    if reason := why_not_here(about):
        raise ModelRejected(f"{reason} Make it anew here.")
    if any(len(value["axes"]) != 2 for value in about["inputs"]):
        raise ModelRejected("its inputs have other axes than a batch and tokens.")
    return about


class InputCache:
    """Inputs that a session has taken; what is given again is not copied again."""

    def __init__(self, names: Iterable[str]) -> None:
        """Nothing was given yet.

        Args:
            names: Of the inputs.
        """
        self._given: dict[str, Any] = dict.fromkeys(names)

    def is_new(self, feeds: Mapping[str, Any]) -> bool:
        """Whether any is another array than before.

        Raises:
            ModelRejected: If they are not those of the model.
        """
        if feeds.keys() != self._given.keys():
            raise ModelRejected(
                f"its inputs are {', '.join(self._given)}; given: {', '.join(feeds) or 'none'}."
            )
        return any(feeds[name] is not given for name, given in self._given.items())

    def keep(self, feeds: Mapping[str, Any] | None) -> None:
        """Remember what was given; None forgets it."""
        self._given = {name: feeds[name] if feeds else None for name in self._given}


def checked(value: Mapping[str, Any], array: Any) -> Any:
    """An input, as its description has it.

    Args:
        value: Its "name", "type" and "axes".
        array: What is given for it.

    Raises:
        ModelRejected: If it is of another type or shape.
    """
    array = np.asarray(array)
    axes = value["axes"]
    fits = array.ndim == len(axes) and all(
        not isinstance(size, int) or size == given
        for size, given in zip(axes, array.shape, strict=True)
    )
    if not fits or str(array.dtype) != value["type"]:
        raise ModelRejected(
            f"the input {value['name']!r} is {value['type']} of shape {axes}; given: {array.dtype} "
            f"of shape {list(array.shape)}."
        )
    return array


def check_tokens(values: Any, arrays: list[Any], tokens: int) -> tuple[int, int]:
    """Refuse what compiled code would read past its tables for.

    Args:
        values: Descriptions of the inputs: of token ids, then of their mask.
        arrays: The inputs, each (batch, seq_len).
        tokens: What ids are below.

    Returns:
        The shape of all.

    Raises:
        ModelRejected: If they are of several shapes, no tokens, or no mask.
    """
    shape = arrays[0].shape
    for value, array in zip(values, arrays, strict=True):
        if array.shape != shape:
            raise ModelRejected(
                f"the input {value['name']!r} is of shape {array.shape}, the first of {shape}."
            )
    if arrays[0].size and not 0 <= arrays[0].min() <= arrays[0].max() < tokens:
        raise ModelRejected(
            f"the input {values[0]['name']!r} holds numbers that are no tokens: they are from 0 to "
            f"{tokens - 1}."
        )
    if any(((array != 0) & (array != 1)).any() for array in arrays[1:]):
        raise ModelRejected(f"the input {values[1]['name']!r} holds something else than 0 and 1.")
    return int(shape[0]), int(shape[1])


def values_of(values: Any) -> Values:
    """Inputs or outputs of a description, as `RuntimeSession` tells them."""
    return {value["name"]: (value["type"], list(value["axes"])) for value in values}


def onnx_values(values: Any) -> Values:
    """Inputs or outputs of an ONNX graph."""
    import onnx

    found = {}
    for value in values:
        kind = value.type.tensor_type
        name = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        axes: list[int | str | None] = [
            # -1 is how some writers say that it is free
            axis.dim_value
            if axis.HasField("dim_value") and axis.dim_value >= 0
            else axis.dim_param or None
            for axis in kind.shape.dim
        ]
        found[value.name] = (name, axes)
    return found
