"""What a supernet's candidates scored: the input of the search, as a file of plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.reading import FileRefused, conform, read_json
from nasc.architecture.space import Block, SearchSpace, space_from_dict, space_to_dict
from nasc.architecture.variant import Variant
from nasc.errors import CheckpointError, UsageError
from nasc.solver.problem import ScoredBlocks
from nasc.utils.files import write_atomically

FORMAT = 1

SCORED_RUNTIME = "onnxruntime"
"""What networks are run by whose precisions a supernet's scoring tries."""

_LOSS = {"type": "number", "minimum": -1e9, "maximum": 1e9}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["format", "space", "positions", "sensitivity", "precision_loss", "sentences"],
    "properties": {
        "format": {"const": FORMAT},
        "space": {"type": "object"},
        "positions": {
            "type": "array",
            "items": {"type": "object", "minProperties": 1, "additionalProperties": _LOSS},
        },
        "sensitivity": {"type": "array", "items": _LOSS},
        "precision_loss": {"type": "object", "additionalProperties": _LOSS},
        "sentences": {"type": "integer", "minimum": 0},
    },
}


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Dev losses of block candidates, and how they add up to the loss of a network.

    Attributes:
        space: That the blocks are of.
        blocks: Candidates by position.
        losses: By position, (candidates,): squared error over the variance of the target.
        sensitivity: By position: how strongly a block loss shows in the final loss.
        precision_loss: By precision of `SCORED_RUNTIME` what it adds to the final loss.
        sentences: Held-out sentences scored on.
    """

    space: SearchSpace
    blocks: tuple[tuple[Block, ...], ...]
    losses: tuple[NDArray[np.float64], ...]
    sensitivity: tuple[float, ...]
    precision_loss: Mapping[str, float]
    sentences: int

    def known_loss(self, variant: Variant) -> float | None:
        """What a variant adds to the final loss; None where it is not known from the scoring."""
        if variant.precision == "fp32":
            return 0.0
        if variant.runtime != SCORED_RUNTIME:
            return None
        return self.precision_loss.get(variant.precision)

    def positions(self) -> tuple[ScoredBlocks, ...]:
        """Candidates with what each adds to the predicted final loss."""
        return self._weighted(self.sensitivity)

    def uniform_positions(self) -> tuple[ScoredBlocks, ...]:
        """The same as if every position had the mean sensitivity."""
        return self._weighted([float(np.mean(self.sensitivity))] * len(self.losses))

    def unweighted_positions(self) -> tuple[ScoredBlocks, ...]:
        """Candidates with their own losses, whose sum is the paper's loss of a network."""
        return self._weighted([1.0] * len(self.losses))

    def _weighted(self, slopes: Sequence[float]) -> tuple[ScoredBlocks, ...]:
        return tuple(
            ScoredBlocks(blocks, slope * losses)
            for blocks, losses, slope in zip(self.blocks, self.losses, slopes, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `scores_from_dict` reads it."""
        return {
            "format": FORMAT,
            "space": space_to_dict(self.space),
            "sensitivity": list(self.sensitivity),
            "precision_loss": dict(self.precision_loss),
            "sentences": self.sentences,
            "positions": [
                {str(block): float(loss) for block, loss in zip(blocks, losses, strict=True)}
                for blocks, losses in zip(self.blocks, self.losses, strict=True)
            ],
        }

    def save(self, path: Path) -> None:
        """Write as JSON, in one step."""
        write_atomically(path, json.dumps(self.to_dict(), indent=1).encode())


def scores_from_dict(data: Mapping[str, Any]) -> Scores:
    """Scores from plain data.

    Raises:
        FileRefused, ValueError, UsageError: If it describes none.
    """
    conform(data, _SCHEMA, "the scores")
    space = space_from_dict(data["space"])
    found = Scores(
        space,
        tuple(tuple(space.parse_block(text) for text in p) for p in data["positions"]),
        tuple(np.array(list(p.values()), np.float64) for p in data["positions"]),
        tuple(float(s) for s in data["sensitivity"]),
        {str(k): float(v) for k, v in data["precision_loss"].items()},
        int(data["sentences"]),
    )
    if not len(found.losses) == len(found.sensitivity) == space.n_blocks:
        raise ValueError(f"scores of {len(found.losses)} blocks, not of {space.n_blocks}")
    return found


def load_scores(path: Path) -> Scores:
    """Read what `Scores.save` wrote.

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    try:
        return scores_from_dict(read_json(path))
    except (OSError, FileRefused, ValueError, UsageError) as error:
        raise CheckpointError(
            f"scores {path} are missing or damaged: {error}. Delete the file and run the "
            "command again; the supernet beside it is scored anew"
        ) from error
