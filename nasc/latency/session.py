"""Where latencies are measured: what travels together, alone on the device, on one scale."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import profilers
from device_profiles import CPU, DeviceProfile
from nasc.errors import UsageError
from nasc.evaluation.encoder import BATCH_SIZE, Encoder
from nasc.evaluation.worker_session import WorkerSession
from nasc.latency.emulated import emulated_error
from nasc.latency.key import LatencyKey, device_prefix, options_text
from nasc.latency.table_paths import tables_folder
from nasc.latency.tuning_records import find_records
from nasc.lowering import Artifact, get_lowering, limits_of, supported_precisions
from nasc.lowering.tuned_kernels import KernelRecords
from nasc.networks.network import Network
from nasc.utils.files import locked
from nasc.utils.progress import Progress, Say
from profilers.devices.base import ModelRunner
from profilers.devices.transports import is_host
from profilers.runtimes import get_runtime, installed

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

ALIKE = {
    "their processors differ, with fingerprints": "fingerprint",
    "their runtimes are of versions": "runtime_version",
    "their workers are": "worker",
}
"""What must be equal on devices that share a measurement, in words and by its name in a context."""

PEAK_PROCESSES = 3
"""Processes that peak memory is measured in where it is limited."""


@dataclass(frozen=True, slots=True)
class MeasurementSession:
    """A device, how its runtime is set up, and the cache that knows its speed.

    Tables, probes, `compile`, `verify` and `bench` measure through one, and what is lowered for the
    device is judged through it; a device that is made up is given to all of them by `opener`
    (`profilers.testing`).

    Attributes:
        device: Where models run.
        options: Settings of the runtime there.
        cache_dir: Keeps reference baselines. Processes that share it measure one at a time.
        opener: Starts a worker on the device.
        say: Told when another process has to be waited for.
        heat: What is known of load on the device, where it is measured after some.
        tuned: Whether kernels are compiled by tuning records, where there are any.
    """

    device: DeviceProfile
    options: profilers.RuntimeOptions
    cache_dir: Path
    opener: profilers.Opener = profilers.open_worker
    say: Say | None = None
    _told: dict[str, Mapping[str, Any]] = field(default_factory=dict, compare=False, repr=False)
    heat: profilers.Heat = field(default_factory=profilers.Heat, compare=False, repr=False)
    tuned: bool = True
    _kernel_records: dict[int, KernelRecords | None] = field(
        default_factory=dict, compare=False, repr=False
    )

    @classmethod
    def on(
        cls,
        device: DeviceProfile,
        cache_dir: Path,
        threads: int | None = None,
        runtime: str | None = None,
        *,
        sustained_minutes: float | None = None,
        opener: profilers.Opener | None = None,
        say: Say | None = None,
        tuned: bool = True,
    ) -> MeasurementSession:
        """With the runtime's settings that tables, limits and `verify` share on a device.

        Args:
            device: The device.
            cache_dir: The cache.
            threads: Of the runtime; None takes the device's default.
            runtime: Its name; None takes the device's default.
            sustained_minutes: Minutes under load before the device is measured; None: none.
            opener: See the class; None is `profilers.open_worker` with this cache.
            say: See the class.
            tuned: See the class.
        """
        opener = opener or functools.partial(profilers.open_worker, cache=cache_dir)
        options = runtime_options(device, threads, runtime, sustained_minutes)
        return cls(device, options, cache_dir, opener, say, tuned=tuned)

    def with_threads(self, threads: int) -> MeasurementSession:
        """The same with so many threads of the runtime."""
        return dataclasses.replace(self, options=dataclasses.replace(self.options, threads=threads))

    @property
    def runtime(self) -> str:
        """Name of the runtime."""
        return self.options.runtime

    def precisions(self, ask: bool = False) -> tuple[str, ...]:
        """What the device computes in by this runtime, the truest first; asked once.

        Args:
            ask: Ask the device also where any processor computes in all that may be had.

        Raises:
            UsageError: If networks are not lowered for the runtime.
            profilers.RuntimeMissing: If the device is asked and the runtime is not installed there.
            profilers.ProfilerError: If the device cannot be reached.
        """
        limits = limits_of(self.runtime)
        anywhere = set(limits.precisions) <= set(limits.on_any_processor)
        if anywhere and self.device.accelerator.kind == CPU and not ask:
            return limits.precisions
        return supported_precisions(self.runtime, profilers.precisions_of(self._context))

    def ask(self) -> None:
        """Ask the device what it is, unless it told before.

        Raises:
            profilers.ProfilerError: If it cannot be reached.
        """
        self._context  # noqa: B018

    def key_fields(self, precision: str) -> dict[str, Any]:
        """What of a `LatencyKey` the device, its runtime and this release decide, asked once.

        Args:
            precision: Of the networks.

        Raises:
            UsageError, ExportError: If networks are not lowered for the runtime here.
            RecordsRefused, RecordsDamaged: See `records`.
            profilers.ProfilerError: If the device cannot be reached.
        """
        return {
            "fingerprint": str(self._context["fingerprint"]),
            "runtime_version": str(self._context["runtime_version"]),
            "records": self.records_sha256(precision),
            **self.fixed_fields(),
        }

    def fixed_fields(self) -> dict[str, Any]:
        """Those of `key_fields` for which the device need not be asked.

        Raises:
            UsageError, ExportError: If networks are not lowered for the runtime here.
        """
        return {
            "options": options_text(self.options.to_dict()),
            "emitter_version": self.lowering_version,
            "statistic": profilers.STATISTIC,
            "reference": profilers.reference_hash(self.device.accelerator.kind),
            "accelerator": self.device.accelerator.kind,
        }

    @property
    def _context(self) -> Mapping[str, Any]:
        """What the device tells of itself and the runtime; asked once."""
        if self.runtime not in self._told:
            with self.opener(self.device, self.options) as worker:
                self._told[self.runtime] = worker.context
        return self._told[self.runtime]

    def check_alike(self, other: MeasurementSession) -> None:
        """Raise unless another device is of the same kind, so that both share a measurement.

        Raises:
            UsageError: If processor, runtime, worker or cores differ.
            profilers.ProfilerError: If one cannot be reached.
        """
        told = {
            what: [str(one._context.get(name)) for one in (self, other)]
            for what, name in ALIKE.items()
        }
        told["their cores are"] = [str(one.options.cores) for one in (self, other)]
        for what, (mine, theirs) in told.items():
            if mine != theirs:
                raise UsageError(
                    f"devices {self.device.name!r} and {other.device.name!r} cannot share a "
                    f"measurement: {what} {mine} and {theirs}. Measure each by itself: --device "
                    f"{self.device.name}"
                )

    def measured_shape(self, key: LatencyKey) -> tuple[int, int] | None:
        """(batch, seq_len) that graphs are written for which a table's costs are measured with.

        Args:
            key: Of the table.
        """
        if limits_of(self.runtime).by_length and key.batch == 1:
            return 1, key.seq_len
        return key.shape

    def lower(
        self,
        network: Network,
        folder: Path,
        name: str = "model",
        shape: tuple[int, int] | None = None,
        lengths: Collection[int] = (),
    ) -> Artifact:
        """What the runtime opens on this device of a network.

        Args:
            network: With its weights.
            folder: Exists; files of this name are replaced.
            name: Of the files, without their suffixes.
            shape: (batch, seq_len) of the only input that it takes; None leaves both free.
            lengths: Of texts, see `nasc.lowering.base.Lowering`.

        Raises:
            UsageError, ExportError, OSError: See `nasc.lowering.base.Lowering`.
            RecordsRefused, RecordsDamaged: See `records`.
            profilers.ProfilerError: See `precisions`.
        """
        lowering = get_lowering(self.runtime)
        settings = self.lowering_settings(network.architecture.precision)
        return lowering.lower(network, folder, name, shape=shape, lengths=lengths, **settings)

    def lowering_settings(self, precision: str) -> dict[str, Any]:
        """What of the device a lowering is given, see `nasc.lowering.base.Lowering`.

        Args:
            precision: Of the networks.

        Raises:
            UsageError: See `processor`.
            RecordsRefused, RecordsDamaged: See `records`.
            profilers.ProfilerError: See `precisions`.
        """
        return {
            "records": self.records(precision),
            "offered": self.precisions(),
            "processor": self.processor if limits_of(self.runtime).is_compiled else None,
        }

    def records(self, precision: str) -> KernelRecords | None:
        """What kernels are compiled by for this device: see `nasc.latency.tuning_records`.

        Read once: what a run of `nasc tune` beside this one adds is for the next command.

        Args:
            precision: Of networks.

        Returns:
            None where there are none or they are left out, or nothing is tuned in that precision or
            runtime.

        Raises:
            RecordsRefused, RecordsDamaged, UsageError, ExportError: See there.
            profilers.ProfilerError: If the device cannot be reached.
        """
        if not self.tuned or precision not in limits_of(self.runtime).tuned:
            return None
        threads = self.options.threads
        if threads not in self._kernel_records:
            cpu = self.processor or profilers.read_context()["cpu"]
            found = find_records(self.device.name, cpu, threads, tables_folder(self.cache_dir))
            self._kernel_records[threads] = found.records
            if self.say is not None:
                self.say(found.said)
        return self._kernel_records[threads]

    def records_sha256(self, precision: str) -> str:
        """Of `records`; empty where there are none."""
        found = self.records(precision)
        return "" if found is None else found.sha256

    @property
    def processor(self) -> Mapping[str, Any] | None:
        """The device's, as `nasc.lowering.base.Lowering` is given it; None is this machine's.

        Raises:
            UsageError: If the device does not tell it.
            profilers.ProfilerError: If the device cannot be reached.
        """
        on_cpu = self.device.accelerator.kind == CPU
        if is_host(self.device) and on_cpu:
            return None
        told = self._context.get("cpu")
        if not isinstance(told, Mapping) or not {"arch", "flags"} <= told.keys():
            raise UsageError(
                f"device {self.device.name!r} does not tell which instructions its processor has, "
                f"which code of {self.runtime} is made for. Take another runtime: --runtime "
                "onnxruntime"
            )
        return told if on_cpu else {**told, "accelerator": self._context["accelerator"]}

    @property
    def lowering_version(self) -> int:
        """Changes where the same network would give other files.

        Raises:
            UsageError: If networks are not lowered for the runtime.
        """
        return get_lowering(self.runtime).VERSION

    def evaluates_here(self, precision: str) -> bool:
        """Whether this process computes what the device does, for artifacts of a precision.

        It does where it runs on the device. Elsewhere fp32 is the same wherever the runtime is; a
        reduced precision is where the runtime computes here in all that it does on the device: it
        takes float32 where a processor lacks a format, and int8 goes with others. This process
        computes on the CPU.

        Raises:
            profilers.ProfilerError: See `precisions`.
        """
        if self.device.accelerator.kind != CPU:
            return False
        if is_host(self.device):
            return True
        here = precisions_here(self.runtime)
        return precision in here and (precision == "fp32" or {*self.precisions()} <= {*here})

    def evaluated_by(self, precision: str) -> str | None:
        """What runs the artifacts of a precision, by which what is found with them is kept.

        Returns:
            Version of the runtime, where it is told, and the processor if that is the device's.

        Raises:
            profilers.ProfilerError: See `precisions`.
        """
        if self.evaluates_here(precision):
            return installed(self.runtime)[1]
        return "{runtime_version} on {fingerprint}".format_map(self._context)

    @contextmanager
    def open_encoder(
        self,
        artifact: Artifact,
        tokenizer: Tokenizer | PreTrainedTokenizerBase | None = None,
        *,
        max_length: int | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Iterator[Encoder]:
        """An artifact as the device runs it: here where `evaluates_here`, else by a worker there.

        A made-up device runs no models: this process does for it.

        Args:
            artifact: Lowered for this runtime.
            tokenizer: See `Encoder`.
            max_length: See `Encoder`.
            batch_size: See `Encoder`.

        Raises:
            ExportError, UsageError: See `Encoder`.
            profilers.ProfilerError: If the device cannot be reached, or rejects the artifact.
        """
        with ExitStack() as stack:
            loaded = None
            if not self.evaluates_here(artifact.precision):
                worker = stack.enter_context(self.opener(self.device, self.options))
                if isinstance(worker, ModelRunner):
                    loaded = WorkerSession(worker, artifact.path)
            yield Encoder(
                artifact.path,
                tokenizer,
                runtime=artifact.runtime,
                max_length=max_length,
                batch_size=batch_size,
                session=loaded,
            )

    @contextmanager
    def alone(self, kept: str | None = None) -> Iterator[Path]:
        """A work folder, for one process at a time: whatever measures on the device holds it.

        Args:
            kept: Of a measurement without a journal: what of the command is kept where it is
                interrupted in it, as a sentence; None leaves to the measurement what is said.

        Raises:
            CacheBusy, NascError: On entering, see `nasc.utils.files.locked`.
            profilers.MeasurementInterrupted: On Ctrl-C where `kept` is given; says what it says.
        """
        name = self.device.name
        folder = self.cache_dir / "profiling" / device_prefix(name).rstrip("-")
        with locked(folder, f"measurements on device {name!r}", self.say) as held:
            try:
                yield held
            except KeyboardInterrupt as error:
                if kept is None:
                    raise
                raise profilers.MeasurementInterrupted(
                    f"the measurement on device {name!r} is not kept, the same command takes it "
                    f"anew. {kept}".rstrip()
                ) from error

    def known_baseline(self) -> profilers.ReferenceBaseline | None:
        """The recorded reference baseline; None where none was recorded.

        Raises:
            profilers.ProfilerError: If it is damaged or the device cannot be reached.
        """
        return profilers.load_baseline(
            self._records,
            self.device,
            options=self.options,
            context=self._context,
            opener=self.opener,
        )

    def baseline(
        self, *, renew: bool = False, progress: Progress | None = None
    ) -> profilers.ReferenceBaseline:
        """The reference baseline; recorded now where there is none, or to renew it.

        Raises:
            profilers.ProfilerError: See `profilers.load_or_record_baseline`.
        """
        return profilers.load_or_record_baseline(
            self._records,
            self.device,
            options=self.options,
            renew=renew,
            heat=self.heat,
            progress=progress,
            context=self._context,
            opener=self.opener,
        )

    def measure(
        self,
        jobs: Sequence[profilers.ModelJob],
        scale: profilers.Scale,
        *,
        protocol: profilers.Protocol | None = None,
        progress: Progress | None = None,
        journal: Path | None = None,
        strict: bool = True,
    ) -> profilers.Measurement:
        """Latencies of models; see `profilers.measure`.

        Raises:
            profilers.ProfilerError: See there.
        """
        return profilers.measure(
            jobs,
            self.device,
            options=self.options,
            protocol=protocol,
            scale=scale,
            progress=progress,
            journal=journal,
            strict=strict,
            heat=self.heat,
            opener=self.opener,
        )

    def single_stream(
        self,
        job: profilers.ModelJob,
        min_duration_s: float,
        *,
        limit_ms: float | None = None,
        progress: Progress | None = None,
    ) -> profilers.SingleStream:
        """MLPerf's single-stream scenario; see `profilers.mlperf`.

        Raises:
            profilers.ProfilerError: See there.
        """
        return profilers.single_stream(
            job,
            self.device,
            self.options,
            min_duration_s=min_duration_s,
            limit_ms=limit_ms,
            progress=progress,
            heat=self.heat,
            opener=self.opener,
        )

    def extend(
        self, baseline: profilers.ReferenceBaseline, measurement: profilers.Measurement
    ) -> profilers.ReferenceBaseline:
        """The reference baseline with what a measurement saw of the reference added.

        Raises:
            profilers.ProfilerError: See `profilers.extend_baseline`.
        """
        return profilers.extend_baseline(baseline, measurement)

    def peak_memory(self, job: profilers.ModelJob, processes: int = 1) -> profilers.PeakMemory:
        """Peak memory of loading and running a model: the largest of so many processes.

        Raises:
            profilers.MemoryUnavailable: If the device does not tell it.
            profilers.ProfilerError: If the device cannot be reached or the model cannot be run.
        """
        found = [
            profilers.measure_peak_memory(job, self.options, device=self.device, opener=self.opener)
            for _ in range(processes)
        ]
        return max(found, key=lambda peak: peak.total_bytes)

    def forget(self, journal: Path) -> None:
        """Removes the journal of a measurement whose result is kept."""
        journal.unlink(missing_ok=True)

    def optional_peak_memory(self, job: profilers.ModelJob) -> profilers.PeakMemory | None:
        """Peak memory in one process; None where the device does not tell.

        Raises:
            profilers.ProfilerError: If the device cannot be reached or the model cannot be run.
        """
        try:
            return self.peak_memory(job)
        except profilers.MemoryUnavailable:
            return None

    @property
    def _records(self) -> Path:
        return baseline_folder(self.cache_dir)


def check_real(device: DeviceProfile) -> None:
    """Refuses a device whose latencies mean nothing, before anything is promised by them.

    Raises:
        DeviceEmulated: If its file says that it is emulated.
    """
    if device.emulated:
        raise emulated_error(f"device {device.name!r} (by its file '{device.path}')")


def baseline_folder(cache_dir: Path) -> Path:
    """Where a cache keeps the reference baselines that tables, limits and `verify` share."""
    return cache_dir / "quiet"


def precisions_here(runtime: str) -> tuple[str, ...]:
    """What networks of a runtime are made in for this machine; nothing where it is missing."""
    try:
        found = get_runtime(runtime)
    except profilers.RuntimeMissing:
        return ()
    return supported_precisions(runtime, found.precisions(profilers.read_context()["cpu"]["flags"]))


def runtime_options(
    device: DeviceProfile,
    threads: int | None = None,
    runtime: str | None = None,
    sustained_minutes: float | None = None,
) -> profilers.RuntimeOptions:
    """The runtime's settings on a device.

    Args:
        device: Whose cores it runs on.
        threads: Of the runtime; None takes the device's default.
        runtime: Its name; None takes the device's default.
        sustained_minutes: Minutes under load before anything is measured; None: none.
    """
    return profilers.RuntimeOptions(
        runtime=runtime or device.default_runtime,
        threads=threads or device.default_threads,
        cores=device.default_cores,
        sustained_minutes=sustained_minutes,
    )


def latency_job(name: str, path: Path, seq_len: int, batch: int, rows: int) -> profilers.ModelJob:
    """An emitted model with its inputs: random tokens, none of them padding.

    Args:
        name: Of the job.
        path: The file that the runtime opens.
        seq_len: Tokens in a sentence.
        batch: Sentences in a run.
        rows: Of the model's word embedding, which token ids are below.
    """
    shape = (batch, seq_len)
    return profilers.ModelJob(
        name,
        path,
        {
            "input_ids": profilers.InputSpec(shape, "int64", 0, rows),
            "attention_mask": profilers.InputSpec(shape, "int64", 1, 2),
        },
    )
