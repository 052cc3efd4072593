"""What is lowered for a device is judged by what the device computes, wherever nasc runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import device_profiles
import profilers
from nasc.architecture.space import Architecture, Block, Geometry
from nasc.evaluation import encoder as encoders
from nasc.evaluation.encoder import Encoder
from nasc.latency.session import MeasurementSession
from nasc.lowering import Artifact, get_lowering
from nasc.networks.network import random_network
from profilers.devices.base import ModelRunner
from profilers.runtimes import installed
from profilers.testing import SyntheticMachine, SyntheticWorker

GEOMETRY = Geometry(2, 32, 16, 64, 100, 16)
ROWS = [[2, 5, 6, 7, 3], [2, 3], [2, 9, 9, 9, 9, 9, 8, 3]]
NEEDS_OPENVINO = pytest.mark.skipif(not installed("openvino")[0], reason="needs openvino")


class Board(SyntheticWorker):
    """A made-up worker that gives the same vector for every text; counts what it opens."""

    def __init__(self, *precisions: str) -> None:
        super().__init__(SyntheticMachine({}, precisions=precisions))
        self.opened: list[str] = []

    def open(self, name: str, path: str) -> dict[str, Any]:
        self.opened.append(Path(path).name)
        axes = {"input_ids": ("int64", [None, None]), "attention_mask": ("int64", [None, None])}
        return {
            "inputs": axes,
            "outputs": {"embedding": ("float32", [None, 32])},
            "metadata": {"head": "embed", "max_positions": "16"},
        }

    def run(self, name: str, inputs: Mapping[str, Any]) -> list[Any]:
        return [np.full((len(inputs["input_ids"]), 32), 0.5, np.float32)]


def board(tmp_path: Path) -> device_profiles.DeviceProfile:
    """This machine, as a shell reaches it."""
    root = Path(device_profiles.__file__).parents[1]
    words = ["sh", "-c", f'cd "{root}"; exec "{sys.executable}" -m profilers.worker']
    path = tmp_path / "board.toml"
    path.write_text(
        'name = "board"\ndescription = "a board"\ndetect = true\n'
        f'connection.kind = "command"\nconnection.command = {json.dumps(words)}\n'
        'defaults.threads = 1\ndefaults.runtime = "onnxruntime"\n',
        encoding="utf-8",
    )
    return device_profiles.find(path)


def session_on(
    tmp_path: Path, runtime: str, opener: Any = profilers.open_worker
) -> MeasurementSession:
    return MeasurementSession.on(board(tmp_path), tmp_path, runtime=runtime, opener=opener)


def artifact_of(runtime: str, precision: str, folder: Path, offered: tuple[str, ...]) -> Artifact:
    network = random_network(
        Architecture((Block(32, ("mha", "ffn")),), precision), GEOMETRY, vocab_rows=100
    )
    return get_lowering(runtime).lower(network, folder, offered=offered)


@pytest.fixture
def host_offers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what this machine computes in, whatever it has."""

    def offer(*precisions: str) -> None:
        monkeypatch.setattr("nasc.latency.session.precisions_here", lambda runtime: precisions)

    return offer


@pytest.fixture
def nothing_loaded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, options: object) -> Any:
        raise AssertionError(f"{path} is opened in this process")

    monkeypatch.setattr(encoders, "_loaded", refuse)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "precision"),
    [
        ("onnxruntime", "fp32"),
        ("onnxruntime", "int8"),
        pytest.param("openvino", "fp32", marks=NEEDS_OPENVINO),
        pytest.param("openvino", "int8", marks=NEEDS_OPENVINO),
    ],
)
def test_a_device_gives_the_vectors_that_this_process_would(
    runtime: str,
    precision: str,
    tmp_path: Path,
    host_offers: Callable[..., None],
    request: pytest.FixtureRequest,
) -> None:
    session = session_on(tmp_path, runtime)
    made = artifact_of(runtime, precision, tmp_path, session.precisions())
    wanted = Encoder(made.path, runtime=runtime).encode_tokens(ROWS)
    with session.open_encoder(made) as encoder:  # the same processor, by a command
        np.testing.assert_array_equal(encoder.encode_tokens(ROWS), wanted)
    host_offers()
    request.getfixturevalue("nothing_loaded_here")
    with session.open_encoder(made, batch_size=2) as encoder:
        assert (encoder.batch_size, encoder.max_length) == (2, 16)
        np.testing.assert_array_equal(encoder.encode_tokens(ROWS, batch_size=32), wanted)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_what_this_machine_does_not_compute_in_is_judged_on_the_device(
    precision: str,
    tmp_path: Path,
    host_offers: Callable[..., None],
    nothing_loaded_here: None,
) -> None:
    """OpenVINO takes float32 here for bfloat16, which its int8 goes with on that device."""
    host_offers("fp32", "int8")
    worker = Board("fp32", "bf16", "int8")
    session = session_on(tmp_path, "openvino", lambda *_: worker)
    made = Artifact(tmp_path / "m.xml", (), "openvino", precision, 1)
    with session.open_encoder(made) as encoder:
        assert np.all(encoder.encode_tokens(ROWS) == 0.5)
    assert worker.opened == ["m.xml"]
    assert worker.closed
    assert session.evaluated_by(precision) == "1 on synthetic"


def test_what_both_compute_in_is_judged_here(
    tmp_path: Path, host_offers: Callable[..., None]
) -> None:
    host_offers("fp32", "bf16", "int8")
    session = session_on(tmp_path, "openvino", lambda *_: Board("fp32", "bf16", "int8"))
    assert all(session.evaluates_here(precision) for precision in session.precisions())
    host_offers("fp32", "int8")
    assert session.evaluates_here("fp32")
    assert session.evaluated_by("fp32") == installed("openvino")[1]
    host_offers()
    assert not session.evaluates_here("fp32")


def test_no_process_is_started_where_the_device_is_this_machine(
    tmp_path: Path, host_offers: Callable[..., None]
) -> None:
    host_offers()

    def refuse(*_: object) -> Any:
        raise AssertionError("a worker is started")

    host = device_profiles.find("host")
    session = MeasurementSession.on(host, tmp_path, runtime="onnxruntime", opener=refuse)
    made = artifact_of("onnxruntime", "int8", tmp_path, ())
    with session.open_encoder(made) as encoder:
        assert encoder.encode_tokens(ROWS).shape == (3, 32)


def test_a_made_up_device_runs_no_models(tmp_path: Path, host_offers: Callable[..., None]) -> None:
    host_offers()
    worker = SyntheticMachine({}).open()
    assert not isinstance(worker, ModelRunner)
    session = session_on(tmp_path, "onnxruntime", lambda *_: worker)
    with session.open_encoder(artifact_of("onnxruntime", "fp32", tmp_path, ())) as encoder:
        assert encoder.encode_tokens(ROWS).shape == (3, 32)


def test_a_model_that_the_device_rejects_is_a_message(
    tmp_path: Path, host_offers: Callable[..., None]
) -> None:
    host_offers()
    made = Artifact(tmp_path / "m.onnx", (), "onnxruntime", "fp32", 1)
    made.path.write_bytes(b"no model")
    with (
        pytest.raises(profilers.ModelRejected, match=r"rejected the model '.*m\.onnx'"),
        session_on(tmp_path, "onnxruntime").open_encoder(made),
    ):
        pass
