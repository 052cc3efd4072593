"""Checking a package again: everything that its manifest says, without a network.

A package is somebody else's word. What is judged here is judged by the program: its own texts,
tolerances, statistic and rules. A file whose hash fails is opened by nothing, and the others are
opened and run in another process, with limits of time and memory. On the device that the package
was made for, the latency is measured again too, on the scale of the verifier's own record of that
device.

docs/packages.md says what that cannot know.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import device_profiles
from device_profiles import DeviceProfile, DeviceProfileError
from device_profiles.reading import read_text
from nasc.errors import NascError, PackageError
from nasc.evaluation.parity import (
    PADDING_TOLERANCE,
    TORCH_TOLERANCE,
    Int8Report,
    Parity,
    accept_int8,
)
from nasc.export.graph import IR_VERSION, OPSET
from nasc.export.onnx import ONE_TOKEN, OUTPUT_NAMES
from nasc.latency.predict import MEASUREMENT_JITTER_MS
from nasc.latency.session import MeasurementSession
from nasc.package.build import GOLDEN, MODEL, README, TOKENIZER, contradictions, wrong_measurement
from nasc.package.golden import Golden
from nasc.package.hashes import find_changes, things_beside
from nasc.package.library_files import LIBRARY_FILES, wrong_library_files
from nasc.package.manifest import MANIFEST, Manifest, MeasuredLatency, read_plain_manifest
from nasc.package.process import PackageProcess
from nasc.package.readme import figures_of, readme
from nasc.package.tokenizer_files import COMPANIONS
from nasc.utils.files import cache_folder, check_path
from nasc.utils.progress import Progress, Say
from profilers import (
    STATISTIC,
    Measurement,
    MeasurementInconsistent,
    MemoryExceeded,
    ModelJob,
    ModelMeasurement,
    Opener,
    ProfilerError,
    Protocol,
    ReferenceBaseline,
    RuntimeMissing,
    RuntimeOptions,
    Scale,
    WorkerDied,
    WorkerLimits,
    open_worker,
    reference_hash,
)
from profilers.protocol import (
    BUSY_LIMIT,
    DRIFT_LIMIT,
    busy_share,
    drift_ratio,
    quiet_reference_ms,
)
from profilers.results import FORMAT_VERSION
from profilers.statistic import BUSY_SLOWDOWN

Outcome = tuple[bool | None, str]

EMITTED = ((OPSET, IR_VERSION),)
"""Opset and IR version of the files that releases wrote. All did so far; add, never replace."""

OPERATORS = frozenset(
    "Add Cast Concat Conv Div DynamicQuantizeLinear Gather Gelu Gemm LayerNormalization MatMul "
    "MatMulInteger Max Mul ReduceL2 ReduceSum Relu Reshape Shape Slice Softmax Sqrt Squeeze Sub "
    "Tanh Transpose Unsqueeze".split()
)
"""Operators of the files that releases wrote; add, never replace. ReduceL2 is of emitter version 2
and before."""

FILES = frozenset((MODEL, TOKENIZER, GOLDEN, README, *COMPANIONS, *LIBRARY_FILES))
"""Files that releases wrote, beside manifest and hashes; add, never replace."""

OWN_TROUBLES = (WorkerDied, RuntimeMissing, MemoryExceeded, OSError, MemoryError)
"""Errors that say something of this machine and nothing of a package."""

FOR_LIBRARIES = 3
"""The form of a manifest from which on packages hold files for other libraries."""

MEASURED = frozenset(("latency", "peak memory"))
"""Checks that are made on the device."""

YOUNG_S = 90.0
YOUNG_SLOWDOWN = 2.0
"""A record of a device that is shorter, in seconds, may have seen nothing but a busy machine, up to
so many times as slow as the quiet one (chosen, 2026: it was 1.5 times on two shared cores)."""

RUN_ONCE_CHECKED = ("files", "model", "golden vectors")
"""Checks that must have passed before a model is measured."""

OLDER_STATISTICS = {2: "paired-ratio-median"}
"""The statistics of record of older formats of a measurement, which their figures follow."""

README_BYTES = 1 << 20
"""What README.md may hold."""

MAX_SUMS_BYTES = 1 << 20
"""What SHA256SUMS may hold: a line for each of a thousand files."""

INCOMPLETE_EXIT_CODE = 3
"""Exit status where nothing failed and something could not be checked."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: Short.
        ok: Whether it holds; None if it was not checked.
        detail: What was found, or why it was not checked.
        declined: It was not checked because the caller did not want it.
    """

    name: str
    ok: bool | None
    detail: str
    declined: bool = False

    @property
    def mark(self) -> str:
        """The outcome in a word or two."""
        if self.declined:
            return "left out"
        return {True: "ok", False: "FAILED", None: "not checked"}[self.ok]

    def __str__(self) -> str:
        return f"{self.name}: {self.mark}: {self.detail}"


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
        """Whether all that was asked for was checked and holds."""
        return self.complete and not self.failed

    @property
    def complete(self) -> bool:
        """Whether all that was asked for was checked, whatever came out."""
        return not self.not_checked

    @property
    def not_checked(self) -> tuple[Check, ...]:
        """What was asked for and could not be checked."""
        return tuple(check for check in self.checks if check.ok is None and not check.declined)

    @property
    def exit_code(self) -> int:
        """0: all was checked and holds; 1: something failed; 3: something was not checked."""
        if self.failed:
            return 1
        return 0 if self.complete else INCOMPLETE_EXIT_CODE

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
            "complete": self.complete,
            "failed": [check.name for check in self.failed],
            "not_checked": [check.name for check in self.not_checked],
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
    limits: WorkerLimits | None = None,
    opener: Opener | None = None,
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
        limits: What a process that opens or runs the model may take; None takes the defaults.
        opener: Starts a worker on the device; None is `profilers.open_worker`.

    Returns:
        Every check with its outcome. Nothing that is wrong with a package raises.

    Raises:
        PackageError: If there is no package at all.
        UsageError: If its path is not UTF-8.
    """
    folder = Path(os.path.expanduser(folder)).absolute()
    check_path(folder, "nasc verify DIR")
    try:
        plain = read_plain_manifest(folder)
        manifest = Manifest.from_dict(plain)
    except PackageError as error:
        if not (folder / MANIFEST).exists():
            raise
        checks = [
            Check("manifest", _blames(error), _reason(error)),
            Check("everything else", None, "the manifest cannot be read"),
        ]
        return VerifyReport(folder, tuple(checks))
    with _Checker(folder, manifest, plain, limits) as checker:
        checks = checker.all()
    found = None
    if any(check.ok is False for check in checks):
        checks.append(Check("latency", None, "a package that fails is not measured"))
    elif not measure:
        checks.append(Check("latency", None, "as asked for", declined=True))
    elif any(check.name in RUN_ONCE_CHECKED and not check.ok for check in checks):
        checks.append(Check("latency", None, "only a model that passes its checks is measured"))
    else:
        try:
            device = device or _device_of(manifest)
            opener = opener or functools.partial(open_worker, limits=limits)
            session = MeasurementSession.on(device, cache_folder(cache), opener=opener, say=say)
            with session.alone(kept=""):
                more, found = _measure_again(folder, manifest, session, protocol, progress)
        except (NascError, DeviceProfileError) as error:
            more = [Check("latency", None, _reason(error))]
        checks += more
    return VerifyReport(folder, tuple(checks), manifest, found)


def _outputs(head: str) -> tuple[tuple[str, ...], ...]:
    """What files of a head may give, by name; `ONE_TOKEN` is of emitter version 3 and later."""
    first = OUTPUT_NAMES.get(head, "logits")
    return ((first,), (first, ONE_TOKEN)) if head == "embed" else ((first,),)


def _device_of(manifest: Manifest) -> DeviceProfile:
    """The device that a manifest names, of those that are known here: never a file it names.

    Raises:
        DeviceProfileError: If none has the name.
    """
    name = manifest.conditions.device
    if name.endswith(".toml") or "/" in name or "\\" in name:  # what `find` takes for a path
        raise DeviceProfileError(f"the device {name!r} is no name: a manifest never names a file")
    return device_profiles.find(name)


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _guarded(name: str, check: Callable[[], Outcome]) -> Check:
    """A check, failed where it raises: what reads damaged files may fail in any way.

    What only says that this machine could not look is "not checked".
    """
    try:
        return Check(name, *check())
    except Exception as error:
        return Check(name, _blames(error), _reason(error))


def _blames(error: BaseException) -> bool | None:
    """What an error makes of a check: False blames the package, None this machine."""
    own = any(isinstance(one, OWN_TROUBLES) for one in (error, error.__cause__))
    return None if own else False


class _Checker:
    """The checks that need no device. Each gives whether it holds, and what was found."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        plain: Mapping[str, Any],
        limits: WorkerLimits | None,
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._plain = plain
        self._process = PackageProcess(limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, trace)

    def all(self) -> list[Check]:
        """All of them, in their order. Nothing is opened before its hash holds."""
        files = _guarded("files", self.files)
        opening: list[tuple[str, Callable[[], Outcome]]] = [
            ("model", self.model),
            ("tokenizer", self.tokenizer),
            ("files for other libraries", self.libraries),
            ("golden vectors", self.vectors),
            ("README", self.readme),
            ("measurement", self.measurement),
        ]
        found: dict[str, Check] = {}
        for name, check in opening:
            model = found.get("model")
            if not files.ok:
                why = "nothing of a package is opened whose files are not as hashed"
                found[name] = Check(name, None, why)
            elif name == "golden vectors" and model is not None and not model.ok:
                found[name] = Check(name, None, "only a model that passes its check is run")
            else:
                found[name] = _guarded(name, check)
        return [
            Check("manifest", True, "fits its schema"),
            files,
            *found.values(),
            _guarded("conditions", self.conditions),
            _guarded("parity", self.parity),
            _guarded("limits", self.limits),
        ]

    def files(self) -> Outcome:
        changes = find_changes(self._folder, self._manifest.files)
        strange = sorted(self._manifest.files.keys() - FILES)
        changes += [f"{name} is no file that nasc writes" for name in strange]
        beside = "".join(f"; not looked at: {name}" for name in things_beside(self._folder))
        found = "; ".join(changes) or f"{len(self._manifest.files) + 2} as hashed"
        return not changes, found + beside

    def model(self) -> Outcome:
        facts = self._process.inspect(self._folder / MODEL)
        problems = contradictions(self._manifest, facts)
        if facts.foreign_domains:
            problems.append(f"operators that are not standard: {', '.join(facts.foreign_domains)}")
        if (facts.opset, facts.ir_version) not in EMITTED:
            problems.append(
                f"opset {facts.opset} and IR {facts.ir_version}, expected {OPSET} and {IR_VERSION}"
            )
        problems += [
            f"the operator {name!r} is none of nasc's"
            for name in facts.operators
            if name not in OPERATORS
        ]
        if facts.outputs not in _outputs(self._manifest.head):
            problems.append(f"outputs {', '.join(facts.outputs)}")
        return not problems, "; ".join(problems) or (
            f"valid ONNX, {facts.architecture}, {facts.params:,} parameters, "
            f"{facts.size_bytes:,} bytes"
        )

    def tokenizer(self) -> Outcome:
        golden = self._golden
        if golden.max_length != self._manifest.max_length:
            return False, f"golden length {golden.max_length}, not {self._manifest.max_length}"
        texts = [one.text for one in golden.texts]
        wrong = golden.wrong_ids(self._process.token_ids(self._folder / TOKENIZER, texts))
        return not wrong, (
            f"other token ids for {', '.join(map(repr, wrong))}"
            if wrong
            else f"golden token ids of {len(golden.texts)} texts"
        )

    def libraries(self) -> Outcome:
        """What the README recommends to read is what the program would write."""
        manifest = self._manifest
        without = not LIBRARY_FILES & manifest.files.keys()
        older = without and self._plain["schema_version"] < FOR_LIBRARIES
        problems = self._process.wrong_companions(self._folder, manifest.max_length, older)
        if not older:
            wrong = wrong_library_files(self._folder, manifest)
            problems += [f"{name} is missing, or not as nasc writes it" for name in wrong]
        held = (
            "the tokenizer's; it is of before there were others" if older else "as nasc writes them"
        )
        return not problems, "; ".join(problems) or held

    def vectors(self) -> Outcome:
        golden, manifest = self._golden, self._manifest
        problems = golden.problems(
            manifest.precision,
            manifest.head,
            manifest.geometry.hidden,
            manifest.geometry.vocab_size,
        )
        if problems:
            return False, f"{GOLDEN}: {'; '.join(problems[:3])}"
        encoder = self._process.encoder(self._folder / MODEL)
        ids = [list(one.input_ids) for one in golden.texts]
        difference = golden.difference(encoder.outputs(ids, batch_size=1))
        return difference <= golden.tolerance, (
            f"largest difference {difference:.2g}, allowed {golden.tolerance:.2g}"
        )

    @functools.cached_property
    def _golden(self) -> Golden:
        return Golden.read(self._folder / GOLDEN)

    def readme(self) -> Outcome:
        found = read_text(self._folder / README, README_BYTES)
        expected = readme(self._manifest)
        if found == expected:
            return True, "says what the manifest says"
        if figures_of(found) == figures_of(expected):
            return None, "its figures are the manifest's, its words are of no release known here"
        return False, "differs from the manifest"

    def conditions(self) -> Outcome:
        """What the latency is said to be about is what was measured."""
        said, measured = self._manifest.conditions, self._manifest.measured
        if measured is None:
            return True, f"{said}; nothing was measured"
        first, shape = measured.measurement, (said.batch, said.seq_len)
        problems = [
            f"{name}: {stated!r} in the conditions, {found!r} in the measurement"
            for name, stated, found in (
                ("threads", said.threads, first.options.threads),
                ("runtime", said.runtime, first.options.runtime),
                ("statistic", said.statistic, first.statistic),
                ("device", said.device, first.context.get("device")),
            )
            if stated != found
        ]
        own = RuntimeOptions(said.runtime, said.threads, cores=first.options.cores)
        problems += [
            f"measured with {name} {found!r}, nasc measures with {held!r}"
            for name, found, held in _differences(first.options, own)
            if name not in ("runtime", "threads")
        ]
        record = OLDER_STATISTICS.get(first.version, STATISTIC)
        if first.statistic != record:
            problems.append(f"statistic {first.statistic!r}, the one of record is {record!r}")
        if measured.inputs.keys() != {"input_ids", "attention_mask"}:
            problems.append(f"inputs {', '.join(sorted(measured.inputs))}")
        for name, spec in measured.inputs.items():
            least, most = (1, 2) if name == "attention_mask" else (0, self._vocab_size)
            if spec.shape != shape or spec.dtype != "int64":
                problems.append(f"{name} was {spec.dtype} of shape {list(spec.shape)}")
            if not least <= spec.low < spec.high <= most:
                problems.append(f"{name} was drawn from [{spec.low}, {spec.high})")
        return not problems, "; ".join(problems) or f"{said}: as measured"

    @property
    def _vocab_size(self) -> int:
        return self._manifest.geometry.vocab_size

    def parity(self) -> Outcome:
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

    def measurement(self) -> Outcome:
        """The stated latency follows from the raw samples, which are of this file."""
        measured = self._manifest.measured
        if measured is None:
            return None, "the manifest has no measurement"
        problems = wrong_measurement(self._manifest, self._folder / MODEL)
        problems += _other_references(measured)
        for name, value in measured.to_dict().items():
            if self._plain["measured"][name] != value and name.endswith("_ms"):
                problems.append(f"measured.{name} differs from the measurement's own")
        model, version = measured.model, measured.measurement.version
        problems += _underivable(measured)
        if version != FORMAT_VERSION and not problems:
            return None, (
                f"of this file; its figures are of measurement format {version}, whose statistic "
                f"this nasc (format {FORMAT_VERSION}) cannot derive from the raw samples"
            )
        return not problems, "; ".join(problems) or (
            f"{model.latency_ms:.2f} ms (upper bound {model.upper_ms:.2f}) from "
            f"{len(model.samples)} rounds of raw samples"
        )

    def limits(self) -> Outcome:
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
            return True, "none is promised"
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


def _underivable(measured: MeasuredLatency) -> list[str]:
    """Figures of a measurement that its raw samples do not give, or that contradict them.

    Quantiles of the runs are what they are, in every format, and no figure is below what the runs
    took themselves. All others follow from the samples in the present format only.
    """
    model, measurement = measured.model, measured.measurement
    pairs: dict[str, tuple[Any, Any]] = {
        f"{quantile}_ms": (getattr(model, f"{quantile}_ms"), model.observed_ms(quantile))
        for quantile in ("p50", "p90", "p99")
    }
    if measurement.version == FORMAT_VERSION:
        pairs |= _derived(model, measurement)
    found = [
        f"{name} is {stated:g}, the raw samples give {value:g}"
        for name, (stated, value) in pairs.items()
        if not abs(stated - value) <= 1e-6 * abs(value)
    ]
    try:
        model.check_consistency()
    except MeasurementInconsistent as error:
        found.append(str(error))
    return found


def _derived(model: ModelMeasurement, measurement: Measurement) -> dict[str, tuple[Any, Any]]:
    """All figures that follow from a measurement's samples: as stated, and as derived anew."""
    reference, width = measurement.reference, measurement.protocol.get("target_half_width")
    again = ModelMeasurement.of(
        model.name, model.content_hash, model.samples, reference.scale, converged=False
    )
    narrow = isinstance(width, int | float) and again.half_width <= width
    again = dataclasses.replace(again, converged=again.is_quiet and narrow)
    names = [one.name for one in dataclasses.fields(again)]
    pairs = {
        name: (getattr(model, name), getattr(again, name))
        for name in names
        if name not in ("name", "content_hash", "samples")
    }
    drift, busy = drift_ratio(reference.samples), busy_share(reference.samples)
    rounds = {one.round for each in measurement.models for one in each.samples}
    return pairs | {
        "reference.observed_ms": (reference.observed_ms, quiet_reference_ms(reference.samples)),
        "drift_ratio": (measurement.drift_ratio, drift),
        "drift": (measurement.drift, drift > DRIFT_LIMIT),
        "busy_share": (measurement.busy_share, busy),
        "busy": (measurement.busy, busy > BUSY_LIMIT),
        "rounds": (measurement.rounds, len(rounds)),
        "converged, of all models": (
            measurement.converged,
            all(one.converged for one in measurement.models),
        ),
    }


def _other_references(measured: MeasuredLatency) -> list[str]:
    """Whether the samples name times of the reference that its own visits do not have."""
    visits = measured.measurement.reference.samples
    pairs = itertools.pairwise(visit.median_ms for visit in visits)
    known = {(round(before, 9), round(after, 9)) for before, after in pairs}
    strange = sum(
        (round(one.reference_before_ms, 9), round(one.reference_after_ms, 9)) not in known
        for one in measured.model.samples
    )
    if not strange:
        return []
    return [f"{strange} samples lie between runs of the reference that it did not make"]


def _measure_again(
    folder: Path,
    manifest: Manifest,
    session: MeasurementSession,
    protocol: Protocol | None,
    progress: Progress | None,
) -> tuple[list[Check], ModelMeasurement | None]:
    """Latency and memory on the device, or the reason why they were not measured."""
    if manifest.measured is None:
        return [Check("latency", None, "the manifest has no measurement to compare with")], None
    try:
        first = manifest.measured.measurement
        session = session.with_threads(first.options.threads)
        why = _not_comparable(manifest.measured, session)
        if why:
            return [Check("latency", None, why)], None
        job = ModelJob(manifest.measured.job, folder / MODEL, manifest.measured.inputs)
        # The scale is the verifier's own: a package's would let it state any latency.
        baseline = session.baseline()
        measurement = session.measure(
            [job],
            baseline.scale,
            protocol=protocol or Protocol(quantile=manifest.conditions.quantile),
            progress=progress,
        )
        baseline = session.extend(baseline, measurement)
        found = _rescaled(measurement[job.name], baseline.scale)
    except ProfilerError as error:
        return [Check("latency", None, _reason(error))], None
    checks = [_latency_check(manifest, manifest.measured, found, baseline, measurement.busy)]
    limit = manifest.limits.get("peak_memory_bytes")
    if limit is not None:
        checks.append(_memory_check(job, session, limit))
    return checks, found


def _rescaled(model: ModelMeasurement, scale: Scale) -> ModelMeasurement:
    """A latency by what is known of the device now that it was measured.

    Raises:
        MeasurementInconsistent: If it contradicts its own runs.
    """
    found = ModelMeasurement.of(
        model.name, model.content_hash, model.samples, scale, converged=model.converged
    )
    found.check_consistency()
    return found


def _differences(stated: RuntimeOptions, own: RuntimeOptions) -> list[tuple[str, Any, Any]]:
    """The settings in which two differ: their name, and both values."""
    one, other = stated.to_dict(), own.to_dict()
    return [(name, one[name], other[name]) for name in one if one[name] != other[name]]


def _not_comparable(measured: MeasuredLatency, session: MeasurementSession) -> str:
    """Why a latency measured now would not be on the scale of the first; empty if it would."""
    first = measured.measurement
    for name, stated, held in _differences(first.options, session.options):
        return (
            f"it was measured with {name} {stated!r}, on device {session.device.name!r} nasc "
            f"measures with {held!r}"
        )
    if first.reference.content_hash != reference_hash():
        return "it was measured against another reference network: another release of nasc"
    with session.opener(session.device, session.options) as worker:
        now = worker.context
    for field, what in (("fingerprint", "processor"), ("runtime_version", "runtime")):
        if now.get(field) != first.context.get(field):
            return (
                f"another {what}: the package was measured on {field} "
                f"{first.context.get(field)}, here it is {now.get(field)}"
            )
    return ""


def _latency_check(
    manifest: Manifest,
    first: MeasuredLatency,
    found: ModelMeasurement,
    baseline: ReferenceBaseline,
    busy: bool,
) -> Check:
    """What the manifest states and promises, against the latency measured now.

    It fails where even the lower bound is over, on a quiet machine: the upper bound of a device
    that this cache has hardly seen lies some percent above any latency. A cache that has not seen
    it quiet yet takes a busy machine for the quiet one: see `YOUNG_S`.

    Args:
        manifest: Of the package.
        first: The measurement in it.
        found: The one made now.
        baseline: What is known of the device's speed.
        busy: Whether something else used the machine often, which quantiles as observed include.
    """
    quantile, limit = manifest.conditions.quantile, manifest.limits.get("latency_ms")
    lower, upper, is_quiet = found.lower_ms, found.upper_ms, found.is_quiet
    over: dict[str, bool] = {}  # what is said otherwise, and whether that is sure
    seconds = sum(window.seconds for window in baseline.windows)
    slower = baseline.quiet_ms / first.measurement.reference.quiet_ms
    young = seconds < YOUNG_S and BUSY_SLOWDOWN < slower <= YOUNG_SLOWDOWN

    def is_sure(most: float) -> bool:
        least = lower - (MEASUREMENT_JITTER_MS if quantile is None else 0.0)
        return is_quiet and least > most and not (young and least / slower <= most)

    text = f"{found.latency_ms:.2f} ms now"
    if lower > (most := first.model.upper_ms):
        over[f"the manifest states at most {most:.3g} ms"] = is_sure(most)
    if quantile is not None:
        lower, upper = found.observed_ms(quantile), found.observed_upper_ms(quantile)
        is_quiet = is_quiet and not busy
        text += f", {quantile} of all runs {lower:.2f}"
        if lower > (most := first.held_ms(quantile)):
            over[f"the manifest states a {quantile} of at most {most:.3g} ms"] = is_sure(most)
    text += f", upper bound {upper:.2f}; {first.model.latency_ms:.2f} ms in the manifest"
    if limit is not None:
        text += f"; limit {limit:g} ms"
        if lower > limit:
            over["it is over the limit"] = is_sure(limit)
    if not over and (limit is None or upper <= limit):
        return Check("latency", True, text if limit else f"{text}; no limit is promised")
    if any(over.values()):
        return Check("latency", False, "; ".join([text, *over]))
    if not found.is_quiet:
        level = found.level_ms / baseline.quiet_ms
        why = f"the machine was {level:.2f} times as slow as it is when quiet: verify again then"
    elif not is_quiet:
        why = "something else used the machine: verify again when it is quiet"
    elif over and not young:
        why = (
            "measurements of such small networks differ by more "
            f"({MEASUREMENT_JITTER_MS:g} ms): verify again"
        )
    elif over:
        why = (
            f"in the {seconds:.0f} s that this cache has seen the device it was never quieter than "
            f"{slower:.2f} times what the package found: verify again when it is quiet"
        )
    else:
        why = "it may be under the limit or over it: verify again"
        if quantile is None:
            why += f"; this cache has seen the device for {seconds:.0f} s, more narrows the bounds"
    return Check("latency", None, f"{text}; {why}")


def _memory_check(job: ModelJob, session: MeasurementSession, limit: float) -> Check:
    try:
        peak = session.peak_memory(job).total_bytes
    except (ProfilerError, NascError) as error:
        return Check("peak memory", None, _reason(error))
    return Check("peak memory", peak <= limit, f"{peak:,} bytes, limit {limit:,.0f}")
