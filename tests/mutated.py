"""Plain data with one thing changed: what a file from outside may hold."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    *(None, "", "abc", "=1+1", [], {}, [1], {"a": 1}, True, False, 0, -1, 1.5, -0.5),
    *(10**9, 10**30, 1e300, -1e300, "1" * 5000, [[[[]]]], ["x"] * 50, "\x1b[31m"),
)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands, from the outside in."""
    items = enumerate(data) if isinstance(data, list) else ()
    for key, value in data.items() if isinstance(data, dict) else items:
        yield (*path, key)
        yield from places(value, (*path, key))


def mutations(data: Any, count: int, seed: int = 0) -> Iterator[tuple[str, Any]]:
    """So many changed copies: a value replaced, a key removed or added; with what was done."""
    rng = random.Random(seed)
    everywhere = sorted(places(data), key=lambda p: (len(p), rng.random()))
    for number in range(count):
        # Places near the outside come first and again and again: inner ones are many and alike.
        place = everywhere[int(len(everywhere) * rng.random() ** 2)]
        changed = copy.deepcopy(data)
        holder = changed
        for key in place[:-1]:
            holder = holder[key]
        kind = number % 5
        if kind == 0:
            del holder[place[-1]]
            yield f"{place} removed", changed
        elif kind == 1 and isinstance(holder, dict):
            holder["surplus"] = VALUES[number % len(VALUES)]
            yield f"{place[:-1]} with a key more", changed
        else:
            value = rng.choice(VALUES)
            holder[place[-1]] = copy.deepcopy(value)
            yield f"{place} = {str(value)[:30]}", changed
