"""Reading a shared library (ELF, 64 bits, little-endian) without opening it as one.

What the system's loader would go by is read, and nothing else: program headers and the dynamic
section, not the sections. Sizes are bounded, since somebody else may have made the file.
Structures are those of the System V ABI, chapters 4 and 5, and of its supplements for AMD64 and
AArch64.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

MACHINES = {62: "x86_64", 183: "aarch64"}
"""Numbers of processors in a file, with their names as `platform.machine` says them."""

MAX_SEGMENTS = 64
MAX_TAGS = 1_000
MAX_SYMBOLS = 200_000
MAX_NAMES_BYTES = 32 << 20
MAX_RELOCATIONS = 200_000
"""More than the largest library that nasc has made holds, a hundredfold (2026)."""

_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_EXECUTABLE, _WRITABLE = 1, 2
_NEEDED, _PLTRELSZ, _HASH, _STRTAB, _SYMTAB = 1, 2, 4, 5, 6
_RELA, _RELASZ, _STRSZ, _JMPREL = 7, 8, 10, 23
_SONAME, _PLTGOT, _RELAENT, _SYMENT, _PLTREL, _FLAGS = 14, 3, 9, 11, 20, 30
_GNU_HASH, _RELACOUNT, _FLAGS_1 = 0x6FFFFEF5, 0x6FFFFFF9, 0x6FFFFFFB
_PLAIN_TAGS = frozenset(
    {
        *(_NEEDED, _HASH, _STRTAB, _SYMTAB, _RELA, _RELASZ, _STRSZ, _JMPREL, _PLTRELSZ),
        *(_SONAME, _PLTGOT, _RELAENT, _SYMENT, _PLTREL, _FLAGS),
        *(_GNU_HASH, _RELACOUNT, _FLAGS_1),
    }
)
"""Entries of the dynamic section that have the loader call nothing."""

_RESOLVER = 10
"""Type of a symbol whose address is what code in the library gives when it is opened (IFUNC)."""

_CALLING_RELOCATIONS = {"x86_64": 37, "aarch64": 1032}
"""The same of a relocation (IRELATIVE)."""


@dataclass(frozen=True, slots=True)
class SharedLibrary:
    """What a loader reads of a library.

    Attributes:
        machine: Processor that it is for, out of `MACHINES`.
        needed: Libraries that are loaded with it.
        taken: Names that it takes from others.
        given: Names that it offers, each with the place of what it names: first byte in the file
            (None if it is not in the file) and bytes.
        oddities: What of it has the loader do more than to map it and fill in addresses, run code
            for example; one phrase each.
    """

    machine: str
    needed: tuple[str, ...]
    taken: frozenset[str]
    given: Mapping[str, tuple[int | None, int]]
    oddities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    flags: int
    offset: int
    address: int
    file_bytes: int


def read_library(file: BinaryIO) -> SharedLibrary:
    """What a loader reads of a library.

    Args:
        file: Open for reading, at any place.

    Raises:
        ValueError: If it is no such library, damaged, or larger in some part than any of nasc's.
        OSError: If it cannot be read.
    """
    return _Reader(file).read()


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._segments: list[_Segment] = []

    def read(self) -> SharedLibrary:
        machine = self._header()
        oddities = [*self._odd_segments()]
        tags = self._dynamic()
        single = {tag: value for tag, value in tags if tag != _NEEDED}
        if len(single) != sum(tag != _NEEDED for tag, _ in tags):
            raise ValueError("its dynamic section says something twice")
        oddities += [
            f"the entry {tag:#x} in its dynamic section"
            for tag in sorted(single.keys() - _PLAIN_TAGS)
        ]
        names = self._at(_of(single, _STRTAB), _of(single, _STRSZ), MAX_NAMES_BYTES)
        needed = tuple(_text(names, value) for tag, value in tags if tag == _NEEDED)
        taken, given = set(), {}
        for name_at, info, where, address, size in self._symbols(single):
            name = _text(names, name_at)
            if info & 15 == _RESOLVER:
                oddities.append(f"{name[:60]!r} is found by running code")
            if where == 0:
                taken.add(name)
            else:
                given[name] = (self._offset(address, size), size)
        for kind in self._relocation_types(single):
            if kind == _CALLING_RELOCATIONS[machine]:
                oddities.append("an address that is found by running code")
                break
        return SharedLibrary(machine, needed, frozenset(taken), given, tuple(oddities))

    def _header(self) -> str:
        """The machine; the program headers are kept."""
        head = self._bytes(0, 64)
        if head[:7] != b"\x7fELF\x02\x01\x01":
            raise ValueError("it is no shared library for Linux (ELF, 64 bits, little-endian)")
        kind, machine = struct.unpack_from("<HH", head, 16)
        start, size, count = (
            *struct.unpack_from("<Q", head, 32),
            *struct.unpack_from("<HH", head, 54),
        )
        if kind != 3 or machine not in MACHINES:
            raise ValueError(f"it is no shared library for {' or '.join(MACHINES.values())}")
        if size != 56 or count > MAX_SEGMENTS:
            raise ValueError(f"it has {count} segments in headers of {size} bytes")
        for at in range(count):
            found = struct.unpack("<IIQQQQQQ", self._bytes(start + 56 * at, 56))
            kind, flags, offset, address, _, file_bytes, _, _ = found
            self._segments.append(_Segment(kind, flags, offset, address, file_bytes))
        return MACHINES[machine]

    def _odd_segments(self) -> Iterator[str]:
        both = _EXECUTABLE | _WRITABLE
        for segment in self._segments:
            if segment.kind == _INTERPRETER:
                yield "an interpreter of its own"
            elif segment.kind == _LOAD and segment.flags & both == both:
                yield "memory that is written and run"

    def _dynamic(self) -> list[tuple[int, int]]:
        found = [segment for segment in self._segments if segment.kind == _DYNAMIC]
        if len(found) != 1 or found[0].file_bytes > 16 * MAX_TAGS:
            raise ValueError("it has not one dynamic section, or one too long")
        # By its address, as the loader finds it.
        data = self._at(found[0].address, found[0].file_bytes, 16 * MAX_TAGS)
        tags: list[tuple[int, int]] = []
        for tag, value in struct.iter_unpack("<qQ", data[: len(data) // 16 * 16]):
            if tag == 0:
                return tags
            tags.append((tag & 0xFFFFFFFFFFFFFFFF, value))
        raise ValueError("its dynamic section has no end")

    def _symbols(self, tags: Mapping[int, int]) -> Iterator[tuple[int, int, int, int, int]]:
        """Place of the name, kind, section (0: elsewhere), address and size of each."""
        _, count = struct.unpack("<II", self._at(_of(tags, _HASH), 8, 8))
        if not 1 <= count <= MAX_SYMBOLS:
            raise ValueError(f"it has {count:,} symbols")
        table = self._at(_of(tags, _SYMTAB), 24 * count, 24 * MAX_SYMBOLS)
        for name, info, _, where, address, size in [*struct.iter_unpack("<IBBHQQ", table)][1:]:
            yield name, info, where, address, size

    def _relocation_types(self, tags: Mapping[int, int]) -> Iterator[int]:
        for start, size in ((_RELA, _RELASZ), (_JMPREL, _PLTRELSZ)):
            if start in tags or size in tags:
                table = self._at(_of(tags, start), _of(tags, size), 24 * MAX_RELOCATIONS)
                if len(table) % 24:
                    raise ValueError("its relocations are of another size")
                yield from (info & 0xFFFFFFFF for _, info, _ in struct.iter_unpack("<QQq", table))

    def _at(self, address: int, size: int, most: int) -> bytes:
        """Bytes by the address that they have in memory."""
        if size > most:
            raise ValueError(f"a table of it has {size:,} bytes, at most {most:,} are read")
        offset = self._offset(address, size)
        if offset is None:
            raise ValueError("a table of it lies outside the file")
        return self._bytes(offset, size)

    def _offset(self, address: int, size: int) -> int | None:
        for one in self._segments:
            if one.kind == _LOAD and one.address <= address <= address + size <= one.address + (
                one.file_bytes
            ):
                return one.offset + address - one.address
        return None

    def _bytes(self, offset: int, size: int) -> bytes:
        if offset + size >= 1 << 62:
            raise ValueError("a table of it lies outside the file")
        self._file.seek(offset)
        found = self._file.read(size)
        if len(found) != size:
            raise ValueError("it ends too early")
        return found


def _of(tags: Mapping[int, int], tag: int) -> int:
    if tag not in tags:
        raise ValueError(f"its dynamic section lacks the entry {tag:#x}")
    return tags[tag]


def _text(names: bytes, at: int) -> str:
    end = names.find(b"\0", at)
    if not 0 <= at <= end:
        raise ValueError("a name of it lies outside its table of names")
    return names[at : min(end, at + 1000)].decode("ascii", errors="backslashreplace")
