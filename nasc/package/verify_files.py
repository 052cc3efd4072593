"""The checks of a package that need no device: every file, and every statement by itself."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from device_profiles import UNSTATED, DeviceProfile
from device_profiles.reading import read_text
from nasc.architecture.heads import gives_answers, gives_scores, gives_vector, pooling_of
from nasc.evaluation.parity_report import (
    PADDING_TOLERANCE,
    TORCH_TOLERANCE,
    ReducedPrecisionReport,
    accept_reduced,
)
from nasc.export.onnx import ANSWER_OUTPUTS, ONE_TOKEN, output_name
from nasc.package.build import GOLDEN, README, TOKENIZER, contradictions, wrong_measurement
from nasc.package.conditions import Conditions
from nasc.package.formats import ModelFile, code_refused, format_of
from nasc.package.formats.base import model_files, tables_of
from nasc.package.golden import Golden
from nasc.package.hashes import find_changes, manifest_files, things_beside
from nasc.package.library_files import LIBRARY_FILES, wrong_library_files
from nasc.package.manifest import Manifest
from nasc.package.measured_latency import MeasuredLatency
from nasc.package.measurements import MEASURED, has_measurements
from nasc.package.process import PackageProcess
from nasc.package.readme import figures_of, measured_text, readme
from nasc.package.sibling_folders import beside_outcome
from nasc.package.tokenizer_files import COMPANIONS
from nasc.package.verify_report import Check, Outcome, guarded, reason_of
from nasc.package.verify_samples import (
    OLDER_STATISTICS,
    differences,
    other_references,
    underivable,
    upper_ms,
)
from profilers import (
    STATISTIC,
    ProfilerError,
    RuntimeMissing,
    RuntimeOptions,
    WorkerLimits,
)
from profilers.results import FORMAT_VERSION

FILES = frozenset((TOKENIZER, GOLDEN, README, MEASURED, *COMPANIONS, *LIBRARY_FILES))
"""Files that releases wrote, beside the model's, manifest and hashes; add, never replace."""

FOR_LIBRARIES = 3
"""The form of a manifest from which on packages hold files for other libraries."""

README_BYTES = 1 << 20
"""What README.md may hold."""


def _outputs(head: str) -> tuple[tuple[str, ...], ...]:
    """What files of a head may give, by name; `ONE_TOKEN` is of emitter version 3 and later."""
    if gives_answers(head):
        return (ANSWER_OUTPUTS,)
    first = output_name(head)
    finished = gives_vector(head) and not gives_scores(head)
    return ((first,), (first, ONE_TOKEN)) if finished else ((first,),)


def _other_lengths(said: Conditions, measured: MeasuredLatency) -> list[str]:
    """Whether the lengths that were measured are not those of the conditions; one phrase."""
    stated = (
        []
        if said.lengths is None
        else [*zip(said.lengths.lengths, said.lengths.shares, strict=True)]
    )
    found = [(part.seq_len, part.share) for part in measured.parts]
    if [length for length, _ in stated] == [length for length, _ in found] and all(
        math.isclose(one[1], other[1]) for one, other in zip(stated, found, strict=True)
    ):
        return []
    return ["the lengths in the conditions and their shares are not those of the measurement"]


def _wrong_stream(measured: MeasuredLatency) -> list[str]:
    """Why a single-stream run is not one of the model that was measured; one phrase each."""
    stream, model = measured.stream, measured.model
    if stream is None:
        return []
    problems = []
    if stream.content_hash != model.content_hash:
        problems.append("the single-stream run is of another file or other inputs")
    if not stream.is_valid:
        problems.append(f"the single-stream run is too short: {stream}")
    for name, found in stream.context.items():
        if found != str(measured.measurement.context.get(name)):
            problems.append(f"the single-stream run was with another {name}: {found}")
    fastest_ms = min(run for sample in model.samples for run in sample.own_ms)
    if stream.percentile_ms < fastest_ms:
        problems.append(
            f"{stream.percentile_ms:.4g} ms for 90% of single-stream's queries, where the fastest "
            f"run took {fastest_ms:.4g}"
        )
    return problems


class FileChecks:
    """The checks that need no device. Each gives whether it holds, and what was found."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        plain: Mapping[str, Any],
        limits: WorkerLimits | None,
        device: DeviceProfile | None = None,
        run_code: bool = False,
    ) -> None:
        """What is looked at.

        Args:
            folder: The package.
            manifest: As read.
            plain: The same as it stands in the file.
            limits: What a process that opens or runs the model may take.
            device: That the latency is about, where it is known here: bounds count for no surer
                than they are there.
            run_code: Whether code that came with the package may run.
        """
        self._folder = folder
        self._manifest = manifest
        self._plain = plain
        self._device = device
        self._process = PackageProcess(limits)
        self._form = format_of(manifest.conditions.runtime)
        self._code_refused = code_refused(manifest.conditions.runtime, run_code)

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
        files = guarded("files", self.files)
        opening: list[tuple[str, Callable[[], Outcome]]] = [
            ("model", self.model),
            *([("files beside the model", self.more)] if self._form.MORE_FILES else []),
            ("tokenizer", self.tokenizer),
            *([("tokenizer's tables", self.tables)] if tables_of(self._form) else []),
            ("files for other libraries", self.libraries),
            ("golden vectors", self.vectors),
            *([(self._form.PROGRAMS, self.programs)] if self._form.PROGRAMS else []),
            ("README", self.readme),
            ("measurement", self.measurement),
        ]
        found: dict[str, Check] = {}
        for name, check in opening:
            models = [found[n] for n in ("model", "files beside the model") if n in found]
            if not files.ok:
                why = "nothing of a package is opened whose files are not as hashed"
                found[name] = Check(name, None, why)
            elif name == "golden vectors" and not all(model.ok for model in models):
                found[name] = Check(name, None, "only a model that passes its check is run")
            elif name == self._form.PROGRAMS and not all(one.ok for one in found.values()):
                found[name] = Check(name, None, "only what passes the checks above is run")
            elif name == "golden vectors" and self._code_refused:
                found[name] = Check(name, None, self._code_refused)
            else:
                found[name] = guarded(name, check)
        return [
            Check("manifest", True, "fits its schema"),
            files,
            *found.values(),
            *([guarded("package beside", self.beside)] if self._manifest.beside_sha256 else []),
            guarded("conditions", self.conditions),
            guarded("parity", self.parity),
            guarded("evidence", self.evidence),
            guarded("limits", self.limits),
        ]

    def files(self) -> Outcome:
        """Every file is as hashed, and nothing else is there."""
        changes = find_changes(self._folder, self._manifest.files)
        form = {*model_files(self._form), *self._form.MORE_FILES}
        changes += [f"{name} is missing" for name in sorted(form - self._manifest.files.keys())]
        strange = sorted(self._manifest.files.keys() - FILES - form - {*self._form.OPTIONAL_FILES})
        changes += [f"{name} is no file that nasc writes" for name in strange]
        beside = "".join(f"; not looked at: {name}" for name in things_beside(self._folder))
        own = len(manifest_files(self._manifest.files)) + 1
        found = "; ".join(changes) or f"{len(self._manifest.files) + own} as hashed"
        return not changes, found + beside

    def model(self) -> Outcome:
        """The model is what the manifest says, and of what nasc writes."""
        facts = self._facts
        problems = [*contradictions(self._manifest, facts), *facts.unexpected]
        if facts.outputs not in _outputs(self._manifest.head):
            problems.append(f"outputs {', '.join(facts.outputs)}")
        counted = "" if facts.params is None else f" {facts.params:,} parameters,"
        return not problems, "; ".join(problems) or (
            f"valid {self._form.NAME}, {facts.architecture},{counted} {facts.size_bytes:,} bytes"
        )

    def more(self) -> Outcome:
        """What lies beside the model for programs that use it is what the program would write."""
        problems = self._form.wrong_more(self._folder, self._manifest)
        return not problems, "; ".join(problems) or "as nasc writes them"

    def programs(self) -> Outcome:
        """What the package's own programs make of its golden texts."""
        return self._form.run_more(self._folder, self._manifest)

    @property
    def _model(self) -> Path:
        """The file that the runtime opens."""
        return self._folder / self._form.MODEL

    @property
    def _runtime(self) -> str:
        return self._manifest.conditions.runtime

    def tokenizer(self) -> Outcome:
        """The tokenizer gives the recorded token ids."""
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

    def tables(self) -> Outcome:
        """The tokenizer's tables and golden texts are those of its tokenizer.json."""
        tables = tables_of(self._form) or ""
        problems = self._process.wrong_tokenizer(self._folder, tables)
        return not problems, "; ".join(problems) or f"{tables} and its golden texts as made here"

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
        """The model gives the recorded vectors, within the tolerances of the program."""
        golden, manifest = self._golden, self._manifest
        problems = golden.problems(
            manifest.precision,
            self._form.TOLERANCE[manifest.precision],
            manifest.head,
            manifest.geometry.hidden,
            manifest.geometry.vocab_size,
        )
        if problems:
            return False, f"{GOLDEN}: {'; '.join(problems[:3])}"
        if self._facts.not_here:
            return None, self._facts.not_here
        ids = [list(one.input_ids) for one in golden.texts]
        try:
            encoder = self._process.encoder(self._model, runtime=self._runtime)
            difference = golden.difference(encoder.outputs(ids, batch_size=1))
        except RuntimeMissing:
            raise
        except ProfilerError as error:
            asked = self._facts.computed_in
            if asked in self._process.precisions(self._runtime):
                raise
            return None, f"{reason_of(error)}; it is made for a processor that computes in {asked}"
        return difference <= golden.tolerance, (
            f"largest difference {difference:.2g}, allowed {golden.tolerance:.2g}"
        )

    @functools.cached_property
    def _facts(self) -> ModelFile:
        return self._process.inspect(self._model, self._runtime)

    @functools.cached_property
    def _golden(self) -> Golden:
        return Golden.read(self._folder / GOLDEN, self._manifest.golden_pairs)

    def readme(self) -> Outcome:
        """README.md, and MEASURED.md where there is one, say what the manifest says."""
        manifest, reworded = self._manifest, False
        texts = {README: readme(manifest)}
        if has_measurements(manifest.files):
            texts[MEASURED] = measured_text(manifest)
        for name, expected in texts.items():
            found = read_text(self._folder / name, README_BYTES)
            if found != expected and figures_of(found) != figures_of(expected):
                return False, f"{name} differs from the manifest"
            reworded |= found != expected
        if reworded:
            return None, "its figures are the manifest's, its words are of no release known here"
        return True, "says what the manifest says"

    def beside(self) -> Outcome:
        """The package that it speaks of is the one that lies beside it, if one does."""
        return beside_outcome(self._folder, self._manifest)

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
                ("minutes of load", said.sustained_minutes, first.options.sustained_minutes),
            )
            if stated != found
        ]
        own = RuntimeOptions(
            said.runtime,
            said.threads,
            cores=first.options.cores,
            sustained_minutes=first.options.sustained_minutes,
        )
        problems += [
            f"measured with {name} {found!r}, nasc measures with {held!r}"
            for name, found, held in differences(first.options, own)
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
        problems += _other_lengths(said, measured)
        return not problems, "; ".join(problems) or f"{said}: as measured"

    @property
    def _vocab_size(self) -> int:
        return self._manifest.geometry.vocab_size

    def parity(self) -> Outcome:
        """The recorded parity meets the bounds of the program."""
        parity = self._manifest.parity
        if parity is None:
            return None, "the manifest has no parity report"
        precision, kind = self._manifest.precision, parity.to_dict()["kind"]
        if kind != precision:
            return False, f"a report about {kind} for {precision}"
        if isinstance(parity, ReducedPrecisionReport):
            return accept_reduced(parity)
        held = parity.share <= 1
        head = self._manifest.head
        if gives_vector(head) and pooling_of(head).unit:  # whose values are never above 1
            held &= parity.max_abs_diff <= TORCH_TOLERANCE
            held &= parity.padding_max_abs_diff <= PADDING_TOLERANCE
        return held, (
            f"{parity.max_abs_diff:.2g} from torch, {parity.padding_max_abs_diff:.2g} by padding, "
            f"{parity.share:.0%} of what is allowed, at lengths {min(parity.lengths)} to "
            f"{max(parity.lengths)}"
        )

    def measurement(self) -> Outcome:
        """The stated latency follows from the raw samples, which are of this file."""
        measured, peak = self._manifest.measured, self._manifest.peak_memory.measured_bytes
        if not self._manifest.states_measurable:
            return True, "no latency is stated"
        if measured is None:
            # A limit is held by measuring again; of emulated devices all samples are left out.
            held = "peak_memory_bytes" in self._manifest.limits
            emulated = self._device is not None and self._device.emulated
            if peak is not None and not held and not emulated:
                return False, f"a peak memory of {peak:,} bytes is stated without a measurement"
            return None, self._manifest.estimate or "the manifest has no measurement"
        problems = wrong_measurement(self._manifest, self._model)
        problems += other_references(measured)
        problems += _wrong_stream(measured)
        for name, value in measured.to_dict().items():
            if not name.endswith("_ms"):
                continue
            stated = self._plain["measured"][name]
            # Sums of floats are not the same in all versions of Python.
            if stated != value and not (measured.parts and math.isclose(stated, value)):
                problems.append(f"measured.{name} differs from the measurement's own")
        version = measured.measurement.version
        problems += underivable(measured)
        if version != FORMAT_VERSION and not problems:
            return None, (
                f"of this file; its figures are of measurement format {version}, whose statistic "
                f"this nasc (format {FORMAT_VERSION}) cannot derive from the raw samples"
            )
        return not problems, "; ".join(problems) or (
            f"{measured.latency_ms:.2f} ms (upper bound {measured.upper_ms:.2f}) from "
            f"{sum(len(model.samples) for model in measured.models)} rounds of raw samples"
        )

    def evidence(self) -> Outcome:
        """What is said of table, search and conformance agrees with the rest of the manifest."""
        manifest, found = self._manifest, []
        evidence = manifest.evidence
        if not evidence and not manifest.conformance:
            return True, "none is stated"
        problems = []
        if table := evidence.get("table"):
            total = sum(row["count"] * row["cost_ms"] for row in table["rows"])
            total += table["streaming_ms"]
            predicted = manifest.predicted
            if predicted is None or not math.isclose(total, predicted.latency_ms, rel_tol=1e-6):
                problems.append(
                    f"rows of the table add up to {total:.6g} ms, not to the prediction"
                )
            found.append(f"the prediction from {len(table['rows'])} rows of a table")
        if search := evidence.get("search"):
            own = (str(manifest.architecture), self._runtime)
            if (search["chosen"]["architecture"], search["chosen"]["runtime"]) != own:
                problems.append("the search chose another network")
            losses = [one["predicted_loss"] for one in search.get("best", ())]
            if None in losses or losses != sorted(losses):
                problems.append("the best networks of the search are not in their order")
            found.append(f"{own[0]} out of a search")
        if rows := manifest.conformance:
            tokens = [row["tokens"] for row in rows]
            if tokens != sorted({*tokens}) or tokens[-1] > manifest.geometry.max_positions:
                problems.append("lengths of the conformance log are not in their order")
            if {row["precision"] for row in rows} != {manifest.precision}:
                problems.append("the conformance log is of another precision")
            found.append(f"conformance at {len(rows)} lengths to {tokens[-1]} tokens")
        return not problems, "; ".join(problems or found)

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
        problems, met, doubt = [], [], ""
        for name, limit in manifest.limits.items():
            value = held.get(name)
            if name == "latency_ms" and manifest.estimate is not None:
                doubt = f"{name} <= {limit:g} is an ESTIMATE, not measured"
            elif value is None:
                problems.append(f"{name} <= {limit:g} has no figure")
            elif value > limit:
                problems.append(f"{name} is {value:g}, over the limit {limit:g}")
            else:
                met.append(f"{name} {value:g} <= {limit:g}")
        doubt = "" if problems else doubt or self._doubt()
        if doubt:
            return None, "; ".join([*met, doubt])
        return not problems, "; ".join(problems or met)

    def _doubt(self) -> str:
        """Why a latency limit may not hold by less noise than is usual; empty if it does.

        Only the file that is here of the device can say that it makes less. That it makes more is
        known of the device that is here, which may be another of the same name: it counts where
        the latency is measured again.
        """
        manifest, device = self._manifest, self._device
        measured, limit = manifest.measured, manifest.limits.get("latency_ms")
        if measured is None or limit is None or manifest.conditions.quantile:
            return ""
        least = UNSTATED if device is None else UNSTATED.smaller(device.noise)
        most = upper_ms(measured, measured.measurement.noise.larger(least))
        if most <= limit:
            return ""
        what = (
            f"which no file here tells of device {manifest.conditions.device!r}"
            if device is None
            else f"which the file of device {device.name!r} here does not tell"
        )
        return (
            f"the latency was stated by less noise than is usual, {what}; by the usual it may be "
            f"up to {most:g} ms, over the limit {limit:g}: give the device's file with --device, "
            f"or make it anew: nasc compile --latency-ms {limit:g}"
        )
