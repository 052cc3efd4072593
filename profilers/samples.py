"""Raw samples: what was observed, before any statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profilers.errors import InvalidSetting


@dataclass(frozen=True, slots=True)
class Visit:
    """Some runs of one model in a row.

    Attributes:
        name: the model.
        start_s: when the first recorded run began, on the device's monotonic clock.
        end_s: when the last one ended.
        runs_ms: wall time of every recorded run (warm-up runs are not recorded).
        own_ms: the same without the time in which another process held the core: with one thread
            its processor time, with several the wall time again.
        preempted: for every run, how often the system took a core away during it.
    """

    name: str
    start_s: float
    end_s: float
    runs_ms: tuple[float, ...]
    own_ms: tuple[float, ...]
    preempted: tuple[int, ...]

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
    def lowest_ms(self) -> float:
        """The lowest own time."""
        return min(self.own_ms)

    def to_list(self) -> list[Any]:
        """Returns [name, start_s, end_s, runs_ms, own_ms, preempted] as plain JSON data."""
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
        """Reads what `to_list` wrote."""
        name, start_s, end_s, runs_ms, own_ms, preempted = data
        return cls(
            str(name),
            float(start_s),
            float(end_s),
            tuple(float(run) for run in runs_ms),
            tuple(float(run) for run in own_ms),
            tuple(int(count) for count in preempted),
        )


@dataclass(frozen=True, slots=True)
class RoundSample:
    """One model's visit in one round, with the reference around it.

    Attributes:
        round: counted from 0 over the whole measurement.
        instance: which worker process it ran in, counted from 0. A process lays out its memory
            anew, which alone changes speeds a little: rounds of one instance are not independent.
        runs_ms: see `Visit`.
        own_ms: see `Visit`.
        preempted: see `Visit`.
        undisturbed: this visit and both references around it had a run that kept its core.
        reference_before_ms: the lowest run of the reference visit before this one.
        reference_after_ms: the same, after.
        reference_ms: the two interpolated at the middle of this visit.
    """

    round: int
    instance: int
    runs_ms: tuple[float, ...]
    own_ms: tuple[float, ...]
    preempted: tuple[int, ...]
    undisturbed: bool
    reference_before_ms: float
    reference_after_ms: float
    reference_ms: float

    @property
    def lowest_ms(self) -> float:
        """See `Visit.lowest_ms`."""
        return min(self.own_ms)

    @property
    def ratio(self) -> float:
        """The visit in units of the reference as it ran at the same moment."""
        return self.lowest_ms / self.reference_ms

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
            "reference_ms": self.reference_ms,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RoundSample:
        """Reads what `to_dict` wrote."""
        return cls(
            round=int(data["round"]),
            instance=int(data["instance"]),
            runs_ms=tuple(float(run) for run in data["runs_ms"]),
            own_ms=tuple(float(run) for run in data["own_ms"]),
            preempted=tuple(int(count) for count in data["preempted"]),
            undisturbed=bool(data["undisturbed"]),
            reference_before_ms=float(data["reference_before_ms"]),
            reference_after_ms=float(data["reference_after_ms"]),
            reference_ms=float(data["reference_ms"]),
        )


def pair_with_reference(
    visits: list[Visit], *, reference: str, round_index: int, instance: int
) -> dict[str, RoundSample]:
    """Gives every visit of a round the reference visits just before and after it.

    Args:
        visits: one round in the order it ran; it begins and ends with the reference.
        reference: the reference's name.
        round_index: see `RoundSample.round`.
        instance: see `RoundSample.instance`.

    Returns:
        A sample per model.

    Raises:
        InvalidSetting: the round does not begin and end with the reference.
    """
    if len(visits) < 2 or visits[0].name != reference or visits[-1].name != reference:
        raise InvalidSetting(
            f"a round must begin and end with the reference {reference!r}; this one visits "
            f"{[visit.name for visit in visits]}."
        )
    samples: dict[str, RoundSample] = {}
    before = visits[0]
    waiting: list[Visit] = []
    for visit in visits[1:]:
        if visit.name != reference:
            waiting.append(visit)
            continue
        for one in waiting:
            span = visit.start_s - before.end_s
            share = ((one.start_s + one.end_s) / 2.0 - before.end_s) / span if span > 0 else 0.5
            share = min(1.0, max(0.0, share))
            samples[one.name] = RoundSample(
                round=round_index,
                instance=instance,
                runs_ms=one.runs_ms,
                own_ms=one.own_ms,
                preempted=one.preempted,
                undisturbed=one.undisturbed and before.undisturbed and visit.undisturbed,
                reference_before_ms=before.lowest_ms,
                reference_after_ms=visit.lowest_ms,
                reference_ms=(1.0 - share) * before.lowest_ms + share * visit.lowest_ms,
            )
        before, waiting = visit, []
    return samples
