"""A table for who wants to know it: where it comes from, how far it is off, what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nasc.latency.listing import ListedTable, mean_error
from nasc.latency.table import LatencyTable
from profilers.heating import told_of_load
from profilers.telemetry import disturbances


@dataclass(frozen=True, slots=True)
class TableReport:
    """A table and what is known of it.

    Attributes:
        listed: Its file, and whether it may be used.
        table: The table.
    """

    listed: ListedTable
    table: LatencyTable

    @property
    def entries(self) -> list[tuple[str, int, int, float, float]]:
        """Kind, hidden sizes in and out, cost and standard error in ms; the dearest first."""
        columns = ["kind", "hidden_in", "hidden_out", "cost_ms", "std_error_ms"]
        rows = [
            (str(kind), int(hidden_in), int(hidden_out), float(cost_ms), float(error_ms))
            for kind, hidden_in, hidden_out, cost_ms, error_ms in self.table.entries[
                columns
            ].itertuples(index=False, name=None)
        ]
        return sorted(rows, key=lambda row: (-row[3], row[:3]))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it: costs in ms, errors as shares."""
        t, held_out = self.table, self.table.held_out
        key = t.as_measured().key
        return self.listed.to_dict() | {
            "table": t.key.describe(),
            "options": key.options,
            "statistic": key.statistic,
            "reference": key.reference,
            "quiet_ms": key.quiet_ms,
            "emitter_version": key.emitter_version,
            "nasc": _told(t.context.get("nasc")),
            "system": _told(t.context.get("system")),
            "governor": _told(t.context.get("governor")),
            "protocol": _record(t.context.get("protocol")),
            "rounds": t.context.get("rounds"),
            "converged": t.context.get("converged"),
            "busy": t.context.get("busy"),
            "busy_share": t.context.get("busy_share"),
            "drift_ratio": t.context.get("drift_ratio"),
            "telemetry": t.context.get("telemetry"),
            "sustained": t.context.get("sustained"),
            "seconds": dict(t.times),
            "held_out_networks": len(held_out),
            "largest_error": float(np.max(np.abs(held_out))) if held_out else None,
            "bias": float(np.mean(held_out)) if held_out else None,
            "interval": {
                "confidence": t.interval.confidence,
                "half_width": t.interval.half_width,
                "shift": t.interval.shift,
                "jitter_ms": t.interval.jitter_ms,
            },
            "streaming": {
                "beyond_params": t.streaming.beyond_params,
                "ms_per_param": t.streaming.ms_per_param,
            },
            "runtime_base_bytes": t.runtime_base_bytes,
            "costs": [
                {
                    "kind": kind,
                    "hidden_in": hidden_in,
                    "hidden_out": hidden_out,
                    "cost_ms": cost_ms,
                    "std_error_ms": error_ms,
                }
                for kind, hidden_in, hidden_out, cost_ms, error_ms in self.entries
            ],
        }

    def rows(self) -> list[tuple[str, str]]:
        """Provenance and accuracy for people: names and values."""
        d, t = self.to_dict(), self.table
        errors = "none was held out"
        if (mean := mean_error(t)) is not None:
            errors = (
                f"mean {mean:.2%}, largest {d['largest_error']:.2%}, bias {d['bias']:+.2%} of "
                f"{d['held_out_networks']} networks"
            )
        seconds = ", ".join(f"{n.removesuffix('_s')} {s:.1f}" for n, s in d["seconds"].items())
        protocol = ", ".join(f"{name} {value}" for name, value in d["protocol"].items())
        visits = disturbances(d["telemetry"], above=-1.0)
        busy = {True: "busy", False: "quiet enough", None: "not told"}[d["busy"]]
        return [
            ("table", d["table"]),
            ("usable here", "yes" if self.listed.unusable is None else f"no: {d['reason']}"),
            *([] if t.note is None else [("note", t.note)]),
            *([] if t.imported is None else [("imported", t.imported.imported_utc)]),
            ("measured", f"{d['created']} by nasc {d['nasc'] or '(version not told)'}"),
            ("processor", f"{d['processor']} (fingerprint {d['fingerprint']})"),
            ("system", f"{d['system'] or 'not told'}, governor {d['governor'] or 'not told'}"),
            ("runtime", f"{d['runtime']} {d['runtime_version']}, threads {d['threads']}"),
            ("statistic", d["statistic"]),
            ("reference", f"{d['quiet_ms']:.4g} ms when quiet ({d['reference']})"),
            ("machine", f"{busy}; rounds {d['rounds']}, converged {d['converged']}"),
            *([("visits", "; ".join(visits))] if visits else []),
            *(("load", text) for text in told_of_load(d["sustained"])),
            ("protocol", protocol or "not told"),
            ("seconds", seconds),
            ("search space", f"{d['space']}, {d['networks']} networks measured"),
            ("held-out error", errors),
            (
                f"{d['interval']['confidence']:.0%} interval",
                f"+-{d['interval']['half_width']:.2%}, jitter {d['interval']['jitter_ms']} ms",
            ),
            ("file", d["path"]),
        ]


def _told(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _record(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}
