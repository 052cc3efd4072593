"""Post-processors of a tokenizer.json as templates: which tokens stand around texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nasc.package.tokenizer_normal import refused

TOKEN, TEXT, PAIR = range(3)

Template = list[tuple[int, int, int]]
"""Kind, token, type of each piece; of texts the token is 0."""


def templates(content: Mapping[str, Any] | None) -> tuple[Template, Template]:
    """The templates of a text alone and of a pair.

    Args:
        content: The field post_processor of tokenizer.json.

    Raises:
        PackageError: If it asks for something that is not ported.
    """
    part = "post_processor"
    kind = None if content is None else content["type"]
    if content is not None and kind == "Sequence":
        inner = [one for one in content["processors"] if one["type"] != "ByteLevel"]
        if len(inner) > 1:
            raise refused(part, [one["type"] for one in inner], "one that adds tokens")
        content = inner[0] if inner else None
        kind = None if content is None else content["type"]
    if content is None or kind == "ByteLevel":  # which moves offsets alone
        return [(TEXT, 0, 0)], [(TEXT, 0, 0), (PAIR, 0, 1)]
    if kind == "BertProcessing":
        start, end = (TOKEN, content["cls"][1], 0), (TOKEN, content["sep"][1], 0)
        single = [start, (TEXT, 0, 0), end]
        return single, [*single, (PAIR, 0, 1), (TOKEN, content["sep"][1], 1)]
    if kind == "RobertaProcessing":
        start, end = (TOKEN, content["cls"][1], 0), (TOKEN, content["sep"][1], 0)
        single = [start, (TEXT, 0, 0), end]
        return single, [*single, end, (PAIR, 0, 0), end]
    if kind == "TemplateProcessing":
        return _template(content, "single", 0), _template(content, "pair", 1)
    raise refused(
        f"{part}.type",
        kind,
        "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing",
    )


def _template(content: Mapping[str, Any], name: str, pairs: int) -> Template:
    pieces: Template = []
    for piece in content[name]:
        if "Sequence" in piece:
            sequence = piece["Sequence"]
            pieces.append((PAIR if sequence["id"] == "B" else TEXT, 0, sequence["type_id"]))
        else:
            special = piece["SpecialToken"]
            tokens = content["special_tokens"][special["id"]]["ids"]
            pieces += [(TOKEN, token, special["type_id"]) for token in tokens]
    counts = [sum(kind == wanted for kind, _, _ in pieces) for wanted in (TEXT, PAIR)]
    if counts != [1, pairs] or len(pieces) > 64:
        raise refused(
            f"post_processor.{name}",
            [kind for kind, _, _ in pieces],
            "templates of at most 64 pieces that use each text once",
        )
    return pieces
