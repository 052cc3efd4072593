"""The files of a teacher's folder: regular, bounded, of plain structure, or refused by name.

Everything that nasc or a library opens in such a folder is looked at here before: a library would
wait for a pipe for ever, and read a file of any size.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from device_profiles import reading
from device_profiles.reading import FileRefused
from nasc.errors import TeacherDamaged, TeacherError, TeacherMissing, UnsupportedFamily
from nasc.utils.printable import printable

MAX_ENTRIES = 10_000
"""Files in one folder of a teacher; hub repositories that are met have under 100 (2026)."""

_TEXT = (".json", ".txt", ".jinja", ".md", ".model")
"""Endings of files that are read whole; weights are bounded where they are read."""

Json = Mapping[str, Any]


def text_or_null() -> Json:
    """Schema of a text that may be null."""
    return {"type": ["string", "null"]}


@dataclass(frozen=True, slots=True)
class TeacherFiles:
    """A folder of a teacher, or one within it.

    Attributes:
        root: The teacher's folder.
        name: The teacher's name, for messages.
        below: Path of this folder in the teacher's; empty for the teacher's folder itself.
    """

    root: Path
    name: str
    below: str = ""

    @property
    def folder(self) -> Path:
        """The folder itself."""
        return self.root / self.below

    def within(self, path: str) -> "TeacherFiles":
        """A folder named by one of the teacher's files; checked as by `check_entries`.

        Raises:
            TeacherDamaged: See `check_entries`.
        """
        inner = TeacherFiles(self.root, self.name, path)
        if path and inner.folder.exists():  # Normalize has no file, and git keeps no empty folder
            inner.check_entries()
        return inner

    def label(self, file: str) -> str:
        """A file's path in the teacher's folder, as messages show it."""
        return f"{self.below}/{file}" if self.below else file

    def damaged(self, file: str, what: str) -> TeacherDamaged:
        """The error that a file is not what it must be."""
        space = "" if what.startswith(":") else " "
        return TeacherDamaged(printable(f"teacher '{self.name}': {self.label(file)}{space}{what}"))

    def unsupported(self, file: str, key: str, value: object, supported: str) -> TeacherError:
        """The error that a setting changes vectors in a way that nasc does not reproduce.

        Args:
            file: Where it is set.
            key: Its name there.
            value: What stands there.
            supported: What is supported instead, as the end of a sentence.
        """
        return UnsupportedFamily(
            printable(
                f"teacher '{self.name}': {self.label(file)}: {key} = {json_text(value)}; "
                f"supported is {supported}"
            )
        )

    def missing(self, what: str) -> TeacherMissing:
        """The error that a file is not there."""
        return TeacherMissing(f"teacher '{self.name}': {what} in '{self.folder}'")

    def has(self, file: str) -> bool:
        """Whether there is such a file, of whatever kind."""
        return (self.folder / file).exists()

    def check_entries(self) -> None:
        """Raise unless all that lies in the folder can be opened by a library.

        Raises:
            TeacherDamaged: If something is neither file nor folder, a text is over-large, or
                there are more than `MAX_ENTRIES` entries.
        """
        try:
            with os.scandir(self.folder) as entries:
                for count, entry in enumerate(entries, 1):
                    if count > MAX_ENTRIES:
                        raise TeacherDamaged(
                            f"teacher '{self.name}': '{self.folder}' holds more than "
                            f"{MAX_ENTRIES:,} files"
                        )
                    if os.path.exists(entry.path) and not entry.is_dir():
                        text = entry.name.endswith(_TEXT)
                        with reading.opened(entry.path, reading.MAX_BYTES if text else None):
                            pass
        except FileRefused as error:
            raise self.damaged(error.path.name, error.reason) from error
        except OSError as error:
            what = f"cannot be read: {error.strerror or error}"
            raise self.damaged(Path(error.filename or "").name, what) from error

    def json(self, file: str, schema: Json | None = None) -> Any:
        """What a JSON file holds; None if there is no such file.

        Raises:
            TeacherDamaged: If it is no file or no JSON, starts with a byte order mark (which
                the libraries do not read), or does not fit the schema.
        """
        text = self.text(file)
        if text is None:
            return None
        try:
            return reading.parse_json(text, file, schema)
        except FileRefused as error:
            raise self.damaged(file, error.reason) from error

    def text(self, file: str) -> str | None:
        """What a text file holds; None if there is no such file.

        Raises:
            TeacherDamaged: If it cannot be read, is too large or not in UTF-8.
        """
        try:
            raw = reading.read_bytes(self.folder / file)
            if raw.startswith(b"\xef\xbb\xbf"):
                raise self.damaged(
                    file,
                    "starts with a byte order mark, which transformers does not read. Save it as "
                    "UTF-8 without one",
                )
            return raw.decode("utf-8")
        except FileNotFoundError:
            return None
        except FileRefused as error:
            raise self.damaged(file, error.reason) from error
        except UnicodeDecodeError as error:
            raise self.damaged(file, f"is not text in UTF-8 (byte {error.start:,})") from error
        except OSError as error:
            raise self.damaged(file, f"cannot be read: {error.strerror or error}") from error

    def check_values(
        self, file: str, content: Json, supported: Mapping[str, Sequence[Any]]
    ) -> None:
        """Raise where a key has another value than those that change nothing.

        Args:
            file: Where the content is from.
            content: What it holds.
            supported: By key all values that are supported; an absent key is.

        Raises:
            UnsupportedFamily: With the file and the first such key.
        """
        for key, values in supported.items():
            # 0 == False in Python; the schema has seen to the types
            if key in content and content[key] not in values:
                shown = " or ".join(json_text(v) for v in values)
                raise self.unsupported(file, key, content[key], f"{shown}, or no such key")

    def check_keys(self, file: str, content: Json, known: Sequence[str]) -> None:
        """Raise where there is a key that nobody knows: it may change vectors.

        Raises:
            UnsupportedFamily: With the file and the first such key.
        """
        for key in content:
            if key not in known:
                raise self.unsupported(
                    file, str(key), content[key], f"only what is known there: {', '.join(known)}"
                )


def is_inner_path(path: str) -> bool:
    """Whether a path stays within the folder that it is relative to, on any system."""
    windows = PureWindowsPath(path)
    return not windows.anchor and ".." not in windows.parts and "\0" not in path


def reason(error: BaseException) -> str:
    """What a library's error says, on one line, short."""
    return printable(" ".join(str(error).split()))[:300]


def json_text(value: object) -> str:
    """A value as JSON spells it, short enough for a message."""
    spelled = {True: "true", False: "false"}.get(value) if isinstance(value, bool) else None
    if value is None:
        spelled = "null"
    return spelled or reading.shown(value)
