"""The whole Pareto front of a chain: column 0 against column 1, under the other limits."""

from __future__ import annotations

import numpy as np

from nasc.search.chain import Chain, Options, rest
from nasc.search.paths import Paths, extended, joined, renumbered, room, start, thinned, thinned_options
from nasc.search.skyband import skyband

_MAX_PAIRS = 1_000_000


def skyline(chain: Chain) -> list[tuple[int, ...]]:
    """Paths within the limits that none other betters in one of columns 0 and 1 for free.

    Of paths with the same column 0 those stay that come first by rank up to some column 1,
    so that the caller may call different values of column 1 equal. Every block's kinds are
    reduced to their best, paths are lengthened position by position, and of those at one
    size only the ones stay that no other dominates in column 0, column 1 and whatever
    limits still bear on them.

    Returns:
        Candidates picked, by path.
    """
    ahead = rest(chain)
    place = room(chain, ahead, 0, chain.start_size, np.inf)
    paths = start(chain)
    first = paths[chain.start_size]
    if not place.fits(first.values, first.live).all():
        return []
    for p, leads in enumerate(chain.leads):
        longer = {}
        for h in np.unique(leads.size).tolist():
            place = room(chain, ahead, p + 1, h, np.inf)
            options = thinned_options(chain, leads.take(leads.size == h), 1, (1,))
            kept: list[Paths] = []
            for g, before in paths.items():
                for lot in _lots(before, options):
                    some = before.take(lot)
                    pairs = (
                        np.repeat(np.arange(len(some)), len(options.rank)),
                        np.tile(np.arange(len(options.rank)), len(some)),
                    )
                    more = extended(chain, p, some, options, (g, h), pairs, place)
                    kept = [thinned(joined([*kept, more]), place, 1, (1,))]
            if kept and len(kept[0]):
                longer[h] = kept[0]
        if not longer:
            return []
        paths = renumbered(longer)
    found = joined(
        [Paths(q.values + chain.end_values[h], q.live, q.rank, q.trail) for h, q in paths.items()]
    )
    kept = skyband(found.values[:, 0], found.rank, found.values[:, 1:2], 1)
    return [tuple(row) for row in found.trail[kept].tolist()]


def _lots(paths: Paths, options: Options) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    lot = max(1, _MAX_PAIRS // len(options.rank))
    return [np.arange(i, min(i + lot, len(paths))) for i in range(0, len(paths), lot)]
