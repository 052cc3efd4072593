"""Tables that agree with themselves, as those that are measured do, with samples to them."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthetic_device import TINY, make_table

import profilers
from device_profiles import Noise
from nasc.architecture.space import Architecture, SearchSpace
from nasc.latency.key import options_text
from nasc.latency.table import LatencyTable
from nasc.lowering import get_lowering
from profilers.testing import SyntheticMachine

MARK = "# measured networks:"
QUIET_MS = 3.9


def sound_table(space: SearchSpace = TINY, **changes: Any) -> LatencyTable:
    """A table of the machine that `opener` opens; `changes` as of `make_table`."""
    options = profilers.RuntimeOptions(threads=changes.get("threads", 1)).to_dict()
    reference = profilers.reference_hash()
    about: dict[str, Any] = {
        "fingerprint": "synthetic",
        "runtime_version": "1",
        "options": options_text(options),
        "reference": reference,
        "statistic": profilers.STATISTIC,
        "emitter_version": get_lowering("onnxruntime").VERSION,
        "quiet_ms": QUIET_MS,
    }
    about |= changes
    table = make_table(space, **about)
    key = table.key
    context = {
        "fingerprint": key.fingerprint,
        "runtime_version": key.runtime_version,
        "cpu": {"model": "Made-up CPU @ 2.20GHz"},
        "nasc": "0.1",
        "options": json.loads(key.options) | {"threads": key.threads, "runtime": key.runtime},
        "protocol": {"max_rounds": 36},
        "reference": {"quiet_ms": key.quiet_ms, "content_hash": key.reference},
        "rounds": 4,
        "converged": True,
        "busy": False,
    }
    totals = [table.latency_ms(network_of(table, text)) for text in table.measured["network"]]
    return dataclasses.replace(
        table, context=context, measured=table.measured.assign(predicted_ms=totals)
    )


def network_of(table: LatencyTable, text: str) -> Architecture:
    body, _, precision = text.partition("@")
    blocks = tuple(table.space.parse_block(part) for part in body.split("|"))
    return Architecture(blocks, precision.strip())


def measurement_of(table: LatencyTable, factor: float = 1.0) -> profilers.Measurement:
    """What was measured for a table, the latencies times a factor."""
    scale = profilers.Scale(table.quiet_ms, table.quiet_ms)
    models = []
    for name, latency_ms in zip(
        table.measured["network"], table.measured["latency_ms"], strict=True
    ):
        run_ms = factor * float(latency_ms)
        samples = [
            profilers.RoundSample(
                round=number,
                instance=number // 2,
                runs_ms=(run_ms,),
                own_ms=(run_ms,),
                preempted=(0,),
                undisturbed=True,
                reference_before_ms=table.quiet_ms,
                reference_after_ms=table.quiet_ms,
            )
            for number in range(4)
        ]
        models.append(
            profilers.ModelMeasurement.of(
                str(name), "0" * 16, samples, scale, noise=Noise(), converged=True
            )
        )
    own = (table.quiet_ms,)
    visit = profilers.Visit("reference", 0.0, 0.004, own, own, (0,))
    return profilers.Measurement(
        models=tuple(models),
        reference=profilers.ReferenceMeasurement(
            scale, True, table.quiet_ms, 1.0, table.key.reference, (visit,)
        ),
        context={
            "fingerprint": table.key.fingerprint,
            "runtime_version": table.key.runtime_version,
        },
        options=profilers.RuntimeOptions(threads=table.key.threads),
        protocol={},
        rounds=4,
        drift_ratio=1.0,
        drift=False,
        busy_share=0.0,
        busy=False,
        converged=True,
        duration_s=1.0,
    )


def packed(measurement: profilers.Measurement) -> bytes:
    """Samples as they lie beside a table."""
    return gzip.compress(json.dumps(measurement.to_dict()).encode(), mtime=0)


def written(path: Path, body: str) -> Path:
    """A table's file with a hash that is right, whatever it holds."""
    digest = hashlib.sha256(body.encode()).hexdigest()
    path.write_text(f"# nasc latency table, version 4, sha256 {digest}\n{body}", encoding="utf-8")
    return path


def with_lines(text: str, change: Callable[[list[str]], object]) -> str:
    """The body of a table's text with its lines changed; the first has number 2 in the file."""
    lines = text.splitlines()[1:]
    change(lines)
    return "\n".join(lines) + "\n"


def with_head(text: str, change: Callable[[dict[str, Any]], object]) -> str:
    """The body of a table's text with its head changed."""
    body = text.split("\n", 1)[1]
    top, rest = body.split(f"{MARK}\n")
    head = json.loads("".join(line[2:] for line in top.splitlines()))
    change(head)
    return f"# {json.dumps(head)}\n{MARK}\n{rest}"


def opener(
    device: object = None, options: object = None, limits: object = None, **context: Any
) -> Any:
    """Starts a worker on the made-up machine; `context` changes what it says of itself."""
    worker = SyntheticMachine({}).open()
    worker.context |= context
    return worker


def opener_of(**context: Any) -> Any:
    """An opener of another made-up machine."""
    return lambda *about: opener(*about, **context)
