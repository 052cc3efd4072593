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


def meaning(model: Observed, mean_p50_ms: float | None = None) -> str | None:
    """What a stated latency means where half of the runs took longer; None where they did not.

    Args:
        model: The latency as measured.
        mean_p50_ms: Of a mixture of lengths, whose latency is a mean: that of the medians at each.
            The median of all its runs says how its lengths differ, not how busy the machine is.
    """
    if mean_p50_ms is not None:
        if mean_p50_ms <= model.upper_ms:
            return None
        return f"the quiet machine's; the medians of the runs just now: mean {_ms(mean_p50_ms)}"
    if model.p50_ms <= model.upper_ms:
        return None
    return f"the quiet machine's; half of the runs just now took more than {_ms(model.p50_ms)}"


def warnings(
    model: Observed,
    limits: Mapping[str, float],
    quantile: str | None = None,
    mean_p50_ms: float | None = None,
) -> list[str]:
    """What holds on the quiet machine only, and how to have it held as observed.

    Args:
        model: The latency as measured.
        limits: Of the package, by name; ``latency_ms`` is looked at.
        quantile: What was held to the limit; None is the statistic of record.
        mean_p50_ms: Of a mixture of lengths: see `meaning`.
    """
    limit = limits.get("latency_ms")
    p50_ms = model.p50_ms if mean_p50_ms is None else mean_p50_ms
    if limit is None or quantile is not None or p50_ms <= limit:
        return []
    if mean_p50_ms is not None:  # no quantile of a mixture is held to a limit
        return [
            f"the medians of the runs just now at each length: mean {_ms(p50_ms)}, the limit is "
            f"{limit:g} ms: it holds on the quiet machine. Measure it again when this one is "
            "quiet: nasc verify PACKAGE"
        ]
    return [
        f"half of the runs just now took more than {_ms(model.p50_ms)}, the limit is {limit:g} "
        "ms: it holds on the quiet machine. To hold it on a machine as busy as that: --quantile p50"
    ]


def _ms(value: float) -> str:
    return f"{value:.2f} ms" if value >= 1 else f"{value:.3g} ms"
