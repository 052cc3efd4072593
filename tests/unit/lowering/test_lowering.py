"""From a network to the files that a runtime opens."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from nasc.architecture.space import PRECISIONS, Architecture, Block, Geometry
from nasc.errors import UsageError
from nasc.lowering import PRECISIONS as LOWERED
from nasc.lowering import get_lowering
from nasc.networks.network import random_network
from profilers.runtimes import NAMES

GEOMETRY = Geometry(
    layers=2, hidden=32, head_size=8, intermediate=64, vocab_size=50, max_positions=24
)
BLOCKS = (Block(16, ("mha", "ffn")),)


def test_every_runtime_that_networks_are_made_for_can_be_measured() -> None:
    assert set(LOWERED) <= set(NAMES)
    assert set(PRECISIONS) == {p for precisions in LOWERED.values() for p in precisions}


@pytest.mark.parametrize(
    ("runtime", "precision"), [(r, p) for r, precisions in LOWERED.items() for p in precisions]
)
def test_an_artifact_is_files_of_a_network(tmp_path: Path, runtime: str, precision: str) -> None:
    lowering = get_lowering(runtime)
    network = random_network(Architecture(BLOCKS, precision), GEOMETRY)
    made = lowering.lower(network, tmp_path, "some")
    assert (made.runtime, made.precision, made.version) == (runtime, precision, lowering.VERSION)
    files = (made.path, *made.companions)
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert {path.stem for path in files} == {"some"}
    assert made.size_bytes == sum(len(path.read_bytes()) for path in files)
    again = lowering.lower(network, tmp_path / ".", "again")
    assert again.path.read_bytes() == made.path.read_bytes()


def test_onnxruntime_opens_onnx(tmp_path: Path) -> None:
    network = random_network(Architecture(BLOCKS), GEOMETRY)
    onnx.checker.check_model(get_lowering("onnxruntime").lower(network, tmp_path).path)


def test_another_runtime_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"for the runtime 'torch'; known: onnxruntime"):
        get_lowering("torch")
