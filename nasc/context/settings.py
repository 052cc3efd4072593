"""The conditions of a search."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from device_profiles import CPU
from nasc.architecture.heads import check_head
from nasc.context.text_source import check_text_source
from nasc.errors import UsageError
from nasc.lowering import PRECISIONS as LOWERED
from nasc.supernet.budget import check_budget
from profilers.jobs import check_sustained

TRAIN_MINUTES = 3.0
"""Default budget of the supernet."""

LEAST_FIXED = 3
"""Tokens of the shortest text: one, between the two special ones."""

SEQ_LEN = 128
"""Tokens of the measured sentence where nothing else is said."""

ESTIMATED_RUNTIME = "onnxruntime"
"""What the constants of an estimate were measured with."""

AUTO = "auto"
"""As a runtime: whichever is best on the device, of those that are installed."""

NOT_BY_AUTO = {CPU: ("torch",)}
"""By accelerator, runtimes that `AUTO` leaves out, which are taken where they are named: on
processors torch is no faster than the others, and compiles every network for its table
(docs/devices.md)."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The conditions of a search.

    Attributes:
        device: Name of a device profile, or the path of one.
        teacher: Folder or hub id; None is the default teacher.
        space: Preset or path; None chooses by the teacher.
        supernet: A trained supernet's file; None takes the one that comes with nasc for the
            teacher, or trains one and keeps it in the cache.
        corpus: Text files, folders, ``datasets:`` ids or names; empty is the text that comes with
            nasc.
        text_column: Column of the corpus that holds the text; None takes the obvious one.
        pairs: A file of pairs of texts in place of the corpus, for teachers that score pairs: see
            `nasc.data.pairs.load_pairs`.
        runtime: What runs networks: a runtime's name, or `AUTO` for whichever is best there; None
            takes the device's default.
        precisions: Allowed ones; None takes those of the space that the runtime computes in.
        seq_len: Tokens of the measured sentence.
        lengths: A file with the lengths of many texts, or the texts: a latency is the mean over
            their mixture, see `nasc.context.read_lengths`. None: all are of `seq_len`.
        batch: Sentences of the measured run.
        fixed_shape: Whether the network takes inputs of this batch and length alone, which some
            runtimes run faster.
        estimate: Whether latencies are estimated from what the device's file states, and nothing is
            measured; everything that is made says so.
        threads: Of the runtime; None takes the device's default.
        head: See `nasc.architecture.heads`; ``embed`` and ``hidden`` have the teacher's pooling,
            without a head of its own. None is the teacher's own, scores where it has such a head.
        train_minutes: Budget of the supernet; None takes `TRAIN_MINUTES`.
        train_steps: Steps of the supernet instead.
        seed: Of everything random.
        cache: Cache folder; None is the user's.
        vocab_from: A file of texts: of the teacher's vocabulary, networks that ship keep what these
            use, and what any text needs. None keeps all of it.
        sustained_minutes: Minutes, 0.1 to 120, that the device is kept under load before it is
            measured; latencies, tables and the package are of that then. None measures it as it is.
        query_only: Whether networks are for queries alone, to find documents by their teacher's
            vectors.
        tuned: Whether TVM's kernels are compiled by tuning records, where there are any.
    """

    device: str = "host"
    teacher: str | None = None
    space: str | None = None
    supernet: Path | None = None
    corpus: tuple[str, ...] = ()
    text_column: str | None = None
    pairs: Path | None = None
    runtime: str | None = None
    precisions: tuple[str, ...] | None = None
    seq_len: int = SEQ_LEN
    lengths: Path | None = None
    batch: int = 1
    fixed_shape: bool = False
    threads: int | None = None
    head: str | None = None
    train_minutes: float | None = None
    train_steps: int | None = None
    seed: int = 0
    cache: Path | None = None
    estimate: bool = False
    sustained_minutes: float | None = None
    tuned: bool = True
    vocab_from: Path | None = None
    query_only: bool = False

    def __post_init__(self) -> None:
        if self.head is not None:
            check_head(self.head)
        if self.sustained_minutes is not None:
            check_sustained(self.sustained_minutes)
            if self.estimate:
                raise UsageError(
                    "--estimate knows nothing of heat: leave --sustained out, or measure: leave "
                    "--estimate out"
                )
        if self.estimate and self.runtime not in (None, ESTIMATED_RUNTIME):
            raise UsageError(
                f"--estimate knows {ESTIMATED_RUNTIME} alone, not --runtime {self.runtime}: its "
                "constants come from networks measured by it"
            )
        if self.runtime not in (None, AUTO, *LOWERED):
            raise UsageError(
                f"unknown runtime {self.runtime!r}; known: {AUTO}, {', '.join(LOWERED)}"
            )
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"a seed must be in [0, {2**32 - 1}], got {self.seed}")
        if self.train_minutes is not None:
            check_budget(self.train_minutes)
        if self.fixed_shape and self.seq_len < LEAST_FIXED:
            raise UsageError(
                f"--fixed-shape with --seq-len {self.seq_len} leaves no room for a text: "
                f"{LEAST_FIXED} or more"
            )
        if self.lengths is not None:
            self._check_lengths()
        check_text_source(self.corpus, self.text_column, self.pairs)
        if self.query_only and (self.pairs is not None or self.head not in (None, "embed")):
            other = "--pairs" if self.pairs is not None else f"--head {self.head}"
            raise UsageError(f"--query-only is about sentence vectors: leave {other} out")
        given = {
            "--supernet": self.supernet,
            "--train-minutes": self.train_minutes,
            "--train-steps": self.train_steps,
        }
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            raise UsageError(
                f"{' and '.join(names)} each say where the supernet is from: give one of them"
            )

    def _check_lengths(self) -> None:
        if self.seq_len != SEQ_LEN:
            raise UsageError(
                f"--lengths {self.lengths} gives a mixture of lengths, --seq-len {self.seq_len} "
                "one: give one of them"
            )
        if self.fixed_shape:
            raise UsageError(
                f"--fixed-shape is for one length, --lengths {self.lengths} gives a mixture: give "
                "one of them"
            )
        if self.batch != 1:
            raise UsageError(
                f"--lengths {self.lengths} counts texts one by one, and a batch is padded to its "
                f"longest: leave --batch {self.batch} out"
            )

    @property
    def shape(self) -> tuple[int, int] | None:
        """(batch, seq_len) of the only input that networks take; None if any."""
        return (self.batch, self.seq_len) if self.fixed_shape else None

    @property
    def has_own_text(self) -> bool:
        """Whether a text was named, rather than the default taken."""
        return bool(self.corpus) or self.pairs is not None

    @property
    def trains_shipped(self) -> bool:
        """Whether networks that come trained are trained as all others are.

        Text that nobody asked for makes them no better (docs/quality.md); another one does, and
        queries alone are what they were not trained for.
        """
        return self.has_own_text or self.query_only

    @property
    def train_seconds(self) -> float | None:
        """Budget of the supernet in seconds; None where its steps are given."""
        if self.train_steps is not None:
            return None
        return 60 * (TRAIN_MINUTES if self.train_minutes is None else self.train_minutes)
