"""Heads that come with a teacher and classify single texts: as transformers, or refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nasc.architecture.space import Architecture, Block
from nasc.errors import TeacherDamaged, TeacherError, UnsupportedFamily, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.teacher import FAMILIES, load_teacher
from nasc.teacher.library import check_against_library

from .conftest import as_sentence_transformers, edit_json

Folders = Callable[..., Path]
WHOLE = Architecture((Block(32, ("mha", "ffn"), kept=True),) * 2)
LABELS = {0: "BAD", 1: "SO SO", 2: "GOOD"}


def with_head(source: Path, folder: Path, **config: object) -> Path:
    """A teacher's folder with a head of random weights, as transformers writes it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            source, **({"id2label": LABELS} | config)
        )
        for name, value in model.named_parameters():
            if "classifier" in name or "pooler" in name:
                value.data = 0.5 * torch.randn(value.shape)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture
def own(teacher_folder: Folders, tmp_path: Path) -> Path:
    return with_head(teacher_folder("bert"), tmp_path / "own")


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_transformers(
    teacher_folder: Folders, tmp_path: Path, family: str
) -> None:
    teacher = load_teacher(with_head(teacher_folder(family), tmp_path / "own"))
    activation = {"distilbert": "relu", "electra": "gelu"}.get(family, "tanh")
    head = f"scores-cls-dense32{activation}-dense3identity-unscaled"
    assert (teacher.head(), teacher.own_head("embed")) == (head, head)
    assert teacher.labels == ("BAD", "SO SO", "GOOD")
    folder = tmp_path / "own"
    check = check_against_library(teacher, folder, teacher.vectors)
    assert check.library.startswith("transformers ")
    assert check.note == ""
    assert check.max_abs < 1e-5
    emit(teacher_network(teacher, WHOLE), tmp_path / "model.onnx")
    encoder = Encoder(tmp_path / "model.onnx", teacher.tokenizer, max_length=teacher.max_length)
    assert check_against_library(teacher, folder, encoder.encode).max_abs < 1e-5
    with pytest.raises(UnsupportedFamily, match="its vectors differ"):
        check_against_library(teacher, folder, lambda texts: teacher.vectors(texts) + 1e-3)
    with pytest.raises(UsageError, match=r"--head hidden: .* or a head\)"):
        teacher.own_head("hidden")


def test_a_head_without_weights_is_none(own: Path) -> None:
    weights = load_file(own / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "classifier" not in name}
    save_file(kept, own / "model.safetensors", {"format": "pt"})
    teacher = load_teacher(own)
    assert (teacher.head(), teacher.labels) == ("embed-unscaled", ())


def test_classes_without_names_are_numbered(teacher_folder: Folders, tmp_path: Path) -> None:
    folder = with_head(teacher_folder("distilbert"), tmp_path / "own", id2label=None, num_labels=4)
    teacher = load_teacher(folder)
    assert teacher.labels == ("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3")
    assert np.shape(teacher.vectors(["a"])) == (1, 4)


Change = Callable[[Path], object]

REFUSED: dict[str, tuple[Change, type[TeacherError], str]] = {
    "classes that do not count from 0": (
        lambda f: edit_json(f / "config.json", id2label={"1": "a", "2": "b", "3": "c"}),
        TeacherDamaged,
        r"config\.json has id2label of .*; classes count from 0",
    ),
    "classes that are no mapping": (
        lambda f: edit_json(f / "config.json", id2label=["a", "b", "c"]),
        TeacherDamaged,
        r"config\.json has id2label = ",
    ),
    "a class that is no text": (
        lambda f: edit_json(f / "config.json", id2label={"0": "a", "1": 2, "2": "c"}),
        TeacherDamaged,
        r"config\.json has id2label\.1 = 2",
    ),
    "a class that acts on a terminal": (
        lambda f: edit_json(f / "config.json", id2label={"0": "\x1b[2J", "1": "b", "2": "c"}),
        TeacherDamaged,
        r"config\.json has id2label with .*, which is no name",
    ),
    "fewer classes than weights": (
        lambda f: edit_json(f / "config.json", id2label={"0": "a", "1": "b"}),
        TeacherDamaged,
        r"tensor 'classifier\.weight' of the head has shape \(3, 32\); by config\.json .*\(2, 32\)",
    ),
    "several classes at once": (
        lambda f: edit_json(f / "config.json", problem_type="multi_label_classification"),
        UnsupportedFamily,
        r"config\.json: problem_type = 'multi_label_classification'; supported is \"single_label",
    ),
    "one score": (
        lambda f: edit_json(f / "config.json", id2label={"0": "LABEL_0"}),
        UnsupportedFamily,
        r"config\.json: architectures = 'BertForSequ.*' gives one score of two texts",
    ),
    "a CrossEncoder": (
        lambda f: edit_json(f / "config.json", sentence_transformers={"activation_fn": "x"}),
        UnsupportedFamily,
        r"config\.json: architectures = .* gives the scores of a CrossEncoder of two texts",
    ),
    "a head in a sentence-transformer": (
        as_sentence_transformers,
        UnsupportedFamily,
        r"model\.safetensors: 2 tensors are no part of the encoder \('classifier\.bias'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_heads_are_refused_with_file_and_key(own: Path, case: str) -> None:
    change, kind, message = REFUSED[case]
    change(own)
    with pytest.raises(kind, match=rf"teacher 'own': .*{message}"):
        load_teacher(own)
