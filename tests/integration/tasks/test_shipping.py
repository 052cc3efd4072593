"""From a network to one that does a task: which files, which head, what is kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("accelerate", reason="needs accelerate (extra 'finetune')")

from nasc.architecture.space import Architecture, Block
from nasc.errors import TaskDataError, UsageError
from nasc.evaluation.encoder import Encoder
from nasc.evaluation.parity import check_parity
from nasc.lowering import get_lowering
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.tasks import finetune
from nasc.tasks.finetune import FinetuneConfig
from nasc.tasks.shipping import PackagedTask, TaskOptions
from nasc.teacher import Teacher, load_teacher
from nasc.utils.progress import Silent

CONFIG = FinetuneConfig(steps=30, batch_size=16, learning_rate=3e-3, max_length=24)
BRIEF = dataclasses.replace(CONFIG, steps=2)


def write_sst2(folder: Path, count: int = 64) -> Path:
    """Whether a sentence holds a cat."""
    rng = np.random.default_rng(0)
    for name in ("train.tsv", "dev.tsv"):
        rows = [
            f"the {'cat' if x else 'dog'} sat on the mat\t{x}" for x in rng.integers(0, 2, count)
        ]
        (folder / name).write_text("sentence\tlabel\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return folder


def write_squad(folder: Path, count: int = 24) -> Path:
    """What sat on the mat."""
    rng = np.random.default_rng(0)
    for name in ("train-v1.1.json", "dev-v1.1.json"):
        paragraphs = []
        for i, x in enumerate(rng.integers(0, 2, count)):
            word = "cat" if x else "dog"
            answers = [{"text": word, "answer_start": 4}]
            qas = [{"id": f"{name}-{i}", "question": "what sat", "answers": answers}]
            paragraphs.append({"context": f"the {word} sat on the mat", "qas": qas})
        data = {"data": [{"paragraphs": paragraphs}]}
        (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def teacher(teacher_folder: Callable[..., Path]) -> Teacher:
    return load_teacher(str(teacher_folder()))


@pytest.fixture(scope="module")
def full_size(teacher: Teacher) -> Network:
    block = Block(teacher.geometry.hidden, ("mha", "ffn"), kept=True)
    return teacher_network(teacher, Architecture((block, block)))


def narrow(network: Network) -> Network:
    """One layer of it, behind a map to half of the size."""
    size = network.geometry.hidden
    half = Architecture((network.architecture.blocks[0], Block(size // 2, ("ffn",))))
    rng = np.random.default_rng(0)
    small = [
        {"weight": (size // 2, size), "bias": (size // 2,)},
        {
            "in_weight": (size, size // 2),
            "in_bias": (size,),
            "out_weight": (size // 2, size),
            "out_bias": (size // 2,),
            "ln_weight": (size // 2,),
            "ln_bias": (size // 2,),
        },
        {"weight": (size, size // 2), "bias": (size,)},
    ]
    made = [
        {n: (rng.normal(0, 0.2, s) + (n == "ln_weight")).astype(np.float32) for n, s in own.items()}
        for own in small
    ]
    return Network(half, network.geometry, "embed", (*network.tensors[:3], *made))


def shipping(
    options: TaskOptions, full_size: Network, teacher: Teacher, cache: Path
) -> PackagedTask:
    return PackagedTask(options, full_size, teacher.tokenizer, cache, Silent())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sst-2", "squad"])
def test_a_network_learns_a_task_and_its_file_does_it(
    name: str, teacher: Teacher, full_size: Network, tmp_path: Path
) -> None:
    write = {"sst-2": write_sst2, "squad": write_squad}[name]
    options = TaskOptions(name, write(tmp_path), config=CONFIG)
    one = shipping(options, full_size, teacher, tmp_path / "cache")
    found = one.finetune(narrow(full_size).with_precision("int8"))
    assert found.head == options.head
    assert found.architecture.precision == "int8"
    made = get_lowering("onnxruntime").lower(found.with_precision("fp32"), tmp_path)
    check_parity(found.with_precision("fp32"), Encoder(made.path), [[2, 5, 6, 7, 3]] * 8)
    scores = one.scores(made)
    assert tuple(scores) == options.metrics
    assert next(iter(scores.values())) > 0.9
    assert next(iter(one.teacher_scores.values())) > 0.9


def test_what_is_tuned_is_kept(teacher: Teacher, full_size: Network, tmp_path: Path) -> None:
    options = TaskOptions("sst2", write_sst2(tmp_path), config=BRIEF)
    first = shipping(options, full_size, teacher, tmp_path / "cache").finetune(full_size)
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("model.safetensors")}
    assert len(made) == 1  # the teacher itself: nothing to distil
    again = shipping(options, full_size, teacher, tmp_path / "cache").finetune(full_size)
    assert first.sha256() == again.sha256()
    assert {p: p.stat().st_mtime_ns for p in made} == made


@pytest.mark.slow
def test_the_teacher_is_asked_once_for_all_networks(
    teacher: Teacher, full_size: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    tell = finetune._tell
    monkeypatch.setattr(finetune, "_tell", lambda *about: asked.append(1) or tell(*about))
    options = TaskOptions("sst-2", write_sst2(tmp_path), config=BRIEF)
    one, small = shipping(options, full_size, teacher, tmp_path / "cache"), narrow(full_size)
    tensors = [dict(own) for own in small.tensors]
    tensors[-1]["bias"] = tensors[-1]["bias"] + 1
    other = dataclasses.replace(small, tensors=tuple(tensors))
    for network in (small, other):
        one.finetune(network)
    assert asked == [1]
    again = TaskOptions("sst-2", write_sst2(tmp_path, 32), config=BRIEF)
    shipping(again, full_size, teacher, tmp_path / "cache").finetune(small)
    assert asked == [1, 1]  # about other examples


def test_files_are_found_in_a_folder_or_named(tmp_path: Path) -> None:
    write_sst2(tmp_path)
    assert TaskOptions("SST2", tmp_path).head == "classify-2"
    with pytest.raises(UsageError, match="--dev-data"):
        TaskOptions("sst-2", tmp_path / "train.tsv")
    with pytest.raises(UsageError, match="leave --dev-data out"):
        TaskOptions("sst-2", tmp_path, tmp_path / "dev.tsv")
    with pytest.raises(UsageError, match=r"no data of sst-2 at '.*nowhere'"):
        TaskOptions("sst-2", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unknown task"):
        TaskOptions("sst-3", tmp_path)


def test_bad_files_are_told_first(teacher: Teacher, full_size: Network, tmp_path: Path) -> None:
    def open_(options: TaskOptions) -> PackagedTask:
        return shipping(options, full_size, teacher, tmp_path / "cache")

    (tmp_path / "empty").mkdir()
    with pytest.raises(TaskDataError, match=r"no train file .* looked for train\.tsv"):
        open_(TaskOptions("sst-2", tmp_path / "empty", config=CONFIG))
    train = write_sst2(tmp_path) / "train.tsv"
    with pytest.raises(TaskDataError, match="the same examples"):
        open_(TaskOptions("sst-2", train, train, config=CONFIG))
    with pytest.raises(UsageError, match="the teacher reads"):
        open_(TaskOptions("sst-2", tmp_path))
