"""Prompts: what a model was trained to see before a text, by name.

As config_sentence_transformers.json has them; a text with its prompt is tokenised, cut and pooled
as one text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from device_profiles.reading import shown
from nasc.data.texts import Text
from nasc.errors import UsageError
from nasc.utils.printable import is_printable

MAX_PROMPTS = 256
"""Of a model; instruction models have some dozens, one a task."""

MAX_LENGTH = 10_000
"""Characters of a prompt or of its name."""

QUERY = ("query",)
DOCUMENT = ("document", "passage", "corpus")
"""Names of the prompts of what asks and of what is found, the first that there is: those that
`encode_query` and `encode_document` of sentence-transformers look for."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a model.

    Attributes:
        texts: Names and prompts, in the order of the file.
        default: Name of the one that stands before every text unless another is asked for.

    Raises:
        UsageError: If they are too many too long or no text, or the default is none of them.
    """

    texts: tuple[tuple[str, str], ...] = ()
    default: str | None = None

    def __post_init__(self) -> None:
        if len(self.texts) > MAX_PROMPTS or len(dict(self.texts)) < len(self.texts):
            raise UsageError(f"{len(self.texts)} prompts; up to {MAX_PROMPTS} of different names")
        for name, text in self.texts:
            if max(len(name), len(text)) > MAX_LENGTH:
                raise UsageError(f"a prompt and its name have up to {MAX_LENGTH:,} characters")
            if not all(map(is_printable, name)):
                raise UsageError(f"the name of a prompt holds control characters: {shown(name)}")
            if any("\ud800" <= one <= "\udfff" for one in text):
                raise UsageError(f"the prompt {shown(name)} is no text: it holds half a character")
        if self.default is not None and self.default not in dict(self.texts):
            raise UsageError(f"the default prompt {self.default!r} is none of its prompts")

    @property
    def before(self) -> str:
        """What stands before every text; empty where nothing does."""
        return "" if self.default is None else dict(self.texts)[self.default]

    def for_all(self, names: Sequence[str]) -> Prompts:
        """The same, with the first prompt of some names that there is as the default one.

        Args:
            names: `QUERY` or `DOCUMENT`.
        """
        known = dict(self.texts)
        return replace(self, default=next((name for name in names if name in known), self.default))

    def first_of(self, names: Sequence[str]) -> str:
        """The first prompt of some names that there is, else the default one.

        Args:
            names: `QUERY` or `DOCUMENT`.
        """
        return self.for_all(names).before

    def __bool__(self) -> bool:
        """Whether any prompt changes a text."""
        return any(text for _, text in self.texts)


NO_PROMPTS = Prompts()


def prompted(
    encode: Callable[[list[Text]], _Result], prompt: str
) -> Callable[[Sequence[Text]], _Result]:
    """What encodes texts with a prompt before each of them, or before the first of each pair."""

    def before(text: Text) -> Text:
        return prompt + text if isinstance(text, str) else (prompt + text[0], text[1])

    def encode_prompted(texts: Sequence[Text]) -> _Result:
        return encode([before(text) for text in texts])

    return encode_prompted
