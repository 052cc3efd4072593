"""The terminal: progress bars and messages on stderr, results on stdout."""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from nasc.errors import NascError
from nasc.utils.printable import printable
from nasc.utils.progress import Progress as Callback

REFRESH_S = 0.2
"""Seconds after which the lines are drawn anew."""

WIDE = 80
"""Characters of a line from which on it has room for a message beside the title and the bar."""

WIDE_BAR, NARROW_BAR = 24, 8
"""Characters of a bar."""

OTHER = 9
"""Characters of a line for the time, and between the columns."""

ROOM = 4
"""Lines of a terminal that stages leave free."""


class _Elapsed(ProgressColumn):
    """Time spent in all stages of a title."""

    def render(self, task: Task) -> Text:
        begun = task.fields["begun_s"]
        spent = task.fields["spent_s"] + (0.0 if begun is None else time.monotonic() - begun)
        minutes, seconds = divmod(int(spent), 60)
        return Text(f"{minutes}:{seconds:02d}", style="progress.elapsed")


class ConsoleReporter:
    """A line for every stage, by its title: when the stage comes again, its line goes on.

    In a terminal the lines stay below what is said, and the one of the stage at hand has a bar that
    moves. Elsewhere a stage is a line of text when it begins, said once while it only repeats.
    """

    def __init__(self, console: Console | None = None) -> None:
        """A reporter.

        Args:
            console: Where to; None is stderr, with bars where that is a terminal.
        """
        self.console = console or Console(
            stderr=True, highlight=False, force_interactive=None if _is_terminal() else False
        )
        self._bars: Progress | None = None
        self._lines: dict[str, TaskID] = {}
        self._title: str | None = None
        # rich's own thread may draw between the two halves of a print: one here draws instead.
        self._lock = threading.RLock()
        self._closed = threading.Event()

    def say(self, text: str) -> None:
        """A line for the user."""
        clean = printable(text, lines=True)
        with self._lock:
            self.console.print(clean, markup=False, soft_wrap=True)

    def stage(self, title: str) -> Callback:
        """A new stage begins."""
        title = printable(title)
        if not self.console.is_interactive:
            if title != self._title:
                self.say(f"{title} ...")
            self._title = title
            return lambda done, total, message: None
        with self._lock:
            bars = self._bars or self._open()
            self._end_line(bars)
            self._title = title
            task = self._begin_line(bars, title)
            bars.refresh()

        def update(done: int, total: int, message: str) -> None:
            with self._lock:
                bars.update(
                    task, completed=done, total=max(total, 1), message=printable(message)[:60]
                )

        return update

    def finish(self) -> None:
        """End the stage at hand, its bar full, and leave all lines as they are."""
        with self._lock:
            if self._bars is not None:
                self._end_line(self._bars)
        self.close()

    def close(self) -> None:
        """Leave the stage at hand, and all lines, as they are."""
        with self._lock:
            self._closed.set()
            if self._bars is not None:
                self._bars.stop()
            self._bars = self._title = None
            self._lines = {}

    def _open(self) -> Progress:
        one_line: dict[str, Any] = {"no_wrap": True, "overflow": "ellipsis"}
        width = self.console.width
        wide = width >= WIDE
        bar = WIDE_BAR if wide else NARROW_BAR
        title = Column(**one_line, max_width=max(1, width - bar - OTHER))
        message = TextColumn(
            "{task.fields[message]}", markup=False, table_column=Column(**one_line)
        )
        self._bars = bars = Progress(
            TextColumn("{task.description}", markup=False, table_column=title),
            BarColumn(bar_width=bar),
            *([message] if wide else []),
            _Elapsed(table_column=Column(no_wrap=True)),
            console=self.console,
            auto_refresh=False,
        )
        self._closed = closed = threading.Event()
        bars.start()
        threading.Thread(target=self._draw, args=(bars, closed), daemon=True).start()
        return bars

    def _draw(self, bars: Progress, closed: threading.Event) -> None:
        """Draw the lines anew, again and again."""
        while not closed.wait(REFRESH_S):
            with self._lock:
                if not closed.is_set():
                    bars.refresh()

    def _begin_line(self, bars: Progress, title: str) -> TaskID:
        """The line of a title, from the beginning: its own of before, or a new one."""
        if title in self._lines:
            task = self._lines[title]
            bars.update(task, completed=0, total=None, message="", begun_s=time.monotonic())
            return task
        while self._lines and len(self._lines) > max(1, self.console.height - ROOM):
            self._leave_behind(bars)
        task = bars.add_task(title, total=None, message="", begun_s=time.monotonic(), spent_s=0.0)
        self._lines[title] = task
        return task

    def _leave_behind(self, bars: Progress) -> None:
        """Print the oldest line where text is, so that the others fit into the terminal."""
        title = next(iter(self._lines))
        oldest = next(task for task in bars.tasks if task.id == self._lines.pop(title))
        bars.remove_task(oldest.id)
        self.console.print(bars.make_tasks_table([oldest]))

    def _end_line(self, bars: Progress) -> None:
        """The bar of the stage at hand full, its time stopped."""
        task = self._lines.get(self._title or "")
        if task is None:
            return
        one = next(one for one in bars.tasks if one.id == task)
        total = one.total or 1
        spent_s = one.fields["spent_s"] + time.monotonic() - one.fields["begun_s"]
        bars.update(task, completed=total, total=total, begun_s=None, spent_s=spent_s)


def _is_terminal() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # none, or closed
        return False


@contextmanager
def reporting() -> Iterator[ConsoleReporter]:
    """A reporter whose lines are left whatever happens; the last bar is full only at success."""
    reporter = ConsoleReporter()
    try:
        yield reporter
        reporter.finish()
    finally:
        reporter.close()


def print_json(value: Any) -> None:
    """The result, for programs: valid JSON whatever the encoding of stdout.

    Characters beyond ASCII are written as they are where stdout is in UTF-8 and a terminal may show
    them, else as escapes; numbers that are not finite as null.
    """
    text = json.dumps(_finite(value), indent=1, ensure_ascii=not _in_utf8(), allow_nan=False)
    if printable(text, lines=True) != text:
        text = json.dumps(_finite(value), indent=1, allow_nan=False)
    _write(text)


def _in_utf8() -> bool:
    try:
        return codecs.lookup(sys.stdout.encoding or "ascii").name == "utf-8"
    except (AttributeError, LookupError):  # no stdout, or an encoding of its own
        return False


def _finite(value: Any) -> Any:
    """Plain data with null for numbers that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def print_rows(rows: list[tuple[str, str]]) -> None:
    """The result, for people: names and values in two columns."""
    width = max(len(name) for name, _ in rows)
    print_text("\n".join(f"{name.ljust(width)}  {value}" for name, value in rows))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The result, for people: columns of figures, and a text at the end."""
    lines = [tuple(header), *(tuple(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print_text(
        "\n".join(
            "  ".join([*(cell.rjust(widths[i]) for i, cell in enumerate(line[:-1])), line[-1]])
            for line in lines
        )
    )


def print_text(text: str) -> None:
    """Lines of the result, in which nothing acts on a terminal.

    The command line has stdout write as escapes what its encoding lacks.

    Raises:
        NascError: If they cannot be written.
        BrokenPipeError: If nobody reads them any more.
    """
    _write(printable(text, lines=True))


def _write(text: str) -> None:
    try:
        if sys.stdout is None:  # closed, as by >&-
            raise OSError("it is closed")
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_stdout()
        raise NascError(
            f"cannot write the result to the standard output: {error.strerror or error}. Send it "
            "to a file on another disk, or to a program that reads it"
        ) from error


def _discard_stdout() -> None:
    """Send what waits to be written nowhere: Python would try once more when it ends."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # none, or closed
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
