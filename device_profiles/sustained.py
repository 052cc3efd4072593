"""For how long a device is kept under load before it is measured: bounds and words."""

from __future__ import annotations

MIN_SUSTAINED, MAX_SUSTAINED = 0.1, 120.0
"""Minutes for which a device may be kept under load before it is measured."""


def load_words(minutes: float | None) -> str | None:
    """That a device was kept under load before it was measured, in words; None where not."""
    if minutes is None:
        return None
    return f"after {minutes:g} minute{'' if minutes == 1 else 's'} of load"
