"""Heads that come with a teacher and score texts or pairs: as their libraries, or refused."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from teacher_folders import as_sentence_transformers, edit_json
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from nasc.architecture.space import Architecture, Block
from nasc.errors import TeacherDamaged, TeacherError, UnsupportedFamily, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.export.onnx import emit
from nasc.networks.from_teacher import teacher_network
from nasc.teacher import FAMILIES, load_teacher
from nasc.teacher.files import TeacherFiles
from nasc.teacher.library import check_against_library
from nasc.teacher.modules import read_modules
from nasc.teacher.tokenizer import separator_of

Folders = Callable[..., Path]
HEADED = tuple(family for family in FAMILIES if family != "modernbert")
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


@pytest.mark.parametrize("family", HEADED)
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


@pytest.mark.parametrize("family", HEADED)
def test_scores_of_pairs_are_those_of_a_cross_encoder(
    teacher_folder: Folders, tmp_path: Path, family: str
) -> None:
    folder = with_head(teacher_folder(family), tmp_path / "own", id2label={0: "LABEL_0"})
    teacher = load_teacher(folder)
    assert (teacher.paired, teacher.activation) == (True, "sigmoid")
    assert (teacher.geometry.separator is not None) == (family in ("bert", "electra"))
    check = check_against_library(teacher, folder, teacher.vectors)
    assert check.library.startswith("sentence-transformers ")
    assert check.max_abs < 1e-5
    emit(teacher_network(teacher, WHOLE), tmp_path / "model.onnx")
    encoder = Encoder(tmp_path / "model.onnx", teacher.tokenizer, max_length=teacher.max_length)
    assert check_against_library(teacher, folder, encoder.encode).max_abs < 1e-5
    if teacher.embeddings.segment is not None:
        untyped = dataclasses.replace(
            teacher, embeddings=dataclasses.replace(teacher.embeddings, segment=None)
        )
        with pytest.raises(UnsupportedFamily, match="its vectors differ"):
            check_against_library(teacher, folder, untyped.vectors)


def test_a_cross_encoder_of_classes_takes_pairs(own: Path) -> None:
    assert not load_teacher(own).paired
    asked = load_teacher(own, paired=True)
    edit_json(own / "config.json", sentence_transformers={"activation_fn": "torch.nn.Sigmoid"})
    told = load_teacher(own)
    assert [(t.paired, t.activation) for t in (asked, told)] == [
        (True, "identity"),
        (True, "sigmoid"),
    ]
    assert len({asked.fingerprint, told.fingerprint}) == 2
    assert np.shape(told.vectors([("a", "b"), ("c", "")])) == (2, 3)
    assert check_against_library(told, own, told.vectors).max_abs < 1e-5


@pytest.mark.slow
def test_what_a_cross_encoder_saves_is_read(own: Path, tmp_path: Path) -> None:
    """As version 6 of sentence-transformers writes it, with a modules.json of its own."""
    library = pytest.importorskip("sentence_transformers")
    model = library.CrossEncoder(str(own), activation_fn=torch.nn.Sigmoid(), device="cpu")
    model.save(str(tmp_path / "saved"))
    teacher = load_teacher(tmp_path / "saved")
    assert (tmp_path / "saved" / "modules.json").exists()
    assert (teacher.paired, teacher.activation, teacher.labels[0]) == (True, "sigmoid", "BAD")
    assert check_against_library(teacher, tmp_path / "saved", teacher.vectors).max_abs < 1e-5
    bare = load_teacher(tmp_path / "saved", bare=True)
    assert (bare.head(), bare.paired) == ("embed-unscaled", False)
    assert check_against_library(bare, tmp_path / "saved", bare.vectors).max_abs < 1e-5
    for change, message in (
        ({"default_prompt_name": "a", "prompts": {"a": "b"}}, "default_prompt_name = 'a'"),
        (
            {"activation_fn": "torch.nn.Tanh"},
            r"activation_fn = 'torch\.nn\.Tanh'; supported is one",
        ),
    ):
        changed = Path(
            shutil.copytree(tmp_path / "saved", tmp_path / message[:6], dirs_exist_ok=True)
        )
        edit_json(changed / "config_sentence_transformers.json", **change)
        with pytest.raises(UnsupportedFamily, match=rf"config_sentence_tra.*\.json: {message}"):
            load_teacher(changed)
    edit_json(tmp_path / "saved" / "config.json", architectures=["BertModel"])
    with pytest.raises(UnsupportedFamily, match="model_type = 'CrossEncoder'; supported is of a n"):
        load_teacher(tmp_path / "saved")


@pytest.mark.parametrize(
    ("pair", "rows"), [("[CLS]:1 $A:1 [SEP]:1 $B:0", 2), ("[CLS] $A $B:1", 2), ("$A [SEP] $B:1", 1)]
)
def test_other_token_types_of_a_tokenizer_are_refused(own: Path, pair: str, rows: int) -> None:
    teacher = load_teacher(own)
    special = [
        (token, teacher.tokenizer.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")
    ]
    teacher.tokenizer.backend_tokenizer.post_processor = TemplateProcessing("$A", pair, special)
    geometry = dataclasses.replace(teacher.geometry, type_vocab_size=rows)
    modules = read_modules(TeacherFiles(own, "own"))
    with pytest.raises(UnsupportedFamily, match=r"tokenizer\.json: post_processor = .* two texts"):
        separator_of(modules, teacher.tokenizer, geometry)
    untyped = dataclasses.replace(geometry, type_vocab_size=0)
    assert separator_of(modules, teacher.tokenizer, untyped) is None


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
    "an activation of a CrossEncoder's own": (
        lambda f: edit_json(f / "config.json", sentence_transformers={"activation_fn": "x"}),
        UnsupportedFamily,
        r"config\.json: sentence_transformers\.activation_fn = 'x'; supported is one of torch\.nn",
    ),
    "the same, as older releases wrote it": (
        lambda f: edit_json(f / "config.json", sbert_ce_default_activation_function="x"),
        UnsupportedFamily,
        r"config\.json: sbert_ce_default_activation_function = 'x'; supported is one of",
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
