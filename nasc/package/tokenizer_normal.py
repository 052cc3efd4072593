"""Normalisers of a tokenizer.json as steps that ports take, or refused by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nasc.errors import PackageError
from nasc.package import tokenizer_tables as tables
from nasc.package.tokenizer_charsmap import read_charsmap


@dataclass(frozen=True, slots=True)
class Map:
    """Each code point becomes a text.

    Attributes:
        texts: Those that become another one.
    """

    texts: tables.Texts


@dataclass(frozen=True, slots=True)
class Reorder:
    """Marks that follow each other, into the order of their classes."""


@dataclass(frozen=True, slots=True)
class Compose:
    """Canonical composition."""


@dataclass(frozen=True, slots=True)
class Precompiled:
    """SentencePiece's table.

    Attributes:
        entries: What becomes of the bytes of a cluster or character that begins so.
    """

    entries: Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Strip:
    """White space at the ends goes.

    Attributes:
        sides: 1 left, 2 right, 3 both.
    """

    sides: int


@dataclass(frozen=True, slots=True)
class JoinSpaces:
    """Two or more spaces become one."""


Step = Map | Reorder | Compose | Precompiled | Strip | JoinSpaces


def refused(part: str, value: object, supported: str) -> PackageError:
    """What a tokenizer.json asks that ports do not do."""
    return PackageError(
        f"tokenizer.json: {part} = {value!r} is not ported; supported are {supported}. Ship a "
        "package whose tokenizer is Hugging Face's own (--format onnx-folder), or change the "
        "tokenizer"
    )


def normaliser_steps(content: Mapping[str, Any] | None, part: str = "normalizer") -> list[Step]:
    """The steps of a normaliser, maps that follow each other as one.

    Args:
        content: The field of tokenizer.json.
        part: Its name, for errors.

    Raises:
        PackageError: If it asks for something that is not ported.
    """
    merged: list[Step] = []
    for step in _steps(content, part):
        last = merged[-1] if merged else None
        if isinstance(step, Map) and isinstance(last, Map):
            merged[-1] = Map(tables.chained(last.texts, step.texts))
        else:
            merged.append(step)
    return [step for step in merged if not isinstance(step, Map) or step.texts]


def _steps(content: Mapping[str, Any] | None, part: str) -> list[Step]:
    if content is None:
        return []
    kind = str(content.get("type"))
    if kind == "Sequence":
        parts = content["normalizers"]
        return [
            step for i, one in enumerate(parts) for step in _steps(one, f"{part}.normalizers[{i}]")
        ]
    if kind not in _BY_TYPE:
        raise refused(f"{part}.type", kind, "Sequence, " + ", ".join(sorted(_BY_TYPE)))
    return _BY_TYPE[kind](content, part)


def _bert(content: Mapping[str, Any], part: str) -> list[Step]:
    lower, accents = content["lowercase"], content["strip_accents"]
    steps: list[Step] = [
        Map(tables.cleaned(content["clean_text"], content["handle_chinese_chars"]))
    ]
    if lower if accents is None else accents:
        steps += [Map(tables.decomposed("NFD")), Reorder(), Map(tables.without_marks())]
    return steps + ([Map(tables.by_name("Lowercase"))] if lower else [])


def _form(content: Mapping[str, Any], part: str) -> list[Step]:
    form = content["type"]
    steps: list[Step] = [Map(tables.decomposed(form.replace("C", "D"))), Reorder()]
    return steps + ([Compose()] if form.endswith("C") else [])


def _by_name(content: Mapping[str, Any], part: str) -> list[Step]:
    return [Map(tables.by_name(content["type"]))]


def _strip(content: Mapping[str, Any], part: str) -> list[Step]:
    sides = content["strip_left"] | content["strip_right"] << 1
    return [Strip(sides)] if sides else []


def _replace(content: Mapping[str, Any], part: str) -> list[Step]:
    pattern, text = content["pattern"], content["content"]
    if pattern == {"Regex": " {2,}"} and text == " ":
        return [JoinSpaces()]
    old = pattern.get("String")
    if old is None or len(old) != 1:
        raise refused(f"{part}.pattern", pattern, "one character, and the expression ' {2,}'")
    if len(text.encode()) > 63:
        raise refused(f"{part}.content", text, "texts of at most 63 bytes")
    return [Map({ord(old): text})]


def _precompiled(content: Mapping[str, Any], part: str) -> list[Step]:
    entries = read_charsmap(content["precompiled_charsmap"], part)
    return [Precompiled(entries)] if entries else []


_BY_TYPE: dict[str, Callable[[Mapping[str, Any], str], list[Step]]] = {
    "BertNormalizer": _bert,
    "Lowercase": _by_name,
    "NFC": _form,
    "NFD": _form,
    "NFKC": _form,
    "NFKD": _form,
    "Nmt": _by_name,
    "Precompiled": _precompiled,
    "Replace": _replace,
    "Strip": _strip,
    "StripAccents": _by_name,
}
