"""The journal of a measurement: every finished round as a line, so that a killed one goes on.

The first line holds what must be equal for rounds to belong together (device, runtime, options,
reference, visit settings). Models are named by the hash of their content, so rounds are reused
for whatever models are asked for next.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import filelock

from device_profiles.reading import FileRefused, parse_json, read_bytes
from profilers import plain
from profilers.errors import InvalidSetting, ProfilerError, RecordBusy, RecordDamaged
from profilers.protocol import Round
from profilers.samples import Visit
from profilers.telemetry import VisitState

_FORMAT = "profilers.journal/1"
_MAX_BYTES = 1 << 30


class Journal:
    """An open journal, locked against other processes. Use it as a context manager.

    Attributes:
        rounds: Rounds that were in the file when it was opened.
    """

    def __init__(self, path: Path, key: Mapping[str, Any]) -> None:
        """Opens or begins a journal.

        Args:
            path: The file; its folder is made.
            key: What must be equal for rounds to belong together, plain JSON data.

        Raises:
            RecordBusy: Another process has it open.
            RecordDamaged: The file is no journal, or one under other conditions.
            ProfilerError: The file cannot be written.
        """
        self._path = path
        self._key = json.loads(json.dumps(dict(key), sort_keys=True))
        self._file: TextIO | None = None
        self._lock = filelock.FileLock(f"{path}.lock")
        self.rounds: list[Round] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            keep = self._read()
            if keep is not None:
                os.truncate(path, keep)  # what a killed writer left of its last line
            self._file = path.open("a", encoding="utf-8")
            if not keep:
                self._write({"format": _FORMAT, "key": self._key})
        except filelock.Timeout as error:
            raise RecordBusy(
                f"the journal {str(path)!r} is in use by another process. Wait for it to end, "
                "or give this measurement another journal."
            ) from error
        except OSError as error:
            self.close()
            raise self._failed(error) from error
        except BaseException:
            self.close()
            raise

    def append(self, one: Round) -> None:
        """Adds a finished round and sees it to the disk.

        Raises:
            ProfilerError: It cannot be written, for example on a full disk.
        """
        data = {
            "index": one.index,
            "instance": one.instance,
            "visits": [visit.to_list() for visit in one.visits],
        }
        if any(visit.state is not None for visit in one.visits):
            data["states"] = [visit.state and visit.state.to_list() for visit in one.visits]
        try:
            self._write(data)
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Closes the file and gives up the lock."""
        try:
            if self._file is not None:
                self._file.close()
        finally:
            self._file = None
            self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, data: dict[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(data) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _failed(self, error: OSError) -> ProfilerError:
        return ProfilerError(
            f"cannot write the journal {str(self._path)!r}: {error.strerror or error}. Rounds "
            "written before are kept. Free some space or give a folder that can be written."
        )

    def _read(self) -> int | None:
        """Fills `rounds`.

        Returns:
            The number of bytes that hold complete lines; None if there is no file.
        """
        try:
            *lines, unfinished = read_bytes(self._path, _MAX_BYTES).split(
                b"\n"
            )  # the last is dropped
        except FileNotFoundError:
            return None
        except FileRefused as error:
            raise self._damaged(error.reason) from error
        if not lines:
            head_line = json.dumps({"format": _FORMAT, "key": self._key}).encode()
            if head_line.startswith(unfinished):
                return 0
            raise RecordDamaged(
                f"the journal {str(self._path)!r} cannot be continued: it is no journal. Give this "
                "measurement a file of its own."
            )
        try:
            head = self._parsed(lines, 0)
            if head.get("format") != _FORMAT:
                raise ValueError(f"format {head.get('format')!r}, not {_FORMAT!r}")
            differing = [
                name
                for name in sorted(self._key.keys() | head["key"].keys())
                if self._key.get(name) != head["key"].get(name)
            ]
            if differing:
                raise ValueError(f"it was begun under another {', '.join(differing)}")
            for number in range(1, len(lines)):
                data = self._parsed(lines, number)
                visits = _read_visits(data)
                self.rounds.append(Round(int(data["index"]), int(data["instance"]), visits))
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSetting) as error:
            raise self._damaged(str(error)) from error
        return sum(len(line) + 1 for line in lines)

    def _parsed(self, lines: Sequence[bytes], number: int) -> Any:
        """One line.

        Raises:
            ValueError: With its number, if it is damaged.
        """
        try:
            return parse_json(lines[number], self._path, {"type": "object"})
        except (FileRefused, UnicodeDecodeError) as error:
            reason = getattr(error, "reason", error)
            raise ValueError(f"its line {number + 1} {reason}") from error

    def _damaged(self, reason: str) -> RecordDamaged:
        return RecordDamaged(
            f"the journal {str(self._path)!r} cannot be continued: {reason}. "
            f"Remove it to measure anew: rm '{self._path}'"
        )


def _read_visits(data: Mapping[str, Any]) -> tuple[Visit, ...]:
    """The visits of a round, each with what else was told of it.

    Raises:
        KeyError, ValueError: Something is missing or wrong.
    """
    visits = [Visit.from_list(item) for item in data["visits"]]
    if "states" in data:
        states = plain.items(data["states"], "states", len(visits), len(visits))
        visits = [
            visit
            if state is None
            else dataclasses.replace(visit, state=VisitState.from_list(state))
            for visit, state in zip(visits, states, strict=True)
        ]
    return tuple(visits)
