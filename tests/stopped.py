"""Runs that break off: shared by the tests of all trainings."""

from __future__ import annotations

from nasc.utils.progress import Progress


class Stopped(Exception):
    """A run broke off."""


def stop_after(steps: int, error: type[BaseException] = Stopped) -> Progress:
    """A progress callback that breaks the run off after so many steps."""

    def progress(done: int, total: int, message: str) -> None:
        if done == steps:
            raise error

    return progress
