"""Signals that wait: for what must not be left half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that end a command."""


@contextmanager
def interrupts_held(numbers: Collection[int] = (signal.SIGINT,)) -> Iterator[None]:
    """Signals inside take effect at the end. Other threads never see one: nothing to hold.

    Args:
        numbers: Of the signals: Ctrl-C, unless more are named (`ENDING`).
    """
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread() or None in before.values():
        yield
        return
    held: list[int] = []
    for number in numbers:
        signal.signal(number, lambda number, frame: held.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])
