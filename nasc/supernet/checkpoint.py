"""Supernets on disk: one safetensors file with its history in the header.

A file is written beside its place and renamed, so that a reader sees the old one or the
new one and a killed run leaves at most a temporary file, which the next run removes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from nasc.errors import CheckpointError, UsageError
from nasc.files import replacing
from nasc.space import Block, SearchSpace, space_from_dict, space_to_dict
from nasc.supernet.compact import compressed, expanded
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher

FORMAT = 1
"""Version of the header."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Tensors by name, and what is known of how they came about."""

    tensors: Mapping[str, Tensor]
    header: Mapping[str, Any]


def write(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Save tensors and header in one step.

    Raises:
        CheckpointError: If the folder cannot be written or the disk is full.
    """
    text = json.dumps({"format": FORMAT} | dict(header), sort_keys=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
        with replacing(path) as temporary:
            safetensors.torch.save_file(contiguous, temporary, {"nasc": text})
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"cannot write checkpoint {path}: {error}. The last one saved is untouched; "
            "free the disk or choose another folder and run the same command to go on"
        ) from error


def read(path: Path) -> Checkpoint:
    """Load what `write` saved.

    Raises:
        CheckpointError: If the file is not there, damaged, or of another version.
    """
    header = read_header(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(path, error) from error
    return Checkpoint(tensors, header)


def read_header(path: Path) -> Mapping[str, Any]:
    """What is known of a checkpoint, without its tensors.

    Raises:
        CheckpointError: If the file is not there, damaged, or of another version.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint {path}. Train one: nasc train --output {path}")
    try:
        with safetensors.safe_open(path, "pt") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})["nasc"])
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise _damaged(path, error) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {header.get('format')}, this version reads {FORMAT}. "
            "Train it again with this version: nasc train"
        )
    return header


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} is damaged or not one of nasc: {error}. "
        "Delete it and train again: nasc train"
    )


def save_supernet(
    path: Path, supernet: Supernet, header: Mapping[str, Any], *, compact: bool = False
) -> None:
    """Save a supernet's own weights; the teacher is named by its checksum, not stored.

    Args:
        path: The file.
        supernet: What to save.
        header: Of its training.
        compact: A quarter of the size: only what the blocks that are left use, in int8
            (`nasc.supernet.compact`).

    Raises:
        CheckpointError: If the file cannot be written.
    """
    about: dict[str, Any] = {
        "space": space_to_dict(supernet.space),
        "from_end": [block.from_end for block in supernet.blocks],
        "teacher": {"name": supernet.teacher.name, "sha256": supernet.teacher.sha256},
    }
    tensors = supernet.blocks.state_dict()
    if compact:
        left = left_blocks(supernet.space, header)
        if left is not None:
            used = supernet.used_modules(left)
            tensors = {n: t for n, t in tensors.items() if n.rpartition(".")[0] in used}
        tensors, about = compressed(tensors), about | {"compact": True}
    write(path, tensors, about | dict(header))


def read_space(path: Path, teacher: Teacher) -> SearchSpace:
    """The search space of a supernet, without its weights.

    Raises:
        CheckpointError: If the file is damaged or belongs to another teacher.
    """
    return _space_of(path, read_supernet_header(path), teacher)


def read_supernet_header(path: Path) -> Mapping[str, Any]:
    """What is known of a supernet, without its weights.

    Raises:
        CheckpointError: If the file is missing, damaged or no supernet.
    """
    header = read_header(path)
    known = {"teacher", "space", "from_end"} <= header.keys()
    if not known or not isinstance(header["teacher"], dict) or "sha256" not in header["teacher"]:
        raise CheckpointError(f"checkpoint {path} is no supernet. Train one: nasc train")
    return header


def left_blocks(
    space: SearchSpace, header: Mapping[str, Any]
) -> tuple[tuple[Block, ...], ...] | None:
    """By position what shrinking left of a supernet; None if it was not shrunk.

    Raises:
        CheckpointError: If the header does not fit the space.
    """
    if "shrinking" not in header:
        return None
    try:
        left = tuple(
            tuple(space.parse_block(row["block"]) for row in rows)
            for rows in header["shrinking"]["left"]
        )
        if len(left) != space.n_blocks or not all(left):
            raise ValueError(f"{len(left)} positions, {space.n_blocks} are needed")
    except (UsageError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"what shrinking left of the supernet cannot be read: {error}. Train it again: "
            "nasc train --shrink"
        ) from error
    return left


def load_supernet(path: Path, teacher: Teacher) -> tuple[Supernet, Mapping[str, Any]]:
    """A supernet and its header.

    Raises:
        CheckpointError: If the file is damaged or belongs to another teacher.
    """
    header = read_supernet_header(path)
    checkpoint = read(path)
    supernet = Supernet(_space_of(path, header, teacher), teacher)
    tensors = dict(checkpoint.tensors)
    try:
        for block, from_end in zip(supernet.blocks, header["from_end"], strict=True):
            block.from_end = bool(from_end)  # type: ignore[assignment]
        if header.get("compact"):
            left = left_blocks(supernet.space, header)
            if left is not None:
                supernet.drop_unused(left)
            tensors = expanded(tensors)
        supernet.blocks.load_state_dict(tensors)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"supernet {path} does not fit its own search space: {error}. "
            "Take another one, or train it again: nasc train"
        ) from error
    return supernet, header


def _space_of(path: Path, header: Mapping[str, Any], teacher: Teacher) -> SearchSpace:
    if header["teacher"]["sha256"] != teacher.sha256:
        raise CheckpointError(
            f"supernet {path} was trained from teacher {header['teacher']['name']!r} "
            f"({header['teacher']['sha256'][:12]}), not from {teacher.name!r} "
            f"({teacher.sha256[:12]}). Give the same --teacher, or train a new one: nasc train"
        )
    try:
        return space_from_dict(dict(header["space"]))
    except (UsageError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error
