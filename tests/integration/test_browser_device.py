"""From a tiny teacher to an npm package whose latency was measured in a real browser."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from endless import write_endless

import device_profiles
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.cli import main
from nasc.latency.session import latency_job
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from nasc.package.read_manifest import read_manifest
from profilers import InputSpec, ModelJob, ModelRejected, RuntimeOptions, WorkerLimits, open_worker
from profilers.browser.library import INSTALL, VARIABLE
from profilers.browser.program import find_program
from profilers.devices.client import WorkerClient
from profilers.devices.local import LocalWorker
from profilers.runtimes import ONNXRUNTIME_WEB
from profilers.samples import Step

pytestmark = [
    pytest.mark.web,
    pytest.mark.slow,
    pytest.mark.skipif(find_program(None) is None, reason="needs chromium (Debian's package)"),
    pytest.mark.skipif(
        not os.environ.get(VARIABLE),
        reason=f"needs onnxruntime-web: {INSTALL}, and name its folder: {VARIABLE}",
    ),
]

GEOMETRY = Geometry(
    layers=2, hidden=64, head_size=32, intermediate=128, vocab_size=50, max_positions=24
)
BLOCKS = (Block(32, ("mha", "ffn")),)
CHROMIUM = device_profiles.find("chromium")


def opened(threads: int = 1, limits: WorkerLimits | None = None) -> WorkerClient:
    worker = open_worker(CHROMIUM, RuntimeOptions(ONNXRUNTIME_WEB, threads), limits)
    assert isinstance(worker, WorkerClient)
    return worker


@pytest.fixture(scope="module")
def browser() -> Iterator[WorkerClient]:
    """A page for all that does not end it."""
    with opened() as worker:
        yield worker


@pytest.fixture(scope="module")
def here() -> Iterator[LocalWorker]:
    with LocalWorker(RuntimeOptions()) as worker:
        yield worker


def made(folder: Path, precision: str) -> Path:
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY)
    return get_lowering(ONNXRUNTIME_WEB).lower(network, folder, precision).path


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8-emb4"])
def test_it_computes_what_onnxruntime_does(
    browser: WorkerClient, here: LocalWorker, tmp_path: Path, precision: str
) -> None:
    path = str(made(tmp_path, precision))
    text = {
        "input_ids": np.arange(12).reshape(2, 6) + 1,
        "attention_mask": np.array([[1] * 6, [1, 1, 1, 0, 0, 0]]),
    }
    told: list[Any] = []
    for worker in (browser, here):
        about = worker.open(precision, path)
        told.append([about["inputs"], about["outputs"], about["metadata"]])
        told[-1].append(worker.run(precision, text))
    assert told[0][:3] == told[1][:3]
    for one, other in zip(told[0][3], told[1][3], strict=True):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)


def test_runs_are_timed(browser: WorkerClient, tmp_path: Path) -> None:
    context = browser.context
    assert context["browser"].startswith("Chromium ")
    assert context["precisions"] == ["fp32", "int8"]
    job = latency_job("one", made(tmp_path, "fp32"), 16, 1, 50)
    browser.load(job, 0)
    first, second = browser.visit([Step("one", 1, 5), Step("one", 0, 3), Step("one", 2, 0)])
    assert (len(first.runs_ms), len(second.runs_ms)) == (5, 3)
    assert min(first.runs_ms) > 0
    assert first.own_ms == first.runs_ms
    assert first.start_s < first.end_s <= second.start_s < second.end_s
    browser.unload("one")


def test_what_is_no_model_is_rejected_and_the_page_lives_on(
    browser: WorkerClient, tmp_path: Path
) -> None:
    path = tmp_path / "no.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(ModelRejected, match=r"no\.onnx"):
        browser.describe(str(path))
    good = made(tmp_path, "fp32")
    with pytest.raises(ModelRejected, match=r"but .*x.* were described"):
        browser.load(ModelJob("x", good, {"x": InputSpec((1, 2))}), 0)
    assert set(browser.describe(str(good))) == {"input_ids", "attention_mask"}


def test_threads_and_a_run_without_an_end(tmp_path: Path) -> None:
    """The page is ended in the middle of it, as other workers are."""
    with opened(2, WorkerLimits(run_s=4.0)) as worker:
        worker.load(latency_job("two", made(tmp_path, "fp32"), 16, 1, 50), 0)
        (visit,) = worker.visit([Step("two", 1, 3)])
        assert len(visit.runs_ms) == 3
        endless = write_endless(tmp_path / "endless.onnx")
        ids = {name: InputSpec((1, 1)) for name in ("input_ids", "attention_mask")}
        worker.load(ModelJob("endless", endless, ids), 0)
        with pytest.raises(
            ModelRejected, match=r"endless\.onnx' did not finish one run within 4 s"
        ):
            worker.visit([Step("endless", 0, 1)])
        assert not worker.alive


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
@pytest.mark.parametrize("how", ["close", "kill"])
def test_no_process_and_no_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    place = tmp_path / ("long" * 30)  # Chromium makes a socket, whose path has a limit
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with opened() as worker:
        (folder,) = place.glob("nasc-*")
        assert len(processes(folder)) > 1  # a browser is several
        if how == "kill":
            worker._kill()
    assert processes(folder) == []
    assert list(place.iterdir()) == []


def processes(folder: Path) -> list[str]:
    """Command lines of the processes that have a folder in theirs, or as their home."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            if os.fsencode(folder) in words:
                found.append((process / "cmdline").read_text(errors="replace"))
    return found


def nasc(*arguments: object) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)


def test_packages_for_here_and_for_a_browser(
    tmp_path: Path, write_inputs: Callable[..., Path]
) -> None:
    teacher = write_inputs(tmp_path, [16, 32])
    shared = ("--cache", tmp_path / "cache", "--json")
    done = nasc(
        *("compile", "--device", "host,chromium", "--latency-ms", "1000,2000"),
        *("--precision", "fp32", "--format", "web", "--seq-len", 12, "--teacher", teacher),
        *("--train-steps", 3, "--distill-steps", 3, "--space", tmp_path / "toy.toml"),
        *("--corpus", tmp_path / "text.txt", "--output", tmp_path / "packages", *shared),
    )
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["missed"] == {}
    packages = tmp_path / "packages"
    assert sorted(path.name for path in packages.iterdir() if path.is_dir()) == [
        *("chromium", "host", "host-web"),
    ]
    beside, manifest = (read_manifest(packages / name) for name in ("host-web", "chromium"))
    assert (beside.conditions.runtime, beside.measured) == ("web", None)
    assert manifest.conditions.runtime == ONNXRUNTIME_WEB
    assert manifest.limits == {"latency_ms": 2000.0}
    assert manifest.measured is not None
    assert 0 < manifest.measured.latency_ms <= manifest.measured.upper_ms <= 2000
    context = manifest.measured.measurement.context
    assert (context["device"], context["worker"]) == ("chromium", "browser")
    readme = (packages / "chromium" / "README.md").read_text()
    assert "The latency was measured in a browser" in readme
    assert "No latency" not in readme
    done = nasc("verify", packages / "chromium", *shared)
    found = json.loads(done.stdout)
    assert (done.exit_code, found["failed"]) == (0, []), done.output
    checks = {check["name"]: check["detail"] for check in found["checks"]}
    assert "vectors differ by" in checks["JavaScript"]
    assert "limit 2000 ms" in checks["latency"]
