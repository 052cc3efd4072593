"""The latency table of a mixture of lengths: sums of those of its lengths, by their shares.

The mean latency over a mixture is a sum over the network's layers as that of one length is, so that
the search for the best network stays the same, and exact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from nasc.architecture.space import SearchSpace
from nasc.errors import UsageError
from nasc.latency.cache_misses import Streaming
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Interval
from nasc.latency.table import ENTRY_COLUMNS, LatencyTable

_LAYER = ["kind", "hidden_in", "hidden_out"]


def mixed(
    tables: Sequence[LatencyTable], shares: Sequence[float], space: SearchSpace
) -> LatencyTable:
    """A table of mean latencies over texts of several lengths.

    Nothing in it is surer or lower than the tables say: their errors count as having one cause, so
    that the widest interval is that of the mean, and where weights cost beyond the caches they do
    so from the least number of weights on at which they do at any length. But where jitter and the
    relative error, which are two causes, count about as much, the interval may be narrower than the
    mean of those of the lengths: by a factor of at most the square root of 2.

    Args:
        tables: Of one setting and scale, each of another length.
        shares: Of the texts, of each length; their sum is 1.
        space: Whose layers are needed.

    Returns:
        The table under the key of the longest, for a search alone: it is never saved. A single
        table is returned as it is.

    Raises:
        UsageError: If the tables are of different settings.
    """
    if len(tables) == 1:
        return tables[0]
    last = max(tables, key=lambda table: table.key.seq_len)
    for table in tables:
        if _without_length(table.key) != _without_length(last.key):
            raise UsageError(
                "latency tables of different settings make no mixture: "
                f"{last.key.describe()} and {table.key.describe()}"
            )
    weighed = list(zip(tables, shares, strict=True))
    indexed = [table.entries.set_index(_LAYER)[["cost_ms", "std_error_ms"]] for table in tables]
    summed = sum(share * own for own, share in zip(indexed, shares, strict=True))
    entries = summed.dropna().reset_index()  # type: ignore[union-attr]  # layers of all of them
    priced = [(share * t.streaming.ms_per_param, t.streaming.beyond_params) for t, share in weighed]
    priced = [(ms, beyond) for ms, beyond in priced if ms > 0]
    # What is to be said of any of them is said of all: the worst of it first.
    told = max(tables, key=lambda table: (table.emulated, table.foreign is not None))
    bases = [t.runtime_base_bytes for t in tables if t.runtime_base_bytes is not None]
    return dataclasses.replace(
        last,
        space=space,
        entries=entries[ENTRY_COLUMNS],
        streaming=Streaming(min(b for _, b in priced), sum(ms for ms, _ in priced))
        if priced
        else Streaming(),
        interval=Interval(
            max(table.interval.scale for table in tables),
            min(table.interval.dof for table in tables),
            min(table.interval.confidence for table in tables),
            max(table.interval.shift for table in tables),
            max(table.interval.jitter_ms for table in tables),
        ),
        measured=max(tables, key=lambda table: table.bound_ratio).measured,
        runtime_base_bytes=max(bases, default=None),
        imported=told.imported,
        transferred=next((t.transferred for t in tables if t.transferred is not None), None),
        context=told.context,
    )


def _without_length(key: LatencyKey) -> LatencyKey:
    return dataclasses.replace(key, seq_len=1)
