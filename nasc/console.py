"""The terminal: progress bars and messages on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from nasc.printable import printable
from nasc.reporting import Progress as Callback


class ConsoleReporter:
    """A progress bar for the stage at hand; finished stages stay as lines."""

    def __init__(self) -> None:
        """A reporter on stderr; without a terminal there, stages are plain lines."""
        self.console = Console(stderr=True, highlight=False)
        self._bars: Progress | None = None
        self._task: TaskID | None = None

    def say(self, text: str) -> None:
        """A line for the user."""
        self.console.print(printable(text, lines=True), markup=False)

    def stage(self, title: str) -> Callback:
        """A new stage begins."""
        self.finish()
        if not self.console.is_terminal:
            self.say(f"{title} ...")
            return lambda done, total, message: None
        bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[message]}", markup=False),
            TimeElapsedColumn(),
            console=self.console,
        )
        task = bars.add_task(title, total=None, message="")
        self._bars, self._task = bars, task
        bars.start()

        def update(done: int, total: int, message: str) -> None:
            bars.update(task, completed=done, total=max(total, 1), message=message[:60])

        return update

    def finish(self) -> None:
        """End the stage at hand, its bar full."""
        if self._bars is not None and self._task is not None:
            total = self._bars.tasks[0].total or 1
            self._bars.update(self._task, completed=total, total=total)
        self.close()

    def close(self) -> None:
        """Leave the stage at hand as it is."""
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._task = None


@contextmanager
def reporting() -> Iterator[ConsoleReporter]:
    """A reporter whose last bar is closed whatever happens; it is full only at success."""
    reporter = ConsoleReporter()
    try:
        yield reporter
        reporter.finish()
    finally:
        reporter.close()


def print_json(value: Any) -> None:
    """The result, for programs."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


def print_rows(rows: list[tuple[str, str]]) -> None:
    """The result, for people: names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(printable(f"{name.ljust(width)}  {value}", lines=True))
