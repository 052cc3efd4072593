"""The latency table: what every layer costs on a device, in one readable file.

A table is a CSV file: comment lines with a JSON head (key, space, interval, context) and
with the measured networks, then the cost of every layer. ``pandas.read_csv(path,
comment="#")`` reads the costs. The first line carries the format's version and a hash of
all that follows, so that a damaged or edited table is found out when it is loaded. A table that
is sent to others (`nasc.latency.sharing`) may hold the measured samples in its head.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from device_profiles import Noise
from device_profiles.reading import FileRefused, parse_json, read_bytes
from nasc.architecture.layers import Layer, layers
from nasc.architecture.space import (
    Architecture,
    Geometry,
    SearchSpace,
    space_from_dict,
    space_to_dict,
)
from nasc.errors import LookupMiss, TableDamaged, TableMissing, UsageError
from nasc.latency.basis import Basis, space_layers
from nasc.latency.cache_misses import Streaming, network_streamed_params
from nasc.latency.key import LatencyKey
from nasc.latency.predict import Fit, Interval, Prediction
from nasc.latency.table_paths import SUFFIX
from nasc.latency.table_rows import (
    ENTRY_TYPES,
    MAX_MS,
    MEASURED_TYPES,
    check_entries,
    check_measured,
    read_rows,
)
from nasc.utils.files import write_atomically
from nasc.utils.printable import printable

FORMAT_VERSION = 4
TRANSFERRED_VERSION = 5
"""Of tables that were transferred: releases that do not know of it take none for a measured one."""
MAX_RESCALING = 2.0
SPEED_SPREAD = 0.15
"""Times in units of the reference depend on the speed of the machine: by this standard deviation of
their logarithm for each unit of that of the speed (on two shared cores whose speeds are 1.4 to 1.5
apart: 6% in fp32, 4% in int8, docs/measuring.md, 2026-11). Across more than `MAX_RESCALING` a table
is to be measured anew."""
ENTRY_COLUMNS = list(ENTRY_TYPES)
MEASURED_COLUMNS = list(MEASURED_TYPES)

MAX_BYTES = 64 << 20
"""What a table may hold; those of the presets hold 0.1 MB."""

MOST_NAMED = 10
"""Layers that one message names."""

_FIRST_LINE = re.compile(r"# nasc latency table, version ([0-9]{1,9}), sha256 ([0-9a-f]{64})\n")
_MEASURED_MARK = "# measured networks:\n"


_SIZE = {"type": "integer", "minimum": 1, "maximum": 10**9}
_SHARE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
_AMOUNT = {"type": "number", "minimum": 0, "maximum": 1e15}
_TEXT = {"type": "string", "maxLength": 10_000}
MAX_NAME = 200
"""Characters of a text in the head of a table."""
_NAME = {"type": "string", "maxLength": MAX_NAME}
_SIZES = [f.name for f in dataclasses.fields(Geometry) if f.default is dataclasses.MISSING]
_MORE = [f.name for f in dataclasses.fields(Geometry) if f.default is None]
_KEY = {
    "device": _NAME,
    "precision": _NAME,
    "geometry": {
        "type": "object",
        "required": _SIZES,
        "additionalProperties": False,
        "properties": {
            **dict.fromkeys(_SIZES, _SIZE),
            **{name: {**_SIZE, "minimum": 0} for name in _MORE},
            "activation": _NAME,
        },
    },
    "seq_len": _SIZE,
    "batch": _SIZE,
    "threads": _SIZE,
    "runtime": _NAME,
    "head": _NAME,
    "fingerprint": _NAME,
    "runtime_version": _NAME,
    "options": _TEXT,
    "emitter_version": {"type": "integer", "minimum": 0, "maximum": 10**9},
    "statistic": _NAME,
    "reference": _NAME,
    "quiet_ms": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_MS},
}
_IMPORTED = ["device", "fingerprint", "runtime_version", "imported_utc"]
_TRANSFERRED = ["source", "processor", "fingerprint", "runtime_version", "created"]
_HEAD_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [
        *("key", "space", "seed", "streaming", "interval", "held_out", "times", "created"),
        *("runtime_base_bytes", "context"),
    ],
    "properties": {
        "key": {
            "type": "object",
            "required": list(_KEY),
            "additionalProperties": False,
            "properties": _KEY
            | {"fixed_shape": {"type": "boolean"}, "accelerator": _NAME, "records": _NAME},
        },
        "space": {"type": "object"},
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
        "streaming": {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(("beyond_params", "ms_per_param"), _AMOUNT),
        },
        "interval": {
            "type": "object",
            "required": ["scale", "dof"],
            "additionalProperties": False,
            "properties": {
                **dict.fromkeys(("scale", "shift", "jitter_ms"), _SHARE),
                "dof": _SIZE,
                "confidence": {**_SHARE, "exclusiveMinimum": 0},
            },
        },
        "held_out": {"type": "array", "items": {"type": "number"}, "maxItems": 100_000},
        "times": {"type": "object", "additionalProperties": _AMOUNT},
        "created": _NAME,
        "runtime_base_bytes": {"type": ["integer", "null"], "minimum": 0, "maximum": 10**15},
        "context": {"type": "object"},
        "imported": {
            "type": "object",
            "required": _IMPORTED,
            "additionalProperties": False,
            "properties": dict.fromkeys(_IMPORTED, _NAME),
        },
        "transferred": {
            "type": "object",
            "required": [*_TRANSFERRED, "budget"],
            "additionalProperties": False,
            "properties": {**dict.fromkeys(_TRANSFERRED, _NAME), "budget": _SIZE},
        },
        "samples": {"type": "string", "maxLength": MAX_BYTES},
    },
}
"""What the head of a table holds."""


@dataclass(frozen=True, slots=True)
class Imported:
    """Where an imported table was measured, and when it was imported.

    Attributes:
        device: Name of the device profile there.
        fingerprint: Of the processor there.
        runtime_version: Of the runtime there.
        imported_utc: UTC time of the import (ISO 8601).
    """

    device: str
    fingerprint: str
    runtime_version: str
    imported_utc: str


@dataclass(frozen=True, slots=True)
class Transferred:
    """The table that another one was transferred from (`nasc.latency.transfer`).

    Attributes:
        source: What it holds for, in words.
        processor: Model of the processor that it was measured on.
        fingerprint: Of that processor.
        runtime_version: Of the runtime there.
        created: UTC time (ISO 8601).
        budget: Networks that might be measured on this device.
    """

    source: str
    processor: str
    fingerprint: str
    runtime_version: str
    created: str
    budget: int


@dataclass(frozen=True, slots=True, eq=False)
class LatencyTable:
    """Costs of all layers of a search space in one setting on one device.

    Attributes:
        key: What the costs hold for.
        space: Whose layers were priced.
        seed: Of the plan.
        entries: Columns `ENTRY_COLUMNS`; costs in ms.
        streaming: What weights beyond the caches cost.
        interval: Around a prediction, relative.
        held_out: measured / predicted - 1 of networks that their prediction had not seen.
        measured: Columns `MEASURED_COLUMNS`, one row for each measured network.
        context: Of the measurement, as the profiler returned it.
        runtime_base_bytes: Memory of the runtime's process without a model, as measured; None
            where the device does not tell.
        times: Seconds spent: ``emit_s``, ``measure_s``, ``fit_s``.
        created: UTC time (ISO 8601).
        imported: Where it was measured, if it was imported; its key names the device that it was
            imported for. None: it was measured for this cache.
        transferred: The table that it was transferred from; None: all of it was measured.
        estimated: That nothing was measured, in words (`nasc.latency.estimate`); such a table is
            never saved. None: it was measured.
    """

    key: LatencyKey
    space: SearchSpace
    seed: int
    entries: pd.DataFrame
    streaming: Streaming
    interval: Interval
    held_out: tuple[float, ...]
    measured: pd.DataFrame
    context: Mapping[str, Any]
    runtime_base_bytes: int | None
    times: Mapping[str, float]
    created: str
    imported: Imported | None = None
    transferred: Transferred | None = None
    estimated: str | None = None
    _costs: dict[Layer, tuple[float, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.key.geometry != self.space.geometry:
            raise UsageError("latency table: key and space are for different teachers")
        costs: dict[Layer, tuple[float, float]] = {}
        for kind, hidden_in, hidden_out, cost, error in self.entries[ENTRY_COLUMNS].itertuples(
            index=False, name=None
        ):
            layer = Layer(str(kind), int(hidden_in), int(hidden_out))
            if not (0 <= cost <= MAX_MS and 0 <= error <= MAX_MS):
                raise UsageError(f"latency table: cost of {layer} is {cost} +- {error} ms")
            if layer in costs:
                raise UsageError(f"latency table: two costs of {layer}")
            costs[layer] = (float(cost), float(error))
        absent = [x for x in space_layers(self.space, self.key.head) if x not in costs]
        if absent:
            more = f" and {len(absent) - MOST_NAMED} more" if len(absent) > MOST_NAMED else ""
            raise UsageError(
                f"latency table: no cost of {', '.join(map(str, absent[:MOST_NAMED]))}{more} in "
                f"space {self.space.name!r}"
            )
        object.__setattr__(self, "_costs", costs)

    def cost_ms(self, layer: Layer) -> float:
        """Cost of a layer in ms. The head at the teacher's size is part of the embedding's.

        Raises:
            LookupMiss: If the layer was not measured.
        """
        try:
            return self._costs[layer][0]
        except KeyError:
            raise LookupMiss(
                f"the latency table for {self.key.describe()} has no cost of layer '{layer}'; "
                f"it was measured for space {self.space.name!r} (hidden sizes "
                f"{', '.join(map(str, self.space.hidden_sizes))}; "
                f"{', '.join(self.space.operations)}; head {self.key.head}). "
                f"Measure the space that you use: {self.key.command()} --space FILE"
            ) from None

    def prices(self, architecture: Architecture) -> bool:
        """Whether there is a cost of every layer of a network."""
        found = layers(architecture, self.space.geometry, self.key.head)
        return all(layer in self._costs for layer in found)

    def std_error_ms(self, layer: Layer) -> float:
        """Standard error of a layer's cost in ms.

        Raises:
            LookupMiss: If the layer was not measured.
        """
        self.cost_ms(layer)
        return self._costs.get(layer, (0.0, 0.0))[1]

    def latency_ms(self, architecture: Architecture) -> float:
        """Predicted latency in ms: the sum over the network's layers, and what streaming adds.

        Raises:
            LookupMiss: If one of its layers was not measured, or it has another precision.
        """
        if architecture.precision != self.key.precision:
            raise LookupMiss(
                f"network '{architecture}' is {architecture.precision}, the latency table for "
                f"{self.key.describe()} is {self.key.precision}"
            )
        geometry, head = self.space.geometry, self.key.head
        total = sum(self.cost_ms(layer) for layer in layers(architecture, geometry, head))
        params = network_streamed_params(architecture, geometry, head)
        return total + self.streaming.extra_ms(params)

    def predict(self, architecture: Architecture) -> Prediction:
        """Predicted latency with its interval. Estimated, not measured.

        Raises:
            LookupMiss: As `latency_ms`.
        """
        return self.interval.around(self.latency_ms(architecture))

    @property
    def quiet_ms(self) -> float:
        """The reference network's quiet time, the scale of all latencies."""
        return self.key.quiet_ms

    def rescaled(self, quiet_ms: float) -> LatencyTable:
        """The same table in milliseconds of another quiet time of the reference.

        What was measured are times in units of the reference, which depend on the speed of the
        machine a little: the interval widens by `SPEED_SPREAD`.

        Raises:
            UsageError: If the two are further apart.
        """
        if quiet_ms == self.quiet_ms:
            return self
        if not self.is_near(quiet_ms):
            raise UsageError(
                f"a latency table on a scale of {self.quiet_ms:.4g} ms cannot be brought to one "
                f"of {quiet_ms:.4g} ms: measure it again: {self.key.command()} --force"
            )
        factor = quiet_ms / self.quiet_ms
        shift = math.hypot(self.interval.shift, SPEED_SPREAD * math.log(factor))
        in_ms = ["latency_ms", "lower_ms", "upper_ms", "predicted_ms"]
        return dataclasses.replace(
            self,
            key=dataclasses.replace(self.key, quiet_ms=quiet_ms),
            entries=self.entries.assign(
                cost_ms=self.entries["cost_ms"] * factor,
                std_error_ms=self.entries["std_error_ms"] * factor,
            ),
            streaming=dataclasses.replace(
                self.streaming, ms_per_param=self.streaming.ms_per_param * factor
            ),
            interval=dataclasses.replace(self.interval, shift=shift),
            measured=self.measured.assign(**{name: self.measured[name] * factor for name in in_ms}),
        )

    def with_noise(self, noise: Noise) -> LatencyTable:
        """The same table with the interval of a device whose noise was measured since.

        Its networks keep the bounds that they were measured with.
        """
        interval = dataclasses.replace(self.interval, shift=noise.shift, jitter_ms=noise.jitter_ms)
        return dataclasses.replace(self, interval=interval)

    def as_measured(self) -> LatencyTable:
        """The same table as it was where it was measured, under the key of there."""
        if self.imported is None:
            return self
        origin = dataclasses.asdict(self.imported)
        del origin["imported_utc"]
        return dataclasses.replace(self, key=dataclasses.replace(self.key, **origin), imported=None)

    def is_near(self, quiet_ms: float) -> bool:
        """Whether the table can be brought to another quiet time of the reference."""
        return abs(math.log(quiet_ms / self.quiet_ms)) <= math.log(MAX_RESCALING)

    @property
    def emulated(self) -> bool:
        """Whether what was measured is emulated: no price of a search may come from it."""
        return self.context.get("emulated", False) is not False

    @property
    def foreign(self) -> str | None:
        """That it was measured on another machine, or by another version of the runtime, in words.

        Everything made from such a table says so. None: it was measured on a device like this one.
        """
        if self.emulated:
            return "latency table of an emulated device: its milliseconds mean nothing"
        origin, key = self.imported, self.key
        if origin is None:
            return None
        elsewhere = origin.fingerprint != key.fingerprint
        if not elsewhere and origin.runtime_version == key.runtime_version:
            return None
        runtime = f"{key.runtime} {origin.runtime_version}"
        if origin.runtime_version != key.runtime_version:
            runtime += f" (here {key.runtime_version})"
        where = f"{self.processor} (fingerprint {origin.fingerprint}), " if elsewhere else ""
        kind = "machine" if elsewhere else "version of the runtime"
        text = f"latency table imported from another {kind}: {key.variant} by {where}{runtime}"
        return printable(text)

    @property
    def note(self) -> str | None:
        """What everything made from the table says of it: estimated, foreign, transferred.

        None: all of it was measured on a device like this one.
        """
        return "; ".join(filter(None, (self.estimated, self.foreign, self._transfer))) or None

    @property
    def _transfer(self) -> str | None:
        """That most of it was not measured on this device, in words."""
        if self.transferred is None:
            return None
        origin = self.transferred
        return printable(
            f"latency table transferred, with {len(self.measured)} networks measured on "
            f"{self.processor}: {self.key.variant} from that of {origin.source}, {origin.processor}"
        )

    @property
    def processor(self) -> str:
        """Model of the processor that it was measured on, as far as that is told."""
        cpu = self.context.get("cpu")
        model = cpu.get("model") if isinstance(cpu, Mapping) else None
        return printable(str(model))[:80] if model else "unknown processor"

    @property
    def bound_ratio(self) -> float:
        """How far the upper bound of a measured network lies above its value, typically."""
        if self.estimated is not None:
            return 1.0
        ratio = self.measured["upper_ms"] / self.measured["latency_ms"]
        return float(ratio.median())

    def covers(self, space: SearchSpace) -> bool:
        """Whether every layer of a space has a cost here."""
        if space.geometry != self.key.geometry:
            return False
        return all(layer in self._costs for layer in space_layers(space, self.key.head))

    def file_name(self) -> str:
        """Name of the table's file: readable, with a hash of the whole key and the space."""
        named = {"key": self.key.to_dict(), "space": _priced(self.space)}
        digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
        kind = "" if self.transferred is None else "transferred-"
        return f"{self.key.stem()}{kind}{digest[:12]}{SUFFIX}"

    def save(self, folder: Path) -> Path:
        """Write the table into a folder: complete under its name, or not at all.

        Returns:
            The file. An older table of the same key and space is replaced.

        Raises:
            OSError: If it cannot be written.
        """
        path = folder / self.file_name()
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, self.to_text().encode())
        return path

    def to_text(self, samples: bytes | None = None) -> str:
        """The file's content.

        Args:
            samples: The measured samples, to be sent with it; see `TableFile`.
        """
        head: dict[str, Any] = {
            "key": self.key.to_dict(),
            "space": space_to_dict(self.space),
            "seed": self.seed,
            "streaming": dataclasses.asdict(self.streaming),
            "interval": dataclasses.asdict(self.interval),
            "held_out": list(self.held_out),
            "times": dict(self.times),
            "created": self.created,
            "runtime_base_bytes": self.runtime_base_bytes,
            "context": dict(self.context),
        }
        if self.estimated is not None:
            raise UsageError(f"an estimate is never kept as a latency table: {self.estimated}")
        if self.imported is not None:
            head["imported"] = dataclasses.asdict(self.imported)
        if self.transferred is not None:
            head["transferred"] = dataclasses.asdict(self.transferred)
        if samples is not None:
            head["samples"] = base64.b64encode(samples).decode()
        text = io.StringIO()
        lines = [f"{json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in head.items()]
        text.write("# {\n#  " + ",\n#  ".join(lines) + "\n# }\n")
        text.write(_MEASURED_MARK)
        for line in self.measured[MEASURED_COLUMNS].to_csv(index=False).splitlines():
            text.write(f"# {line}\n")
        text.write(self.entries[ENTRY_COLUMNS].to_csv(index=False))
        body = text.getvalue()
        digest = hashlib.sha256(body.encode()).hexdigest()
        version = FORMAT_VERSION if self.transferred is None else TRANSFERRED_VERSION
        return f"# nasc latency table, version {version}, sha256 {digest}\n{body}"


def entries_of(basis: Basis, solved: Fit) -> pd.DataFrame:
    """The entries of a table, columns `ENTRY_COLUMNS`, from solved costs."""
    rows = [
        (layer.kind, layer.hidden_in, layer.hidden_out, cost, error)
        for layer, cost, error in basis.expand(solved.costs, solved.errors)
    ]
    return pd.DataFrame(rows, columns=ENTRY_COLUMNS)


def _priced(space: SearchSpace) -> dict[str, Any]:
    """What of a space decides which layers are priced, and on which networks."""
    values = space_to_dict(space)
    return {k: v for k, v in values.items() if k not in ("name", "precisions")}


@dataclass(frozen=True, slots=True, eq=False)
class TableFile:
    """What the file of a table holds.

    Attributes:
        table: The table.
        samples: Gzipped JSON of the measurement, as it lies beside a table in the cache; None where
            the file has none.
        first_measured: Number of the line with the first measured network.
    """

    table: LatencyTable
    samples: bytes | None
    first_measured: int


def load_table(path: Path) -> LatencyTable:
    """Read and check a table.

    Raises:
        TableMissing: If there is no such file, or one that another release wrote.
        TableDamaged: If it is no latency table, or was altered.
    """
    return read_table(path).table


def read_table(path: Path, max_bytes: int = MAX_BYTES) -> TableFile:
    """Read and check a table and what comes with it.

    Args:
        path: The file.
        max_bytes: What it may hold.

    Raises:
        TableMissing, TableDamaged: See `load_table`.
    """
    try:
        text = read_bytes(path, max_bytes).decode()
    except FileNotFoundError:
        raise TableMissing(
            f"no latency table {str(path)!r}. Measure one: nasc profile --device host"
        ) from None
    except FileRefused as error:
        raise _damaged(path, f"it {error.reason}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    match = _FIRST_LINE.match(text)
    if match is None:
        raise _damaged(path, "its first line is not that of a latency table")
    if int(match.group(1)) not in (FORMAT_VERSION, TRANSFERRED_VERSION):
        raise TableMissing(
            f"the latency table {str(path)!r} has version {match.group(1)}, this nasc reads "
            f"{FORMAT_VERSION} and {TRANSFERRED_VERSION}. Measure it again: "
            "nasc profile --device host"
        )
    body = text[match.end() :]
    if hashlib.sha256(body.encode()).hexdigest() != match.group(2):
        raise _damaged(path, "its content does not match its hash")
    try:
        found = _parse(body, path)
        if (found.table.transferred is None) != (int(match.group(1)) == FORMAT_VERSION):
            raise ValueError(f"version {match.group(1)} does not go with how it was made")
        return found
    except FileRefused as error:
        raise _damaged(path, f"its head {error.reason}") from error
    except (ValueError, IndexError, StopIteration, UsageError) as error:
        raise _damaged(path, str(error) or "it ends in its head") from error


def _parse(body: str, path: Path) -> TableFile:
    lines = body.splitlines(keepends=True)
    if _MEASURED_MARK not in lines:
        raise ValueError(f"it has no line {_MEASURED_MARK.strip()!r}")
    mark = lines.index(_MEASURED_MARK)
    end = next((i for i in range(mark + 1, len(lines)) if not lines[i].startswith("# ")), None)
    if end is None:
        raise ValueError("it ends in the measured networks")
    head = parse_json("".join(line[2:] for line in lines[:mark]), path, _HEAD_SCHEMA)
    key = dict(head["key"])
    geometry = Geometry(**key.pop("geometry"))
    measured = read_rows([line[2:] for line in lines[mark + 1 : end]], MEASURED_TYPES, mark + 3)
    check_measured(measured, mark + 4)
    entries = read_rows(lines[end:], ENTRY_TYPES, end + 2)
    space = space_from_dict(head["space"])
    check_entries(entries, end + 3, {*space_layers(space, key["head"])})
    table = LatencyTable(
        key=LatencyKey(geometry=geometry, **key),
        space=space,
        seed=head["seed"],
        entries=entries,
        streaming=Streaming(**head["streaming"]),
        interval=Interval(**head["interval"]),
        held_out=tuple(float(value) for value in head["held_out"]),
        measured=measured,
        context=head["context"],
        runtime_base_bytes=head["runtime_base_bytes"],
        times={name: float(value) for name, value in head["times"].items()},
        created=head["created"],
        imported=Imported(**head["imported"]) if "imported" in head else None,
        transferred=Transferred(**head["transferred"]) if "transferred" in head else None,
    )
    return TableFile(table, _samples(head.get("samples")), mark + 4)


def _samples(text: str | None) -> bytes | None:
    """The samples of a head.

    Raises:
        ValueError: If they are no base64.
    """
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("the samples in its head are no base64") from None


def _damaged(path: Path, reason: str) -> TableDamaged:
    return TableDamaged(
        f"the latency table {str(path)!r} is damaged: {reason}. "
        f"Remove it and measure again: rm '{path}' && nasc profile --device host",
        reason,
    )
