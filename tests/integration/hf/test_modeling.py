"""Subnets in transformers: the outputs of the network, saved and loaded by the Auto classes."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
)

from nasc.architecture.space import Architecture, Block, Geometry
from nasc.errors import ExportError
from nasc.hf import (
    NascConfig,
    NascForMaskedLM,
    NascForQuestionAnswering,
    NascForSequenceClassification,
    NascModel,
)
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import TorchNetwork

GEOMETRY = Geometry(2, 32, 8, 64, 100, 40)
ARCHITECTURES = [
    Architecture((Block(32, ("mha", "ffn"), kept=True), Block(16, ("sep3", "ffn")))),
    Architecture((Block(16, ("mha",)), Block(32, ()))),
]


def network(architecture: Architecture, head: str = "hidden") -> Network:
    return random_network(architecture, GEOMETRY, head, seed=1)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 100, (3, 9), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    return ids, mask


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_the_body_is_the_network(architecture: Architecture) -> None:
    given = network(architecture)
    model = NascModel.from_network(given).eval()
    ids, mask = batch()
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=mask).last_hidden_state
        wanted = TorchNetwork(given)(ids, mask)
    assert torch.allclose(found, wanted, atol=1e-6)
    back = model.network()
    assert back.architecture == given.architecture
    for own, other in zip(back.tensors, given.tensors, strict=True):
        assert own.keys() == other.keys()
        for name, value in own.items():
            np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize(
    ("made", "auto", "other"),
    [
        (NascModel, AutoModel, {}),
        (NascForMaskedLM, AutoModelForMaskedLM, {}),
        (NascForSequenceClassification, AutoModelForSequenceClassification, {"num_labels": 3}),
        (NascForQuestionAnswering, AutoModelForQuestionAnswering, {}),
    ],
)
def test_saved_and_loaded_by_the_auto_classes(
    made: type, auto: type, other: dict[str, int], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = made(NascConfig.of(ARCHITECTURES[0], GEOMETRY, 1e-6, **other)).eval()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = auto.from_pretrained(tmp_path).eval()  # type: ignore[attr-defined]
    assert type(loaded) is made
    ids, mask = batch()
    with torch.no_grad():
        first, second = (m(input_ids=ids, attention_mask=mask)[0] for m in (model, loaded))
    assert torch.equal(first, second)
    config = AutoConfig.from_pretrained(tmp_path)
    assert config.architecture == ARCHITECTURES[0]
    assert config.geometry == GEOMETRY
    assert config.layer_norm_eps == 1e-6


@pytest.mark.slow
def test_a_fresh_process_gives_the_same(tmp_path: Path) -> None:
    model = NascModel.from_network(network(ARCHITECTURES[0])).eval()
    model.save_pretrained(tmp_path)
    ids, mask = batch()
    torch.save((ids, mask), tmp_path / "batch.pt")
    code = (
        "import sys, torch, nasc.hf\nfrom transformers import AutoModel\n"
        "ids, mask = torch.load(sys.argv[1] + '/batch.pt')\n"
        "m = AutoModel.from_pretrained(sys.argv[1]).eval()\n"
        "torch.save(m(input_ids=ids, attention_mask=mask)[0].detach(), sys.argv[1] + '/out.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=mask)[0]
    assert torch.equal(torch.load(tmp_path / "out.pt"), wanted)


def test_fresh_weights_are_as_the_field_makes_them() -> None:
    torch.manual_seed(0)
    model = NascModel(NascConfig.of(ARCHITECTURES[0], GEOMETRY, 1e-6))
    for part in model.parts:
        for name, value in part.items():  # type: ignore[operator]
            if name == "ln_weight":
                assert bool((value == 1).all())
            elif value.dim() == 1:
                assert bool((value == 0).all())
            else:
                assert 0.01 < float(value.detach().std()) < 0.03


def test_padding_changes_nothing() -> None:
    model = NascForSequenceClassification(
        NascConfig.of(ARCHITECTURES[0], GEOMETRY, 1e-6, num_labels=2)
    ).eval()
    ids, mask = batch()
    with torch.no_grad():
        padded = model(input_ids=ids, attention_mask=mask).logits[1]
        alone = model(input_ids=ids[1:2, :5]).logits[0]
    assert torch.allclose(padded, alone, atol=1e-6)


def test_losses_are_those_of_the_labels() -> None:
    ids, mask = batch()
    config = NascConfig.of(ARCHITECTURES[0], GEOMETRY, 1e-6, num_labels=1)
    scores = NascForSequenceClassification(config).eval()
    labels = torch.tensor([0.0, 1.0, 2.0])
    out = scores(input_ids=ids, attention_mask=mask, labels=labels)
    assert torch.isclose(out.loss, (out.logits[:, 0] - labels).square().mean())
    words = NascForMaskedLM(config).eval()
    masked = torch.full_like(ids, -100)
    masked[0, 3] = 7
    out = words(input_ids=ids, attention_mask=mask, labels=masked)
    assert torch.isclose(out.loss, -out.logits[0, 3].log_softmax(-1)[7])
    spans = NascForQuestionAnswering(config).eval()
    ends = torch.tensor([1, 99, 2])
    out = spans(input_ids=ids, attention_mask=mask, start_positions=ends, end_positions=ends)
    parts = [
        -logits.log_softmax(-1)[[0, 2], [1, 2]].mean()
        for logits in (out.start_logits, out.end_logits)
    ]
    assert torch.isclose(out.loss, (parts[0] + parts[1]) / 2)


def test_either_ids_or_embeddings() -> None:
    with pytest.raises(ValueError, match="give input_ids or inputs_embeds"):
        NascModel(NascConfig.of(ARCHITECTURES[0], GEOMETRY, 1e-6))()


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("kind", [NascForSequenceClassification, NascForQuestionAnswering])
def test_a_model_with_a_head_is_a_network_with_that_head(
    kind: type[NascForSequenceClassification] | type[NascForQuestionAnswering],
    architecture: Architecture,
) -> None:
    config = NascConfig.of(architecture, GEOMETRY, 1e-12, num_labels=3, initializer_range=0.2)
    model = kind(config).eval()
    ids, mask = batch()
    with torch.no_grad():
        given = model(input_ids=ids, attention_mask=mask)
        found = TorchNetwork(model.network())(ids, mask)
    if "logits" in given:
        assert found.shape == (3, 3)
        assert torch.allclose(found, given.logits, atol=1e-5)
    else:
        wanted = torch.stack([given.start_logits, given.end_logits], 1)
        assert torch.allclose(found, wanted, atol=1e-5)


def test_a_head_on_the_first_token_cannot_be_exported() -> None:
    config = NascConfig.of(ARCHITECTURES[0], GEOMETRY, 1e-12, pooling="cls")
    with pytest.raises(ExportError, match="'mean' can"):
        NascForSequenceClassification(config).network()


def test_token_types_are_those_given_or_found_in_the_ids() -> None:
    geometry = dataclasses.replace(GEOMETRY, separator=3)
    model = NascModel(NascConfig.of(ARCHITECTURES[0], geometry, 1e-6)).eval()
    model.parts[0]["segment"].data += torch.linspace(-1, 1, 32)
    assert model.config.geometry == geometry
    ids = torch.tensor([[2, 9, 8, 3, 7, 6, 3]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    words = model.get_input_embeddings()(ids)
    with torch.no_grad():
        found, told, apart, none = (
            model(**given).last_hidden_state
            for given in (
                {"input_ids": ids},
                {"input_ids": ids, "token_type_ids": types},
                {"inputs_embeds": words, "token_type_ids": types},
                {"input_ids": ids, "token_type_ids": 0 * types},
            )
        )
    assert torch.equal(found, told)
    assert torch.allclose(found, apart, atol=1e-6)
    assert (found - none).abs().max() > 1e-3
