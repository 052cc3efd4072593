"""How long work tells what it does, whoever listens: a terminal, a log, nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Progress = Callable[[int, int, str], None]
"""Called with (units done, units in all, message)."""

Say = Callable[[str], None]
"""Called with a line for the user."""


class Reporter(Protocol):
    """Listener of a pipeline."""

    def say(self, text: str) -> None:
        """A line for the user."""
        ...

    def stage(self, title: str) -> Progress:
        """A new stage begins, the one before it has ended; gives its progress callback."""
        ...


class Silent:
    """A reporter that drops everything."""

    def say(self, text: str) -> None:
        """Nothing."""

    def stage(self, title: str) -> Progress:
        """Nothing."""
        return lambda done, total, message: None
