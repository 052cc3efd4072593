"""The latency tables of a run, and the prices of networks by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from nasc.architecture.space import Architecture
from nasc.architecture.variant import Variant
from nasc.context.inputs import RunInputs
from nasc.context.sessions import Sessions
from nasc.errors import NascError, TableMissing
from nasc.latency.costs import TableCosts
from nasc.latency.estimate import estimated_table
from nasc.latency.find import find_table
from nasc.latency.key import LatencyKey
from nasc.latency.mixed_table import mixed
from nasc.latency.more_sizes import SizeNetworks, with_size
from nasc.latency.offline import OfflineSession
from nasc.latency.profile import make_key, profile
from nasc.latency.spot_check import probe
from nasc.latency.table import LatencyTable
from nasc.latency.table_paths import tables_folder

MAX_TABLE_ROUNDS = 3
"""So often tables are measured whose scale a later one shows to be another."""


class LatencyTables:
    """Tables by variant, each measured when first asked for, all on the scale known best.

    Attributes:
        mixed: By variant the table that networks are priced by: the mean over all lengths.
        by_length: By variant the tables that it is made of, the shortest length first.
        probed_ms: By variant, latencies of the few whole networks that were measured to see whether
            its table is needed.
    """

    def __init__(
        self, inputs: RunInputs, sessions: Sessions, shrunk_by: Callable[[], str | None]
    ) -> None:
        """No table is there yet.

        Args:
            inputs: Of the run.
            sessions: Where tables are measured.
            shrunk_by: What is to be said of the latency table that the supernet was shrunk by; None
                where there is nothing, or no supernet so far.
        """
        self.mixed: dict[Variant, LatencyTable] = {}
        self.by_length: dict[Variant, tuple[LatencyTable, ...]] = {}
        self.probed_ms: dict[Variant, Mapping[Architecture, float]] = {}
        self._inputs = inputs
        self._sessions = sessions
        self._shrunk_by = shrunk_by
        self._costs: dict[tuple[Variant, ...], TableCosts] = {}
        self._more_sizes: dict[Variant, tuple[int, ...]] = {}

    def key(self, variant: Variant) -> LatencyKey:
        """What a latency table of a variant holds for under these settings, at the longest."""
        inputs = self._inputs
        return make_key(
            self._sessions.record_baseline(variant.runtime),
            self._sessions.on(variant.runtime),
            inputs.space.geometry,
            precision=variant.precision,
            seq_len=inputs.seq_len,
            batch=inputs.settings.batch,
            head=inputs.graph_head,
            fixed_shape=inputs.settings.fixed_shape,
        )

    def keys(self, variant: Variant) -> tuple[LatencyKey, ...]:
        """The same at each length of the run, the shortest first."""
        key = self.key(variant)
        return tuple(dataclasses.replace(key, seq_len=seq_len) for seq_len in self._inputs.lengths)

    def has(self, variant: Variant) -> bool:
        """Whether the cache has the tables of a variant."""
        try:
            for key in self.keys(variant):
                find_table([tables_folder(self._inputs.cache)], key, self._inputs.space)
        except TableMissing:
            return False
        return True

    def measure_costs(self, variants: Iterable[Variant]) -> TableCosts:
        """Prices in some variants, from latency tables that are measured where there are none.

        Raises:
            CacheBusy: If another process measures for an hour.
            profilers.ProfilerError: If the device cannot be reached or measured.
            NascError: If the device changes its speed faster than tables are measured.
        """
        with self._sessions.saying_ways_on():
            return self._costs_of(tuple(variants))

    def _costs_of(self, variants: tuple[Variant, ...]) -> TableCosts:
        if self._inputs.settings.estimate:
            for variant in variants:
                if variant not in self.mixed:
                    self._estimate(variant)
            tables = [self.mixed[v] for v in variants]
            return TableCosts.of(tables, vocab_size=self._inputs.kept_words)
        for _ in range(MAX_TABLE_ROUNDS):
            missing = [v for v in variants if v not in self.mixed]
            for runtime in dict.fromkeys(v.runtime for v in missing):
                own = [v.precision for v in missing if v.runtime == runtime]
                self._measure_tables(runtime, own)
                self._costs.clear()  # what is known of a runtime's memory may have grown
        if missing := [v for v in variants if v not in self.mixed]:
            raise NascError(
                f"device {self._sessions.device.name!r} changes its speed faster than the latency "
                f"tables of {', '.join(map(str, missing))} are measured. Try again when it is "
                "quiet; what was measured is kept"
            )
        if variants not in self._costs:
            tables = [self.mixed[v] for v in variants]
            reach = max(self._sessions.record_baseline(v.runtime).scale.reach for v in variants)
            self._costs[variants] = TableCosts.of(
                tables,
                self.mixed.values(),
                reach,
                emulated=self._sessions.device.emulated,
                vocab_size=self._inputs.kept_words,
            )
        return self._costs[variants]

    def _estimate(self, variant: Variant) -> None:
        """What the device's file says of a variant. No measurement."""
        inputs, s = self._inputs, self._inputs.settings
        tables = tuple(
            estimated_table(
                self._sessions.device,
                inputs.space,
                runtime=variant.runtime,
                precision=variant.precision,
                seq_len=seq_len,
                batch=s.batch,
                threads=self._sessions.estimate_threads,
                head=inputs.graph_head,
                fixed_shape=s.fixed_shape,
            )
            for seq_len in inputs.lengths
        )
        self._keep(variant, tables)
        inputs.say_once(str(self.note(variant)))

    def _measure_tables(self, runtime: str, precisions: list[str]) -> None:
        inputs, s = self._inputs, self._inputs.settings
        title = f"Latency tables of device {self._sessions.device.name!r}"
        with inputs.timed("profile"):
            found = profile(
                inputs.space,
                self._sessions.on(runtime),
                precisions=precisions,
                seq_lens=tuple(inputs.lengths),
                batches=(s.batch,),
                head=inputs.graph_head,
                fixed_shape=s.fixed_shape,
                seed=s.seed,
                accept_transferred=True,
                progress=inputs.reporter.stage(title),
            )
        # A table's minutes tell more of the quiet time than the seconds before it: what was
        # measured on a busy machine must not be brought back to the scale of those, and tables of
        # several runtimes are compared in milliseconds.
        baseline = self._sessions.renew_baseline(runtime)
        for precision in precisions:
            variant = Variant(runtime, precision)
            own = (one.table for one in found if one.table.key.variant == variant)
            self.by_length[variant] = tuple(own)
        for note in self.notes:
            inputs.say_once(note)
        for variant, tables in list(self.by_length.items()):
            if variant.runtime != runtime:
                continue
            if all(table.is_near(baseline.quiet_ms) for table in tables):
                rescaled = tuple(table.rescaled(baseline.quiet_ms) for table in tables)
                self._keep(variant, rescaled)
            else:  # to be measured again
                del self.by_length[variant]
                self.mixed.pop(variant, None)

    def _keep(self, variant: Variant, tables: tuple[LatencyTable, ...]) -> None:
        """Hold the tables of a variant at each length, and their mean."""
        self.by_length[variant] = tables
        for hidden in self._more_sizes.get(variant, ()):
            tables = self._with_size(variant, tables, hidden)
        shares = tuple(self._inputs.lengths.values())
        self.mixed[variant] = mixed(tables, shares, self._inputs.space)

    def can_measure(self, variant: Variant) -> bool:
        """Whether more can be measured beside the tables of a variant: other sizes, whole networks.

        It cannot where nothing is measured, nor beside a table of another machine.
        """
        if self._inputs.settings.estimate or self._sessions.is_offline:
            return False
        self.measure_costs([variant])
        return all(table.foreign is None for table in self.by_length[variant])

    def measure_size(self, variant: Variant, hidden: int) -> None:
        """Add the costs of one hidden size more to the tables of a variant.

        They are measured now or found in the cache, and are of networks of that size all through:
        no other map into it or out of it has a cost.

        Args:
            variant: Whose tables lack it.
            hidden: Whole heads.

        Raises:
            CacheBusy, NascError, profilers.ProfilerError: See `nasc.latency.spot_check.probe`.
        """
        self.measure_costs([variant])
        self._more_sizes[variant] = (*self._more_sizes.get(variant, ()), hidden)
        self._costs.clear()
        self._keep(variant, self.by_length[variant])

    def _with_size(
        self, variant: Variant, tables: tuple[LatencyTable, ...], hidden: int
    ) -> tuple[LatencyTable, ...]:
        """Tables at each length with one hidden size more."""
        geometry = self._inputs.space.geometry
        networks = SizeNetworks.of(geometry, hidden, variant.precision).all
        progress = self._inputs.reporter.stage(f"Hidden size {hidden} by {variant}")
        with self._inputs.timed("profile"):
            return tuple(
                with_size(
                    table,
                    hidden,
                    probe(networks, table.key, self._sessions.on(variant.runtime), progress),
                )
                for table in tables
            )

    def note(self, variant: Variant) -> str | None:
        """What is to be said of the latency tables of a variant: every `LatencyTable.note`."""
        notes = [table.note for table in self.by_length.get(variant, ())]
        session = self._sessions.opened(variant.runtime)
        if notes and isinstance(session, OfflineSession):
            notes.append(session.note)
        return "; ".join(dict.fromkeys(note for note in notes if note is not None)) or None

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of all latency tables so far, and of the one that the supernet was shrunk by."""
        notes = (*map(self.note, self.by_length), self._shrunk_by())
        return tuple(dict.fromkeys(note for note in notes if note is not None))

    def known_ms(
        self, architecture: Architecture, variants: Iterable[Variant]
    ) -> dict[Variant, float]:
        """What a network takes in some variants, by the tables and probes that there are so far."""
        found: dict[Variant, float] = {}
        for variant in variants:
            own = architecture.with_precision(variant.precision)
            if variant in self.mixed and self.mixed[variant].prices(own):
                found[variant] = self.mixed[variant].latency_ms(own)
            elif own in self.probed_ms.get(variant, {}):
                found[variant] = self.probed_ms[variant][own]
        return found
