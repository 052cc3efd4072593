"""A worker whose models run in a browser.

`python -m profilers.browser.worker PROGRAM LIBRARY FOLDER` answers the requests of
docs/worker-protocol.md as `profilers.worker` does. It opens the page at the request "start", and
passes on to it what is about models. Whatever the page runs, it is ended with this process: at the
end of stdin, or where a run or a load takes too long.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from profilers.browser.library import checked_files
from profilers.browser.program import Browser
from profilers.browser.server import PageServer
from profilers.context import fingerprint, read_context
from profilers.errors import InvalidSetting, RuntimeMissing
from profilers.jobs import RuntimeOptions, WorkerLimits
from profilers.messages import PROTOCOL
from profilers.model_files import model_files
from profilers.runtimes import ONNXRUNTIME_WEB
from profilers.runtimes.base import check_settings

START_S = 60.0
"""A browser that has not opened its page for so long does not (chosen, 2026: it takes 1 to 3 s)."""

LOOK_S = 0.2
"""How often it is looked whether the browser still runs, while the page works."""

END_S = 1.0
"""A browser that ends has ended so long after its page (chosen, 2026: some milliseconds)."""

LEAVE_S = 2.0
"""A worker that is asked to leave is killed after so long: its caller does so, too."""

PRECISIONS = ("fp32", "int8")
"""What onnxruntime-web computes in by WebAssembly."""

_WITH_FILES = ("load", "describe", "open")

_WRONG_REQUEST = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class _Settings:
    """What `check_settings` asks of a runtime."""

    SETTINGS = ("arena", "graph_optimization")


class Failure(Exception):
    """An answer with "ok": false.

    Attributes:
        kind: What is to blame, see docs/worker-protocol.md.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class BrowserEnded(Exception):
    """The browser, or its page, is no more."""


class BrowserWorker:
    """The page and the requests on it.

    Attributes:
        leaving: Whether it was asked to end.
    """

    def __init__(self, program: str, library: Path, folder: Path) -> None:
        """Nothing is started yet.

        Args:
            program: Of the browser.
            library: Folder of onnxruntime-web.
            folder: The browser's own, which is empty.
        """
        self._program = program
        self._library = library
        self._folder = folder
        self._kept = contextlib.ExitStack()
        self._page: PageServer | None = None
        self._browser: Browser | None = None
        self.leaving = False

    def answer(self, line: str) -> dict[str, Any]:
        """Carries out one request.

        Raises:
            BrowserEnded: There is nobody to carry it out.
        """
        try:
            request = json.loads(line)
            operation = request["op"]
            if operation == "start":
                return {"ok": True, **self._start(request)}
            if operation == "quit":
                self.leaving = True
                return {"ok": True}
            if operation == "kernels":
                raise Failure(
                    "runtime",
                    f"the runtime {ONNXRUNTIME_WEB!r} tells nothing of its kernels. Look at a "
                    "package for one that does: onnxruntime, openvino, tvm",
                )
            if operation == "memory":
                return {"ok": True, "peak_bytes": None}
            if self._page is None:
                raise Failure("request", "the first request must be 'start'")
            if operation in _WITH_FILES:
                request["files"] = self._files(Path(request["path"]))
            found = self._asked(request)
            if operation == "open" and found["ok"]:
                found["metadata"] = _metadata(Path(request["path"]))
            return found
        except Failure as failure:
            return {"ok": False, "kind": failure.kind, "error": str(failure), "name": None}
        except _WRONG_REQUEST as error:
            text = f"{type(error).__name__}: {error} in {line.strip()[:500]}"
            return {"ok": False, "kind": "request", "error": text, "name": None}

    def close(self) -> None:
        """Ends the browser."""
        self._kept.close()

    def _start(self, request: dict[str, Any]) -> dict[str, Any]:
        options = RuntimeOptions.from_dict(request["options"])
        limits = WorkerLimits(**request.get("limits", {}))
        if self._page is not None:
            raise Failure("request", "it is started already")
        if options.runtime != ONNXRUNTIME_WEB:
            raise Failure(
                "runtime",
                f"a browser does not run the runtime {options.runtime!r}. Its own is "
                f"{ONNXRUNTIME_WEB}: leave --runtime out",
            )
        if limits.memory_bytes is not None:
            raise Failure("request", "the memory of a browser cannot be limited")
        try:
            check_settings(_Settings(), options)
            files = checked_files(self._library)
        except InvalidSetting as error:
            raise Failure("request", str(error)) from error
        except RuntimeMissing as error:
            raise Failure("runtime", str(error)) from error
        if options.cores is not None:
            _hold(options.cores)
        try:
            self._page = self._kept.enter_context(PageServer(files))
        except OSError as error:
            raise Failure("runtime", f"no page can be served here: {error.strerror}") from error
        self._open_browser(self._page.url)
        try:
            found = self._asked({**request, "limits": limits.to_dict()})
        except BrowserEnded as error:
            raise Failure("runtime", str(error)) from error
        if not found["ok"]:
            raise Failure(str(found["kind"]), str(found["error"]))
        return self._described(found)

    def _open_browser(self, url: str) -> None:
        """Starts the browser and waits for its page."""
        by_itself = f"Try it by itself: {self._program} --headless=new --dump-dom about:blank"
        try:
            self._browser = Browser(self._program, url, self._folder)
        except OSError as error:
            raise Failure(
                "runtime", f"the browser {self._program!r} cannot be run: {error.strerror}"
            ) from error
        self._kept.callback(self._browser.end)
        deadline = time.monotonic() + START_S
        assert self._page is not None
        while (told := self._page.told(LOOK_S)) is None:
            how = self._browser.ended()
            if how is None and time.monotonic() > deadline:
                how = f"it opened no page within {START_S:g} s"
            if how is not None:
                raise Failure(
                    "runtime",
                    f"the browser {self._program!r} does not work ({how}). {by_itself}",
                )
        if told[0] != "next":
            raise Failure("runtime", f"the page in the browser failed: {told[1] or told[0]}")

    def _described(self, found: dict[str, Any]) -> dict[str, Any]:
        """The answer to "start"."""
        context = read_context()
        browser = str(found["browser"])[:200]
        context["worker"] = "browser"
        context["browser"] = browser
        context["runtime"] = ONNXRUNTIME_WEB
        context["runtime_version"] = str(found["runtime_version"])
        context["precisions"] = list(PRECISIONS)
        context["fingerprint"] = fingerprint(context["cpu"] | {"browser": browser})
        return {"protocol": PROTOCOL, "clock": "wall", "context": context, "base_bytes": None}

    def _files(self, path: Path) -> list[list[str]]:
        """A model's file and those of its weights: where the page finds each, and its name."""
        assert self._page is not None
        try:
            with path.open("rb"):
                found = model_files(path)
        except OSError as error:
            raise Failure("model", f"cannot read it: {error.strerror or error}") from error
        names = [one.relative_to(path.parent).as_posix() for one in found]
        return [[self._page.place(one), name] for one, name in zip(found, names, strict=True)]

    def _asked(self, request: dict[str, Any]) -> dict[str, Any]:
        """What the page answers.

        Raises:
            BrowserEnded: It is gone.
        """
        assert self._page is not None
        assert self._browser is not None
        self._page.ask(json.dumps(request))
        while True:
            told = self._page.told(LOOK_S)
            if told is None or told[0] == "gone":
                # A page is gone a moment before the browser is.
                how = self._browser.ended(0.0 if told is None else END_S)
                if told is not None and how is None:
                    how = "its page crashed"
                if how is not None:
                    raise BrowserEnded(f"the browser ended ({how})")
            elif told[0] == "late":
                self._too_slow(told[1])
            elif told[0] == "failed":
                raise BrowserEnded(f"the page in the browser failed: {told[1]}")
            else:
                found: dict[str, Any] = json.loads(told[1])
                return found

    def _too_slow(self, limit: str) -> NoReturn:
        """Ends this process as the system ends others whose time is up: by SIGALRM.

        Args:
            limit: `RUN_S` or `LOAD_S`: a model that is visited may have to be loaded before.
        """
        self.close()
        sys.stderr.write(f"{limit}\n")
        sys.stderr.flush()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGALRM)
        os._exit(1)  # blocked


def _hold(cores: tuple[int, ...]) -> None:
    """Holds this process, and the browser that it starts, to some cores."""
    if not hasattr(os, "sched_setaffinity"):
        raise Failure("request", "this system cannot pin a process to cores")
    try:
        os.sched_setaffinity(0, cores)
    except OSError as error:
        raise Failure(
            "request",
            f"cores {list(cores)} cannot be used: {error.strerror}; this process may run on "
            f"{sorted(os.sched_getaffinity(0))}",
        ) from error


def _metadata(path: Path) -> dict[str, str]:
    """What a model's maker wrote into it, which onnxruntime-web does not tell."""
    import onnx  # a third of a second; to measure it is not needed

    model = onnx.load(path, load_external_data=False)
    return {entry.key: entry.value for entry in model.metadata_props}


def _lines() -> Iterator[str]:
    """Lines of stdin. Its own object cannot be read by one thread while another ends Python."""
    begun: list[bytes] = []
    while chunk := os.read(0, 1 << 20):
        *ended, rest = chunk.split(b"\n")
        for end in ended:
            yield b"".join([*begun, end]).decode(errors="replace")
            begun.clear()
        begun.append(rest)


def _read_requests(requests: queue.Queue[str]) -> None:
    """Passes lines of stdin on, and ends this process, and with it the browser, at its end.

    Who sends "quit" closes stdin, too: what is asked to leave has `LEAVE_S` to do it in order.
    """
    for line in _lines():
        requests.put(line)
        if _is_quit(line):
            time.sleep(LEAVE_S)
            break
    os.killpg(0, signal.SIGKILL)


def _is_quit(line: str) -> bool:
    try:
        return len(line) < 1000 and bool(json.loads(line)["op"] == "quit")
    except _WRONG_REQUEST:
        return False


def serve(worker: BrowserWorker) -> None:
    """Answers requests until "quit" or the end of stdin."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # what is ended with this process is the browser alone
    # Answers get a private copy of stdout; whatever else is printed goes to stderr instead.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    with contextlib.closing(worker):
        while not worker.leaving:
            line = requests.get()
            if not line.strip():
                continue
            try:
                answer = worker.answer(line)
            except BrowserEnded as error:
                sys.stderr.write(f"{error}\n")
                sys.exit(1)
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


if __name__ == "__main__":
    serve(BrowserWorker(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
