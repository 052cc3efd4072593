"""A board over SSH, all of it: Debian's arm64 kernel and sshd under qemu-system-aarch64.

Skipped where qemu-system-aarch64 is not installed or Debian's packages cannot be had. What runs
there shows that everything works, and nothing of its time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from emulated_board import NAME, EmulatedBoard, NotBuilt, booted, missing

import device_profiles
from nasc.architecture.space import load_space
from nasc.cli import main
from nasc.latency.plan import plan
from nasc.latency.session import MeasurementSession
from nasc.networks.network import random_network
from nasc.package.read_manifest import read_plain_manifest
from profilers import Protocol, RunnerUnavailable, RuntimeOptions, open_worker
from profilers.devices.base import ModelRunner
from profilers.devices.remote import _digest, _hashes
from profilers.runner.library import runtime_library

pytestmark = [
    *(pytest.mark.slow, pytest.mark.ssh, pytest.mark.qemu),
    pytest.mark.timeout(1800),  # it runs a hundred times slower than this machine
]

SMALL = {"SEQ_LEN": 4, "HIDDEN": 8, "HEADS": 2, "FFN": 8}
"""A reference network that qemu runs in a millisecond, not in a second."""


@pytest.fixture(scope="module")
def board(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[EmulatedBoard]:
    """ONNX Runtime's library, which is large, lies there already; all else is sent."""
    if (lacking := missing()) is not None:
        pytest.skip(lacking)
    try:
        built: Path = request.getfixturevalue("built_for_arm64")
        library = runtime_library("aarch64-linux", built)
        digest = _digest(_hashes([(library, library.name)]))
        there = {f"root/.cache/nasc/files/{digest}/{library.name}": library}
        with booted(tmp_path_factory.mktemp("board"), there) as board:
            yield board
    except (NotBuilt, RunnerUnavailable) as error:  # without a network
        pytest.skip(str(error))


@dataclass(frozen=True)
class Work:
    """What the commands share.

    Attributes:
        folder: Of its files.
        device: The device file of the board.
        cache: Holds the native worker.
    """

    folder: Path
    device: Path
    cache: Path

    def nasc(self, *arguments: object) -> Result:
        words = [*map(str, arguments), "--device", str(self.device), "--cache", str(self.cache)]
        return CliRunner().invoke(main, words, catch_exceptions=False)


@pytest.fixture(scope="module")
def work(
    board: EmulatedBoard,
    tmp_path_factory: pytest.TempPathFactory,
    write_inputs: Callable[..., Path],
    built_cache: Path,
) -> Iterator[Work]:
    folder = tmp_path_factory.mktemp("work")
    device = folder / "made-up-board.toml"
    device.write_text(
        'name = "made-up-board"\ndescription = "under qemu"\ndetect = true\nemulated = true\n'
        f'[connection]\nkind = "ssh"\nhost = "{NAME}"\nworker = "native"\n'
        '[defaults]\nthreads = 1\nruntime = "onnxruntime"\n',
        encoding="utf-8",
    )
    write_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{board.programs()}{os.pathsep}{os.environ['PATH']}")
        for name, value in SMALL.items():
            patch.setattr(f"profilers.reference.{name}", value)
        patch.setattr("profilers.Protocol", partial(Protocol, min_rounds=3, max_rounds=3))
        patch.setattr("profilers.baseline._ROUNDS", 3)
        patch.setattr("profilers.baseline.MAX_RECORD_S", 0.001)  # by one worker
        yield Work(folder, device, built_cache)


def test_arm_computes_what_this_machine_does(work: Work, tmp_path: Path) -> None:
    space = load_space(str(work.folder / "toy.toml"))
    session = MeasurementSession.on(device_profiles.find(work.device), work.cache)
    rng = np.random.default_rng(0)
    words = rng.integers(0, space.geometry.vocab_size, (3, 8))
    feeds = {"input_ids": words, "attention_mask": np.ones_like(words)}
    with (
        open_worker(session.device, RuntimeOptions(), cache=work.cache) as there,
        open_worker(device_profiles.find("host"), RuntimeOptions()) as here,
    ):
        assert there.context["cpu"]["arch"] == "aarch64"
        assert there.context["worker"] == "native"
        assert there.context["emulated"] is True
        assert isinstance(there, ModelRunner)
        assert isinstance(here, ModelRunner)
        for precision in ("fp32", "int8"):
            planned = plan(space, 0, precision=precision, seq_len=8, batch=1, head="embed")
            for i, architecture in enumerate(planned.architectures[:2]):
                network = random_network(architecture, space.geometry, "embed")
                path = str(session.lower(network, tmp_path, f"{precision}{i}").path)
                there.open(path, path)
                here.open(path, path)
                found, wanted = there.run(path, feeds), here.run(path, feeds)
                assert len(found) == len(wanted) > 0
                for one, other in zip(found, wanted, strict=True):
                    if precision == "fp32":
                        np.testing.assert_allclose(one, other, atol=1e-4)
                    a, b = one.ravel().astype(float), other.ravel().astype(float)
                    assert a @ b / np.sqrt((a @ a) * (b @ b)) >= 0.999


def test_from_profile_through_compile_to_verify(
    work: Work, teacher_folder: Callable[..., Path]
) -> None:
    """Everything works there, and nothing is ever said of its time."""
    space = ("--space", work.folder / "toy.toml", "--seq-len", 8, "--precision", "fp32")
    teacher = ("--teacher", teacher_folder(), *space)
    done = work.nasc("profile", *teacher, "--json")
    assert done.exit_code == 0, done.stderr
    (profiled,) = json.loads(done.stdout)
    assert "emulated" in profiled["foreign"]

    package = work.folder / "package"
    inputs = (*teacher, "--corpus", work.folder / "text.txt", "--train-steps", 3)
    compiled = ("compile", *inputs, "--distill-steps", 3, "--output", package)
    refused = work.nasc(*compiled, "--size-bytes", "1M", "--latency-ms", 1000)
    assert refused.exit_code == 1
    assert "device 'made-up-board'" in refused.stderr
    assert "is emulated" in refused.stderr
    assert not package.exists()

    done = work.nasc(*compiled, "--size-bytes", "1M")
    assert done.exit_code == 0, done.stderr
    assert "the device is emulated: nothing is known of this package's latency" in done.stdout
    manifest = read_plain_manifest(package)
    assert manifest["measured"] is manifest["predicted"] is None
    assert manifest["attempts"] == []
    assert "the device is emulated" in manifest["latency_table"]
    assert "the device is emulated" in (package / "README.md").read_text()

    checked = work.nasc("verify", package, "--json")
    report = json.loads(checked.stdout)
    assert checked.exit_code == 3  # all that can be checked holds, the latency cannot
    unchecked = [check for check in report["checks"] if check["ok"] is None]
    assert [check["name"] for check in unchecked] == ["measurement", "latency"]
    assert "is emulated" in unchecked[1]["detail"]
    assert all(check["ok"] for check in report["checks"] if check not in unchecked)

    for command in (("bench", package / "model.onnx"), ("search", *inputs)):
        refused = work.nasc(*command)
        assert refused.exit_code == 1
        assert "is emulated" in refused.stderr
