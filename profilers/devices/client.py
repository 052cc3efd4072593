"""The caller's end of a worker process, however that was started: requests over its two pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from device_profiles.reading import FileRefused
from profilers.devices.answers import (
    read_axes,
    read_model,
    read_outputs,
    read_peak,
    read_start,
    read_visits,
)
from profilers.errors import (
    InvalidSetting,
    MemoryExceeded,
    ModelRejected,
    ProfilerError,
    RuntimeMissing,
    WorkerDied,
    WorkerUnreliable,
)
from profilers.inputs import draw_inputs
from profilers.jobs import ModelJob, RuntimeOptions, WorkerLimits
from profilers.messages import LOAD_S, MAX_ANSWER_BYTES, PROTOCOL, RUN_S, encode_array
from profilers.model_files import GIVE_A_FILE, kind_of
from profilers.reference import REFERENCE_NAME
from profilers.samples import Step, Visit

REQUEST_TIMEOUT_S = 600.0
"""A worker that has not answered a request (load a model, visit it) for so long, and for longer
than its limits allow, hangs. Chosen, 2026: a visit takes well under a second, loading a file of
1 GB some ten seconds."""

VISIT_TRIES = 2
"""A visit whose times cannot be right is asked for so often: a clock that jumps does so once."""

_T = TypeVar("_T")

_WRONG_ANSWER = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What an answer of the wrong form raises where it is read."""


def thread_variables(count: int) -> dict[str, str]:
    """Variables of the environment that hold numeric libraries to so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return dict.fromkeys(names, str(count))


class WorkerClient:
    """Speaks to a worker process; docs/worker-protocol.md has the requests.

    Attributes:
        context: The device and its state when the worker started, as
            `profilers.context.read_context` describes them, with the runtime, its version and the
            number formats that it offers there (`profilers.context.precisions_of`).
        base_bytes: Peak memory of the process before any model was loaded, in bytes; None where the
            system does not tell.
    """

    def __init__(
        self,
        command: Sequence[str],
        options: RuntimeOptions,
        *,
        limits: WorkerLimits | None = None,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Starts the worker.

        Args:
            command: The program, and its arguments, that is or reaches the worker.
            options: How its runtime is set up.
            limits: What it may take; None takes the defaults.
            request_timeout_s: See `REQUEST_TIMEOUT_S`.
            environment: Variables of the program; None leaves them as they are.

        Raises:
            RuntimeMissing, InvalidSetting, WorkerDied: It could not start with these options.
        """
        self._limits = limits or WorkerLimits()
        self._timeout_s = request_timeout_s
        self._paths: dict[str, str] = {}
        self._buffer = bytearray()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        # Its own session: Ctrl-C reaches the caller alone, which then ends the worker in order.
        try:
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise WorkerDied(
                f"the program {command[0]!r}, which is to start the worker, cannot be run: "
                f"{error.strerror or error}. Try the command by itself: {shlex.join(command)}"
            ) from error
        try:
            answer = self._ask(
                {"op": "start", "options": options.for_worker(), "limits": self._limits.to_dict()}
            )
            if not isinstance(answer.get("context"), dict) or "base_bytes" not in answer:
                raise self._no_worker(json.dumps(answer).encode())
            if answer.get("protocol") != PROTOCOL:
                raise self._other_protocol(answer.get("protocol"))
            context, base_bytes = self._read("start", read_start, answer)
        except BaseException:
            self.close()
            raise
        self.context: dict[str, Any] = context
        self.base_bytes: int | None = base_bytes

    @property
    def alive(self) -> bool:
        """Whether the worker process still runs."""
        return self._process.poll() is None

    def load(self, job: ModelJob, seed: int) -> None:
        """See `Worker`."""
        self._paths[job.name] = str(job.path)
        if not job.path.is_file():
            raise ModelRejected(
                f"model {job.name!r}: there is no {'regular ' if job.path.exists() else ''}file "
                f"{str(job.path)!r}. {GIVE_A_FILE}"
            )
        drawn = draw_inputs(job.inputs, seed)
        inputs = {name: encode_array(value) for name, value in drawn.items()}
        self._ask(
            {
                "op": "load",
                "name": job.name,
                "path": self._path_there(job.path),
                "inputs": inputs,
            },
            subject=str(job.path),
            longest_s=self._limits.load_s,
        )

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        """See `Worker`."""
        names = [step.name for step in steps]
        names = [name for name in names if not name.startswith(REFERENCE_NAME)] or names
        for number in range(1, VISIT_TRIES + 1):
            begun = time.monotonic()
            answer = self._ask(
                {"op": "visit", "steps": [list(step) for step in steps]},
                subject=", ".join(dict.fromkeys(self._paths.get(name, name) for name in names)),
                longest_s=self._limits.run_s * sum(step.warmup + step.runs for step in steps),
            )
            try:
                return read_visits(answer, steps, time.monotonic() - begun)
            except _WRONG_ANSWER as error:
                if number == VISIT_TRIES:
                    raise self._wrong_answer("visit", error) from error
        raise AssertionError("the last one returns or raises")

    def unload(self, name: str) -> None:
        """See `Worker`."""
        self._ask({"op": "unload", "name": name})

    def describe(self, path: str) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `Worker`."""
        answer = self._ask(
            {"op": "describe", "path": self._path_there(Path(path))},
            subject=str(path),
            longest_s=self._limits.load_s,
        )
        return self._read("describe", read_axes, answer, "inputs")

    def open(self, name: str, path: str) -> dict[str, Any]:
        """See `ModelRunner`."""
        self._paths[name] = path
        answer = self._ask(
            {"op": "open", "name": name, "path": self._path_there(Path(path))},
            subject=path,
            longest_s=self._limits.load_s,
        )
        return self._read("open", read_model, answer)

    def run(self, name: str, inputs: Mapping[str, Any]) -> list[Any]:
        """See `ModelRunner`."""
        sent = {key: encode_array(value) for key, value in inputs.items()}
        answer = self._ask(
            {"op": "run", "name": name, "inputs": sent},
            subject=self._paths.get(name, name),
            longest_s=self._limits.run_s,
        )
        return self._read("run", read_outputs, answer)

    def ask(self, request: dict[str, Any], subject: str) -> dict[str, Any]:
        """Sends a request that only a worker of one's own kind knows, held to `load_s`.

        Args:
            request: With its "op".
            subject: The file that a failure would concern.

        Returns:
            The answer.

        Raises:
            ModelRejected: The file is to blame.
            WorkerDied: The worker ended.
        """
        return self._ask(request, subject=subject, longest_s=self._limits.load_s)

    def peak_bytes(self) -> int | None:
        """See `Worker`."""
        answer = self._ask({"op": "memory"})
        return self._read("memory", read_peak, answer)

    def close(self) -> None:
        """Ends the worker: asks it to leave, kills it after two seconds."""
        process = self._process
        if process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                assert process.stdin is not None
                process.stdin.write(b'{"op": "quit"}\n')
                process.stdin.close()
            try:
                process.wait(timeout=2.0)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._process.poll() is None:
            self._kill()  # do not wait for a long run to end
        self.close()

    def path_there(self, path: Path) -> str:
        """A model file's path where the worker runs, to which it is brought if need be.

        Args:
            path: The file here.

        Raises:
            OSError, FileRefused: It cannot be read.
            ProfilerError: It cannot be brought there.
        """
        return str(path.absolute())

    def end(self, status: int, said: str) -> ProfilerError | None:
        """What the end of the worker's program means, where it says more than that it ended.

        Args:
            status: Its exit status; the negative number of the signal that ended it.
            said: The end of its stderr.
        """
        return None

    def _path_there(self, path: Path) -> str:
        try:
            return self.path_there(path)
        except (OSError, FileRefused) as error:
            raise ModelRejected(
                f"cannot read the model {str(path)!r}: {error}. {GIVE_A_FILE}"
            ) from error

    def _ask(
        self, request: dict[str, Any], subject: str | None = None, longest_s: float = 0.0
    ) -> dict[str, Any]:
        """Sends one request and waits for its answer.

        Args:
            request: See `profilers.worker`.
            subject: The model file that a failure would concern.
            longest_s: What the worker's own limits allow for it.
        """
        patience_s = self._timeout_s if longest_s <= self._timeout_s else longest_s + 60.0
        try:
            self._send(json.dumps(request).encode() + b"\n", subject, patience_s)
        except (OSError, ValueError):
            raise self._death(subject, request["op"]) from None
        line = self._read_line(subject, request["op"], patience_s)
        try:
            answer: dict[str, Any] = json.loads(line)
            done = bool(answer["ok"])
            if not done and not {"kind", "error"} <= answer.keys():
                raise KeyError("kind")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise self._no_worker(line) from None
        if done:
            return answer
        if answer["kind"] in ("model", "memory"):
            blamed = answer.get("name")
            subject = self._paths.get(blamed, blamed) if blamed else subject
            detail = str(answer["error"]).strip()[:500]
            kind = MemoryExceeded if answer["kind"] == "memory" else ModelRejected
            raise kind(
                f"the runtime rejected the model {subject!r}: {detail}\n{self._allowed(subject)}"
            )
        if answer["kind"] == "file":
            raise ModelRejected(f"{subject!r} cannot be used: {str(answer['error'])[:500]}")
        if answer["kind"] == "runtime":
            raise RuntimeMissing(str(answer["error"]))
        raise InvalidSetting(f"the worker refused {request['op']!r}: {answer['error']}")

    def _allowed(self, subject: str | None) -> str:
        """What a runtime takes, and how a file is checked."""
        path = Path(subject or "model.onnx")
        return kind_of(path).advice_on(path)

    def _send(self, line: bytes, subject: str | None, patience_s: float) -> None:
        """Writes a request, with its time limit: a worker that hangs does not read a long one."""
        assert self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        os.set_blocking(pipe, False)
        deadline = time.monotonic() + patience_s
        rest = memoryview(line)
        while rest:
            _, ready, _ = select.select([], [pipe], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._no_answer(subject, patience_s)
            rest = rest[os.write(pipe, rest) :]

    def _read_line(self, subject: str | None, op: str, patience_s: float) -> bytes:
        """One line of the worker's answers, with the time limit of a request."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + patience_s
        looked = 0
        while (end := self._buffer.find(b"\n", looked)) < 0:
            looked = len(self._buffer)
            ready, _, _ = select.select(
                [self._process.stdout], [], [], max(0.0, deadline - time.monotonic())
            )
            if not ready:
                raise self._no_answer(subject, patience_s)
            chunk = os.read(self._process.stdout.fileno(), 1 << 20)
            if not chunk:
                raise self._death(subject, op)
            self._buffer += chunk
            if len(self._buffer) > MAX_ANSWER_BYTES:
                self._kill()
                raise WorkerDied(
                    f"the worker's answer about {subject!r} has more than {MAX_ANSWER_BYTES:,} "
                    "bytes; it was ended. Try a smaller model or batch."
                )
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _read(self, op: str, reader: Callable[..., _T], *about: Any) -> _T:
        """What a function of `profilers.devices.answers` finds in an answer."""
        try:
            return reader(*about)
        except _WRONG_ANSWER as error:
            raise self._wrong_answer(op, error) from error

    def _wrong_answer(self, op: str, error: Exception) -> WorkerUnreliable:
        """Ends a worker whose answer cannot be right, and says so."""
        self._kill()
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        why = "its clock jumps, or it is" if op == "visit" else "it is"
        return WorkerUnreliable(
            f"the worker's answer to {op!r} cannot be right: {reason[:300]}. It was ended: {why} "
            "of another release of nasc. Run the same again: rounds that a table has finished are "
            "kept. If it comes again, install the same release where the worker runs."
        )

    def _no_answer(self, subject: str | None, patience_s: float) -> WorkerUnreliable:
        """Ends a worker that hangs, and says so."""
        self._kill()
        return WorkerUnreliable(
            f"the worker did not answer within {patience_s:g} s"
            f"{f' while it worked on {subject!r}' if subject else ''}; it was ended. "
            "Try a smaller model or batch."
        )

    def _no_worker(self, line: bytes) -> WorkerUnreliable:
        """Ends what answers otherwise than a worker, and says so."""
        self._kill()
        return WorkerUnreliable(
            f"what answers is no worker: it wrote {line[:200].decode(errors='replace')!r}; it was "
            "ended. The program must run `python -m profilers.worker` and write nothing else to "
            "its stdout."
        )

    def _other_protocol(self, version: object) -> WorkerUnreliable:
        """Ends a worker of another release, and says so."""
        self._kill()
        spoken = "none that it tells" if version is None else f"version {str(version)[:20]}"
        return WorkerUnreliable(
            f"the worker speaks another protocol ({spoken}) than this nasc (version {PROTOCOL}). "
            "Install the same release of nasc where the worker runs."
        )

    def _kill(self) -> None:
        """Ends the process, and what it started, at once.

        What may not be ended (it belongs to another user, or runs on another machine) is left by
        closing its stdin, at whose end a worker leaves.
        """
        if self._process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2.0)

    def _death(self, subject: str | None, op: str) -> ProfilerError:
        """Describes how the worker ended."""
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._kill()
            code = self._process.returncode or 0
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 2000))
        said = self._errors.read().decode(errors="replace").strip()
        if (meant := self.end(code, said)) is not None:
            return meant
        how = f"exit status {code}"
        if 128 < code <= 192:  # a shell's word for the signal that ended the worker
            code = 128 - code
        tail = said.splitlines()
        if code == -signal.SIGALRM:
            named = tail[-1] if tail else ""
            is_run = named == RUN_S or (named != LOAD_S and op in ("visit", "run"))
            return self._too_slow(subject, is_run=is_run)
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", as when memory runs out"
        last = f" Its last words: {tail[-1]}" if tail else ""
        advice = "Measure fewer or smaller models at once, or each alone to find the one to blame."
        if op == "start":
            advice = "Try what starts it by itself."
        return WorkerDied(
            f"the worker process ended ({how})"
            f"{f' while it worked on {subject!r}' if subject else ''}.{last} {advice}"
        )

    def _too_slow(self, subject: str | None, *, is_run: bool) -> ModelRejected:
        """Says which limit of time a model ran into."""
        if is_run:
            return ModelRejected(
                f"the model {subject!r} did not finish one run within {self._limits.run_s:g} s; "
                "its process was ended. A graph can hold a Loop without an end; what is merely "
                "large may take longer with --run-timeout SECONDS, or try a smaller batch."
            )
        return ModelRejected(
            f"the file {subject!r} could not be loaded within {self._limits.load_s:g} s; the "
            "process that tried was ended. Try a smaller model."
        )
