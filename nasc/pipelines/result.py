"""What `nasc compile` gives: the package, and what was found on the way."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nasc.architecture.space import SMALLER
from nasc.architecture.variant import Variant
from nasc.latency import observed
from nasc.latency.memory import file_bytes
from nasc.networks.network import Network
from nasc.package.conditions import Conditions
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency, PredictedLatency
from nasc.package.quality import quality_texts


@dataclass(frozen=True, slots=True)
class Attempt:
    """A measurement of a network on the device.

    Attributes:
        architecture: Text form.
        runtime: What ran it.
        predicted: Latency from the tables.
        latency_ms: Measured, the statistic of record.
        held_ms: What was held to the limit: its upper bound, or that of the quantile; None if
            the time that a measurement may take did not find one.
        met: Whether all limits were met.
        note: What was missed and what followed, or nothing.
    """

    architecture: str
    runtime: str
    predicted: PredictedLatency
    latency_ms: float
    held_ms: float | None
    met: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class CompileResult:
    """A package and what is known of it.

    Attributes:
        manifest: Everything that the package says of itself.
        attempts: Measurements of networks, in order.
        package: The folder.
        seconds: Spent by stage.
        network: What is in the package, with its weights.
        folders: By format, what was written beside the package.
        latency_not_stated: By format of those, why no latency of it is stated, and what was
            measured.
        others_ms: By other variants what the same network is predicted to take, where it is known.
        build_sha256: Of manifest.json, which lists the hashes of all that was not measured.
    """

    manifest: Manifest
    attempts: tuple[Attempt, ...]
    package: Path
    seconds: Mapping[str, float]
    network: Network
    others_ms: Mapping[Variant, float] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)
    latency_not_stated: Mapping[str, str] = field(default_factory=dict)
    build_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `--json` prints it."""
        m = self.manifest
        measured = m.measured
        return {
            "architecture": str(m.architecture),
            "precision": m.architecture.precision,
            "limits": dict(m.limits),
            "conditions": _conditions(m.conditions),
            "estimate": m.estimate,
            **({} if m.tuned is None else {"tuned": m.tuned.to_dict()}),
            "predicted": None if m.predicted is None else dataclasses.asdict(m.predicted),
            "measured": None
            if measured is None
            else {
                "latency_ms": measured.latency_ms,
                "upper_ms": measured.upper_ms,
                "p50_ms": measured.p50_ms,
                "p90_ms": measured.p90_ms,
                "p99_ms": measured.p99_ms,
                "samples": [list(runs) for runs in measured.model.samples_ms],
            }
            | ({"lengths": _lengths(measured)} if measured.parts else {})
            | ({} if measured.stream is None else {"single_stream": measured.stream.to_dict()}),
            "others": [
                {"runtime": v.runtime, "precision": v.precision, "latency_ms": ms}
                for v, ms in self._others()
            ],
            "warnings": self.warnings(),
            "query_only": m.query_only,
            "tokenisation_ms": m.tokenisation_ms,
            "size_bytes": m.size_bytes,
            "larger_bytes": self.larger(),
            "params": m.params,
            "peak_memory_bytes": m.peak_memory.measured_bytes,
            "quality": dict(m.quality),
            "attempts": [dataclasses.asdict(attempt) for attempt in self.attempts],
            "package": str(self.package),
            "build_sha256": self.build_sha256,
            "text": m.text.description,
            "training": dataclasses.asdict(m.training),
            "seconds": dict(self.seconds),
            "vocabulary": None if m.vocabulary is None else dataclasses.asdict(m.vocabulary),
        } | self._beside()

    def _beside(self) -> dict[str, Any]:
        """Plain data of what lies beside the package; nothing where nothing does."""
        if not self.folders:
            return {}
        paths = {name: str(path) for name, path in self.folders.items()}
        return {"folders": paths, "latency_not_stated": dict(self.latency_not_stated)}

    def _others(self) -> list[tuple[Variant, float]]:
        """The other variants, the fastest first."""
        return sorted(self.others_ms.items(), key=lambda one: one[1])

    def tight(self) -> list[str]:
        """What of the package may be found over its limit another time."""
        own = (str(self.manifest.architecture), self.manifest.conditions.runtime)
        last = [a.note for a in self.attempts if (a.architecture, a.runtime) == own and a.met][-1:]
        return [f"{note}: nasc verify may find it over" for note in last if note]

    def larger(self) -> dict[str, int]:
        """What the file would take at most without each choice that made it smaller, in bytes."""
        m, truer = self.manifest, SMALLER.get(self.manifest.precision)
        runtime, cut, found = m.conditions.runtime, m.vocabulary, {}
        if truer is not None:
            network = m.architecture.with_precision(truer)
            found[f"in {truer}"] = file_bytes(network, runtime, m.geometry, m.head)
        if cut is not None:
            whole = dataclasses.replace(m.geometry, vocab_size=cut.of_tokens)
            size = file_bytes(m.architecture, runtime, whole, m.head)
            found["with the whole vocabulary"] = size
        return found

    def warnings(self) -> list[str]:
        """What a reader of the figures should know."""
        m = self.manifest
        if m.measured is None:
            return [] if m.latency_table is None else [m.latency_table]
        return [
            *([] if m.latency_table is None else [m.latency_table]),
            *observed.warnings(m.measured, m.limits, m.conditions.quantile, m.measured.mean_p50_ms),
            *self.tight(),
            *m.measured.measurement.warnings(),
        ]

    def rows(self) -> list[tuple[str, str]]:
        """The result for people: names and values."""
        m, d = self.manifest, self.to_dict()
        held = {"latency_ms": "ms", "size_bytes": "bytes", "peak_memory_bytes": "bytes"}
        limits = ", ".join(f"{n} {v:g} {held.get(n, '')}".strip() for n, v in m.limits.items())
        rows = [
            ("package", _from_here(self.package)),
            *(
                (f"in {name.upper()}", f"{_from_here(path)}; its latency was not measured")
                for name, path in self.folders.items()
            ),
            ("architecture", str(m.architecture)),
            *([("for", f"queries alone; documents by {m.teacher.name}")] if m.query_only else []),
            ("limits", f"{limits}: {'met' if m.estimate is None else 'ESTIMATED to be met'}"),
            ("conditions", str(m.conditions)),
            *([] if m.tuned is None else [("kernels", str(m.tuned))]),
        ]
        if m.measured is not None and m.predicted is not None:
            model, p = m.measured, m.predicted
            mean = "mean " if model.parts else ""
            rows += [
                (
                    "measured",
                    f"{mean}{model.latency_ms:.2f} ms, at most {model.upper_ms:.2f} (95%); "
                    f"predicted {p.latency_ms:.2f} ({p.low_ms:.2f} to {p.high_ms:.2f})",
                ),
                *(
                    (
                        "",
                        f"{one['seq_len']} tokens, {one['share']:.1%} of the texts: "
                        f"{one['latency_ms']:.2f} ms, at most {one['upper_ms']:.2f}",
                    )
                    for one in model.lengths()
                ),
                *(
                    []
                    if (means := observed.meaning(model, model.mean_p50_ms)) is None
                    else [("", means)]
                ),
                (
                    "observed",
                    f"p50 {model.p50_ms:.2f}, p90 {model.p90_ms:.2f}, p99 {model.p99_ms:.2f} ms",
                ),
            ]
            quantile = m.conditions.quantile
            if quantile is not None:
                held_ms = m.measured.held_ms(quantile)
                stream = m.measured.stream
                if stream is None:
                    rows.append(("held", f"{quantile} at most {held_ms:.2f} ms (95%)"))
                else:
                    rows += [("held", str(stream)), ("", stream.rules)]
        if m.estimate is not None and m.predicted is not None:
            p = m.predicted
            rows.append(("ESTIMATE", f"{p.latency_ms:.2f} ms ({p.low_ms:.2f} to {p.high_ms:.2f})"))
        rows += [("note", text) for text in self.warnings()]
        if self.others_ms:
            others = ", ".join(f"{variant} {ms:.2f} ms" for variant, ms in self._others())
            how = "by tables and probes" if m.estimate is None else "ESTIMATE"
            rows.append(("otherwise", f"the same network by {others} ({how})"))
        peak = d["peak_memory_bytes"]
        rows += [
            ("tokenisation", f"{m.tokenisation_ms:.2f} ms, not included"),
            ("model file", f"{m.size_bytes / 1e6:.1f} MB, {m.params / 1e6:.1f}M parameters"),
            *(("", f"{size / 1e6:.1f} MB {how}") for how, size in self.larger().items()),
            *([] if m.vocabulary is None else [("vocabulary", str(m.vocabulary))]),
            ("peak memory", "not measured" if peak is None else f"{peak / 1e6:.0f} MB"),
            (
                "quality",
                ", ".join(
                    f"{name} {text}" if isinstance(m.quality[name], float) else f"{text} {name}"
                    for name, text in quality_texts(m.quality).items()
                    if not isinstance(m.quality[name], str)
                ),
            ),
            *([] if m.architecture.is_teacher else [("training", str(m.training))]),
            ("text", m.text.description),
            (
                "time",
                ", ".join(f"{stage} {s:.0f} s" for stage, s in self.seconds.items() if s >= 0.5),
            ),
        ]
        return rows


def _conditions(conditions: Conditions) -> dict[str, Any]:
    """All of them as plain data."""
    values = dataclasses.asdict(conditions)
    del values["lengths"]
    lengths = conditions.lengths
    return values | ({} if lengths is None else {"lengths": lengths.to_dict()})


def _lengths(measured: MeasuredLatency) -> list[dict[str, Any]]:
    """What was measured at each length of a mixture, with its runs."""
    pairs = zip(measured.lengths(), measured.models, strict=True)
    return [one | {"samples": [list(runs) for runs in model.samples_ms]} for one, model in pairs]


def _from_here(path: Path) -> str:
    """A path as short as it may be typed in the current folder."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
