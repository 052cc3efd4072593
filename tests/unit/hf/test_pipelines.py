"""A saved subnet in other people's hands: pipelines of transformers, sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, pipeline
from transformers.pipelines import SUPPORTED_TASKS

from nasc.architecture.space import Architecture, Block
from nasc.evaluation.agreement import cosines
from nasc.hf import NascConfig, NascForQuestionAnswering, NascForSequenceClassification, NascModel
from nasc.networks.network import Network, random_network
from nasc.networks.torch_network import Mask, TorchNetwork, mean_pool
from nasc.tasks.glue import TASKS
from nasc.tasks.models import label_fields
from nasc.teacher import load_teacher

TEXTS = ["the cat sat on the mat", "a dog ran", "the big house was in the sun and it slept"]


@pytest.fixture(scope="module")
def teacher(teacher_folder: Callable[..., Path]) -> Path:
    return teacher_folder()


@pytest.fixture(scope="module")
def network(teacher: Path) -> Network:
    geometry = load_teacher(teacher).geometry.for_space()
    architecture = Architecture((Block(16, ("mha", "sep3")), Block(32, ("ffn",))))
    return random_network(architecture, geometry, "hidden", seed=1)


def saved(model: Any, teacher: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(teacher).save_pretrained(folder)
    return folder


def config(network: Network, **other: Any) -> NascConfig:
    return NascConfig.of(network.architecture, network.geometry, network.layer_norm_eps, **other)


def states(network: Network, teacher: Path, text: str) -> torch.Tensor:
    """(tokens, hidden) of a sentence by itself."""
    ids = torch.tensor([AutoTokenizer.from_pretrained(teacher)(text)["input_ids"]])
    with torch.no_grad():
        return TorchNetwork(network)(ids, torch.ones_like(ids))[0]


def test_feature_extraction(network: Network, teacher: Path, tmp_path: Path) -> None:
    folder = saved(NascModel.from_network(network), teacher, tmp_path)
    found = pipeline("feature-extraction", model=str(folder), device="cpu")(TEXTS, batch_size=2)
    for text, given in zip(TEXTS, found, strict=True):
        wanted = states(network, teacher, text).numpy()
        np.testing.assert_allclose(np.array(given)[0][: len(wanted)], wanted, atol=1e-5)


def test_text_classification(network: Network, teacher: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = TASKS["mnli"]
    fields = label_fields(task.labels) | {"initializer_range": 0.3}
    model = NascForSequenceClassification(config(network, **fields)).eval()
    folder = saved(model, teacher, tmp_path)
    classify = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    for text, given in zip(TEXTS, classify(TEXTS, batch_size=2), strict=True):
        ids = AutoTokenizer.from_pretrained(teacher)(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            wanted = model(input_ids=ids).logits[0].softmax(-1)
        assert {row["label"] for row in given} == set(task.labels)
        for row in given:
            score = float(wanted[task.labels.index(row["label"])])
            assert row["score"] == pytest.approx(score, abs=1e-5)


@pytest.mark.skipif(
    "question-answering" not in SUPPORTED_TASKS,
    reason="transformers 5 has no question-answering pipeline",
)
def test_question_answering(network: Network, teacher: Path, tmp_path: Path) -> None:
    model = NascForQuestionAnswering(config(network))
    ask = pipeline("question-answering", model=str(saved(model, teacher, tmp_path)))
    assert ask(question="the dog ran to?", context=TEXTS[2])["answer"] in TEXTS[2]


def test_sentence_transformers(network: Network, teacher: Path, tmp_path: Path) -> None:
    library = pytest.importorskip(
        "sentence_transformers", reason="needs sentence-transformers, which is of no extra"
    )
    models = pytest.importorskip("sentence_transformers.sentence_transformer.modules")
    folder = saved(NascModel.from_network(network), teacher, tmp_path / "subnet")
    words = models.Transformer(str(folder))
    pooling = models.Pooling(network.geometry.hidden, pooling_mode="mean")
    encoder = library.SentenceTransformer(modules=[words, pooling], device="cpu")
    wanted = []
    for text in TEXTS:
        x = states(network, teacher, text)[None]
        wanted.append(mean_pool(x, Mask.of(torch.ones(x.shape[:2])))[0].numpy())
    found = encoder.encode(TEXTS, batch_size=2)
    np.testing.assert_allclose(found, np.stack(wanted), atol=1e-5)
    encoder.save(str(tmp_path / "encoder"))
    again = library.SentenceTransformer(str(tmp_path / "encoder"), device="cpu")
    assert cosines(again.encode(TEXTS), found) == pytest.approx(1, abs=1e-6)
