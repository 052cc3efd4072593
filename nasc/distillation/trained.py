"""Networks that were trained by themselves, in one small file; some come with nasc.

Training pays for hours, and nobody waits for hours: of what was trained once those that agree best
are candidates of every compilation for their teacher that they fit
(`nasc.selection.successive_halving`). Stored are bodies
alone, matrices in int8 (`nasc.supernet.compact`): the embedding is the teacher's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from device_profiles.reading import FileRefused, conform
from nasc.architecture.heads import MEAN
from nasc.architecture.layers import layers
from nasc.architecture.space import SearchSpace, space_from_dict, space_to_dict
from nasc.errors import CheckpointError, ExportError, UsageError
from nasc.networks.from_teacher import as_arrays, embedding, head_tensors, is_the_teachers
from nasc.networks.network import Network
from nasc.supernet.checkpoint import read, read_header, write
from nasc.supernet.compact import compressed, expanded
from nasc.teacher import Teacher

FOLDER = Path(__file__).parent / "shipped"

MOST_NETWORKS = 100

_TEXT = {"type": "string", "maxLength": 1000, "pattern": r"^[^\x00-\x1f\x7f]*$"}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["teacher", "space", "networks"],
    "properties": {
        "teacher": {
            "type": "object",
            "required": ["name", "sha256", "pooling"],
            "properties": {"name": _TEXT, "sha256": _TEXT, "pooling": _TEXT},
        },
        "space": {"type": "object"},
        "networks": {
            "type": "array",
            "maxItems": MOST_NETWORKS,
            "items": {
                "type": "object",
                "required": ["architecture", "steps", "text", "recipe", "scores"],
                "properties": {
                    "architecture": _TEXT,
                    "steps": {"type": "integer", "minimum": 1, "maximum": 10**12},
                    "text": _TEXT,
                    "recipe": {"type": "object"},
                    "scores": {"type": "object", "additionalProperties": {"type": "number"}},
                },
            },
        },
    },
}


@dataclass(frozen=True, slots=True)
class TrainedNetwork:
    """A network and how it was trained.

    Attributes:
        network: In fp32, with the head that gives the teacher's vectors.
        steps: Of its training.
        text: What it was trained on, in words.
        recipe: Settings of the training.
        scores: What it was worth then, by name.
    """

    network: Network
    steps: int
    text: str
    recipe: Mapping[str, Any]
    scores: Mapping[str, float]

    @property
    def loss(self) -> float:
        """What its mean cosine to the teacher's lacks of 1; infinite where nobody took it."""
        return 1 - self.scores.get("pooled_cosine", -math.inf)


def write_trained(
    path: Path, teacher: Teacher, space: SearchSpace, networks: Sequence[TrainedNetwork]
) -> None:
    """Store networks; equal ones give the same file bit by bit.

    Args:
        path: The file, which is replaced.
        teacher: Theirs.
        space: That they are architectures of.
        networks: In the order to be stored in.

    Raises:
        CheckpointError: If the file cannot be written.
        UsageError: If one is not of the space.
    """
    tensors: dict[str, torch.Tensor] = {}
    rows = []
    for place, one in enumerate(networks):
        space.check(one.network.architecture)
        for layer, own in enumerate(one.network.tensors):
            for name, value in own.items():
                if not is_the_teachers(name):
                    tensors[f"{place}/{layer}.{name}"] = torch.from_numpy(np.array(value))
        rows.append(
            {
                "architecture": str(one.network.architecture),
                "steps": one.steps,
                "text": one.text,
                "recipe": dict(one.recipe),
                "scores": dict(one.scores),
            }
        )
    about = {
        "teacher": {
            "name": teacher.name,
            "sha256": teacher.sha256,
            "pooling": teacher.pooling.mode,
        },
        "space": space_to_dict(space),
        "networks": rows,
    }
    write(path, compressed(tensors), about)


def read_trained(path: Path, teacher: Teacher) -> tuple[TrainedNetwork, ...]:
    """The networks in a file.

    Args:
        path: Of `write_trained`.
        teacher: Whose embedding they share.

    Raises:
        CheckpointError: If the file is missing, damaged or of another teacher.
    """
    header = _header(path)
    if not _is_of(header, teacher.sha256, teacher.pooling.mode):
        raise CheckpointError(
            f"the networks in {path} were trained from teacher {header['teacher']['name']!r}, not "
            f"from {teacher.name!r}. Give the same --teacher"
        )
    stored = read(path).tensors
    try:
        space = space_from_dict(header["space"])
        values = expanded(stored)
        return tuple(
            _restored(values, place, row, space, teacher)
            for place, row in enumerate(header["networks"])
        )
    except (UsageError, ExportError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"the networks in {path} do not fit what its header says: {error}. Delete the file, or "
            "install nasc again where it came with that"
        ) from error


def shipped_networks(teacher: Teacher) -> tuple[TrainedNetwork, ...]:
    """The trained networks that come with nasc for a teacher; none for most.

    Raises:
        CheckpointError: If a file that comes with nasc is damaged.
    """
    found = _shipped(teacher.sha256, teacher.pooling.mode)
    return () if found is None else read_trained(found[0], teacher)


def shipped_records(teacher_sha256: str, pooling: str = MEAN.mode) -> tuple[Mapping[str, Any], ...]:
    """What is known of the trained networks that come with nasc for a teacher, without weights.

    Args:
        teacher_sha256: `nasc.teacher.Teacher.sha256`.
        pooling: Of the teacher, out of `nasc.architecture.heads.POOLINGS`.

    Returns:
        A row for each: ``architecture``, ``steps``, ``text``, ``recipe``, ``scores``.

    Raises:
        CheckpointError: If a file that comes with nasc is damaged.
    """
    found = _shipped(teacher_sha256, pooling)
    return () if found is None else tuple(found[1]["networks"])


def _shipped(teacher_sha256: str, pooling: str) -> tuple[Path, Mapping[str, Any]] | None:
    """The file that comes with nasc for a teacher, and its header."""
    for path in sorted(FOLDER.glob("*.safetensors")):
        header = _header(path)
        if _is_of(header, teacher_sha256, pooling):
            return path, header
    return None


def _header(path: Path) -> Mapping[str, Any]:
    header = read_header(path)
    try:
        conform(header, _SCHEMA, path)
    except FileRefused as error:
        raise CheckpointError(
            f"{path} holds no trained networks of nasc: it {error.reason}"
        ) from error
    return header


def _is_of(header: Mapping[str, Any], teacher_sha256: str, pooling: str) -> bool:
    of = header["teacher"]
    return (of["sha256"], of["pooling"]) == (teacher_sha256, pooling)


def _restored(
    values: Mapping[str, torch.Tensor],
    place: int,
    row: Mapping[str, Any],
    space: SearchSpace,
    teacher: Teacher,
) -> TrainedNetwork:
    """One network of a file.

    Raises:
        UsageError, ExportError, KeyError, ValueError: If the file does not hold it.
    """
    found: dict[int, dict[str, Any]] = {}
    for name, value in values.items():
        number, _, rest = name.partition("/")
        if number == str(place):
            if not bool(torch.isfinite(value).all()):
                raise ValueError(f"{name} does not hold finite numbers")
            layer, _, kind = rest.partition(".")
            found.setdefault(int(layer), {})[kind] = value.numpy()
    architecture = space.parse(row["architecture"])
    head, geometry = teacher.head(), teacher.geometry
    tensors = [found.get(n, {}) for n in range(len(layers(architecture, space.geometry, head)))]
    of_teacher = as_arrays([embedding(teacher), head_tensors(teacher, head)])
    for own, theirs in zip((tensors[0], tensors[-1]), of_teacher, strict=True):
        own.update({name: value for name, value in theirs.items() if is_the_teachers(name)})
    network = Network(architecture, space.geometry, head, tuple(tensors), geometry.layer_norm_eps)
    return TrainedNetwork(network, row["steps"], row["text"], row["recipe"], row["scores"])
