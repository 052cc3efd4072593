"""Text files of any size as lines, unpacked and decoded, in bounded memory.

What is bounded is the line, not the file: a corpus may be larger than the memory. Readers that keep
what they read bound the whole with ``max_bytes``.
"""

from __future__ import annotations

import codecs
import gzip
import io
import shlex
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from device_profiles.reading import FileRefused, FileTooLarge, opened

MAX_LINE = 32 << 20
"""Bytes between two line ends; articles of Wikipedia's dumps, one a line, have up to 3 MB."""

MAX_RATIO, RATIO_FROM = 200, 64 << 20
"""A .gz that gives more than so many bytes may not give so many times its own size. Prose gives 2
to 5 times (data/wiki-en: 2.6), tables of few different values 50; deflate can give 1,032 times."""

_BLOCK = 1 << 20
_HEAD = 1 << 16
_GZIP = b"\x1f\x8b"
_OTHER_KINDS = {
    b"BZh": "packed by bzip2: unpack it, or pack it by gzip",
    b"\xfd7zXZ": "packed by xz: unpack it, or pack it by gzip",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it, or pack it by gzip",
    b"PK\x03\x04": "a zip archive (as .docx, .odt and .epub are), not text",
    b"%PDF-": "a PDF, not text: pdftotext makes text of it",
    b"PAR1": "a parquet file: name it .parquet",
}


def lines(path: Path, *, max_bytes: int | None = None, newline: str | None = None) -> Iterator[str]:
    """Lines of a text file in UTF-8, packed by gzip or not, each with its end.

    Args:
        path: The file.
        max_bytes: What it may hold, unpacked; None is for readers that keep little of it.
        newline: As of `open`: None makes every line end a line feed, the empty text leaves them.

    Raises:
        FileRefused: If it is no regular file, binary, damaged, not in UTF-8, larger than
            `max_bytes`, or has a line of more than `MAX_LINE` bytes.
        OSError: If it cannot be read.
    """
    count, size, first = 0, 0, True
    parts: list[bytes] = []
    for block in _blocks(path, max_bytes):
        if first:
            _check_text(path, block)
            block, first = block.removeprefix(codecs.BOM_UTF8), False
        # A carriage return at the very end may be half of a line end.
        cut = max(block.rfind(b"\n"), block.rfind(b"\r", 0, -1)) + 1
        if cut:
            piece = b"".join((*parts, block[:cut]))
            yield from io.StringIO(_decoded(path, piece, count), newline)
            count += piece.count(b"\n")
            parts, size = [], 0
        parts.append(block[cut:])
        size += len(block) - cut
        if size > MAX_LINE:
            raise FileRefused(
                path,
                f"is no text of lines: line {count + 1:,} holds more than {MAX_LINE:,} bytes. "
                "Break it into lines or paragraphs",
            )
    yield from io.StringIO(_decoded(path, b"".join(parts), count), newline)


def read_whole(path: Path, max_bytes: int) -> str:
    """All of a text file in UTF-8, packed by gzip or not.

    Raises:
        FileRefused: If it is no regular file, binary, damaged, not in UTF-8 or larger.
        OSError: If it cannot be read.
    """
    content = b"".join(_blocks(path, max_bytes))
    _check_text(path, content[:_BLOCK])
    return _decoded(path, content.removeprefix(codecs.BOM_UTF8), 0)


def _blocks(path: Path, max_bytes: int | None) -> Iterator[bytes]:
    """What a file holds, unpacked, in blocks of at most `_BLOCK` bytes."""
    with opened(path) as raw:
        packed = raw.read(len(_GZIP)) == _GZIP
        if path.suffix == ".gz" and not packed:
            raise FileRefused(path, "is damaged: it is named .gz but is not gzip")
        raw.seek(0)
        file: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if packed else raw
        total = 0
        while block := _block(path, file):
            total += len(block)
            if max_bytes is not None and total > max_bytes:
                raise FileTooLarge(path, f"holds more than the {max_bytes:,} bytes that are read")
            if packed and total > RATIO_FROM and total > MAX_RATIO * raw.tell():
                raise FileRefused(
                    path, f"unpacks to more than {MAX_RATIO} times its size: no text does"
                )
            yield block


def _block(path: Path, file: BinaryIO | gzip.GzipFile) -> bytes:
    try:
        return file.read(_BLOCK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileRefused(path, f"is damaged: {error}") from error


def _check_text(path: Path, block: bytes) -> None:
    """Raise if the beginning of a file is not that of a text in UTF-8."""
    for magic, kind in _OTHER_KINDS.items():
        if block.startswith(magic):
            raise FileRefused(path, f"is {kind}")
    if block.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise FileRefused(path, f"is in UTF-32, not UTF-8. Convert it: {_iconv(path, 'UTF-32')}")
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise FileRefused(path, f"is in UTF-16, not UTF-8. Convert it: {_iconv(path, 'UTF-16')}")
    head = block[:_HEAD]
    if b"\0" in head:
        even, odd = (2 * part.count(0) > len(part) for part in (head[::2], head[1::2]))
        if even != odd:
            encoding = "UTF-16BE" if even else "UTF-16LE"
            raise FileRefused(
                path, f"is in UTF-16, not UTF-8. Convert it: {_iconv(path, encoding)}"
            )
        line = head.count(b"\n", 0, head.index(0)) + 1
        raise FileRefused(
            path, f"is binary; text (UTF-8) is needed, and line {line:,} holds a NUL character"
        )


def _decoded(path: Path, piece: bytes, lines_before: int) -> str:
    try:
        return piece.decode()
    except UnicodeDecodeError as error:
        line = lines_before + piece.count(b"\n", 0, error.start) + 1
        raise FileRefused(
            path,
            f"is not UTF-8 text (byte 0x{piece[error.start]:02x} in line {line:,}): binary, or in "
            f"another encoding. Convert it: {_iconv(path, 'LATIN1')}",
        ) from error


def _iconv(path: Path, encoding: str) -> str:
    name = shlex.quote(path.name)
    if path.suffix == ".gz":
        return f"gzip -dc {name} | iconv -f {encoding} -t UTF-8 >utf8.txt"
    return f"iconv -f {encoding} -t UTF-8 {name} >utf8.txt"
