"""What goes into a network: a text, or two that it reads together."""

from __future__ import annotations

from collections.abc import Sequence

Text = str | tuple[str, str]
"""A text, or a pair of texts."""


def columns(texts: Sequence[Text]) -> tuple[list[str], list[str] | None]:
    """First texts and second texts, as tokenizers take them; no second ones of texts alone.

    Args:
        texts: All of one kind.

    Raises:
        ValueError: If some are alone and others pairs.
    """
    pairs = [text for text in texts if not isinstance(text, str)]
    if not pairs:
        return [text for text in texts if isinstance(text, str)], None
    if len(pairs) != len(texts):
        raise ValueError("texts alone and pairs are tokenised apart")
    return [first for first, _ in pairs], [second for _, second in pairs]
