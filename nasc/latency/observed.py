"""A latency of the quiet machine beside the runs as observed, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Observed(Protocol):
    """What is looked at of a `profilers.ModelMeasurement`, in milliseconds."""

    @property
    def upper_ms(self) -> float:
        """Upper bound of the statistic of record."""
        ...

    @property
    def p50_ms(self) -> float:
        """Median of all runs as observed."""
        ...


def meaning(model: Observed) -> str | None:
    """What a stated latency means where half of the runs took longer; None where they did not."""
    if model.p50_ms <= model.upper_ms:
        return None
    return f"the quiet machine's; half of the runs just now took more than {_ms(model.p50_ms)}"


def warnings(
    model: Observed, limits: Mapping[str, float], quantile: str | None = None
) -> list[str]:
    """What holds on the quiet machine only, and how to have it held as observed.

    Args:
        model: The latency as measured.
        limits: Of the package, by name; ``latency_ms`` is looked at.
        quantile: What was held to the limit; None is the statistic of record.
    """
    limit = limits.get("latency_ms")
    if limit is None or quantile is not None or model.p50_ms <= limit:
        return []
    return [
        f"half of the runs just now took more than {_ms(model.p50_ms)}, the limit is {limit:g} "
        "ms: it holds on the quiet machine. To hold it on a machine as busy as that: --quantile p50"
    ]


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value >= 1 else f"{value:.3g} ms"
