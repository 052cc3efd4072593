"""Networks of the literature: their counts stand beside the paper's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from transformers import AutoModel

import nasc.hf  # noqa: F401  registers the model
from nasc import api
from nasc.architecture.zoo import ZOO, zoo_architecture, zoo_model
from nasc.context.settings import Settings
from nasc.errors import UsageError

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


def test_a_network_is_for_teachers_of_its_sizes() -> None:
    model = zoo_model("nas-bert-10m")
    other = replace(model.geometry, layers=2, vocab_size=99, max_positions=40)
    assert zoo_architecture("nas-bert-10m", other) == model.architecture
    for sizes, message in (
        ({"hidden": 256, "intermediate": 1024}, "embeddings of size 128, this teacher of size 256"),
        ({"head_size": 32}, "attention heads of size 64, this teacher of size 32"),
        ({"intermediate": 256}, "feed-forward layers of size 512, this teacher of size 256"),
    ):
        with pytest.raises(UsageError, match=message):
            zoo_architecture("nas-bert-10m", replace(model.geometry, **sizes))


@pytest.mark.slow
def test_distill_takes_a_network_by_name(
    teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """No search space is needed: there is no preset for this teacher."""
    teacher = teacher_folder(hidden=64, heads=1, intermediate=256)
    words = "cat dog house mat sun".split()
    text = "\n\n".join(f"the {a} sat on a big {b} in {c}." for a, b, c in product(words, repeat=3))
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    settings = Settings(
        teacher=str(teacher), corpus=(str(tmp_path / "text.txt"),), cache=tmp_path / "cache"
    )
    found = api.distill("NAS-BERT-5M", tmp_path / "model", settings, steps=1, batch_size=4)
    assert (found.start, found.steps) == ("scratch", 1)
    model = AutoModel.from_pretrained(tmp_path / "model")
    assert model.config.architecture == zoo_model("nas-bert-5m").architecture
    assert model.config.hidden_size == 64
    for name, start, message in (
        ("nas-bert-10m", None, "embeddings of size 128, this teacher of size 64"),
        ("nas-bert-11m", None, "unknown network 'nas-bert-11m'; known: nas-bert-60m"),
        ("nas-bert-5m", "supernet", "no cut of a supernet: .* --start scratch"),
    ):
        with pytest.raises(UsageError, match=message):
            api.distill(name, tmp_path / "other", settings, steps=1, start=start)
