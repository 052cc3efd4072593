"""Masked words: the teacher's head, and a student that learns from it."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

pytest.importorskip("accelerate", reason="needs accelerate (extra 'finetune')")

import nasc.pipelines.distill
from nasc import api
from nasc.architecture.space import Architecture, Block
from nasc.context.settings import Settings
from nasc.distillation.masked_lm import (
    MaskedConfig,
    Pretraining,
    masked_teacher,
    scratch,
    student_of,
)
from nasc.errors import TrainingDiverged, UsageError
from nasc.networks.from_teacher import teacher_network
from nasc.networks.network import Network
from nasc.teacher import load_teacher

WORDS = "the a cat dog sat on mat ran to house and slept in sun it was big small".split()


@pytest.fixture(scope="module")
def with_head(
    teacher_folder: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Folders of teachers with a random head for masked words."""

    def make(family: str) -> Path:
        folder = tmp_path_factory.mktemp(f"masked-{family}")
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_pretrained(teacher_folder(family))
        for parameter in model.parameters():
            parameter.data.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(teacher_folder(family)).save_pretrained(folder)
        return folder

    return make


def full_size(folder: Path) -> Network:
    teacher = load_teacher(folder)
    block = Block(teacher.geometry.hidden, ("mha", "ffn"), kept=True)
    return teacher_network(teacher, Architecture((block, block)), "hidden")


def text(count: int = 200) -> list[str]:
    rng = random.Random(0)
    return [" ".join(rng.choices(WORDS, k=rng.randint(4, 14))) + "." for _ in range(count)]


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "xlm-roberta", "camembert"])
def test_the_teacher_predicts_what_it_predicts_in_transformers(
    family: str, with_head: Callable[[str], Path]
) -> None:
    folder = with_head(family)
    found = masked_teacher(full_size(folder), folder)
    assert found is not None
    model = AutoModelForMaskedLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(text(3), padding=True, truncation=True, max_length=32, return_tensors="pt")
    batch.pop("token_type_ids", None)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        wanted, given = model(**batch).logits, found(**batch).logits
        some = found(**batch, places=real).logits
    assert torch.allclose(given[real], wanted[real], atol=1e-4)
    assert torch.allclose(some, wanted[real], atol=1e-4)


def test_a_teacher_without_the_head_has_none(teacher_folder: Callable[..., Path]) -> None:
    assert masked_teacher(full_size(teacher_folder()), teacher_folder()) is None


@pytest.fixture(scope="module")
def work(with_head: Callable[[str], Path]) -> tuple[Pretraining, Network]:
    folder = with_head("bert")
    teacher = load_teacher(folder)
    masked = masked_teacher(full_size(folder), folder)
    assert masked is not None
    rows = teacher.tokenize(text(), max_length=24).rows()
    small = scratch(full_size(folder), Architecture((Block(16, ("ffn", "mha")),)), seed=0)
    return Pretraining(masked, teacher.tokenizer, rows), small


def losses(work_dir: Path) -> list[float]:
    last = max(work_dir.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.slow
def test_a_student_learns(work: tuple[Pretraining, Network], tmp_path: Path) -> None:
    training, small = work
    student = student_of(small, training.teacher)
    config = MaskedConfig(steps=60, batch_size=16, accumulate=2, learning_rate=1e-2)
    before = {n: v.clone() for n, v in training.teacher.state_dict().items()}
    training.run(student, config, tmp_path)
    found = losses(tmp_path)
    assert found[-1] < 0.7 * found[0]
    assert all(torch.equal(v, before[n]) for n, v in training.teacher.state_dict().items())
    assert training.steps_in(student, config, 0) == 0
    assert training.steps_in(student, config, 2) > 1


@pytest.mark.slow
def test_an_interrupted_run_goes_on_exactly(
    work: tuple[Pretraining, Network], tmp_path: Path
) -> None:
    training, small = work
    config = MaskedConfig(steps=20, batch_size=16, learning_rate=1e-2)
    whole = student_of(small, training.teacher)
    training.run(whole, config, tmp_path / "whole")

    def stop(done: int, total: int, message: str) -> None:
        if done == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.run(student_of(small, training.teacher), config, tmp_path / "work", stop)
    resumed = student_of(small, training.teacher)
    training.run(resumed, config, tmp_path / "work")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_loss_that_is_not_finite_ends_the_run(
    work: tuple[Pretraining, Network], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nasc.hf.training.SAVE_EVERY_S", -1.0)  # every step
    training, small = work
    config = MaskedConfig(steps=20, batch_size=16, learning_rate=1e-2)
    student = student_of(small, training.teacher)

    def spoil(done: int, total: int, message: str) -> None:
        if done == 5:
            monkeypatch.setattr("nasc.hf.training.SAVE_EVERY_S", math.inf)
            student.bias["bias"].data.fill_(float("nan"))

    with pytest.raises(TrainingDiverged, match=r"not finite\. Try a lower --learning-rate"):
        training.run(student, config, tmp_path, spoil)
    (kept,) = tmp_path.glob("checkpoint-*")
    assert kept.name == "checkpoint-4"
    assert all(bool(v.isfinite().all()) for v in load_file(kept / "model.safetensors").values())


def space_file(folder: Path, teacher: Path) -> Path:
    g = load_teacher(teacher).geometry
    space = folder / "toy.toml"
    space.write_text(
        "n_blocks = 2\nslots = 2\nhidden_sizes = [16, 32]\noperations = ['mha', 'ffn']\n"
        f"[geometry]\nlayers = {g.layers}\nhidden = {g.hidden}\nhead_size = {g.head_size}\n"
        f"intermediate = {g.intermediate}\nvocab_size = {g.vocab_size}\n"
        f"max_positions = {g.max_positions}\n",
        encoding="utf-8",
    )
    return space


@pytest.mark.slow
def test_the_command_writes_a_model_of_masked_words(
    with_head: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = with_head("bert")
    corpus = tmp_path / "text.txt"
    corpus.write_text("\n\n".join(text(400)), encoding="utf-8")
    space = space_file(tmp_path, folder)
    settings = Settings(teacher=str(folder), space=str(space), corpus=(str(corpus),), train_steps=1)
    found = {}
    for start in ("supernet", "scratch"):
        output = tmp_path / start
        found[start] = api.distill("16: F | 32: M F", output, settings, steps=3, start=start)
        assert found[start].objective == "mlm"
        body = AutoModel.from_pretrained(output).state_dict()
        whole = AutoModelForMaskedLM.from_pretrained(output).state_dict()
        assert all(torch.equal(v, whole[f"nasc.{n}"]) for n, v in body.items())
    assert found["supernet"].quality.pooled_cosine != found["scratch"].quality.pooled_cosine
    states = api.distill(
        "16: F | 32: M F", tmp_path / "states", settings, steps=1, objective="states"
    )
    assert states.objective == "states"


@pytest.mark.slow
def test_the_configuration_and_the_recipe_are_in_the_key(
    with_head: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[MaskedConfig] = []

    def run(self: Pretraining, student: object, config: MaskedConfig, *about: object) -> None:
        asked.append(config)

    monkeypatch.setattr(Pretraining, "run", run)
    (tmp_path / "text.txt").write_text("\n\n".join(text(400)), encoding="utf-8")
    folder = with_head("bert")
    settings = Settings(
        teacher=str(folder),
        space=str(space_file(tmp_path, folder)),
        corpus=(str(tmp_path / "text.txt"),),
        cache=tmp_path / "cache",
    )

    def distill(**options: Any) -> int:
        """How often something was trained so far."""
        about = {"steps": 3, "start": "scratch", "force": True} | options
        api.distill("16: F | 32: M F", tmp_path / "model", settings, **about)
        return len(asked)

    assert [distill(), distill()] == [1, 1]
    assert distill(batch_size=4, learning_rate=0.01) == 2
    assert (asked[1].batch_size, asked[1].learning_rate) == (4, 0.01)
    monkeypatch.setattr(nasc.pipelines.distill, "RECIPE", nasc.pipelines.distill.RECIPE + 1)
    assert [distill(), distill()] == [3, 3]
    with pytest.raises(UsageError, match="learning_rate must be in"):
        distill(learning_rate=2.0)
    with pytest.raises(UsageError, match="learning_rate must be in"):
        distill(learning_rate=2.0, objective="states")


def test_bad_input_is_one_message(
    teacher_folder: Callable[..., Path], work: tuple[Pretraining, Network], tmp_path: Path
) -> None:
    for bad in ({"steps": 0}, {"accumulate": 0}, {"learning_rate": 2.0}, {"mask_share": -1.0}):
        with pytest.raises(UsageError, match=f"{next(iter(bad))} must be"):
            MaskedConfig(**({"steps": 1} | bad))
    training, _ = work
    unmasked = AutoTokenizer.from_pretrained(teacher_folder())
    unmasked.mask_token = None
    with pytest.raises(UsageError, match="no mask token"):
        dataclasses.replace(training, tokenizer=unmasked)
