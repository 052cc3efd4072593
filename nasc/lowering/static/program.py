"""What a compiled network does, as data: kernels, and for each length their order and places."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kernel:
    """A function of the object file.

    Attributes:
        symbol: Its name there. It takes `arguments` pointers, then the first part and the one
            after the last (int32), and returns nothing.
        arguments: Pointers.
        parts: Into which its work falls, to be computed in any order or at once.
    """

    symbol: str
    arguments: int
    parts: int


@dataclass(frozen=True, slots=True)
class Step:
    """A kernel on its buffers.

    Attributes:
        kernel: Its symbol.
        places: Of each argument: 0 or more, a byte of the arena; below, ``~`` a byte of the weights
            file.
    """

    kernel: str
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """The network for texts of one length.

    Attributes:
        length: Tokens; shorter texts are padded to it.
        steps: In order.
        arena_bytes: Memory that a run takes.
        ids: Where in the arena the tokens belong, int64 (length,).
        mask: Where 1 for each token and 0 for padding belongs, int64 (length,).
        output: Where the result lies at the end.
    """

    length: int
    steps: tuple[Step, ...]
    arena_bytes: int
    ids: int
    mask: int
    output: int


@dataclass(frozen=True, slots=True)
class StaticNetwork:
    """A network compiled for one kind of processor, without a runtime.

    Attributes:
        prefix: Of every global name.
        arch: Processor, as `platform.machine` says it.
        features: Of it that the code makes use of, as Linux calls them.
        kernels: In the order of their symbols.
        programs: By ascending length.
        outputs: (outer, inner) floats of a text: outer times its tokens times inner where
            `by_token`, else outer times inner.
        by_token: Whether there is a number, or a row, for each token.
        tokens: Rows of the word embedding.
        identity: SHA-256 of network and code.
        weights: The weights file.
        code: The object file with the kernels, ELF for that processor.
    """

    prefix: str
    arch: str
    features: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    programs: tuple[Program, ...]
    outputs: tuple[int, int]
    by_token: bool
    tokens: int
    identity: bytes
    weights: bytes
    code: bytes
