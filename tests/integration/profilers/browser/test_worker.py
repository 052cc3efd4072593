"""The worker between a caller and a page; the browser is made up, a script plays it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from profilers import (
    InputSpec,
    InvalidSetting,
    ModelJob,
    ModelRejected,
    ProfilerError,
    RuntimeMissing,
    RuntimeOptions,
    WorkerDied,
    WorkerLimits,
    read_context,
)
from profilers.devices.browser import BrowserClient
from profilers.devices.client import WorkerClient
from profilers.runtimes import ONNXRUNTIME_WEB
from profilers.samples import Step

OPTIONS = RuntimeOptions(ONNXRUNTIME_WEB)

WORKER = """\
import sys
from pathlib import Path
from profilers.browser import worker

worker.checked_files = lambda folder: {}
worker.START_S = 1.5
worker.serve(worker.BrowserWorker(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
"""

BROWSER = """\
#!{python}
import http.client, json, os, signal, socket, sys, threading, time, urllib.request
from urllib.parse import urlsplit

how, start = {how!r}, urlsplit(sys.argv[-1])
assert start.scheme == "file" and not os.stat(start.path).st_mode & 0o077
assert not os.stat(os.path.dirname(os.path.dirname(start.path))).st_mode & 0o077
url = open(start.path).read().partition("url=")[2].partition('"')[0]
secret = urlsplit(url).path.strip("/")
assert url.startswith("http://127.0.0.1:") and secret
assert not any(secret in one for one in [*sys.argv, *os.environ.values()])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))

def post(name, body=""):
    with opener.open(urllib.request.Request(url + name, body.encode(), method="POST")) as answer:
        return answer.read().decode()

def alive():
    try:
        line.getresponse()
    finally:
        os._exit(0)

def get(name):
    with opener.open(url + name) as answer:
        return answer.read()

if how == "ends":
    sys.exit("No usable sandbox!")
if how == "opens nothing":
    time.sleep(60)
assert get("").startswith(b"<!doctype html>")
assert b"crossOriginIsolated" in get("page.js")
if how == "fails":
    post("failed", "the page is not isolated")
    time.sleep(60)
open({pid!r}, "w").write(str(os.getpid()))
host, _, secret = url.removeprefix("http://").partition("/")
line = http.client.HTTPConnection(host)
line.request("POST", "/" + secret + "alive")
if how == "clings":
    threading.Thread(target=time.sleep, args=(60,)).start()
elif how != "page crashes":
    threading.Thread(target=alive, daemon=True).start()
answer = ""
while True:
    request = json.loads(post("next", answer))
    op = request["op"]
    if op == "visit" and how == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if op == "visit" and how == "crashes":
        post("failed", "WebAssembly ran out of memory")
        time.sleep(60)
    if op == "visit" and how == "page crashes":
        line.sock.shutdown(socket.SHUT_RDWR)
        time.sleep(60)
    if op == "visit" and how in ("late", "late again"):
        post("late", "run_s" if how == "late" else "load_s")
        time.sleep(60)
    if op == "start" and how == "thread fails":
        post("failed", "the thread failed")
        time.sleep(60)
    if op == "visit" and how == "hangs":
        time.sleep(60)
    found = {{"ok": True}}
    if op == "start":
        found |= {{"runtime_version": "1.30.0", "browser": "Made Up 7.0"}}
        assert request["limits"].keys() == {{"run_s", "load_s", "memory_bytes"}}
    elif op == "visit":
        (name, _, runs), *_ = request["steps"]
        ns = [1_500_000] * runs
        visit = {{"name": name, "start_s": 1.0, "end_s": 2.0, "wall_ns": ns, "own_ns": ns}}
        found["visits"] = [visit | {{"preempted": [0] * runs}}]
    elif op in ("describe", "open"):
        sizes = [str(len(get(name))) for name, _ in request["files"]]
        found |= {{"inputs": {{}}, "outputs": {{"sizes": ["float32", sizes]}}}}
    elif op == "load" and how == "rejects":
        found = {{"ok": False, "kind": "model", "error": "no such operator", "name": None}}
    answer = json.dumps(found)
"""


@pytest.fixture
def open_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., BrowserClient]:
    """Starts a worker in a browser that behaves in some way."""

    def start(
        how: str = "works",
        options: RuntimeOptions = OPTIONS,
        script: Path | None = None,
        **settings: Any,
    ) -> BrowserClient:
        (tmp_path / "made_up_browser_worker.py").write_text(WORKER)
        program = tmp_path / "browser"
        text = BROWSER.format(python=sys.executable, how=how, pid=str(tmp_path / "pid"))
        program.write_text(text)
        program.chmod(0o755)
        if script is not None:  # one that waits for the browser, and lives on after it
            script.write_text(f'#!/bin/sh\n"{program}" "$@"\nsleep 60\n')
            script.chmod(0o755)
            program = script
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return BrowserClient(
            str(program), tmp_path, options, module="made_up_browser_worker", **settings
        )

    return start


@pytest.fixture
def job(tmp_path: Path) -> ModelJob:
    """A model with weights in a file of their own."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    weight = onnx.numpy_helper.from_array(np.ones((1, 2), np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], ["y"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    model = helper.make_model(helper.make_graph([node], "g", [value], [out], [weight]))
    helper.set_model_props(model, {"maker": "a test"})
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return ModelJob("model", path, {"x": InputSpec((1, 2), "float32")})


def test_requests_are_passed_on_to_the_page(
    open_made_up: Callable[..., BrowserClient], job: ModelJob, tmp_path: Path
) -> None:
    with open_made_up() as worker:
        context = worker.context
        told = {name: context[name] for name in ("worker", "browser", "runtime", "runtime_version")}
        assert told == {
            "worker": "browser",
            "browser": "Made Up 7.0",
            "runtime": ONNXRUNTIME_WEB,
            "runtime_version": "1.30.0",
        }
        assert context["fingerprint"] != read_context()["fingerprint"]
        worker.load(job, 0)
        (visit,) = worker.visit([Step("model", 1, 3)])
        assert visit.runs_ms == (1.5, 1.5, 1.5)
        opened = worker.open("again", str(job.path))
        assert opened["metadata"] == {"maker": "a test"}
        sizes = [str(path.stat().st_size) for path in job.files()]
        assert (len(sizes), opened["outputs"]["sizes"]) == (2, ["float32", sizes])
        assert worker.peak_bytes() is None
        pid = int((tmp_path / "pid").read_text())
    ends(pid)


def ends(pid: int) -> None:
    """Whatever a process was, it is no more."""
    for _ in range(200):
        if not runs(pid):
            return
        time.sleep(0.05)
    raise AssertionError(f"process {pid} runs on")


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ("ends", RuntimeMissing, r"exit status 1: No usable sandbox!.*--dump-dom about:blank"),
        ("opens nothing", RuntimeMissing, r"it opened no page within 1.5 s"),
        ("fails", RuntimeMissing, "the page in the browser failed: the page is not isolated"),
        ("thread fails", RuntimeMissing, "the page in the browser failed: the thread failed"),
    ],
)
def test_a_browser_that_does_not_open_the_page_is_said(
    open_made_up: Callable[..., BrowserClient],
    how: str,
    error: type[ProfilerError],
    match: str,
) -> None:
    with pytest.raises(error, match=match):
        open_made_up(how)


@pytest.mark.parametrize(
    ("how", "error", "match"),
    [
        ("dies", WorkerDied, r"the browser ended \(signal SIGKILL\)"),
        ("page crashes", WorkerDied, r"the browser ended \(its page crashed\)"),
        ("crashes", WorkerDied, "the page in the browser failed: WebAssembly ran out of memory"),
        ("late", ModelRejected, r"model\.onnx' did not finish one run within 120 s"),
        ("late again", ModelRejected, r"model\.onnx' could not be loaded within \d+ s"),
        ("hangs", WorkerDied, r"did not answer within 2 s while it worked on '.*model\.onnx"),
        ("rejects", ModelRejected, r"rejected the model .*model\.onnx': no such operator"),
    ],
)
def test_a_browser_that_gives_out_is_said(
    open_made_up: Callable[..., BrowserClient],
    job: ModelJob,
    how: str,
    error: type[ProfilerError],
    match: str,
    tmp_path: Path,
) -> None:
    # A caller waits for as long as the limits allow, and for `request_timeout_s` at least.
    hangs = {"request_timeout_s": 2.0, "limits": WorkerLimits(run_s=0.5, load_s=1.0)}
    with (
        open_made_up(how, **(hangs if how == "hangs" else {})) as worker,
        pytest.raises(error, match=re.compile(match, re.DOTALL)),
    ):
        work(worker, job)
    ends(int((tmp_path / "pid").read_text()))


def work(worker: WorkerClient, job: ModelJob) -> None:
    worker.load(job, 0)
    worker.visit([Step("model", 1, 2)])


@pytest.mark.parametrize(
    ("options", "limits", "error", "match"),
    [
        (RuntimeOptions(), None, RuntimeMissing, "does not run the runtime 'onnxruntime'"),
        (
            RuntimeOptions(ONNXRUNTIME_WEB, spinning=False),
            None,
            InvalidSetting,
            "spinning = False",
        ),
        (OPTIONS, WorkerLimits(memory_bytes=1 << 30), InvalidSetting, "cannot be limited"),
    ],
)
def test_what_a_browser_does_not_heed_is_refused(
    open_made_up: Callable[..., BrowserClient],
    options: RuntimeOptions,
    limits: WorkerLimits | None,
    error: type[ProfilerError],
    match: str,
) -> None:
    with pytest.raises(error, match=match):
        open_made_up("ends", options, limits=limits)  # no browser is started for it


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("how", ["close", "worker dies", "request hangs"])
def test_nothing_is_left_of_a_browser_that_a_script_starts(
    open_made_up: Callable[..., BrowserClient],
    how: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither the script nor the browser ends by itself."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    worker = open_made_up("clings", script=tmp_path / "script")
    pid = int((tmp_path / "pid").read_text())
    assert list(place.glob("nasc-*"))
    if how == "worker dies":
        os.kill(worker._process.pid, signal.SIGKILL)
    if how == "request hangs":
        worker._kill()
    worker.close()
    assert not runs(pid)
    assert not list(place.iterdir())
    assert worker._process.returncode == (0 if how == "close" else -signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_the_browser_ends_with_whoever_asked_for_it(
    open_made_up: Callable[..., BrowserClient], tmp_path: Path
) -> None:
    open_made_up().close()  # what it takes lies in its place then
    (tmp_path / "pid").unlink()
    code = (
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "from profilers import RuntimeOptions\n"
        "from profilers.devices.browser import BrowserClient\n"
        f"made = BrowserClient({str(tmp_path / 'browser')!r}, Path({str(tmp_path)!r}), "
        f"RuntimeOptions({ONNXRUNTIME_WEB!r}), module='made_up_browser_worker')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, check=False
    )
    assert done.returncode == -9
    ends(int((tmp_path / "pid").read_text()))
