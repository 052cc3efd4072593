"""Fine-tuning a subnet and a teacher on a tiny task: it learns, distils, and goes on."""

from __future__ import annotations

import dataclasses
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("accelerate", reason="needs accelerate (extra 'finetune')")

from nasc.architecture.space import Architecture, Block
from nasc.errors import NascError, TaskDataError, TeacherMissing, TrainingDiverged, UsageError
from nasc.hf import NascForSequenceClassification, NascModel, training
from nasc.hf.by_length import ByLength
from nasc.networks.from_teacher import teacher_network
from nasc.tasks.finetune import FinetuneConfig, distillation_loss, finetune
from nasc.tasks.glue import TASKS, Examples
from nasc.tasks.metrics import scores
from nasc.tasks.models import TaskModel
from nasc.teacher import load_teacher

CONFIG = FinetuneConfig(steps=40, batch_size=16, learning_rate=3e-3)
LENGTH = 16
WORDS = ["cat", "dog"]


def examples(name: str = "sst-2", count: int = 64, seed: int = 0) -> Examples:
    """Whether a sentence holds a cat; in pairs, whether both do the same."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, 2, (count, 2))
    task = TASKS[name]
    if len(task.texts) == 1:
        texts = [(f"the {WORDS[a]} sat on the mat" + " mat" * b,) for a, b in picks]
        return Examples(task, tuple(texts), picks[:, 0])
    pairs = [(f"the {WORDS[a]} ran", f"a {WORDS[b]} slept") for a, b in picks]
    labels = picks.sum(1)
    return Examples(task, tuple(pairs), labels.astype(float) if not task.labels else labels % 2)


def tune(model: TaskModel, data: Examples, config: FinetuneConfig, **other: Any) -> None:
    finetune(model, model.example_rows(data, LENGTH), config, **other)


def outputs(model: TaskModel, data: Examples) -> np.ndarray:
    return np.stack([row["logits"] for row in model.run(model.example_rows(data, LENGTH), 7)])


def score(model: TaskModel, data: Examples) -> float:
    return next(iter(scores(data.task, outputs(model, data), data).values()))


@pytest.fixture(scope="module")
def subnet(teacher_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the teacher's first layer as a subnet."""
    teacher = load_teacher(str(teacher_folder()))
    block = Block(32, ("mha", "ffn"), kept=True)
    network = teacher_network(teacher, Architecture((block, block)), "hidden")
    folder = tmp_path_factory.mktemp("subnet")
    NascModel.from_network(network).save_pretrained(folder)
    teacher.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sst-2", "mrpc", "sts-b"])
def test_it_learns(name: str, subnet: Path, tmp_path: Path) -> None:
    train, dev = examples(name), examples(name, 40, seed=1)
    model = TaskModel.for_classes(subnet, train.task)
    assert isinstance(model.model, NascForSequenceClassification)
    calls: list[tuple[int, int]] = []
    tune(
        model,
        train,
        CONFIG,
        work_dir=tmp_path,
        progress=lambda done, total, message: calls.append((done, total)),
    )
    assert calls[-1] == (40, 40)
    if name != "mrpc":  # whether both are the same is not learnt in 40 steps
        assert score(model, dev) > 0.9


@pytest.mark.parametrize("bf16", [False, True])
def test_a_saved_model_scores_the_same(subnet: Path, tmp_path: Path, bf16: bool) -> None:
    train = examples()
    model = TaskModel.for_classes(subnet, train.task)
    config = dataclasses.replace(CONFIG, steps=5, bf16=bf16)
    tune(model, train, config, work_dir=tmp_path / "work")
    model.save(tmp_path / "saved", {"task": "sst-2"})
    loaded = TaskModel.for_classes(tmp_path / "saved", train.task)
    weights = model.model.state_dict()
    assert all(torch.equal(v, weights[n]) for n, v in loaded.model.state_dict().items())
    # Memory is aligned otherwise: sums may round otherwise.
    np.testing.assert_allclose(outputs(loaded, train), outputs(model, train), atol=1e-6)


@pytest.mark.slow
def test_a_teacher_of_transformers_teaches(
    teacher_folder: Callable[..., Path], subnet: Path, tmp_path: Path
) -> None:
    train = examples()
    teacher = TaskModel.for_classes(teacher_folder(), train.task)
    assert type(teacher.model).__name__ == "BertForSequenceClassification"
    tune(teacher, train, CONFIG, work_dir=tmp_path / "teacher")
    before = {n: v.clone() for n, v in teacher.model.state_dict().items()}
    wrong = dataclasses.replace(train, labels=1 - train.labels)
    student = TaskModel.for_classes(subnet, train.task)
    config = dataclasses.replace(CONFIG, distill_weight=1.0)
    asked: list[bool] = []
    said: list[tuple[int, str]] = []
    cudnn = torch.backends.cuda.cudnn_sdp_enabled
    teacher.model.register_forward_hook(lambda *about: asked.append(cudnn()))
    tune(
        student,
        wrong,
        config,
        work_dir=tmp_path / "student",
        teacher=teacher,
        progress=lambda done, total, message: said.append((done, message)),
    )
    assert (
        asked == [False] * 4
    )  # cuDNN plans too long; 64 examples in batches of 16, however many steps there are
    assert said[:5] == [(0, f"asking the teacher, {n} of 64") for n in (0, 16, 32, 48, 64)]
    assert score(student, train) > 0.9  # the teacher's word, not the labels'
    assert all(torch.equal(v, before[n]) for n, v in teacher.model.state_dict().items())


@pytest.mark.slow
def test_an_interrupted_run_goes_on_exactly(subnet: Path, tmp_path: Path) -> None:
    train, config = examples(), dataclasses.replace(CONFIG, steps=8)
    whole = TaskModel.for_classes(subnet, train.task)
    tune(whole, train, config, work_dir=tmp_path / "whole")

    def stop(done: int, total: int, message: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    broken = TaskModel.for_classes(subnet, train.task)
    with pytest.raises(KeyboardInterrupt):
        tune(broken, train, config, work_dir=tmp_path / "work", progress=stop)
    resumed, calls = TaskModel.for_classes(subnet, train.task), []
    tune(
        resumed,
        train,
        config,
        work_dir=tmp_path / "work",
        progress=lambda done, total, message: calls.append(done),
    )
    assert calls[0] == 8  # the step that was interrupted is not lost
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every step is saved."""
    monkeypatch.setattr(training, "SAVE_EVERY_S", -1.0)
    return monkeypatch


@pytest.mark.slow
def test_a_killed_run_has_saved_and_asks_its_teacher_no_more(
    teacher_folder: Callable[..., Path],
    subnet: Path,
    tmp_path: Path,
    saving: pytest.MonkeyPatch,
) -> None:
    train, config = examples(), dataclasses.replace(CONFIG, steps=8)
    teacher = TaskModel.for_classes(teacher_folder(), train.task)
    asked: list[int] = []
    teacher.model.register_forward_hook(lambda *about: asked.append(1))

    def run(folder: str, kill_at: int | None) -> tuple[TaskModel, list[int]]:
        model, steps = TaskModel.for_classes(subnet, train.task), []

        def progress(done: int, total: int, message: str) -> None:
            if done == kill_at:
                raise RuntimeError("killed")
            steps.append(done)

        about = {"work_dir": tmp_path / folder, "teacher": teacher, "progress": progress}
        if kill_at is None:
            tune(model, train, config, **about)
        else:
            with pytest.raises(RuntimeError, match="killed"):
                tune(model, train, config, **about)
        return model, steps

    whole, _ = run("whole", None)
    run("work", 5)
    before = len(asked)
    resumed, steps = run("work", None)
    assert steps == [5, 6, 7, 8]
    assert len(asked) == before
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *(("optimizer.pt", _cut), ("optimizer.pt", _flip), ("trainer_state.json", _cut)),
        *(("model.safetensors", _cut), ("model.safetensors", _flip)),
    ],
)
def test_a_damaged_checkpoint_says_what_to_delete(
    name: str, damage: Callable[[Path], None], subnet: Path, tmp_path: Path
) -> None:
    train, config = examples(), dataclasses.replace(CONFIG, steps=2)
    model = TaskModel.for_classes(subnet, train.task)
    tune(model, train, config, work_dir=tmp_path)
    (kept,) = tmp_path.glob("checkpoint-*")
    assert training._last_checkpoint(tmp_path) == str(kept)
    damage(kept / name)
    with pytest.raises(NascError, match=rf"is damaged: .*{name}.* rm -r '.*/{kept.name}'"):
        tune(model, train, config, work_dir=tmp_path)


def test_an_older_checkpoint_stands_in_for_a_damaged_one(tmp_path: Path) -> None:
    for step in (9, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}" if step == 9 else "{", encoding="utf-8")
    assert training._last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text("{", encoding="utf-8")
    with pytest.raises(NascError, match=r"-10' is damaged: .*rm -r '.*-10' '.*-9'$"):
        training._last_checkpoint(tmp_path)


def test_ctrl_c_lets_the_step_end(subnet: Path, tmp_path: Path) -> None:
    train, config = examples(), dataclasses.replace(CONFIG, steps=8)
    model = TaskModel.for_classes(subnet, train.task)

    def press(*about: object) -> None:
        signal.raise_signal(signal.SIGINT)  # in the middle of a step

    before = signal.getsignal(signal.SIGINT)
    hook = model.model.register_forward_hook(press)
    with pytest.raises(KeyboardInterrupt):
        tune(model, train, config, work_dir=tmp_path)
    hook.remove()
    assert signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-1"]


def test_a_loss_that_is_not_finite_ends_the_run(
    subnet: Path, tmp_path: Path, saving: pytest.MonkeyPatch
) -> None:
    train, config = examples(), dataclasses.replace(CONFIG, steps=20)
    model = TaskModel.for_classes(subnet, train.task)

    def spoil(done: int, total: int, message: str) -> None:
        if done == 5:
            saving.setattr(training, "SAVE_EVERY_S", math.inf)
            model.model.classifier.bias.data.fill_(float("nan"))

    with pytest.raises(TrainingDiverged, match=r"not finite\. Try a lower --learning-rate"):
        tune(model, train, config, work_dir=tmp_path, progress=spoil)
    (kept,) = tmp_path.glob("checkpoint-*")
    assert kept.name == "checkpoint-4"
    assert all(bool(v.isfinite().all()) for v in load_file(kept / "model.safetensors").values())


@pytest.mark.usefixtures("saving")
def test_gradients_that_are_not_finite_never_reach_the_weights(
    subnet: Path, tmp_path: Path
) -> None:
    train, config = examples(), dataclasses.replace(CONFIG, steps=20)
    model = TaskModel.for_classes(subnet, train.task)
    weights = model.model.classifier.weight

    def spoil(done: int, total: int, message: str) -> None:
        if done == 3:
            weights.register_hook(lambda gradient: gradient * float("inf"))

    with pytest.raises(TrainingDiverged, match=r"gradients are not finite\. Try a lower"):
        tune(model, train, config, work_dir=tmp_path, progress=spoil)
    (kept,) = tmp_path.glob("checkpoint-*")
    assert kept.name == "checkpoint-3"
    assert all(bool(v.isfinite().all()) for v in model.model.state_dict().values())


def test_batches_hold_examples_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 1003).tolist()
    sampler = ByLength(lengths, 8, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert sorted(orders[0]) == list(range(1003))
    assert orders[0] == orders[2] != orders[1]
    batches = [[lengths[i] for i in orders[0][start : start + 8]] for start in range(0, 1003, 8)]
    padded = sum(len(batch) * max(batch) for batch in batches)
    assert padded < 1.1 * sum(lengths)  # in random order 1.8
    means = [np.mean(batch) for batch in batches]
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3  # not from long to short


def test_the_distillation_loss_is_the_divergence() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(5, 3, generator=generator) for _ in range(2))
    p, q = teacher.softmax(-1), student.softmax(-1)
    wanted = (p * (p / q).log()).sum(-1).mean()
    assert torch.isclose(distillation_loss(student, teacher), wanted)
    assert float(distillation_loss(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    one, two = student[:, :1], teacher[:, :1]
    assert torch.isclose(distillation_loss(one, two), (one - two).square().mean())


def test_bad_input_is_one_message(
    teacher_folder: Callable[..., Path], subnet: Path, tmp_path: Path
) -> None:
    train = examples()
    with pytest.raises(TeacherMissing, match="no model that can be fine-tuned at '/nowhere'"):
        TaskModel.for_classes("/nowhere", train.task)
    student = TaskModel.for_classes(subnet, train.task)
    with pytest.raises(TaskDataError, match="no examples"):
        finetune(student, [], CONFIG, work_dir=tmp_path)
    other = TaskModel.for_classes(teacher_folder("roberta"), train.task)
    with pytest.raises(UsageError, match="another vocabulary"):
        tune(student, train, CONFIG, work_dir=tmp_path, teacher=other)
    three = TaskModel.for_classes(teacher_folder(), TASKS["mnli"])
    with pytest.raises(UsageError, match="gives 3 numbers, this task has 2"):
        tune(student, train, CONFIG, work_dir=tmp_path, teacher=three)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs must be positive"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"distill_weight": 1.5}, r"distill_weight must be in \[0, 1\]"),
    ],
)
def test_values_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FinetuneConfig(**values)


def test_epochs_beyond_all_numbers_of_steps_are_refused() -> None:
    with pytest.raises(UsageError, match=r"epochs must be at most 1,000,000, got 1e\+308"):
        FinetuneConfig(epochs=1e308)
