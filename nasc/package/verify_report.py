"""What a verification says: a check, and all of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from profilers import (
    MemoryExceeded,
    RuntimeMissing,
    WorkerDied,
)

Outcome = tuple[bool | None, str]
"""Whether a check holds, None where it could not be made; and what was found, in words."""

OWN_TROUBLES = (WorkerDied, RuntimeMissing, MemoryExceeded, OSError, MemoryError)
"""Errors that say something of this machine and nothing of a package."""

MEASURED = frozenset(("latency", "peak memory"))
"""Checks that are made on the device."""

INCOMPLETE_EXIT_CODE = 3
"""Exit status where nothing failed and something could not be checked."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Short.
        ok: Whether it holds; None if it was not checked.
        detail: What was found, or why it was not checked.
        declined: It was not checked because the caller did not want it.
    """

    name: str
    ok: bool | None
    detail: str
    declined: bool = False

    @property
    def mark(self) -> str:
        """The outcome in a word or two."""
        if self.declined:
            return "left out"
        return {True: "ok", False: "FAILED", None: "not checked"}[self.ok]

    def __str__(self) -> str:
        return f"{self.name}: {self.mark}: {self.detail}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found in a package.

    Attributes:
        folder: The package.
        checks: In the order they were made.
        manifest: As read; None if it cannot be.
        measured: The latency measured now; None if it was not.
    """

    folder: Path
    checks: tuple[Check, ...]
    manifest: Manifest | None = None
    measured: MeasuredLatency | None = None

    @property
    def ok(self) -> bool:
        """Whether all that was asked for was checked and holds."""
        return self.complete and not self.failed

    @property
    def complete(self) -> bool:
        """Whether all that was asked for was checked, whatever came out."""
        return not self.not_checked

    @property
    def not_checked(self) -> tuple[Check, ...]:
        """What was asked for and could not be checked."""
        return tuple(check for check in self.checks if check.ok is None and not check.declined)

    @property
    def exit_code(self) -> int:
        """0: all was checked and holds; 1: something failed; 3: something was not checked."""
        if self.failed:
            return 1
        return 0 if self.complete else INCOMPLETE_EXIT_CODE

    @property
    def failed(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(check for check in self.checks if check.ok is False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        measured: dict[str, Any] | None = None
        if self.measured is not None:
            names = ("latency_ms", "lower_ms", "upper_ms", "p50_ms", "p90_ms", "p99_ms")
            measured = {name: getattr(self.measured, name) for name in names}
            if self.measured.parts:
                measured["lengths"] = self.measured.lengths()
            if self.measured.stream is not None:
                measured["single_stream"] = self.measured.stream.to_dict()
        return {
            "package": str(self.folder),
            "ok": self.ok,
            "complete": self.complete,
            "failed": [check.name for check in self.failed],
            "not_checked": [check.name for check in self.not_checked],
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "measured": measured,
        }


@dataclass(frozen=True, slots=True)
class MultiDeviceVerifyReport:
    """What was found in the packages of several devices.

    Attributes:
        reports: By device and runtime, in the order of the index.
    """

    reports: Mapping[str, VerifyReport]

    @property
    def exit_code(self) -> int:
        """That of the worst: 1 before 3 before 0."""
        codes = {report.exit_code for report in self.reports.values()}
        return next(code for code in (1, INCOMPLETE_EXIT_CODE, 0) if code in codes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {name: report.to_dict() for name, report in self.reports.items()}


def reason_of(error: BaseException) -> str:
    """An error on one line: its class, and what it says first."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def guarded(name: str, check: Callable[[], Outcome]) -> Check:
    """A check, failed where it raises: what reads damaged files may fail in any way.

    What only says that this machine could not look is "not checked".
    """
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, blames(error), reason_of(error))


def blames(error: BaseException) -> bool | None:
    """What an error makes of a check: False blames the package, None this machine."""
    own = any(isinstance(one, OWN_TROUBLES) for one in (error, error.__cause__))
    return None if own else False
