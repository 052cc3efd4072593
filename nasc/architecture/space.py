"""Search spaces: operations, blocks, architectures and what they cost on paper.

Pure data and arithmetic, no torch. The space is NAS-BERT's (Xu et al., KDD 2021,
arXiv 2105.14444, Table 1 and Section 3.1) for any teacher geometry, with three additions:
a block may stay the teacher's own layers untouched (`Block.kept`), it may be skipped
(identities only, at the teacher's hidden size), and the precision of the network is part
of the architecture.

Where the paper is silent or departed from:

* A SepConv layer holds two depthwise/pointwise pairs: the paper's FLOPs column follows
  from two, its text from one.
* A block whose hidden size is the teacher's needs no map between the two sizes and has
  none. A block of the teacher's own layers is then simply a block of that hidden size,
  and dropping layers of the teacher is part of the space.
* Two maps that meet at a block border are one linear layer in the network.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.reading import FileRefused, conform, read_toml, shown
from nasc.errors import UsageError

OPERATIONS: tuple[str, ...] = ("mha", "ffn", "sep3", "sep5", "sep7")
"""Operations that compute; the identity is what a block is shorter by."""

PRECISIONS: tuple[str, ...] = ("fp32", "tf32", "bf16", "fp16", "int8", "int8-emb4")
"""Number formats that a network may be made in, the truest first. Which of them there are on a
device is up to its runtimes: see `nasc.lowering`. ``tf32`` is fp32 whose products a GPU rounds to
10 bits behind the point; ``int8-emb4`` is int8 with the word embedding in 4 bits."""

SMALLER: Mapping[str, str] = {"int8-emb4": "int8"}
"""Precisions that differ from another one in what they store alone, with that other one: smaller,
less true, computed alike."""

GELU = "gelu"

ACTIVATIONS: tuple[str, ...] = (GELU, "gelu_tanh", "relu")
"""Of feed-forward layers: the exact GELU, its approximation by tanh (Hendrycks and Gimpel, 2016,
arXiv 1606.08415), and max(x, 0)."""

_ALL_STORED = ["fp32", "int8"]
"""What stands for all precisions in stored spaces: the two that there were when the form of
supernets, scores and tables was made, which are found by it."""

MAX_BLOCKS = 500_000
"""Sub-architectures of a block in a space: all of them are listed in memory. The largest space that
was tried has 97,650 (the paper's)."""

SEPCONV_PAIRS = 2
"""Depthwise/pointwise pairs in one SepConv layer (Table 3 of the paper, FLOPs column)."""

_SYMBOLS = {"mha": "M", "ffn": "F", "sep3": "S3", "sep5": "S5", "sep7": "S7"}
_FROM_SYMBOL = {symbol.lower(): name for name, symbol in _SYMBOLS.items()}


def computed_in(precision: str) -> str:
    """What a runtime computes the products of a network of some precision in."""
    return SMALLER.get(precision, precision)


def kernel_size(operation: str) -> int:
    """Kernel size of a SepConv operation; 0 for the others."""
    return int(operation[3:]) if operation.startswith("sep") else 0


def operations_of_text(text: str) -> tuple[str, ...]:
    """Operations from their symbols, for example ``M F S3``.

    Raises:
        UsageError: On an unknown symbol.
    """
    names = text.lower().split()
    unknown = [name for name in names if name not in _FROM_SYMBOL]
    if unknown:
        raise UsageError(
            f"cannot read operation {unknown[0]!r} in {text!r}; known: "
            f"{', '.join(_SYMBOLS.values())}"
        )
    return tuple(_FROM_SYMBOL[name] for name in names)


_GEOMETRY_MOST: dict[str, int] = {
    "layers": 1_000,
    "hidden": 100_000,
    "head_size": 100_000,
    "intermediate": 1_000_000,
    "vocab_size": 10_000_000,
    "max_positions": 10_000_000,
}


_OPTIONAL_MOST = {"embedding": 100_000, "buckets": 1_000, "separator": 10_000_000}

_FLAGS = ("rotary", "pre_norm", "gated")


@dataclass(frozen=True, slots=True)
class Geometry:
    """The sizes of a teacher that a search space depends on.

    Attributes:
        layers: Transformer layers; each is two operations (MHA, FFN) of a search space.
        hidden: Hidden size.
        head_size: Size of one attention head; students keep it.
        intermediate: Inner size of a feed-forward layer.
        vocab_size: Rows of the word embedding.
        max_positions: Longest input in tokens.
        activation: Of the feed-forward layers, out of `ACTIVATIONS`.
        embedding: Size of the embedding's rows, which a linear layer behind their normalisation
            maps to the hidden size (ELECTRA, ALBERT); None where there is no such layer.
        buckets: Of relative positions, each of which adds a number of every head's own to the
            scores of attention (MPNet); a multiple of 4. None where scores know no positions.
        separator: Token id that ends the first of two texts: tokens behind the first one of it are
            of token type 1. None where all are of type 0.
        rotary: Whether positions are rotations of queries and keys in each layer, and no rows that
            are added to words' (ModernBERT); each layer has its own frequencies, and sees all
            tokens or those of a window.
        pre_norm: Whether a layer normalises what it reads, not what it gives, and the last states
            are normalised behind all layers.
        gated: Whether feed-forward layers multiply what they activate with a second product (GeGLU;
            Shazeer, 2020, arXiv 2002.05202).
    """

    layers: int
    hidden: int
    head_size: int
    intermediate: int
    vocab_size: int
    max_positions: int
    activation: str = GELU
    embedding: int | None = None
    buckets: int | None = None
    separator: int | None = None
    rotary: bool = False
    pre_norm: bool = False
    gated: bool = False

    def __post_init__(self) -> None:
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise UsageError(
                    f"teacher geometry: {name} must be true or false, got "
                    f"{shown(getattr(self, name))}"
                )
        if self.rotary and self.head_size % 2:
            raise UsageError(
                f"teacher geometry: heads of {self.head_size} values cannot be turned in pairs"
            )
        for name, most in (_GEOMETRY_MOST | _OPTIONAL_MOST).items():
            value = getattr(self, name)
            if name in _OPTIONAL_MOST and value is None:
                continue
            least = 0 if name == "separator" else 1
            if type(value) is not int or not least <= value <= most:
                raise UsageError(
                    f"teacher geometry: {name} must be a whole number from {least} to {most:,}, "
                    f"got {shown(value)}"
                )
        if self.activation not in ACTIVATIONS:
            raise UsageError(
                f"teacher geometry: unknown activation {shown(self.activation)}; known: "
                f"{', '.join(ACTIVATIONS)}"
            )
        if self.buckets is not None and self.buckets % 4:
            raise UsageError(
                f"teacher geometry: {self.buckets} buckets of relative positions are no multiple "
                "of 4"
            )
        if self.hidden % self.head_size:
            raise UsageError(
                f"teacher geometry: hidden size {self.hidden} is no multiple of "
                f"the head size {self.head_size}"
            )
        if self.intermediate % (self.hidden // self.head_size):
            raise UsageError(
                f"teacher geometry: intermediate size {self.intermediate} is no multiple of "
                f"the {self.hidden // self.head_size} heads"
            )

    def __str__(self) -> str:
        return (
            f"{self.layers} layers, hidden size {self.hidden}, heads of {self.head_size}, "
            f"inner size {self.intermediate}, {self.vocab_size} words, "
            f"{self.max_positions} positions"
            + ("" if self.activation == GELU else f", activation {self.activation}")
            + ("" if self.embedding is None else f", embedding of {self.embedding}")
            + ("" if self.buckets is None else f", {self.buckets} buckets of relative positions")
            + ("" if self.separator is None else f", token types behind token {self.separator}")
            + (", rotary positions" if self.rotary else "")
            + (", normalised before layers" if self.pre_norm else "")
            + (", gated" if self.gated else "")
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; some are left out at their defaults: hashes of existing files stay."""
        values = dataclasses.asdict(self)
        if self.activation == GELU:
            del values["activation"]
        for name in _OPTIONAL_MOST:
            if values[name] is None:
                del values[name]
        for name in _FLAGS:
            if not values[name]:
                del values[name]
        return values

    def with_words(self, rows: Sequence[int]) -> Geometry:
        """The same sizes with a part of the vocabulary.

        Args:
            rows: Token ids that are kept, in the order of the new ids.

        Raises:
            UsageError: If the separator is none of them.
        """
        separator = self.separator
        if separator is not None:
            if separator not in rows:
                raise UsageError(f"teacher geometry: the separator {separator} must be kept")
            separator = rows.index(separator)
        return dataclasses.replace(self, vocab_size=len(rows), separator=separator)

    @property
    def row_size(self) -> int:
        """Size of the embedding's rows."""
        return self.hidden if self.embedding is None else self.embedding

    def inner(self, hidden: int) -> int:
        """Inner size of a feed-forward layer of some hidden size: the teacher's in proportion.

        Args:
            hidden: A multiple of the head size.
        """
        return self.intermediate * hidden // self.hidden


def operation_symbols(operations: Iterable[str]) -> str:
    """Operations by their symbols, for example ``M F S3``."""
    return " ".join(_SYMBOLS[o] for o in operations)


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One block: a hidden size and the operations in their order, identities left out.

    Attributes:
        hidden: Hidden size of all operations of the block.
        operations: Names out of `OPERATIONS`. Identities are left out, so equal blocks
            compare equal. None at all: the block is skipped.
        kept: The teacher's own layers, never trained.
    """

    hidden: int
    operations: tuple[str, ...]
    kept: bool = False

    def __post_init__(self) -> None:
        if self.hidden < 1:
            raise UsageError(f"block: hidden size must be >= 1, got {self.hidden}")
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise UsageError(
                    f"block: unknown operation {operation!r}; known: {', '.join(OPERATIONS)}"
                )

    @classmethod
    def of(cls, hidden: int, operations: tuple[str, ...] | list[str]) -> Block:
        """Block from operations that may hold identities; these move to the end and vanish."""
        found = tuple(o for o in operations if o != "identity")
        if not found:
            raise UsageError("block: a block of identities only is not part of the space")
        return cls(hidden, found)

    def __str__(self) -> str:
        if self.kept:
            return "keep"
        if not self.operations:
            return "skip"
        return f"{self.hidden}: {operation_symbols(self.operations)}"


@dataclass(frozen=True, slots=True, order=True)
class Architecture:
    """A complete subnet: its blocks from input to output, and its precision."""

    blocks: tuple[Block, ...]
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if not self.blocks:
            raise UsageError("architecture: at least one block is needed")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"architecture: unknown precision {self.precision!r}; "
                f"known: {', '.join(PRECISIONS)}"
            )

    def __str__(self) -> str:
        return " | ".join(str(block) for block in self.blocks) + f" @ {self.precision}"

    @property
    def is_teacher(self) -> bool:
        """Whether every block is the teacher's own."""
        return all(block.kept for block in self.blocks)

    @classmethod
    def whole(cls, geometry: Geometry) -> Architecture:
        """The full-size network of a teacher, in fp32: all of its layers as one block."""
        return cls((Block(geometry.hidden, ("mha", "ffn") * geometry.layers, kept=True),))

    @classmethod
    def narrowed(cls, geometry: Geometry, hidden: int) -> Architecture:
        """All of a teacher's layers at one hidden size, in fp32: one block, in no space of several.

        Args:
            geometry: Of the teacher.
            hidden: Whole heads.
        """
        return cls((Block(hidden, ("mha", "ffn") * geometry.layers),))

    def with_precision(self, precision: str) -> Architecture:
        """The same blocks in another precision."""
        return Architecture(self.blocks, precision)


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Which architectures may be chosen.

    Attributes:
        name: Of the preset or the file.
        geometry: Of the teacher.
        n_blocks: Blocks (N of the paper).
        slots: Operations in a block at most.
        hidden_sizes: Ascending.
        operations: Out of `OPERATIONS`, in that order.
        keep: Whether a block may stay the teacher's own layers.
        skip: Whether a block may be left out, its input passed on.
        precisions: Out of `PRECISIONS`.
    """

    name: str
    geometry: Geometry
    n_blocks: int
    slots: int
    hidden_sizes: tuple[int, ...]
    operations: tuple[str, ...] = OPERATIONS
    keep: bool = True
    skip: bool = True
    precisions: tuple[str, ...] = PRECISIONS

    def __post_init__(self) -> None:
        g = self.geometry
        for name, most in (("n_blocks", 1000), ("slots", 64)):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(
                    f"search space {self.name!r}: {name} must be a whole number from 1 to {most}, "
                    f"got {shown(value)}"
                )
        for name in ("keep", "skip"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(
                    f"search space {self.name!r}: {name} must be true or false, got "
                    f"{shown(getattr(self, name))}"
                )
        if g.layers % self.n_blocks:
            raise UsageError(
                f"search space {self.name!r}: {g.layers} teacher layers do not divide into "
                f"{self.n_blocks} blocks"
            )
        if not self.hidden_sizes or list(self.hidden_sizes) != sorted(set(self.hidden_sizes)):
            raise UsageError(
                f"search space {self.name!r}: hidden sizes must be ascending and distinct, "
                f"got {shown(self.hidden_sizes)}"
            )
        for hidden in self.hidden_sizes:
            if type(hidden) is not int or hidden < 1 or hidden % g.head_size:
                raise UsageError(
                    f"search space {self.name!r}: hidden size {shown(hidden)} is no multiple of "
                    f"the head size {g.head_size}"
                )
        if self.hidden_sizes[-1] > g.hidden:
            raise UsageError(
                f"search space {self.name!r}: hidden size {self.hidden_sizes[-1]} is larger "
                f"than the teacher's, {g.hidden}"
            )
        for values, known in ((self.operations, OPERATIONS), (self.precisions, PRECISIONS)):
            if not values or list(values) != [v for v in known if v in values]:
                raise UsageError(
                    f"search space {self.name!r}: {shown(values)} must be a choice, in this order, "
                    f"out of {known}"
                )
        if self.count_blocks() > MAX_BLOCKS:
            raise UsageError(
                f"search space {self.name!r}: a block of {self.slots} slots, "
                f"{len(self.operations)} operations and {len(self.hidden_sizes)} hidden sizes may "
                f"be one of {self.count_blocks():.3g}; at most {MAX_BLOCKS:,} can be searched. "
                "Take fewer slots, operations or hidden sizes"
            )

    @property
    def layers_per_block(self) -> int:
        """Teacher layers that one block stands for."""
        return self.geometry.layers // self.n_blocks

    @property
    def kept_block(self) -> Block:
        """The block that stays the teacher's own layers."""
        return Block(self.geometry.hidden, ("mha", "ffn") * self.layers_per_block, kept=True)

    @property
    def skipped_block(self) -> Block:
        """The block that passes its input on."""
        return Block(self.geometry.hidden, ())

    @property
    def teacher(self) -> Architecture:
        """The full-size network: every block kept."""
        return Architecture((self.kept_block,) * self.n_blocks)

    def count_blocks(self) -> int:
        """Sub-architectures of one block in canonical form (97,650 for the paper's space)."""
        k = len(self.operations)
        per_size = sum(int(k**n) for n in range(1, self.slots + 1))
        return len(self.hidden_sizes) * per_size + int(self.keep) + int(self.skip)

    def count(self) -> int:
        """Architectures in the space, precisions included."""
        return int(self.count_blocks() ** self.n_blocks) * len(self.precisions)

    def blocks(self) -> Iterator[Block]:
        """Every block in canonical form: kept and skipped first, then by size and length."""
        if self.keep:
            yield self.kept_block
        if self.skip:
            yield self.skipped_block
        for hidden in self.hidden_sizes:
            for n in range(1, self.slots + 1):
                for operations in itertools.product(self.operations, repeat=n):
                    yield Block(hidden, operations)

    def check(self, architecture: Architecture) -> None:
        """Raise unless the architecture belongs to the space.

        Raises:
            UsageError: Naming what does not fit and what is allowed.
        """
        if len(architecture.blocks) != self.n_blocks:
            raise UsageError(
                f"architecture has {len(architecture.blocks)} blocks, "
                f"space {self.name!r} has {self.n_blocks}"
            )
        if architecture.precision not in self.precisions:
            raise UsageError(
                f"precision {architecture.precision!r} is not in space {self.name!r}: "
                f"{', '.join(self.precisions)}"
            )
        for block in architecture.blocks:
            if block.kept:
                if not self.keep or block != self.kept_block:
                    raise UsageError(f"space {self.name!r} has no kept block {block.operations}")
                continue
            if not block.operations:
                if not self.skip or block != self.skipped_block:
                    raise UsageError(
                        f"space {self.name!r} has no skipped block of hidden size {block.hidden}"
                    )
                continue
            if block.hidden not in self.hidden_sizes:
                raise UsageError(
                    f"hidden size {block.hidden} is not in space {self.name!r}: "
                    f"{', '.join(map(str, self.hidden_sizes))}"
                )
            if len(block.operations) > self.slots or not set(block.operations) <= set(
                self.operations
            ):
                raise UsageError(
                    f"block '{block}' is not in space {self.name!r}: at most {self.slots} of "
                    f"{', '.join(self.operations)}"
                )

    def parse(self, text: str) -> Architecture:
        """Architecture from its text form, for example ``384: M F | keep | 128: S3 @ int8``.

        Raises:
            UsageError: If the text is malformed or the architecture not of this space.
        """
        body, _, precision = text.partition("@")
        blocks = [self.parse_block(part) for part in body.split("|")]
        architecture = Architecture(tuple(blocks), precision.strip() or "fp32")
        self.check(architecture)
        return architecture

    def parse_block(self, text: str) -> Block:
        """Block from its text form, ``keep``, ``skip`` or ``384: M F S3``.

        Raises:
            UsageError: If the text is malformed.
        """
        text = text.strip()
        if text.lower() == "keep":
            return self.kept_block
        if text.lower() == "skip":
            return self.skipped_block
        match = re.fullmatch(r"([0-9]{1,9})\s*:\s*(.+)", text)
        if match is None:
            raise UsageError(
                f"cannot read block {text!r}; write 'keep', 'skip' or a hidden size and "
                "operations, as in '384: M F S3'"
            )
        return Block(int(match.group(1)), operations_of_text(match.group(2)))

    def restrict(
        self,
        *,
        operations: tuple[str, ...] | None = None,
        hidden_sizes: tuple[int, ...] | None = None,
        precisions: tuple[str, ...] | None = None,
    ) -> SearchSpace:
        """A smaller space; values left out stay as they are."""
        return dataclasses.replace(
            self,
            operations=self.operations if operations is None else operations,
            hidden_sizes=self.hidden_sizes if hidden_sizes is None else hidden_sizes,
            precisions=self.precisions if precisions is None else precisions,
        )


MINILM_L6 = Geometry(
    layers=6, hidden=384, head_size=32, intermediate=1536, vocab_size=30522, max_positions=512
)
"""all-MiniLM-L6-v2 (its config.json)."""

MINILM_L12 = dataclasses.replace(MINILM_L6, layers=12)
"""all-MiniLM-L12-v2, bge-small-en-v1.5, e5-small-v2, gte-small (their config.json)."""

BERT_BASE = Geometry(
    layers=12, hidden=768, head_size=64, intermediate=3072, vocab_size=30522, max_positions=512
)
"""BERT-base, uncased (Devlin et al., 2019)."""

_MOST_SLOTS = 6
"""Operations of a derived block at most, as in NAS-BERT: 78,122 sub-architectures of four sizes."""


def derived_space(geometry: Geometry, name: str = "derived") -> SearchSpace:
    """The space of a teacher for which nobody made one.

    Blocks stand for two to four of the teacher's layers, as many as leave about four blocks (one
    layer where none of these divides them), with two operations for each layer. Hidden sizes are a
    third, half, two thirds and all of the teacher's, in whole heads. Blocks may stay the teacher's
    own, or be skipped.

    Args:
        geometry: Of the teacher.
        name: Of the space.
    """
    shares = [n for n in (2, 3, 4) if geometry.layers % n == 0 and geometry.layers > n]
    per_block = min(shares, key=lambda n: abs(geometry.layers // n - 4), default=1)
    heads = geometry.hidden // geometry.head_size
    counts = {max(1, round(heads * part)) for part in (1 / 3, 1 / 2, 2 / 3, 1)}
    return SearchSpace(
        name,
        geometry,
        geometry.layers // per_block,
        min(2 * per_block, _MOST_SLOTS),
        tuple(count * geometry.head_size for count in sorted(counts)),
    )


PRESETS: dict[str, SearchSpace] = {
    "minilm-l6": derived_space(MINILM_L6, "minilm-l6"),
    "minilm-l12": derived_space(MINILM_L12, "minilm-l12"),
    "bert-base": derived_space(BERT_BASE, "bert-base"),
    "nas-bert": SearchSpace(
        "nas-bert",
        BERT_BASE,
        4,
        6,
        (128, 192, 256, 384, 512),
        keep=False,
        skip=False,
    ),
}
"""Spaces by name. nas-bert is the paper's (Xu et al., KDD 2021, section 4.1): no block of it can
stay the teacher's own, so that the full size is not in it."""


def load_space(name_or_path: str) -> SearchSpace:
    """A preset by name, or a space of one's own from a TOML file.

    A file holds the fields of `SearchSpace`, with the geometry as a table: what `space_to_toml`
    writes.

    Raises:
        UsageError: If there is no such preset or file, or the file does not describe a space.
    """
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if not os.path.exists(path):
        near = difflib.get_close_matches(name_or_path, PRESETS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(
            f"no search space {name_or_path!r}.{hint} Presets: {', '.join(PRESETS)}; or give the "
            f"path of a TOML file such as\n\n{space_to_toml(PRESETS['minilm-l6'])}"
        )
    try:
        return space_from_dict({"name": path.stem} | read_toml(path), stored=False)
    except OSError as error:
        raise UsageError(f"cannot read the search space '{path}': {error.strerror}") from error
    except FileRefused as error:
        raise UsageError(f"'{path}' does not describe a search space: it {error.reason}") from error
    except UsageError as error:
        raise UsageError(f"'{path}' does not describe a search space: {error}") from error


def space_to_dict(space: SearchSpace) -> dict[str, object]:
    """Plain values of a space, as `space_from_dict` reads them."""
    values = dataclasses.asdict(space) | {"geometry": space.geometry.to_dict()}
    return values | ({"precisions": tuple(_ALL_STORED)} if space.precisions == PRECISIONS else {})


def space_to_toml(space: SearchSpace) -> str:
    """A space as a file that `load_space` reads."""
    values = dataclasses.asdict(space)
    del values["geometry"]
    geometry = space.geometry.to_dict()
    if space.precisions == PRECISIONS:
        del values["precisions"]
    # JSON's text, numbers and lists of them are TOML's too.
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    lines += ["[geometry]", *(f"{name} = {json.dumps(value)}" for name, value in geometry.items())]
    return "\n".join(lines) + "\n"


_WHOLE = {"type": "integer"}
_TEXTS = {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": 100}
_SPACE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name", "n_blocks", "slots", "hidden_sizes", "geometry"],
    "properties": {
        "name": {"type": "string", "maxLength": 200},
        "n_blocks": _WHOLE,
        "slots": _WHOLE,
        "hidden_sizes": {"type": "array", "items": _WHOLE, "maxItems": 1000},
        "operations": _TEXTS,
        "precisions": _TEXTS,
        "keep": {"type": "boolean"},
        "skip": {"type": "boolean"},
        "geometry": {
            "type": "object",
            "required": list(_GEOMETRY_MOST),
            "properties": {
                **dict.fromkeys(_GEOMETRY_MOST, _WHOLE),
                "activation": {"type": "string", "maxLength": 100},
                **dict.fromkeys(_OPTIONAL_MOST, _WHOLE),
                **{name: {"type": "boolean"} for name in _FLAGS},
            },
        },
    },
}


def space_from_dict(raw: Mapping[str, Any], *, stored: bool = True) -> SearchSpace:
    """Space from plain values.

    Args:
        raw: The values.
        stored: Whether nasc wrote them, to whom `_ALL_STORED` are all precisions.

    Raises:
        UsageError: On missing or unknown fields, and on values that make no space.
    """
    # Tuples are what a space gives as its own values; the schema knows lists.
    values: dict[str, Any] = {k: list(v) if isinstance(v, tuple) else v for k, v in raw.items()}
    _check_names(values, _SPACE_SCHEMA["properties"], "")
    if isinstance(values.get("geometry"), dict):
        _check_names(
            values["geometry"],
            (*_GEOMETRY_MOST, "activation", *_OPTIONAL_MOST, *_FLAGS),
            "geometry.",
        )
    try:
        conform(values, _SPACE_SCHEMA, "search space")
    except FileRefused as error:
        raise UsageError(f"it {error.reason}") from error
    geometry = values.pop("geometry")
    if stored and values.get("precisions") == _ALL_STORED:
        del values["precisions"]
    sequences: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
    }
    return SearchSpace(geometry=Geometry(**geometry), **sequences)


def _check_names(values: Mapping[str, Any], known: Iterable[str], prefix: str) -> None:
    known = list(known)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UsageError(
                f"unknown field {shown(prefix + str(name))}.{hint} Known: {', '.join(known)}"
            )
