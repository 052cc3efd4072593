"""Latencies of a device that nobody measured, from what its maker states. An ESTIMATE, no table.

The cost of a layer is a roofline (Williams, Waterman and Patterson, Communications of the ACM 52,
2009) with what lies beside the matrix products:

    multiply-accumulates / (peak x EFFICIENCY) + element-wise values / rate + fixed cycles

The peak comes from the device's file (`[[peaks]]`: clock, vector units, dot-product instructions).
There is no roof of the memory: a network of at most some million weights reads each once for a
whole sentence, which is far from it at the lengths that encoders work on. The other numbers are
what networks measured on one processor come to, see below; that they hold for another one is not
known, and the interval says so.
"""

from __future__ import annotations

import pandas as pd

import profilers
from device_profiles import DeviceProfile, Peak
from nasc.architecture.layers import Layer, layer_macs
from nasc.architecture.space import SearchSpace
from nasc.errors import UsageError
from nasc.latency.basis import elementwise_values, space_layers
from nasc.latency.cache_misses import Streaming
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Interval
from nasc.latency.table import ENTRY_COLUMNS, MEASURED_COLUMNS, LatencyTable
from nasc.version import __version__

EFFICIENCY = 0.75
"""Part of the peak that matrix products reach. Two tables of 58 networks each, onnxruntime 1.32,
Sapphire Rapids server at 2.0 GHz, one thread, length 128 (2026-11-28 and 29): 0.80 in fp32 (51 of
64 GMAC/s), 0.91 and 1.08 in int8 (234 and 276 of 256); beyond the nominal clock there is a higher
one."""

VALUES_PER_LANE_CYCLE = 0.016
"""Element-wise values in a cycle for each fp32 multiply-accumulate of the peak (the same tables:
0.0163 in fp32, 0.009 and 0.011 in int8)."""

LAYER_CYCLES = 45_000
"""Of a layer whatever its size (the same tables in fp32; 0 to be told from the rest in int8)."""

THREAD_SHARE = 0.7
"""What each further thread adds (chosen, 2026)."""

SCALE, DOF = 0.55, 30
"""Of the interval: from next to nothing to nearly twice the estimate (chosen, 2026). On the server
that the constants come from, sums of such costs are off by 4 to 7% in the mean and 28% at most;
another one, of another instruction set, may reach another part of its peak, by a factor of 2."""

UNKNOWN = "not known: estimated"


def peak_of(device: DeviceProfile, threads: int) -> Peak:
    """The cores that an estimate is for: the fastest of which enough are there.

    Raises:
        UsageError: If the device's file states none, or there are not so many.
    """
    stated = {peak.core: peak for peak in device.peaks}
    for cluster in device.clusters:
        if cluster.core in stated and cluster.count >= threads:
            return stated[cluster.core]
    if not stated:
        raise UsageError(
            f"--estimate: the file of device {device.name!r} states no [[peaks]] to estimate from "
            f"('{device.path}'). Measure a table instead: nasc profile --device {device.name}"
        )
    raise UsageError(
        f"--estimate: device {device.name!r} has no {threads} cores of one kind whose [[peaks]] "
        f"are stated: {', '.join(stated)}. Take fewer: --threads 1"
    )


def estimated_precisions(device: DeviceProfile, threads: int) -> tuple[str, ...]:
    """Precisions whose peak is stated.

    Raises:
        UsageError: See `peak_of`.
    """
    peak = peak_of(device, threads)
    return ("fp32", *(["int8"] if peak.int8_macs_per_cycle is not None else []))


def layer_ms(
    layer: Layer,
    peak: Peak,
    space: SearchSpace,
    precision: str,
    seq_len: int,
    batch: int,
    threads: int,
) -> float:
    """The estimated cost of a layer in ms.

    Args:
        layer: Of a network of the space.
        peak: Of a core, in multiply-accumulates a cycle, with its clock in MHz.
        space: Whose geometry the layer has.
        precision: ``fp32`` or ``int8``.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        threads: That share the products, each further one adding `THREAD_SHARE`.

    Raises:
        UsageError: If no peak is stated for the precision.
    """
    per_cycle = peak.fp32_macs_per_cycle if precision == "fp32" else peak.int8_macs_per_cycle
    if per_cycle is None or precision not in ("fp32", "int8"):
        raise UsageError(f"--estimate: no peak of {peak.core} is stated for {precision}")
    together = 1 + THREAD_SHARE * (threads - 1)
    cycles_per_ms = 1e3 * peak.clock_mhz
    macs = layer_macs(layer, space.geometry, seq_len) * batch
    values = elementwise_values(layer, space.geometry, seq_len, batch)
    matrices = macs / (per_cycle * EFFICIENCY)
    others = values / (peak.fp32_macs_per_cycle * VALUES_PER_LANE_CYCLE)
    return ((matrices + others) / together + LAYER_CYCLES) / cycles_per_ms


def estimated_table(
    device: DeviceProfile,
    space: SearchSpace,
    *,
    runtime: str,
    precision: str,
    seq_len: int,
    batch: int,
    threads: int,
    head: str,
    fixed_shape: bool,
) -> LatencyTable:
    """Costs of all layers by what is stated of a device. Never saved, and never a measurement.

    Args:
        device: That states peaks.
        space: Whose layers are priced.
        runtime: Name that stands in the table's key; no runtime decides a cost.
        precision: ``fp32`` or ``int8``.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        threads: Of the runtime.
        head: Of the networks, see `nasc.architecture.heads`.
        fixed_shape: Whether networks take inputs of one batch and length alone.

    Returns:
        Costs in ms with their deviations, `SCALE` of each; a quiet time of the reference of 1 ms,
        for there is none.

    Raises:
        UsageError: If the device's file does not state what is needed.
    """
    peak = peak_of(device, threads)
    rows = []
    for layer in space_layers(space, head):
        free = layer.head == head and layer.hidden_in == layer.hidden_out
        cost = 0.0 if free else layer_ms(layer, peak, space, precision, seq_len, batch, threads)
        rows.append((layer.kind, layer.hidden_in, layer.hidden_out, cost, SCALE * cost))
    key = LatencyKey(
        device=device.name,
        precision=precision,
        geometry=space.geometry,
        seq_len=seq_len,
        batch=batch,
        threads=threads,
        runtime=runtime,
        head=head,
        fingerprint=UNKNOWN,
        runtime_version=UNKNOWN,
        options="{}",
        emitter_version=0,
        statistic=profilers.STATISTIC,
        reference=UNKNOWN,
        quiet_ms=1.0,
        fixed_shape=fixed_shape,
        accelerator=device.accelerator.kind,
    )
    return LatencyTable(
        key=key,
        space=space,
        seed=0,
        entries=pd.DataFrame(rows, columns=ENTRY_COLUMNS),
        streaming=Streaming(),
        interval=Interval(SCALE, DOF),
        held_out=(),
        measured=pd.DataFrame([], columns=MEASURED_COLUMNS),
        context={"nasc": __version__},
        runtime_base_bytes=None,
        times={},
        created="",
        estimated=estimate_note(device, peak, f"{runtime} {precision}"),
    )


def estimate_note(device: DeviceProfile, peak: Peak, variant: str) -> str:
    """What everything made from an estimate says of it."""
    return (
        f"ESTIMATE, not measured: {variant} on device {device.name!r} by the stated peak of "
        f"{peak.core} at {peak.clock_mhz} MHz; the true latency may be half of that, or twice"
    )
