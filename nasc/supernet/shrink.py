"""Progressive shrinking of the supernet (NAS-BERT, Section 3.2.2 and 4.1.1).

The sub-architectures of a block lie in bins of parameters and latency. After some epochs of
training without it, every epoch ends with a round: in every bin some are sampled, their dev
losses taken, and the worse half of them removed, until few are left in each. Only what is left
is sampled for training. Losses come from a callable.

Bins suit large spaces. In a small one a round can remove what is dominated instead, see `UNITS`.

Where the paper is silent: a bin that holds fewer than the sample gives all of them; a round
never leaves fewer than wanted in a bin; kept and skipped blocks, which are not trained, lie in
no bin and stay.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from nasc.architecture.space import Block
from nasc.errors import TrainingDiverged, UsageError
from nasc.supernet.candidates import NO_BIN, Candidates, Floats, Ints, Mask
from nasc.supernet.parallel import ALONE, Parallel
from nasc.supernet.removal import dominated, worst_architectures, worst_operations

_RULES = {
    "architectures": worst_architectures,
    "operations": worst_operations,
    "dominated": dominated,
}

UNITS = tuple(_RULES)
"""What a round removes: the worse sub-architectures of a bin (the paper); operations of a slot with
all sub-architectures that hold them (its ablation); or sub-architectures that `keep` others of
their hidden size, the kept block among them, beat in parameters, number of operations and loss
at once. By the losses of the round, none of these is in one of the `keep` best networks under a
limit on parameters, or on the latency of any device where an operation costs a constant and so
much a parameter: with M and F, where attention costs between half of a feed-forward layer and the
whole. No latency table is needed.
"""

ROUND_SEED = 0x5EED
"""Keeps the samples of rounds apart from the paths of steps, which share the run's seed."""

Evaluate = Callable[[int, Ints], Floats]
"""Dev losses (n,) of the candidates (n,) of a position."""


@dataclass(frozen=True, slots=True)
class ShrinkConfig:
    """How to shrink; the defaults are the paper's.

    Attributes:
        epoch_steps: Optimizer steps that count as an epoch; 0 spreads the rounds over the run.
        warm_epochs: Epochs without a round; from then on there is one at the end of each.
        bins: B, bins of parameters and latency in a block.
        sample: E, sub-architectures evaluated in a bin each round; half of them are removed.
        keep: m, left in each bin at the end.
        dev_batches: Batches of held-out text that a loss is taken on, where there is as much:
            half of the text that is held out judges the package.
        unit: One of `UNITS`.

    Raises:
        UsageError: If a value is out of range.
    """

    epoch_steps: int = 0
    warm_epochs: int = 3
    bins: int = 10
    sample: int = 2000
    keep: int = 10
    dev_batches: int = 5
    unit: str = "architectures"

    def __post_init__(self) -> None:
        least = {
            "epoch_steps": 0,
            "warm_epochs": 0,
            "bins": 1,
            "sample": 2,
            "keep": 1,
            "dev_batches": 1,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UsageError(f"shrinking: {name} must be >= {bound}, got {getattr(self, name)}")
        if self.bins > np.iinfo(np.int8).max:
            raise UsageError(f"shrinking: at most {np.iinfo(np.int8).max} bins, got {self.bins}")
        if self.unit not in UNITS:
            raise UsageError(f"shrinking: unknown unit {self.unit!r}; known: {', '.join(UNITS)}")
        if self.unit == "dominated" and self.bins != 1:
            raise UsageError("shrinking: what is dominated is removed without bins: give --bins 1")


@dataclass(slots=True, eq=False)
class Shrinking:
    """What is left, and how it came about.

    Attributes:
        candidates: Of every block.
        alive: (positions, n) what is still sampled.
        loss: (positions, n) dev loss when it was last taken, NaN where it never was.
        rounds: Taken so far.
        history: A row for every round, position and bin.
    """

    candidates: Candidates
    alive: Mask
    loss: NDArray[np.float32]
    rounds: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def begin(cls, candidates: Candidates, positions: int) -> Shrinking:
        """Everything that lies in a bin, kept and skipped blocks included."""
        n = len(candidates.blocks)
        alive = np.tile((candidates.bin != NO_BIN) | candidates.fixed, (positions, 1))
        return cls(candidates, alive, np.full((positions, n), np.nan, np.float32))

    def record(self) -> dict[str, Any]:
        """What is left of every position and the history, as plain data for a file's header."""
        table = self.table()
        for name in ("dev_loss", "latency_ms"):
            table[name] = table[name].astype(object).where(table[name].notna(), None)
        rows = {p: part.drop(columns="position") for p, part in table.groupby("position")}
        return {
            "left": [rows[p].to_dict("records") for p in range(self.positions)],
            "history": self.history,
        }

    @property
    def positions(self) -> int:
        """Blocks of a network."""
        return len(self.alive)

    def trained(self, position: int) -> Ints:
        """Candidates of a position that are left and trained."""
        return np.flatnonzero(self.alive[position] & (self.candidates.bin != NO_BIN))

    def left(self, position: int) -> Ints:
        """(bins,) how many are left in each bin of a position."""
        return self.candidates.count(self.trained(position))

    def is_done(self, config: ShrinkConfig) -> bool:
        """Whether no bin of any position holds more than are to be kept, or no round is left."""
        if config.unit == "dominated":
            everything = np.arange(len(self.candidates.blocks))
            return self.rounds >= rounds_needed(self.candidates.count(everything), config)
        return all(int(self.left(p).max()) <= config.keep for p in range(self.positions))

    def blocks(self, position: int) -> list[Block]:
        """The blocks left at a position, kept and skipped ones included."""
        return [self.candidates.blocks[i] for i in np.flatnonzero(self.alive[position])]

    def table(self) -> pd.DataFrame:
        """What is left: position, block, bin, params, latency_ms, dev_loss; NaN is not known."""
        c = self.candidates
        rows = [
            (p, str(c.blocks[i]), int(c.bin[i]), int(c.params[i]), float(c.latency_ms[i]), loss)
            for p in range(self.positions)
            for i in np.flatnonzero(self.alive[p])
            for loss in (float(self.loss[p, i]),)
        ]
        names = ["position", "block", "bin", "params", "latency_ms", "dev_loss"]
        return pd.DataFrame(rows, columns=names)

    def restore(
        self,
        alive: NDArray[Any],
        loss: NDArray[Any],
        rounds: int,
        history: Sequence[Mapping[str, Any]],
    ) -> None:
        """Go on where these were taken.

        Args:
            alive: (positions, candidates), which are still trained.
            loss: (positions, candidates), the last that was found.
            rounds: So far.
            history: What each did, as plain data.

        Raises:
            ValueError: If they are of other candidates.
        """
        if alive.shape != self.alive.shape or loss.shape != self.loss.shape:
            raise ValueError(
                f"shrinking of {alive.shape} and {loss.shape} candidates, not {self.alive.shape}"
            )
        self.alive, self.loss = alive.astype(np.bool_), loss.astype(np.float32)
        self.rounds, self.history = int(rounds), [dict(row) for row in history]


class Shrinker:
    """Shrinking within a training: when a round is due, and which paths are left.

    Attributes:
        config: How.
        state: What is left.
    """

    def __init__(self, config: ShrinkConfig, state: Shrinking, evaluate: Evaluate) -> None:
        """Begin, or go on with a state.

        Args:
            config: How.
            state: Changed in place.
            evaluate: The dev losses, with the supernet's present weights.
        """
        self.config, self.state = config, state
        self._evaluate = evaluate
        self._trained = [state.trained(p) for p in range(state.positions)]

    def is_due(self, step: int) -> bool:
        """Whether a round comes before a step."""
        wanted = step // self.config.epoch_steps - self.config.warm_epochs
        return self.state.rounds < wanted and not self.state.is_done(self.config)

    def shrink(self, seed: int, parallel: Parallel = ALONE) -> None:
        """Take the next round, together with all processes.

        Raises:
            TrainingDiverged: If a loss is not finite.
        """
        rng = np.random.default_rng((seed, ROUND_SEED, self.state.rounds))
        shrink(self.state, self.config, self._evaluate, rng, parallel)
        self._trained = [self.state.trained(p) for p in range(self.state.positions)]

    def sample(self, position: int, rng: np.random.Generator) -> Block:
        """One of the sub-architectures left, all alike."""
        return self.state.candidates.blocks[int(rng.choice(self._trained[position]))]

    def to_tensors(self) -> dict[str, NDArray[Any]]:
        """See `nasc.supernet.run_state.Savable`."""
        return {"alive": self.state.alive, "loss": self.state.loss}

    def to_header(self) -> dict[str, Any]:
        """See `nasc.supernet.run_state.Savable`."""
        return {"rounds": self.state.rounds, "history": self.state.history}

    def restore(self, tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> None:
        """See `nasc.supernet.run_state.Savable`."""
        self.state.restore(tensors["alive"], tensors["loss"], header["rounds"], header["history"])
        self._trained = [self.state.trained(p) for p in range(self.state.positions)]


def shrink(
    state: Shrinking,
    config: ShrinkConfig,
    evaluate: Evaluate,
    rng: np.random.Generator,
    parallel: Parallel = ALONE,
) -> None:
    """One round in every bin of every position.

    Args:
        state: Changed in place, when all losses are known.
        config: How.
        evaluate: The dev losses.
        rng: Of the samples.
        parallel: Each process evaluates positions of its own.

    Raises:
        TrainingDiverged: If a loss is not finite; the state then is as it was.
    """
    alive, loss, rows = state.alive.copy(), state.loss.copy(), []
    samples = [_sample(state, position, config, rng) for position in range(state.positions)]

    def losses(position: int) -> Floats:
        sampled = samples[position]
        return np.asarray(evaluate(position, sampled) if len(sampled) else [], np.float64)

    evaluated = parallel.map(losses, range(state.positions))
    for position, (sampled, found) in enumerate(zip(samples, evaluated, strict=True)):
        if not len(sampled):
            continue
        before = state.left(position)
        bad = np.flatnonzero(~np.isfinite(found))
        if bad.size:
            raise TrainingDiverged(
                f"the dev loss of block {position + 1}, "
                f"'{state.candidates.blocks[sampled[bad[0]]]}', is not finite. The state saved "
                "last is kept; try a lower rate: nasc train --learning-rate"
            )
        loss[position, sampled] = found
        given = state.candidates, state.trained(position), sampled, found, config.keep
        gone = _RULES[config.unit](*given)
        if config.unit == "operations" and not len(gone):
            gone = worst_architectures(*given)
        alive[position, gone] = False
        rows += _rows(state, position, sampled, found, before, alive[position])
    state.alive, state.loss = alive, loss
    state.rounds += 1
    state.history += [{"round": state.rounds} | row for row in rows]


def _sample(
    state: Shrinking, position: int, config: ShrinkConfig, rng: np.random.Generator
) -> Ints:
    """Candidates to be evaluated: some of every bin that holds more than are kept."""
    trained = state.trained(position)
    bins = state.candidates.bin[trained]
    parts = []
    for b in range(config.bins):
        members = trained[bins == b]
        if len(members) > config.keep:
            parts.append(rng.choice(members, min(config.sample, len(members)), replace=False))
    return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.int64)


def _rows(
    state: Shrinking, position: int, sampled: Ints, loss: Floats, before: Ints, alive: Mask
) -> list[dict[str, Any]]:
    bins = state.candidates.bin
    after = np.bincount(bins[alive & (bins != NO_BIN)], minlength=len(before))
    rows = []
    for b in np.unique(bins[sampled]):
        own = loss[bins[sampled] == b]
        rows.append(
            {
                "position": position,
                "bin": int(b),
                "before": int(before[b]),
                "sampled": len(own),
                "after": int(after[b]),
                "least_loss": float(own.min()),
                "median_loss": float(np.median(own)),
                "largest_loss": float(own.max()),
            }
        )
    return rows


def spread(config: ShrinkConfig, state: Shrinking, steps: int) -> ShrinkConfig:
    """The configuration with the length of an epoch decided for a run of some steps.

    The last of the epochs trains what is left after the last round.
    """
    if config.epoch_steps:
        return config
    rounds = max(rounds_needed(state.left(p), config) for p in range(state.positions))
    return dataclasses.replace(
        config, epoch_steps=max(1, steps // (config.warm_epochs + rounds + 1))
    )


def rounds_needed(counts: Sequence[int] | Ints, config: ShrinkConfig) -> int:
    """Rounds until no bin holds more than are kept, where architectures are removed.

    Args:
        counts: How many each bin holds at first.
        config: How.
    """
    rounds, n = 0, max((int(c) for c in counts), default=0)
    while n > config.keep:
        n -= max(1, min(min(config.sample, n) // 2, n - config.keep))
        rounds += 1
    return rounds


def empty_bins(record: Mapping[str, Any]) -> list[int]:
    """Bins that held nothing from the start, at any position: a round empties none.

    Args:
        record: Of shrinking, in a supernet's header.
    """
    held = {row["bin"] for rows in record["left"] for row in rows}
    return [b for b in range(record["config"]["bins"]) if b not in held]


def unfinished(record: Mapping[str, Any]) -> str | None:
    """What to tell of a training that ended before its shrinking did; None if all is well.

    Args:
        record: Of shrinking, in a supernet's header.
    """
    config = ShrinkConfig(**record["config"])
    if config.unit == "dominated" and record["history"]:
        return None  # what is left is left, however much
    held = Counter(
        (row["bin"], position)
        for position, rows in enumerate(record["left"])
        for row in rows
        if row["bin"] != NO_BIN
    )
    over = sum(count > config.keep for count in held.values())
    if not over:
        return None
    ((worst, position), count), *_ = held.most_common(1)
    rounds = max((row["round"] for row in record["history"]), default=0)
    rounds += rounds_needed([count], config)
    steps = config.epoch_steps * (config.warm_epochs + rounds + 1)
    return (
        f"shrinking did not reach its end: {over} of {len(held)} bins hold more than {config.keep} "
        f"sub-architectures, bin {worst} of block {position + 1} {count}. Train at least so "
        f"long: nasc train --shrink --epoch-steps {config.epoch_steps} --steps {steps}"
    )
