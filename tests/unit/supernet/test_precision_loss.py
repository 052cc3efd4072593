"""What a runtime's precision adds to the loss: measured once, on networks as they ship."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from supernet_toy import random_supernet, sentences

from nasc.architecture.variant import Variant
from nasc.data import Corpus, corpus_from_sentences
from nasc.errors import NascError
from nasc.evaluation.encoder import OpenEncoder, open_here
from nasc.lowering import Artifact, get_lowering
from nasc.networks.network import Network
from nasc.supernet.precision_loss import load_or_measure_loss
from nasc.supernet.scores import Scores
from nasc.supernet.supernet import Supernet
from nasc.teacher import Teacher

BF16, INT8 = Variant("openvino", "bf16"), Variant("openvino", "int8")


@dataclass
class Session:
    """How the networks of a runtime are made for a device; counts them."""

    cache_dir: Path
    runtime: str = "openvino"
    offered: tuple[str, ...] = ("fp32", "bf16", "int8")
    lowering_version: int = 1
    run_by: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    open_encoder: OpenEncoder = open_here

    def records_sha256(self, precision: str) -> str:
        return ""

    def precisions(self) -> tuple[str, ...]:
        return self.offered

    def evaluated_by(self, precision: str) -> str:
        return self.run_by.get(precision, "1")

    def lower(self, network: Network, folder: Path) -> Artifact:
        self.made.append(network.architecture.precision)
        return get_lowering(self.runtime).lower(network, folder, offered=self.offered)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_from_sentences(sentences(60), description="made up", seed=0)


@pytest.fixture(scope="module")
def supernet(teacher: Teacher) -> Supernet:
    return random_supernet(teacher, slots=2, hidden_sizes=(16, 32), operations=("mha", "ffn"))


@pytest.fixture(scope="module")
def scores(supernet: Supernet) -> Scores:
    blocks = tuple(supernet.space.blocks())
    rng = np.random.default_rng(0)
    losses = tuple(rng.random(len(blocks)) for _ in range(2))
    return Scores(supernet.space, (blocks,) * 2, losses, (1.0, 1.0), {"fp32": 0, "int8": 0.02}, 9)


def test_what_scoring_knows_is_not_measured(scores: Scores) -> None:
    assert scores.known_loss(Variant("onnxruntime", "int8")) == 0.02
    assert scores.known_loss(Variant("openvino", "fp32")) == 0
    assert scores.known_loss(INT8) is None
    assert scores.known_loss(Variant("onnxruntime", "bf16")) is None


def test_it_is_measured_once_for_the_same_files(
    supernet: Supernet, scores: Scores, corpus: Corpus, tmp_path: Path
) -> None:
    session: Any = Session(tmp_path, runtime="onnxruntime")
    int8 = Variant("onnxruntime", "int8")
    found = load_or_measure_loss(supernet, scores, corpus, session, int8)
    assert 0 < abs(found) < 0.1
    assert set(session.made) == {"fp32", "int8"}
    count = len(session.made)
    assert load_or_measure_loss(supernet, scores, corpus, session, int8) == found
    assert len(session.made) == count
    for other in (
        Session(tmp_path, runtime="onnxruntime", lowering_version=2),
        Session(tmp_path, runtime="onnxruntime", offered=("fp32", "int8")),
        Session(tmp_path, runtime="onnxruntime", run_by={"int8": "1 on another processor"}),
    ):
        wanted: Any = other
        load_or_measure_loss(supernet, scores, corpus, wanted, int8)
        assert len(other.made) == count


def test_a_damaged_record_is_measured_anew(
    supernet: Supernet, scores: Scores, corpus: Corpus, tmp_path: Path
) -> None:
    session: Any = Session(tmp_path, runtime="onnxruntime")
    int8 = Variant("onnxruntime", "int8")
    found = load_or_measure_loss(supernet, scores, corpus, session, int8)
    [record] = (tmp_path / "precision-losses").iterdir()
    for content in ("{", '{"loss": "none"}', '{"loss": 1e9}'):
        record.write_text(content, encoding="utf-8")
        assert load_or_measure_loss(supernet, scores, corpus, session, int8) == found


def test_a_cache_that_cannot_be_written_is_a_message(
    supernet: Supernet, scores: Scores, corpus: Corpus, tmp_path: Path
) -> None:
    (tmp_path / "precision-losses").touch()
    session: Any = Session(tmp_path, runtime="onnxruntime")
    with pytest.raises(NascError, match=r"cannot write to the cache .*--cache DIR"):
        load_or_measure_loss(supernet, scores, corpus, session, Variant("onnxruntime", "int8"))


@pytest.mark.slow
def test_bfloat16_of_openvino_loses_next_to_nothing(
    supernet: Supernet, scores: Scores, corpus: Corpus, tmp_path: Path
) -> None:
    openvino = pytest.importorskip("profilers.runtimes.openvino")
    from profilers.context import read_context

    if "bf16" not in openvino.precisions(read_context()["cpu"]["flags"]):
        pytest.skip("this processor does not compute in bf16")
    session: Any = Session(tmp_path)
    bf16 = load_or_measure_loss(supernet, scores, corpus, session, BF16)
    int8 = load_or_measure_loss(supernet, scores, corpus, session, INT8)
    assert 0 < abs(bf16) < 1e-3
    assert abs(int8) > abs(bf16)
