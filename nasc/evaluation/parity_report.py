"""What was found of an exported file: how far it is from its network, and whether that is enough.

Data and bounds alone; `nasc.evaluation.parity` makes such reports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from nasc.architecture.space import PRECISIONS
from nasc.errors import UsageError

TORCH_TOLERANCE = 1e-4
"""Largest absolute difference of an fp32 file from torch (the promise of every export)."""

PADDING_TOLERANCE = 1e-5
"""Largest absolute difference of a sentence alone from the same in a padded batch, fp32.

Hidden states and scores exceed 1: both tolerances are relative to the largest value of a
text, where that is above 1. Sentence vectors never are.
"""

MEAN_COSINE = 0.98
"""Least mean cosine of a reduced file's vectors to those of the network in fp32.

Set with the specification of the int8 export (November 2026). For comparison: the
default teacher has 0.994 on STS-B dev with 0.000 loss of Spearman's correlation there; OpenVINO's
bf16 0.9999, its int8 0.999.
"""

NEIGHBOUR_COSINE = 0.97
"""Least cosine of a sentence's reduced vector alone to that of the same sentence in a batch.

The default teacher's least in int8 is 0.987 among batches of 2 to 32 with longer texts (November
2026): two int8 vectors of one sentence, each 0.994 from fp32. Twice that distance is the
bound.
"""

SCORE_DROP = 0.01
"""Most that a task's score (Spearman's correlation, accuracy) may lose to a reduced precision."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an fp32 file is from its network.

    Attributes:
        max_abs_diff: Largest absolute difference from torch, texts alone and in a batch.
        padding_max_abs_diff: The same between a text alone and in a padded batch, both run
            by the file's runtime.
        lengths: Tokens of the texts.
        n_texts: How many there were.
        share: The largest of these differences in parts of what is allowed for its text, which
            grows with values above 1: of hidden states and scores.
    """

    max_abs_diff: float
    padding_max_abs_diff: float
    lengths: tuple[int, ...]
    n_texts: int
    share: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `parity_from_dict` reads them."""
        return {"kind": "fp32"} | dataclasses.asdict(self) | {"lengths": list(self.lengths)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(
            float(raw["max_abs_diff"]),
            float(raw["padding_max_abs_diff"]),
            tuple(int(length) for length in raw["lengths"]),
            int(raw["n_texts"]),
            float(raw["share"]),
        )


@dataclass(frozen=True, slots=True)
class ReducedPrecisionReport:
    """How far a reduced file is from its network in fp32, and what neighbours do to it.

    Attributes:
        precision: That of the file.
        mean_cosine: Of the vectors of held-out texts, each alone in its batch.
        min_cosine: The least of them.
        n_texts: How many there were.
        neighbour_max_abs_diff: Largest absolute difference between a text's vector alone
            and in a batch with others.
        neighbour_min_cosine: Least cosine between the two.
        neighbour_batches: Batch sizes tried.
    """

    precision: str
    mean_cosine: float
    min_cosine: float
    n_texts: int
    neighbour_max_abs_diff: float
    neighbour_min_cosine: float
    neighbour_batches: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `parity_from_dict` reads them."""
        plain = dataclasses.asdict(self) | {"neighbour_batches": list(self.neighbour_batches)}
        return {"kind": plain.pop("precision")} | plain

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Read what `to_dict` gave."""
        return cls(
            str(raw["kind"]),
            float(raw["mean_cosine"]),
            float(raw["min_cosine"]),
            int(raw["n_texts"]),
            float(raw["neighbour_max_abs_diff"]),
            float(raw["neighbour_min_cosine"]),
            tuple(int(size) for size in raw["neighbour_batches"]),
        )


ParityReport = Parity | ReducedPrecisionReport
"""What a package says of its file: exact, or of a reduced precision."""


def parity_from_dict(raw: Mapping[str, Any]) -> ParityReport:
    """Read what either report's `to_dict` gave.

    Raises:
        KeyError, TypeError, ValueError: On anything else.
    """
    kind = raw["kind"]
    if kind not in PRECISIONS:
        raise ValueError(f"no parity report is of kind {kind!r}; known: {', '.join(PRECISIONS)}")
    return Parity.from_dict(raw) if kind == "fp32" else ReducedPrecisionReport.from_dict(raw)


def accept_reduced(
    report: ReducedPrecisionReport,
    *,
    fp32_score: float | None = None,
    reduced_score: float | None = None,
) -> tuple[bool, str]:
    """Whether a file of reduced precision may be shipped in place of the fp32 one.

    Args:
        report: Of `check_reduced`.
        fp32_score: Of the network in fp32 on a task with labels; higher is better.
        reduced_score: Of the reduced file on the same.

    Returns:
        Whether, and the reason in one line either way.

    Raises:
        UsageError: If only one of the scores is given.
    """
    if (fp32_score is None) != (reduced_score is None):
        raise UsageError("accept_reduced needs both scores or none")
    precision = report.precision
    if not report.mean_cosine >= MEAN_COSINE:
        return False, (
            f"mean cosine of {precision} to fp32 vectors is {report.mean_cosine:.4f} on "
            f"{report.n_texts} held-out texts, {MEAN_COSINE} is needed"
        )
    if not report.neighbour_min_cosine >= NEIGHBOUR_COSINE:
        return False, (
            f"neighbours in a batch move vectors in {precision} to cosine "
            f"{report.neighbour_min_cosine:.4f}, {NEIGHBOUR_COSINE} is needed"
        )
    reason = (
        f"mean cosine of {precision} to fp32 vectors {report.mean_cosine:.4f}, "
        f"least with neighbours {report.neighbour_min_cosine:.4f}"
    )
    if fp32_score is not None and reduced_score is not None:
        if not fp32_score - reduced_score <= SCORE_DROP:
            return False, (
                f"{precision} lowers the score from {fp32_score:.4f} to {reduced_score:.4f}, "
                f"at most {SCORE_DROP} is allowed"
            )
        reason += f", score {reduced_score:.4f} against {fp32_score:.4f}"
    return True, reason
