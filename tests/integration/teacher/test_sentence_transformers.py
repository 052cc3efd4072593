"""What a folder of sentence-transformers says is read as it reads it, or refused by its key."""

import itertools
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tokenizers
import transformers
from safetensors.torch import load_file, save_file
from teacher_folders import CHAIN, add_dense, as_sentence_transformers, edit_json

from nasc.errors import (
    NascError,
    TeacherDamaged,
    TeacherError,
    TeacherMissing,
    UnsupportedFamily,
    UsageError,
)
from nasc.teacher import Teacher, load_teacher
from nasc.teacher import library as module
from nasc.teacher.library import (
    LONG,
    TEXTS,
    SentenceTransformersLibrary,
    check_against_library,
    load_library,
)

SETTINGS = "sentence_bert_config.json"
MODEL = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"
Folders = Callable[..., Path]


def move_pooling(folder: Path, **config: object) -> None:
    (folder / "1_Pooling").rename(folder / "pool")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "pool"
    (folder / "modules.json").write_text(json.dumps(modules))
    edit_json(folder / "pool/config.json", **config)


def move_transformer(folder: Path) -> None:
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.name not in ("modules.json", MODEL):
            shutil.move(path, inner / path.name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))


def edit_tokenizer(folder: Path, part: str, value: object) -> None:
    edit_json(folder / "tokenizer.json", **{part: value})


def replace_first(folder: Path, sign: str) -> None:
    normalizer = json.loads((folder / "tokenizer.json").read_text())["normalizer"]
    replace = {"type": "Replace", "pattern": {"String": sign}, "content": " and "}
    edit_tokenizer(folder, "normalizer", {"type": "Sequence", "normalizers": [replace, normalizer]})


def edit_activation(folder: Path, name: str) -> None:
    edit_json(folder / "config.json", hidden_act=name)


def edit_model(folder: Path, **changes: object) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    edit_tokenizer(folder, "model", model | changes)


def add_tensors(folder: Path, *names: str) -> None:
    import torch

    weights = folder / "model.safetensors"
    save_file(load_file(weights) | {n: torch.ones(2, 32) for n in names}, weights, {"format": "pt"})


def uncased(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", do_lower_case=False)
    normalizer = json.loads((folder / "tokenizer.json").read_text())["normalizer"]
    edit_tokenizer(folder, "normalizer", normalizer | {"lowercase": False})


def cased_with_lower_case(folder: Path) -> None:
    uncased(folder)
    edit_json(folder / SETTINGS, do_lower_case=True)


Change = Callable[[Path], object]

EQUAL: dict[str, tuple[Change, int]] = {
    "as it is": (lambda f: None, 40),
    "max_seq_length": (lambda f: edit_json(f / SETTINGS, max_seq_length=16), 16),
    "max_seq_length null": (lambda f: edit_json(f / SETTINGS, max_seq_length=None), 40),
    "its other names": (
        lambda f: edit_json(f / "sentence_xlm-roberta_config.json", max_seq_length=9),
        9,
    ),
    "the first name that holds anything": (
        lambda f: (
            (f / SETTINGS).write_text("{}"),
            edit_json(f / "sentence_roberta_config.json", max_seq_length=9),
            edit_json(f / "sentence_xlnet_config.json", max_seq_length=11),
        ),
        9,
    ),
    "model_max_length": (lambda f: edit_json(f / "tokenizer_config.json", model_max_length=12), 12),
    "max_seq_length before model_max_length": (
        lambda f: (
            edit_json(f / "tokenizer_config.json", model_max_length=12),
            edit_json(f / SETTINGS, max_seq_length=20),
        ),
        20,
    ),
    "no modules.json: its settings are not read": (
        lambda f: ((f / "modules.json").unlink(), edit_json(f / SETTINGS, max_seq_length=16)),
        40,
    ),
    "pooling elsewhere": (lambda f: move_pooling(f, pooling_mode="mean"), 40),
    "0_Transformer": (
        lambda f: (edit_json(f / SETTINGS, max_seq_length=10), move_transformer(f)),
        10,
    ),
    "a list of one mode": (lambda f: edit_json(f / POOLING, pooling_mode=["mean"]), 40),
    "prompts that are not asked for": (lambda f: edit_json(f / MODEL, prompts={"q": "the "}), 40),
    "a default prompt": (
        lambda f: edit_json(f / MODEL, prompts={"q": "the big "}, default_prompt_name="q"),
        40,
    ),
    "a default prompt that takes all the room": (
        lambda f: (
            edit_json(f / MODEL, prompts={"q": "the cat: "}, default_prompt_name="q"),
            edit_json(f / SETTINGS, max_seq_length=4),
        ),
        4,
    ),
    "a prompt of several lines": (
        lambda f: edit_json(f / MODEL, prompts={"q": "the\ncat\n"}, default_prompt_name="q"),
        40,
    ),
    "a default prompt that is null": (
        lambda f: edit_json(f / MODEL, prompts={"q": None}, default_prompt_name="q"),
        40,
    ),
    "no prompt in pooling, and no prompt": (
        lambda f: (
            edit_json(f / POOLING, include_prompt=False),
            edit_json(f / MODEL, prompts={"q": ""}),
        ),
        40,
    ),
    "an empty default prompt": (
        lambda f: edit_json(f / MODEL, prompts={"q": ""}, default_prompt_name="q"),
        40,
    ),
    "truncate_dim of all dimensions": (lambda f: edit_json(f / MODEL, truncate_dim=32), 40),
    "lower case twice": (lambda f: edit_json(f / SETTINGS, do_lower_case=True), 40),
    "a cased tokenizer": (uncased, 40),
    "no tokenizer.json": (
        lambda f: (
            (f / "vocab.txt").write_text(
                "\n".join(json.loads((f / "tokenizer.json").read_text())["model"]["vocab"])
            ),
            (f / "tokenizer.json").unlink(),
        ),
        40,
    ),
    "heads of pretraining": (
        lambda f: add_tensors(f, "cls.predictions.bias", "embeddings.position_ids"),
        40,
    ),
    **{
        f"activation {name}": (partial(edit_activation, name=name), 40)
        for name in ("relu", "gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu_accurate")
    },
    "GELU by its formula": (lambda f: edit_json(f / "config.json", hidden_act="gelu_python"), 40),
    "layers that config.json leaves out": (
        lambda f: edit_json(f / "config.json", num_hidden_layers=1),
        40,
    ),
}


@pytest.mark.parametrize("case", EQUAL)
def test_vectors_are_those_of_sentence_transformers(sentence_folder: Path, case: str) -> None:
    pytest.importorskip("sentence_transformers")
    change, length = EQUAL[case]
    change(sentence_folder)
    teacher = load_teacher(sentence_folder)
    assert teacher.max_length == length
    check = check_against_library(teacher, sentence_folder, teacher.vectors)
    assert check.library.startswith("sentence-transformers ")
    assert check.max_abs < 1e-5


POOLED: dict[str, tuple[Change, str]] = {
    "Dense, old": (lambda f: add_dense(f, 16, activation=None), "embed-dense16tanh"),
    "Dense, no bias, no Normalize": (
        lambda f: add_dense(f, 48, activation="torch.nn.Identity", bias=False, normalize=False),
        "embed-dense48identity-unscaled",
    ),
    "two Dense, CLS, cut": (
        lambda f: (
            add_dense(f, 24, 16, activation="torch.nn.modules.activation.GELU", pooling_mode="cls"),
            edit_json(f / MODEL, truncate_dim=10),
        ),
        "embed-cls-dense24gelu-dense16gelu-first10",
    ),
    "Dense with ReLU": (
        lambda f: add_dense(f, 16, activation="torch.nn.modules.activation.ReLU"),
        "embed-dense16relu",
    ),
    "Dense with a sigmoid": (
        lambda f: add_dense(f, 16, activation="torch.nn.Sigmoid"),
        "embed-dense16sigmoid",
    ),
    "truncate_dim": (lambda f: edit_json(f / MODEL, truncate_dim=8), "embed-first8"),
    "truncate_dim, no Normalize": (
        lambda f: (as_sentence_transformers(f, *CHAIN[:2]), edit_json(f / MODEL, truncate_dim=8)),
        "embed-unscaled-first8",
    ),
    "cls, old": (lambda f: edit_json(f / POOLING, pooling_mode_cls_token=True), "embed-cls"),
    "cls, new": (
        lambda f: edit_json(f / POOLING, pooling_mode="cls", pooling_mode_mean_tokens=True),
        "embed-cls",
    ),
    "cls elsewhere": (lambda f: move_pooling(f, pooling_mode_cls_token=True), "embed-cls"),
    "cls, no Normalize": (
        lambda f: as_sentence_transformers(f, *CHAIN[:2], pooling_mode="cls"),
        "embed-cls-unscaled",
    ),
    "no Normalize": (lambda f: as_sentence_transformers(f, *CHAIN[:2]), "embed-unscaled"),
    "no modules.json": (lambda f: (f / "modules.json").unlink(), "embed-unscaled"),
    "max": (lambda f: edit_json(f / POOLING, pooling_mode_max_tokens=True), "embed-max"),
    "max, no Normalize": (
        lambda f: as_sentence_transformers(f, *CHAIN[:2], pooling_mode=["max"]),
        "embed-max-unscaled",
    ),
    "the root of the length": (
        lambda f: as_sentence_transformers(f, *CHAIN[:2], pooling_mode_mean_sqrt_len_tokens=True),
        "embed-sqrt_len-unscaled",
    ),
}


@pytest.mark.parametrize("case", POOLED)
@pytest.mark.parametrize("library", ["sentence-transformers", "transformers"])
def test_poolings_are_those_of_sentence_transformers(
    sentence_folder: Path, monkeypatch: pytest.MonkeyPatch, case: str, library: str
) -> None:
    if library == "transformers":
        monkeypatch.setattr(module, "is_installed", lambda: False)
    else:
        pytest.importorskip("sentence_transformers")
    change, head = POOLED[case]
    mean = load_teacher(sentence_folder)
    change(sentence_folder)
    teacher = load_teacher(sentence_folder)
    assert (teacher.head(), mean.head()) == (head, "embed")
    assert [teacher.own_head(one) for one in ("embed", head, "spans")] == [head, head, "spans"]
    if teacher.pooling.plain:
        assert teacher.own_head("hidden") == head.replace("embed", "hidden")
    else:
        with pytest.raises(UsageError, match=r"--head hidden: .* more than the pooled states"):
            teacher.own_head("hidden")
    with pytest.raises(UsageError, match=f"--head {head}: .* by the head 'embed'"):
        mean.own_head(head)
    assert teacher.fingerprint != mean.fingerprint
    check = check_against_library(teacher, sentence_folder, teacher.vectors)
    assert check.library.startswith(f"{library} ")
    assert check.max_abs < 1e-5
    with pytest.raises(UnsupportedFamily, match="its vectors differ"):
        check_against_library(teacher, sentence_folder, mean.vectors)


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        *itertools.product(("roberta", "distilbert"), ("float32", "float16", "bfloat16")),
        *((family, "float32") for family in ("xlm-roberta", "camembert", "electra", "albert")),
        ("mpnet", "float32"),
    ],
)
def test_other_families_and_types_too(
    teacher_folder: Folders, tmp_path: Path, family: str, dtype: str
) -> None:
    pytest.importorskip("sentence_transformers")
    import torch

    folder = Path(shutil.copytree(teacher_folder(family), tmp_path / "own"))
    as_sentence_transformers(folder)
    edit_json(folder / SETTINGS, max_seq_length=40)
    weights = {
        k: v.to(getattr(torch, dtype)) for k, v in load_file(folder / "model.safetensors").items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    edit_json(folder / "config.json", dtype=dtype)
    teacher = load_teacher(folder)
    assert check_against_library(teacher, folder, teacher.vectors).max_abs < 1e-5


SPLIT_DIGITS = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "BertPreTokenizer"},
        {"type": "Digits", "individual_digits": True},
    ],
}

REFUSED: dict[str, tuple[Change, type[TeacherError], str]] = {
    "another activation": (
        lambda f: edit_json(f / "config.json", hidden_act="quick_gelu"),
        UnsupportedFamily,
        r"config\.json: hidden_act = 'quick_gelu'; supported is 'gelu' or 'gelu_python'",
    ),
    "an embedding of another size": (
        lambda f: edit_json(f / "config.json", model_type="electra", embedding_size=16),
        TeacherDamaged,
        r"tensor 'embeddings_project\.|tensors are missing",
    ),
    "mean and max": (
        lambda f: edit_json(f / POOLING, pooling_mode=["mean", "max"]),
        UnsupportedFamily,
        r"pooling_mode = \['mean', 'max'\]",
    ),
    "CLS and the mean, old": (
        lambda f: edit_json(
            f / POOLING, pooling_mode_cls_token=True, pooling_mode_mean_tokens=True
        ),
        UnsupportedFamily,
        r"1_Pooling/config\.json: pooling_mode_mean_tokens = true; supported is one pooling alone",
    ),
    "the last token, old": (
        lambda f: edit_json(f / POOLING, pooling_mode_lasttoken=True),
        UnsupportedFamily,
        r"1_Pooling/config\.json: pooling_mode_lasttoken = true; supported is .*mean, cls, max",
    ),
    "a weighted mean": (
        lambda f: move_pooling(f, pooling_mode="weightedmean"),
        UnsupportedFamily,
        r"pool/config\.json: pooling_mode = 'weightedmean'",
    ),
    "no pooling at all": (
        lambda f: edit_json(f / POOLING, pooling_mode=[]),
        UnsupportedFamily,
        r"1_Pooling/config\.json: pooling_mode = \[\]",
    ),
    "no pooling file": (
        lambda f: (f / POOLING).unlink(),
        TeacherMissing,
        r"no 1_Pooling/config\.json, which modules\.json names",
    ),
    "an unknown key of pooling": (
        lambda f: edit_json(f / POOLING, pooling_mode_other=True),
        UnsupportedFamily,
        "pooling_mode_other = true; supported is only what is known",
    ),
    "pooling of another size": (
        lambda f: edit_json(f / POOLING, word_embedding_dimension=64),
        TeacherDamaged,
        r"config\.json has word_embedding_dimension = 64; the network's hidden size is 32",
    ),
    "Dense before Pooling": (
        lambda f: as_sentence_transformers(f, "Transformer", "Dense", "Pooling", "Normalize"),
        UnsupportedFamily,
        r"modules\.json: .*Transformer, Dense, Pooling, Normalize; supported",
    ),
    "Dense behind Normalize": (
        lambda f: as_sentence_transformers(f, *CHAIN, "Dense"),
        UnsupportedFamily,
        r"modules\.json: .*Transformer, Pooling, Normalize, Dense; supported",
    ),
    "Dense without files": (
        lambda f: as_sentence_transformers(f, "Transformer", "Pooling", "Dense", "Normalize"),
        TeacherMissing,
        r"no 2_Dense/config\.json, which modules\.json names",
    ),
    "Dense without weights in safetensors": (
        lambda f: (add_dense(f, 16), (f / "2_Dense/model.safetensors").unlink()),
        TeacherMissing,
        r"no 2_Dense/model\.safetensors\. Only safetensors is read",
    ),
    "Dense of other shapes than its weights": (
        lambda f: (add_dense(f, 16), edit_json(f / "2_Dense/config.json", out_features=8)),
        TeacherDamaged,
        r"2_Dense/model\.safetensors holds tensors of shapes .*out_features = 8.*must be",
    ),
    "Dense of another bias than its weights": (
        lambda f: (add_dense(f, 16), edit_json(f / "2_Dense/config.json", bias=False)),
        TeacherDamaged,
        r"2_Dense/model\.safetensors holds tensors of shapes .*bias = false",
    ),
    "Dense that does not fit the pooling": (
        lambda f: add_dense(f, 16, inputs=24),
        TeacherDamaged,
        r"2_Dense/config\.json has in_features = 24; the Pooling before it gives 32",
    ),
    "Dense that does not fit the one before": (
        lambda f: add_dense(f, 16, 8, inputs=32),
        TeacherDamaged,
        r"3_Dense/config\.json has in_features = 32; the Dense before it gives 16",
    ),
    "Dense of no size": (
        lambda f: (add_dense(f, 16), edit_json(f / "2_Dense/config.json", out_features=0)),
        TeacherDamaged,
        r"2_Dense/config\.json: out_features must be at least 1|out_features.* 0",
    ),
    "an unknown activation of Dense": (
        lambda f: add_dense(f, 16, activation="torch.nn.modules.activation.Softplus"),
        UnsupportedFamily,
        r"2_Dense/config\.json: activation_function = 'torch.*Softplus'; supported is torch",
    ),
    "an activation that is code": (
        lambda f: add_dense(f, 16, activation="own.Tanh"),
        UnsupportedFamily,
        r"2_Dense/config\.json: activation_function = 'own\.Tanh'; supported",
    ),
    "Dense with a residual": (
        lambda f: (add_dense(f, 32), edit_json(f / "2_Dense/config.json", use_residual=True)),
        UnsupportedFamily,
        r"2_Dense/config\.json: use_residual = true; supported is false",
    ),
    "Dense of tokens": (
        lambda f: (
            add_dense(f, 32),
            edit_json(f / "2_Dense/config.json", module_input_name="token_embeddings"),
        ),
        UnsupportedFamily,
        r"2_Dense/config\.json: module_input_name = 'token_embeddings'",
    ),
    "Dense with a weight that is no number": (
        lambda f: add_dense(f, 16, scale=float("nan")),
        TeacherDamaged,
        r"2_Dense/model\.safetensors: tensor 'linear\.weight' holds values that are no number",
    ),
    "code": (
        lambda f: (f / "modules.json").write_text(
            (f / "modules.json").read_text().replace("sentence_transformers.models", "custom")
        ),
        UnsupportedFamily,
        r"modules\.json: 0\.type = 'custom\.Transformer'",
    ),
    "a path that leaves the folder": (
        lambda f: (f / "modules.json").write_text(
            (f / "modules.json").read_text().replace("1_Pooling", "../1_Pooling")
        ),
        TeacherDamaged,
        r"modules\.json has 1\.path = '\.\./1_Pooling', which leaves",
    ),
    "Normalize of something else": (
        lambda f: edit_json(f / "2_Normalize/config.json", module_input_name="token_embeddings"),
        UnsupportedFamily,
        r"2_Normalize/config\.json: module_input_name = 'token_embeddings'",
    ),
    "a prompt that is not pooled": (
        lambda f: (
            edit_json(f / POOLING, include_prompt=False),
            edit_json(f / MODEL, prompts={"q": "the "}),
        ),
        UnsupportedFamily,
        r"1_Pooling/config\.json: include_prompt = false; supported is true where config_sent",
    ),
    "a prompt that is no text": (
        lambda f: edit_json(f / MODEL, prompts={"q": 3}),
        TeacherDamaged,
        r"config_sentence_transformers\.json has prompts\.q = 3",
    ),
    "prompts that are a list": (
        lambda f: edit_json(f / MODEL, prompts=["the "]),
        TeacherDamaged,
        r"config_sentence_transformers\.json has prompts = \['the '\]",
    ),
    "a default prompt that is no name": (
        lambda f: edit_json(f / MODEL, prompts={"q": "the "}, default_prompt_name=1),
        TeacherDamaged,
        r"config_sentence_transformers\.json has default_prompt_name = 1",
    ),
    "a prompt of half a character": (
        lambda f: edit_json(f / MODEL, prompts={"q": "\ud800"}),
        TeacherDamaged,
        r"config_sentence_transformers\.json has prompts that cannot be read: .*half a character",
    ),
    "a prompt whose name acts on a terminal": (
        lambda f: edit_json(f / MODEL, prompts={"\x1b[2J": "the "}),
        TeacherDamaged,
        r"config_sentence_transformers\.json has prompts that cannot be read: .*control characters",
    ),
    "an endless prompt": (
        lambda f: edit_json(f / MODEL, prompts={"q": "the " * 3000}),
        TeacherDamaged,
        r"config_sentence_transformers\.json .*prompts\.q",
    ),
    "a default prompt that is not there": (
        lambda f: edit_json(f / MODEL, default_prompt_name="q"),
        TeacherDamaged,
        "default_prompt_name = 'q', no such prompt",
    ),
    "truncate_dim of more than there is": (
        lambda f: edit_json(f / MODEL, truncate_dim=33),
        TeacherDamaged,
        r"config_sentence_transformers\.json has truncate_dim = 33; vectors have 32 numbers",
    ),
    "truncate_dim of more than Dense gives": (
        lambda f: (add_dense(f, 16), edit_json(f / MODEL, truncate_dim=17)),
        TeacherDamaged,
        r"config_sentence_transformers\.json has truncate_dim = 17; vectors have 16 numbers",
    ),
    "truncate_dim of nothing": (
        lambda f: edit_json(f / MODEL, truncate_dim=0),
        TeacherDamaged,
        r"config_sentence_transformers\.json .*truncate_dim",
    ),
    "truncate_dim below nothing": (
        lambda f: edit_json(f / MODEL, truncate_dim=-8),
        TeacherDamaged,
        r"config_sentence_transformers\.json .*truncate_dim",
    ),
    "another kind of model": (
        lambda f: edit_json(f / MODEL, model_type="SparseEncoder"),
        UnsupportedFamily,
        "model_type = 'SparseEncoder'",
    ),
    "lower case before a cased tokenizer": (
        cased_with_lower_case,
        UnsupportedFamily,
        r"sentence_bert_config\.json: do_lower_case = true",
    ),
    "arguments of the model": (
        lambda f: edit_json(f / SETTINGS, model_args={"attn_implementation": "eager"}),
        UnsupportedFamily,
        r"sentence_bert_config\.json: model_args = ",
    ),
    "an unknown setting": (
        lambda f: edit_json(f / SETTINGS, pad_to=8),
        UnsupportedFamily,
        r"sentence_bert_config\.json: pad_to = 8",
    ),
    "text as a length": (
        lambda f: edit_json(f / SETTINGS, max_seq_length="abc"),
        TeacherDamaged,
        r"sentence_bert_config\.json has max_seq_length = 'abc'; it must be a whole number",
    ),
    "a length over the positions": (
        lambda f: edit_json(f / SETTINGS, max_seq_length=5000),
        UnsupportedFamily,
        r"sentence_bert_config\.json: max_seq_length = 5000; supported is 3 to the 40",
    ),
    "truncation on the left": (
        lambda f: edit_json(f / "tokenizer_config.json", truncation_side="left"),
        UnsupportedFamily,
        r"tokenizer_config\.json: truncation_side = 'left'",
    ),
    "truncation on the left, in the other file": (
        lambda f: edit_tokenizer(
            f,
            "truncation",
            {"max_length": 9, "stride": 0, "strategy": "LongestFirst", "direction": "Left"},
        ),
        UnsupportedFamily,
        r"tokenizer\.json: truncation\.direction = 'Left'",
    ),
    "padding on the left": (
        lambda f: edit_json(f / "tokenizer_config.json", padding_side="left"),
        UnsupportedFamily,
        r"tokenizer_config\.json: padding_side = 'left'",
    ),
    "special tokens split": (
        lambda f: edit_json(f / "tokenizer_config.json", split_special_tokens=True),
        UnsupportedFamily,
        r"tokenizer_config\.json: split_special_tokens = true",
    ),
    "a pre-tokenizer that the class drops": (
        lambda f: edit_tokenizer(f, "pre_tokenizer", SPLIT_DIGITS),
        UnsupportedFamily,
        r"tokenizer\.json: pre_tokenizer = .*Sequence.* is not what BertTokenizer of transformers",
    ),
    "a normaliser that the class drops": (
        lambda f: edit_tokenizer(f, "normalizer", {"type": "NFKC"}),
        UnsupportedFamily,
        r"tokenizer\.json: normalizer = \{'type': 'NFKC'\} is not what BertTokenizer",
    ),
    "a sign that the class does not replace": (
        lambda f: replace_first(f, "&"),
        UnsupportedFamily,
        r"tokenizer\.json: normalizer = .*Sequence.* is not what BertTokenizer",
    ),
    "a sign out of no text that is tried otherwise": (
        lambda f: replace_first(f, "№"),
        UnsupportedFamily,
        r"tokenizer\.json: normalizer = .*Sequence.* is not what BertTokenizer",
    ),
    "longest words of another length": (
        lambda f: edit_model(f, max_input_chars_per_word=90),
        UnsupportedFamily,
        r"tokenizer\.json: model\.max_input_chars_per_word = 90 is not what BertTokenizer",
    ),
    "tokens by chance": (
        lambda f: edit_model(f, dropout=0.1),
        UnsupportedFamily,
        r"tokenizer\.json: model\.dropout = 0\.1; supported is null",
    ),
    "a head": (
        lambda f: (
            add_tensors(f, "classifier.weight"),
            edit_json(f / "config.json", architectures=["BertForSequenceClassification"]),
        ),
        UnsupportedFamily,
        r"model\.safetensors: 1 tensors .*'classifier\.weight'.*ForSequenceClassification.*Save",
    ),
    "an adapter within a layer": (
        lambda f: add_tensors(f, "encoder.layer.0.attention.self.query.lora_A.weight"),
        UnsupportedFamily,
        r"model\.safetensors: 1 tensors .*lora_A",
    ),
    "an adapter": (
        lambda f: edit_json(f / "adapter_config.json", peft_type="LORA"),
        UnsupportedFamily,
        r"adapter_config\.json: it is an adapter",
    ),
    "a processor": (
        lambda f: edit_json(f / "preprocessor_config.json", size=1),
        UnsupportedFamily,
        r"preprocessor_config\.json: the libraries load a processor",
    ),
    "a chat template where nothing says text": (
        lambda f: (
            (f / "modules.json").unlink(),
            edit_json(f / "tokenizer_config.json", chat_template="{{ messages }}"),
        ),
        UnsupportedFamily,
        r"tokenizer_config\.json: chat_template",
    ),
    "last token where nothing says the mean": (
        lambda f: (
            (f / "modules.json").unlink(),
            edit_json(f / "config.json", architectures=["BertForCausalLM"]),
        ),
        UnsupportedFamily,
        r"config\.json: architectures = \['BertForCausalLM'\]",
    ),
    "more positions than rows": (
        lambda f: edit_json(f / "config.json", max_position_embeddings=80),
        TeacherDamaged,
        r"position_embeddings\.weight' has shape \(40, 32\); .*max_position_embeddings = 80",
    ),
    "a dropout that torch refuses": (
        lambda f: edit_json(f / "config.json", hidden_dropout_prob=2),
        TeacherDamaged,
        r"config\.json has hidden_dropout_prob = 2; it must be at most 1",
    ),
    "layers in chunks": (
        lambda f: edit_json(f / "config.json", chunk_size_feed_forward=7),
        UnsupportedFamily,
        r"config\.json: chunk_size_feed_forward = 7; supported is 0",
    ),
    "labels without end": (
        lambda f: edit_json(f / "config.json", num_labels=10**9),
        TeacherDamaged,
        r"config\.json has num_labels = 1000000000; it must be at most 65536",
    ),
    "a module without a name": (
        lambda f: (f / "modules.json").write_text(
            (f / "modules.json").read_text().replace('"name": "1"', '"name": ""')
        ),
        TeacherDamaged,
        r"modules\.json has 1\.name = ''",
    ),
    "a byte order mark": (
        lambda f: (f / "config.json").write_bytes(
            b"\xef\xbb\xbf" + (f / "config.json").read_bytes()
        ),
        TeacherDamaged,
        r"config\.json starts with a byte order mark",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_changes_vectors_is_refused_with_file_and_key(
    sentence_folder: Path, case: str
) -> None:
    change, kind, message = REFUSED[case]
    change(sentence_folder)
    with pytest.raises(kind, match=rf"teacher 'own': .*{message}"):
        load_teacher(sentence_folder)


def test_token_types_of_a_text_must_be_zero(sentence_folder: Path) -> None:
    own = tokenizers.Tokenizer.from_file(str(sentence_folder / "tokenizer.json"))
    own.post_processor = tokenizers.processors.TemplateProcessing(
        "[CLS]:0 $A:1 [SEP]:0", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    own.save(str(sentence_folder / "tokenizer.json"))
    edit_json(
        sentence_folder / "tokenizer_config.json",
        tokenizer_class="PreTrainedTokenizerFast",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    with pytest.raises(UnsupportedFamily, match=r"tokenizer\.json: post_processor = .*token type"):
        load_teacher(sentence_folder)


# ------------------------------------------------------------------ the gate


@pytest.fixture(params=["sentence_transformers", "transformers"])
def checked(
    request: pytest.FixtureRequest, sentence_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Teacher:
    """A teacher whose library is one of the two."""
    if request.param == "transformers":
        monkeypatch.setattr(module, "is_installed", lambda: False)
    else:
        pytest.importorskip("sentence_transformers")
    return load_teacher(sentence_folder)


def test_the_gate_states_library_and_difference(checked: Teacher, sentence_folder: Path) -> None:
    check = check_against_library(checked, sentence_folder, checked.vectors)
    assert check.texts == len(TEXTS)
    assert check.max_abs < 1e-5
    if "sentence-transformers" in check.library:
        assert not check.note
    else:
        assert check.library == f"transformers {transformers.__version__}"
        assert "sentence-transformers is not installed" in str(check)


def test_the_gate_refuses_other_vectors_with_figures(
    checked: Teacher, sentence_folder: Path
) -> None:
    def off(texts: object) -> np.ndarray:
        return checked.vectors(list(texts)) + np.float32(3e-4)

    with pytest.raises(UnsupportedFamily, match=r"differ from those of .* by up to 3\.0e-04"):
        check_against_library(checked, sentence_folder, off)


def test_the_gate_refuses_other_tokens_first(checked: Teacher, sentence_folder: Path) -> None:
    edit_json(sentence_folder / "tokenizer_config.json", do_lower_case=False)

    def never(texts: object) -> np.ndarray:
        raise AssertionError("tokens are compared before vectors are made")

    with pytest.raises(UnsupportedFamily, match=r"makes \d+ tokens of 'A small dog .*nasc \d+"):
        check_against_library(checked, sentence_folder, never)


def test_a_library_that_cannot_load_the_folder_is_said(
    sentence_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = load_teacher(sentence_folder)

    def broken(folder: Path) -> None:
        raise ImportError("no such extra")

    monkeypatch.setattr(module, "SentenceTransformersLibrary", broken)
    monkeypatch.setattr(module, "is_installed", lambda: True)
    assert load_library(teacher, sentence_folder)[1].endswith("ImportError: no such extra")
    (sentence_folder / "config.json").unlink()
    with pytest.raises(NascError, match="cannot load its folder"):
        load_library(teacher, sentence_folder)


@pytest.mark.parametrize("what", ["tokens", "vectors"])
def test_a_library_that_fails_after_it_was_loaded_is_one_message(
    checked: Teacher, sentence_folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    library, _ = load_library(checked, sentence_folder)

    def fail(self: object, texts: object) -> None:
        raise AttributeError("no such\nfunction")

    monkeypatch.setattr(type(library), {"tokens": "token_lists"}.get(what, what), fail)
    with pytest.raises(
        UnsupportedFamily,
        match=rf"'own': {library.name} loads .* to make {what}: AttributeError: no such function\.",
    ):
        check_against_library(checked, sentence_folder, checked.vectors)


def test_a_release_without_a_function_gives_way_to_transformers(
    sentence_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = pytest.importorskip("sentence_transformers")
    monkeypatch.setattr(package, "SentenceTransformer", lambda *about, **more: SimpleNamespace())
    teacher = load_teacher(sentence_folder)
    check = check_against_library(teacher, sentence_folder, teacher.vectors)
    assert check.library == f"transformers {transformers.__version__}"
    assert check.note == (
        f"sentence-transformers {package.__version__} cannot be used for the folder: "
        "AttributeError: 'types.SimpleNamespace' object has no attribute 'preprocess'"
    )


def test_a_configuration_that_asks_for_tuples_changes_nothing(
    checked: Teacher, sentence_folder: Path
) -> None:
    edit_json(sentence_folder / "config.json", return_dict=False)
    assert check_against_library(checked, sentence_folder, checked.vectors).max_abs < 1e-5


@pytest.mark.parametrize("given", [None, 10**30, 42, 41])
def test_a_roberta_says_its_length_or_is_told_to(
    teacher_folder: Folders, tmp_path: Path, given: int | None
) -> None:
    """Else sentence-transformers cuts at the rows of the positions, 2 too many, and fails."""
    pytest.importorskip("sentence_transformers")
    folder = Path(shutil.copytree(teacher_folder("roberta"), tmp_path / "own"))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings.pop("model_max_length") == 40
    more = {} if given is None else {"model_max_length": given}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | more))
    with pytest.raises(
        UnsupportedFamily,
        match=r"tokenizer_config\.json: model_max_length = \d+; supported is at most 40, .* to "
        rf"{given if given in (41, 42) else 42} tokens .*Write \"model_max_length\": 40 there",
    ):
        load_teacher(folder)
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        SentenceTransformersLibrary(folder).vectors([LONG])


def test_long_text_is_cut_where_the_library_cuts_it(sentence_folder: Path) -> None:
    pytest.importorskip("sentence_transformers")
    edit_json(sentence_folder / SETTINGS, max_seq_length=7)
    tokens = load_teacher(sentence_folder).tokenize([LONG]).rows()
    assert tokens == SentenceTransformersLibrary(sentence_folder).token_lists([LONG])
    assert len(tokens[0]) == 7
