"""Raw samples: what was observed, before any statistic."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from profilers import plain
from profilers.errors import InvalidSetting
from profilers.telemetry import VisitState

MAX_RUNS = 10_000
"""Runs of a visit in a record; a measurement takes 32 at most."""

MAX_ROUNDS = 10_000
"""Rounds and processes of a measurement in a record; the longest measurements take some hundreds.
The bootstrap of the statistic needs memory in proportion."""

_ROUNDING_MS = 2e-6
"""Times are kept to the nanosecond, each rounded by itself."""


class Step(NamedTuple):
    """What a device is asked to run: a loaded model, some times in a row.

    Attributes:
        name: Name of the model to run.
        warmup: Unrecorded runs before the recorded ones.
        runs: Recorded runs after the warm-up; with 0 the step is a mere warm-up, which gives no
            `Visit`.
    """

    name: str
    warmup: int
    runs: int


@dataclass(frozen=True, slots=True)
class Visit:
    """Some runs of one model in a row.

    Attributes:
        name: Name of the model.
        start_s: When the first recorded run began, in seconds of the device's monotonic clock.
        end_s: When the last recorded run ended, in seconds of the device's monotonic clock.
        runs_ms: Wall time of every recorded run in milliseconds (warm-up runs are not recorded).
        own_ms: Time of every recorded run in milliseconds without that in which another process
            held the core: with one thread the processor time, with several the wall time again.
        preempted: How often the system took a core away during each recorded run.
        state: What else the device told around it; None where it told nothing.
    """

    name: str
    start_s: float
    end_s: float
    runs_ms: tuple[float, ...]
    own_ms: tuple[float, ...]
    preempted: tuple[int, ...]
    state: VisitState | None = None

    def __post_init__(self) -> None:
        counts = (len(self.runs_ms), len(self.own_ms), len(self.preempted))
        if not self.runs_ms or len(set(counts)) != 1:
            raise InvalidSetting(
                f"a visit of {self.name!r} holds {counts} wall times, own times and preemption "
                "counts; there must be one of each per run, at least one."
            )

    @property
    def undisturbed(self) -> bool:
        """Whether at least one run kept its core from beginning to end."""
        return min(self.preempted) == 0

    @property
    def median_ms(self) -> float:
        """Median own time of the recorded runs in milliseconds."""
        return statistics.median(self.own_ms)

    def to_list(self) -> list[Any]:
        """Returns [name, start_s, end_s, runs_ms, own_ms, preempted] as plain JSON data.

        The state is left to `Journal`: what is passed on holds a summary of it.
        """
        return [
            self.name,
            self.start_s,
            self.end_s,
            list(self.runs_ms),
            list(self.own_ms),
            list(self.preempted),
        ]

    @classmethod
    def from_list(cls, data: list[Any]) -> Visit:
        """Reads what `to_list` wrote.

        Raises:
            ValueError: A value is missing or wrong, or they contradict each other.
        """
        name, *times = plain.items(data, "a visit", 6, 6)
        return checked_visit(plain.text(name, "the name of a visit"), *times)


def checked_visit(
    name: str,
    start_s: Any,
    end_s: Any,
    runs_ms: Any,
    own_ms: Any,
    preempted: Any,
    state: VisitState | None = None,
) -> Visit:
    """A visit out of what somebody else wrote of it.

    Args:
        name: See `Visit`; as all others, of which anything may come.
        start_s: See there.
        end_s: See there.
        runs_ms: See there.
        own_ms: See there.
        preempted: See there.
        state: See there.

    Raises:
        ValueError: A value is wrong, or they contradict each other.
    """
    start_s, end_s = plain.number(start_s, "start_s"), plain.number(end_s, "end_s")
    visit = Visit(name, start_s, end_s, *_read_runs(runs_ms, own_ms, preempted), state)
    # Beginning and end are kept to the microsecond.
    if end_s - start_s < sum(visit.runs_ms) * 1e-3 * (1 - 1e-6) - 2e-6:
        raise ValueError(
            f"a visit of {name!r} from {start_s} to {end_s} s holds runs of "
            f"{sum(visit.runs_ms):g} ms"
        )
    return visit


@dataclass(frozen=True, slots=True)
class RoundSample:
    """One visit of a model, with the reference around it.

    Attributes:
        round: Number of the round in the measurement, counted from 0.
        instance: Number of the worker process that the visit ran in, counted from 0. A process lays
            out its memory anew, which alone changes speeds a little: rounds of one instance are not
            independent.
        runs_ms: Wall time of every recorded run in milliseconds (warm-up runs are not recorded).
        own_ms: Time of every recorded run in milliseconds without that in which another process
            held the core: with one thread the processor time, with several the wall time again.
        preempted: How often the system took a core away during each recorded run.
        undisturbed: Whether this visit and both references around it had a run that kept its core.
        reference_before_ms: Median own time in milliseconds of the reference's visit just before
            this one.
        reference_after_ms: Median own time in milliseconds of the reference's visit just after this
            one.
    """

    round: int
    instance: int
    runs_ms: tuple[float, ...]
    own_ms: tuple[float, ...]
    preempted: tuple[int, ...]
    undisturbed: bool
    reference_before_ms: float
    reference_after_ms: float

    @property
    def median_ms(self) -> float:
        """Median own time of the recorded runs in milliseconds."""
        return statistics.median(self.own_ms)

    @property
    def reference_ms(self) -> float:
        """Mean time in milliseconds of the reference's visits around this one."""
        return (self.reference_before_ms + self.reference_after_ms) / 2.0

    @property
    def ratio(self) -> float:
        """Duration of the visit in units of the reference as it ran at the same moment."""
        return self.median_ms / self.reference_ms

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON data."""
        return {
            "round": self.round,
            "instance": self.instance,
            "runs_ms": list(self.runs_ms),
            "own_ms": list(self.own_ms),
            "preempted": list(self.preempted),
            "undisturbed": self.undisturbed,
            "reference_before_ms": self.reference_before_ms,
            "reference_after_ms": self.reference_after_ms,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RoundSample:
        """Reads what `to_dict` wrote.

        Raises:
            KeyError, TypeError, ValueError: A value is missing or wrong, or they contradict each
                other.
        """
        data = plain.record(data, "a sample")
        runs_ms, own_ms, preempted = _read_runs(data["runs_ms"], data["own_ms"], data["preempted"])
        sample = cls(
            round=plain.whole(data["round"], "round", 0, MAX_ROUNDS),
            instance=plain.whole(data["instance"], "instance", 0, MAX_ROUNDS),
            runs_ms=runs_ms,
            own_ms=own_ms,
            preempted=preempted,
            undisturbed=plain.flag(data["undisturbed"], "undisturbed"),
            reference_before_ms=plain.number(
                data["reference_before_ms"], "reference_before_ms", above=0
            ),
            reference_after_ms=plain.number(
                data["reference_after_ms"], "reference_after_ms", above=0
            ),
        )
        if sample.undisturbed and min(preempted) > 0:
            raise ValueError("a sample is called undisturbed, but all its runs were preempted")
        return sample


def _read_runs(
    runs_ms: Any, own_ms: Any, preempted: Any
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """The three lists of a visit, checked one by one and against each other."""
    counts = plain.items(preempted, "preempted", MAX_RUNS, 1)
    walls = plain.items(runs_ms, "runs_ms", len(counts), len(counts))
    owns = plain.items(own_ms, "own_ms", len(counts), len(counts))
    wall = tuple(plain.number(run, "runs_ms", above=0) for run in walls)
    own = tuple(plain.number(run, "own_ms", above=0) for run in owns)
    for run, part in zip(wall, own, strict=True):
        if part > run * (1 + 1e-9) + _ROUNDING_MS:
            raise ValueError(f"own_ms = {part} of a run that took runs_ms = {run}")
    return wall, own, tuple(plain.whole(count, "preempted") for count in counts)


def pair_with_reference(
    visits: Sequence[Visit], *, reference: str, round_index: int, instance: int
) -> dict[str, list[RoundSample]]:
    """Gives every visit of a round the reference visits just before and after it.

    Args:
        visits: One round in the order it ran, every model's visits between two of the reference.
        reference: The reference's name.
        round_index: See `RoundSample.round`.
        instance: See `RoundSample.instance`.

    Returns:
        Each model's samples, in order.

    Raises:
        InvalidSetting: A visit is not between two visits of the reference.
    """
    names = [visit.name for visit in visits]
    samples: dict[str, list[RoundSample]] = {}
    for i, visit in enumerate(visits):
        if visit.name == reference:
            continue
        if not 0 < i < len(visits) - 1 or not names[i - 1] == names[i + 1] == reference:
            raise InvalidSetting(
                f"every visit of a round must be between two of the reference {reference!r}; this "
                f"round visits {names}."
            )
        before, after = visits[i - 1], visits[i + 1]
        sample = RoundSample(
            round=round_index,
            instance=instance,
            runs_ms=visit.runs_ms,
            own_ms=visit.own_ms,
            preempted=visit.preempted,
            undisturbed=visit.undisturbed and before.undisturbed and after.undisturbed,
            reference_before_ms=before.median_ms,
            reference_after_ms=after.median_ms,
        )
        samples.setdefault(visit.name, []).append(sample)
    return samples
