"""Networks of the literature: their counts stand beside the paper's."""

from __future__ import annotations

import pytest

from nasc.errors import UsageError
from nasc.zoo import ZOO, zoo_model

FOUND = [name for name in ZOO if name.startswith("nas-bert")]


@pytest.mark.parametrize("name", FOUND)
def test_flops_agree_with_the_papers_column(name: str) -> None:
    model = zoo_model(name)
    assert model.flops is not None
    assert 2 * model.macs() == pytest.approx(model.flops, rel=0.05)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("nas-bert-60m", 24), ("nas-bert-30m", 20), ("nas-bert-10m", 12), ("nas-bert-5m", 12)],
)
def test_layers_are_those_of_the_paper(name: str, layers: int) -> None:
    assert sum(len(block.operations) for block in zoo_model(name).architecture.blocks) == layers


def test_bert_base_is_bert_base() -> None:
    """109,482,240 parameters in transformers: with the pooler (590,592) and two token types, of
    which one is folded into the positions here and the other left out."""
    model = zoo_model("bert-base")
    assert model.params == 109_482_240 - (768 * 768 + 768) - 2 * 768


def test_an_unknown_network_names_those_known() -> None:
    with pytest.raises(UsageError, match="unknown network 'nas-bert-1b'; known: nas-bert-60m"):
        zoo_model("nas-bert-1b")
