"""Heads: what a network gives at its end.

``embed``: one vector a text, (batch, hidden). ``hidden``: (batch, seq_len, hidden).
``classify-N``: scores of N classes, or one number (regression), (batch, N). ``spans``: scores of
every token as the first and as the last of an answer, (batch, 2, seq_len).

A vector is the mean over the tokens, scaled to length 1, unless the head's name says otherwise:
``embed-cls`` is the first token's state, ``embed-max-unscaled`` the largest values over the
tokens, their length left as it is. ``hidden-cls`` gives the same as ``hidden``, and says how a
vector is made of it. ``embed-dense128tanh-first64``: behind the pooling a linear layer to 128
numbers with tanh, then length 1, and of that the first 64 numbers. ``scores-cls-dense384tanh-``
``dense2identity-unscaled`` is such a vector too: the scores of two classes, by the teacher's own
head. A teacher's own head may score tokens: ``tokens-dense9identity-unscaled`` gives every token
the scores of nine classes, (batch, seq_len, 9), ``answers-dense2identity-unscaled`` every token
its scores as the first and as the last of an answer, (batch, 2, seq_len) of two outputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nasc.errors import UsageError

HEADS: tuple[str, ...] = ("embed", "hidden")
"""Those that a network has from its teacher; the others come with a task."""

SCORES = "scores"
"""Of a teacher with a head of its own: scores of classes, by the layers behind the pooling."""

TOKENS, ANSWERS = "tokens", "answers"
"""Of a teacher with a head of its own that scores every token: as one of some classes, or as the
first and the last token of the answer to a question."""

MEAN_HEAD = "embed"
"""The mean over the tokens, scaled to length 1."""

SPANS = "spans"

POOLINGS: tuple[str, ...] = ("mean", "cls", "max", "sqrt_len")
"""Over a text's tokens: their mean, the first one, the largest of each value, or their sum over the
root of their number. What sentence-transformers calls mean, cls, max and mean_sqrt_len_tokens."""

DENSE_ACTIVATIONS: tuple[str, ...] = ("identity", "tanh", "relu", "gelu", "sigmoid")
"""Behind a linear layer of a pooled vector; gelu is the exact one."""

MAX_DENSE = 8
"""Linear layers behind the pooling; one is what is met, two at most."""

MAX_SIZE = 1 << 16
"""Numbers of a vector."""

MAX_TOKEN_SCORES = 1 << 20
"""Of a text: classes times tokens, of which a package keeps those of its golden texts."""

MAX_ANSWER_TOKENS = 30
"""Of the longest span that counts as an answer (run_squad.py of Google's BERT)."""

SCORE_ACTIVATIONS = {
    "identity": "torch.nn.modules.linear.Identity",
    "sigmoid": "torch.nn.modules.activation.Sigmoid",
}
"""What sentence-transformers' CrossEncoder puts over scores of pairs, as its files name it. No
graph holds it: scores are the teacher's own."""

_CLASSIFY = re.compile(r"classify-([1-9][0-9]{0,3})")

_DENSE = re.compile(rf"-dense([1-9][0-9]{{0,4}})({'|'.join(DENSE_ACTIVATIONS)})")

_VECTORS = re.compile(
    rf"({'|'.join((*HEADS, SCORES, TOKENS, ANSWERS))})(?:-({'|'.join(POOLINGS[1:])}))?"
    rf"((?:{_DENSE.pattern.replace('(', '(?:')}){{0,{MAX_DENSE}}})(-unscaled)?"
    r"(?:-first([1-9][0-9]{0,4}))?"
)


@dataclass(frozen=True, slots=True)
class DenseShape:
    """A linear layer behind the pooling, with its activation.

    Attributes:
        outputs: Numbers that it gives.
        activation: Out of `DENSE_ACTIVATIONS`.
    """

    outputs: int
    activation: str

    def __post_init__(self) -> None:
        if self.activation not in DENSE_ACTIVATIONS:
            raise UsageError(
                f"unknown activation {self.activation!r} of a vector; known: "
                f"{', '.join(DENSE_ACTIVATIONS)}"
            )
        if not 1 <= self.outputs <= MAX_SIZE:
            raise UsageError(
                f"a linear layer gives 1 to {MAX_SIZE:,} numbers, not {self.outputs:,}"
            )


@dataclass(frozen=True, slots=True)
class Pooling:
    """How the vector of a text is made of the states of its tokens.

    Attributes:
        mode: Out of `POOLINGS`.
        scaled: Whether the vector is scaled to length 1.
        dense: Linear layers between pooling and scaling, in order (Dense of sentence-transformers).
        first: So many of the vector's numbers are kept, the first ones, after the scaling
            (`truncate_dim` of sentence-transformers); None keeps all.
    """

    mode: str = "mean"
    scaled: bool = True
    dense: tuple[DenseShape, ...] = ()
    first: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in POOLINGS:
            raise UsageError(f"unknown pooling {self.mode!r}; known: {', '.join(POOLINGS)}")
        if len(self.dense) > MAX_DENSE:
            raise UsageError(
                f"{len(self.dense)} linear layers behind the pooling, {MAX_DENSE} are the most"
            )
        if self.first is not None and not 1 <= self.first <= MAX_SIZE:
            raise UsageError(f"a vector has 1 to {MAX_SIZE:,} numbers, not {self.first:,}")

    @property
    def plain(self) -> bool:
        """Whether a vector is the pooled states alone: nothing behind them but the scaling."""
        return not self.dense and self.first is None

    @property
    def unit(self) -> bool:
        """Whether vectors have length 1."""
        return self.scaled and self.first is None

    def size(self, hidden: int) -> int:
        """Numbers of a vector.

        Args:
            hidden: The teacher's hidden size.
        """
        whole = self.dense[-1].outputs if self.dense else hidden
        return whole if self.first is None else min(whole, self.first)

    def head(self, output: str = "embed") -> str:
        """The head that gives such vectors, or the states that they are made of.

        Args:
            output: Out of `HEADS`.
        """
        mode = "" if self.mode == "mean" else f"-{self.mode}"
        dense = "".join(f"-dense{one.outputs}{one.activation}" for one in self.dense)
        first = "" if self.first is None else f"-first{self.first}"
        return f"{output}{mode}{dense}{'' if self.scaled else '-unscaled'}{first}"


MEAN = Pooling()


def check_head(head: str) -> None:
    """Raise unless there is such a head.

    Raises:
        UsageError: Naming those that there are.
    """
    if not _VECTORS.fullmatch(head) and head != SPANS and not _CLASSIFY.fullmatch(head):
        poolings = ", ".join(f"embed-{mode}" for mode in POOLINGS[1:])
        raise UsageError(
            f"unknown head {head!r}; known: {', '.join(HEADS)}, {SPANS}, classify-N; of teachers "
            f"with another pooling than the mean {poolings}; each with -denseN and an activation "
            "behind it, -unscaled where vectors keep their length, -firstN where N numbers are kept"
        )


def classify(outputs: int) -> str:
    """The head that gives so many numbers a text."""
    return f"classify-{outputs}"


def is_task_head(head: str) -> bool:
    """Whether a head comes with a task, not from the teacher."""
    return not _VECTORS.fullmatch(head)


def gives_vector(head: str) -> bool:
    """Whether a head gives the vector of a text, whatever its pooling: ``embed``, or ``scores``."""
    return _output(head) in ("embed", SCORES)


def gives_scores(head: str) -> bool:
    """Whether the vector of a text is the scores of classes, by the teacher's own head."""
    return _output(head) == SCORES


def scores_tokens(head: str) -> bool:
    """Whether a head gives scores of every token, by the teacher's own head."""
    return _output(head) in (TOKENS, ANSWERS)


def is_own_head(head: str) -> bool:
    """Whether scores, of texts or of their tokens, are given by the teacher's own head."""
    return gives_scores(head) or scores_tokens(head)


def leaves_own_head(asked: str | None) -> bool:
    """Whether what is asked for has no use for a teacher's own head; None asks for that one."""
    return asked is not None and not is_own_head(asked)


def gives_answers(head: str) -> bool:
    """Whether these are scores as the first and as the last token of an answer."""
    return _output(head) == ANSWERS


def gives_spans(head: str) -> bool:
    """Whether a head's outputs are (batch, 2, seq_len), a task's or the teacher's own."""
    return head == SPANS or gives_answers(head)


def gives_states(head: str) -> bool:
    """Whether a head gives the states of a text's tokens: ``hidden``, whatever its pooling."""
    return _output(head) == "hidden"


def pooling_of(head: str) -> Pooling:
    """How the vector of a text is made; the mean, scaled, of a task's head, which has none."""
    found = _VECTORS.fullmatch(head)
    if found is None:
        return MEAN
    dense = tuple(
        DenseShape(int(outputs), activation) for outputs, activation in _DENSE.findall(found[3])
    )
    return Pooling(found[2] or "mean", not found[4], dense, int(found[5]) if found[5] else None)


def vector_size(head: str, hidden: int) -> int:
    """Numbers of a vector that a head gives, or of a token; the hidden size where it gives states.

    Args:
        head: One of the teacher's own.
        hidden: The teacher's hidden size.
    """
    own = gives_vector(head) or scores_tokens(head)
    return pooling_of(head).size(hidden) if own else hidden


def maps_tokens(head: str, pre_norm: bool = False) -> bool:
    """Whether the map to the teacher's size is of every token, not of the pooled row alone.

    The mean of mapped states is the map of their mean, and the first the map of the first. The
    largest is not, nor a sum over a root, in which the map's bias counts more than once; nor
    where the mapped states are normalised.

    Args:
        head: Of a network.
        pre_norm: See `nasc.architecture.space.Geometry`.
    """
    mode = pooling_of(head).mode
    if gives_states(head) or scores_tokens(head):
        return True
    return gives_vector(head) and (pre_norm or mode in ("max", "sqrt_len"))


def graph_head(head: str) -> str:
    """The head of the same graph: all of ``hidden`` compute the same."""
    return "hidden" if gives_states(head) else head


def head_outputs(head: str) -> int:
    """Numbers that a task's head gives, a text or a token; 0 of the teacher's own heads."""
    if head == SPANS:
        return 2
    found = _CLASSIFY.fullmatch(head)
    return int(found.group(1)) if found else 0


def pooled(head: str) -> bool:
    """Whether a head gives one row a text, not one a token."""
    return gives_vector(head) or head.startswith("classify-")


def _output(head: str) -> str:
    found = _VECTORS.fullmatch(head)
    return found[1] if found else ""
