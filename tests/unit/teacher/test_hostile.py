"""Folders that were written to break readers: accepted, or refused by file in words, and soon."""

import contextlib
import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from teacher_folders import as_sentence_transformers, edit_json

from nasc.errors import TeacherDamaged, TeacherError, UsageError
from nasc.teacher import load_teacher
from nasc.teacher.library import check_against_library

HOSTILE: list[Any] = [
    None,
    True,
    False,
    "",
    "abc",
    "../../x",
    "\x1b[31m",
    [],
    [1, "a", None],
    {},
    {"a": [{}]},
    0,
    -1,
    1.5,
    10**9,
    10**18,
    10**39,
    -(10**12),
    1e300,
    1e-300,
]

FILES = (
    "config.json",
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "model.safetensors.index.json",
)

TEXTS = ("", "{", "[" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000, "9" * 5_000, "NaN", "\udcff")


def whole_folder(folder: Path) -> None:
    """Give a plain teacher every file that is read, sharded weights included."""
    as_sentence_transformers(folder, pooling_mode_mean_tokens=True, include_prompt=True)
    edit_json(folder / "sentence_bert_config.json", max_seq_length=16, do_lower_case=False)
    edit_json(
        folder / "config_sentence_transformers.json",
        prompts={"q": "the "},
        default_prompt_name=None,
        similarity_fn_name="cosine",
        truncate_dim=None,
    )
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    edit_json(
        folder / "model.safetensors.index.json",
        metadata={"total_size": 1},
        weight_map=dict.fromkeys(tensors, "model-1.safetensors"),
    )


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in plain data, a few of each list or object."""
    found = [path]
    if isinstance(data, dict):
        inner = list(data)
    elif isinstance(data, list):
        inner = list(range(len(data)))
    else:
        inner = []
    for key in [*inner[:25], *inner[25:][-2:]]:
        found += places(data[key], (*path, key))
    return found


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with something else in one place; ... leaves the place out."""
    if not path:
        return {} if value is ... else value
    copy = json.loads(json.dumps(data))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return copy


def refusal(folder: Path) -> str:
    """Why a folder is refused; empty where it is accepted and gives the vectors of its library."""
    try:
        teacher = load_teacher(folder)
    except (TeacherError, UsageError) as error:
        return str(error)
    check_against_library(teacher, folder, teacher.vectors, ["the cat sat", "A dog & 2 " * 30])
    return ""


def check_accepted_or_refused(folder: Path) -> None:
    """A refusal is short, printable and names a file.

    That may be another than the changed one: a size of config.json, say, that tensors do not have.
    """
    text = refusal(folder)
    assert not text or ".json" in text or ".safetensors" in text, text
    assert text.isprintable() or not text, text
    assert len(text) < 1500, text


@pytest.mark.slow
@pytest.mark.timeout(120, func_only=True)
@pytest.mark.parametrize("file", FILES)
def test_mutated_files_are_accepted_or_refused(
    teacher_folder: Callable[..., Path], tmp_path: Path, file: str
) -> None:
    folder = Path(shutil.copytree(teacher_folder("bert"), tmp_path / "own"))
    whole_folder(folder)
    assert not refusal(folder)
    good = json.loads((folder / file).read_text())
    generator = random.Random(f"nasc {file}")
    everywhere = places(good)
    for _ in range(40):
        place, value = generator.choice(everywhere), generator.choice([*HOSTILE, ...])
        (folder / file).write_text(json.dumps(replaced(good, place, value)))
        check_accepted_or_refused(folder)
    for text in TEXTS:
        (folder / file).write_text(text, errors="surrogateescape")
        with pytest.raises(TeacherError, match=file.rpartition("/")[2].replace(".", r"\.")):
            load_teacher(folder)


@pytest.mark.parametrize("key", ["hidden_size", "vocab_size", "num_hidden_layers"])
def test_sizes_are_held_against_the_tensors_before_anything_is_made(
    own_folder: Path, key: str
) -> None:
    for size in (10**9, 1 << 15):
        edit_json(own_folder / "config.json", **{key: size, "num_attention_heads": 1})
        with pytest.raises(TeacherError, match=r"config\.json|missing from its weights"):
            load_teacher(own_folder)


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "tokenizer.json",
        "vocab.txt",
        "model.safetensors",
        "README.md",
        "anything",
        "1_Pooling/config.json",
    ],
)
def test_a_pipe_is_named_and_not_waited_for(sentence_folder: Path, file: str) -> None:
    (sentence_folder / file).unlink(missing_ok=True)
    os.mkfifo(sentence_folder / file)
    name = file.replace(".", r"\.")
    with pytest.raises(TeacherDamaged, match=rf"{name} is no file but a pipe \(FIFO\)"):
        load_teacher(sentence_folder)


def test_a_device_is_named(sentence_folder: Path) -> None:
    (sentence_folder / "tokenizer_config.json").unlink()
    (sentence_folder / "tokenizer_config.json").symlink_to("/dev/zero")
    with pytest.raises(TeacherDamaged, match=r"tokenizer_config\.json is no file but a device"):
        load_teacher(sentence_folder)


@pytest.mark.parametrize("file", ["config.json", "vocab.txt", "README.md", "model.safetensors"])
def test_a_sparse_giant_is_refused_by_its_size(sentence_folder: Path, file: str) -> None:
    with (sentence_folder / file).open("ab") as opened:
        opened.truncate(20 << 30)
    with pytest.raises(TeacherDamaged, match=rf"{file.replace('.', '[.]')} .*21,474,836,480 bytes"):
        load_teacher(sentence_folder)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff" * 8,
        (1 << 40).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b"[1, 2, 3]",
    ],
)
def test_headers_of_weights_are_refused(own_folder: Path, header: bytes) -> None:
    (own_folder / "model.safetensors").write_bytes(header)
    with pytest.raises(TeacherDamaged, match=r"model\.safetensors"):
        load_teacher(own_folder)


def test_mutated_headers_are_refused_or_read(own_folder: Path) -> None:
    path = own_folder / "model.safetensors"
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    good = json.loads(raw[8 : 8 + length])
    generator = random.Random("nasc headers")
    everywhere = places(good)
    for _ in range(60):
        changed = replaced(good, generator.choice(everywhere), generator.choice([*HOSTILE, ...]))
        header = json.dumps(changed).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])
        check_accepted_or_refused(own_folder)


def test_types_and_layouts_of_weights_are_named(own_folder: Path) -> None:
    weights = own_folder / "model.safetensors"
    good = load_file(weights)
    name = "encoder.layer.0.output.dense.weight"
    save_file(good | {name: good[name].to(torch.int8)}, weights, {"format": "pt"})
    with pytest.raises(TeacherError, match=rf"model\.safetensors: tensor '{name}' is of type I8"):
        load_teacher(own_folder)
    save_file(good, weights, {"format": "flax"})
    with pytest.raises(TeacherDamaged, match=r"model\.safetensors holds weights in the layout"):
        load_teacher(own_folder)
    save_file(good | {f"bert.{name}": good[name].clone()}, weights, {"format": "pt"})
    with pytest.raises(TeacherDamaged, match=r"model\.safetensors: tensors .* have one meaning"):
        load_teacher(own_folder)


@pytest.mark.parametrize("map_", [["a"], {"a": 1}, {"a": "../x.safetensors"}, {}, "x"])
def test_an_index_that_is_no_map_of_names_is_refused(own_folder: Path, map_: object) -> None:
    (own_folder / "model.safetensors").rename(own_folder / "model-1.safetensors")
    edit_json(own_folder / "model.safetensors.index.json", metadata={}, weight_map=map_)
    with pytest.raises(TeacherDamaged, match=r"model\.safetensors\.index\.json .*weight_map"):
        load_teacher(own_folder)


def test_ids_that_the_embedding_has_no_rows_for_are_found_in_every_file(own_folder: Path) -> None:
    vocab = json.loads((own_folder / "tokenizer.json").read_text())
    for number in (10**6, 10**12):
        vocab["model"]["vocab"]["giant"] = number
        (own_folder / "tokenizer.json").write_text(json.dumps(vocab))
        with pytest.raises(TeacherDamaged, match=rf"tokenizer\.json has token id {number}"):
            load_teacher(own_folder)
    (own_folder / "tokenizer.json").unlink()
    (own_folder / "vocab.txt").write_text("word\n" * 500)
    with pytest.raises(TeacherDamaged, match=r"vocab\.txt has token id 499"):
        load_teacher(own_folder)


def test_a_folder_of_very_many_files_is_refused(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.teacher.files.MAX_ENTRIES", 5)
    for index in range(6):
        with contextlib.suppress(FileExistsError):
            (own_folder / f"{index}.png").touch()
    with pytest.raises(TeacherDamaged, match="holds more than 5 files"):
        load_teacher(own_folder)


def test_an_index_without_metadata_is_refused_as_transformers_does(own_folder: Path) -> None:
    whole_folder(own_folder)
    index = own_folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    for metadata in ({}, {"metadata": 1}):
        index.write_text(json.dumps({"weight_map": content["weight_map"]} | metadata))
        with pytest.raises(TeacherDamaged, match=r"model\.safetensors\.index\.json.* '?metadata"):
            load_teacher(own_folder)


@pytest.mark.parametrize(
    ("family", "file", "changes", "message"),
    [
        ("roberta", "config.json", {"max_position_embeddings": 2}, "positions start at 2"),
        ("modernbert", "config.json", {"num_attention_heads": 32}, "heads of an odd size"),
        ("distilbert", "config.json", {"num_hidden_layers": 7}, "which are names of one size"),
        ("bert", "config.json", {"classifier_dropout": -0.5}, "classifier_dropout"),
        ("distilbert", "config.json", {"qa_dropout": 2}, "qa_dropout"),
        ("roberta", "vocab.json", {"giant": -1}, "gives token 'giant' id -1"),
        ("roberta", "vocab.json", {"giant": "1"}, "gives token 'giant' id '1'"),
        (
            "bert",
            "tokenizer_config.json",
            {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": None},
            "names no pad_token",
        ),
    ],
)
def test_what_contradicts_itself_is_named(
    teacher_folder: Callable[..., Path],
    tmp_path: Path,
    family: str,
    file: str,
    changes: dict[str, Any],
    message: str,
) -> None:
    folder = Path(shutil.copytree(teacher_folder(family), tmp_path / "own"))
    edit_json(folder / file, **changes)
    with pytest.raises(TeacherDamaged, match=rf"{re.escape(file)}.* {message}"):
        load_teacher(folder)


@pytest.mark.parametrize("kind", ["single", "pair"])
@pytest.mark.parametrize("family", ["albert", "modernbert"])
def test_a_template_of_a_token_that_is_none_is_named(
    teacher_folder: Callable[..., Path], tmp_path: Path, family: str, kind: str
) -> None:
    """The library of tokenizers panics on the first text, not where it reads the file."""
    folder = Path(shutil.copytree(teacher_folder(family), tmp_path / "own"))
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"][kind][0]["SpecialToken"]["id"] = "[NONE]"
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(TeacherDamaged, match=r"tokenizer cannot be used \(.*tokenizer\.json"):
        load_teacher(folder)
