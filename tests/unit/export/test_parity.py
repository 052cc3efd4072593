"""Parity checks find what is wrong, and say where."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasc.errors import ExportError, ParityError, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import LENGTHS, check_parity, check_reduced, texts_of_lengths
from nasc.evaluation.parity_report import (
    MEAN_COSINE,
    NEIGHBOUR_COSINE,
    Parity,
    ReducedPrecisionReport,
    accept_reduced,
    parity_from_dict,
)
from nasc.export.graph import GraphBuilder
from nasc.export.onnx import emit
from nasc.lowering import get_lowering
from nasc.networks.network import Network
from profilers.context import read_context
from profilers.runtimes import get_runtime, installed

MakeNetwork = Callable[..., Network]
Tokens = list[list[int]]

NEEDS_OPENVINO = pytest.mark.skipif(not installed("openvino")[0], reason="needs openvino")

EVERYTHING = "64: mha ffn sep3 | 32: sep5 mha | 48: sep7 ffn"


def changed(network: Network, layer: int, name: str, by: float) -> Network:
    """The network with one value of one tensor changed."""
    tensors = [dict(t) for t in network.tensors]
    tensors[layer][name] = tensors[layer][name].copy()
    tensors[layer][name].flat[0] += by
    return dataclasses.replace(network, tensors=tuple(tensors))


@pytest.mark.parametrize("head", ["embed", "hidden", "spans", "classify-3"])
def test_a_right_export_passes_at_every_length_it_has_positions_for(
    make_network: MakeNetwork, token_lists: Tokens, tmp_path: Path, head: str
) -> None:
    network = make_network(EVERYTHING, head=head)
    emit(network, tmp_path / "m.onnx")
    found = check_parity(network, Encoder(tmp_path / "m.onnx"), token_lists)
    assert found.lengths == tuple(n for n in LENGTHS if n <= 64)
    assert found.n_texts == len(found.lengths)
    assert 0 < found.max_abs_diff <= 1e-4
    assert found.padding_max_abs_diff <= 1e-5


def test_a_file_of_other_weights_is_found(
    make_network: MakeNetwork, token_lists: Tokens, tmp_path: Path
) -> None:
    network = make_network(EVERYTHING)
    emit(changed(network, 1, "o_bias", 0.1), tmp_path / "m.onnx")
    with pytest.raises(
        ParityError, match=r"length 1, alone against torch.*difference is .*allowed is 0\.0001"
    ):
        check_parity(network, Encoder(tmp_path / "m.onnx"), token_lists)


def test_vectors_that_are_no_numbers_are_found(
    make_network: MakeNetwork, token_lists: Tokens, tmp_path: Path
) -> None:
    network = make_network("64: mha ffn")
    emit(changed(network, 2, "in_bias", float("nan")), tmp_path / "m.onnx")
    with pytest.raises(ParityError, match="difference is nan"):
        check_parity(network, Encoder(tmp_path / "m.onnx"), token_lists)


def test_a_convolution_that_reads_padding_is_found(
    make_network: MakeNetwork,
    token_lists: Tokens,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = make_network("64: sep7 sep7")
    original = GraphBuilder.node

    def unmasked(self: GraphBuilder, operator: str, *inputs: str, **attributes: Any) -> str:
        if operator == "Mul" and inputs[1].startswith("Transpose"):
            return inputs[0]
        return original(self, operator, *inputs, **attributes)

    monkeypatch.setattr(GraphBuilder, "node", unmasked)
    emit(network, tmp_path / "m.onnx")
    with pytest.raises(ParityError, match="padded"):
        check_parity(network, Encoder(tmp_path / "m.onnx"), token_lists)


def test_each_check_is_for_its_precision(
    make_network: MakeNetwork, token_lists: Tokens, tmp_path: Path
) -> None:
    wide, reduced = make_network("64: mha"), make_network("64: mha", "int8")
    emit(wide, tmp_path / "m.onnx")
    encoder = Encoder(tmp_path / "m.onnx")
    with pytest.raises(ExportError, match="for fp32 networks, got '64: M @ int8'"):
        check_parity(reduced, encoder, token_lists)
    with pytest.raises(ExportError, match="for networks of reduced precision, got '64: M @ fp32'"):
        check_reduced(wide, encoder, token_lists)


def test_no_text_is_an_error(make_network: MakeNetwork, tmp_path: Path) -> None:
    network = make_network("64: mha", "int8")
    emit(network, tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="no tokenised text"):
        check_reduced(network, Encoder(tmp_path / "m.onnx"), [[]])
    with pytest.raises(UsageError, match="no tokenised text"):
        texts_of_lengths([], [1])


@pytest.mark.parametrize("head", ["embed", "hidden"])
def test_int8_is_compared_with_fp32_and_with_itself_in_batches(
    make_network: MakeNetwork, token_lists: Tokens, tmp_path: Path, head: str
) -> None:
    network = make_network(EVERYTHING, "int8", head)
    emit(network, tmp_path / "m.onnx")
    found = check_reduced(network, Encoder(tmp_path / "m.onnx"), token_lists, batches=(4, 8))
    assert found.n_texts == len(token_lists)
    assert found.neighbour_batches == (4, 8)
    assert 0.98 < found.min_cosine <= found.mean_cosine < 1
    assert found.neighbour_max_abs_diff > 0
    assert 0.98 < found.neighbour_min_cosine < 1
    again = check_reduced(network, Encoder(tmp_path / "m.onnx"), token_lists, batches=(4, 8))
    assert found == again


def test_int8_of_other_weights_is_refused(
    make_network: MakeNetwork, token_lists: Tokens, tmp_path: Path
) -> None:
    network = make_network(EVERYTHING, "int8")
    emit(make_network(EVERYTHING, "int8", seed=1), tmp_path / "m.onnx")
    found = check_reduced(network, Encoder(tmp_path / "m.onnx"), token_lists)
    assert found.mean_cosine < 0.5
    assert not accept_reduced(found)[0]


EXACT = Parity(1e-6, 0.0, (1, 2, 3), 3, 0.01)
GOOD = ReducedPrecisionReport("int8", 0.994, 0.98, 100, 0.03, 0.987, (8, 32))


@pytest.mark.parametrize("head", ["embed", "hidden", "spans", "classify-3"])
@pytest.mark.parametrize("shape", [None, (2, 16)])
@NEEDS_OPENVINO
def test_openvino_in_fp32_passes_the_check_of_fp32(
    make_network: MakeNetwork,
    token_lists: Tokens,
    tmp_path: Path,
    head: str,
    shape: tuple[int, int] | None,
) -> None:
    network = make_network(EVERYTHING, head=head)
    path = get_lowering("openvino").lower(network, tmp_path, shape=shape).path
    found = check_parity(network, Encoder(path, runtime="openvino"), token_lists)
    assert found.lengths == tuple(n for n in LENGTHS if n <= (shape[1] if shape else 64))
    assert 0 < found.max_abs_diff <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("precision", "offered", "least"),
    [("bf16", (), 0.999), ("fp16", (), 0.9999), ("int8", ("bf16",), 0.998), ("int8", (), 0.99)],
)
@NEEDS_OPENVINO
def test_reduced_precisions_of_openvino_are_compared_with_fp32(
    make_network: MakeNetwork,
    token_lists: Tokens,
    tmp_path: Path,
    precision: str,
    offered: tuple[str, ...],
    least: float,
) -> None:
    needed = offered or (precision,)
    if not set(needed) <= set(get_runtime("openvino").precisions(read_context()["cpu"]["flags"])):
        pytest.skip(f"this processor does not compute in {' '.join(needed)}")
    network = make_network(EVERYTHING, precision)
    path = get_lowering("openvino").lower(network, tmp_path, offered=offered).path
    found = check_reduced(network, Encoder(path, runtime="openvino"), token_lists, batches=(4,))
    assert found.precision == precision
    assert least < found.min_cosine < 1
    assert found.neighbour_min_cosine > least
    accepted, reason = accept_reduced(found)
    assert accepted
    assert reason.startswith(f"mean cosine of {precision} to fp32 vectors ")


def test_int8_is_accepted_with_a_reason() -> None:
    assert accept_reduced(GOOD) == (
        True,
        "mean cosine of int8 to fp32 vectors 0.9940, least with neighbours 0.9870",
    )
    accepted, reason = accept_reduced(GOOD, fp32_score=0.86, reduced_score=0.8501)
    assert accepted
    assert "score 0.8501 against 0.8600" in reason


@pytest.mark.parametrize(
    ("change", "scores", "reason"),
    [
        ({"mean_cosine": MEAN_COSINE - 1e-3}, {}, "is 0.9790 on 100 held-out texts, 0.98 is"),
        ({"mean_cosine": float("nan")}, {}, "is nan on 100 held-out texts"),
        ({"neighbour_min_cosine": NEIGHBOUR_COSINE - 1e-3}, {}, "neighbours in a batch"),
        ({}, {"fp32_score": 0.86, "reduced_score": 0.84}, "from 0.8600 to 0.8400, at most 0.01"),
    ],
)
def test_int8_is_refused_with_a_reason(
    change: dict[str, float], scores: dict[str, float], reason: str
) -> None:
    accepted, found = accept_reduced(dataclasses.replace(GOOD, **change), **scores)  # type: ignore[arg-type]
    assert not accepted
    assert reason in found


def test_one_score_alone_means_nothing() -> None:
    with pytest.raises(UsageError, match="both scores or none"):
        accept_reduced(GOOD, fp32_score=0.8)


def test_reports_survive_json() -> None:
    bf16 = dataclasses.replace(GOOD, precision="bf16")
    for report, kind in ((GOOD, "int8"), (bf16, "bf16"), (EXACT, "fp32")):
        stored = json.loads(json.dumps(report.to_dict()))
        assert stored["kind"] == kind
        assert "precision" not in stored
        assert parity_from_dict(stored) == report


def test_a_report_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="of kind 'int4'; known: fp32, tf32, bf16, fp16, int8"):
        parity_from_dict(GOOD.to_dict() | {"kind": "int4"})


def test_texts_have_the_lengths_asked_for_and_only_given_tokens() -> None:
    texts = texts_of_lengths([[1, 2, 3], [4, 5], [6]], [1, 4, 9])
    assert [len(text) for text in texts] == [1, 4, 9]
    assert texts[0] == [1]
    assert texts[1] == [4, 5, 6, 1]
    assert len({text[0] for text in texts}) == 3
    assert np.isin(np.concatenate(texts), [1, 2, 3, 4, 5, 6]).all()
