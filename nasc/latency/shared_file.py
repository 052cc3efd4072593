"""Tables that come from elsewhere: what their files hold must agree with itself, in every point.

A hash in the file tells damage, not intent: whoever writes a table can write its hash too. So a
table from outside the cache is held to all that is true of one that was measured. That it was
measured, nothing in the file can prove.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import profilers
from device_profiles.reading import FileRefused, parse_json, shown
from nasc.architecture.space import Architecture, SearchSpace
from nasc.errors import LookupMiss, TableDamaged, UsageError
from nasc.latency.key import LatencyKey, options_text
from nasc.latency.plan import ROLES
from nasc.latency.predict import residual_scale
from nasc.latency.table import LatencyTable, TableFile, read_table
from nasc.lowering import PRECISIONS as LOWERED

MAX_BYTES = 16 << 20
"""What a shared table may hold; with the samples of a preset's networks it holds 0.3 MB."""

MAX_SAMPLES_BYTES = 64 << 20
"""What the samples may hold when they are unpacked; those of a preset hold 1 MB."""

TOLERANCE = 1e-6
"""By what figures may differ that follow from others of the table, relative."""

SAMPLES_TOLERANCE = 0.01
"""By what a latency may differ from its samples, relative: releases round and pool alike."""

_COMPUTED = re.compile(r"(?:^|[,;\t])\s*[=+\-@]")
"""What a spreadsheet computes, at the start of a text or behind what it takes for a separator."""


def read_shared(path: Path) -> TableFile:
    """A table from outside the cache, checked in every point.

    Raises:
        TableMissing: If there is no such file, or one that another release wrote.
        TableDamaged: If it is damaged or contradicts itself; names the line where one is wrong.
    """
    try:
        found = read_table(path, MAX_BYTES)
        check_shared(found)
    except TableDamaged as error:
        raise _refused(path, error.reason) from error
    except ValueError as error:
        raise _refused(path, str(error)) from error
    return found


def _refused(path: Path, reason: str) -> TableDamaged:
    return TableDamaged(
        f"the latency table '{path}' is refused: {reason}. Ask for it again where you have it "
        "from, or measure one: nasc profile --device host",
        reason,
    )


def check_shared(found: TableFile) -> None:
    """Raise unless a table's parts agree with each other.

    Raises:
        ValueError: With what does not, and its line where it has one.
    """
    table = found.table
    _check_texts(table)
    _check_key(table)
    _check_created(table)
    _check_context(table)
    _check_measured(table, found.first_measured)
    _check_accuracy(table)
    if found.samples is not None:
        _check_samples(table, found.samples)


def _check_texts(table: LatencyTable) -> None:
    """Nothing in the head acts on a terminal or in a spreadsheet, whose cells end at commas."""
    imported, transferred = (
        None if origin is None else dataclasses.asdict(origin)
        for origin in (table.imported, table.transferred)
    )
    parts = {
        "key": table.key.to_dict(),
        "imported": imported,
        "transferred": transferred,
        "space": {"name": table.space.name},
        "created": table.created,
        "times": dict(table.times),
        "context": table.context,
    }
    for place, text in _texts(parts, ""):
        if not text.isprintable():
            raise ValueError(f"its head has {place} = {shown(text)}, with control characters")
        if _COMPUTED.search(text):
            raise ValueError(
                f"its head has {place} = {shown(text)}, which a spreadsheet would compute"
            )


def _texts(data: Any, place: str) -> Iterator[tuple[str, str]]:
    """All texts of plain data, names of fields included, each with its place."""
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, Mapping):
        for name, value in data.items():
            yield f"a name in {place or 'it'}", name
            yield from _texts(value, f"{place}.{name}" if place else name)
    elif isinstance(data, list | tuple):
        for value in data:
            yield from _texts(value, place)


def _check_key(table: LatencyTable) -> None:
    key = table.key
    if key.runtime not in LOWERED:
        raise ValueError(f"its runtime {shown(key.runtime)} is unknown: {', '.join(LOWERED)}")
    if key.seq_len > key.geometry.max_positions:
        raise ValueError(
            f"its length {key.seq_len} is over the {key.geometry.max_positions} tokens that its "
            "teacher can read"
        )


def _check_created(table: LatencyTable) -> None:
    """A time that is over: of two tables that fit the newer one is taken."""
    try:
        created = datetime.datetime.fromisoformat(table.created)
        ahead = created - datetime.datetime.now(datetime.UTC)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"its head has created = {shown(table.created)}, no UTC time") from None
    if ahead > datetime.timedelta(days=1):
        raise ValueError(f"it was created at {table.created}, which is yet to come")


_TOLD: Mapping[str, tuple[type, ...]] = {
    "busy": (bool,),
    "converged": (bool,),
    "rounds": (int,),
    "busy_share": (int, float),
    "drift_ratio": (int, float),
}
"""Types of what of a measurement's context `nasc tables show` tells."""


def _check_context(table: LatencyTable) -> None:
    """What the key says is what the measurement recorded; what is told of it is what it says."""
    key, context = table.as_measured().key, table.context
    for name, kinds in _TOLD.items():
        if not isinstance(context.get(name), (*kinds, type(None))) or (
            bool not in kinds and isinstance(context.get(name), bool)
        ):
            raise ValueError(
                f"its context has {name} = {shown(context[name])}, which is no "
                f"{'true or false' if bool in kinds else 'number'}"
            )
    options, reference = context.get("options"), context.get("reference")
    if not isinstance(options, Mapping) or not isinstance(reference, Mapping):
        raise ValueError("its context lacks the options of the runtime or the reference network")
    recorded = {
        "fingerprint": context.get("fingerprint"),
        "runtime_version": context.get("runtime_version"),
        "runtime": options.get("runtime"),
        "threads": options.get("threads"),
        "options": options_text(options),
        "reference": reference.get("content_hash"),
        "quiet_ms": reference.get("quiet_ms"),
    }
    for name, value in recorded.items():
        if getattr(key, name) != value:
            raise ValueError(
                f"its key has {name} = {shown(getattr(key, name))}, its measurement recorded "
                f"{shown(value)}"
            )


def _check_measured(table: LatencyTable, first: int) -> None:
    """Every network is one, and its prediction the sum of the costs."""
    columns = ["role", "predicted_ms", "network"]
    rows = table.measured[columns].itertuples(index=False, name=None)
    for number, (role, predicted_ms, name) in enumerate(rows, first):
        if role not in ROLES:
            raise ValueError(f"line {number} has role {shown(role)}; known: {', '.join(ROLES)}")
        try:
            total_ms = table.latency_ms(_network(table.space, name, table.key))
        except (LookupMiss, UsageError) as error:
            raise ValueError(f"line {number}: {error.message}") from error
        if not math.isclose(total_ms, predicted_ms, rel_tol=TOLERANCE):
            raise ValueError(
                f"line {number} predicts {predicted_ms} ms for {shown(name)}, by its layers it is "
                f"{total_ms} ms"
            )


def _network(space: SearchSpace, text: str, key: LatencyKey) -> Architecture:
    """A network of a plan, which may have more blocks and operations than the space.

    Raises:
        UsageError: If it cannot be read, or is of another precision than the table.
    """
    body, _, precision = text.partition("@")
    blocks = tuple(space.parse_block(part) for part in body.split("|"))
    found = Architecture(blocks, precision.strip())
    if found.precision != key.precision:
        raise UsageError(
            f"network {shown(text)} is {found.precision}, the table is {key.precision}"
        )
    return found


def _check_accuracy(table: LatencyTable) -> None:
    """The errors of held-out networks are as many as there were, and make the interval."""
    random = int((table.measured["role"] == "random").sum())
    counts = {
        "networks that were held out": random,
        "errors of held-out networks": len(table.held_out),
        "degrees of freedom of its interval": table.interval.dof,
    }
    if len({*counts.values()}) > 1 or not random:
        said = ", ".join(f"{count} {what}" for what, count in counts.items())
        raise ValueError(f"it holds {said}: as many of each were measured, one or more")
    if min(table.held_out) <= -1:
        raise ValueError(
            f"its head has a held-out error of {min(table.held_out)}, none is below -1"
        )
    scale = residual_scale(np.array(table.held_out))
    if not math.isclose(scale, table.interval.scale, rel_tol=TOLERANCE):
        raise ValueError(
            f"its interval has scale {table.interval.scale}, its held-out errors make it {scale}"
        )


def _check_samples(table: LatencyTable, packed: bytes) -> None:
    """The samples are of the same networks and measurement, and give their latencies."""
    try:
        raw = parse_json(_unpacked(packed), "samples")
        measurement = profilers.Measurement.from_dict(raw)
    except FileRefused as error:
        raise ValueError(f"what its head holds as samples {error.reason}") from error
    except profilers.ProfilerError as error:
        raise ValueError(f"its samples are no measurement: {error}") from error
    key = table.as_measured().key
    said = {name: measurement.context.get(name) for name in ("fingerprint", "runtime_version")}
    for name, value in said.items():
        if value != getattr(key, name):
            raise ValueError(
                f"its samples were taken with {name} = {shown(value)}, its key has "
                f"{shown(getattr(key, name))}"
            )
    samples = {model.name: model.samples for model in measurement.models}
    latencies = dict(zip(table.measured["network"], table.measured["latency_ms"], strict=True))
    if samples.keys() != latencies.keys() or len(measurement.models) != len(samples):
        raise ValueError("its samples are of other networks than it holds")
    try:
        found = profilers.pooled_latencies(samples, table.quiet_ms, noise=measurement.noise)
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"its samples give no latencies: {error}") from error
    for name, latency_ms in latencies.items():
        if not math.isclose(found[name].latency_ms, latency_ms, rel_tol=SAMPLES_TOLERANCE):
            raise ValueError(
                f"it holds {latency_ms} ms for '{name}', its samples give "
                f"{found[name].latency_ms} ms"
            )


def _unpacked(packed: bytes) -> str:
    """The text of gzipped samples.

    Raises:
        ValueError: If they are no gzip, or too large.
    """
    unzip = zlib.decompressobj(wbits=31)  # of gzip
    try:
        raw = unzip.decompress(packed, MAX_SAMPLES_BYTES)
        if unzip.unconsumed_tail or unzip.unused_data:
            raise ValueError(f"its samples hold more than {MAX_SAMPLES_BYTES:,} bytes")
        if not unzip.eof:
            raise ValueError("its samples end too early")
        return raw.decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"its samples are no gzipped text: {error}") from error
