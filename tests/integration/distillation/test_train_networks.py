"""`scripts/train_networks.py`: its recorded commands, at reduced size, and how trainings go on."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from nasc.distillation.trained import FOLDER, TrainedNetwork, read_trained, shipped_networks
from nasc.errors import TeacherMissing
from nasc.teacher import Teacher, load_teacher

SCRIPT = Path(__file__).parents[3] / "scripts" / "train_networks.py"

STEPS = 2


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    try:
        return load_teacher()
    except TeacherMissing as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What stands in for files that a recorded command names, by option."""
    folder = tmp_path_factory.mktemp("texts")
    corpus, questions = folder / "corpus.txt", folder / "questions.json"
    lines = (f"The river number {n} rises in the hills and flows south." for n in range(200))
    corpus.write_text("\n".join(lines))
    context = "The mill was built in 1799."
    asked = [
        {"id": f"{n}", "question": f"When was mill {n} built?", "answers": [{"text": "1799"}]}
        for n in range(60)
    ]
    for one in asked:
        one["answers"][0]["answer_start"] = context.index("1799")  # type: ignore[index]
    paragraphs = [{"context": context, "qas": asked}]
    questions.write_text(json.dumps({"version": "1.1", "data": [{"paragraphs": paragraphs}]}))
    (start,) = FOLDER.glob("*.safetensors")
    return {"--corpus": str(corpus), "--questions": str(questions), "--start": str(start)}


def reduced(command: str, texts: Mapping[str, str]) -> list[str]:
    """The arguments of a recorded command: as many steps and such files as a test has."""
    first, *given = shlex.split(command)[1:]
    assert Path(first).name == SCRIPT.name
    found: list[str] = []
    option = ""
    for word in given:
        value = word
        if option in texts:
            value = texts[option]
        elif option == "--steps":
            value = str(STEPS)
        if option not in ("--cache", "--output") and word not in ("--cache", "--output"):
            found.append(value)
        option = word if word.startswith("--") else ""
    return found


def train(arguments: Sequence[str], folder: Path) -> Path:
    """Run the script with a cache of its own; what it wrote."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, "--output", "networks.safetensors"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "NASC_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return folder / "networks.safetensors"


def recorded(one: TrainedNetwork) -> str:
    command = one.recipe["command"]
    assert isinstance(command, str)
    return command


def test_the_recorded_command_gives_the_same_file_twice(
    teacher: Teacher, texts: Mapping[str, str], tmp_path: Path
) -> None:
    """That of the network that was trained last, with fewer steps and another text."""
    last = shipped_networks(teacher)[-1]
    arguments = reduced(recorded(last), texts)
    one, two = (train(arguments, tmp_path / name) for name in ("one", "two"))
    found = {f.network.architecture: f for f in read_trained(one, teacher)}
    assert last.network.architecture in found
    assert one.read_bytes() == two.read_bytes()


def test_networks_are_left_out_of_a_file(
    teacher: Teacher, texts: Mapping[str, str], tmp_path: Path
) -> None:
    first, *others = shipped_networks(teacher)
    name = str(first.network.architecture).split(" @ ")[0]
    arguments = ["--beside", texts["--start"], "--without", name]
    found = read_trained(train(arguments, tmp_path / "less"), teacher)
    assert [(n.network.sha256(), n.recipe) for n in found] == [
        (n.network.sha256(), n.recipe) for n in others
    ]
    with pytest.raises(AssertionError, match="no file of --beside holds it"):
        train([*arguments, "192: M F | 192: M F | 192: M F"], tmp_path / "absent")


def test_a_training_goes_on_with_an_operation_less(
    teacher: Teacher, texts: Mapping[str, str], tmp_path: Path
) -> None:
    """All of its steps and texts are told, and how it was trained before."""
    first = shipped_networks(teacher)[0]
    less = "192: M | 192: F | 256: F M"
    assert str(first.network.architecture).startswith(less + " F")
    arguments = ["--corpus", texts["--corpus"], "--start", texts["--start"], "--steps", "2", less]
    (found,) = read_trained(train(arguments, tmp_path / "less"), teacher)
    assert str(found.network.architecture).split(" @ ")[0] == less
    assert found.steps == first.steps + 2
    assert found.text == f"{first.text}, then corpus.txt"
    assert found.recipe["before"] == first.recipe
