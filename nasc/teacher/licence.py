"""The licence of a teacher's weights, as its model card states it."""

from __future__ import annotations

import re
from pathlib import Path

from device_profiles.reading import FileRefused, read_text
from nasc.utils.printable import printable

CARD = "README.md"
NOT_STATED = "not stated by its files"
MAX_CARD_BYTES = 1 << 20

_HEAD = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([A-Za-z0-9._+ -]{1,100}?)[\"']?[ \t]*$", re.MULTILINE)


def stated_licence(folder: Path | None) -> str:
    """What the head of a model card says under ``license``; `NOT_STATED` where it says nothing.

    Args:
        folder: Of the teacher's files; None of one that was made in memory.
    """
    if folder is None:
        return NOT_STATED
    try:
        text = read_text(folder / CARD, MAX_CARD_BYTES)
    except (OSError, FileRefused):
        return NOT_STATED
    head = _HEAD.match(text.replace("\r\n", "\n"))
    found = None if head is None else _LICENCE.search(head[1])
    return NOT_STATED if found is None else printable(found[1])
