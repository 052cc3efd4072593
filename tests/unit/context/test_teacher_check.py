import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from device_profiles.temporary import LOCK
from nasc import api
from nasc.architecture.space import derived_space, space_to_toml
from nasc.context import teacher_check
from nasc.context.settings import Settings
from nasc.context.teacher_check import check_teacher
from nasc.errors import UnsupportedFamily
from nasc.pipelines.options import Options
from nasc.solver.problem import Limits
from nasc.teacher import load_teacher
from nasc.teacher.library import LibraryCheck
from nasc.utils.progress import Silent

FOUND = LibraryCheck("transformers 5", 1, 1e-7)


class Said(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def folder(teacher_folder: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(teacher_folder("bert"), tmp_path / "own"))


@pytest.fixture(autouse=True)
def transformers_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds are saved; the gate itself is tested with both libraries elsewhere."""
    monkeypatch.setattr("nasc.teacher.library.is_installed", lambda: False)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the teachers that were compared; the comparison itself is made up."""
    names: list[str] = []

    def compare(teacher: Any, *rest: object) -> LibraryCheck:
        names.append(teacher.name)
        return FOUND

    monkeypatch.setattr(teacher_check, "check_against_library", compare)
    return names


def test_the_full_size_graph_gives_the_vectors_of_the_library(folder: Path, tmp_path: Path) -> None:
    reporter = Said()
    found = check_teacher(load_teacher(folder), tmp_path, reporter)
    assert found is not None
    assert found.max_abs < 1e-5
    (line,) = reporter.lines
    assert "the full-size network gives the vectors of transformers" in line
    (record,) = (tmp_path / "teacher-checks").iterdir()
    assert json.loads(record.read_text()) == dataclasses.asdict(found)


@pytest.mark.parametrize("file", ["modules.json.bak.json", "deep/er/pooling/config.json"])
def test_it_is_compared_once_for_the_same_files(
    folder: Path, tmp_path: Path, compared: list[str], file: str
) -> None:
    kinds = {"": "Transformer", "deep/er/pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    pooling = folder / "deep/er/pooling/config.json"
    pooling.parent.mkdir(parents=True)
    pooling.write_text(json.dumps({"embedding_dimension": 32}))
    teacher = load_teacher(folder)
    for _ in range(2):
        assert check_teacher(teacher, tmp_path, Said()) == FOUND
    assert len(compared) == 1
    (folder / file).write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": "mean"}))
    for _ in range(2):
        assert check_teacher(teacher, tmp_path, Said()) == FOUND
    assert len(compared) == 2


def test_a_damaged_record_is_made_anew(folder: Path, tmp_path: Path, compared: list[str]) -> None:
    teacher = load_teacher(folder)
    check_teacher(teacher, tmp_path, Said())
    (record,) = (tmp_path / "teacher-checks").iterdir()
    record.write_text("[")
    assert check_teacher(teacher, tmp_path, Said()) == FOUND
    assert json.loads(record.read_text()) == dataclasses.asdict(FOUND)
    assert len(compared) == 2


def test_another_graph_is_refused(folder: Path, tmp_path: Path) -> None:
    teacher = load_teacher(folder)
    layer = dataclasses.replace(teacher.layers[0], ff2_w=teacher.layers[0].ff2_w.flip(0))
    other = dataclasses.replace(teacher, layers=(layer, *teacher.layers[1:]))
    with pytest.raises(UnsupportedFamily, match=r"teacher 'own': its vectors differ .* by up to"):
        check_teacher(other, tmp_path, Said())
    assert not (tmp_path / "teacher-checks").exists()


def test_a_teacher_without_a_folder_has_no_library(folder: Path, tmp_path: Path) -> None:
    teacher = dataclasses.replace(load_teacher(folder), folder=None)
    assert check_teacher(teacher, tmp_path, Said()) is None


def test_the_graph_lies_where_what_a_killed_process_left_is_removed(
    folder: Path, tmp_path: Path, compared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    emitted: list[Path] = []

    def emit(network: object, path: Path) -> None:
        assert (path.parent.parent / LOCK).is_file()
        emitted.append(path)

    monkeypatch.setattr(teacher_check, "emit", emit)
    monkeypatch.setattr(
        teacher_check, "Encoder", lambda *about, **more: SimpleNamespace(outputs_of=0)
    )
    check_teacher(load_teacher(folder), tmp_path, Said())
    assert emitted
    assert not emitted[0].parent.parent.exists()


COMMANDS: dict[str, Callable[[Settings, Path], object]] = {
    "compile": lambda s, out: api.compile(Limits(params=9**9), s, Options(output=out)),
    "search": lambda s, out: api.search(None, s),
    "audit": lambda s, out: api.audit(settings=s),
    "distill": lambda s, out: api.distill("32: M", out, s),
    "distill by name": lambda s, out: api.distill("nas-bert-5m", out, s),
    "train": lambda s, out: api.train(
        output=out, teacher=s.teacher, space=s.space, corpus=s.corpus, minutes=60, cache=s.cache
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_teacher_is_refused_before_text_is_read_or_anything_is_trained(
    teacher_folder: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def differ(*about: object) -> None:
        raise UnsupportedFamily("its vectors differ")

    monkeypatch.setattr(teacher_check, "check_against_library", differ)
    folder = teacher_folder(hidden=64, heads=1, intermediate=256)
    space = tmp_path / "space.toml"
    space.write_text(space_to_toml(derived_space(load_teacher(folder).geometry.for_space())))
    settings = Settings(
        teacher=str(folder),
        space=str(space),
        corpus=(str(tmp_path / "no such text"),),
        cache=tmp_path / "cache",
    )
    with pytest.raises(UnsupportedFamily, match="its vectors differ"):
        COMMANDS[command](settings, tmp_path / "out")
