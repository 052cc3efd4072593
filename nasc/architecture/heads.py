"""Heads: what a network gives at its end.

``embed``: mean pooling and normalisation, (batch, hidden). ``hidden``: (batch, seq_len, hidden).
``classify-N``: scores of N classes, or one number (regression), (batch, N). ``spans``: scores of
every token as the first and as the last of an answer, (batch, 2, seq_len).
"""

from __future__ import annotations

import re

from nasc.errors import UsageError

HEADS: tuple[str, ...] = ("embed", "hidden")
"""Those that a network has from its teacher; the others come with a task."""

SPANS = "spans"

_CLASSIFY = re.compile(r"classify-([1-9][0-9]{0,3})")


def check_head(head: str) -> None:
    """Raise unless there is such a head.

    Raises:
        UsageError: Naming those that there are.
    """
    if head not in (*HEADS, SPANS) and not _CLASSIFY.fullmatch(head):
        raise UsageError(f"unknown head {head!r}; known: {', '.join(HEADS)}, {SPANS}, classify-N")


def classify(outputs: int) -> str:
    """The head that gives so many numbers a text."""
    return f"classify-{outputs}"


def is_task_head(head: str) -> bool:
    """Whether a head comes with a task, not from the teacher."""
    return head not in HEADS


def head_outputs(head: str) -> int:
    """Numbers that a task's head gives, a text or a token; 0 of the teacher's own heads."""
    if head == SPANS:
        return 2
    found = _CLASSIFY.fullmatch(head)
    return int(found.group(1)) if found else 0


def pooled(head: str) -> bool:
    """Whether a head gives one row a text, not one a token."""
    return head == "embed" or head.startswith("classify-")
