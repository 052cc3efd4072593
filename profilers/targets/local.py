"""This machine: a worker process on the other end of two pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from profilers.errors import InvalidSetting, ModelRejected, RuntimeMissing, WorkerDied
from profilers.jobs import ModelJob, RuntimeOptions
from profilers.samples import Step, Visit

REQUEST_TIMEOUT_S = 600.0
"""No single request (load a model, visit it) may take longer. Chosen, 2026: a visit takes well
under a second, loading a file of 1 GB some ten seconds."""

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def _environment(options: RuntimeOptions) -> dict[str, str]:
    """The worker's environment: numeric libraries held to the threads asked for."""
    path = os.environ.get("PYTHONPATH")
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(_PACKAGE_ROOT), *([path] if path else [])])
    environment["PYTHONSAFEPATH"] = "1"  # a file onnx.py in the caller's folder is not our onnx
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(options.threads)
    return environment


class LocalTarget:
    """A worker process on this machine.

    Attributes:
        context: what `profilers.context.read_context` says, with the runtime and its version.
        base_bytes: peak memory of the worker before any model was loaded.
    """

    def __init__(
        self, options: RuntimeOptions, *, request_timeout_s: float = REQUEST_TIMEOUT_S
    ) -> None:
        """Starts the worker.

        Raises:
            RuntimeMissing, InvalidSetting, WorkerDied: it could not start with these options.
        """
        self._timeout_s = request_timeout_s
        self._paths: dict[str, str] = {}
        self._buffer = b""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by close)
        # Its own session: Ctrl-C reaches the caller alone, which then ends the worker in order.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "profilers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(options),
            start_new_session=True,
        )
        try:
            answer = self._ask({"op": "start", "options": options.to_dict()})
        except BaseException:
            self.close()
            raise
        self.context: dict[str, Any] = answer["context"]
        self.base_bytes: int | None = answer["base_bytes"]

    def load(self, job: ModelJob, seed: int) -> None:
        """See `Target`."""
        self._paths[job.name] = str(job.path)
        inputs = {name: spec.to_dict() for name, spec in job.inputs.items()}
        path = str(job.path.resolve())
        if not job.path.is_file():
            raise ModelRejected(
                f"model {job.name!r}: there is no file {str(job.path)!r}. "
                "Give the path of an ONNX file that exists and is readable."
            )
        self._ask(
            {"op": "load", "name": job.name, "path": path, "inputs": inputs, "seed": seed},
            subject=str(job.path),
        )

    def visit(self, steps: Sequence[Step]) -> list[Visit]:
        """See `Target`."""
        names = dict.fromkeys(self._paths.get(step.name, step.name) for step in steps)
        answer = self._ask(
            {"op": "visit", "steps": [list(step) for step in steps]}, subject=", ".join(names)
        )
        return [
            Visit(
                name=str(visit["name"]),
                start_s=round(float(visit["start_s"]), 6),
                end_s=round(float(visit["end_s"]), 6),
                runs_ms=tuple(round(ns * 1e-6, 6) for ns in visit["wall_ns"]),
                own_ms=tuple(round(ns * 1e-6, 6) for ns in visit["own_ns"]),
                preempted=tuple(int(count) for count in visit["preempted"]),
            )
            for visit in answer["visits"]
        ]

    def unload(self, name: str) -> None:
        """See `Target`."""
        self._ask({"op": "unload", "name": name})

    def describe(self, path: str) -> dict[str, tuple[str, list[int | str | None]]]:
        """See `Target`."""
        answer = self._ask({"op": "describe", "path": str(Path(path).resolve())}, subject=str(path))
        return {name: (dtype, list(axes)) for name, (dtype, axes) in answer["inputs"].items()}

    def peak_bytes(self) -> int | None:
        """See `Target`."""
        peak = self._ask({"op": "memory"})["peak_bytes"]
        return None if peak is None else int(peak)

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
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        self._errors.close()

    def __enter__(self) -> LocalTarget:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and self._process.poll() is None:
            self._process.kill()  # do not wait for a long run to end
        self.close()

    def _ask(self, request: dict[str, Any], subject: str | None = None) -> dict[str, Any]:
        """Sends one request and waits for its answer.

        Args:
            request: see `profilers.worker`.
            subject: the model file that a failure would concern.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._death(subject) from None
        answer: dict[str, Any] = json.loads(self._read_line(subject))
        if answer["ok"]:
            return answer
        if answer["kind"] == "model":
            blamed = answer.get("name")
            subject = self._paths.get(blamed, blamed) if blamed else subject
            detail = str(answer["error"]).strip()[:500]
            raise ModelRejected(
                f"the runtime rejected the model {subject!r}: {detail}\n"
                "Allowed is any ONNX file that this runtime can load and run. Check it: "
                f"python -c \"import onnx; onnx.checker.check_model('{subject}')\""
            )
        if answer["kind"] == "runtime":
            raise RuntimeMissing(str(answer["error"]))
        raise InvalidSetting(f"the worker refused {request['op']!r}: {answer['error']}")

    def _read_line(self, subject: str | None) -> bytes:
        """One line of the worker's answers, with the time limit of a request."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._timeout_s
        while b"\n" not in self._buffer:
            ready, _, _ = select.select(
                [self._process.stdout], [], [], max(0.0, deadline - time.monotonic())
            )
            if not ready:
                self._process.kill()
                raise WorkerDied(
                    f"the worker did not answer within {self._timeout_s:g} s"
                    f"{f' while it worked on {subject!r}' if subject else ''}; it was ended. "
                    "Try a smaller model or batch."
                )
            chunk = os.read(self._process.stdout.fileno(), 1 << 16)
            if not chunk:
                raise self._death(subject)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self, subject: str | None) -> WorkerDied:
        """Describes how the worker ended."""
        try:
            code = self._process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"exit status {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = f"signal {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += ", as when memory runs out"
        self._errors.seek(0)
        tail = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        said = f" Its last words: {tail[-1]}" if tail else ""
        return WorkerDied(
            f"the worker process ended ({how})"
            f"{f' while it worked on {subject!r}' if subject else ''}.{said} "
            "Measure fewer or smaller models at once, or each alone to find the one to blame."
        )
