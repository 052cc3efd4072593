"""`nasc finetune` and `nasc evaluate` on tiny made-up data: which models, which checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

pytest.importorskip("accelerate", reason="needs accelerate (extra 'finetune')")

from nasc import api
from nasc.cli import main
from nasc.errors import TeacherMissing, UsageError
from nasc.tasks.finetune import FinetuneConfig
from nasc.tasks.glue import TASKS
from nasc.tasks.models import TaskModel
from nasc.utils.progress import Progress

CONFIG = FinetuneConfig(steps=2, batch_size=8, max_length=24)
TUNING = "--steps 30 --batch-size 16 --learning-rate 3e-3 --max-length 24".split()


class Teller:
    """A reporter that keeps what is said, and can stop a run after some steps."""

    def __init__(self, stop: int | None = None) -> None:
        self.said: list[str] = []
        self.steps: list[int] = []
        self.stop = stop

    def say(self, text: str) -> None:
        self.said.append(text)

    def stage(self, title: str) -> Progress:
        def progress(done: int, total: int, message: str) -> None:
            if title.startswith("Fine-tuning") and done > 0:
                self.steps.append(done)
                if done == self.stop:
                    raise KeyboardInterrupt

        return progress


def write_pairs(path: Path, task: str, count: int = 24) -> Path:
    """Two sentences and a label of the task."""
    rng = np.random.default_rng(0)
    labels = TASKS[task].labels or ("1.5", "4.0")
    names = [t[0] for t in TASKS[task].texts] + [TASKS[task].label[0]]
    rows = [
        f"the {'cat' if x % 2 else 'dog'} sat\ta cat ran\t{labels[x % len(labels)]}"
        for x in rng.integers(0, 6, count)
    ]
    path.write_text("\n".join(["\t".join(names), *rows]) + "\n", encoding="utf-8")
    return path


def tune(model: Path, task: str, folder: Path, name: str, **other: Any) -> api.FinetuneResult:
    """Fine-tunes with few steps; the folder is `folder / name`."""
    data = write_pairs(folder / f"{task}.tsv", task)
    options = {"config": CONFIG, "cache": folder / "cache"} | other
    return api.finetune(str(model), task, data, folder / name, **options)


@pytest.mark.slow
def test_a_start_from_another_task_has_a_new_head_and_says_so(
    teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    """As the paper starts RTE, MRPC and STS-B from the model of MNLI."""
    tune(teacher_folder(), "mnli", tmp_path, "mnli")
    for task, outputs in (("rte", 2), ("mrpc", 2), ("sts-b", 1)):
        reporter = Teller()
        tune(tmp_path / "mnli", task, tmp_path, task, reporter=reporter)
        (told,) = reporter.said
        assert told.startswith(f"the head for {task} is new: classifier.bias, classifier.weight")
        saved = AutoModelForSequenceClassification.from_pretrained(tmp_path / task)
        assert saved.config.num_labels == outputs
        names = {name: i for i, name in enumerate(TASKS[task].labels)}
        assert saved.config.label2id == (names or {"LABEL_0": 0})
    again = Teller()
    tune(tmp_path / "rte", "rte", tmp_path, "again", reporter=again)
    assert again.said == []


@pytest.mark.slow
def test_a_teacher_of_another_task_or_of_none_is_refused(
    teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    tune(teacher_folder(), "mnli", tmp_path, "mnli")
    tune(teacher_folder(), "mrpc", tmp_path, "mrpc")
    (tmp_path / "unknown").mkdir()  # a model of somebody else has no record
    for path in (tmp_path / "mnli").iterdir():
        if path.name != "nasc_finetune.json":
            (tmp_path / "unknown" / path.name).write_bytes(path.read_bytes())
    for teacher, message in (
        (tmp_path / "mnli", r"mnli' is fine-tuned on mnli, not on rte"),
        (tmp_path / "mrpc", r"mrpc' is fine-tuned on mrpc, not on rte"),
        (tmp_path / "unknown", r"unknown' is not fine-tuned on rte: classifier\.bias"),
        (teacher_folder(), r"is not fine-tuned on rte: classifier\.bias, classifier\.weight"),
    ):
        with pytest.raises(UsageError, match=rf"{message}.*nasc finetune .* --task rte"):
            tune(teacher_folder(), "rte", tmp_path, "rte", distill_from=str(teacher))
        with pytest.raises(UsageError, match=rf"{message}.*nasc finetune .* --task rte"):
            api.evaluate(teacher, "rte", tmp_path / "rte.tsv", max_length=24)
    with pytest.raises(UsageError, match=r"is fine-tuned on mnli, not on squad"):
        api.evaluate(tmp_path / "mnli", "squad", write_squad(tmp_path / "dev.json"))
    assert not (tmp_path / "rte").exists()
    assert api.evaluate(tmp_path / "unknown", "mnli", tmp_path / "mnli.tsv", max_length=24).scores


def test_a_body_that_is_not_there_is_never_made_up(
    teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    for path in teacher_folder().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    lost = "encoder.layer.1.attention.self.query.weight"
    for other in ({}, {lost: torch.zeros(8, 8)}):
        kept = {name: value for name, value in weights.items() if name != lost}
        save_file(kept | other, tmp_path / "model.safetensors", {"format": "pt"})
        with pytest.raises(TeacherMissing, match=rf"{lost} is missing or of another size"):
            TaskModel.for_classes(tmp_path, TASKS["rte"])


@pytest.mark.slow
def test_other_weights_at_the_same_path_do_not_go_on_from_old_checkpoints(
    teacher_folder: Callable[..., Path], tmp_path: Path
) -> None:
    model, config = tmp_path / "model", FinetuneConfig(steps=4, batch_size=8, max_length=24)

    def put(seed: int) -> None:
        """Other weights in the same folder."""
        model.mkdir(exist_ok=True)
        for path in teacher_folder().iterdir():
            (model / path.name).write_bytes(path.read_bytes())
        weights = load_file(model / "model.safetensors")
        generator = torch.Generator().manual_seed(seed)
        made = {n: v + 0.1 * torch.randn(v.shape, generator=generator) for n, v in weights.items()}
        save_file(made, model / "model.safetensors", {"format": "pt"})

    def start(stop: int | None = None, teacher: str | None = None) -> Teller:
        teller = Teller(stop)
        about = {"config": config, "reporter": teller, "distill_from": teacher, "force": True}
        tune(model, "rte", tmp_path, "out", **about)
        return teller

    def stopped(**about: Any) -> None:
        with pytest.raises(KeyboardInterrupt):
            start(stop=2, **about)

    put(seed=1)
    stopped()
    put(seed=2)
    assert start().steps[0] == 1  # other weights: from the beginning
    put(seed=1)
    assert start().steps[0] > 1  # the weights of the run that was stopped: it goes on
    teacher = tmp_path / "teacher"
    tune(model, "rte", tmp_path, "teacher")
    stopped(teacher=str(teacher))
    tune(model, "rte", tmp_path, "teacher", force=True, config=replace(CONFIG, steps=3))
    assert start(teacher=str(teacher)).steps[0] == 1  # another teacher at the same path


def write_squad(path: Path, count: int = 24) -> Path:
    """What sat on the mat."""
    rng = np.random.default_rng(0)
    paragraphs = []
    for i, x in enumerate(rng.integers(0, 2, count)):
        word = "cat" if x else "dog"
        answers = [{"text": word, "answer_start": 4}]
        qas = [{"id": str(i), "question": "what sat", "answers": answers}]
        paragraphs.append({"context": f"the {word} sat on the mat", "qas": qas})
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}), encoding="utf-8")
    return path


def write_sst2(path: Path, count: int = 64) -> Path:
    """Whether a sentence holds a cat."""
    rng = np.random.default_rng(0)
    rows = [f"the {'cat' if x else 'dog'} sat\t{x}" for x in rng.integers(0, 2, count)]
    path.write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def nasc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("NASC_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "write", "metrics"),
    [
        ("sst-2", write_sst2, {"accuracy"}),
        ("squad", write_squad, {"f1", "exact_match"}),
    ],
)
def test_the_commands_fine_tune_and_evaluate(
    task: str,
    write: Callable[[Path], Path],
    metrics: set[str],
    teacher_folder: Callable[..., Path],
    nasc: Callable[..., Result],
    tmp_path: Path,
) -> None:
    data, tuned = write(tmp_path / "train.json" if task == "squad" else tmp_path / "train.tsv"), []
    for name, model, other in (
        ("teacher", teacher_folder(), ()),
        ("student", teacher_folder(), ("--distill-from", tmp_path / "teacher")),
    ):
        about = ("--task", task, "--train", data, "--dev", data, "--output", tmp_path / name)
        done = nasc("finetune", model, *about, *TUNING, *other, "--json")
        assert done.exit_code == 0, done.stderr
        tuned.append(json.loads(done.stdout))
        assert set(tuned[-1]["scores"]) == metrics
        assert min(tuned[-1]["scores"].values()) > 0.9
    done = nasc("evaluate", tmp_path / "student", "--task", task, "--data", data, "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["examples"] == tuned[-1]["examples"]
    assert {name: found[name] for name in metrics} == pytest.approx(tuned[-1]["scores"])


def test_rows_that_were_skipped_are_told(
    teacher_folder: Callable[..., Path], nasc: Callable[..., Result], tmp_path: Path
) -> None:
    data, model = write_sst2(tmp_path / "train.tsv", 200), tmp_path / "out"
    with data.open("a", encoding="utf-8") as file:
        file.write("cut off\n")
    about = ("--steps", 1, "--max-length", 16, "--output", model)
    for done in (
        nasc("finetune", teacher_folder(), "--task", "sst2", "--train", data, *about),
        nasc("evaluate", model, "--task", "sst2", "--data", data),
    ):
        assert done.exit_code == 0
        told = "".join(done.stderr.split())
        assert "".join(f"1 rows of '{data}' were skipped: wrong number".split()) in told


@pytest.mark.slow
def test_a_length_beyond_the_model_is_one_message(
    teacher_folder: Callable[..., Path], nasc: Callable[..., Result], tmp_path: Path
) -> None:
    data, long = tmp_path / "train.tsv", "the cat sat on the mat and " * 8
    data.write_text("sentence\tlabel\n" + f"{long}\t1\n{long}\t0\n" * 8, encoding="utf-8")
    task = ("--task", "sst-2", "--train", data, "--steps", 1, "--output", tmp_path / "out")
    roberta = teacher_folder("roberta")  # its positions begin at 2

    def refused(done: Result, length: int) -> None:
        assert done.exit_code == 2
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
        assert f"examples of {length} tokens: " in line
        assert line.endswith("reads 40 at most. Cut them: --max-length 40")

    for model in (teacher_folder(), roberta):
        refused(nasc("finetune", model, *task), 128)
        refused(nasc("finetune", model, *task, "--max-length", 41), 41)
    done = nasc("finetune", roberta, *task, "--max-length", 40)
    assert done.exit_code == 0, done.stderr
    evaluate = ("evaluate", tmp_path / "out", "--task", "sst-2", "--data", data)
    refused(nasc(*evaluate, "--max-length", 41), 41)
    assert nasc(*evaluate).exit_code == 0  # at 40, as it was fine-tuned
