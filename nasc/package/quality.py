"""Figures of quality in a manifest, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

INTERVAL = ("_low", "_high")
"""Endings of names whose figures are the ends of an interval: of the figure without them."""


def without_intervals(quality: Mapping[str, Any]) -> dict[str, Any]:
    """The figures that are no end of another's interval."""
    ends = {name + ending for name in quality for ending in INTERVAL}
    return {name: value for name, value in quality.items() if name not in ends}


def quality_texts(quality: Mapping[str, Any]) -> dict[str, str]:
    """Each figure by name: ``0.7262 (0.7178 to 0.7345)`` where it has an interval."""
    return {name: _text(name, value, quality) for name, value in without_intervals(quality).items()}


def _text(name: str, value: Any, quality: Mapping[str, Any]) -> str:
    ends = [quality.get(name + ending) for ending in INTERVAL]
    if not isinstance(value, float) or not all(isinstance(end, float) for end in ends):
        return f"{value:.4f}" if isinstance(value, float) else str(value)
    return f"{value:.4f} ({ends[0]:.4f} to {ends[1]:.4f})"
