"""Models of somebody else: their classes by name, their vocabulary, their number format."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nasc.api import evaluate
from nasc.errors import TaskDataError, TeacherDamaged, TeacherMissing, UsageError
from nasc.tasks.data import load_model, load_tuned, read_task
from nasc.tasks.glue import TASKS
from nasc.tasks.models import TaskModel, read_record

MNLI = TASKS["mnli"].labels


@pytest.fixture
def tuned(teacher_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Writes a model whose classes have these names, its head's bias 0, 1, 2 in that order."""

    def make(names: Sequence[str], **fields: Any) -> Path:
        folder = tmp_path / "-".join(names).lower()
        model = TaskModel.for_classes(teacher_folder(), TASKS["mnli"], seed=3)
        model.save(folder, {})
        (folder / "nasc_finetune.json").unlink()
        weights = load_file(folder / "model.safetensors")
        weights["classifier.bias"] = torch.arange(len(names), dtype=torch.float32)
        weights["classifier.weight"] = weights["classifier.weight"][: len(names)].clone()
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["id2label"] = {str(i): name for i, name in enumerate(names)}
        config["label2id"] = {name: i for i, name in enumerate(names)}
        (folder / "config.json").write_text(json.dumps(config | fields), encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (MNLI, [0, 1, 2]),
        (("CONTRADICTION", "NEUTRAL", "ENTAILMENT"), [2, 1, 0]),
        (("Contradiction", "Entailment", "Neutral"), [1, 2, 0]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), [0, 1, 2]),
        (("0", "1", "2"), [0, 1, 2]),
    ],
)
def test_classes_are_put_into_the_tasks_order(
    names: tuple[str, ...], order: list[int], tuned: Callable[..., Path]
) -> None:
    folder = tuned(names)
    model = load_tuned(folder, "mnli").model
    stored = load_file(folder / "model.safetensors")["classifier.weight"]
    assert model.classifier.bias.tolist() == order
    assert torch.equal(model.classifier.weight, stored[order])
    assert tuple(model.config.id2label.values()) == MNLI


def test_classes_of_another_task_are_no_head_of_this_one(tuned: Callable[..., Path]) -> None:
    folder = tuned(("happy", "sad", "angry"))
    with pytest.raises(UsageError, match=r"is not fine-tuned on mnli: classifier\.bias"):
        load_tuned(folder, "mnli")
    found = load_model(folder, "mnli", seed=1)
    assert found.new == ("classifier.bias", "classifier.weight")
    assert found.model.classifier.bias.tolist() == [0, 0, 0]
    stored = load_file(folder / "model.safetensors")
    assert not torch.equal(found.model.classifier.weight, stored["classifier.weight"])
    again = load_model(folder, "mnli", seed=1)
    assert torch.equal(found.model.classifier.weight, again.model.classifier.weight)
    body = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(found.model.state_dict()[body], stored[body])


def test_names_do_not_matter_to_a_task_whose_classes_are_numbers(
    tuned: Callable[..., Path],
) -> None:
    assert load_tuned(tuned(("NEGATIVE", "POSITIVE")), "sst-2").new == ()


def test_spans_can_start_from_three_classes(tuned: Callable[..., Path]) -> None:
    found = load_model(tuned(MNLI), "squad")
    assert found.outputs == 2
    assert found.new == ("qa_outputs.bias", "qa_outputs.weight")


def test_weights_stored_in_bfloat16_are_trained_in_float32(tuned: Callable[..., Path]) -> None:
    folder = tuned(MNLI, dtype="bfloat16")
    path = folder / "model.safetensors"
    half = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(half, path, {"format": "pt"})
    model = load_tuned(folder, "mnli").model
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_what_cannot_be_read_is_one_message(tuned: Callable[..., Path]) -> None:
    folder = tuned(MNLI)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(TeacherMissing, match="no model that can be fine-tuned at"):
        load_tuned(folder, "mnli")
    (folder / "model.safetensors").write_bytes(weights)
    assert load_tuned(folder, "mnli")
    for path in (*folder.glob("tokenizer*"), *folder.glob("vocab*")):
        path.unlink()
    with pytest.raises(TeacherMissing, match=r"no (vocabulary in|model that can)"):
        load_tuned(folder, "mnli")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("null", "it must be an object"),
        ('{"vocab_size": ' + "9" * 5000 + "}", "a number of 5,000 digits"),
        ('{"layer_norm_eps": NaN}', "holds NaN"),
    ],
)
def test_files_are_looked_at_before_transformers_reads_them(
    file: str, content: str, message: str, tuned: Callable[..., Path]
) -> None:
    folder = tuned(MNLI)
    (folder / file).write_text(content, encoding="utf-8")
    with pytest.raises(TeacherDamaged, match=message) as found:
        load_tuned(folder, "mnli")
    assert file in str(found.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"hidden_size": None},
        {"hidden_size": "many"},
        {"num_hidden_layers": [2]},
        {"hidden_act": 3},
        {"id2label": "names"},
        {"num_attention_heads": 0},
        {"model_type": {"a": 1}},
        {"model_type": "nasc", "head_size": 8, "blocks": [{"hidden": "wide"}]},
        {"model_type": "nasc", "head_size": 8, "blocks": [1, 2]},
    ],
    ids=str,
)
def test_whatever_transformers_raises_is_one_message(
    fields: dict[str, Any], tuned: Callable[..., Path]
) -> None:
    folder = tuned(MNLI)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | fields), encoding="utf-8")
    with pytest.raises(TeacherMissing, match="no model that can be fine-tuned at"):
        load_tuned(folder, "mnli")


def test_a_pipe_in_a_models_folder_is_not_waited_for(tuned: Callable[..., Path]) -> None:
    folder = tuned(MNLI)
    (folder / "vocab.txt").unlink(missing_ok=True)
    os.mkfifo(folder / "vocab.txt")
    with pytest.raises(TeacherDamaged, match=r"vocab\.txt is no file but a pipe"):
        load_tuned(folder, "mnli")


@pytest.mark.parametrize("record", ["[]", '{"task": 3}', '{"max_length": "long"}', "{"])
def test_a_record_that_is_none_counts_as_absent(record: str, tuned: Callable[..., Path]) -> None:
    folder = tuned(MNLI)
    (folder / "nasc_finetune.json").write_text(record, encoding="utf-8")
    assert read_record(folder) == {}


@pytest.mark.parametrize("field", ["max_position_embeddings", "pad_token_id"])
def test_numbers_that_nasc_reads_of_a_configuration_are_numbers(
    field: str, tuned: Callable[..., Path]
) -> None:
    folder = tuned(MNLI, **{field: "abc"})
    with pytest.raises(TeacherDamaged, match=rf"config\.json has {field} = 'abc'; it must be"):
        load_tuned(folder, "mnli")


def test_positions_that_begin_behind_no_padding_are_refused(
    teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(teacher_folder("roberta"), tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": None}))
    with pytest.raises(TeacherMissing, match=r"config\.json has pad_token_id = null"):
        load_model(folder, "mnli")


@pytest.mark.parametrize(("task", "least"), [("sst-2", 3), ("rte", 4)])
def test_an_example_takes_more_than_the_special_tokens(
    task: str, least: int, teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    data = tmp_path / "dev.tsv"
    data.write_text(
        "sentence\tlabel\na cat\t1\n"
        if task == "sst-2"
        else "sentence1\tsentence2\tlabel\na cat\tthe dog\tentailment\n",
        encoding="utf-8",
    )
    read, model = read_task(task, data), load_model(teacher_folder(), task)
    read.check(model.tokenizer, least)
    for length in (-5, least - 1):
        with pytest.raises(TaskDataError, match=rf"{length} tokens leave no room .*--max-length"):
            read.check(model.tokenizer, length)
    model.save(tmp_path / "model", {"task": task})
    with pytest.raises(TaskDataError, match="1 tokens leave no room"):
        evaluate(tmp_path / "model", task, data, max_length=1)
