"""A budget of time, turned into a number of steps once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from device_profiles.reading import FileRefused, read_json
from nasc.errors import CheckpointError, UsageError
from nasc.utils.files import write_atomically

PROBE_SHARE = 0.03
PROBE_STEPS = 4
"""Steps are timed for this share of a budget, and this many at least, to turn it into a number of
steps; the first is left out. Fewer would be at the mercy of one quick or slow second."""

MAX_STEPS = 10**12
"""More than any run does, and what the header of a supernet may say."""

_SCHEMA = {
    "type": "object",
    "required": ["steps"],
    "properties": {"steps": {"type": "integer", "minimum": 0, "maximum": MAX_STEPS}},
}

MAX_MINUTES = 366 * 24 * 60
"""Of a training."""


def mean_step_s(one: Callable[[int], None], seconds: float) -> float:
    """How long a step of a training takes, on average.

    Args:
        one: Does a step without changing any weight.
        seconds: The budget that is to be turned into steps.
    """
    one(0)
    begin, step = time.perf_counter(), 0
    while step < PROBE_STEPS or time.perf_counter() - begin < PROBE_SHARE * seconds:
        step += 1
        one(step)
    return (time.perf_counter() - begin) / step


def recorded_steps(path: Path, decide: Callable[[], int]) -> int:
    """A number of steps, decided the first time and read from a file after that.

    A decision above `MAX_STEPS` counts as that.

    Raises:
        CheckpointError: If the file is damaged, or cannot be written.
    """
    try:
        return int(read_json(path, 1 << 20, _SCHEMA)["steps"])
    except FileNotFoundError:
        pass
    except (OSError, FileRefused) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Delete it and run again") from error
    steps = min(decide(), MAX_STEPS)
    try:
        write_atomically(path, json.dumps({"steps": steps}).encode())
    except OSError as error:
        raise CheckpointError(
            f"cannot write {path}: {error.strerror or error}. Free the disk, or use another cache: "
            "--cache DIR"
        ) from error
    return steps


def check_budget(minutes: float) -> None:
    """Raise unless a budget in minutes makes sense.

    Raises:
        UsageError: If it is negative, not finite or over `MAX_MINUTES`.
    """
    if not 0 <= minutes <= MAX_MINUTES:
        raise UsageError(
            f"a budget in minutes must be from 0 to {MAX_MINUTES:,} (a year), got {minutes:g}"
        )
