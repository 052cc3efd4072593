"""Phones: the real adb client and server, an adbd of the tests, and its programs under qemu.

What runs on the phone is the native worker for 64-bit ARM, with the arm64 library of ONNX Runtime.
Skipped where adb, qemu's programs for single processes, or the C library for ARM are not installed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from adbd import Adbd, Phone
from click.testing import CliRunner, Result
from emulated_phone import PROPERTIES, QEMU, make_phone

import device_profiles
from device_profiles import DeviceProfile
from nasc.architecture.space import PRESETS, Architecture, load_space
from nasc.cli import main
from nasc.latency import plan
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from profilers import (
    ModelRejected,
    Protocol,
    Round,
    RuntimeOptions,
    WorkerLimits,
    measure,
    open_worker,
)
from profilers.devices.adb import FOLDER
from profilers.devices.base import Heating, ModelRunner, Worker
from profilers.devices.remote import RemoteWorker
from profilers.errors import (
    DeviceUnreachable,
    ProfilerError,
    RunnerUnavailable,
    RuntimeMissing,
    WorkerDied,
)
from profilers.jobs import ModelJob
from profilers.reference import REFERENCE_NAME, reference_job
from profilers.runner.glibc import FOLDER_VARIABLE, glibc_files
from profilers.runner.targets import TARGETS, runner_folder
from profilers.samples import Step


def missing() -> str:
    """What of Debian is not installed here, as apt names it; nothing where all is."""
    names = [] if shutil.which("adb") else ["adb"]
    names += [] if QEMU else ["qemu-user-static"]
    try:
        glibc_files(TARGETS["aarch64-linux"])
    except RunnerUnavailable:
        names.append("libstdc++6-arm64-cross")
    return ", ".join(names)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.adb,
    pytest.mark.skipif(bool(missing()), reason=f"not installed here (Debian): {missing()}"),
]


def adb(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["adb", *words], capture_output=True, text=True, check=True, timeout=60)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server of adb of the tests' own, which sees no other phone; the home of its keys."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("ADB_LOCAL_TRANSPORT_MAX_PORT", "5553")  # looks for no emulators
        patch.setenv("HOME", str(home))
        patch.delenv("ANDROID_SERIAL", raising=False)
        yield home
        adb("kill-server")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, built_for_arm64: Path) -> Path:
    """A cache of its own, with the native worker and its library."""
    folder = tmp_path_factory.mktemp("cache")
    shutil.copytree(runner_folder(built_for_arm64), runner_folder(folder), dirs_exist_ok=True)
    return folder


@dataclass
class Bench:
    """A phone that is attached.

    Attributes:
        phone: What it shows; may be changed.
        daemon: Its adbd.
        device: By its profile.
        cache: Holds the native worker.
    """

    phone: Phone
    daemon: Adbd
    device: DeviceProfile
    cache: Path

    def open(
        self, options: RuntimeOptions | None = None, limits: WorkerLimits | None = None
    ) -> Worker:
        return open_worker(self.device, options or RuntimeOptions(), limits, self.cache)

    def plug_in(self) -> None:
        """Attaches it again, after its cable was pulled; adb's server looks once a second."""
        self.daemon = Adbd(self.phone, self.daemon.port)
        deadline = time.monotonic() + 60
        while f"{self.daemon.address}\tdevice" not in adb("devices").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Phone:
    return make_phone(tmp_path_factory.mktemp("phone"))


@pytest.fixture
def bench(made: Phone, server: Path, cache: Path, tmp_path: Path) -> Iterator[Bench]:
    """The phone, with what earlier tests sent to it, attached."""
    phone = dataclasses.replace(made, sent=[])
    daemon = Adbd(phone)
    adb("connect", daemon.address)
    path = tmp_path / "made-up-pixel6.toml"
    shipped = device_profiles.find("pixel6").path.read_text(encoding="utf-8")
    path.write_text("emulated = true\n" + shipped.replace('"pixel6"', '"made-up-pixel6"'))
    found = Bench(phone, daemon, device_profiles.find(path), cache)
    yield found
    found.daemon.close()
    subprocess.run(["adb", "disconnect"], capture_output=True, check=True)  # from all


def drawn(job: ModelJob) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        name: generator.random(spec.shape).astype(spec.dtype)
        if spec.dtype == "float32"
        else generator.integers(spec.low, spec.high, spec.shape).astype(spec.dtype)
        for name, spec in job.inputs.items()
    }


def outputs(worker: Worker, path: Path, inputs: Mapping[str, Any]) -> Any:
    assert isinstance(worker, ModelRunner)
    worker.open("it", str(path))
    found = worker.run("it", inputs)[0]
    worker.unload("it")
    return found


def test_a_phone_computes_what_this_machine_does(bench: Bench, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    with bench.open() as there, open_worker(device_profiles.find("host"), RuntimeOptions()) as here:
        there.load(reference, seed=0)
        (visit,) = there.visit([Step(reference.name, warmup=1, runs=2)])
        assert len(visit.runs_ms) == 2
        assert there.describe(str(reference.path)) == here.describe(str(reference.path))
        assert (there.peak_bytes() or 0) > (there.base_bytes or 0) > 0
        inputs = drawn(reference)
        far = np.abs(outputs(there, reference.path, inputs) - outputs(here, reference.path, inputs))
        assert far.max() <= 1e-4
        context = there.context
    assert context["worker"] == "native"
    assert context["cpu"]["arch"] == "aarch64"
    assert context["cpu"]["logical_cores"] == 8
    assert context["emulated"] is True
    assert context["fingerprint"].startswith("emulated-")
    about = {"model": "Pixel 6", "android": "14", "screen": "Asleep", "battery_percent": 84}
    about |= {"charging": True, "thermal_status": 0, "battery_c": 32.6, "skin_c": 31.5}
    assert about.items() <= context["phone"].items()
    assert context["phone"]["governors"]["7"] == "sched_pixel"
    assert isinstance(there, Heating)
    assert there.why_rest() is None
    # What lies there is not sent again.
    before = list(bench.phone.sent)
    with bench.open() as there:
        there.load(reference, seed=0)
    assert bench.phone.sent == before


def test_int8_networks_agree(bench: Bench, tmp_path: Path) -> None:
    space = load_space(next(iter(PRESETS)))
    architecture = space.teacher.with_precision("int8")
    assert isinstance(architecture, Architecture)
    network = random_network(architecture, space.geometry, vocab_rows=64)
    model = get_lowering("onnxruntime").lower(network, tmp_path, "model").path
    ids = np.arange(16, dtype=np.int64)[None]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    with bench.open() as there, open_worker(device_profiles.find("host"), RuntimeOptions()) as here:
        a, b = (outputs(w, model, inputs).ravel() for w in (there, here))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.999


def test_no_name_is_interpreted_and_nothing_lies_outside(bench: Bench, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    path = tmp_path / 'a model\'s $(touch interpreted) `x` ; "name".onnx'
    shutil.copy(reference.path, path)
    job = ModelJob("../../$(touch interpreted)", path, reference.inputs)
    with bench.open() as there:
        there.load(job, seed=0)
        assert there.visit([Step(job.name, 0, 1)])
        weights = path.with_name("it's $(touch interpreted); x.onnx.data")
        weights.write_bytes(b"weights")
        beside = shutil.copy(reference.path, weights.with_suffix(""))
        assert isinstance(there, RemoteWorker)
        placed = bench.phone.here(there.path_there(Path(beside)))
    assert (placed.parent / weights.name).read_bytes() == b"weights"
    files = bench.phone.here(FOLDER) / "files"
    assert all(str(bench.phone.here(one)).startswith(f"{files}/") for one in bench.phone.sent)
    assert not list(tmp_path.parent.rglob("interpreted"))
    assert not list(bench.phone.root.rglob("interpreted"))


def test_a_phone_tells_what_it_is(bench: Bench, own_cache: Path) -> None:
    run = CliRunner()
    text = run.invoke(main, ["devices"]).stdout
    assert f"attached: {bench.daemon.address}" in text
    added = run.invoke(main, ["devices", "add", "mine", "--serial", bench.daemon.address])
    assert added.exit_code == 0, added.stderr
    assert "2 x Cortex-X1, 2 x Cortex-A76, 4 x Cortex-A55" in added.stdout
    mine, shipped = device_profiles.find("mine"), device_profiles.find("pixel6")
    assert mine.clusters == shipped.clusters
    assert mine.connection.product == shipped.connection.product
    assert {spec.name: spec.value for spec in mine.specs}["memory_bytes"] == 7812345 * 1024
    assert mine.connection.serial == bench.daemon.address


# Failures


def said(bench: Bench, error: type[ProfilerError] = DeviceUnreachable) -> str:
    """What opening a worker says."""
    with pytest.raises(error) as caught:
        bench.open().close()
    return str(caught.value)


def test_a_phone_that_is_not_attached(bench: Bench) -> None:
    adb("disconnect", bench.daemon.address)
    assert "adb sees none. Attach the phone by a cable" in said(bench)


def test_a_phone_that_does_not_know_this_computer(bench: Bench) -> None:
    adb("disconnect", bench.daemon.address)
    bench.phone.asks = True
    adb("connect", bench.daemon.address)
    text = said(bench)
    assert "accept 'Allow USB debugging?' there" in text
    assert bench.daemon.address in text


def test_a_phone_that_does_not_answer(bench: Bench) -> None:
    bench.daemon.close()
    text = said(bench)
    assert "unplug it, plug it in again" in text
    assert "adb kill-server" in text


def test_of_two_phones_one_must_be_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Adbd(bench.phone)
    adb("connect", other.address)
    try:
        assert "Say which is meant: --serial 127.0.0.1:" in said(bench)
        monkeypatch.setenv("ANDROID_SERIAL", other.address)
        with bench.open() as there:
            assert there.context["phone"]["model"] == "Pixel 6"
    finally:
        other.close()
        adb("disconnect", other.address)


def test_a_phone_of_another_kind(bench: Bench) -> None:
    adb("disconnect", bench.daemon.address)
    bench.phone.properties = PROPERTIES | {"ro.product.device": "redfin"}
    adb("connect", bench.daemon.address)
    text = said(bench)
    assert f"adb sees '{bench.daemon.address}' ('redfin')" in text
    assert "nasc devices add NAME --serial" in text


def test_a_phone_with_another_processor(bench: Bench) -> None:
    getprop = bench.phone.root / "system/bin/getprop"
    own = getprop.read_text()
    try:
        getprop.write_text(own.replace("arm64-v8a,armeabi-v7a,armeabi", "armeabi-v7a,armeabi"))
        text = said(bench, RunnerUnavailable)
    finally:
        getprop.write_text(own)
    assert "runs programs for 'armeabi-v7a,armeabi', the worker is built for arm64-v8a" in text


def test_a_phone_that_tells_no_exit_status(bench: Bench) -> None:
    adb("disconnect", bench.daemon.address)
    bench.phone.features = ("cmd",)
    adb("connect", bench.daemon.address)
    assert "its adb tells no exit status (feature shell_v2)" in said(bench)


def test_a_full_storage_keeps_nothing_half(bench: Bench) -> None:
    shutil.rmtree(bench.phone.here(FOLDER), ignore_errors=True)
    bench.phone.free_bytes = 1_000_000
    text = said(bench)
    assert "its storage is full" in text
    assert "No space left on device" in text
    assert f"shell rm -rf {FOLDER}" in text
    assert list((bench.phone.here(FOLDER) / "files").iterdir()) == []


def test_a_library_that_cannot_be_loaded(bench: Bench, tmp_path: Path) -> None:
    """One that is there and is another, as a phone's owner may have put it there."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    for path, name in glibc_files(TARGETS["aarch64-linux"]):
        shutil.copy(path, folder / name)
    shutil.copy(folder / "libgcc_s.so.1", folder / "libstdc++.so.6")  # lacks what is wanted of it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(folder))
        text = said(bench, RuntimeMissing)
    assert "libstdc++" in text


def test_a_cable_that_is_pulled(bench: Bench, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    worker = bench.open()
    worker.load(reference, seed=0)
    bench.daemon.close()
    with pytest.raises(DeviceUnreachable, match=r"not there any more.*is kept.*run the same again"):
        worker.visit([Step(reference.name, 0, 1)])
    worker.close()
    bench.plug_in()
    with bench.open() as there:
        there.load(reference, seed=0)
        assert there.visit([Step(reference.name, 0, 1)])


def test_a_worker_that_is_killed_there_is_no_lost_phone(bench: Bench, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    worker = bench.open()
    worker.load(reference, seed=0)
    for pid in workers(bench):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(WorkerDied, match=r"signal SIGKILL, as when memory runs out"):
        worker.visit([Step(reference.name, 0, 1)])
    worker.close()


def test_a_run_without_an_end_is_ended_there(bench: Bench, tmp_path: Path) -> None:
    reference = reference_job(tmp_path)
    with bench.open(limits=WorkerLimits(run_s=0.001)) as worker:
        worker.load(reference, seed=0)
        with pytest.raises(ModelRejected, match=r"did not finish one run within 0\.001 s"):
            worker.visit([Step(reference.name, 0, 2000)])


def workers(bench: Bench) -> list[int]:
    """Processes of this machine that are a worker on the phone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"qemu" in words[0] and str(bench.phone.root).encode() in b" ".join(words):
                found.append(int(path.parent.name))
    return found


# From end to end

SMALL = {"SEQ_LEN": 4, "HIDDEN": 8, "HEADS": 2, "FFN": 8}
"""A reference network that qemu runs in a millisecond, not in half a second."""

PROFILE = """
import json, sys
import nasc.latency.plan, nasc.latency.profile
import profilers.baseline, profilers.protocol, profilers.reference
sizes, nasc.latency.plan.LEAST_RANDOM = json.loads(sys.argv[1])
for name, value in sizes.items():
    setattr(profilers.reference, name, value)
nasc.latency.profile.MEASURE_S = 3.0
profilers.baseline.MAX_RECORD_S, profilers.baseline._ROUNDS = 0.001, 3
profilers.protocol.QUIET_PATIENCE_S = 1.0
from nasc.cli import main
from nasc.latency import plan
main(sys.argv[2:])
"""


@pytest.fixture
def small_reference() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(f"profilers.reference.{name}", value)
        patch.setattr("profilers.baseline.MAX_RECORD_S", 0.001)  # by one worker
        patch.setattr("profilers.baseline._ROUNDS", 3)
        yield


def test_a_measurement_goes_on_when_the_cable_is_back(
    bench: Bench, tmp_path: Path, small_reference: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("profilers.protocol.LOST_PAUSE_S", 0.2)
    job = dataclasses.replace(reference_job(tmp_path), name="model")
    seen: list[int] = []

    def pull(one: Round) -> None:
        seen.append(one.index)
        if len(seen) == 1:
            bench.daemon.close()
            threading.Timer(1.0, bench.plug_in).start()

    found = measure(
        [job],
        bench.device,
        protocol=Protocol(min_rounds=3, max_rounds=3),
        on_round=pull,
        opener=lambda device, options: open_worker(device, options, cache=bench.cache),
    )
    assert seen == list(range(len(seen)))
    assert len(seen) >= 3
    assert len({sample.instance for sample in found["model"].samples}) > 1


def test_a_phone_that_is_kept_under_load_tells_how_hot_it_is(
    bench: Bench, tmp_path: Path, small_reference: None
) -> None:
    job = dataclasses.replace(reference_job(tmp_path), name="model")
    said: list[str] = []
    found = measure(
        [job],
        bench.device,
        options=RuntimeOptions(sustained_minutes=0.1),
        protocol=Protocol(min_rounds=3, max_rounds=3),
        progress=lambda done, total, text: said.append(text),
        opener=lambda device, options: open_worker(device, options, cache=bench.cache),
    )
    told = found.context["sustained"]
    assert told["minutes"] == 0.1
    assert told["load_s"] >= 6.0
    for name in ("cold", "begin", "end"):
        assert (told[name]["skin_c"], told[name]["thermal_status"]) == (31.5, 0)
    load = [i for i, text in enumerate(said) if text.startswith("keeping the device under load")]
    assert load[0] == 0
    (text,) = [text for text in found.warnings() if text.startswith("after 0.1 minutes of load: ")]
    assert text.count(" C ") == 3
    assert not any("cool down" in text for text in said)


def test_a_profile_is_killed_and_goes_on(
    bench: Bench, tmp_path: Path, small_reference: None
) -> None:
    """All of `nasc profile`; it is killed half-way, and what it had is not measured again."""
    space = tmp_path / "toy.toml"
    space.write_text(
        "n_blocks = 2\nslots = 1\nhidden_sizes = [16, 32]\n"
        'operations = ["ffn", "sep3"]\nprecisions = ["fp32"]\n'
        "[geometry]\nlayers = 2\nhidden = 32\nhead_size = 8\nintermediate = 64\n"
        "vocab_size = 60\nmax_positions = 40\n",
        encoding="utf-8",
    )
    words = [
        *("profile", "--device", str(bench.device.path), "--space", str(space)),
        *("--seq-len", "8", "--precision", "fp32", "--cache", str(bench.cache), "--json"),
    ]
    killed = subprocess.Popen(
        [sys.executable, "-c", PROFILE, json.dumps([SMALL, plan.LEAST_RANDOM]), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        kept = wait_for_rounds(bench.cache, killed)
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait()
    deadline = time.monotonic() + 60
    while workers(bench):  # the phone's end leaves too
        assert time.monotonic() < deadline
        time.sleep(0.1)
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    (profiled,) = json.loads(result.stdout)
    assert profiled["fresh"]
    assert "emulated" in profiled["foreign"]
    (samples,) = Path(profiled["path"]).parent.glob("*.gz")
    text = gzip.decompress(samples.read_bytes()).decode()
    assert kept
    assert all(f'"runs_ms": {json.dumps(runs)}' in text for runs in kept)
    refuses_to_promise(bench, space)


def journals(cache: Path) -> list[Path]:
    """Those of a cache, in which another process builds and removes folders meanwhile."""
    found = [Path(folder) / name for folder, _, names in os.walk(cache) for name in names]
    return [path for path in found if path.suffix == ".journal"]


def wait_for_rounds(cache: Path, running: subprocess.Popen[bytes]) -> list[list[float]]:
    """The runs of each network in the first finished round, once a journal keeps one."""
    deadline = time.monotonic() + 300
    while running.poll() is None:
        assert time.monotonic() < deadline
        for journal in journals(cache):
            lines = journal.read_text(encoding="utf-8").split("\n")
            if len(lines) > 2:  # the key, a round, and what follows
                visits = json.loads(lines[1])["visits"]
                return [runs for name, _, _, runs, *_ in visits if name != REFERENCE_NAME]
        time.sleep(0.02)
    raise AssertionError(f"it ended by itself: {running.returncode}")


def refuses_to_promise(bench: Bench, space: Path) -> None:
    words = ["search", "--device", str(bench.device.path), "--space", str(space)]
    result: Result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "is emulated" in result.stderr
