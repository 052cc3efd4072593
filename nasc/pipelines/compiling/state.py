"""What a compilation was asked for, and what it knows before its next step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasc.architecture.variant import Variant
from nasc.context.context import RunContext
from nasc.lowering import Artifact
from nasc.networks.network import Network
from nasc.package.measured_latency import MeasuredLatency, PredictedLatency
from nasc.pipelines.options import Options
from nasc.pipelines.result import Attempt
from nasc.selection.problems import NONE_MISSED, Missed
from nasc.selection.successive_halving import TrainedCandidate
from nasc.solver.problem import Limits, Solution


@dataclass(frozen=True, slots=True)
class Compilation:
    """What was asked for, and with what it is made.

    Attributes:
        context: Teacher, text, device, tables and supernet.
        limits: What must hold.
        options: Training, checks and output.
        output: Folder of the package.
    """

    context: RunContext
    limits: Limits
    options: Options
    output: Path

    @property
    def max_length(self) -> int:
        """Tokens that the package cuts texts to."""
        task = self.options.task
        return self.context.max_length if task is None else task.max_length

    @property
    def keeps_own_head(self) -> bool:
        """Whether the package gives scores by the head that the teacher came with."""
        return self.options.task is None and self.context.teacher.output != "embed"


@dataclass(frozen=True, slots=True)
class Rival:
    """A network that is trained to the end once the one that it competes with holds its limits.

    Attributes:
        candidate: As the halving left it.
        score: That its own has to be above then, to take the other one's place.
    """

    candidate: TrainedCandidate
    score: float


@dataclass(frozen=True, slots=True)
class ChosenNetwork:
    """A network to be measured, and what is left to be done to it.

    Attributes:
        network: With its weights.
        runtime: What runs it.
        train_share: Part of the training budget that is left for it; None: it is trained.
        steps: Of distillation that it has had.
        limits: That it was chosen under.
        variants: Of which its own was chosen.
        trained_steps: Of its training before, where it comes trained with nasc.
        trained_text: What that was on, in words.
        compared: Networks that were trained for a while before it was chosen; None where it was
            not searched.
        rival: What may take its place after a training; None: nothing.
    """

    network: Network
    runtime: str
    train_share: float | None
    steps: int = 0
    limits: Limits = field(default_factory=Limits)
    variants: tuple[Variant, ...] = ()
    trained_steps: int | None = None
    trained_text: str | None = None
    compared: tuple[Solution, ...] | None = None
    rival: Rival | None = None

    @property
    def variant(self) -> Variant:
        """Runtime and precision."""
        return Variant(self.runtime, self.network.architecture.precision)

    def __str__(self) -> str:
        return f"{self.network.architecture} by {self.runtime}"


@dataclass(frozen=True, slots=True)
class MeasuredNetwork:
    """An artifact with what was measured on it.

    Attributes:
        chosen: What is in it.
        artifact: The network in the runtime's own form.
        predicted: Latency from the tables.
        rows: Of the table that it was predicted by, see `rows_used`; tables may change after it.
        latency: On the device.
        peak_bytes: Peak memory on the device; None if it was not told.
        params: Weights.
        repetitions_ms: The bound that a repetition may come to, by each measurement of this
            architecture so far that found one, in order. Weights do not change a latency.
    """

    chosen: ChosenNetwork
    artifact: Artifact
    predicted: PredictedLatency
    rows: Mapping[str, Any]
    latency: MeasuredLatency
    peak_bytes: int | None
    params: int
    repetitions_ms: tuple[float, ...]

    @property
    def network(self) -> Network:
        """The network in the file."""
        return self.chosen.network

    @property
    def repetition_ms(self) -> float:
        """The bound that a repetition may come to: geometric mean of the measurements."""
        if not self.repetitions_ms:
            return math.inf
        return math.prod(self.repetitions_ms) ** (1 / len(self.repetitions_ms))


@dataclass(frozen=True, slots=True)
class ShippedNetwork:
    """What goes into a package.

    Attributes:
        chosen: The network.
        artifact: The network in the runtime's own form.
        predicted: Latency from the tables, or estimated.
        rows: See `MeasuredNetwork`.
        latency: On the device; None where it was estimated.
        peak_bytes: Peak memory on the device; None if it was not measured.
    """

    chosen: ChosenNetwork
    artifact: Artifact
    predicted: PredictedLatency
    rows: Mapping[str, Any]
    latency: MeasuredLatency | None
    peak_bytes: int | None

    @classmethod
    def of(cls, measured: MeasuredNetwork) -> ShippedNetwork:
        """What was measured."""
        m = measured
        return cls(m.chosen, m.artifact, m.predicted, m.rows, m.latency, m.peak_bytes)


@dataclass(frozen=True, slots=True)
class State:
    """What a compilation knows before its next step.

    Attributes:
        limits: Searched under: the limits given, tightened where networks missed them.
        allowed: Variants that were not refused.
        variants: Those of them that may win.
        attempts: What was measured, in order.
        fallback: The last network under its limits without room for a repetition, if any.
        bounds: By network and runtime, of each measurement whether the machine was quiet, and the
            bound that a repetition may come to.
        missed: What was measured and did not hold its limits with room for a repetition.
    """

    limits: Limits
    allowed: tuple[Variant, ...]
    variants: tuple[Variant, ...]
    attempts: tuple[Attempt, ...] = ()
    fallback: MeasuredNetwork | None = None
    bounds: Mapping[tuple[str, str], tuple[tuple[bool, float], ...]] = field(default_factory=dict)
    missed: Missed = NONE_MISSED

    def tried(self) -> str:
        """The networks measured so far, for a message."""
        each = "; ".join(f"{a.architecture} by {a.runtime}: {a.note}" for a in self.attempts)
        return f"{len(self.attempts)} measurements of networks, none met the limits ({each})."
