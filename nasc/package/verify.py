"""Checking a package again: everything that its manifest says, without a network.

On the device that it was made for, the latency is measured again too, on the scale of the
first measurement.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

import device_profiles
import profilers
from device_profiles import DeviceProfile, DeviceProfileError
from nasc import __version__
from nasc.errors import NascError, PackageError
from nasc.export.graph import IR_VERSION, OPSET
from nasc.export.parity import (
    PADDING_TOLERANCE,
    TORCH_TOLERANCE,
    Int8Report,
    Parity,
    accept_int8,
)
from nasc.files import cache_folder, check_path
from nasc.measuring import measuring
from nasc.package.build import GOLDEN, MODEL, README, TOKENIZER, contradictions, wrong_measurement
from nasc.package.golden import Golden
from nasc.package.hashes import find_changes, things_beside
from nasc.package.manifest import MANIFEST, Manifest, MeasuredLatency, read_manifest
from nasc.package.modelfile import ModelFile
from nasc.package.readme import readme
from nasc.runtime import OnnxEncoder
from profilers import (
    ModelJob,
    ModelMeasurement,
    ProfilerError,
    Protocol,
    RuntimeOptions,
    bound_met,
    measure_peak_memory,
    open_target,
    reference_hash,
)
from profilers.targets import Target

Progress = Callable[[int, int, str], None]
Say = Callable[[str], None]
Opener = Callable[..., Target]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Short.
        ok: Whether it holds; None if it was not checked.
        detail: What was found, or why it was not checked.
    """

    name: str
    ok: bool | None
    detail: str

    def __str__(self) -> str:
        mark = {True: "ok", False: "FAILED", None: "not checked"}[self.ok]
        return f"{self.name}: {mark}: {self.detail}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was found in a package.

    Attributes:
        folder: The package.
        checks: In the order they were made.
        manifest: As read; None if it cannot be.
        measured: The latency measured now; None if it was not.
    """

    folder: Path
    checks: tuple[Check, ...]
    manifest: Manifest | None = None
    measured: ModelMeasurement | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing that was checked failed."""
        return all(check.ok is not False for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """What failed."""
        return tuple(check for check in self.checks if check.ok is False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        measured = None
        if self.measured is not None:
            names = ("latency_ms", "lower_ms", "upper_ms", "p50_ms", "p90_ms", "p99_ms")
            measured = {name: getattr(self.measured, name) for name in names}
        return {
            "package": str(self.folder),
            "ok": self.ok,
            "checks": [dataclasses.asdict(check) for check in self.checks],
            "measured": measured,
        }


def verify_package(
    folder: str | Path,
    *,
    measure: bool = True,
    device: DeviceProfile | None = None,
    protocol: Protocol | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
    cache: Path | None = None,
    opener: Opener = open_target,
) -> VerifyReport:
    """Check a package again.

    Args:
        folder: The package.
        measure: Whether to measure latency and memory, where this is the right device.
        device: Where to measure; None is the device that the manifest names.
        protocol: How to measure; None is the default.
        progress: Called with (units done, units in all, message) while measuring.
        say: Told when another process that measures on the device has to be waited for.
        cache: Cache folder, whose processes measure one at a time; None is the user's.
        opener: Starts a worker on the device; tests give another one.

    Returns:
        Every check with its outcome. Nothing that is wrong with a package raises.

    Raises:
        PackageError: If there is no package at all.
        UsageError: If its path is not UTF-8.
    """
    folder = Path(folder).expanduser().absolute()
    check_path(folder, "nasc verify DIR")
    try:
        manifest = read_manifest(folder)
    except PackageError as error:
        if not (folder / MANIFEST).exists():
            raise
        checks = [
            Check("manifest", False, _reason(error)),
            Check("everything else", None, "the manifest cannot be read"),
        ]
        return VerifyReport(folder, tuple(checks))
    checker = _Checker(folder, manifest)
    checks = [
        Check("manifest", True, "fits its schema"),
        _guarded("files", checker.files),
        _guarded("model", checker.model),
        _guarded("tokenizer", checker.tokenizer),
        _guarded("golden vectors", checker.vectors),
        _guarded("README", checker.readme),
        _guarded("parity", checker.parity),
        _guarded("measurement", checker.measurement),
        _guarded("limits", checker.limits),
    ]
    found = None
    if any(check.ok is False for check in checks):
        checks.append(Check("latency", None, "a package that fails is not measured"))
    elif not measure:
        checks.append(Check("latency", None, "not asked for"))
    else:
        try:
            device = device or device_profiles.find(manifest.conditions.device)
            with measuring(cache_folder(cache), device.name, say):
                more, found = _measure_again(folder, manifest, device, protocol, progress, opener)
        except (NascError, DeviceProfileError) as error:
            more = [Check("latency", None, _reason(error))]
        checks += more
    return VerifyReport(folder, tuple(checks), manifest, found)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _guarded(name: str, check: Callable[[], tuple[bool | None, str]]) -> Check:
    """A check, failed where it raises: what reads damaged files may fail in any way."""
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, False, _reason(error))


class _Checker:
    """The checks that need no device. Each gives whether it holds, and what was found."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._writer = str(manifest.versions.get("nasc"))

    @property
    def _ours(self) -> bool:
        """Whether this release wrote the package: what another wrote follows its own rules."""
        return self._writer == __version__

    def files(self) -> tuple[bool, str]:
        changes = find_changes(self._folder, self._manifest.files)
        beside = "".join(f"; not looked at: {name}" for name in things_beside(self._folder))
        found = "; ".join(changes) or f"{len(self._manifest.files) + 2} as hashed"
        return not changes, found + beside

    def model(self) -> tuple[bool, str]:
        facts = ModelFile.read(self._folder / MODEL)
        problems = contradictions(self._manifest, facts)
        if facts.foreign_domains:
            problems.append(f"operators that are not standard: {', '.join(facts.foreign_domains)}")
        if self._ours and (facts.opset, facts.ir_version) != (OPSET, IR_VERSION):
            problems.append(
                f"opset {facts.opset} and IR {facts.ir_version}, expected {OPSET} and {IR_VERSION}"
            )
        return not problems, "; ".join(problems) or (
            f"valid ONNX, {facts.architecture}, {facts.params:,} parameters, "
            f"{facts.size_bytes:,} bytes"
        )

    def tokenizer(self) -> tuple[bool, str]:
        golden = Golden.read(self._folder / GOLDEN)
        wrong = golden.wrong_ids(self._own_ids(golden))
        if golden.max_length != self._manifest.max_length:
            return False, f"golden length {golden.max_length}, not {self._manifest.max_length}"
        return not wrong, (
            f"other token ids for {', '.join(map(repr, wrong))}"
            if wrong
            else f"golden token ids of {len(golden.texts)} texts"
        )

    def vectors(self) -> tuple[bool, str]:
        golden = Golden.read(self._folder / GOLDEN)
        encoder = OnnxEncoder(self._folder / MODEL)
        ids = [list(one.input_ids) for one in golden.texts]
        difference = golden.difference(encoder.outputs(ids, batch_size=1))
        return difference <= golden.tolerance, (
            f"largest difference {difference:.2g}, allowed {golden.tolerance:.2g}"
        )

    def readme(self) -> tuple[bool | None, str]:
        if not self._ours:
            return None, f"hashed; written by nasc {self._writer}, this is {__version__}"
        same = (self._folder / README).read_text(encoding="utf-8") == readme(self._manifest)
        return same, "says what the manifest says" if same else "differs from the manifest"

    def parity(self) -> tuple[bool | None, str]:
        parity = self._manifest.parity
        if parity is None:
            return None, "the manifest has no parity report"
        if isinstance(parity, Int8Report):
            if self._manifest.precision != "int8":
                return False, "an int8 report for another precision"
            return accept_int8(parity)
        if self._manifest.precision != "fp32" or not isinstance(parity, Parity):
            return False, "an fp32 report for another precision"
        held = parity.share <= 1
        if self._manifest.head == "embed":  # whose values are never above 1
            held &= parity.max_abs_diff <= TORCH_TOLERANCE
            held &= parity.padding_max_abs_diff <= PADDING_TOLERANCE
        return held, (
            f"{parity.max_abs_diff:.2g} from torch, {parity.padding_max_abs_diff:.2g} by padding, "
            f"{parity.share:.0%} of what is allowed, at lengths {min(parity.lengths)} to "
            f"{max(parity.lengths)}"
        )

    def measurement(self) -> tuple[bool | None, str]:
        """The stated latency follows from the raw samples, which are of this file."""
        measured = self._manifest.measured
        if measured is None:
            return None, "the manifest has no measurement"
        if not self._ours:
            problems = wrong_measurement(self._manifest, self._folder / MODEL)
            return not problems, "; ".join(problems) or (
                f"of this file; its bounds are those of nasc {self._writer}, this is {__version__}"
            )
        problems = wrong_measurement(self._manifest, self._folder / MODEL)
        model = measured.model
        again = ModelMeasurement.of(
            model.name,
            model.content_hash,
            model.samples,
            measured.measurement.reference.quiet_ms,
            converged=model.converged,
        )
        for name in ("latency_ms", "lower_ms", "upper_ms", "p50_ms", "p90_ms", "p99_ms"):
            stated, derived = getattr(model, name), getattr(again, name)
            if abs(stated - derived) > 1e-6 * abs(derived):
                problems.append(f"{name} is {stated:g}, the raw samples give {derived:g}")
        stated_figures = json.loads((self._folder / MANIFEST).read_text(encoding="utf-8"))
        for name, value in measured.to_dict().items():
            if stated_figures["measured"][name] != value and name.endswith("_ms"):
                problems.append(f"measured.{name} differs from the measurement's own")
        return not problems, "; ".join(problems) or (
            f"{model.latency_ms:.2f} ms (upper bound {model.upper_ms:.2f}) from "
            f"{len(model.samples)} rounds of raw samples"
        )

    def limits(self) -> tuple[bool | None, str]:
        """The manifest's own figures meet its limits."""
        manifest = self._manifest
        held: dict[str, float | None] = {
            "size_bytes": manifest.size_bytes,
            "params": manifest.params,
            "peak_memory_bytes": manifest.peak_memory.measured_bytes,
            "latency_ms": None
            if manifest.measured is None
            else manifest.measured.held_ms(manifest.conditions.quantile),
        }
        if not manifest.limits:
            return None, "the manifest has no limits"
        problems, met = [], []
        for name, limit in manifest.limits.items():
            value = held.get(name)
            if value is None:
                problems.append(f"{name} <= {limit:g} has no figure")
            elif value > limit:
                problems.append(f"{name} is {value:g}, over the limit {limit:g}")
            else:
                met.append(f"{name} {value:g} <= {limit:g}")
        return not problems, "; ".join(problems or met)

    def _own_ids(self, golden: Golden) -> list[list[int]]:
        own = Tokenizer.from_file(str(self._folder / TOKENIZER))
        return [encoding.ids for encoding in own.encode_batch([t.text for t in golden.texts])]


def _measure_again(
    folder: Path,
    manifest: Manifest,
    device: DeviceProfile,
    protocol: Protocol | None,
    progress: Progress | None,
    opener: Opener,
) -> tuple[list[Check], ModelMeasurement | None]:
    """Latency and memory on the device, or the reason why they were not measured."""
    if manifest.measured is None:
        return [Check("latency", None, "the manifest has no measurement to compare with")], None
    try:
        why = _not_comparable(manifest.measured, device, opener)
        if why:
            return [Check("latency", None, why)], None
        job = ModelJob(manifest.measured.job, folder / MODEL, manifest.measured.inputs)
        first = manifest.measured.measurement
        found = profilers.measure(
            [job],
            device,
            options=first.options,
            protocol=protocol or Protocol(quantile=manifest.conditions.quantile),
            reference_quiet_ms=first.reference.quiet_ms,
            progress=progress,
            opener=opener,
        )[job.name]
    except ProfilerError as error:
        return [Check("latency", None, _reason(error))], None
    checks = [_latency_check(manifest, manifest.measured, found)]
    limit = manifest.limits.get("peak_memory_bytes")
    if limit is not None:
        checks.append(_memory_check(job, first.options, device, limit))
    return checks, found


def _not_comparable(measured: MeasuredLatency, device: DeviceProfile, opener: Opener) -> str:
    """Why a latency measured now would not be on the scale of the first; empty if it would."""
    first = measured.measurement
    if first.reference.content_hash != reference_hash():
        return "it was measured against another reference network: another release of nasc"
    with opener(device, first.options) as target:
        now = target.context
    for field, what in (("fingerprint", "processor"), ("runtime_version", "runtime")):
        if now.get(field) != first.context.get(field):
            return (
                f"another {what}: the package was measured on {field} "
                f"{first.context.get(field)}, here it is {now.get(field)}"
            )
    return ""


def _latency_check(manifest: Manifest, first: MeasuredLatency, found: ModelMeasurement) -> Check:
    quantile, limit = manifest.conditions.quantile, manifest.limits.get("latency_ms")
    upper = found.upper_ms if quantile is None else found.observed_upper_ms(quantile)
    text = (
        f"{found.latency_ms:.2f} ms now, upper bound {upper:.2f}; "
        f"{first.model.latency_ms:.2f} ms in the manifest"
    )
    if limit is None:
        return Check("latency", None, f"{text}; no limit to hold it to")
    return Check("latency", bound_met(found, limit, quantile), f"{text}; limit {limit:g} ms")


def _memory_check(
    job: ModelJob, options: RuntimeOptions, device: DeviceProfile, limit: float
) -> Check:
    try:
        peak = measure_peak_memory(job, options, device=device).total_bytes
    except (ProfilerError, NascError) as error:
        return Check("peak memory", None, _reason(error))
    return Check("peak memory", peak <= limit, f"{peak:,} bytes, limit {limit:,.0f}")
