"""Supernets on disk: one safetensors file with its history in the header.

A file is written beside its place and renamed, so that a reader sees the old one or the
new one and a killed run leaves at most a temporary file, which the next run removes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from device_profiles.reading import FileRefused, conform, opened, parse_json
from nasc.architecture.heads import MEAN
from nasc.architecture.space import Block, SearchSpace, space_from_dict, space_to_dict
from nasc.errors import CheckpointError, UsageError
from nasc.supernet.compact import compressed, expanded
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher
from nasc.utils.files import replacing

FORMAT = 1
"""Version of the header."""

MAX_HEADER_BYTES = 100_000_000
"""What safetensors itself reads of a header at most."""

_COUNT = {"type": "integer", "minimum": 0}
_LOSS = {"type": ["number", "null"]}
_TEXT = {"type": "string", "maxLength": 1000, "pattern": r"^[^\x00-\x1f\x7f]*$"}
_ROW = {
    "type": "object",
    "required": ["block"],
    "properties": {
        "block": _TEXT,
        "bin": {"type": "integer"},
        "params": _COUNT,
        "latency_ms": _LOSS,
        "dev_loss": _LOSS,
    },
}
_ROUND = {
    "type": "object",
    "required": ["position", "bin", "round", "after", "median_loss", "least_loss"],
    "properties": {
        **dict.fromkeys(("position", "bin", "round", "before", "sampled", "after"), _COUNT),
        **dict.fromkeys(("median_loss", "least_loss", "largest_loss"), _LOSS),
    },
}
_SUPERNET_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["teacher", "space", "from_end"],
    "properties": {
        "teacher": {
            "type": "object",
            "required": ["name", "sha256"],
            "properties": {"name": _TEXT, "sha256": _TEXT, "pooling": _TEXT},
        },
        "space": {"type": "object"},
        "from_end": {"type": "array", "items": {"type": "boolean"}},
        "compact": {"type": "boolean"},
        "config": {
            "type": "object",
            "required": ["steps"],
            "properties": {"steps": {**_COUNT, "maximum": 10**12}},
        },
        "text": {
            "type": "object",
            "required": ["description"],
            "properties": {"description": _TEXT, "sha256": _TEXT},
        },
        "history": {"type": "array"},
        "scores": {"type": "object"},
        "shrinking": {
            "type": "object",
            "required": ["left"],
            "properties": {
                "left": {"type": "array", "items": {"type": "array", "items": _ROW}},
                "history": {"type": "array", "items": _ROUND},
                "latency_table": _TEXT,
                "config": {
                    "type": "object",
                    "required": ["bins"],
                    "properties": {"bins": {**_COUNT, "maximum": 127}},
                },
            },
        },
    },
}
"""What a supernet's header holds; `config` and `text` are those of its training."""


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
    text = _plain({"format": FORMAT} | dict(header))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: value.detach().contiguous() for name, value in tensors.items()}
        with replacing(path) as temporary:
            whole = json.loads(text) | {"sha256": _digest(text, contiguous)}
            # One entry: safetensors writes several in an order that differs from run to run.
            safetensors.torch.save_file(contiguous, temporary, {"nasc": _plain(whole)})
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"cannot write checkpoint {path}: {error}. The last one saved is untouched; "
            "free the disk or choose another folder and run the same command to go on"
        ) from error


def read(path: Path) -> Checkpoint:
    """Load what `write` saved.

    Files without a checksum, of earlier releases, are read as they are.

    Raises:
        CheckpointError: If the file is not there, damaged, or of another version.
    """
    text, stored, header = _open_header(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise _unreadable(path, error) from error
    except safetensors.SafetensorError as error:
        raise _damaged(path, error) from error
    if stored is not None and stored != _digest(text, tensors):
        raise _damaged(path, "its content does not match its checksum")
    return Checkpoint(tensors, header)


def read_header(path: Path) -> Mapping[str, Any]:
    """What is known of a checkpoint, without its tensors.

    Raises:
        CheckpointError: If the file is not there, damaged, or of another version.
    """
    return _open_header(path)[2]


def _open_header(path: Path) -> tuple[str, str | None, Mapping[str, Any]]:
    """What the checksum covers of the header, the checksum where there is one, and the header."""
    try:
        with opened(path) as raw:
            size = int.from_bytes(raw.read(8), "little")
            if size > MAX_HEADER_BYTES:
                raise FileRefused(path, f"says that its header holds {size:,} bytes")
        with safetensors.safe_open(path, "pt") as file:
            about = file.metadata() or {}
        header = parse_json(about["nasc"], path, {"type": "object"})
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no checkpoint {path}. Train one: nasc train --output {path}"
        ) from error
    except KeyError as error:
        raise _damaged(path, "it has no header of nasc") from error
    except FileRefused as error:
        raise _damaged(path, f"it {error.reason}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except (safetensors.SafetensorError, ValueError) as error:
        raise _damaged(path, error) from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {header.get('format')}, this version reads {FORMAT}. "
            "Train it again with this version: nasc train"
        )
    if "sha256" in about:  # for two days in November 2026 it stood beside the header
        return about["nasc"], about["sha256"], header
    stored = header.pop("sha256", None)
    return _plain(header), stored, header


def _plain(header: Mapping[str, Any]) -> str:
    """A header as JSON, the same whatever it went through before."""
    return json.dumps(json.loads(json.dumps(header)), sort_keys=True)


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """Checksum of a header and of tensors: names, types, shapes and values."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"cannot read checkpoint {path}: {error.strerror or error}. Name another one, or mend that"
    )


def _damaged(path: Path, reason: Exception | str) -> CheckpointError:
    what = f"checkpoint {path} is damaged or not one of nasc: {reason}. "
    if _is_ours(path):
        return CheckpointError(
            f"{what}Delete it (rm '{path}') and run the command that made it again; a supernet is "
            "made by nasc train"
        )
    return CheckpointError(
        f"{what}Name a supernet that nasc train --output FILE has made. If it is no file of yours "
        "but lies in the cache of nasc, delete it and run the same command again"
    )


def _is_ours(path: Path) -> bool:
    """Whether a file begins as `write` makes it, whatever became of the rest."""
    try:
        with opened(path) as raw:
            begin = raw.read(1000)[8:]
    except (OSError, FileRefused):
        return False
    return re.match(rb'\{"__metadata__":\{("sha256":"[0-9a-f]*",)?"nasc":', begin) is not None


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
        "teacher": _teacher_record(supernet.teacher),
    }
    tensors = supernet.blocks.state_dict()
    if compact:
        left = left_blocks(supernet.space, header)
        if left is not None:
            used = supernet.used_modules(left)
            tensors = {n: t for n, t in tensors.items() if n.rpartition(".")[0] in used}
        tensors, about = compressed(tensors), about | {"compact": True}
    write(path, tensors, about | dict(header))


def _teacher_record(teacher: Teacher) -> dict[str, str]:
    """Whom a supernet follows; its pooling is told where it is not the mean, as it once always was.

    The length of vectors does not matter: losses and scores are of their directions.
    """
    record, mode = {"name": teacher.name, "sha256": teacher.sha256}, teacher.pooling.mode
    return record if mode == MEAN.mode else record | {"pooling": mode}


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
    if not {"teacher", "space", "from_end"} <= header.keys():
        raise CheckpointError(f"checkpoint {path} is no supernet. Train one: nasc train")
    try:
        conform(header, _SUPERNET_SCHEMA, path)
        space = space_from_dict(header["space"])
    except FileRefused as error:
        raise _damaged(path, f"its header {error.reason}") from error
    except UsageError as error:
        raise _damaged(path, f"its search space: {error}") from error
    if len(header["from_end"]) != space.n_blocks:
        raise CheckpointError(
            f"supernet {path} does not fit its own search space: from_end holds "
            f"{len(header['from_end'])} values, not {space.n_blocks}. Take another one, or train "
            "it again: nasc train"
        )
    return header


def shrinking_of(header: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The whole record of a supernet's shrinking; None if it was not shrunk.

    Raises:
        CheckpointError: If the record lacks something.
    """
    if "shrinking" not in header:
        return None
    row = {"type": "object", "required": ["bin", "dev_loss"]}
    whole = {
        "required": ["left", "history", "config"],
        "properties": {"left": {"items": {"items": row}}},
    }
    try:
        conform(header["shrinking"], whole, "the record of shrinking")
    except FileRefused as error:
        raise CheckpointError(
            f"the supernet's record of shrinking {error.reason}. Take another one, or train it "
            "again: nasc train --shrink"
        ) from error
    record: Mapping[str, Any] = header["shrinking"]
    return record


def trained_by(header: Mapping[str, Any]) -> tuple[int, str]:
    """Steps of a supernet's training, and the text that it was trained on, in words.

    Raises:
        CheckpointError: If its header does not say.
    """
    missing = [name for name in ("config", "text") if name not in header]
    if missing:
        raise CheckpointError(
            f"the supernet's header lacks {missing[0]!r}, what it was trained by. Take another "
            "one, or train it again: nasc train"
        )
    return header["config"]["steps"], header["text"]["description"]


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
    tensors = dict(read(path).tensors)
    with torch.device("meta"):  # nothing is allocated before the file has shown that it fits
        supernet = Supernet(_space_of(path, header, teacher), teacher)
    try:
        for block, from_end in zip(supernet.blocks, header["from_end"], strict=True):
            block.from_end = bool(from_end)  # type: ignore[assignment]
        if header.get("compact"):
            left = left_blocks(supernet.space, header)
            if left is not None:
                supernet.drop_unused(left)
            tensors = expanded(tensors)
        for name, value in tensors.items():
            if value.dtype != torch.float32 or not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} does not hold finite float32 numbers")
        supernet.blocks.load_state_dict(tensors, assign=True)
    except (RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"supernet {path} does not fit its own search space: {reason}. "
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
    mode = header["teacher"].get("pooling", MEAN.mode)
    if mode != teacher.pooling.mode:
        raise CheckpointError(
            f"supernet {path} was trained and scored for vectors by the pooling {mode!r}; those of "
            f"{teacher.name!r} are by {teacher.pooling.mode!r}. Train a new one: nasc train; for "
            "nasc compile with --head or --task, which leave a teacher's own head out: nasc train "
            "--head embed"
        )
    return space_from_dict(header["space"])
