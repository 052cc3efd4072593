"""A device that is not there, as its latency tables know it: enough to predict, never to measure.

What a table holds for (processor, version of the runtime, scale) is what would be asked of the
device. Nothing is checked against it; when it is next reached, its own fingerprint decides which
tables are its, as always.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import profilers
from nasc.latency.find import tables_of
from nasc.latency.session import MeasurementSession
from nasc.latency.table import LatencyTable
from nasc.latency.table_paths import tables_folder
from nasc.utils.printable import printable
from profilers.baseline import Window
from profilers.statistic import stretches_reach


@dataclass(frozen=True, slots=True)
class OfflineSession(MeasurementSession):
    """A session on a device that cannot be reached.

    Attributes:
        known: The table that the device is known by.
    """

    known: LatencyTable = dataclasses.field(kw_only=True)

    @property
    def _context(self) -> Mapping[str, Any]:
        key = self.known.key
        return dict(
            self.known.context,
            fingerprint=key.fingerprint,
            runtime_version=key.runtime_version,
        )

    def records_sha256(self, precision: str) -> str:
        """Those that the table was measured with, where it is of that precision."""
        if self.tuned and precision == self.known.key.precision:
            return self.known.key.records
        return MeasurementSession.records_sha256(self, precision)

    @property
    def note(self) -> str:
        """What everything made from its tables says."""
        key = self.known.key
        return printable(
            f"device {self.device.name!r} could not be reached: predicted from its latency tables "
            f"alone, not measured, and not checked against it (fingerprint {key.fingerprint}, "
            f"{key.runtime} {key.runtime_version})"
        )

    def known_baseline(self) -> profilers.ReferenceBaseline:
        """That of the table: its scale, as one stretch of half a minute shows it."""
        key, quiet_ms = self.known.key, self.known.quiet_ms
        reach = stretches_reach(self.device.noise)
        return profilers.ReferenceBaseline(
            scale=profilers.Scale(quiet_ms, quiet_ms * math.exp(reach)),
            key={
                "fingerprint": key.fingerprint,
                "runtime_version": key.runtime_version,
                "options": self.options.to_dict(),
                "reference": key.reference,
            },
            windows=(Window(self.known.created, 1.0, (quiet_ms,)),),
            busy_share=0.0,
            busy=False,
            path=self._records / "none.json",
            fresh=False,
        )

    def baseline(
        self, *, renew: bool = False, progress: object = None
    ) -> profilers.ReferenceBaseline:
        """As `known_baseline`: there is nothing to record it on."""
        return self.known_baseline()


def offline_session(
    session: MeasurementSession, why: profilers.DeviceUnreachable
) -> OfflineSession | None:
    """A session whose device cannot be reached, by the best table of it in the cache.

    One that was measured from this cache comes before an imported one, then the newest.

    Args:
        session: On the device.
        why: It cannot be reached; raised again by whatever would measure.

    Returns:
        None where there is no table that it could be known by.
    """
    fixed = session.fixed_fields() | {
        "device": session.device.name,
        "runtime": session.runtime,
        "threads": session.options.threads,
    }
    found = [
        table
        for table in tables_of([tables_folder(session.cache_dir)], session.device.name)
        if not table.emulated
        and all(getattr(table.key, name) == value for name, value in fixed.items())
    ]
    if not found:
        return None
    best = max(found, key=lambda table: (table.imported is None, table.created))

    def lost(*_: object) -> profilers.Worker:
        raise why

    own = {one.name: getattr(session, one.name) for one in dataclasses.fields(MeasurementSession)}
    own["opener"] = lost
    return OfflineSession(**own, known=best)


def unreachable(session: MeasurementSession) -> profilers.DeviceUnreachable | None:
    """Why the device of a session cannot be reached now; None where it can.

    Raises:
        profilers.ProfilerError: If it is reached, and does not work.
    """
    try:
        session.ask()
    except profilers.DeviceUnreachable as error:
        return error
    return None
