"""What a manifest says of where a package comes from and what it holds, a record each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from nasc.errors import PackageError
from nasc.utils.printable import printable

MAX_WORDS = 10_000
"""Characters of a text in a manifest."""


def make_printable(record: Any, *names: str) -> None:
    """Turn the named texts of a frozen record into what a terminal and a README may show."""
    for name in names:
        value = getattr(record, name)
        if value is not None:
            object.__setattr__(record, name, printable(value)[:MAX_WORDS])


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """Most memory that a process held while it loaded and ran the model, in bytes.

    Attributes:
        predicted_bytes: Before the network was built; None where it was not predicted.
        measured_bytes: On the device; None where the device does not tell.
    """

    predicted_bytes: int | None = None
    measured_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class TeacherRecord:
    """Whom the network was trained to follow.

    Attributes:
        name: Short name.
        sha256: Of its weights.
        source: Where it came from.
    """

    name: str
    sha256: str
    source: str

    def __post_init__(self) -> None:
        make_printable(self, "name", "source")


@dataclass(frozen=True, slots=True)
class TextRecord:
    """The text that the network was trained and judged on; the untouched teacher only judged.

    Attributes:
        description: In words.
        sha256: Of the sentences.
    """

    description: str
    sha256: str

    def __post_init__(self) -> None:
        make_printable(self, "description")


@dataclass(frozen=True, slots=True)
class VocabularyRecord:
    """The part of the teacher's vocabulary that a package has.

    Attributes:
        text: That it was cut to, in words.
        sha256: Of the texts.
        tokens: Kept.
        of_tokens: That there were.
        heldout_tokens: Tokens, before the cut, of the tenth of the text that chose nothing.
        changed_tokens: Those of them in words that are read otherwise by what is left.

    Raises:
        PackageError: If the counts contradict each other.
    """

    text: str
    sha256: str
    tokens: int
    of_tokens: int
    heldout_tokens: int
    changed_tokens: int

    def __post_init__(self) -> None:
        make_printable(self, "text")
        if not 0 < self.tokens < self.of_tokens or self.changed_tokens > self.heldout_tokens:
            raise PackageError(f"manifest: counts of the vocabulary contradict each other: {self}")

    def __str__(self) -> str:
        """In words, for people."""
        share = self.changed_tokens / self.heldout_tokens if self.heldout_tokens else 0.0
        return (
            f"{self.tokens:,} of {self.of_tokens:,} tokens, cut to {self.text}; {share:.2%} of the "
            "tokens of its held-out tenth are read otherwise"
        )


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What was trained for the network.

    Attributes:
        distill_steps: Optimizer steps of the network by itself, its part of the halving included;
            0 of the untouched teacher.
        supernet_steps: Of the supernet that was searched; None where none was.
        supernet_text: What that was trained on, in words.
        supernet_operations: Symbols of the operations that it holds.
        trained_steps: Of the training that the network had before, as one that comes trained with
            nasc; None of one that was trained for this package alone.
        trained_text: What that was on, in words; never None where `trained_steps` is not.
    """

    distill_steps: int = 0
    supernet_steps: int | None = None
    supernet_text: str | None = None
    supernet_operations: str | None = None
    trained_steps: int | None = None
    trained_text: str | None = None

    def __post_init__(self) -> None:
        make_printable(self, "supernet_text", "supernet_operations", "trained_text")

    def __str__(self) -> str:
        """In words, for people."""
        text = f"{self.distill_steps:,} steps by itself"
        if self.trained_text is not None:  # packages of before do not say the steps
            steps = "trained" if self.trained_steps is None else f"{self.trained_steps:,} steps"
            before = f"{steps} on {self.trained_text}"
            more = f", then {text}" if self.distill_steps else ""
            text = f"as it comes trained with nasc, {before}{more}"
        if self.supernet_steps is None:
            return text
        text += f"; out of a supernet of {self.supernet_steps:,} steps on {self.supernet_text}"
        if self.supernet_operations is not None:
            text += f", operations {self.supernet_operations}"
        return text


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """The task that a package does.

    Attributes:
        name: As in `nasc.tasks`.
        labels: Names of the classes in the order of the scores; empty of regressions and spans.
        paired: Whether it is about two texts: sentence and sentence, question and passage.
        activation: What a CrossEncoder puts over the scores, out of
            `nasc.architecture.heads.SCORE_ACTIVATIONS`; empty where there is none.
    """

    name: str
    labels: tuple[str, ...] = ()
    paired: bool = False
    activation: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; no activation is left out: manifests of existing packages stay."""
        found = dataclasses.asdict(self) | {"labels": list(self.labels)}
        if not self.activation:
            del found["activation"]
        return found


@dataclass(frozen=True, slots=True)
class FileRecord:
    """A file of the package.

    Attributes:
        sha256: Of its bytes.
        size_bytes: How many.
    """

    sha256: str
    size_bytes: int
